//! Sends each event as a mail: in French or English, as text and as simple HTML.
//!
//! One mail per event, to all recipients. `Message-ID` is made of the event's id, so every try and every replay of an event
//! is the same mail: a retry never looks like a second payment. Mails of one invoice refer to each other, so that mailboxes
//! show them together.
//!
//! # What an answer means
//!
//! A mail counts as delivered after the server's answer to its data (RFC 5321, section 4.2.5). A permanent answer (5yz) is
//! `dead`, a temporary one (4yz) is retried, and so is everything that happens to the connection. If the answer to the data
//! is lost, the mail is sent again, under the same `Message-ID`.
//!
//! - Of several recipients, some may be refused for good: the others get the mail, and the outcome says who did not
//!   ([`Outcome::Partly`]).
//! - If a recipient is refused for now (greylisting), nobody gets the mail before all can: it would reach the others once
//!   more with each retry.
//! - A refused connection, login or sender pauses the sink: no mail can be sent until a person has acted, and none is lost.

mod mail;
mod server;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use lettre::{message::Mailbox, transport::smtp::extension::ClientId};
use outgoing::{Egress, Redactor};
use url::Url;

use self::server::{Encryption, Login, Server};
use super::{
    Message, Sink,
    options::{OpenDesk, SinkOptions, Surroundings},
    preview::{Broken, Preview},
    template::Template,
    wording::Reader,
};
use crate::{
    model::{
        dispatch::Outcome,
        secret::{Secret, has_split_password},
    },
    options::section::Section,
};

/// The options of an `email` sink.
#[derive(Clone)]
pub struct Options {
    server: Server,
    from: Mailbox,
    to: Vec<Mailbox>,
    reader: Reader,
    subject: Option<Template>,
    text: Option<Template>,
    /// Which authorities are trusted. Proxies are for HTTP alone.
    egress: Egress,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("server", &self.server)
            .field("from", &self.from.email)
            .field("to", &self.to.len())
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SinkOptions for Options {
    const NAME: &'static str = "email";
    const ABOUT: &'static str = "Sends each event as a mail, in French or English.";
    const CONCURRENCY: u32 = 1;
    const TIMEOUT_SECS: u64 = 60;

    fn read(section: &mut Section<'_>, surroundings: Surroundings<'_>) -> Option<Self> {
        let server = smtp_url(section);
        let from = section
            .key("from", "The sender, such as `Relais Finkare <relais@example.fr>`.")
            .allowed("a mail address, with or without a name")
            .required("write the sender, for example `Relais Finkare <relais@example.fr>`")
            .text()
            .and_then(|text| mailbox(section, "from", &text));
        let to = recipients(section);
        let reader = Reader::read(section);
        let for_template = reader.clone().unwrap_or_default();
        let subject = template(
            section,
            "subject",
            "A template for the subject. It can use `told` (`title`, `sentence`, `text`, `facts`, `advice`), `event`, \
             `payload` and, with `enrich`, `invoice` and `payment`; `money` writes cents and `moment` a time for the reader.",
            surroundings.is_enriched,
            &for_template,
        );
        let text = template(
            section,
            "text",
            "A template for the text, with the same names. The mail is then plain text.",
            surroundings.is_enriched,
            &for_template,
        );
        let egress = surroundings.egress.clone();
        Some(Self { server: server?, from: from?, to: to?, reader: reader?, subject: subject?, text: text?, egress })
    }

    fn build(&self, timeout: Duration, _: OpenDesk<'_>) -> Result<Arc<dyn Sink>, String> {
        Ok(Arc::new(Email::new(self, timeout)))
    }

    async fn check(&self, timeout: Duration) -> Result<String, String> {
        Email::new(self, timeout).check().await
    }

    fn preview(&self, message: &Message, timeout: Duration) -> Result<Preview, String> {
        Ok(Email::new(self, timeout).preview(message))
    }
}

fn smtp_url(section: &mut Section<'_>) -> Option<Server> {
    let given = section
        .key(
            "smtp_url",
            "The mail server: `smtps://user:password@mail.example.fr` (TLS from the start, port 465), \
             `smtp://user:password@mail.example.fr?tls=required` (STARTTLS, port 587) or `smtp://localhost` (no TLS, port 25).",
        )
        .allowed("an `smtp` or `smtps` address")
        .required("write the mail server's address, for example `{ env = \"SMTP_URL\" }`")
        .secret()?;
    match server(&given) {
        Ok(server) => {
            if server.login.is_some() && server.encryption == Encryption::None && !server.is_local() {
                section.problem(
                    "smtp_url",
                    "would send its password unencrypted over the network: write `smtps://…`, or add `?tls=required`",
                );
                return None;
            }
            Some(server)
        }
        Err(what) => {
            section.problem("smtp_url", what);
            None
        }
    }
}

/// Reads the address of a mail server. The errors repeat nothing of it.
fn server(given: &Secret) -> Result<Server, String> {
    if has_split_password(given.expose()) {
        return Err(
            "seems to contain a password with a `/`, `?` or `#`: write these as `%2F`, `%3F`, `%23` (and `@` as \
                    `%40`)"
                .to_owned(),
        );
    }
    let url = Url::parse(given.expose()).map_err(|error| format!("is not a URL: {error}"))?;
    let mut required = false;
    for (name, value) in url.query_pairs() {
        match (&*name, &*value) {
            ("tls", "required") => required = true,
            ("tls", _) => return Err("has another `tls` than `required`".to_owned()),
            _ => return Err("has a parameter other than `tls`".to_owned()),
        }
    }
    let (encryption, port) = match (url.scheme(), required) {
        ("smtps", false) => (Encryption::FromTheStart, 465),
        ("smtps", true) => {
            return Err("has `tls=required`, which is for `smtp://`: `smtps://` always has TLS".to_owned());
        }
        ("smtp", true) => (Encryption::StartTls, 587),
        ("smtp", false) => (Encryption::None, 25),
        // The scheme is not repeated: in `user:password@host` it is the user.
        _ => return Err("does not begin with `smtp://` or `smtps://`".to_owned()),
    };
    if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
        return Err("has a path or a fragment, which the address of a mail server does not have".to_owned());
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("names no host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let decoded =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
    let login = match (url.username(), url.password()) {
        ("", None) => None,
        (user, Some(password)) if !user.is_empty() => {
            let pair = (decoded(user), decoded(password));
            let (Ok(user), Ok(password)) = pair else {
                return Err("has a user or a password that is not UTF-8".to_owned());
            };
            Some(Login { user, password: Secret::new(password) })
        }
        _ => return Err("has a user without a password, or a password without a user".to_owned()),
    };
    Ok(Server { host, port: url.port().unwrap_or(port), encryption, login })
}

fn mailbox(section: &Section<'_>, key: &str, text: &str) -> Option<Mailbox> {
    let what = match text.parse::<Mailbox>() {
        Ok(mailbox) if mailbox.email.to_string().is_ascii() => return Some(mailbox),
        Ok(_) => "has an address with letters that are not ASCII, which many servers refuse".to_owned(),
        Err(error) => format!("is not a mail address ({error}): write `name@example.fr` or `Name <name@example.fr>`"),
    };
    section.problem(key, what);
    None
}

fn recipients(section: &mut Section<'_>) -> Option<Vec<Mailbox>> {
    let texts = section
        .key("to", "Who gets the mail: one message to all of them.")
        .allowed("mail addresses")
        .required("write whom to tell, for example `[\"compta@example.fr\"]`")
        .texts()?;
    if texts.is_empty() {
        section.problem("to", "is empty: write whom to tell");
        return None;
    }
    let read: Vec<Option<Mailbox>> =
        texts.iter().enumerate().map(|(index, text)| mailbox(section, &format!("to[{index}]"), text)).collect();
    read.into_iter().collect()
}

/// The outer `None` is a problem, the inner one a template that is not written.
#[expect(clippy::option_option, reason = "a problem and an option that is not written are two things")]
pub(super) fn template(
    section: &mut Section<'_>,
    key: &'static str,
    meaning: &'static str,
    is_enriched: bool,
    reader: &Reader,
) -> Option<Option<Template>> {
    template_with(section, key, meaning, is_enriched, reader, str::to_owned)
}

/// The same, with the escaping of what it is written into.
#[expect(clippy::option_option, reason = "a problem and an option that is not written are two things")]
pub(super) fn template_with(
    section: &mut Section<'_>,
    key: &'static str,
    meaning: &'static str,
    is_enriched: bool,
    reader: &Reader,
    escape: fn(&str) -> String,
) -> Option<Option<Template>> {
    let source = section.key(key, meaning).allowed("a minijinja template").otherwise("a good one").private().text();
    let Some(source) = source else { return (!section.has(key)).then_some(None) };
    let template = match Template::for_people(&source, reader, escape) {
        Ok(template) => template,
        Err(problem) => {
            section.problem(key, format!("cannot be read: {problem}"));
            return None;
        }
    };
    if !is_enriched && let Some(name) = template.enriched_names().first() {
        section.problem(key, format!("uses `{name}`, which only a sink with `enrich = true` has: add that option"));
        return None;
    }
    if let Some(doubt) = template.doubt() {
        section.notice(key, format!("cannot work, and events would be held: {doubt}"));
    }
    Some(Some(template))
}

/// Sends mails.
pub struct Email {
    options: Options,
    timeout: Duration,
    redactor: Redactor,
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Email").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Email {
    /// A sink for one mailbox or several. `timeout` bounds a whole attempt.
    pub fn new(options: &Options, timeout: Duration) -> Self {
        let mut redactor = Redactor::default();
        if let Some(login) = &options.server.login {
            login.private().iter().for_each(|text| redactor.add(text));
        }
        Self { options: options.clone(), timeout, redactor }
    }

    /// Subject, text and HTML.
    fn written(&self, message: &Message) -> Result<mail::Written, Box<Broken>> {
        let Options { reader, subject, text, .. } = &self.options;
        let rendered = |template: &Template| -> Result<String, Box<Broken>> {
            Ok(String::from_utf8_lossy(&template.render(message)?).into_owned())
        };
        let subject = subject.as_ref().map(rendered).transpose()?;
        let text = text.as_ref().map(rendered).transpose()?;
        Ok(mail::write(message, reader, subject, text))
    }

    fn preview(&self, message: &Message) -> Preview {
        match self.written(message) {
            Ok(written) => {
                let Options { from, to, .. } = &self.options;
                let to = to.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let headers = vec![
                    ("From".to_owned(), from.to_string()),
                    ("To".to_owned(), to),
                    ("Subject".to_owned(), written.subject),
                    ("Message-ID".to_owned(), mail::message_id(message, from)),
                ];
                Preview::Mail { headers, text: written.text }
            }
            Err(broken) => Preview::Broken(*broken),
        }
    }
}

#[async_trait]
impl Sink for Email {
    async fn deliver(&self, message: &Message) -> Outcome {
        let Options { server, from, to, egress, .. } = &self.options;
        let written = match self.written(message) {
            Ok(written) => written,
            Err(broken) => {
                let reason = format!(
                    "the sink's `subject` or `text` failed for this event: {broken}. Change the template (`try` shows its \
                     result), reload, and retry; or cancel this dispatch"
                );
                return Outcome::Hold { reason, recheck_after: None };
            }
        };
        let mail = match mail::build(message, from, to, written) {
            Ok(mail) => mail,
            Err(problem) => {
                let reason = format!("the mail cannot be written: {problem}. Check `from`, `to` and the templates");
                return Outcome::Hold { reason, recheck_after: None };
            }
        };
        server::send(server, egress, &hello(), self.timeout, (from, to), &mail, &self.redactor).await
    }

    /// Connects, encrypts, logs in, sends `NOOP` and takes its leave; no mail is begun.
    async fn check(&self) -> Result<String, String> {
        let Options { server, egress, subject, text, .. } = &self.options;
        for (key, template) in [("subject", subject), ("text", text)] {
            if let Some(doubt) = template.as_ref().and_then(Template::doubt) {
                return Err(format!("`{key}` cannot work: {doubt}"));
            }
        }
        server::check(server, egress, &hello(), self.timeout, &self.redactor).await
    }
}

/// The name under which the relay introduces itself.
fn hello() -> ClientId {
    ClientId::default()
}

#[cfg(test)]
mod tests;
