//! The link to Finkare: secrets, intents, the audit trail.
//!
//! These methods take no time from their caller. What must last is leased for an hour; what must run out, for
//! no time at all, and the condition is waited for.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use finkare_relay::{
    model::{
        audit::{AuditEntry, NewAudit},
        id::LeaseToken,
        intent::{Begun, Intent, IntentId, IntentKind, IntentState, Link, NewIntent},
        secret::Secret,
        stored_secret::{Fingerprint, Origin, SealedSecret, SecretId, SecretState, StoredSecret},
    },
    store::{
        StoreError,
        link::{Change, Doubt, Ended, Given, Settlement},
    },
};
use serde_json::json;

use super::{Duration, EndpointName, Store, Uuid, clock, secs};
use crate::store::Fixture;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

fn main() -> EndpointName {
    EndpointName::new("main").unwrap()
}

fn other() -> EndpointName {
    EndpointName::new("other").unwrap()
}

fn print(text: &str) -> Fingerprint {
    Fingerprint::of(&Secret::new(text))
}

/// As the vault would seal it: each time another row and another text.
fn sealed(text: &str) -> SealedSecret {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    SealedSecret {
        id: SecretId(Uuid::now_v7()),
        fingerprint: print(text),
        key_id: "key-1".into(),
        sealed: [&[0, 255][..], &number.to_be_bytes()].concat(),
    }
}

fn entry(action: &'static str) -> NewAudit {
    NewAudit::new("tester", action, "endpoint/main").with("why", "a test")
}

fn rotation(endpoint: &EndpointName, lease: Duration) -> NewIntent {
    NewIntent {
        id: IntentId(Uuid::now_v7()),
        endpoint: endpoint.clone(),
        kind: IntentKind::Rotate,
        actor: "tester".into(),
        webhook_id: Some("wh-1".into()),
        url: None,
        events: Vec::new(),
        overlap: DAY,
        token: LeaseToken::generate(),
        lease,
        only_if_newest: None,
    }
}

fn change(text: &str) -> Change {
    Change { secret: sealed(text), origin: Origin::Rotated, overlap: Some(DAY), webhook: None }
}

async fn seed(store: &dyn Store, endpoint: &EndpointName, texts: &[&str]) -> Vec<SecretId> {
    let secrets: Vec<_> = texts.iter().map(|text| sealed(text)).collect();
    store.seed_secrets(endpoint, &secrets, entry("secret.seeded")).await.unwrap()
}

/// Begins what must begin.
async fn begun(store: &dyn Store, endpoint: &EndpointName, lease: Duration) -> NewIntent {
    let intent = rotation(endpoint, lease);
    assert_eq!(store.begin_intent(intent.clone(), entry("rotation.begun")).await.unwrap(), Begun::Begun);
    intent
}

async fn finish(store: &dyn Store, id: IntentId, token: LeaseToken, change: Change) -> Ended {
    store.finish_intent(id, token, change, entry("rotation.finished")).await.unwrap()
}

async fn take_over(store: &dyn Store) -> Option<(Intent, LeaseToken)> {
    let token = LeaseToken::generate();
    Some((store.take_over_intent(token, HOUR).await.unwrap()?, token))
}

/// A rotation from the beginning to the end.
async fn rotated(store: &dyn Store, text: &str, overlap: Option<Duration>) {
    let intent = begun(store, &main(), HOUR).await;
    let change = Change { overlap, ..change(text) };
    assert_eq!(finish(store, intent.id, intent.token, change).await, Ended::Ended);
}

async fn link(store: &dyn Store) -> Link {
    let links = store.links().await.unwrap();
    links.into_iter().find(|link| link.endpoint == main()).expect("the endpoint is known")
}

/// The fingerprints that deliveries are verified with, newest first.
async fn live(store: &dyn Store) -> Vec<(Fingerprint, SecretState)> {
    link(store).await.secrets.into_iter().map(|secret| (secret.fingerprint, secret.state)).collect()
}

async fn row(store: &dyn Store, text: &str) -> StoredSecret {
    let all = store.secrets(&main()).await.unwrap();
    all.into_iter().find(|secret| secret.fingerprint == print(text)).expect("the secret is known")
}

/// All that was ever done, oldest first.
async fn trail(store: &dyn Store) -> Vec<AuditEntry> {
    let page = store.list_audit(&finkare_relay::store::AuditFilter::default(), 10_000).await.unwrap();
    assert!(!page.more);
    page.rows.into_iter().rev().collect()
}

async fn actions(store: &dyn Store) -> Vec<String> {
    trail(store).await.into_iter().map(|entry| entry.action).collect()
}

/// All that can be read.
async fn everything(store: &dyn Store) -> String {
    let secrets = store.secrets(&main()).await.unwrap();
    format!("{:?} {secrets:?} {:?}", store.links().await.unwrap(), trail(store).await)
}

/// Waits until the database's clock has gone so far, with a bound.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < secs(10), "not in time: {what}");
        tokio::task::yield_now().await;
    }
}

/// Lets the lease of an intent run out that was leased for no time.
async fn run_out(store: &dyn Store) {
    until("the lease runs out", async || link(store).await.intent.is_some_and(|one| one.state == IntentState::Unknown))
        .await;
}

/// What the schema itself refuses, whoever writes it, on rows in every state ([`furnish`]): each by a constraint.
pub(crate) const UNSOUND: [&str; 24] = [
    "UPDATE secrets SET sealed = NULL WHERE state = 'active'",
    "UPDATE secrets SET sealed = NULL WHERE state = 'retiring'",
    "UPDATE secrets SET state = 'expired' WHERE state = 'retiring'",
    "UPDATE secrets SET state = 'active' WHERE state = 'retiring'",
    "UPDATE secrets SET state = 'retiring' WHERE state = 'active'",
    "UPDATE secrets SET state = 'active' WHERE state = 'expired'",
    "UPDATE secrets SET state = 'retired' WHERE state = 'retiring'",
    "UPDATE secrets SET origin = 'stolen'",
    "UPDATE secrets SET fingerprint = 'the same'",
    "UPDATE intents SET lease_token = NULL WHERE state = 'in_flight'",
    "UPDATE intents SET lease_until = NULL WHERE state = 'in_flight'",
    "UPDATE intents SET lease_until = 1 WHERE state = 'unknown'",
    "UPDATE intents SET state = 'unknown' WHERE state = 'in_flight'",
    "UPDATE intents SET retry_at = NULL WHERE state = 'unknown'",
    "UPDATE intents SET contested = true WHERE state = 'unknown'",
    "UPDATE intents SET finished_at = NULL WHERE state = 'done'",
    "UPDATE intents SET secret_id = NULL WHERE state = 'done'",
    "UPDATE intents SET state = 'done' WHERE state = 'failed'",
    "UPDATE intents SET state = 'over' WHERE state = 'failed'",
    "UPDATE intents SET tries = 0",
    "UPDATE intents SET overlap_us = -1",
    "UPDATE intents SET kind = 'register'",
    "UPDATE intents SET events = '{}'",
    "UPDATE intents SET endpoint = 'main' WHERE endpoint = 'other'",
];

/// Secrets and intents in every state.
pub(crate) async fn furnish(store: &dyn Store) {
    seed(store, &main(), &["a"]).await;
    rotated(store, "b", Some(Duration::ZERO)).await;
    store.expire_secrets().await.unwrap();
    rotated(store, "c", Some(HOUR)).await;
    let failed = begun(store, &main(), HOUR).await;
    store.fail_intent(failed.id, failed.token, entry("rotation.failed")).await.unwrap();
    let doubted = begun(store, &main(), HOUR).await;
    store.doubt_intent(doubted.id, doubted.token, Doubt::after(HOUR), entry("rotation.doubted")).await.unwrap();
    begun(store, &other(), HOUR).await;
}

pub(crate) async fn a_seed_is_kept_once(on: &Fixture) {
    let store = on.open().await;
    assert_eq!(store.links().await.unwrap(), []);
    let before = clock::now() - secs(60);
    let given = [sealed("a"), sealed("b"), sealed("a")];
    let new = store.seed_secrets(&main(), &given, entry("secret.seeded")).await.unwrap();
    assert_eq!(new, [given[0].id, given[1].id]);
    let all = store.secrets(&main()).await.unwrap();
    assert_eq!(all, link(&*store).await.secrets);
    assert_eq!(all.iter().map(|row| row.id).collect::<Vec<_>>(), new, "the first is the newest");
    for (row, given) in all.iter().zip(&given) {
        assert_eq!(
            (&row.fingerprint, &row.key_id, row.sealed.as_ref()),
            (&given.fingerprint, &given.key_id, Some(&given.sealed))
        );
        assert_eq!((row.state, row.origin, row.valid_until), (SecretState::Active, Origin::Configured, None));
        assert!(row.created_at > before && row.created_at < before + secs(120) && row.endpoint == main());
    }
    assert_eq!(actions(&*store).await, ["secret.seeded"]);

    // A later start brings the same, sealed anew, and one more.
    assert_eq!(seed(&*store, &main(), &["a", "b"]).await, []);
    assert_eq!(store.secrets(&main()).await.unwrap(), all);
    assert_eq!(actions(&*store).await, ["secret.seeded"], "nothing was done");
    assert_eq!(seed(&*store, &main(), &["a", "c"]).await.len(), 1);
    assert_eq!(row(&*store, "c").await, store.secrets(&main()).await.unwrap()[0]);
    assert_eq!(seed(&*store, &other(), &["a"]).await.len(), 1, "endpoints share nothing");
    assert_eq!(seed(&*store, &main(), &[]).await, []);

    // Whatever became of it: retiring, expired.
    rotated(&*store, "d", Some(HOUR)).await;
    assert_eq!(row(&*store, "a").await.state, SecretState::Retiring);
    assert_eq!(seed(&*store, &main(), &["a"]).await, []);
    rotated(&*store, "e", Some(Duration::ZERO)).await;
    assert_eq!(store.expire_secrets().await.unwrap(), 4);
    assert_eq!(seed(&*store, &main(), &["a"]).await, []);
    assert_eq!(live(&*store).await, [(print("e"), SecretState::Active)]);
}

pub(crate) async fn two_that_seed_at_once_keep_it_once(on: &Fixture) {
    let stores = [on.open().await, on.open().await];
    let mut tasks = Vec::new();
    for number in 0..8 {
        let store = stores[number % 2].clone();
        tasks.push(tokio::spawn(async move { seed(&*store, &main(), &["a", "b"]).await.len() }));
    }
    let mut new = 0;
    for task in tasks {
        new += task.await.unwrap();
    }
    assert_eq!((new, store_size(&*stores[0]).await), (2, 2));
    assert_eq!(actions(&*stores[0]).await.len(), 1);
}

async fn store_size(store: &dyn Store) -> usize {
    store.secrets(&main()).await.unwrap().len()
}

pub(crate) async fn an_intent_is_the_only_one_of_its_endpoint(on: &Fixture) {
    let store = on.open().await;
    let intent = NewIntent {
        kind: IntentKind::Register,
        webhook_id: None,
        url: Some("https://hooks.example/finkare".into()),
        events: vec!["payment.received".into(), "é\0".into()],
        overlap: Duration::from_micros(1_000_001),
        ..rotation(&main(), HOUR)
    };
    let before = clock::now() - secs(60);
    assert_eq!(store.begin_intent(intent.clone(), entry("registration.begun")).await.unwrap(), Begun::Begun);
    let stored = link(&*store).await.intent.expect("it is unfinished");
    let expected = Intent {
        id: intent.id,
        endpoint: main(),
        kind: IntentKind::Register,
        state: IntentState::InFlight,
        actor: "tester".into(),
        webhook_id: None,
        url: intent.url.clone(),
        events: intent.events.clone(),
        overlap: intent.overlap,
        begun_at: stored.begun_at,
        tries: 1,
        unreadable: 0,
        given_meanwhile: false,
        asked_by: Some("tester".into()),
    };
    assert_eq!(stored, expected);
    assert!(stored.begun_at > before && stored.begun_at < before + secs(120));
    // Another kind, another token, and with the same id: it is in flight.
    for next in [rotation(&main(), HOUR), NewIntent { token: LeaseToken::generate(), ..intent.clone() }] {
        let answer = store.begin_intent(next, entry("rotation.begun")).await.unwrap();
        assert_eq!(answer, Begun::InFlight(expected.clone()));
    }
    // Whoever did not hear the answer asks again.
    assert_eq!(store.begin_intent(intent, entry("registration.begun")).await.unwrap(), Begun::Begun);
    assert_eq!(actions(&*store).await, ["registration.begun"]);
    begun(&*store, &other(), HOUR).await;
    assert_eq!(take_over(&*store).await, None, "both are held");
}

pub(crate) async fn of_many_that_begin_at_once_one_begins(on: &Fixture) {
    let stores = [on.open().await, on.open().await];
    for _ in 0..5 {
        let mut tasks = Vec::new();
        for number in 0..8 {
            let store = stores[number % 2].clone();
            tasks.push(tokio::spawn(async move {
                let intent = rotation(&main(), HOUR);
                (intent.clone(), store.begin_intent(intent, entry("rotation.begun")).await.unwrap())
            }));
        }
        let (mut winners, mut seen) = (Vec::new(), Vec::new());
        for task in tasks {
            match task.await.unwrap() {
                (intent, Begun::Begun) => winners.push(intent),
                (_, Begun::InFlight(intent)) => seen.push(intent.id),
                (_, answer) => panic!("{answer:?}"),
            }
        }
        assert_eq!((winners.len(), seen.len()), (1, 7));
        assert!(seen.iter().all(|id| *id == winners[0].id));
        let failed = stores[0].fail_intent(winners[0].id, winners[0].token, entry("rotation.failed")).await;
        assert_eq!(failed.unwrap(), Ended::Ended);
    }
}

pub(crate) async fn a_schedule_is_followed_once(on: &Fixture) {
    let store = on.open().await;
    let if_newest = |text: &str| NewIntent { only_if_newest: Some(print(text)), ..rotation(&main(), HOUR) };
    let begin = async |text: &str| store.begin_intent(if_newest(text), entry("rotation.begun")).await.unwrap();
    assert_eq!(begin("a").await, Begun::Outdated, "there is none at all");
    seed(&*store, &main(), &["a", "b"]).await;
    seed(&*store, &other(), &["c"]).await;
    assert_eq!(begin("b").await, Begun::Outdated);
    assert_eq!(begin("c").await, Begun::Outdated, "it is another endpoint's");
    assert_eq!(link(&*store).await.intent, None);
    assert!(!actions(&*store).await.contains(&"rotation.begun".to_owned()));
    // Two replicas at the same time, and one that comes after the end.
    let intent = if_newest("a");
    assert_eq!(store.begin_intent(intent.clone(), entry("rotation.begun")).await.unwrap(), Begun::Begun);
    assert!(matches!(begin("a").await, Begun::InFlight(_)));
    assert_eq!(finish(&*store, intent.id, intent.token, change("d")).await, Ended::Ended);
    assert_eq!(begin("a").await, Begun::Outdated);
    assert_eq!(begin("d").await, Begun::Begun);
}

pub(crate) async fn an_intent_that_nobody_holds_is_taken_over(on: &Fixture) {
    let store = on.open().await;
    let first = begun(&*store, &main(), Duration::ZERO).await;
    run_out(&*store).await;
    let second = rotation(&main(), Duration::ZERO);
    let Begun::TakenOver(intent) = store.begin_intent(second.clone(), entry("rotation.begun")).await.unwrap() else {
        panic!("nobody holds it");
    };
    assert_eq!((intent.id, intent.tries, intent.is_asked_for()), (first.id, 2, true));
    run_out(&*store).await;
    let (intent, third) = take_over(&*store).await.expect("nobody holds it");
    assert_eq!((intent.id, intent.tries, intent.state), (first.id, 3, IntentState::InFlight));
    assert_eq!((intent.asked_by.as_deref(), intent.is_asked_for()), (None, false));
    assert_eq!(link(&*store).await.intent, Some(intent));
    let trail = trail(&*store).await;
    assert_eq!(
        trail.iter().map(|one| one.action.as_str()).collect::<Vec<_>>(),
        ["rotation.begun", "rotation.begun", "intent.taken_over"]
    );
    let last = trail.last().unwrap();
    assert_eq!((last.actor.as_str(), last.subject.as_str()), ("service", "endpoint/main"));
    assert_eq!(last.detail, json!({ "intent": first.id.to_string(), "kind": "rotate", "tries": 3 }));

    // Those before lost it; the last one has it, also when its time is up.
    for token in [first.token, second.token] {
        assert!(!store.renew_intent(first.id, token, HOUR).await.unwrap());
        assert_eq!(store.fail_intent(first.id, token, entry("no")).await.unwrap(), Ended::Lost);
        assert_eq!(store.doubt_intent(first.id, token, Doubt::after(HOUR), entry("no")).await.unwrap(), Ended::Lost);
    }
    assert!(store.renew_intent(first.id, third, Duration::ZERO).await.unwrap());
    run_out(&*store).await;
    assert!(store.renew_intent(first.id, third, HOUR).await.unwrap());
    assert_eq!(take_over(&*store).await, None);
    assert!(matches!(store.begin_intent(rotation(&main(), HOUR), entry("no")).await.unwrap(), Begun::InFlight(_)));
    assert!(!actions(&*store).await.contains(&"no".to_owned()), "what changed nothing leaves no trace");
    assert!(!store.renew_intent(IntentId(Uuid::now_v7()), third, HOUR).await.unwrap());
    assert_eq!(finish(&*store, first.id, third, change("a")).await, Ended::Ended);
    assert!(!store.renew_intent(first.id, third, HOUR).await.unwrap(), "it is over");
}

pub(crate) async fn a_slow_holder_may_still_end_it(on: &Fixture) {
    let store = on.open().await;
    let intent = begun(&*store, &main(), Duration::ZERO).await;
    run_out(&*store).await;
    assert_eq!(finish(&*store, intent.id, intent.token, change("a")).await, Ended::Ended);
    assert_eq!(link(&*store).await.intent, None);
}

pub(crate) async fn one_in_doubt_waits_for_its_next_try(on: &Fixture) {
    let store = on.open().await;
    let later = begun(&*store, &other(), HOUR).await;
    let intent = begun(&*store, &main(), HOUR).await;
    assert_eq!(
        store.doubt_intent(intent.id, intent.token, Doubt::after(HOUR), entry("rotation.doubted")).await.unwrap(),
        Ended::Ended
    );
    let unknown = link(&*store).await.intent.unwrap();
    assert_eq!((unknown.state, unknown.tries), (IntentState::Unknown, 1));
    assert_eq!(take_over(&*store).await, None, "it is not due");
    assert!(!store.renew_intent(intent.id, intent.token, HOUR).await.unwrap(), "nobody holds it");
    // Whoever begins does not wait for that.
    let next = rotation(&main(), HOUR);
    let answer = store.begin_intent(next.clone(), entry("rotation.begun")).await.unwrap();
    assert!(matches!(answer, Begun::TakenOver(Intent { tries: 2, .. })), "{answer:?}");
    for (id, token) in [(intent.id, next.token), (later.id, later.token)] {
        let doubted =
            store.doubt_intent(id, token, Doubt::after(Duration::ZERO), entry("rotation.doubted")).await.unwrap();
        assert_eq!(doubted, Ended::Ended);
    }
    let order = [take_over(&*store).await.unwrap().0, take_over(&*store).await.unwrap().0].map(|one| one.endpoint);
    assert_eq!(order, [other(), main()], "the oldest first");
    assert_eq!(take_over(&*store).await, None);
    assert_eq!(
        actions(&*store).await,
        [
            "rotation.begun",
            "rotation.begun",
            "rotation.doubted",
            "rotation.begun",
            "rotation.doubted",
            "rotation.doubted",
            "intent.taken_over",
            "intent.taken_over"
        ]
    );
}

pub(crate) async fn of_many_that_take_over_one_gets_it(on: &Fixture) {
    let stores = [on.open().await, on.open().await];
    let intent = begun(&*stores[0], &main(), HOUR).await;
    stores[0]
        .doubt_intent(intent.id, intent.token, Doubt::after(Duration::ZERO), entry("rotation.doubted"))
        .await
        .unwrap();
    let mut tasks = Vec::new();
    for number in 0..8 {
        let store = stores[number % 2].clone();
        tasks.push(tokio::spawn(async move {
            if number < 4 {
                return take_over(&*store).await.is_some();
            }
            let answer = store.begin_intent(rotation(&main(), HOUR), entry("rotation.begun")).await.unwrap();
            matches!(answer, Begun::TakenOver(_))
        }));
    }
    let mut got = 0;
    for task in tasks {
        got += u32::from(task.await.unwrap());
    }
    assert_eq!((got, link(&*stores[1]).await.intent.unwrap().tries), (1, 2));
}

/// An intent of which nobody knows, due at once, after so many unreadable answers.
async fn doubted(store: &dyn Store, endpoint: &EndpointName, unreadable: u32) -> IntentId {
    let intent = begun(store, endpoint, HOUR).await;
    let mut token = intent.token;
    for number in 0..unreadable.max(1) {
        if number > 0 {
            let next = rotation(endpoint, HOUR);
            token = next.token;
            assert!(matches!(store.begin_intent(next, entry("rotation.begun")).await.unwrap(), Begun::TakenOver(_)));
        }
        let doubt = Doubt { retry_in: Duration::ZERO, is_unreadable: unreadable > 0 };
        let ended = store.doubt_intent(intent.id, token, doubt, entry("rotation.doubted")).await.unwrap();
        assert_eq!(ended, Ended::Ended);
    }
    intent.id
}

pub(crate) async fn unreadable_answers_are_left_to_a_person(on: &Fixture) {
    let store = on.open().await;
    for (unreadable, is_left) in [(2, false), (3, true)] {
        let endpoint = EndpointName::new(format!("endpoint-{unreadable}").as_str()).unwrap();
        doubted(&*store, &endpoint, unreadable).await;
        let links = store.links().await.unwrap();
        let intent = links.into_iter().find(|link| link.endpoint == endpoint).unwrap().intent.unwrap();
        assert_eq!((intent.unreadable, intent.needs_a_person()), (unreadable, is_left));
        let taken = take_over(&*store).await.map(|(intent, _)| intent.endpoint);
        assert_eq!(taken, (!is_left).then_some(endpoint));
    }
    // Also for the next process, which lets everything go that was held.
    let id = doubted(&*store, &main(), 3).await;
    store.abandon_intents().await.unwrap();
    assert_eq!(take_over(&*store).await.unwrap().0.unreadable, 2, "the one that was held");
    assert_eq!(take_over(&*store).await, None);
    // A person's own try is one, and other answers do not count.
    let next = rotation(&main(), HOUR);
    let answer = store.begin_intent(next.clone(), entry("rotation.begun")).await.unwrap();
    assert!(matches!(&answer, Begun::TakenOver(intent) if intent.id == id && !intent.needs_a_person()), "{answer:?}");
    store.doubt_intent(id, next.token, Doubt::after(Duration::ZERO), entry("rotation.doubted")).await.unwrap();
    assert_eq!(link(&*store).await.intent.unwrap().unreadable, 3);
    assert_eq!(take_over(&*store).await, None);
    // A late answer with a secret makes asking again worth it.
    let late = rotation(&main(), HOUR);
    store.begin_intent(late.clone(), entry("rotation.begun")).await.unwrap();
    assert_eq!(finish(&*store, id, next.token, change("late")).await, Ended::Lost);
    assert_eq!(finish(&*store, id, late.token, change("b")).await, Ended::Lost, "it was contested");
    assert_eq!(take_over(&*store).await.unwrap().0.unreadable, 0);
}

async fn word(store: &dyn Store, given: Given) -> Settlement {
    store.settle_intent(&main(), given, entry("secret.settled")).await.unwrap()
}

pub(crate) async fn a_persons_word_ends_what_nobody_holds(on: &Fixture) {
    let store = on.open().await;
    assert_eq!(word(&*store, Given::Current).await, Settlement::NoSecret);
    assert_eq!(actions(&*store).await, [""; 0], "what changed nothing leaves no trace");
    seed(&*store, &main(), &["a"]).await;
    let fingerprint = print("a");
    assert_eq!(
        word(&*store, Given::Current).await,
        Settlement::Settled { fingerprint: fingerprint.clone(), ended: None }
    );
    // While somebody asks Finkare, no word counts.
    let held = begun(&*store, &main(), HOUR).await;
    for given in [Given::Current, Given::Secret(sealed("b"))] {
        let answer = word(&*store, given).await;
        assert!(matches!(&answer, Settlement::InFlight(intent) if intent.id == held.id), "{answer:?}");
    }
    assert_eq!(store.secrets(&main()).await.unwrap().len(), 1);
    store.doubt_intent(held.id, held.token, Doubt::after(HOUR), entry("rotation.doubted")).await.unwrap();
    let unknown = link(&*store).await.intent.unwrap();
    let answer = word(&*store, Given::Current).await;
    assert_eq!(answer, Settlement::Settled { fingerprint, ended: Some(unknown) });
    let detail = json!({"why": "a test", "fingerprint": print("a"), "intent": held.id.to_string(), "kind": "rotate"});
    assert_eq!(trail(&*store).await.last().unwrap().detail, detail);
    assert_eq!(live(&*store).await, [(print("a"), SecretState::Active)]);

    // A new secret, then one that had expired: each is the newest and active, and ends what nobody knows.
    for text in ["b", "a", "b"] {
        let id = doubted(&*store, &main(), 3).await;
        let answer = word(&*store, Given::Secret(sealed(text))).await;
        assert!(
            matches!(&answer, Settlement::Settled { fingerprint, ended: Some(intent) }
                if *fingerprint == print(text) && intent.id == id && intent.needs_a_person()),
            "{answer:?}"
        );
        assert_eq!(live(&*store).await[0], (print(text), SecretState::Active));
        assert_eq!((link(&*store).await.intent, take_over(&*store).await), (None, None));
        rotated(&*store, "c", Some(Duration::ZERO)).await;
        store.expire_secrets().await.unwrap();
    }
    // The late answer of somebody who was at it all the same is kept, and opens it again.
    let slow = begun(&*store, &main(), Duration::ZERO).await;
    run_out(&*store).await;
    assert!(matches!(word(&*store, Given::Secret(sealed("d"))).await, Settlement::Settled { ended: Some(_), .. }));
    assert_eq!(finish(&*store, slow.id, slow.token, change("late")).await, Ended::Lost);
    assert_eq!(take_over(&*store).await.unwrap().0.id, slow.id);
}

pub(crate) async fn a_new_secret_that_is_configured_is_a_persons_word(on: &Fixture) {
    let store = on.open().await;
    seed(&*store, &main(), &["a"]).await;
    let id = doubted(&*store, &main(), 3).await;
    doubted(&*store, &other(), 1).await;
    assert_eq!(seed(&*store, &main(), &["a"]).await, [], "it was known");
    assert_eq!(link(&*store).await.intent.unwrap().id, id);
    assert_eq!(seed(&*store, &main(), &["b", "a"]).await.len(), 1);
    assert_eq!(link(&*store).await.intent, None);
    assert_eq!(take_over(&*store).await.unwrap().0.endpoint, other(), "another endpoint's goes on");
    let settled = trail(&*store).await.into_iter().find(|entry| entry.action == "intent.settled").unwrap();
    assert_eq!((settled.actor.as_str(), settled.subject.as_str()), ("service", "endpoint/main"));
    assert_eq!(settled.detail, json!({"intent": id.to_string(), "kind": "rotate", "fingerprint": print("b")}));

    // While somebody asks Finkare it ends nothing; but should that end in doubt, nobody asks again by himself.
    let held = begun(&*store, &main(), HOUR).await;
    seed(&*store, &main(), &["c"]).await;
    assert_eq!(link(&*store).await.intent.unwrap().state, IntentState::InFlight);
    store.doubt_intent(held.id, held.token, Doubt::after(Duration::ZERO), entry("rotation.doubted")).await.unwrap();
    let intent = link(&*store).await.intent.unwrap();
    assert!(intent.given_meanwhile && intent.needs_a_person() && intent.unreadable == 0, "{intent:?}");
    assert_eq!(take_over(&*store).await, None);
    // Whoever asks again by himself begins anew.
    let next = rotation(&main(), HOUR);
    assert!(matches!(store.begin_intent(next.clone(), entry("rotation.begun")).await.unwrap(), Begun::TakenOver(_)));
    store.doubt_intent(held.id, next.token, Doubt::after(Duration::ZERO), entry("rotation.doubted")).await.unwrap();
    assert_eq!(take_over(&*store).await.unwrap().0.id, held.id);
}

pub(crate) async fn a_finished_rotation_changes_the_secrets(on: &Fixture) {
    let store = on.open().await;
    seed(&*store, &main(), &["a", "b"]).await;
    seed(&*store, &other(), &["a"]).await;
    // Without an overlap they stay as they are.
    rotated(&*store, "c", None).await;
    let active = |texts: &[&str]| texts.iter().map(|text| (print(text), SecretState::Active)).collect::<Vec<_>>();
    assert_eq!(live(&*store).await, active(&["c", "a", "b"]));
    assert_eq!(row(&*store, "c").await.origin, Origin::Rotated);

    let intent = begun(&*store, &main(), HOUR).await;
    let webhook = Some(("wh-1".to_owned(), "https://hooks.example/finkare".to_owned()));
    let given = Change { origin: Origin::Registered, webhook, ..change("d") };
    let before = clock::now();
    assert_eq!(finish(&*store, intent.id, intent.token, given.clone()).await, Ended::Ended);
    let link = link(&*store).await;
    assert_eq!(link.intent, None);
    let webhook = link.webhook.expect("it came with the change");
    assert_eq!((webhook.id.as_str(), webhook.url.as_str()), ("wh-1", "https://hooks.example/finkare"));
    let newest = &link.secrets[0];
    assert_eq!((newest.id, newest.origin, newest.state), (given.secret.id, Origin::Registered, SecretState::Active));
    assert_eq!(newest.sealed.as_ref(), Some(&given.secret.sealed));
    for old in &link.secrets[1..] {
        assert_eq!(old.state, SecretState::Retiring);
        let end = old.valid_until.expect("a retiring secret has an end");
        assert!(end > before + DAY - secs(60) && end < before + DAY + secs(60), "{end}");
    }
    let ends = |rows: &[StoredSecret]| rows.iter().map(|row| row.valid_until).collect::<Vec<_>>();
    let first_ends = ends(&link.secrets);

    // The next one: an earlier end stays, a later one comes down.
    rotated(&*store, "e", Some(DAY * 2)).await;
    let all = store.secrets(&main()).await.unwrap();
    assert_eq!(ends(&all[2..]), first_ends[1..]);
    assert!(all[1].valid_until > all[2].valid_until);
    rotated(&*store, "f", Some(HOUR)).await;
    let all = store.secrets(&main()).await.unwrap();
    assert!(all[1..].iter().all(|row| row.valid_until == all[1].valid_until && row.valid_until < first_ends[1]));
    let untouched = store.secrets(&other()).await.unwrap();
    assert_eq!((untouched.len(), untouched[0].state), (1, SecretState::Active));
    assert_eq!(actions(&*store).await.iter().filter(|action| *action == "rotation.finished").count(), 4);
}

pub(crate) async fn a_known_secret_becomes_active_again(on: &Fixture) {
    let store = on.open().await;
    seed(&*store, &main(), &["a"]).await;
    rotated(&*store, "b", Some(Duration::ZERO)).await;
    store.expire_secrets().await.unwrap();
    rotated(&*store, "c", Some(HOUR)).await;
    // Expired, retiring and active alike.
    for text in ["a", "b", "b"] {
        let intent = begun(&*store, &main(), HOUR).await;
        let given = change(text);
        assert_eq!(finish(&*store, intent.id, intent.token, given.clone()).await, Ended::Ended);
        let newest = store.secrets(&main()).await.unwrap().remove(0);
        assert_eq!((newest.id, newest.fingerprint), (given.secret.id, given.secret.fingerprint));
        assert_eq!(
            (newest.state, newest.valid_until, newest.sealed),
            (SecretState::Active, None, Some(given.secret.sealed))
        );
        assert_eq!(store_size(&*store).await, 3);
    }
}

pub(crate) async fn the_same_change_is_made_once(on: &Fixture) {
    let store = on.open().await;
    let intent = begun(&*store, &main(), HOUR).await;
    let given = change("a");
    assert_eq!(finish(&*store, intent.id, intent.token, given.clone()).await, Ended::Ended);
    let before = everything(&*store).await;
    assert_eq!(finish(&*store, intent.id, intent.token, given).await, Ended::Ended);
    assert_eq!(everything(&*store).await, before);
    // Of an intent that somebody removed, the endpoint is not known.
    let error =
        store.finish_intent(IntentId(Uuid::now_v7()), intent.token, change("b"), entry("no")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Open(text) if text.contains("rotate")), "{error}");
    assert_eq!(everything(&*store).await, before);
}

pub(crate) async fn an_answer_that_comes_late_is_kept(on: &Fixture) {
    let store = on.open().await;
    seed(&*store, &main(), &["old"]).await;
    let first = begun(&*store, &main(), Duration::ZERO).await;
    run_out(&*store).await;
    let (_, second) = take_over(&*store).await.unwrap();
    assert_eq!(finish(&*store, first.id, second, change("b")).await, Ended::Ended);
    let ends = row(&*store, "old").await.valid_until;
    let given = Change { webhook: Some(("wh-9".into(), "https://late.example".into())), ..change("a") };
    for _ in 0..2 {
        // The second time as one who did not hear the answer.
        assert_eq!(finish(&*store, first.id, first.token, given.clone()).await, Ended::Lost);
        assert_eq!(row(&*store, "a").await.id, given.secret.id);
        let states = live(&*store).await.into_iter().map(|(_, state)| state).collect::<Vec<_>>();
        assert_eq!(states, [SecretState::Active, SecretState::Active, SecretState::Retiring], "nobody else retires");
        assert_eq!(row(&*store, "old").await.valid_until, ends);
        assert_eq!(link(&*store).await.webhook, None);
    }
    let trail = trail(&*store).await;
    let kept: Vec<_> = trail.iter().filter(|one| one.action == "secret.kept").collect();
    assert_eq!((kept.len(), kept[0].actor.as_str(), kept[0].subject.as_str()), (1, "service", "endpoint/main"));
    assert_eq!(kept[0].detail, json!({ "intent": first.id.to_string(), "fingerprint": print("a").as_str() }));
    // Which of the two is Finkare's last, nobody knows: the intent is open again, and due.
    let open = link(&*store).await.intent.expect("it is to be done again");
    assert_eq!((open.id, open.state), (first.id, IntentState::Unknown));
    let (again, third) = take_over(&*store).await.expect("it is due");
    assert_eq!(again.id, first.id);
    assert_eq!(finish(&*store, first.id, third, change("c")).await, Ended::Ended);
    assert_eq!(link(&*store).await.intent, None);
}

pub(crate) async fn a_late_answer_contests_who_asks_now(on: &Fixture) {
    let store = on.open().await;
    seed(&*store, &main(), &["old"]).await;
    let first = begun(&*store, &main(), Duration::ZERO).await;
    run_out(&*store).await;
    let (_, second) = take_over(&*store).await.unwrap();
    // Both are asking. Finkare may have done either first.
    assert_eq!(finish(&*store, first.id, first.token, change("a")).await, Ended::Lost);
    let still = link(&*store).await.intent.unwrap();
    assert_eq!(still.state, IntentState::InFlight, "nothing is taken from who is at it");
    assert!(store.renew_intent(first.id, second, HOUR).await.unwrap());
    assert_eq!(finish(&*store, first.id, second, change("b")).await, Ended::Lost);
    let active = [print("b"), print("a"), print("old")].map(|print| (print, SecretState::Active));
    assert_eq!(live(&*store).await, active);
    // Whoever asks now asks alone.
    let (intent, third) = take_over(&*store).await.expect("it is due again");
    assert_eq!((intent.id, intent.tries), (first.id, 3));
    assert_eq!(finish(&*store, first.id, third, change("c")).await, Ended::Ended);
    assert_eq!((link(&*store).await.intent, live(&*store).await[0].clone()), (None, (print("c"), SecretState::Active)));

    // The same with an intent of its own, begun after the first was over; and a take-over asks anew.
    let next = begun(&*store, &main(), Duration::ZERO).await;
    assert_eq!(finish(&*store, first.id, second, change("d")).await, Ended::Lost);
    run_out(&*store).await;
    let (_, fourth) = take_over(&*store).await.unwrap();
    assert_eq!(finish(&*store, next.id, fourth, change("e")).await, Ended::Ended);
    // One that nobody holds is done again anyway.
    let last = begun(&*store, &main(), HOUR).await;
    store.doubt_intent(last.id, last.token, Doubt::after(HOUR), entry("rotation.doubted")).await.unwrap();
    assert_eq!(finish(&*store, last.id, last.token, change("f")).await, Ended::Lost);
    assert_eq!(take_over(&*store).await, None, "its time stays");
    let intents = link(&*store).await.intent;
    assert_eq!(intents.map(|intent| (intent.id, intent.state)), Some((last.id, IntentState::Unknown)));
}

pub(crate) async fn a_failed_one_changes_nothing_and_makes_room(on: &Fixture) {
    let store = on.open().await;
    seed(&*store, &main(), &["a"]).await;
    let intent = begun(&*store, &main(), HOUR).await;
    assert_eq!(store.fail_intent(intent.id, intent.token, entry("rotation.failed")).await.unwrap(), Ended::Ended);
    assert_eq!((link(&*store).await.intent, live(&*store).await), (None, vec![(print("a"), SecretState::Active)]));
    assert_eq!(take_over(&*store).await, None);
    let before = everything(&*store).await;
    assert_eq!(store.fail_intent(intent.id, intent.token, entry("no")).await.unwrap(), Ended::Lost);
    assert_eq!(
        store.doubt_intent(intent.id, intent.token, Doubt::after(secs(0)), entry("no")).await.unwrap(),
        Ended::Lost
    );
    assert_eq!(everything(&*store).await, before);
    begun(&*store, &main(), HOUR).await;
    assert_eq!(actions(&*store).await, ["secret.seeded", "rotation.begun", "rotation.failed", "rotation.begun"]);
}

pub(crate) async fn the_intents_of_an_earlier_process_are_due_at_once(on: &Fixture) {
    let store = on.open().await;
    assert_eq!(store.abandon_intents().await.unwrap(), 0);
    let done = begun(&*store, &main(), HOUR).await;
    finish(&*store, done.id, done.token, change("a")).await;
    let held = begun(&*store, &main(), HOUR).await;
    let doubted = begun(&*store, &other(), HOUR).await;
    store.doubt_intent(doubted.id, doubted.token, Doubt::after(HOUR), entry("rotation.doubted")).await.unwrap();
    assert_eq!(store.abandon_intents().await.unwrap(), 2);
    assert_eq!(link(&*store).await.intent.unwrap().state, IntentState::Unknown);
    assert!(!store.renew_intent(held.id, held.token, HOUR).await.unwrap());
    assert_eq!(take_over(&*store).await.unwrap().0.id, held.id);
    assert_eq!(take_over(&*store).await.unwrap().0.id, doubted.id);
    assert_eq!(take_over(&*store).await, None, "what is finished stays finished");
}

pub(crate) async fn a_secret_ends_in_time(on: &Fixture) {
    let store = on.open().await;
    seed(&*store, &main(), &["a"]).await;
    seed(&*store, &other(), &["z"]).await;
    assert_eq!(store.expire_secrets().await.unwrap(), 0);
    rotated(&*store, "b", Some(HOUR)).await;
    assert_eq!(store.expire_secrets().await.unwrap(), 0, "its time has not come");
    assert_eq!(live(&*store).await.len(), 2);
    rotated(&*store, "c", Some(Duration::ZERO)).await;
    // Left out before anybody cleans up.
    assert_eq!(live(&*store).await, [(print("c"), SecretState::Active)]);
    assert_eq!(row(&*store, "b").await.state, SecretState::Retiring);
    assert_eq!(store.expire_secrets().await.unwrap(), 2);
    assert_eq!(store.expire_secrets().await.unwrap(), 0);
    for text in ["a", "b"] {
        let gone = row(&*store, text).await;
        assert_eq!((gone.state, gone.sealed), (SecretState::Expired, None), "its text is gone, its fingerprint stays");
        assert!(gone.valid_until.is_some_and(|end| end <= clock::now() + secs(60)));
    }
    let trail = trail(&*store).await;
    let told: Vec<_> = trail.iter().filter(|one| one.action == "secret.expired").collect();
    assert!(told.iter().all(|one| one.actor == "service" && one.subject == "endpoint/main"));
    let mut prints: Vec<_> = told.iter().map(|one| one.detail.clone()).collect();
    prints.sort_by_key(ToString::to_string);
    let mut expected = ["a", "b"].map(|text| json!({ "fingerprint": print(text).as_str() }));
    expected.sort_by_key(ToString::to_string);
    assert_eq!(prints, expected);
}

pub(crate) async fn a_new_master_key_replaces_every_live_text(on: &Fixture) {
    let store = on.open().await;
    let anew = |row: &StoredSecret| SealedSecret {
        id: row.id,
        fingerprint: row.fingerprint.clone(),
        key_id: "key-2".into(),
        sealed: vec![2; 40],
    };
    seed(&*store, &main(), &["a"]).await;
    rotated(&*store, "b", Some(Duration::ZERO)).await;
    store.expire_secrets().await.unwrap();
    rotated(&*store, "c", Some(HOUR)).await;
    seed(&*store, &other(), &["a"]).await;
    let rows: Vec<_> = store.links().await.unwrap().into_iter().flat_map(|link| link.secrets).collect();
    assert_eq!(rows.len(), 3, "an active and a retiring one, and another endpoint's");
    let all: Vec<_> = rows.iter().map(anew).collect();
    let before = everything(&*store).await;
    let expired = anew(&row(&*store, "a").await);
    let wrong = [
        ("key-1", all[1..].to_vec()),
        ("key-1", [&all[..], &[expired]].concat()),
        ("key-1", [&all[1..], &[SealedSecret { fingerprint: print("x"), ..all[0].clone() }]].concat()),
        ("key-1", [&all[1..], &[SealedSecret { id: SecretId(Uuid::now_v7()), ..all[0].clone() }]].concat()),
        ("key-1", Vec::new()),
        ("key-0", all.clone()),
    ];
    for (key, secrets) in wrong {
        let error = store.reseal_secrets(key, &secrets, entry("no")).await.unwrap_err();
        assert!(matches!(&error, StoreError::Open(text) if text.contains(key)), "{error}");
        assert_eq!(everything(&*store).await, before);
    }
    store.reseal_secrets("key-1", &all, entry("key.changed")).await.unwrap();
    for (old, new) in rows.iter().zip(store.links().await.unwrap().into_iter().flat_map(|link| link.secrets)) {
        let expected = StoredSecret { key_id: "key-2".into(), sealed: Some(vec![2; 40]), ..old.clone() };
        assert_eq!(new, expected);
    }
    assert_eq!(actions(&*store).await.last().unwrap(), "key.changed");

    // One whose time passes meanwhile may be among them or not. Its text goes.
    for (text, among) in [("d", true), ("e", false)] {
        rotated(&*store, text, Some(Duration::ZERO)).await;
        let held: Vec<_> =
            store.secrets(&main()).await.unwrap().into_iter().filter(|row| row.sealed.is_some()).collect();
        let key = held[1].key_id.clone();
        let chosen = held.iter().filter(|row| row.key_id == key && (among || row.state == SecretState::Active));
        let given: Vec<_> =
            chosen.chain(&store.secrets(&other()).await.unwrap()).filter(|row| row.key_id == key).map(anew).collect();
        store.reseal_secrets(&key, &given, entry("key.changed")).await.unwrap();
        let left: Vec<_> =
            store.secrets(&main()).await.unwrap().into_iter().filter(|row| row.sealed.is_some()).collect();
        assert_eq!(left.iter().map(|row| row.fingerprint.clone()).collect::<Vec<_>>(), [print(text)]);
    }
}

pub(crate) async fn a_webhook_is_remembered(on: &Fixture) {
    let store = on.open().await;
    seed(&*store, &EndpointName::new("zoo").unwrap(), &["z"]).await;
    begun(&*store, &EndpointName::new("B.upper").unwrap(), HOUR).await;
    for (id, url) in [("wh-1", "https://one.example"), ("wh-2", "https://two.example")] {
        let before = clock::now() - secs(60);
        store.adopt_webhook(&main(), id, url, entry("webhook.adopted")).await.unwrap();
        let webhook = link(&*store).await.webhook.unwrap();
        assert_eq!((webhook.id.as_str(), webhook.url.as_str()), (id, url));
        assert!(webhook.registered_at > before && webhook.registered_at < before + secs(120));
    }
    let names: Vec<_> = store.links().await.unwrap().into_iter().map(|link| link.endpoint.to_string()).collect();
    assert_eq!(names, ["B.upper", "main", "zoo"]);
    assert_eq!(actions(&*store).await[2..], ["webhook.adopted", "webhook.adopted"]);
    // A rotation leaves it as it is.
    rotated(&*store, "a", Some(HOUR)).await;
    assert_eq!(link(&*store).await.webhook.unwrap().id, "wh-2");
}

pub(crate) async fn the_trail_is_read_page_by_page(on: &Fixture) {
    let store = on.open().await;
    assert!(store.list_audit(&finkare_relay::store::AuditFilter::default(), 10).await.unwrap().rows.is_empty());
    let before = clock::now() - secs(60);
    for number in 0..7 {
        let entry = NewAudit::new("who", "what", format!("thing/{number}"))
            .with("odd", "\0 é \u{1f980} \\ \"")
            .with("n", number);
        store.audit(entry).await.unwrap();
    }
    let all = trail(&*store).await;
    for (number, entry) in all.iter().enumerate() {
        assert_eq!((entry.actor.as_str(), entry.action.as_str()), ("who", "what"));
        assert_eq!(entry.subject, format!("thing/{number}"));
        assert_eq!(entry.detail, json!({ "odd": "\0 é \u{1f980} \\ \"", "n": number }));
        assert!(entry.at > before && entry.at < before + secs(120));
    }
    assert!(all.windows(2).all(|pair| pair[0].id < pair[1].id && pair[0].at <= pair[1].at));
    let (mut read, mut cursor) = (Vec::new(), None);
    for expected in [3, 3, 1] {
        let page = store
            .list_audit(&finkare_relay::store::AuditFilter { before: cursor, ..Default::default() }, 3)
            .await
            .unwrap();
        assert_eq!((page.rows.len(), page.more), (expected, expected == 3));
        cursor = page.rows.last().map(|entry| entry.id);
        read.extend(page.rows);
    }
    assert!(read.into_iter().rev().eq(all.iter().cloned()));
    let page = store.list_audit(&finkare_relay::store::AuditFilter::default(), 7).await.unwrap();
    assert_eq!((page.rows.len(), page.more), (7, false));
    assert!(
        store
            .list_audit(&finkare_relay::store::AuditFilter { before: Some(all[0].id), ..Default::default() }, 10)
            .await
            .unwrap()
            .rows
            .is_empty()
    );
    let page = store.list_audit(&finkare_relay::store::AuditFilter::default(), 0).await.unwrap();
    assert!(page.rows.is_empty() && page.more);
    store.audit(NewAudit::new("a\0b", "what", "c\0d")).await.expect("it can be kept everywhere");
}

pub(crate) async fn every_change_is_announced(on: &Fixture) {
    let stores = [on.open().await, on.open().await];
    let store = &stores[0];
    // Across processes only where there are several.
    let hearing = if store.is_shared() { &stores[..] } else { &stores[..1] };
    let mut heard: Vec<_> = hearing.iter().map(|store| store.wakeups().link()).collect();
    until("everybody listens", async || {
        store.adopt_webhook(&main(), "wh", "https://one.example", entry("adopted")).await.unwrap();
        heard.iter().all(|one| one.has_changed().unwrap())
    })
    .await;
    let (main, other) = (main(), other());
    let key_1 = async || {
        let links = store.links().await.unwrap();
        links
            .into_iter()
            .flat_map(|link| link.secrets)
            .map(|row| SealedSecret {
                id: row.id,
                fingerprint: row.fingerprint,
                key_id: "key-1".into(),
                sealed: vec![1],
            })
            .collect::<Vec<_>>()
    };
    macro_rules! announced {
        ($($what:literal: $call:expr;)*) => {$(
            settle(&mut heard).await;
            $call;
            for one in &mut heard {
                wait_for(one, $what).await;
            }
        )*};
    }
    let intent = rotation(&main, HOUR);
    let second = rotation(&other, HOUR);
    let token = LeaseToken::generate();
    announced! {
        "seed": seed(&**store, &main, &["a"]).await;
        "begin": store.begin_intent(intent.clone(), entry("begun")).await.unwrap();
        "finish": finish(&**store, intent.id, intent.token, Change { overlap: Some(Duration::ZERO), ..change("b") }).await;
        "expire": assert_eq!(store.expire_secrets().await.unwrap(), 1);
        "late": assert_eq!(finish(&**store, intent.id, intent.token, change("c")).await, Ended::Lost);
        "take over by keeper": assert!(store.take_over_intent(token, HOUR).await.unwrap().is_some());
        "doubt": store.doubt_intent(intent.id, token, Doubt::after(HOUR), entry("doubted")).await.unwrap();
        "take over by beginning": store.begin_intent(intent.clone(), entry("begun")).await.unwrap();
        "fail": assert_eq!(store.fail_intent(intent.id, intent.token, entry("failed")).await.unwrap(), Ended::Ended);
        "begin another": store.begin_intent(second.clone(), entry("begun")).await.unwrap();
        "abandon": assert_eq!(store.abandon_intents().await.unwrap(), 1);
        "adopt": store.adopt_webhook(&main, "wh", "https://one.example", entry("adopted")).await.unwrap();
        "settle": word(&**store, Given::Secret(sealed("d"))).await;
        "reseal": store.reseal_secrets("key-1", &key_1().await, entry("resealed")).await.unwrap();
    }
    if !store.is_shared() {
        // What changed nothing says nothing. (Elsewhere an echo of what was said before may be on its way.)
        settle(&mut heard).await;
        seed(&**store, &main, &["a"]).await;
        store.expire_secrets().await.unwrap();
        assert_eq!(store.fail_intent(second.id, second.token, entry("no")).await.unwrap(), Ended::Lost);
        store.audit(entry("audit.only")).await.unwrap();
        assert!(!heard[0].has_changed().unwrap());
    }
}

/// Lets what was announced before arrive, so that the next announcement can be seen.
async fn settle(heard: &mut [tokio::sync::watch::Receiver<()>]) {
    for one in heard {
        while tokio::time::timeout(Duration::from_millis(50), one.changed()).await.is_ok() {}
    }
}

async fn wait_for(heard: &mut tokio::sync::watch::Receiver<()>, what: &str) {
    tokio::time::timeout(secs(10), heard.changed()).await.unwrap_or_else(|_| panic!("not heard: {what}")).unwrap();
}

pub(crate) async fn the_link_survives_reopening(on: &Fixture) {
    let store = on.open().await;
    seed(&*store, &main(), &["a"]).await;
    rotated(&*store, "b", Some(HOUR)).await;
    store.adopt_webhook(&main(), "wh-1", "https://one.example", entry("webhook.adopted")).await.unwrap();
    let intent = begun(&*store, &main(), HOUR).await;
    let before = everything(&*store).await;
    store.close().await;
    assert!(store.links().await.is_err_and(|error| error.is_unavailable()), "a closed store says so");
    let store = on.open().await;
    assert_eq!(everything(&*store).await, before);
    // The lease of before is still worth something: its holder may be in another process.
    assert_eq!(finish(&*store, intent.id, intent.token, change("c")).await, Ended::Ended);
}
