//! Accepts connections, bounded in number, and serves HTTP/1.1 on them until the simulator stops.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::Stopping;

/// Connections that are served at the same time; those beyond wait in the operating system's queue.
const MAX_CONNECTIONS: usize = 256;
/// A request's head must be complete, and an idle connection must speak again, within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// The pause after a connection that could not be accepted, so that a lasting error does not spin.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// The address of the peer of a request's connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Serves until the soft token is cancelled. Open connections then finish their request; the hard token drops them.
pub(crate) async fn serve(listener: TcpListener, router: Router, stopping: Stopping) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepting = async {
            let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, slot)
        };
        match stopping.soft.run_until_cancelled(accepting).await {
            None => break,
            Some((Ok((stream, peer)), slot)) => {
                let connection = connection(stream, peer, router.clone(), stopping.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(slot);
                });
            }
            Some((Err(error), _)) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, stopping: Stopping) {
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        () = stopping.soft.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let Some(result) = stopping.hard.run_until_cancelled(connection).await else { return };
            result
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}
