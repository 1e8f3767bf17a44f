//! What a process that leaves a sink alone hears of others.

use finkare_relay::store::breaker::SinkSigns;

use super::{claim, delivered, event, finish, rejected, sink, start, woken};
use crate::store::Fixture;

pub(crate) async fn a_success_and_a_persons_word_are_signs(on: &Fixture) {
    let (store, other) = (on.open().await, on.open().await);
    let erp = sink("erp");
    assert_eq!(store.sink_signs(&erp).await.unwrap(), SinkSigns::default(), "nothing was ever heard of it");
    store.register_sinks(std::slice::from_ref(&erp)).await.unwrap();
    let nothing = other.sink_signs(&erp).await.unwrap();
    assert_eq!(nothing, SinkSigns::default());

    let wakeup = store.wakeups().of(&erp);
    super::quiet(&wakeup).await;
    store.ask_sink_again(&erp).await.unwrap();
    woken(&wakeup).await;
    let asked = other.sink_signs(&erp).await.unwrap();
    assert_eq!(asked, SinkSigns { asked_again: 1, ..nothing });
    other.ask_sink_again(&erp).await.unwrap();
    other.ask_sink_again(&sink("never-registered")).await.unwrap();
    let twice = store.sink_signs(&erp).await.unwrap();
    assert_eq!((twice.asked_again, twice.last_success_at), (2, None));
    assert_eq!(store.sink_signs(&sink("never-registered")).await.unwrap().asked_again, 1);

    // A failure is no sign; a success is.
    let now = start();
    store.record_deliveries(&["a", "b"].map(event)).await.unwrap();
    let leases = claim(&*store, now).await;
    finish(&*store, &[rejected(&leases[0])], now).await;
    assert_eq!(other.sink_signs(&erp).await.unwrap(), twice);
    finish(&*store, &[delivered(&leases[1])], now).await;
    let succeeded = other.sink_signs(&erp).await.unwrap();
    assert!(succeeded.last_success_at.is_some() && succeeded.asked_again == 2, "{succeeded:?}");
}

pub(crate) async fn who_is_paused_is_told_without_counting(on: &Fixture) {
    let store = on.open().await;
    store.register_sinks(&["b", "a", "c"].map(sink)).await.unwrap();
    assert!(store.paused_sinks().await.unwrap().is_empty());
    for (name, reason) in [("b", "for the night"), ("a", "410")] {
        assert!(store.pause_sink(&sink(name), reason).await.unwrap());
    }
    let told = |paused: Vec<(String, finkare_relay::store::Paused)>| -> Vec<(String, String)> {
        paused.into_iter().map(|(name, paused)| (name, paused.reason)).collect()
    };
    let pairs = [("a".to_owned(), "410".to_owned()), ("b".to_owned(), "for the night".to_owned())];
    assert_eq!(told(store.paused_sinks().await.unwrap()), pairs);
    store.resume_sink(&sink("a")).await.unwrap();
    assert_eq!(told(store.paused_sinks().await.unwrap()), pairs[1..]);
}
