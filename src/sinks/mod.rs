//! Where events go: one file per kind of target.
//!
//! A sink gets a [`Message`] and answers with an [`Outcome`]; it never sees the store. Order,
//! retries, leases, rate limits and the circuit breaker are the dispatcher's work
//! ([`crate::dispatch`]); a sink says truthfully what the target said, and how long to wait if the
//! target named a time.
//!
//! # How to add a sink
//!
//! 1. One file here: an options struct (`serde`, `deny_unknown_fields`, every option a noun with
//!    its unit), the sink, its unit tests. `Delivered` only after the target's own confirmation;
//!    [`Message::event_id`] is handed to the target as its key for dropping repetitions.
//! 2. One variant in [`Kind`], with its arms in the matches below it (the compiler names them).
//! 3. A case in the sink contract suite (`tests/it/sinks`): delivered, refused, timed out, gone,
//!    nothing secret in what it says.
//! 4. Its options in docs/configuration.md and in `relay.example.toml`, which a test loads. docs/new-sink.md has the
//!    whole check list.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use outgoing::Egress;

use self::invoicing::{Bookkeeper, Books, Common, Desk, efactori, facturation_pro, fastfaktura, tiime};
use crate::model::{
    dispatch::{LeasedDispatch, Outcome, Trigger},
    id::{DispatchId, EventId},
    trace::TraceParent,
};

pub mod enrich;
pub mod file;
pub mod guard;
pub mod http;
pub mod invoicing;
mod lines;
pub mod message;
pub mod preview;
pub mod stdout;

/// What a sink receives.
#[derive(Debug, Clone)]
pub struct Message {
    /// The same on every retry and replay: the target's key for dropping repetitions.
    pub event_id: EventId,
    /// Which dispatch this is an attempt of.
    pub dispatch_id: DispatchId,
    /// The endpoint through which the event came.
    pub endpoint: String,
    /// `payment.received` and so on, or [`crate::model::event::UNREADABLE`].
    pub event_type: String,
    /// `data.invoiceId`.
    pub invoice_id: Option<String>,
    /// When the event was received.
    pub received_at: Timestamp,
    /// The `Content-Type` of Finkare's delivery.
    pub content_type: Option<String>,
    /// The verified message.
    pub payload: Bytes,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Whether the event arrived or was asked for again.
    pub trigger: Trigger,
    /// The attempt's span, while traces are on: a target that can, goes on with the trace.
    pub trace: Option<TraceParent>,
    /// What Finkare says of the event, for a sink with `enrich`.
    pub resolved: Option<Arc<enrich::Resolved>>,
}

impl From<&LeasedDispatch> for Message {
    fn from(leased: &LeasedDispatch) -> Self {
        Self {
            event_id: leased.event_id,
            dispatch_id: leased.id,
            endpoint: leased.endpoint.clone(),
            event_type: leased.event_type.clone(),
            invoice_id: leased.invoice_id.clone(),
            received_at: leased.received_at,
            content_type: leased.content_type.clone(),
            payload: leased.payload.clone(),
            attempt: leased.attempts + 1,
            trigger: leased.trigger,
            trace: None,
            resolved: None,
        }
    }
}

/// A target.
#[async_trait]
pub trait Sink: Send + Sync + fmt::Debug {
    /// Delivers one message and says what came of it.
    ///
    /// The dispatcher drops the future when the sink's time-out has passed or shutdown cannot wait;
    /// the target may or may not have it then, and gets it again.
    async fn deliver(&self, message: &Message) -> Outcome;

    /// Looks whether the target can be reached, without leaving a trace there.
    ///
    /// # Errors
    /// What is wrong and what to change, in a sentence.
    async fn check(&self) -> Result<String, String>;

    /// What [`Sink::deliver`] would do with a message, found out by reading alone; `None` where that follows from the
    /// message ([`Kind::preview`]).
    async fn explain(&self, message: &Message) -> Option<preview::Explained> {
        let _ = message;
        None
    }
}

/// The options of a sink by its `type`.
#[derive(Debug, Clone)]
pub enum Kind {
    /// `stdout`
    Stdout(stdout::Options),
    /// `file`
    File(file::Options),
    /// `http`
    Http(http::Options),
    /// `facturation_pro`
    FacturationPro(Box<facturation_pro::Options>, Common),
    /// `efactori`
    Efactori(Box<efactori::Options>, Common),
    /// `tiime`
    Tiime(Box<tiime::Options>, Common),
    /// `fastfaktura`
    Fastfaktura(Box<fastfaktura::Options>, Common),
}

impl Kind {
    /// Every `type` that can be configured.
    pub const NAMES: [&'static str; 7] =
        ["stdout", "file", "http", "facturation_pro", "efactori", "tiime", "fastfaktura"];

    /// Those of them that keep books; see [`Kind::is_invoicing`].
    pub const INVOICING: [&'static str; 4] = ["facturation_pro", "efactori", "tiime", "fastfaktura"];

    /// Those of them in which nothing can be recorded: they only look, so that one payment need not wait for another
    /// ([`Books::WRITES`]).
    pub const LOOKING: [&'static str; 2] = ["tiime", "fastfaktura"];

    /// Whose books an invoicing sink keeps: its address in one spelling, and what tells companies apart there. Two sinks of
    /// which both are equal would book a payment twice. `None` for other sinks.
    pub fn company(&self) -> Option<(String, String)> {
        let (base_url, company) = match self {
            Kind::Stdout(_) | Kind::File(_) | Kind::Http(_) => return None,
            Kind::FacturationPro(options, _) => (&options.base_url, options.firm_id.trim_start_matches('0').to_owned()),
            Kind::Efactori(options, _) => {
                (&options.base_url, options.company_uuid.expose().trim().to_ascii_lowercase())
            }
            Kind::Tiime(options, _) => (&options.base_url, options.company_id.to_ascii_lowercase()),
            // It knows no companies: a key belongs to one.
            Kind::Fastfaktura(options, _) => (&options.base_url, options.api_key.expose().trim().to_owned()),
        };
        Some((canonical(base_url), company))
    }

    /// The `type`.
    pub const fn name(&self) -> &'static str {
        match self {
            Kind::Stdout(_) => "stdout",
            Kind::File(_) => "file",
            Kind::Http(_) => "http",
            Kind::FacturationPro(..) => "facturation_pro",
            Kind::Efactori(..) => "efactori",
            Kind::Tiime(..) => "tiime",
            Kind::Fastfaktura(..) => "fastfaktura",
        }
    }

    /// How many attempts run side by side if the operator does not say: few where each costs the
    /// target a request, many where attempts share one flush to disk. One for Tiime: at a call in two seconds several
    /// would only be in each other's way.
    pub const fn default_concurrency(&self) -> u32 {
        match self {
            Kind::Stdout(_) | Kind::File(_) => 256,
            Kind::Http(_) => 8,
            // Each attempt is several calls, of which the system takes few a minute.
            Kind::FacturationPro(..) | Kind::Efactori(..) | Kind::Fastfaktura(..) => 4,
            Kind::Tiime(..) => 1,
        }
    }

    /// Sets how the calls of the sink leave. A sink that calls no other service ignores it.
    pub fn leave_through(&mut self, egress: &Egress) {
        match self {
            Kind::Stdout(_) | Kind::File(_) => {}
            Kind::Http(options) => options.egress = egress.clone(),
            Kind::FacturationPro(_, common)
            | Kind::Efactori(_, common)
            | Kind::Tiime(_, common)
            | Kind::Fastfaktura(_, common) => common.egress = egress.clone(),
        }
    }

    /// True if the sink calls another service, so that `[outgoing]` applies to it.
    pub const fn calls_out(&self) -> bool {
        match self {
            Kind::Stdout(_) | Kind::File(_) => false,
            Kind::Http(_) | Kind::FacturationPro(..) | Kind::Efactori(..) | Kind::Tiime(..) | Kind::Fastfaktura(..) => {
                true
            }
        }
    }

    /// True for invoicing software: it is told about payments only, and needs what Finkare knows of them. Where something
    /// is written it keeps the order of each invoice in any case.
    pub const fn is_invoicing(&self) -> bool {
        match self {
            Kind::Stdout(_) | Kind::File(_) | Kind::Http(_) => false,
            Kind::FacturationPro(..) | Kind::Efactori(..) | Kind::Tiime(..) | Kind::Fastfaktura(..) => true,
        }
    }

    /// How long a whole attempt may take if the operator does not say: longer where it is several calls, of which
    /// one must not be cut off halfway.
    pub const fn default_timeout(&self) -> Duration {
        if self.is_invoicing() { Duration::from_mins(1) } else { Duration::from_secs(10) }
    }

    /// Builds the sink. `timeout` bounds a whole attempt; `desk` is used by invoicing sinks.
    ///
    /// # Errors
    /// What cannot work and what to change, in a sentence.
    pub fn build(&self, timeout: Duration, desk: impl FnOnce() -> Desk) -> Result<Arc<dyn Sink>, String> {
        Ok(match self {
            Kind::Stdout(options) => Arc::new(stdout::Stdout::new(options)),
            Kind::File(options) => Arc::new(file::File::open(options)?),
            Kind::Http(options) => Arc::new(http::Http::new(options, timeout)?),
            Kind::FacturationPro(options, common) => {
                let desk = desk();
                let books = facturation_pro::FacturationPro::new(options, common, timeout, desk.transcript.clone())?;
                Arc::new(Bookkeeper::new(books, desk, common.clone(), facturation_pro::ZONE)?)
            }
            Kind::Efactori(options, common) => {
                let desk = desk();
                let books = efactori::Efactori::new(options, common, timeout, desk.transcript.clone())?;
                Arc::new(Bookkeeper::new(books, desk, common.clone(), efactori::Options::ZONE)?)
            }
            Kind::Tiime(options, common) => {
                let desk = desk();
                let books = tiime::Tiime::new(options, common, timeout, desk.transcript.clone())?;
                Arc::new(Bookkeeper::new(books, desk, common.clone(), tiime::ZONE)?)
            }
            Kind::Fastfaktura(options, common) => {
                let desk = desk();
                let books = fastfaktura::FastFaktura::new(options, common, timeout, desk.transcript.clone())?;
                Arc::new(Bookkeeper::new(books, desk, common.clone(), fastfaktura::ZONE)?)
            }
        })
    }

    /// Looks whether the target can be reached and takes our credentials, without leaving a trace there. Needs no
    /// store.
    ///
    /// # Errors
    /// What is wrong and what to change, in a sentence.
    pub async fn check(&self, timeout: Duration) -> Result<String, String> {
        match self {
            Kind::Stdout(options) => stdout::Stdout::new(options).check().await,
            Kind::File(options) => file::File::open(options)?.check().await,
            Kind::Http(options) => http::Http::new(options, timeout)?.check().await,
            Kind::FacturationPro(options, common) => {
                facturation_pro::FacturationPro::new(options, common, timeout, None)?.check().await
            }
            Kind::Efactori(options, common) => efactori::Efactori::new(options, common, timeout, None)?.check().await,
            Kind::Tiime(options, common) => tiime::Tiime::new(options, common, timeout, None)?.check().await,
            Kind::Fastfaktura(options, common) => {
                fastfaktura::FastFaktura::new(options, common, timeout, None)?.check().await
            }
        }
    }
}

/// An address in one spelling. Scheme and host are in small letters and the default port is left out as soon as it is a
/// [`url::Url`]; what is left are a dot at the end of the host, and slashes at the end of the path.
fn canonical(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        for same in [
            "https://API.example",
            "HTTPS://api.example/",
            "https://api.example:443",
            "https://api.example.//",
            "https://api.example:443/",
        ] {
            assert_eq!(canonical(&same.parse().unwrap()), "https://api.example", "{same}");
        }
        assert_eq!(canonical(&"http://API.example:8080/V1/".parse().unwrap()), "http://api.example:8080/V1");
        assert_ne!(canonical(&"http://a.example".parse().unwrap()), canonical(&"https://a.example".parse().unwrap()));
    }

    #[test]
    fn who_only_looks_is_known_by_its_name() {
        for (name, writes) in [
            ("facturation_pro", facturation_pro::FacturationPro::WRITES),
            ("efactori", efactori::Efactori::WRITES),
            ("tiime", tiime::Tiime::WRITES),
            ("fastfaktura", fastfaktura::FastFaktura::WRITES),
        ] {
            assert!(Kind::INVOICING.contains(&name));
            assert_eq!(Kind::LOOKING.contains(&name), !writes, "{name}");
        }
    }
}
