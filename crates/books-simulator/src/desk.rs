//! The counter at which a stand-in takes its calls: connections, the log of requests, quotas, the clock
//! that it shows, complaints, and the faults that a test wants.
//!
//! What a call means is the business of a `Clerk`; the desk decides whether the clerk gets to do it, when, and
//! whether the caller hears of it. What was begun is done on a task of its own, as a real server does it: a caller
//! who hangs up stops nothing.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant, SystemTime},
};

use axum::body::Body;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Response, header, request::Parts};
use http_body_util::BodyExt;
use hyper::{body::Incoming, ext::ReasonPhrase, service::service_fn};
use hyper_util::rt::TokioIo;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

/// A call as it came, whole.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub method: String,
    pub path: String,
    /// Decoded, in their order.
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// Path and query as sent.
    target: String,
}

impl Call {
    fn new(head: Parts, body: Vec<u8>) -> Self {
        let query = url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        Self {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query,
            headers: head.headers,
            body,
            target: head.uri.to_string(),
        }
    }

    /// A header's value; empty without it, or if it is not ASCII.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The last value of a query parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(given, _)| given == name).map(|(_, value)| &**value)
    }

    /// Whether it is meant to change something.
    pub(crate) fn is_write(&self) -> bool {
        !matches!(&*self.method, "GET" | "HEAD")
    }

    /// The parts of the path before `.json`; none if it does not end so.
    pub(crate) fn segments(&self) -> Option<Vec<&str>> {
        Some(self.path.strip_suffix(".json")?.strip_prefix('/')?.split('/').collect())
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub status: u16,
    /// The words of the status line, where they are not the usual ones.
    pub reason: Option<&'static str>,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &impl serde::Serialize) -> Self {
        let body = serde_json::to_string(body).expect("an answer can be written as JSON");
        Self::of(status, "application/json; charset=utf-8", body)
    }

    pub(crate) fn of(status: u16, content_type: &str, body: String) -> Self {
        Self { status, reason: None, headers: vec![("content-type", content_type.to_owned())], body }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn because(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }
}

/// Who knows what a call means in one system.
pub(crate) trait Clerk: Send + Sync + 'static {
    /// Complains about what may never be sent, done or not.
    fn judge(&self, call: &Call);
    /// Does it.
    fn answer(&self, call: &Call) -> Reply;
    /// An error as this system words it; 429 as at an exceeded quota.
    fn error(&self, status: u16) -> Reply;
    /// What a person is shown at `/`, which no system has: the books as they are.
    fn page(&self) -> String;
}

/// Which calls a fault is for: by method and a part of path and query; empty means any.
#[derive(Debug, Clone, Copy)]
pub struct On(pub &'static str, pub &'static str);

impl On {
    /// Every call.
    pub const ANY: Self = Self("", "");

    fn matches(self, call: &Call) -> bool {
        (self.0.is_empty() || self.0 == call.method) && call.target.contains(self.1)
    }
}

/// When what was asked for is done.
#[derive(Debug, Clone)]
enum When {
    Never,
    Now,
    Later(Duration),
    Opened(Arc<Semaphore>),
}

/// What the caller gets to see.
#[derive(Debug, Clone)]
pub enum Then {
    /// The answer, after this time.
    Slow(Duration),
    /// The system's error.
    Status(u16),
    /// 429, with this `Retry-After` in seconds.
    Limited(Option<u32>),
    /// The connection is closed without a word.
    Cut,
    /// The answer's head and half of its body, and the connection is closed.
    CutAmid,
    /// Nothing, and the connection stays open.
    Silence,
    /// The status of success, and a body that is no JSON.
    Garbage,
    /// The status of success, and a page for people.
    Html,
    /// The status of success, and JSON of another shape.
    WrongShape,
    /// 302 to this place.
    Redirect(String),
    /// The status of success, and a body that says that it was none.
    SaysNo,
    /// The answer, once the test opens the gate.
    Gate(Arc<Semaphore>),
}

/// What becomes of one call.
#[derive(Debug, Clone)]
pub struct Fault {
    when: When,
    then: Then,
}

impl Fault {
    /// It fails before anything is done.
    pub const fn before(then: Then) -> Self {
        Self { when: When::Never, then }
    }

    /// It is done, and then it fails.
    pub const fn after(then: Then) -> Self {
        Self { when: When::Now, then }
    }

    /// No answer ever comes; it is done after this time, also when the caller has gone.
    pub const fn late(after: Duration) -> Self {
        Self { when: When::Later(after), then: Then::Silence }
    }

    /// No answer ever comes; it is done when the test opens the gate, also when the caller has gone.
    pub const fn late_through(gate: Arc<Semaphore>) -> Self {
        Self { when: When::Opened(gate), then: Then::Silence }
    }
}

/// The faults that have a name, for the command line.
const NAMES: [&str; 5] = ["errors", "cut_connections", "too_many_requests", "lost_answers", "unreadable_answers"];

/// Which calls a named fault is for, and what becomes of them.
fn named(name: &str) -> Option<(On, Fault)> {
    /// Both systems record a payment by a `POST`.
    const BOOKING: On = On("POST", "");
    Some(match name {
        "errors" => (On::ANY, Fault::before(Then::Status(503))),
        "cut_connections" => (On::ANY, Fault::before(Then::Cut)),
        "too_many_requests" => (On::ANY, Fault::before(Then::Limited(Some(1)))),
        "lost_answers" => (BOOKING, Fault::after(Then::Cut)),
        "unreadable_answers" => (BOOKING, Fault::after(Then::Garbage)),
        _ => return None,
    })
}

/// A named fault that cannot be set to this value; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FaultError(String);

enum Pick {
    Next(usize),
    Chance { per_mille: u32, rng: Box<StdRng> },
}

struct Rule {
    on: On,
    pick: Pick,
    /// Never empty.
    faults: Vec<Fault>,
}

impl Rule {
    fn draw(&mut self) -> Option<Fault> {
        match &mut self.pick {
            Pick::Next(left) => {
                *left = left.checked_sub(1)?;
                Some(self.faults[0].clone())
            }
            Pick::Chance { per_mille, rng } => {
                let hit = rng.random_range(0..1000) < *per_mille;
                // Drawn in any case, so that a sequence does not depend on what was hit.
                let which = rng.random_range(0..self.faults.len());
                hit.then(|| self.faults[which].clone())
            }
        }
    }
}

/// At most so many requests in any time of this length.
#[derive(Debug, Clone, Copy)]
pub struct Quota {
    /// The number of requests.
    pub requests: usize,
    /// The time.
    pub per: Duration,
}

/// A call as the log has it.
#[derive(Debug, Clone)]
pub struct Logged {
    /// When it came.
    pub at: Instant,
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// What was sent.
    pub body: String,
    /// None while nothing was answered.
    pub status: Option<u16>,
}

#[derive(Default)]
struct Inner {
    log: Vec<Logged>,
    complaints: Vec<String>,
    rules: Vec<Rule>,
    quotas: Vec<Quota>,
    /// The calls that counted for the quotas, oldest first. Refused ones do not count.
    admitted: Vec<Instant>,
    /// How far the clock is ahead of the real one, in seconds.
    skew_secs: i64,
    /// So many of the newest calls and complaints are kept; all of them without a number.
    keep: Option<usize>,
    /// So many calls are no longer in the log.
    forgotten: usize,
}

impl Inner {
    /// Forgets what is older than the newest that are to be kept. Half as much again is let in first, so that it is
    /// seldom done.
    fn forget(&mut self) {
        let Some(keep) = self.keep else { return };
        let surplus = |length: usize| if length > keep + keep / 2 { length - keep } else { 0 };
        let calls = surplus(self.log.len());
        self.log.drain(..calls);
        self.forgotten += calls;
        self.complaints.drain(..surplus(self.complaints.len()));
        self.admitted.drain(..surplus(self.admitted.len()));
    }
}

/// The desk of one stand-in.
#[derive(Default)]
pub struct Desk(Mutex<Inner>);

/// What the quotas say to a call.
struct Admission {
    is_over: bool,
    /// Limit and rest of the quota of which least is left.
    shown: Option<(usize, usize)>,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics while it holds this")
    }

    /// The fault for the next calls, however many. Faults of which several match are played in the order in which they
    /// were given.
    pub fn next(&self, calls: usize, fault: Fault) {
        self.next_on(On::ANY, calls, fault);
    }

    /// The fault for the next calls of this kind.
    pub fn next_on(&self, on: On, calls: usize, fault: Fault) {
        self.lock().rules.push(Rule { on, pick: Pick::Next(calls), faults: vec![fault] });
    }

    /// One of these faults for so many in a thousand of the calls of this kind, the same ones for the same seed.
    pub fn at_random(&self, on: On, per_mille: u32, seed: u64, faults: Vec<Fault>) {
        assert!(!faults.is_empty(), "one fault at least");
        let pick = Pick::Chance { per_mille, rng: Box::new(StdRng::seed_from_u64(seed)) };
        self.lock().rules.push(Rule { on, pick, faults });
    }

    /// The fault of this name for so many of the next calls that it is for: `errors` (503), `cut_connections` and
    /// `too_many_requests` do nothing; `lost_answers` and `unreadable_answers` book first.
    ///
    /// # Errors
    /// There is no such fault (the text lists them all), or the value is no number of calls.
    pub fn set(&self, name: &str, value: &str) -> Result<(), FaultError> {
        let Some((on, fault)) = named(name) else {
            let known = NAMES.join(", ");
            return Err(FaultError(format!("there is no fault `{name}`; known are: {known}")));
        };
        let calls =
            value.parse().map_err(|_| FaultError(format!("fault `{name}`: `{value}` is no number of calls")))?;
        self.next_on(on, calls, fault);
        Ok(())
    }

    /// No more faults.
    pub fn calm(&self) {
        self.lock().rules.clear();
    }

    /// Other quotas from now on; none for no limit.
    pub fn limit(&self, quotas: impl IntoIterator<Item = Quota>) {
        self.lock().quotas = quotas.into_iter().collect();
    }

    /// How far the `Date` header is ahead of the real time (negative: behind it), in seconds.
    pub fn skew(&self, secs: i64) {
        self.lock().skew_secs = secs;
    }

    /// The calls so far, in order.
    pub fn log(&self) -> Vec<Logged> {
        self.lock().log.clone()
    }

    /// How many calls of this kind came so far.
    pub fn count(&self, On(method, target): On) -> usize {
        let inner = self.lock();
        let of_kind = |call: &&Logged| (method.is_empty() || method == call.method) && call.target.contains(target);
        inner.log.iter().filter(of_kind).count()
    }

    /// How many calls were answered with this status so far.
    pub fn answered(&self, status: u16) -> usize {
        self.lock().log.iter().filter(|call| call.status == Some(status)).count()
    }

    /// The largest number of calls in any time of this length; refused ones count too.
    pub fn busiest(&self, window: Duration) -> usize {
        let inner = self.lock();
        let mut first = 0;
        let counts = inner.log.iter().enumerate().map(|(last, call)| {
            while call.at.duration_since(inner.log[first].at) >= window {
                first += 1;
            }
            last - first + 1
        });
        counts.max().unwrap_or(0)
    }

    /// What was wrong with the calls so far.
    pub fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    /// Keeps only so many of the newest calls and complaints, for a stand-in that runs for days. The quotas must count
    /// fewer calls than that.
    pub fn keep(&self, newest: usize) {
        self.lock().keep = Some(newest);
    }

    pub(crate) fn complain(&self, call: &Call, what: &str) {
        tracing::warn!(call.method, call.target, "the stand-in's documentation does not allow this call: {what}");
        self.lock().complaints.push(format!("{} {}: {what}", call.method, call.target));
    }

    /// Writes a call down; its number, from the first one on.
    fn arrived(&self, call: &Call) -> usize {
        let mut inner = self.lock();
        inner.forget();
        // Taken under the lock: the log is in the order of time.
        inner.log.push(Logged {
            at: Instant::now(),
            method: call.method.clone(),
            target: call.target.clone(),
            body: String::from_utf8_lossy(&call.body).into_owned(),
            status: None,
        });
        inner.forgotten + inner.log.len() - 1
    }

    /// Writes down how a call was answered, unless it is forgotten by now.
    fn answered_with(&self, number: usize, status: u16) {
        let mut inner = self.lock();
        let place = number.checked_sub(inner.forgotten);
        if let Some(call) = place.and_then(|place| inner.log.get_mut(place)) {
            call.status = Some(status);
        }
    }

    fn admit(&self) -> Admission {
        let mut inner = self.lock();
        let now = Instant::now();
        let left = |quota: &Quota| {
            let begin = inner.admitted.partition_point(|at| now.duration_since(*at) >= quota.per);
            (quota.requests, quota.requests.saturating_sub(inner.admitted.len() - begin))
        };
        let tightest = inner.quotas.iter().map(left).min_by_key(|(_, left)| *left);
        let is_over = tightest.is_some_and(|(_, left)| left == 0);
        if !is_over {
            inner.admitted.push(now);
        }
        Admission { is_over, shown: tightest.map(|(limit, left)| (limit, left.saturating_sub(1))) }
    }

    fn draw(&self, call: &Call) -> Option<Fault> {
        let mut inner = self.lock();
        inner.rules.iter_mut().filter(|rule| rule.on.matches(call)).find_map(Rule::draw)
    }

    fn date(&self) -> String {
        #[expect(clippy::disallowed_methods, reason = "a server shows the real time; a test moves it by a skew")]
        let now = SystemTime::now();
        let skew = self.lock().skew_secs;
        let distance = Duration::from_secs(skew.unsigned_abs());
        httpdate::fmt_http_date(if skew < 0 { now - distance } else { now + distance })
    }
}

/// A server at its desk; it stops, and its connections with it, when this is dropped.
pub(crate) struct Running {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the stand-in hangs up")]
struct HangUp;

/// A free port of this machine.
pub(crate) const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Serves at this address; port 0 takes a free one.
pub(crate) async fn open(listen: SocketAddr, desk: Arc<Desk>, clerk: Arc<dyn Clerk>) -> std::io::Result<Running> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        // Dropped with the task, which ends the connections as well.
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    // So that a lasting error does not spin.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            let (desk, clerk) = (desk.clone(), clerk.clone());
            let service = service_fn(move |request| take(desk.clone(), clerk.clone(), request));
            connections.spawn(async move {
                // It fails if either side hangs up, which is nobody's fault here.
                let _ = hyper::server::conn::http1::Builder::new()
                    .auto_date_header(false)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(Running { address, task })
}

async fn take(
    desk: Arc<Desk>,
    clerk: Arc<dyn Clerk>,
    request: http::Request<Incoming>,
) -> Result<Response<Body>, HangUp> {
    let (head, body) = request.into_parts();
    // A request that was not sent to its end never came.
    let body = body.collect().await.map_err(|_| HangUp)?.to_bytes().to_vec();
    let call = Call::new(head, body);
    if call.method == "GET" && call.path == "/" {
        return Ok(response(Reply::of(200, "text/plain; charset=utf-8", clerk.page()), true));
    }
    let number = desk.arrived(&call);
    clerk.judge(&call);
    let Admission { is_over, shown } = desk.admit();
    let fault = if is_over { Some(Fault::before(Then::Limited(None))) } else { desk.draw(&call) };
    let playing = tokio::spawn(async move { play(fault, &*clerk, &call).await });
    let (mut reply, is_whole) = playing.await.expect("nothing panics at a call").ok_or(HangUp)?;
    if let Some((limit, left)) = shown {
        reply = reply.with("x-ratelimit-limit", limit.to_string()).with("x-ratelimit-remaining", left.to_string());
    }
    reply = reply.with("date", desk.date());
    desk.answered_with(number, reply.status);
    Ok(response(reply, is_whole))
}

/// Plays a fault, or simply does what is asked for. None: the caller is to be cut off; the flag says
/// whether the answer is to be sent whole.
async fn play(fault: Option<Fault>, clerk: &dyn Clerk, call: &Call) -> Option<(Reply, bool)> {
    let Some(Fault { when, then }) = fault else { return Some((clerk.answer(call), true)) };
    match &when {
        When::Never | When::Now => {}
        When::Later(after) => tokio::time::sleep(*after).await,
        When::Opened(gate) => pass(gate).await,
    }
    let success = if call.method == "POST" { 201 } else { 200 };
    // Where nothing is done, this is what a server would say that believes it has done it.
    let undone = Reply::json(success, &serde_json::json!({}));
    let reply = if matches!(when, When::Never) { undone } else { clerk.answer(call) };
    let status = if reply.status < 300 { reply.status } else { success };
    let reply = match then {
        Then::Slow(time) => {
            tokio::time::sleep(time).await;
            reply
        }
        Then::Status(status) => clerk.error(status),
        Then::Limited(None) => clerk.error(429),
        Then::Limited(Some(secs)) => clerk.error(429).with("retry-after", secs.to_string()),
        Then::Cut => return None,
        Then::CutAmid => return Some((reply, false)),
        Then::Silence => std::future::pending().await,
        Then::Garbage => Reply::of(status, "application/json; charset=utf-8", "{\"id\": 4711, \"tot".into()),
        Then::Html => Reply::of(status, "text/html; charset=utf-8", "<html><body>Maintenance</body></html>".into()),
        Then::WrongShape => Reply::json(status, &serde_json::json!({"result": [true, null, {"id": {}}]})),
        Then::SaysNo => Reply::json(status, &serde_json::json!({"success": false, "id": 4711, "message": "later"})),
        Then::Redirect(to) => Reply::of(302, "text/html", String::new()).with("location", to),
        Then::Gate(gate) => {
            pass(&gate).await;
            reply
        }
    };
    Some((reply, true))
}

async fn pass(gate: &Semaphore) {
    gate.acquire().await.expect("no gate is ever closed").forget();
}

fn response(reply: Reply, is_whole: bool) -> Response<Body> {
    let length = reply.body.len();
    let body = if is_whole {
        Body::from(reply.body)
    } else {
        let half = reply.body.as_bytes()[..length / 2].to_vec();
        let cut = async {
            // What stands before it is sent while this waits for its next turn.
            tokio::task::yield_now().await;
            Err(HangUp)
        };
        Body::from_stream(futures_util::stream::iter([Ok(half)]).chain(futures_util::stream::once(cut)))
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status.try_into().expect("a status");
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, HeaderValue::try_from(value).expect("a header value"));
    }
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    if let Some(reason) = reply.reason {
        response.extensions_mut().insert(ReasonPhrase::from_static(reason.as_bytes()));
    }
    response
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{
        super::{
            Books, NewInvoice,
            facturation_pro::{API_ID, API_KEY, FacturationPro},
        },
        *,
    };
    use crate::testing::{eventually, http};

    /// Any server will do: the desk is the same.
    async fn server() -> (FacturationPro, String) {
        let server = FacturationPro::start().await;
        let id = server.add(NewInvoice::of("1", 10_000_000));
        let url = format!("{}/firms/12345/invoices/{id}/settlements.json", server.url());
        (server, url)
    }

    fn post(url: &str) -> reqwest::RequestBuilder {
        http()
            .post(url)
            .basic_auth(API_ID, Some(API_KEY))
            .header("User-Agent", "tests (compta@creancier.example)")
            .header("Content-Type", "application/json; charset=utf-8")
            .body(r#"{"total": "1.0", "payment_mode": 3, "paid_on": "2026-03-15"}"#)
    }

    fn get(url: &str) -> reqwest::RequestBuilder {
        http().get(url).basic_auth(API_ID, Some(API_KEY)).header("User-Agent", "tests (compta@creancier.example)")
    }

    /// A caller who hangs up once the call has come.
    async fn hang_up(desk: &Desk, url: &str) {
        let calls = desk.log().len();
        let calling = tokio::spawn(post(url).send());
        eventually("the call comes", || std::future::ready(desk.log().len() > calls)).await;
        assert!(!calling.is_finished(), "it is not answered");
        calling.abort();
        assert!(calling.await.is_err_and(|error| error.is_cancelled()));
    }

    async fn status(request: reqwest::RequestBuilder) -> u16 {
        request.send().await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn errors_come_before_or_after_it_is_done() {
        let (server, url) = server().await;
        let desk = server.desk();
        for code in [500, 502, 503, 504, 401, 403, 422, 400, 404, 501] {
            let booked = server.entries().len();
            desk.next(1, Fault::before(Then::Status(code)));
            assert_eq!((status(post(&url)).await, server.entries().len()), (code, booked));
            desk.next(1, Fault::after(Then::Status(code)));
            assert_eq!((status(post(&url)).await, server.entries().len()), (code, booked + 1));
            assert_eq!(desk.answered(code), 2);
        }
        assert_eq!((status(post(&url)).await, desk.answered(201)), (201, 1));
        assert_eq!(server.complaints(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn the_connection_is_cut() {
        let (server, url) = server().await;
        let desk = server.desk();
        desk.next(1, Fault::before(Then::Cut));
        assert!(post(&url).send().await.is_err());
        assert!(server.entries().is_empty());
        desk.next(1, Fault::after(Then::Cut));
        assert!(post(&url).send().await.is_err());
        assert_eq!(server.entries().len(), 1);
        desk.next(1, Fault::after(Then::CutAmid));
        let begun = post(&url).send().await.unwrap();
        assert_eq!(begun.status(), 201);
        assert!(begun.bytes().await.is_err(), "half of it came");
        assert_eq!(server.entries().len(), 2);
        let statuses: Vec<_> = desk.log().into_iter().map(|call| call.status).collect();
        assert_eq!(statuses, [None, None, Some(201)], "each came once");
    }

    #[tokio::test]
    async fn silence_may_mean_that_it_is_done_later() {
        let (server, url) = server().await;
        let desk = server.desk();
        let booked = || server.entries().len();
        desk.next(1, Fault::before(Then::Silence));
        hang_up(desk, &url).await;
        desk.next(1, Fault::after(Then::Silence));
        hang_up(desk, &url).await;
        eventually("it is done in silence", || std::future::ready(booked() == 1)).await;

        let gate = Arc::new(Semaphore::new(0));
        desk.next(1, Fault::late_through(gate.clone()));
        hang_up(desk, &url).await;
        assert_eq!(status(get(&url)).await, 200);
        assert_eq!(booked(), 1, "the caller has gone, and nothing is done yet");
        gate.add_permits(1);
        eventually("it is done when nobody waits", || std::future::ready(booked() == 2)).await;

        let begun = Instant::now();
        desk.next(1, Fault::late(Duration::from_millis(200)));
        hang_up(desk, &url).await;
        eventually("it is done after a time", || std::future::ready(booked() == 3)).await;
        assert!(begun.elapsed() >= Duration::from_millis(200));
        let posts: Vec<_> = desk.log().into_iter().filter(|call| call.method == "POST").collect();
        assert!(posts.len() == 4 && posts.iter().all(|call| call.status.is_none() && call.body.contains("2026-03-15")));
        assert_eq!(status(post(&url)).await, 201);
    }

    #[tokio::test]
    async fn answers_may_be_slow_or_wait_for_the_test() {
        let (server, url) = server().await;
        let desk = server.desk();
        let begun = Instant::now();
        desk.next(1, Fault::after(Then::Slow(Duration::from_millis(50))));
        assert_eq!(status(post(&url)).await, 201);
        assert!(begun.elapsed() >= Duration::from_millis(50));

        let gate = Arc::new(Semaphore::new(0));
        desk.next(1, Fault::after(Then::Gate(gate.clone())));
        let waiting = tokio::spawn(status(post(&url)));
        eventually("it is done", || std::future::ready(server.entries().len() == 2)).await;
        assert_eq!(desk.log()[1].status, None);
        gate.add_permits(1);
        assert_eq!(waiting.await.unwrap(), 201);
        assert_eq!(desk.log()[1].status, Some(201));
    }

    #[tokio::test]
    async fn success_may_be_unreadable_done_or_not() {
        let (server, url) = server().await;
        for then in [Then::Garbage, Then::Html, Then::WrongShape] {
            for (fault, done) in [(Fault::before(then.clone()), 0), (Fault::after(then.clone()), 1)] {
                let booked = server.entries().len();
                server.desk().next(2, fault);
                let answer = post(&url).send().await.unwrap();
                assert_eq!((answer.status().as_u16(), server.entries().len()), (201, booked + done), "{then:?}");
                let body = answer.json::<Value>().await;
                assert_eq!(body.is_ok(), matches!(then, Then::WrongShape), "{then:?}");
                assert!(body.is_ok_and(|body| body.get("id").is_none()) || !matches!(then, Then::WrongShape));
                assert_eq!(status(get(&url)).await, 200, "{then:?}");
            }
        }
        server.desk().next(1, Fault::before(Then::Redirect("https://elsewhere.example/".into())));
        let elsewhere = post(&url).send().await.unwrap();
        assert_eq!(
            (elsewhere.status().as_u16(), &elsewhere.headers()["location"]),
            (302, &HeaderValue::from_static("https://elsewhere.example/"))
        );
        let limited = [(None, None), (Some(7), Some("7"))];
        for (given, shown) in limited {
            server.desk().next(1, Fault::before(Then::Limited(given)));
            let refused = post(&url).send().await.unwrap();
            assert_eq!(refused.status(), 429);
            assert_eq!(refused.headers().get("retry-after").map(|value| value.to_str().unwrap()), shown);
            assert_eq!(refused.text().await.unwrap().trim(), "Retry later");
        }
    }

    #[tokio::test]
    async fn faults_are_for_some_calls_in_their_order() {
        let (server, url) = server().await;
        let desk = server.desk();
        desk.next_on(On("POST", "/settlements.json"), 2, Fault::before(Then::Status(503)));
        desk.next_on(On("POST", ""), 1, Fault::before(Then::Status(502)));
        desk.next_on(On("", "page=2"), 1, Fault::before(Then::Status(500)));
        assert_eq!(status(get(&url)).await, 200);
        assert_eq!(status(get(&format!("{url}?page=2"))).await, 500);
        let mut statuses = vec![];
        for _ in 0..4 {
            statuses.push(status(post(&url)).await);
        }
        assert_eq!(statuses, [503, 503, 502, 201]);
        assert_eq!((desk.count(On("POST", "")), desk.count(On("", "page=2")), desk.count(On::ANY)), (4, 1, 6));
        desk.next(1000, Fault::before(Then::Cut));
        assert!(get(&url).send().await.is_err());
        desk.calm();
        assert_eq!(status(get(&url)).await, 200);
    }

    #[tokio::test]
    async fn faults_have_names() {
        let (server, url) = server().await;
        let desk = server.desk();
        for (name, on_get) in [("errors", Some(503)), ("cut_connections", None), ("too_many_requests", Some(429))] {
            desk.set(name, "1").unwrap();
            assert_eq!(get(&url).send().await.ok().map(|answer| answer.status().as_u16()), on_get, "{name}");
            assert_eq!(status(get(&url)).await, 200, "{name} is over");
        }
        for (name, booked) in [("lost_answers", 1), ("unreadable_answers", 2)] {
            desk.set(name, "1").unwrap();
            assert_eq!(status(get(&url)).await, 200, "{name} is for bookings");
            let answer = post(&url).send().await;
            let is_readable = match answer {
                Ok(answer) => answer.json::<Value>().await.is_ok(),
                Err(_) => false,
            };
            assert_eq!((is_readable, server.entries().len()), (false, booked), "{name}");
        }
        assert!(NAMES.iter().all(|name| named(name).is_some()), "the list names faults that there are");
        let unknown = desk.set("nothing", "1").unwrap_err().to_string();
        assert!(unknown.contains("`nothing`; known are: errors, cut_connections"), "{unknown}");
        assert!(desk.set("errors", "often").unwrap_err().to_string().contains("`often` is no number of calls"));
    }

    #[test]
    fn chance_is_the_same_for_the_same_seed() {
        let draws = |seed| -> Vec<_> {
            let desk = Desk::default();
            let faults = vec![Fault::before(Then::Status(500)), Fault::after(Then::Cut)];
            desk.at_random(On("POST", ""), 300, seed, faults);
            let call = |method: &str| Call {
                method: method.into(),
                path: "/".into(),
                query: vec![],
                headers: HeaderMap::new(),
                body: vec![],
                target: "/".into(),
            };
            assert!((0..100).all(|_| desk.draw(&call("GET")).is_none()));
            (0..1000).map(|_| desk.draw(&call("POST")).map(|fault| matches!(fault.then, Then::Cut))).collect()
        };
        let first = draws(7);
        assert!(first == draws(7), "another sequence for the same seed");
        assert!(first != draws(8), "the same sequence for another seed");
        for which in [Some(true), Some(false)] {
            let count = first.iter().filter(|draw| **draw == which).count();
            assert!((100..200).contains(&count), "{which:?}: {count} of 1000, where 150 are due");
        }
    }

    #[tokio::test]
    async fn quotas_refuse_and_forget() {
        let (server, url) = server().await;
        let rest = |response: reqwest::Response| {
            let number = |name: &str| response.headers()[name].to_str().unwrap().parse::<usize>().unwrap();
            (response.status().as_u16(), number("x-ratelimit-limit"), number("x-ratelimit-remaining"))
        };
        assert_eq!(rest(get(&url).send().await.unwrap()), (200, 600, 599));
        let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
        server.desk().limit([Quota { requests: 3, per: hour }, Quota { requests: 10_000, per: day }]);
        assert_eq!(rest(get(&url).send().await.unwrap()), (200, 3, 1));
        assert_eq!(rest(post(&url).send().await.unwrap()), (201, 3, 0));
        for _ in 0..3 {
            // A fault that waits is not used up by a call that is refused.
            server.desk().next(1, Fault::before(Then::Status(500)));
            assert_eq!(rest(post(&url).send().await.unwrap()), (429, 3, 0));
        }
        assert_eq!((server.entries().len(), server.desk().answered(429)), (1, 3));
        server.desk().calm();
        // The call before this one is some milliseconds old, and the quota soon forgets it.
        server.desk().limit([Quota { requests: 1, per: Duration::from_millis(300) }]);
        eventually("it is let in again", || async { status(get(&url)).await == 200 }).await;
        server.desk().limit([]);
        assert!(!get(&url).send().await.unwrap().headers().contains_key("x-ratelimit-limit"));
    }

    #[test]
    fn the_busiest_time_is_found() {
        let desk = Desk::default();
        assert_eq!(desk.busiest(Duration::from_secs(1)), 0);
        let begin = Instant::now();
        for millis in [0, 400, 999, 1000, 1001, 5000] {
            desk.lock().log.push(Logged {
                at: begin + Duration::from_millis(millis),
                method: "GET".into(),
                target: "/".into(),
                body: String::new(),
                status: None,
            });
        }
        assert_eq!(desk.busiest(Duration::from_secs(1)), 4, "400 to 1001; a call a second after another is outside");
        assert_eq!(desk.busiest(Duration::from_millis(1)), 1);
        assert_eq!(desk.busiest(Duration::from_millis(2)), 2);
        assert_eq!(desk.busiest(Duration::from_secs(10)), 6);
    }

    #[tokio::test]
    async fn the_clock_can_be_wrong() {
        let (server, url) = server().await;
        let date = || async {
            let response = get(&url).send().await.unwrap();
            assert_eq!(response.headers().get_all("date").iter().count(), 1);
            httpdate::parse_http_date(response.headers()["date"].to_str().unwrap()).unwrap()
        };
        let day = Duration::from_hours(24);
        let right = date().await;
        server.desk().skew(86_400);
        let ahead = date().await;
        assert!(ahead >= right + day);
        server.desk().skew(-86_400);
        let behind = date().await;
        assert!(behind + day >= right && behind + day < ahead);
    }

    #[tokio::test]
    async fn a_server_ends_with_its_last_clone() {
        let (server, url) = server().await;
        let clone = server.clone();
        drop(server);
        assert_eq!(status(get(&url)).await, 200);
        clone.desk().next(1, Fault::before(Then::Silence));
        let waiting = tokio::spawn(get(&url).send());
        eventually("it waits", || std::future::ready(clone.desk().log().len() == 2)).await;
        drop(clone);
        let ended = waiting.await.unwrap();
        assert!(ended.is_err_and(|error| !error.is_timeout()), "its connections end with it");
        eventually("nobody is there", || async { get(&url).send().await.is_err_and(|error| error.is_connect()) }).await;
    }
}
