//! Calls to an invoicing system: within its limits, and with an exact account of every failure.
//!
//! Money depends on whether a failed call *may have happened*: [`Trouble::may_have_happened`] is false only if the request
//! was certainly not carried out, because it was never sent or was refused by a status that says so. After every other
//! failure the outcome is looked up before the call is made again. [`outgoing::effect`] decides what an answer means for a
//! call that writes, here as for Finkare's API.
//!
//! Only the configured address gets the credentials, and the library repeats no call, by the policy of [`outgoing`].

use std::{
    fmt,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use bytes::Bytes;
use jiff::Timestamp;
use outgoing::{Effect, Egress, End, Limits, Plan, Rate, Redactor, retry_after};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::{
    model::{clock, dispatch::Outcome, secret::Secret},
    sinks::preview::Step,
};

/// The bound on connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept: less than most servers keep it (5 s and more). The outcome of a request that is
/// sent into a connection that is just being closed is unknown.
const IDLE: Duration = Duration::from_secs(4);
/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Characters of an answer that a reason repeats.
const EXCERPT_CHARS: usize = 200;
/// The longest wait for a place within the limits. If it would take longer, the dispatcher tries again later.
const PATIENCE: Duration = Duration::from_secs(3);
/// The wait after the first "too many requests" without a `Retry-After`; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest wait that this client chooses by itself.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// How long web pages in place of data are taken for maintenance or a failing proxy. After that they count as answers that
/// cannot be read: the address is wrong, or leads to a login page.
const PAGES_PASS: Duration = Duration::from_mins(15);
/// How far clocks may differ. Payments are dated by day, so this is enough.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(2);

/// Why a call failed, with a reason for a person. No reason holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It may work later: the connection failed, or the system has an error.
    Later {
        /// What happened.
        reason: String,
        /// What the system asked for.
        after: Option<Duration>,
        /// False if the call was certainly not carried out.
        may_have_happened: bool,
    },
    /// There were too many calls, by our own count or in the system's view. The call was not carried out.
    TooMany {
        /// Whose count.
        reason: String,
        /// When there is room again.
        after: Duration,
    },
    /// There is no such thing (404).
    Missing {
        /// What was requested.
        reason: String,
    },
    /// The requested part of a list lies behind its end (416).
    Beyond {
        /// What was requested.
        reason: String,
    },
    /// The system rejects this call (400, 422 …). It was not carried out, and a retry would be rejected again.
    Refused {
        /// Its words.
        reason: String,
    },
    /// A write may have been carried out, although the answer is not a success: a redirect, a conflict (409), a status of
    /// success with a body that says no. The outcome has to be looked up.
    Doubtful {
        /// Its words.
        reason: String,
        /// True if every write would probably get the same answer: a redirect, a method that the system does not know.
        concerns_all: bool,
    },
    /// The system rejects every call (401 to 403, a redirect). This one was not carried out.
    Locked {
        /// Its words, and what to check.
        reason: String,
    },
    /// A successful answer that cannot be read. The call may have been carried out.
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
}

impl Trouble {
    /// False if the call was certainly not carried out.
    pub const fn may_have_happened(&self) -> bool {
        match self {
            Trouble::Later { may_have_happened, .. } => *may_have_happened,
            Trouble::Unreadable { .. } | Trouble::Doubtful { .. } => true,
            Trouble::TooMany { .. }
            | Trouble::Missing { .. }
            | Trouble::Beyond { .. }
            | Trouble::Refused { .. }
            | Trouble::Locked { .. } => false,
        }
    }

    /// What happened.
    pub fn reason(&self) -> &str {
        match self {
            Trouble::Later { reason, .. }
            | Trouble::TooMany { reason, .. }
            | Trouble::Missing { reason }
            | Trouble::Beyond { reason }
            | Trouble::Refused { reason }
            | Trouble::Doubtful { reason, .. }
            | Trouble::Locked { reason }
            | Trouble::Unreadable { reason } => reason,
        }
    }
}

/// The outcome of an attempt that failed in this way and has written nothing.
impl From<Trouble> for Outcome {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Later { reason, after, .. } => Outcome::Retry { reason, after },
            Trouble::TooMany { reason, after } => Outcome::Wait { reason, after },
            Trouble::Missing { reason } | Trouble::Beyond { reason } | Trouble::Refused { reason } => {
                Outcome::Hold { reason, recheck_after: None }
            }
            // The caller that wrote looks the outcome up before it writes again.
            Trouble::Doubtful { reason, .. } => Outcome::Retry { reason, after: None },
            Trouble::Locked { reason } => Outcome::Stop { reason },
            // The system differs from what this version expects, for this event as for all others: a retry would not help.
            Trouble::Unreadable { reason } => Outcome::Stop {
                reason: format!(
                    "{reason}. This version expects another answer, and sends nothing more there until a person has looked: \
                     check `base_url` and what it leads to, report it if the system has changed, then resume the sink \
                     (`sinks resume`)"
                ),
            },
        }
    }
}

/// The calls that were made, for a person to read.
pub type Transcript = Arc<Mutex<Vec<Step>>>;

/// A call to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    purpose: String,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<String>,
}

impl Request {
    /// Adds to the query; both are encoded.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Sets a header of this call alone.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// True if the call is meant to change something.
    fn is_write(&self) -> bool {
        self.body.is_some()
    }

    /// The call as a [`Transcript`] shows it, before it is made.
    pub fn step(&self) -> Step {
        Step {
            purpose: self.purpose.clone(),
            method: self.method.to_string(),
            url: self.url.to_string(),
            body: self.body.clone(),
            answer: None,
        }
    }
}

/// A successful answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status, 200 to 299.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    purpose: String,
    system: &'static str,
    body: Bytes,
}

impl Answer {
    /// Reads the body. Amounts have to be read as [`DecimalAmount`](crate::model::money::DecimalAmount) or text.
    ///
    /// # Errors
    /// [`Trouble::Unreadable`]: the body is not what was expected. The error repeats nothing of the body.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Trouble> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = match error.classify() {
                serde_json::error::Category::Data => "its structure differs from the documentation",
                _ => "it is not JSON",
            };
            self.unreadable(&format!("{what} (line {}, column {})", error.line(), error.column()))
        })
    }

    /// Any other problem with the answer, as an error.
    pub fn unreadable(&self, what: &str) -> Trouble {
        Trouble::Unreadable { reason: format!("{}'s answer to {} cannot be read: {what}", self.system, self.purpose) }
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Compares this machine's clock with the system's (its `Date` header), and says in words that they agree.
    ///
    /// # Errors
    /// They differ by more than two minutes; the text says what to do.
    pub fn clock(&self) -> Result<String, String> {
        let theirs = self.header(header::DATE.as_str()).and_then(|text| httpdate::parse_http_date(text).ok());
        let Some(theirs) = theirs.and_then(|time| Timestamp::try_from(time).ok()) else {
            return Ok("it does not tell its time".to_owned());
        };
        let difference = clock::now().duration_since(theirs);
        if difference.unsigned_abs() > CLOCK_TOLERANCE {
            let way = if difference.is_negative() { "behind" } else { "ahead of" };
            return Err(format!(
                "this machine's clock is {} s {way} that of {}: set it right (NTP), or payments get the wrong date",
                difference.unsigned_abs().as_secs(),
                self.system
            ));
        }
        Ok("its clock and ours agree".to_owned())
    }
}

/// How an invoicing system is reached.
pub struct Settings {
    /// Its name for people: `Facturation.PRO`.
    pub system: &'static str,
    /// All paths are below it.
    pub base_url: Url,
    /// With every call; those with credentials marked as sensitive.
    pub headers: HeaderMap,
    /// How we introduce ourselves.
    pub user_agent: String,
    /// Texts that no reason and no log line may repeat.
    pub secrets: Vec<Secret>,
    /// Limits on the number of calls per period, all of which apply, per process.
    pub limits: Vec<(NonZeroU32, Duration)>,
    /// How long one call may take, from connecting to the last byte.
    pub timeout: Duration,
    /// How calls leave.
    pub egress: Egress,
    /// Where to record the calls, if at all.
    pub transcript: Option<Transcript>,
}

/// A client of one invoicing system.
pub struct Api {
    system: &'static str,
    http: reqwest::Client,
    base: Url,
    gate: Mutex<Gate>,
    redactor: Redactor,
    limits: Limits,
    egress: Egress,
    transcript: Option<Transcript>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// When the next call may start.
struct Gate {
    rates: Vec<Rate>,
    /// Until when no call is made, because the system has received too many.
    closed_until: Option<Instant>,
    /// How many answers in a row said so.
    refusals: u32,
    /// Since when the system answers with web pages instead of data.
    pages_since: Option<Instant>,
}

/// A call under way: it keeps its places in the limits until it is dropped.
struct Turn<'a>(&'a Api);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        self.0.gate().rates.iter_mut().for_each(|rate| rate.end(now));
    }
}

impl Api {
    /// Makes a client. Nothing is sent yet.
    ///
    /// The process's TLS provider must be installed
    /// (`rustls::crypto::aws_lc_rs::default_provider().install_default()`).
    ///
    /// # Errors
    /// The option that cannot work, without its value.
    pub fn new(settings: Settings) -> Result<Self, String> {
        let mut base = settings.base_url;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err("`base_url` must begin with https:// (or http://) and a host".to_owned());
        }
        if !base.username().is_empty()
            || base.password().is_some()
            || base.query().is_some()
            || base.fragment().is_some()
        {
            return Err("`base_url` must have no user, password, query or fragment".to_owned());
        }
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&path);
        let limits = Limits { connect: CONNECT.min(settings.timeout / 2), whole: settings.timeout };
        let plan = Plan { agent: &settings.user_agent, target: &base, headers: settings.headers, limits, idle: IDLE };
        let http = settings.egress.client(plan).map_err(|error| error.to_string())?;
        let mut redactor = Redactor::of(settings.secrets.iter().map(Secret::expose));
        settings.egress.private().for_each(|text| redactor.add(&text));
        let rates = settings.limits.iter().map(|(requests, per)| Rate::new(*requests, *per)).collect();
        Ok(Self {
            system: settings.system,
            http,
            base,
            gate: Mutex::new(Gate { rates, closed_until: None, refusals: 0, pages_since: None }),
            redactor,
            limits,
            egress: settings.egress,
            transcript: settings.transcript,
        })
    }

    /// The system's name for people.
    pub fn system(&self) -> &'static str {
        self.system
    }

    /// A text of the system as one short line that a reason may repeat, without secrets and invisible marks.
    pub fn quote(&self, text: &str) -> String {
        self.redactor.line(text, EXCERPT_CHARS)
    }

    /// A call that reads. `purpose` is a phrase ("looking for invoice F-12"); each of `path` is one step, encoded.
    pub fn get(&self, purpose: impl Into<String>, path: &[&str]) -> Request {
        self.request(Method::GET, purpose.into(), path, None)
    }

    /// A call that writes JSON, sent as it stands in `body`. Only for the booking and for a change of status: see
    /// [`Books`](super::Books).
    pub fn write(&self, method: Method, purpose: impl Into<String>, path: &[&str], body: String) -> Request {
        self.request(method, purpose.into(), path, Some(body))
    }

    fn request(&self, method: Method, purpose: String, path: &[&str], body: Option<String>) -> Request {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut headers =
            HeaderMap::from_iter([(header::ACCEPT, const { HeaderValue::from_static("application/json") })]);
        if body.is_some() {
            let json = const { HeaderValue::from_static("application/json; charset=utf-8") };
            headers.insert(header::CONTENT_TYPE, json);
        }
        Request { purpose, method, url, headers, body }
    }

    /// Makes a call that reads.
    pub async fn read(&self, request: Request) -> Result<Answer, Trouble> {
        self.send(&request, None).await
    }

    /// Makes a call unless it could only start after `not_after`. In that case the call is certainly not made, and the error is
    /// [`Trouble::TooMany`].
    pub async fn send(&self, request: &Request, not_after: Option<Instant>) -> Result<Answer, Trouble> {
        let _turn = self.turn(request).await?;
        if not_after.is_some_and(|not_after| Instant::now() >= not_after) {
            let reason = format!(
                "the time for this attempt ran out before {} could be asked for {}",
                self.system, request.purpose
            );
            return Err(Trouble::TooMany { reason, after: Duration::from_secs(1) });
        }
        let begun = Instant::now();
        let result = self.exchange(request).await;
        let status = match &result {
            Ok(answer) => answer.status.to_string(),
            Err(trouble) => trouble.reason().to_owned(),
        };
        tracing::debug!(
            method = %request.method, path = self.redactor.redact(request.url.path()), answer = status,
            duration_ms = clock::millis(begun.elapsed()), "asked {} for {}", self.system, request.purpose
        );
        if let Some(transcript) = &self.transcript {
            let mut step = request.step();
            step.answer = Some(status);
            transcript.lock().unwrap_or_else(PoisonError::into_inner).push(step);
        }
        result
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, Trouble> {
        let mut call = self.http.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
        if let Some(body) = &request.body {
            call = call.body(body.clone());
        }
        let mut response = call.send().await.map_err(|error| self.network(request, &error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = outgoing::read(&mut response, ANSWER_BYTES, None).await;
        self.note_limits(status, &headers);
        if !status.is_success() {
            return Err(self.refusal(request, status, &headers, &body.bytes));
        }
        let (bytes, purpose) = (body.bytes.into(), request.purpose.clone());
        let answer = Answer { status, headers, purpose, system: self.system, body: bytes };
        match body.end {
            End::Whole => {}
            End::TooLong | End::TooSlow => return Err(answer.unreadable("it is too long")),
            // The connection failed; the answer itself was not wrong.
            End::Broken(error) => return Err(self.network(request, &error)),
        }
        self.look_for_a_page(request, &answer)?;
        if request.is_write() && says_no(&answer.body) {
            let said = self.redactor.excerpt(&answer.body, EXCERPT_CHARS);
            let reason = format!(
                "{} answered {status} to {}, but its body says that it was not done: {said}",
                self.system, request.purpose
            );
            return Err(Trouble::Doubtful { reason, concerns_all: false });
        }
        Ok(answer)
    }

    /// Recognises a web page or an empty body in place of data. A proxy or a system in maintenance answers like that, with
    /// 200, and the call is retried as after a 503. If this goes on for [`PAGES_PASS`], the answers count as unreadable.
    fn look_for_a_page(&self, request: &Request, answer: &Answer) -> Result<(), Trouble> {
        let body = answer.body.trim_ascii();
        let is_page = body.starts_with(b"<") || (body.is_empty() && !request.is_write());
        let mut gate = self.gate();
        if !is_page {
            gate.pages_since = None;
            return Ok(());
        }
        let since = *gate.pages_since.get_or_insert_with(Instant::now);
        drop(gate);
        let what = if body.is_empty() { "it is empty" } else { "it is a web page instead of data" };
        let trouble = answer.unreadable(what);
        if since.elapsed() >= PAGES_PASS {
            return Err(trouble);
        }
        let reason = format!("{} (maintenance, or a proxy in between?)", trouble.reason());
        Err(Trouble::Later { reason, after: None, may_have_happened: true })
    }

    fn network(&self, request: &Request, error: &reqwest::Error) -> Trouble {
        let what = self.redactor.redact(&self.egress.explain(error, self.limits));
        Trouble::Later {
            reason: format!("{} could not be asked for {}: {what}", self.system, request.purpose),
            after: None,
            may_have_happened: outgoing::of_failure(error).may_have_happened(),
        }
    }

    fn refusal(&self, request: &Request, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Trouble {
        let said = self.redactor.excerpt(body, EXCERPT_CHARS);
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let reason = |advice: &str| format!("{} answered {status}{advice} to {}{said}", self.system, request.purpose);
        let after = retry_after(headers, SystemTime::from(clock::now()));
        if request.is_write() && outgoing::of_answer(status.as_u16(), false) == Effect::Unknown {
            return match status.as_u16() {
                300..=399 => Trouble::Doubtful {
                    reason: reason(" (redirects are not followed: check `base_url`)"),
                    concerns_all: true,
                },
                501 => Trouble::Doubtful {
                    reason: reason(" (it does not accept what this version sends)"),
                    concerns_all: true,
                },
                409 => Trouble::Doubtful { reason: reason(""), concerns_all: false },
                _ => Trouble::Later { reason: reason(""), after, may_have_happened: true },
            };
        }
        match status.as_u16() {
            404 | 410 => Trouble::Missing { reason: reason("") },
            416 => Trouble::Beyond { reason: reason("") },
            429 => Trouble::TooMany { reason: reason(""), after: self.closed_for().unwrap_or(FIRST_PAUSE) },
            401..=403 => {
                Trouble::Locked { reason: reason(" (check the credentials, their rights and the subscription)") }
            }
            // Facturation.PRO's word for a wrong `Content-Type`; others mean that they do not know the method.
            501 => Trouble::Locked { reason: reason(" (it does not accept what this version sends)") },
            300..=399 => Trouble::Locked { reason: reason(" (redirects are not followed: check `base_url`)") },
            408 | 425 | 500..=599 => Trouble::Later { reason: reason(""), after, may_have_happened: false },
            _ => Trouble::Refused { reason: reason("") },
        }
    }

    /// Waits for a place in every limit.
    async fn turn(&self, request: &Request) -> Result<Turn<'_>, Trouble> {
        loop {
            let wait = {
                let mut gate = self.gate();
                let now = Instant::now();
                let closed = gate.closed_until.filter(|until| *until > now);
                let full = gate.rates.iter_mut().filter_map(|rate| match rate.allowed(now) {
                    // All places are taken by running calls, one of which ends soon.
                    (0, ask_again) => Some(ask_again.unwrap_or(now + Duration::from_millis(100))),
                    _ => None,
                });
                match full.chain(closed).max() {
                    None => {
                        gate.rates.iter_mut().for_each(Rate::start);
                        return Ok(Turn(self));
                    }
                    Some(until) => until - now,
                }
            };
            if wait > PATIENCE {
                return Err(Trouble::TooMany {
                    reason: format!(
                        "the limit of calls to {} is reached (`api_limits`): {} waits",
                        self.system, request.purpose
                    ),
                    after: wait,
                });
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Adapts to what the system says about its own limit.
    fn note_limits(&self, status: StatusCode, headers: &HeaderMap) {
        let remaining = headers.get("x-ratelimit-remaining").and_then(|value| value.to_str().ok());
        let is_empty = remaining.is_some_and(|text| text.trim() == "0");
        let mut gate = self.gate();
        if status != StatusCode::TOO_MANY_REQUESTS && !is_empty {
            gate.refusals = 0;
            return;
        }
        let ours = FIRST_PAUSE.saturating_mul(1 << gate.refusals.min(16)).min(LONGEST_PAUSE);
        let pause = retry_after(headers, SystemTime::from(clock::now())).unwrap_or(ours);
        gate.refusals = gate.refusals.saturating_add(1);
        gate.closed_until = Some(Instant::now() + pause);
    }

    fn closed_for(&self) -> Option<Duration> {
        self.gate().closed_until.map(|until| until.saturating_duration_since(Instant::now()))
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True if the body of a successful answer to a write says that it failed: `"success": false`, or errors.
fn says_no(body: &[u8]) -> bool {
    let Ok(Value::Object(answer)) = serde_json::from_slice::<Value>(body) else { return false };
    let refuses = |success: &Value| match success {
        Value::Bool(success) => !success,
        Value::String(text) => text.eq_ignore_ascii_case("false"),
        Value::Number(number) => number.as_u64() == Some(0),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    };
    let is_error = |error: &Value| match error {
        Value::Null => false,
        Value::Bool(is_error) => *is_error,
        Value::Number(code) => code.as_u64() != Some(0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(errors) => !errors.is_empty(),
        Value::Object(errors) => !errors.is_empty(),
    };
    answer.get("success").is_some_and(refuses)
        || ["error", "errors"].iter().any(|key| answer.get(*key).is_some_and(is_error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::french;

    #[test]
    fn a_success_may_say_no() {
        for no in [
            r#"{"success": false, "id": 88}"#,
            r#"{"success": "False"}"#,
            r#"{"success": 0}"#,
            r#"{"id": 88, "errors": {"total": ["is too much"]}}"#,
            r#"{"error": "locked"}"#,
            r#"{"error": true}"#,
            r#"{"errors": ["x"]}"#,
            r#"{"error": 400, "error_code": "x"}"#,
        ] {
            assert!(says_no(no.as_bytes()), "{no}");
        }
        for yes in [
            r#"{"id": 88}"#,
            r#"{"success": true, "errors": []}"#,
            r#"{"errors": {}, "error": null}"#,
            r#"{"error": ""}"#,
            r#"{"error": false}"#,
            "[]",
            "",
            "<html>",
        ] {
            assert!(!says_no(yes.as_bytes()), "{yes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_passes_unless_it_stays() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let api = Api::new(Settings {
            system: "Books",
            base_url: "http://127.0.0.1:9".parse().unwrap(),
            headers: HeaderMap::new(),
            user_agent: "tests".to_owned(),
            secrets: vec![],
            limits: vec![],
            timeout: Duration::from_secs(5),
            egress: Egress::default(),
            transcript: None,
        })
        .unwrap();
        let read = api.get("looking for invoice F-1", &["invoices"]);
        let write = api.write(Method::POST, "setting invoice F-1 to paid", &["payments"], "{}".to_owned());
        let answered = |request: &Request, body: &'static str| {
            let answer = Answer {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                purpose: request.purpose.clone(),
                system: api.system,
                body: Bytes::from_static(body.as_bytes()),
            };
            api.look_for_a_page(request, &answer)
        };
        let page = " \n<!DOCTYPE html><title>Maintenance</title>";
        for (request, body) in [(&read, page), (&write, page), (&read, "")] {
            let Err(Trouble::Later { reason, may_have_happened, .. }) = answered(request, body) else {
                panic!("{body}")
            };
            assert!(reason.contains("cannot be read") && may_have_happened, "{reason}");
            french::expect(&reason);
        }
        assert_eq!(answered(&write, ""), Ok(()), "an answer to a write may be empty");
        // Data in between start the time again; without data it ends.
        for _ in 0..2 {
            tokio::time::advance(PAGES_PASS.checked_sub(Duration::from_secs(1)).unwrap()).await;
            assert!(matches!(answered(&read, page), Err(Trouble::Later { .. })));
            assert_eq!(answered(&read, "[]"), Ok(()));
            assert!(matches!(answered(&read, page), Err(Trouble::Later { .. })));
        }
        tokio::time::advance(PAGES_PASS).await;
        assert!(matches!(answered(&read, page), Err(Trouble::Unreadable { .. })));
    }

    #[test]
    fn what_cannot_be_read_stops_and_what_is_in_doubt_is_looked_up() {
        let unreadable = Trouble::Unreadable { reason: "it is empty".into() };
        assert!(unreadable.may_have_happened());
        let Outcome::Stop { reason } = unreadable.into() else { panic!("it goes on") };
        assert!(reason.starts_with("it is empty. ") && reason.contains("`sinks resume`"), "{reason}");
        french::expect(&reason);
        let doubtful = Trouble::Doubtful { reason: "409".into(), concerns_all: false };
        assert!(doubtful.may_have_happened());
        assert!(matches!(doubtful.into(), Outcome::Retry { .. }));
    }
}
