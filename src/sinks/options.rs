//! [`SinkOptions`]: the options of a kind of sink, and its description.
//!
//! [`SinkOptions::read`] reads and checks the options of a sink once. The sink can then be built from them without further
//! checks. [`config`](crate::config) reads the options that all sinks have (`events`, `retry`, …).

use std::{fmt, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use outgoing::Egress;

use super::{Message, Sink, invoicing::bookkeeper::Desk, preview::Preview};
use crate::options::section::Section;

/// Opens the desk of a bookkeeper; called at most once, and by invoicing sinks only.
pub type OpenDesk<'a> = Box<dyn FnOnce() -> Desk + Send + 'a>;

/// The purpose of a kind of sink, which decides about options that all sinks have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Takes events as they are.
    Plain,
    /// Invoicing software in which payments are booked: one after the other for each invoice, and only real ones.
    Booking,
    /// Invoicing software that is only watched, because no payment can be recorded there: no payment waits for another.
    Watching,
}

impl Family {
    /// True for invoicing software: it gets only events about payments, and needs Finkare's data about them.
    pub const fn is_invoicing(self) -> bool {
        matches!(self, Family::Booking | Family::Watching)
    }
}

/// Whose books an invoicing sink keeps: two sinks of one type with the same company would book a payment twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Company {
    /// The address, in one spelling.
    pub address: String,
    /// The id that distinguishes companies there. It may be a secret: it is compared and never shown.
    pub id: String,
}

/// Facts from outside the kind that reading its options may need.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// True if the sink gets its events with Finkare's data about them (`enrich`).
    pub is_enriched: bool,
    /// How its calls leave, by the section `[outgoing]`.
    pub egress: &'a Egress,
}

/// The options of one kind of sink, read and checked, with everything that the service needs to know about the kind.
#[async_trait]
pub trait SinkOptions: fmt::Debug + Send + Sync + Sized + 'static {
    /// The `type` in the configuration: a noun, named after the protocol or the product.
    const NAME: &'static str;
    /// What it does, for the page of all options: a sentence or two.
    const ABOUT: &'static str;
    /// The kind's family, which decides about options that all sinks have.
    const FAMILY: Family = Family::Plain;
    /// How many attempts run at the same time by default: few if each costs the target a request, many if attempts share
    /// one flush to disk.
    const CONCURRENCY: u32 = 8;
    /// How long a whole attempt may take by default, in seconds, 1 to 300.
    const TIMEOUT_SECS: u64 = 10;

    /// True if the sink calls another service, so that a change of the section `[outgoing]` affects it.
    const CALLS_OUT: bool = true;

    /// Reads all of the kind's own keys, even after a problem with one of them. `None` after a problem, which is reported.
    fn read(section: &mut Section<'_>, surroundings: Surroundings<'_>) -> Option<Self>;

    /// Builds the sink. `timeout` bounds a whole attempt.
    ///
    /// # Errors
    /// What this machine cannot do at present, such as starting a thread, in a sentence.
    fn build(&self, timeout: Duration, desk: OpenDesk<'_>) -> Result<Arc<dyn Sink>, String>;

    /// Checks whether the target can be reached and accepts our credentials, without leaving a trace there.
    ///
    /// # Errors
    /// What is wrong and what to change, in a sentence.
    async fn check(&self, timeout: Duration) -> Result<String, String>;

    /// What the sink would send for a message. Makes no call and opens nothing.
    ///
    /// # Errors
    /// Why there is nothing to send, in a sentence.
    fn preview(&self, message: &Message, timeout: Duration) -> Result<Preview, String>;

    /// Whose books it keeps; `None` for a sink that keeps none.
    fn company(&self) -> Option<Company> {
        None
    }

    /// The file that it writes to and rotates, which no second sink may do; `None` if there is none.
    fn file(&self) -> Option<&Path> {
        None
    }
}
