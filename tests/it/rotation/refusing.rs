//! Rotations that Finkare refuses: nothing changes, and nothing is left behind.

use serde_json::json;

use super::{SECRETS, Scene, fingerprint, forged};
use crate::support::{
    fake_finkare::{Then, Turn},
    load::{Again, assert_all_accepted},
    relay::{Backend, SECRET, on_both_stores},
};

on_both_stores!(what_finkare_refuses_changes_nothing, what_cannot_be_asked_for_is_not_asked);

async fn what_finkare_refuses_changes_nothing(backend: Backend) {
    let scene = Scene::new(backend).await;
    let load = scene.load(Again::Never);
    for status in [401, 403, 404, 429] {
        let refusal = if status == 429 { Then::Limited(Some(0)) } else { Then::Status(status) };
        scene.fake.henceforth(Turn::refusing(refusal));
        let (answered, problem) = scene.rotate(usize::from(status), &json!({})).await;
        assert_eq!((answered, problem["code"].as_str()), (502, Some("finkare_refused")), "{problem}");
        let code = format!("X_{status}");
        let finkare = &problem["finkare"];
        assert_eq!((&finkare["status"], &finkare["code"]), (&json!(status), &json!(code)), "{problem}");
        assert_eq!(finkare["request_id"], "req_0e0e0e", "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(&code), "{problem}");
        assert_eq!(scene.status_of(SECRET).await, 200);
        // No change is in progress or in doubt: 401, not 503.
        assert_eq!(scene.status_of(&forged()).await, 401);
    }
    let rows = scene.relays[0].all(SECRETS).await;
    assert!(rows.len() == 1 && rows[0]["state"] == "active", "{rows:?}");

    scene.fake.henceforth(Turn::PLAIN);
    scene.rotate_well(0, 3600).await;
    assert_eq!(scene.status_of(&scene.fake.secret()).await, 200);
    // After a 429 the call is made four times in total, as in the vendor's SDK; the service makes no further call by itself.
    assert_eq!(scene.fake.rotations().len(), 3 + 4 + 1);
    load.answered(50).await;
    let shots = load.stop().await;
    assert_all_accepted(&shots, 1);
    scene.end(&shots).await;
}

async fn what_cannot_be_asked_for_is_not_asked(backend: Backend) {
    let scene = Scene::new(backend).await;
    for body in [json!({"overlap_secs": -1}), json!({"overlap_secs": "1"}), json!({"overlap": 1}), json!([])] {
        let (status, problem) = scene.rotate(0, &body).await;
        assert!(status == 400 || status == 422, "{body}: {status} {problem}");
    }
    let (status, problem) = scene.rotate(0, &json!({"overlap_secs": 2_592_001})).await;
    assert!(status == 400 || status == 422, "{problem}");
    let (status, problem) = scene.relays[0].try_post("/endpoints/nobody/rotate-secret").await;
    assert_eq!(status, 404, "{problem}");
    let plain = reqwest::Method::POST;
    let unsigned = format!("http://{}/api/v1/endpoints/production/rotate-secret", scene.relays[0].admin);
    assert_eq!(scene.client.request(plain, unsigned).send().await.unwrap().status(), 401, "no token");
    assert_eq!(scene.fake.rotations().len(), 0);
    let rows = scene.relays[0].all(SECRETS).await;
    assert_eq!(rows[0]["fingerprint"], fingerprint(SECRET));
    scene.end(&[]).await;
}
