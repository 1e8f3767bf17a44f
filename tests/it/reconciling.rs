//! Reconciliation: a Finkare of our own with two months of payments, announced, lost, repeated, refunded, changed, in several
//! currencies; the report is compared with the truth, to the cent. What is filled is booked once, in whatever order the
//! genuine deliveries come, and whenever the process is killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{
    as_long_as_it_moves,
    books::{
        Books, NewInvoice,
        facturation_pro::{self, FacturationPro},
    },
    eventually,
    fake_finkare::{API_KEY, FakeFinkare, Then, Turn, books::Says},
    finkare::Finkare,
    relay::{Backend, Home, Relay, SECRET, TOKEN, on_both_stores},
};

on_both_stores!(
    two_months_are_reported_to_the_cent,
    what_is_filled_is_booked_once_in_every_order,
    a_killed_pass_goes_on_where_it_was,
    what_a_person_has_booked_is_held,
    what_the_books_no_longer_show_is_reported,
    differences_are_told_on_change_and_shown,
    the_rule_of_the_resolver_decides,
);

struct Scene {
    finkare: FakeFinkare,
    books: FacturationPro,
    home: Home,
}

impl Scene {
    async fn new(backend: Backend) -> Self {
        Self::with(backend, "", "").await
    }

    /// `endpoint` and `more` are further options and sinks.
    async fn with(backend: Backend, endpoint: &str, more: &str) -> Self {
        let scene = Self {
            finkare: FakeFinkare::start().await,
            books: FacturationPro::start().await,
            home: Home::new(backend).await,
        };
        scene.books.desk().limit([]);
        let endpoint = format!(
            "secret = \"{SECRET}\"\napi_key = \"{API_KEY}\"\napi_url = \"{}\"\npayment_patience_secs = 1\n\
             api_rate_limit = {{ requests = 100000, per_secs = 1 }}\n{endpoint}",
            scene.finkare.api_url()
        );
        let sinks = format!(
            "[[sinks]]\nname = \"compta\"\ntype = \"facturation_pro\"\nbase_url = \"{}\"\nfirm_id = \"{}\"\n\
             api_id = \"{}\"\napi_key = \"{}\"\ncontact = \"ops@example.test\"\ntimeout_secs = 5\nsettle_secs = 1\n\
             not_found_secs = 0\nconcurrency = 8\n\
             retry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }}\n\
             api_limits = [{{ requests = 100000, per_secs = 1 }}]\n{more}\n",
            scene.books.url(),
            facturation_pro::FIRM,
            facturation_pro::API_ID,
            facturation_pro::API_KEY,
        );
        scene.home.configure("", &endpoint, &sinks);
        scene
    }

    /// A payment of an invoice of its own; answers Finkare's ids of both.
    fn payment(&self, number: &str, cents: i64, at: Timestamp) -> (String, String) {
        let invoice = self.finkare.add_invoice(number, cents, "EUR");
        self.books.add(NewInvoice::of(number, cents));
        (invoice.clone(), self.further(&invoice, cents, at))
    }

    fn further(&self, invoice: &str, cents: i64, at: Timestamp) -> String {
        let payment = self.finkare.add_payment(invoice, cents);
        self.finkare.change_payment(&payment, |payment| payment.paid_at = at);
        payment
    }

    /// Runs a command beside the service; answers its exit code, and its answer as JSON.
    async fn run(&self, relay: &Relay, arguments: &[&str]) -> (i32, Value) {
        let (code, out, err) = self.say(relay, &[arguments, &["--json"]].concat()).await;
        let answer = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{arguments:?}: {code} {out}{err}"));
        (code, answer)
    }

    async fn say(&self, relay: &Relay, arguments: &[&str]) -> (i32, String, String) {
        let mut command: Command = self.home.command();
        command.args(arguments).args(["--admin-url", &format!("http://{}", relay.admin)]);
        command.env("RELAY_ADMIN_TOKEN", TOKEN);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it runs").expect("it starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// How many times a payment is in the books.
    fn booked(&self, payment: &str) -> usize {
        let marker = format!("finkare:{payment}");
        self.books.entries().iter().filter(|entry| entry.marker.as_deref() == Some(marker.as_str())).count()
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

async fn deliver(relay: &Relay, body: &[u8]) -> String {
    let answer = Finkare::of(relay).deliver(body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.id()
}

/// Waits until nothing more happens by itself.
async fn settled(relay: &Relay) {
    settled_but(relay, 0).await;
}

/// The same, where so many payments are pending at Finkare.
async fn settled_but(relay: &Relay, pending: usize) {
    as_long_as_it_moves("everything is booked or held", async || relay.has_settled(pending).await).await;
}

/// Asks for a report by the API, and waits until it is done.
async fn report(relay: &Relay, since: &str, until: &str, fill: bool) -> Value {
    let body = json!({"endpoint": "production", "since": since, "until": until, "fill": fill});
    let (status, answer) = relay.try_post_json("/reconciliations", &body).await;
    assert_eq!(status, 202, "{answer}");
    finished(relay, answer["id"].as_str().expect("an id")).await
}

async fn finished(relay: &Relay, id: &str) -> Value {
    let path = format!("/reconciliations/{id}");
    eventually("the report is done", async || relay.get(&path).await["state"] != "running").await;
    let report = relay.get(&path).await;
    assert_eq!(report["state"], "done", "{report}");
    report
}

/// The differences of a report: kind, payment, sink.
fn found(report: &Value) -> BTreeSet<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = report["differences"].as_array().expect("a list");
    // What has no payment is known by its event.
    let id = |row: &Value| text(if row["payment_id"].is_null() { &row["event_id"] } else { &row["payment_id"] });
    let found: BTreeSet<_> = rows.iter().map(|row| (text(&row["kind"]), id(row), text(&row["sink"]))).collect();
    assert_eq!(found.len(), rows.len(), "no difference is told twice: {report}");
    for row in rows {
        assert!(text(&row["detail"]).len() > 30, "a sentence says what to do: {row}");
    }
    found
}

async fn events_of(relay: &Relay, payment: &str) -> Vec<Value> {
    relay.all(&format!("/events?q={payment}")).await
}

// --- the truth

/// What happened to a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    Announced,
    Repeated,
    Lost,
    LostInFrancs,
    Refunded,
    Pending,
    /// The event names the payment and another amount.
    WrongAmount,
    /// Finkare's amount is changed after the booking.
    Changed,
    /// The books do not have the invoice.
    NotThere,
}

struct Truth {
    differences: BTreeSet<(String, String, String)>,
    /// By currency: completed payments and their sum, and those of the events.
    sums: BTreeMap<String, [(u64, i64); 2]>,
    booked: (u64, i64),
    held: u64,
    lost: Vec<String>,
}

/// Five hundred payments in September and October, and some before and after; each with its story.
fn tell_stories(scene: &Scene, bodies: &mut Vec<Vec<u8>>) -> (Truth, Vec<(String, Story)>) {
    let mut truth = Truth {
        differences: BTreeSet::new(),
        sums: BTreeMap::from([("EUR".into(), [(0, 0); 2]), ("CHF".into(), [(0, 0); 2])]),
        booked: (0, 0),
        held: 0,
        lost: vec![],
    };
    let mut all = Vec::new();
    let first = at("2026-08-31T22:00:00Z");
    for index in 0..500_i64 {
        let story = match index % 25 {
            3 | 14 => Story::Lost,
            5 => Story::LostInFrancs,
            7 => Story::Refunded,
            9 => Story::Pending,
            11 => Story::WrongAmount,
            17 => Story::Changed,
            19 => Story::NotThere,
            21 | 23 => Story::Repeated,
            _ => Story::Announced,
        };
        let cents = 1_000 + index * 137 % 90_001;
        let paid_at = first + SignedDuration::from_mins(175 * index);
        let number = format!("F-{index:04}");
        let currency = if story == Story::LostInFrancs { "CHF" } else { "EUR" };
        let invoice = scene.finkare.add_invoice(&number, cents + 10, currency);
        if story != Story::NotThere {
            scene.books.add(NewInvoice::of(&number, cents + 10).currency(currency));
        }
        let payment = scene.further(&invoice, cents, paid_at);
        let body = scene.finkare.delivery(&payment, if index % 2 == 0 { Says::Little } else { Says::All });
        let mut tell = |kind: &str, sink: &str| {
            truth.differences.insert((kind.into(), payment.clone(), sink.into()));
        };
        let (mut is_completed, mut said) = (true, Some(cents));
        match story {
            Story::Announced => bodies.push(body),
            Story::Repeated => bodies.extend([body.clone(), body]),
            Story::Lost | Story::LostInFrancs => {
                tell("never_announced", "");
                truth.lost.push(payment.clone());
                said = None;
            }
            Story::Refunded => {
                bodies.push(body);
                tell("refunded_after_booking", "compta");
                is_completed = false;
            }
            Story::Pending => {
                bodies.push(body);
                scene.finkare.set_payment_status(&payment, "pending");
                is_completed = false;
            }
            Story::WrongAmount => {
                let full = scene.finkare.delivery(&payment, Says::All);
                let text = String::from_utf8(full).expect("text");
                let wrong =
                    text.replace(&format!("\"amountCents\":{cents}"), &format!("\"amountCents\":{}", cents + 1));
                assert_ne!(text, wrong);
                bodies.push(wrong.into_bytes());
                tell("amount_differs", "");
                said = Some(cents + 1);
            }
            Story::Changed => {
                bodies.push(body);
                tell("amount_differs", "");
                tell("amount_differs", "compta");
            }
            Story::NotThere => {
                bodies.push(body);
                tell("held", "compta");
                truth.held += 1;
            }
        }
        if matches!(story, Story::Announced | Story::Repeated | Story::Refunded | Story::Changed) {
            truth.booked.0 += 1;
            truth.booked.1 += cents;
        }
        let theirs = if story == Story::Changed { cents + 5 } else { cents };
        let sums = truth.sums.get_mut(currency).expect("a currency");
        if is_completed {
            sums[0].0 += 1;
            sums[0].1 += theirs;
            if let Some(said) = said {
                sums[1].0 += 1;
                sums[1].1 += said;
            }
        }
        all.push((payment, story));
    }
    // Outside of the two months, by an hour in Paris: announced, and lost.
    for (number, time) in [("F-A", "2026-08-31T21:00:00Z"), ("F-B", "2026-10-31T23:30:00Z")] {
        let (_, payment) = scene.payment(number, 777, at(time));
        if number == "F-A" {
            bodies.push(scene.finkare.delivery(&payment, Says::Little));
        }
    }
    (truth, all)
}

/// Announcements of payments that Finkare does not have: on an invoice of their own, and on an invoice that was paid.
fn ghosts(scene: &Scene, bodies: &mut Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let ghost = scene.finkare.add_invoice("F-GHOST", 5_000, "EUR");
    let (paid, payment) = scene.payment("F-PAID", 4_200, at("2026-10-10T10:00:00Z"));
    bodies.push(scene.finkare.delivery(&payment, Says::Little));
    let body = |(invoice, cents): (String, i64)| {
        let body = json!({
            "event": "payment.received", "data": {"invoiceId": invoice, "amountCents": cents},
            "timestamp": "2026-10-10T12:00:00.000Z",
        });
        body.to_string().into_bytes()
    };
    [(ghost, 5_000), (paid, 9_999)].map(body).into()
}

async fn two_months_are_reported_to_the_cent(backend: Backend) {
    let scene = Scene::new(backend).await;
    let mut bodies = Vec::new();
    let (mut truth, stories) = tell_stories(&scene, &mut bodies);
    let ghosts = ghosts(&scene, &mut bodies);
    let pending = stories.iter().filter(|(_, story)| *story == Story::Pending).count();
    let relay = scene.home.start().await;
    let hook = Finkare::of(&relay);
    for part in bodies.chunks(16) {
        futures_util::future::join_all(part.iter().map(|body| hook.deliver(body))).await;
    }
    // They come last: what they are about is held, and the next event of the invoice would wait behind it.
    settled_but(&relay, pending).await;
    for ghost in &ghosts {
        deliver(&relay, ghost).await;
    }
    settled_but(&relay, pending).await;
    for (payment, story) in &stories {
        match story {
            Story::Refunded => scene.finkare.set_payment_status(payment, "refunded"),
            Story::Changed => scene.finkare.change_payment(payment, |payment| payment.cents += 5),
            _ => {}
        }
    }
    // The payment beside one ghost, and the ghosts.
    let eur = truth.sums.get_mut("EUR").expect("euros");
    for sum in eur {
        *sum = (sum.0 + 1, sum.1 + 4_200);
    }
    truth.booked = (truth.booked.0 + 1, truth.booked.1 + 4_200);

    // Killed while it reads, and while it compares.
    let (status, answer) =
        relay.try_post_json("/reconciliations", &json!({"since": "2026-09-01", "until": "2026-10-31"})).await;
    assert_eq!(status, 202, "{answer}");
    let id = answer["id"].as_str().expect("an id").to_owned();
    relay.kill();
    let relay = scene.home.start().await;
    let done = finished(&relay, &id).await;
    let unknown: Vec<&Value> =
        done["differences"].as_array().expect("a list").iter().filter(|row| row["kind"] == "unknown_payment").collect();
    assert_eq!(unknown.len(), ghosts.len(), "{unknown:?}");
    assert!(unknown.iter().all(|row| row["payment_id"].is_null() && row["event_id"].is_string()), "{unknown:?}");
    let mut differences = found(&done);
    differences.retain(|(kind, ..)| kind != "unknown_payment");
    assert_eq!(differences, truth.differences);
    check_sums(&done, &truth);

    // Filled, twice, and killed in between.
    let before = relay.all("/events").await.len();
    let body = json!({"since": "2026-09-01", "until": "2026-10-31", "fill": true});
    let (_, answer) = relay.try_post_json("/reconciliations", &body).await;
    let id = answer["id"].as_str().expect("an id").to_owned();
    eventually("some are filled", async || relay.all("/events").await.len() > before + 3).await;
    relay.kill();
    let relay = scene.home.start().await;
    let filled = finished(&relay, &id).await;
    let mut differences = found(&filled);
    differences.retain(|(kind, ..)| kind != "unknown_payment");
    assert_eq!(differences, truth.differences, "the report says what was found");
    let (code, again) =
        scene.run(&relay, &["reconcile", "--since", "2026-09-01", "--until", "2026-10-31", "--fill"]).await;
    assert_eq!(code, 1, "{again}");
    assert!(!again.to_string().contains("never_announced"), "{again}");
    let events = relay.all("/events").await;
    let made: Vec<&Value> = events.iter().filter(|event| event["origin"] == "reconciliation").collect();
    assert_eq!((events.len(), made.len()), (before + truth.lost.len(), truth.lost.len()));
    settled_but(&relay, pending).await;
    for payment in &truth.lost {
        assert_eq!(scene.booked(payment), 1, "{payment}");
    }
    // Finkare announces them after all.
    let hook = Finkare::of(&relay);
    let late: Vec<Vec<u8>> = (truth.lost.iter().enumerate())
        .map(|(index, payment)| scene.finkare.delivery(payment, if index % 2 == 0 { Says::Little } else { Says::All }))
        .collect();
    for part in late.chunks(16) {
        futures_util::future::join_all(part.iter().map(|body| hook.deliver(body))).await;
    }
    settled_but(&relay, pending).await;
    assert!(truth.lost.iter().all(|payment| scene.booked(payment) == 1));
    assert_eq!((scene.books.doubled(), scene.books.overpaid()), (vec![], vec![]));
    assert_eq!((scene.books.complaints(), scene.finkare.complaints()), (vec![], vec![]));
    let held = relay.all("/dispatches?state=held").await;
    let wrong = stories.iter().filter(|(_, story)| *story == Story::WrongAmount).count();
    let expected = truth.held + wrong as u64 + ghosts.len() as u64;
    assert_eq!(held.len() as u64, expected, "no late announcement is held");
    for dispatch in held {
        let reason = dispatch["last_error"].as_str().expect("what is held has a reason");
        assert!(finkare_relay::french::said(reason).is_some(), "there is no French for: {reason}");
    }
}

fn check_sums(report: &Value, truth: &Truth) {
    let sum = |value: &Value| {
        (value["payments"].as_u64().expect("a count"), value["amount_cents"].as_i64().expect("an amount"))
    };
    assert_eq!([sum(&report["finkare"]), sum(&report["events"])], truth.sums["EUR"], "{report}");
    assert_eq!(report["finkare"]["currency"], "EUR");
    let others = report["other_currencies"].as_array().expect("a list");
    let francs = others.iter().find(|other| other["currency"] == "CHF").expect("francs");
    assert_eq!([sum(&francs["finkare"]), sum(&francs["events"])], truth.sums["CHF"]);
    // The events without a payment name no currency, and are in no sum of one.
    let unknown = others.iter().find(|other| other["currency"].is_null()).expect("an unknown currency");
    assert_eq!((sum(&unknown["finkare"]), sum(&unknown["events"])), ((0, 0), (2, 14_999)));
    let sink = &report["sinks"][0];
    let booked = (sink["booked"].as_u64().expect("a count"), sink["amount_cents"].as_i64().expect("an amount"));
    assert_eq!((sink["sink"].as_str(), booked), (Some("compta"), truth.booked), "{sink}");
    assert_eq!(
        (sink["held"].as_u64(), sink["dead"].as_u64(), sink["open"].as_u64()),
        (Some(truth.held), Some(0), Some(0))
    );
}

// --- filling

/// The event that was made of a payment that was never announced.
fn made_of(report: &Value, payment: &str) -> String {
    assert!(found(report).contains(&("never_announced".into(), payment.into(), String::new())), "{report}");
    let rows = report["differences"].as_array().expect("a list");
    let row = rows.iter().find(|row| row["payment_id"] == payment && row["kind"] == "never_announced");
    let row = row.expect("it was found");
    let detail = row["detail"].as_str().expect("a sentence");
    // Whoever still read that they may book it would book it twice.
    assert!(detail.contains("do not book it by hand") && !detail.contains("or book it"), "{detail}");
    row["event_id"].as_str().expect("it was filled").to_owned()
}

async fn what_is_filled_is_booked_once_in_every_order(backend: Backend) {
    let scene = Scene::new(backend).await;
    let day = "2026-10-05";
    let pays = |number: &str, hour: i8| {
        let when = at("2026-10-05T00:00:00Z") + SignedDuration::from_hours(hour.into());
        scene.payment(number, 10_000, when).1
    };
    let mut relay = scene.home.start().await;

    // Filled, then announced: by a body that names no payment, and by one that does, and both once more.
    for (number, says) in [("F-1", Says::Little), ("F-2", Says::All)] {
        let payment = pays(number, 8);
        let filled = report(&relay, day, day, true).await;
        let event = made_of(&filled, &payment);
        let shown = relay.get(&format!("/events/{event}")).await;
        assert_eq!((&shown["origin"], &shown["type"]), (&json!("reconciliation"), &json!("payment.received")));
        assert_eq!(shown["dispatches"][0]["trigger"], "reconciliation");
        assert_eq!(shown["payload"]["data"]["paymentId"], payment.as_str());
        settled(&relay).await;
        assert_eq!(scene.booked(&payment), 1);
        let late = deliver(&relay, &scene.finkare.delivery(&payment, says)).await;
        assert_ne!(late, event);
        settled(&relay).await;
        let shown = relay.get(&format!("/events/{late}")).await;
        assert_eq!(shown["dispatches"][0]["state"], "delivered", "{shown}");
        for id in [&event, &late] {
            relay.post(&format!("/events/{id}/replay")).await;
        }
        settled(&relay).await;
        assert_eq!(scene.booked(&payment), 1);
        // The third announcement is one too many: a person looks at it.
        let third = deliver(&relay, &scene.finkare.redelivery(&payment, says)).await;
        eventually("it is held", async || {
            relay.get(&format!("/events/{third}")).await["dispatches"][0]["state"] == "held"
        })
        .await;
        let held = relay.get(&format!("/events/{third}")).await["dispatches"][0]["id"].clone();
        relay.post(&format!("/dispatches/{held}/cancel")).await;
        assert_eq!(scene.booked(&payment), 1);
    }

    // Announced while the sink is paused: nobody has decided anything, and nothing is filled.
    relay.post("/sinks/compta/pause").await;
    let payment = pays("F-3", 9);
    deliver(&relay, &scene.finkare.delivery(&payment, Says::Little)).await;
    let equal = report(&relay, day, day, true).await;
    assert!(!found(&equal).iter().any(|(kind, ..)| kind == "never_announced"), "{equal}");
    assert_eq!(equal["sinks"][0]["open"], 1, "{equal}");

    // Filled and then announced while the sink is paused; then the process is killed. One of the two books it.
    let both = pays("F-4", 10);
    let filled = report(&relay, day, day, true).await;
    let made = made_of(&filled, &both);
    let late = deliver(&relay, &scene.finkare.delivery(&both, Says::Little)).await;
    relay.kill();
    relay = scene.home.start().await;
    // The made event is cancelled by a person: the genuine one books the payment.
    let cancelled = relay.get(&format!("/events/{made}")).await["dispatches"][0]["id"].clone();
    relay.post(&format!("/dispatches/{cancelled}/cancel")).await;
    assert_eq!(scene.booked(&both), 0);
    relay.post("/sinks/compta/resume").await;
    settled(&relay).await;
    assert_eq!((scene.booked(&payment), scene.booked(&both)), (1, 1));
    assert_eq!(relay.get(&format!("/events/{late}")).await["dispatches"][0]["state"], "delivered");
    // The made event is sent again: nothing more.
    relay.post(&format!("/events/{made}/replay")).await;
    settled(&relay).await;
    assert_eq!(scene.booked(&both), 1);

    // Killed at once after filling, again and again.
    let lost: Vec<String> = (0..6).map(|number| pays(&format!("F-K{number}"), 12 + number)).collect();
    let body = json!({"since": day, "until": day, "fill": true});
    let (status, answer) = relay.try_post_json("/reconciliations", &body).await;
    assert_eq!(status, 202, "{answer}");
    let id = answer["id"].as_str().expect("an id").to_owned();
    for count in [1, 3, 5] {
        eventually("some are filled", async || {
            let mut filled = 0;
            for payment in &lost {
                filled += usize::from(!events_of(&relay, payment).await.is_empty());
            }
            filled >= count
        })
        .await;
        relay.kill();
        relay = scene.home.start().await;
    }
    finished(&relay, &id).await;
    settled(&relay).await;
    for payment in &lost {
        assert_eq!((scene.booked(payment), events_of(&relay, payment).await.len()), (1, 1), "{payment}");
    }
    let last = report(&relay, day, day, true).await;
    assert!(!found(&last).iter().any(|(kind, ..)| kind == "never_announced"), "{last}");
    assert_eq!((scene.books.doubled(), scene.books.complaints()), (vec![], vec![]));
}

async fn a_killed_pass_goes_on_where_it_was(backend: Backend) {
    let scene = Scene::new(backend).await;
    for index in 0..250_i64 {
        let invoice = scene.finkare.add_invoice(&format!("F-{index}"), 100, "EUR");
        scene.further(&invoice, 100, at("2026-10-01T06:00:00Z") + SignedDuration::from_mins(index));
    }
    let relay = scene.home.start().await;
    // The third page does not come.
    let gate = Arc::new(Semaphore::new(0));
    scene.finkare.next_reads("/payments", [Turn::PLAIN, Turn::PLAIN, Turn::refusing(Then::Gate(gate.clone()))]);
    let body = json!({"since": "2026-10-01", "until": "2026-10-01"});
    let (status, answer) = relay.try_post_json("/reconciliations", &body).await;
    assert_eq!(status, 202, "{answer}");
    let id = answer["id"].as_str().expect("an id").to_owned();
    eventually("three pages were asked for", || std::future::ready(scene.finkare.reads("/payments") == 3)).await;

    // Meanwhile there is one at a time.
    let (status, problem) = relay.try_post_json("/reconciliations", &body).await;
    assert_eq!((status, &problem["code"], &problem["reconciliation"]), (409, &json!("reconciling"), &json!(id)));
    relay.kill();
    let relay = scene.home.start().await;
    let report = finished(&relay, &id).await;
    assert_eq!((&report["finkare"]["payments"], &report["finkare"]["amount_cents"]), (&json!(250), &json!(25_000)));
    assert_eq!(found(&report).len(), 250);
    assert_eq!(scene.finkare.reads("/payments"), 4, "the two pages that had come were not read again");

    // A list that changes while it is read: what moves to another page is met twice, and missed by none.
    let gate = Arc::new(Semaphore::new(0));
    scene.finkare.next_reads("/payments", [Turn::PLAIN, Turn::refusing(Then::Gate(gate.clone()))]);
    let (_, answer) = relay.try_post_json("/reconciliations", &body).await;
    eventually("two pages were asked for", || std::future::ready(scene.finkare.reads("/payments") == 6)).await;
    let hidden = scene.finkare.payments()[249].id.clone();
    scene.finkare.hide(&hidden);
    gate.add_permits(1);
    let report = finished(&relay, answer["id"].as_str().expect("an id")).await;
    let payments: BTreeSet<String> = found(&report).into_iter().map(|(_, payment, _)| payment).collect();
    let there = scene.finkare.payments().into_iter().map(|payment| payment.id);
    let missing: Vec<String> = there.filter(|id| *id != hidden && !payments.contains(id)).collect();
    assert_eq!(missing, Vec::<String>::new());
}

async fn what_a_person_has_booked_is_held(backend: Backend) {
    let scene = Scene::new(backend).await;
    let invoice = scene.finkare.add_invoice("F-1", 60_000, "EUR");
    scene.books.add(NewInvoice::of("F-1", 60_000));
    let by_hand = scene.further(&invoice, 15_000, at("2026-10-05T10:00:00Z"));
    scene.books.pay_by_hand("F-1", 15_000, Some("VIR 4711"));
    scene.books.locked_ledger().change_entries(|entries| entries[0].date = "2026-10-05".into());
    let (_, lost) = scene.payment("F-2", 20_000, at("2026-10-06T10:00:00Z"));
    let relay = scene.home.start().await;
    report(&relay, "2026-10-01", "2026-10-31", true).await;
    eventually("one is booked, and one is held", async || {
        scene.booked(&lost) == 1 && relay.all("/dispatches?state=held").await.len() == 1
    })
    .await;
    assert_eq!((scene.booked(&by_hand), scene.books.entries().len()), (0, 2));
    let again = report(&relay, "2026-10-01", "2026-10-31", true).await;
    assert_eq!(found(&again), BTreeSet::from([("held".into(), by_hand, "compta".into())]));
    let detail = again["differences"][0]["detail"].as_str().expect("a sentence");
    assert!(detail.contains("VIR 4711") && detail.contains("dispatches cancel"), "{detail}");
}

async fn what_the_books_no_longer_show_is_reported(backend: Backend) {
    let scene = Scene::new(backend).await;
    let day = at("2026-10-05T10:00:00Z");
    let payments: Vec<String> =
        ["F-1", "F-2", "F-3"].into_iter().map(|number| scene.payment(number, 15_000, day).1).collect();
    let relay = scene.home.start().await;
    report(&relay, "2026-10-01", "2026-10-31", true).await;
    eventually("all are booked", async || payments.iter().all(|payment| scene.booked(payment) == 1)).await;
    settled(&relay).await;
    let equal = report(&relay, "2026-10-01", "2026-10-31", false).await;
    assert_eq!(found(&equal), BTreeSet::new());

    // One is removed by a person; of another one the reference is changed, and it is still there.
    scene.books.locked_ledger().remove_entries(&format!("finkare:{}", payments[0]));
    scene.books.locked_ledger().change_entries(|entries| entries[0].marker = Some("VIR 4711".into()));
    let writes = scene.books.entries().len();
    let differs = report(&relay, "2026-10-01", "2026-10-31", true).await;
    assert_eq!(found(&differs), BTreeSet::from([("not_in_books".into(), payments[0].clone(), "compta".into())]));
    let difference = &differs["differences"][0];
    assert_eq!((&difference["amount_cents"], &difference["currency"]), (&15_000.into(), &"EUR".into()));
    let detail = difference["detail"].as_str().expect("a sentence");
    assert!(detail.contains("150.00 EUR in Facturation.PRO") && detail.contains("record it by hand"), "{detail}");
    settled(&relay).await;
    assert_eq!(scene.books.entries().len(), writes, "nothing is written by itself");

    // What was refunded has to leave the books: as long as it is there it is reported, and once it is undone it is not.
    let refund = |payment: &str| scene.finkare.change_payment(payment, |payment| payment.status = "refunded".into());
    refund(&payments[0]);
    refund(&payments[2]);
    let differs = report(&relay, "2026-10-01", "2026-10-31", false).await;
    let refunded = ("refunded_after_booking".into(), payments[2].clone(), "compta".into());
    assert_eq!(found(&differs), BTreeSet::from([refunded.clone()]), "the first one is undone");

    // Books that do not answer hide no other difference.
    let (_, lost) = scene.payment("F-4", 4_000, day);
    scene.books.desk().set("errors", "100000").expect("a fault that there is");
    let without = report(&relay, "2026-10-01", "2026-10-31", false).await;
    let first = ("refunded_after_booking".into(), payments[0].clone(), "compta".into());
    assert_eq!(found(&without), BTreeSet::from([first, refunded, ("never_announced".into(), lost, String::new())]));
    assert!(relay.log().contains("the books could not be looked at for a reconciliation"));
}

async fn differences_are_told_on_change_and_shown(backend: Backend) {
    let target = crate::support::target::Target::start().await;
    let desk =
        format!("[[sinks]]\nname = \"desk\"\ntype = \"http\"\nurl = \"{}\"\nevents = [\"relay.*\"]\n", target.url());
    let scene = Scene::with(backend, "timezone = \"Europe/Paris\"", &desk).await;
    let (_, first) = scene.payment("F-1", 15_000, at("2026-10-05T10:00:00Z"));
    let relay = scene.home.start().await;
    let told = || {
        let all = target.arrivals();
        let own = all.iter().filter(|arrival| arrival.header("x-relay-event").starts_with("relay.reconciliation"));
        own.map(|arrival| serde_json::from_slice::<Value>(&arrival.body).expect("JSON")).collect::<Vec<_>>()
    };
    let (code, text, _) = scene.say(&relay, &["reconcile", "--since", "2026-10-01", "--until", "2026-10-31"]).await;
    assert!(code == 1 && text.contains("1 difference") && text.contains("150.00 EUR"), "{code} {text}");
    eventually("it is told", || std::future::ready(told().len() == 1)).await;
    assert_eq!(told()[0]["data"]["differences"], json!({"never_announced": 1}));
    assert_eq!((&told()[0]["data"]["amount_cents"], &told()[0]["data"]["currency"]), (&json!(15_000), &json!("EUR")));
    let (code, text, _) = scene.say(&relay, &["status"]).await;
    assert!(code == 1 && text.contains("1 difference from Finkare at endpoint production"), "{text}");
    let url = format!("http://{}/metrics", relay.admin);
    let metrics = crate::support::http().get(url).send().await.expect("it answers").text().await.expect("text");
    let line = "relay_reconciliation_differences{endpoint=\"production\",kind=\"never_announced\"} 1";
    assert!(
        metrics.contains(line) && metrics.contains("relay_reconciliation_age_seconds{endpoint=\"production\"}"),
        "{metrics}"
    );

    // The same again is no news; another one is.
    report(&relay, "2026-10-01", "2026-10-31", false).await;
    let (_, second) = scene.payment("F-2", 700, at("2026-10-07T10:00:00Z"));
    report(&relay, "2026-10-01", "2026-10-31", false).await;
    eventually("the change is told", || std::future::ready(told().len() == 2)).await;
    assert_eq!(told()[1]["data"]["differences"], json!({"never_announced": 2}));
    report(&relay, "2026-10-01", "2026-10-31", true).await;
    settled(&relay).await;
    // Equal on other days says nothing of these.
    let (code, _, _) = scene.say(&relay, &["reconcile", "--since", "2026-10-08", "--until", "2026-10-31"]).await;
    assert_eq!(code, 0);
    let (code, answer) = scene.run(&relay, &["reconcile", "--since", "2026-10-01", "--until", "2026-10-31"]).await;
    assert_eq!((code, &answer["differences"]), (0, &json!([])), "{answer}");
    eventually("it is told that all is equal", || std::future::ready(told().len() == 3)).await;
    assert_eq!(told()[2]["event"], "relay.reconciliation_equal");
    assert_eq!((scene.booked(&first), scene.booked(&second)), (1, 1));

    let listed = relay.all("/reconciliations").await;
    assert_eq!(listed.len(), 6);
    assert!(listed.windows(2).all(|pair| pair[0]["started_at"].as_str() >= pair[1]["started_at"].as_str()));
    // Wrong usage, and days that nobody knows any more.
    let (code, _, error) = scene.say(&relay, &["reconcile", "--since", "2026-10-08", "--until", "2026-10-01"]).await;
    assert!(code == 2 && error.contains("after"), "{code} {error}");
    let (status, problem) = relay.try_post_json("/reconciliations", &json!({"since": "2020-01-01"})).await;
    assert!(
        status == 422 && problem["detail"].as_str().is_some_and(|detail| detail.contains("dedupe_days")),
        "{problem}"
    );
    let (status, _) = relay.try_post_json("/reconciliations", &json!({"endpoint": "other"})).await;
    assert_eq!(status, 404);
}

/// Every replica knows the schedule, and one of them follows it.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_follow_a_schedule_once() {
    let schedule = "reconcile = { every_hours = 24, look_back_days = 10, fill = true }";
    let scene = Scene::with(Backend::Postgres, schedule, "").await;
    let now = finkare_relay::model::clock::now();
    let (_, lost) = scene.payment("F-1", 1_000, now - SignedDuration::from_hours(48));
    // Its event may be on its way.
    let (_, young) = scene.payment("F-2", 1_000, now + SignedDuration::from_hours(1));
    let first = scene.home.start().await;
    let (second, third) = tokio::join!(scene.home.start(), scene.home.start());
    eventually("what was lost is booked", || std::future::ready(scene.booked(&lost) == 1)).await;
    for relay in [&first, &second, &third] {
        eventually("it is done", async || relay.get("/reconciliations").await["data"][0]["state"] == "done").await;
    }
    let listed = third.all("/reconciliations").await;
    assert_eq!((listed.len(), &listed[0]["actor"]), (1, &json!("schedule")), "{listed:?}");
    assert_eq!((&listed[0]["counts"], scene.booked(&young)), (&json!({"never_announced": 1}), 0));
    // A person may ask at any time, and sees all of it.
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let since = today.checked_sub(jiff::Span::new().days(10)).expect("a day").to_string();
    let until = today.checked_add(jiff::Span::new().days(2)).expect("a day").to_string();
    let report = report(&second, &since, &until, false).await;
    assert_eq!(found(&report), BTreeSet::from([("never_announced".into(), young, String::new())]));
}

/// Without a payment id, the event nearest in time announces a payment, as everywhere else; and a payment outside of the
/// period is not left out of that.
async fn the_rule_of_the_resolver_decides(backend: Backend) {
    let scene = Scene::new(backend).await;
    let relay = scene.home.start().await;
    // Nothing is decided by a sink.
    relay.post("/sinks/compta/pause").await;
    let invoice = scene.finkare.add_invoice("F-1", 30_000, "EUR");
    scene.books.add(NewInvoice::of("F-1", 30_000));
    let weekly: Vec<String> = ["2026-09-28", "2026-10-03", "2026-10-08"]
        .iter()
        .map(|day| scene.further(&invoice, 10_000, at(&format!("{day}T10:00:00Z"))))
        .collect();
    // The first is announced, on the day before the period; the second was lost; the third is announced.
    for payment in [&weekly[0], &weekly[2]] {
        deliver(&relay, &scene.finkare.delivery(payment, Says::Little)).await;
    }
    let report = report(&relay, "2026-10-01", "2026-10-31", false).await;
    assert_eq!(found(&report), BTreeSet::from([("never_announced".into(), weekly[1].clone(), String::new())]));
    assert_eq!((&report["finkare"]["payments"], &report["events"]["payments"]), (&json!(2), &json!(1)));
}
