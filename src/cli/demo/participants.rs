//! Who takes part in the demo beside the relay: the company's service, Finkare, and an operator.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use finkare_simulator::{Simulator, WebhookId};
use http::StatusCode;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::{
    model::secret::Secret,
    signature::{finkare, standard_webhooks::Signer},
};

/// The company's service: accepts signed events, and is down on demand.
pub(super) struct Target {
    signer: Signer,
    pub(super) down: AtomicBool,
    pub(super) refused: AtomicU64,
    pub(super) badly_signed: AtomicU64,
    arrivals: Mutex<Vec<Arrival>>,
}

struct Arrival {
    id: String,
    invoice: String,
    number: u64,
    body: Bytes,
}

impl Target {
    pub(super) async fn start(secret: &Secret) -> anyhow::Result<(Arc<Self>, SocketAddr)> {
        let target = Arc::new(Self {
            signer: Signer::new(secret).map_err(anyhow::Error::msg)?,
            down: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            badly_signed: AtomicU64::new(0),
            arrivals: Mutex::default(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port is free on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/events", post(Self::take)).with_state(target.clone());
        tokio::spawn(async move { axum_serve(listener, router).await });
        Ok((target, address))
    }

    #[expect(clippy::unused_async, reason = "a handler is asynchronous")]
    async fn take(State(target): State<Arc<Self>>, headers: HeaderMap, body: Bytes) -> StatusCode {
        if target.down.load(Relaxed) {
            target.refused.fetch_add(1, Relaxed);
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let id = header("webhook-id");
        let expected = target.signer.sign(id, header("webhook-timestamp").parse().unwrap_or_default(), &body);
        if expected != header("webhook-signature") {
            target.badly_signed.fetch_add(1, Relaxed);
        }
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        let arrival = Arrival {
            id: id.to_owned(),
            invoice: json["data"]["invoiceId"].as_str().unwrap_or_default().to_owned(),
            number: json["data"]["number"].as_u64().unwrap_or_default(),
            body,
        };
        target.arrivals.lock().expect("no code panics while it holds this lock").push(arrival);
        StatusCode::NO_CONTENT
    }

    /// The ids of one invoice's events, in the order in which they came.
    pub(super) fn ids_of(&self, invoice: &str) -> Vec<String> {
        let arrivals = self.arrivals.lock().expect("no code panics while it holds this lock");
        arrivals.iter().filter(|arrival| arrival.invoice == invoice).map(|arrival| arrival.id.clone()).collect()
    }

    pub(super) fn ids(&self) -> HashSet<String> {
        let arrivals = self.arrivals.lock().expect("no code panics while it holds this lock");
        arrivals.iter().map(|arrival| arrival.id.clone()).collect()
    }

    /// True if, for each invoice, the numbers sent while the service was down arrived in their order; an event that
    /// came twice counts where it came first.
    pub(super) fn is_in_order(&self) -> bool {
        let arrivals = self.arrivals.lock().expect("no code panics while it holds this lock");
        let (mut seen, mut last) = (HashSet::new(), HashMap::new());
        arrivals.iter().filter(|arrival| arrival.number >= 1000 && seen.insert(&arrival.id)).all(|arrival| {
            let before = last.insert(&arrival.invoice, arrival.number);
            before.map_or(arrival.number == 1000, |before| before + 1 == arrival.number)
        })
    }

    /// True if each of these bodies arrived byte for byte.
    pub(super) fn has_all(&self, bodies: &[Vec<u8>]) -> bool {
        let arrivals = self.arrivals.lock().expect("no code panics while it holds this lock");
        let arrived: HashSet<&[u8]> = arrivals.iter().map(|arrival| &*arrival.body).collect();
        bodies.iter().all(|body| arrived.contains(&**body))
    }
}

async fn axum_serve(listener: TcpListener, router: Router) {
    let lifecycle = crate::lifecycle::Lifecycle::default();
    crate::listener::serve(listener, router, 256, lifecycle).await;
}

/// Finkare's side, for deliveries that the simulator does not send, signed with the secret that Finkare has at that
/// moment.
pub(super) struct Finkare {
    pub(super) http: reqwest::Client,
    pub(super) url: String,
    pub(super) simulator: Simulator,
    pub(super) webhook: WebhookId,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) id: String,
    pub(super) duplicate: bool,
    pub(super) took: Duration,
}

impl Finkare {
    pub(super) async fn post(&self, body: Vec<u8>, signature: Option<String>) -> anyhow::Result<Answer> {
        let begun = Instant::now();
        let mut request = self.http.post(&self.url).header("content-type", "application/json").body(body);
        if let Some(signature) = signature {
            request = request.header(finkare::HEADER, signature);
        }
        let response = request.send().await.context("the relay did not answer")?;
        let status = response.status().as_u16();
        let answer: Value = response.json().await.unwrap_or_default();
        Ok(Answer {
            status,
            id: answer["id"].as_str().unwrap_or_default().to_owned(),
            duplicate: answer["duplicate"] == true,
            took: begun.elapsed(),
        })
    }

    pub(super) async fn deliver(&self, body: &[u8]) -> anyhow::Result<Answer> {
        self.post(body.to_vec(), Some(self.sign(body)?)).await
    }

    pub(super) fn sign(&self, body: &[u8]) -> anyhow::Result<String> {
        Ok(finkare::sign(&self.secret()?, body))
    }

    pub(super) fn secret(&self) -> anyhow::Result<Secret> {
        let secret = self.simulator.secret_of(self.webhook).context("the webhook is gone from Finkare")?;
        Ok(Secret::new(secret.expose()))
    }
}

/// The relay's admin API, as an operator uses it.
pub(super) struct Operator {
    pub(super) http: reqwest::Client,
    pub(super) url: String,
    pub(super) token: Secret,
}

impl Operator {
    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(self.token.expose()).json(body);
        let response = request.send().await.context("the admin API did not answer")?;
        Ok((response.status().as_u16(), response.json().await.context("the admin API answered no JSON")?))
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(self.token.expose());
        let response = request.send().await.context("the admin API did not answer")?;
        ensure!(response.status().is_success(), "the admin API answered {} to {path}", response.status());
        response.json().await.context("the admin API answered no JSON")
    }
}
