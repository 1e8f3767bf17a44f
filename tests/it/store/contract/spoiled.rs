//! Rows of which a part cannot be read: they are shown as far as they can be, and hide no other.

use std::sync::Arc;

use finkare_relay::{
    ingest::route::{Route, Selection},
    replay::Replayer,
    store::{DispatchFilter, EventFilter},
};
use jiff::Timestamp;

use super::{
    NewEvent, all_dispatches, claim, clock, delivered, dispatch, event, finish, received, rejected, secs, sink, start,
    status,
};
use crate::store::Fixture;

/// Jiff's last second, half through: it can be written and not be read.
const TOO_LATE: i64 = 253_402_207_200_500_000;

pub(crate) async fn times_at_both_ends_of_the_calendar_come_back(on: &Fixture) {
    let store = on.open().await;
    let times = ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "9999-12-30T21:59:59.999999Z"];
    let times = times.map(|text| clock::storable(text.parse().unwrap()).expect("it is to be kept"));
    let events: Vec<NewEvent> = times
        .iter()
        .enumerate()
        .map(|(number, time)| NewEvent { occurred_at: Some(*time), ..event(&number.to_string()) })
        .collect();
    store.record_deliveries(&events).await.unwrap();
    for (event, time) in events.iter().zip(times) {
        let stored = store.event(event.id).await.unwrap().unwrap().event;
        assert_eq!((stored.occurred_at, stored.fault), (Some(time), None));
    }
    for beyond in [Timestamp::MAX, Timestamp::MIN, "9999-12-30T22:00:00.5Z".parse().unwrap()] {
        assert_eq!(clock::storable(beyond), None, "{beyond}");
    }
}

pub(crate) async fn a_spoiled_event_hides_no_other(on: &Fixture) {
    let store = on.open().await;
    let now = clock::now();
    let spoiled = NewEvent { event_type: "spoiled".into(), ..received("b", now - secs(2)) };
    let events = [received("a", now - secs(3)), spoiled.clone(), received("c", now - secs(1))];
    store.record_deliveries(&events).await.unwrap();
    let all = EventFilter::default;
    for (column, micros, shown) in [
        ("occurred_at", TOO_LATE, spoiled.received_at),
        ("occurred_at", i64::MAX, spoiled.received_at),
        ("occurred_at", i64::MIN, spoiled.received_at),
        ("received_at", i64::MAX, "9999-12-30T21:59:59.999999Z".parse().unwrap()),
        ("received_at", TOO_LATE, "9999-12-30T21:59:59.999999Z".parse().unwrap()),
        ("received_at", i64::MIN, "0001-01-01T00:00:00Z".parse().unwrap()),
    ] {
        on.execute(&format!("UPDATE events SET {column} = {micros} WHERE type = 'spoiled'")).await;
        let page = store.list_events(&all(), 10).await.unwrap();
        let listed: Vec<_> = page.rows.iter().map(|event| event.id).collect();
        assert_eq!(listed, [events[2].id, spoiled.id, events[0].id], "{column} = {micros}");
        let row = &page.rows[1];
        assert_eq!((row.occurred_at, row.received_at), (None, shown), "{column} = {micros}");
        let fault = row.fault.as_deref().unwrap_or_default();
        assert!(fault.contains(column) && fault.contains(&micros.to_string()), "{fault}");
        assert!(page.rows[0].fault.is_none() && page.rows[2].fault.is_none());
        assert_eq!(store.event(spoiled.id).await.unwrap().unwrap().event, *row);
        let walked = store.events_after(&all(), None, 10).await.unwrap().rows;
        assert_eq!(walked.len(), 3, "{column} = {micros}");

        // In bulk it is sent again like any other.
        let route = Route { sink: sink("erp"), events: Selection::All, endpoints: None, filter: None };
        let replayer = Replayer::new(store.clone(), Arc::new([route]), Arc::new([]));
        for dry_run in [true, false] {
            let summary = replayer.many(&all(), None, dry_run).await.unwrap();
            assert_eq!((summary.events, summary.dispatches, summary.skipped), (3, 3, 0), "{column} = {micros}");
        }
        let received_at = clock::to_micros(spoiled.received_at);
        on.execute(&format!(
            "UPDATE events SET occurred_at = NULL, received_at = {received_at} WHERE type = 'spoiled'"
        ))
        .await;
    }
}

pub(crate) async fn a_spoiled_dispatch_hides_no_other(on: &Fixture) {
    let store = on.open().await;
    store.register_sinks(&[sink("erp")]).await.unwrap();
    let spoiled = NewEvent { event_type: "spoiled".into(), ..event("b") };
    store.record_deliveries(&[event("a"), spoiled.clone(), event("c")]).await.unwrap();
    let leases = claim(&*store, start()).await;
    finish(&*store, &[rejected(&leases[0]), rejected(&leases[1]), delivered(&leases[2])], start()).await;
    let ids: Vec<_> = all_dispatches(&*store).await.into_iter().map(|dispatch| dispatch.id).collect();
    for statement in [
        format!("UPDATE queue SET created_at = {TOO_LATE} WHERE event_type = 'spoiled'"),
        format!("UPDATE queue SET finished_at = {} WHERE event_type = 'spoiled'", i64::MIN),
    ] {
        on.execute(&statement).await;
        let listed = all_dispatches(&*store).await;
        assert_eq!(listed.iter().map(|dispatch| dispatch.id).collect::<Vec<_>>(), ids, "{statement}");
        let fault = listed[1].fault.as_deref().unwrap_or_default();
        assert!(fault.contains("cannot be read"), "{statement}: {fault}");
        assert!(listed[0].fault.is_none() && listed[2].fault.is_none());
        assert!(dispatch(&*store, ids[1]).await.fault.is_some());
    }
    on.execute(&format!("UPDATE attempts SET started_at = {TOO_LATE} WHERE number = 1")).await;
    let (shown, attempts) = store.dispatch(ids[0]).await.unwrap().unwrap();
    assert!(shown.fault.is_some_and(|fault| fault.contains("started_at")) && attempts.len() == 1);
    let detail = store.event(spoiled.id).await.unwrap().unwrap();
    assert_eq!(detail.dispatches.len(), 1);
    // Retried in bulk and shown among the sinks, as if nothing were.
    assert_eq!(store.retry_dispatches(&ids).await.unwrap(), 2);
    let filter = DispatchFilter { sink: Some("erp".into()), ..DispatchFilter::default() };
    assert_eq!(store.list_dispatches(&filter, 10).await.unwrap().rows.len(), 3);
    assert_eq!(status(&*store, "erp").await.pending, 2);
}

pub(crate) async fn a_spoiled_time_stops_no_claim(on: &Fixture) {
    let store = on.open().await;
    store.register_sinks(&[sink("erp")]).await.unwrap();
    let spoiled = NewEvent { event_type: "spoiled".into(), ..event("a") };
    store.record_deliveries(&[spoiled, event("b")]).await.unwrap();
    on.execute(&format!("UPDATE events SET received_at = {TOO_LATE}, occurred_at = {TOO_LATE} WHERE type = 'spoiled'"))
        .await;
    on.execute(&format!("UPDATE queue SET created_at = {TOO_LATE} WHERE event_type = 'spoiled'")).await;
    assert_eq!(status(&*store, "erp").await.pending, 2, "the sinks can be looked at");
    let claimed = claim(&*store, start()).await;
    let types: Vec<_> = claimed.iter().map(|lease| lease.event_type.as_str()).collect();
    assert_eq!(types, ["spoiled", "payment.received"]);
}
