//! The statement of a month: what was recorded of Finkare's payments in which system, and what is not there yet.
//!
//! ```text
//! store::statement ─rows─▶ draw ─▶ Statement ─┬─▶ JSON
//!   (read piece by piece)          (pure)     ├─▶ text: for people, in French or English
//!                                             ├─▶ csv:  for a spreadsheet
//!                                             └─▶ fec:  for accounting software
//! ```
//!
//! Everything here is a pure function of rows from the ledger: nothing is asked of Finkare, and no clock is read, so that
//! the same month gives the same bytes until something changes. Amounts are whole cents of one currency; they are never
//! added across currencies. Which day decides the month, and why, is told in
//! `docs/decisions/0048-the-months-statement.md`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    str::FromStr,
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    model::{
        booking::{BookingState, Learned},
        id::{DispatchId, EventId},
        money::Cents,
    },
    store::statement::{MonthRows, Open, Recorded, Span},
};

pub mod csv;
pub mod fec;
#[cfg(test)]
mod tests;
pub mod text;

/// The zone in which the days of an endpoint begin, where none is configured.
pub const TIMEZONE: &str = "Europe/Paris";

/// The most lines of a statement: bookings, and what is not in the books yet.
pub const MOST_LINES: usize = 50_000;

/// A month, written `2026-10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Month {
    first: Date,
}

/// A text that is no month.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("it is not a month: write it like `2026-10`")]
pub struct NoMonth;

impl FromStr for Month {
    type Err = NoMonth;
    fn from_str(text: &str) -> Result<Self, NoMonth> {
        let is_plain = text.len() == 7 && text.bytes().enumerate().all(|(at, byte)| (at == 4) == (byte == b'-'));
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        let first = format!("{text}-01").parse::<Date>().map_err(|_| NoMonth)?;
        if is_plain && digits == 6 && (1970..=9998).contains(&first.year()) { Ok(Self { first }) } else { Err(NoMonth) }
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.first.year(), self.first.month())
    }
}

impl Month {
    /// Its first day.
    pub const fn first(self) -> Date {
        self.first
    }

    /// True if the day is one of the month.
    pub fn has(self, day: Date) -> bool {
        (day.year(), day.month()) == (self.first.year(), self.first.month())
    }

    /// The days in UTC between which everything of the month lies, in any time zone.
    pub fn span(self) -> (Date, Date) {
        let last = self.first.last_of_month();
        (self.first.yesterday().unwrap_or(self.first), last.tomorrow().unwrap_or(last))
    }
}

/// What a sink means for the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SinkRole)]
pub enum Role {
    /// The relay records payments there.
    Books,
    /// Payments cannot be recorded there; the relay looks whether a person has.
    Watched,
    /// It gets the events, and the relay does not know what becomes of them.
    Carries,
    /// It only tells people.
    Tells,
}

/// A configured sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkOf {
    /// Its name.
    pub name: String,
    /// Its `type`.
    pub kind: &'static str,
    /// What it means for the books.
    pub role: Role,
}

/// What statements need to know of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The configured endpoints, and the zones in which their days begin.
    pub zones: HashMap<String, TimeZone>,
    /// The configured sinks.
    pub sinks: Vec<SinkOf>,
    /// The accounts of the accounting entries.
    pub accounts: fec::Accounts,
}

impl Settings {
    /// The zone in which the days of an endpoint begin; for one that is not configured, and for none, the usual one.
    pub fn zone_of(&self, endpoint: Option<&str>) -> TimeZone {
        let known = endpoint.and_then(|endpoint| self.zones.get(endpoint)).cloned();
        known.unwrap_or_else(|| TimeZone::get(TIMEZONE).unwrap_or(TimeZone::UTC))
    }
}

/// Who makes the electronic invoice's status "encaissée" (212) known after a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reports212 {
    /// The system in which the payment is recorded, if it is the company's platform for electronic invoices.
    System,
    /// The person who marks the invoice as paid there.
    Person,
    /// The relay does not know.
    Unknown,
}

/// One payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Line {
    /// The endpoint through which it was announced, if it is known.
    #[schema(required)]
    pub endpoint: Option<String>,
    /// The id of the payment at Finkare.
    #[schema(required)]
    pub payment_id: Option<String>,
    /// The id of the invoice at Finkare.
    #[schema(required)]
    pub invoice_id: Option<String>,
    /// The number of the invoice.
    #[schema(required)]
    pub invoice_number: Option<String>,
    /// The debtor's name, until the invoice is erased.
    #[schema(required)]
    pub debtor: Option<String>,
    /// The amount, in cents.
    #[schema(required)]
    pub amount_cents: Option<i64>,
    /// The amount's currency, such as `EUR`.
    #[schema(required)]
    pub currency: Option<String>,
    /// How it was paid: `card`, `bank_transfer`, `sepa_debit`, `payment_link`, or another word of Finkare's.
    #[schema(required)]
    pub method: Option<String>,
    /// The day on which it was paid, in the time zone of the endpoint.
    #[schema(required, value_type = Option<String>, format = Date)]
    pub paid_on: Option<Date>,
}

/// A payment that is in the books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BookedLine {
    #[serde(flatten)]
    pub(crate) line: Line,
    /// `booked`: the relay recorded it; `seen`: it was recorded there already.
    pub(crate) state: BookingState,
    /// When the booking was finished.
    pub(crate) booked_at: Timestamp,
    /// The same as a day, in the time zone of the endpoint.
    #[schema(value_type = String, format = Date)]
    pub(crate) booked_on: Date,
    /// The id of the record in the books.
    #[schema(required)]
    pub(crate) target_id: Option<String>,
}

impl BookedLine {
    /// The day that decides the month: that of the payment, or where it is unknown that of the booking.
    pub(crate) fn day(&self) -> Date {
        self.line.paid_on.unwrap_or(self.booked_on)
    }
}

/// A payment that is not in the books yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenLine {
    #[serde(flatten)]
    pub(crate) line: Line,
    /// `held`: a person has to decide; `dead`: given up; `pending`: the relay tries again by itself; `reserved`, `sending`,
    /// `written`: it is being recorded, and it is not certain that it is there.
    pub(crate) state: String,
    /// Why, and what to do.
    #[schema(required)]
    pub(crate) reason: Option<String>,
    /// The dispatch.
    #[schema(required)]
    pub(crate) dispatch_id: Option<DispatchId>,
    /// The event.
    pub(crate) event_id: EventId,
    /// The day on which the event was received, or the booking begun, in the time zone of the endpoint.
    #[schema(value_type = String, format = Date)]
    pub(crate) since: Date,
}

impl OpenLine {
    fn day(&self) -> Date {
        self.line.paid_on.unwrap_or(self.since)
    }
}

/// The sum of the amounts of one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sum {
    /// Such as `EUR`; null for amounts whose currency is unknown.
    #[schema(required)]
    pub(crate) currency: Option<String>,
    /// How many payments.
    pub(crate) count: u64,
    /// Their sum in cents; null if it is larger than any amount of money.
    #[schema(required)]
    pub(crate) amount_cents: Option<i64>,
}

/// One sink's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SinkPart {
    /// The sink.
    pub(crate) sink: String,
    /// Its type; null if it is no longer configured.
    #[schema(required)]
    pub(crate) r#type: Option<String>,
    /// Who makes the status "encaissée" (212) of the electronic invoice known.
    pub(crate) reports_212: Reports212,
    /// The payments that are in the books, by the day on which they were paid.
    pub(crate) bookings: Vec<BookedLine>,
    /// Their sums, one for each currency.
    pub(crate) sums: Vec<Sum>,
    /// The payments that are not in the books yet.
    pub(crate) open: Vec<OpenLine>,
    /// Their sums, one for each currency.
    pub(crate) open_sums: Vec<Sum>,
}

/// The statement of a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Statement {
    /// The month, such as `2026-10`.
    pub(crate) month: String,
    /// The endpoint to which it is limited.
    #[schema(required)]
    pub(crate) endpoint: Option<String>,
    /// The sink to which it is limited.
    #[schema(required)]
    pub(crate) sink: Option<String>,
    /// The sinks, by name.
    pub(crate) sinks: Vec<SinkPart>,
}

/// Which statement.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The month.
    pub month: Month,
    /// Only payments of this endpoint.
    pub endpoint: Option<String>,
    /// Only this sink.
    pub sink: Option<String>,
    /// Nothing but what is in the books.
    pub booked_only: bool,
    /// The endpoints that the reader may see; `None`: all.
    pub endpoints: Option<Vec<String>>,
    /// The sinks whose bookings the reader may see; `None`: all.
    pub books: Option<Vec<String>>,
    /// The sinks that the reader may know of; `None`: all.
    pub known: Option<Vec<String>>,
}

impl Wanted {
    /// What has to be read from the store.
    pub fn span(&self, settings: &Settings) -> Span {
        let (first, last) = self.month.span();
        let books = self.sink.clone().map_or_else(
            || self.books.clone(),
            |sink| {
                let may = self.books.as_ref().is_none_or(|books| books.contains(&sink));
                Some(if may { vec![sink] } else { Vec::new() })
            },
        );
        // Those that only tell people are no part of the books, unless they are asked for.
        let tells = |name: &String| settings.sinks.iter().any(|sink| sink.name == *name && sink.role == Role::Tells);
        let configured = || settings.sinks.iter().map(|sink| sink.name.clone());
        let sinks = match &self.sink {
            Some(sink) => vec![sink.clone()],
            None => self
                .known
                .clone()
                .unwrap_or_else(|| configured().collect())
                .into_iter()
                .filter(|name| !tells(name))
                .collect(),
        };
        let endpoints = self.endpoint.clone().map(|endpoint| vec![endpoint]).or_else(|| self.endpoints.clone());
        Span { first, last, endpoints, books, sinks: Some(sinks), booked_only: self.booked_only }
    }
}

/// Draws up a statement from what the store has read.
pub fn draw(wanted: &Wanted, settings: &Settings, rows: MonthRows) -> Statement {
    let mut parts: BTreeMap<String, SinkPart> = BTreeMap::new();
    let is_asked = |sink: &SinkOf| {
        if let Some(name) = &wanted.sink {
            return sink.name == *name;
        }
        let is_known = wanted.known.as_ref().is_none_or(|known| known.contains(&sink.name));
        is_known && matches!(sink.role, Role::Books | Role::Watched)
    };
    for sink in settings.sinks.iter().filter(|sink| is_asked(sink)) {
        parts.insert(sink.name.clone(), part(&sink.name, settings));
    }
    let mut of = |sink: &str, put: &mut dyn FnMut(&mut SinkPart)| {
        put(parts.entry(sink.to_owned()).or_insert_with(|| part(sink, settings)));
    };

    // What moves while it is read may be read twice: the furthest state counts.
    let mut done: HashSet<(String, String)> = HashSet::new();
    let mut events: HashSet<(String, EventId)> = HashSet::new();
    for recorded in rows.finished {
        let sink = recorded.booking.sink.clone();
        let is_new = done.insert((sink.clone(), recorded.booking.payment_id.clone()));
        events.insert((sink.clone(), recorded.booking.event_id));
        let line = booked(recorded, settings);
        if is_new && wanted.month.has(line.day()) {
            of(&sink, &mut |part| part.bookings.push(line.clone()));
        }
    }
    for open in rows.open {
        let sink = open.sink.clone();
        let is_new = events.insert((sink.clone(), open.event_id));
        let line = waiting(open, settings);
        let payment = line.line.payment_id.clone().map(|payment| (sink.clone(), payment));
        if is_new && !payment.is_some_and(|payment| done.contains(&payment)) && wanted.month.has(line.day()) {
            of(&sink, &mut |part| part.open.push(line.clone()));
        }
    }
    for recorded in rows.begun {
        let sink = recorded.booking.sink.clone();
        let is_new = !done.contains(&(sink.clone(), recorded.booking.payment_id.clone()));
        let line = begun(recorded, settings);
        if is_new && events.insert((sink.clone(), line.event_id)) && wanted.month.has(line.day()) {
            of(&sink, &mut |part| part.open.push(line.clone()));
        }
    }

    let mut sinks: Vec<SinkPart> = parts.into_values().collect();
    for part in &mut sinks {
        part.bookings.sort_by(|a, b| {
            let key = |line: &BookedLine| (line.day(), line.booked_at, line.line.payment_id.clone());
            key(a).cmp(&key(b))
        });
        part.open.sort_by_key(|line| (line.day(), line.event_id, line.dispatch_id));
        part.sums = sums(part.bookings.iter().map(|line| &line.line));
        part.open_sums = sums(part.open.iter().map(|line| &line.line));
    }
    Statement { month: wanted.month.to_string(), endpoint: wanted.endpoint.clone(), sink: wanted.sink.clone(), sinks }
}

fn part(name: &str, settings: &Settings) -> SinkPart {
    let configured = settings.sinks.iter().find(|sink| sink.name == name);
    SinkPart {
        sink: name.to_owned(),
        r#type: configured.map(|sink| sink.kind.to_owned()),
        reports_212: match configured.map(|sink| sink.role) {
            Some(Role::Books) => Reports212::System,
            Some(Role::Watched) => Reports212::Person,
            Some(Role::Carries | Role::Tells) | None => Reports212::Unknown,
        },
        bookings: Vec::new(),
        sums: Vec::new(),
        open: Vec::new(),
        open_sums: Vec::new(),
    }
}

/// The line of a booking, and the zone of its days.
fn of_booking(recorded: &Recorded, settings: &Settings) -> (Line, TimeZone) {
    let Recorded { booking, learned } = recorded;
    let endpoint = learned.as_ref().map(|learned| learned.endpoint.clone());
    let zone = settings.zone_of(endpoint.as_deref());
    let learned = learned.clone();
    let (debtor, method, paid_at) =
        learned.map_or((None, None, None), |Learned { debtor, method, paid_at, .. }| (debtor, method, paid_at));
    let line = Line {
        endpoint,
        payment_id: Some(booking.payment_id.clone()),
        invoice_id: Some(booking.invoice_id.clone()),
        invoice_number: Some(booking.invoice_number.clone()),
        debtor,
        amount_cents: Some(booking.amount_cents.0),
        currency: Some(booking.currency.clone()),
        method,
        paid_on: paid_at.map(|paid_at| paid_at.date(&zone)),
    };
    (line, zone)
}

fn booked(recorded: Recorded, settings: &Settings) -> BookedLine {
    let (line, zone) = of_booking(&recorded, settings);
    let booking = recorded.booking;
    BookedLine {
        line,
        state: booking.state,
        booked_at: booking.changed_at,
        booked_on: booking.changed_at.to_zoned(zone).date(),
        target_id: booking.target_id,
    }
}

fn begun(recorded: Recorded, settings: &Settings) -> OpenLine {
    let (line, zone) = of_booking(&recorded, settings);
    let booking = recorded.booking;
    OpenLine {
        line,
        state: booking.state.as_str().to_owned(),
        reason: booking.note,
        dispatch_id: None,
        event_id: booking.event_id,
        since: booking.changed_at.to_zoned(zone).date(),
    }
}

fn waiting(open: Open, settings: &Settings) -> OpenLine {
    let zone = settings.zone_of(Some(&open.endpoint));
    let said = open.payload.as_deref().and_then(Said::read).unwrap_or_default();
    let known = open.known;
    let line = Line {
        endpoint: Some(open.endpoint).filter(|endpoint| !endpoint.is_empty()),
        payment_id: known.as_ref().and_then(|known| known.payment_id.clone()),
        invoice_id: known.as_ref().map(|known| known.invoice_id.clone()).or(open.invoice_id),
        invoice_number: known.as_ref().and_then(|known| known.invoice_number.clone()),
        debtor: known.as_ref().and_then(|known| known.debtor.clone()),
        amount_cents: known.as_ref().map(|known| known.amount_cents.0).or(said.amount_cents),
        currency: known.as_ref().and_then(|known| known.currency.clone()).or(said.currency),
        method: known.as_ref().and_then(|known| known.method.clone()),
        paid_on: known.and_then(|known| known.paid_at).map(|paid_at| paid_at.date(&zone)),
    };
    OpenLine {
        line,
        state: open.state.to_string(),
        reason: open.reason,
        dispatch_id: Some(open.id),
        event_id: open.event_id,
        since: open.received_at.to_zoned(zone).date(),
    }
}

/// What the body of an event says that nobody has looked up yet.
#[derive(Debug, Default)]
struct Said {
    amount_cents: Option<i64>,
    currency: Option<String>,
}

impl Said {
    fn read(payload: &[u8]) -> Option<Self> {
        let body: serde_json::Value = serde_json::from_slice(payload).ok()?;
        let data = body.get("data")?;
        let is_code = |text: &&str| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        Some(Self {
            amount_cents: data.get("amountCents").and_then(serde_json::Value::as_i64).filter(|cents| *cents > 0),
            currency: data.get("currency").and_then(serde_json::Value::as_str).filter(is_code).map(Into::into),
        })
    }
}

/// One sum for each currency. A payment of an unknown amount is counted with none.
fn sums<'l>(lines: impl Iterator<Item = &'l Line>) -> Vec<Sum> {
    let mut sums: BTreeMap<Option<&str>, (u64, Option<Cents>)> = BTreeMap::new();
    for line in lines {
        let (count, total) = sums.entry(line.currency.as_deref()).or_insert((0, Some(Cents::ZERO)));
        *count += 1;
        *total = total.and_then(|total| total.checked_add(Cents(line.amount_cents.unwrap_or_default())));
    }
    let sum = |(currency, (count, total)): (Option<&str>, (u64, Option<Cents>))| Sum {
        currency: currency.map(ToOwned::to_owned),
        count,
        amount_cents: total.map(|total| total.0),
    };
    sums.into_iter().map(sum).collect()
}
