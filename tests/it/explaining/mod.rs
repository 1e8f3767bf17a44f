//! Explanations for the operator only: why a delivery was refused, why an endpoint is silent, whether the service is
//! ready.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use finkare_relay::{
    activity::Meter,
    ingest::{Dedupe, Endpoint},
    model::{id::EndpointName, secret::Secret},
    secrets::{Secrets, Source, vault::Vault},
    signature::finkare::{HEADER, SecretEncoding, SignatureOver},
    store::Store,
};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::support::{
    finkare::sign,
    http as client,
    relay::{Home, PATH, Relay},
};

mod max_age;
mod readiness;
mod refusals;
mod silence;

/// A text in every body of these tests that must not appear anywhere else.
const MARK: &str = "Marie-Curie-owes-1500";

fn endpoint_name() -> EndpointName {
    EndpointName::new("production").unwrap()
}

async fn open_secrets(store: &Arc<dyn Store>, configured: &[&str]) -> Arc<Secrets> {
    let source = Source {
        endpoint: endpoint_name(),
        configured: configured.iter().copied().map(Secret::new).collect(),
        encoding: SecretEncoding::Literal,
        over: SignatureOver::Raw,
    };
    let vault = Vault::new(&Secret::new(BASE64_STANDARD.encode([1; 32]))).unwrap();
    Secrets::open(store.clone(), vault, vec![source]).await.unwrap()
}

fn endpoint(secrets: &Arc<Secrets>) -> Endpoint {
    Endpoint {
        name: endpoint_name(),
        path: PATH.into(),
        keyring: secrets.keyring(&endpoint_name()).unwrap(),
        dedupe: Dedupe::Message,
        max_age: None,
        meter: Meter::default(),
    }
}

fn signed(secret: &str, body: &[u8]) -> HeaderMap {
    let signature = HeaderValue::from_str(&sign(secret, body)).unwrap();
    HeaderMap::from_iter([(http::HeaderName::from_static(HEADER), signature)])
}

async fn readyz(relay: &Relay) -> (u16, Value) {
    let response = client().get(format!("http://{}/readyz", relay.admin)).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn check<'a>(report: &'a Value, name: &str) -> Option<&'a Value> {
    report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name)
}

async fn beside(home: &Home) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(home.path("relay.db"))).await.unwrap()
}
