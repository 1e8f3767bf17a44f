//! An attempt ends: once, under its own lease, with everything that follows from it.

use std::time::Duration;

use finkare_relay::model::dispatch::{RetryPolicy, after_attempt};

use super::{
    Finish, FinishedAttempt, LeasedDispatch, NewEvent, Next, Outcome, State, attempt, claim, claim_of, claim_one,
    clock, delivered, dispatch, event, finish, held, rejected, retried, secs, sink, start, state, status, waiting,
    woken,
};
use crate::store::Fixture;

pub(crate) async fn each_answer_leads_to_its_state(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&["a", "b", "c", "d", "e"].map(event)).await.unwrap();
    let now = clock::from_micros(clock::to_micros(start())).unwrap();
    let leases = claim(&*store, now).await;
    let end = now + secs(1);
    let answers = [
        delivered(&leases[0]),
        retried(&leases[1], secs(30)),
        rejected(&leases[2]),
        held(&leases[3], None),
        held(&leases[4], Some(secs(600))),
    ];
    finish(&*store, &answers, end).await;
    let expected = [
        (State::Delivered, None, Some(end), None),
        (State::Pending, Some(end + secs(30)), None, Some("503 from the target")),
        (State::Dead, None, Some(end), Some("400 from the target")),
        (State::Held, None, None, Some("look at it")),
        (State::Held, Some(end + secs(600)), None, Some("look at it")),
    ];
    let words = ["delivered", "retry", "rejected", "hold", "hold"];
    for ((answer, (state, next_attempt_at, finished_at, error)), word) in answers.iter().zip(expected).zip(words) {
        let (stored, attempts) = store.dispatch(answer.id).await.unwrap().unwrap();
        assert_eq!((stored.state, stored.next_attempt_at, stored.finished_at), (state, next_attempt_at, finished_at));
        assert_eq!((stored.last_error.as_deref(), stored.attempts), (error, 1));
        let [attempt] = &attempts[..] else { panic!("one attempt") };
        assert_eq!((attempt.number, attempt.started_at, attempt.duration), (1, answer.started_at, answer.duration));
        assert_eq!((attempt.outcome.as_str(), attempt.error.as_deref()), (word, error));
    }
    // What went wrong before is still told after it has gone well.
    let again = claim_one(&*store, end + secs(30)).await;
    finish(&*store, &[delivered(&again)], end + secs(31)).await;
    let (stored, attempts) = store.dispatch(again.id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.last_error.as_deref()), (State::Delivered, Some("503 from the target")));
    assert_eq!(attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2]);
}

pub(crate) async fn an_old_token_changes_nothing(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[event("a")]).await.unwrap();
    let now = start();
    let old = claim_one(&*store, now).await;
    let new = claim_one(&*store, now + secs(100)).await;
    let before = format!("{:?}{:?}", store.event(old.event_id).await.unwrap(), store.sink_statuses().await.unwrap());
    let gone = Outcome::Stop { reason: "410".into() };
    let waits = Next::Pending { after: Duration::ZERO };
    for late in [delivered(&old), retried(&old, Duration::ZERO), attempt(&old, gone, waits)] {
        assert_eq!(store.finish_attempts(&[late], Some(now + secs(101))).await.unwrap(), [Finish::LeaseLost]);
    }
    let after = format!("{:?}{:?}", store.event(old.event_id).await.unwrap(), store.sink_statuses().await.unwrap());
    assert_eq!(before, after);
    finish(&*store, &[delivered(&new)], now + secs(102)).await;
    assert_eq!(store.dispatch(new.id).await.unwrap().unwrap().1.len(), 1);
}

pub(crate) async fn finished_once_however_often_sent(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[event("a"), event("b")]).await.unwrap();
    let now = start();
    let leases = claim(&*store, now).await;
    let twice = [delivered(&leases[0]), delivered(&leases[0])];
    assert_eq!(store.finish_attempts(&twice, Some(now)).await.unwrap(), [Finish::Recorded, Finish::LeaseLost]);
    assert_eq!(store.finish_attempts(&twice[..1], Some(now)).await.unwrap(), [Finish::LeaseLost]);
    // A retry that is sent again is not a second attempt either.
    let again = [retried(&leases[1], Duration::ZERO)];
    finish(&*store, &again, now).await;
    assert_eq!(store.finish_attempts(&again, Some(now)).await.unwrap(), [Finish::LeaseLost]);
    for lease in &leases {
        let (stored, attempts) = store.dispatch(lease.id).await.unwrap().unwrap();
        assert_eq!((stored.attempts, attempts.len()), (1, 1));
    }
    assert_eq!(status(&*store, "erp").await.delivered, 1);
}

pub(crate) async fn the_answers_follow_the_batch(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&["a", "b", "c"].map(event)).await.unwrap();
    let now = start();
    let old = claim(&*store, now).await;
    let new = claim(&*store, now + secs(100)).await;
    // Old and new leases of the same dispatches, mixed, in one batch.
    let batch = [delivered(&new[2]), delivered(&old[0]), rejected(&new[0]), delivered(&old[1]), delivered(&old[2])];
    let answers = store.finish_attempts(&batch, Some(now + secs(101))).await.unwrap();
    assert_eq!(answers, [Finish::Recorded, Finish::LeaseLost, Finish::Recorded, Finish::LeaseLost, Finish::LeaseLost]);
    assert_eq!(state(&*store, new[0].id).await, State::Dead);
    assert_eq!(state(&*store, new[1].id).await, State::Leased);
    assert_eq!(state(&*store, new[2].id).await, State::Delivered);
    assert!(store.finish_attempts(&[], Some(now)).await.unwrap().is_empty());
}

pub(crate) async fn a_retry_at_once_wakes_the_sink(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[event("a")]).await.unwrap();
    let erp = store.wakeups().of(&sink("erp"));
    let now = start();
    let lease = claim_one(&*store, now).await;
    super::quiet(&erp).await;
    finish(&*store, &[retried(&lease, Duration::ZERO)], now).await;
    woken(&erp).await;
    assert_eq!(claim_one(&*store, now).await.id, lease.id);
}

pub(crate) async fn a_held_one_is_looked_at_again(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[event("a"), event("b")]).await.unwrap();
    let now = start();
    let leases = claim(&*store, now).await;
    finish(&*store, &[held(&leases[0], Some(secs(600))), held(&leases[1], None)], now).await;
    assert!(claim(&*store, now + secs(599)).await.is_empty());
    let far = now + secs(10_000_000);
    let again = claim_one(&*store, far).await;
    assert_eq!((again.id, again.attempts), (leases[0].id, 1), "without a time only a person can go on");
    finish(&*store, &[held(&again, None)], far).await;
    assert_eq!(claim_of(&*store, "erp", 10, far).await.next_due_in, None);
    // Later than any calendar: it is just never due.
    assert_eq!(store.retry_dispatches(&[again.id]).await.unwrap(), 1);
    let again = claim_one(&*store, far).await;
    finish(&*store, &[held(&again, Some(Duration::MAX))], far).await;
    assert!(dispatch(&*store, again.id).await.next_attempt_at.is_some_and(|at| at > far + secs(3_000_000_000)));
}

pub(crate) async fn a_target_that_wants_no_more_pauses_its_sink(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&["a", "b", "c"].map(event)).await.unwrap();
    let now = start();
    let leases = claim_of(&*store, "erp", 2, now).await.dispatches;
    let gone = |lease, reason: &str| {
        attempt(lease, Outcome::Stop { reason: reason.into() }, Next::Pending { after: Duration::ZERO })
    };
    finish(&*store, &[gone(&leases[0], "410 Gone")], now).await;
    assert!(claim_of(&*store, "erp", 10, now).await.paused);
    finish(&*store, &[gone(&leases[1], "410 again")], now + secs(5)).await;
    let paused = status(&*store, "erp").await.paused.expect("the sink is paused");
    assert_eq!(paused.reason, "410 Gone", "the first reason stays");
    assert_eq!(paused.at.as_microsecond(), now.as_microsecond());
    let counted = status(&*store, "erp").await;
    assert_eq!((counted.pending, counted.dead), (3, 0), "those that met it wait with the rest");
    let (stored, attempts) = store.dispatch(leases[0].id).await.unwrap().unwrap();
    assert_eq!((stored.last_error.as_deref(), attempts[0].outcome.as_str()), (Some("410 Gone"), "retry"));
    // It is written down: a second store sees it, and one that is opened later.
    assert!(claim_of(&*on.open().await, "erp", 10, now).await.paused);
    store.close().await;
    let reopened = on.open().await;
    assert!(claim_of(&*reopened, "erp", 10, now).await.paused);
    assert!(reopened.resume_sink(&sink("erp")).await.unwrap());
    assert_eq!(claim_of(&*reopened, "erp", 10, now + secs(5)).await.dispatches.len(), 3);
}

pub(crate) async fn a_large_batch_is_whole(on: &Fixture) {
    let store = on.open().await;
    let batch: Vec<NewEvent> = (0..389).map(|i| event(&i.to_string())).collect();
    store.record_deliveries(&batch).await.unwrap();
    let now = start();
    let leases = claim(&*store, now).await;
    assert_eq!(leases.len(), 389);
    let attempts: Vec<FinishedAttempt> = leases.iter().map(delivered).collect();
    finish(&*store, &attempts, now).await;
    for lease in &leases {
        let (stored, attempts) = store.dispatch(lease.id).await.unwrap().unwrap();
        assert_eq!((stored.state, attempts.len()), (State::Delivered, 1));
    }
    assert_eq!(status(&*store, "erp").await.delivered, 389);
}

const DAY: Duration = Duration::from_hours(24);
const POLICY: RetryPolicy = RetryPolicy { initial: DAY, max: DAY, give_up_after: Duration::from_hours(72) };

/// What an attempt comes to that is no failure.
type Patient = fn(&LeasedDispatch) -> FinishedAttempt;

/// What the service would make of a 503 at this claim.
fn answered_503(lease: &LeasedDispatch) -> FinishedAttempt {
    let outcome = Outcome::Retry { reason: "503".into(), after: None };
    let next = after_attempt(&outcome, lease.attempts + 1, lease.age, &POLICY, 0.5);
    attempt(lease, outcome, next)
}

pub(crate) async fn what_was_looked_at_for_weeks_does_not_die_of_one_bad_answer(on: &Fixture) {
    let store = on.open().await;
    let patient: [Patient; 2] = [|lease| held(lease, Some(DAY)), |lease| waiting(lease, DAY)];
    for (key, finished) in ["held", "waiting"].into_iter().zip(patient) {
        store.record_deliveries(&[event(key)]).await.unwrap();
        let mut now = start();
        for _ in 0..30 {
            let lease = claim_one(&*store, now).await;
            assert_eq!(lease.age, Duration::ZERO, "{key}: the clock began anew");
            finish(&*store, &[finished(&lease)], now).await;
            now += DAY;
        }
        let lease = claim_one(&*store, now).await;
        finish(&*store, &[answered_503(&lease)], now).await;
        assert_eq!(state(&*store, lease.id).await, State::Pending, "{key}");
        // From there on it ages as ever.
        for _ in 0..2 {
            now += DAY;
            let lease = claim_one(&*store, now).await;
            finish(&*store, &[answered_503(&lease)], now).await;
            assert_eq!(state(&*store, lease.id).await, State::Pending, "{key}");
        }
        now += DAY;
        let lease = claim_one(&*store, now).await;
        assert_eq!(lease.age, 3 * DAY, "{key}: from the first failure on");
        finish(&*store, &[answered_503(&lease)], now).await;
        assert_eq!(state(&*store, lease.id).await, State::Dead, "{key}");
    }
}

pub(crate) async fn failures_alone_add_up(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[event("a")]).await.unwrap();
    let mut now = start();
    for days in 0..3 {
        let lease = claim_one(&*store, now).await;
        assert_eq!(lease.age, days * DAY);
        finish(&*store, &[retried(&lease, DAY)], now).await;
        now += DAY;
    }
    // A pause by the target is no failure either: what met it begins anew after the resume.
    let lease = claim_one(&*store, now).await;
    let gone = attempt(&lease, Outcome::Stop { reason: "410".into() }, Next::Pending { after: Duration::ZERO });
    finish(&*store, &[gone], now).await;
    store.resume_sink(&sink("erp")).await.unwrap();
    assert_eq!(claim_one(&*store, now + 30 * DAY).await.age, Duration::ZERO);
}

pub(crate) async fn an_unused_lease_begins_no_age(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[event("a")]).await.unwrap();
    let now = start();
    let lease = claim_one(&*store, now).await;
    finish(&*store, &[held(&lease, Some(DAY))], now).await;
    // Claimed, and given back by a shutdown: the service comes back after a long time.
    let unused = claim_one(&*store, now + DAY).await;
    assert_eq!(store.give_back(&[(unused.id, unused.token)]).await.unwrap(), 1);
    let after = claim_one(&*store, now + 30 * DAY).await;
    assert_eq!((after.age, after.attempts), (Duration::ZERO, 1));
    // What has failed since keeps its age.
    finish(&*store, &[retried(&after, DAY)], now + 30 * DAY).await;
    let unused = claim_one(&*store, now + 31 * DAY).await;
    store.give_back(&[(unused.id, unused.token)]).await.unwrap();
    let again = claim_one(&*store, now + 32 * DAY).await;
    assert_eq!(again.age, 2 * DAY);
    // A person's retry begins anew as well, and an unused lease does not change that.
    finish(&*store, &[rejected(&again)], now + 32 * DAY).await;
    assert_eq!(store.retry_dispatches(&[again.id]).await.unwrap(), 1);
    let unused = claim_one(&*store, now + 33 * DAY).await;
    assert_eq!(unused.age, Duration::ZERO);
    store.give_back(&[(unused.id, unused.token)]).await.unwrap();
    assert_eq!(claim_one(&*store, now + 60 * DAY).await.age, Duration::ZERO);
}

pub(crate) async fn waiting_is_no_error_of_the_sink(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&["a", "b"].map(event)).await.unwrap();
    let now = start();
    let leases = claim(&*store, now).await;
    finish(&*store, &[waiting(&leases[0], secs(60))], now).await;
    assert_eq!(status(&*store, "erp").await.last_error, None);
    let (stored, attempts) = store.dispatch(leases[0].id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.next_attempt_at.is_some()), (State::Pending, true));
    let said = Some("the payment is still pending");
    assert_eq!((stored.last_error.as_deref(), attempts[0].error.as_deref()), (said, said), "the dispatch says why");
    assert_eq!(attempts[0].outcome, "retry");
    // Nor does it hide what went wrong before, or in the same batch.
    finish(&*store, &[retried(&leases[1], secs(60))], now + secs(1)).await;
    let error = status(&*store, "erp").await.last_error;
    assert_eq!(error.as_ref().map(|(_, error)| error.as_str()), Some("503 from the target"));
    let leases = claim(&*store, now + secs(100)).await;
    let both = [waiting(&leases[0], secs(60)), waiting(&leases[1], secs(60))];
    finish(&*store, &both, now + secs(100)).await;
    assert_eq!(status(&*store, "erp").await.last_error, error);
    let leases = claim(&*store, now + secs(200)).await;
    let both = [rejected(&leases[0]), waiting(&leases[1], secs(60))];
    finish(&*store, &both, now + secs(200)).await;
    let error = status(&*store, "erp").await.last_error.expect("the refusal");
    assert_eq!(error.1, "400 from the target");
}

/// Whatever the order of the dispatches: the attempts stand in a batch in the order in which they ended.
pub(crate) async fn the_last_error_of_a_batch_is_the_latest(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&["a", "b"].map(event)).await.unwrap();
    let leases = claim(&*store, start()).await;
    assert!(leases[0].id < leases[1].id);
    finish(&*store, &[retried(&leases[1], secs(60)), rejected(&leases[0])], start()).await;
    let (_, error) = status(&*store, "erp").await.last_error.expect("both failed");
    assert_eq!(error, "400 from the target");
}

pub(crate) async fn a_leased_one_shows_no_next_attempt(on: &Fixture) {
    let store = on.open().await;
    store.record_deliveries(&[event("a")]).await.unwrap();
    let lease = claim_one(&*store, start()).await;
    let (stored, _) = store.dispatch(lease.id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.next_attempt_at), (State::Leased, None));
}
