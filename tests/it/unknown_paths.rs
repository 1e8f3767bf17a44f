//! Requests to paths of the public listener that no endpoint has.

use serde_json::{Value, json};

use crate::support::{
    finkare::{Finkare, payment, sign},
    http,
    relay::{Backend, Home, PATH, Relay, SECRET},
};

const NO_SINK: &str = "[[sinks]]\nname = \"none\"\ntype = \"stdout\"\nevents = [\"never.sent\"]\n";

async fn metric(relay: &Relay, name: &str) -> String {
    let text = http().get(format!("http://{}/metrics", relay.admin)).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_to_an_unknown_path_leaves_a_trace() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve(NO_SINK).await;
    let finkare = Finkare::of(&relay);
    let base = format!("http://{}", relay.public);
    assert_eq!(metric(&relay, "relay_unknown_paths_total{signed=\"true\"}").await, "0");
    let body = payment("i", 1);
    let at = |path: &str| {
        let mut elsewhere = finkare.clone();
        elsewhere.url = format!("{base}{path}");
        elsewhere
    };
    for path in [format!("{PATH}/"), "/webhooks/finkrae".to_owned(), "/elsewhere\u{1b}[31m".to_owned()] {
        let answer = at(&path).deliver(&body).await;
        assert_eq!((answer.status, &answer.body["code"]), (404, &json!("no_such_path")), "{path}");
    }
    for _ in 0..5 {
        assert_eq!(at("/wp-login.php").post(body.clone(), None).await.status, 404);
    }
    assert_eq!(metric(&relay, "relay_unknown_paths_total{signed=\"true\"}").await, "3");
    assert_eq!(metric(&relay, "relay_unknown_paths_total{signed=\"false\"}").await, "5");

    let rows = relay.all("/refusals").await;
    assert_eq!(rows.len(), 3, "only what carries the signature's header: {rows:?}");
    for (row, words) in rows.iter().rev().zip([
        [
            "No endpoint has the path `/webhooks/finkare/`",
            "`production` is at `/webhooks/finkare`: they differ by a slash",
        ],
        ["No endpoint has the path `/webhooks/finkrae`", "is there a typo?"],
        ["No endpoint has the path `/elsewhere%1B[31m`", "`/webhooks/finkare` (production)"],
    ]) {
        assert_eq!(row["reason"], "unknown_path");
        assert_eq!((&row["status"], &row["endpoint"]), (&json!(404), &json!(null)));
        assert_eq!((&row["body_bytes"], &row["signature_header"]["bytes"]), (&json!(body.len()), &json!(64)));
        let explanation = row["explanation"].as_str().unwrap();
        assert!(words.iter().all(|word| explanation.contains(word)), "{explanation}");
    }
    assert!(relay.all("/refusals?endpoint=production").await.is_empty());
    let list = home.command().args(["refusals", "list", "--admin-url", &format!("http://{}", relay.admin)]).output();
    let list = String::from_utf8(list.unwrap().stdout).unwrap();
    assert!(list.contains("unknown_path") && list.contains("they differ by a slash at the end"), "{list}");
    assert!(relay.all("/events").await.is_empty());

    // One line for each of the two kinds, regardless of the number of requests.
    let (_, log) = relay.terminate().await;
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect::<Vec<_>>();
    let signed = lines("a signed delivery came to a path that no endpoint has");
    assert_eq!(signed.len(), 1, "{signed:?}");
    let line: Value = serde_json::from_str(&signed[0]).unwrap();
    assert_eq!((&line["level"], &line["path"]), (&json!("WARN"), &json!("/webhooks/finkare/")), "{line}");
    assert_eq!(lines("a request came to a path that no endpoint has").len(), 1);
    assert!(!log.contains(&sign(SECRET, &body)), "no signature in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_listed_with_their_path_and_last_delivery() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve(NO_SINK).await;
    let list = || {
        let list =
            home.command().args(["endpoints", "list", "--admin-url", &format!("http://{}", relay.admin)]).output();
        String::from_utf8(list.unwrap().stdout).unwrap()
    };
    let row = async || relay.get("/endpoints").await["data"][0].clone();
    assert_eq!(row().await["last_delivery_at"], json!(null));
    assert!(list().contains(PATH) && list().contains("never"), "{}", list());
    let answer = Finkare::of(&relay).deliver(&payment("i", 1)).await;
    let received = relay.get(&format!("/events/{}", answer.id())).await["received_at"].clone();
    let row = row().await;
    assert_eq!((&row["path"], &row["last_delivery_at"]), (&json!(PATH), &received));
    let day = &received.as_str().unwrap()[..10];
    assert!(list().contains(day) && !list().contains("never"), "{}", list());
}
