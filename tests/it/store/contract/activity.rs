//! When endpoints were last heard of; and the commit that is tried.

use finkare_relay::store::activity::Activity;
use jiff::Timestamp;

use super::{EndpointName, Store, clock, count_events, secs};
use crate::store::Fixture;

fn endpoint(name: &str) -> EndpointName {
    EndpointName::new(name).unwrap()
}

async fn note(store: &dyn Store, seen: &[(&str, Option<Timestamp>)]) -> Vec<Activity> {
    let seen: Vec<_> = seen.iter().map(|(name, at)| (endpoint(name), *at)).collect();
    let mut known = store.note_activity(&seen).await.unwrap();
    known.sort_by(|one, other| one.endpoint.as_str().cmp(other.endpoint.as_str()));
    known
}

fn times(known: &[Activity]) -> Vec<(&str, Option<Timestamp>)> {
    known.iter().map(|one| (one.endpoint.as_str(), one.last_delivery_at)).collect()
}

pub(crate) async fn the_latest_time_stays(on: &Fixture) {
    let (store, other) = (on.open().await, on.open().await);
    let at = clock::from_micros(clock::to_micros(clock::now() - secs(3600))).unwrap();
    assert_eq!(times(&note(&*store, &[("a", Some(at)), ("b", None)]).await), [("a", Some(at)), ("b", None)]);
    // Through another process, and whoever knows less or nothing.
    assert_eq!(times(&note(&*other, &[("a", None)]).await), [("a", Some(at))]);
    assert_eq!(times(&note(&*other, &[("a", Some(at - secs(1)))]).await), [("a", Some(at))]);
    let later = at + secs(60);
    assert_eq!(
        times(&note(&*other, &[("b", Some(at)), ("a", Some(later))]).await),
        [("a", Some(later)), ("b", Some(at))]
    );
    assert_eq!(times(&note(&*store, &[("a", Some(at))]).await), [("a", Some(later))], "only what was asked for");
    assert_eq!(note(&*store, &[]).await, []);
}

pub(crate) async fn one_that_was_never_heard_of_is_watched_from_the_first_note(on: &Fixture) {
    let store = on.open().await;
    let before = clock::now();
    let first = note(&*store, &[("a", None)]).await;
    // The store's clock may be another one than ours.
    assert!(clock::since(first[0].watched_since, before) < secs(60) && first[0].last_delivery_at.is_none());
    let again = on.open().await;
    assert_eq!(note(&*again, &[("a", None)]).await, first, "also after a restart");
    let spoken = note(&*again, &[("a", Some(before))]).await;
    assert_eq!(spoken[0].watched_since, first[0].watched_since);
}

pub(crate) async fn a_trial_write_leaves_everything_as_it_is(on: &Fixture) {
    let (store, other) = (on.open().await, on.open().await);
    for _ in 0..3 {
        store.trial_write().await.unwrap();
        other.trial_write().await.unwrap();
    }
    assert_eq!(count_events(&*store).await, 0);
    store.ready().await.unwrap();
}

pub(crate) async fn a_time_from_the_future_becomes_now(on: &Fixture) {
    let store = on.open().await;
    let soon = |known: &[Activity]| {
        let at = known[0].last_delivery_at.expect("it was heard of");
        // The store's clock may be another one than ours.
        assert!(at < clock::now() + secs(60) && at > clock::now() - secs(60), "{at}");
        at
    };
    // By a process whose clock is ahead.
    let ahead = clock::now() + secs(100 * 86_400);
    soon(&note(&*store, &[("a", Some(ahead))]).await);
    // Or written by an earlier version, or before the store's own clock was set back.
    on.execute(&format!("UPDATE endpoint_activity SET last_delivery_at = {}", clock::to_micros(ahead))).await;
    let bounded = soon(&note(&*store, &[("a", None)]).await);
    assert_eq!(note(&*store, &[("a", None)]).await[0].last_delivery_at, Some(bounded), "and stays there");
    let earlier = clock::from_micros(clock::to_micros(bounded)).unwrap() - secs(3600);
    assert_eq!(note(&*store, &[("a", Some(earlier))]).await[0].last_delivery_at, Some(bounded));
}
