//! Turns the configuration file and the environment into a checked [`Config`], and reports all problems at once.
//!
//! [`load`] reads the file section by section, resolves secrets (`{ env = … }`, `{ file = … }`), lets environment
//! variables override the file, and collects every problem with its place. Nothing here opens a database or a socket. The
//! only inputs are the environment, the file, and the files that these two name. A sink's own keys are read by its kind
//! ([`crate::sinks`]).
//!
//! [`page`] and [`schema`] show every option; they are generated from the readers' descriptions of their keys.
//!
//! [`generated`] is separate: it generates the secrets that `serve` needs if none are configured.

use std::{fmt, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use ::outgoing::Egress;
use finkare::{Paths, Settings, UpdateMethod};
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use crate::{
    ingest::{
        Dedupe,
        route::{Filter, Selection},
    },
    model::{
        dispatch::{Order, RetryPolicy},
        id::{EndpointName, SinkName},
        secret::Secret,
    },
    options::Written,
    signature::finkare::{SecretEncoding, SignatureOver},
    sinks::kind::Kind,
};

mod endpoint;
pub mod generated;
mod load;
mod outgoing;
mod page;
mod schema;
mod sink;
mod statement;
#[cfg(test)]
mod tests;
mod variables;
mod zone;

#[cfg(test)]
pub(crate) use self::{load::load_with, page::page_of, schema::schema_of};
pub use load::{load, public_address};
pub use page::page;
pub use schema::schema;
pub use variables::VARIABLES;

/// Everything that `serve` needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The two listeners and what they accept.
    pub server: Server,
    /// The database.
    pub store: StoreConfig,
    /// Who may use the admin API.
    pub admin: Admin,
    /// How long data is stored.
    pub retention: Retention,
    /// What the relay tells of itself, and when.
    pub own_events: crate::notices::Settings,
    /// The accounts of the month's accounting entries.
    pub accounts: crate::statement::fec::Accounts,
    /// The webhooks; at least one.
    pub endpoints: Vec<Endpoint>,
    /// The targets; at least one.
    pub sinks: Vec<Sink>,
    /// The key that stored secrets are encrypted under: base64 (with padding) of 32 bytes. Always
    /// there on Postgres; on `SQLite`, where none is configured, `serve` generates one and keeps it
    /// beside the database.
    pub master_key: Option<Secret>,
    /// Which parts were generated because nothing was configured, for the greeting at the start.
    pub made_up: MadeUp,
    /// Secrets that were just generated, with their files. They are written once the start has succeeded far enough to use
    /// them, and not before.
    pub unsaved: Vec<Unsaved>,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// The files of the folder beside it that were read too, in their order.
    pub parts: Vec<PathBuf>,
    /// Settings that work but may surprise: a sentence with the place for each, for the log at the start.
    pub notices: Vec<String>,
    /// Which options were set, with hashes of their values.
    pub written: Written,
}

/// Which parts of the configuration nobody configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MadeUp {
    /// The endpoint `default` has neither a secret nor an API key to get one with: `serve` generates a
    /// secret (`SQLite` only).
    pub secret: bool,
    /// No admin token is configured: `serve` generates one (`SQLite` only).
    pub admin_token: bool,
    /// No sink is configured: events go to standard output.
    pub sink: bool,
}

/// A generated secret that is not in a file yet.
#[derive(Debug, Clone)]
pub struct Unsaved {
    /// The folder.
    pub folder: PathBuf,
    /// The file's name in it.
    pub name: &'static str,
    /// The secret.
    pub secret: Secret,
}

/// Listeners and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Public listener.
    pub listen: SocketAddr,
    /// Admin listener.
    pub admin_listen: SocketAddr,
    /// Larger bodies are refused with 413.
    pub max_body_bytes: usize,
    /// A delivery is answered 503 if the store has not committed it by then.
    pub ack_timeout: Duration,
    /// A body that has not arrived by then is refused with 408.
    pub body_timeout: Duration,
    /// Connections beyond this wait in the operating system's queue.
    pub max_connections: usize,
    /// The largest number of deliveries that share a transaction; 1 commits each by itself.
    pub commit_batch: usize,
    /// How long shutdown waits for work that is under way.
    pub shutdown_timeout: Duration,
}

/// Which database.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// A file, for one process.
    Sqlite {
        /// Its path.
        path: PathBuf,
    },
    /// A server, for many replicas.
    Postgres {
        /// The URL, with its password.
        url: Secret,
        /// The largest number of connections that this process opens.
        max_connections: u32,
    },
}

/// The admin API's tokens.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The tokens. If there are none, only callers on loopback are accepted.
    pub tokens: Vec<AdminToken>,
    /// Further names for which the admin listener answers, beside addresses and `localhost`.
    pub hosts: Vec<String>,
    /// The token from `RELAY_ADMIN_TOKEN`, which is also among the tokens. The commands send this one, whatever other tokens
    /// there are and whatever their roles.
    pub from_environment: Option<Secret>,
}

/// One admin token.
#[derive(Debug, Clone)]
pub struct AdminToken {
    /// The name of the person or program, for the log.
    pub name: String,
    /// The role that it has.
    pub role: Role,
    /// The endpoints to which it is limited; `None`: it is not.
    pub endpoints: Option<Vec<EndpointName>>,
    /// The bearer token, or only its hash.
    pub token: Token,
}

/// A bearer token as it was configured.
#[derive(Clone)]
pub enum Token {
    /// The token itself: the commands can use it too.
    Plain(Secret),
    /// Its SHA-256: enough to recognise the token, and useless to a reader of the configuration.
    Hash([u8; 32]),
}

impl Token {
    /// The token's SHA-256.
    pub fn hash(&self) -> [u8; 32] {
        match self {
            Token::Plain(token) => Sha256::digest(token.expose()).into(),
            Token::Hash(hash) => *hash,
        }
    }

    /// The token itself, if it is known.
    pub const fn plain(&self) -> Option<&Secret> {
        match self {
            Token::Plain(token) => Some(token),
            Token::Hash(_) => None,
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// What an admin token may do; each role includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Retries, cancels, pauses, replays.
    Operator,
    /// Secrets and rotation.
    Admin,
}

impl Role {
    /// The word for it, as the configuration writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// How long data is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Payloads, after the event was received.
    pub payload: Duration,
    /// Events, their dispatches and their dedupe keys; never shorter than `payload`.
    pub dedupe: Duration,
    /// The ledger's finished bookings, after they were finished; never shorter than `dedupe`.
    pub ledger: Duration,
}

/// One webhook registered at Finkare.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its name.
    pub name: EndpointName,
    /// Its public path, beginning with `/`.
    pub path: String,
    /// Its id at Finkare.
    pub webhook_id: Option<String>,
    /// The configured secrets; they seed the store, which may have others by now.
    pub secrets: Vec<Secret>,
    /// The key for Finkare's API.
    pub api_key: Option<Secret>,
    /// Finkare's API; the default follows from the key's prefix.
    pub api_url: Option<url::Url>,
    /// The relay's own limit of calls to Finkare's API.
    pub api_rate_limit: RateLimit,
    /// How long one call to Finkare's API may take, from connecting to the last byte.
    pub api_timeout: Duration,
    /// How many times a call is retried after a 429.
    pub api_max_retries: u32,
    /// Paths of Finkare's API, which are not documented.
    pub api_paths: Paths,
    /// The method that updates a webhook, which is not documented either.
    pub api_update_method: UpdateMethod,
    /// How calls to Finkare's API leave: from the section `[outgoing]`.
    pub egress: Egress,
    /// The zone in which its days begin, for statements and reconciliations.
    pub timezone: TimeZone,
    /// How long after its event an invoice or a payment may become visible in Finkare's API.
    pub payment_patience: Duration,
    /// A payment that is dated further from an event is never assigned to that event, unless the event names it.
    pub payment_window: Duration,
    /// When it is reconciled with Finkare by itself.
    pub reconcile: Option<crate::reconcile::Schedule>,
    /// The time between two scheduled rotations of the secret; `None` if there are none.
    pub rotate_every: Option<Duration>,
    /// How long the earlier secrets stay valid after a rotation, unless the rotation says otherwise.
    pub rotate_overlap: Duration,
    /// How a repeated delivery is recognised.
    pub dedupe: Dedupe,
    /// A genuine delivery whose own timestamp is older is refused. Shorter than the time for which dedupe keys are stored.
    pub max_age: Option<Duration>,
    /// An endpoint without a genuine delivery for longer is reported as silent.
    pub silence_alarm: Option<Duration>,
    /// The text that the signature covers.
    pub signature_over: SignatureOver,
    /// How the secret becomes a key.
    pub secret_encoding: SecretEncoding,
}

impl Config {
    /// `payment_window_days` of each endpoint, by its name; invoicing sinks use it as well.
    pub fn payment_window_days(&self) -> std::collections::HashMap<String, u32> {
        const DAY: Duration = Duration::from_hours(24);
        let days = |window: Duration| u32::try_from(window.as_secs() / DAY.as_secs()).unwrap_or(u32::MAX);
        let of = |endpoint: &Endpoint| (endpoint.name.as_str().to_owned(), days(endpoint.payment_window));
        self.endpoints.iter().map(of).collect()
    }
}

impl Endpoint {
    /// How Finkare's API is reached for this endpoint; `None` without an API key.
    pub fn api(&self) -> Option<Settings> {
        Some(Settings {
            api_key: self.api_key.clone()?,
            api_url: self.api_url.clone(),
            timeout: self.api_timeout,
            max_retries: self.api_max_retries,
            retry_initial: finkare::DEFAULT_RETRY_INITIAL,
            user_agent: concat!("finkare-relay/", env!("CARGO_PKG_VERSION")).to_owned(),
            rate_limit: (self.api_rate_limit.requests, self.api_rate_limit.per),
            paths: self.api_paths.clone(),
            update_method: self.api_update_method,
            egress: self.egress.clone(),
            ..Settings::new(self.api_key.clone()?)
        })
    }

    /// What to do if neither the configuration nor the store has a secret for this endpoint.
    pub fn how_to_get_a_secret(&self) -> String {
        if self.api_key.is_some() {
            format!(
                "run `finkare-relay register --endpoint {} --url URL`, which creates the webhook and stores its secret",
                self.name
            )
        } else {
            "set its `secret` to what Finkare showed when the webhook was created".to_owned()
        }
    }

    /// True if its events come from Finkare's sandbox and mean no money: the API key begins with
    /// `fk_test_`, or the API is at the sandbox's address.
    pub fn is_sandbox(&self) -> bool {
        self.api_key.as_ref().is_some_and(|key| key.expose().starts_with("fk_test_"))
            || self.api_url.as_ref().and_then(url::Url::host_str) == Some("api-sandbox.finkare.io")
    }
}

/// One target. `Debug` shows its kind without the kind's options: a URL may hold a token.
#[derive(Clone)]
pub struct Sink {
    /// Its name.
    pub name: SinkName,
    /// What kind of target, with its own options.
    pub kind: Kind,
    /// The event types that it gets.
    pub events: Selection,
    /// The endpoints whose events it gets; `None` means all.
    pub endpoints: Option<Vec<EndpointName>>,
    /// True if it gets each event with Finkare's data about the invoice and the payment.
    pub enrich: bool,
    /// True if it gets only real events, and none of a sandbox endpoint ([`Endpoint::is_sandbox`]).
    pub live: bool,
    /// It gets only events for which this is true.
    pub filter: Option<Filter>,
    /// The order of delivery.
    pub order: Order,
    /// The largest number of attempts that run at the same time, in this process.
    pub concurrency: NonZeroU32,
    /// How long a whole attempt may take.
    pub timeout: Duration,
    /// The largest number of attempts in a given time, in this process.
    pub rate_limit: Option<RateLimit>,
    /// When to try again and when to give up.
    pub retry: RetryPolicy,
    /// When to stop calling a failing target.
    pub breaker: Breaker,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("name", &self.name)
            .field("kind", &self.kind.name())
            .field("events", &self.events)
            .field("endpoints", &self.endpoints)
            .field("enrich", &self.enrich)
            .field("live", &self.live)
            .field("filter", &self.filter)
            .field("order", &self.order)
            .field("concurrency", &self.concurrency)
            .field("timeout", &self.timeout)
            .field("rate_limit", &self.rate_limit)
            .field("retry", &self.retry)
            .field("breaker", &self.breaker)
            .finish()
    }
}

/// At most `requests` in any `per`, spread evenly, with a burst of `requests` after a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The number of requests.
    pub requests: NonZeroU32,
    /// The period.
    pub per: Duration,
}

/// The circuit breaker: after this many failures in a row the sink gets one probe at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Consecutive failures that trip it.
    pub failures: NonZeroU32,
    /// The time between two probes.
    pub probe: Duration,
}
