//! One call: the rate limit, the request, the wait after a 429, the envelope.
//!
//! A caller that changes something (above all a rotation) decides by the outcome what to do next. So a request counts
//! as never sent only if the connection was never established, and the status decides what an answer means for a
//! write, even if its body breaks off. Both follow the rule of all outgoing clients ([`outgoing::effect`], through
//! [`Error::may_have_happened`]).

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{ACCEPT, CONTENT_LENGTH},
};
use outgoing::{Body, End, Limits, Pace, Plan, Redactor, read, retry_after};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::{
    Error, Settings, SettingsError,
    error::{redact_value, redactor},
    response::Response,
    wire::{self, Envelope},
};

/// The header of the key, as documented.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The request's id where the body has none.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The time limit on connecting. It is never more than half of the time for the call, so that a connection that
/// cannot be established is recognised as such.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an unused connection is kept. Node's servers close theirs after 5 s
/// (<https://nodejs.org/api/http.html#serverkeepalivetimeout>), and Finkare's server is unknown. The outcome of a
/// request that is sent into a connection that is just being closed is unknown, so the client closes first.
const IDLE: Duration = Duration::from_secs(4);

/// Bytes of an answer of success that are read; a longer one cannot be read.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of an answer of failure that are read; the rest of a longer one is ignored.
const FAILURE_BYTES: usize = 64 * 1024;

/// The longest wait between two attempts. If Finkare asks for more, the call fails and the caller decides.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Characters of Finkare's texts that an error repeats.
const MESSAGE_CHARS: usize = 500;

/// Characters of a code or a request id.
const CODE_CHARS: usize = 100;

/// Characters of an idempotency key.
const LONGEST_KEY: usize = 255;

/// A call to be made.
pub(crate) struct Call {
    /// The purpose as a phrase: "rotating the secret of webhook 5e4f".
    pub(crate) what: String,
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// JSON.
    pub(crate) body: Option<Value>,
}

/// An answer of success.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) request_id: Option<String>,
    pub(crate) envelope: Envelope,
}

impl Answer {
    /// Reads the data; data that cannot be read becomes an error.
    pub(crate) fn read<T>(&self, call: &Call, read: impl FnOnce(&Value) -> Result<T, String>) -> Result<T, Error> {
        read(&self.envelope.data).map_err(|problem| self.unreadable(call, problem))
    }

    /// This data, with what the envelope says.
    pub(crate) fn respond<T>(&self, data: T) -> Response<T> {
        let Envelope { message, timestamp, .. } = &self.envelope;
        Response { data, message: message.clone(), request_id: self.request_id.clone(), timestamp: *timestamp }
    }

    pub(crate) fn unreadable(&self, call: &Call, problem: String) -> Error {
        Error::Unreadable { call: call.what.clone(), status: self.status, problem, request_id: self.request_id.clone() }
    }
}

/// Makes calls.
pub(crate) struct Transport {
    http: reqwest::Client,
    pace: Pace,
    pub(crate) redactor: Redactor,
    max_retries: u32,
    retry_initial: Duration,
    /// The header that names a write.
    key_header: Option<HeaderName>,
}

impl Transport {
    /// The process's TLS provider must be installed
    /// (`rustls::crypto::aws_lc_rs::default_provider().install_default()`).
    ///
    /// # Errors
    /// Names the setting that cannot work, never its value.
    pub(crate) fn new(settings: &Settings, base: &Url) -> Result<Self, SettingsError> {
        let (calls, per) = settings.rate_limit;
        let pace = Pace::new(calls, per).ok_or(SettingsError::RateLimit)?;
        Ok(Self {
            http: client(settings, base)?,
            pace,
            redactor: redactor(settings),
            max_retries: settings.max_retries,
            retry_initial: settings.retry_initial,
            key_header: settings.idempotency_header.clone(),
        })
    }

    /// Makes the call, and retries it after a wait while the answer is 429. No other failure is retried.
    ///
    /// Dropping the future drops the request; the part that was sent by then may have been carried out.
    pub(crate) async fn call(&self, call: &Call) -> Result<Answer, Error> {
        self.call_named(call, None).await
    }

    /// The same; a write is named by this key, otherwise by a random one. It is the same for all attempts.
    pub(crate) async fn call_named(&self, call: &Call, key: Option<&str>) -> Result<Answer, Error> {
        let name = self.name_of(call, key)?;
        let mut attempt = 1;
        loop {
            self.pace.turn().await;
            let begun = Instant::now();
            let result = self.attempt(call, name.as_ref()).await;
            self.log(call, attempt, begun.elapsed(), &result);
            let Err(Error::Api { status: 429, retry_after, .. }) = &result else { return result };
            let wait = retry_after.unwrap_or_else(|| {
                // 1 s, 2 s, 4 s, as in the vendor's SDK.
                self.retry_initial.saturating_mul(1 << (attempt - 1).min(31)).min(LONGEST_WAIT)
            });
            if attempt > self.max_retries || wait > LONGEST_WAIT {
                return result;
            }
            // Never less than Finkare asked for, and up to a tenth more, so that replicas do not all return at once.
            let wait = wait.mul_f64(1.0 + 0.1 * rand::random::<f64>());
            tracing::warn!(
                call = call.what,
                attempt,
                wait_ms = millis(wait),
                "Finkare received too many calls with this key: waiting; lower the rate limit for its API if this happens often"
            );
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// The header that names a write.
    fn name_of(&self, call: &Call, key: Option<&str>) -> Result<Option<(HeaderName, HeaderValue)>, Error> {
        let Some(header) = self.key_header.clone().filter(|_| call.method != Method::GET) else { return Ok(None) };
        let key = key.map_or_else(|| Uuid::new_v4().to_string(), ToOwned::to_owned);
        let is_plain = !key.is_empty() && key.len() <= LONGEST_KEY && key.bytes().all(|byte| byte.is_ascii_graphic());
        let value = HeaderValue::from_str(&key).ok().filter(|_| is_plain).ok_or_else(|| Error::Unusable {
            call: call.what.clone(),
            problem: format!("its idempotency key must be 1 to {LONGEST_KEY} visible characters of ASCII"),
        })?;
        Ok(Some((header, value)))
    }

    async fn attempt(&self, call: &Call, name: Option<&(HeaderName, HeaderValue)>) -> Result<Answer, Error> {
        let request = self.http.request(call.method.clone(), call.url.clone());
        let request = match name {
            Some((header, key)) => request.header(header, key),
            None => request,
        };
        let request = match &call.body {
            Some(body) => request.json(body),
            // The client sends no length for an empty body, and some servers then answer 411 (RFC 9110, section 8.6).
            None if call.method != Method::GET => request.header(CONTENT_LENGTH, 0),
            None => request,
        };
        let mut response = request.send().await.map_err(|error| network(call, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            let body = read(&mut response, ANSWER_BYTES, None).await;
            self.success(call, status.as_u16(), &headers, body)
        } else {
            let body = read(&mut response, FAILURE_BYTES, None).await;
            // The status is enough to decide, so an incomplete body is accepted.
            Err(self.failure(call, status.as_u16(), &headers, &body.bytes))
        }
    }

    fn success(&self, call: &Call, status: u16, headers: &HeaderMap, body: Body) -> Result<Answer, Error> {
        let named = self.request_id(headers, None);
        let unreadable =
            |problem: String| Error::Unreadable { call: call.what.clone(), status, problem, request_id: named.clone() };
        match body.end {
            End::Whole => {}
            End::TooLong | End::TooSlow => return Err(unreadable(format!("it is longer than {ANSWER_BYTES} bytes"))),
            End::Broken(error) => return Err(network(call, error)),
        }
        let answer: Value = if body.bytes.trim_ascii().is_empty() {
            Value::Null
        } else {
            // The library's own text may repeat a part of the body, so only the place is reported.
            serde_json::from_slice(&body.bytes).map_err(|error| {
                unreadable(format!("it is no JSON from line {}, column {} on", error.line(), error.column()))
            })?
        };
        let request_id = self.request_id(headers, Some(&answer));
        if wire::is_refusal(&answer) {
            return Err(self.failure(call, status, headers, &body.bytes));
        }
        let mut envelope = wire::open(answer);
        envelope.message = envelope.message.map(|message| self.redactor.line(&message, MESSAGE_CHARS));
        Ok(Answer { status, request_id, envelope })
    }

    fn failure(&self, call: &Call, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
        let mut answer: Option<Value> = serde_json::from_slice(body).ok();
        let (code, message) = answer.as_ref().map(wire::failure).unwrap_or_default();
        let request_id = self.request_id(headers, answer.as_ref());
        let message = message.unwrap_or_else(|| match &mut answer {
            // Written again, so that no secret is hidden by an escape.
            Some(Value::String(text)) => std::mem::take(text),
            Some(answer) => {
                redact_value(&self.redactor, answer);
                answer.to_string()
            }
            None => String::from_utf8_lossy(body).into_owned(),
        });
        let message = match self.redactor.line(&message, MESSAGE_CHARS) {
            empty if empty.is_empty() => "it gave no reason".to_owned(),
            message => message,
        };
        Error::Api {
            call: call.what.clone(),
            status,
            code: code.map(|code| self.redactor.line(&code, CODE_CHARS)),
            message,
            request_id,
            retry_after: retry_after(headers, now()),
        }
    }

    fn request_id(&self, headers: &HeaderMap, answer: Option<&Value>) -> Option<String> {
        let header = || headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        let id = answer.and_then(wire::request_id).or_else(header)?;
        Some(self.redactor.line(id, CODE_CHARS)).filter(|id| !id.is_empty())
    }

    /// Writes one line for each request. The query and the body are left out: they may name people and amounts.
    fn log(&self, call: &Call, attempt: u32, took: Duration, result: &Result<Answer, Error>) {
        let (status, request_id) = match result {
            Ok(Answer { status, request_id, .. })
            | Err(Error::Api { status, request_id, .. } | Error::Unreadable { status, request_id, .. }) => {
                (Some(*status), request_id.as_deref())
            }
            Err(Error::Network { .. } | Error::Unusable { .. }) => (None, None),
        };
        tracing::debug!(
            method = %call.method, path = self.redactor.redact(call.url.path()), status, request_id, attempt,
            duration_ms = millis(took), "asked Finkare for {}", call.what
        );
    }
}

/// The system's clock, for a `Retry-After` that names a date.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads it")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Whole milliseconds, for log fields.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Says whether a request without an answer can have been carried out.
fn network(call: &Call, error: reqwest::Error) -> Error {
    Error::Network {
        call: call.what.clone(),
        never_sent: outgoing::never_left(&error),
        timed_out: error.is_timeout(),
        source: error.without_url(),
    }
}

/// Installs a TLS provider, if the program has installed none.
#[cfg(feature = "aws-lc-rs")]
fn provide_tls() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // It fails only if another thread has installed one in the meantime, which serves as well.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

/// The program has to do it.
#[cfg(not(feature = "aws-lc-rs"))]
fn provide_tls() {}

fn client(settings: &Settings, base: &Url) -> Result<reqwest::Client, SettingsError> {
    if settings.timeout.is_zero() {
        return Err(SettingsError::Timeout);
    }
    let key = settings.api_key.expose();
    // With quotes or backslashes it would look different in JSON, and would not be recognised when it is echoed.
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
        return Err(SettingsError::ApiKey);
    }
    let mut key = HeaderValue::from_str(key).map_err(|_| SettingsError::ApiKey)?;
    key.set_sensitive(true);
    let json = const { HeaderValue::from_static("application/json") };
    let plan = Plan {
        agent: &settings.user_agent,
        target: base,
        headers: [(API_KEY, key), (ACCEPT, json)].into_iter().collect(),
        limits: Limits { connect: CONNECT.min(settings.timeout / 2), whole: settings.timeout },
        idle: IDLE,
    };
    provide_tls();
    Ok(settings.egress.client(plan)?)
}
