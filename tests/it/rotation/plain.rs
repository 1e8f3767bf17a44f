//! Rotations that succeed: regardless of Finkare's speed, every genuine delivery is accepted at its first try.

use std::{sync::Arc, time::Duration};

use finkare_relay::model::clock;
use futures_util::{FutureExt, future::join_all};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{ROTATE, SECRETS, Scene, fingerprint, forged, is_between, time};
use crate::support::{
    eventually,
    fake_finkare::{Then, Turn},
    finkare::payment,
    load::{Again, assert_all_accepted, shoot},
    relay::{Backend, SECRET, on_both_stores},
};

on_both_stores!(
    three_rotations_under_load_drop_nothing,
    what_finkare_signs_before_it_answers_waits,
    a_rotation_that_finkare_puts_off_drops_nothing,
    forged_deliveries_are_refused_and_cost_little,
    the_secret_before_is_good_for_the_overlap,
    two_rotations_at_once_are_one,
);

async fn three_rotations_under_load_drop_nothing(backend: Backend) {
    let scene = Scene::new(backend).await;
    let load = scene.load(Again::Never);
    load.answered(50).await;
    let mut secrets = vec![SECRET.to_owned()];
    for (round, overlap) in [(0, None), (1, Some(7200)), (2, Some(3600))] {
        let asked = clock::now();
        let (status, answer) = match overlap {
            None => scene.relays[0].try_post(ROTATE).await,
            Some(secs) => scene.rotate(round, &json!({"overlap_secs": secs})).await,
        };
        let until = &answer["previous_valid_until"];
        secrets.push(scene.fake.secret());
        let expected =
            json!({"rotated": true, "fingerprint": fingerprint(&scene.fake.secret()), "previous_valid_until": until});
        assert_eq!((status, &answer), (200, &expected));
        let overlap = Duration::from_secs(overlap.unwrap_or(86400));
        assert!(is_between(time(until), asked + overlap, clock::now() + overlap), "{answer}");
        load.answered(50).await;
    }
    let shots = load.stop().await;
    assert_all_accepted(&shots, 1);
    assert_eq!(scene.fake.rotations().len(), 3);

    // Newest first, and only by fingerprint.
    let rows = scene.relays[0].all(SECRETS).await;
    let shown: Vec<_> = rows.iter().map(|row| (row["fingerprint"].clone(), &row["state"], &row["origin"])).collect();
    let of = |number: usize| Value::from(fingerprint(&secrets[number]));
    let (active, retiring, rotated) = (&json!("active"), &json!("retiring"), &json!("rotated"));
    assert_eq!(
        shown,
        [
            (of(3), active, rotated),
            (of(2), retiring, rotated),
            (of(1), retiring, rotated),
            (of(0), retiring, &json!("configured")),
        ]
    );
    for row in &rows {
        let mut names: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["created_at", "fingerprint", "origin", "state", "valid_until"]);
        assert_eq!(row["valid_until"].is_null(), row["state"] == "active", "{row}");
    }
    // All of them are still valid, on every replica.
    for secret in &secrets {
        assert_eq!(scene.status_of(secret).await, 200);
    }
    scene.end(&shots).await;
}

async fn what_finkare_signs_before_it_answers_waits(backend: Backend) {
    let scene = Scene::new(backend).await;
    scene.fake.next([
        Turn::PLAIN.slow_to_answer(Duration::from_millis(1500)),
        Turn::PLAIN.slow_to_answer(Duration::from_millis(2500)),
        Turn::PLAIN.slow_to_change(Duration::from_secs(1)).slow_to_answer(Duration::from_secs(1)),
    ]);
    let load = scene.load(Again::Never);
    load.answered(50).await;
    for round in 0..3 {
        scene.rotate_well(round, 3600).await;
        load.answered(50).await;
    }
    let shots = load.stop().await;
    assert_all_accepted(&shots, 1);
    let waited = shots.iter().filter(|shot| shot.took > Duration::from_secs(1)).count();
    assert!(waited >= 3, "only {waited} deliveries came before the answer: nothing was proved");
    scene.end(&shots).await;
}

async fn a_rotation_that_finkare_puts_off_drops_nothing(backend: Backend) {
    let scene = Scene::new(backend).await;
    for retry_after in [Some(1), None] {
        let later = Turn::refusing(Then::Limited(retry_after));
        let calls = scene.fake.rotations().len();
        scene.fake.next([later.clone(), later]);
        let load = scene.load(Again::Never);
        let forging = async {
            eventually("the first call", async || scene.fake.rotations().len() > calls).await;
            join_all((0..10).map(|_| scene.deliver("whsec_nobody"))).await
        };
        let (_, forged) = tokio::join!(scene.rotate_well(0, 3600), forging);
        for shot in forged.iter().flatten() {
            // No answer within Finkare's 5 seconds would count as 0.
            assert!(shot.status == 401 || shot.status == 503 && shot.retry_after.is_some(), "{shot:?}");
        }
        let times: Vec<_> = scene.fake.rotations()[calls..].iter().map(|call| call.at).collect();
        assert_eq!(times.len(), 3);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(900)), "{times:?}");
        load.answered(50).await;
        let shots = load.stop().await;
        assert_all_accepted(&shots, 1);
        scene.note(&shots);
    }
    scene.end(&[]).await;
}

async fn forged_deliveries_are_refused_and_cost_little(backend: Backend) {
    let scene = Scene::new(backend).await;
    for _ in 0..3 {
        assert_eq!(scene.status_of(&forged()).await, 401);
    }
    for (header, body) in [(None, "unsigned"), (Some("sha256="), "empty"), (Some("not hex"), "malformed")] {
        let request = scene.client.post(scene.relays[0].hook()).body(body);
        let request = header.into_iter().fold(request, |request, value| request.header("X-Finkare-Signature", value));
        assert_eq!(request.send().await.unwrap().status(), 401, "{body}");
    }

    // A flood of forgeries before, during and after a rotation, together with genuine deliveries.
    let load = scene.load(Again::Never);
    load.answered(50).await;
    let hooks = scene.hooks();
    let flood = async |each: usize| {
        let senders = (0..40).map(async |number: usize| {
            let mut shots = Vec::new();
            for _ in 0..each {
                let hook = &hooks[number % hooks.len()];
                shots.push(shoot(&scene.client, hook, &forged(), payment("forged", 1)).await);
            }
            shots
        });
        join_all(senders).await.into_iter().flatten()
    };
    for shot in flood(4).await {
        assert_eq!(shot.status, 401, "nothing is in flight: {shot:?}");
    }
    // Until Finkare answers, a forged delivery cannot be distinguished from one that is signed with the next secret.
    let gate = Arc::new(Semaphore::new(0));
    scene.fake.next([Turn::refusing(Then::Gate(gate.clone()))]);
    let meanwhile = async {
        eventually("Finkare is asked", async || scene.fake.rotations().len() == 1).await;
        for shot in flood(1).await {
            assert!(shot.status == 503 && shot.retry_after.is_some(), "{shot:?}");
        }
        gate.add_permits(1);
    };
    tokio::join!(scene.rotate_well(0, 3600), meanwhile);
    scene.rotate_well(1, 3600).await;
    for shot in flood(4).await {
        assert_eq!(shot.status, 401, "nothing is in flight any more: {shot:?}");
    }
    load.answered(50).await;
    let shots = load.stop().await;
    assert_all_accepted(&shots, 1);
    scene.end(&shots).await;
}

async fn the_secret_before_is_good_for_the_overlap(backend: Backend) {
    let scene = Scene::new(backend).await;
    // Without an overlap, deliveries that Finkare signed just before it switched would be refused: the minimum is ten
    // seconds.
    let asked = clock::now();
    let until = time(&scene.rotate_well(0, 0).await["previous_valid_until"]);
    let least = Duration::from_secs(10);
    assert!(is_between(until, asked + least, clock::now() + least), "{until}");
    assert_eq!(scene.status_of(SECRET).await, 200, "what was signed just before");
    let mut refused = false;
    while !refused {
        // The interval between two checks.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let before = clock::now();
        for shot in scene.deliver(SECRET).await {
            // Replicas and this test share a clock; an answer in between may be either.
            assert!(shot.status == 200 || shot.status == 401, "{shot:?}");
            assert!(shot.status == 200 || clock::now() + Duration::from_millis(1) >= until, "too early: {shot:?}");
            assert!(shot.status == 401 || before <= until + Duration::from_millis(1), "too late: {shot:?}");
            refused |= shot.status == 401;
        }
    }
    assert_eq!(scene.status_of(&scene.fake.secret()).await, 200);
    // The encrypted text is deleted, the fingerprint stays.
    eventually("it expires", async || {
        let rows = scene.relays[0].all(SECRETS).await;
        rows.iter().any(|row| row["fingerprint"] == fingerprint(SECRET) && row["state"] == "expired")
    })
    .await;
    scene.end(&[]).await;
}

async fn two_rotations_at_once_are_one(backend: Backend) {
    let scene = Scene::new(backend).await;
    let gate = Arc::new(Semaphore::new(0));
    scene.fake.next([Turn::changing(Then::Gate(gate.clone()))]);
    let body = json!({"overlap_secs": 3600});
    let one = scene.rotate(0, &body).boxed();
    let two = scene.rotate(1, &body).boxed();
    // The second caller learns at once that a rotation is in progress.
    let ((status, answer), _, first) = futures_util::future::select_all([one, two]).await;
    assert_eq!(status, 409, "{answer}");
    assert_eq!(answer["code"], "rotation_in_flight", "{answer}");
    gate.add_permits(1);
    let ((status, answer), ..) = futures_util::future::select_all(first).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["fingerprint"], fingerprint(&scene.fake.secret()));
    assert_eq!(scene.fake.rotations().len(), 1);
    assert_eq!(scene.status_of(&scene.fake.secret()).await, 200);
    scene.end(&[]).await;
}
