//! A reconciliation: Finkare's payments of a period, compared with the events that announced them and with what became of
//! them, to the cent.
//!
//! Amounts are whole cents, and each sum is of one currency.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::id::{EventId, SinkName};

/// A payment as Finkare shows it.
pub type AtFinkare = finkare::Payment;

/// The id of a report: a UUID v7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct ReportId(pub Uuid);

impl ReportId {
    /// A new id.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for ReportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ReportId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

macro_rules! words {
    ($(#[$about:meta])* $name:ident: $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        $(#[$about])*
        pub enum $name {
            $($(#[$doc])* $variant),+
        }

        impl $name {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for it, the same everywhere.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            /// The one with this word.
            pub fn read(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What differs.
    DifferenceKind:
    /// Finkare has a completed payment, and no event announced it.
    NeverAnnounced = "never_announced",
    /// An event announces a payment that Finkare does not have.
    UnknownPayment = "unknown_payment",
    /// The amount or the currency is not the same everywhere.
    AmountDiffers = "amount_differs",
    /// A sink that keeps books was never given the payment, or did not book it.
    NotBooked = "not_booked",
    /// The payment waits for a person in a sink.
    Held = "held",
    /// The payment was given up in a sink.
    Dead = "dead",
    /// The payment is in the books, and has been refunded, or has failed, since.
    RefundedAfterBooking = "refunded_after_booking",
    /// The ledger says that the payment is in the books, and the books no longer show it.
    NotInBooks = "not_in_books",
}

words! {
    /// The state of a report.
    #[schema(as = ReconciliationState)]
    ReportState:
    /// It is being made.
    Running = "running",
    /// It is complete.
    Done = "done",
    /// It was given up; `problem` says why.
    Failed = "failed",
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PaymentDifference)]
pub struct Difference {
    /// What differs.
    pub kind: DifferenceKind,
    /// The payment's id at Finkare. Null for an event that names no payment and has none.
    #[schema(required)]
    pub payment_id: Option<String>,
    /// The invoice's id at Finkare.
    #[schema(required)]
    pub invoice_id: Option<String>,
    /// The amount in cents: Finkare's, or for an unknown payment what the event says.
    #[schema(required)]
    pub amount_cents: Option<i64>,
    /// The currency of the amount, such as `EUR`; null if nobody says it.
    #[schema(required)]
    pub currency: Option<String>,
    /// When it was paid, according to Finkare: a time, or a day.
    #[schema(required)]
    pub paid_at: Option<String>,
    /// The sink, if the difference is about one.
    #[schema(required)]
    pub sink: Option<String>,
    /// What is the matter, and what to do.
    pub detail: String,
    /// The event that announces the payment; for a payment that was never announced, the event that `fill` has made.
    #[schema(required)]
    pub event_id: Option<EventId>,
}

/// A number of payments and their sum, in one currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// How many payments.
    pub payments: u64,
    /// Their sum in cents.
    pub cents: i64,
}

impl Sum {
    /// Adds one payment.
    pub fn add(&mut self, cents: i64) {
        self.payments += 1;
        self.cents = self.cents.saturating_add(cents);
    }
}

/// What became of the payments in one sink, in one currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkSums {
    /// What is in the books.
    pub booked: Sum,
    /// How many payments wait for a person.
    pub held: u64,
    /// How many are on their way.
    pub open: u64,
    /// How many were given up.
    pub dead: u64,
}

/// The sums of one currency.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// The completed payments at Finkare.
    pub finkare: Sum,
    /// Those that an event announced, with the amounts of the events; and the events without a payment.
    pub events: Sum,
    /// By sink.
    pub sinks: BTreeMap<String, SinkSums>,
}

/// The sums by currency; an empty text stands for an unknown one.
pub type SumsByCurrency = BTreeMap<String, Sums>;

/// A reconciliation that is to be begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReport {
    /// Its id.
    pub id: ReportId,
    /// The endpoint.
    pub endpoint: String,
    /// The first day.
    pub since: Date,
    /// The last day.
    pub until: Date,
    /// Whether payments that were never announced become events.
    pub fill: bool,
    /// Who asked: the name of an admin token and so on, or `schedule`.
    pub actor: String,
}

/// What the differences of a finished report are, in short: to tell of a change, and of nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The same for the same differences.
    pub fingerprint: i64,
    /// The sum of the payments that differ, each counted once, by currency; an empty text stands for an unknown one.
    pub amounts: BTreeMap<String, i64>,
    /// The first day of a payment that differs.
    pub earliest: Option<Date>,
}

impl Summary {
    /// The summary of these differences.
    pub fn of(differences: &[Difference]) -> Self {
        let mut hash = Sha256::new();
        let mut amounts: BTreeMap<String, i64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut lines: Vec<String> = Vec::with_capacity(differences.len());
        for difference in differences {
            let Difference { kind, payment_id, sink, event_id, amount_cents, currency, .. } = difference;
            // The event that `fill` has made says nothing new of a payment.
            let event = event_id.filter(|_| payment_id.is_none()).map(|event| event.to_string());
            lines.push(format!("{kind} {payment_id:?} {sink:?} {event:?}"));
            let which = (payment_id.clone(), event);
            if let Some(cents) = amount_cents
                && seen.insert(which)
            {
                let sum = amounts.entry(currency.clone().unwrap_or_default()).or_default();
                *sum = sum.saturating_add(*cents);
            }
        }
        lines.sort_unstable();
        for line in lines {
            hash.update((line.len() as u64).to_be_bytes());
            hash.update(line);
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hash.finalize()[..8]);
        let day = |difference: &Difference| difference.paid_at.as_deref()?.get(..10)?.parse().ok();
        Self { fingerprint: i64::from_be_bytes(first), amounts, earliest: differences.iter().filter_map(day).min() }
    }
}

/// A report, as far as it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was asked.
    pub asked: NewReport,
    /// Its state.
    pub state: ReportState,
    /// When it was begun.
    pub started_at: Timestamp,
    /// When it was finished.
    pub finished_at: Option<Timestamp>,
    /// The sums.
    pub sums: SumsByCurrency,
    /// How many differences there are, by kind.
    pub counts: BTreeMap<DifferenceKind, u64>,
    /// How many of Finkare's payments could not be read.
    pub unreadable: u64,
    /// Why it was given up, or what hinders it now.
    pub problem: Option<String>,
    /// What the differences are, in short; once it is done.
    pub summary: Option<Summary>,
}

impl Report {
    /// How many differences there are.
    pub fn differences(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The currency of the report's own sums: EUR if there is any, or if there is nothing; else the one with the most
    /// payments.
    pub fn main_currency(&self) -> &str {
        if self.sums.is_empty() || self.sums.contains_key("EUR") {
            return "EUR";
        }
        let weight = |sums: &Sums| sums.finkare.payments + sums.events.payments;
        let most = self.sums.iter().max_by_key(|(name, sums)| (!name.is_empty(), weight(sums)));
        most.map_or("EUR", |(name, _)| name.as_str())
    }
}

/// A sink that takes payments, as a reconciliation sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taker {
    /// The sink.
    pub name: SinkName,
    /// True if it keeps books, so that the ledger says what is in them.
    pub keeps_books: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_and_is_the_json() {
        for kind in DifferenceKind::ALL {
            assert_eq!(DifferenceKind::read(kind.as_str()), Some(*kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for state in ReportState::ALL {
            assert_eq!(ReportState::read(state.as_str()), Some(*state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
