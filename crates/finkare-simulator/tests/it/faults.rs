//! Each fault, on demand and as often as asked.

use std::sync::{Arc, Mutex};

use finkare_simulator::{Faults, NewPayment, Options, Variants};
use serde_json::{Value, json};

use crate::scene::{PATIENCE, Post, Scene, URL, alone, eventually, http, quick, sign, try_call};

#[tokio::test]
async fn repeats_and_forgeries() {
    let faults = Faults { repeats: 2, forged: 3, ..Faults::default() };
    let receiver_secret = Arc::new(Mutex::new(String::new()));
    let known = receiver_secret.clone();
    let script =
        move |post: &Post| Some(if post.signature == sign(&known.lock().unwrap(), &post.body) { 200 } else { 401 });
    let scene = Scene::new(Options { faults, ..quick() }, script).await;
    scene.secret.expose().clone_into(&mut receiver_secret.lock().unwrap());
    let posts = scene.pay().await;
    let (forged, genuine): (Vec<_>, Vec<_>) = posts.iter().partition(|post| post.json()["data"]["forged"] == true);
    assert_eq!((genuine.len(), forged.len()), (3, 3));
    assert!(genuine.iter().all(|post| post.body == genuine[0].body));
    assert!(forged.iter().all(|post| post.signature != sign(scene.secret.expose(), &post.body)));
    let counters = scene.simulator.counters();
    assert_eq!((counters.posts, counters.attempts, counters.forged, counters.forged_accepted), (3, 1, 3, 0));
}

#[tokio::test]
async fn reordering_turns_groups_around() {
    let scene = Scene::with(Faults { reorder: 3, ..Faults::default() }, Variants::default()).await;
    let order = async |first: i64, last: i64| {
        let before = scene.receiver.posts().len();
        for number in first..=last {
            scene.simulator.emit("payment.received", &json!({"number": number})).unwrap();
        }
        scene.settled().await;
        scene.receiver.posts()[before..]
            .iter()
            .map(|post| post.json()["data"]["number"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(order(1, 3).await, [3, 2, 1]);
    // What does not fill a group is not kept for ever.
    assert_eq!(order(4, 5).await, [5, 4]);
}

#[tokio::test]
async fn a_fresh_timestamp_makes_another_body() {
    let mut answers = [Some(500)].into_iter();
    let faults = Faults { fresh_timestamp: true, ..Faults::default() };
    let scene = Scene::new(Options { faults, ..quick() }, move |_| answers.next().unwrap_or(Some(200))).await;
    let posts = scene.pay().await;
    assert_eq!(posts.len(), 2);
    let (mut first, mut second) = (posts[0].json(), posts[1].json());
    assert_ne!(first["timestamp"].take(), second["timestamp"].take());
    assert_eq!(first, second);
    assert_eq!(posts[1].signature, sign(scene.secret.expose(), &posts[1].body));
}

#[tokio::test]
async fn what_is_on_its_way_during_a_rotation_has_the_old_signature() {
    let scene = Scene::with(Faults { transit_delay_ms: 500, ..Faults::default() }, Variants::default()).await;
    let invoice = scene.simulator.create_invoice(None, None).unwrap();
    scene.simulator.pay(invoice.id, NewPayment::default()).unwrap();
    eventually("it is signed", async || scene.simulator.counters().attempts == 1).await;
    scene.rotate().await;
    scene.settled().await;
    let post = scene.receiver.posts().remove(0);
    assert_eq!(post.signature, sign(scene.secret.expose(), &post.body));
}

#[tokio::test]
async fn calls_fail_as_often_as_asked() {
    let scene = Scene::with(Faults::default(), Variants::default()).await;
    let list = async || try_call(&scene.simulator, "GET", "/webhooks", Value::Null).await;
    scene
        .simulator
        .set_faults(Faults { too_many_requests: 1, retry_after_secs: Some(7), ..Faults::default() })
        .unwrap();
    let called = list().await.unwrap();
    assert_eq!((called.status, called.retry_after.as_deref()), (429, Some("7")));
    scene.simulator.set_faults(Faults { too_many_requests: 2, ..Faults::default() }).unwrap();
    for _ in 0..2 {
        let called = list().await.unwrap();
        assert_eq!((called.status, called.retry_after), (429, None));
    }
    assert_eq!(list().await.unwrap().status, 200);
    scene.simulator.set_faults(Faults { api_errors: 1, api_error_status: 502, ..Faults::default() }).unwrap();
    assert_eq!((list().await.unwrap().status, list().await.unwrap().status), (502, 200));
    scene.simulator.set_faults(Faults { cut_connections: 1, ..Faults::default() }).unwrap();
    assert!(list().await.is_err());
    assert_eq!(list().await.unwrap().status, 200);
    assert_eq!(scene.simulator.faults(), Faults::default(), "all are used up");
    assert_eq!(scene.simulator.counters().api_faults, 5);
}

#[tokio::test]
async fn rotations_that_are_done_and_not_told() {
    let scene = Scene::with(Faults::default(), Variants::default()).await;
    let mut known = vec![scene.secret_now()];
    let path = format!("/webhooks/{}/rotate-secret", scene.webhook);
    for faults in [
        Faults { lost_rotations: 1, ..Faults::default() },
        Faults { failing_rotations: 1, ..Faults::default() },
        Faults { garbled_rotations: 1, ..Faults::default() },
    ] {
        scene.simulator.set_faults(faults.clone()).unwrap();
        let called = try_call(&scene.simulator, "POST", &path, Value::Null).await;
        match called {
            Err(_) => assert_eq!(faults.lost_rotations, 1),
            Ok(called) if called.status == 503 => assert_eq!(faults.failing_rotations, 1),
            Ok(called) => {
                assert_eq!((called.status, &called.body, faults.garbled_rotations), (200, &Value::Null, 1));
            }
        }
        let now = scene.secret_now();
        assert!(!known.contains(&now), "{faults:?} changes the secret");
        known.push(now);
        assert_eq!(scene.simulator.faults(), Faults::default());
    }
    let posts = scene.pay().await;
    assert_eq!(posts[0].signature, sign(&scene.secret_now(), &posts[0].body));
}

#[tokio::test]
async fn slow_rotations_change_the_secret_also_when_nobody_waits() {
    let scene =
        Scene::with(Faults { rotation_answer_delay_ms: 600_000, ..Faults::default() }, Variants::default()).await;
    let url = format!("{}/webhooks/{}/rotate-secret", scene.simulator.api_url(), scene.webhook);
    let send = || tokio::spawn(http().post(&url).header("X-API-Key", "fk_test_a").send());
    let calls = || scene.simulator.counters().api_calls;
    let call = send();
    eventually("changed at once", async || scene.simulator.counters().rotations == 1).await;
    let after_first = scene.secret_now();
    assert_ne!(after_first, scene.secret.expose());
    assert!(!call.is_finished(), "answered late");
    call.abort();

    scene.simulator.set_faults(Faults { rotation_delay_ms: 600, ..Faults::default() }).unwrap();
    let before = calls();
    let call = send();
    eventually("the call is there", async || calls() > before).await;
    call.abort();
    eventually("the secret is changed", async || scene.secret_now() != after_first).await;
    scene.simulator.set_faults(Faults { rotation_delay_ms: 600_000, ..Faults::default() }).unwrap();
    let (before, after_second) = (calls(), scene.secret_now());
    let _waiting = send();
    eventually("the call is there", async || calls() > before).await;
    assert_eq!(scene.secret_now(), after_second, "not changed yet");
    // What still waits to answer does not keep it from stopping.
    tokio::time::timeout(PATIENCE, scene.simulator.stop()).await.unwrap();
}

#[tokio::test]
async fn a_creation_that_is_done_and_not_told() {
    let simulator =
        alone(Options { faults: Faults { lost_creates: 1, ..Faults::default() }, ..Options::default() }).await;
    let new = json!({"url": URL, "events": ["a"]});
    assert!(try_call(&simulator, "POST", "/webhooks", new).await.is_err());
    assert_eq!(simulator.webhooks()[0].url, URL);
}
