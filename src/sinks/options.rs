//! What each kind of sink says of itself, beside its own options: [`SinkOptions`].
//!
//! The options of a sink are read and checked once, by [`SinkOptions::read`]. Whoever has a value of such a type can
//! build the sink from it without asking again. What all sinks have in common (`events`, `retry`, …) is read by
//! [`config`](crate::config).

use std::{fmt, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use outgoing::Egress;

use super::{Message, Sink, invoicing::bookkeeper::Desk, preview::Preview};
use crate::options::section::Section;

/// Opens the desk that a bookkeeper works at; called at most once, and by invoicing sinks only.
pub type OpenDesk<'a> = Box<dyn FnOnce() -> Desk + Send + 'a>;

/// What a kind of sink is for, and what follows from it for the options that all sinks have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Takes events as they are.
    Plain,
    /// Invoicing software that payments are booked in: one after the other for each invoice, and real ones only.
    Booking,
    /// Invoicing software that is only looked at, because nothing can be recorded there: no payment waits for another.
    Watching,
}

impl Family {
    /// True for invoicing software: it is told about payments only, and needs what Finkare knows of them.
    pub const fn is_invoicing(self) -> bool {
        matches!(self, Family::Booking | Family::Watching)
    }
}

/// Whose books an invoicing sink keeps: two sinks of one type with the same company would book a payment twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Company {
    /// The address, in one spelling.
    pub address: String,
    /// What tells companies apart there. It may be a secret: it is compared and never shown.
    pub id: String,
}

/// What is known outside of the kind while its options are read.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// True if the sink gets its events with what Finkare says of them (`enrich`).
    pub is_enriched: bool,
    /// How its calls leave, by the section `[outgoing]`.
    pub egress: &'a Egress,
}

/// The options of one kind of sink, read and checked, with all that the service needs to know of the kind.
#[async_trait]
pub trait SinkOptions: fmt::Debug + Send + Sync + Sized + 'static {
    /// The `type` in the configuration: a noun, after the protocol or the product.
    const NAME: &'static str;
    /// What it does, for the page of all options: a sentence or two.
    const ABOUT: &'static str;
    /// What follows for the options that all sinks have.
    const FAMILY: Family = Family::Plain;
    /// How many attempts run side by side if the operator does not say: few where each costs the target a request, many
    /// where attempts share one flush to disk.
    const CONCURRENCY: u32 = 8;
    /// How long a whole attempt may take if the operator does not say, in seconds, 1 to 300.
    const TIMEOUT_SECS: u64 = 10;

    /// True if the sink calls another service, so that a change of the section `[outgoing]` concerns it.
    const CALLS_OUT: bool = true;

    /// Reads the kind's own keys, every one of them whatever is wrong with the others. `None` after a problem, which is
    /// reported.
    fn read(section: &mut Section<'_>, surroundings: Surroundings<'_>) -> Option<Self>;

    /// Builds the sink. `timeout` bounds a whole attempt.
    ///
    /// # Errors
    /// What this machine cannot do now, such as starting a thread, in a sentence.
    fn build(&self, timeout: Duration, desk: OpenDesk<'_>) -> Result<Arc<dyn Sink>, String>;

    /// Looks whether the target can be reached and takes our credentials, without leaving a trace there.
    ///
    /// # Errors
    /// What is wrong and what to change, in a sentence.
    async fn check(&self, timeout: Duration) -> Result<String, String>;

    /// What the sink would send of a message. Makes no call and opens nothing.
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
