//! A token that is limited to endpoints: whatever does not belong to them does not exist for it, on every route.

use serde_json::{Value, json};

use crate::support::{
    eventually,
    finkare::{payment, sign},
    http,
    relay::{Backend, Home, Relay, SECRET, on_both_stores},
    target::{Reply, Target},
};

on_both_stores!(nothing_of_the_others_is_seen_or_changed, lists_are_filtered_before_they_are_cut);

const ACME: &str = "the-token-of-acme-alone";
const WORDS: [&str; 3] = ["beta", "BETA", "shared-sink"];

fn configuration(target: &Target) -> String {
    let endpoint = |name: &str| {
        format!(
            "[[endpoints]]\nname = \"{name}\"\npath = \"/{name}\"\nsecret = \"whsec_{name}\"\nsinks = [{{ name = \"{name}-sink\", type = \"http\", url = \"{}\", retry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }} }}]\n",
            target.url()
        )
    };
    format!("{}{}[[sinks]]\nname = \"shared-sink\"\ntype = \"stdout\"\n", endpoint("acme"), endpoint("beta"))
}

/// A file beside the main one adds the token.
fn add_token(home: &Home, endpoints: &str) {
    std::fs::create_dir_all(home.path("relay.d")).unwrap();
    let token =
        format!("[[admin.tokens]]\nname = \"acme\"\nrole = \"admin\"\nendpoints = {endpoints}\ntoken = \"{ACME}\"\n");
    std::fs::write(home.path("relay.d/tokens.toml"), token).unwrap();
}

struct Desk {
    relay: Relay,
    token: &'static str,
}

impl Desk {
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let url = format!("http://{}{path}", self.relay.admin);
        let mut request = http().request(method.parse().unwrap(), url).bearer_auth(self.token);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, text) = self.call("GET", &format!("/api/v1{path}"), None).await;
        assert_eq!(status, 200, "{path}: {text}");
        for word in WORDS {
            // A dispatch for a sink that is shared is seen.
            let may =
                word == "shared-sink" && (path == "/dispatches" || path == "/payments" || path.starts_with("/events/"));
            assert!(may || !text.contains(word), "{path} tells of {word}: {text}");
        }
        serde_json::from_str(&text).unwrap()
    }
}

async fn deliver(relay: &Relay, endpoint: &str, invoice: &str, cents: i64) -> String {
    let body = payment(invoice, cents);
    let url = format!("http://{}/{endpoint}", relay.public);
    let signature = sign(&format!("whsec_{endpoint}"), &body);
    let answer = http().post(url).header("x-finkare-signature", signature).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

async fn nothing_of_the_others_is_seen_or_changed(backend: Backend) {
    let target = Target::start().await;
    target.script(|_, _| Reply::Status(422, vec![]));
    let home = Home::new(backend).await;
    home.configure("", &format!("secret = \"{SECRET}\""), &configuration(&target));
    add_token(&home, "[\"acme\"]");
    let relay = home.start().await;
    let ours = deliver(&relay, "acme", "ours", 100).await;
    let theirs = deliver(&relay, "beta", "theirs-BETA", 200).await;
    // A refused delivery of each, and entries of the audit trail about each.
    for endpoint in ["acme", "beta"] {
        let url = format!("http://{}/{endpoint}", relay.public);
        let refused = http().post(url).header("x-finkare-signature", "0".repeat(64)).body("{}").send().await.unwrap();
        assert_eq!(refused.status(), 401);
        relay.post(&format!("/sinks/{endpoint}-sink/pause")).await;
        relay.post(&format!("/sinks/{endpoint}-sink/resume")).await;
    }
    eventually("both are given up", async || relay.all("/dispatches?state=dead").await.len() == 2).await;
    let dead = relay.all("/dispatches?state=dead").await;
    let number = |sink: &str| dead.iter().find(|row| row["sink"] == sink).unwrap()["id"].to_string();
    let (our_dispatch, their_dispatch) = (number("acme-sink"), number("beta-sink"));

    let desk = Desk { relay, token: ACME };
    for path in [
        "/events",
        "/events?q=theirs",
        "/events?endpoint=beta",
        "/dispatches",
        "/dispatches?state=dead",
        "/waiting",
        "/sinks",
        "/endpoints",
        "/refusals",
        "/bookings",
        "/payments",
        "/payments?q=200.00",
        "/payments?endpoint=beta",
        "/audit",
        "/audit?endpoint=beta",
        "/dispatches?endpoint=beta",
        "/dispatches?q=200.00",
    ] {
        desk.get(path).await;
    }
    assert_eq!(desk.get("/events").await["data"].as_array().unwrap().len(), 1);
    assert_eq!(desk.get("/dispatches").await["data"].as_array().unwrap().len(), 2, "its own sink and the shared one");
    assert_eq!(desk.get("/sinks").await["data"].as_array().unwrap().len(), 1);
    assert_eq!(desk.get("/endpoints").await["data"].as_array().unwrap().len(), 1);
    assert_eq!(desk.get("/refusals").await["data"].as_array().unwrap().len(), 1);
    assert_eq!(desk.get("/waiting").await["data"][0]["count"], 1);
    assert_eq!(desk.get("/audit").await["data"].as_array().unwrap().len(), 3);
    assert_eq!(desk.get(&format!("/events/{ours}")).await["id"], ours.as_str());

    // Every route of the document, with what belongs to the other company: 404, or nothing of it.
    let document: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    let before = desk.relay.all("/dispatches").await;
    let (mut hidden, mut seen) = (0, 0);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["operationId"] == "metrics"
                || operation["operationId"] == "show_openapi"
                || !path.starts_with("/api/v1/")
            {
                continue;
            }
            let id = if path.contains("/events/") { theirs.clone() } else { their_dispatch.clone() };
            let name = if path.contains("/sinks/") { "beta-sink" } else { "beta" };
            let query = if operation["operationId"] == "show_statement" { "?month=2026-10" } else { "" };
            let filled =
                path.replace("{id}", &id).replace("{name}", name).replace("{payment_id}", "theirs-BETA") + query;
            let body = match operation["operationId"].as_str().unwrap() {
                "replay_events" | "begin_reconciliation" => json!({"endpoint": "beta"}),
                "retry_dispatches" | "cancel_dispatches" => json!({"sink": "beta-sink"}),
                "make_link" => json!({"endpoint": "beta", "pages": ["payments"], "days": 1}),
                "settle_booking" => json!({"sink": "beta-sink", "payment_id": "x", "recorded": true}),
                "register" | "register_endpoint" => json!({"url": "https://x.example/beta"}),
                "erase_invoice" => json!({"invoice_id": "theirs-BETA"}),
                _ => json!({}),
            };
            let body = (method == "post").then_some(body);
            let (status, text) = desk.call(&method.to_uppercase(), &filled, body).await;
            if path.contains('{')
                || operation["operationId"] == "begin_reconciliation"
                || operation["operationId"] == "make_link"
                || path.ends_with("/reload")
                || path.contains("erase")
                || path.ends_with("/retry")
                || path.ends_with("/cancel")
                || path.ends_with("/settle")
            {
                assert_eq!(status, 404, "{method} {filled}: {text}");
                hidden += 1;
            } else {
                assert_eq!(status, 200, "{method} {filled}: {text}");
                seen += 1;
            }
            assert!(!text.contains("theirs") && !text.contains("\"beta\""), "{method} {filled}: {text}");
        }
    }
    assert!(hidden >= 15 && seen >= 8, "{hidden} {seen}");
    assert_eq!(desk.relay.all("/dispatches").await, before, "nothing was changed");

    // What is its own can be worked with.
    let (status, text) =
        desk.call("POST", &format!("/api/v1/events/{ours}/replay"), Some(json!({"sinks": ["beta-sink"]}))).await;
    assert_eq!((status, text.contains("unknown_sink")), (422, true), "{text}");
    assert_eq!(desk.call("POST", &format!("/api/v1/dispatches/{our_dispatch}/retry"), None).await.0, 200);
    let (status, text) = desk.call("POST", "/api/v1/dispatches/retry", Some(json!({"state": "dead"}))).await;
    assert!(status == 200 && !text.contains("beta"), "{text}");
    assert_eq!(desk.call("POST", "/api/v1/sinks/acme-sink/pause", None).await.0, 200);
    let theirs_now = desk.relay.get(&format!("/dispatches/{their_dispatch}")).await;
    assert_eq!((&theirs_now["state"], &theirs_now["attempts"]), (&"dead".into(), &1.into()), "no bulk work reaches it");
}

async fn lists_are_filtered_before_they_are_cut(backend: Backend) {
    let target = Target::start().await;
    let home = Home::new(backend).await;
    home.configure("", &format!("secret = \"{SECRET}\""), &configuration(&target));
    add_token(&home, "[\"acme\"]");
    let relay = home.start().await;
    let mut ours = Vec::new();
    for number in 0..7 {
        ours.push(deliver(&relay, "acme", &format!("a{number}"), number).await);
        for other in 0..3 {
            deliver(&relay, "beta", &format!("b{number}{other}"), number).await;
        }
    }
    relay.drained().await;
    let desk = Desk { relay, token: ACME };
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = desk.get(&format!("/events?limit=3{cursor}")).await;
        let rows = page["data"].as_array().unwrap();
        ids.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        assert_eq!(rows.len(), 3, "every page but the last is full");
        cursor = format!("&cursor={next}");
    }
    ours.reverse();
    assert_eq!(ids, ours);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_an_endpoint_that_is_not_there_is_refused() {
    let home = Home::new(Backend::Sqlite).await;
    for (endpoints, problem) in
        [("[\"prodution\"]", "there is no endpoint `prodution` (did you mean `production`?)"), ("[]", "is empty")]
    {
        home.configure("", &format!("secret = \"{SECRET}\""), "");
        add_token(&home, endpoints);
        let check = home.command().arg("check").output().unwrap();
        let told = String::from_utf8(check.stderr).unwrap();
        assert!(check.status.code() == Some(2) && told.contains(problem), "{told}");
    }
}
