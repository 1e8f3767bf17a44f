//! Finkare's side, written apart from the service's own code: signs with the hmac crate directly.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    http,
    relay::{Relay, SECRET},
};

/// The signature of a body: lower-case hex HMAC-SHA256, the key being the whole secret.
pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// A body that no other call makes.
pub(crate) fn payment(invoice: &str, cents: i64) -> Vec<u8> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Relaxed);
    json!({
        "event": "payment.received",
        "data": {"invoiceId": invoice, "amountCents": cents, "number": number},
        "timestamp": "2026-03-15T10:30:00.000Z",
    })
    .to_string()
    .into_bytes()
}

/// What the service answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub(crate) fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id in {self:?}")).to_owned()
    }

    pub(crate) fn is_duplicate(&self) -> bool {
        self.body["duplicate"].as_bool().unwrap_or_else(|| panic!("no `duplicate` in {self:?}"))
    }
}

/// Posts to a service.
#[derive(Clone)]
pub(crate) struct Finkare {
    http: reqwest::Client,
    pub url: String,
}

impl Finkare {
    pub(crate) fn of(relay: &Relay) -> Self {
        Self { http: http(), url: relay.hook() }
    }

    /// A genuine delivery.
    pub(crate) async fn deliver(&self, body: &[u8]) -> Answer {
        self.try_deliver(body).await.expect("the service answers")
    }

    /// A genuine delivery to a service that may be gone.
    pub(crate) async fn try_deliver(&self, body: &[u8]) -> Result<Answer, reqwest::Error> {
        self.try_post(body.to_vec(), Some(&sign(SECRET, body))).await
    }

    /// Any delivery.
    pub(crate) async fn post(&self, body: impl Into<reqwest::Body>, signature: Option<&str>) -> Answer {
        self.try_post(body, signature).await.expect("the service answers")
    }

    async fn try_post(
        &self,
        body: impl Into<reqwest::Body>,
        signature: Option<&str>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.post(&self.url).header("content-type", "application/json").body(body);
        if let Some(signature) = signature {
            request = request.header("X-Finkare-Signature", signature);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?;
        Ok(Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or_default() })
    }
}
