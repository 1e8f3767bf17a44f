//! In order per invoice: the next waits until the earlier one is delivered or given up.

use super::{
    Claim, DispatchId, LEASE, LeasedDispatch, NewEvent, Next, Order, Outcome, State, Store, attempt, claim, claim_of,
    claim_one, delivered, dispatch, event, finish, held, keys, of_invoice, quiet, rejected, retried, secs, sink, start,
    woken,
};
use crate::store::Fixture;

/// Two events of one invoice, of which the first is claimed.
async fn first_of_two(store: &dyn Store) -> LeasedDispatch {
    store.record_deliveries(&[of_invoice("i1", "a"), of_invoice("i1", "b")]).await.unwrap();
    let first = claim_one(store, start()).await;
    assert_eq!(keys(std::slice::from_ref(&first)), ["a"]);
    first
}

pub(crate) async fn the_next_of_an_invoice_waits(on: &Fixture) {
    let store = on.open().await;
    let first = first_of_two(&*store).await;
    let now = start();
    assert!(claim(&*store, now).await.is_empty());
    let second = dispatch(&*store, DispatchId(first.id.0 + 1)).await;
    assert_eq!((second.state, second.waits_for), (State::Pending, Some(first.id)), "one can see what it waits for");
    // While the first one is tried again and again, the second stays, however late it is.
    finish(&*store, &[retried(&first, secs(5000))], now).await;
    assert!(claim(&*store, now + secs(4999)).await.is_empty());
    assert_eq!(keys(&claim(&*store, now + secs(5000)).await), ["a"]);
}

pub(crate) async fn the_next_goes_at_once_after_each_end(on: &Fixture) {
    let store = on.open().await;
    let erp = store.wakeups().of(&sink("erp"));
    let now = start();
    let batch: Vec<NewEvent> = (0..5).map(|i| of_invoice("i1", &i.to_string())).collect();
    store.record_deliveries(&batch).await.unwrap();
    for i in 0..4 {
        let lease = claim_one(&*store, now).await;
        assert_eq!(keys(std::slice::from_ref(&lease)), [i.to_string()]);
        assert!(claim(&*store, now).await.is_empty());
        quiet(&erp).await;
        match i {
            0 => finish(&*store, &[delivered(&lease)], now).await,
            1 => finish(&*store, &[rejected(&lease)], now).await,
            2 => {
                let gave_up = Outcome::Retry { reason: "too long".into(), after: None };
                finish(&*store, &[attempt(&lease, gave_up, Next::Dead)], now).await;
            }
            _ => {
                finish(&*store, &[held(&lease, None)], now).await;
                assert!(claim(&*store, now).await.is_empty(), "a held one blocks");
                assert_eq!(store.cancel_dispatches(&[lease.id]).await.unwrap(), 1);
            }
        }
        woken(&erp).await;
    }
    let last = claim_one(&*store, now).await;
    assert_eq!(keys(std::slice::from_ref(&last)), ["4"]);
    assert_eq!(dispatch(&*store, last.id).await.waits_for, None);
}

pub(crate) async fn two_of_one_invoice_are_never_claimed_together(on: &Fixture) {
    let store = on.open().await;
    let invoices = ["i1", "i2", "i1", "i1", "i2", "i3"];
    let batch: Vec<NewEvent> =
        invoices.iter().enumerate().map(|(i, invoice)| of_invoice(invoice, &i.to_string())).collect();
    store.record_deliveries(&batch).await.unwrap();
    let now = start();
    let mut rounds = Vec::new();
    loop {
        let claimed = claim(&*store, now).await;
        if claimed.is_empty() {
            break;
        }
        rounds.push(keys(&claimed));
        let attempts: Vec<_> = claimed.iter().map(delivered).collect();
        finish(&*store, &attempts, now).await;
    }
    assert_eq!(rounds, [vec!["0", "1", "5"], vec!["2", "4"], vec!["3"]]);
}

pub(crate) async fn held_and_waiting_ones_block(on: &Fixture) {
    let store = on.open().await;
    let first = first_of_two(&*store).await;
    let now = start();
    assert!(claim(&*store, now).await.is_empty());
    finish(&*store, &[held(&first, Some(secs(600)))], now).await;
    assert!(claim(&*store, now + secs(599)).await.is_empty());
    // It is looked at again, and still nothing else of the invoice goes.
    let again = claim_one(&*store, now + secs(600)).await;
    assert_eq!(again.id, first.id);
    // Its lease runs out: it is the first one that comes back, not the second.
    let late = now + secs(600) + LEASE;
    let again = claim_one(&*store, late).await;
    assert_eq!(again.id, first.id);
    assert_eq!(store.give_back(&[(again.id, again.token)]).await.unwrap(), 1);
    assert_eq!(claim_one(&*store, late).await.id, first.id);
}

pub(crate) async fn other_invoices_and_sinks_do_not_wait(on: &Fixture) {
    let store = on.open().await;
    let first = first_of_two(&*store).await;
    let both =
        |invoice: &str, key: &str| NewEvent { sinks: vec![sink("erp"), sink("mail")], ..of_invoice(invoice, key) };
    let none = |key: &str| NewEvent { sinks: vec![sink("erp")], ..event(key) };
    store.record_deliveries(&[both("i1", "c"), both("i2", "d"), none("e"), none("f")]).await.unwrap();
    let now = start();
    assert_eq!(keys(&claim(&*store, now).await), ["d", "e", "f"], "events without an invoice wait for nobody");
    assert_eq!(keys(&claim_of(&*store, "mail", 10, now).await.dispatches), ["c", "d"]);
    finish(&*store, &[delivered(&first)], now).await;
    assert_eq!(keys(&claim(&*store, now).await), ["b"]);
}

pub(crate) async fn order_none_ignores_invoices(on: &Fixture) {
    let store = on.open().await;
    first_of_two(&*store).await;
    store.record_deliveries(&[of_invoice("i1", "c")]).await.unwrap();
    let now = start();
    // Set aside by a claim that kept the order, and taken later by one that does not.
    assert!(claim(&*store, now).await.is_empty());
    let erp = sink("erp");
    let any = Claim {
        sink: &erp,
        order: Order::None,
        limit: 10,
        lease: LEASE,
        longest_wait: std::time::Duration::MAX,
        now: Some(now + secs(61)),
    };
    let claimed = store.claim_due(any).await.unwrap().dispatches;
    assert_eq!(keys(&claimed), ["a", "b", "c"], "also the first one, whose lease has run out");
    assert_eq!(dispatch(&*store, claimed[1].id).await.waits_for, None);
    let attempts: Vec<_> = claimed.iter().rev().map(delivered).collect();
    finish(&*store, &attempts, now + secs(62)).await;
}

pub(crate) async fn a_dead_one_retried_goes_before_later_ones(on: &Fixture) {
    let store = on.open().await;
    let first = first_of_two(&*store).await;
    store.record_deliveries(&[of_invoice("i1", "c")]).await.unwrap();
    let now = start();
    finish(&*store, &[rejected(&first)], now).await;
    let second = claim_one(&*store, now).await;
    assert_eq!(store.retry_dispatches(&[first.id]).await.unwrap(), 1);
    // The second is under way already; it is the first that goes after it, not the third.
    assert!(claim(&*store, now).await.is_empty());
    finish(&*store, &[delivered(&second)], now).await;
    let again = claim_one(&*store, now).await;
    assert_eq!((again.id, again.attempts, again.age), (first.id, 1, secs(0)));
    assert!(claim(&*store, now).await.is_empty());
    finish(&*store, &[delivered(&again)], now).await;
    assert_eq!(keys(&claim(&*store, now).await), ["c"]);
}

pub(crate) async fn an_expired_lease_keeps_its_place(on: &Fixture) {
    let store = on.open().await;
    let first = first_of_two(&*store).await;
    let now = start();
    finish(&*store, &[rejected(&first)], now).await;
    let second = claim_one(&*store, now).await;
    assert_eq!(store.retry_dispatches(&[first.id]).await.unwrap(), 1);
    // The second one's worker dies: whatever it has sent comes before the first one's new try.
    let end = now + LEASE;
    let again = claim_one(&*store, end).await;
    assert_eq!(again.id, second.id);
    let waiting = dispatch(&*store, first.id).await;
    assert_eq!((waiting.state, waiting.waits_for), (State::Pending, Some(second.id)));
    let late = store.finish_attempts(&[delivered(&second)], Some(end)).await.unwrap();
    assert_eq!(late, [super::Finish::LeaseLost]);
    finish(&*store, &[delivered(&again)], end).await;
    assert_eq!(claim_one(&*store, end).await.id, first.id);
}

pub(crate) async fn an_expired_lease_that_has_to_wait_is_pending(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[of_invoice("i1", "a"), of_invoice("i1", "b")]).await.unwrap();
    // Both at once, by a worker without an order; then the sink gets one, and that worker dies.
    let erp = sink("erp");
    let longest_wait = std::time::Duration::MAX;
    let any = Claim { sink: &erp, order: Order::None, limit: 10, lease: LEASE, longest_wait, now: Some(start()) };
    let both = store.claim_due(any).await.unwrap().dispatches;
    assert_eq!(keys(&both), ["a", "b"]);
    let end = start() + LEASE;
    let first = claim_one(&*store, end).await;
    assert_eq!(first.id, both[0].id);
    let waiting = dispatch(&*store, both[1].id).await;
    assert_eq!((waiting.state, waiting.waits_for), (State::Pending, Some(first.id)));
    let late = store.finish_attempts(&[delivered(&both[1])], Some(end)).await.unwrap();
    assert_eq!(late, [super::Finish::LeaseLost]);
    finish(&*store, &[delivered(&first)], end).await;
    assert_eq!(claim_one(&*store, end).await.id, both[1].id);
}

pub(crate) async fn a_long_queue_does_not_hide_others(on: &Fixture) {
    let store = on.open().await;
    let first = first_of_two(&*store).await;
    let queue: Vec<NewEvent> = (0..700).map(|i| of_invoice("i1", &format!("behind {i}"))).collect();
    store.record_deliveries(&queue).await.unwrap();
    store.record_deliveries(&[of_invoice("i2", "other")]).await.unwrap();
    let now = start();
    let mut found = Vec::new();
    for _ in 0..200 {
        let claimed = claim_of(&*store, "erp", 1, now).await;
        found = claimed.dispatches;
        if !found.is_empty() {
            break;
        }
        assert_eq!(claimed.next_due_in, Some(secs(0)), "more is due behind those that wait");
    }
    assert_eq!(keys(&found), ["other"]);
    // Those that wait are not looked at by every claim: the next ones find nothing due for a while.
    let next = claim_of(&*store, "erp", 1, now).await.next_due_in;
    assert!(next.is_some_and(|wait| wait >= secs(30)), "{next:?}");
    finish(&*store, &[delivered(&first)], now).await;
    assert_eq!(keys(&claim(&*store, now).await), ["b"]);
}

/// A sink with one slot claims one at a time; the oldest one that is due is not always one of the same invoice.
pub(crate) async fn one_invoices_backlog_lets_others_have_their_turn(on: &Fixture) {
    let store = on.open().await;
    let mut batch: Vec<NewEvent> = (0..40).map(|i| of_invoice("busy", &i.to_string())).collect();
    batch.extend(["x", "y", "z"].map(|key| of_invoice(key, key)));
    store.record_deliveries(&batch).await.unwrap();
    let (mut now, mut order) = (start(), Vec::new());
    while order.len() < batch.len() {
        now += secs(1);
        let claimed = claim_of(&*store, "erp", 1, now).await.dispatches;
        // What it moved out of the way may be all that it found; then it is asked again.
        let [one] = claimed.as_slice() else { continue };
        order.extend(keys(&claimed));
        finish(&*store, &[delivered(one)], now).await;
    }
    let is_busy = |key: &&String| key.parse::<u32>().is_ok();
    let busy: Vec<_> = order.iter().filter(is_busy).cloned().collect();
    assert_eq!(busy, (0..40).map(|i| i.to_string()).collect::<Vec<_>>(), "in order");
    let last_other = order.iter().rposition(|key| !is_busy(&key)).unwrap();
    assert!(last_other < 10, "the others wait for the busy one: {order:?}");
}
