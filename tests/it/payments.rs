//! Payments as a person looks for them: through the real service, with Finkare and the books in memory.

use std::time::Duration;

use finkare_relay::{
    model::{
        booking::{Announced, Assignment, BookingToken, NewBooking},
        clock,
        event::{DedupeKey, NewEvent},
        id::{EndpointName, EventId, SinkName},
        money::Cents,
    },
    store::{
        Store,
        ledger::{Assigned, BookingBegun},
    },
};
use serde_json::{Value, json};

use crate::{
    replay_retry_cancel_erase::execute,
    support::{
        books::{
            Books as _, NewInvoice,
            desk::{Fault, On, Then},
            efactori::{self, Efactori},
            facturation_pro::{self, FacturationPro},
        },
        eventually,
        fake_finkare::{API_KEY, FakeFinkare, books::Says},
        finkare::{Finkare, payment},
        http,
        relay::{Backend, Home, Relay, SECRET, TOKEN, on_both_stores},
        target::{Reply, Target},
    },
};

on_both_stores!(
    a_payment_is_told_with_all_that_became_of_it,
    what_waits_and_what_was_given_up_is_open,
    a_doubt_is_told_as_such,
    instalments_are_payments_of_their_own,
    two_companies_may_have_one_id,
    trying_shows_what_a_sink_would_get,
);

const ACME: &str = "the-token-of-acme-alone";
const VIEWER: &str = "the-token-of-one-who-looks";

struct Scene {
    fake: FakeFinkare,
    facturation: FacturationPro,
    efactori: Efactori,
    erp: Target,
    home: Home,
}

impl Scene {
    async fn new(backend: Backend) -> Self {
        let scene = Self {
            fake: FakeFinkare::start().await,
            facturation: FacturationPro::start().await,
            efactori: Efactori::start().await,
            erp: Target::start().await,
            home: Home::new(backend).await,
        };
        let endpoint = format!(
            "secret = \"{SECRET}\"\napi_key = \"{API_KEY}\"\napi_url = \"{}\"\n\
             api_rate_limit = {{ requests = 1000, per_secs = 1 }}",
            scene.fake.api_url()
        );
        let retry = "retry = { initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }\n";
        let common = format!(
            "timeout_secs = 5\nsettle_secs = 1\nnot_found_secs = 0\nrecheck_secs = 3600\n{retry}\
             api_limits = [{{ requests = 1000, per_secs = 1 }}]\n"
        );
        let sinks = format!(
            "[[sinks]]\nname = \"compta\"\ntype = \"facturation_pro\"\nbase_url = \"{}\"\nfirm_id = \"{}\"\n\
             api_id = \"{}\"\napi_key = \"{}\"\ncontact = \"ops@example.test\"\n{common}\
             [[sinks]]\nname = \"onfact\"\ntype = \"efactori\"\nbase_url = \"{}\"\nsession_key = \"{}\"\n\
             company_uuid = \"{}\"\naccounts = {{ other = \"4\" }}\nmarker_field = \"none\"\n{common}\
             [[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\nheaders = {{ authorization = \"Bearer of-the-erp\" }}\n{retry}\
             [[sinks]]\nname = \"mail\"\ntype = \"email\"\nsmtp_url = \"smtp://127.0.0.1:9\"\nfrom = \"Relais <relais@example.fr>\"\n\
             to = [\"compta@example.fr\"]\nevents = [\"payment.received\"]\n{retry}",
            scene.facturation.url(),
            facturation_pro::FIRM,
            facturation_pro::API_ID,
            facturation_pro::API_KEY,
            scene.efactori.url(),
            efactori::SESSION_KEY,
            efactori::COMPANY_UUID,
            scene.erp.url(),
        );
        scene.home.configure("", &endpoint, &sinks);
        std::fs::create_dir_all(scene.home.path("relay.d")).unwrap();
        let token = format!("[[admin.tokens]]\nname = \"viewer\"\nrole = \"viewer\"\ntoken = \"{VIEWER}\"\n");
        std::fs::write(scene.home.path("relay.d/tokens.toml"), token).unwrap();
        scene
    }

    /// An invoice that all books contain; answers Finkare's id of it.
    fn invoice(&self, number: &str, total: i64) -> String {
        self.facturation.add(NewInvoice::of(number, total));
        self.efactori.add(NewInvoice::of(number, total));
        self.fake.add_invoice(number, total, "EUR")
    }

    async fn deliver(&self, relay: &Relay, payment: &str) -> String {
        Finkare::of(relay).deliver(&self.fake.delivery(payment, Says::Little)).await.id()
    }
}

fn in_sink<'v>(payment: &'v Value, sink: &str) -> &'v Value {
    let sinks = payment["sinks"].as_array().unwrap();
    sinks.iter().find(|row| row["sink"] == sink).unwrap_or_else(|| panic!("nothing of {sink}: {payment}"))
}

/// The payment of an event, as soon as this is to be done in these sinks.
async fn comes_to(relay: &Relay, event: &str, expected: &[(&str, &str)]) -> Value {
    let find = async || {
        let rows = relay.all("/payments").await;
        rows.into_iter().find(|row| row["event"]["id"] == event).unwrap_or_else(|| panic!("no payment of {event}"))
    };
    eventually(&format!("{expected:?}"), async || {
        let row = find().await;
        let sinks = row["sinks"].as_array().unwrap();
        expected.iter().all(|(sink, next)| sinks.iter().any(|row| row["sink"] == *sink && row["next"] == *next))
    })
    .await;
    find().await
}

async fn ids(relay: &Relay, query: &str) -> Vec<String> {
    let rows = relay.all(&format!("/payments?{query}")).await;
    rows.iter().map(|row| row["event"]["id"].as_str().unwrap().to_owned()).collect()
}

async fn a_payment_is_told_with_all_that_became_of_it(backend: Backend) {
    let scene = Scene::new(backend).await;
    let invoice = scene.invoice("F-2026-001", 120_000);
    let paid = scene.fake.add_payment(&invoice, 45_050);
    let relay = scene.home.start().await;
    let event = scene.deliver(&relay, &paid).await;
    scene.deliver(&relay, &paid).await;
    let row = comes_to(&relay, &event, &[("compta", "done"), ("onfact", "done"), ("erp", "done")]).await;
    for (field, value) in [
        ("payment_id", json!(paid)),
        ("decided", json!(true)),
        ("endpoint", json!("production")),
        ("invoice_id", json!(invoice)),
        ("invoice_number", json!("F-2026-001")),
        ("amount_cents", json!(45_050)),
        ("currency", json!("EUR")),
        ("late", Value::Null),
    ] {
        assert_eq!(row[field], value, "{field}: {row}");
    }
    assert!(row["paid_at"].is_string(), "{row}");
    let told = &row["event"];
    assert_eq!((&told["type"], &told["deliveries"]), (&json!("payment.received"), &json!(2)), "{told}");
    assert_eq!((&told["stored"], told.get("origin")), (&json!(true), None));
    let compta = in_sink(&row, "compta");
    assert_eq!((&compta["type"], &compta["role"]), (&json!("facturation_pro"), &json!("books")));
    assert_eq!(compta["booking"]["state"], "booked", "{compta}");
    assert_eq!(compta["booking"]["target_id"], json!(scene.facturation.entries()[0].id.to_string()));
    assert_eq!(compta["booking"]["amount_cents"], 45_050);
    assert_eq!((&compta["dispatch"]["state"], &compta["dispatch"]["event_id"]), (&json!("delivered"), &json!(event)));
    assert_eq!(compta["dispatch"]["payment_id"], json!(paid));
    let erp = in_sink(&row, "erp");
    assert_eq!((&erp["booking"], &erp["role"]), (&Value::Null, &json!("carries")));
    // Nobody is told, and the payment has nothing to wait for.
    let mail = in_sink(&row, "mail");
    assert_eq!(
        (&mail["next"], &mail["role"], &row["open"]),
        (&json!("waits"), &json!("tells"), &json!(false)),
        "{mail}"
    );

    assert_eq!(relay.get(&format!("/payments/{paid}")).await["event"], row["event"]);
    assert_eq!(relay.get(&format!("/payments/{paid}?endpoint=production")).await["payment_id"], json!(paid));
    for unknown in ["/payments/no-such".to_owned(), format!("/payments/{paid}?endpoint=nowhere")] {
        let (status, problem) = relay.try_get(&unknown).await;
        assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{unknown}");
    }
    for query in [
        "q=2026-001",
        "q=450,50",
        &format!("q={paid}"),
        "state=done",
        "endpoint=production",
        "until=9000-01-01T00:00:00Z",
    ] {
        assert_eq!(ids(&relay, query).await, [&*event], "{query}");
    }
    for query in ["q=F-2027", "state=open", "state=held", "state=waits", "endpoint=x", "since=9000-01-01T00:00:00Z"] {
        assert_eq!(ids(&relay, query).await, [""; 0], "{query}");
    }
    for query in ["state=booked", "state=", "limit=0", "cursor=x", "since=yesterday", "sink=erp"] {
        let (status, problem) = relay.try_get(&format!("/payments?{query}")).await;
        assert_eq!((status, &problem["code"]), (400, &json!("bad_parameter")), "{query}: {problem}");
    }

    // The event goes, and the payment stays as long as the ledger.
    assert!(relay.terminate().await.0.success());
    for table in ["DELETE FROM queue", "DELETE FROM history", "DELETE FROM announced"] {
        execute(&scene.home, table).await;
    }
    let store = scene.home.store().await;
    let facts = store.payment_facts(&[event.parse().unwrap()]).await.unwrap();
    assert!(facts[0].event.is_some() && facts[0].payload.is_some(), "nothing else knows the amount now: {facts:?}");
    store.close().await;
    let relay = scene.home.start().await;
    let row = relay.get(&format!("/payments/{paid}")).await;
    assert_eq!((&row["amount_cents"], &row["currency"]), (&json!(45_050), &json!("EUR")), "{row}");
    assert_eq!(
        (&in_sink(&row, "compta")["next"], &in_sink(&row, "compta")["dispatch"]),
        (&json!("done"), &Value::Null)
    );
    assert_eq!(ids(&relay, &format!("q={paid}")).await, [&*event]);
    assert_eq!(ids(&relay, "q=F-2026-001").await, [&*event], "the number in the books");
}

async fn what_waits_and_what_was_given_up_is_open(backend: Backend) {
    let scene = Scene::new(backend).await;
    let invoice = scene.invoice("F-1", 60_000);
    let relay = scene.home.start().await;
    for sink in ["compta", "onfact"] {
        relay.post(&format!("/sinks/{sink}/pause")).await;
    }
    scene.erp.script(|_, _| Reply::Status(422, vec![]));
    let paid = scene.fake.add_payment(&invoice, 15_000);
    let event = scene.deliver(&relay, &paid).await;
    let row = comes_to(&relay, &event, &[("compta", "paused"), ("erp", "dead")]).await;
    // Nobody has looked it up: what the message says is known.
    assert_eq!(
        (&row["payment_id"], &row["decided"], &row["open"]),
        (&Value::Null, &json!(false), &json!(true)),
        "{row}"
    );
    assert_eq!((&row["amount_cents"], &row["invoice_id"]), (&json!(15_000), &json!(invoice)));
    assert!(in_sink(&row, "erp")["dispatch"]["last_error"].as_str().unwrap().contains("422"), "{row}");
    for (query, expected) in
        [("open", 1), ("paused", 1), ("dead", 1), ("held", 0), ("in_doubt", 0), ("done", 0), ("waits", 0)]
    {
        assert_eq!(ids(&relay, &format!("state={query}")).await.len(), expected, "{query}");
    }

    // A person has booked the same amount, so another person has to compare.
    scene.facturation.pay_by_hand("F-1", 15_000, Some("VIR 4711"));
    scene.facturation.locked_ledger().change_entries(|entries| entries[0].date = "2026-03-15".into());
    for sink in ["compta", "onfact"] {
        relay.post(&format!("/sinks/{sink}/resume")).await;
    }
    let row = comes_to(&relay, &event, &[("compta", "held"), ("onfact", "done"), ("erp", "dead")]).await;
    assert_eq!((&row["payment_id"], &row["decided"], &row["open"]), (&json!(paid), &json!(true), &json!(true)));
    let compta = in_sink(&row, "compta");
    assert_eq!(compta["booking"], Value::Null, "{compta}");
    assert!(compta["dispatch"]["last_error"].as_str().unwrap().contains("VIR 4711"), "{compta}");
    assert_eq!(ids(&relay, "state=held&q=F-1").await, [&*event]);

    // What is cancelled is nobody's work any more.
    for sink in ["compta", "erp"] {
        let id = &in_sink(&row, sink)["dispatch"]["id"];
        relay.post(&format!("/dispatches/{id}/cancel")).await;
    }
    let row = relay.get(&format!("/payments/{paid}")).await;
    assert_eq!((&in_sink(&row, "compta")["next"], &row["open"]), (&json!("nothing"), &json!(false)), "{row}");
    assert_eq!(ids(&relay, "state=open").await, [""; 0]);
    assert_eq!(ids(&relay, "state=done").await, [&*event]);
}

async fn a_doubt_is_told_as_such(backend: Backend) {
    let scene = Scene::new(backend).await;
    let invoice = scene.invoice("D-1", 10_000);
    let paid = scene.fake.add_payment(&invoice, 10_000);
    let relay = scene.home.start().await;
    scene.efactori.desk().next_on(On("POST", ""), 1, Fault::before(Then::Cut));
    let event = scene.deliver(&relay, &paid).await;
    let row = comes_to(&relay, &event, &[("compta", "done"), ("onfact", "held")]).await;
    assert_eq!(in_sink(&row, "onfact")["booking"]["state"], "sending", "its worker may still be at it: {row}");
    assert!(relay.terminate().await.0.success());

    execute(&scene.home, "UPDATE bookings SET began_at = began_at - 3600000000").await;
    let relay = scene.home.start().await;
    let row = relay.get(&format!("/payments/{paid}")).await;
    let onfact = in_sink(&row, "onfact");
    assert_eq!((&onfact["next"], &onfact["dispatch"]["state"]), (&json!("in_doubt"), &json!("held")), "{onfact}");
    for (query, expected) in [("in_doubt", 1), ("open", 1), ("held", 0)] {
        assert_eq!(ids(&relay, &format!("state={query}")).await.len(), expected, "{query}");
    }
    let said = json!({"sink": "onfact", "payment_id": paid, "recorded": true});
    assert_eq!(relay.try_post_json("/bookings/settle", &said).await.0, 200);
    let row = relay.get(&format!("/payments/{paid}")).await;
    assert_eq!((&in_sink(&row, "onfact")["next"], &row["open"]), (&json!("done"), &json!(false)), "{row}");
}

async fn instalments_are_payments_of_their_own(backend: Backend) {
    let scene = Scene::new(backend).await;
    let invoice = scene.invoice("F-1", 30_000);
    let relay = scene.home.start().await;
    let mut events = Vec::new();
    for cents in [10_000, 20_000] {
        let paid = scene.fake.add_payment(&invoice, cents);
        let event = scene.deliver(&relay, &paid).await;
        comes_to(&relay, &event, &[("compta", "done"), ("onfact", "done")]).await;
        events.push((event, paid, cents));
    }
    let rows = relay.all("/payments?q=F-1").await;
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            let booked = in_sink(row, "compta")["booking"]["amount_cents"].as_i64().unwrap();
            (row["event"]["id"].as_str().unwrap(), row["payment_id"].as_str().unwrap(), booked)
        })
        .collect();
    let expected: Vec<_> = events.iter().rev().map(|(event, paid, cents)| (&**event, &**paid, *cents)).collect();
    assert_eq!(told, expected, "newest first");

    // Page by page, searched or not.
    for query in ["", "&q=F-1", "&state=done"] {
        let first = relay.get(&format!("/payments?limit=1{query}")).await;
        let cursor = first["next_cursor"].as_str().unwrap_or_else(|| panic!("{query}: {first}"));
        let second = relay.get(&format!("/payments?limit=1{query}&cursor={cursor}")).await;
        for (page, (event, _, _)) in [(&first, &events[1]), (&second, &events[0])] {
            assert_eq!(page["data"].as_array().unwrap().len(), 1, "{query}");
            assert_eq!(page["data"][0]["event"]["id"], json!(event), "{query}");
        }
        assert_eq!(second["next_cursor"], Value::Null, "{query}");
    }
    // A replay is no further payment, and its dispatch is the one that counts.
    relay.try_post_json(&format!("/events/{}/replay", events[0].0), &json!({"sinks": ["erp"]})).await;
    comes_to_replay(&relay, &events[0].1).await;
    assert_eq!(relay.all("/payments").await.len(), 2);
}

/// Waits until a replay for the sink `erp` is the newest.
async fn comes_to_replay(relay: &Relay, payment: &str) {
    eventually("the replay is delivered", async || {
        let row = relay.get(&format!("/payments/{payment}")).await;
        let dispatch = &in_sink(&row, "erp")["dispatch"];
        dispatch["trigger"] == "replay" && dispatch["state"] == "delivered"
    })
    .await;
}

fn event(endpoint: &str, key: &str) -> NewEvent {
    NewEvent {
        id: EventId::generate(),
        endpoint: EndpointName::new(endpoint).unwrap(),
        dedupe_key: DedupeKey::of_message(key.as_bytes()),
        event_type: "payment.received".into(),
        occurred_at: None,
        received_at: clock::now(),
        readable: true,
        content_type: None,
        payload: payment(key, 4_200).into(),
        invoice_id: Some(key.into()),
        sinks: Vec::new(),
    }
}

/// A payment with this id at an endpoint, and what a sink began to write of it.
async fn begun(store: &dyn Store, endpoint: &str, id: &str, sink: &str, debtor: &str) -> EventId {
    let event = event(endpoint, &format!("invoice-{endpoint}-{id}"));
    store.record_deliveries(std::slice::from_ref(&event)).await.unwrap();
    let invoice_id = event.invoice_id.clone().unwrap();
    let assignment = Assignment {
        event_id: event.id,
        endpoint: endpoint.into(),
        payment_id: id.into(),
        invoice_id: invoice_id.clone(),
        amount_cents: Cents(4_200),
    };
    assert_eq!(store.assign(&assignment).await.unwrap(), Assigned::Ours);
    let known = Announced {
        event_id: event.id,
        invoice_id: invoice_id.clone(),
        amount_cents: Cents(4_200),
        currency: Some("EUR".into()),
        payment_id: Some(id.into()),
        invoice_number: Some(format!("F-{id}")),
        debtor: Some(debtor.into()),
        method: Some("card".into()),
        paid_at: "2026-10-15".parse().ok(),
    };
    store.note_announced(&known).await.unwrap();
    let new = NewBooking {
        sink: SinkName::new(sink).unwrap(),
        payment_id: id.into(),
        event_id: event.id,
        invoice_id,
        invoice_number: format!("F-{id}"),
        amount_cents: Cents(4_200),
        currency: "EUR".into(),
        token: BookingToken::generate(),
    };
    assert_eq!(store.begin_booking(&new, None).await.unwrap(), BookingBegun::Begun);
    assert!(store.send_booking(&new.sink, id, new.token, Duration::ZERO).await.unwrap());
    event.id
}

async fn two_companies_may_have_one_id(backend: Backend) {
    let home = Home::new(backend).await;
    let books = |name: &str, firm: u32, endpoint: &str| {
        format!(
            "[[sinks]]\nname = \"{name}\"\ntype = \"facturation_pro\"\nbase_url = \"http://127.0.0.1:9\"\n\
             firm_id = \"{firm}\"\napi_id = \"a\"\napi_key = \"b\"\ncontact = \"ops@example.test\"\n{endpoint}\n"
        )
    };
    let key = "api_key = \"fk_live_x\"\napi_url = \"http://127.0.0.1:9\"\n";
    let sinks = format!(
        "[[endpoints]]\nname = \"acme\"\npath = \"/acme\"\nsecret = \"{SECRET}\"\n{key}{}{}",
        books("of-acme", 1, "endpoints = [\"acme\"]"),
        books("shared", 2, "endpoints = [\"production\", \"acme\"]"),
    );
    home.configure("", &format!("secret = \"{SECRET}\"\n{key}"), &sinks);
    std::fs::create_dir_all(home.path("relay.d")).unwrap();
    let token =
        format!("[[admin.tokens]]\nname = \"acme\"\nrole = \"viewer\"\nendpoints = [\"acme\"]\ntoken = \"{ACME}\"\n");
    std::fs::write(home.path("relay.d/tokens.toml"), token).unwrap();
    let store = home.store().await;
    store.migrate().await.unwrap();
    let theirs = begun(&*store, "production", "p1", "shared", "Durand").await;
    let ours = begun(&*store, "acme", "p1", "of-acme", "Petit").await;
    begun(&*store, "acme", "p2", "shared", "Petit").await;
    store.close().await;
    let relay = home.start().await;

    let (status, problem) = relay.try_get("/payments/p1").await;
    assert_eq!((status, &problem["code"]), (409, &json!("ambiguous")), "{problem}");
    assert_eq!(problem["endpoints"], json!(["acme", "production"]));
    for (endpoint, event, debtor, sink) in
        [("acme", ours, "Petit", "of-acme"), ("production", theirs, "Durand", "shared")]
    {
        let row = relay.get(&format!("/payments/p1?endpoint={endpoint}")).await;
        assert_eq!((&row["event"]["id"], &row["debtor"]), (&json!(event), &json!(debtor)), "{row}");
        let sinks: Vec<_> = row["sinks"].as_array().unwrap().iter().map(|row| &row["sink"]).collect();
        assert_eq!(sinks, [sink], "the booking of the other company's payment is not this one's");
        assert_eq!(ids(&relay, &format!("endpoint={endpoint}&q=p1")).await, [event.to_string()]);
    }

    let get = async |path: &str| {
        let url = format!("http://{}/api/v1{path}", relay.admin);
        let answer = http().get(url).bearer_auth(ACME).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for path in ["/payments", "/payments?q=p1", "/payments?q=42,00", "/payments?state=open", "/payments/p1"] {
        let (status, text) = get(path).await;
        assert!(status == 200 && text.contains(&ours.to_string()), "{path}: {status} {text}");
        assert!(!text.contains("Durand") && !text.contains("production") && !text.contains("shared"), "{path}: {text}");
    }
    // The books that the other company shares are not the token's.
    assert_eq!(in_sink(&relay.get("/payments/p2").await, "shared")["booking"]["state"], "sending");
    let (status, text) = get("/payments/p2").await;
    assert!(status == 200 && text.contains(r#""sinks":[],"open":false"#), "{text}");
    assert_eq!(get("/payments?endpoint=production").await.1, r#"{"data":[],"next_cursor":null}"#);
    assert_eq!(get("/payments/p1?endpoint=production").await.0, 404);
}

async fn trying_shows_what_a_sink_would_get(backend: Backend) {
    let scene = Scene::new(backend).await;
    let invoice = scene.invoice("F-1", 60_000);
    let paid = scene.fake.add_payment(&invoice, 15_000);
    let mut relay = scene.home.start().await;
    for sink in ["compta", "onfact", "erp", "mail"] {
        relay.post(&format!("/sinks/{sink}/pause")).await;
    }
    let event = scene.deliver(&relay, &paid).await;
    let body = json!({"event_id": event});
    let tried = async |relay: &Relay, sink: &str| {
        let (status, row) = relay.try_post_json(&format!("/sinks/{sink}/try"), &body).await;
        assert_eq!(status, 200, "{sink}: {row}");
        let text = row.to_string();
        for secret in ["of-the-erp", facturation_pro::API_KEY, efactori::SESSION_KEY, API_KEY, SECRET] {
            assert!(!text.contains(secret), "a secret is shown: {text}");
        }
        assert_eq!(
            (&row["sink"], &row["event_id"], &row["taken"]),
            (&json!(sink), &json!(event), &json!(true)),
            "{row}"
        );
        row
    };
    let erp = tried(&relay, "erp").await;
    let request = &erp["would_get"]["request"];
    assert_eq!(request["method"], "POST", "{erp}");
    assert!(request["body"].as_str().unwrap().contains(&invoice), "{erp}");
    assert!(request["headers"].as_array().unwrap().contains(&json!(["authorization", "[redacted]"])), "{erp}");
    let mail = tried(&relay, "mail").await;
    assert!(mail["would_get"]["mail"]["headers"].to_string().contains("compta@example.fr"), "{mail}");
    for (sink, system) in [("compta", "Facturation.PRO"), ("onfact", "eFactori")] {
        let row = tried(&relay, sink).await;
        let would = &row["would_do"];
        assert_eq!((&would["outcome"], &row["would_get"]), (&json!("delivered"), &Value::Null), "{row}");
        let decision = would["decision"].as_str().unwrap();
        assert!(decision.contains("150.00 EUR") && decision.contains(system), "{decision}");
        let calls = would["calls"].as_array().unwrap();
        let planned = calls.iter().filter(|call| call["answer"].is_null()).count();
        assert!(planned == 1 && calls.len() > 1, "what was read, and what would be written: {calls:?}");
    }
    relay.wait_for_line("an event was tried on a sink").await;
    let row = comes_to(&relay, &event, &[("compta", "paused")]).await;
    assert_eq!(row["decided"], false, "trying decides nothing");
    assert_eq!(
        (scene.erp.arrivals().len(), scene.facturation.entries().len(), scene.efactori.entries().len()),
        (0, 0, 0)
    );
    assert!(relay.all("/audit").await.iter().all(|entry| entry["action"] != "sink.tried"));

    // What the route does not take, and what is not there.
    let own = Finkare::of(&relay).deliver(br#"{"event":"ping","data":{}}"#).await.id();
    let (_, row) = relay.try_post_json("/sinks/erp/try", &json!({"event_id": own})).await;
    assert_eq!((&row["taken"], &row["would_get"]), (&json!(false), &Value::Null), "{row}");
    assert!(row["reason"].as_str().unwrap().contains("`events`"), "{row}");
    for (sink, body, status, code) in [
        ("nobody", json!({"event_id": event}), 404, "not_found"),
        ("erp", json!({"event_id": EventId::generate()}), 404, "not_found"),
        ("erp", json!({"event_id": "x"}), 422, "bad_body"),
        ("erp", json!({}), 422, "bad_body"),
        ("erp", Value::Null, 422, "bad_body"),
    ] {
        let (answered, problem) = relay.try_post_json(&format!("/sinks/{sink}/try"), &body).await;
        assert_eq!((answered, &problem["code"]), (status, &json!(code)), "{sink} {body}: {problem}");
    }
    let url = format!("http://{}/api/v1/sinks/erp/try", relay.admin);
    let answer = http().post(&url).bearer_auth(VIEWER).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 403, "a viewer may not have Finkare and the books asked");
    let erased = http()
        .post(format!("http://{}/api/v1/invoices/{invoice}/erase", relay.admin))
        .bearer_auth(TOKEN)
        .send()
        .await
        .unwrap();
    assert_eq!(erased.status(), 200);
    let (status, problem) = relay.try_post_json("/sinks/erp/try", &body).await;
    assert_eq!((status, &problem["code"]), (409, &json!("payload_gone")), "{problem}");
}
