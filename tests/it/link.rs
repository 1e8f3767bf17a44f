//! The link to Finkare over real stores and a Finkare that fails on demand: what is kept, what is refused,
//! what nobody knows and how it is healed.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use ::finkare::{Client, Settings};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use finkare_relay::{
    finkare::link::{
        DEFAULT_OVERLAP, LinkError, LinkedEndpoint, Links, MAX_OVERLAP, MIN_OVERLAP, Registered, Registration,
        settling::{Said, Settled},
    },
    lifecycle::Lifecycle,
    model::{
        clock,
        id::{EndpointName, LeaseToken},
        intent::{IntentKind, IntentState, Link},
        secret::Secret,
        stored_secret::{Fingerprint, Origin, SecretState},
    },
    secrets::{NotProved, Secrets, Source, vault::Vault},
    signature::finkare::{HEADER, SecretEncoding, SignatureOver},
    store::{Store, postgres::PostgresStore},
    telemetry::Metrics,
};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::{
    store::{Fixture, on_each_store},
    support::{self, PATIENCE, eventually, finkare, proxy},
};

const OLD: &str = "whsec_the-secret-before";
const ID: &str = "e5f6a7b8-0000-4000-8000-000000000001";
const URL: &str = "https://relay.example.com/webhooks/finkare";
const ROTATE: &str = "/rotate-secret";
const CREATE: &str = "POST /api/v1/webhooks ";
const LIST: &str = "GET /api/v1/webhooks ";

// ---------------------------------------------------------------------------------------------
// Finkare, as far as the link asks it

/// What goes wrong with one call.
#[derive(Debug, Clone)]
enum Fault {
    /// Not done; this status.
    Refuse(u16),
    /// Done all the same; this status.
    DoneBut(u16),
    /// Not done; the connection is cut.
    CutBefore,
    /// Done; the connection is cut instead of an answer.
    CutAfter,
    /// Done; no answer until the client gives up.
    Hang,
    /// Done; the answer is no JSON.
    Unreadable,
    /// Done and answered well, once this has a permit.
    Hold(Arc<Semaphore>),
    /// Done at once, answered well once this has a permit.
    Late(Arc<Semaphore>),
}

#[derive(Debug, Clone)]
struct Hook {
    id: String,
    url: String,
    events: Vec<String>,
    enabled: bool,
    secret: String,
}

#[derive(Debug, Default)]
struct Inner {
    hooks: Vec<Hook>,
    /// Secrets ever given out.
    given: Vec<String>,
    /// Every call: `METHOD PATH `.
    calls: Vec<String>,
    faults: VecDeque<(&'static str, Fault)>,
}

impl Inner {
    fn new_secret(&mut self) -> String {
        let secret =
            format!("whsec_{}", BASE64_STANDARD.encode(format!("given by Finkare as number {}", self.given.len())));
        self.given.push(secret.clone());
        secret
    }

    fn serve(&mut self, call: &str, body: &Value) -> (u16, Value) {
        let (method, path) = call.trim_end().split_once(' ').unwrap();
        let rest = path.strip_prefix("/api/v1/webhooks").unwrap_or("?");
        let shown = |hook: &Hook| {
            json!({"id": hook.id, "url": hook.url, "events": hook.events, "enabled": hook.enabled,
                   "created_at": "2026-03-01T08:00:00.000Z"})
        };
        if (method, rest) == ("GET", "") {
            return (200, json!(self.hooks.iter().map(shown).collect::<Vec<_>>()));
        }
        if (method, rest) == ("POST", "") {
            let secret = self.new_secret();
            let id = format!("e5f6a7b8-0000-4000-9000-{:012}", self.given.len());
            let events =
                body["events"].as_array().unwrap().iter().map(|event| event.as_str().unwrap().into()).collect();
            let hook = Hook { id, url: body["url"].as_str().unwrap().into(), events, enabled: true, secret };
            self.hooks.push(hook.clone());
            let mut data = shown(&hook);
            data["secret"] = hook.secret.into();
            return (201, data);
        }
        let id = rest.trim_start_matches('/').trim_end_matches(ROTATE).to_owned();
        let Some(at) = self.hooks.iter().position(|hook| hook.id == id) else {
            return (404, json!({"code": "RES_001", "message": "Resource not found"}));
        };
        if method == "POST" && rest.ends_with(ROTATE) {
            self.hooks[at].secret = self.new_secret();
            return (200, json!({"secret": self.hooks[at].secret}));
        }
        if let Some(events) = body["events"].as_array() {
            self.hooks[at].events = events.iter().map(|event| event.as_str().unwrap().into()).collect();
        }
        (200, shown(&self.hooks[at]))
    }
}

/// A Finkare that answers one call on each connection.
#[derive(Clone)]
struct Provider {
    url: String,
    inner: Arc<Mutex<Inner>>,
}

impl Provider {
    /// One that knows no webhook.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider =
            Self { url: format!("http://{}/", listener.local_addr().unwrap()), inner: Arc::new(Mutex::default()) };
        let serving = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let provider = serving.clone();
                tokio::spawn(async move {
                    // A client that has gone is part of the game.
                    let _ = provider.answer(stream).await;
                });
            }
        });
        provider
    }

    /// One that posts to us under the secret [`OLD`].
    async fn with_webhook() -> Self {
        let provider = Self::start().await;
        provider.add(ID, URL, OLD);
        provider
    }

    fn add(&self, id: &str, url: &str, secret: &str) {
        let events = vec!["payment.received".to_owned()];
        let hook = Hook { id: id.into(), url: url.into(), events, enabled: true, secret: secret.into() };
        self.inner.lock().unwrap().hooks.push(hook);
    }

    /// The next call that has this in it fails so.
    fn fails(&self, call: &'static str, fault: Fault) {
        self.inner.lock().unwrap().faults.push_back((call, fault));
    }

    /// The next call that has this in it waits for the answer to be let go.
    fn holds(&self, call: &'static str) -> Arc<Semaphore> {
        let hold = Arc::new(Semaphore::new(0));
        self.fails(call, Fault::Hold(hold.clone()));
        hold
    }

    fn calls(&self, part: &str) -> usize {
        self.inner.lock().unwrap().calls.iter().filter(|call| call.contains(part)).count()
    }

    async fn called(&self, part: &str, times: usize) {
        eventually(&format!("{times} calls of {part}"), async || self.calls(part) >= times).await;
    }

    fn hooks(&self) -> Vec<Hook> {
        self.inner.lock().unwrap().hooks.clone()
    }

    /// What the first webhook's deliveries are signed with now.
    fn secret(&self) -> String {
        self.hooks()[0].secret.clone()
    }

    async fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let (mut call, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if call.is_empty() {
                call = line.split("HTTP/1.1").next().unwrap().to_owned();
            } else if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = number.trim().parse().unwrap();
            } else if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let fault = {
            let mut inner = self.inner.lock().unwrap();
            inner.calls.push(call.clone());
            let at = inner.faults.iter().position(|(part, _)| call.contains(part));
            at.and_then(|at| inner.faults.remove(at)).map(|(_, fault)| fault)
        };
        let serve = || self.inner.lock().unwrap().serve(&call, &body);
        let error = |status| (status, json!({"code": format!("TEST_{status}"), "message": "as the test wants it"}));
        let (status, data) = match fault {
            None => serve(),
            Some(Fault::Refuse(status)) => error(status),
            Some(Fault::DoneBut(status)) => {
                serve();
                error(status)
            }
            Some(Fault::CutBefore) => return Ok(()),
            Some(Fault::CutAfter) => {
                serve();
                return Ok(());
            }
            Some(Fault::Hang) => {
                serve();
                // Until the client hangs up.
                stream.read_u8().await?;
                return Ok(());
            }
            Some(Fault::Unreadable) => {
                serve();
                let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
                return stream.write_all(answer.as_bytes()).await;
            }
            Some(Fault::Hold(hold)) => {
                hold.acquire().await.unwrap().forget();
                serve()
            }
            Some(Fault::Late(hold)) => {
                let served = serve();
                hold.acquire().await.unwrap().forget();
                served
            }
        };
        let success = status < 300;
        let (name, request) = (if success { "data" } else { "error" }, "req_0a1b2c");
        let answer = json!({"success": success, name: data, "requestId": request}).to_string();
        let retry = if status == 429 { "retry-after: 0\r\n" } else { "" };
        let answer = format!(
            "HTTP/1.1 {status} As-Told\r\ncontent-type: application/json\r\nconnection: close\r\n{retry}content-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    }
}

// ---------------------------------------------------------------------------------------------
// Our side

/// One process's part.
struct Node {
    store: Arc<dyn Store>,
    secrets: Arc<Secrets>,
    links: Arc<Links>,
    metrics: Arc<Metrics>,
    lifecycle: Lifecycle,
}

/// How a node's endpoint is configured.
struct Setup {
    webhook_id: Option<&'static str>,
    has_key: bool,
    configured: &'static [&'static str],
    rotate_every: Option<Duration>,
    timeout: Duration,
}

const LINKED: Setup =
    Setup { webhook_id: Some(ID), has_key: true, configured: &[OLD], rotate_every: None, timeout: PATIENCE };
const BLANK: Setup = Setup { webhook_id: None, configured: &[], ..LINKED };

fn endpoint() -> EndpointName {
    EndpointName::new("production").unwrap()
}

impl Node {
    async fn new(fixture: &Fixture, provider: &Provider, setup: Setup) -> Self {
        Self::on(fixture.open().await, provider, setup).await
    }

    async fn on(store: Arc<dyn Store>, provider: &Provider, setup: Setup) -> Self {
        // Every test may be the first one in its process.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let source = Source {
            endpoint: endpoint(),
            configured: setup.configured.iter().copied().map(Secret::new).collect(),
            encoding: SecretEncoding::Literal,
            over: SignatureOver::Raw,
        };
        let vault = Vault::new(&Secret::new(BASE64_STANDARD.encode([1; 32]))).unwrap();
        let secrets = Secrets::open(store.clone(), vault, vec![source]).await.unwrap();
        let settings = Settings {
            api_url: Some(provider.url.parse().unwrap()),
            timeout: setup.timeout,
            rate_limit: (1000.try_into().unwrap(), Duration::from_secs(1)),
            ..Settings::new(Secret::new("fk_test_the-key-of-the-tests"))
        };
        let linked = LinkedEndpoint {
            name: endpoint(),
            path: "/webhooks/finkare".into(),
            webhook_id: setup.webhook_id.map(Into::into),
            client: setup.has_key.then(|| Arc::new(Client::new(settings).unwrap())),
            is_sandbox: true,
            rotate_every: setup.rotate_every,
            rotate_overlap: DEFAULT_OVERLAP,
        };
        let (metrics, lifecycle) = (Arc::new(Metrics::new()), Lifecycle::new());
        let links = Links::new(store.clone(), secrets.clone(), vec![linked], metrics.clone(), lifecycle.clone());
        Self { store, secrets, links, metrics, lifecycle }
    }

    /// Looks after the links from now on, as the service does.
    fn keep(&self) {
        self.lifecycle.spawn("links", self.links.clone().run());
        self.lifecycle.spawn("secrets", self.secrets.clone().run(self.lifecycle.clone()));
    }

    async fn rotate(&self) -> Result<Fingerprint, LinkError> {
        self.links.rotate(&endpoint(), "tests", DEFAULT_OVERLAP).await.map(|rotated| rotated.fingerprint)
    }

    async fn register(&self) -> Result<Registered, LinkError> {
        self.links.register(&endpoint(), "tests", registration(URL)).await
    }

    async fn link(&self) -> Link {
        let links = self.store.links().await.unwrap();
        let nothing = || Link { endpoint: endpoint(), webhook: None, secrets: Vec::new(), intent: None };
        links.into_iter().find(|link| link.endpoint == endpoint()).unwrap_or_else(nothing)
    }

    async fn newest(&self) -> Option<Fingerprint> {
        self.link().await.secrets.first().map(|secret| secret.fingerprint.clone())
    }

    /// Waits until nothing is unfinished and the newest secret is what Finkare signs with.
    async fn healed(&self, provider: &Provider) {
        eventually("the newest secret is Finkare's", async || {
            let link = self.link().await;
            link.intent.is_none()
                && link.secrets.first().map(|secret| &secret.fingerprint) == Some(&of(&provider.secret()))
        })
        .await;
        self.secrets.refresh().await.unwrap();
        self.verify(&provider.secret()).await.unwrap();
    }

    async fn verify(&self, secret: &str) -> Result<(), NotProved> {
        let body = Bytes::from_static(br#"{"event":"payment.received"}"#);
        let signature = HeaderValue::from_str(&finkare::sign(secret, &body)).unwrap();
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static(HEADER), signature)]);
        self.secrets.keyring(&endpoint()).unwrap().prove(&headers, &body).await.map(drop)
    }

    /// The trail's actions, oldest first; no secret stands in it.
    async fn trail(&self, provider: &Provider) -> Vec<String> {
        let entries = self.store.list_audit(None, 1000).await.unwrap().rows;
        let text = format!("{entries:?}");
        let given = provider.inner.lock().unwrap().given.clone();
        for secret in given.iter().map(String::as_str).chain([OLD, "fk_test_the-key", "whsec_"]) {
            assert!(!text.contains(secret), "{secret} stands in {text}");
        }
        entries.into_iter().rev().map(|entry| entry.action).filter(|action| action != "secret.configured").collect()
    }

    fn count(&self, result: &str) -> u64 {
        let name = format!(r#"relay_rotations_total{{endpoint="production",result="{result}"}} "#);
        let text = self.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    }
}

fn registration(url: &str) -> Registration {
    let events = vec!["payment.received".into(), "invoice.status_changed".into()];
    Registration { url: url.into(), events, description: Some("tests".into()) }
}

fn of(secret: &str) -> Fingerprint {
    Fingerprint::of(&Secret::new(secret))
}

/// What an error tells, in all its forms.
fn told(error: &LinkError) -> String {
    let told = format!("{} {error:?}", finkare_relay::model::chain::Chain(error));
    assert!(!told.contains("whsec_") && !told.contains("the-key-of-the-tests"), "{told}");
    told
}

on_each_store!(
    a_rotation_ends_with_finkares_new_secret,
    a_refusal_changes_nothing,
    too_many_requests_are_asked_again,
    a_request_that_never_left_changes_nothing,
    what_nobody_knows_is_asked_again_by_the_next_rotation,
    what_nobody_knows_is_asked_again_by_the_keeper,
    a_delivery_waits_for_the_rotation_that_it_came_in,
    a_rotation_goes_on_when_nobody_waits,
    a_soft_stop_lets_a_rotation_end,
    a_hard_stop_leaves_it_to_the_next_start,
    a_lost_lease_loses_no_secret,
    what_cannot_be_asked_says_what_to_set,
    what_cannot_be_healed_stays_in_doubt,
    a_registration_makes_one_webhook,
    two_registrations_at_once_make_one_webhook,
    a_refused_registration_changes_nothing,
    a_registration_whose_answer_is_lost_is_healed,
    event_types_whose_answer_is_lost_are_looked_up,
    unreadable_answers_are_left_to_a_person,
    a_persons_word_ends_a_doubt,
    a_word_that_cannot_count_changes_nothing,
    a_registration_that_never_came_about_ends,
    a_rotation_heals_a_registration,
    a_registration_ends_the_rotation_of_a_webhook_that_is_gone,
    a_webhook_that_is_there_is_adopted,
    a_webhook_that_is_there_twice_is_adopted_once,
    retired_secrets_expire,
);

async fn a_rotation_ends_with_finkares_new_secret(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    let begun = clock::now();
    let rotated = node.links.rotate(&endpoint(), "tests", Duration::from_hours(2)).await.unwrap();
    assert_eq!(rotated.fingerprint, of(&provider.secret()));
    // The store's clock is this machine's; a few seconds are granted.
    let overlap = clock::since(begun, rotated.previous_valid_until.unwrap());
    assert!(overlap >= Duration::from_secs(7195) && overlap < Duration::from_hours(2) + PATIENCE, "{overlap:?}");
    for secret in [OLD, &provider.secret()] {
        node.verify(secret).await.unwrap();
    }
    let link = node.link().await;
    assert_eq!(link.intent, None);
    let states: Vec<_> = link.secrets.iter().map(|secret| (secret.origin, secret.state)).collect();
    assert_eq!(states, [(Origin::Rotated, SecretState::Active), (Origin::Configured, SecretState::Retiring)]);
    assert_eq!(node.trail(&provider).await, ["rotation.begun", "rotation.done"]);
    let done = &node.store.list_audit(None, 1).await.unwrap().rows[0];
    assert_eq!((done.actor.as_str(), done.subject.as_str()), ("tests", "endpoint/production"));
    assert_eq!(
        done.detail,
        json!({"webhook_id": ID, "fingerprint": rotated.fingerprint, "overlap_secs": 7200, "previous": [of(OLD)], "tries": 1})
    );
    assert_eq!((node.count("rotated"), node.count("healed")), (1, 0));
}

async fn a_refusal_changes_nothing(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    for status in [401, 403, 404, 422] {
        provider.fails(ROTATE, Fault::Refuse(status));
        let error = node.rotate().await.unwrap_err();
        let LinkError::Refused(cause) = &error else { panic!("{error:?}") };
        assert_eq!(cause.code(), Some(format!("TEST_{status}").as_str()));
        told(&error);
        let link = node.link().await;
        assert_eq!((link.intent, link.secrets.len(), link.secrets[0].state), (None, 1, SecretState::Active));
        node.verify(OLD).await.unwrap();
        let forged = node.verify("whsec_another").await;
        assert!(matches!(forged, Err(NotProved::Rejected(_))), "{forged:?}");
        let refused = &node.store.list_audit(None, 1).await.unwrap().rows[0];
        assert_eq!(refused.action, "rotation.refused");
        let code = format!("TEST_{status}");
        assert_eq!(
            refused.detail,
            json!({"webhook_id": ID, "status": status, "code": code, "request_id": "req_0a1b2c"})
        );
    }
    assert_eq!(node.count("refused"), 4);
    assert_eq!(provider.secret(), OLD);
    node.rotate().await.unwrap();
    node.healed(&provider).await;
}

async fn too_many_requests_are_asked_again(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    provider.fails(ROTATE, Fault::Refuse(429));
    provider.fails(ROTATE, Fault::Refuse(429));
    assert_eq!(node.rotate().await.unwrap(), of(&provider.secret()));
    assert_eq!(provider.calls(ROTATE), 3);
    assert_eq!(node.trail(&provider).await, ["rotation.begun", "rotation.done"]);
}

async fn a_request_that_never_left_changes_nothing(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    // Nobody listens where somebody just did.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = Provider { url: format!("http://{gone}/"), ..provider.clone() };
    let node = Node::new(&fixture, &nobody, LINKED).await;
    let error = node.rotate().await.unwrap_err();
    assert!(matches!(error, LinkError::Refused(_)), "{}", told(&error));
    assert_eq!(node.link().await.intent, None);
    node.verify(OLD).await.unwrap();
    assert_eq!(node.store.list_audit(None, 1).await.unwrap().rows[0].detail["problem"], "not_connected");
}

async fn what_nobody_knows_is_asked_again_by_the_next_rotation(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, Setup { timeout: Duration::from_millis(500), ..LINKED }).await;
    let faults = [
        Fault::Refuse(500),
        Fault::DoneBut(503),
        Fault::DoneBut(408),
        Fault::Refuse(409),
        Fault::DoneBut(425),
        Fault::DoneBut(302),
        Fault::CutBefore,
        Fault::CutAfter,
        Fault::Hang,
        Fault::Unreadable,
    ];
    for (number, fault) in (1..).zip(faults) {
        let before = node.link().await.secrets;
        provider.fails(ROTATE, fault.clone());
        let error = node.rotate().await.unwrap_err();
        assert!(matches!(error, LinkError::Uncertain(_)), "{fault:?}: {}", told(&error));
        let link = node.link().await;
        assert_eq!(link.secrets, before, "{fault:?}: the secrets before stay in force");
        let intent = link.intent.unwrap();
        assert_eq!(
            (intent.kind, intent.state, intent.tries),
            (IntentKind::Rotate, IntentState::Unknown, 1),
            "{fault:?}"
        );
        node.verify(OLD).await.unwrap();
        // A refusal now proves nothing about the first try.
        provider.fails(ROTATE, Fault::Refuse(403));
        let error = node.rotate().await.unwrap_err();
        assert!(matches!(error, LinkError::Uncertain(_)), "{fault:?}: {}", told(&error));
        assert_eq!(node.link().await.intent.unwrap().tries, 2, "{fault:?}");
        let forged = node.verify("whsec_another").await;
        assert!(matches!(forged, Err(NotProved::Undecided(_))), "{fault:?}: {forged:?}");
        assert_eq!(node.rotate().await.unwrap(), of(&provider.secret()), "{fault:?}");
        node.healed(&provider).await;
        assert_eq!((node.count("uncertain"), node.count("healed")), (number * 2, number), "{fault:?}");
    }
    let trail = node.trail(&provider).await;
    let round = [
        "rotation.begun",
        "rotation.uncertain",
        "rotation.begun",
        "rotation.uncertain",
        "rotation.begun",
        "rotation.done",
    ];
    assert_eq!(trail[..6], round);
}

async fn what_nobody_knows_is_asked_again_by_the_keeper(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    node.keep();
    provider.fails(ROTATE, Fault::CutAfter);
    provider.fails(ROTATE, Fault::Refuse(404));
    let error = node.rotate().await.unwrap_err();
    assert!(matches!(error, LinkError::Uncertain(_)), "{}", told(&error));
    node.healed(&provider).await;
    node.verify(OLD).await.unwrap();
    assert_eq!(
        node.trail(&provider).await,
        [
            "rotation.begun",
            "rotation.uncertain",
            "intent.taken_over",
            "rotation.uncertain",
            "intent.taken_over",
            "rotation.done"
        ]
    );
    assert!(node.lifecycle.stop(PATIENCE).await && !node.lifecycle.failed());
    assert_eq!((node.count("uncertain"), node.count("healed"), node.count("refused")), (2, 1, 0));
}

async fn a_delivery_waits_for_the_rotation_that_it_came_in(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Arc::new(Node::new(&fixture, &provider, LINKED).await);
    let hold = provider.holds(ROTATE);
    let rotating = tokio::spawn({
        let node = node.clone();
        async move { node.rotate().await }
    });
    provider.called(ROTATE, 1).await;
    // What Finkare is about to give: it signs by it before we know.
    let next = format!("whsec_{}", BASE64_STANDARD.encode("given by Finkare as number 0"));
    let mut delivery = Box::pin(node.verify(&next));
    assert!(futures_util::poll!(&mut delivery).is_pending(), "it is neither proved nor refused yet");
    node.verify(OLD).await.unwrap();
    hold.add_permits(1);
    delivery.await.unwrap();
    assert_eq!(rotating.await.unwrap().unwrap(), of(&next));
}

async fn a_rotation_goes_on_when_nobody_waits(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    let hold = provider.holds(ROTATE);
    {
        let mut rotating = Box::pin(node.rotate());
        tokio::select! {
            done = &mut rotating => panic!("{done:?}"),
            () = provider.called(ROTATE, 1) => {}
        }
    }
    hold.add_permits(1);
    node.healed(&provider).await;
    assert_eq!(provider.calls(ROTATE), 1);
}

async fn a_soft_stop_lets_a_rotation_end(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    let hold = provider.holds(ROTATE);
    let mut rotating = Box::pin(node.rotate());
    tokio::select! {
        done = &mut rotating => panic!("{done:?}"),
        () = provider.called(ROTATE, 1) => {}
    }
    node.lifecycle.soft.cancel();
    let error = node.rotate().await.unwrap_err();
    assert!(matches!(error, LinkError::Stopping), "nothing new begins: {error:?}");
    hold.add_permits(1);
    rotating.await.unwrap();
    node.healed(&provider).await;
    assert!(node.lifecycle.stop(PATIENCE).await);
}

async fn a_hard_stop_leaves_it_to_the_next_start(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    provider.fails(ROTATE, Fault::Hang);
    let mut rotating = Box::pin(node.rotate());
    tokio::select! {
        done = &mut rotating => panic!("{done:?}"),
        () = provider.called(ROTATE, 1) => {}
    }
    node.lifecycle.hard.cancel();
    let error = rotating.await.unwrap_err();
    assert!(matches!(error, LinkError::Stopping), "{error:?}");
    assert_eq!(node.link().await.intent.unwrap().state, IntentState::InFlight);
    // The next process: nobody renews the lease, so it runs out.
    let next = Node::on(node.store.clone(), &provider, LINKED).await;
    next.keep();
    next.healed(&provider).await;
    assert_eq!(provider.calls(ROTATE), 2);
    next.verify(OLD).await.unwrap();
}

async fn a_lost_lease_loses_no_secret(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    let hold = provider.holds(ROTATE);
    let mut first = Box::pin(node.rotate());
    tokio::select! {
        done = &mut first => panic!("{done:?}"),
        () = provider.called(ROTATE, 1) => {}
    }
    // As if it had not renewed its lease in time.
    node.store.abandon_intents().await.unwrap();
    let other = Node::on(node.store.clone(), &provider, LINKED).await;
    let taken = other.rotate().await.unwrap();
    assert_eq!(taken, of(&provider.secret()));
    hold.add_permits(1);
    let error = first.await.unwrap_err();
    assert!(matches!(error, LinkError::InFlight { .. }), "{}", told(&error));
    // Finkare's answer was worth having: it is what Finkare signs with now.
    node.verify(&provider.secret()).await.unwrap();
    assert_eq!(node.newest().await, Some(of(&provider.secret())));
    assert!(node.link().await.intent.is_some(), "nobody can know which was the last: it is rotated once more");
    other.keep();
    other.healed(&provider).await;
    assert_eq!(provider.calls(ROTATE), 3);
    assert_eq!(node.count("uncertain"), 1);
}

async fn what_cannot_be_asked_says_what_to_set(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, Setup { has_key: false, ..LINKED }).await;
    let another = EndpointName::new("another").unwrap();
    let unknown = node.links.rotate(&another, "tests", DEFAULT_OVERLAP).await.unwrap_err();
    assert!(matches!(unknown, LinkError::NoSuchEndpoint(_)), "{unknown:?}");
    for error in [node.rotate().await.unwrap_err(), node.register().await.unwrap_err()] {
        assert!(matches!(error, LinkError::NotLinked(_)) && told(&error).contains("FINKARE_API_KEY"), "{error:?}");
    }
    let node = Node::on(node.store.clone(), &provider, Setup { webhook_id: None, ..LINKED }).await;
    let error = node.rotate().await.unwrap_err();
    assert!(matches!(error, LinkError::NotLinked(_)) && told(&error).contains("finkare-relay register"), "{error:?}");
    let long = node.links.rotate(&endpoint(), "tests", MAX_OVERLAP + Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(long, LinkError::Invalid(_)), "{long:?}");
    let http = node.links.register(&endpoint(), "tests", registration("http://relay.example.com/")).await.unwrap_err();
    assert!(matches!(http, LinkError::Invalid(_)) && told(&http).contains("HTTPS"), "{http:?}");
    assert_eq!(node.trail(&provider).await, [""; 0]);
    assert_eq!(provider.calls(""), 0, "Finkare was not asked");
}

async fn what_cannot_be_healed_stays_in_doubt(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    provider.fails(ROTATE, Fault::CutAfter);
    node.rotate().await.unwrap_err();
    let keyless = Node::on(node.store.clone(), &provider, Setup { has_key: false, ..LINKED }).await;
    keyless.keep();
    eventually("the keeper has looked", async || keyless.trail(&provider).await.len() == 4).await;
    assert_eq!(
        keyless.trail(&provider).await,
        ["rotation.begun", "rotation.uncertain", "intent.taken_over", "rotation.uncertain"]
    );
    assert_eq!(node.link().await.intent.unwrap().state, IntentState::Unknown);
    assert!(keyless.lifecycle.stop(PATIENCE).await);
    // One that has the key does not have to wait for the next look.
    node.rotate().await.unwrap();
    node.healed(&provider).await;
}

async fn a_registration_makes_one_webhook(fixture: Fixture) {
    let provider = Provider::start().await;
    let node = Node::new(&fixture, &provider, BLANK).await;
    let registered = node.register().await.unwrap();
    let hooks = provider.hooks();
    assert_eq!(hooks.len(), 1);
    assert_eq!(
        registered,
        Registered {
            webhook_id: hooks[0].id.clone(),
            url: URL.into(),
            created: true,
            fingerprint: Some(of(&hooks[0].secret)),
            notes: vec![]
        }
    );
    assert_eq!(hooks[0].events, ["payment.received", "invoice.status_changed"]);
    node.verify(&hooks[0].secret).await.unwrap();
    let link = node.link().await;
    assert_eq!(link.webhook.map(|webhook| (webhook.id, webhook.url)), Some((hooks[0].id.clone(), URL.into())));
    assert_eq!((link.intent, link.secrets[0].origin), (None, Origin::Registered));
    let again = node.register().await.unwrap();
    assert_eq!(again, Registered { created: false, ..registered });
    assert_eq!(provider.hooks().len(), 1);
    assert_eq!(node.trail(&provider).await, ["registration.begun", "registration.done"]);
    assert_eq!(node.count("registered"), 1);
    // The id is known now.
    node.rotate().await.unwrap();
    node.healed(&provider).await;
    let elsewhere =
        node.links.register(&endpoint(), "tests", registration("https://relay.example.com/x")).await.unwrap();
    assert!(elsewhere.created && elsewhere.notes[0].contains("/webhooks/finkare"), "{elsewhere:?}");
    let states: Vec<_> = node.link().await.secrets.iter().map(|secret| secret.state).collect();
    assert_eq!(states, [SecretState::Active, SecretState::Active, SecretState::Retiring], "the earlier one stays");
}

async fn two_registrations_at_once_make_one_webhook(fixture: Fixture) {
    let provider = Provider::start().await;
    let node = Node::new(&fixture, &provider, BLANK).await;
    let other = Node::on(node.store.clone(), &provider, BLANK).await;
    // Both look and find nothing; then one goes on, and the other when the first is at work or done.
    let (one, two) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    provider.fails(LIST, Fault::Late(one.clone()));
    provider.fails(LIST, Fault::Late(two.clone()));
    let creating = provider.holds(CREATE);
    let mut first = Box::pin(node.register());
    tokio::select! {
        done = &mut first => panic!("{done:?}"),
        () = provider.called(LIST, 1) => {}
    }
    let mut second = Box::pin(other.register());
    tokio::select! {
        done = &mut second => panic!("{done:?}"),
        () = provider.called(LIST, 2) => {}
    }
    one.add_permits(1);
    tokio::select! {
        done = &mut first => panic!("{done:?}"),
        () = provider.called(CREATE, 1) => {}
    }
    let third = node.register().await;
    assert!(matches!(third, Err(LinkError::InFlight { .. })), "{third:?}");
    creating.add_permits(1);
    assert!(first.await.unwrap().created);
    // What the second one saw is old by now: it looks again before it creates.
    two.add_permits(1);
    let second = second.await.unwrap();
    assert!(!second.created && second.fingerprint == Some(of(&provider.secret())), "{second:?}");
    assert_eq!((provider.hooks().len(), provider.calls(CREATE)), (1, 1));
    assert_eq!(
        node.trail(&provider).await,
        ["registration.begun", "registration.done", "registration.begun", "intent.dropped"]
    );
}

async fn a_refused_registration_changes_nothing(fixture: Fixture) {
    let provider = Provider::start().await;
    let node = Node::new(&fixture, &provider, BLANK).await;
    provider.fails(LIST, Fault::Refuse(403));
    let error = node.register().await.unwrap_err();
    assert!(matches!(error, LinkError::Refused(_)), "{}", told(&error));
    assert_eq!(node.trail(&provider).await, [""; 0]);
    provider.fails(CREATE, Fault::Refuse(422));
    let error = node.register().await.unwrap_err();
    assert!(matches!(error, LinkError::Refused(_)), "{}", told(&error));
    assert_eq!(node.trail(&provider).await, ["registration.begun", "registration.refused"]);
    let link = node.link().await;
    assert!(link.intent.is_none() && link.webhook.is_none() && link.secrets.is_empty());
    assert!(node.register().await.unwrap().created);
}

async fn event_types_whose_answer_is_lost_are_looked_up(fixture: Fixture) {
    const UPDATE: &str = "PUT ";
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    let events = || provider.hooks()[0].events.clone();
    for status in [302, 408, 409, 425, 500] {
        provider.fails(UPDATE, Fault::Refuse(status));
        let error = node.register().await.unwrap_err();
        assert!(matches!(error, LinkError::UpdateUnknown(_)), "{status}: {}", told(&error));
    }
    provider.fails(UPDATE, Fault::Refuse(403));
    let error = node.register().await.unwrap_err();
    assert!(matches!(error, LinkError::Refused(_)), "{}", told(&error));
    assert_eq!((events(), node.link().await.webhook), (vec!["payment.received".to_owned()], None), "nothing was done");
    // Done, and not said.
    provider.fails(UPDATE, Fault::DoneBut(408));
    let adopted = node.register().await.unwrap();
    assert!(!adopted.created && adopted.notes.iter().any(|note| note.contains("were added")), "{adopted:?}");
    assert_eq!(events(), ["payment.received", "invoice.status_changed"]);
    assert_eq!((provider.hooks().len(), provider.calls(CREATE)), (1, 0));
}

/// Finkare answers with success and without a secret, whatever it is asked.
async fn lost_for_good(fixture: &Fixture, provider: &Provider) -> Node {
    let node = Node::new(fixture, provider, LINKED).await;
    for _ in 0..3 {
        provider.fails(ROTATE, Fault::Unreadable);
    }
    assert!(matches!(node.rotate().await, Err(LinkError::Uncertain(_))));
    node.keep();
    eventually("it is left to a person", async || {
        node.link().await.intent.is_some_and(|intent| intent.needs_a_person())
    })
    .await;
    node
}

async fn unreadable_answers_are_left_to_a_person(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = lost_for_good(&fixture, &provider).await;
    assert!(node.lifecycle.stop(PATIENCE).await && !node.lifecycle.failed());
    let intent = node.link().await.intent.unwrap();
    assert_eq!((intent.tries, intent.unreadable, provider.calls(ROTATE)), (3, 3, 3));
    assert_eq!((node.count("uncertain"), node.count("stopped"), node.count("healed")), (3, 1, 0));
    // Whoever heals finds nothing, also after a restart that makes everything due.
    let next = Node::on(node.store.clone(), &provider, LINKED).await;
    next.store.abandon_intents().await.unwrap();
    for _ in 0..3 {
        let taken = next.store.take_over_intent(LeaseToken::generate(), Duration::from_secs(8)).await.unwrap();
        assert_eq!(taken, None);
    }
    next.verify(OLD).await.unwrap();
    let genuine = next.verify(&provider.secret()).await;
    assert!(matches!(genuine, Err(NotProved::Undecided(_))), "{genuine:?}");
    // What a person asks for is tried, once.
    provider.fails(ROTATE, Fault::Unreadable);
    let error = next.rotate().await.unwrap_err();
    assert!(matches!(error, LinkError::NeedsAPerson { .. }), "{error:?}");
    assert!(told(&error).contains("finkare-relay endpoints settle production"), "{}", told(&error));
    let intent = next.link().await.intent.unwrap();
    assert!(intent.needs_a_person() && (intent.tries, intent.unreadable) == (4, 4), "{intent:?}");
    assert_eq!(next.store.take_over_intent(LeaseToken::generate(), Duration::from_secs(8)).await.unwrap(), None);
    let doubt = &next.store.list_audit(None, 1).await.unwrap().rows[0];
    assert_eq!((doubt.action.as_str(), &doubt.detail["unreadable"]), ("rotation.uncertain", &json!(4)));
    assert_eq!(doubt.detail["retry_in_ms"], Value::Null);
    next.rotate().await.unwrap();
    next.healed(&provider).await;
    assert_eq!(provider.calls(ROTATE), 5);
}

async fn a_persons_word_ends_a_doubt(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = lost_for_good(&fixture, &provider).await;
    let said = Said::Secret(Secret::new(provider.secret()));
    let settled = node.links.settle(&endpoint(), "ops", said.clone()).await.unwrap();
    let meant = of(&provider.secret());
    assert_eq!(settled, Settled { fingerprint: meant.clone(), ended: Some(IntentKind::Rotate) });
    for secret in [OLD, &provider.secret()] {
        node.verify(secret).await.unwrap();
    }
    let link = node.link().await;
    assert_eq!((link.intent, &link.secrets[0].fingerprint, link.secrets[0].state), (None, &meant, SecretState::Active));
    assert_eq!(link.secrets[0].origin, Origin::Configured);
    let entry = node.store.list_audit(None, 1).await.unwrap().rows.remove(0);
    assert_eq!((entry.action.as_str(), entry.actor.as_str()), ("secret.settled", "ops"));
    assert_eq!((&entry.detail["fingerprint"], &entry.detail["current"]), (&json!(meant), &json!(false)));
    assert_eq!(entry.detail["kind"], "rotate");
    node.trail(&provider).await;
    // Said again, nothing is left to be ended.
    let again = node.links.settle(&endpoint(), "ops", said).await.unwrap();
    assert_eq!(again, Settled { fingerprint: meant.clone(), ended: None });
    assert_eq!((node.count("settled"), provider.calls(ROTATE)), (2, 3));
    assert_eq!(node.store.secrets(&endpoint()).await.unwrap().len(), 2, "no row twice");

    // Nothing had been switched: the newest one is right.
    provider.fails(ROTATE, Fault::Refuse(409));
    assert!(node.lifecycle.stop(PATIENCE).await);
    let node = Node::on(node.store.clone(), &provider, LINKED).await;
    assert!(matches!(node.rotate().await, Err(LinkError::Uncertain(_))));
    let settled = node.links.settle(&endpoint(), "ops", Said::Current).await.unwrap();
    assert_eq!(settled, Settled { fingerprint: meant, ended: Some(IntentKind::Rotate) });
    assert_eq!((node.link().await.intent, provider.calls(ROTATE)), (None, 4));
    // The next one is like any other.
    node.rotate().await.unwrap();
    node.healed(&provider).await;
}

async fn a_word_that_cannot_count_changes_nothing(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, Setup { configured: &[], ..LINKED }).await;
    let settle = async |said| node.links.settle(&endpoint(), "ops", said).await;
    let error = settle(Said::Current).await.unwrap_err();
    assert!(matches!(error, LinkError::NothingToSettle(_)), "{error:?}");
    for bad in ["", "whsec_****", "whsec_a b", "whsec_a\n", &"x".repeat(1025)] {
        let error = settle(Said::Secret(Secret::new(bad))).await.unwrap_err();
        assert!(matches!(error, LinkError::Invalid(_)) && (bad.is_empty() || !told(&error).contains(bad)), "{error:?}");
    }
    let hold = provider.holds(ROTATE);
    let mut rotating = Box::pin(node.rotate());
    tokio::select! {
        done = &mut rotating => panic!("{done:?}"),
        () = provider.called(ROTATE, 1) => {}
    }
    let error = settle(Said::Secret(Secret::new("whsec_too-early"))).await.unwrap_err();
    assert!(matches!(&error, LinkError::InFlight { actor, .. } if actor == "tests"), "{error:?}");
    hold.add_permits(1);
    rotating.await.unwrap();
    assert_eq!(node.store.secrets(&endpoint()).await.unwrap().len(), 1);
    assert_eq!(node.trail(&provider).await, ["rotation.begun", "rotation.done"]);
}

async fn a_registration_whose_answer_is_lost_is_healed(fixture: Fixture) {
    for fault in [Fault::DoneBut(408), Fault::DoneBut(302), Fault::DoneBut(409), Fault::DoneBut(425)] {
        let (provider, another) = (Provider::start().await, crate::store::on_sqlite().await);
        let node = Node::new(&another, &provider, BLANK).await;
        provider.fails(CREATE, fault.clone());
        let error = node.register().await.unwrap_err();
        assert!(matches!(error, LinkError::Uncertain(_)), "{fault:?}: {}", told(&error));
        // A person who asks again gets the one that is there.
        let again = node.register().await.unwrap();
        assert!(!again.created && again.fingerprint == Some(of(&provider.secret())), "{fault:?}: {again:?}");
        assert_eq!((provider.hooks().len(), provider.calls(CREATE), provider.calls(ROTATE)), (1, 1, 1), "{fault:?}");
        node.healed(&provider).await;
    }
    let provider = Provider::start().await;
    let node = Node::new(&fixture, &provider, BLANK).await;
    provider.fails(CREATE, Fault::CutAfter);
    let error = node.register().await.unwrap_err();
    assert!(matches!(error, LinkError::Uncertain(_)), "{}", told(&error));
    assert_eq!(node.link().await.intent.unwrap().kind, IntentKind::Register);
    node.keep();
    node.healed(&provider).await;
    let (link, hooks) = (node.link().await, provider.hooks());
    assert_eq!((link.webhook.unwrap().id, hooks.len(), provider.calls(CREATE)), (hooks[0].id.clone(), 1, 1));
    assert_eq!(
        node.trail(&provider).await,
        ["registration.begun", "registration.uncertain", "intent.taken_over", "registration.done"]
    );
    let again = node.register().await.unwrap();
    assert!(!again.created && again.notes.is_empty() && again.fingerprint == Some(of(&provider.secret())), "{again:?}");
}

async fn a_registration_that_never_came_about_ends(fixture: Fixture) {
    let provider = Provider::start().await;
    let node = Node::new(&fixture, &provider, BLANK).await;
    provider.fails(CREATE, Fault::CutBefore);
    let error = node.register().await.unwrap_err();
    assert!(matches!(error, LinkError::Uncertain(_)), "{}", told(&error));
    node.keep();
    eventually("the intent has ended", async || node.link().await.intent.is_none()).await;
    assert_eq!(
        node.trail(&provider).await,
        ["registration.begun", "registration.uncertain", "intent.taken_over", "intent.dropped"]
    );
    assert!(node.lifecycle.stop(PATIENCE).await);
    assert_eq!((provider.hooks().len(), node.count("healed")), (0, 1));
    // A person who asks again does not wait for that.
    provider.fails(CREATE, Fault::CutBefore);
    let next = Node::on(node.store.clone(), &provider, BLANK).await;
    assert!(matches!(next.register().await, Err(LinkError::Uncertain(_))));
    assert!(next.register().await.unwrap().created);
    assert_eq!(provider.hooks().len(), 1);
}

async fn a_rotation_heals_a_registration(fixture: Fixture) {
    let provider = Provider::start().await;
    let node = Node::new(&fixture, &provider, BLANK).await;
    provider.fails(CREATE, Fault::CutAfter);
    assert!(matches!(node.register().await, Err(LinkError::Uncertain(_))));
    assert_eq!(node.rotate().await.unwrap(), of(&provider.secret()));
    node.healed(&provider).await;
    assert_eq!(node.link().await.webhook.unwrap().id, provider.hooks()[0].id);
    // Where nothing had come about there is nothing to rotate.
    let bare = Provider::start().await;
    let another = crate::store::on_sqlite().await;
    let node = Node::new(&another, &bare, BLANK).await;
    bare.fails(CREATE, Fault::CutBefore);
    assert!(matches!(node.register().await, Err(LinkError::Uncertain(_))));
    let error = node.rotate().await.unwrap_err();
    assert!(matches!(error, LinkError::NotLinked(_)), "{error:?}");
    assert_eq!(node.link().await.intent, None);
}

async fn a_registration_ends_the_rotation_of_a_webhook_that_is_gone(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    provider.fails(ROTATE, Fault::CutAfter);
    assert!(matches!(node.rotate().await, Err(LinkError::Uncertain(_))));
    provider.inner.lock().unwrap().hooks.clear();
    assert!(matches!(node.rotate().await, Err(LinkError::Uncertain(_))), "a refusal proves nothing");
    let registered = node.register().await.unwrap();
    assert!(registered.created && registered.notes.iter().any(|note| note.contains("`webhook_id`")), "{registered:?}");
    node.healed(&provider).await;
    assert_eq!(
        node.trail(&provider).await[4..],
        ["registration.begun", "intent.dropped", "registration.begun", "registration.done"]
    );
}

async fn a_webhook_that_is_there_is_adopted(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    provider.inner.lock().unwrap().hooks[0].enabled = false;
    let node = Node::new(&fixture, &provider, BLANK).await;
    let adopted = node.register().await.unwrap();
    assert_eq!((adopted.webhook_id.as_str(), adopted.created, &adopted.fingerprint), (ID, false, &None));
    for word in ["invoice.status_changed", "rotate-secret", "disabled"] {
        assert!(adopted.notes.iter().any(|note| note.contains(word)), "{word}: {adopted:?}");
    }
    assert_eq!(provider.hooks()[0].events, ["payment.received", "invoice.status_changed"]);
    assert_eq!(node.trail(&provider).await, ["webhook.adopted"]);
    assert_eq!(node.link().await.webhook.unwrap().id, ID);
    node.rotate().await.unwrap();
    node.healed(&provider).await;
    assert_eq!(node.register().await.unwrap().notes.len(), 1, "only that it is disabled");

    // With a secret of ours, it is taken for the webhook's, and said so.
    let provider = Provider::with_webhook().await;
    let another = crate::store::on_sqlite().await;
    let node = Node::new(&another, &provider, Setup { webhook_id: None, ..LINKED }).await;
    let adopted = node.register().await.unwrap();
    assert_eq!(adopted.fingerprint, Some(of(OLD)));
    assert!(adopted.notes.iter().any(|note| note.contains(of(OLD).as_str())), "{adopted:?}");
}

async fn a_webhook_that_is_there_twice_is_adopted_once(fixture: Fixture) {
    const SECOND: &str = "e5f6a7b8-0000-4000-8000-000000000002";
    let provider = Provider::with_webhook().await;
    provider.inner.lock().unwrap().hooks[0].enabled = false;
    provider.add(SECOND, "https://RELAY.example.com:443/webhooks/finkare", "whsec_second");
    let node = Node::new(&fixture, &provider, BLANK).await;
    let adopted = node.register().await.unwrap();
    assert_eq!((adopted.webhook_id.as_str(), adopted.created), (SECOND, false));
    assert!(adopted.notes.iter().any(|note| note.contains(ID)), "{adopted:?}");
}

async fn retired_secrets_expire(fixture: Fixture) {
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    let begun = clock::now();
    let rotated = node.links.rotate(&endpoint(), "tests", Duration::ZERO).await.unwrap();
    // No overlap at all would refuse what Finkare signed just before it switched.
    let overlap = clock::since(begun, rotated.previous_valid_until.unwrap());
    assert!(overlap >= MIN_OVERLAP && overlap < MIN_OVERLAP + PATIENCE, "{overlap:?}");
    node.verify(OLD).await.unwrap();
    node.keep();
    eventually("the old secret's text is gone", async || {
        let secrets = node.store.secrets(&endpoint()).await.unwrap();
        secrets.iter().any(|secret| secret.fingerprint == of(OLD) && secret.sealed.is_none())
    })
    .await;
    assert!(matches!(node.verify(OLD).await, Err(NotProved::Rejected(_))));
    assert_eq!(node.trail(&provider).await, ["rotation.begun", "rotation.done", "secret.expired"]);
}

// ---------------------------------------------------------------------------------------------
// Many replicas

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_rotate_at_once_ask_finkare_once() {
    let fixture = crate::store::on_postgres().await;
    let provider = Provider::with_webhook().await;
    let (one, two) = (Node::new(&fixture, &provider, LINKED).await, Node::new(&fixture, &provider, LINKED).await);
    let hold = provider.holds(ROTATE);
    let mut first = Box::pin(one.rotate());
    tokio::select! {
        done = &mut first => panic!("{done:?}"),
        () = provider.called(ROTATE, 1) => {}
    }
    let error = two.rotate().await.unwrap_err();
    assert!(matches!(&error, LinkError::InFlight { actor, .. } if actor == "tests"), "{error:?}");
    hold.add_permits(1);
    first.await.unwrap();
    assert_eq!(provider.calls(ROTATE), 1);
    // The other one reads before it refuses.
    two.verify(&provider.secret()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_kept_up_for_as_long_as_finkare_thinks() {
    let fixture = crate::store::on_postgres().await;
    let provider = Provider::with_webhook().await;
    let node = Node::new(&fixture, &provider, LINKED).await;
    let hold = provider.holds(ROTATE);
    let mut rotating = Box::pin(node.rotate());
    tokio::select! {
        done = &mut rotating => panic!("{done:?}"),
        () = provider.called(ROTATE, 1) => {}
    }
    let begun = tokio::time::Instant::now();
    // Longer than a lease: without renewals the intent reads as unknown by then.
    eventually("a lease and a half have passed", async || begun.elapsed() > Duration::from_secs(12)).await;
    assert_eq!(node.link().await.intent.unwrap().state, IntentState::InFlight);
    hold.add_permits(1);
    rotating.await.unwrap();
    node.healed(&provider).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_followed_once_by_two_replicas() {
    let database = support::postgres::database().await;
    let provider = Provider::with_webhook().await;
    let node = async || {
        let store = PostgresStore::connect(&database.secret(), 4).await.unwrap();
        Node::on(Arc::new(store), &provider, Setup { rotate_every: Some(Duration::from_hours(24)), ..LINKED }).await
    };
    let (one, two) = (node().await, node().await);
    one.keep();
    two.keep();
    // A secret of yesterday.
    let behind = sqlx::PgPool::connect(&database.url()).await.unwrap();
    sqlx::query("UPDATE secrets SET created_at = created_at - 100000000000").execute(&behind).await.unwrap();
    one.store.wakeups().link_changed();
    two.store.wakeups().link_changed();
    provider.called(ROTATE, 1).await;
    one.healed(&provider).await;
    for node in [&one, &two] {
        assert!(node.lifecycle.stop(PATIENCE).await && !node.lifecycle.failed());
    }
    assert_eq!(provider.calls(ROTATE), 1);
    assert_eq!(one.count("rotated") + two.count("rotated"), 1);
    assert_eq!(one.trail(&provider).await, ["rotation.begun", "rotation.done"]);
    assert_eq!(one.store.list_audit(None, 1).await.unwrap().rows[0].actor, "schedule");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_outlives_a_database_that_is_away() {
    let database = support::postgres::database().await;
    let real = url::Url::parse(&database.url()).unwrap();
    let address =
        tokio::net::lookup_host((real.host_str().unwrap(), real.port().unwrap())).await.unwrap().next().unwrap();
    let way = proxy::Proxy::to(address).await;
    let mut through = real.clone();
    through.set_port(Some(way.address.port())).unwrap();
    through.set_host(Some("127.0.0.1")).unwrap();
    let store = PostgresStore::connect(&Secret::new(through.as_str()), 4).await.unwrap();
    let provider = Provider::with_webhook().await;
    let node = Node::on(Arc::new(store), &provider, LINKED).await;
    let hold = provider.holds(ROTATE);
    let mut rotating = Box::pin(node.rotate());
    tokio::select! {
        done = &mut rotating => panic!("{done:?}"),
        () = provider.called(ROTATE, 1) => {}
    }
    way.set(proxy::Way::Cut);
    hold.add_permits(1);
    let given = async || provider.secret() != OLD;
    tokio::select! {
        done = &mut rotating => panic!("{done:?}"),
        () = eventually("Finkare has switched", given) => {}
    }
    // Its first try to keep the secret, and whatever comes before the database is back.
    tokio::select! {
        done = &mut rotating => panic!("{done:?}"),
        () = eventually("the store has failed", async || node.store.ready().await.is_err()) => {}
    }
    way.set(proxy::Way::Open);
    let rotated = rotating.await.unwrap();
    assert_eq!(rotated, of(&provider.secret()));
    assert_eq!(provider.calls(ROTATE), 1);
    node.healed(&provider).await;
}
