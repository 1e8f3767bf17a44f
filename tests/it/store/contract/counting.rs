//! How much was received and delivered in each hour.

use finkare_relay::{
    model::traffic::{KEPT, Line, What, hour_of},
    store::traffic::Batch,
};
use jiff::Timestamp;
use uuid::Uuid;

use super::{Claim, Duration, Order, Store, all_dispatches, clock, event, secs, sink, start};
use crate::store::Fixture;

fn line(hour: Timestamp, what: What, name: &str, count: u64) -> Line {
    Line { hour, what, name: name.to_owned(), count }
}

fn batch(writer: u128, number: i64, lines: Vec<Line>) -> Batch {
    Batch { writer: Uuid::from_u128(writer), number, lines }
}

/// The running hour; asked for once in each case, which may still run in the next one.
fn this_hour() -> Timestamp {
    hour_of(clock::now())
}

async fn all(store: &dyn Store, hour: Timestamp) -> Vec<Line> {
    store.traffic(hour - KEPT, hour).await.unwrap()
}

pub(crate) async fn processes_add_to_the_same_counts(on: &Fixture) {
    let (store, other) = (on.open().await, on.open().await);
    let hour = this_hour();
    let before = hour - secs(3600);
    let lines = vec![
        line(hour, What::Accepted, "main", 2),
        line(before, What::Accepted, "main", 1),
        line(hour, What::Delivered, "main", 7),
        line(hour, What::Ack(2), "", 2),
    ];
    assert!(store.add_traffic(&batch(1, 1, lines)).await.unwrap());
    assert!(other.add_traffic(&batch(2, 1, vec![line(hour, What::Accepted, "main", 40)])).await.unwrap());
    assert!(store.add_traffic(&batch(1, 2, vec![line(hour, What::Ack(2), "", 1)])).await.unwrap());
    let expected = [
        line(before, What::Accepted, "main", 1),
        line(hour, What::Accepted, "main", 42),
        line(hour, What::Ack(2), "", 3),
        line(hour, What::Delivered, "main", 7),
    ];
    assert_eq!(all(&*store, hour).await, expected);
    assert_eq!(store.traffic(hour, hour).await.unwrap(), expected[1..]);
    assert_eq!(store.traffic(before, before).await.unwrap(), expected[..1]);
    // What a later version counts is not ours to show.
    on.execute("UPDATE traffic SET what = 'something new' WHERE what = 'delivered'").await;
    assert_eq!(all(&*store, hour).await, expected[..3]);
}

pub(crate) async fn a_batch_is_added_once_however_often_it_is_sent(on: &Fixture) {
    let (store, other) = (on.open().await, on.open().await);
    let hour = this_hour();
    let first = batch(1, 1, vec![line(hour, What::Refused, "main", 5)]);
    let second = batch(1, 2, vec![line(hour, What::Refused, "main", 10)]);
    assert!(store.add_traffic(&first).await.unwrap());
    assert!(!other.add_traffic(&first).await.unwrap());
    assert!(store.add_traffic(&second).await.unwrap());
    assert!(!store.add_traffic(&first).await.unwrap() && !store.add_traffic(&second).await.unwrap());
    assert_eq!(all(&*store, hour).await, [line(hour, What::Refused, "main", 15)]);
    // Many at once: each process's batch once.
    let send = (0..12).map(|at| {
        let (store, batch) = (store.clone(), batch(7 + at % 3, 1, vec![line(hour, What::Refused, "main", 100)]));
        tokio::spawn(async move { store.add_traffic(&batch).await.unwrap() })
    });
    let sent: Vec<_> = send.collect();
    let mut added = 0;
    for one in sent {
        added += usize::from(one.await.unwrap());
    }
    assert_eq!((added, all(&*store, hour).await), (3, vec![line(hour, What::Refused, "main", 315)]));
}

pub(crate) async fn the_largest_backlog_of_an_hour_is_kept(on: &Fixture) {
    let (store, hour) = (on.open().await, this_hour());
    store.register_sinks(&[sink("erp"), sink("idle")]).await.unwrap();
    let backlog = async |erp: u64| {
        let known = all(&*store, hour).await;
        assert_eq!(known, [line(hour, What::Backlog, "erp", erp), line(hour, What::Backlog, "idle", 0)]);
    };
    store.sample_backlog(hour).await.unwrap();
    backlog(0).await;
    store.record_deliveries(&[event("1"), event("2"), event("3")]).await.unwrap();
    store.sample_backlog(hour).await.unwrap();
    backlog(3).await;
    // One under way counts like one that waits.
    let erp = sink("erp");
    let leased = store.claim_due(Claim {
        sink: &erp,
        order: Order::Invoice,
        limit: 1,
        lease: secs(60),
        longest_wait: Duration::MAX,
        now: Some(start()),
    });
    assert_eq!(leased.await.unwrap().dispatches.len(), 1);
    store.sample_backlog(hour).await.unwrap();
    backlog(3).await;
    let waiting: Vec<_> = all_dispatches(&*store).await.iter().map(|dispatch| dispatch.id).collect();
    assert_eq!(store.cancel_dispatches(&waiting).await.unwrap(), 2);
    store.sample_backlog(hour).await.unwrap();
    backlog(3).await;
    // The next hour begins with what is there then.
    store.sample_backlog(hour - secs(3600)).await.unwrap();
    let earlier = store.traffic(hour - secs(3600), hour - secs(3600)).await.unwrap();
    assert_eq!(earlier[0], line(hour - secs(3600), What::Backlog, "erp", 1));
}

pub(crate) async fn old_counts_are_deleted(on: &Fixture) {
    let store = on.open().await;
    let hour = this_hour();
    let kept = [hour - KEPT + secs(7200), hour, hour + secs(3600)];
    let lines = [kept[0], kept[1], kept[2], hour - KEPT - secs(7200), hour + KEPT + secs(7200)]
        .map(|hour| line(hour, What::Accepted, "main", 1));
    assert!(store.add_traffic(&batch(1, 1, lines.to_vec())).await.unwrap());
    assert!(store.add_traffic(&batch(2, 1, Vec::new())).await.unwrap());
    assert_eq!(store.purge_traffic().await.unwrap(), 2);
    assert_eq!(store.purge_traffic().await.unwrap(), 0);
    let everything = store.traffic(hour - 2 * KEPT, hour + 2 * KEPT).await.unwrap();
    assert_eq!(everything.iter().map(|line| line.hour).collect::<Vec<_>>(), kept);
    // A process that has not written for as long is forgotten, and only that one.
    let nine_days = 9 * 86_400 * 1_000_000_i64;
    on.execute(&format!(
        "UPDATE traffic_writers SET written_at = written_at - {nine_days} WHERE writer IN (SELECT writer FROM traffic_writers ORDER BY writer LIMIT 1)"
    ))
    .await;
    store.purge_traffic().await.unwrap();
    on.execute("UPDATE traffic_writers SET batch = 5").await;
    assert!(store.add_traffic(&batch(1, 1, Vec::new())).await.unwrap(), "forgotten");
    assert!(!store.add_traffic(&batch(2, 2, Vec::new())).await.unwrap(), "known");
}
