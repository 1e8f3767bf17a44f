//! A target of an `http` sink: a real server that records what it gets and answers as it is told.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};

/// What came in.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub id: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What was answered.
    pub status: u16,
}

impl Arrival {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn invoice(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["data"]["invoiceId"].as_str().unwrap_or_default().to_owned()
    }
}

/// What to answer: a status and headers, or never.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Status(u16, Vec<(&'static str, String)>),
    Hang,
    /// 204, as soon as a permit is there; takes it.
    After(Arc<tokio::sync::Semaphore>),
}

type Script = Box<dyn FnMut(&HeaderMap, &Bytes) -> Reply + Send>;

struct Shared {
    arrivals: Mutex<Vec<Arrival>>,
    script: Mutex<Script>,
}

/// A running target; it stops with the test's runtime.
#[derive(Clone)]
pub(crate) struct Target {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Target {
    /// Answers every request with 204.
    pub(crate) async fn start() -> Self {
        Self::scripted(|_, _| Reply::Status(204, vec![])).await
    }

    /// Answers as the script says.
    pub(crate) async fn scripted(script: impl FnMut(&HeaderMap, &Bytes) -> Reply + Send + 'static) -> Self {
        let shared = Arc::new(Shared { arrivals: Mutex::default(), script: Mutex::new(Box::new(script)) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let router = Router::new().fallback(take).with_state(shared.clone());
        tokio::spawn(async move {
            let lifecycle = finkare_relay::lifecycle::Lifecycle::default();
            finkare_relay::listener::serve(listener, router, 1024, lifecycle).await;
        });
        Self { address, shared }
    }

    /// Changes what is answered from now on.
    pub(crate) fn script(&self, script: impl FnMut(&HeaderMap, &Bytes) -> Reply + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    /// Everything that came in, in order.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.shared.arrivals.lock().unwrap().clone()
    }

    /// What was answered with success, by event id; the bodies of one id are all the same.
    pub(crate) fn delivered(&self) -> HashMap<String, Bytes> {
        let mut bodies: HashMap<String, Bytes> = HashMap::new();
        for arrival in self.arrivals().into_iter().filter(|arrival| (200..300).contains(&arrival.status)) {
            let body = bodies.entry(arrival.id.clone()).or_insert_with(|| arrival.body.clone());
            assert_eq!(*body, arrival.body, "{} came with different bodies", arrival.id);
        }
        bodies
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let reply = shared.script.lock().unwrap()(&headers, &body);
    let status = match &reply {
        Reply::Status(status, _) => *status,
        Reply::Hang => 0,
        Reply::After(_) => 204,
    };
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    shared.arrivals.lock().unwrap().push(Arrival { id, headers, body, status });
    match reply {
        Reply::Hang => std::future::pending().await,
        Reply::After(permits) => {
            permits.acquire().await.expect("it is never closed").forget();
            StatusCode::NO_CONTENT.into_response()
        }
        Reply::Status(status, headers) => {
            let mut response = StatusCode::from_u16(status).expect("a status").into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().expect("a header value"));
            }
            response
        }
    }
}
