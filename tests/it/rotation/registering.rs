//! Registering a webhook, and what the sandbox must not do.

use serde_json::json;

use super::{Scene, api_of, forged};
use crate::support::{
    fake_finkare::{FakeFinkare, Then, Turn, URL},
    relay::{Backend, SECRET, on_both_stores},
    target::Target,
};

on_both_stores!(
    a_registered_webhook_is_used_at_once,
    a_registration_that_is_cut_off_is_healed,
    a_registration_that_sounds_refused_makes_no_second_webhook,
    the_sandbox_never_feeds_a_live_sink,
);

/// Runs `register` against the first replica; answers the exit code and the whole output.
async fn register(scene: &Scene, url: &str) -> (i32, String) {
    let mut command = scene.home.command();
    command.args(["register", "--url", url, "--admin-url", &format!("http://{}", scene.relays[0].admin)]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("it can be run");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for secret in scene.fake.secrets() {
        assert!(!said.contains(&secret), "{said}");
    }
    (output.status.code().unwrap_or(-1), said)
}

async fn a_registered_webhook_is_used_at_once(backend: Backend) {
    let fake = FakeFinkare::empty().await;
    let endpoint = api_of(&fake, 20);
    let mut scene = Scene::configured(backend, fake, &endpoint, "").await;
    assert_eq!(scene.status_of(SECRET).await, 401, "there is no secret yet");

    let (code, said) = register(&scene, "http://relay.example/webhooks/finkare").await;
    assert!(code != 0 && said.contains("https"), "{code}: {said}");
    assert_eq!(scene.fake.calls("POST", "/webhooks").len(), 0);

    let (code, said) = register(&scene, URL).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(scene.status_of(&scene.fake.secret()).await, 200, "at once, on every replica");
    assert_eq!(scene.status_of(&forged()).await, 401);

    let (code, said) = register(&scene, URL).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(scene.fake.calls("POST", "/webhooks").len(), 1);
    let webhooks = scene.fake.webhooks();
    assert!(webhooks.len() == 1 && webhooks[0].1 == URL, "{webhooks:?}");

    // The webhook's id is known: it can be rotated, also after a restart.
    scene.rotate_well(1, 3600).await;
    scene.restart().await;
    scene.rotate_well(1, 3600).await;
    assert_eq!(scene.status_of(&scene.fake.secret()).await, 200);
    scene.end(&[]).await;
}

async fn a_registration_that_is_cut_off_is_healed(backend: Backend) {
    let fake = FakeFinkare::empty().await;
    let endpoint = api_of(&fake, 20);
    let scene = Scene::configured(backend, fake, &endpoint, "").await;
    // The webhook was created, but the only answer with its secret was lost.
    scene.fake.next([Turn::changing(Then::Cut)]);
    let (code, said) = register(&scene, URL).await;
    assert_ne!(code, 0, "{said}");
    crate::support::eventually("the webhook is ours", async || {
        scene.fake.webhooks().len() == 1
            && scene.deliver(&scene.fake.secret()).await.iter().all(|shot| shot.status == 200)
    })
    .await;
    assert_eq!(scene.fake.webhooks().len(), 1);
    assert_eq!(scene.fake.calls("POST", "/webhooks").len(), 1);
    scene.eventually_answers(&forged(), 401).await;
    scene.end(&[]).await;
}

async fn a_registration_that_sounds_refused_makes_no_second_webhook(backend: Backend) {
    for then in [Then::Status(408), Then::Status(302), Then::Unsuccessful] {
        let fake = FakeFinkare::empty().await;
        let endpoint = api_of(&fake, 20);
        let scene = Scene::configured(backend, fake, &endpoint, "").await;
        // The webhook was created anyway.
        scene.fake.next([Turn::changing(then)]);
        let (code, said) = register(&scene, URL).await;
        assert!(code == 1 && said.contains("It is not known whether Finkare made the change"), "{code}: {said}");
        let (code, said) = register(&scene, URL).await;
        assert!(code == 0 && said.contains("Finkare already has the webhook"), "{code}: {said}");
        assert_eq!((scene.fake.webhooks().len(), scene.fake.calls("POST", "/webhooks").len()), (1, 1));
        scene.eventually_answers(&scene.fake.secret(), 200).await;
        scene.eventually_answers(&forged(), 401).await;
        scene.end(&[]).await;
    }
}

async fn the_sandbox_never_feeds_a_live_sink(backend: Backend) {
    const KEY: &str = "fk_test_YSBrZXkgb2YgdGhlIHNhbmRib3g";
    let (live, trial) = (Target::start().await, Target::start().await);
    let fake = FakeFinkare::with_key(KEY, true).await;
    let endpoint =
        format!("secret = \"{SECRET}\"\n{}", api_of(&fake, 20).replace(crate::support::fake_finkare::API_KEY, KEY));
    let sinks = format!(
        "[[sinks]]\nname = \"live\"\ntype = \"http\"\nurl = \"{}\"\nlive = true\nevents = \"*\"\n\
         [[sinks]]\nname = \"trial\"\ntype = \"http\"\nurl = \"{}\"\nevents = \"*\"\n",
        live.url(),
        trial.url()
    );
    let scene = Scene::configured(backend, fake, &endpoint, &sinks).await;
    let shots = scene.deliver(SECRET).await;
    for shot in &shots {
        assert_eq!(shot.status, 200, "{shot:?}");
        let event = scene.relays[0].get(&format!("/events/{}", shot.id())).await;
        let sinks: Vec<_> = event["dispatches"].as_array().unwrap().iter().map(|row| row["sink"].clone()).collect();
        assert_eq!(sinks, [json!("trial")], "{event}");
    }
    scene.relays[0].drained().await;
    assert_eq!(trial.delivered().len(), shots.len());
    assert_eq!(live.arrivals().len(), 0);
    scene.end(&[]).await;
}
