//! What a command does to all endpoints, one after the other.

use finkare_simulator::{Options, Simulator};

use super::*;

/// Two companies at Finkare, and an endpoint whose secret the file holds.
async fn companies() -> (Home, Relay, Simulator) {
    let finkare = Simulator::start(Options::default()).await.unwrap();
    let home = Home::new(Backend::Sqlite).await;
    let endpoint = |name: &str| {
        format!(
            "[[endpoints]]\nname = \"{name}\"\npath = \"/webhooks/{name}\"\napi_key = \"fk_test_{name}\"\napi_url = \"{}\"\n\
             api_rate_limit = {{ requests = 100, per_secs = 1 }}\n",
            finkare.api_url()
        )
    };
    let relay = home
        .serve(&format!("{}{}[[sinks]]\nname = \"out\"\ntype = \"stdout\"\n", endpoint("acme"), endpoint("beta")))
        .await;
    (home, relay, finkare)
}

async fn ask(home: &Home, relay: &Relay, arguments: &[&str]) -> (i32, String, String) {
    let mut command = home.command();
    command.env("RELAY_ADMIN_URL", relay.admin.to_string()).args(arguments);
    run(command).await
}

/// The fingerprint of each endpoint's newest secret.
async fn fingerprints(relay: &Relay) -> Vec<String> {
    let endpoints = relay.get("/endpoints").await;
    let of = |name: &str| {
        let row = endpoints["data"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
        row["fingerprint"].as_str().unwrap_or_default().to_owned()
    };
    ["production", "acme", "beta"].into_iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_endpoints_are_registered_and_rotated_and_each_failure_is_told() {
    let (home, relay, finkare) = companies().await;
    let all = ["register", "--all", "--url-base", "https://hooks.example.fr/"];
    let (code, told, besides) = ask(&home, &relay, &all).await;
    assert_eq!((code, told.trim()), (1, "2 of 3 registered."), "{besides}");
    assert!(besides.lines().any(|line| line.starts_with("production: ") && line.contains("api_key")), "{besides}");
    let mut urls: Vec<String> = finkare.webhooks().iter().map(|webhook| webhook.url.clone()).collect();
    urls.sort();
    assert_eq!(urls, ["https://hooks.example.fr/webhooks/acme", "https://hooks.example.fr/webhooks/beta"]);

    // Once more, and nothing is made twice.
    let (code, json, _) = ask(&home, &relay, &[&all[..], &["--json"]].concat()).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    let failed = |json: &Value| -> Vec<(String, bool)> {
        let rows = json["data"].as_array().unwrap();
        rows.iter().map(|row| (row["endpoint"].as_str().unwrap().to_owned(), !row["error"].is_null())).collect()
    };
    let expected =
        [("production", true), ("acme", false), ("beta", false)].map(|(name, failed)| (name.to_owned(), failed));
    assert_eq!((code, failed(&json), &json["not_begun"]), (1, expected.to_vec(), &0.into()));
    assert_eq!(finkare.webhooks().len(), 2);

    let before = fingerprints(&relay).await;
    let (code, told, besides) = ask(&home, &relay, &["rotate-secret", "--all"]).await;
    assert_eq!((code, told.trim()), (1, "2 of 3 rotated."), "{besides}");
    let after = fingerprints(&relay).await;
    let same: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before == after).collect();
    assert_eq!(same, [true, false, false], "{before:?} {after:?}");
    assert!(before.iter().chain(&after).all(|fingerprint| fingerprint.len() == 16), "{before:?} {after:?}");
}
