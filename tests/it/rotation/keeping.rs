//! How secrets are stored: across a restart, on the disk, and under which key.

use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use finkare_relay::{
    model::{audit::NewAudit, id::EndpointName, secret::Secret},
    secrets::vault::Vault,
};
use serde_json::json;

use super::{SECRETS, Scene, fingerprint, forged};
use crate::support::{
    eventually,
    fake_finkare::{API_KEY, Then, Turn},
    load::Again,
    relay::{Backend, MASTER_KEY, SECRET, on_both_stores},
};

on_both_stores!(
    a_restart_does_not_revive_a_configured_secret,
    no_secret_is_on_the_disk,
    another_master_key_is_told_at_the_start,
    a_damaged_row_is_told_and_blocks_nothing_else,
);

async fn a_restart_does_not_revive_a_configured_secret(backend: Backend) {
    let mut scene = Scene::new(backend).await;
    scene.rotate_well(0, 1).await;
    let new = scene.fake.secret();
    scene.eventually_answers(SECRET, 401).await;
    // The configuration still contains the first secret.
    scene.restart().await;
    assert_eq!(scene.status_of(SECRET).await, 401);
    assert_eq!(scene.status_of(&new).await, 200);
    let rows = scene.relays[0].all(SECRETS).await;
    let shown: Vec<_> = rows.iter().map(|row| (row["fingerprint"].clone(), row["state"].clone())).collect();
    assert_eq!(
        shown,
        [(json!(fingerprint(&new)), json!("active")), (json!(fingerprint(SECRET)), json!("expired"))],
        "{rows:?}"
    );
    // The next rotation retires the secret that Finkare has now.
    scene.rotate_well(0, 3600).await;
    assert_eq!(scene.status_of(&new).await, 200);
    assert_eq!(scene.status_of(&scene.fake.secret()).await, 200);
    scene.end(&[]).await;
}

/// A text in clear, in hexadecimal digits, and in base64 at each of its three possible offsets.
fn disguises(text: &str) -> Vec<String> {
    let mut all = vec![text.to_owned(), hex::encode(text), hex::encode_upper(text)];
    for offset in 0..3 {
        let shifted = [&vec![b'x'; offset], text.as_bytes()].concat();
        let encoded = BASE64_STANDARD.encode(shifted);
        // Without the digits that depend on the neighbours.
        all.push(encoded[if offset == 0 { 0 } else { 4 }..encoded.len() - 4].to_owned());
    }
    all
}

fn holds(bytes: &[u8], text: &str) -> bool {
    // The search texts are ASCII, which this conversion does not change.
    let bytes = String::from_utf8_lossy(bytes);
    disguises(text).iter().any(|part| bytes.contains(part))
}

async fn no_secret_is_on_the_disk(backend: Backend) {
    let mut scene = Scene::with_timeout(backend, 2).await;
    let load = scene.load(Again::Resigned);
    scene.rotate_well(0, 0).await;
    // Also the secrets that came with an error, or were lost.
    scene.fake.next([Turn::changing(Then::Status(500)), Turn::changing(Then::Garbage)]);
    let (status, _) = scene.rotate(1, &json!({})).await;
    assert_eq!(status, 502);
    eventually("it is healed", async || {
        scene.deliver(&scene.fake.secret()).await.iter().all(|shot| shot.status == 200)
    })
    .await;
    scene.rotate_well(0, 3600).await;
    let shots = load.stop().await;

    let known = fingerprint(&scene.fake.secret());
    let secrets = scene.fake.secrets();
    let look = |place: &str, bytes: &[u8]| {
        for secret in secrets.iter().map(String::as_str).chain([API_KEY]) {
            assert!(!holds(bytes, secret), "{place} holds {}", fingerprint(secret));
        }
    };
    // While the service runs, including SQLite's files beside the database …
    let mut found = look_into(scene.home.directory.path(), &known, &look);
    if backend == Backend::Postgres {
        let program = crate::support::postgres::program("pg_dump").expect("pg_dump comes with Postgres");
        let dump =
            std::process::Command::new(program).arg(scene.home.store_url()).output().expect("pg_dump can be run");
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        look("the dump", &dump.stdout);
        found |= holds(&dump.stdout, &known);
    }
    assert!(found, "the search does not even find the fingerprint");
    // … and after it has ended; `end` searches the logs.
    scene.restart().await;
    look_into(scene.home.directory.path(), &known, &look);
    scene.end(&shots).await;
}

/// Searches every file below a directory except the configuration; true if one contains `known`.
fn look_into(directory: &Path, known: &str, look: &impl Fn(&str, &[u8])) -> bool {
    let mut found = false;
    for entry in std::fs::read_dir(directory).expect("the directory is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found |= look_into(&path, known, look);
        } else if path.file_name().is_none_or(|name| name != "relay.toml") {
            // A file that SQLite has just removed contains nothing.
            let bytes = std::fs::read(&path).unwrap_or_default();
            look(&path.display().to_string(), &bytes);
            found |= holds(&bytes, known);
        }
    }
    found
}

async fn a_damaged_row_is_told_and_blocks_nothing_else(backend: Backend) {
    let mut scene = Scene::new(backend).await;
    let lost = forged();
    let store = scene.home.store().await;
    let (endpoint, secret) = (EndpointName::new("production").unwrap(), Secret::new(lost.as_str()));
    let mut sealed = Vault::new(&Secret::new(MASTER_KEY)).unwrap().seal(&endpoint, &secret);
    *sealed.sealed.last_mut().unwrap() ^= 1;
    let audit = NewAudit::new("tests", "secret.configured", "endpoint/production");
    store.seed_secrets(&endpoint, &[sealed], audit).await.unwrap();
    store.close().await;
    scene.restart().await;
    let attention = async |scene: &Scene| scene.relays[0].get("/endpoints").await["data"][0]["attention"].clone();
    let told = attention(&scene).await;
    assert!(told.as_array().unwrap().len() == 1 && told[0].as_str().unwrap().contains(&fingerprint(&lost)), "{told}");
    for relay in &mut scene.relays {
        let line = relay.wait_for_line("a stored secret cannot be used").await;
        assert!(line.contains(&fingerprint(&lost)) && line.contains("production"), "{line}");
    }
    let mut check = scene.home.command();
    check.arg("check");
    let output = tokio::task::spawn_blocking(move || check.output()).await.unwrap().expect("it can be run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && said.contains(&fingerprint(&lost)), "{said}");

    assert_eq!(scene.status_of(SECRET).await, 200);
    for shot in scene.deliver(&lost).await {
        assert!(shot.status == 503 && shot.retry_after.is_some(), "it may be genuine: {shot:?}");
    }
    // A rotation works as usual, and retires the damaged secret with the others.
    scene.rotate_well(0, 3600).await;
    assert_eq!(scene.status_of(&scene.fake.secret()).await, 200);
    // A secret that is given again can be decrypted.
    let body = json!({"secret": lost});
    let (status, settled) = scene.relays[0].try_post_json("/endpoints/production/settle", &body).await;
    assert_eq!((status, &settled["fingerprint"]), (200, &json!(fingerprint(&lost))), "{settled}");
    assert_eq!(scene.status_of(&lost).await, 200);
    assert_eq!((attention(&scene).await, scene.status_of(&forged()).await), (json!([]), 401));
    scene.logs.push(said);
    scene.end(&[]).await;
}

async fn another_master_key_is_told_at_the_start(backend: Backend) {
    let mut scene = Scene::new(backend).await;
    scene.rotate_well(0, 3600).await;
    for relay in scene.relays.drain(..) {
        scene.logs.push(relay.terminate().await.1);
    }
    for key in [BASE64_STANDARD.encode([9; 32]), "not a key".to_owned()] {
        let mut command = scene.home.command();
        command.arg("serve").env("RELAY_MASTER_KEY", &key);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("it can be run");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(matches!(output.status.code(), Some(1 | 2)), "{:?}: {said}", output.status);
        assert!(said.contains("RELAY_MASTER_KEY") && !said.contains("panicked"), "{said}");
        assert!(!said.contains(&key), "{said}");
        scene.logs.push(said);
    }
    // Nothing was damaged.
    scene.relays.push(scene.home.start().await);
    assert_eq!(scene.status_of(&scene.fake.secret()).await, 200);
    assert_eq!(scene.status_of(SECRET).await, 200);
    scene.end(&[]).await;
}
