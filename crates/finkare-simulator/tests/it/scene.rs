//! A simulator, a receiver in the relay's place, and what a client of Finkare does.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap};
use finkare_simulator::{Faults, NewPayment, Options, Secret, Simulator, Variants, WebhookId};
use hmac::{Hmac, KeyInit, Mac};
use http::{StatusCode, Uri};
use serde_json::Value;
use sha2::Sha256;

/// Everything that a test waits for has happened by then, or the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until a condition holds; says what was waited for if it does not.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        // The pace of asking, not a wait for something to have happened.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A client without redirects and without a proxy.
pub(crate) fn http() -> reqwest::Client {
    // Every test may be the first one in its process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .expect("a plain client can always be made")
}

/// The documented signature: lower-case hexadecimal HMAC-SHA256, the key being the whole secret.
pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    sign_with(secret.as_bytes(), body)
}

/// The same with any bytes as the key.
pub(crate) fn sign_with(key: &[u8], body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(body);
    hex::encode(mac.finalize().into_bytes())
}

pub(crate) const URL: &str = "https://relay.test/webhooks/finkare?tenant=1";

/// What came in at the relay's place.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) uri: String,
    pub(crate) signature: String,
    pub(crate) body: Bytes,
}

impl Post {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Script = Box<dyn FnMut(&Post) -> Option<u16> + Send>;
/// What came in, and what to answer.
type Shared = Arc<(Mutex<Vec<Post>>, Mutex<Script>)>;

/// A receiver that answers as its script says; `None` is never.
#[derive(Clone)]
pub(crate) struct Receiver {
    address: std::net::SocketAddr,
    shared: Shared,
}

impl Receiver {
    pub(crate) async fn start(script: impl FnMut(&Post) -> Option<u16> + Send + 'static) -> Self {
        let shared: Shared = Arc::new((Mutex::default(), Mutex::new(Box::new(script))));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(take).with_state(shared.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { address, shared }
    }

    pub(crate) fn posts(&self) -> Vec<Post> {
        self.shared.0.lock().unwrap().clone()
    }
}

async fn take(
    State(shared): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1]) {
    let signature = headers["x-finkare-signature"].to_str().unwrap().to_owned();
    let post = Post { uri: uri.to_string(), signature, body };
    let answer = shared.1.lock().unwrap()(&post);
    shared.0.lock().unwrap().push(post);
    match answer {
        Some(status) => (StatusCode::from_u16(status).unwrap(), [("location", "/elsewhere")]),
        None => std::future::pending().await,
    }
}

/// A simulator, a receiver, a webhook that leads there.
pub(crate) struct Scene {
    pub(crate) simulator: Simulator,
    pub(crate) receiver: Receiver,
    pub(crate) webhook: WebhookId,
    pub(crate) secret: Secret,
}

/// Four attempts, soon after one another.
pub(crate) fn quick() -> Options {
    Options { retry_waits: vec![Duration::from_millis(10); 3], ..Options::default() }
}

impl Scene {
    pub(crate) async fn new(options: Options, script: impl FnMut(&Post) -> Option<u16> + Send + 'static) -> Self {
        let receiver = Receiver::start(script).await;
        let deliver_to = Some(format!("http://{}", receiver.address).parse().unwrap());
        let simulator = Simulator::start(Options { deliver_to, ..options }).await.unwrap();
        let (webhook, secret) = simulator.create_webhook(URL, &["payment.received", "invoice.status_changed"]).unwrap();
        Self { simulator, receiver, webhook, secret }
    }

    pub(crate) async fn with(faults: Faults, variants: Variants) -> Self {
        Self::new(Options { faults, variants, ..quick() }, |_| Some(200)).await
    }

    /// Pays an invoice and waits until everything is delivered; answers what came in since.
    pub(crate) async fn pay(&self) -> Vec<Post> {
        let before = self.receiver.posts().len();
        let invoice = self.simulator.create_invoice(None, None).unwrap();
        self.simulator.pay(invoice.id, NewPayment::default()).unwrap();
        self.settled().await;
        self.receiver.posts().split_off(before)
    }

    pub(crate) async fn settled(&self) {
        tokio::time::timeout(PATIENCE, self.simulator.settled()).await.expect("all deliveries end");
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Called {
        call(&self.simulator, method, path, body).await
    }

    pub(crate) async fn rotate(&self) -> Called {
        self.call("POST", &format!("/webhooks/{}/rotate-secret", self.webhook), Value::Null).await
    }

    pub(crate) fn secret_now(&self) -> String {
        self.simulator.secret_of(self.webhook).unwrap().expose().to_owned()
    }
}

#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) text: String,
    pub(crate) body: Value,
}

pub(crate) async fn try_call(
    simulator: &Simulator,
    method: &str,
    path: &str,
    body: Value,
) -> Result<Called, reqwest::Error> {
    let url = format!("{}{path}", simulator.api_url());
    let mut request = http().request(method.parse().unwrap(), url).header("X-API-Key", "fk_test_a");
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let text = response.text().await?;
    Ok(Called { status, retry_after, body: serde_json::from_str(&text).unwrap_or_default(), text })
}

pub(crate) async fn call(simulator: &Simulator, method: &str, path: &str, body: Value) -> Called {
    try_call(simulator, method, path, body).await.expect("the simulator answers")
}

pub(crate) async fn alone(options: Options) -> Simulator {
    Simulator::start(options).await.unwrap()
}
