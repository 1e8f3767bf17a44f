//! Rotations whose outcome is not known: an answer is lost, or a process is killed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::sync::Semaphore;

use super::{Scene, fingerprint, forged};
use crate::support::{
    eventually,
    fake_finkare::{Then, Turn},
    load::{Again, Load, assert_all_accepted, shoot},
    relay::{Backend, SECRET, on_both_stores},
};

on_both_stores!(
    an_error_of_finkares_server_is_healed,
    an_answer_that_leaves_it_open_is_healed,
    a_cut_connection_is_healed,
    silence_is_healed,
    the_next_rotation_takes_over,
    a_kill_between_the_change_and_the_commit_is_healed,
);

/// The longest acceptable time until a crash is healed.
const HEALED_WITHIN: Duration = Duration::from_secs(20);

/// Rotations that end in this way are logged, leave the previous secret in force, reject no delivery, and heal.
async fn heals(backend: Backend, turns: impl IntoIterator<Item = (Turn, Option<&str>)>) {
    let scene = Scene::with_timeout(backend, 2).await;
    let load = scene.load(Again::Resigned);
    let (mut known, mut all_lost) = (SECRET.to_owned(), Vec::new());
    for (round, (turn, code)) in turns.into_iter().enumerate() {
        // Healing does not start before the test has checked the state.
        scene.fake.henceforth(Turn::refusing(Then::Status(503)));
        scene.fake.next([turn]);
        let (status, problem) = scene.rotate(round, &json!({"overlap_secs": 3600})).await;
        assert_eq!((status, problem["finkare"]["code"].as_str()), (502, code), "{problem}");
        assert_eq!(scene.status_of(&known).await, 200, "the secret before is in force");
        let lost = scene.fake.secret();
        for unknown in [&lost, &forged()] {
            if *unknown == known {
                continue;
            }
            for shot in scene.deliver(unknown).await {
                // Finkare may have switched to it.
                assert!(shot.status == 503 && shot.retry_after.is_some(), "{shot:?}");
            }
        }
        let calls = scene.fake.rotations().len();
        scene.fake.henceforth(Turn::PLAIN);
        eventually("it is asked again", async || scene.fake.rotations().len() > calls).await;
        eventually("the new secret is accepted", async || {
            scene.deliver(&scene.fake.secret()).await.iter().all(|shot| shot.status == 200)
        })
        .await;
        if lost != known {
            all_lost.push(lost);
        }
        assert_eq!(scene.status_of(&known).await, 200, "the overlap");
        known = scene.fake.secret();
    }
    // Not at once: a delivery that was signed before the healing may still be on its way.
    scene.eventually_answers(&forged(), 401).await;
    for lost in all_lost {
        assert_eq!(scene.status_of(&lost).await, 401, "nobody ever knew it");
    }
    load.answered(20).await;
    let shots = load.stop().await;
    assert_all_accepted(&shots, u32::MAX);
    scene.end(&shots).await;
}

async fn an_error_of_finkares_server_is_healed(backend: Backend) {
    let turns = [
        (Turn::changing(Then::Status(500)), Some("X_500")),
        (Turn::refusing(Then::Status(503)), Some("X_503")),
        (Turn::changing(Then::Garbage), None),
    ];
    heals(backend, turns).await;
}

/// Finkare has switched, but its answer sounds like a refusal.
async fn an_answer_that_leaves_it_open_is_healed(backend: Backend) {
    let turns = [
        (Turn::changing(Then::Status(408)), Some("X_408")),
        (Turn::changing(Then::Status(409)), Some("X_409")),
        (Turn::changing(Then::Status(425)), Some("X_425")),
        (Turn::changing(Then::Status(302)), Some("X_302")),
        (Turn::changing(Then::Unsuccessful), Some("X_200")),
    ];
    heals(backend, turns).await;
}

async fn a_cut_connection_is_healed(backend: Backend) {
    heals(backend, [(Turn::changing(Then::Cut), None), (Turn::refusing(Then::Cut), None)]).await;
}

async fn silence_is_healed(backend: Backend) {
    heals(backend, [(Turn::changing(Then::Silence), None), (Turn::refusing(Then::Silence), None)]).await;
}

async fn the_next_rotation_takes_over(backend: Backend) {
    let scene = Scene::new(backend).await;
    let state = async || scene.relays[0].get("/endpoints").await["data"][0].clone();
    // Finkare has asked for a pause, so the service would ask again only in ten minutes.
    scene.fake.henceforth(Turn::refusing(Then::Later(503, 600)));
    scene.fake.next([Turn::changing(Then::Cut)]);
    let (status, problem) = scene.rotate(0, &json!({})).await;
    assert_eq!(status, 502, "{problem}");
    eventually("the service has asked again", async || {
        let row = state().await;
        row["state"] == "unknown" && row["intent"]["tries"] == 2
    })
    .await;
    scene.fake.henceforth(Turn::PLAIN);
    scene.rotate_well(1, 3600).await;
    assert_eq!(scene.fake.rotations().len(), 3, "at once, and once");
    assert_eq!(scene.status_of(&scene.fake.secret()).await, 200);
    scene.eventually_answers(&forged(), 401).await;

    // The service is healing at this moment: a person who asks for a rotation waits until it has ended, and then
    // rotates.
    let gate = Arc::new(Semaphore::new(0));
    scene.fake.next([Turn::changing(Then::Cut), Turn::changing(Then::Gate(gate.clone()))]);
    let (status, problem) = scene.rotate(0, &json!({})).await;
    assert_eq!(status, 502, "{problem}");
    eventually("the service asks again", async || scene.fake.rotations().len() == 5).await;
    let asked = async {
        // It takes too long for this caller: 409, and Finkare was not asked.
        let (status, problem) = scene.rotate(1, &json!({})).await;
        assert_eq!((status, problem["code"].as_str()), (409, Some("rotation_in_flight")), "{problem}");
        assert_eq!(scene.fake.rotations().len(), 5);
    };
    asked.await;
    let body = json!({});
    let mut waiting = Box::pin(scene.rotate(1, &body));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    gate.add_permits(1);
    let (status, answer) = waiting.await;
    assert_eq!((status, &answer["fingerprint"]), (200, &json!(fingerprint(&scene.fake.secret()))), "{answer}");
    assert_eq!(scene.fake.rotations().len(), 6, "healed, and rotated");
    assert_eq!(scene.status_of(&scene.fake.secret()).await, 200);
    scene.end(&[]).await;
}

async fn a_kill_between_the_change_and_the_commit_is_healed(backend: Backend) {
    let mut scene = Scene::new(backend).await;
    scene.fake.next([Turn::changing(Then::Silence)]);
    let mut rotating = {
        let (client, admin) = (scene.client.clone(), scene.relays[0].admin);
        tokio::spawn(async move {
            let request = client.post(format!("http://{admin}/api/v1{}", super::ROTATE));
            request.bearer_auth(crate::support::relay::TOKEN).timeout(Duration::from_mins(1)).send().await
        })
    };
    eventually("Finkare changes", async || scene.fake.secret() != SECRET).await;
    let lost = scene.fake.secret();
    let killed = scene.relays.remove(0);
    scene.logs.push(killed.kill());
    assert!((&mut rotating).await.unwrap().is_err(), "nobody was told that it was rotated");
    let killed_at = Instant::now();
    if backend == Backend::Sqlite {
        // Healing does not start before the test has checked the state.
        scene.fake.henceforth(Turn::refusing(Then::Status(503)));
        scene.relays.push(scene.home.start().await);
    }
    let load = Load::start(&scene.fake, &scene.hooks(), 8, Again::Resigned);
    let shot = shoot(&scene.client, &scene.hooks()[0], &lost, b"{}".to_vec()).await;
    assert!(shot.status == 503 && shot.retry_after.is_some(), "{shot:?}");
    assert_eq!(scene.status_of(SECRET).await, 200, "the secret before is in force");
    scene.fake.henceforth(Turn::PLAIN);
    eventually("it is asked again", async || scene.fake.secret() != lost).await;
    scene.eventually_answers(&scene.fake.secret(), 200).await;
    assert!(killed_at.elapsed() < HEALED_WITHIN, "{:?}", killed_at.elapsed());
    scene.eventually_answers(&forged(), 401).await;
    if backend == Backend::Postgres {
        assert_eq!(scene.fake.rotations().len(), 2, "once lost, once healed");
    }
    load.answered(20).await;
    let shots = load.stop().await;
    assert_all_accepted(&shots, u32::MAX);
    // The doubt has ended: the next rotation is like any other.
    scene.rotate_well(0, 3600).await;
    assert_eq!(scene.status_of(&scene.fake.secret()).await, 200);
    scene.end(&shots).await;
}
