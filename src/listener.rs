//! Accepts connections and serves HTTP/1.1 on them, within limits.
//!
//! axum's own server sets no limit to the head of a request; here the head is bounded in time, in
//! size and in the number of its headers (431), and connections are bounded in number: those beyond
//! wait in the operating system's queue, where they cost nothing.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tower::ServiceExt;

use crate::lifecycle::Lifecycle;

/// A head must be complete, and an idle connection must speak again, within this time. Longer than
/// the 60 seconds for which common proxies keep idle connections, so that it is they who close:
/// the other way round a delivery can meet a connection that is just being closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Finkare sends a handful of headers, proxies add a dozen.
const MAX_HEADERS: usize = 100;
/// For the whole head; also the size of the read buffer.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// The address of the peer of a request's connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The routes that a listener serves now. They can be replaced while it serves: each request is answered by those that
/// are there when its head has come.
#[derive(Debug, Clone)]
pub struct Routes(watch::Receiver<Router>);

impl Routes {
    /// Whatever the sender holds.
    pub fn new(routes: watch::Receiver<Router>) -> Self {
        Self(routes)
    }
}

impl From<Router> for Routes {
    /// Always these.
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
                    // Out of file descriptors, or the peer went away: neither is ours to fix, and
                    // an error that stays must not spin.
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
    // An acknowledgement is small and must not wait for more to send.
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
