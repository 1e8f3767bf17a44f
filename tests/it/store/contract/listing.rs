//! What operators see: lists with filters and pages, and single things with all that belongs to them.

use finkare_relay::store::{DispatchFilter, EventFilter};

use super::{
    DispatchId, EndpointName, EventId, NewEvent, State, Store, all_dispatches, claim, claim_of, clock, delivered,
    event, finish, held, of_invoice, received, rejected, secs, sink, start,
};
use crate::store::Fixture;

async fn events(store: &dyn Store, filter: EventFilter) -> Vec<EventId> {
    let page = store.list_events(&filter, 100).await.unwrap();
    assert!(!page.more);
    page.rows.into_iter().map(|event| event.id).collect()
}

pub(crate) async fn events_are_filtered(on: &Fixture) {
    let store = on.open().await;
    let now = clock::from_micros(clock::to_micros(clock::now())).unwrap();
    let day = secs(86_400);
    let a = NewEvent { invoice_id: Some("i1".into()), ..received("a", now - 3 * day) };
    let b = NewEvent { event_type: "ping".into(), payload: "x'%_\\ é \0 end".into(), ..received("b", now - 2 * day) };
    let c = NewEvent { endpoint: EndpointName::new("sandbox").unwrap(), ..received("c", now - day) };
    let d = NewEvent { invoice_id: Some("i1".into()), payload: vec![0xff, 0xfe, b'q'].into(), ..received("d", now) };
    store.record_deliveries(&[c.clone(), a.clone(), d.clone(), b.clone()]).await.unwrap();
    let none = EventFilter::default;
    let text = |text: &str| Some(text.to_owned());

    assert_eq!(events(&*store, none()).await, [d.id, c.id, b.id, a.id], "newest first, however they were recorded");
    assert_eq!(events(&*store, EventFilter { event_type: text("ping"), ..none() }).await, [b.id]);
    assert_eq!(events(&*store, EventFilter { endpoint: text("main"), ..none() }).await, [d.id, b.id, a.id]);
    assert_eq!(events(&*store, EventFilter { invoice_id: text("i1"), ..none() }).await, [d.id, a.id]);
    assert_eq!(events(&*store, EventFilter { before: Some(c.id), ..none() }).await, [b.id, a.id]);
    // From this microsecond on, and before that one.
    let since = |time| EventFilter { since: Some(time), ..none() };
    let until = |time| EventFilter { until: Some(time), ..none() };
    let moment = std::time::Duration::from_micros(1);
    assert_eq!(events(&*store, since(now - 2 * day)).await, [d.id, c.id, b.id]);
    assert_eq!(events(&*store, since(now - 2 * day + moment)).await, [d.id, c.id]);
    assert_eq!(events(&*store, until(now - 2 * day)).await, [a.id]);
    assert_eq!(events(&*store, until(now - 2 * day + moment)).await, [b.id, a.id]);
    assert_eq!(events(&*store, since(jiff::Timestamp::MIN)).await.len(), 4);
    assert_eq!(events(&*store, until(jiff::Timestamp::MAX)).await.len(), 4);
    let all = EventFilter {
        since: Some(now - 3 * day),
        until: Some(now),
        invoice_id: text("i1"),
        endpoint: text("main"),
        event_type: text("payment.received"),
        contains: text("\"a\""),
        before: Some(d.id),
        found: Vec::new(),
        ..EventFilter::default()
    };
    assert_eq!(events(&*store, all).await, [a.id]);
    // The text is compared byte for byte, and nothing in it has a meaning.
    for (contains, expected) in [
        ("\"key\"", vec![c.id, a.id]),
        ("é", vec![b.id]),
        ("'%_\\", vec![b.id]),
        ("É", vec![]),
        ("%", vec![b.id]),
        ("\0 end", vec![b.id]),
        ("q", vec![d.id]),
    ] {
        assert_eq!(events(&*store, EventFilter { contains: text(contains), ..none() }).await, expected, "{contains:?}");
    }
}

pub(crate) async fn events_are_paged(on: &Fixture) {
    let store = on.open().await;
    let batch: Vec<NewEvent> = (0..25).map(|i| event(&i.to_string())).collect();
    store.record_deliveries(&batch).await.unwrap();
    let mut expected: Vec<EventId> = batch.iter().map(|new| new.id).collect();
    expected.sort_unstable();
    expected.reverse();
    for limit in [1, 4, 5, 25, 26] {
        let mut seen = Vec::new();
        let mut before = None;
        loop {
            let page = store.list_events(&EventFilter { before, ..EventFilter::default() }, limit).await.unwrap();
            seen.extend(page.rows.iter().map(|event| event.id));
            before = seen.last().copied();
            assert!(page.rows.len() == limit as usize || !page.more, "a page that is not the last is full");
            if !page.more {
                break;
            }
        }
        assert_eq!(seen, expected, "in pages of {limit}");
    }
    let none = store.list_events(&EventFilter::default(), 0).await.unwrap();
    assert!(none.rows.is_empty() && none.more);
}

/// Some dispatches in several states for two sinks.
async fn some(store: &dyn Store) {
    let both =
        |key: &str, invoice: &str| NewEvent { sinks: vec![sink("erp"), sink("mail")], ..of_invoice(invoice, key) };
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let batch: Vec<NewEvent> = names.iter().enumerate().map(|(i, key)| both(key, &format!("i{}", i % 6))).collect();
    store.record_deliveries(&batch).await.unwrap();
    let now = start();
    let leases = claim(store, now).await;
    let attempts =
        [delivered(&leases[0]), rejected(&leases[1]), held(&leases[2], None), held(&leases[3], Some(secs(9)))];
    finish(store, &attempts, now).await;
    claim_of(store, "mail", 2, now).await;
    let pending: Vec<DispatchId> = all_dispatches(store)
        .await
        .iter()
        .filter(|dispatch| dispatch.sink == "mail" && dispatch.state == State::Pending)
        .map(|dispatch| dispatch.id)
        .collect();
    assert_eq!(store.cancel_dispatches(&pending[..2]).await.unwrap(), 2);
}

pub(crate) async fn dispatches_are_filtered(on: &Fixture) {
    let store = on.open().await;
    some(&*store).await;
    let everything: Vec<_> = all_dispatches(&*store).await.into_iter().rev().collect();
    assert_eq!(everything.len(), 14);
    assert!(everything.is_sorted_by_key(|dispatch| std::cmp::Reverse(dispatch.id)), "newest first");
    let states = [None].into_iter().chain(State::ALL.map(Some));
    let mut matches = 0;
    for state in states {
        for name in [None, Some("erp"), Some("mail"), Some("nobody")] {
            for invoice in [None, Some("i0"), Some("i5"), Some("none")] {
                for event_id in [None, Some(everything[0].event_id), Some(EventId::generate())] {
                    for before in [None, Some(everything[5].id)] {
                        let filter = DispatchFilter {
                            state,
                            sink: name.map(str::to_owned),
                            invoice_id: invoice.map(str::to_owned),
                            event_id,
                            before,
                            found: None,
                            ..DispatchFilter::default()
                        };
                        let expected: Vec<_> = everything
                            .iter()
                            .filter(|dispatch| {
                                state.is_none_or(|state| dispatch.state == state)
                                    && name.is_none_or(|name| dispatch.sink == name)
                                    && invoice.is_none_or(|id| dispatch.invoice_id.as_deref() == Some(id))
                                    && event_id.is_none_or(|id| dispatch.event_id == id)
                                    && before.is_none_or(|id| dispatch.id < id)
                            })
                            .cloned()
                            .collect();
                        matches += usize::from(!expected.is_empty());
                        let page = store.list_dispatches(&filter, 100).await.unwrap();
                        assert_eq!(page.rows, expected, "{filter:?}");
                        if state.is_some() {
                            let counted = store.count_dispatches(&filter).await.unwrap();
                            assert_eq!(counted, (expected.len() as u64, true), "{filter:?}");
                        }
                    }
                }
            }
        }
    }
    assert!(matches > 50, "the filters were really tried: {matches}");
}

pub(crate) async fn dispatches_are_paged(on: &Fixture) {
    let store = on.open().await;
    some(&*store).await;
    for state in [None, Some(State::Leased), Some(State::Held), Some(State::Cancelled), Some(State::Pending)] {
        let filter = DispatchFilter { state, ..DispatchFilter::default() };
        let expected = store.list_dispatches(&filter, 100).await.unwrap();
        assert!(!expected.more && expected.rows.len() >= 2);
        for limit in [1, 2, 3] {
            let mut seen: Vec<_> = Vec::new();
            loop {
                let before = seen.last().map(|dispatch: &super::Dispatch| dispatch.id);
                let page = store.list_dispatches(&DispatchFilter { before, ..filter.clone() }, limit).await.unwrap();
                seen.extend(page.rows);
                if !page.more {
                    break;
                }
            }
            assert_eq!(seen, expected.rows, "{state:?} in pages of {limit}");
        }
    }
}

pub(crate) async fn an_event_with_all_that_belongs_to_it(on: &Fixture) {
    let store = on.open().await;
    let new = NewEvent { sinks: vec![sink("erp"), sink("mail")], ..event("a") };
    store.record_deliveries(&[new.clone(), event("other")]).await.unwrap();
    let now = start();
    for round in 0..3 {
        let leases = claim_of(&*store, "erp", 10, now + round * secs(10)).await.dispatches;
        let ours = leases.iter().find(|lease| lease.event_id == new.id).unwrap();
        let attempts: Vec<_> = leases.iter().map(|lease| super::retried(lease, secs(10))).collect();
        finish(&*store, &attempts, now + round * secs(10)).await;
        assert_eq!(ours.attempts, round);
    }
    let detail = store.event(new.id).await.unwrap().unwrap();
    assert_eq!(
        detail.dispatches.iter().map(|(dispatch, _)| dispatch.sink.as_str()).collect::<Vec<_>>(),
        ["erp", "mail"]
    );
    let (erp, attempts) = &detail.dispatches[0];
    assert_eq!((erp.attempts, attempts.iter().map(|attempt| attempt.number).collect()), (3, vec![1, 2, 3]));
    assert!(detail.dispatches[1].1.is_empty());
    let (alone, its_attempts) = store.dispatch(erp.id).await.unwrap().unwrap();
    assert_eq!((&alone, &its_attempts), (erp, attempts));
}

pub(crate) async fn what_is_not_there_is_none(on: &Fixture) {
    let store = on.open().await;
    assert!(store.event(EventId::generate()).await.unwrap().is_none());
    for id in [0, -1, 1, i64::MAX] {
        assert!(store.dispatch(DispatchId(id)).await.unwrap().is_none());
    }
    assert!(store.list_events(&EventFilter::default(), 10).await.unwrap().rows.is_empty());
    assert!(store.list_dispatches(&DispatchFilter::default(), 10).await.unwrap().rows.is_empty());
}

pub(crate) async fn a_selection_is_walked_from_the_oldest_on(on: &Fixture) {
    let store = on.open().await;
    let now = clock::from_micros(clock::to_micros(clock::now())).unwrap();
    let batch: Vec<NewEvent> = (0..30_u64)
        .map(|i| NewEvent {
            event_type: if i % 3 == 0 { "ping".into() } else { "payment.received".into() },
            endpoint: EndpointName::new(if i % 5 == 0 { "sandbox" } else { "main" }).unwrap(),
            invoice_id: (i % 2 == 0).then(|| format!("i{}", i % 4)),
            sinks: Vec::new(),
            ..received(&i.to_string(), now - secs(30 - i))
        })
        .collect();
    store.record_deliveries(&batch).await.unwrap();
    // The first ten have no payload any more.
    let purge =
        finkare_relay::store::Purge { payloads_before: now - secs(20), events_before: now - secs(900), limit: 99 };
    assert_eq!(store.purge(purge).await.unwrap().payloads, 10);
    let none = EventFilter::default;
    let text = |text: &str| Some(text.to_owned());
    for filter in [
        none(),
        EventFilter { event_type: text("ping"), ..none() },
        EventFilter { endpoint: text("sandbox"), ..none() },
        EventFilter { invoice_id: text("i2"), ..none() },
        EventFilter { invoice_id: text("a\0b"), ..none() },
        EventFilter { since: Some(now - secs(17)), until: Some(now - secs(4)), ..none() },
        EventFilter { before: Some(batch[11].id), event_type: text("payment.received"), ..none() },
        EventFilter { contains: text("\"1"), ..none() },
    ] {
        let mut expected = store.list_events(&filter, 100).await.unwrap().rows;
        expected.reverse();
        for limit in [1, 4, 30] {
            let (mut walked, mut after) = (Vec::new(), None);
            loop {
                let page = store.events_after(&filter, after, limit).await.unwrap();
                assert!(page.rows.len() == limit as usize || !page.more, "a page that is not the last is full");
                walked.extend(page.rows);
                after = walked.last().map(|candidate| candidate.event.id);
                if !page.more {
                    break;
                }
            }
            for candidate in &walked {
                assert_eq!(candidate.has_payload, candidate.event.received_at >= now - secs(20));
            }
            let events: Vec<_> = walked.into_iter().map(|candidate| candidate.event).collect();
            assert_eq!(events, expected, "{filter:?} in pages of {limit}");
        }
        let count = expected.len() as u64;
        assert_eq!(store.count_events(&filter, 100).await.unwrap(), count, "{filter:?}");
        assert_eq!(store.count_events(&filter, 3).await.unwrap(), count.min(3), "{filter:?}");
    }
    assert!(store.events_after(&none(), Some(batch[29].id), 5).await.unwrap().rows.is_empty());
}

pub(crate) async fn a_search_says_how_far_it_looked(on: &Fixture) {
    let store = on.open().await;
    // The needle is the oldest of more than one search looks at.
    let needle = NewEvent { payload: b"needle".as_slice().into(), ..received("needle", clock::now() - secs(9000)) };
    store.record_deliveries(std::slice::from_ref(&needle)).await.unwrap();
    // Ids of version 7, of later times.
    let sqlite = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100500)
        INSERT INTO events (id, endpoint, dedupe_key, type, received_at, deliveries, last_delivery_at, readable, payload)
        SELECT unhex(printf('%012x', 1900000000000 + n) || '7000' || '8000' || hex(randomblob(6))), 'main',
               randomblob(32), 'hay', n, 1, 1, 1, x'00' FROM numbers";
    let postgres = "INSERT INTO events (id, endpoint, dedupe_key, type, received_at, deliveries, readable, payload)
        SELECT (lpad(to_hex(1900000000000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid, 'main',
               sha256(n::text::bytea), 'hay', n, 1, true, 'x' FROM generate_series(1, 100500) AS numbers (n)";
    on.lay(sqlite, postgres).await;
    let text = EventFilter { contains: Some("needle".into()), ..EventFilter::default() };
    let of_type = EventFilter { event_type: Some("payment.received".into()), ..EventFilter::default() };
    let elsewhere = EventFilter { endpoint: Some("other".into()), ..EventFilter::default() };
    for (filter, expected) in [(text, vec![needle.id]), (of_type, vec![needle.id]), (elsewhere, Vec::new())] {
        let first = store.list_events(&filter, 10).await.unwrap();
        assert!(first.rows.is_empty() && first.more, "{filter:?}");
        assert!(first.searched_until.is_some_and(|until| until > needle.id), "it says how far it came");
        let (mut found, mut before, mut searches) = (Vec::new(), first.searched_until, 1);
        while before.is_some() {
            let page = store.list_events(&EventFilter { before, ..filter.clone() }, 10).await.unwrap();
            assert!(page.searched_until < before || page.searched_until.is_none(), "it goes on");
            found.extend(page.rows.iter().map(|event| event.id));
            before = page.searched_until;
            searches += 1;
            assert!(searches < 100);
        }
        assert_eq!(found, expected, "{filter:?}");
    }
    // A caller may want to know sooner how far it came.
    let soon = EventFilter { contains: Some("needle".into()), look_at: Some(600), ..EventFilter::default() };
    let page = store.list_events(&soon, 10).await.unwrap();
    let until = page.searched_until.and_then(EventId::made_at).expect("it says how far it came");
    assert_eq!(until.as_millisecond(), 1_900_000_100_500 - 599, "the last of the newest 600");
    // What is found early ends the search early, as a page like any other.
    let hay = EventFilter { event_type: Some("hay".into()), ..EventFilter::default() };
    let page = store.list_events(&hay, 10).await.unwrap();
    assert_eq!((page.rows.len(), page.more, page.searched_until), (10, true, None));
    // An index needs no search.
    let page = store.list_events(&EventFilter::default(), 10).await.unwrap();
    assert_eq!((page.rows.len(), page.more, page.searched_until), (10, true, None));
}

pub(crate) async fn a_search_for_a_sink_says_how_far_it_looked(on: &Fixture) {
    let store = on.open().await;
    // The oldest is the only one of its sink among more than one search looks at.
    let lay = |id: &str, numbers: &str, from: &str| {
        format!(
            "{numbers} INSERT INTO history (id, event_id, sink, event_type, state, trigger, attempts, created_at,
                                            finished_at)
             SELECT n, {id}, CASE WHEN n = 1 THEN 'rare' ELSE 'erp' END, 'ping', 'delivered', 'event', 1, n, n
             FROM {from}"
        )
    };
    let numbers = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100500)";
    on.lay(
        &lay("zeroblob(16)", numbers, "numbers"),
        &lay("gen_random_uuid()", "", "generate_series(1, 100500) AS numbers (n)"),
    )
    .await;
    let of = |name: &str, state| DispatchFilter { sink: Some(name.into()), state, ..DispatchFilter::default() };
    for state in [None, Some(State::Delivered)] {
        let first = store.list_dispatches(&of("rare", state), 10).await.unwrap();
        let (until, at) = first.searched_until.expect("it says how far it came");
        assert!(first.rows.is_empty() && first.more && until > DispatchId(1), "{first:?}");
        assert_eq!(at.as_microsecond(), until.0, "and when that one was written");
        let (mut found, mut before, mut searches) = (Vec::new(), Some(until), 1);
        while before.is_some() {
            let page = store.list_dispatches(&DispatchFilter { before, ..of("rare", state) }, 10).await.unwrap();
            let until = page.searched_until.map(|(id, _)| id);
            assert!(until < before, "it goes on");
            found.extend(page.rows.iter().map(|dispatch| dispatch.id));
            before = until;
            searches += 1;
            assert!(searches < 100);
        }
        assert_eq!(found, [DispatchId(1)], "{state:?}");
        // What is found early ends the search early, as a page like any other.
        let page = store.list_dispatches(&of("erp", state), 10).await.unwrap();
        assert_eq!((page.rows.len(), page.more, page.searched_until), (10, true, None));
    }
    // A count says whether it has seen all of them; a rare state is counted by itself among all others.
    let none = DispatchFilter::default;
    let delivered = DispatchFilter { state: Some(State::Delivered), look_at: Some(600), ..none() };
    assert_eq!(store.count_dispatches(&delivered).await.unwrap(), (600, false));
    on.execute("UPDATE history SET state = 'cancelled' WHERE id IN (7, 70)").await;
    let cancelled = DispatchFilter { state: Some(State::Cancelled), look_at: Some(600), ..none() };
    assert_eq!(store.count_dispatches(&cancelled).await.unwrap(), (2, true));
    let of_erp = DispatchFilter { sink: Some("erp".into()), since: Some(clock::from_micros(60).unwrap()), ..cancelled };
    assert_eq!(store.count_dispatches(&of_erp).await.unwrap(), (1, true));
    // An index, or few rows, need no search.
    for state in [State::Pending, State::Leased, State::Held, State::Dead, State::Cancelled] {
        let page = store.list_dispatches(&of("rare", Some(state)), 10).await.unwrap();
        assert_eq!((page.rows.len(), page.more, page.searched_until), (0, false, None), "{state}");
    }
}
