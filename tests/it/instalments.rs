//! Instalments of the same amount, through the real binary and the stand-ins of the books: which payment an event
//! means, how long the relay remembers it, and how a person finds payments that are not in the books yet.

use std::process::Command;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{
    as_long_as_it_moves,
    books::{
        Books, NewInvoice,
        efactori::{self, Efactori},
        facturation_pro::{self, FacturationPro},
    },
    eventually,
    fake_finkare::{API_KEY, FakeFinkare, books::Says},
    finkare::Finkare,
    relay::{Backend, Home, Relay, SECRET, on_both_stores},
};

on_both_stores!(
    november_is_booked_once_and_october_never_again,
    an_instalment_of_the_fifteenth_month_is_booked_as_its_own,
    a_line_of_another_event_is_no_ground_to_be_done,
    each_event_gets_its_own_instalment_in_any_order,
    what_is_pending_or_held_is_found_by_number_amount_and_payment,
    a_bare_date_is_the_day_of_the_booking_and_odd_rows_hide_no_others,
);

const CENTS: i64 = 15_000;

struct Scene {
    fake: FakeFinkare,
    facturation: FacturationPro,
    efactori: Efactori,
    home: Home,
}

impl Scene {
    /// `of_endpoint` and `of_sinks` contain further options.
    async fn new(backend: Backend, of_endpoint: &str, of_sinks: &str) -> Self {
        let scene = Self {
            fake: FakeFinkare::start().await,
            facturation: FacturationPro::start().await,
            efactori: Efactori::start().await,
            home: Home::new(backend).await,
        };
        let endpoint = format!(
            "secret = \"{SECRET}\"\napi_key = \"{API_KEY}\"\napi_url = \"{}\"\n\
             api_rate_limit = {{ requests = 1000, per_secs = 1 }}\n{of_endpoint}",
            scene.fake.api_url()
        );
        let common = format!(
            "timeout_secs = 5\nsettle_secs = 1\nnot_found_secs = 0\nrecheck_secs = 1\n\
             retry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }}\n\
             api_limits = [{{ requests = 1000, per_secs = 1 }}]\n{of_sinks}\n"
        );
        let sinks = format!(
            "[[sinks]]\nname = \"compta\"\ntype = \"facturation_pro\"\nbase_url = \"{}\"\nfirm_id = \"{}\"\n\
             api_id = \"{}\"\napi_key = \"{}\"\ncontact = \"ops@example.test\"\n{common}\n\
             [[sinks]]\nname = \"onfact\"\ntype = \"efactori\"\nbase_url = \"{}\"\nsession_key = \"{}\"\n\
             company_uuid = \"{}\"\naccounts = {{ other = \"4\" }}\n{common}\n",
            scene.facturation.url(),
            facturation_pro::FIRM,
            facturation_pro::API_ID,
            facturation_pro::API_KEY,
            scene.efactori.url(),
            efactori::SESSION_KEY,
            efactori::COMPANY_UUID,
        );
        scene.home.configure("", &endpoint, &sinks);
        scene
    }

    /// An invoice that all books contain.
    fn invoice(&self, number: &str, cents: i64) -> String {
        self.facturation.add(NewInvoice::of(number, cents));
        self.efactori.add(NewInvoice::of(number, cents));
        self.fake.add_invoice(number, cents, "EUR")
    }

    /// A payment of the amount of all instalments, made at this time.
    fn instalment(&self, invoice: &str, paid_at: &str) -> String {
        let payment = self.fake.add_payment(invoice, CENTS);
        let paid_at: Timestamp = paid_at.parse().expect("a time");
        self.fake.change_payment(&payment, |payment| payment.paid_at = paid_at);
        payment
    }

    async fn deliver(&self, relay: &Relay, payment: &str) -> String {
        Finkare::of(relay).deliver(&self.fake.delivery(payment, Says::Little)).await.id()
    }

    /// The relay's entries in each of the books: the payments by marker, in the order of booking.
    fn written(&self) -> [Vec<String>; 2] {
        let of = |books: &dyn Books, prefix: &str| {
            let ours = books.entries().into_iter().filter(|entry| !entry.by_hand);
            let ids = ours.map(|entry| {
                assert_eq!(entry.cents(), CENTS, "{entry:?}");
                let marker = entry.marker.expect("a marker");
                marker.strip_prefix(prefix).unwrap_or_else(|| panic!("a marker of nobody's: {marker}")).to_owned()
            });
            ids.collect()
        };
        [of(&self.facturation, "finkare:"), of(&self.efactori, "Finkare ")]
    }

    /// Runs a command that must succeed, and answers its output.
    async fn run(&self, relay: &Relay, arguments: &[&str]) -> String {
        let mut command: Command = self.home.command();
        command.args(arguments).args(["--admin-url", &format!("http://{}", relay.admin)]);
        command.env("RELAY_ADMIN_TOKEN", crate::support::relay::TOKEN);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it runs").expect("it starts");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }
}

async fn dispatches(relay: &Relay, event: &str) -> Vec<Value> {
    relay.all(&format!("/dispatches?event_id={event}")).await
}

/// Waits until all dispatches of an event are in this state, and their reasons contain these words.
async fn come_to(relay: &Relay, event: &str, state: &str, words: &[&str]) {
    as_long_as_it_moves(&format!("{state} with {words:?}"), async || {
        let all = dispatches(relay, event).await;
        let is_so = |dispatch: &Value| {
            let reason = dispatch["last_error"].as_str().unwrap_or_default();
            dispatch["state"] == state && words.iter().all(|word| reason.contains(word))
        };
        (all.iter().all(is_so), all)
    })
    .await;
}

/// Makes all waiting and held dispatches due at once.
async fn nudge(relay: &Relay) {
    for state in ["pending", "held"] {
        let (status, answer) = relay.try_post_json("/dispatches/retry", &json!({"state": state})).await;
        assert_eq!(status, 200, "{answer}");
    }
}

/// Retries all dispatches of an event until it is delivered everywhere: a dispatch that is being attempted cannot be
/// retried.
async fn delivered_at_last(relay: &Relay, event: &str) {
    eventually("it is delivered", async || {
        nudge(relay).await;
        dispatches(relay, event).await.iter().all(|dispatch| dispatch["state"] == "delivered")
    })
    .await;
}

async fn bookings(relay: &Relay, payment: &str) -> Vec<Value> {
    relay.all(&format!("/bookings?payment_id={payment}")).await
}

/// 150.00 each month. October was booked by hand before the relay was installed. November is announced while Finkare
/// shows it as pending, or not at all.
async fn november_is_booked_once_and_october_never_again(backend: Backend) {
    let scene = Scene::new(backend, "payment_patience_secs = 0", "").await;
    let relay = scene.home.start().await;
    let mut expected = Vec::new();
    for (number, is_hidden) in [("F-PENDING", false), ("F-HIDDEN", true)] {
        let invoice = scene.invoice(number, 10 * CENTS);
        let october = scene.instalment(&invoice, "2026-03-05T09:00:00Z");
        let november = scene.instalment(&invoice, "2026-04-05T09:00:00Z");
        for books in [&scene.facturation as &dyn Books, &scene.efactori] {
            books.pay_by_hand(number, CENTS, None);
        }
        if is_hidden {
            scene.fake.hide(&november);
        } else {
            scene.fake.set_payment_status(&november, "pending");
        }
        let event = scene.deliver(&relay, &november).await;
        let mut words = vec![october.as_str(), "cancel this dispatch"];
        words.push(if is_hidden { "within 7 days" } else { november.as_str() });
        come_to(&relay, &event, "held", &words).await;
        nudge(&relay).await;
        come_to(&relay, &event, "held", &words).await;
        assert_eq!(scene.written(), [expected.clone(), expected.clone()], "nothing was booked for it");

        scene.fake.reveal(&november);
        scene.fake.set_payment_status(&november, "completed");
        delivered_at_last(&relay, &event).await;
        expected.push(november.clone());
        assert_eq!(scene.written(), [expected.clone(), expected.clone()], "November, once");
        assert!(bookings(&relay, &october).await.is_empty());
        for line in bookings(&relay, &november).await {
            assert_eq!((&line["state"], &line["event_id"]), (&json!("booked"), &json!(event)), "{line}");
        }
        // Announced again in other words, and replayed: the event is neither October nor a second November.
        let again = Finkare::of(&relay).deliver(&scene.fake.redelivery(&november, Says::Little)).await.id();
        come_to(&relay, &again, "held", &["other events have already announced", &october]).await;
        for dispatch in dispatches(&relay, &again).await {
            relay.post(&format!("/dispatches/{}/cancel", dispatch["id"])).await;
        }
        relay.post(&format!("/events/{event}/replay")).await;
        relay.drained().await;
        assert_eq!(scene.written(), [expected.clone(), expected.clone()]);
    }
    assert_eq!([scene.facturation.complaints(), scene.efactori.complaints()], [[""; 0], [""; 0]]);
}

/// The events of the first year were deleted from the store, but the relay still knows which payments they announced.
async fn an_instalment_of_the_fifteenth_month_is_booked_as_its_own(backend: Backend) {
    let scene = Scene::new(backend, "payment_patience_secs = 0", "").await;
    let invoice = scene.invoice("F-1", 10 * CENTS);
    let first = scene.instalment(&invoice, "2025-08-10T09:00:00Z");
    let relay = scene.home.start().await;
    let event = scene.deliver(&relay, &first).await;
    come_to(&relay, &event, "delivered", &[]).await;
    assert!(relay.terminate().await.0.success());

    let event = crate::replay_retry_cancel_erase::make_older(&scene.home, &event, 463).await;
    let relay = scene.home.start().await;
    eventually("the event is purged", async || relay.try_get(&format!("/events/{event}")).await.0 == 404).await;
    assert_eq!(bookings(&relay, &first).await.len(), 2, "the ledger is kept");

    // Announced again in other words: the payment is known to belong to another event, and the event is not reported as
    // done.
    let again = Finkare::of(&relay).deliver(&scene.fake.redelivery(&first, Says::Little)).await.id();
    come_to(&relay, &again, "held", &["other events have already announced", &first]).await;
    for dispatch in dispatches(&relay, &again).await {
        relay.post(&format!("/dispatches/{}/cancel", dispatch["id"])).await;
    }
    let fifteenth = scene.instalment(&invoice, "2026-11-10T09:00:00Z");
    let event = scene.deliver(&relay, &fifteenth).await;
    come_to(&relay, &event, "delivered", &[]).await;
    let expected = vec![first, fifteenth.clone()];
    assert_eq!(scene.written(), [expected.clone(), expected]);
    for line in bookings(&relay, &fifteenth).await {
        assert_eq!((&line["state"], &line["event_id"]), (&json!("booked"), &json!(event)), "{line}");
    }
}

/// The ledger says `booked` for another event, but the assignment of that event's payment was lost (an earlier version
/// deleted it together with the event).
async fn a_line_of_another_event_is_no_ground_to_be_done(backend: Backend) {
    let scene = Scene::new(backend, "payment_patience_secs = 0", "").await;
    let invoice = scene.invoice("F-1", 10 * CENTS);
    let payment = scene.instalment(&invoice, "2026-03-10T09:00:00Z");
    let relay = scene.home.start().await;
    let event = scene.deliver(&relay, &payment).await;
    come_to(&relay, &event, "delivered", &[]).await;
    // The same event again is the same payment.
    relay.post(&format!("/events/{event}/replay")).await;
    relay.drained().await;
    assert!(relay.terminate().await.0.success());
    crate::replay_retry_cancel_erase::execute(&scene.home, "DELETE FROM assignments").await;
    let relay = scene.home.start().await;
    let again = Finkare::of(&relay).deliver(&scene.fake.redelivery(&payment, Says::Little)).await.id();
    come_to(&relay, &again, "held", &[payment.as_str(), event.as_str(), again.as_str(), "cancel this dispatch"]).await;
    assert_eq!(scene.written(), [vec![payment.clone()], vec![payment]]);
}

/// Announced in random order while some payments are hidden and some are pending, each event gets the payment that it
/// announces.
async fn each_event_gets_its_own_instalment_in_any_order(backend: Backend) {
    let scene = Scene::new(backend, "", "").await;
    let invoice = scene.invoice("F-1", 100 * CENTS);
    let days = ["01", "04", "08", "15", "16", "29"];
    let payments = days.map(|day| scene.instalment(&invoice, &format!("2026-03-{day}T09:00:00Z")));
    scene.fake.hide(&payments[1]);
    scene.fake.set_payment_status(&payments[2], "pending");
    scene.fake.hide(&payments[4]);
    let relay = scene.home.start().await;
    for sink in ["compta", "onfact"] {
        relay.post(&format!("/sinks/{sink}/pause")).await;
    }
    let mut events = vec![String::new(); payments.len()];
    for number in [4, 1, 2, 0, 5, 3] {
        events[number] = scene.deliver(&relay, &payments[number]).await;
    }
    for sink in ["compta", "onfact"] {
        relay.post(&format!("/sinks/{sink}/resume")).await;
    }
    // The first event of an invoice delays the others: it searches for its own payment, although its neighbours'
    // payments are visible.
    eventually("the first has looked", async || {
        dispatches(&relay, &events[4]).await.iter().all(|dispatch| dispatch["last_error"].is_string())
    })
    .await;
    assert_eq!(scene.written(), [[""; 0], [""; 0]]);
    scene.fake.reveal(&payments[1]);
    scene.fake.set_payment_status(&payments[2], "completed");
    scene.fake.reveal(&payments[4]);
    for event in [4, 1, 2, 0, 5, 3].map(|number| &events[number]) {
        delivered_at_last(&relay, event).await;
    }
    for (event, payment) in events.iter().zip(&payments) {
        let lines = bookings(&relay, payment).await;
        assert_eq!(lines.len(), 2, "{lines:?}");
        for line in lines {
            assert_eq!((&line["event_id"], &line["state"]), (&json!(event), &json!("booked")), "{line}");
        }
    }
}

async fn what_is_pending_or_held_is_found_by_number_amount_and_payment(backend: Backend) {
    let scene = Scene::new(backend, "", "").await;
    let relay = scene.home.start().await;
    // One payment is pending at Finkare, and one is held because its invoice is a draft in the books.
    let slow = scene.fake.add_invoice("F-2026-0042", 150_000, "EUR");
    let slow = scene.fake.add_payment(&slow, 150_000);
    scene.fake.set_payment_status(&slow, "pending");
    for books in [&scene.facturation as &dyn Books, &scene.efactori] {
        books.add(NewInvoice::of("F-2026-0043", 200_000).draft());
    }
    let draft = scene.fake.add_invoice("F-2026-0043", 200_000, "EUR");
    let draft = scene.fake.add_payment(&draft, 12_345);
    let booked = scene.invoice("F-2026-0044", CENTS);
    let booked = scene.fake.add_payment(&booked, 7_777);
    let pending = scene.deliver(&relay, &slow).await;
    come_to(&relay, &pending, "pending", &[slow.as_str(), "still pending"]).await;
    let held = scene.deliver(&relay, &draft).await;
    come_to(&relay, &held, "held", &[]).await;
    let delivered = scene.deliver(&relay, &booked).await;
    come_to(&relay, &delivered, "delivered", &[]).await;

    // By the API and by the commands: whole numbers in any spelling, parts of numbers, amounts as people type them,
    // ids.
    for (text, expected) in [
        ("F-2026-0042", vec![&pending]),
        ("f-2026-0043", vec![&held]),
        ("2026-0044", vec![&delivered]),
        ("F-2026", vec![&delivered, &held, &pending]),
        ("1500.00", vec![&pending]),
        ("1 500,00", vec![&pending]),
        ("123.45", vec![&held]),
        ("123,45 €", vec![&held]),
        (slow.as_str(), vec![&pending]),
        (draft.as_str(), vec![&held]),
        ("F-2027", vec![]),
        ("1500.01", vec![]),
    ] {
        let encoded: String = form_urlencoded(text);
        for path in ["/events?q=", "/dispatches?q="] {
            let mut found: Vec<String> = Vec::new();
            for row in relay.all(&format!("{path}{encoded}")).await {
                let id = row.get("event_id").unwrap_or(&row["id"]).as_str().expect("an id").to_owned();
                if found.last() != Some(&id) {
                    found.push(id);
                }
            }
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{path}{text}");
        }
    }
    let rows = relay.all("/dispatches?q=F-2026-0043&state=held&sink=compta").await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        (&rows[0]["invoice_number"], &rows[0]["amount_cents"], &rows[0]["currency"], &rows[0]["payment_id"]),
        (&json!("F-2026-0043"), &json!(12_345), &json!("EUR"), &json!(draft))
    );

    let line_of = |text: &str, part: &str| text.lines().find(|line| line.contains(part)).map(str::to_owned);
    let listed = scene.run(&relay, &["events", "list", "--q", "F-2026-0042"]).await;
    let line = line_of(&listed, &pending).unwrap_or_else(|| panic!("not found: {listed}"));
    assert!(line.contains("F-2026-0042") && line.contains("1500.00"), "{line}");
    assert!(!listed.contains(&held), "{listed}");
    let listed = scene.run(&relay, &["dispatches", "list", "--q", "123,45"]).await;
    let line = line_of(&listed, "held").unwrap_or_else(|| panic!("not found: {listed}"));
    assert!(line.contains("F-2026-0043") && line.contains("123.45 EUR"), "{line}");

    // Payments that are not in the books are listed with the reason.
    let said = scene.run(&relay, &["bookings", "list", "--invoice-number", "F-2026-0042"]).await;
    assert!(!said.contains("Nothing to list"), "{said}");
    for word in ["Not in the books yet", "compta is pending", "1500.00", &slow, "still pending"] {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    let said = scene.run(&relay, &["bookings", "list", "--invoice-number", "F-2026-0043", "--sink", "onfact"]).await;
    assert!(said.contains("onfact is held") && said.contains("123.45 EUR") && !said.contains("compta"), "{said}");
    let said = scene.run(&relay, &["bookings", "list", "--payment-id", &slow]).await;
    assert!(said.contains("compta is pending"), "{said}");
    let said = scene.run(&relay, &["bookings", "list", "--invoice-number", "F-2026-0044"]).await;
    assert!(said.contains("booked") && !said.contains("Not in the books"), "{said}");
    let said = scene.run(&relay, &["bookings", "list", "--invoice-number", "F-2027"]).await;
    assert!(said.contains("Nothing to list"), "{said}");
}

/// A text in a query, percent-encoded.
fn form_urlencoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

async fn a_bare_date_is_the_day_of_the_booking_and_odd_rows_hide_no_others(backend: Backend) {
    // In time zones far from UTC, a midnight would fall on another day.
    for zone in ["Pacific/Auckland", "America/Martinique"] {
        let scene = Scene::new(backend, "payment_patience_secs = 0", &format!("timezone = \"{zone}\"")).await;
        let invoice = scene.invoice("F-1", 10 * CENTS);
        let bare = scene.instalment(&invoice, "2026-03-10T12:00:00Z");
        let odd_time = scene.instalment(&invoice, "2026-04-10T12:00:00Z");
        let odd_amount = scene.instalment(&invoice, "2026-05-10T12:00:00Z");
        let spoil = |payment: &str, field, value| {
            scene.fake.change_payment(payment, |payment| payment.spoilt = vec![(field, Some(value))]);
        };
        spoil(&bare, "paidAt", json!("2026-03-10"));
        spoil(&odd_time, "paidAt", json!("10/04/2026"));
        spoil(&odd_amount, "amountCents", json!("150.00"));
        let relay = scene.home.start().await;
        let event = scene.deliver(&relay, &bare).await;
        come_to(&relay, &event, "delivered", &[]).await;
        assert_eq!(scene.written(), [vec![bare.clone()], vec![bare.clone()]]);
        for books in [&scene.facturation as &dyn Books, &scene.efactori] {
            assert_eq!(books.entries()[0].date, "2026-03-10", "in {zone}");
        }
        let event = scene.deliver(&relay, &odd_amount).await;
        come_to(&relay, &event, "held", &[odd_amount.as_str(), "`amountCents` is not an integer of cents"]).await;
        for dispatch in dispatches(&relay, &event).await {
            relay.post(&format!("/dispatches/{}/cancel", dispatch["id"])).await;
        }
        scene.fake.hide(&odd_amount);
        let event = scene.deliver(&relay, &odd_time).await;
        come_to(&relay, &event, "held", &[odd_time.as_str(), "has no payment date"]).await;
        assert_eq!(scene.written(), [vec![bare.clone()], vec![bare]]);
    }
}
