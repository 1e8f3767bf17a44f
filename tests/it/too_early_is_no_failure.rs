//! A sink that answers "too early" works: it is retried when it asks for that, is never tripped because of it, and its
//! event is never given up.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use finkare_relay::{
    dispatch::{self, Feeding, SinkView},
    handover::Handover,
    lifecycle::Lifecycle,
    model::{
        clock,
        dispatch::{Order, Outcome, RetryPolicy, State},
        event::{DedupeKey, NewEvent},
        id::{EndpointName, EventId, SinkName},
    },
    pressure::Pressure,
    sinks::{Message, Sink},
    store::{BaseStore as _, DispatchFilter, Store, sqlite::SqliteStore},
    telemetry::Metrics,
};

use crate::support::eventually;

/// The number of times that it waits before it accepts an event.
const WAITS: u32 = 20;

#[derive(Debug)]
struct Early {
    asked: AtomicU32,
    view: SinkView,
    was_tripped: Mutex<Vec<bool>>,
}

#[async_trait::async_trait]
impl Sink for Early {
    async fn deliver(&self, _: &Message) -> Outcome {
        self.was_tripped.lock().unwrap().push(self.view.is_tripped());
        if self.asked.fetch_add(1, Relaxed) < WAITS {
            return Outcome::Wait { reason: "the payment is still pending".into(), after: Duration::ZERO };
        }
        Outcome::Delivered
    }

    async fn check(&self) -> Result<String, String> {
        Ok("ready".into())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_trips_no_breaker_and_is_never_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("relay.db")).await.unwrap();
    store.migrate().await.unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let name = SinkName::new("compta").unwrap();
    let event = NewEvent {
        id: EventId::generate(),
        endpoint: EndpointName::new("main").unwrap(),
        dedupe_key: DedupeKey::of_message(b"a"),
        event_type: "payment.received".into(),
        invoice_id: Some("i1".into()),
        occurred_at: None,
        received_at: clock::now(),
        readable: true,
        content_type: None,
        payload: b"{}".to_vec().into(),
        sinks: vec![name.clone()],
    };
    store.record_deliveries(std::slice::from_ref(&event)).await.unwrap();

    let feeding = Feeding {
        name: name.clone(),
        kind: "test",
        order: Order::Invoice,
        concurrency: NonZeroU32::MIN,
        timeout: Duration::from_secs(30),
        rate: None,
        // A failure would be the last attempt, and would trip the sink for longer than this test waits.
        retry: RetryPolicy { initial: Duration::ZERO, max: Duration::ZERO, give_up_after: Duration::ZERO },
        breaker: (NonZeroU32::MIN, Duration::from_hours(1)),
    };
    let view = SinkView::new(name, "test");
    let sink = Arc::new(Early { asked: AtomicU32::new(0), view: view.clone(), was_tripped: Mutex::default() });
    let lifecycle = Lifecycle::new();
    let metrics = Metrics::new();
    let (pressure, handover) = (Pressure::default(), Handover::default());
    dispatch::start(&store, vec![(feeding, sink.clone(), view.clone())], &metrics, &pressure, &handover, &lifecycle);
    eventually("the event is delivered at last", async || {
        let page = store.list_dispatches(&DispatchFilter::default(), 10).await.unwrap();
        assert_ne!(page.rows[0].state, State::Dead, "{page:?}");
        page.rows[0].state == State::Delivered
    })
    .await;
    assert_eq!(sink.asked.load(Relaxed), WAITS + 1);
    assert!(!view.is_tripped() && !sink.was_tripped.lock().unwrap().contains(&true));
    assert!(lifecycle.stop(Duration::from_secs(30)).await);
}
