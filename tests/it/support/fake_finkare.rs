//! Finkare's API as the tests of the link see it: it holds the webhooks' secrets, and does with a
//! rotation whatever the test wants. Its invoices and payments are in [`books`].
//!
//! It is written from what is documented and seen of Finkare's API (docs.finkare.io: the envelope, `POST /webhooks`, `GET
//! /webhooks`; the paths of the rest are our assumption) and shares no code with the service's client or its
//! simulator: an error there must not cancel itself here. Whatever it holds against a call (a wrong
//! key, an unknown path) stands in [`FakeFinkare::complaints`].

pub(crate) mod books;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::relay::SECRET;

/// The only key that it takes.
pub(crate) const API_KEY: &str = "fk_live_bm90IGEga2V5IHRoYXQgb3BlbnMgYW55dGhpbmc";
/// The webhook that it has from the start on, with [`SECRET`].
pub(crate) const WEBHOOK: &str = "e5f6a7b8-0000-4000-8000-000000000001";
/// The URL of that webhook.
pub(crate) const URL: &str = "https://relay.example/webhooks/finkare";

/// What becomes of one call: of one that changes a secret or makes one, or of a read in the [`books`].
#[derive(Clone)]
pub(crate) struct Turn {
    before: Duration,
    changes: bool,
    after: Duration,
    then: Then,
}

/// What is answered once the secret was changed, or was not, or the books were read.
#[derive(Clone)]
pub(crate) enum Then {
    /// The secret, as documented; where nothing was changed, the one before. Of a read, what it is after.
    Secret,
    /// An error with Finkare's body; its code is `X_` and the status.
    Status(u16),
    /// 429, with this `Retry-After`.
    Limited(Option<u32>),
    /// An error that asks for so many seconds of patience.
    Later(u16, u32),
    /// 200, and `"success": false`; its code is `X_200`.
    Unsuccessful,
    /// 200 as documented, but the secret is nowhere in it.
    Nothing,
    /// The connection is closed without a word.
    Cut,
    /// Nothing, and the connection stays open.
    Silence,
    /// 200 and no JSON.
    Garbage,
    /// The same as it was before, once the test opens the gate.
    Gate(Arc<Semaphore>),
}

impl Turn {
    /// The secret changes and is shown at once.
    pub(crate) const PLAIN: Self = Self::changing(Then::Secret);

    /// The secret changes, whatever is answered.
    pub(crate) const fn changing(then: Then) -> Self {
        Self { before: Duration::ZERO, changes: true, after: Duration::ZERO, then }
    }

    /// Nothing changes.
    pub(crate) const fn refusing(then: Then) -> Self {
        Self { before: Duration::ZERO, changes: false, after: Duration::ZERO, then }
    }

    /// Takes so long before the secret changes.
    pub(crate) fn slow_to_change(self, before: Duration) -> Self {
        Self { before, ..self }
    }

    /// Takes so long between the change and the answer.
    pub(crate) fn slow_to_answer(self, after: Duration) -> Self {
        Self { after, ..self }
    }
}

/// A call that came in.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub method: String,
    /// Without `/api/v1`.
    pub path: String,
    pub at: Instant,
}

#[derive(Debug, Clone)]
struct Webhook {
    id: String,
    url: String,
    events: Value,
    enabled: bool,
    secret: String,
}

struct Inner {
    webhooks: Vec<Webhook>,
    /// What to do with the next calls, and with those after them.
    turns: std::collections::VecDeque<Turn>,
    afterwards: Turn,
    calls: Vec<Call>,
    complaints: Vec<String>,
    /// Every secret that there ever was, in order.
    secrets: Vec<String>,
    books: books::Books,
}

/// A running fake; it stops with the test's runtime.
#[derive(Clone)]
pub(crate) struct FakeFinkare {
    pub address: SocketAddr,
    key: &'static str,
    inner: Arc<Mutex<Inner>>,
}

impl FakeFinkare {
    /// With one webhook, [`WEBHOOK`], and nothing out of the ordinary.
    pub(crate) async fn start() -> Self {
        Self::with_key(API_KEY, true).await
    }

    /// Without any webhook.
    pub(crate) async fn empty() -> Self {
        Self::with_key(API_KEY, false).await
    }

    /// For another key.
    pub(crate) async fn with_key(key: &'static str, has_webhook: bool) -> Self {
        let webhook = Webhook {
            id: WEBHOOK.into(),
            url: URL.into(),
            events: json!(["payment.received", "invoice.status_changed"]),
            enabled: true,
            secret: SECRET.into(),
        };
        let inner = Inner {
            webhooks: if has_webhook { vec![webhook] } else { vec![] },
            turns: std::collections::VecDeque::new(),
            afterwards: Turn::PLAIN,
            calls: vec![],
            complaints: vec![],
            secrets: vec![SECRET.into()],
            books: books::Books::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let fake = Self { address, key, inner: Arc::new(Mutex::new(inner)) };
        let router = Router::new()
            .route("/api/v1/webhooks", get(list).post(create))
            .route("/api/v1/webhooks/{id}", get(show).put(update).delete(delete))
            .route("/api/v1/webhooks/{id}/rotate-secret", post(rotate))
            .route("/api/v1/webhooks/{id}/deliveries", get(deliveries))
            .merge(books::router())
            .fallback(nothing_there)
            .layer(middleware::from_fn_with_state(fake.clone(), admit))
            .with_state(fake.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, router.clone()));
            }
        });
        fake
    }

    /// Its base URL, as `api_url` takes it.
    pub(crate) fn api_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The secret that a webhook signs with at this instant.
    pub(crate) fn secret(&self) -> String {
        self.lock().webhooks.first().expect("there is a webhook").secret.clone()
    }

    /// Every secret that there ever was, in order.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.lock().secrets.clone()
    }

    /// What to do with the next calls that change a secret or make one; those after are as before.
    pub(crate) fn next(&self, turns: impl IntoIterator<Item = Turn>) {
        self.lock().turns.extend(turns);
    }

    /// What to do with all such calls for which nothing else was said.
    pub(crate) fn henceforth(&self, turn: Turn) {
        self.lock().afterwards = turn;
    }

    /// The calls to rotate a secret so far.
    pub(crate) fn rotations(&self) -> Vec<Call> {
        self.calls("POST", "/rotate-secret")
    }

    /// The calls so far with this method and this end of the path.
    pub(crate) fn calls(&self, method: &str, path: &str) -> Vec<Call> {
        let calls = &self.lock().calls;
        calls.iter().filter(|call| call.method == method && call.path.ends_with(path)).cloned().collect()
    }

    /// The ids and URLs of the webhooks that there are.
    pub(crate) fn webhooks(&self) -> Vec<(String, String)> {
        self.lock().webhooks.iter().map(|webhook| (webhook.id.clone(), webhook.url.clone())).collect()
    }

    /// What was wrong with the calls so far.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds this")
    }

    fn turn(&self) -> Turn {
        let mut inner = self.lock();
        inner.turns.pop_front().unwrap_or_else(|| inner.afterwards.clone())
    }

    fn complain(&self, what: String) {
        self.lock().complaints.push(what);
    }

    /// Writes a call down; false if its key is wrong.
    fn takes(&self, method: &http::Method, path: &str, headers: &HeaderMap) -> bool {
        let path = path.strip_prefix("/api/v1").unwrap_or(path);
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.lock().calls.push(Call { method: method.to_string(), path: path.to_owned(), at: Instant::now() });
        if !header("user-agent").starts_with("finkare-relay/") {
            self.complain(format!("{method} {path}: User-Agent `{}`", header("user-agent")));
        }
        let is_ours = header("x-api-key") == self.key;
        if !is_ours {
            self.complain(format!("{method} {path}: another X-API-Key of {} characters", header("x-api-key").len()));
        }
        is_ours
    }

    fn find(&self, id: &str) -> Option<Webhook> {
        self.lock().webhooks.iter().find(|webhook| webhook.id == id).cloned()
    }

    /// A new secret, from which instant on every signature is made with it.
    fn change(&self, id: &str) {
        let secret = new_secret();
        let mut inner = self.lock();
        let webhook = inner.webhooks.iter_mut().find(|webhook| webhook.id == id);
        webhook.expect("it was looked for").secret.clone_from(&secret);
        inner.secrets.push(secret);
    }
}

fn new_secret() -> String {
    format!("whsec_{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

pub(super) async fn connection(stream: tokio::net::TcpStream, router: Router) {
    let cut = CancellationToken::new();
    let service = {
        let cut = cut.clone();
        tower::ServiceExt::map_request(router, move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(cut.clone());
            request.map(axum::body::Body::new)
        })
    };
    let serving = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    // Dropped with the connection open, the stream closes under the caller.
    let _ = cut.run_until_cancelled(serving).await;
}

/// Writes the call down and checks what every call must have.
async fn admit(State(fake): State<FakeFinkare>, request: Request, next: Next) -> Response {
    if !fake.takes(request.method(), request.uri().path(), request.headers()) {
        return error(401);
    }
    // A key without a scope is the operator's choice, not an error of the service's: nothing is held against it.
    if fake.lock().books.may(request.uri().path()) { next.run(request).await } else { error(403) }
}

/// The envelope of an answer, as documented.
fn success(data: &Value) -> Response {
    enveloped(data, None)
}

/// The same for one page of a list.
fn enveloped(data: &Value, pagination: Option<Value>) -> Response {
    let mut body = json!({"success": true, "data": data});
    if let Some(pagination) = pagination {
        body["pagination"] = pagination;
    }
    body["requestId"] = "req_0a1b2c".into();
    body["timestamp"] = "2026-03-15T10:30:00.000Z".into();
    Json(body).into_response()
}

fn error(status: u16) -> Response {
    coded_error(status, &format!("X_{status}"), &format!("the fake says {status}"))
}

fn coded_error(status: u16, code: &str, message: &str) -> Response {
    let body = json!({
        "success": false,
        "error": {"code": code, "message": message},
        "requestId": "req_0e0e0e",
    });
    (StatusCode::from_u16(status).expect("a status"), Json(body)).into_response()
}

async fn nothing_there(State(fake): State<FakeFinkare>, request: Request) -> Response {
    fake.complain(format!("{} {}: no such path", request.method(), request.uri().path()));
    error(404)
}

/// A webhook as lists show it: its times in snake case, without its secret.
fn listed(webhook: &Webhook) -> Value {
    json!({
        "id": webhook.id,
        "url": webhook.url,
        "events": webhook.events,
        "description": "of the tests",
        "enabled": webhook.enabled,
        "created_at": "2026-03-01T08:00:00.000Z",
        "last_triggered_at": null,
    })
}

async fn list(State(fake): State<FakeFinkare>) -> Response {
    let webhooks: Vec<_> = fake.lock().webhooks.iter().map(listed).collect();
    success(&webhooks.into())
}

async fn show(State(fake): State<FakeFinkare>, Path(id): Path<String>) -> Response {
    fake.find(&id).map_or_else(|| error(404), |webhook| success(&listed(&webhook)))
}

async fn create(State(fake): State<FakeFinkare>, cut: axum::Extension<CancellationToken>, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (url, events) = (body["url"].as_str().unwrap_or_default(), &body["events"]);
    let has_events = events.as_array().is_some_and(|events| !events.is_empty() && events.iter().all(Value::is_string));
    if !url.starts_with("https://") || !has_events {
        fake.complain(format!("POST /webhooks: {body}"));
        return error(400);
    }
    let webhook = Webhook {
        id: uuid::Uuid::new_v4().to_string(),
        url: url.to_owned(),
        events: events.clone(),
        enabled: body["enabled"].as_bool().unwrap_or(true),
        secret: new_secret(),
    };
    let turn = fake.turn();
    let shown = json!({
        "id": webhook.id,
        "url": webhook.url,
        "events": webhook.events,
        "enabled": webhook.enabled,
        "secret": webhook.secret,
        "createdAt": "2026-03-15T10:30:00.000Z",
    });
    let making = fake.clone();
    play(
        turn,
        cut.0,
        move || {
            let mut inner = making.lock();
            inner.secrets.push(webhook.secret.clone());
            inner.webhooks.push(webhook);
        },
        move || success(&shown),
    )
    .await
}

async fn update(State(fake): State<FakeFinkare>, Path(id): Path<String>, body: Bytes) -> Response {
    let Ok(Value::Object(changes)) = serde_json::from_slice(&body) else {
        fake.complain(format!("PUT /webhooks/{id}: no object"));
        return error(400);
    };
    let mut inner = fake.lock();
    let Some(webhook) = inner.webhooks.iter_mut().find(|webhook| webhook.id == id) else { return error(404) };
    if let Some(url) = changes.get("url").and_then(Value::as_str) {
        url.clone_into(&mut webhook.url);
    }
    if let Some(events) = changes.get("events") {
        webhook.events = events.clone();
    }
    if let Some(enabled) = changes.get("enabled").and_then(Value::as_bool) {
        webhook.enabled = enabled;
    }
    success(&listed(webhook))
}

async fn delete(State(fake): State<FakeFinkare>, Path(id): Path<String>) -> Response {
    let mut inner = fake.lock();
    let before = inner.webhooks.len();
    inner.webhooks.retain(|webhook| webhook.id != id);
    if inner.webhooks.len() == before { error(404) } else { success(&json!({})) }
}

async fn deliveries(State(fake): State<FakeFinkare>, Path(id): Path<String>) -> Response {
    match fake.find(&id) {
        None => error(404),
        Some(_) => success(&json!([{"eventType": "payment.received", "status": "delivered", "attempts": 1}])),
    }
}

async fn rotate(
    State(fake): State<FakeFinkare>,
    Path(id): Path<String>,
    cut: axum::Extension<CancellationToken>,
) -> Response {
    if fake.find(&id).is_none() {
        fake.complain(format!("POST /webhooks/{id}/rotate-secret: no such webhook"));
        return error(404);
    }
    let (changing, showing) = (fake.clone(), fake.clone());
    let show = id.clone();
    // What is shown is read after the change; nobody else changes it meanwhile, as the tests of that say.
    play(
        fake.turn(),
        cut.0,
        move || changing.change(&id),
        move || success(&json!({"secret": showing.find(&show).map(|webhook| webhook.secret)})),
    )
    .await
}

/// Plays a turn. On a task of its own: Finkare goes on when the caller hangs up.
async fn play(
    turn: Turn,
    cut: CancellationToken,
    change: impl FnOnce() + Send + 'static,
    show: impl FnOnce() -> Response + Send + 'static,
) -> Response {
    let playing = tokio::spawn(async move {
        tokio::time::sleep(turn.before).await;
        if turn.changes {
            change();
        }
        let shown = show();
        tokio::time::sleep(turn.after).await;
        match turn.then {
            Then::Secret => shown,
            Then::Status(status) => error(status),
            Then::Limited(after) => {
                let mut response = error(429);
                if let Some(after) = after {
                    response.headers_mut().insert(header::RETRY_AFTER, after.into());
                }
                response
            }
            Then::Later(status, after) => {
                let mut response = error(status);
                response.headers_mut().insert(header::RETRY_AFTER, after.into());
                response
            }
            Then::Unsuccessful => error(200),
            Then::Nothing => success(&json!({"webhook": {"id": WEBHOOK, "enabled": true}})),
            Then::Cut => {
                cut.cancel();
                std::future::pending().await
            }
            Then::Silence => std::future::pending().await,
            Then::Garbage => "<html>It works!</html>".into_response(),
            Then::Gate(gate) => {
                gate.acquire().await.expect("no gate is ever closed").forget();
                shown
            }
        }
    });
    playing.await.expect("a turn does not panic")
}

mod tests {
    use super::*;
    use crate::support::http;

    async fn ask(fake: &FakeFinkare, method: http::Method, path: &str, body: Value) -> reqwest::Result<(u16, Value)> {
        let request = http()
            .request(method, format!("{}/api/v1{path}", fake.api_url()))
            .header("X-API-Key", API_KEY)
            .header("User-Agent", "finkare-relay/0 (tests)");
        let response = request.json(&body).send().await?;
        Ok((response.status().as_u16(), response.json().await.unwrap_or_default()))
    }

    async fn turn(fake: &FakeFinkare) -> reqwest::Result<(u16, Value)> {
        ask(fake, http::Method::POST, &format!("/webhooks/{WEBHOOK}/rotate-secret"), json!({})).await
    }

    #[tokio::test]
    async fn the_fake_plays_its_turns() {
        let fake = FakeFinkare::start().await;
        assert_eq!(fake.secret(), SECRET);
        let (status, answer) = turn(&fake).await.unwrap();
        assert_eq!((status, answer["data"]["secret"].as_str()), (200, Some(&*fake.secret())));
        assert_ne!(fake.secret(), SECRET);

        fake.next([
            Turn::refusing(Then::Limited(Some(7))),
            Turn::refusing(Then::Status(403)),
            Turn::refusing(Then::Cut),
            Turn::changing(Then::Cut),
            Turn::changing(Then::Garbage),
        ]);
        let mut last = fake.secret();
        let mut changed = || {
            let before = std::mem::replace(&mut last, fake.secret());
            before != last
        };
        assert_eq!(turn(&fake).await.unwrap().0, 429);
        let (status, refused) = turn(&fake).await.unwrap();
        assert_eq!((status, refused["error"]["code"].as_str()), (403, Some("X_403")));
        assert!(turn(&fake).await.is_err(), "cut");
        assert!(!changed());
        assert!(turn(&fake).await.is_err(), "changed and cut");
        assert!(changed());
        assert_eq!(turn(&fake).await.unwrap(), (200, Value::Null), "garbage");
        assert!(changed());

        // Finkare goes on when the caller hangs up.
        fake.next([Turn::PLAIN.slow_to_change(Duration::from_millis(200))]);
        let hurried = http().post(format!("{}/api/v1/webhooks/{WEBHOOK}/rotate-secret", fake.api_url()));
        let hurried = hurried.header("X-API-Key", API_KEY).timeout(Duration::from_millis(50)).send().await;
        assert!(hurried.is_err_and(|error| error.is_timeout()));
        crate::support::eventually("the change", || std::future::ready(changed())).await;

        assert_eq!(fake.rotations().len(), 7);
        assert_eq!(
            fake.complaints(),
            ["POST /webhooks/e5f6a7b8-0000-4000-8000-000000000001/rotate-secret: User-Agent ``"]
        );
    }

    #[tokio::test]
    async fn the_fake_keeps_webhooks() {
        let fake = FakeFinkare::empty().await;
        let new = json!({"url": URL, "events": ["payment.received"]});
        let (status, made) = ask(&fake, http::Method::POST, "/webhooks", new).await.unwrap();
        assert_eq!((status, made["data"]["secret"].as_str()), (200, Some(&*fake.secret())));
        let one = format!("/webhooks/{}", made["data"]["id"].as_str().unwrap());
        let (_, list) = ask(&fake, http::Method::GET, "/webhooks", Value::Null).await.unwrap();
        assert!(list["data"][0]["url"] == URL && list["data"][0]["secret"].is_null(), "{list}");
        let (status, _) = ask(&fake, http::Method::PUT, &one, json!({"enabled": false})).await.unwrap();
        let (_, shown) = ask(&fake, http::Method::GET, &one, Value::Null).await.unwrap();
        assert!(status == 200 && shown["data"]["enabled"] == false, "{shown}");
        assert_eq!(ask(&fake, http::Method::DELETE, &one, Value::Null).await.unwrap().0, 200);
        assert_eq!(ask(&fake, http::Method::GET, &one, Value::Null).await.unwrap().0, 404);
        assert_eq!(fake.complaints(), Vec::<String>::new());

        let open = json!({"url": "http://relay.example/", "events": ["payment.received"]});
        assert_eq!(ask(&fake, http::Method::POST, "/webhooks", open).await.unwrap().0, 400);
        let stranger = http().get(format!("{}/api/v1/webhooks", fake.api_url())).header("X-API-Key", "fk_live_x");
        assert_eq!(stranger.send().await.unwrap().status(), 401);
        assert_eq!(fake.complaints().len(), 3, "{:?}", fake.complaints());
    }
}
