//! Posts each event, byte for byte or by a template, to an HTTP service.
//!
//! The body is the one that Finkare sent, or the one that the operator's `template` makes of the event. Exactly the bytes
//! that are sent are signed. Metadata travels in headers: `webhook-id` (the event's id, the same on every retry and
//! replay), `webhook-timestamp` and, with a secret, `webhook-signature` by the Standard Webhooks scheme; `x-relay-event`,
//! `x-relay-endpoint`, `x-relay-attempt`, `x-relay-trigger`; while traces are on, `traceparent` (W3C Trace Context).
//! Values from outside are percent-encoded where they are not visible ASCII: header values have no agreed encoding beyond
//! it (RFC 9110, section 5.5).
//!
//! Nobody but the configured address gets an event, by the policy of [`outgoing`]. How an answer becomes an [`Outcome`] is
//! in `answer`.

mod answer;
mod template;

use std::{collections::BTreeMap, fmt, time::Duration};

use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use outgoing::{Egress, Limits, Plan, Redactor};
use url::Url;

pub use self::template::Broken;
use self::template::{DEFAULT_CONTENT_TYPE, Template};
use super::{Message, Sink, preview::Preview};
use crate::{
    model::{clock, dispatch::Outcome, secret::Secret},
    signature::standard_webhooks::Signer,
};

/// How long an unused connection is kept. Many servers close theirs after 60 or 75 seconds; closing it first avoids sending
/// into a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(30);

/// Headers that this sink or the protocol sets, beside all that begin with [`OURS`].
const RESERVED: [HeaderName; 13] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::USER_AGENT,
];

/// How we introduce ourselves.
const AGENT: &str = concat!("finkare-relay/", env!("CARGO_PKG_VERSION"));

/// How the names of our own headers begin.
const OURS: [&str; 2] = ["webhook-", "x-relay-"];

/// True for a header that the operator cannot set, because the sink or the protocol sets it.
pub fn is_reserved(name: &HeaderName) -> bool {
    RESERVED.contains(name) || OURS.iter().any(|prefix| name.as_str().starts_with(prefix))
}

/// The options of an `http` sink, as written; secrets are resolved before it is deserialised.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Where to post; `http` or `https`. `user:password@` becomes basic authentication.
    pub url: Url,
    /// `whsec_` + base64: signs by the Standard Webhooks scheme. Without it nothing is signed.
    pub secret: Option<Secret>,
    /// Further headers; their values may be secrets. They cannot replace those that the sink sets.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// The bound on connecting (name, TCP, proxy, TLS), in seconds; a part of the sink's `timeout_secs`.
    #[serde(default = "Options::default_connect_timeout_secs")]
    pub connect_timeout_secs: u64,
    /// A minijinja template that makes the body; without it the body is Finkare's, byte for byte.
    pub template: Option<String>,
    /// The content type of what the template makes; `application/json` if it is not named.
    pub content_type: Option<String>,
    /// How requests leave. It is no option of the sink, but follows from the section `[outgoing]`.
    #[serde(skip)]
    pub egress: Egress,
}

impl Options {
    const fn default_connect_timeout_secs() -> u64 {
        5
    }

    /// The template, read; `None` if there is none.
    ///
    /// # Errors
    /// The option, and what is wrong with it.
    fn template(&self) -> Result<Option<Template>, (&'static str, String)> {
        let content_type = self.content_type.as_deref();
        if content_type.is_some_and(|text| text.trim().is_empty() || HeaderValue::from_str(text).is_err()) {
            return Err(("content_type", "is no content type: write, for example, `application/json`".to_owned()));
        }
        match (&self.template, content_type) {
            (None, None) => Ok(None),
            (None, Some(_)) => {
                let what = "is for the body that `template` makes: without one the body has Finkare's content type";
                Err(("content_type", what.to_owned()))
            }
            (Some(source), content_type) => Template::compile(source, content_type.unwrap_or(DEFAULT_CONTENT_TYPE))
                .map(Some)
                .map_err(|problem| ("template", format!("cannot be read: {problem}"))),
        }
    }

    /// What is wrong with the options that make the body: the option and a sentence.
    pub(crate) fn body_problem(&self, is_enriched: bool) -> Option<(&'static str, String)> {
        match self.template() {
            Err(problem) => Some(problem),
            Ok(Some(template)) if !is_enriched => {
                let names = template.enriched_names();
                let name = names.first()?;
                Some(("template", format!("names `{name}`, which only a sink with `enrich = true` has: add that")))
            }
            Ok(_) => None,
        }
    }

    /// Why the template cannot work with any event, as far as that can be told without one.
    pub(crate) fn doubt(&self) -> Option<String> {
        self.template().ok().flatten()?.doubt()
    }

    /// The target as it may be shown: scheme, host and port. User, password and query are secrets
    /// more often than not, and so is the path of many a hook.
    pub fn target(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("url", &format_args!("{}/…", self.target()))
            .field("secret", &self.secret)
            .field("headers", &self.headers)
            .field("connect_timeout_secs", &self.connect_timeout_secs)
            .field("template", &self.template.as_ref().map(|_| format_args!("…")))
            .field("content_type", &self.content_type)
            .field("egress", &self.egress)
            .finish()
    }
}

/// Posts events.
pub struct Http {
    client: reqwest::Client,
    /// Without user and password, which are in `headers`.
    url: Url,
    /// The same with every request.
    headers: HeaderMap,
    signer: Option<Signer>,
    /// With the content type of what it makes.
    template: Option<(Template, HeaderValue)>,
    target: String,
    limits: Limits,
    egress: Egress,
    redactor: Redactor,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("target", &self.target).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Http {
    /// A client for one target. `timeout` bounds an attempt from connecting to the end of the answer.
    ///
    /// The process's TLS provider must be installed
    /// (`rustls::crypto::aws_lc_rs::default_provider().install_default()`).
    ///
    /// # Errors
    /// The option that cannot work, without its value.
    pub fn new(options: &Options, timeout: Duration) -> Result<Self, String> {
        if !matches!(options.url.scheme(), "http" | "https") {
            return Err(format!("`url` must begin with http:// or https://, not {}:", options.url.scheme()));
        }
        if options.connect_timeout_secs == 0 {
            return Err("`connect_timeout_secs` must be at least 1".to_owned());
        }
        let signer =
            options.secret.as_ref().map(Signer::new).transpose().map_err(|problem| format!("`secret`: {problem}"))?;
        let template = options.template().map_err(|(option, problem)| format!("`{option}` {problem}"))?;
        let content_type = options.content_type.as_deref().unwrap_or(DEFAULT_CONTENT_TYPE);
        let content_type = HeaderValue::from_str(content_type).map_err(|_| "`content_type` is no content type")?;
        let template = template.map(|template| (template, content_type));
        let mut headers = operator_headers(&options.headers)?;
        let limits = Limits { connect: Duration::from_secs(options.connect_timeout_secs).min(timeout), whole: timeout };
        let plan = Plan {
            agent: AGENT,
            target: &options.url,
            headers: HeaderMap::new(),
            limits: limits.before_the_caller(),
            idle: IDLE,
        };
        let client = options.egress.client(plan).map_err(|error| error.to_string())?;

        // Let the client move user and password from the URL to a header.
        let sample = client.post(options.url.clone()).build().map_err(|_| "`url` cannot be posted to".to_owned())?;
        let mut redactor = answer::redactor(options);
        if let Some(basic) = sample.headers().get(header::AUTHORIZATION) {
            if headers.contains_key(header::AUTHORIZATION) {
                return Err("`url` has a user or password and `headers` has `authorization`: keep one".to_owned());
            }
            answer::add_basic(&mut redactor, basic);
            headers.insert(header::AUTHORIZATION, basic.clone());
        }
        let url = sample.url().clone();
        Ok(Self {
            url,
            client,
            headers,
            signer,
            template,
            target: options.target(),
            limits,
            egress: options.egress.clone(),
            redactor,
        })
    }

    /// The body that is sent.
    ///
    /// # Errors
    /// Why the template cannot make it.
    fn body(&self, message: &Message) -> Result<Bytes, Box<Broken>> {
        match &self.template {
            None => Ok(message.payload.clone()),
            Some((template, _)) => template.render(message).map(Bytes::from),
        }
    }

    fn headers_for(&self, message: &Message, body: &[u8]) -> HeaderMap {
        let id = message.event_id.to_string();
        let timestamp = clock::now().as_second();
        let mut headers = self.headers.clone();
        let content_type = match &self.template {
            Some((_, content_type)) => Some(content_type.clone()),
            None => message.content_type.as_deref().and_then(|text| HeaderValue::from_str(text).ok()),
        };
        headers.insert(
            header::CONTENT_TYPE,
            content_type.unwrap_or(const { HeaderValue::from_static(DEFAULT_CONTENT_TYPE) }),
        );
        if body.is_empty() {
            // The client sends no length for an empty body, and some servers then answer 411 (RFC 9110, section 8.6).
            headers.insert(header::CONTENT_LENGTH, 0.into());
        }
        if let Some(signer) = &self.signer {
            headers.insert("webhook-signature", visible(&signer.sign(&id, timestamp, body)));
        }
        headers.insert("webhook-id", visible(&id));
        headers.insert("webhook-timestamp", timestamp.into());
        headers.insert("x-relay-event", visible(&message.event_type));
        headers.insert("x-relay-endpoint", visible(&message.endpoint));
        headers.insert("x-relay-attempt", message.attempt.into());
        headers.insert("x-relay-trigger", HeaderValue::from_static(message.trigger.as_str()));
        if let Some(trace) = message.trace {
            // It replaces a header that the operator set, which would lead to no span of this service.
            headers.insert("traceparent", visible(&trace.to_string()));
        }
        headers
    }

    /// The request that [`Sink::deliver`] would send. Values that the operator set are masked; the signature is real.
    pub(super) fn preview(&self, message: &Message) -> Preview {
        let body = match self.body(message) {
            Ok(body) => body,
            Err(broken) => return Preview::Broken(*broken),
        };
        let headers = self.headers_for(message, &body);
        let shown = |value: &HeaderValue| {
            if value.is_sensitive() {
                return "[redacted]".to_owned();
            }
            self.redactor.redact(&String::from_utf8_lossy(value.as_bytes()))
        };
        let mut headers: Vec<(String, String)> =
            headers.iter().map(|(name, value)| (name.as_str().to_owned(), shown(value))).collect();
        headers.push((header::USER_AGENT.as_str().to_owned(), AGENT.to_owned()));
        headers.sort();
        Preview::Request {
            method: "POST",
            url: format!("{}/…", self.target),
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    fn failed(&self, error: &reqwest::Error) -> String {
        // The explanation names no address, but the cause that it quotes might.
        self.redactor.redact(&format!("{}: {}", self.target, self.egress.explain(error, self.limits)))
    }
}

#[async_trait]
impl Sink for Http {
    async fn deliver(&self, message: &Message) -> Outcome {
        let body = match self.body(message) {
            Ok(body) => body,
            Err(broken) => return Outcome::Hold { reason: held(&broken), recheck_after: None },
        };
        let headers = self.headers_for(message, &body);
        let request = self.client.post(self.url.clone()).headers(headers).body(reqwest::Body::from(body));
        match request.send().await {
            Ok(response) => answer::outcome(response, &self.target, &self.redactor).await,
            Err(error) => Outcome::Retry { reason: self.failed(&error), after: None },
        }
    }

    /// Sends a `HEAD` request, which by RFC 9110 (section 9.2.1) asks for no change. Every answer
    /// means that the target is there: many services know nothing but `POST`.
    async fn check(&self) -> Result<String, String> {
        if let Some(doubt) = self.template.as_ref().and_then(|(template, _)| template.doubt()) {
            return Err(format!("`template` cannot work: {doubt}"));
        }
        let request = self.client.head(self.url.clone()).headers(self.headers.clone());
        match request.send().await {
            Ok(response) => Ok(format!("{} can be reached: it answers HEAD with {}", self.target, response.status())),
            Err(error) => Err(self.failed(&error)),
        }
    }
}

/// What a person reads about an event of which the template cannot make a body.
fn held(broken: &Broken) -> String {
    format!(
        "`template` of this sink cannot make a body of the event: {broken}. Change the template (`try` shows what it \
         makes), reload, and retry; or cancel this dispatch"
    )
}

fn operator_headers(configured: &BTreeMap<String, Secret>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (given, value) in configured {
        let name = HeaderName::from_bytes(given.as_bytes())
            .map_err(|_| format!("`headers.{}` is not a header's name", given.escape_debug()))?;
        if is_reserved(&name) {
            return Err(format!("`headers.{given}` cannot be set: the sink sets it itself"));
        }
        let mut value = HeaderValue::from_bytes(value.expose().as_bytes())
            .map_err(|_| format!("`headers.{given}` has a line break or another control character in its value"))?;
        value.set_sensitive(true);
        if headers.insert(name, value).is_some() {
            return Err(format!("`headers.{given}` is there twice: upper and lower case are the same"));
        }
    }
    Ok(headers)
}

/// The text as header value: everything but visible ASCII, and `%` itself, percent-encoded as UTF-8.
fn visible(text: &str) -> HeaderValue {
    use fmt::Write;
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            value.push(char::from(byte));
        } else {
            write!(value, "%{byte:02X}").expect("writing to a string succeeds");
        }
    }
    value.try_into().expect("visible ASCII is a header value")
}

/// The `user:password` in a basic authentication header.
fn basic_text(header: &HeaderValue) -> Option<String> {
    let token = header.to_str().ok()?.strip_prefix("Basic ")?;
    String::from_utf8(BASE64_STANDARD.decode(token).ok()?).ok()
}
