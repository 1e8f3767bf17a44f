//! The ceiling: the same web framework and the same verification as the relay's, storing nothing.
//!
//! It shows what a receiver on this machine could reach if storing events were free. The answer is sent after the
//! signature is checked in constant time, and is as long as Finkare's example answer.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use hmac::Mac;
use tokio::net::TcpListener;

use crate::deliveries::{Key, SIGNATURE_HEADER, key};

/// Serves until the process is ended; says `listening public=ADDR`, as the relay does.
pub(crate) async fn serve(listen: SocketAddr, secret: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    eprintln!("listening public={}", listener.local_addr()?);
    Ok(axum::serve(listener, router(secret)).await?)
}

/// The receiver.
pub(crate) fn router(secret: &str) -> Router {
    Router::new().route("/webhooks/finkare", post(receive)).with_state(Arc::new(key(secret)))
}

async fn receive(State(key): State<Arc<Key>>, headers: HeaderMap, body: Bytes) -> Response {
    let signature = headers.get(SIGNATURE_HEADER).and_then(|hex| hex::decode(hex).ok());
    let genuine = signature.is_some_and(|mac| Key::clone(&key).chain_update(&body).verify_slice(&mac).is_ok());
    let (status, answer) =
        if genuine { (StatusCode::OK, r#"{"received":true}"#) } else { (StatusCode::UNAUTHORIZED, "wrong signature") };
    (status, [(CONTENT_TYPE, "application/json")], answer).into_response()
}
