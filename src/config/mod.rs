//! What the operator wrote becomes a [`Config`]: checked as a whole, every problem reported at once.
//!
//! Two shapes on purpose: `raw` is the file as typed (unknown keys refused), [`Config`] is what the
//! service uses. Between them [`load`] resolves secrets (`{ env = … }`, `{ file = … }`), lays the
//! environment over the file and collects [`Problem`](crate::options::Problem)s with their paths. Nothing here opens a
//! database or a socket, and nothing is read but the environment, the file, and the files that
//! these two name.
//!
//! [`generated`] stands apart: secrets that `serve` makes by itself where nothing is configured.

use std::{fmt, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use ::outgoing::Egress;
use finkare::{Paths, Settings, UpdateMethod};
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
    sinks,
};

mod endpoint;
pub mod generated;
mod kind;
mod load;
mod outgoing;
mod sink;
#[cfg(test)]
mod tests;
mod variables;

pub use load::{load, public_address};
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
    /// How long things are kept.
    pub retention: Retention,
    /// The webhooks; at least one.
    pub endpoints: Vec<Endpoint>,
    /// The targets; at least one.
    pub sinks: Vec<Sink>,
    /// The key that stored secrets are encrypted under: base64 (with padding) of 32 bytes. Always
    /// there on Postgres; on `SQLite`, where none is configured, `serve` generates one and keeps it
    /// beside the database.
    pub master_key: Option<Secret>,
    /// What was made up because nothing was configured, for the greeting at the start.
    pub made_up: MadeUp,
    /// Secrets that were made up a moment ago, with the files that are to hold them: they are written when the start has
    /// come so far that they are used, and never before.
    pub unsaved: Vec<Unsaved>,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// What works but may surprise: one sentence each with its place, for the log at the start.
    pub notices: Vec<String>,
    /// Which options were written, and hashes of what they say.
    pub written: Written,
}

/// Which parts came from nowhere but the defaults.
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

/// A secret that was made up and is in no file yet.
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
    /// Deliveries that share a transaction, at most; 1 commits each by itself.
    pub commit_batch: usize,
    /// How long shutdown waits for what is under way.
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
        /// How many connections this process opens at most.
        max_connections: u32,
    },
}

/// The admin API's tokens.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Empty: only callers on loopback are let in.
    pub tokens: Vec<AdminToken>,
    /// Further names for which the admin listener answers, beside addresses and `localhost`.
    pub hosts: Vec<String>,
    /// What `RELAY_ADMIN_TOKEN` holds, which is among the tokens: the one that the commands send, whatever others there
    /// are and whatever their roles.
    pub from_environment: Option<Secret>,
}

/// One admin token.
#[derive(Debug, Clone)]
pub struct AdminToken {
    /// Who it is, for the log.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The bearer token, or only its hash.
    pub token: Token,
}

/// A bearer token as it was configured.
#[derive(Clone)]
pub enum Token {
    /// The token itself: the commands can use it too.
    Plain(Secret),
    /// Its SHA-256: enough to know the token by, and no use to whoever reads the configuration.
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

    /// The token itself, where it is known.
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

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Payloads, after the event was received.
    pub payload: Duration,
    /// Events, their dispatches and their dedupe keys; never shorter than `payload`.
    pub dedupe: Duration,
    /// What was written of payments where, after it was finished; never shorter than `dedupe`.
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
    /// For Finkare's API.
    pub api_key: Option<Secret>,
    /// Finkare's API; the default follows from the key's prefix.
    pub api_url: Option<url::Url>,
    /// Ours towards Finkare's API.
    pub api_rate_limit: RateLimit,
    /// One call to Finkare's API, from connecting to the last byte.
    pub api_timeout: Duration,
    /// How often a call that was answered 429 is made again.
    pub api_max_retries: u32,
    /// Paths of Finkare's API that nobody documents.
    pub api_paths: Paths,
    /// With which method a webhook is updated, which nobody documents either.
    pub api_update_method: UpdateMethod,
    /// How calls to Finkare's API leave: from the section `[outgoing]`.
    pub egress: Egress,
    /// How long after its event an invoice or a payment may become visible in Finkare's API.
    pub payment_patience: Duration,
    /// A payment that is dated further from an event is not the event's, unless the event names it.
    pub payment_window: Duration,
    /// Rotates the secret by itself so often.
    pub rotate_every: Option<Duration>,
    /// For how long the secrets before a new one stay good, unless a rotation is told otherwise.
    pub rotate_overlap: Duration,
    /// How an event is found again.
    pub dedupe: Dedupe,
    /// A genuine delivery whose own timestamp is older is refused; shorter than dedupe keys are kept.
    pub max_age: Option<Duration>,
    /// Quiet for longer is told as silent.
    pub silence_alarm: Option<Duration>,
    /// What the signature is computed over.
    pub signature_over: SignatureOver,
    /// How the secret becomes a key.
    pub secret_encoding: SecretEncoding,
}

impl Config {
    /// `payment_window_days` of each endpoint, by its name: what invoicing sinks go by as well.
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
        })
    }

    /// What to do where neither the configuration nor the store has a secret of it.
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
    pub kind: sinks::Kind,
    /// Which event types.
    pub events: Selection,
    /// Only of these endpoints; `None` is all.
    pub endpoints: Option<Vec<EndpointName>>,
    /// Gets each event with what Finkare says of its invoice and payment.
    pub enrich: bool,
    /// Whatever it gets counts: never fed by a sandbox endpoint ([`Endpoint::is_sandbox`]).
    pub live: bool,
    /// Only events for which this is true.
    pub filter: Option<Filter>,
    /// In which order.
    pub order: Order,
    /// At most so many attempts at a time, in this process.
    pub concurrency: NonZeroU32,
    /// A whole attempt.
    pub timeout: Duration,
    /// At most so many attempts in a time, in this process.
    pub rate_limit: Option<RateLimit>,
    /// When to try again and when to give up.
    pub retry: RetryPolicy,
    /// When to leave a sick target alone.
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
    /// How many.
    pub requests: NonZeroU32,
    /// In which time.
    pub per: Duration,
}

/// The circuit breaker: after so many failures in a row the sink gets one probe at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Consecutive failures that trip it.
    pub failures: NonZeroU32,
    /// Between two probes.
    pub probe: Duration,
}
