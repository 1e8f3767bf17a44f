//! The kinds of sinks: one table, one row per kind.
//!
//! Each kind is described in its own file, by [`SinkOptions`]; the row names the type. The lists of names, the reading of
//! `type`, the page of all options and the JSON Schema are generated from this table.

use std::{any::Any, fmt, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use outgoing::Egress;

use super::{
    Message, Sink, chat, email, file, http,
    invoicing::{Desk, efactori, facturation_pro, fastfaktura, tiime},
    options::{Company, Family, OpenDesk, SinkOptions, Surroundings},
    preview::Preview,
    stdout,
};
use crate::options::{
    Problems,
    problem::{did_you_mean, listed},
    section::Section,
};

/// Every kind of sink, in the order in which they are listed.
pub const KINDS: [Row; 9] = [
    Row::of::<stdout::Options>(),
    Row::of::<file::Options>(),
    Row::of::<http::Options>(),
    Row::of::<email::Options>(),
    Row::of::<chat::Options>(),
    Row::of::<facturation_pro::Options>(),
    Row::of::<efactori::Options>(),
    Row::of::<tiime::Options>(),
    Row::of::<fastfaktura::Options>(),
];

/// Types that documents mention but this version does not have.
const PLANNED: [&str; 6] = ["nats", "amqp", "redis", "kafka", "mqtt", "sqs"];

/// One kind of sink.
#[derive(Clone, Copy)]
pub struct Row {
    /// The `type` in the configuration.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Its family, which decides about options that all sinks have.
    pub family: Family,
    /// How many attempts run at the same time by default.
    pub concurrency: u32,
    /// How long a whole attempt may take by default, in seconds.
    pub timeout_secs: u64,
    /// True if `[outgoing]` applies to it.
    pub calls_out: bool,
    read: fn(&mut Section<'_>, Surroundings<'_>) -> Option<Arc<dyn Erased>>,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Row").field(&self.name).finish()
    }
}

impl Row {
    /// The row of a kind.
    pub const fn of<T: SinkOptions>() -> Self {
        Self {
            name: T::NAME,
            about: T::ABOUT,
            family: T::FAMILY,
            concurrency: T::CONCURRENCY,
            timeout_secs: T::TIMEOUT_SECS,
            calls_out: T::CALLS_OUT,
            read: |section, surroundings| Some(Arc::new(T::read(section, surroundings)?)),
        }
    }

    /// Reads the kind's own options, and reports every remaining key as unknown. So the keys that all sinks have must be
    /// read before.
    pub(crate) fn read(self, mut section: Section<'_>, surroundings: Surroundings<'_>) -> Option<Kind> {
        let options = (self.read)(&mut section, surroundings);
        section.finish();
        Some(Kind { row: self, options: options? })
    }
}

/// The row that a sink's `type` names. `None` after a problem; the meaning of the other keys is unknown then.
pub(crate) fn named(section: &mut Section<'_>, kinds: &[Row]) -> Option<Row> {
    let names = || kinds.iter().map(|row| row.name);
    let key = section.key("type", "What kind of target it is.");
    let given = key.one_of(kinds.iter().map(|row| row.name).collect())?;
    let row = kinds.iter().find(|row| row.name == given).copied();
    if row.is_none() {
        let what = if PLANNED.contains(&given.as_str()) {
            format!("`{given}` is not in this version: it has {}", listed(names()))
        } else {
            let meant = did_you_mean(&given, names().chain(PLANNED));
            format!("`{given}` is not one of {}{meant}", listed(names()))
        };
        section.problem("type", what);
    }
    row
}

/// The options of a sink, read and checked, of whatever kind.
#[derive(Clone)]
pub struct Kind {
    row: Row,
    options: Arc<dyn Erased>,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(self.row.name).field(&self.options).finish()
    }
}

impl<T: SinkOptions> From<T> for Kind {
    fn from(options: T) -> Self {
        Self { row: Row::of::<T>(), options: Arc::new(options) }
    }
}

impl Kind {
    /// Reads the options of a single sink from TOML: its `type`, and the keys that only this kind has. Relative paths start
    /// from the working directory, `enrich` counts as set, and calls leave directly.
    ///
    /// # Errors
    /// All problems with the options.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        crate::options::read_alone(text, |mut section| {
            named(&mut section, &KINDS)?.read(section, Surroundings { is_enriched: true, egress: &Egress::default() })
        })
    }

    /// The options themselves, if they are of this kind.
    pub fn options<T: SinkOptions>(&self) -> Option<&T> {
        self.options.as_any().downcast_ref()
    }

    /// The `type`.
    pub const fn name(&self) -> &'static str {
        self.row.name
    }

    /// The row in the table.
    pub const fn row(&self) -> Row {
        self.row
    }

    /// True for invoicing software: it gets only events about payments, and needs Finkare's data about them.
    pub const fn is_invoicing(&self) -> bool {
        self.row.family.is_invoicing()
    }

    /// Builds the sink. `timeout` bounds a whole attempt; `desk` is called for invoicing sinks only.
    ///
    /// # Errors
    /// As [`SinkOptions::build`] says.
    pub fn build(&self, timeout: Duration, desk: impl FnOnce() -> Desk + Send) -> Result<Arc<dyn Sink>, String> {
        self.options.build(timeout, Box::new(desk))
    }

    /// Checks whether the target can be reached and accepts our credentials, without leaving a trace there. Needs no store.
    ///
    /// # Errors
    /// What is wrong and what to change, in a sentence.
    pub async fn check(&self, timeout: Duration) -> Result<String, String> {
        self.options.check(timeout).await
    }

    /// What this sink would send for a message. Makes no call and opens nothing.
    ///
    /// # Errors
    /// As [`SinkOptions::preview`] says.
    pub fn preview(&self, message: &Message, timeout: Duration) -> Result<Preview, String> {
        self.options.preview(message, timeout)
    }

    /// Whose books it keeps; `None` for a sink that keeps none.
    pub fn company(&self) -> Option<Company> {
        self.options.company()
    }

    /// The file that it writes to and rotates; `None` if there is none.
    pub fn file(&self) -> Option<&Path> {
        self.options.file()
    }
}

/// [`SinkOptions`] of a kind that is not known at compile time.
#[async_trait]
trait Erased: fmt::Debug + Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn build(&self, timeout: Duration, desk: OpenDesk<'_>) -> Result<Arc<dyn Sink>, String>;
    async fn check(&self, timeout: Duration) -> Result<String, String>;
    fn preview(&self, message: &Message, timeout: Duration) -> Result<Preview, String>;
    fn company(&self) -> Option<Company>;
    fn file(&self) -> Option<&Path>;
}

#[async_trait]
impl<T: SinkOptions> Erased for T {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn build(&self, timeout: Duration, desk: OpenDesk<'_>) -> Result<Arc<dyn Sink>, String> {
        SinkOptions::build(self, timeout, desk)
    }
    async fn check(&self, timeout: Duration) -> Result<String, String> {
        SinkOptions::check(self, timeout).await
    }
    fn preview(&self, message: &Message, timeout: Duration) -> Result<Preview, String> {
        SinkOptions::preview(self, message, timeout)
    }
    fn company(&self) -> Option<Company> {
        SinkOptions::company(self)
    }
    fn file(&self) -> Option<&Path> {
        SinkOptions::file(self)
    }
}
