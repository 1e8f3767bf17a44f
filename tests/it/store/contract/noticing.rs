//! The relay's own events: what is noted by each change, and what is told of it, once.

use std::{collections::BTreeMap, sync::Arc};

use finkare_relay::{
    activity::Board,
    dispatch::SinkView,
    ingest::{
        explain::Refusals,
        route::{Route, Selection},
    },
    lifecycle::Lifecycle,
    model::{audit::NewAudit, dispatch::Outcome},
    notices::{Eyes, Scene, Settings, look},
    telemetry::Metrics,
};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    DispatchId, EndpointName, EventFilter, NewEvent, State, Store, claim, claim_of, claim_one, clock, event, finish,
    held, rejected, secs, sink, start, state,
};
use crate::store::Fixture;

fn scene(asking: &[&str]) -> Scene {
    let lifecycle = Lifecycle::new();
    let (refusals, _) = Refusals::new(Arc::new(Metrics::new()), lifecycle);
    let route = |name: &str| Route {
        sink: sink(name),
        events: Selection::Types(vec!["relay.*".into()]),
        endpoints: None,
        filter: None,
    };
    Scene {
        settings: Settings { group: secs(900), tripped_after: secs(300), ..Settings::default() },
        routes: asking.iter().map(|name| route(name)).collect(),
        sinks: vec![SinkView::new(sink("erp"), "http")],
        endpoints: vec![EndpointName::new("main").unwrap()],
        board: Board::default(),
        refusals,
    }
}

/// Looks so many seconds from now.
async fn look_in(store: &dyn Store, scene: &Scene, eyes: &mut Eyes, seconds: u64) -> usize {
    look(store, scene, eyes, Some(clock::now() + secs(seconds))).await.unwrap()
}

/// The bodies of the relay's own events, oldest first, each with the sinks that get it.
async fn told(store: &dyn Store) -> Vec<(Value, Vec<String>)> {
    let mut told = Vec::new();
    let mut rows = store.list_events(&EventFilter::default(), 500).await.unwrap().rows;
    rows.retain(|event| event.event_type.starts_with("relay."));
    rows.sort_by_key(|event| event.id);
    for row in rows {
        let detail = store.event(row.id).await.unwrap().unwrap();
        let mut body: Value = serde_json::from_slice(&detail.payload.unwrap()).unwrap();
        assert_eq!(body["event"], row.event_type.as_str());
        body["endpoint"] = row.endpoint.as_str().into();
        let sinks = detail.dispatches.iter().map(|(dispatch, _)| dispatch.sink.as_str().to_owned()).collect();
        told.push((body, sinks));
    }
    told
}

async fn hold(
    store: &dyn Store,
    keys: std::ops::Range<u32>,
    reason: impl Fn(u32) -> String,
    now: Timestamp,
) -> Vec<DispatchId> {
    let events: Vec<NewEvent> = keys
        .clone()
        .map(|key| NewEvent {
            payload: format!(r#"{{"event":"payment.received","data":{{"amountCents":{key}}}}}"#).into_bytes().into(),
            ..event(&format!("key {key}"))
        })
        .collect();
    store.record_deliveries(&events).await.unwrap();
    let mut ids = Vec::new();
    let mut keys = keys;
    loop {
        let leases = claim(store, now).await;
        if leases.is_empty() {
            return ids;
        }
        let mut ends = Vec::new();
        for lease in &leases {
            let mut end = held(lease, Some(secs(60)));
            end.outcome = Outcome::Hold { reason: reason(keys.next().unwrap()), recheck_after: Some(secs(60)) };
            ids.push(lease.id);
            ends.push(end);
        }
        finish(store, &ends, now).await;
    }
}

pub(crate) async fn what_waits_for_one_cause_is_told_once_with_a_count(on: &Fixture) {
    let store = on.open().await;
    let (scene, mut eyes) = (scene(&["desk"]), Eyes::default());
    look_in(&*store, &scene, &mut eyes, 0).await;
    let now = start();
    let reason = |key: u32| {
        if key.is_multiple_of(4) {
            format!("invoice F-{key} is not in the books")
        } else {
            format!("the books are closed ({key})")
        }
    };
    let ids = hold(&*store, 0..100, reason, now).await;
    assert_eq!(look_in(&*store, &scene, &mut eyes, 880).await, 0, "collected for as long as `group_secs`");
    assert_eq!(look_in(&*store, &scene, &mut eyes, 910).await, 2);
    assert_eq!(look_in(&*store, &scene, &mut eyes, 99_999).await, 0, "and told once");
    let told = told(&*store).await;
    let by_reason: BTreeMap<&str, &Value> =
        told.iter().map(|(body, _)| (body["data"]["reason"].as_str().unwrap(), body)).collect();
    let one = by_reason["invoice … is not in the books"];
    let other = by_reason["the books are closed (…)"];
    for (body, count, cents) in
        [(one, 25, (0..25).map(|n| n * 4).sum::<i64>()), (other, 75, 4950 - (0..25).map(|n| n * 4).sum::<i64>())]
    {
        let data = &body["data"];
        assert_eq!(body["event"], "relay.held");
        assert_eq!(
            (&data["sink"], &data["count"], &data["amount_cents"]),
            (&"erp".into(), &count.into(), &cents.into())
        );
        let named: Vec<i64> = data["dispatches"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        assert_eq!(named.len(), 20);
        assert!(named.iter().all(|id| ids.contains(&DispatchId(*id))));
        assert!(
            data["message"].as_str().unwrap().starts_with(&format!("{count} events for sink erp wait for a person: ")),
            "{data}"
        );
        assert_eq!(body["endpoint"], "main");
    }
    assert!(told.iter().all(|(_, sinks)| sinks == &["desk"]));
}

pub(crate) async fn only_a_change_is_news(on: &Fixture) {
    let store = on.open().await;
    let (scene, mut eyes) = (scene(&["desk"]), Eyes::default());
    let now = start();
    let ids = hold(&*store, 0..1, |_| "invoice F-1 is not in the books, looked at 10:00".into(), now).await;
    assert_eq!(look_in(&*store, &scene, &mut eyes, 1000).await, 1);
    // It is looked at again by itself, twice.
    let again = async |minutes: u64, reason: &str| {
        let now = now + secs(60 * minutes);
        let lease = claim_one(&*store, now).await;
        let mut end = held(&lease, Some(secs(60)));
        end.outcome = Outcome::Hold { reason: reason.into(), recheck_after: Some(secs(60)) };
        finish(&*store, &[end], now).await;
    };
    again(2, "invoice F-1 is not in the books, looked at 10:02").await;
    again(4, "invoice F-1 is not in the books, looked at 10:04").await;
    assert_eq!(look_in(&*store, &scene, &mut eyes, 99_999).await, 0, "the same cause");
    again(6, "the books are closed").await;
    assert_eq!(look_in(&*store, &scene, &mut eyes, 99_999).await, 1, "another cause");
    // A person has it tried again, and it ends in the same way.
    assert_eq!(store.retry_dispatches(&ids).await.unwrap(), 1);
    again(8, "the books are closed").await;
    assert_eq!(look_in(&*store, &scene, &mut eyes, 999_999).await, 1, "a person wants to know");
    // What is repaired in time is no news.
    assert_eq!(store.retry_dispatches(&ids).await.unwrap(), 1);
    again(10, "the sun is too bright").await;
    assert_eq!(store.cancel_dispatches(&ids).await.unwrap(), 1);
    assert_eq!(look_in(&*store, &scene, &mut eyes, 9_999_999).await, 0);
    assert_eq!(told(&*store).await.len(), 3);
}

pub(crate) async fn of_many_that_look_one_tells(on: &Fixture) {
    let stores = [on.open().await, on.open().await, on.open().await];
    let now = start();
    hold(&*stores[0], 0..3, |_| "look".into(), now).await;
    stores[0].pause_sink(&sink("erp"), "a person").await.unwrap();
    let looks = stores.iter().map(async |store| {
        let (scene, mut eyes) = (scene(&["desk"]), Eyes::default());
        look_in(&**store, &scene, &mut eyes, 1000).await
    });
    let counts = futures_util::future::join_all(looks).await;
    assert_eq!(counts.iter().sum::<usize>(), 2, "{counts:?}");
    let kinds: Vec<String> =
        told(&*stores[0]).await.iter().map(|(body, _)| body["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["relay.held", "relay.sink_paused"]);
}

pub(crate) async fn a_pause_and_its_end_are_told_to_the_others(on: &Fixture) {
    let store = on.open().await;
    store.register_sinks(&[sink("erp"), sink("desk")]).await.unwrap();
    let (scene, mut eyes) = (scene(&["desk", "erp"]), Eyes::default());
    store.record_deliveries(&["a", "b"].map(event)).await.unwrap();
    assert!(store.pause_sink(&sink("erp"), "paused by ops").await.unwrap());
    assert!(!store.pause_sink(&sink("erp"), "again").await.unwrap());
    assert_eq!(look_in(&*store, &scene, &mut eyes, 1).await, 1);
    assert_eq!(look_in(&*store, &scene, &mut eyes, 2).await, 0);
    assert!(store.resume_sink(&sink("erp")).await.unwrap());
    assert_eq!(look_in(&*store, &scene, &mut eyes, 3).await, 1);
    let told = told(&*store).await;
    assert_eq!(told[0].0["data"]["backlog"], 2);
    assert_eq!(told[0].0["data"]["message"], "Sink erp is paused, and its events wait: paused by ops.");
    assert_eq!(
        (&told[0].0["event"], &told[1].0["event"]),
        (&"relay.sink_paused".into(), &"relay.sink_recovered".into())
    );
    assert_eq!(told[0].0["data"]["since"], told[1].0["data"]["since"]);
    assert!(
        told.iter().all(|(body, sinks)| sinks == &["desk"] && body["endpoint"] == ""),
        "never to the sink itself: {told:?}"
    );
}

pub(crate) async fn what_fails_to_tell_tells_nothing(on: &Fixture) {
    let store = on.open().await;
    let (scene, mut eyes) = (scene(&["desk"]), Eyes::default());
    store.register_sinks(&[sink("erp")]).await.unwrap();
    store.pause_sink(&sink("erp"), "a person").await.unwrap();
    assert_eq!(look_in(&*store, &scene, &mut eyes, 1).await, 1);
    let now = start();
    let leases = claim_of(&*store, "desk", 10, now).await.dispatches;
    finish(&*store, &[rejected(&leases[0])], now).await;
    assert_eq!(state(&*store, leases[0].id).await, State::Dead);
    assert_eq!(look_in(&*store, &scene, &mut eyes, 99_999).await, 0);
}

pub(crate) async fn rotations_are_told_from_the_trail(on: &Fixture) {
    let store = on.open().await;
    let (scene, mut eyes) = (scene(&["desk"]), Eyes::default());
    let audit = async |action| {
        store
            .audit(NewAudit::new("ops", action, "endpoint/main").with("fingerprint", "00aa").with("code", "c1"))
            .await
            .unwrap();
    };
    audit("rotation.done").await;
    assert_eq!(look_in(&*store, &scene, &mut eyes, 1).await, 0, "it happened before anybody looked");
    for action in ["rotation.uncertain", "rotation.uncertain", "rotation.done", "rotation.refused", "secret.settled"] {
        audit(action).await;
    }
    assert_eq!(look_in(&*store, &scene, &mut eyes, 2).await, 3);
    audit("rotation.uncertain").await;
    assert_eq!(look_in(&*store, &scene, &mut eyes, 3).await, 1);
    assert_eq!(look_in(&*store, &scene, &mut eyes, 4).await, 0);
    let told = told(&*store).await;
    let kinds: Vec<&str> = told.iter().map(|(body, _)| body["event"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["relay.rotation_unknown", "relay.rotation_done", "relay.rotation_failed", "relay.rotation_unknown"]
    );
    assert!(told.iter().all(|(body, _)| body["data"]["fingerprint"] == "00aa" && body["data"]["code"] == "c1"));
    assert!(told.iter().all(|(body, _)| body["endpoint"] == "main"));
}

pub(crate) async fn a_digest_is_made_once_a_day(on: &Fixture) {
    let (one, other) = (on.open().await, on.open().await);
    let mut scene = scene(&["desk"]);
    let mut eyes = Eyes::default();
    scene.settings.timezone = jiff::tz::TimeZone::UTC;
    scene.settings.digest_at = Some(jiff::civil::time(8, 0, 0, 0));
    let at = |day: &str| format!("{day}Z").parse::<Timestamp>().unwrap();
    let tomorrow = clock::now().to_zoned(jiff::tz::TimeZone::UTC).date().tomorrow().unwrap();
    let look_at = async |store: &Arc<dyn Store>, eyes: &mut Eyes, days: i64, time: &str| {
        let day = tomorrow.checked_add(jiff::Span::new().days(days)).unwrap();
        look(&**store, &scene, eyes, Some(at(&format!("{day}T{time}")))).await.unwrap()
    };
    // The first look only notes the day.
    assert_eq!(look(&*one, &scene, &mut eyes, Some(clock::now())).await.unwrap(), 0);
    one.record_deliveries(&["a", "b", "c"].map(event)).await.unwrap();
    let now = start();
    let leases = claim(&*one, now).await;
    finish(&*one, &[held(&leases[0], None), rejected(&leases[1])], now).await;
    let mut others = Eyes::default();
    let before = look_at(&one, &mut eyes, 0, "07:59:00").await;
    assert_eq!(before, 2, "what was held and given up, and no digest yet");
    let (first, second) =
        tokio::join!(look_at(&one, &mut eyes, 0, "11:30:00"), look_at(&other, &mut others, 0, "11:30:00"));
    assert_eq!(first + second, 1, "late in the day, and once");
    assert_eq!(look_at(&other, &mut others, 1, "07:00:00").await, 0);
    assert_eq!(look_at(&other, &mut others, 1, "08:00:00").await, 1);
    let told = told(&*one).await;
    let digests: Vec<&Value> = told
        .iter()
        .map(|(body, _)| body)
        .filter(|body| body["event"] == "relay.digest")
        .map(|body| &body["data"])
        .collect();
    assert_eq!(digests.len(), 2);
    let expected: Value = serde_json::json!([{"endpoint": "main", "type": "payment.received", "events": 3}]);
    assert_eq!((&digests[0]["arrived"], &digests[1]["arrived"]), (&expected, &serde_json::json!([])));
    let waiting: Vec<Value> = digests[0]["waiting"].as_array().unwrap().clone();
    let erp = waiting.iter().find(|sink| sink["sink"] == "erp").unwrap();
    assert_eq!((&erp["held"], &erp["dead"]), (&1.into(), &1.into()));
    assert_eq!(digests[0]["until"], digests[1]["since"]);
}
