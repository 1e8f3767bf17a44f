//! A rotation during a reload: the live secrets belong to the process, so that everything that answers deliveries sees
//! the change.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::{SECRET, Scene, WEBHOOK, api_of};
use crate::support::{
    eventually,
    fake_finkare::{FakeFinkare, Turn},
    load::{Again, assert_all_accepted},
    relay::{Backend, on_both_stores},
    target::{Reply, Target},
};

on_both_stores!(a_rotation_beside_a_reload_refuses_nothing);

/// How much later than the rotation the reload begins, in each round.
const STEP: Duration = Duration::from_millis(3);
const ROUNDS: usize = 12;

async fn a_rotation_beside_a_reload_refuses_nothing(backend: Backend) {
    // An attempt hangs during the whole test, and its sink changes with each reload.
    let permits = Arc::new(Semaphore::new(0));
    let hanging = Target::scripted({
        let permits = permits.clone();
        move |_, _| Reply::After(permits.clone())
    })
    .await;
    let fake = FakeFinkare::start().await;
    let endpoint = format!("secret = \"{SECRET}\"\nwebhook_id = \"{WEBHOOK}\"\n{}", api_of(&fake, 20));
    let sinks = format!(
        "[[sinks]]\nname = \"hanging\"\ntype = \"http\"\nurl = \"{}\"\ntimeout_secs = 300\nconcurrency = 1\n",
        hanging.url()
    );
    let scene = Scene::configured(backend, fake, &endpoint, &sinks).await;
    let load = scene.load(Again::Never);
    load.answered(20).await;
    eventually("an attempt hangs", async || !hanging.arrivals().is_empty()).await;
    for round in 0..ROUNDS {
        let path = scene.home.path("relay.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(
            path,
            text.replace(
                &format!("timeout_secs = {}\nconc", 300 - round),
                &format!("timeout_secs = {}\nconc", 299 - round),
            ),
        )
        .unwrap();
        scene.fake.next([Turn::PLAIN.slow_to_answer(Duration::from_millis(60))]);
        let reloading = async {
            tokio::time::sleep(STEP * u32::try_from(round).unwrap()).await;
            for relay in &scene.relays {
                let answer = relay.post("/reload").await;
                assert_eq!(answer["changes"]["sinks"]["changed"], serde_json::json!(["hanging"]), "{answer}");
            }
        };
        tokio::join!(scene.rotate_well(round, 3600), reloading);
        load.answered(20).await;
    }
    let shots = load.stop().await;
    assert_all_accepted(&shots, 1);
    assert_eq!(scene.fake.rotations().len(), ROUNDS);
    permits.add_permits(Semaphore::MAX_PERMITS / 2);
    scene.end(&shots).await;
}
