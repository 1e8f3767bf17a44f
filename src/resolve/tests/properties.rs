//! The resolver under any sequence of events.

use proptest::prelude::*;

use super::*;

/// The steps in a world of a few payments and events.
#[derive(Debug, Clone)]
enum Step {
    /// An event is attempted.
    Resolve(usize),
    /// A payment becomes visible.
    Show(usize),
    /// A payment's status changes.
    Status(usize, &'static str),
    /// A payment becomes invisible.
    Hide(usize),
}

fn step(payments: usize, events: usize) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..events).prop_map(Step::Resolve),
        2 => (0..payments).prop_map(Step::Show),
        2 => (0..payments, prop::sample::select(vec!["pending", "completed", "completed", "failed", "refunded", "odd"]))
            .prop_map(|(payment, status)| Step::Status(payment, status)),
        1 => (0..payments).prop_map(Step::Hide),
    ]
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Minutes within and beyond each other's window.
const TIMES: [u64; 6] = [0, 1, 2, 60 * 24 * 3, 60 * 24 * 9, 60 * 24 * 30];

proptest! {
    /// After any steps in any order: no payment has two events, and no event two payments. A payment was completed, had
    /// this amount and was within the window when it was taken, and no free visible payment was nearer to the event.
    #[test]
    fn nothing_is_doubled_or_mixed_up(
        minutes in prop::collection::vec((prop::sample::select(TIMES.to_vec()), 100i64..102), 6),
        events in prop::collection::vec((prop::sample::select(TIMES.to_vec()), 100i64..102), 6),
        steps in prop::collection::vec(step(6, 6), 1..60),
    ) {
        run(async {
            let world = world(vec![]);
            let mut all: Vec<finkare::Payment> = minutes.iter().enumerate().map(|(number, (minute, cents))| {
                finkare::Payment { amount_cents: *cents, ..payment(&format!("p{number}"), *minute, "pending") }
            }).collect();
            let messages: Vec<Message> = events.iter().map(|(minute, cents)| {
                with_body(&format!(r#"{{"invoiceId":"i","amountCents":{cents}}},"timestamp":"{}""#, at(*minute)))
            }).collect();
            let mut visible = [false; 6];
            let mut given: BTreeMap<EventId, String> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Show(payment) => visible[payment] = true,
                    Step::Hide(payment) => visible[payment] = false,
                    Step::Status(payment, status) => all[payment].status = status.into(),
                    Step::Resolve(event) => {
                        let message = &messages[event];
                        // Another process each time: another test covers the cache.
                        let result = resolver(&world.memory, &world.books).payment(message).await;
                        if let Ok(found) = &result {
                            prop_assert_eq!(found.amount_cents.0, events[event].1);
                            let before = given.get(&message.event_id);
                            prop_assert!(before.is_none_or(|id| *id == found.id), "an event keeps its payment");
                        }
                        let now = world.memory.given();
                        for (id, payment) in now.iter().filter(|(id, _)| !given.contains_key(id)) {
                            prop_assert_eq!(*id, message.event_id);
                            let seen = all.iter().find(|known| known.id == *payment).unwrap();
                            prop_assert_eq!(seen.amount_cents, events[event].1);
                            prop_assert_eq!(seen.status.as_str(), "completed");
                            prop_assert!(visible[all.iter().position(|known| known.id == *payment).unwrap()]);
                            let asked = PaidAt::At(at(events[event].0));
                            let distance = |payment: &finkare::Payment| payment.paid_at.unwrap().distance(asked);
                            prop_assert!(distance(seen) <= jiff::SignedDuration::from_hours(7 * 24));
                            for (other, _) in all.iter().zip(visible).filter(|(_, visible)| *visible) {
                                let is_free = !given.values().any(|id| *id == other.id);
                                prop_assert!(
                                    !is_free || other.amount_cents != seen.amount_cents || distance(other) >= distance(seen),
                                    "{:?} was nearer than {:?}", other, seen
                                );
                            }
                        }
                        for (id, payment) in &given {
                            prop_assert_eq!(now.get(id), Some(payment), "nothing is given away again");
                        }
                        given = now;
                    }
                }
                *world.books.payments.lock().unwrap() =
                    all.iter().zip(visible).filter(|(_, visible)| *visible).map(|(payment, _)| payment.clone()).collect();
                let ids: HashSet<&String> = given.values().collect();
                prop_assert_eq!(ids.len(), given.len(), "a payment has one event");
            }
            Ok(())
        })?;
    }

    /// Equal instalments find their own payments, in whatever order the payments become visible and completed and the
    /// events are attempted, as long as all events are young; payments that no event announces are left alone. (The
    /// times are chosen so that no payment lies exactly between two others; some are within each other's window, some
    /// are not.)
    #[test]
    fn equal_instalments_find_their_own(
        times in prop::collection::vec(0u32..10, 1..7),
        unannounced in prop::collection::vec(0u32..10, 0..3),
        order in any::<prop::sample::Index>(),
        shuffled in Just((0..9usize).collect::<Vec<_>>()).prop_shuffle(),
        looks in prop::collection::vec((0..6usize, any::<bool>(), any::<bool>()), 0..30),
    ) {
        run(async {
            let world = world(vec![]);
            let minute = |time: u32| 3u64.pow(time);
            // A bookkeeper cannot distinguish two payments with the same date, so either of them may be the event's.
            let unannounced = unannounced.iter().filter(|time| !times.contains(time));
            let all_times: Vec<u32> = times.iter().chain(unannounced).copied().collect();
            let payments: Vec<finkare::Payment> = all_times.iter().enumerate()
                .map(|(number, time)| payment(&format!("p{number}"), minute(*time), "completed")).collect();
            let events: Vec<Message> = times.iter().map(|time| event(minute(*time))).collect();
            world.memory.events.lock().unwrap().extend(events.iter().cloned());
            // A payment that no event announces is nearer to an event than its own payment only if its own payment is
            // visible and pending.
            for payment in &payments {
                let status = if payments.len() > times.len() { "pending" } else { "completed" };
                let shown = finkare::Payment { status: status.into(), ..payment.clone() };
                if status == "pending" {
                    world.books.payments.lock().unwrap().push(shown);
                }
            }
            let mut coming: VecDeque<usize> = shuffled.into_iter().filter(|number| *number < payments.len()).collect();
            let turn = order.index(coming.len());
            coming.rotate_left(turn);
            let show = |number: usize| {
                let mut shown = world.books.payments.lock().unwrap();
                shown.retain(|known| known.id != payments[number].id);
                shown.push(payments[number].clone());
            };
            for (number, shows, is_another_process) in looks {
                if shows && let Some(next) = coming.pop_front() {
                    show(next);
                }
                if let Some(event) = events.get(number) {
                    let another = is_another_process.then(|| resolver(&world.memory, &world.books));
                    let _early = another.as_ref().unwrap_or(&world.resolver).payment(event).await;
                }
            }
            for next in coming {
                show(next);
            }
            for _ in &events {
                for event in &events {
                    let _early = world.resolver.payment(event).await;
                }
            }
            let given = world.memory.given();
            prop_assert_eq!(given.len(), events.len(), "every event has one: {:?}", given);
            prop_assert_eq!(given.values().collect::<HashSet<_>>().len(), events.len());
            for (event, time) in events.iter().zip(&times) {
                let number = payments.iter().position(|payment| payment.id == given[&event.event_id]).unwrap();
                prop_assert_eq!(all_times[number], *time, "it is the event's own: {:?}", given);
            }
            Ok(())
        })?;
    }
}
