//! Tiime: only looked at.

use std::{sync::Arc, time::Duration};

use finkare_relay::{
    model::{booking::BookingToken, booking::NewBooking, booking::Payment, dispatch::Outcome, money::Cents},
    sinks::{Message, Sink, invoicing::tiime::Options, kind::Kind},
    store::ledger::LedgerStore,
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{Office, held, old, owned, payment, says, told};
use crate::support::watched::{
    Fault,
    tiime::{Amounts, COMPANY, End, RangeEnd, TOKEN, Tiime},
};

/// For a whole attempt where nothing hangs.
const TIMEOUT: Duration = Duration::from_secs(20);
/// As many calls as a test likes.
const UNLIMITED: &str = "api_limits = [{ requests = 100000, per_secs = 1 }]";

fn kind(tiime: &Tiime, own: &str, common: &str) -> Kind {
    let limits = if common.contains("api_limits") { "" } else { UNLIMITED };
    Kind::parse(&format!(
        "type = 'tiime'\nbase_url = '{}'\ncompany_id = '{COMPANY}'\ntoken = '{TOKEN}'\ni_accept_unofficial_api = true\n\
         {limits}\n{own}\n{common}",
        tiime.base_url()
    ))
    .unwrap()
}

fn built(tiime: &Tiime, office: &Office, own: &str, common: &str, timeout: Duration) -> Arc<dyn Sink> {
    told(kind(tiime, own, common).build(timeout, || office.desk(timeout)).unwrap())
}

fn watching(tiime: &Tiime, office: &Office) -> Arc<dyn Sink> {
    built(tiime, office, "", "", TIMEOUT)
}

#[tokio::test]
async fn a_payment_closes_once_its_invoice_is_paid() {
    let (tiime, office) = (Tiime::start().await, Office::open().await);
    tiime.add_invoice("F-1", 285_000, "EUR", "sent");
    tiime.add_invoice("F-10", 285_000, "EUR", "paid");
    let sink = watching(&tiime, &office);
    let event = office.event(&payment("aaaa1111", "F-1", 285_000));
    let (reason, again) = held(&sink.deliver(&event).await);
    says(
        &reason,
        &[
            "2850.00 EUR of 2026-03-15 by sepa_debit (Finkare payment aaaa1111)",
            "invoice F-1 as `sent`",
            "mark the invoice as paid",
            "dispatches retry",
        ],
    );
    assert!(again && office.lines().await.is_empty());
    tiime.set_status("F-1", "saved");
    assert!(held(&sink.deliver(&event).await).0.contains("`saved`"));

    tiime.set_status("F-1", "paid");
    assert_eq!(sink.deliver(&event).await, Outcome::Delivered);
    let [line] = &office.lines().await[..] else { panic!() };
    assert_eq!((line.amount_cents, line.invoice_number.as_str(), line.state.as_str()), (Cents(285_000), "F-1", "seen"));
    assert!(line.note.as_ref().unwrap().contains("Tiime shows invoice F-1"), "{line:?}");

    let calls = tiime.calls().len();
    assert_eq!(sink.deliver(&event).await, Outcome::Delivered);
    assert_eq!(sink.deliver(&Message { event_id: event.event_id, attempt: 9, ..event }).await, Outcome::Delivered);
    assert_eq!(tiime.calls().len(), calls, "what is known is not asked");
    assert!(tiime.calls().iter().all(|call| call.method == "GET"));
    assert_eq!(tiime.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn equal_instalments_are_a_line_each_and_no_more_than_the_invoice() {
    let (tiime, office) = (Tiime::start().await, Office::open().await);
    tiime.add_invoice("F-1", 285_000, "EUR", "sent");
    let sink = watching(&tiime, &office);
    let events: Vec<_> = (1..=4).map(|n| office.event(&payment(&format!("p{n}"), "F-1", 95_000))).collect();
    for event in &events {
        let (reason, again) = held(&sink.deliver(event).await);
        says(&reason, &["a part of the invoice, 950.00 of 2850.00 EUR"]);
        assert!(again);
    }
    tiime.set_status("F-1", "paid");
    for event in events.iter().take(3) {
        assert_eq!(sink.deliver(event).await, Outcome::Delivered);
        assert_eq!(sink.deliver(event).await, Outcome::Delivered);
    }
    let (reason, again) = held(&sink.deliver(&events[3]).await);
    says(
        &reason,
        &[
            "Finkare payment p4",
            "the 2850.00 EUR noted before it",
            "more than the total of invoice F-1",
            "cancel this dispatch",
        ],
    );
    assert!(!again);
    assert_eq!(office.states().await, ["p1 seen", "p2 seen", "p3 seen"]);
    assert_eq!(tiime.complaints(), Vec::<String>::new());
}

/// What a person has to see to, each with its words and whether it is looked at again.
#[tokio::test]
async fn what_is_not_plain_is_held() {
    let (tiime, office) = (Tiime::start().await, Office::open().await);
    let sink = watching(&tiime, &office);
    let mut case = 0;
    let mut new = |status: &str| {
        case += 1;
        let number = format!("F-{case}");
        tiime.add_invoice(&number, 10_000, "EUR", status);
        (number, format!("p{case}"))
    };
    let mut cases: Vec<(Payment, Vec<String>, bool)> = vec![];
    let (number, id) = new("draft");
    cases.push((payment(&id, &number, 10_000), owned(&["`draft`", "retry"]), false));
    for word in ["annulée", "PAID", "late", ""] {
        let (number, id) = new(word);
        cases.push((payment(&id, &number, 10_000), owned(&["does not know", word]), true));
    }
    let (number, id) = new("paid");
    cases.push((payment(&id, &number, 10_001), owned(&["100.01 EUR", "more than", "100.00 EUR"]), false));
    let (number, id) = new("paid");
    let dollars = Payment { currency: "USD".into(), ..payment(&id, &number, 10_000) };
    cases.push((dollars, owned(&["100.00 USD", "not in EUR"]), false));
    let (number, id) = new("paid");
    tiime.spoil(&number, "currency", Some("\"CHF\""));
    cases.push((payment(&id, &number, 10_000), owned(&["in CHF"]), false));
    let (number, id) = new("paid");
    let twin = tiime.add_invoice(&number, 10_000, "EUR", "paid");
    cases.push((payment(&id, &number, 10_000), owned(&["2 invoices", &twin]), false));
    for (field, text, words) in [
        ("total_including_taxes", Some("100.005"), "100.005"),
        ("total_including_taxes", Some("1e2"), "1e2"),
        ("status", None, "has no `status`"),
        ("status", Some("true"), "`status` has an unexpected value"),
        ("currency", Some("7"), "`currency` has an unexpected value"),
    ] {
        let (number, id) = new("paid");
        tiime.spoil(&number, field, text);
        cases.push((payment(&id, &number, 10_000), owned(&["cannot be understood", words]), true));
    }
    for text in [Some("null"), None] {
        let (number, id) = new("paid");
        tiime.spoil(&number, "total_including_taxes", text);
        let words = owned(&["as paid, but does not show its amount (`total_including_taxes`)"]);
        cases.push((payment(&id, &number, 10_000), words, true));
    }
    // A text with the same amount is read, and so is a id that is a text.
    let (number, id) = new("paid");
    tiime.spoil(&number, "total_including_taxes", Some("\"100.00\""));
    let good = office.event(&payment(&id, &number, 10_000));
    // Nobody asked for these.
    let (number, _) = new("paid");
    tiime.spoil(&number, "compiled_number", None);
    let (number, _) = new("draft");
    tiime.spoil(&number, "compiled_number", Some("null"));

    for (payment, words, looked_at_again) in cases {
        let event = office.event(&payment);
        let (reason, again) = held(&sink.deliver(&event).await);
        says(&reason, &words.iter().map(String::as_str).collect::<Vec<_>>());
        says(&reason, &[&payment.id, &payment.invoice.number]);
        assert_eq!(again, looked_at_again, "{reason}");
        // The second look goes by the id, and finds the same.
        assert_eq!(held(&sink.deliver(&event).await), (reason, again));
    }
    assert_eq!(sink.deliver(&good).await, Outcome::Delivered);
    assert_eq!(office.lines().await.len(), 1);
    assert_eq!(tiime.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn however_pages_come_the_last_invoice_is_found_and_the_end_is_seen() {
    let mut case = 0;
    for range_end in [RangeEnd::Included, RangeEnd::Excluded] {
        for end in [End::Whole, End::Empty, End::Refused] {
            for (most, ignores_range, shows_total, amounts) in [
                (100, false, false, Amounts::Shortest),
                (1, false, false, Amounts::TwoPlaces),
                (2, false, true, Amounts::Bare),
                (100, true, false, Amounts::Shortest),
            ] {
                case += 1;
                let (tiime, office) = (Tiime::start().await, Office::open().await);
                tiime.vary(|variants| {
                    (variants.range_end, variants.end, variants.most) = (range_end, end, most);
                    (variants.ignores_range, variants.shows_total) = (ignores_range, shows_total);
                    variants.amounts = amounts;
                });
                let sink = built(&tiime, &office, "page_size = 3", "", TIMEOUT);
                let absent = office.event(&payment(&format!("none{case}"), "F-9", 10_050));
                let empty = sink.deliver(&absent).await;
                assert!(matches!(&empty, Outcome::Wait { reason, .. } if reason.contains("of the 0")), "{empty:?}");
                for number in 1..=7 {
                    tiime.add_invoice(&format!("F-{number}"), 10_050, "EUR", "paid");
                }
                let what = format!("{range_end:?} {end:?} {most} {ignores_range} {shows_total}");
                let event = office.event(&payment(&format!("p{case}"), "F-1", 10_050));
                assert_eq!(sink.deliver(&event).await, Outcome::Delivered, "{what}");
                let Outcome::Wait { reason, .. } = sink.deliver(&absent).await else { panic!("{what}") };
                says(&reason, &["of the 7", "F-9", "may be new"]);
                let (reason, again) = held(&sink.deliver(&old(&absent)).await);
                says(&reason, &["of the 7", "`number` in the settings"]);
                assert!(again);
                assert_eq!(tiime.complaints(), Vec::<String>::new(), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_search_is_bounded_and_says_so() {
    let (tiime, office) = (Tiime::start().await, Office::open().await);
    for number in 1..=7 {
        tiime.add_invoice(&format!("F-{number}"), 10_000, "EUR", "paid");
    }
    let sink = built(&tiime, &office, "page_size = 3\nlookup_max_pages = 2", "", TIMEOUT);
    let event = office.event(&payment("p1", "F-1", 10_000));
    let (reason, again) = held(&sink.deliver(&event).await);
    says(&reason, &["of the 6", "lookup_max_pages", "there may be more"]);
    assert!(again);
    assert_eq!(tiime.count("/invoices"), 2);
    assert_eq!(sink.deliver(&office.event(&payment("p2", "F-2", 10_000))).await, Outcome::Delivered);
    assert_eq!(tiime.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn numbers_are_remembered_and_verified_on_use() {
    let (tiime, office) = (Tiime::start().await, Office::open().await);
    let id = tiime.add_invoice("F-1", 10_000, "EUR", "sent");
    tiime.add_invoice("F-2", 10_000, "EUR", "sent");
    let sink = built(&tiime, &office, "suggest_transactions = false", "", TIMEOUT);
    let (one, two) = (office.event(&payment("p1", "F-1", 10_000)), office.event(&payment("p2", "F-2", 10_000)));
    held(&sink.deliver(&one).await);
    held(&sink.deliver(&one).await);
    held(&sink.deliver(&two).await);
    assert_eq!((tiime.count("/invoices"), tiime.calls().len()), (1, 3), "one list, then one invoice each");

    // It has another number now, and another one has its.
    tiime.spoil("F-1", "compiled_number", Some("\"F-7\""));
    tiime.set_status_of(&id, "paid");
    let outcome = sink.deliver(&one).await;
    assert!(matches!(&outcome, Outcome::Wait { .. }), "{outcome:?}");
    tiime.add_invoice("F-1", 10_000, "EUR", "sent");
    tiime.spoil("F-1", "compiled_number", Some("\"F-1\""));
    assert_eq!(held(&sink.deliver(&one).await).0.matches("2 invoices").count(), 1);
    assert!(office.lines().await.is_empty());
    assert_eq!(tiime.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn every_trouble_has_its_outcome_and_nothing_leaks() {
    let (tiime, office) = (Tiime::start().await, Office::open().await);
    tiime.add_invoice("F-1", 10_000, "EUR", "paid");
    let event = office.event(&payment("p1", "F-1", 10_000));
    let ends = async |fault: Fault| {
        // A new one each time: a wait that was asked for is kept.
        let sink = built(&tiime, &office, "", "", Duration::from_secs(2));
        tiime.next([fault]);
        let outcome = sink.deliver(&event).await;
        assert!(!format!("{outcome:?}").contains(TOKEN), "{outcome:?}");
        assert!(!format!("{sink:?}").contains(TOKEN), "{sink:?}");
        tiime.recover();
        outcome
    };
    for status in [400, 401, 403, 406, 426] {
        let outcome = ends(Fault::Status(status)).await;
        let Outcome::Stop { reason } = outcome else { panic!("{status}: {outcome:?}") };
        says(&reason, &[&status.to_string(), "`token`", "reload", "resume", "`app_version`"]);
    }
    let Outcome::Stop { reason } = ends(Fault::Status(404)).await else { panic!() };
    says(&reason, &["`company_id`"]);
    let Outcome::Stop { reason } = ends(Fault::Redirect).await else { panic!() };
    says(&reason, &["`base_url`"]);
    for fault in [Fault::Status(500), Fault::Status(503), Fault::Cut, Fault::CutInside, Fault::Hang] {
        let outcome = ends(fault.clone()).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{fault:?}: {outcome:?}");
    }
    // A page for people passes; another shape than was expected does not.
    let Outcome::Retry { reason, .. } = ends(Fault::Garbage).await else { panic!() };
    says(&reason, &["cannot be read", "looking for invoice F-1", "a web page instead of data"]);
    let Outcome::Stop { reason } = ends(Fault::WrongShape).await else { panic!() };
    says(&reason, &["cannot be read", "looking for invoice F-1", "`sinks resume`"]);
    let Outcome::Wait { after, .. } = ends(Fault::Limited(Some("60".into()))).await else { panic!() };
    assert!((55..=60).contains(&after.as_secs()), "{after:?}");
    assert!(matches!(ends(Fault::Limited(None)).await, Outcome::Wait { .. }));

    // What Tiime repeats of our secret is not repeated by us.
    tiime.add_invoice("F-2", 10_000, "EUR", TOKEN);
    let (reason, _) = held(&watching(&tiime, &office).deliver(&office.event(&payment("p2", "F-2", 1))).await);
    assert!(!reason.contains(TOKEN), "{reason}");
    tiime.renew_token("another");
    let outcome = watching(&tiime, &office).deliver(&event).await;
    assert!(matches!(&outcome, Outcome::Stop { reason } if !reason.contains(TOKEN)), "{outcome:?}");
    assert!(office.lines().await.is_empty());
    assert_eq!(tiime.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_wait_that_was_asked_for_is_kept() {
    let (tiime, office) = (Tiime::start().await, Office::open().await);
    tiime.add_invoice("F-1", 10_000, "EUR", "paid");
    let sink = watching(&tiime, &office);
    let event = office.event(&payment("p1", "F-1", 10_000));
    tiime.next([Fault::Limited(Some("60".into()))]);
    for _ in 0..3 {
        assert!(matches!(sink.deliver(&event).await, Outcome::Wait { .. }));
    }
    assert_eq!((tiime.calls().len(), tiime.hurried()), (1, 0));
}

#[tokio::test]
async fn a_search_that_was_cut_off_goes_on_where_it_was() {
    let (tiime, office) = (Tiime::start().await, Office::open().await);
    for number in 1..=5 {
        tiime.add_invoice(&format!("F-{number}"), 10_000, "EUR", "paid");
    }
    let sink = built(&tiime, &office, "page_size = 1", "", TIMEOUT);
    let event = office.event(&payment("p1", "F-1", 10_000));
    tiime.next([Fault::Plain, Fault::Plain, Fault::Status(503), Fault::Plain, Fault::Cut]);
    assert!(matches!(sink.deliver(&event).await, Outcome::Retry { .. }));
    assert!(matches!(sink.deliver(&event).await, Outcome::Retry { .. }));
    assert_eq!(sink.deliver(&event).await, Outcome::Delivered);
    let ranges: Vec<_> = tiime.calls().iter().map(|call| call.header("range").unwrap().to_owned()).collect();
    assert_eq!(ranges, [0, 1, 2, 2, 3, 3, 4].map(|n| format!("items={n}-{n}")));
    assert_eq!(tiime.complaints(), Vec::<String>::new());
}

/// The limit is that of the server's clock: of its own window, wherever it is laid.
#[tokio::test]
async fn limits_are_kept_and_a_search_that_takes_longer_than_an_attempt_ends() {
    let (tiime, office) = (Tiime::start().await, Office::open().await);
    for number in 1..=6 {
        tiime.add_invoice(&format!("F-{number}"), 10_000, "EUR", "paid");
    }
    let limits = "api_limits = [{ requests = 2, per_secs = 1 }]";
    let sink = built(&tiime, &office, "page_size = 1", limits, Duration::from_secs(1));
    let event = office.event(&payment("p1", "F-1", 10_000));
    let mut outcomes = vec![];
    while outcomes.last() != Some(&Outcome::Delivered) {
        assert!(outcomes.len() < 20, "{outcomes:?}");
        outcomes.push(sink.deliver(&event).await);
    }
    assert!(
        outcomes.iter().any(|outcome| outcome.reason().is_some_and(|why| why.contains("the search continues"))),
        "{outcomes:?}"
    );
    let times: Vec<_> = tiime.calls().iter().map(|call| call.at).collect();
    for three in times.windows(3) {
        assert!(three[2] - three[0] >= Duration::from_secs(1), "{times:?}");
    }
    assert_eq!(tiime.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn lines_of_the_bank_are_named_and_not_needed() {
    let (tiime, office) = (Tiime::start().await, Office::open().await);
    tiime.add_invoice("F-1", 285_000, "EUR", "sent");
    tiime.add_transaction(150_000, "EUR", "VIR ACME", "2026-03-17", "done");
    tiime.add_transaction(150_001, "EUR", "VIR OTHER", "2026-03-17", "done");
    tiime.add_transaction(-150_000, "EUR", "OUT", "2026-03-17", "done");
    tiime.add_transaction(150_000, "USD", "DOLLARS", "2026-03-17", "done");
    tiime.add_transaction(150_000, "EUR", "EARLY", "2026-03-11", "done");
    tiime.add_transaction(150_000, "EUR", "LATE", "2026-03-23", "done");
    tiime.add_transaction(150_000, "EUR", "REFUSED", "2026-03-17", "refused");
    let sink = watching(&tiime, &office);
    let event = office.event(&payment("p1", "F-1", 150_000));
    let (reason, _) = held(&sink.deliver(&event).await);
    says(&reason, &["the line `VIR ACME` of 2026-03-17 (id "]);
    for other in ["OTHER", "OUT", "DOLLARS", "EARLY", "LATE", "REFUSED"] {
        assert!(!reason.contains(other), "{reason}");
    }
    for fault in [Fault::Status(403), Fault::Garbage, Fault::WrongShape, Fault::Cut] {
        tiime.next([Fault::Plain, fault]);
        let (without, again) = held(&sink.deliver(&event).await);
        assert!(again && !without.contains("VIR"), "{without}");
    }
    assert_eq!(tiime.count("/bank_transactions"), 5);
    let silent = built(&tiime, &office, "suggest_transactions = false", "", TIMEOUT);
    assert!(!held(&silent.deliver(&event).await).0.contains("VIR"));
    assert_eq!((tiime.count("/bank_transactions"), tiime.complaints()), (5, vec![]));
}

#[tokio::test]
async fn a_status_is_compared_and_nothing_more() {
    let (tiime, office) = (Tiime::start().await, Office::open().await);
    tiime.add_invoice("F-1", 10_000, "EUR", "sent");
    let told = office.change("F-1", "paid");
    assert_eq!(watching(&tiime, &office).deliver(&told).await, Outcome::Delivered);
    assert_eq!(tiime.calls().len(), 0, "nothing by default");

    let sink = built(&tiime, &office, "", "status_map = { paid = 'paid', closed = 'nothing' }", TIMEOUT);
    let (reason, again) = held(&sink.deliver(&told).await);
    says(&reason, &["2026-03-20", "F-1", "`paid`", "`sent`", "cancel this dispatch"]);
    assert!(again);
    tiime.set_status("F-1", "paid");
    assert_eq!(sink.deliver(&told).await, Outcome::Delivered);
    assert_eq!(sink.deliver(&office.change("F-1", "closed")).await, Outcome::Delivered);
    let absent = office.change("F-2", "paid");
    assert!(matches!(sink.deliver(&absent).await, Outcome::Wait { .. }));
    says(&held(&sink.deliver(&old(&absent)).await).0, &["F-2", "`paid`", "of the 1"]);
    assert!(office.lines().await.is_empty());
    assert_eq!(tiime.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn check_says_what_is_there_and_what_to_change() {
    let (tiime, office) = (Tiime::start().await, Office::open().await);
    let said = kind(&tiime, "", "").check(TIMEOUT).await.unwrap();
    says(&said, &["Les Tests (77)", "clock and ours agree"]);
    let test =
        Message { trigger: finkare_relay::model::dispatch::Trigger::Test, ..office.event(&payment("p", "F", 1)) };
    assert_eq!(watching(&tiime, &office).deliver(&test).await, Outcome::Delivered);
    for (fault, word) in [
        (Fault::Status(401), "`token`"),
        (Fault::Status(503), "503"),
        (Fault::Garbage, "cannot be read"),
        (Fault::WrongShape, "cannot be read"),
        (Fault::Redirect, "`base_url`"),
    ] {
        tiime.next([fault]);
        let error = kind(&tiime, "", "").check(TIMEOUT).await.unwrap_err();
        says(&error, &[word]);
        assert!(!error.contains(TOKEN), "{error}");
    }
    tiime.skew(-600);
    says(&kind(&tiime, "", "").check(TIMEOUT).await.unwrap_err(), &["clock", "NTP"]);
    tiime.skew(0);
    let options = kind(&tiime, "", "").options::<Options>().unwrap().clone();
    let other = Kind::from(Options { company_id: "78".into(), ..options });
    says(&other.check(TIMEOUT).await.unwrap_err(), &["77 (Les Tests)", "`company_id`"]);
    let event = office.event(&payment("p1", "F-1", 1));
    let outcome = told(other.build(TIMEOUT, || office.desk(TIMEOUT)).unwrap()).deliver(&event).await;
    assert!(matches!(&outcome, Outcome::Stop { reason } if reason.contains("`company_id`")), "{outcome:?}");
    assert_eq!(tiime.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_crash_left_behind_is_ended() {
    let (tiime, office) = (Tiime::start().await, Office::open().await);
    tiime.add_invoice("F-1", 20_000, "EUR", "sent");
    let timeout = Duration::from_millis(400);
    let sink = built(&tiime, &office, "", "", timeout);
    let (one, two) = (office.event(&payment("p1", "F-1", 10_000)), office.event(&payment("p2", "F-1", 10_000)));
    let left = NewBooking {
        sink: super::sink(),
        payment_id: "p1".into(),
        event_id: one.event_id,
        invoice_id: "finkare-F-1".into(),
        invoice_number: "F-1".into(),
        amount_cents: Cents(10_000),
        currency: "EUR".into(),
        token: BookingToken::generate(),
    };
    office.ledger.begin_booking(&left, None).await.unwrap();
    // It is no doubt: nothing is ever written.
    let (reason, again) = held(&sink.deliver(&one).await);
    assert!(again && !reason.contains("earlier attempt"), "{reason}");

    tiime.set_status("F-1", "paid");
    // The line of another payment is in the way for as long as its attempt may last, and no longer.
    let mut waits = 0;
    loop {
        match sink.deliver(&two).await {
            Outcome::Delivered => break,
            Outcome::Wait { .. } | Outcome::Retry { .. } => waits += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(waits > 0);
    assert_eq!(sink.deliver(&one).await, Outcome::Delivered);
    assert_eq!(office.states().await, ["p1 seen", "p2 seen"]);

    tiime.add_invoice("F-3", 10_000, "EUR", "paid");
    let three = office.event(&payment("p3", "F-3", 10_000));
    let left = NewBooking {
        payment_id: "p3".into(),
        invoice_number: "F-3".into(),
        invoice_id: "finkare-F-3".into(),
        event_id: three.event_id,
        ..left
    };
    office.ledger.begin_booking(&left, None).await.unwrap();
    assert_eq!(sink.deliver(&three).await, Outcome::Delivered);
    assert_eq!(tiime.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn two_attempts_at_the_same_time_make_one_line() {
    let (tiime, office) = (Tiime::start().await, Office::open().await);
    tiime.add_invoice("F-1", 10_000, "EUR", "paid");
    let sinks = [watching(&tiime, &office), watching(&tiime, &office)];
    // The same payment through two events, and a second payment that the invoice has no room for.
    let events = [("p1", 0), ("p1", 1), ("p2", 0), ("p1", 1)];
    let events = events.map(|(id, sink)| (office.event(&payment(id, "F-1", 10_000)), sinks[sink].clone()));
    let tasks = events.map(|(event, sink)| {
        tokio::spawn(async move {
            for _ in 0..200 {
                match sink.deliver(&event).await {
                    Outcome::Wait { .. } | Outcome::Retry { .. } => tokio::task::yield_now().await,
                    ended => return ended,
                }
            }
            panic!("it never ends")
        })
    });
    let mut closed = 0;
    for task in tasks {
        match task.await.unwrap() {
            Outcome::Delivered => closed += 1,
            Outcome::Hold { reason, .. } => says(&reason, &["more than the total of invoice F-1"]),
            other => panic!("{other:?}"),
        }
    }
    assert!(closed == 3 || closed == 1, "{closed}");
    assert_eq!(office.lines().await.len(), 1, "{:?}", office.states().await);
    assert_eq!(tiime.complaints(), Vec::<String>::new());
}

/// Hundreds of payments of many invoices in any order, repeated, while calls fail: at the end each is noted once, exactly
/// where the invoice is paid, and held otherwise.
#[tokio::test]
async fn whatever_goes_wrong_each_payment_ends_where_it_belongs() {
    for seed in [1, 2, 3] {
        let mut rng = StdRng::seed_from_u64(seed);
        let (tiime, office) = (Tiime::start().await, Office::open().await);
        let mut events = vec![];
        for number in 1..=25 {
            let parts: Vec<i64> = (0..rng.random_range(1..5)).map(|_| rng.random_range(1..3) * 5_003).collect();
            let number = format!("F-{number}");
            tiime.add_invoice(&number, parts.iter().sum(), "EUR", "sent");
            for (n, cents) in parts.into_iter().enumerate() {
                let payment = payment(&format!("{number}-{n}"), &number, cents);
                events.push((office.event(&payment), payment));
            }
        }
        let sink = built(&tiime, &office, "page_size = 7", "", Duration::from_secs(2));
        let faults = [Fault::Status(500), Fault::Cut, Fault::CutInside, Fault::Garbage, Fault::WrongShape];
        tiime.sometimes(seed, 200, &faults);
        for _ in 0..events.len() * 3 {
            let (event, payment) = events.choose(&mut rng).unwrap();
            if rng.random_range(0..8) == 0 && !number_of(payment).is_multiple_of(3) {
                tiime.set_status(&payment.invoice.number, "paid");
            }
            let outcome = sink.deliver(event).await;
            assert!(
                matches!(
                    outcome,
                    Outcome::Delivered | Outcome::Retry { .. } | Outcome::Stop { .. } | Outcome::Hold { .. }
                ),
                "{outcome:?}"
            );
        }
        assert!(tiime.failed() > 20, "{}", tiime.failed());
        for (_, payment) in events.iter().filter(|(_, payment)| !number_of(payment).is_multiple_of(3)) {
            tiime.set_status(&payment.invoice.number, "paid");
        }
        let mut wanted = vec![];
        for (event, payment) in &events {
            let outcome = loop {
                match sink.deliver(event).await {
                    // A person resumes it when it stops.
                    Outcome::Retry { .. } | Outcome::Stop { .. } => {}
                    ended => break ended,
                }
            };
            if number_of(payment).is_multiple_of(3) {
                assert!(held(&outcome).1);
            } else {
                assert_eq!(outcome, Outcome::Delivered);
                wanted.push((payment.id.clone(), payment.amount_cents, "seen".to_owned()));
            }
        }
        let lines = office.lines().await.into_iter();
        let mut lines: Vec<_> =
            lines.map(|line| (line.payment_id, line.amount_cents, line.state.to_string())).collect();
        lines.sort();
        wanted.sort();
        assert_eq!(lines, wanted, "seed {seed}");
        assert_eq!(tiime.complaints(), Vec::<String>::new());
    }
}

fn number_of(payment: &Payment) -> u32 {
    payment.invoice.number.trim_start_matches("F-").parse().unwrap()
}
