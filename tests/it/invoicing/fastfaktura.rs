//! FastFaktura: only looked at.

use std::{sync::Arc, time::Duration};

use finkare_relay::{
    model::{
        booking::Payment,
        dispatch::{Outcome, Trigger},
        money::Cents,
    },
    sinks::{Message, Sink, kind::Kind},
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{Office, held, old, owned, payment, says, told};
use crate::support::watched::{
    Fault,
    fastfaktura::{FastFaktura, KEY, Pages, Shape},
};

/// For a whole attempt where nothing hangs.
const TIMEOUT: Duration = Duration::from_secs(20);
/// As many calls as a test likes.
const UNLIMITED: &str = "api_limits = [{ requests = 100000, per_secs = 1 }]";

fn kind(fast: &FastFaktura, own: &str, common: &str) -> Kind {
    let limits = if common.contains("api_limits") { "" } else { UNLIMITED };
    let base_url = fast.base_url();
    Kind::parse(&format!("type = 'fastfaktura'\nbase_url = '{base_url}'\napi_key = '{KEY}'\n{limits}\n{own}\n{common}"))
        .unwrap()
}

fn built(fast: &FastFaktura, office: &Office, own: &str, common: &str, timeout: Duration) -> Arc<dyn Sink> {
    told(kind(fast, own, common).build(timeout, || office.desk(timeout)).unwrap())
}

fn watching(fast: &FastFaktura, office: &Office) -> Arc<dyn Sink> {
    built(fast, office, "", "", TIMEOUT)
}

#[tokio::test]
async fn a_payment_closes_once_its_invoice_is_paid() {
    let (fast, office) = (FastFaktura::start().await, Office::open().await);
    let id = fast.add_invoice("2026-042", 285_000, "EUR", "sent");
    let sink = watching(&fast, &office);
    let event = office.event(&payment("aaaa1111", "2026-042", 285_000));
    for status in ["sent", "opened", "overdue"] {
        fast.set_status("2026-042", status);
        let (reason, again) = held(&sink.deliver(&event).await);
        let page = format!("/i/{id}");
        says(
            &reason,
            &[
                "2850.00 EUR of 2026-03-15 by sepa_debit (Finkare payment aaaa1111)",
                &format!("invoice 2026-042 as `{status}` "),
                &page,
                "mark the invoice as paid",
                "still treat it as overdue",
                "dispatches retry",
            ],
        );
        assert!(again);
    }
    assert!(office.lines().await.is_empty());
    fast.vary(|variants| variants.upper_case = true);
    fast.set_status("2026-042", "paid");
    assert_eq!(sink.deliver(&event).await, Outcome::Delivered);
    let [line] = &office.lines().await[..] else { panic!() };
    assert_eq!((line.amount_cents, line.state.as_str()), (Cents(285_000), "seen"));
    let calls = fast.calls().len();
    assert_eq!(sink.deliver(&event).await, Outcome::Delivered);
    assert_eq!(fast.calls().len(), calls, "what is known is not asked");
    assert!(fast.calls().iter().all(|call| call.method == "GET"));
    assert_eq!(fast.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn equal_instalments_are_a_line_each_and_no_more_than_the_invoice() {
    let (fast, office) = (FastFaktura::start().await, Office::open().await);
    fast.add_invoice("F-1", 285_000, "EUR", "overdue");
    let sink = watching(&fast, &office);
    let events: Vec<_> = (1..=4).map(|n| office.event(&payment(&format!("p{n}"), "F-1", 95_000))).collect();
    for event in &events {
        let (reason, again) = held(&sink.deliver(event).await);
        says(&reason, &["a part of the invoice, 950.00 of 2850.00 EUR: note it there"]);
        assert!(again);
    }
    fast.set_status("F-1", "paid");
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
    assert_eq!(fast.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_not_plain_is_held() {
    let (fast, office) = (FastFaktura::start().await, Office::open().await);
    let sink = watching(&fast, &office);
    let mut case = 0;
    let mut new = |currency: &str, status: &str| {
        case += 1;
        let number = format!("F-{case}");
        fast.add_invoice(&number, 10_000, currency, status);
        (number, format!("p{case}"))
    };
    let mut cases: Vec<(Payment, Vec<String>, bool)> = vec![];
    for word in ["draft", "cancelled", "Cancelled"] {
        let (number, id) = new("EUR", word);
        cases.push((payment(&id, &number, 10_000), owned(&[word, "retry"]), false));
    }
    for word in ["partially_paid", "", "paid in part"] {
        let (number, id) = new("EUR", word);
        cases.push((payment(&id, &number, 10_000), owned(&["does not know", word]), true));
    }
    let (number, id) = new("EUR", "paid");
    cases.push((payment(&id, &number, 10_001), owned(&["100.01 EUR", "more than", "100.00 EUR"]), false));
    let (number, id) = new("NOK", "paid");
    cases.push((payment(&id, &number, 10_000), owned(&["100.00 EUR", "in NOK"]), false));
    let (number, id) = new("EUR", "sent");
    let twin = fast.add_invoice(&number, 10_000, "EUR", "sent");
    cases.push((payment(&id, &number, 10_000), owned(&["2 invoices", &twin]), false));
    for (field, text, words) in [
        ("total_cents", Some("10000.5"), "10000.5"),
        ("total_cents", Some("10000.0"), "10000.0"),
        ("total_cents", Some("\"10000\""), "10000"),
        ("total_cents", Some("1e4"), "1e4"),
        ("currency", Some("7"), "`currency` has an unexpected value"),
        ("status", Some("true"), "`status` has an unexpected value"),
        ("status", None, "has no `status`"),
    ] {
        let (number, id) = new("EUR", "paid");
        fast.spoil(&number, field, text);
        cases.push((payment(&id, &number, 10_000), owned(&["cannot be understood", words]), true));
    }
    for (field, text) in [("total_cents", None), ("currency", None), ("currency", Some("null"))] {
        let (number, id) = new("EUR", "paid");
        fast.spoil(&number, field, text);
        let words = owned(&["as paid, but does not show its amount", field]);
        cases.push((payment(&id, &number, 10_000), words, true));
    }
    // Nobody asked for these.
    let (number, _) = new("EUR", "draft");
    fast.spoil(&number, "number", Some("null"));
    let (number, _) = new("EUR", "draft");
    fast.spoil(&number, "number", None);
    // Without a public page there is none to name.
    let (number, id) = new("EUR", "sent");
    fast.spoil(&number, "public_url", Some("null"));
    cases.push((payment(&id, &number, 10_000), owned(&["`sent`. FastFaktura has no call"]), true));

    for (payment, words, looked_at_again) in cases {
        let event = office.event(&payment);
        let (reason, again) = held(&sink.deliver(&event).await);
        says(&reason, &words.iter().map(String::as_str).collect::<Vec<_>>());
        says(&reason, &[&payment.id, &payment.invoice.number]);
        assert_eq!(again, looked_at_again, "{reason}");
        // The second look goes by the id, and finds the same.
        assert_eq!(held(&sink.deliver(&event).await), (reason, again));
    }
    assert!(office.lines().await.is_empty());
    assert_eq!(fast.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn however_lists_come_the_invoice_is_found_and_the_end_is_seen() {
    let mut case = 0;
    let shapes =
        [Shape::Bare, Shape::Under("data"), Shape::Under("items"), Shape::Under("invoices"), Shape::Under("results")];
    for list in shapes {
        for pages in [Pages::From(1), Pages::From(0), Pages::First, Pages::All] {
            for (ignores_status, newest_first) in [(false, true), (true, false), (true, true)] {
                case += 1;
                let (fast, office) = (FastFaktura::start().await, Office::open().await);
                for number in 1..=7 {
                    fast.add_invoice(&format!("F-{number}"), 10_000, "EUR", if number == 4 { "paid" } else { "draft" });
                }
                fast.vary(|variants| {
                    (variants.list, variants.pages, variants.page_size) = (list, pages, 3);
                    (variants.ignores_status, variants.newest_first) = (ignores_status, newest_first);
                    variants.one = if case % 2 == 0 { Shape::Bare } else { Shape::Under("data") };
                });
                let sink = watching(&fast, &office);
                let what = format!("{list:?} {pages:?} {ignores_status} {newest_first}");
                let id = format!("p{case}");
                let event = office.event(&payment(&id, "F-4", 10_000));
                // A server that begins at 0 and one that knows one page do not show everything.
                let shows_all = matches!(pages, Pages::From(1) | Pages::All);
                let outcome = sink.deliver(&event).await;
                if shows_all || !ignores_status {
                    let is_absent = pages == Pages::From(0) && matches!(outcome, Outcome::Wait { .. });
                    assert!(outcome == Outcome::Delivered || is_absent, "{what}: {outcome:?}");
                } else {
                    assert!(matches!(outcome, Outcome::Delivered | Outcome::Wait { .. }), "{what}: {outcome:?}");
                }
                let absent = office.event(&payment(&format!("none{case}"), "F-9", 10_000));
                let Outcome::Wait { reason, .. } = sink.deliver(&absent).await else { panic!("{what}") };
                says(&reason, &["F-9", "may be new"]);
                if shows_all {
                    says(&reason, &["of the 7"]);
                }
                let (reason, again) = held(&sink.deliver(&old(&absent)).await);
                says(&reason, &["`number` in the settings"]);
                assert!(again);
                assert_eq!(fast.complaints(), Vec::<String>::new(), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn the_single_invoice_may_be_wrapped_and_lists_be_elsewhere() {
    let (fast, office) = (FastFaktura::start().await, Office::open().await);
    fast.add_invoice("F-1", 10_000, "EUR", "sent");
    let event = office.event(&payment("p1", "F-1", 10_000));
    fast.vary(|variants| (variants.list, variants.one) = (Shape::Under("rows"), Shape::Under("invoice")));
    let Outcome::Stop { reason } = watching(&fast, &office).deliver(&event).await else { panic!() };
    says(&reason, &["`list_key`"]);
    says(&kind(&fast, "", "").check(TIMEOUT).await.unwrap_err(), &["`list_key`"]);
    let sink = built(&fast, &office, "list_key = 'rows'", "", TIMEOUT);
    let before = fast.count("/invoices");
    for _ in 0..2 {
        assert!(held(&sink.deliver(&event).await).1);
    }
    assert_eq!(fast.count("/invoices"), before + 1, "the second look goes by the id");
    fast.vary(|variants| variants.one = Shape::Under("thing"));
    let Outcome::Stop { reason } = sink.deliver(&event).await else { panic!() };
    says(&reason, &["no object where an invoice should be"]);
    assert_eq!(fast.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_search_is_bounded_says_so_and_takes_the_open_ones_first() {
    let (fast, office) = (FastFaktura::start().await, Office::open().await);
    for number in 1..=9 {
        fast.add_invoice(&format!("F-{number}"), 10_000, "EUR", "paid");
    }
    fast.add_invoice("F-10", 10_000, "EUR", "overdue");
    fast.vary(|variants| variants.page_size = 2);
    let sink = built(&fast, &office, "lookup_max_pages = 2", "", TIMEOUT);
    let (reason, again) = held(&sink.deliver(&office.event(&payment("p1", "F-1", 10_000))).await);
    says(&reason, &["of the 5", "lookup_max_pages", "there may be more"]);
    assert!(again);
    let asked: Vec<_> = fast
        .calls()
        .iter()
        .map(|call| format!("{} {}", call.asked("status").unwrap_or("all"), call.asked("page").unwrap()))
        .collect();
    assert_eq!(
        asked,
        ["sent 1", "opened 1", "overdue 1", "overdue 2", "paid 1", "paid 2", "all 1", "all 2"],
        "and the empty pages end the others"
    );
    let own = built(&fast, &office, "lookup_statuses = []\nlookup_max_pages = 9", "", TIMEOUT);
    assert_eq!(own.deliver(&office.event(&payment("p2", "F-1", 10_000))).await, Outcome::Delivered);
    assert!(fast.calls().iter().skip(8).all(|call| call.asked("status").is_none()));
    assert_eq!(fast.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn numbers_are_remembered_verified_and_outlive_the_archive() {
    let (fast, office) = (FastFaktura::start().await, Office::open().await);
    let id = fast.add_invoice("F-1", 10_000, "EUR", "sent");
    let sink = watching(&fast, &office);
    let event = office.event(&payment("p1", "F-1", 10_000));
    held(&sink.deliver(&event).await);
    fast.archive(&id);
    let (reason, again) = held(&sink.deliver(&event).await);
    says(&reason, &["`sent` and archived"]);
    assert!(again);
    assert_eq!(fast.count("/invoices"), 1);
    fast.spoil("F-1", "number", Some("\"F-2\""));
    fast.set_status_of(&id, "paid");
    let outcome = sink.deliver(&event).await;
    assert!(matches!(outcome, Outcome::Wait { .. }), "another number is another invoice: {outcome:?}");
    fast.spoil("F-1", "number", Some("\"F-1\""));
    assert!(matches!(sink.deliver(&event).await, Outcome::Wait { .. }), "what is forgotten is looked for");
    assert!(office.lines().await.is_empty());
    assert_eq!(fast.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn every_trouble_has_its_outcome_and_nothing_leaks() {
    let (fast, office) = (FastFaktura::start().await, Office::open().await);
    fast.add_invoice("F-1", 10_000, "EUR", "paid");
    let event = office.event(&payment("p1", "F-1", 10_000));
    let ends = async |fault: Fault| {
        // A new one each time: a wait that was asked for is kept.
        let sink = built(&fast, &office, "lookup_statuses = []", "", Duration::from_secs(2));
        fast.next([fault]);
        let outcome = sink.deliver(&event).await;
        assert!(!format!("{outcome:?}").contains(KEY), "{outcome:?}");
        assert!(!format!("{sink:?}").contains(KEY), "{sink:?}");
        fast.recover();
        outcome
    };
    for status in [401, 402, 403] {
        let outcome = ends(Fault::Status(status)).await;
        let Outcome::Stop { reason } = outcome else { panic!("{status}: {outcome:?}") };
        says(&reason, &[&status.to_string(), "`api_key`", "reload", "resume"]);
    }
    for fault in [Fault::Status(404), Fault::Redirect] {
        let Outcome::Stop { reason } = ends(fault).await else { panic!() };
        says(&reason, &["`base_url`"]);
    }
    for status in [400, 422] {
        let (reason, again) = held(&ends(Fault::Status(status)).await);
        says(&reason, &[&status.to_string()]);
        assert!(!again);
    }
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

    // What FastFaktura repeats of our secret is not repeated by us.
    fast.add_invoice("F-2", 10_000, "EUR", KEY);
    fast.spoil("F-2", "public_url", Some(&format!("\"https://x.example/{KEY}\"")));
    let (reason, _) = held(&watching(&fast, &office).deliver(&office.event(&payment("p2", "F-2", 1))).await);
    assert!(!reason.to_lowercase().contains(&KEY.to_lowercase()), "{reason}");
    assert!(office.lines().await.is_empty());
    assert_eq!(fast.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_search_that_was_cut_off_goes_on_where_it_was() {
    let (fast, office) = (FastFaktura::start().await, Office::open().await);
    for number in 1..=5 {
        fast.add_invoice(&format!("F-{number}"), 10_000, "EUR", "paid");
    }
    fast.vary(|variants| variants.page_size = 1);
    let sink = built(&fast, &office, "lookup_statuses = ['sent', 'paid']", "", TIMEOUT);
    let event = office.event(&payment("p1", "F-1", 10_000));
    fast.next([Fault::Plain, Fault::Plain, Fault::Status(503), Fault::Plain, Fault::Cut]);
    assert!(matches!(sink.deliver(&event).await, Outcome::Retry { .. }));
    assert!(matches!(sink.deliver(&event).await, Outcome::Retry { .. }));
    assert_eq!(sink.deliver(&event).await, Outcome::Delivered);
    let asked: Vec<_> = fast
        .calls()
        .iter()
        .map(|call| format!("{} {}", call.asked("status").unwrap_or("all"), call.asked("page").unwrap()))
        .collect();
    assert_eq!(asked, ["sent 1", "paid 1", "paid 2", "paid 2", "paid 3", "paid 3", "paid 4", "paid 5"]);
    assert_eq!(fast.complaints(), Vec::<String>::new());
}

/// The limit is that of the server's own window, wherever it is laid.
#[tokio::test]
async fn limits_are_kept() {
    let (fast, office) = (FastFaktura::start().await, Office::open().await);
    for number in 1..=6 {
        fast.add_invoice(&format!("F-{number}"), 10_000, "EUR", "paid");
    }
    fast.vary(|variants| variants.page_size = 1);
    let limits = "api_limits = [{ requests = 3, per_secs = 1 }]";
    let sink = built(&fast, &office, "lookup_statuses = []", limits, TIMEOUT);
    let event = office.event(&payment("p1", "F-1", 10_000));
    assert_eq!(sink.deliver(&event).await, Outcome::Delivered);
    let times: Vec<_> = fast.calls().iter().map(|call| call.at).collect();
    assert_eq!(times.len(), 6);
    for four in times.windows(4) {
        assert!(four[3] - four[0] >= Duration::from_secs(1), "{times:?}");
    }
    assert_eq!(fast.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn a_status_is_compared_and_nothing_more() {
    let (fast, office) = (FastFaktura::start().await, Office::open().await);
    fast.add_invoice("F-1", 10_000, "EUR", "sent");
    let told = office.change("F-1", "paid");
    assert_eq!(watching(&fast, &office).deliver(&told).await, Outcome::Delivered);
    assert_eq!(fast.calls().len(), 0, "nothing by default");

    let sink = built(&fast, &office, "", "status_map = { paid = 'Paid', closed = 'nothing' }", TIMEOUT);
    let (reason, again) = held(&sink.deliver(&told).await);
    says(&reason, &["2026-03-20", "F-1", "`paid`", "`sent`", "cancel this dispatch"]);
    assert!(again);
    fast.set_status("F-1", "paid");
    assert_eq!(sink.deliver(&told).await, Outcome::Delivered);
    assert_eq!(sink.deliver(&office.change("F-1", "closed")).await, Outcome::Delivered);
    let absent = office.change("F-2", "paid");
    assert!(matches!(sink.deliver(&absent).await, Outcome::Wait { .. }));
    says(&held(&sink.deliver(&old(&absent)).await).0, &["F-2", "`paid`", "of the 1"]);
    assert!(office.lines().await.is_empty());
    assert_eq!(fast.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn check_says_what_is_there_and_what_to_change() {
    let (fast, office) = (FastFaktura::start().await, Office::open().await);
    for one in [Shape::Bare, Shape::Under("data")] {
        fast.vary(|variants| variants.one = one);
        says(&kind(&fast, "", "").check(TIMEOUT).await.unwrap(), &["Les Tests", "clock and ours agree"]);
    }
    let test = Message { trigger: Trigger::Test, ..office.event(&payment("p", "F", 1)) };
    assert_eq!(watching(&fast, &office).deliver(&test).await, Outcome::Delivered);
    for (faults, word) in [
        (vec![Fault::Status(401)], "`api_key`"),
        (vec![Fault::Status(404)], "`base_url`"),
        (vec![Fault::Status(503)], "503"),
        (vec![Fault::Garbage], "cannot be read"),
        (vec![Fault::Plain, Fault::WrongShape], "`list_key`"),
        (vec![Fault::Redirect], "`base_url`"),
    ] {
        fast.next(faults);
        let error = kind(&fast, "", "").check(TIMEOUT).await.unwrap_err();
        says(&error, &[word]);
        assert!(!error.contains(KEY), "{error}");
    }
    fast.skew(600);
    says(&kind(&fast, "", "").check(TIMEOUT).await.unwrap_err(), &["clock", "NTP"]);
    assert_eq!(fast.complaints(), Vec::<String>::new());
}

/// Hundreds of payments of many invoices in any order, repeated, while calls fail: at the end each is noted once, exactly
/// where the invoice is paid, and held otherwise.
#[tokio::test]
async fn whatever_goes_wrong_each_payment_ends_where_it_belongs() {
    for seed in [1, 2, 3] {
        let mut rng = StdRng::seed_from_u64(seed);
        let (fast, office) = (FastFaktura::start().await, Office::open().await);
        fast.vary(|variants| variants.page_size = 7);
        let mut events = vec![];
        for number in 1..=25 {
            let parts: Vec<i64> = (0..rng.random_range(1..5)).map(|_| rng.random_range(1..3) * 5_003).collect();
            let number = format!("F-{number}");
            fast.add_invoice(&number, parts.iter().sum(), "EUR", "sent");
            for (n, cents) in parts.into_iter().enumerate() {
                let payment = payment(&format!("{number}-{n}"), &number, cents);
                events.push((office.event(&payment), payment));
            }
        }
        let sink = built(&fast, &office, "", "", Duration::from_secs(2));
        let faults = [Fault::Status(500), Fault::Cut, Fault::CutInside, Fault::Garbage, Fault::WrongShape];
        fast.sometimes(seed, 200, &faults);
        let is_paid = |payment: &Payment| !payment.invoice.number.ends_with(['3', '6', '9']);
        for _ in 0..events.len() * 3 {
            let (event, payment) = events.choose(&mut rng).unwrap();
            if rng.random_range(0..8) == 0 && is_paid(payment) {
                fast.set_status(&payment.invoice.number, "paid");
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
        assert!(fast.failed() > 20, "{}", fast.failed());
        for (_, payment) in events.iter().filter(|(_, payment)| is_paid(payment)) {
            fast.set_status(&payment.invoice.number, "paid");
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
            if is_paid(payment) {
                assert_eq!(outcome, Outcome::Delivered);
                wanted.push((payment.id.clone(), payment.amount_cents, "seen".to_owned()));
            } else {
                assert!(held(&outcome).1);
            }
        }
        let lines = office.lines().await.into_iter();
        let mut lines: Vec<_> =
            lines.map(|line| (line.payment_id, line.amount_cents, line.state.to_string())).collect();
        lines.sort();
        wanted.sort();
        assert_eq!(lines, wanted, "seed {seed}");
        assert_eq!(fast.complaints(), Vec::<String>::new());
    }
}
