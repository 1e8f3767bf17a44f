//! Invoicing software from a user's view, through the real binary and the stand-ins of all four systems: `check`,
//! `try`, a payment on its way into the books, a dispatch that is held and then closes by itself, and a person's
//! decision.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{
    books::{
        Books, NewInvoice,
        desk::{Fault, On, Then},
        efactori::{self, Efactori},
        facturation_pro::{self, FacturationPro},
    },
    eventually,
    fake_finkare::{API_KEY, FakeFinkare, books::Says},
    finkare::{Finkare, sign},
    relay::{Backend, Home, Relay, SECRET, on_both_stores},
    watched::{fastfaktura, fastfaktura::FastFaktura, tiime, tiime::Tiime},
};

on_both_stores!(
    a_payment_comes_into_all_the_books,
    refused_credentials_stop_the_sink_and_lose_nothing,
    what_nobody_knows_is_healed_after_a_crash,
    a_person_settles_what_stays_in_doubt,
    instalments_are_told_at_once_where_nothing_is_written,
    money_that_a_person_has_booked_is_not_booked_again,
);

struct Scene {
    fake: FakeFinkare,
    facturation: FacturationPro,
    efactori: Efactori,
    tiime: Tiime,
    fastfaktura: FastFaktura,
    home: Home,
}

impl Scene {
    async fn new(backend: Backend) -> Self {
        let scene = Self {
            fake: FakeFinkare::start().await,
            facturation: FacturationPro::start().await,
            efactori: Efactori::start().await,
            tiime: Tiime::start().await,
            fastfaktura: FastFaktura::start().await,
            home: Home::new(backend).await,
        };
        scene.configure("");
        scene
    }

    /// `more` contains further options for every sink.
    fn configure(&self, more: &str) {
        let endpoint = format!(
            "secret = \"{SECRET}\"\napi_key = \"{API_KEY}\"\napi_url = \"{}\"\n\
             api_rate_limit = {{ requests = 1000, per_secs = 1 }}",
            self.fake.api_url()
        );
        let common = format!(
            "timeout_secs = 5\nsettle_secs = 1\nnot_found_secs = 0\nrecheck_secs = 1\n\
             retry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }}\n\
             api_limits = [{{ requests = 1000, per_secs = 1 }}]\n{more}\n"
        );
        let sinks = format!(
            "[[sinks]]\nname = \"compta\"\ntype = \"facturation_pro\"\nbase_url = \"{}\"\nfirm_id = \"{}\"\n\
             api_id = \"{}\"\napi_key = \"{}\"\ncontact = \"ops@example.test\"\nstatus_map = {{ in_recovery = \"note\" }}\n{common}\n\
             [[sinks]]\nname = \"onfact\"\ntype = \"efactori\"\nbase_url = \"{}\"\nsession_key = \"{}\"\n\
             company_uuid = \"{}\"\naccounts = {{ other = \"4\" }}\nstatus_map = {{ paid = \"paid\" }}\n{common}\n\
             [[sinks]]\nname = \"tiime\"\ntype = \"tiime\"\nbase_url = \"{}\"\ncompany_id = \"{}\"\ntoken = \"{}\"\n\
             i_accept_unofficial_api = true\n{common}\n\
             [[sinks]]\nname = \"fast\"\ntype = \"fastfaktura\"\nbase_url = \"{}\"\napi_key = \"{}\"\n{common}\n",
            self.facturation.url(),
            facturation_pro::FIRM,
            facturation_pro::API_ID,
            facturation_pro::API_KEY,
            self.efactori.url(),
            efactori::SESSION_KEY,
            efactori::COMPANY_UUID,
            self.tiime.base_url(),
            tiime::COMPANY,
            tiime::TOKEN,
            self.fastfaktura.base_url(),
            fastfaktura::KEY,
        );
        self.home.configure("", &endpoint, &sinks);
    }

    /// An invoice that all books contain, and a payment of this invoice; answers Finkare's ids of both.
    fn payment(&self, number: &str, total: i64, paid: i64) -> (String, String) {
        let invoice = self.fake.add_invoice(number, total, "EUR");
        self.facturation.add(NewInvoice::of(number, total));
        self.efactori.add(NewInvoice::of(number, total));
        self.tiime.add_invoice(number, total, "EUR", "sent");
        self.fastfaktura.add_invoice(number, total, "EUR", "sent");
        let payment = self.fake.add_payment(&invoice, paid);
        (invoice, payment)
    }

    /// Runs a command to its end; answers its exit code and its output.
    async fn run(&self, relay: Option<&Relay>, arguments: &[&str]) -> (i32, String) {
        let mut command: Command = self.home.command();
        command.args(arguments);
        if let Some(relay) = relay {
            command.args(["--admin-url", &format!("http://{}", relay.admin)]);
            command.env("RELAY_ADMIN_TOKEN", crate::support::relay::TOKEN);
        }
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it runs").expect("it starts");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
    }

    fn complaints(&self) -> Vec<String> {
        let mut all = self.facturation.complaints();
        all.extend(self.efactori.complaints());
        all.extend(self.tiime.complaints());
        all.extend(self.fastfaktura.complaints());
        all.extend(self.fake.complaints());
        all
    }
}

/// Asserts that a text contains no secret of a system, of Finkare or of the endpoint.
fn no_secret(text: &str) {
    for secret in [facturation_pro::API_KEY, efactori::SESSION_KEY, tiime::TOKEN, fastfaktura::KEY, API_KEY, SECRET] {
        assert!(!text.contains(secret), "a secret is shown: {text}");
    }
}

/// The dispatch of an event for a sink.
async fn dispatch(relay: &Relay, event: &str, sink: &str) -> Value {
    let event = relay.get(&format!("/events/{event}")).await;
    let dispatches = event["dispatches"].as_array().expect("a list");
    dispatches
        .iter()
        .find(|dispatch| dispatch["sink"] == sink)
        .unwrap_or_else(|| panic!("none for {sink}: {event}"))
        .clone()
}

async fn comes_to(relay: &Relay, event: &str, sink: &str, state: &str) -> Value {
    eventually(&format!("the dispatch for {sink} is {state}"), async || {
        dispatch(relay, event, sink).await["state"] == state
    })
    .await;
    dispatch(relay, event, sink).await
}

async fn booking(relay: &Relay, sink: &str, payment: &str) -> Option<Value> {
    relay.all(&format!("/bookings?sink={sink}&payment_id={payment}")).await.into_iter().next()
}

async fn a_payment_comes_into_all_the_books(backend: Backend) {
    let scene = Scene::new(backend).await;
    let (invoice, payment) = scene.payment("F-2026-001", 120_000, 45_050);

    // Before the service runs.
    assert_eq!(scene.run(None, &["migrate"]).await.0, 0);
    let (exit, said) = scene.run(None, &["check"]).await;
    assert_eq!(exit, 0, "{said}");
    for part in ["payments of production", "sink compta", "sink onfact", "sink tiime", "sink fast"] {
        assert!(said.lines().any(|line| line.starts_with("ok") && line.contains(part)), "{part}: {said}");
    }
    no_secret(&said);

    // The result for a delivery that has not arrived yet.
    let body = scene.fake.delivery(&payment, Says::Little);
    std::fs::write(scene.home.path("delivery.json"), &body).expect("it can be written");
    let delivery = scene.home.path("delivery.json").display().to_string();
    for (sink, words) in [
        ("compta", ["POST", "/settlements.json", "\"total\":\"450.50\"", "would be recorded in Facturation.PRO"]),
        ("onfact", ["POST", "/payments.json", "\"amount\":450.50", "would be recorded in eFactori"]),
        ("tiime", ["GET", "450.50 EUR", "Tiime", "held"]),
        ("fast", ["GET", "450.50 EUR", "FastFaktura", "held"]),
    ] {
        let (exit, said) = scene.run(None, &["try", "--sink", sink, "--event", &delivery]).await;
        assert_eq!(exit, 0, "{said}");
        for word in words.iter().chain(&["F-2026-001"]) {
            assert!(said.contains(word), "{sink}: `{word}` is not in: {said}");
        }
        no_secret(&said);
        let (_, json) = scene.run(None, &["try", "--sink", sink, "--event", &delivery, "--json"]).await;
        let json: Value =
            serde_json::from_str(json.lines().next().unwrap_or_default()).unwrap_or_else(|_| panic!("{json}"));
        assert_eq!(json["would_do"]["outcome"], words[3].strip_prefix("held").map_or("delivered", |_| "held"));
    }
    assert_eq!((scene.facturation.entries().len(), scene.efactori.entries().len()), (0, 0), "nothing was written");

    // A test of a sink writes nothing either.
    let relay = scene.home.start().await;
    for sink in ["compta", "onfact", "tiime", "fast"] {
        let tested = relay.post(&format!("/sinks/{sink}/test")).await;
        assert_eq!(tested["outcome"], "delivered", "{tested}");
    }
    assert_eq!((scene.facturation.entries().len(), scene.efactori.entries().len()), (0, 0));

    // The delivery arrives.
    let event = Finkare::of(&relay).deliver(&body).await.id();
    for (sink, books) in [("compta", &scene.facturation as &dyn Books), ("onfact", &scene.efactori)] {
        comes_to(&relay, &event, sink, "delivered").await;
        let entries = books.entries();
        assert_eq!(entries.len(), 1, "{entries:?}");
        assert_eq!((entries[0].cents(), &*entries[0].invoice_number), (45_050, "F-2026-001"));
        assert!(entries[0].marker.as_ref().is_some_and(|marker| marker.contains(&payment)), "{entries:?}");
        assert_eq!(entries[0].date, "2026-03-15");
        let line = booking(&relay, sink, &payment).await.expect("a line in the ledger");
        assert_eq!(
            (&line["state"], &line["amount_cents"], &line["event_id"]),
            (&json!("booked"), &json!(45_050), &json!(event))
        );
        assert_eq!(line["target_id"], json!(entries[0].id.to_string()));
    }
    let (_, listed) = scene.run(Some(&relay), &["bookings", "list", "--invoice-number", "F-2026-001"]).await;
    assert!(listed.contains("450.50 EUR") && listed.contains("compta") && listed.contains("onfact"), "{listed}");

    // A sink that cannot record payments tells a person, and the dispatch closes by itself.
    for (sink, words) in [("tiime", "Tiime"), ("fast", "FastFaktura")] {
        let held = comes_to(&relay, &event, sink, "held").await;
        let reason = held["last_error"].as_str().expect("a reason");
        for word in [words, "F-2026-001", "450.50 EUR", "2026-03-15", &payment] {
            assert!(reason.contains(word), "`{word}` is not in: {reason}");
        }
    }
    scene.tiime.set_status("F-2026-001", "paid");
    scene.fastfaktura.set_status("F-2026-001", "paid");
    for sink in ["tiime", "fast"] {
        comes_to(&relay, &event, sink, "delivered").await;
        assert_eq!(booking(&relay, sink, &payment).await.expect("a line")["state"], "seen");
    }

    // A replay and a repeated delivery change nothing.
    relay.post(&format!("/events/{event}/replay")).await;
    assert!(Finkare::of(&relay).deliver(&body).await.is_duplicate());
    relay.drained().await;
    assert_eq!((scene.facturation.entries().len(), scene.efactori.entries().len()), (1, 1));

    // A change of status becomes a note if notes are configured, and a status if statuses are.
    for (status, at) in [("in_recovery", "2026-03-16T08:00:00.000Z"), ("paid", "2026-03-17T08:00:00.000Z")] {
        let data = json!({"invoiceId": invoice, "previousStatus": "open", "newStatus": status});
        let body = json!({"event": "invoice.status_changed", "data": data, "timestamp": at}).to_string();
        let answer = Finkare::of(&relay).post(body.clone(), Some(&sign(SECRET, body.as_bytes()))).await;
        assert_eq!(answer.status, 200);
        for sink in ["compta", "onfact", "tiime", "fast"] {
            comes_to(&relay, &answer.id(), sink, "delivered").await;
        }
    }
    let note = scene.facturation.invoice("F-2026-001").internal_note.unwrap_or_default();
    assert_eq!(note, "Finkare 2026-03-16: in_recovery");
    assert_eq!(scene.efactori.invoice("F-2026-001").status, "paid");
    assert_eq!(scene.complaints(), Vec::<String>::new());
    let (exit, log) = relay.terminate().await;
    assert!(exit.success());
    no_secret(&log);
}

async fn refused_credentials_stop_the_sink_and_lose_nothing(backend: Backend) {
    let scene = Scene::new(backend).await;
    let (_, first) = scene.payment("A-1", 10_000, 10_000);
    let (_, second) = scene.payment("A-2", 10_000, 10_000);
    scene.facturation.desk().next_on(On::ANY, usize::MAX, Fault::before(Then::Status(401)));
    let (exit, said) = scene.run(None, &["check"]).await;
    assert_eq!(exit, 1);
    assert!(
        said.lines().any(|line| line.starts_with("FAIL") && line.contains("sink compta") && line.contains("401")),
        "{said}"
    );

    let relay = scene.home.start().await;
    let mut events = Vec::new();
    for payment in [&first, &second] {
        events.push(Finkare::of(&relay).deliver(&scene.fake.delivery(payment, Says::Little)).await.id());
    }
    eventually("the sink is paused", async || relay.sink("compta").await["state"] == "paused").await;
    assert!(relay.sink("compta").await.to_string().contains("credentials"), "{}", relay.sink("compta").await);
    for event in &events {
        comes_to(&relay, event, "onfact", "delivered").await;
        assert_eq!(dispatch(&relay, event, "compta").await["state"], "pending");
    }
    scene.facturation.desk().calm();
    relay.post("/sinks/compta/resume").await;
    for event in &events {
        comes_to(&relay, event, "compta", "delivered").await;
    }
    assert_eq!(scene.facturation.entries().len(), 2);

    // The same for Finkare's own key.
    scene.fake.deny(&["payments:read"]);
    let (_, third) = scene.payment("A-3", 10_000, 10_000);
    let event = Finkare::of(&relay).deliver(&scene.fake.delivery(&third, Says::Little)).await.id();
    eventually("all who need it are paused", async || relay.sink("onfact").await["state"] == "paused").await;
    let (exit, said) = scene.run(None, &["check"]).await;
    assert_eq!(exit, 1);
    assert!(said.contains("payments:read"), "{said}");
    scene.fake.deny(&[]);
    for sink in ["compta", "onfact"] {
        eventually("it can be resumed", async || {
            relay.sink(sink).await["state"] == "paused" || dispatch(&relay, &event, sink).await["state"] == "delivered"
        })
        .await;
        relay.try_post(&format!("/sinks/{sink}/resume")).await;
        comes_to(&relay, &event, sink, "delivered").await;
    }
    assert_eq!((scene.facturation.entries().len(), scene.efactori.entries().len()), (3, 3));
}

async fn what_nobody_knows_is_healed_after_a_crash(backend: Backend) {
    let scene = Scene::new(backend).await;
    // The answer to one write is lost, and the service is killed while it waits; the other write was never carried out.
    let (_, done) = scene.payment("C-1", 10_000, 10_000);
    let (_, undone) = scene.payment("C-2", 10_000, 10_000);
    let relay = scene.home.start().await;
    let mut events = Vec::new();
    for (payment, fault) in [(&done, Fault::after(Then::Silence)), (&undone, Fault::before(Then::Silence))] {
        for desk in [scene.facturation.desk(), scene.efactori.desk()] {
            desk.next_on(On("POST", ""), 1, fault.clone());
        }
        let posts = || scene.facturation.desk().count(On("POST", "")) + scene.efactori.desk().count(On("POST", ""));
        let before = posts();
        events.push(Finkare::of(&relay).deliver(&scene.fake.delivery(payment, Says::Little)).await.id());
        eventually("both were asked", async || posts() == before + 2).await;
    }
    for sink in ["compta", "onfact"] {
        assert_eq!(booking(&relay, sink, &done).await.expect("a line")["state"], "sending");
    }
    relay.kill();
    assert_eq!((scene.facturation.entries().len(), scene.efactori.entries().len()), (1, 1));

    let relay = scene.home.start().await;
    for event in &events {
        for sink in ["compta", "onfact"] {
            comes_to(&relay, event, sink, "delivered").await;
        }
    }
    for books in [&scene.facturation as &dyn Books, &scene.efactori] {
        assert_eq!(books.entries().len(), 2);
        assert_eq!((books.doubled(), books.overpaid()), (vec![], vec![]));
        assert_eq!(books.desk().count(On("POST", "")), 3, "the one that had been carried out was not sent again");
    }
    for (sink, payment, note) in [("compta", &done, "found by our marker"), ("compta", &undone, "read back")] {
        assert_eq!(booking(&relay, sink, payment).await.expect("a line")["note"], note);
    }
    assert_eq!(scene.complaints(), Vec::<String>::new());
}

async fn a_person_settles_what_stays_in_doubt(backend: Backend) {
    let scene = Scene::new(backend).await;
    scene.configure("marker_field = \"none\"");
    // Only eFactori can have entries without a marker.
    let text = std::fs::read_to_string(scene.home.path("relay.toml")).expect("it is there");
    let (before, rest) = text.split_once("[[sinks]]\nname = \"compta\"").expect("the first sink");
    let onfact = rest.split("[[sinks]]").nth(1).expect("the second sink");
    std::fs::write(scene.home.path("relay.toml"), format!("{before}[[sinks]]{onfact}")).expect("it can be written");

    let (_, lost) = scene.payment("D-1", 10_000, 10_000);
    let (_, kept) = scene.payment("D-2", 10_000, 10_000);
    let relay = scene.home.start().await;
    let mut events = Vec::new();
    for (payment, fault) in [(&lost, Fault::before(Then::Cut)), (&kept, Fault::after(Then::Cut))] {
        scene.efactori.desk().next_on(On("POST", ""), 1, fault);
        events.push(Finkare::of(&relay).deliver(&scene.fake.delivery(payment, Says::Little)).await.id());
        let held = comes_to(&relay, events.last().expect("just pushed"), "onfact", "held").await;
        assert!(held["last_error"].as_str().is_some_and(|reason| reason.contains("bookings settle")), "{held}");
    }
    // Too early: the request could still be on its way.
    let (exit, said) =
        scene.run(Some(&relay), &["bookings", "settle", &lost, "--sink", "onfact", "--not-recorded", "--yes"]).await;
    assert_eq!(exit, 1, "{said}");
    assert_eq!(booking(&relay, "onfact", &lost).await.expect("a line")["state"], "sending");
    assert!(relay.terminate().await.0.success());

    crate::replay_retry_cancel_erase::execute(&scene.home, "UPDATE bookings SET began_at = began_at - 3600000000")
        .await;
    let relay = scene.home.start().await;
    let settle = async |payment: &str, words: &[&str]| {
        let arguments = [&["bookings", "settle", payment, "--sink", "onfact", "--yes"], words].concat();
        let (exit, said) = scene.run(Some(&relay), &arguments).await;
        assert_eq!(exit, 0, "{said}");
    };
    settle(&lost, &["--not-recorded"]).await;
    settle(&kept, &["--recorded", "--target-id", "991"]).await;
    for event in &events {
        let dispatch = dispatch(&relay, event, "onfact").await;
        relay.try_post(&format!("/dispatches/{}/retry", dispatch["id"])).await;
        comes_to(&relay, event, "onfact", "delivered").await;
    }
    assert_eq!(scene.efactori.entries().len(), 2, "one by the first attempt, one by the last");
    assert_eq!(scene.efactori.overpaid(), Vec::<String>::new());
    assert_eq!(booking(&relay, "onfact", &kept).await.expect("a line")["target_id"], "991");
    let audit = relay.all("/audit").await;
    assert_eq!(audit.iter().filter(|entry| entry["action"] == "booking.settled").count(), 2, "{audit:?}");
}

async fn instalments_are_told_at_once_where_nothing_is_written(backend: Backend) {
    let scene = Scene::new(backend).await;
    let invoice = scene.fake.add_invoice("F-1", 30_000, "EUR");
    scene.facturation.add(NewInvoice::of("F-1", 30_000));
    scene.efactori.add(NewInvoice::of("F-1", 30_000));
    scene.tiime.add_invoice("F-1", 30_000, "EUR", "sent");
    scene.fastfaktura.add_invoice("F-1", 30_000, "EUR", "sent");
    let relay = scene.home.start().await;
    let mut told = Vec::new();
    for cents in [10_000, 20_000] {
        let payment = scene.fake.add_payment(&invoice, cents);
        let event = Finkare::of(&relay).deliver(&scene.fake.delivery(&payment, Says::Little)).await.id();
        told.push((payment, event, cents));
    }
    // A person is told about each payment, also about the second one, while the invoice is open.
    for sink in ["tiime", "fast"] {
        for (payment, event, cents) in &told {
            let held = comes_to(&relay, event, sink, "held").await;
            let reason = held["last_error"].as_str().expect("a reason");
            for word in [payment, &*format!("{}.00 EUR", cents / 100), "a part of the invoice"] {
                assert!(reason.contains(word), "`{word}` is not in: {reason}");
            }
            assert_eq!(booking(&relay, sink, payment).await, None);
        }
    }
    // All payments have arrived, and both dispatches close by themselves.
    scene.tiime.set_status("F-1", "paid");
    scene.fastfaktura.set_status("F-1", "paid");
    for sink in ["tiime", "fast"] {
        for (payment, event, cents) in &told {
            comes_to(&relay, event, sink, "delivered").await;
            let line = booking(&relay, sink, payment).await.expect("a line");
            assert_eq!((&line["state"], &line["amount_cents"]), (&json!("seen"), &json!(cents)));
        }
    }
    for (sink, books) in [("compta", &scene.facturation as &dyn Books), ("onfact", &scene.efactori)] {
        for (_, event, _) in &told {
            comes_to(&relay, event, sink, "delivered").await;
        }
        assert_eq!((books.entries().len(), books.balance_cents("F-1")), (2, 0), "{sink}");
    }
    assert_eq!(scene.complaints(), Vec::<String>::new());
}

async fn money_that_a_person_has_booked_is_not_booked_again(backend: Backend) {
    let scene = Scene::new(backend).await;
    let (_, payment) = scene.payment("F-1", 60_000, 15_000);
    for books in [&scene.facturation as &dyn Books, &scene.efactori] {
        books.pay_by_hand("F-1", 15_000, Some("VIR 4711"));
        books.locked_ledger().change_entries(|entries| entries[0].date = "2026-03-15".into());
    }
    let relay = scene.home.start().await;
    let event = Finkare::of(&relay).deliver(&scene.fake.delivery(&payment, Says::Little)).await.id();
    for (sink, books) in [("compta", &scene.facturation as &dyn Books), ("onfact", &scene.efactori)] {
        let held = comes_to(&relay, &event, sink, "held").await;
        let reason = held["last_error"].as_str().expect("a reason");
        let id = books.entries()[0].id.to_string();
        for word in ["150.00 EUR of 2026-03-15", "VIR 4711", &*id, "on_same_amount", "dispatches cancel", &payment] {
            assert!(reason.contains(word), "{sink}: `{word}` is not in: {reason}");
        }
        assert_eq!((books.entries().len(), booking(&relay, sink, &payment).await), (1, None), "{sink}");
    }
    // The entry was another payment.
    assert!(relay.terminate().await.0.success());
    scene.configure("");
    let text = std::fs::read_to_string(scene.home.path("relay.toml")).expect("it was written");
    let text = text.replace("contact =", "on_same_amount = \"book\"\ncontact =");
    std::fs::write(scene.home.path("relay.toml"), text).expect("it can be written");
    let relay = scene.home.start().await;
    let id = dispatch(&relay, &event, "compta").await["id"].clone();
    relay.try_post(&format!("/dispatches/{id}/retry")).await;
    comes_to(&relay, &event, "compta", "delivered").await;
    let booked: Vec<_> = scene.facturation.entries().iter().map(|entry| (entry.cents(), entry.by_hand)).collect();
    assert_eq!(booked, [(15_000, true), (15_000, false)]);
    // If it is the same payment, a person adds the relay's marker to it, and the relay recognises it.
    scene.efactori.locked_ledger().change_entries(|entries| entries[0].marker = Some(format!("Finkare {payment}")));
    comes_to(&relay, &event, "onfact", "delivered").await;
    assert_eq!((scene.efactori.entries().len(), scene.complaints()), (1, vec![]));
}

/// The payment of one company must not get into the books of another company, nor twice into the books of one.
#[tokio::test]
async fn books_that_would_get_what_is_not_theirs_are_refused() {
    let scene = Scene::new(Backend::Sqlite).await;
    let path = scene.home.path("relay.toml");
    let good = std::fs::read_to_string(&path).expect("it was written");
    let second = format!(
        "\n[[endpoints]]\nname = \"beta\"\npath = \"/hooks/beta\"\nsecret = \"{SECRET}\"\napi_key = \"{API_KEY}\"\n\
         api_url = \"{}\"\n",
        scene.fake.api_url()
    );
    // Two companies, and books that do not name their company.
    std::fs::write(&path, format!("{good}{second}")).expect("it can be written");
    for command in ["check", "serve"] {
        let (exit, said) = scene.run(None, &[command]).await;
        assert_eq!(exit, 2, "{command}: {said}");
        for sink in ["compta", "onfact", "tiime", "fast"] {
            let line = said.lines().find(|line| line.contains(&format!("({sink}).endpoints: ")));
            let line = line.unwrap_or_else(|| panic!("{command}: nothing of {sink}: {said}"));
            assert!(line.contains("is missing") && line.contains("production") && line.contains("beta"), "{line}");
        }
        no_secret(&said);
    }
    // The same books twice, spelled differently, each for an endpoint of its own.
    let twice = |name: &str, from: &str, endpoint: &str| {
        let begin = good.find(&format!("[[sinks]]\nname = \"{from}\"")).expect("it is there");
        let end = good[begin + 1..].find("[[sinks]]").map_or(good.len(), |end| begin + 1 + end);
        let section = good[begin..end].replacen(&format!("\"{from}\""), &format!("\"{name}\""), 1);
        let url = section.find("http://").map(|at| &section[at..at + section[at..].find('"').unwrap()]).unwrap();
        let section = section.replacen(url, &format!("{}/", url.replacen("http", "HTTP", 1)), 1);
        format!("\n{section}\nendpoints = [\"{endpoint}\"]\n")
    };
    let named = good.replace("timeout_secs = 5\nsettle", "endpoints = [\"production\"]\ntimeout_secs = 5\nsettle");
    for from in ["compta", "onfact", "tiime", "fast"] {
        let text = format!("{named}{}{second}", twice("again", from, "beta"));
        std::fs::write(&path, text).expect("it can be written");
        let (exit, said) = scene.run(None, &["check"]).await;
        assert_eq!(exit, 2, "{from}: {said}");
        let line =
            said.lines().find(|line| line.contains("the same books")).unwrap_or_else(|| panic!("{from}: {said}"));
        assert!(line.contains(&format!("`{from}` and `again`")), "{line}");
        no_secret(&said);
    }
    // One set of books for each company, with its name: this is accepted.
    std::fs::write(&path, format!("{named}{second}")).expect("it can be written");
    let (exit, said) = scene.run(None, &["check"]).await;
    assert!(exit != 2, "{said}");
}
