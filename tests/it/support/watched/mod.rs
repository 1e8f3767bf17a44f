//! The invoicing systems that the service only looks at, as its tests see them: [`Tiime`](tiime::Tiime) and
//! [`FastFaktura`](fastfaktura::FastFaktura).
//!
//! Neither vendor shows a call that records a payment, so whatever is not a plain read is forbidden, above all one that
//! would write to a debtor. What was done against this, or in a way that nothing known of the system bears out, stands in
//! [`Watched::complaints`]; every test ends with it being empty. The stand-ins share no code with the service: an
//! error there must not cancel itself here.
//!
//! This file is what the two have in common: a server on a free port that stops when it is dropped, the list of
//! requests, what goes wrong with them, and the invoices. What is known of each system is in its own file. A request
//! is judged even where a [`Fault`] takes the place of its answer.

pub(crate) mod fastfaktura;
pub(crate) mod tiime;

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde::Serialize;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::fake_finkare::connection;

/// Where [`Fault::Redirect`] points to: a path that no client has any business with.
const ELSEWHERE: &str = "/elsewhere";
/// No body of a request is longer.
const MAX_BODY_BYTES: usize = 1 << 20;

/// What takes the place of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing does: the answer is as it should be. For scripts in which a later request fails.
    Plain,
    /// An error with this status, with the system's own body.
    Status(u16),
    /// 429, with this `Retry-After`: seconds or an HTTP date.
    Limited(Option<String>),
    /// The connection is closed without a word.
    Cut,
    /// The connection is closed in the middle of the body.
    CutInside,
    /// Nothing is answered, and the connection stays open.
    Hang,
    /// 200 and no JSON.
    Garbage,
    /// 200 and JSON that is not what was asked for.
    WrongShape,
    /// 302 to a place on the same server where nobody must go.
    Redirect,
}

/// A request that came in.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub method: String,
    /// All of it, without the query.
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub at: Instant,
    pub fault: Fault,
    /// `None`: cut, or never answered.
    pub status: Option<u16>,
}

impl Call {
    /// A header's value, if it is there exactly once and is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        value.to_str().ok()
    }

    /// A part of the query, if it is there exactly once.
    pub(crate) fn asked(&self, name: &str) -> Option<&str> {
        let mut values = self.query.iter().filter(|(given, _)| given == name);
        let (value, None) = (values.next()?, values.next()) else { return None };
        Some(&value.1)
    }
}

/// Collects what is held against one request.
pub(crate) struct Judge<'a> {
    call: &'a Call,
    found: Vec<String>,
}

impl Judge<'_> {
    fn against(&mut self, what: &str) {
        self.found.push(format!("{} {}: {what}", self.call.method, self.call.path));
    }

    /// Every part of the query must be one of these, and there once.
    fn only(&mut self, known: &[&str]) {
        for (name, _) in &self.call.query {
            if !known.contains(&name.as_str()) {
                self.against(&format!("nothing is known of a `{name}` in its query"));
            } else if self.call.asked(name).is_none() {
                self.against(&format!("`{name}` is in its query more than once"));
            }
        }
    }
}

/// An answer to be.
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Reply {
    fn json(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: vec![("content-type", "application/json".into())], body: body.into() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(given, _)| *given != name);
        self.headers.push((name, value.into()));
        self
    }

    fn into_response(self) -> Response {
        let mut response = Body::from(self.body).into_response();
        *response.status_mut() = StatusCode::from_u16(self.status).expect("a status");
        for (name, value) in self.headers {
            response.headers_mut().insert(name, HeaderValue::from_str(&value).expect("a header's value"));
        }
        response
    }
}

/// An object on its way into JSON, each value as JSON text: amounts go from integers to decimals without ever
/// being a floating-point number, and a test can put any text in the place of any value.
struct Object(Vec<(&'static str, String)>);

impl Object {
    fn new() -> Self {
        Self(vec![])
    }

    fn with(self, name: &'static str, value: impl Serialize) -> Self {
        self.text(name, serde_json::to_string(&value).expect("a plain value"))
    }

    fn text(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.0.push((name, text.into()));
        self
    }

    fn spoilt(mut self, spoilt: &[(&'static str, Option<String>)]) -> Self {
        for (name, text) in spoilt {
            self.0.retain(|(given, _)| given != name);
            self.0.extend(text.clone().map(|text| (*name, text)));
        }
        self
    }

    fn into_text(self) -> String {
        let fields: Vec<_> = self.0.iter().map(|(name, text)| format!("\"{name}\":{text}")).collect();
        format!("{{{}}}", fields.join(","))
    }
}

/// An invoice, as far as both systems have it.
#[derive(Debug, Clone)]
pub(crate) struct Invoice {
    pub id: String,
    pub number: String,
    /// With taxes.
    pub total_cents: i64,
    pub currency: String,
    pub status: String,
    /// What is shown in the place of a field, as JSON text; `None` leaves it out.
    spoilt: Vec<(&'static str, Option<String>)>,
}

/// What one system has, knows and says.
pub(crate) trait Books: Send + 'static {
    /// What its paths begin with.
    const BASE: &'static str;

    /// An id that no invoice has.
    fn new_id(&mut self) -> String;
    fn invoices(&mut self) -> &mut Vec<Invoice>;
    /// What opens it; must never stand in an address.
    fn secret(&self) -> &str;
    /// Answers a `GET` and says what is wrong with it.
    fn answer(&mut self, call: &Call, judge: &mut Judge) -> Reply;
    /// An error as this system has them.
    fn error(&self, status: u16) -> Reply;
}

struct Chance {
    rng: StdRng,
    per_thousand: u32,
    faults: Vec<Fault>,
}

struct Inner<B> {
    books: B,
    calls: Vec<Call>,
    complaints: Vec<String>,
    /// What becomes of the next requests, then of all after them.
    next: VecDeque<Fault>,
    chance: Option<Chance>,
    /// By how many seconds its clock is wrong.
    skew: i64,
    quiet_until: Option<Instant>,
    hurried: usize,
}

type Shared<B> = Arc<Mutex<Inner<B>>>;

fn lock<B>(inner: &Shared<B>) -> MutexGuard<'_, Inner<B>> {
    inner.lock().expect("nothing panics while it holds this")
}

/// A running stand-in; it stops, with all its connections, when it is dropped.
pub(crate) struct Watched<B> {
    address: SocketAddr,
    inner: Shared<B>,
    _stop: DropGuard,
}

impl<B: Books> Watched<B> {
    /// Listens on a free port; `books` is told its address.
    async fn serving(books: impl FnOnce(SocketAddr) -> B) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let inner: Shared<B> = Arc::new(Mutex::new(Inner {
            books: books(address),
            calls: vec![],
            complaints: vec![],
            next: VecDeque::new(),
            chance: None,
            skew: 0,
            quiet_until: None,
            hurried: 0,
        }));
        let router = Router::new().fallback(take::<B>).with_state(inner.clone());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(stopped.clone().run_until_cancelled_owned(connection(stream, router.clone())));
            }
        }));
        Self { address, inner, _stop: stop.drop_guard() }
    }

    /// Its address, as `base_url` takes it.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}{}", self.address, B::BASE)
    }

    /// Adds an invoice and answers its id. Several may have one number.
    pub(crate) fn add_invoice(&self, number: &str, total_cents: i64, currency: &str, status: &str) -> String {
        let mut inner = self.lock();
        let id = inner.books.new_id();
        let (number, currency, status) = (number.to_owned(), currency.to_owned(), status.to_owned());
        inner.books.invoices().push(Invoice { id: id.clone(), number, total_cents, currency, status, spoilt: vec![] });
        id
    }

    /// Changes the status of every invoice with this number.
    pub(crate) fn set_status(&self, number: &str, status: &str) {
        self.change(|invoice| invoice.number == number, |invoice| status.clone_into(&mut invoice.status));
    }

    /// Changes the status of the one with this id.
    pub(crate) fn set_status_of(&self, id: &str, status: &str) {
        self.change(|invoice| invoice.id == id, |invoice| status.clone_into(&mut invoice.status));
    }

    /// Shows this JSON text in the place of a field of the invoices with this number; `None` leaves the field out.
    pub(crate) fn spoil(&self, number: &str, field: &'static str, text: Option<&str>) {
        let spoilt = (field, text.map(str::to_owned));
        self.change(|invoice| invoice.number == number, |invoice| invoice.spoilt.push(spoilt.clone()));
    }

    fn change(&self, which: impl Fn(&Invoice) -> bool, change: impl Fn(&mut Invoice)) {
        let mut inner = self.lock();
        let mut invoices = inner.books.invoices().iter_mut().filter(|invoice| which(invoice)).peekable();
        assert!(invoices.peek().is_some(), "the test changes an invoice that is not there");
        invoices.for_each(change);
    }

    /// What becomes of the next requests, one each; those after them are answered as before.
    pub(crate) fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().next.extend(faults);
    }

    /// Meets so many of a thousand requests with one of these faults, the same ones for the same seed and order.
    pub(crate) fn sometimes(&self, seed: u64, per_thousand: u32, faults: &[Fault]) {
        assert!(!faults.is_empty() && per_thousand <= 1000);
        let rng = StdRng::seed_from_u64(seed);
        self.lock().chance = Some(Chance { rng, per_thousand, faults: faults.to_vec() });
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn recover(&self) {
        let mut inner = self.lock();
        inner.next.clear();
        inner.chance = None;
    }

    /// By how many seconds its `Date` is ahead of the time, or behind it.
    pub(crate) fn skew(&self, secs: i64) {
        self.lock().skew = secs;
    }

    /// All requests so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// How many requests so far had a path with this end.
    pub(crate) fn count(&self, end: &str) -> usize {
        self.lock().calls.iter().filter(|call| call.path.ends_with(end)).count()
    }

    /// How many requests so far met a fault.
    pub(crate) fn failed(&self) -> usize {
        self.lock().calls.iter().filter(|call| call.fault != Fault::Plain).count()
    }

    /// How many requests came before the seconds of the last `Retry-After` were over.
    pub(crate) fn hurried(&self) -> usize {
        self.lock().hurried
    }

    /// What is held against the requests so far.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner<B>> {
        lock(&self.inner)
    }
}

impl<B: Books> Inner<B> {
    /// Judges a request, finds its answer and what takes the place of it, and writes all down.
    fn take(&mut self, mut call: Call, body: &Bytes) -> (Reply, Fault) {
        if self.quiet_until.is_some_and(|until| call.at < until) {
            self.hurried += 1;
        }
        let mut judge = Judge { call: &call, found: vec![] };
        if !body.is_empty() {
            judge.against("has a body");
        }
        if call.query.iter().any(|(_, value)| value.contains(self.books.secret()))
            || call.path.contains(self.books.secret())
        {
            judge.against("shows the secret in its address");
        }
        let reply = if call.path == ELSEWHERE {
            judge.against("a redirect was followed");
            self.books.error(404)
        } else if call.method != "GET" {
            let sends = call.path.ends_with("/send");
            judge.against(if sends { "WOULD HAVE WRITTEN TO THE DEBTOR" } else { "only looking is allowed" });
            self.books.error(405)
        } else {
            self.books.answer(&call, &mut judge)
        };
        self.complaints.append(&mut judge.found);

        let fault = self.next.pop_front().or_else(|| self.chance.as_mut().and_then(Chance::draw));
        let fault = fault.unwrap_or(Fault::Plain);
        let reply = match &fault {
            Fault::Plain | Fault::Cut | Fault::CutInside | Fault::Hang => reply,
            Fault::Status(status) => self.books.error(*status),
            Fault::Limited(after) => {
                let secs = after.as_ref().and_then(|after| after.parse().ok());
                self.quiet_until = secs.map(|secs| call.at + Duration::from_secs(secs));
                let reply = self.books.error(429);
                after.iter().fold(reply, |reply, after| reply.with("retry-after", after))
            }
            Fault::Garbage => {
                Reply::json(200, "<!doctype html><title>Maintenance</title>").with("content-type", "text/html")
            }
            Fault::WrongShape => Reply::json(200, r#"{"message":"ok"}"#),
            Fault::Redirect => {
                Reply { status: 302, headers: vec![("location", ELSEWHERE.into())], body: String::new() }
            }
        };
        call.fault = fault.clone();
        call.status = (!matches!(fault, Fault::Cut | Fault::Hang)).then_some(reply.status);
        self.calls.push(call);
        (reply.with("date", self.date()), fault)
    }

    fn date(&self) -> String {
        #[expect(clippy::disallowed_methods, reason = "the clock of the other side, which is not the service's")]
        let now = SystemTime::now();
        let skew = Duration::from_secs(self.skew.unsigned_abs());
        httpdate::fmt_http_date(if self.skew < 0 { now - skew } else { now + skew })
    }
}

impl Chance {
    fn draw(&mut self) -> Option<Fault> {
        let fails = self.rng.random_range(0..1000) < self.per_thousand;
        fails.then(|| self.faults.choose(&mut self.rng).expect("there is one").clone())
    }
}

async fn take<B: Books>(
    State(inner): State<Shared<B>>,
    cut: axum::Extension<CancellationToken>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let query = url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
    let call = Call {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: query.map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        headers: head.headers,
        at: Instant::now(),
        fault: Fault::Plain,
        status: None,
    };
    let (reply, fault) = lock(&inner).take(call, &body);
    match fault {
        Fault::Cut => {
            cut.cancel();
            std::future::pending().await
        }
        Fault::Hang => std::future::pending().await,
        Fault::CutInside => half(reply, cut.0),
        _ => reply.into_response(),
    }
}

/// The head, half of the body, and then the end of the connection.
fn half(reply: Reply, cut: CancellationToken) -> Response {
    let (length, bytes) = (reply.body.len(), Bytes::from(reply.body.clone()));
    let mut response = reply.into_response();
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    let chunks = stream::unfold(Some(bytes.slice(..length / 2)), move |chunk| {
        let cut = cut.clone();
        async move {
            if let Some(chunk) = chunk {
                return Some((Ok::<_, Infallible>(chunk), None));
            }
            // What is there is written while this waits; the connection ends in the round after.
            tokio::task::yield_now().await;
            cut.cancel();
            std::future::pending().await
        }
    });
    *response.body_mut() = Body::from_stream(chunks);
    response
}
