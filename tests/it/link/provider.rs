//! The part of Finkare that the link calls: it answers one call on each connection, and fails on demand.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use super::{ID, OLD, ROTATE, URL};
use crate::support::eventually;

/// How one call fails.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// Not carried out; answers this status.
    Refuse(u16),
    /// Carried out, but answers this status.
    DoneBut(u16),
    /// Not carried out; the connection is cut.
    CutBefore,
    /// Carried out; the connection is cut instead of an answer.
    CutAfter,
    /// Carried out; no answer until the client gives up.
    Hang,
    /// Carried out; the answer is not JSON.
    Unreadable,
    /// Carried out and answered normally, once this has a permit.
    Hold(Arc<Semaphore>),
    /// Carried out at once, answered normally once this has a permit.
    Late(Arc<Semaphore>),
}

#[derive(Debug, Clone)]
pub(super) struct Hook {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) events: Vec<String>,
    pub(super) enabled: bool,
    pub(super) secret: String,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) hooks: Vec<Hook>,
    /// The number of secrets created so far.
    pub(super) given: Vec<String>,
    /// Every call: `METHOD PATH `.
    pub(super) calls: Vec<String>,
    pub(super) faults: VecDeque<(&'static str, Fault)>,
}

impl Inner {
    pub(super) fn new_secret(&mut self) -> String {
        let secret =
            format!("whsec_{}", BASE64_STANDARD.encode(format!("given by Finkare as number {}", self.given.len())));
        self.given.push(secret.clone());
        secret
    }

    pub(super) fn serve(&mut self, call: &str, body: &Value) -> (u16, Value) {
        let (method, path) = call.trim_end().split_once(' ').unwrap();
        let rest = path.strip_prefix("/api/v1/webhooks").unwrap_or("?");
        let shown = |hook: &Hook| {
            json!({"id": hook.id, "url": hook.url, "events": hook.events, "enabled": hook.enabled,
                   "created_at": "2026-03-01T08:00:00.000Z"})
        };
        if (method, rest) == ("GET", "") {
            return (200, json!(self.hooks.iter().map(shown).collect::<Vec<_>>()));
        }
        if (method, rest) == ("POST", "") {
            let secret = self.new_secret();
            let id = format!("e5f6a7b8-0000-4000-9000-{:012}", self.given.len());
            let events =
                body["events"].as_array().unwrap().iter().map(|event| event.as_str().unwrap().into()).collect();
            let hook = Hook { id, url: body["url"].as_str().unwrap().into(), events, enabled: true, secret };
            self.hooks.push(hook.clone());
            let mut data = shown(&hook);
            data["secret"] = hook.secret.into();
            return (201, data);
        }
        let id = rest.trim_start_matches('/').trim_end_matches(ROTATE).to_owned();
        let Some(at) = self.hooks.iter().position(|hook| hook.id == id) else {
            return (404, json!({"code": "RES_001", "message": "Resource not found"}));
        };
        if method == "POST" && rest.ends_with(ROTATE) {
            self.hooks[at].secret = self.new_secret();
            return (200, json!({"secret": self.hooks[at].secret}));
        }
        if let Some(events) = body["events"].as_array() {
            self.hooks[at].events = events.iter().map(|event| event.as_str().unwrap().into()).collect();
        }
        (200, shown(&self.hooks[at]))
    }
}

/// A Finkare that answers one call on each connection.
#[derive(Clone)]
pub(super) struct Provider {
    pub(super) url: String,
    pub(super) inner: Arc<Mutex<Inner>>,
}

impl Provider {
    /// A Finkare that knows no webhook.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider =
            Self { url: format!("http://{}/", listener.local_addr().unwrap()), inner: Arc::new(Mutex::default()) };
        let serving = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let provider = serving.clone();
                tokio::spawn(async move {
                    // A client that has gone is expected.
                    let _ = provider.answer(stream).await;
                });
            }
        });
        provider
    }

    /// A Finkare with one webhook, which signs with the secret [`OLD`].
    pub(super) async fn with_webhook() -> Self {
        let provider = Self::start().await;
        provider.add(ID, URL, OLD);
        provider
    }

    pub(super) fn add(&self, id: &str, url: &str, secret: &str) {
        let events = vec!["payment.received".to_owned()];
        let hook = Hook { id: id.into(), url: url.into(), events, enabled: true, secret: secret.into() };
        self.inner.lock().unwrap().hooks.push(hook);
    }

    /// The next call that contains this text fails in this way.
    pub(super) fn fails(&self, call: &'static str, fault: Fault) {
        self.inner.lock().unwrap().faults.push_back((call, fault));
    }

    /// The next call that contains this text waits until its answer is released.
    pub(super) fn holds(&self, call: &'static str) -> Arc<Semaphore> {
        let hold = Arc::new(Semaphore::new(0));
        self.fails(call, Fault::Hold(hold.clone()));
        hold
    }

    pub(super) fn calls(&self, part: &str) -> usize {
        self.inner.lock().unwrap().calls.iter().filter(|call| call.contains(part)).count()
    }

    pub(super) async fn called(&self, part: &str, times: usize) {
        eventually(&format!("{times} calls of {part}"), async || self.calls(part) >= times).await;
    }

    pub(super) fn hooks(&self) -> Vec<Hook> {
        self.inner.lock().unwrap().hooks.clone()
    }

    /// The secret that signs the first webhook's deliveries now.
    pub(super) fn secret(&self) -> String {
        self.hooks()[0].secret.clone()
    }

    pub(super) async fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let (mut call, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if call.is_empty() {
                call = line.split("HTTP/1.1").next().unwrap().to_owned();
            } else if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = number.trim().parse().unwrap();
            } else if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let fault = {
            let mut inner = self.inner.lock().unwrap();
            inner.calls.push(call.clone());
            let at = inner.faults.iter().position(|(part, _)| call.contains(part));
            at.and_then(|at| inner.faults.remove(at)).map(|(_, fault)| fault)
        };
        let serve = || self.inner.lock().unwrap().serve(&call, &body);
        let error = |status| (status, json!({"code": format!("TEST_{status}"), "message": "as the test wants it"}));
        let (status, data) = match fault {
            None => serve(),
            Some(Fault::Refuse(status)) => error(status),
            Some(Fault::DoneBut(status)) => {
                serve();
                error(status)
            }
            Some(Fault::CutBefore) => return Ok(()),
            Some(Fault::CutAfter) => {
                serve();
                return Ok(());
            }
            Some(Fault::Hang) => {
                serve();
                // Until the client hangs up.
                stream.read_u8().await?;
                return Ok(());
            }
            Some(Fault::Unreadable) => {
                serve();
                let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
                return stream.write_all(answer.as_bytes()).await;
            }
            Some(Fault::Hold(hold)) => {
                hold.acquire().await.unwrap().forget();
                serve()
            }
            Some(Fault::Late(hold)) => {
                let served = serve();
                hold.acquire().await.unwrap().forget();
                served
            }
        };
        let success = status < 300;
        let (name, request) = (if success { "data" } else { "error" }, "req_0a1b2c");
        let answer = json!({"success": success, name: data, "requestId": request}).to_string();
        let retry = if status == 429 { "retry-after: 0\r\n" } else { "" };
        let answer = format!(
            "HTTP/1.1 {status} As-Told\r\ncontent-type: application/json\r\nconnection: close\r\n{retry}content-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    }
}
