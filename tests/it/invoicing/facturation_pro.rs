//! Facturation.PRO: what stands in its books after good days and bad ones.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use finkare_relay::{
    model::{booking::Payment, dispatch::Outcome},
    sinks::{
        Message, Sink,
        invoicing::{
            ApiLimit, Common, OnSameAmount,
            facturation_pro::{NumberField, OnAlreadyPaid, Options},
            system::System,
        },
        kind::Kind,
    },
};
use futures_util::future::join_all;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Office, held, old, payment, says, told};
use crate::support::{
    PATIENCE,
    books::{
        Books, NewInvoice,
        desk::{Fault, On, Quota, Then},
        facturation_pro::{API_ID, API_KEY, FIRM, FacturationPro},
    },
};

/// A whole attempt; a call has a quarter of it.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The call that books.
const BOOKING: On = On("POST", "/settlements.json");
/// The search.
const SEARCH: On = On("GET", "/invoices.json?");

fn options(server: &FacturationPro) -> Options {
    Options {
        common: Common { base_url: server.url().parse().unwrap(), ..common() },
        firm_id: FIRM.into(),
        api_id: API_ID.to_owned().into(),
        api_key: API_KEY.to_owned().into(),
        contact: "ops@creancier.example".into(),
        payment_modes: BTreeMap::new(),
        number_field: NumberField::default(),
        on_already_paid: OnAlreadyPaid::default(),
        payment_ref_prefix: "finkare:".into(),
    }
}

/// Nothing is waited for beyond the attempt itself.
fn common() -> Common {
    Common { settle_secs: 0, ..Common::by_default(&Options::DEFAULTS) }
}

fn built(office: &Office, options: Options, common: Common, timeout: Duration) -> Arc<dyn Sink> {
    let common = Common { base_url: options.common.base_url.clone(), ..common };
    told(Kind::from(Options { common, ..options }).build(timeout, || office.desk(timeout)).unwrap())
}

/// A server, an office and the sink between them.
async fn opened() -> (FacturationPro, Office, Arc<dyn Sink>) {
    let (server, office) = (FacturationPro::start().await, Office::open().await);
    let sink = built(&office, options(&server), common(), TIMEOUT);
    (server, office, sink)
}

/// Delivers as the dispatcher does, again and again, until it ends or a person is needed.
async fn through(sink: &Arc<dyn Sink>, message: &Message) -> Outcome {
    let begun = tokio::time::Instant::now();
    loop {
        let after = match sink.deliver(message).await {
            Outcome::Wait { after, .. } => after,
            Outcome::Retry { after, .. } => after.unwrap_or_default(),
            ended => return ended,
        };
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        // The pace of asking, as the sink wants it but not slower than the test can wait.
        tokio::time::sleep(after.clamp(Duration::from_millis(10), Duration::from_millis(300))).await;
    }
}

/// The same, with a person who resumes the sink whenever it stops.
async fn resumed(sink: &Arc<dyn Sink>, message: &Message) -> Outcome {
    for _ in 0..100 {
        match through(sink, message).await {
            Outcome::Stop { .. } => {}
            ended => return ended,
        }
    }
    panic!("it stops again and again")
}

/// Markers with their cents, in the order of the markers; nothing doubled, nothing overpaid, nothing complained of.
#[track_caller]
fn booked(server: &FacturationPro) -> Vec<(String, i64)> {
    assert_eq!(server.complaints(), Vec::<String>::new());
    assert_eq!((server.doubled(), server.overpaid()), (vec![], vec![]));
    let ours = server.entries().into_iter().filter(|entry| !entry.by_hand);
    let mut booked: Vec<_> = ours.map(|entry| (entry.marker.clone().unwrap_or_default(), entry.cents())).collect();
    booked.sort();
    booked
}

#[track_caller]
fn no_secret(text: &str) {
    let basic = BASE64_STANDARD.encode(format!("{API_ID}:{API_KEY}"));
    for secret in [API_ID, API_KEY, &basic] {
        assert!(!text.contains(secret), "a secret is in: {text}");
    }
}

#[tokio::test]
async fn a_payment_is_booked_once() {
    let (server, office, sink) = opened().await;
    let id = server.add(NewInvoice::of("2026-001", 12_100).prefix("FA"));
    server.add(NewInvoice::of("2026-002", 500).prefix("FA"));
    let event = office.event(&payment("aaaa1111", "FA2026-001", 12_100));
    assert_eq!(sink.deliver(&event).await, Outcome::Delivered);
    assert_eq!(booked(&server), [("finkare:aaaa1111".to_owned(), 12_100)]);
    let entry = server.entries().remove(0);
    // Half past midnight in Paris, the day before in UTC; by direct debit.
    assert_eq!((entry.invoice_id, &*entry.date, &*entry.mode), (id, "2026-03-15", "8"));
    let paid = server.invoice("FA2026-001").paid.unwrap();
    assert_eq!((&*paid.on, &*paid.mode), ("2026-03-15", "8"));
    assert_eq!(office.states().await, ["aaaa1111 booked"]);
    assert_eq!(office.lines().await[0].target_id, Some(entry.id.to_string()));
    let sent = server.desk().log().into_iter().find(|call| call.method == "POST").unwrap().body;
    let expected = format!(
        r#"{{"invoice_id":{id},"total":"121.00","payment_mode":8,"paid_on":"2026-03-15","payment_ref":"finkare:aaaa1111"}}"#
    );
    assert_eq!(sent, expected);

    // Again, as a retry and as another event of the same payment: nothing is even asked.
    let calls = server.desk().count(On::ANY);
    assert_eq!(calls, 3, "looked for, written, read back");
    assert_eq!(sink.deliver(&event).await, Outcome::Delivered);
    assert_eq!(sink.deliver(&office.event(&payment("aaaa1111", "FA2026-001", 12_100))).await, Outcome::Delivered);
    assert_eq!(server.desk().count(On::ANY), calls);

    // With a ledger that knows nothing the marker in the books decides.
    let other = Office::open().await;
    let sink = built(&other, options(&server), common(), TIMEOUT);
    let event = other.event(&payment("aaaa1111", "FA2026-001", 12_100));
    assert_eq!(sink.deliver(&event).await, Outcome::Delivered);
    assert_eq!((other.states().await, server.desk().count(BOOKING)), (vec!["aaaa1111 booked".to_owned()], 1));
}

#[tokio::test]
async fn instalments_add_up_and_equal_ones_are_two() {
    let (server, office, sink) = opened().await;
    server.add(NewInvoice::of("F-1", 10_000));
    let pay = async |id: &str, cents: i64| sink.deliver(&office.event(&payment(id, "F-1", cents))).await;
    assert_eq!(pay("p-1", 3333).await, Outcome::Delivered);
    assert_eq!(pay("p-2", 3333).await, Outcome::Delivered);
    // By hand, of the same amount and without a reference.
    server.pay_by_hand("F-1", 3333, None);
    let (reason, recheck) = held(&pay("p-3", 3333).await);
    says(&reason, &["33.33 EUR of 2026-03-15 by sepa_debit (Finkare payment p-3)", "more than the 0.01 EUR", "F-1"]);
    assert!(recheck);
    assert_eq!(pay("p-10", 1).await, Outcome::Delivered);
    let expected = [("finkare:p-1", 3333), ("finkare:p-10", 1), ("finkare:p-2", 3333)];
    assert_eq!(booked(&server), expected.map(|(marker, cents)| (marker.to_owned(), cents)));
    assert_eq!(server.balance_cents("F-1"), 0);
    assert_eq!(office.states().await, ["p-1 booked", "p-10 booked", "p-2 booked"], "what is held leaves no line");
}

#[tokio::test]
async fn methods_have_their_codes() {
    let (server, office, _) = opened().await;
    server.add(NewInvoice::of("F-1", 10_000));
    let mut options = options(&server);
    options.payment_modes = [("card".to_owned(), 1), ("cheque".to_owned(), 4)].into();
    let sink = built(&office, options, common(), TIMEOUT);
    let methods = [Some("bank_transfer"), Some("card"), Some("payment_link"), Some("cheque"), Some("barter"), None];
    for (n, method) in methods.into_iter().enumerate() {
        let paid = Payment { method: method.map(str::to_owned), ..payment(&format!("p-{n}"), "F-1", 100) };
        assert_eq!(sink.deliver(&office.event(&paid)).await, Outcome::Delivered);
    }
    let modes: Vec<_> = server.entries().into_iter().map(|entry| entry.mode).collect();
    assert_eq!(modes, ["3", "1", "2", "4", "99", "99"]);
}

#[tokio::test]
async fn what_a_person_must_see_is_held() {
    let (server, office, sink) = opened().await;
    for invoice in [
        NewInvoice::of("draft", 10_000).draft(),
        NewInvoice::of("bin", 10_000).deleted(),
        NewInvoice::of("credit", 10_000).credit_note(),
        NewInvoice::of("pounds", 10_000).currency("GBP"),
        NewInvoice::of("paid", 10_000).paid(),
        NewInvoice::of("small", 9999),
        NewInvoice::of("twin", 10_000),
        NewInvoice::of("twin", 10_000),
        NewInvoice::of("marked", 30_000),
        NewInvoice::of("doubled", 30_000),
    ] {
        server.add(invoice);
    }
    server.pay_by_hand("marked", 9000, Some("finkare:p-marked"));
    server.pay_by_hand("doubled", 10_000, Some("finkare:p-doubled"));
    server.pay_by_hand("doubled", 10_000, Some("finkare:p-doubled"));
    for (number, words, rechecked) in [
        ("draft", "is a draft in Facturation.PRO", true),
        ("bin", "is in the bin", true),
        ("credit", "is a credit note", false),
        ("pounds", "is in GBP", false),
        ("paid", "is marked as paid there since 2026-03-02", true),
        ("small", "is more than the 99.99 EUR", true),
        ("twin", "2 invoices in Facturation.PRO have the number twin", true),
        ("marked", "but its amount is 90.00 EUR", true),
        ("doubled", "is 2 times", true),
    ] {
        let event = office.event(&payment(&format!("p-{number}"), number, 10_000));
        let (reason, recheck) = held(&sink.deliver(&event).await);
        says(
            &reason,
            &[words, number, &format!("100.00 EUR of 2026-03-15 by sepa_debit (Finkare payment p-{number})")],
        );
        says(&reason, &["this dispatch (`dispatches "]);
        assert_eq!(recheck, rechecked, "{number}");
        no_secret(&reason);
    }
    let absent = office.event(&payment("p", "nowhere", 1));
    let Outcome::Wait { reason, .. } = sink.deliver(&absent).await else { panic!("it may be new") };
    says(&reason, &["nowhere", "the invoice may be new"]);
    let (reason, recheck) = held(&sink.deliver(&old(&absent)).await);
    says(&reason, &["invoice nowhere, which is not in Facturation.PRO", "`number_field`", "0.01 EUR"]);
    assert!(recheck);
    assert_eq!((server.desk().count(BOOKING), office.states().await), (0, vec![]));
    assert_eq!(server.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn an_invoice_that_is_paid_by_hand_can_close_it() {
    let (server, office, _) = opened().await;
    server.add(NewInvoice::of("F-1", 10_000).paid());
    server.add(NewInvoice::of("F-2", 10_000));
    server.pay_by_hand("F-2", 10_000, None);
    let mut options = options(&server);
    options.on_already_paid = OnAlreadyPaid::Close;
    let sink = built(&office, options, common(), TIMEOUT);
    for number in ["F-1", "F-2"] {
        let event = office.event(&payment(&format!("p-{number}"), number, 10_000));
        assert_eq!(sink.deliver(&event).await, Outcome::Delivered);
    }
    assert_eq!(office.states().await, ["p-F-1 seen", "p-F-2 seen"]);
    assert_eq!((booked(&server), server.desk().count(BOOKING)), (vec![], 0));
}

/// Every way in which the one call that writes can fail, done or not.
#[tokio::test(flavor = "multi_thread")]
async fn no_failure_of_the_write_loses_or_doubles_it() {
    let mut tasks = JoinSet::new();
    let thens = [
        Then::Status(500),
        Then::Status(503),
        Then::Cut,
        Then::CutAmid,
        Then::Silence,
        Then::Garbage,
        Then::Html,
        Then::WrongShape,
    ];
    for then in thens {
        for (is_done, fault) in [(false, Fault::before(then.clone())), (true, Fault::after(then.clone()))] {
            let name = format!("{then:?}, done: {is_done}");
            tasks.spawn(async move {
                let (server, office, sink) = opened().await;
                server.add(NewInvoice::of("F-1", 10_000));
                server.desk().next_on(BOOKING, 1, fault);
                let event = office.event(&payment("p-1", "F-1", 4000));
                let first = sink.deliver(&event).await;
                let Outcome::Retry { reason, .. } = &first else { panic!("{name}: {first:?}") };
                says(reason, &["It is not known whether the payment was recorded"]);
                no_secret(reason);
                assert_eq!(office.states().await, ["p-1 sending"], "{name}");
                // Meanwhile nothing else is written to this invoice.
                let next = office.event(&payment("p-2", "F-1", 4000));
                assert!(matches!(sink.deliver(&next).await, Outcome::Wait { .. }), "{name}");
                assert_eq!(through(&sink, &event).await, Outcome::Delivered, "{name}");
                assert_eq!(through(&sink, &next).await, Outcome::Delivered, "{name}");
                let markers = [("finkare:p-1".to_owned(), 4000), ("finkare:p-2".to_owned(), 4000)];
                assert_eq!(booked(&server), markers, "{name}");
                assert_eq!(server.desk().count(BOOKING), if is_done { 2 } else { 3 }, "{name}");
            });
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// An answer that is no success and does not say either that nothing was done: it is looked up, and not believed.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_answer_to_the_write_is_looked_up() {
    let elsewhere = Then::Redirect("https://elsewhere.example/".into());
    let mut tasks = JoinSet::new();
    for then in [
        elsewhere,
        Then::Status(303),
        Then::Status(408),
        Then::Status(409),
        Then::Status(425),
        Then::Status(501),
        Then::SaysNo,
    ] {
        for is_done in [false, true] {
            let fault = if is_done { Fault::after(then.clone()) } else { Fault::before(then.clone()) };
            let name = format!("{then:?}, done: {is_done}");
            tasks.spawn(async move {
                let (server, office, sink) = opened().await;
                server.add(NewInvoice::of("F-1", 10_000));
                server.desk().next_on(BOOKING, 1, fault);
                let event = office.event(&payment("p-1", "F-1", 4000));
                let first = sink.deliver(&event).await;
                let Outcome::Retry { reason, .. } = &first else { panic!("{name}: {first:?}") };
                says(reason, &["It is not known whether the payment was recorded"]);
                no_secret(reason);
                assert_eq!(office.states().await, ["p-1 sending"], "{name}: the line stays");
                assert_eq!(through(&sink, &event).await, Outcome::Delivered, "{name}");
                assert_eq!(booked(&server), [("finkare:p-1".to_owned(), 4000)], "{name}");
                assert_eq!(server.desk().count(BOOKING), if is_done { 1 } else { 2 }, "{name}");
                assert_eq!(office.states().await, ["p-1 booked"], "{name}");
            });
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

/// Sent twice, answered so twice, and not there: that does not go on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_openly_twice_is_for_a_person() {
    let elsewhere = Then::Redirect("https://elsewhere.example/".into());
    for (then, stops) in [
        (Then::Status(409), false),
        (Then::SaysNo, false),
        (elsewhere, true),
        (Then::Status(501), true),
        (Then::WrongShape, true),
    ] {
        let (server, office, sink) = opened().await;
        server.add(NewInvoice::of("F-1", 10_000));
        server.desk().next_on(BOOKING, 2, Fault::before(then.clone()));
        let event = office.event(&payment("p-1", "F-1", 4000));
        let outcome = through(&sink, &event).await;
        let reason = match &outcome {
            Outcome::Hold { reason, recheck_after: None } if !stops => reason,
            Outcome::Stop { reason } if stops => reason,
            _ => panic!("{then:?}: {outcome:?}"),
        };
        says(reason, &["It was sent twice, and is not there"]);
        assert_eq!((server.desk().count(BOOKING), server.entries().len()), (2, 0), "{then:?}");
        assert_eq!(office.states().await, ["p-1 sending"], "the doubt stays");
        // Put right there, and retried.
        assert_eq!(through(&sink, &event).await, Outcome::Delivered, "{then:?}");
        assert_eq!((booked(&server).len(), server.desk().count(BOOKING)), (1, 3), "{then:?}");
    }
}

/// A process that was given less time does not believe another's write to be over.
#[tokio::test]
async fn each_write_has_the_time_of_who_sent_it() {
    let (server, office, quick) = opened().await;
    server.add(NewInvoice::of("F-1", 10_000));
    let patient = built(&office, options(&server), common(), Duration::from_mins(5));
    server.desk().next_on(BOOKING, 1, Fault::before(Then::Cut));
    let event = office.event(&payment("p-1", "F-1", 4000));
    assert!(matches!(patient.deliver(&event).await, Outcome::Retry { .. }));
    for sink in [&quick, &patient] {
        let Outcome::Wait { reason, after } = sink.deliver(&event).await else { panic!("it is not waited for") };
        says(&reason, &["waits until that request has certainly ended"]);
        assert!(after > Duration::from_mins(4) && after <= Duration::from_mins(5), "{after:?}");
    }
    // What another payment of the invoice does meanwhile is to wait as well.
    let next = office.event(&payment("p-2", "F-1", 4000));
    assert!(matches!(quick.deliver(&next).await, Outcome::Wait { .. }));
    assert_eq!(server.desk().count(BOOKING), 1);
}

/// The same money may stand there already, typed by a person.
#[tokio::test]
async fn a_payment_of_the_same_amount_is_held_unless_it_is_ours() {
    let (server, office, sink) = opened().await;
    server.add(NewInvoice::of("F-1", 100_000));
    let dated = |date: &str| {
        let date = date.to_owned();
        server.locked_ledger().change_entries(|entries| entries.last_mut().unwrap().date = date);
    };
    // Of 15 March; these are of the same amount and too far away.
    for date in ["2026-03-07", "2026-03-23"] {
        server.pay_by_hand("F-1", 15_000, Some("VIR 4711"));
        dated(date);
    }
    // Of another amount, on its day.
    server.pay_by_hand("F-1", 15_001, Some("VIR 4712"));
    dated("2026-03-15");
    // Equal instalments of ours are no reason, and neither is one whose reference somebody has changed.
    for id in ["p-1", "p-2"] {
        assert_eq!(sink.deliver(&office.event(&payment(id, "F-1", 15_000))).await, Outcome::Delivered, "{id}");
    }
    server.locked_ledger().change_entries(|entries| entries.last_mut().unwrap().marker = Some("seen by Anna".into()));
    assert_eq!(sink.deliver(&office.event(&payment("p-3", "F-1", 15_000))).await, Outcome::Delivered);
    for (date, marker, words) in [
        ("2026-03-15", Some("VIR 4713"), "of 2026-03-15 (id "),
        ("2026-03-08", None, "without a reference) already, which this service did not book"),
        ("2026-03-22", Some("finkare:q-9"), "the marker of Finkare's payment q-9, which is not in the ledger here"),
    ] {
        server.pay_by_hand("F-1", 100, marker);
        dated(date);
        let id = server.entries().last().unwrap().id.to_string();
        let event = office.event(&payment("p-4", "F-1", 100));
        let (reason, recheck) = held(&sink.deliver(&event).await);
        says(
            &reason,
            &["1.00 EUR of 2026-03-15", "a payment of 1.00 EUR", date, &id, marker.unwrap_or_default(), words],
        );
        says(
            &reason,
            &["dispatches cancel", "write `finkare:p-4` as its reference", "`on_same_amount = \"book\"`", "retry"],
        );
        assert!(recheck, "it may be put right there: {reason}");
        assert_eq!(office.states().await, ["p-1 booked", "p-2 booked", "p-3 booked"], "nothing is in doubt");
        server.locked_ledger().change_entries(|entries| entries.last_mut().unwrap().date = "2026-01-01".into());
    }
    // A person says that it is this one.
    server.pay_by_hand("F-1", 200, Some("finkare:p-5"));
    assert_eq!(sink.deliver(&office.event(&payment("p-5", "F-1", 200))).await, Outcome::Delivered);
    // Or that it never is.
    server.pay_by_hand("F-1", 300, None);
    dated("2026-03-15");
    let event = office.event(&payment("p-6", "F-1", 300));
    held(&sink.deliver(&event).await);
    let common = Common { on_same_amount: OnSameAmount::Book, ..common() };
    let booking = built(&office, options(&server), common, TIMEOUT);
    assert_eq!(booking.deliver(&event).await, Outcome::Delivered);
    assert_eq!((server.desk().count(BOOKING), server.complaints()), (4, vec![]));
}

/// The request is carried out when its sender has long gone: nothing is written behind it.
#[tokio::test]
async fn a_write_that_comes_late_is_waited_for() {
    let (server, office, _) = opened().await;
    // So long that only the marker ends the doubt.
    let sink = built(&office, options(&server), Common { settle_secs: 3600, ..common() }, TIMEOUT);
    server.add(NewInvoice::of("F-1", 10_000));
    let gate = Arc::new(Semaphore::new(0));
    server.desk().next_on(BOOKING, 1, Fault::late_through(gate.clone()));
    let event = office.event(&payment("p-1", "F-1", 4000));
    assert!(matches!(sink.deliver(&event).await, Outcome::Retry { .. }));
    for _ in 0..3 {
        let Outcome::Wait { reason, after } = sink.deliver(&event).await else { panic!("it is not waited for") };
        says(&reason, &["waits until that request has certainly ended"]);
        assert!(after > Duration::from_mins(50));
    }
    gate.add_permits(1);
    assert_eq!(through(&sink, &event).await, Outcome::Delivered);
    assert_eq!((booked(&server).len(), server.desk().count(BOOKING)), (1, 1));
}

/// Taken, and it cannot be read back at once.
#[tokio::test]
async fn what_was_written_is_read_back_by_a_later_attempt() {
    for then in [Then::Status(502), Then::Cut, Then::Html, Then::WrongShape, Then::Limited(Some(1))] {
        let stops = matches!(then, Then::WrongShape);
        let (server, office, sink) = opened().await;
        let id = server.add(NewInvoice::of("F-1", 10_000));
        let single = format!("/invoices/{id}.json");
        server.desk().next_on(On("GET", single.leak()), 1, Fault::before(then.clone()));
        let event = office.event(&payment("p-1", "F-1", 4000));
        let first = sink.deliver(&event).await;
        assert_eq!(matches!(first, Outcome::Stop { .. }), stops, "{then:?}: {first:?}");
        assert!(stops || matches!(first, Outcome::Retry { .. } | Outcome::Wait { .. }), "{then:?}: {first:?}");
        assert_eq!(office.states().await, ["p-1 written"], "{then:?}");
        assert_eq!(through(&sink, &event).await, Outcome::Delivered, "{then:?}");
        assert_eq!((booked(&server).len(), server.desk().count(BOOKING)), (1, 1), "{then:?}");
        assert_eq!(office.states().await, ["p-1 booked"], "{then:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_attempts_at_once_one_writes() {
    let (server, office, sink) = opened().await;
    server.add(NewInvoice::of("F-1", 10_000));
    let gate = Arc::new(Semaphore::new(0));
    server.desk().next_on(SEARCH, 1, Fault::after(Then::Gate(gate.clone())));
    let event = office.event(&payment("p-1", "F-1", 4000));
    // Two processes on one database.
    let other = built(&office, options(&server), common(), TIMEOUT);
    let attempts = join_all((0..8).map(|n| through(if n % 2 == 0 { &sink } else { &other }, &event)));
    let opening = async {
        crate::support::eventually("one looks", || std::future::ready(server.desk().count(SEARCH) > 0)).await;
        gate.add_permits(1);
    };
    let (ended, ()) = tokio::join!(attempts, opening);
    for outcome in &ended {
        // One that finds the payment, and begins to say so just while the writer does, makes the writer ask a person.
        let is_good = match outcome {
            Outcome::Delivered => true,
            Outcome::Hold { reason, .. } => reason.contains("two attempts may have recorded the payment"),
            _ => false,
        };
        assert!(is_good, "{outcome:?}");
    }
    assert_eq!((booked(&server).len(), server.desk().count(BOOKING)), (1, 1));
    assert_eq!(through(&sink, &event).await, Outcome::Delivered);
    assert_eq!(server.desk().count(BOOKING), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_limit_is_never_exceeded() {
    let (server, office, _) = opened().await;
    let second = Duration::from_secs(1);
    // One more than we take: at none left the sink would make a long pause, which is another test's.
    server.desk().limit([Quota { requests: 7, per: second }]);
    let number = |number| NonZeroU32::new(number).unwrap();
    let limits = vec![ApiLimit { requests: number(6), per_secs: number(1) }];
    let sink = built(&office, options(&server), Common { api_limits: limits, ..common() }, TIMEOUT);
    let events: Vec<_> = (0..4)
        .map(|n| {
            server.add(NewInvoice::of(&format!("F-{n}"), 100));
            office.event(&payment(&format!("p-{n}"), &format!("F-{n}"), 100))
        })
        .collect();
    let ended = join_all(events.iter().map(|event| through(&sink, event))).await;
    assert!(ended.iter().all(|outcome| *outcome == Outcome::Delivered), "{ended:?}");
    assert_eq!(booked(&server).len(), 4);
    assert_eq!(server.desk().answered(429), 0);
    assert!(server.desk().busiest(second) <= 6, "{}", server.desk().busiest(second));
}

#[tokio::test]
async fn too_many_requests_are_no_failure() {
    let (server, office, sink) = opened().await;
    server.add(NewInvoice::of("F-1", 100));
    let event = office.event(&payment("p-1", "F-1", 100));
    server.desk().next_on(SEARCH, 1, Fault::before(Then::Limited(None)));
    let Outcome::Wait { reason, after } = sink.deliver(&event).await else { panic!("it is no failure") };
    says(&reason, &["429", "Retry later"]);
    assert!(after > Duration::from_secs(3) && after <= Duration::from_secs(5), "{after:?}: our own, for it names none");
    // Nothing is asked while it wants none.
    let calls = server.desk().count(On::ANY);
    assert!(matches!(sink.deliver(&event).await, Outcome::Wait { .. }));
    assert_eq!(server.desk().count(On::ANY), calls);

    // At the write: certainly not carried out, so that nothing is in doubt.
    let sink = built(&office, options(&server), common(), TIMEOUT);
    server.desk().next_on(BOOKING, 1, Fault::before(Then::Limited(Some(1))));
    assert!(matches!(sink.deliver(&event).await, Outcome::Wait { .. }));
    assert_eq!(office.states().await, Vec::<String>::new());
    assert_eq!(through(&sink, &event).await, Outcome::Delivered);
    assert_eq!(booked(&server).len(), 1);
}

#[tokio::test]
async fn books_that_are_not_as_they_should_be_stop_the_sink() {
    type Change = fn(&mut crate::support::books::facturation_pro::Variant);
    let cases: [(Change, &str); 2] = [
        (|variant| variant.settlements_without_vat = true, "balance is 52.00 EUR, and by its total and its payments"),
        (|variant| variant.ref_length = 12, "its reference is `finkare:aaaa` and not `finkare:aaaa1111`"),
    ];
    for (change, words) in cases {
        let (server, office, sink) = opened().await;
        server.vary(change);
        server.add(NewInvoice::of("F-1", 10_000));
        let event = office.event(&payment("aaaa1111", "F-1", 4000));
        let Outcome::Stop { reason } = sink.deliver(&event).await else { panic!("{words}: it goes on") };
        says(&reason, &[words, "F-1", "40.00 EUR"]);
        // Resumed: it is not written again.
        assert_eq!(sink.deliver(&event).await, Outcome::Delivered);
        assert_eq!((server.entries().len(), server.complaints()), (1, vec![]));
    }
    // Cut off, so that nobody knows, and with a reference that is lost there: a person has to look.
    let (server, office, sink) = opened().await;
    server.vary(|variant| variant.ref_length = 12);
    server.add(NewInvoice::of("F-1", 10_000));
    server.desk().next_on(BOOKING, 1, Fault::after(Then::Cut));
    let event = office.event(&payment("aaaa1111", "F-1", 4000));
    assert!(matches!(sink.deliver(&event).await, Outcome::Retry { .. }));
    let (reason, _) = held(&through(&sink, &event).await);
    says(&reason, &["has the same amount, and either no reference or the beginning of ours", "finkare:aaaa1111"]);
    assert_eq!((server.entries().len(), office.states().await), (1, vec!["aaaa1111 sending".to_owned()]));
}

#[tokio::test]
async fn who_is_refused_stops_and_what_is_refused_is_held() {
    let elsewhere = Then::Redirect("https://elsewhere.example/".into());
    for then in [Then::Status(401), Then::Status(403), Then::Status(501), elsewhere] {
        // What a write is answered so may have been done.
        let is_word = matches!(then, Then::Status(401 | 403));
        for on in if is_word { &[SEARCH, BOOKING][..] } else { &[SEARCH] } {
            let (server, office, sink) = opened().await;
            server.add(NewInvoice::of("F-1", 100));
            server.desk().next_on(*on, 1, Fault::before(then.clone()));
            let event = office.event(&payment("p-1", "F-1", 100));
            let Outcome::Stop { reason } = sink.deliver(&event).await else { panic!("{then:?}") };
            no_secret(&reason);
            assert_eq!(office.states().await, Vec::<String>::new());
            assert_eq!(sink.deliver(&event).await, Outcome::Delivered, "resumed");
            assert_eq!(booked(&server).len(), 1);
        }
    }
    for status in [400, 404, 422] {
        let (server, office, sink) = opened().await;
        server.add(NewInvoice::of("F-1", 100));
        server.desk().next_on(BOOKING, 1, Fault::before(Then::Status(status)));
        let event = office.event(&payment("p-1", "F-1", 100));
        let (reason, _) = held(&sink.deliver(&event).await);
        says(&reason, &[&status.to_string(), "1.00 EUR", "invoice F-1", "It was not recorded", "dispatches retry"]);
        no_secret(&reason);
        assert_eq!(sink.deliver(&event).await, Outcome::Delivered, "retried");
        assert_eq!(booked(&server).len(), 1);
    }
    // Wrong credentials are repeated nowhere, not even in `Debug`.
    let (server, office, _) = opened().await;
    let mut options = options(&server);
    options.api_key = "not-the-key".to_owned().into();
    let sink = built(&office, options, common(), TIMEOUT);
    let Outcome::Stop { reason } = sink.deliver(&office.event(&payment("p", "F", 1))).await else { panic!() };
    assert!(!format!("{reason} {sink:?}").contains("not-the-key"), "{reason} {sink:?}");
    says(&reason, &["401", "check the credentials"]);
}

#[tokio::test]
async fn what_cannot_be_read_is_never_taken_for_an_answer() {
    for then in [Then::Garbage, Then::Html, Then::WrongShape, Then::CutAmid, Then::Status(500)] {
        // Another answer than is documented would come for the next event as well; a page, or half an answer, passes.
        let stops = matches!(then, Then::Garbage | Then::WrongShape);
        let (server, office, sink) = opened().await;
        server.add(NewInvoice::of("F-1", 100));
        server.desk().next_on(SEARCH, 1, Fault::before(then.clone()));
        let event = office.event(&payment("p-1", "F-1", 100));
        let outcome = sink.deliver(&event).await;
        let reason = match &outcome {
            Outcome::Stop { reason } if stops => reason,
            Outcome::Retry { reason, .. } if !stops => reason,
            _ => panic!("{then:?}: {outcome:?}"),
        };
        if stops {
            says(reason, &["cannot be read", "looking for invoice F-1", "`base_url`", "`sinks resume`"]);
        }
        no_secret(reason);
        assert_eq!((server.desk().count(BOOKING), office.states().await), (0, vec![]), "{then:?}");
        assert_eq!(through(&sink, &event).await, Outcome::Delivered, "{then:?}");
        assert_eq!(booked(&server).len(), 1);
    }
}

#[tokio::test]
async fn its_habits_do_not_matter() {
    type Change = fn(&mut crate::support::books::facturation_pro::Variant);
    let cases: [Change; 6] = [
        |variant| variant.lists_are_bare = true,
        |variant| variant.lists_misspell = true,
        |variant| variant.no_hit_is_404 = true,
        |variant| variant.search_is_loose = true,
        |variant| variant.errors_are_text = true,
        |variant| {
            (variant.search_is_loose, variant.lists_are_bare, variant.lists_misspell) = (true, true, true);
            variant.per_page = 2;
        },
    ];
    for (n, change) in cases.into_iter().enumerate() {
        let (server, office, sink) = opened().await;
        server.vary(change);
        for number in ["1", "10", "11", "12", "100"] {
            server.add(NewInvoice::of(number, 1000).prefix("F-"));
        }
        server.add(NewInvoice::of("1", 1000).prefix("f-"));
        for (id, number) in [("p-1", "F-1"), ("p-2", "F-1"), ("p-3", "F-12"), ("p-4", "f-1")] {
            let event = office.event(&payment(id, number, 400));
            assert_eq!(sink.deliver(&event).await, Outcome::Delivered, "{n}: {id}");
        }
        // By the marker alone.
        let other = Office::open().await;
        let again = built(&other, options(&server), common(), TIMEOUT);
        let event = other.event(&payment("p-2", "F-1", 400));
        assert_eq!(again.deliver(&event).await, Outcome::Delivered, "{n}");
        let absent = old(&office.event(&payment("p-5", "F-1000", 400)));
        says(&held(&sink.deliver(&absent).await).0, &["F-1000, which is not in"]);
        assert_eq!((booked(&server).len(), server.balance_cents("F-1")), (4, 200), "{n}");
    }
}

#[tokio::test]
async fn numbers_may_stand_in_another_field() {
    let (server, office, _) = opened().await;
    server.add(NewInvoice::of("2026-1", 1000).prefix("FA"));
    server.add(NewInvoice::of("2026-11", 1000).prefix("FA"));
    server.add(NewInvoice::of("2026-11", 1000).prefix("FB"));
    let mut options = options(&server);
    options.number_field = NumberField::InvoiceRef;
    let sink = built(&office, options.clone(), common(), TIMEOUT);
    assert_eq!(sink.deliver(&office.event(&payment("p-1", "2026-1", 400))).await, Outcome::Delivered);
    assert_eq!(server.balance_cents("FA2026-1"), 600);
    says(&held(&sink.deliver(&office.event(&payment("p-2", "2026-11", 400))).await).0, &["2 invoices"]);
    // No invoice of the stand-in is an imported one.
    options.number_field = NumberField::ExternalRef;
    let sink = built(&office, options, common(), TIMEOUT);
    let absent = old(&office.event(&payment("p-3", "FA2026-1", 400)));
    says(&held(&sink.deliver(&absent).await).0, &["is not in Facturation.PRO"]);
    assert_eq!(booked(&server).len(), 1);
    // A search that brings more than anyone reads is no answer.
    for n in 0..25 {
        server.add(NewInvoice::of(&format!("many-{n}"), 1000));
    }
    server.vary(|variant| (variant.per_page, variant.search_is_loose) = (1, true));
    let sink = built(&office, self::options(&server), common(), TIMEOUT);
    says(&held(&sink.deliver(&old(&office.event(&payment("p-4", "many-", 400)))).await).0, &["25 pages"]);
}

#[tokio::test]
async fn a_status_is_noted_once_where_it_is_asked_for() {
    let (server, office, _) = opened().await;
    server.add(NewInvoice::of("F-1", 1000));
    let statuses = [("in_recovery", "note"), ("closed", "note"), ("paid", "nothing")];
    let status_map = statuses.map(|(status, action)| (status.to_owned(), action.to_owned())).into();
    let sink = built(&office, options(&server), Common { status_map, ..common() }, TIMEOUT);
    let patches = On("PATCH", "");
    for (status, count) in [("in_recovery", 1), ("in_recovery", 1), ("paid", 1), ("unheard of", 1), ("closed", 2)] {
        assert_eq!(through(&sink, &office.change("F-1", status)).await, Outcome::Delivered);
        assert_eq!(server.desk().count(patches), count, "{status}");
    }
    let note = server.invoice("F-1").internal_note.unwrap();
    assert_eq!(note, "Finkare 2026-03-20: in_recovery\nFinkare 2026-03-20: closed");
    // A failure in between is healed by looking again.
    server.add(NewInvoice::of("F-2", 1000));
    server.desk().next_on(patches, 1, Fault::after(Then::Cut));
    assert_eq!(through(&sink, &office.change("F-2", "closed")).await, Outcome::Delivered);
    assert_eq!(server.invoice("F-2").internal_note.unwrap(), "Finkare 2026-03-20: closed");
    let absent = old(&office.change("F-3", "closed"));
    says(&held(&sink.deliver(&absent).await).0, &["the note of the status `closed` waits for invoice F-3"]);
    assert_eq!((booked(&server), server.desk().count(patches)), (vec![], 3));
}

#[tokio::test]
async fn a_check_says_what_to_change() {
    let (server, office, sink) = opened().await;
    let good = sink.check().await.unwrap();
    says(&good, &["accepts the credentials", "firm 12345 is Créancier SARL", "its clock and ours agree"]);
    server.vary(|variant| variant.no_hit_is_404 = true);
    sink.check().await.unwrap();
    for (firm, key, words) in
        [("999", API_KEY, "the account has no firm 999: it has 12345"), (FIRM, "wrong-key", "check the credentials")]
    {
        let mut options = options(&server);
        (options.firm_id, options.api_key) = (firm.into(), key.to_owned().into());
        let problem = built(&office, options, common(), TIMEOUT).check().await.unwrap_err();
        says(&problem, &[words]);
        assert!(!problem.contains("wrong-key"));
    }
    server.desk().skew(600);
    says(&sink.check().await.unwrap_err(), &["behind that of Facturation.PRO", "NTP"]);
    server.desk().skew(0);
    server.desk().next_on(SEARCH, 1, Fault::before(Then::Status(403)));
    says(&sink.check().await.unwrap_err(), &["403", "whether invoices can be read"]);
    assert_eq!(server.desk().count(BOOKING), 0);
}

/// What must come of each payment of an invoice, if they come one after another.
fn expected(balance: i64, amounts: &[i64]) -> Vec<bool> {
    let mut left = balance;
    amounts
        .iter()
        .map(|amount| {
            *amount <= left && {
                left -= amount;
                true
            }
        })
        .collect()
}

/// Payments of several invoices side by side, those of one in order; many faults, repetitions, overpayments. Then the
/// books are compared to the cent.
#[tokio::test(flavor = "multi_thread")]
async fn after_any_day_the_books_are_right() {
    const SEED: u64 = 20_260_315;
    let timeout = Duration::from_secs(1);
    let (server, office) = (FacturationPro::start().await, Arc::new(Office::open().await));
    let mut rng = StdRng::seed_from_u64(SEED);
    let before = [Then::Status(503), Then::Cut, Then::Garbage].map(Fault::before);
    let after =
        [Then::Status(500), Then::Cut, Then::CutAmid, Then::Html, Then::WrongShape, Then::Silence].map(Fault::after);
    server.desk().at_random(BOOKING, 300, SEED, [&before[..], &after[..]].concat());
    let reading = [Then::Status(502), Then::Cut, Then::Garbage, Then::CutAmid].map(Fault::before).to_vec();
    server.desk().at_random(On("GET", ""), 80, SEED + 1, reading);
    let sinks = [(); 2].map(|()| built(&office, options(&server), common(), timeout));
    let mut days = JoinSet::new();
    for n in 0..8 {
        let number = format!("F-{n}");
        let total = rng.random_range(1000..100_000);
        server.add(NewInvoice::of(&number, total));
        // Every third one is of the same amount; together more than is due.
        let amounts: Vec<i64> =
            (0..6).map(|k| if k % 3 == 0 { total / 4 } else { rng.random_range(1..total / 2) }).collect();
        let (sinks, office, repeats) = (sinks.clone(), office.clone(), rng.random_range(0..4));
        days.spawn(async move {
            for (k, amount) in amounts.iter().enumerate() {
                let event = office.event(&payment(&format!("p-{n}-{k}"), &number, *amount));
                let outcome = resumed(&sinks[k % 2], &event).await;
                if k % 4 == repeats {
                    let again = resumed(&sinks[(k + 1) % 2], &event).await;
                    assert_eq!(std::mem::discriminant(&again), std::mem::discriminant(&outcome));
                }
                let is_booked = outcome == Outcome::Delivered;
                assert_eq!(is_booked, expected(total, &amounts)[k], "{number}, payment {k}: {outcome:?}");
                assert!(is_booked || matches!(outcome, Outcome::Hold { .. }), "{outcome:?}");
            }
            let wanted = expected(total, &amounts);
            let taken = amounts.iter().enumerate().filter(|(k, _)| wanted[*k]);
            taken.map(|(k, amount)| (format!("finkare:p-{n}-{k}"), *amount)).collect::<Vec<_>>()
        });
    }
    let mut wanted: Vec<_> = days.join_all().await.into_iter().flatten().collect();
    wanted.sort();
    assert_eq!(booked(&server), wanted, "seed {SEED}");
    let lines = office.states().await;
    assert!(lines.iter().all(|line| line.ends_with(" booked")) && lines.len() == wanted.len(), "{lines:?}");
}
