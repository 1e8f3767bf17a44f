//! From an event to its payment and its invoice, through the real binary: what enriched sinks receive, which events
//! wait, which are held, and that no payment belongs to two events.

use std::collections::{BTreeMap, BTreeSet};

use finkare_relay::model::clock;
use rand::{SeedableRng, seq::SliceRandom};
use serde_json::{Value, json};

use crate::support::{
    eventually,
    fake_finkare::{API_KEY, FakeFinkare, Then, Turn, books::Says},
    finkare::Finkare,
    relay::{Backend, Home, Relay, SECRET, on_both_stores},
    target::{Reply, Target},
};

on_both_stores!(
    enriched_sinks_get_invoice_and_payment,
    equal_instalments_have_one_event_each_in_every_sink,
    pending_and_hidden_payments_are_waited_for_across_a_crash,
    what_nobody_can_decide_is_held_with_its_reason,
    finkares_api_may_be_away,
    trying_decides_nothing,
);

const SINK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const TEMPLATE: &str = r#"{"event":{{ event.id }},"number":{{ invoice.number }},"payment":{{ payment.id }},"amount":{{ payment.amount_cents | decimal }},"said":{{ payload.data.amountCents }}}"#;

/// A relay whose endpoint may call the fake, with two sinks: a file for every event, and an HTTP target for payments.
struct Scene {
    fake: FakeFinkare,
    home: Home,
    target: Target,
    relay: Relay,
    finkare: Finkare,
}

impl Scene {
    async fn new(backend: Backend, patience_secs: u32) -> Self {
        let (fake, home, target) = (FakeFinkare::start().await, Home::new(backend).await, Target::start().await);
        let endpoint = format!(
            "secret = \"{SECRET}\"\napi_key = \"{API_KEY}\"\napi_url = \"{}\"\n\
             api_rate_limit = {{ requests = 1000, per_secs = 1 }}\npayment_patience_secs = {patience_secs}",
            fake.api_url()
        );
        let common = "enrich = true\nretry = { initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }\n\
                      breaker = { failures = 1000, probe_secs = 0.05 }\n";
        let sinks = format!(
            "[[sinks]]\nname = \"lines\"\ntype = \"file\"\npath = \"{}\"\nevents = [\"*\"]\n{common}\n\
             [[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\nevents = [\"payment.received\"]\n\
             secret = \"{SINK_SECRET}\"\ntemplate = '{TEMPLATE}'\n{common}",
            home.path("lines.jsonl").display(),
            target.url()
        );
        home.configure("", &endpoint, &sinks);
        let relay = home.start().await;
        let finkare = Finkare::of(&relay);
        Self { fake, home, target, relay, finkare }
    }

    async fn deliver(&self, payment: &str) -> String {
        self.finkare.deliver(&self.fake.delivery(payment, Says::Little)).await.id()
    }

    /// The lines written so far, by event.
    fn lines(&self) -> BTreeMap<String, Value> {
        let text = std::fs::read_to_string(self.home.path("lines.jsonl")).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("every line is JSON"));
        lines.map(|line| (line["id"].as_str().expect("an id").to_owned(), line)).collect()
    }

    /// The payments named by the file's lines and the target's bodies, by event.
    fn payments(&self) -> [BTreeMap<String, String>; 2] {
        let text = |value: &Value| value.as_str().expect("a payment's id").to_owned();
        let lines = self.lines();
        let in_lines = lines.iter().filter(|(_, line)| line["type"] == "payment.received");
        let in_lines = in_lines.map(|(id, line)| (id.clone(), text(&line["resolved"]["payment"]["id"])));
        let bodies = self.target.delivered();
        let in_bodies = bodies.iter().map(|(id, body)| {
            (id.clone(), text(&serde_json::from_slice::<Value>(body).expect("the template makes JSON")["payment"]))
        });
        [in_lines.collect(), in_bodies.collect()]
    }

    /// The dispatches of an event with their sinks, in the order of the sinks' names.
    async fn dispatches(&self, event: &str) -> Vec<Value> {
        let event = self.relay.get(&format!("/events/{event}")).await;
        let mut dispatches = event["dispatches"].as_array().expect("a list").clone();
        dispatches.sort_by_key(|dispatch| dispatch["sink"].to_string());
        dispatches
    }

    /// Waits until every dispatch of an event is in this state, and its reason contains these words.
    async fn all(&self, event: &str, state: &str, words: &[&str]) {
        eventually(&format!("{event} is {state}: {words:?}"), async || {
            self.dispatches(event).await.iter().all(|dispatch| {
                let reason = dispatch["last_error"].as_str().unwrap_or_default();
                dispatch["state"] == state && words.iter().all(|word| reason.contains(word))
            })
        })
        .await;
    }

    /// Cancels all remaining dispatches of an event. A dispatch that a worker has claimed cannot be cancelled.
    async fn cancel(&self, event: &str) {
        for dispatch in self.dispatches(event).await {
            let path = format!("/dispatches/{}/cancel", dispatch["id"]);
            eventually("it can be called off", async || self.relay.try_post(&path).await.0 == 200).await;
        }
    }

    /// Makes all waiting and held dispatches due at once.
    async fn nudge(&self) {
        for state in ["pending", "held"] {
            let (status, answer) = self.relay.try_post_json("/dispatches/retry", &json!({"state": state})).await;
            assert_eq!(status, 200, "{answer}");
        }
    }
}

async fn enriched_sinks_get_invoice_and_payment(backend: Backend) {
    let scene = Scene::new(backend, 900).await;
    let invoice = scene.fake.add_invoice("F-2026 \"7\"", 300_000, "EUR");
    let payment = scene.fake.add_payment(&invoice, 150_005);
    let said = scene.fake.delivery(&payment, Says::Little);
    let paid = scene.finkare.deliver(&said).await.id();
    let changed = json!({"event": "invoice.status_changed", "data": {"invoiceId": invoice, "newStatus": "x"}});
    let changed = scene.finkare.deliver(changed.to_string().as_bytes()).await.id();
    let ping = scene.finkare.deliver(br#"{"event":"ping"}"#).await.id();
    scene.relay.drained().await;

    let shown = scene.fake.payments().remove(0);
    let about_invoice = json!({"id": invoice, "number": "F-2026 \"7\"", "amount_cents": 300_000, "currency": null, "status": "in_recovery"});
    let lines = scene.lines();
    assert_eq!(
        lines[&paid]["resolved"],
        json!({
            "invoice": about_invoice,
            "payment": {
                "id": payment, "amount_cents": 150_005, "currency": "EUR", "method": shown.method, "paid_at": shown.paid_at,
            },
        })
    );
    assert_eq!(lines[&changed]["resolved"], json!({"invoice": about_invoice}));
    assert!(lines[&ping].get("resolved").is_none(), "{}", lines[&ping]);
    assert_eq!(lines[&paid]["payload"], serde_json::from_slice::<Value>(&said).unwrap());

    let arrivals = scene.target.arrivals();
    assert_eq!(arrivals.len(), 1, "payments only");
    let expected = format!(
        r#"{{"event":"{paid}","number":"F-2026 \"7\"","payment":"{payment}","amount":"1500.05","said":150005}}"#
    );
    assert_eq!(std::str::from_utf8(&arrivals[0].body).unwrap(), expected);
    assert_eq!(arrivals[0].header("content-type"), "application/json");
    let webhook = standardwebhooks::Webhook::new(SINK_SECRET).unwrap();
    webhook.verify(&arrivals[0].body, &arrivals[0].headers).expect("what is sent is what is signed");

    // A test event has no payment: the file accepts it, and the template says what is missing.
    let tested = scene.relay.post("/sinks/lines/test").await;
    assert_eq!(tested["outcome"], "delivered", "{tested}");
    let tested = scene.relay.post("/sinks/erp/test").await;
    assert!(tested.to_string().contains("`payment.id`"), "{tested}");
    assert_eq!(scene.fake.complaints(), [""; 0]);
}

async fn equal_instalments_have_one_event_each_in_every_sink(backend: Backend) {
    const INSTALMENTS: usize = 12;
    let scene = Scene::new(backend, 900).await;
    let invoices: Vec<String> = (0..3).map(|n| scene.fake.add_invoice(&format!("F-{n}"), 1_000_000, "EUR")).collect();
    let payments: Vec<String> =
        (0..INSTALMENTS).map(|n| scene.fake.add_payment(&invoices[n % invoices.len()], 5_000)).collect();
    // Paid at the same moment: only the ids of the payments differ.
    for payment in &payments {
        scene.fake.change_payment(payment, |payment| payment.paid_at = "2026-03-01T12:00:00Z".parse().unwrap());
    }
    let mut bodies: Vec<Vec<u8>> = payments.iter().map(|payment| scene.fake.delivery(payment, Says::Little)).collect();
    bodies.extend(bodies.clone());
    bodies.shuffle(&mut rand::rngs::StdRng::seed_from_u64(7));
    let mut events = BTreeSet::new();
    for body in &bodies {
        events.insert(scene.finkare.deliver(body).await.id());
    }
    assert_eq!(events.len(), INSTALMENTS, "repetitions are no events");
    scene.relay.drained().await;
    let [in_lines, in_bodies] = scene.payments();
    assert_eq!(in_lines, in_bodies, "both sinks agree");
    assert_eq!(in_lines.keys().cloned().collect::<BTreeSet<_>>(), events);
    let all: BTreeSet<&String> = payments.iter().collect();
    // Among payments of the same moment, each may be taken for this invoice, and none for another invoice.
    assert_eq!(in_lines.values().collect::<BTreeSet<_>>(), all, "each payment has one event");
    let invoice_of: BTreeMap<String, String> =
        scene.fake.payments().into_iter().map(|payment| (payment.id, payment.invoice)).collect();
    for event in scene.relay.all("/events").await {
        let given = &in_lines[event["id"].as_str().expect("an id")];
        assert_eq!(event["invoice_id"], json!(invoice_of[given]), "it is of the event's own invoice");
        assert_eq!(event["payment_id"], json!(given));
    }

    // The same payment is announced by a new message: it does not get another payment, and is not reported as done.
    let again = scene.finkare.deliver(&scene.fake.redelivery(&payments[0], Says::Little)).await;
    assert!(!again.is_duplicate());
    scene.all(&again.id(), "pending", &["other events have already announced"]).await;
    scene.cancel(&again.id()).await;
    let named = scene.finkare.deliver(&scene.fake.redelivery(&payments[1], Says::All)).await.id();
    scene.all(&named, "pending", &["other events have already announced", payments[1].as_str()]).await;
    scene.cancel(&named).await;

    // A replayed event has the same payment as before.
    let replayed = events.first().expect("there are events");
    scene.relay.post(&format!("/events/{replayed}/replay")).await;
    let done = async || {
        let dispatches = scene.dispatches(replayed).await;
        dispatches.len() == 4 && dispatches.iter().all(|dispatch| dispatch["state"] == "delivered")
    };
    eventually("the replay is delivered", done).await;
    assert_eq!(scene.payments(), [in_lines.clone(), in_lines], "and nothing has changed");
    assert_eq!(scene.fake.complaints(), [""; 0]);
}

async fn pending_and_hidden_payments_are_waited_for_across_a_crash(backend: Backend) {
    let mut scene = Scene::new(backend, 900).await;
    let invoices = ["F-1", "F-2", "F-3"].map(|number| scene.fake.add_invoice(number, 10_000, "EUR"));
    let [pending, hidden, ready] = [0, 1, 2].map(|n| scene.fake.add_payment(&invoices[n], 10_000));
    scene.fake.set_payment_status(&pending, "pending");
    scene.fake.hide(&hidden);
    let events = [scene.deliver(&pending).await, scene.deliver(&hidden).await, scene.deliver(&ready).await];
    scene.all(&events[0], "pending", &[pending.as_str(), "still pending"]).await;
    scene.all(&events[1], "pending", &["Finkare does not show", invoices[1].as_str(), "100.00"]).await;
    scene.all(&events[2], "delivered", &[]).await;
    for sink in ["lines", "erp"] {
        let row = scene.relay.sink(sink).await;
        assert_eq!(
            (&row["state"], &row["last_error"]),
            (&json!("active"), &Value::Null),
            "waiting is no failure: {row}"
        );
    }

    scene.relay.kill();
    scene.fake.set_payment_status(&pending, "completed");
    scene.relay = scene.home.start().await;
    scene.finkare = Finkare::of(&scene.relay);
    scene.nudge().await;
    scene.all(&events[0], "delivered", &[]).await;
    scene.fake.reveal(&hidden);
    scene.nudge().await;
    scene.all(&events[1], "delivered", &[]).await;
    let expected: BTreeMap<String, String> = events.into_iter().zip([pending, hidden, ready]).collect();
    assert_eq!(scene.payments(), [expected.clone(), expected]);
}

async fn what_nobody_can_decide_is_held_with_its_reason(backend: Backend) {
    // Without patience, a payment that is not visible is held at once.
    let mut scene = Scene::new(backend, 0).await;
    let invoice = |number: &str| scene.fake.add_invoice(number, 10_000, "EUR");
    let paid_at = |payment: &str, time: &str| {
        scene.fake.change_payment(payment, |payment| payment.paid_at = time.parse().unwrap());
    };
    let back = scene.fake.add_payment(&invoice("F-refunded"), 100);
    scene.fake.set_payment_status(&back, "refunded");
    let hidden = scene.fake.add_payment(&invoice("F-hidden"), 100);
    scene.fake.hide(&hidden);
    let twice = invoice("F-ambiguous");
    let [one, other] = [100, 100].map(|cents| scene.fake.add_payment(&twice, cents));
    // The delivery is dated two seconds after the payment: exactly between the two payments.
    paid_at(&one, "2026-03-01T12:00:00Z");
    paid_at(&other, "2026-03-01T12:00:04Z");
    let bare = invoice("F-bare");
    let bare_payment = scene.fake.add_payment(&bare, 100);
    scene.fake.change_payment(&bare_payment, |payment| payment.spoilt = vec![("paidAt", None)]);

    let refunded = scene.deliver(&back).await;
    let unseen = scene.deliver(&hidden).await;
    let ambiguous = scene.deliver(&one).await;
    let incomplete = scene.deliver(&bare_payment).await;
    let odd = json!({"event": "payment.received", "data": {"invoiceId": bare, "amountCents": 1.5}});
    let float = scene.finkare.deliver(odd.to_string().as_bytes()).await.id();
    scene.all(&refunded, "held", &[back.as_str(), "`refunded`"]).await;
    scene.all(&unseen, "held", &["Finkare does not show", "cancel this dispatch"]).await;
    scene.all(&ambiguous, "held", &[one.as_str(), other.as_str(), "does not guess"]).await;
    scene.all(&incomplete, "held", &[bare_payment.as_str(), "has no payment date"]).await;
    assert!(scene.target.arrivals().is_empty() && scene.lines().is_empty(), "nothing of it went anywhere");
    for dispatch in scene.dispatches(&unseen).await {
        let next: jiff::Timestamp = dispatch["next_attempt_at"].as_str().expect("looked at again").parse().unwrap();
        let minutes = next.duration_since(clock::now()).as_mins();
        assert!((50..=60).contains(&minutes), "{dispatch}");
    }

    // A payment that becomes visible is found at the next check, and a resolved ambiguity as well.
    scene.fake.reveal(&hidden);
    scene.fake.set_payment_status(&other, "refunded");
    scene.fake.change_payment(&bare_payment, |payment| payment.spoilt.clear());
    scene.nudge().await;
    scene.all(&unseen, "delivered", &[]).await;
    scene.all(&ambiguous, "delivered", &[]).await;
    scene.all(&incomplete, "delivered", &[]).await;
    scene.all(&float, "held", &["`data.amountCents`"]).await;
    scene.all(&refunded, "held", &["`refunded`"]).await;
    let expected: BTreeMap<String, String> =
        [(unseen, hidden), (ambiguous.clone(), one.clone()), (incomplete, bare_payment)].into();
    assert_eq!(scene.payments(), [expected.clone(), expected]);

    // An event keeps its payment, but does not send it after a refund. (The service is restarted, because it caches
    // Finkare's earlier answer for a moment.)
    scene.relay.kill();
    scene.relay = scene.home.start().await;
    scene.fake.set_payment_status(&one, "refunded");
    scene.relay.post(&format!("/events/{ambiguous}/replay")).await;
    eventually("the replay is held", async || {
        let dispatches = scene.dispatches(&ambiguous).await;
        let held = dispatches.iter().filter(|dispatch| dispatch["state"] == "held");
        held.filter(|dispatch| dispatch["last_error"].as_str().unwrap_or_default().contains(&one)).count() == 2
    })
    .await;
}

async fn finkares_api_may_be_away(backend: Backend) {
    let scene = Scene::new(backend, 900).await;
    let invoice = scene.fake.add_invoice("F-1", 10_000, "EUR");
    let payment = scene.fake.add_payment(&invoice, 10_000);
    let troubles = [Then::Status(500), Then::Cut, Then::Garbage, Then::Status(503)].map(Turn::refusing);
    scene.fake.next_reads("/payments/invoice/", troubles.clone());
    scene.fake.next_reads("/invoices/", troubles);
    let event = scene.deliver(&payment).await;
    scene.all(&event, "delivered", &[]).await;
    assert!(scene.fake.reads("/payments/invoice/") > 4, "it was asked again");

    // A key without the scope to read needs a person: the sinks stop, and lose nothing.
    scene.fake.deny(&["payments:read"]);
    let second = scene.fake.add_payment(&invoice, 20_000);
    let event = scene.deliver(&second).await;
    for sink in ["lines", "erp"] {
        eventually("the sink stops", async || scene.relay.sink(sink).await["state"] == "paused").await;
    }
    scene.all(&event, "pending", &["`invoices:read` and `payments:read`", "resume the sink"]).await;
    scene.fake.deny(&[]);
    for sink in ["lines", "erp"] {
        scene.relay.post(&format!("/sinks/{sink}/resume")).await;
    }
    scene.all(&event, "delivered", &[]).await;
    let [in_lines, in_bodies] = scene.payments();
    assert_eq!(in_lines, in_bodies);
    assert_eq!(in_lines.values().collect::<BTreeSet<_>>(), BTreeSet::from([&payment, &second]));
    assert!(!scene.relay.log().contains(API_KEY), "the key is in no log");
}

/// `try` shows what an enriched sink would get and decides nothing: the payment stays free.
async fn trying_decides_nothing(backend: Backend) {
    let scene = Scene::new(backend, 900).await;
    let invoice = scene.fake.add_invoice("F-1", 10_000, "EUR");
    let payment = scene.fake.add_payment(&invoice, 10_000);
    let body = scene.home.path("event.json");
    std::fs::write(&body, scene.fake.delivery(&payment, Says::Little)).unwrap();
    let tried = async |sink: &str, event: &str| {
        let mut command = scene.home.command();
        let admin = format!("http://{}", scene.relay.admin);
        command.args(["try", "--sink", sink, "--event", event, "--admin-url", &admin]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !text.contains(API_KEY), "{text}");
        text
    };
    for _ in 0..2 {
        let text = tried("erp", "event.json").await;
        assert!(text.contains(r#""amount":"100.00""#) && text.contains(&payment), "{text}");
    }
    let text = tried("lines", "event.json").await;
    assert!(text.contains(r#""resolved":{"invoice":{"#), "{text}");

    let event = scene.deliver(&payment).await;
    scene.all(&event, "delivered", &[]).await;
    let text = tried("erp", &event).await;
    assert!(text.contains(r#""amount":"100.00""#), "the event has it: {text}");
    let text = tried("erp", "event.json").await;
    assert!(text.contains("not yet") && text.contains("other events have already announced"), "{text}");
    scene.target.script(|_, _| Reply::Status(204, vec![]));
    assert_eq!(scene.target.arrivals().len(), 1, "trying sends nothing");
}
