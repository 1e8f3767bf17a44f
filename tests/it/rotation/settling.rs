//! Doubts that end: Finkare never shows the secret, the service stops asking, and a person says which secret is right.

use std::{
    io::Write,
    process::{Output, Stdio},
    sync::Arc,
};

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{SECRETS, Scene, api_of, fingerprint, forged};
use crate::support::{
    eventually,
    fake_finkare::{Then, Turn, WEBHOOK},
    relay::{Backend, Relay, SECRET, on_both_stores},
};

on_both_stores!(
    a_secret_given_to_settle_ends_the_doubt,
    a_secret_that_is_configured_ends_the_doubt,
    a_configured_secret_ends_a_doubt_that_would_still_heal,
    the_secret_that_we_have_may_be_right,
    what_cannot_be_settled_is_not,
    of_two_people_who_rotate_in_doubt_one_is_told_so,
);

const SETTLE: &str = "/endpoints/production/settle";

async fn endpoint(relay: &Relay) -> Value {
    relay.get("/endpoints").await["data"][0].clone()
}

/// The sum of a metric's line over all replicas.
async fn counted(scene: &Scene, result: &str) -> u64 {
    let line = format!("relay_rotations_total{{endpoint=\"production\",result=\"{result}\"}} ");
    let mut sum = 0;
    for relay in &scene.relays {
        let text =
            scene.client.get(format!("http://{}/metrics", relay.admin)).send().await.unwrap().text().await.unwrap();
        sum += text.lines().find_map(|text| text.strip_prefix(&line)).unwrap().parse::<u64>().unwrap();
    }
    sum
}

/// Runs a command against the first replica, with this text on its standard input.
async fn command(scene: &Scene, arguments: &[&str], variables: &[(&str, &str)], input: &str) -> (i32, String) {
    let mut command = scene.home.command();
    command.args(arguments).envs(variables.iter().copied());
    if arguments[0] != "check" {
        command.args(["--admin-url", &format!("http://{}", scene.relays[0].admin)]);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("the binary was built with the tests");
        // A command that does not read its input may have ended already.
        let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
        child.wait_with_output().expect("it can be waited for")
    })
    .await
    .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    for secret in scene.fake.secrets() {
        assert!(!said.contains(&secret), "{said}");
    }
    (status.code().unwrap_or(-1), said)
}

/// Every delivery with Finkare's secret is asked to retry, and deliveries with the previous secret are accepted.
async fn nobody_knows(scene: &Scene) {
    assert_eq!(scene.status_of(SECRET).await, 200, "the secret before is in force");
    for shot in scene.deliver(&scene.fake.secret()).await {
        assert!(shot.status == 503 && shot.retry_after.is_some(), "{shot:?}");
    }
}

/// Finkare's secret is accepted, and no switch has happened or will happen again.
async fn is_settled(scene: &Scene, rotations: usize) {
    assert_eq!(scene.status_of(&scene.fake.secret()).await, 200);
    let row = endpoint(&scene.relays[0]).await;
    assert_eq!(
        (&row["state"], &row["intent"], &row["attention"]),
        (&json!("settled"), &Value::Null, &json!([])),
        "{row}"
    );
    assert_eq!(row["fingerprint"], fingerprint(&scene.fake.secret()), "{row}");
    scene.eventually_answers(&forged(), 401).await;
    assert_eq!(scene.fake.rotations().len(), rotations, "nothing was switched again");
}

/// A scene in which Finkare switches each time but never shows a secret, until the service has stopped asking.
async fn lost(backend: Backend) -> Scene {
    let scene = Scene::new(backend).await;
    scene.fake.henceforth(Turn::changing(Then::Nothing));
    let (status, problem) = scene.rotate(0, &json!({})).await;
    assert_eq!((status, problem["code"].as_str()), (502, Some("finkare_unreadable")), "{problem}");
    eventually("healing stops", async || endpoint(&scene.relays[0]).await["intent"]["heals_itself"] == false).await;
    scene
}

/// The endpoint's row in that case, after this number of tries.
async fn is_left_to_a_person(scene: &Scene, tries: u32) {
    let row = endpoint(&scene.relays[0]).await;
    let intent = &row["intent"];
    assert_eq!((&row["state"], &intent["heals_itself"]), (&json!("unknown"), &json!(false)), "{row}");
    // Every call to Finkare is first counted in the store.
    assert_eq!((&intent["tries"], &intent["unreadable"]), (&json!(tries), &json!(tries)), "{row}");
    let attention = row["attention"][0].as_str().expect("it says what to do");
    assert!(attention.contains("finkare-relay endpoints settle production"), "{attention}");
    assert_eq!(scene.fake.rotations().len(), tries as usize);
    nobody_knows(scene).await;
}

async fn a_secret_given_to_settle_ends_the_doubt(backend: Backend) {
    let mut scene = lost(backend).await;
    is_left_to_a_person(&scene, 3).await;
    assert_eq!((counted(&scene, "stopped").await, counted(&scene, "uncertain").await), (1, 3));
    let (code, said) = command(&scene, &["check"], &[], "").await;
    assert!(code == 1 && said.contains("FAIL  endpoint production"), "{said}");
    assert!(said.contains("endpoints settle production"), "{said}");
    let (code, said) = command(&scene, &["endpoints", "list"], &[], "").await;
    assert!(code == 0 && said.contains("unknown") && said.contains("endpoints settle production"), "{said}");

    // A restart does not begin again: each process has completed a whole round when it logs this.
    scene.restart().await;
    for relay in &mut scene.relays {
        relay.wait_for_line("does not ask again by itself: deliveries that fit").await;
    }
    is_left_to_a_person(&scene, 3).await;
    // A rotation that a person requests is tried once.
    let (status, problem) = scene.rotate(1, &json!({})).await;
    assert_eq!((status, problem["code"].as_str()), (502, Some("finkare_unreadable")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("endpoints settle production"), "{problem}");
    is_left_to_a_person(&scene, 4).await;

    let secret = scene.fake.secret();
    let (code, said) = command(&scene, &["endpoints", "settle", "production"], &[], &format!("{secret}\n")).await;
    assert!(code == 0 && said.contains(&fingerprint(&secret)), "{said}");
    is_settled(&scene, 4).await;
    let entry = scene.relays[0].get("/audit?limit=1").await["data"][0].clone();
    assert_eq!((&entry["action"], &entry["actor"]), (&json!("secret.settled"), &json!("tests")), "{entry}");
    assert_eq!(entry["detail"]["fingerprint"], fingerprint(&secret), "{entry}");
    scene.restart().await;
    is_settled(&scene, 4).await;
    // The next rotation is like any other.
    scene.fake.henceforth(Turn::PLAIN);
    scene.rotate_well(0, 3600).await;
    is_settled(&scene, 5).await;
    scene.end(&[]).await;
}

/// The operator writes Finkare's secret into the configuration, in addition to the previous one.
fn configure(scene: &Scene) {
    let endpoint = format!(
        "secrets = [\"{}\", \"{SECRET}\"]\nwebhook_id = \"{WEBHOOK}\"\n{}",
        scene.fake.secret(),
        api_of(&scene.fake, 20)
    );
    scene.home.configure("", &endpoint, "");
}

async fn a_secret_that_is_configured_ends_the_doubt(backend: Backend) {
    let mut scene = lost(backend).await;
    configure(&scene);
    scene.restart().await;
    is_settled(&scene, 3).await;
    let rows = scene.relays[0].all("/audit").await;
    let settled = rows.iter().find(|row| row["action"] == "intent.settled").unwrap_or_else(|| panic!("{rows:?}"));
    assert_eq!(settled["detail"]["fingerprint"], fingerprint(&scene.fake.secret()));
    // The same again, without a restart.
    let (status, problem) = scene.rotate(0, &json!({})).await;
    assert_eq!(status, 502, "{problem}");
    eventually("healing stops", async || endpoint(&scene.relays[0]).await["intent"]["heals_itself"] == false).await;
    assert_eq!(scene.fake.rotations().len(), 6);
    configure(&scene);
    for relay in &scene.relays {
        relay.post("/reload").await;
    }
    is_settled(&scene, 6).await;
    scene.end(&[]).await;
}

/// A doubt that the service will heal by itself, but only after some minutes.
async fn doubted(backend: Backend, turn: Turn) -> Scene {
    let scene = Scene::new(backend).await;
    scene.fake.henceforth(Turn::refusing(Then::Later(503, 600)));
    scene.fake.next([turn]);
    let (status, problem) = scene.rotate(0, &json!({})).await;
    assert_eq!(status, 502, "{problem}");
    eventually("the service has asked again and been put off", async || {
        let row = endpoint(&scene.relays[0]).await;
        row["state"] == "unknown" && row["intent"]["tries"] == 2
    })
    .await;
    assert_eq!(endpoint(&scene.relays[0]).await["intent"]["heals_itself"], true);
    assert_eq!(scene.fake.rotations().len(), 2);
    scene
}

async fn a_configured_secret_ends_a_doubt_that_would_still_heal(backend: Backend) {
    let mut scene = doubted(backend, Turn::changing(Then::Status(408))).await;
    nobody_knows(&scene).await;
    configure(&scene);
    scene.restart().await;
    is_settled(&scene, 2).await;
    scene.end(&[]).await;
}

async fn the_secret_that_we_have_may_be_right(backend: Backend) {
    let scene = doubted(backend, Turn::refusing(Then::Status(409))).await;
    let (code, said) = command(&scene, &["endpoints", "settle", "production", "--current"], &[], "").await;
    assert!(code == 0 && said.contains(&fingerprint(SECRET)), "{said}");
    is_settled(&scene, 2).await;
    let (status, again) = scene.relays[0].try_post_json(SETTLE, &json!({"current": true})).await;
    assert_eq!((status, &again["settled"], &again["ended"]), (200, &json!(true), &Value::Null), "{again}");
    scene.end(&[]).await;
}

async fn what_cannot_be_settled_is_not(backend: Backend) {
    let scene = Scene::new(backend).await;
    let given = forged();
    for (body, code) in [
        (json!({}), "bad_body"),
        (json!({"current": false}), "bad_body"),
        (json!({"secret": given, "current": true}), "bad_body"),
        (json!({"secrets": [given]}), "bad_body"),
        (json!({"current": given}), "bad_body"),
        (json!({"secret": [given]}), "bad_body"),
        (json!(given), "bad_body"),
        (json!({"secret": ""}), "invalid_secret"),
        (json!({"secret": "whsec_****"}), "invalid_secret"),
        (json!({"secret": format!("{given} {given}")}), "invalid_secret"),
    ] {
        let (status, problem) = scene.relays[0].try_post_json(SETTLE, &body).await;
        assert_eq!((status, problem["code"].as_str()), (422, Some(code)), "{body}: {problem}");
        assert!(!problem.to_string().contains(&given), "{problem}");
    }
    let (status, problem) = scene.relays[0].try_post_json("/endpoints/nobody/settle", &json!({"current": true})).await;
    assert_eq!(status, 404, "{problem}");
    let unsigned = scene.client.post(format!("http://{}/api/v1{SETTLE}", scene.relays[0].admin));
    assert_eq!(unsigned.send().await.unwrap().status(), 401, "no token");
    for (arguments, variables) in [
        (&["endpoints", "settle", "production"][..], &[][..]),
        (&["endpoints", "settle", "production", "--secret-env", "NOT_SET"], &[]),
        (&["endpoints", "settle", "production", "--secret-env", "BLANK"], &[("BLANK", " ")]),
        (&["endpoints", "settle", "production", "--secret-file", "no-such-file"], &[]),
        (&["endpoints", "settle", "nobody", "--current"], &[]),
    ] {
        let (code, said) = command(&scene, arguments, variables, "").await;
        assert_eq!(code, 1, "{arguments:?}: {said}");
    }
    let (code, _) =
        command(&scene, &["endpoints", "settle", "production", "--current", "--secret-env", "X"], &[], "").await;
    assert_eq!(code, 2, "one of the two");

    // While Finkare is being asked, the secret that a person has seen may already be out of date.
    let gate = Arc::new(Semaphore::new(0));
    scene.fake.next([Turn::changing(Then::Gate(gate.clone()))]);
    let asking = async {
        eventually("Finkare is asked", async || scene.fake.rotations().len() == 1).await;
        let (status, problem) = scene.relays[0].try_post_json(SETTLE, &json!({"secret": forged()})).await;
        assert_eq!((status, problem["code"].as_str()), (409, Some("rotation_in_flight")), "{problem}");
        gate.add_permits(1);
    };
    let body = json!({});
    let ((status, answer), ()) = tokio::join!(scene.rotate(0, &body), asking);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(scene.relays[0].all(SECRETS).await.len(), 2, "what could not count was not kept");

    // A file or a variable works as well, and a retired secret is valid again if a person says so.
    std::fs::write(scene.home.path("secret"), format!(" {SECRET}\n")).unwrap();
    let (code, said) =
        command(&scene, &["endpoints", "settle", "production", "--secret-file", "secret"], &[], "").await;
    assert!(code == 0 && said.contains(&fingerprint(SECRET)), "{said}");
    let now = scene.fake.secret();
    let from = ["endpoints", "settle", "production", "--secret-env", "NOW"];
    let (code, said) = command(&scene, &from, &[("NOW", &now)], "").await;
    assert!(code == 0 && said.contains(&fingerprint(&now)), "{said}");
    let rows = scene.relays[0].all(SECRETS).await;
    assert!(rows.len() == 2 && rows.iter().all(|row| row["state"] == "active"), "{rows:?}");
    is_settled(&scene, 1).await;
    scene.end(&[]).await;
}

async fn of_two_people_who_rotate_in_doubt_one_is_told_so(backend: Backend) {
    let scene = doubted(backend, Turn::changing(Then::Cut)).await;
    let gate = Arc::new(Semaphore::new(0));
    scene.fake.henceforth(Turn::PLAIN);
    scene.fake.next([Turn::changing(Then::Gate(gate.clone()))]);
    let body = json!({"overlap_secs": 3600});
    let one = scene.rotate(0, &body).boxed();
    let two = scene.rotate(1, &body).boxed();
    // The second caller learns at once that a rotation is in progress.
    let ((status, answer), _, first) = futures_util::future::select_all([one, two]).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("rotation_in_flight")), "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("requested by `tests`"), "{answer}");
    gate.add_permits(1);
    let ((status, answer), ..) = futures_util::future::select_all(first).await;
    assert_eq!((status, &answer["fingerprint"]), (200, &json!(fingerprint(&scene.fake.secret()))), "{answer}");
    is_settled(&scene, 3).await;
    scene.end(&[]).await;
}
