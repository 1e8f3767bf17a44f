//! Posts each event, byte for byte or by a template, to an HTTP service.
//!
//! The body is the one that Finkare sent, or the result of the operator's `template`. The signature covers exactly the
//! bytes that are sent. Metadata travels in headers: `webhook-id` (the event's id, the same on every retry and
//! replay), `webhook-timestamp` and, with a secret, `webhook-signature` by the Standard Webhooks scheme; `x-relay-event`,
//! `x-relay-endpoint`, `x-relay-attempt`, `x-relay-trigger`; while traces are on, `traceparent` (W3C Trace Context).
//! Values from outside are percent-encoded where they are not visible ASCII: header values have no agreed encoding beyond
//! it (RFC 9110, section 5.5).
//!
//! Only the configured address gets events, by the policy of [`outgoing`]. How an answer becomes an [`Outcome`] is in
//! `answer`.

mod answer;

use std::{fmt, sync::Arc, time::Duration};

use ::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use outgoing::{Egress, Limits, Plan, Redactor};
use url::Url;

use super::{
    Message, Sink,
    options::{OpenDesk, SinkOptions, Surroundings},
    preview::{Broken, Preview},
    template::{DEFAULT_CONTENT_TYPE, Template},
};
use crate::{
    model::{
        clock,
        dispatch::Outcome,
        secret::{Secret, has_split_password},
    },
    options::{header::HeaderSecret, section::Section},
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

/// The `User-Agent` of every request.
const AGENT: &str = concat!("finkare-relay/", env!("CARGO_PKG_VERSION"));

/// The prefixes of the sink's own headers.
const OURS: [&str; 2] = ["webhook-", "x-relay-"];

/// True for a header that the operator cannot set, because the sink or the protocol sets it.
pub fn is_reserved(name: &HeaderName) -> bool {
    RESERVED.contains(name) || OURS.iter().any(|prefix| name.as_str().starts_with(prefix))
}

/// The options of an `http` sink.
#[derive(Clone)]
pub struct Options {
    /// Where to post; `http` or `https`. Its user and password are in `headers`, as basic authentication.
    pub url: Url,
    /// Signs by the Standard Webhooks scheme. Without it nothing is signed.
    pub secret: Option<SigningSecret>,
    /// Further headers. They cannot replace those that the sink sets.
    pub headers: HeaderMap<HeaderSecret>,
    /// The bound on connecting (name, TCP, proxy, TLS), in seconds; a part of the sink's `timeout_secs`.
    pub connect_timeout_secs: u64,
    /// The template of the body; without it the body is Finkare's, byte for byte.
    pub template: Option<Body>,
    /// How requests leave. This is not an option of the sink; it follows from the section `[outgoing]`.
    pub egress: Egress,
}

/// A signing secret, with the signer for it.
#[derive(Clone)]
pub struct SigningSecret {
    secret: Secret,
    signer: Signer,
}

impl SigningSecret {
    /// The secret as it was written.
    pub fn expose(&self) -> &str {
        self.secret.expose()
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.secret.fmt(f)
    }
}

/// A minijinja template for the body, and the content type of its result.
#[derive(Clone)]
pub struct Body {
    template: Template,
    content_type: HeaderValue,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.content_type)
    }
}

#[async_trait]
impl SinkOptions for Options {
    const NAME: &'static str = "http";
    const ABOUT: &'static str =
        "Posts each event to an HTTP service, byte for byte as Finkare sent it or by a template.";

    fn read(section: &mut Section<'_>, surroundings: Surroundings<'_>) -> Option<Self> {
        let url = url(section);
        let secret = secret(section);
        let headers = headers(section);
        let connect_timeout_secs = section
            .key(
                "connect_timeout_secs",
                "How long connecting (name, TCP, proxy, TLS) may take, in seconds, as a part of `timeout_secs`.",
            )
            .hint("nothing could connect")
            .whole_or(1..=u64::MAX, 5);
        let template = body(section, surroundings.is_enriched);
        let (url, mut headers) = (url?, headers?);
        let (url, basic) = without_user(url);
        if let Some(basic) = basic {
            if headers.contains_key(header::AUTHORIZATION) {
                section.problem("url", "contains a user, and `headers` contains `authorization`: keep one of the two");
            }
            headers.insert(header::AUTHORIZATION, basic);
        }
        let egress = surroundings.egress.clone();
        Some(Self { url, secret: secret?, headers, connect_timeout_secs, template: template?, egress })
    }

    fn build(&self, timeout: Duration, _: OpenDesk<'_>) -> Result<Arc<dyn Sink>, String> {
        Ok(Arc::new(Http::new(self, timeout)?))
    }

    async fn check(&self, timeout: Duration) -> Result<String, String> {
        Http::new(self, timeout)?.check().await
    }

    fn preview(&self, message: &Message, timeout: Duration) -> Result<Preview, String> {
        Ok(Http::new(self, timeout)?.preview(message))
    }
}

impl Options {
    /// The target as it may be shown: scheme, host and port. User, password and query are often secrets, and so are the
    /// paths of many hooks.
    pub fn target(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

/// An address may contain a token, so it is treated as a secret.
fn url(section: &mut Section<'_>) -> Option<Url> {
    let given = section
        .key(
            "url",
            "Where each event is posted. `user:password@` becomes basic authentication. It can be written like a secret.",
        )
        .allowed("an `http` or `https` address")
        .required("write the address to post to, for example `https://erp.example/hooks`")
        .secret()?;
    let wrong = match Url::parse(given.expose()) {
        Err(error) => format!("is not a URL: {error}"),
        Ok(_) if has_split_password(given.expose()) => {
            "seems to contain a password with a `/`, `?` or `#`: write these as `%2F`, `%3F`, `%23` (and `@` as `%40`)"
                .to_owned()
        }
        Ok(url) if ["http", "https"].contains(&url.scheme()) => return Some(url),
        // The scheme is not repeated: in `user:password@host` it is the user.
        Ok(_) => "does not begin with `https://` or `http://`".to_owned(),
    };
    section.problem("url", wrong);
    None
}

/// The outer `None` is a problem, the inner one a sink that signs nothing.
#[expect(clippy::option_option, reason = "a problem and an option that is not written are two things")]
fn secret(section: &mut Section<'_>) -> Option<Option<SigningSecret>> {
    let is_given = section.has("secret");
    let secret = section
        .key(
            "secret",
            "Signs each request by the Standard Webhooks scheme. Make one with `echo \"whsec_$(openssl rand -base64 32)\"`.",
        )
        .allowed("a secret: `whsec_` and the base64 of 24 to 64 bytes")
        .otherwise("none: nothing is signed")
        .secret();
    match secret.map(|secret| Signer::new(&secret).map(|signer| SigningSecret { secret, signer })) {
        None if is_given => None,
        None => Some(None),
        Some(Ok(signing)) => Some(Some(signing)),
        Some(Err(what)) => {
            section.problem("secret", what);
            None
        }
    }
}

/// `None` after a problem with any of them.
fn headers(section: &mut Section<'_>) -> Option<HeaderMap<HeaderSecret>> {
    let given = section
        .key(
            "headers",
            "Further headers of each request. Not `webhook-*`, `x-relay-*`, nor those that frame a request, such as \
             `content-type` and `host`.",
        )
        .allowed("names with texts or secrets")
        .secrets_by_name()?;
    let mut headers = HeaderMap::default();
    let mut is_good = true;
    for (name, value) in given {
        let Some(value) = value else {
            is_good = false;
            continue;
        };
        let key = format!("headers.{name}");
        let mut wrong = |what: &str| {
            section.problem(&key, what);
            is_good = false;
        };
        let header = HeaderName::try_from(&name);
        match &header {
            Err(_) => wrong("is not a header's name: write letters, digits and `-`"),
            Ok(header) if is_reserved(header) => wrong("is set by the relay itself: leave it out"),
            Ok(_) => {}
        }
        match (header, HeaderSecret::new(value)) {
            (_, Err(what)) => wrong(what),
            (Ok(header), Ok(value)) => {
                if headers.insert(header, value).is_some() {
                    wrong("is there twice, in upper and in lower case: keep one");
                }
            }
            (Err(_), Ok(_)) => {}
        }
    }
    is_good.then_some(headers)
}

/// The outer `None` is a problem, the inner one a sink without a template.
#[expect(clippy::option_option, reason = "a problem and an option that is not written are two things")]
fn body(section: &mut Section<'_>, is_enriched: bool) -> Option<Option<Body>> {
    let (has_template, has_content_type) = (section.has("template"), section.has("content_type"));
    let source = section
        .key(
            "template",
            "A template for the body. It can use `event`, `payload` and, with `enrich`, `invoice` and `payment`. Amounts are \
             in cents; the filter `decimal` writes them like `1500.00`. In JSON every `{{ … }}` writes a JSON value, and a \
             text with its quotes.",
        )
        .allowed("a minijinja template")
        .otherwise("none: the body is Finkare's, byte for byte")
        .private()
        .text();
    let content_type = section
        .key(
            "content_type",
            "The content type of the result of `template`. If it is JSON, the result must be valid JSON.",
        )
        .allowed("a content type")
        .text_or(DEFAULT_CONTENT_TYPE);
    let Some(content_type) = HeaderValue::from_str(&content_type).ok().filter(|_| !content_type.trim().is_empty())
    else {
        section.problem("content_type", "is not a content type: write, for example, `application/json`");
        return None;
    };
    let Some(source) = source else {
        if has_content_type && !has_template {
            section.problem(
                "content_type",
                "is for the result of `template`: without a template the body has Finkare's content type",
            );
        }
        return (!has_template).then_some(None);
    };
    let template = match Template::compile(&source, content_type.to_str().unwrap_or_default()) {
        Ok(template) => template,
        Err(problem) => {
            section.problem("template", format!("cannot be read: {problem}"));
            return None;
        }
    };
    if !is_enriched && let Some(name) = template.enriched_names().first() {
        section
            .problem("template", format!("uses `{name}`, which only a sink with `enrich = true` has: add that option"));
        return None;
    }
    if let Some(doubt) = template.doubt() {
        section.notice("template", format!("cannot work, and events would be held: {doubt}"));
    }
    Some(Some(Body { template, content_type }))
}

/// The URL without user and password, so that it can be shown in logs; and the header that carries them.
fn without_user(mut url: Url) -> (Url, Option<HeaderSecret>) {
    if url.username().is_empty() && url.password().is_none() {
        return (url, None);
    }
    let mut pair = percent_decoded(url.username());
    pair.push(b':');
    pair.extend(percent_decoded(url.password().unwrap_or_default()));
    let pair = zeroize::Zeroizing::new(pair);
    url.set_username("")
        .and_then(|()| url.set_password(None))
        .expect("an http URL has a host, so it can lose its user");
    let basic = Secret::new(format!("Basic {}", STANDARD.encode(&*pair)));
    (url, Some(HeaderSecret::new(basic).expect("base64 is visible ASCII")))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let byte = match rest {
            [b'%', digits @ ..] if digits.len() >= 2 => {
                let mut byte = [0];
                hex::decode_to_slice(&digits[..2], &mut byte).ok().map(|()| byte[0])
            }
            _ => None,
        };
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &rest[3..] } else { after };
    }
    decoded
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("url", &format_args!("{}/…", self.target()))
            .field("secret", &self.secret)
            .field("headers", &self.headers)
            .field("connect_timeout_secs", &self.connect_timeout_secs)
            .field("template", &self.template)
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
    template: Option<Body>,
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
    /// Why this machine cannot start a client, such as missing CA certificates.
    pub fn new(options: &Options, timeout: Duration) -> Result<Self, String> {
        let limits = Limits { connect: Duration::from_secs(options.connect_timeout_secs).min(timeout), whole: timeout };
        let plan = Plan {
            agent: AGENT,
            target: &options.url,
            headers: HeaderMap::new(),
            limits: limits.before_the_caller(),
            idle: IDLE,
        };
        let client = options.egress.client(plan).map_err(|error| error.to_string())?;
        let mut redactor = answer::redactor(options);
        if let Some(basic) = options.headers.get(header::AUTHORIZATION) {
            answer::add_basic(&mut redactor, &basic.value());
        }
        Ok(Self {
            client,
            url: options.url.clone(),
            headers: options.headers.iter().map(|(name, secret)| (name.clone(), secret.value())).collect(),
            signer: options.secret.as_ref().map(|secret| secret.signer.clone()),
            template: options.template.clone(),
            target: options.target(),
            limits,
            egress: options.egress.clone(),
            redactor,
        })
    }

    /// The body to send.
    ///
    /// # Errors
    /// The template fails.
    fn body(&self, message: &Message) -> Result<Bytes, Box<Broken>> {
        match &self.template {
            None => Ok(message.payload.clone()),
            Some(body) => body.template.render(message).map(Bytes::from),
        }
    }

    fn headers_for(&self, message: &Message, body: &[u8]) -> HeaderMap {
        let id = message.event_id.to_string();
        let timestamp = clock::now().as_second();
        let mut headers = self.headers.clone();
        let content_type = match &self.template {
            Some(body) => Some(body.content_type.clone()),
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
        if let Some(endpoint) = message.endpoint() {
            headers.insert("x-relay-endpoint", visible(endpoint));
        }
        headers.insert("x-relay-attempt", message.attempt.into());
        headers.insert("x-relay-trigger", HeaderValue::from_static(message.trigger.as_str()));
        if let Some(trace) = message.trace {
            // Replaces a header that the operator set, which would not lead to a span of this service.
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
            method: "POST".to_owned(),
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

    /// Sends a `HEAD` request, which changes nothing (RFC 9110, section 9.2.1). Any answer means that the target is there:
    /// many services support only `POST`.
    async fn check(&self) -> Result<String, String> {
        if let Some(doubt) = self.template.as_ref().and_then(|body| body.template.doubt()) {
            return Err(format!("`template` cannot work: {doubt}"));
        }
        let request = self.client.head(self.url.clone()).headers(self.headers.clone());
        match request.send().await {
            Ok(response) => Ok(format!("{} can be reached: it answers HEAD with {}", self.target, response.status())),
            Err(error) => Err(self.failed(&error)),
        }
    }
}

/// The reason for holding an event for which the template fails.
fn held(broken: &Broken) -> String {
    format!(
        "the sink's `template` failed for this event: {broken}. Change the template (`try` shows its result), reload, and \
         retry; or cancel this dispatch"
    )
}

/// The text as a header value: `%` and everything that is not visible ASCII is percent-encoded as UTF-8.
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
    String::from_utf8(STANDARD.decode(token).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_move_into_a_header() {
        let (url, header) = without_user("https://al%20a:p%40ss%2@host/x".parse().unwrap());
        assert_eq!(header.unwrap().expose(), "Basic YWwgYTpwQHNzJTI=");
        assert_eq!(url.as_str(), "https://host/x");
        assert!(without_user(url).1.is_none());
    }
}
