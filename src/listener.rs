//! Accepts connections and serves HTTP/1.1 on them, within limits.
//!
//! axum's own server does not limit the head of a request. Here the head is limited in time, in size and in the number of
//! headers (431), and the number of connections is limited: further connections wait in the operating system's queue, where
//! they cost nothing.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tower::ServiceExt;

use crate::lifecycle::Lifecycle;

/// How long the head of a request may take, and how long a connection may be idle. This is longer than the 60 seconds for
/// which common proxies keep idle connections, so that the proxy closes first; otherwise it could send a delivery on a
/// connection that is just being closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// The most headers of a request. Finkare sends a few, and proxies add about a dozen.
const MAX_HEADERS: usize = 100;
/// The largest head, in bytes; also the size of the read buffer.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// The address of the peer of a request's connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The routes of a listener. They can be replaced while it serves: each request is answered by the routes that are in place
/// when its head is complete.
#[derive(Debug, Clone)]
pub struct Routes(watch::Receiver<Router>);

impl Routes {
    /// The routes in the sender, which can be replaced.
    pub fn new(routes: watch::Receiver<Router>) -> Self {
        Self(routes)
    }
}

impl From<Router> for Routes {
    /// Fixed routes.
    fn from(router: Router) -> Self {
        Self(watch::Sender::new(router).subscribe())
    }
}

/// Serves routes on a listener until the lifecycle's soft token is cancelled; connections that
/// are open then finish their request, and are dropped when the hard token is cancelled.
pub async fn serve(listener: TcpListener, routes: impl Into<Routes>, max_connections: usize, lifecycle: Lifecycle) {
    let routes = routes.into();
    let slots = Arc::new(Semaphore::new(max_connections));
    let connections = tokio_util::task::TaskTracker::new();
    loop {
        let slot = tokio::select! {
            () = lifecycle.soft.cancelled() => break,
            slot = slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
        };
        let (stream, peer) = tokio::select! {
            () = lifecycle.soft.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or the peer has gone. A lasting error must not cause a busy loop.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let connection = connection(stream, peer, routes.clone(), lifecycle.clone());
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, routes: Routes, lifecycle: Lifecycle) {
    // An acknowledgement is small and must not wait for more data.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let router = routes.0.borrow().clone();
        router.oneshot(request.map(axum::body::Body::new))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        () = lifecycle.soft.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection => result,
                () = lifecycle.hard.cancelled() => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}
