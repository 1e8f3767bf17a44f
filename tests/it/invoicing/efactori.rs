//! eFactori, against a stand-in that keeps books: every payment stands there once, or is held with a reason.

use std::{num::NonZeroU32, sync::Arc};

use finkare_relay::{
    model::booking::BookingState,
    options::header::HeaderSecret,
    sinks::{
        Sink,
        invoicing::{
            ApiLimit, OnSameAmount,
            efactori::{AmountFormat, Lookup, MarkerField, Options},
        },
        kind::Kind,
    },
};
use futures_util::future::join_all;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::json;
use tokio::sync::Semaphore;

use super::*;
use crate::support::{
    books::{
        Books as _, Entry, NewInvoice,
        desk::{Fault, On, Quota, Then},
        efactori::{COMPANY_UUID, Efactori, Query, SESSION_KEY, Shape},
    },
    eventually,
};

/// The call that books.
const BOOKING: On = On("POST", "/payments.json");
/// A whole attempt; a call has half of it. What got no answer is written again after it at the earliest.
const TIMEOUT: Duration = Duration::from_secs(2);

/// An empty company, our ledger, and the settings between them.
struct Bench {
    server: Efactori,
    office: Office,
    options: Options,
}

impl Bench {
    async fn new() -> Self {
        let server = Efactori::start().await;
        let options = json!({
            "base_url": server.url(), "session_key": SESSION_KEY, "company_uuid": COMPANY_UUID,
            "accounts": {"sepa_debit": "4", "card": "4", "bank_transfer": "3"},
            // Beyond what a test needs in a moment.
            "api_limits": [{"requests": 5000, "per_secs": 1}],
        });
        let mut options: Options = parsed(options);
        options.common.settle_secs = 0;
        Self { server, office: Office::open().await, options }
    }

    fn set(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    fn sink(&self) -> Arc<dyn Sink> {
        self.sink_within(TIMEOUT)
    }

    fn sink_within(&self, timeout: Duration) -> Arc<dyn Sink> {
        told(Kind::from(self.options.clone()).build(timeout, || self.office.desk(timeout)).unwrap())
    }

    /// Brings a payment to its end, on a sink of its own.
    async fn book(&self, payment: &Payment) -> Outcome {
        run(&self.sink(), &self.office.event(payment)).await
    }

    /// The books: marker and cents, in order.
    fn booked(&self) -> Vec<(String, i64)> {
        let entries = self.server.entries();
        let mut booked: Vec<_> =
            entries.iter().map(|entry| (entry.marker.clone().unwrap_or_default(), entry.cents())).collect();
        booked.sort();
        booked
    }

    fn writes(&self) -> usize {
        self.server.desk().count(On("POST", ""))
    }

    #[track_caller]
    fn no_complaint(&self) {
        assert_eq!(self.server.complaints(), Vec::<String>::new());
    }
}

/// Tries as often as the dispatcher would, and waits as it is told.
async fn run(sink: &Arc<dyn Sink>, message: &Message) -> Outcome {
    for attempt in 1..60 {
        let ended = sink.deliver(&Message { attempt, ..message.clone() }).await;
        match ended {
            Outcome::Retry { after, .. } => tokio::time::sleep(after.unwrap_or_default()).await,
            Outcome::Wait { after, .. } => tokio::time::sleep(after).await,
            end => return end,
        }
    }
    panic!("it comes to no end");
}

/// A person gives the last payment that was booked another name of the other party.
fn rename_last(bench: &Bench, name: &str) {
    let name = Some(name.to_owned());
    bench.server.locked_ledger().change_entries(|entries| entries.last_mut().unwrap().marker = name);
}

fn delivered(outcome: &Outcome) -> bool {
    *outcome == Outcome::Delivered
}

#[track_caller]
fn stopped(outcome: &Outcome) -> String {
    let Outcome::Stop { reason } = outcome else { panic!("not stopped: {outcome:?}") };
    assert!(!reason.contains(SESSION_KEY) && !reason.contains(COMPANY_UUID), "{reason}");
    reason.clone()
}

#[tokio::test]
async fn payments_are_booked_once_and_to_the_cent() {
    let bench = Bench::new().await;
    bench.server.add(NewInvoice::of("12", 30_010).prefix("2026/"));
    bench.server.add(NewInvoice::of("13", 900_719_925_474_093));
    let by_transfer = Payment { method: Some("bank_transfer".into()), ..payment("p-1", "2026/12", 10_005) };
    // Two equal instalments are two payments.
    let all = [by_transfer, payment("p-2", "2026/12", 10_000), payment("p-3", "2026/12", 10_000)];
    for payment in &all {
        assert!(delivered(&bench.book(payment).await));
    }
    assert!(delivered(&bench.book(&payment("p-4", "13", 900_719_925_474_093)).await), "more than a float holds");
    let expected = [("p-1", 10_005), ("p-2", 10_000), ("p-3", 10_000), ("p-4", 900_719_925_474_093)];
    let expected = expected.map(|(id, cents)| (format!("Finkare {id}"), cents)).to_vec();
    assert_eq!(bench.booked(), expected);
    let first = &bench.server.entries()[0];
    assert_eq!((&*first.date, &*first.mode, &*first.currency), ("2026-03-15", "3", "EUR"), "the day in Brussels");
    assert_eq!(bench.server.entries()[1].mode, "4");
    let bodies: Vec<_> = bench.server.desk().log().into_iter().filter(|call| call.method == "POST").collect();
    assert_eq!(
        bodies[0].body,
        r#"{"payment_account_id":"3","date":"2026-03-15","amount":100.05,"currency_id":"EUR","name":"Finkare p-1"}"#
    );
    assert!(bodies[3].body.contains(r#""amount":9007199254740.93,"#));

    // Replays, and another event of the same payment.
    for payment in &all {
        assert!(delivered(&bench.book(payment).await));
    }
    assert_eq!(bench.writes(), 4);
    assert_eq!(bench.office.states().await, ["p-1 booked", "p-2 booked", "p-3 booked", "p-4 booked"]);
    // One more would be too much.
    let (reason, again) = held(&bench.book(&payment("p-5", "2026/12", 6)).await);
    says(
        &reason,
        &["0.06 EUR of 2026-03-15 by sepa_debit (Finkare payment p-5)", "2026/12", "300.10", "300.05", "overpaid"],
    );
    assert!(again);
    assert!(delivered(&bench.book(&payment("p-6", "2026/12", 5)).await), "the last cents are none too much");
    assert_eq!((bench.server.balance_cents("2026/12"), bench.writes()), (0, 5));
    bench.no_complaint();
}

#[tokio::test]
async fn what_cannot_be_booked_is_held_with_an_instruction() {
    let bench = Bench::new().await;
    for invoice in [
        NewInvoice::of("draft", 15_000).draft(),
        NewInvoice::of("deleted", 15_000).deleted(),
        NewInvoice::of("locked", 15_000).locked(),
        NewInvoice::of("paid", 15_000).paid(),
        NewInvoice::of("dollars", 15_000).currency("USD"),
        NewInvoice::of("credit", -15_000),
        NewInvoice::of("small", 14_999),
        NewInvoice::of("twice", 15_000),
        NewInvoice::of("twice", 15_000),
        NewInvoice::of("open", 15_000),
    ] {
        bench.server.add(invoice);
    }
    for (number, part) in [
        ("draft", "`concept`"),
        ("deleted", "in the bin"),
        ("locked", "locked"),
        ("paid", "`paid` there already"),
        ("dollars", "currency is USD"),
        ("credit", "-150.00 EUR"),
        ("small", "149.99 EUR"),
        ("twice", "2 invoices"),
    ] {
        let payment = payment(&format!("of-{number}"), number, 15_000);
        let (reason, again) = held(&bench.book(&payment).await);
        says(&reason, &[number, part, "150.00 EUR", "2026-03-15", "of-", "dispatches retry", "dispatches cancel"]);
        assert!(again, "it may be settled there: {reason}");
    }
    let by_cheque = Payment { method: Some("cheque".into()), ..payment("c", "open", 100) };
    says(&held(&bench.book(&by_cheque).await).0, &["`cheque`", "`accounts`", "`other`"]);
    let by_nothing = Payment { method: None, ..payment("n", "open", 100) };
    says(&held(&bench.book(&by_nothing).await).0, &["method `other`"]);
    assert_eq!((bench.writes(), bench.office.lines().await.len()), (0, 0));

    let bench = bench.set(|options| _ = options.accounts.insert("other".into(), "3".into()));
    assert!(delivered(&bench.book(&by_cheque).await) && delivered(&bench.book(&by_nothing).await));
    // Settled there, without telling us.
    bench.server.locked_ledger().change_invoice("locked", |invoice| invoice.locked = false);
    assert!(delivered(&bench.book(&payment("of-locked", "locked", 15_000)).await));
    assert_eq!(bench.writes(), 3);
    bench.no_complaint();
}

#[tokio::test]
async fn an_invoice_that_is_not_there_is_waited_for_and_then_held() {
    let bench = Bench::new().await.set(|options| options.lookup_max_pages = 2);
    for number in 0..150 {
        let date = format!("2026-01-{:02}", number / 10 + 1);
        bench.server.add(NewInvoice::of(&format!("F{number:03}"), 100).dated(&date));
    }
    let sink = bench.sink();
    let event = bench.office.event(&payment("p", "F15", 100));
    assert!(matches!(sink.deliver(&event).await, Outcome::Wait { .. }), "`F150` is none, nor is `F15`");
    let (reason, again) = held(&sink.deliver(&old(&event)).await);
    says(&reason, &["no invoice F15 ", "1.00 EUR"]);
    assert!(again);
    assert!(delivered(&bench.book(&payment("oldest", "F000", 100)).await));

    // The list goes on beyond what may be read, so that nothing is said to be missing.
    for number in 150..250 {
        bench.server.add(NewInvoice::of(&format!("F{number:03}"), 100).dated("2026-02-01"));
    }
    says(&held(&bench.sink().deliver(&event).await).0, &["not among the 199 invoices", "`lookup_max_pages`"]);
    // A sink that knows the id needs no list.
    assert!(delivered(&run(&sink, &bench.office.event(&payment("known", "F001", 100))).await));
    assert_eq!(bench.writes(), 2);
    bench.no_complaint();
}

#[tokio::test]
async fn a_remembered_invoice_is_checked_at_every_use() {
    let bench = Bench::new().await;
    let id = bench.server.add(NewInvoice::of("1", 10_000));
    let sink = bench.sink();
    assert!(delivered(&run(&sink, &bench.office.event(&payment("a", "1", 100))).await));
    // Its number goes to another.
    bench.server.locked_ledger().change_invoice("1", |invoice| invoice.number = "1-old".into());
    let other = bench.server.add(NewInvoice::of("1", 10_000));
    assert!(delivered(&run(&sink, &bench.office.event(&payment("b", "1", 200))).await));
    let of = |id| bench.server.entries().iter().filter(|entry| entry.invoice_id == id).map(Entry::cents).sum::<i64>();
    assert_eq!((of(id), of(other)), (100, 200));
    bench.no_complaint();
}

#[tokio::test]
async fn what_has_our_marker_is_not_written_again() {
    let bench = Bench::new().await;
    bench.server.add(NewInvoice::of("1", 100_000));
    bench.server.pay_by_hand("1", 15_000, Some("Finkare p-1"));
    bench.server.pay_by_hand("1", 14_000, Some("Finkare p-2"));
    bench.server.pay_by_hand("1", 100, Some("Finkare p-3"));
    bench.server.pay_by_hand("1", 100, Some("Finkare p-3 (again)"));
    bench.server.pay_by_hand("1", 15_000, Some("Finkare p-10"));
    // Listed by date: an older payment of the ledger may have an entry of any day after it.
    let early =
        |id: &str, cents| Payment { paid_at: "2026-03-05T10:00:00Z".parse().unwrap(), ..payment(id, "1", cents) };
    assert!(delivered(&bench.book(&early("p-1", 15_000)).await));
    assert_eq!(bench.office.lines().await[0].state, BookingState::Booked);
    says(&held(&bench.book(&early("p-2", 15_000)).await).0, &["140.00 instead of 150.00", "p-2"]);
    says(&held(&bench.book(&early("p-3", 100)).await).0, &["2 times"]);
    assert_eq!(bench.writes(), 0);
    assert!(delivered(&bench.book(&early("p-100", 15_002)).await), "`p-10` is another");
    // What may be ours with its end cut off: the same amount on the same day.
    bench.server.pay_by_hand("1", 15_000, Some("Finkare q"));
    says(&held(&bench.book(&early("q-1", 15_000)).await).0, &["may be it", "`Finkare q`", "`Finkare q-1`"]);
    assert!(delivered(&bench.book(&early("q-2", 15_001)).await));
    assert_eq!(bench.writes(), 2);
    bench.no_complaint();
}

#[tokio::test]
async fn whatever_becomes_of_the_write_it_happens_once() {
    let bench = Bench::new().await;
    let mut faults = vec![];
    for then in [
        Then::Status(500),
        Then::Status(502),
        Then::Status(503),
        Then::Status(504),
        Then::Status(408),
        Then::Cut,
        Then::Silence,
        Then::Garbage,
        Then::Html,
        Then::WrongShape,
        Then::Status(303),
        Then::Redirect("https://elsewhere.example/".into()),
        Then::Status(409),
        Then::Status(425),
        Then::Status(501),
        Then::SaysNo,
    ] {
        faults.push(Fault::before(then.clone()));
        faults.push(Fault::after(then));
    }
    faults.push(Fault::after(Then::CutAmid));
    let payments: Vec<_> =
        (0..faults.len()).map(|at| payment(&format!("p-{at:02}"), &format!("F{at}"), 10_001)).collect();
    for (payment, fault) in payments.iter().zip(&faults) {
        bench.server.add(NewInvoice::of(&payment.invoice.number, 10_001));
        bench.server.desk().next_on(BOOKING, 1, fault.clone());
    }
    let sink = bench.sink();
    let events: Vec<_> = payments.iter().map(|payment| bench.office.event(payment)).collect();
    let outcomes = join_all(events.iter().map(|event| run(&sink, event))).await;
    assert!(outcomes.iter().all(delivered), "{outcomes:?}");
    let expected: Vec<_> = payments.iter().map(|payment| (format!("Finkare {}", payment.id), 10_001)).collect();
    assert_eq!(bench.booked(), expected);
    assert!(bench.server.doubled().is_empty() && bench.server.overpaid().is_empty());
    // Those of the sixteen that were not done were done again, and no other.
    assert_eq!(bench.writes(), faults.len() + 16);
    bench.no_complaint();
}

#[tokio::test]
async fn a_write_that_comes_late_is_waited_for() {
    let bench = Bench::new().await;
    bench.server.add(NewInvoice::of("1", 10_000));
    let (sink, event) = (bench.sink(), bench.office.event(&payment("p", "1", 10_000)));
    let gate = Arc::new(Semaphore::new(0));
    bench.server.desk().next_on(BOOKING, 1, Fault::late_through(gate.clone()));
    let unknown = sink.deliver(&event).await;
    assert!(matches!(&unknown, Outcome::Retry { reason, .. } if reason.contains("not known")), "{unknown:?}");
    assert_eq!(bench.office.states().await, ["p sending"]);
    gate.add_permits(1);
    eventually("it is written late", || std::future::ready(bench.server.entries().len() == 1)).await;
    assert!(delivered(&run(&sink, &event).await));
    assert_eq!((bench.writes(), bench.office.states().await), (1, vec!["p booked".to_owned()]));
    bench.no_complaint();
}

#[tokio::test]
async fn attempts_at_the_same_time_write_once() {
    let bench = Bench::new().await;
    bench.server.add(NewInvoice::of("1", 30_000));
    let (one, other) = (bench.sink_within(Duration::from_mins(1)), bench.sink());
    let gate = Arc::new(Semaphore::new(0));
    bench.server.desk().next_on(BOOKING, 1, Fault::after(Then::Gate(gate.clone())));
    let event = bench.office.event(&payment("p", "1", 10_000));
    let again = bench.office.event(&payment("p", "1", 10_000));
    let first = tokio::spawn({
        let (one, event) = (one.clone(), event.clone());
        async move { one.deliver(&event).await }
    });
    eventually("it is written", || std::future::ready(bench.server.entries().len() == 1)).await;
    // The answer is still on its way: what is written stands there with our marker.
    let second = other.deliver(&again).await;
    assert!(delivered(&second), "{second:?}");
    gate.add_permits(1);
    let first = first.await.unwrap();
    assert!(delivered(&first), "{first:?}");
    assert!(delivered(&run(&one, &event).await));
    assert_eq!((bench.writes(), bench.office.states().await), (1, vec!["p booked".to_owned()]));
    bench.no_complaint();
}

#[tokio::test]
async fn limits_are_kept_before_they_are_told() {
    let mut bench = Bench::new().await;
    let quota = Quota { requests: 10, per: Duration::from_secs(1) };
    // One less than it takes, since it would tell when none is left.
    bench.options.common.api_limits = vec![ApiLimit { requests: 9.try_into().unwrap(), per_secs: NonZeroU32::MIN }];
    bench.server.desk().limit([quota]);
    let payments: Vec<_> = (0..5).map(|at| payment(&format!("p-{at}"), &format!("F{at}"), 100)).collect();
    for payment in &payments {
        bench.server.add(NewInvoice::of(&payment.invoice.number, 100));
    }
    let sink = bench.sink_within(Duration::from_secs(20));
    let events: Vec<_> = payments.iter().map(|payment| bench.office.event(payment)).collect();
    let outcomes = join_all(events.iter().map(|event| run(&sink, event))).await;
    assert!(outcomes.iter().all(delivered), "{outcomes:?}");
    assert_eq!((bench.server.desk().answered(429), bench.writes()), (0, 5));
    let busiest = bench.server.desk().busiest(quota.per);
    assert!(busiest < quota.requests, "{busiest}");
    bench.no_complaint();
}

#[tokio::test]
async fn too_many_requests_wait_and_write_nothing() {
    let bench = Bench::new().await;
    bench.server.add(NewInvoice::of("1", 10_000));
    let event = bench.office.event(&payment("p", "1", 10_000));
    bench.server.desk().next_on(BOOKING, 1, Fault::before(Then::Limited(None)));
    let outcome = bench.sink().deliver(&event).await;
    // Less what has passed since.
    let secs = Duration::from_secs;
    assert!(matches!(outcome, Outcome::Wait { after, .. } if after > secs(4) && after <= secs(5)), "{outcome:?}");
    assert!(bench.server.entries().is_empty() && bench.office.lines().await.is_empty(), "no doubt is left");
    bench.server.desk().next_on(BOOKING, 1, Fault::before(Then::Limited(Some(1))));
    assert!(delivered(&run(&bench.sink(), &event).await));
    assert_eq!((bench.booked().len(), bench.writes()), (1, 3));
    bench.no_complaint();
}

#[tokio::test]
async fn a_payment_that_is_not_as_it_was_written_stops_the_sink() {
    for (change, parts) in [
        ("decimals", ["its amount is 100.00 instead of 100.05", "as 4"]),
        ("name", ["`Finkare p`", "`marker_field = \"none\"`"]),
    ] {
        let bench = Bench::new().await;
        bench.server.add(NewInvoice::of("1", 10_005));
        bench.server.vary(|variant| match change {
            "decimals" => variant.drops_decimals = true,
            _ => variant.name_length = 9,
        });
        let reason = stopped(&bench.book(&payment("p-1", "1", 10_005)).await);
        says(&reason, &parts);
        says(&reason, &["100.05 EUR", "2026-03-15", "invoice 1", "p-1", "resumed"]);
        // Somebody has looked, and goes on: it was written.
        assert!(delivered(&bench.book(&payment("p-1", "1", 10_005)).await));
        assert_eq!(bench.writes(), 1);
        bench.no_complaint();
    }
}

#[tokio::test]
async fn answers_that_cannot_be_read_lead_to_no_second_write() {
    let bench = Bench::new().await;
    bench.server.add(NewInvoice::of("1", 10_000));
    let (sink, event) = (bench.sink(), bench.office.event(&payment("p", "1", 10_000)));
    for on in [On("GET", "/v1/payments.json"), On("GET", "/v1/invoices.json"), On("GET", "/v1/invoices/")] {
        for then in [Then::Html, Then::Garbage, Then::WrongShape] {
            let passes = matches!(then, Then::Html);
            bench.server.desk().next_on(on, 1, Fault::before(then));
            let outcome = sink.deliver(&event).await;
            let is_right = match &outcome {
                Outcome::Retry { reason, .. } => passes && reason.contains("cannot be read"),
                Outcome::Stop { reason } => !passes && reason.contains("cannot be read"),
                _ => false,
            };
            assert!(is_right, "{outcome:?}");
            assert!(bench.office.lines().await.is_empty(), "nothing was written, and nothing is in doubt");
        }
    }
    for then in [Then::Html, Then::WrongShape, Then::Status(500), Then::Status(404)] {
        let stops = matches!(then, Then::WrongShape);
        bench.server.desk().next_on(On("GET", "/v1/payments/"), 1, Fault::before(then));
        let outcome = sink.deliver(&event).await;
        assert!(matches!(outcome, Outcome::Stop { .. } | Outcome::Retry { .. }), "{outcome:?}");
        assert_eq!(matches!(outcome, Outcome::Stop { .. }), stops, "{outcome:?}");
        assert_eq!(bench.office.states().await, ["p written"]);
    }
    assert!(delivered(&run(&sink, &event).await));
    assert_eq!(bench.writes(), 1);
    bench.no_complaint();
}

#[tokio::test]
async fn who_is_not_let_in_stops_and_says_no_secret() {
    let bench = Bench::new().await;
    bench.server.add(NewInvoice::of("1", 10_000));
    let event = bench.office.event(&payment("p", "1", 10_000));
    for then in [Then::Status(401), Then::Status(403), Then::Redirect("https://elsewhere.example/".into())] {
        let is_word = matches!(then, Then::Status(_));
        for on in if is_word { &[On("GET", ""), BOOKING][..] } else { &[On("GET", "")] } {
            bench.server.desk().next_on(*on, 1, Fault::before(then.clone()));
            says(&stopped(&bench.sink().deliver(&event).await), &["eFactori answered"]);
        }
    }
    assert!(bench.server.entries().is_empty() && bench.office.lines().await.is_empty());
    bench.no_complaint();
    let stranger =
        bench.set(|options| options.session_key = HeaderSecret::new("notthiskeyatall".to_owned().into()).unwrap());
    let reason = stopped(&stranger.sink().deliver(&event).await);
    assert!(reason.contains("credentials") && !reason.contains("notthiskeyatall"), "{reason}");
    let shown = format!("{:?} {:?}", stranger.sink(), stranger.options);
    assert!(!shown.contains("notthiskeyatall") && !shown.contains(COMPANY_UUID), "{shown}");
}

#[tokio::test]
async fn a_doubt_that_the_list_cannot_clear_up_is_held() {
    let mut bench = Bench::new().await.set(|options| options.payments_max_pages = 1);
    bench.server.add(NewInvoice::of("1", 10_000));
    bench.server.add(NewInvoice::of("others", 10_000_000));
    let event = bench.office.event(&payment("p", "1", 10_000));
    bench.server.desk().next_on(BOOKING, 1, Fault::after(Then::Cut));
    assert!(matches!(bench.sink().deliver(&event).await, Outcome::Retry { .. }));
    // The order is not known there, and the newest are at the end.
    bench.server.vary(|variant| variant.ignores_order = true);
    for _ in 0..150 {
        bench.server.pay_by_hand("others", 100, Some("Débiteur SPRL"));
    }
    bench.server.locked_ledger().change_entries(|entries| entries.rotate_left(1));
    let (reason, again) = held(&run(&bench.sink(), &event).await);
    says(&reason, &["not known", "`payments_max_pages`", "`Finkare p` as name", "100 payments"]);
    assert!(again && bench.writes() == 1, "{reason}");
    // One without a doubt has no marker there, by the ledger; whether somebody else has booked it cannot be seen.
    let sure = payment("sure", "others", 700);
    says(&held(&bench.book(&sure).await).0, &["7.00 EUR", "`payments_max_pages`", "`on_same_amount = \"book\"`"]);
    bench.options.common.on_same_amount = OnSameAmount::Book;
    assert!(delivered(&bench.book(&sure).await));
    bench.options.common.on_same_amount = OnSameAmount::Hold;
    bench.options.payments_max_pages = 3;
    assert!(delivered(&run(&bench.sink(), &event).await));
    assert_eq!((bench.writes(), bench.office.states().await), (2, vec!["p booked".into(), "sure booked".into()]));
    bench.no_complaint();
}

/// Of the same amount and about the same day, by somebody else: of which invoice, the platform does not show.
#[tokio::test]
async fn a_payment_of_the_same_amount_is_held_unless_it_is_ours() {
    let mut bench = Bench::new().await;
    bench.server.add(NewInvoice::of("1", 100_000));
    bench.server.add(NewInvoice::of("2", 100_000));
    let dated = |date: &str| {
        let date = date.to_owned();
        bench.server.locked_ledger().change_entries(|entries| entries.last_mut().unwrap().date = date);
    };
    for date in ["2026-03-07", "2026-03-23"] {
        bench.server.pay_by_hand("1", 15_000, Some("Débiteur SPRL"));
        dated(date);
    }
    // Two equal instalments, and one of another invoice, of ours.
    for (id, number) in [("a", "1"), ("b", "1"), ("c", "2")] {
        let outcome = bench.book(&payment(id, number, 15_000)).await;
        assert!(delivered(&outcome), "{id}: {outcome:?}");
    }
    for (date, name) in [("2026-03-08", Some("Débiteur SPRL")), ("2026-03-22", None), ("2026-03-15", Some("Finkare x"))]
    {
        bench.server.pay_by_hand("1", 200, name);
        dated(date);
        let id = bench.server.entries().last().unwrap().id.to_string();
        let (reason, again) = held(&bench.book(&payment("d", "1", 200)).await);
        says(
            &reason,
            &["2.00 EUR of 2026-03-15", date, &id, name.unwrap_or("without a name"), "its invoice is not shown"],
        );
        says(&reason, &["dispatches cancel", "`on_same_amount = \"book\"`", "retry"]);
        assert!(again);
        dated("2026-01-01");
    }
    assert_eq!(bench.office.states().await, ["a booked", "b booked", "c booked"]);
    bench.server.pay_by_hand("1", 200, None);
    dated("2026-03-15");
    bench.options.common.on_same_amount = OnSameAmount::Book;
    assert!(delivered(&bench.book(&payment("d", "1", 200)).await));
    assert_eq!(bench.writes(), 4);
    bench.no_complaint();
    // Without markers ours look like everybody else's, and only the ledger knows.
    bench.options.common.on_same_amount = OnSameAmount::Hold;
    let bench = bench.set(|options| options.marker_field = MarkerField::None);
    assert!(delivered(&bench.book(&payment("e", "1", 200)).await));
}

#[tokio::test]
async fn what_may_be_ours_without_its_marker_is_held_in_doubt() {
    for length in [0, 9] {
        let bench = Bench::new().await;
        bench.server.add(NewInvoice::of("1", 10_000));
        bench.server.vary(|variant| variant.name_length = length);
        let (sink, event) = (bench.sink(), bench.office.event(&payment("p-1", "1", 10_000)));
        bench.server.desk().next_on(BOOKING, 1, Fault::after(Then::Status(503)));
        let (reason, _) = held(&run(&sink, &event).await);
        says(&reason, &["may be it", "`Finkare p-1`", "look there"]);
        assert_eq!(bench.writes(), 1);
        // A person gives it its name back.
        rename_last(&bench, "Finkare p-1");
        assert!(delivered(&run(&sink, &event).await));
        assert_eq!((bench.writes(), bench.office.states().await), (1, vec!["p-1 booked".to_owned()]));
        bench.no_complaint();
    }
}

#[tokio::test]
async fn without_a_marker_a_doubt_is_for_a_person() {
    let bench = Bench::new().await.set(|options| options.marker_field = MarkerField::None);
    bench.server.add(NewInvoice::of("1", 30_000));
    assert!(delivered(&bench.book(&payment("a", "1", 10_000)).await));
    assert_eq!(bench.server.entries()[0].marker, None);
    for (at, fault) in [Fault::before(Then::Cut), Fault::after(Then::Cut)].into_iter().enumerate() {
        let payment = payment(&format!("b-{at}"), "1", 10_000);
        bench.server.desk().next_on(BOOKING, 1, fault);
        let (reason, _) = held(&bench.book(&payment).await);
        says(&reason, &["is not known", &format!("`Finkare b-{at}`"), "dispatches retry"]);
        assert_eq!(bench.writes(), 2 + at);
        if at == 0 {
            bench.server.pay_by_hand("1", 10_000, Some("Finkare b-0"));
        } else {
            rename_last(&bench, "Finkare b-1");
        }
        assert!(delivered(&bench.book(&payment).await), "it is recognised by what the person wrote");
    }
    assert_eq!((bench.writes(), bench.server.balance_cents("1")), (3, 0));
    bench.no_complaint();
}

#[tokio::test]
async fn invoices_are_found_by_a_filter_or_without_it() {
    for (lookup, lookup_by) in
        [("scan", Lookup::Scan), ("query", Lookup::Query), ("query_then_scan", Lookup::QueryThenScan)]
    {
        for query in [Query::Ignored, Query::Works, Query::Loose, Query::Refused] {
            let bench = Bench::new().await.set(|options| (options.lookup, options.lookup_max_pages) = (lookup_by, 2));
            bench.server.vary(|variant| variant.query = query);
            for number in (1..=120).rev() {
                bench.server.add(NewInvoice::of(&format!("F{number}"), 100));
            }
            let what = format!("{lookup} {query:?}");
            let outcome = bench.book(&payment("p", "F1", 100)).await;
            if lookup == "query" && query == Query::Refused {
                says(&held(&outcome).0, &["400", "`lookup = \"scan\"`"]);
                continue;
            }
            assert!(delivered(&outcome), "{what}: {outcome:?}");
            assert_eq!(bench.server.invoice("F1").id, bench.server.entries()[0].invoice_id, "{what}");
            let missing = bench.office.event(&payment("q", "F12x", 100));
            assert!(matches!(bench.sink().deliver(&missing).await, Outcome::Wait { .. }), "{what}");
            for number in 121..=230 {
                bench.server.add(NewInvoice::of(&format!("F{number}"), 100).dated("2026-03-02"));
            }
            let found = bench.sink().deliver(&missing).await;
            let is_told = lookup == "query" && query != Query::Ignored;
            assert_eq!(matches!(found, Outcome::Wait { .. }), is_told, "{what}: {found:?}");
            bench.no_complaint();
        }
    }
    let quoted = Bench::new().await.set(|options| options.lookup = Lookup::Query);
    quoted.server.add(NewInvoice::of("a\"b", 100));
    says(&held(&quoted.book(&payment("p", "a\"b", 100)).await).0, &["`lookup = \"scan\"`"]);
}

#[tokio::test]
async fn other_shapes_of_amounts_and_ids_are_taken() {
    for (format, shape) in [
        (AmountFormat::Number, Shape::Number),
        (AmountFormat::Object, Shape::Object),
        (AmountFormat::String, Shape::Text),
    ] {
        let bench = Bench::new().await.set(|options| options.amount_format = format);
        bench.server.vary(|variant| {
            variant.takes = vec![shape];
            (variant.ids_are_text, variant.amounts_are_text, variant.ignores_order) = (true, true, true);
        });
        bench.server.add(NewInvoice::of("1", 10_010));
        assert!(delivered(&bench.book(&payment("a", "1", 10_007)).await));
        assert!(delivered(&bench.book(&payment("b", "1", 3)).await));
        assert_eq!(bench.server.balance_cents("1"), 0);
        bench.no_complaint();
    }
}

#[tokio::test]
async fn a_change_of_status_is_carried_over_only_if_asked_for() {
    let mut bench = Bench::new().await;
    for invoice in [
        NewInvoice::of("1", 100),
        NewInvoice::of("2", 100).paid(),
        NewInvoice::of("3", 100).draft(),
        NewInvoice::of("4", 100).locked(),
    ] {
        bench.server.add(invoice);
    }
    let change = |number: &str| bench.office.change(number, "paid");
    let (one, two, three, four, five) = (change("1"), change("2"), change("3"), change("4"), change("5"));
    assert!(delivered(&bench.sink().deliver(&one).await));
    assert_eq!(bench.server.desk().log().len(), 0, "nobody asked for it");

    bench.options.common.status_map = [("paid".to_owned(), "paid".to_owned())].into();
    let sink = bench.sink();
    assert!(delivered(&sink.deliver(&one).await) && delivered(&sink.deliver(&one).await));
    assert_eq!((bench.server.invoice("1").status.as_str(), bench.writes()), ("paid", 1), "once, and seen then");
    assert!(delivered(&sink.deliver(&two).await));
    says(&held(&sink.deliver(&three).await).0, &["invoice 3", "draft", "dispatches cancel"]);
    says(&held(&sink.deliver(&four).await).0, &["invoice 4", "locked"]);
    assert!(matches!(sink.deliver(&five).await, Outcome::Wait { .. }));
    assert_eq!(bench.writes(), 1);
    bench.no_complaint();
}

#[tokio::test]
async fn trying_reads_and_shows_what_would_be_written() {
    let bench = Bench::new().await;
    let id = bench.server.add(NewInvoice::of("1", 10_000));
    let explained = bench.sink().explain(&bench.office.event(&payment("p", "1", 10_000))).await.unwrap();
    assert_eq!(explained.outcome, "delivered");
    says(&explained.decision, &["100.00 EUR", "would be recorded"]);
    let call = explained.calls.last().unwrap();
    assert!(call.url.ends_with(&format!("/v1/invoices/{id}/payments.json")) && call.method == "POST");
    assert!(call.body.as_ref().unwrap().contains(r#""amount":100.00,"#) && call.answer.is_none());
    assert_eq!((bench.writes(), bench.office.lines().await.len()), (0, 0));
    bench.no_complaint();
}

#[tokio::test]
async fn the_check_tells_what_to_change() {
    let mut bench = Bench::new().await;
    bench.server.add(NewInvoice::of("1", 100));
    let said = bench.sink().check().await.unwrap();
    says(&said, &["1 invoices", "card to 4 (Finkare)", "bank_transfer to 3 (Banque)", "clock"]);
    assert_eq!(bench.writes(), 0);
    bench.server.desk().skew(-600);
    says(&bench.sink().check().await.unwrap_err(), &["clock", "ahead of"]);
    bench.server.desk().skew(0);
    bench.options.accounts.insert("other".into(), "9".into());
    says(&bench.sink().check().await.unwrap_err(), &["`accounts.other` is 9", "3 (Banque), 4 (Finkare)"]);
    bench.options.accounts.remove("other");
    bench.no_complaint();
    bench.options.payments_path = "/v1/paiements".into();
    says(&bench.sink().check().await.unwrap_err(), &["404", "reading its payments"]);
    bench.options.payments_path = "/v1/payments".into();
    bench.options.session_key = HeaderSecret::new("notthiskeyatall".to_owned().into()).unwrap();
    let wrong = bench.sink().check().await.unwrap_err();
    assert!(wrong.contains("credentials") && !wrong.contains("notthiskeyatall"), "{wrong}");
}

/// Partial and equal payments, told more than once and in any order, through faults and crashes: what stands in the
/// books afterwards is what was paid, or is held because it is too much.
#[tokio::test]
async fn the_books_agree_to_the_cent_whatever_happens() {
    let bench = Bench::new().await;
    let timeout = Duration::from_secs(1);
    let mut rng = StdRng::seed_from_u64(20_260_315);
    let mut invoices = vec![];
    for number in 0..25 {
        let number = format!("F{number}");
        let mut payments: Vec<_> = (0..rng.random_range(1..4))
            .map(|at| payment(&format!("{number}-{at}"), &number, rng.random_range(1..50_000)))
            .collect();
        if let [first, second, ..] = payments.as_mut_slice() {
            second.amount_cents = first.amount_cents;
        }
        let paid: i64 = payments.iter().map(|payment| payment.amount_cents.0).sum();
        // One in five is paid a cent too much, so that its last payment is held.
        let total = paid - i64::from(rng.random_range(0..5) == 0);
        if total == 0 {
            continue;
        }
        bench.server.add(NewInvoice::of(&number, total));
        let mut events: Vec<_> = payments.iter().chain(&payments).map(|payment| bench.office.event(payment)).collect();
        events.shuffle(&mut rng);
        invoices.push((number, total, payments, events, rng.random::<u64>()));
    }
    let anything = [
        Fault::before(Then::Status(500)),
        Fault::after(Then::Status(503)),
        Fault::before(Then::Cut),
        Fault::after(Then::Cut),
        Fault::after(Then::CutAmid),
        Fault::before(Then::Html),
        Fault::after(Then::WrongShape),
        Fault::before(Then::Limited(Some(0))),
    ];
    bench.server.desk().at_random(On("", ""), 80, 7, anything.to_vec());
    let sink = bench.sink_within(timeout);
    let sink = &sink;
    let held: usize = join_all(invoices.iter().map(|(_, _, _, events, seed)| async move {
        let mut rng = StdRng::seed_from_u64(*seed);
        let mut held = 0;
        for event in events {
            // The process dies somewhere in every third attempt.
            if rng.random_range(0..3) == 0 {
                let life = Duration::from_micros(rng.random_range(0..30_000));
                let _died = tokio::time::timeout(life, sink.deliver(event)).await;
            }
            // A person resumes it when it stops.
            let mut ended = run(sink, event).await;
            while matches!(ended, Outcome::Stop { .. }) {
                ended = run(sink, event).await;
            }
            match ended {
                Outcome::Delivered => {}
                Outcome::Hold { reason, .. } if reason.contains("overpaid") => held += 1,
                other => panic!("{other:?}"),
            }
        }
        held
    }))
    .await
    .into_iter()
    .sum();
    assert!(held > 0, "no invoice was overpaid");
    bench.server.desk().calm();
    let booked: HashMap<String, i64> = bench.booked().into_iter().collect();
    let lines: HashMap<String, _> =
        bench.office.lines().await.into_iter().map(|line| (line.payment_id.clone(), line)).collect();
    for (number, total, payments, ..) in &invoices {
        let mut missing = 0;
        for payment in payments {
            match (booked.get(&format!("Finkare {}", payment.id)), lines.get(&payment.id)) {
                (Some(cents), Some(line)) => {
                    assert_eq!(
                        (*cents, line.amount_cents),
                        (payment.amount_cents.0, payment.amount_cents),
                        "{payment:?}"
                    );
                    assert_eq!(line.state, BookingState::Booked, "{payment:?}");
                }
                // Held; a line that a crash left behind stays, because what is held may still be looked into.
                (None, None | Some(Booking { state: BookingState::Sending, .. })) => missing += payment.amount_cents.0,
                other => panic!("{payment:?}: {other:?}"),
            }
        }
        let paid: i64 = payments.iter().map(|payment| payment.amount_cents.0).sum();
        assert_eq!(bench.server.balance_cents(number), total - (paid - missing), "{number}");
        assert!(missing == 0 || paid > *total, "{number}: held without a reason");
    }
    assert!(bench.server.doubled().is_empty() && bench.server.overpaid().is_empty());
    bench.no_complaint();
}
