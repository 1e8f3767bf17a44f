//! The link to Finkare from an operator's view: admin routes, commands, the master key. Finkare is a small server in
//! these tests.

use std::{
    net::SocketAddr,
    process::Command,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use serde_json::{Value, json};

use crate::support::{
    eventually,
    finkare::{Finkare, payment, sign},
    http,
    relay::{Backend, Home, PATH, Relay, SECRET, TOKEN, on_both_stores},
};

const API_KEY: &str = "fk_test_the-key-of-the-tests";
const URL: &str = "https://relay.example/webhooks/finkare";
const FILE: &str = "[[sinks]]\nname = \"file\"\ntype = \"file\"\npath = \"out.jsonl\"\nevents = \"*\"\n";

on_both_stores!(
    a_webhook_is_registered_and_rotated,
    what_finkare_refuses_is_told_in_its_words,
    a_change_under_way_is_shown_and_not_done_twice,
    registering_where_no_service_runs,
    what_people_do_is_written_down,
);

/// The answers to the next rotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rotating {
    Done,
    Refused,
    Never,
}

#[derive(Debug)]
struct Webhook {
    id: String,
    url: String,
    events: Vec<String>,
    enabled: bool,
    secret: String,
}

struct Inner {
    webhooks: Mutex<Vec<Webhook>>,
    rotating: Mutex<Rotating>,
}

/// The part of Finkare's API that these tests need.
#[derive(Clone)]
struct Provider {
    address: SocketAddr,
    inner: Arc<Inner>,
}

fn answer(data: &Value) -> Response {
    let envelope =
        json!({"success": true, "data": data, "requestId": "req_ok", "timestamp": "2026-03-15T10:30:00.000Z"});
    Json(envelope).into_response()
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({"success": false, "error": {"code": code, "message": message}, "requestId": "req_no"});
    (status, Json(body)).into_response()
}

fn fresh_secret() -> String {
    format!("whsec_{}", uuid::Uuid::new_v4().simple())
}

fn shown(webhook: &Webhook) -> Value {
    json!({
        "id": webhook.id, "url": webhook.url, "events": webhook.events, "description": null,
        "enabled": webhook.enabled, "created_at": "2026-03-01T08:00:00.000Z", "last_triggered_at": null,
    })
}

#[expect(clippy::unused_async, reason = "axum takes asynchronous handlers")]
impl Provider {
    async fn start() -> Self {
        let inner = Arc::new(Inner { webhooks: Mutex::default(), rotating: Mutex::new(Rotating::Done) });
        let router = Router::new()
            .route("/api/v1/webhooks", get(Self::list).post(Self::create))
            .route("/api/v1/webhooks/{id}", put(Self::update))
            .route("/api/v1/webhooks/{id}/rotate-secret", post(Self::rotate))
            .route("/api/v1/webhooks/{id}/deliveries", get(Self::deliveries))
            .layer(axum::middleware::from_fn(async |headers: HeaderMap, request, next: axum::middleware::Next| {
                if headers.get("x-api-key").is_some_and(|key| key == API_KEY) {
                    next.run(request).await
                } else {
                    refuse(StatusCode::UNAUTHORIZED, "AUTH_001", "Invalid API key")
                }
            }))
            .with_state(inner.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, inner }
    }

    async fn list(State(inner): State<Arc<Inner>>) -> Response {
        let webhooks = inner.webhooks.lock().unwrap();
        answer(&webhooks.iter().map(shown).collect())
    }

    async fn create(State(inner): State<Arc<Inner>>, Json(body): Json<Value>) -> Response {
        let webhook = Webhook {
            id: uuid::Uuid::new_v4().to_string(),
            url: body["url"].as_str().unwrap().to_owned(),
            events: serde_json::from_value(body["events"].clone()).unwrap(),
            enabled: true,
            secret: fresh_secret(),
        };
        let data = json!({
            "id": webhook.id, "url": webhook.url, "events": webhook.events, "enabled": true,
            "secret": webhook.secret, "createdAt": "2026-03-01T08:00:00.000Z",
        });
        inner.webhooks.lock().unwrap().push(webhook);
        answer(&data)
    }

    async fn rotate(State(inner): State<Arc<Inner>>, Path(id): Path<String>) -> Response {
        let rotating = *inner.rotating.lock().unwrap();
        match rotating {
            Rotating::Never => std::future::pending().await,
            Rotating::Refused => refuse(StatusCode::FORBIDDEN, "AUTH_003", "The key lacks a scope"),
            Rotating::Done => {
                let mut webhooks = inner.webhooks.lock().unwrap();
                let Some(webhook) = webhooks.iter_mut().find(|webhook| webhook.id == id) else {
                    return refuse(StatusCode::NOT_FOUND, "RES_001", "Resource not found");
                };
                webhook.secret = fresh_secret();
                answer(&json!({"secret": webhook.secret}))
            }
        }
    }

    async fn update(State(inner): State<Arc<Inner>>, Path(id): Path<String>, Json(body): Json<Value>) -> Response {
        let mut webhooks = inner.webhooks.lock().unwrap();
        let webhook = webhooks.iter_mut().find(|webhook| webhook.id == id).unwrap();
        webhook.events = serde_json::from_value(body["events"].clone()).unwrap();
        answer(&shown(webhook))
    }

    async fn deliveries(Path(id): Path<String>) -> Response {
        answer(&json!([{
            "id": format!("d-of-{id}"), "eventType": "payment.received", "status": "delivered", "attempts": 2,
        }]))
    }

    /// A webhook that a person has created by hand.
    fn add(&self, url: &str) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        let webhook =
            Webhook { id: id.clone(), url: url.into(), events: vec![], enabled: true, secret: fresh_secret() };
        self.inner.webhooks.lock().unwrap().push(webhook);
        id
    }

    fn rotations_are(&self, rotating: Rotating) {
        *self.inner.rotating.lock().unwrap() = rotating;
    }

    fn count(&self) -> usize {
        self.inner.webhooks.lock().unwrap().len()
    }

    fn switch_off(&self) {
        self.inner.webhooks.lock().unwrap()[0].enabled = false;
    }

    /// The secret with which it signs now.
    fn secret(&self) -> String {
        self.inner.webhooks.lock().unwrap()[0].secret.clone()
    }

    /// Sends a delivery signed with the current secret; answers the status.
    async fn delivers_to(&self, relay: &Relay) -> u16 {
        let body = payment("i", 1);
        Finkare::of(relay).post(body.clone(), Some(&sign(&self.secret(), &body))).await.status
    }
}

/// A configuration with these options for the endpoint `production`.
fn configure(home: &Home, endpoint: &str, rest: &str) {
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[store]\nurl = \"{}\"\n\
         [admin]\ntokens = [{{ name = \"ops\", role = \"admin\", token = \"{TOKEN}\" }}, \
         {{ name = \"guest\", role = \"operator\", token = \"the-token-of-a-guest\" }}]\n\
         [[endpoints]]\nname = \"production\"\npath = \"{PATH}\"\n{endpoint}\n{rest}\n",
        home.store_url()
    );
    std::fs::write(home.path("relay.toml"), text).unwrap();
}

fn linked(provider: &Provider) -> String {
    format!(
        "api_key = \"{API_KEY}\"\napi_url = \"http://{}\"\napi_rate_limit = {{ requests = 1000, per_secs = 1 }}",
        provider.address
    )
}

async fn serve(home: &Home) -> Relay {
    let mut command = home.command();
    command.arg("serve");
    Relay::start(command).await
}

async fn run(mut command: Command) -> (i32, String, String) {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A command that calls this service.
async fn ask(home: &Home, relay: &Relay, arguments: &[&str]) -> (i32, String, String) {
    let mut command = home.command();
    command.args(arguments).args(["--admin-url", &format!("http://{}", relay.admin)]);
    run(command).await
}

async fn post_as(relay: &Relay, token: &str, path: &str, body: &str) -> (u16, Value) {
    let request = http().post(format!("http://{}/api/v1{path}", relay.admin)).bearer_auth(token);
    let response = request.body(body.to_owned()).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn rotate(relay: &Relay, body: &str) -> (u16, Value) {
    post_as(relay, TOKEN, "/endpoints/production/rotate-secret", body).await
}

async fn endpoint(relay: &Relay) -> Value {
    relay.get("/endpoints").await["data"][0].clone()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

async fn a_webhook_is_registered_and_rotated(backend: Backend) {
    let (provider, home) = (Provider::start().await, Home::new(backend).await);
    configure(&home, &linked(&provider), FILE);
    let relay = serve(&home).await;
    let before = endpoint(&relay).await;
    assert_eq!(
        (&before["state"], &before["secrets"], &before["sandbox"]),
        (&json!("settled"), &json!(0), &json!(true))
    );
    assert_eq!((&before["webhook_id"], &before["fingerprint"]), (&Value::Null, &Value::Null));

    let (code, stdout, stderr) = ask(&home, &relay, &["register", "--url", URL]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("was created: Finkare posts to https://relay.example/webhooks/finkare"), "{stdout}");
    assert_eq!(provider.delivers_to(&relay).await, 200, "the running service knows the secret");
    let after = endpoint(&relay).await;
    assert_eq!(after["url"], URL);
    assert!(after["webhook_id"].is_string() && after["registered_at"].is_string() && after["secrets"] == 1, "{after}");

    let (code, stdout, _) = ask(&home, &relay, &["register", "--url", URL, "--json"]).await;
    let again: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &again["created"], &again["rotation"]), (0, &json!(false), &Value::Null));
    assert_eq!(provider.count(), 1, "twice is once");

    let old = provider.secret();
    let (status, rotated) = rotate(&relay, r#"{"overlap_secs":60}"#).await;
    assert_eq!((status, keys(&rotated)), (200, vec!["rotated", "fingerprint", "previous_valid_until"]), "{rotated}");
    assert_eq!(rotated["rotated"], true);
    assert_eq!(provider.delivers_to(&relay).await, 200, "the new secret");
    let body = payment("i", 2);
    assert_eq!(
        Finkare::of(&relay).post(body.clone(), Some(&sign(&old, &body))).await.status,
        200,
        "the old one, for a while"
    );

    let secrets = relay.get("/endpoints/production/secrets").await;
    let rows: Vec<_> =
        secrets["data"].as_array().unwrap().iter().map(|row| (row["state"].clone(), row["origin"].clone())).collect();
    assert_eq!(rows, [(json!("active"), json!("rotated")), (json!("retiring"), json!("registered"))]);
    assert_eq!(keys(&secrets["data"][0]), ["fingerprint", "state", "origin", "created_at", "valid_until"]);
    assert_eq!(secrets["data"][0]["fingerprint"], rotated["fingerprint"]);
    assert_eq!(secrets["data"][1]["valid_until"], rotated["previous_valid_until"]);

    // Without a body, the overlap is the endpoint's own: a day.
    let (status, rotated) = rotate(&relay, "").await;
    assert_eq!(status, 200, "{rotated}");
    let (code, stdout, stderr) = ask(&home, &relay, &["rotate-secret", "--overlap-secs", "0"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("The endpoint production has a new secret, fingerprint "), "{stdout}");
    assert_eq!(provider.delivers_to(&relay).await, 200);

    for (arguments, words) in [
        (&["endpoints", "list"][..], vec!["production (sandbox)", "settled", URL, "FINGERPRINT"]),
        (&["endpoints", "secrets", "production"], vec!["active", "registered", "VALID UNTIL (UTC)"]),
        (&["endpoints", "deliveries", "production"], vec!["payment.received", "delivered", "2", "d-of-"]),
        (&["audit", "list"], vec!["ops", "rotation.done", "registration.done", "endpoint/production"]),
        (&["audit", "list", "--limit", "1"], vec!["rotation.done"]),
    ] {
        let (code, stdout, stderr) = ask(&home, &relay, arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        for word in words {
            assert!(stdout.contains(word), "{arguments:?} without {word}:\n{stdout}");
        }
    }
    let mut said = String::new();
    for path in ["/endpoints", "/endpoints/production/secrets", "/endpoints/production/deliveries", "/audit"] {
        said += &relay.get(path).await.to_string();
    }
    let (_, log) = relay.terminate().await;
    for secret in [&old, &provider.secret(), API_KEY] {
        assert!(!said.contains(secret) && !log.contains(secret), "{secret}");
    }
}

async fn what_finkare_refuses_is_told_in_its_words(backend: Backend) {
    let (provider, home) = (Provider::start().await, Home::new(backend).await);
    let id = provider.add(URL);
    let options = format!("{}\napi_timeout_secs = 1\nsecret = \"{SECRET}\"\nwebhook_id = \"{id}\"", linked(&provider));
    configure(&home, &options, FILE);
    let relay = serve(&home).await;

    provider.rotations_are(Rotating::Refused);
    let (status, problem) = rotate(&relay, "{}").await;
    assert_eq!((status, &problem["code"]), (502, &json!("finkare_refused")), "{problem}");
    let told = json!({"status": 403, "code": "AUTH_003", "message": "The key lacks a scope", "request_id": "req_no"});
    assert_eq!(problem["finkare"], told);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("403") && detail.contains("AUTH_003") && detail.contains("stay in force"), "{detail}");
    assert_eq!(endpoint(&relay).await["state"], "settled");
    let body = payment("i", 1);
    assert_eq!(Finkare::of(&relay).deliver(&body).await.status, 200, "the old secret stays");
    let (code, _, stderr) = ask(&home, &relay, &["rotate-secret"]).await;
    assert!(code == 1 && stderr.contains("AUTH_003") && stderr.contains("code finkare_refused"), "{code}: {stderr}");

    for (token, path, body, status, code) in [
        ("the-token-of-a-guest", "/endpoints/production/rotate-secret", "{}", 403, "role_too_low"),
        ("the-token-of-a-guest", "/endpoints/production/register", "{}", 403, "role_too_low"),
        ("the-token-of-a-guest", "/endpoints/production/settle", r#"{"current":true}"#, 403, "role_too_low"),
        (TOKEN, "/endpoints/nobody/rotate-secret", "{}", 404, "not_found"),
        (TOKEN, "/endpoints/nobody/register", "{}", 404, "not_found"),
        (TOKEN, "/endpoints/production/rotate-secret", "{", 400, "bad_body"),
        (TOKEN, "/endpoints/production/rotate-secret", r#"{"overlap":1}"#, 422, "bad_body"),
        (TOKEN, "/endpoints/production/rotate-secret", r#"{"overlap_secs":-1}"#, 422, "bad_body"),
        (TOKEN, "/endpoints/production/rotate-secret", r#"{"overlap_secs":"1"}"#, 422, "bad_body"),
        (TOKEN, "/endpoints/production/rotate-secret", r#"{"overlap_secs":2592001}"#, 422, "invalid_overlap"),
        (TOKEN, "/endpoints/production/rotate-secret", &" ".repeat(65_537), 413, "too_large"),
        (TOKEN, "/endpoints/production/register", "", 422, "bad_body"),
        (TOKEN, "/endpoints/production/register", r#"{"url":5}"#, 422, "bad_body"),
        (TOKEN, "/endpoints/production/register", r#"{"url":"https://a.example","events":[]}"#, 422, "bad_body"),
        (TOKEN, "/endpoints/production/register", r#"{"url":"http://a.example"}"#, 422, "invalid_url"),
        (TOKEN, "/endpoints/production/register", r#"{"url":"nonsense"}"#, 422, "invalid_url"),
    ] {
        let (got, problem) = post_as(&relay, token, path, body).await;
        assert_eq!((got, &problem["code"]), (status, &json!(code)), "{path} {body:.60}: {problem}");
    }
    assert_eq!(provider.count(), 1);
    for path in ["/endpoints/nobody/secrets", "/endpoints/nobody/deliveries"] {
        assert_eq!(relay.try_get(path).await.0, 404, "{path}");
    }
    for path in ["/audit?limit=0", "/audit?cursor=x", "/audit?colour=red"] {
        assert_eq!(relay.try_get(path).await.0, 400, "{path}");
    }

    // It is not known whether Finkare made the change.
    provider.rotations_are(Rotating::Never);
    let (status, problem) = rotate(&relay, "{}").await;
    assert_eq!((status, &problem["code"]), (502, &json!("finkare_unreachable")), "{problem}");
    let nothing = json!({"status": null, "code": null, "message": null, "request_id": null});
    assert_eq!(problem["finkare"], nothing);
    assert!(problem["detail"].as_str().unwrap().contains("asks again by itself"), "{problem}");
    provider.rotations_are(Rotating::Done);
    eventually("it is healed", async || endpoint(&relay).await["state"] == "settled").await;
    assert_eq!(provider.delivers_to(&relay).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_without_what_it_needs_says_so() {
    let (provider, home) = (Provider::start().await, Home::new(Backend::Sqlite).await);
    let second = format!("[[endpoints]]\nname = \"other\"\npath = \"/other\"\n{}\n", linked(&provider));
    configure(&home, &format!("secret = \"{SECRET}\""), &second);
    let relay = serve(&home).await;
    for (name, word) in [("production", "FINKARE_API_KEY"), ("other", "finkare-relay register")] {
        let (status, problem) = post_as(&relay, TOKEN, &format!("/endpoints/{name}/rotate-secret"), "").await;
        assert_eq!((status, &problem["code"]), (422, &json!("endpoint_not_linked")), "{name}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
        let (status, problem) = relay.try_get(&format!("/endpoints/{name}/deliveries")).await;
        assert_eq!((status, &problem["code"]), (422, &json!("endpoint_not_linked")), "{name}: {problem}");
    }
    for command in [&["rotate-secret"][..], &["register", "--url", URL]] {
        let (code, _, stderr) = ask(&home, &relay, command).await;
        assert!(code == 2 && stderr.contains("--endpoint: production, other"), "{code}: {stderr}");
    }
    for wrong in [
        &["rotate-secret", "--overlap-secs", "2592001"][..],
        &["rotate-secret", "--force"],
        &["register"],
        &["endpoints", "secret"],
        &["endpoints", "secrets"],
        &["audit", "show"],
        &["rekey", "--now"],
    ] {
        let mut command = home.command();
        command.args(wrong);
        assert_eq!(run(command).await.0, 2, "{wrong:?}");
    }
}

async fn a_change_under_way_is_shown_and_not_done_twice(backend: Backend) {
    let (provider, home) = (Provider::start().await, Home::new(backend).await);
    let id = provider.add(URL);
    configure(&home, &format!("{}\nsecret = \"{SECRET}\"\nwebhook_id = \"{id}\"", linked(&provider)), FILE);
    let relay = Arc::new(serve(&home).await);
    provider.rotations_are(Rotating::Never);
    let first = tokio::spawn({
        let relay = relay.clone();
        async move { rotate(&relay, "").await }
    });
    eventually("it is under way", async || endpoint(&relay).await["state"] == "in_flight").await;
    let intent = endpoint(&relay).await["intent"].clone();
    assert_eq!(keys(&intent), ["kind", "since", "actor", "tries", "unreadable", "heals_itself"]);
    assert_eq!((&intent["kind"], &intent["actor"], &intent["tries"]), (&json!("rotate"), &json!("ops"), &json!(1)));
    let (status, problem) = rotate(&relay, "").await;
    assert_eq!((status, &problem["code"]), (409, &json!("rotation_in_flight")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("requested by `ops`"), "{problem}");
    first.abort();
}

/// A configuration with an admin address where nothing listens.
async fn nobody_answers(home: &Home) {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let text = std::fs::read_to_string(home.path("relay.toml")).unwrap();
    let text = text.replace("admin_listen = \"127.0.0.1:0\"", &format!("admin_listen = \"{free}\""));
    std::fs::write(home.path("relay.toml"), text).unwrap();
}

async fn registering_where_no_service_runs(backend: Backend) {
    let (provider, home) = (Provider::start().await, Home::new(backend).await);
    configure(&home, &linked(&provider), FILE);
    nobody_answers(&home).await;
    let register = async |more: &[&str]| {
        let mut command = home.command();
        command.args(["register", "--url", URL]).args(more);
        run(command).await
    };
    let (code, _, stderr) = register(&["--admin-url", "http://127.0.0.1:1"]).await;
    assert!(code == 1 && stderr.contains("cannot reach the admin API at http://127.0.0.1:1"), "{code}: {stderr}");
    assert_eq!(provider.count(), 0, "who names a service means that one");
    let (code, stdout, stderr) = register(&[]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("was created") && stdout.contains("Start it: finkare-relay serve"), "{stdout}");
    let relay = serve(&home).await;
    assert_eq!(provider.delivers_to(&relay).await, 200, "serve has what the command stored");
    assert_eq!(relay.get("/audit").await["data"][0]["actor"], "cli");
    if backend == Backend::Sqlite {
        // The service is running, but the command looks for it at the wrong address: the command must not do the work
        // itself.
        nobody_answers_at_all(&home);
        let (code, _, stderr) = register(&[]).await;
        assert!(code == 1 && stderr.contains("--admin-url") && stderr.contains("another process"), "{code}: {stderr}");
    }
    drop(relay);

    // The webhook exists already: only a rotation reveals its secret.
    let (other, home) = (Provider::start().await, Home::new(backend).await);
    configure(&home, &linked(&other), FILE);
    nobody_answers(&home).await;
    other.add(URL);
    let register = async |more: &[&str]| {
        let mut command = home.command();
        command.args(["register", "--url", URL]).args(more);
        run(command).await
    };
    let (code, stdout, stderr) = register(&[]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(
        stdout.contains("Its secret is not known") && stdout.contains("--endpoint production --rotate"),
        "{stdout}"
    );
    let (code, stdout, stderr) = register(&["--rotate", "--json"]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&answer["created"], &answer["rotation"]["rotated"]), (&json!(false), &json!(true)), "{answer}");
    let relay = serve(&home).await;
    assert_eq!(other.delivers_to(&relay).await, 200);
    assert_eq!(other.count(), 1);

    let (code, _, stderr) = ask(&home, &relay, &["register", "--url", "http://relay.example/x"]).await;
    assert!(code == 1 && stderr.contains("https"), "{code}: {stderr}");
}

/// Nothing listens on port 1.
fn nobody_answers_at_all(home: &Home) {
    let text = std::fs::read_to_string(home.path("relay.toml")).unwrap();
    let lines =
        text.lines().map(|line| if line.starts_with("admin_listen") { "admin_listen = \"127.0.0.1:1\"" } else { line });
    std::fs::write(home.path("relay.toml"), lines.collect::<Vec<_>>().join("\n")).unwrap();
}

async fn what_people_do_is_written_down(backend: Backend) {
    let home = Home::new(backend).await;
    configure(&home, &format!("secret = \"{SECRET}\""), FILE);
    let relay = serve(&home).await;
    relay.post("/sinks/file/pause").await;
    relay.post("/sinks/file/pause").await;
    Finkare::of(&relay).deliver(&payment("i", 1)).await;
    relay.post("/dispatches/1/retry").await;
    relay.post("/dispatches/1/cancel").await;
    assert_eq!(relay.try_post("/dispatches/1/cancel").await.0, 409);
    relay.post("/sinks/file/resume").await;
    let rows = relay.all("/audit?").await;
    let mine: Vec<_> = rows.iter().filter(|row| row["actor"] == "ops").collect();
    let told: Vec<_> =
        mine.iter().rev().map(|row| (row["action"].as_str().unwrap(), row["subject"].as_str().unwrap())).collect();
    let expected = [
        ("sink.paused", "sink/file"),
        ("dispatch.retried", "dispatch/1"),
        ("dispatch.cancelled", "dispatch/1"),
        ("sink.resumed", "sink/file"),
    ];
    assert_eq!(told, expected, "each change once, and nothing that changed nothing");
    assert_eq!(keys(mine[0]), ["id", "at", "actor", "action", "subject", "detail"]);
    assert_eq!(mine[1]["detail"], json!({"sink": "file", "was": "pending"}));
    let first = relay.get("/audit?limit=1").await;
    assert_eq!(first["data"][0]["action"], "sink.resumed", "newest first");
    let next = relay.get(&format!("/audit?limit=1&cursor={}", first["next_cursor"].as_str().unwrap())).await;
    assert_eq!(next["data"][0]["action"], "dispatch.cancelled");
}

// --- the master key

/// The command without the tests' master key.
fn keyless(home: &Home, arguments: &[&str]) -> Command {
    let mut command = home.command();
    command.env_remove("RELAY_MASTER_KEY").args(arguments);
    command
}

async fn is_accepted(relay: &Relay) -> bool {
    Finkare::of(relay).deliver(&payment("i", 1)).await.status == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_master_key_is_changed_also_if_it_is_cut_off() {
    let home = Home::new(Backend::Sqlite).await;
    let (key, new) = (home.path("master-key"), home.path("master-key.new"));
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    configure(&home, &format!("secret = \"{SECRET}\""), FILE);
    let relay = Relay::start(keyless(&home, &["serve"])).await;
    let first = read(&key);
    let (code, _, stderr) = run(keyless(&home, &["rekey"])).await;
    assert!(code == 1 && stderr.contains("no service may run") && stderr.contains("another process"), "{stderr}");
    assert!(is_accepted(&relay).await && read(&key) == first && !new.exists());
    drop(relay);

    // From here on, the secret is only in the store.
    configure(&home, "", FILE);
    let (code, stdout, stderr) = run(keyless(&home, &["rekey"])).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("1 stored secret is encrypted with the new master key"), "{stdout}");
    let second = read(&key);
    assert!(second != first && !new.exists());
    assert!(!stdout.contains(second.trim()) && !stderr.contains(second.trim()));
    let relay = Relay::start(keyless(&home, &["serve"])).await;
    assert!(is_accepted(&relay).await);
    let rows = relay.all("/audit?").await;
    assert!(rows.iter().any(|row| row["action"] == "master_key.changed" && row["detail"]["secrets"] == 1), "{rows:?}");
    drop(relay);

    // Interrupted after the commit, before the file was in place.
    std::fs::rename(&key, &new).unwrap();
    std::fs::write(&key, &first).unwrap();
    let relay = Relay::start(keyless(&home, &["serve"])).await;
    assert!(is_accepted(&relay).await && read(&key) == second && !new.exists());
    drop(relay);

    // Interrupted before the commit.
    std::fs::write(&new, &first).unwrap();
    let relay = Relay::start(keyless(&home, &["serve"])).await;
    assert!(is_accepted(&relay).await && read(&key) == second && !new.exists());
    drop(relay);

    // Neither key fits: no file is deleted, and the start says which key it needs.
    std::fs::write(&key, &first).unwrap();
    std::fs::write(&new, &first).unwrap();
    let (code, stdout, stderr) = run(keyless(&home, &["serve"])).await;
    assert!(code == 1 && format!("{stdout}{stderr}").contains("RELAY_MASTER_KEY"), "{code}: {stdout}{stderr}");
    assert!(new.exists() && read(&key) == first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_master_key_is_changed() {
    const OLD: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const NEW: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let home = Home::new(backend).await;
        configure(&home, &format!("secret = \"{SECRET}\""), FILE);
        drop(serve(&home).await);
        configure(&home, "", FILE);
        let rekey = async |new: Option<&str>| {
            let mut command = home.command();
            command.arg("rekey");
            command.envs(new.map(|new| ("RELAY_NEW_MASTER_KEY", new)));
            run(command).await
        };
        for (new, word) in
            [(None, "is not set"), (Some("c2hvcnQ="), "is not 32 bytes"), (Some(OLD), "current master key")]
        {
            let (code, _, stderr) = rekey(new).await;
            assert!(code == 2 && stderr.contains("RELAY_NEW_MASTER_KEY") && stderr.contains(word), "{code}: {stderr}");
        }
        let (code, stdout, stderr) = rekey(Some(NEW)).await;
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.contains("Set RELAY_MASTER_KEY to the new key before you start a service"), "{stdout}");
        assert!(!home.path("master-key").exists() && !home.path("master-key.new").exists());
        let (code, _, stderr) = rekey(Some(NEW)).await;
        assert!(code == 1 && stderr.contains("already encrypted with the new key"), "{code}: {stderr}");

        let mut old = home.command();
        old.arg("serve");
        let (code, stdout, stderr) = run(old).await;
        let said = format!("{stdout}{stderr}");
        assert!(code == 1 && said.contains("RELAY_MASTER_KEY") && !said.contains(NEW), "{code}: {said}");
        let mut new = home.command();
        new.arg("serve").env("RELAY_MASTER_KEY", NEW);
        let relay = Relay::start(new).await;
        assert!(is_accepted(&relay).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_looks_at_finkare_too() {
    let (provider, home) = (Provider::start().await, Home::new(Backend::Sqlite).await);
    configure(&home, &linked(&provider), FILE);
    let check = async || {
        let mut command = home.command();
        command.arg("check");
        run(command).await
    };
    let (code, stdout, _) = check().await;
    assert!(code == 1 && stdout.contains("run `finkare-relay register --endpoint production --url URL`"), "{stdout}");
    let relay = serve(&home).await;
    assert_eq!(ask(&home, &relay, &["register", "--url", URL]).await.0, 0);
    let (code, stdout, stderr) = check().await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    let line =
        |word: &str| stdout.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{word}: {stdout}"));
    let fingerprint = endpoint(&relay).await["fingerprint"].as_str().unwrap().to_owned();
    assert!(line("endpoint production").contains(&format!("1 secret, the newest {fingerprint}")), "{stdout}");
    assert!(line("webhook of production").contains(&format!("is enabled and posts to {URL}")), "{stdout}");
    provider.switch_off();
    let (code, stdout, _) = check().await;
    assert!(code == 1 && stdout.contains("is disabled at Finkare"), "{stdout}");
    let mut wrong = home.command();
    wrong.arg("check").env("RELAY_MASTER_KEY", "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=");
    let (code, stdout, _) = run(wrong).await;
    assert!(code == 1 && stdout.contains("was encrypted under the master key"), "{stdout}");
}
