//! One process: its store, its secrets and its links.

use std::{sync::Arc, time::Duration};

use ::finkare::{Client, Settings};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use finkare_relay::{
    lifecycle::Lifecycle,
    link::{DEFAULT_OVERLAP, LinkError, LinkedEndpoint, Links, Registered, Registration},
    model::{id::EndpointName, intent::Link, secret::Secret, stored_secret::Fingerprint},
    secrets::{NotProved, Secrets, Source, vault::Vault},
    signature::finkare::{HEADER, SecretEncoding, SignatureOver},
    store::Store,
    telemetry::Metrics,
};
use http::{HeaderMap, HeaderValue};

use super::{ID, OLD, URL, provider::Provider};
use crate::{
    store::Fixture,
    support::{PATIENCE, eventually, finkare},
};

/// One process.
pub(super) struct Node {
    pub(super) store: Arc<dyn Store>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) links: Arc<Links>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) lifecycle: Lifecycle,
}

/// The configuration of a node's endpoint.
pub(super) struct Setup {
    pub(super) webhook_id: Option<&'static str>,
    pub(super) has_key: bool,
    pub(super) configured: &'static [&'static str],
    pub(super) rotate_every: Option<Duration>,
    pub(super) timeout: Duration,
}

pub(super) const LINKED: Setup =
    Setup { webhook_id: Some(ID), has_key: true, configured: &[OLD], rotate_every: None, timeout: PATIENCE };
pub(super) const BLANK: Setup = Setup { webhook_id: None, configured: &[], ..LINKED };

pub(super) fn endpoint() -> EndpointName {
    EndpointName::new("production").unwrap()
}

impl Node {
    pub(super) async fn new(fixture: &Fixture, provider: &Provider, setup: Setup) -> Self {
        Self::on(fixture.open().await, provider, setup).await
    }

    pub(super) async fn on(store: Arc<dyn Store>, provider: &Provider, setup: Setup) -> Self {
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

    /// Runs the keeper from now on, as the service does.
    pub(super) fn keep(&self) {
        self.lifecycle.spawn("links", self.links.clone().run());
        self.lifecycle.spawn("secrets", self.secrets.clone().run(self.lifecycle.clone()));
    }

    pub(super) async fn rotate(&self) -> Result<Fingerprint, LinkError> {
        self.links.rotate(&endpoint(), "tests", DEFAULT_OVERLAP).await.map(|rotated| rotated.fingerprint)
    }

    pub(super) async fn register(&self) -> Result<Registered, LinkError> {
        self.links.register(&endpoint(), "tests", registration(URL)).await
    }

    pub(super) async fn link(&self) -> Link {
        let links = self.store.links().await.unwrap();
        let nothing = || Link { endpoint: endpoint(), webhook: None, secrets: Vec::new(), intent: None };
        links.into_iter().find(|link| link.endpoint == endpoint()).unwrap_or_else(nothing)
    }

    pub(super) async fn newest(&self) -> Option<Fingerprint> {
        self.link().await.secrets.first().map(|secret| secret.fingerprint.clone())
    }

    /// Waits until no change is unfinished and the newest secret is the one that Finkare signs with.
    pub(super) async fn healed(&self, provider: &Provider) {
        eventually("the newest secret is Finkare's", async || {
            let link = self.link().await;
            link.intent.is_none()
                && link.secrets.first().map(|secret| &secret.fingerprint) == Some(&of(&provider.secret()))
        })
        .await;
        self.secrets.refresh().await.unwrap();
        self.verify(&provider.secret()).await.unwrap();
    }

    pub(super) async fn verify(&self, secret: &str) -> Result<(), NotProved> {
        let body = Bytes::from_static(br#"{"event":"payment.received"}"#);
        let signature = HeaderValue::from_str(&finkare::sign(secret, &body)).unwrap();
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static(HEADER), signature)]);
        self.secrets.keyring(&endpoint()).unwrap().prove(&headers, &body).await.map(drop)
    }

    /// The actions of the audit trail, oldest first; asserts that it contains no secret.
    pub(super) async fn trail(&self, provider: &Provider) -> Vec<String> {
        let entries = self.store.list_audit(&finkare_relay::store::AuditFilter::default(), 1000).await.unwrap().rows;
        let text = format!("{entries:?}");
        let given = provider.inner.lock().unwrap().given.clone();
        for secret in given.iter().map(String::as_str).chain([OLD, "fk_test_the-key", "whsec_"]) {
            assert!(!text.contains(secret), "{secret} stands in {text}");
        }
        entries.into_iter().rev().map(|entry| entry.action).filter(|action| action != "secret.configured").collect()
    }

    pub(super) fn count(&self, result: &str) -> u64 {
        let name = format!(r#"relay_rotations_total{{endpoint="production",result="{result}"}} "#);
        let text = self.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    }
}

pub(super) fn registration(url: &str) -> Registration {
    let events = vec!["payment.received".into(), "invoice.status_changed".into()];
    Registration { url: url.into(), events, description: Some("tests".into()) }
}

pub(super) fn of(secret: &str) -> Fingerprint {
    Fingerprint::of(&Secret::new(secret))
}

/// The text of an error, in all its forms.
pub(super) fn told(error: &LinkError) -> String {
    let told = format!("{} {error:?}", finkare_relay::model::chain::Chain(error));
    assert!(!told.contains("whsec_") && !told.contains("the-key-of-the-tests"), "{told}");
    told
}
