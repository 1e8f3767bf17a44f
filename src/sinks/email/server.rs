//! Talks to the mail server: connecting, encrypting, logging in, and what its answers mean.

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use lettre::{
    message::Mailbox,
    transport::smtp::{
        Error,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, Certificate, TlsParameters},
        commands::{Data, Mail, Noop, Quit, Rcpt},
        extension::ClientId,
    },
};
use outgoing::{Egress, Redactor};

use crate::model::{chain::Chain, dispatch::Outcome, secret::Secret};

/// Characters of an answer that a reason repeats.
const EXCERPT: usize = 200;

/// What to do if the server refuses everything.
const ASK: &str = "Ask who runs the mail server, correct `smtp_url` or `from`, and resume the sink (`sinks resume`)";

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encryption {
    /// Not at all.
    None,
    /// By STARTTLS; without it nothing is sent (RFC 3207).
    StartTls,
    /// From the start (RFC 8314).
    FromTheStart,
}

/// User and password.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Secret,
}

impl Login {
    /// Texts that must not be shown if the server repeats them.
    pub(super) fn private(&self) -> Vec<String> {
        let (user, password) = (&self.user, self.password.expose());
        let plain = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
        vec![password.to_owned(), BASE64_STANDARD.encode(password), plain]
    }
}

/// A mail server.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) encryption: Encryption,
    pub(super) login: Option<Login>,
}

impl Server {
    /// True if what is sent to it stays on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// As it may be shown.
    pub(super) fn shown(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// What went wrong before a mail was begun.
enum NotReady {
    /// The server refuses us, or the login, for good: a person has to act.
    Refused(String),
    /// It may work later.
    Later(String),
}

impl NotReady {
    fn reason(self) -> String {
        match self {
            NotReady::Refused(reason) | NotReady::Later(reason) => reason,
        }
    }
}

/// A reason that repeats what the server said.
fn said(server: &Server, step: &str, error: &Error, redactor: &Redactor) -> String {
    let what = if error.is_tls() {
        format!("TLS failed: {}", Chain(error))
    } else if error.is_permanent() || error.is_transient() {
        let text = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        let code = error.status().map(|code| code.to_string()).unwrap_or_default();
        format!("the answer was {code} {text}")
    } else {
        Chain(error).to_string()
    };
    redactor.line(&format!("{} {step}: {what}", server.shown()), EXCERPT + 100)
}

fn tls(server: &Server, egress: &Egress) -> Result<TlsParameters, Error> {
    let mut builder = TlsParameters::builder(server.host.clone());
    for authority in egress.authorities() {
        builder = builder.add_root_certificate(Certificate::from_der(authority.to_vec())?);
    }
    builder.build_rustls()
}

/// Connects, encrypts and logs in.
async fn connect(
    server: &Server,
    egress: &Egress,
    hello: &ClientId,
    timeout: Duration,
    redactor: &Redactor,
) -> Result<AsyncSmtpConnection, NotReady> {
    let begun = Instant::now();
    let failed = |step: &str, error: &Error| {
        let reason = said(server, step, error, redactor);
        if error.is_permanent() { NotReady::Refused(format!("{reason}. {ASK}")) } else { NotReady::Later(reason) }
    };
    let parameters = match server.encryption {
        Encryption::None => None,
        Encryption::StartTls | Encryption::FromTheStart => {
            Some(tls(server, egress).map_err(|error| failed("cannot be reached with TLS", &error))?)
        }
    };
    let wrapped = parameters.clone().filter(|_| server.encryption == Encryption::FromTheStart);
    let address = (server.host.as_str(), server.port);
    let connecting = AsyncSmtpConnection::connect_tokio1(address, Some(timeout), hello, wrapped, None);
    let connected = tokio::time::timeout(timeout, connecting).await.map_err(|_| {
        NotReady::Later(format!("{} did not answer within {:?}", server.shown(), begun.elapsed().min(timeout)))
    })?;
    let mut connection = connected.map_err(|error| failed("could not be connected to", &error))?;
    if let (Encryption::StartTls, Some(parameters)) = (server.encryption, parameters) {
        if !connection.can_starttls() {
            let _ = connection.quit().await;
            return Err(NotReady::Later(format!(
                "{} does not offer STARTTLS, which `tls=required` asks for: nothing was sent. Is the port right? For TLS \
                 from the start write `smtps://`",
                server.shown()
            )));
        }
        connection.starttls(parameters, hello).await.map_err(|error| failed("failed at STARTTLS", &error))?;
    }
    if let Some(login) = &server.login {
        let credentials = Credentials::new(login.user.clone(), login.password.expose().to_owned());
        if let Err(error) = connection.auth(DEFAULT_MECHANISMS, &credentials).await {
            let reason = said(server, "did not accept the login", &error, redactor);
            return Err(if error.is_permanent() {
                NotReady::Refused(format!(
                    "{reason}. Check user and password in `smtp_url`, and resume the sink (`sinks resume`)"
                ))
            } else {
                NotReady::Later(reason)
            });
        }
    }
    Ok(connection)
}

/// Sends a mail to all recipients that the server accepts.
pub(super) async fn send(
    server: &Server,
    egress: &Egress,
    hello: &ClientId,
    timeout: Duration,
    (from, to): (&Mailbox, &[Mailbox]),
    mail: &[u8],
    redactor: &Redactor,
) -> Outcome {
    let mut connection = match connect(server, egress, hello, timeout, redactor).await {
        Ok(connection) => connection,
        Err(NotReady::Refused(reason)) => return Outcome::Stop { reason },
        Err(NotReady::Later(reason)) => return Outcome::Retry { reason, after: None },
    };
    let outcome = transact(&mut connection, server, (from, to), mail, redactor).await;
    // The server has answered what matters.
    let _ = tokio::time::timeout(Duration::from_secs(1), connection.command(Quit)).await;
    outcome
}

async fn transact(
    connection: &mut AsyncSmtpConnection,
    server: &Server,
    (from, to): (&Mailbox, &[Mailbox]),
    mail: &[u8],
    redactor: &Redactor,
) -> Outcome {
    let ended = |step: &str, error: &Error| {
        let reason = said(server, step, error, redactor);
        if error.is_permanent() { Outcome::Rejected { reason } } else { Outcome::Retry { reason, after: None } }
    };
    if let Err(error) = connection.command(Mail::new(Some(from.email.clone()), vec![])).await {
        let reason = said(server, &format!("refused the sender {}", from.email), &error, redactor);
        // It would refuse the next mail as well.
        return if error.is_permanent() {
            Outcome::Stop { reason: format!("{reason}. {ASK}") }
        } else {
            Outcome::Retry { reason, after: None }
        };
    }
    let (mut accepted, mut refused) = (0, Vec::new());
    for mailbox in to {
        let Err(error) = connection.command(Rcpt::new(mailbox.email.clone(), vec![])).await else {
            accepted += 1;
            continue;
        };
        let reason = said(server, &format!("refused the recipient {}", mailbox.email), &error, redactor);
        if !error.is_permanent() {
            // The mail is dropped with the connection: nobody has it yet.
            let reason = format!("{reason}. Nobody gets the mail before all recipients can");
            return Outcome::Retry { reason, after: None };
        }
        refused.push(reason);
    }
    if accepted == 0 {
        return Outcome::Rejected { reason: refused.join("; ") };
    }
    if let Err(error) = connection.command(Data).await {
        return ended("refused the mail", &error);
    }
    match connection.message(mail).await {
        Err(error) => ended("refused the mail", &error),
        Ok(_) if refused.is_empty() => Outcome::Delivered,
        Ok(_) => {
            let others = if accepted == 1 { "the other recipient has" } else { "the other recipients have" };
            Outcome::Partly { reason: format!("{}; {others} the mail", refused.join("; ")) }
        }
    }
}

/// Whether a mail could be begun.
pub(super) async fn check(
    server: &Server,
    egress: &Egress,
    hello: &ClientId,
    timeout: Duration,
    redactor: &Redactor,
) -> Result<String, String> {
    let mut connection = connect(server, egress, hello, timeout, redactor).await.map_err(NotReady::reason)?;
    let noop = connection.command(Noop).await;
    let _ = tokio::time::timeout(Duration::from_secs(1), connection.command(Quit)).await;
    noop.map_err(|error| said(server, "refused NOOP", &error, redactor))?;
    let encrypted = match server.encryption {
        Encryption::None => "without TLS",
        Encryption::StartTls => "with STARTTLS",
        Encryption::FromTheStart => "with TLS",
    };
    let login = if server.login.is_some() { ", and accepts the login" } else { "" };
    Ok(format!("{} can be reached {encrypted}{login}; no mail was sent", server.shown()))
}
