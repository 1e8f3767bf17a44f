//! Posts each event to a chat, through an incoming webhook of Slack, Mattermost, Discord, Microsoft Teams or Google Chat.
//!
//! Each service has its own format, its own escaping and its own limits ([`mod@format`]); what they share is here. The address
//! of such a webhook is its password: only its host is ever shown.
//!
//! # What an answer means
//!
//! - 2xx delivers, if the body is the confirmation that the service documents. An old connector of Teams answers 200 and
//!   says in the body that the message was not delivered. Any other answer, such as a page for people, means that `url` is
//!   no webhook: the sink pauses, so that no event is lost. A body that breaks off or is too long says nothing against its
//!   status.
//! - 408, 425, 429 and 5xx are retried, after the time that the service names (`Retry-After`, or `retry_after` of Discord).
//! - 401, 403, 404 and 410 concern the webhook itself, and so does one 400 of Mattermost: it was removed, or is not allowed.
//!   The sink pauses until a person has made a new one; each further event would get the same answer.
//! - Everything else is `dead`.
//!
//! Only Google Chat knows a key by which it tells a repetition. With the others, a lost answer may post a message twice.

pub mod format;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use async_trait::async_trait;
use outgoing::{Egress, End, Limits, Plan, Redactor, retry_after};
use url::Url;

use self::format::{Said, Service, is_blank};
use super::{
    Message, Sink,
    email::template_with,
    options::{OpenDesk, SinkOptions, Surroundings},
    preview::{Broken, Preview},
    template::Template,
    wording::{self, Reader},
};
use crate::{
    model::{clock, dispatch::Outcome},
    options::section::Section,
};

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(30);
/// The bound on connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 64 * 1024;
/// How long the body of an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// Characters of an answer that a reason repeats.
const EXCERPT: usize = 200;
/// The longest wait that an answer's body may ask for.
const LONGEST_WAIT: f64 = 86_400.0;

/// The options of a `chat` sink.
#[derive(Clone)]
pub struct Options {
    url: Url,
    service: Service,
    reader: Reader,
    text: Option<Template>,
    egress: Egress,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("url", &format_args!("{}/…", self.host()))
            .field("service", &self.service)
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SinkOptions for Options {
    const NAME: &'static str = "chat";
    const ABOUT: &'static str =
        "Posts each event to Slack, Mattermost, Discord, Microsoft Teams or Google Chat, in French or English.";
    /// One after the other: each service takes about one message per second, and people read them in order.
    const CONCURRENCY: u32 = 1;

    fn read(section: &mut Section<'_>, surroundings: Surroundings<'_>) -> Option<Self> {
        let url = url(section);
        let service = service(section, url.as_ref());
        let reader = Reader::read(section);
        let text = template_with(
            section,
            "text",
            "A template for the message, in the service's own markup; values are escaped. It can use `told` (`title`, \
             `sentence`, `text`, `facts`, `advice`), `event`, `payload` and, with `enrich`, `invoice` and `payment`; `money` \
             writes cents and `moment` a time for the reader.",
            surroundings.is_enriched,
            &reader.clone().unwrap_or_default(),
            service.map_or(str::to_owned, Service::escaping),
        );
        let egress = surroundings.egress.clone();
        Some(Self { url: url?, service: service?, reader: reader?, text: text?, egress })
    }

    fn build(&self, timeout: Duration, _: OpenDesk<'_>) -> Result<Arc<dyn Sink>, String> {
        Ok(Arc::new(Chat::new(self, timeout)?))
    }

    async fn check(&self, timeout: Duration) -> Result<String, String> {
        Chat::new(self, timeout)?.check().await
    }

    fn preview(&self, message: &Message, timeout: Duration) -> Result<Preview, String> {
        Ok(Chat::new(self, timeout)?.preview(message))
    }
}

impl Options {
    /// Scheme, host and port: the rest of the address is a password.
    fn host(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn url(section: &mut Section<'_>) -> Option<Url> {
    let given = section
        .key("url", "The address of the incoming webhook. It is a password: write it like a secret.")
        .allowed("an `https` address")
        .required("write the incoming webhook's address, for example `{ env = \"SLACK_URL\" }`")
        .secret()?;
    let wrong = match Url::parse(given.expose()) {
        Err(error) => format!("is not a URL: {error}"),
        Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && is_local(&url)) => return Some(url),
        Ok(_) => "does not begin with `https://`: the address is a password and must not travel unencrypted".to_owned(),
    };
    section.problem("url", wrong);
    None
}

fn service(section: &mut Section<'_>, url: Option<&Url>) -> Option<Service> {
    let words = Service::ALL.map(|service| (service.as_str(), service));
    let is_given = section.has("service");
    let given = section
        .key("service", "Which service it is. Found from the address where that is certain.")
        .otherwise("found from the address")
        .word(&words);
    let found = url.and_then(Url::host_str).and_then(Service::of_host);
    match (given, found) {
        (Some(given), Some(found)) if given != found => {
            section.problem("service", format!("is `{}`, but the address is one of {found}", given.as_str()));
            None
        }
        (Some(given), _) => Some(given),
        (None, Some(found)) if !is_given => Some(found),
        (None, _) => {
            if !is_given && url.is_some() {
                let names = Service::ALL.map(|service| format!("`{}`", service.as_str())).join(", ");
                section.problem("service", format!("is missing, and the address does not tell: write one of {names}"));
            }
            None
        }
    }
}

/// Posts to one chat.
pub struct Chat {
    options: Options,
    client: reqwest::Client,
    limits: Limits,
    redactor: Redactor,
}

impl fmt::Debug for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chat").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Chat {
    /// A client for one webhook. `timeout` bounds a whole attempt.
    ///
    /// # Errors
    /// Why this machine cannot start a client.
    pub fn new(options: &Options, timeout: Duration) -> Result<Self, String> {
        let limits = Limits { connect: CONNECT.min(timeout), whole: timeout };
        let plan = Plan {
            agent: concat!("finkare-relay/", env!("CARGO_PKG_VERSION")),
            target: &options.url,
            headers: HeaderMap::new(),
            limits: limits.before_the_caller(),
            idle: IDLE,
        };
        let client = options.egress.client(plan).map_err(|error| error.to_string())?;
        let redactor = redactor(options);
        Ok(Self { options: options.clone(), client, limits, redactor })
    }

    /// The body to post.
    fn body(&self, message: &Message) -> Result<Vec<u8>, Box<Broken>> {
        let Options { service, reader, text, .. } = &self.options;
        let body = match text {
            Some(template) => {
                let text = String::from_utf8_lossy(&template.render(message)?).into_owned();
                if is_blank(&text) {
                    let problem = "it gives a text of which nothing can be seen, which no service takes".to_owned();
                    return Err(Box::new(Broken { problem, line: None, column: None, excerpt: None, made: text }));
                }
                service.of_text(&text)
            }
            None => service.of_told(&wording::tell(message, reader), reader.language),
        };
        Ok(body.to_string().into_bytes())
    }

    fn preview(&self, message: &Message) -> Preview {
        match self.body(message) {
            Err(broken) => Preview::Broken(*broken),
            Ok(body) => Preview::Request {
                method: "POST".to_owned(),
                url: format!("{}/…", self.options.host()),
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: String::from_utf8_lossy(&body).into_owned(),
            },
        }
    }

    fn failed(&self, error: &reqwest::Error) -> String {
        let what = self.options.egress.explain(error, self.limits);
        format!("{}: {}", self.options.host(), self.redactor.redact(&what))
    }

    async fn outcome(&self, mut response: reqwest::Response) -> Outcome {
        let status = response.status().as_u16();
        let header = retry_after(response.headers(), SystemTime::from(clock::now()));
        let body = outgoing::read(&mut response, ANSWER_BYTES, Some(ANSWER_TIME)).await;
        let excerpt = self.redactor.excerpt(&body.bytes, EXCERPT);
        let said = if excerpt.is_empty() { String::new() } else { format!(": {excerpt}") };
        let reason = format!("{} answered {status}{said}", self.options.host());
        let after = header.or_else(|| wait_in_body(&body.bytes));
        let service = self.options.service;
        let stop = |what: &str| Outcome::Stop {
            reason: format!("{reason}. {what}, set `url`, reload, and resume the sink (`sinks resume`)"),
        };
        match status {
            200..=299 if !matches!(body.end, End::Whole) => Outcome::Delivered,
            200..=299 => match service.said(status, &body.bytes) {
                Said::Posted => Outcome::Delivered,
                Said::Later => Outcome::Retry { reason, after },
                Said::Refused => Outcome::Rejected { reason },
                Said::Nothing => stop(&format!(
                    "That is not what {service} answers when it has posted a message: copy the address of the incoming \
                     webhook again"
                )),
            },
            300..=399 => Outcome::Rejected {
                reason: format!("{reason} (redirects are not followed: set `url` to the final address)"),
            },
            408 | 425 | 429 | 500..=599 => Outcome::Retry { reason, after },
            _ => match service.complaint(status, &body.bytes) {
                Some(complaint) => stop(complaint),
                None => Outcome::Rejected { reason },
            },
        }
    }
}

/// Masks every part of the address that an answer might repeat, as it is written and as it reads, and the login of a proxy.
fn redactor(options: &Options) -> Redactor {
    let mut redactor = Redactor::default();
    let url = &options.url;
    let mut add = |text: &str| {
        redactor.add(text);
        let read = url::form_urlencoded::parse(text.as_bytes()).next();
        if let Some((read, _)) = read {
            redactor.add(&read);
        }
    };
    for whole in [url.as_str(), url.path()] {
        add(whole);
    }
    url.path_segments().into_iter().flatten().for_each(&mut add);
    if let Some(query) = url.query() {
        add(query);
        query.split('&').for_each(|pair| add(pair.split_once('=').map_or(pair, |(_, value)| value)));
    }
    add(url.username());
    add(url.password().unwrap_or_default());
    options.egress.private().for_each(|text| redactor.add(&text));
    redactor
}

/// The wait that Discord names in its body: `{"retry_after": 0.65}`, in seconds
/// (<https://discord.com/developers/docs/topics/rate-limits>).
fn wait_in_body(body: &[u8]) -> Option<Duration> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let seconds = body["retry_after"].as_f64().filter(|seconds| (0.0..=LONGEST_WAIT).contains(seconds))?;
    Some(Duration::from_secs_f64(seconds))
}

#[async_trait]
impl Sink for Chat {
    async fn deliver(&self, message: &Message) -> Outcome {
        let body = match self.body(message) {
            Ok(body) => body,
            Err(broken) => {
                let reason = format!(
                    "the sink's `text` failed for this event: {broken}. Change the template (`try` shows its result), \
                     reload, and retry; or cancel this dispatch"
                );
                return Outcome::Hold { reason, recheck_after: None };
            }
        };
        let json = HeaderValue::from_static("application/json");
        match self
            .client
            .post(self.options.service.address(&self.options.url, message.event_id))
            .header(CONTENT_TYPE, json)
            .body(body)
            .send()
            .await
        {
            Ok(response) => self.outcome(response).await,
            Err(error) => Outcome::Retry { reason: self.failed(&error), after: None },
        }
    }

    /// Discord answers `GET` with the webhook itself, and 404 where there is none
    /// (<https://discord.com/developers/docs/resources/webhook#get-webhook-with-token>). The others document no call
    /// without effect: for them any answer to `HEAD` of the host's root means that it can be reached, and nothing more. The
    /// webhook's own address is not called, so that nothing that listens there can begin.
    async fn check(&self) -> Result<String, String> {
        if let Some(doubt) = self.options.text.as_ref().and_then(Template::doubt) {
            return Err(format!("`text` cannot work: {doubt}"));
        }
        let host = self.options.host();
        let request = match self.options.service {
            Service::Discord => self.client.get(self.options.url.clone()),
            _ => self.client.head(self.options.host()),
        };
        let response = request.send().await.map_err(|error| self.failed(&error))?;
        match (self.options.service, response.status().as_u16()) {
            (Service::Discord, 200..=299) => Ok(format!("{host} knows the webhook; nothing was posted")),
            (Service::Discord, status) => {
                Err(format!("{host} answered {status} when asked about the webhook: check `url`"))
            }
            (_, status) => Ok(format!(
                "{host} can be reached (it answers HEAD with {status}); whether it knows the webhook shows only with the \
                 first message"
            )),
        }
    }
}

#[cfg(test)]
mod tests;
