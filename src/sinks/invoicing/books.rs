//! One invoicing system, as the bookkeeper needs it.

use std::fmt;

use async_trait::async_trait;
use jiff::civil::Date;

use super::api::{Answer, Api, Request, Trouble};
use crate::model::{
    booking::{Invoice, Payment},
    money::Cents,
};

/// A payment that has to be in the books.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The payment, as Finkare knows it.
    pub payment: &'a Payment,
    /// The number by which the system knows the invoice (`number` in the settings; Finkare's own by default).
    pub number: &'a str,
    /// The day of the payment, in the configured time zone.
    pub date: Date,
    /// The sum that the relay has booked on this invoice before, by the ledger.
    pub booked_before: Cents,
    /// True if an earlier attempt may have written the payment.
    pub is_uncertain: bool,
    /// Entries of the same amount that are dated within this number of days of the payment, that day included, are its
    /// [rivals](Rival); `None` if rivals are not searched for.
    pub rivals_within_days: Option<u32>,
}

impl Wanted<'_> {
    /// The payment in a phrase for people: `150.00 EUR of 2026-03-15 by sepa_debit (Finkare payment aaaa1111)`.
    pub fn in_words(&self) -> String {
        let Payment { id, amount_cents, currency, method, .. } = self.payment;
        let by = method.as_ref().map(|method| format!(" by {method}")).unwrap_or_default();
        format!("{} of {}{by} (Finkare payment {id})", amount_cents.of(currency), self.date)
    }
}

/// A payment in the books of the same amount as the one that is wanted, dated near it, without its marker: perhaps the
/// same money, booked by another person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    /// The system's id of the entry.
    pub target_id: String,
    /// Finkare's payment whose marker it bears; `None` without a marker.
    pub payment_id: Option<String>,
    /// A description for people: date, amount, reference, id.
    pub what: String,
}

/// What the books show about a payment before anything is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding<I> {
    /// The books have this payment: our marker was found.
    Booked {
        /// The system's id of the entry.
        target_id: String,
    },
    /// The invoice is there and takes this payment.
    Open {
        /// What the write and the check after it need.
        invoice: I,
        /// Entries of the same amount, including those that the relay booked itself.
        rivals: Vec<Rival>,
    },
    /// The invoice is paid there, and nothing has to be written.
    Paid {
        /// How that is known, for the ledger.
        note: String,
    },
    /// There is no such invoice, or not yet.
    Absent {
        /// What to do if it stays so.
        instruction: String,
    },
    /// A person has to act. Says what, in the words of that system.
    Hold {
        /// What the problem is, and what to do there.
        instruction: String,
        /// True if the problem may be solved there without telling the relay, which then checks again on schedule.
        recheck: bool,
    },
}

/// What the books show about a payment after it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// They have it once, with this amount and our marker, and the invoice's balance agrees.
    Right,
    /// They do not have it (yet).
    Missing {
        /// What was looked for.
        what: String,
    },
    /// They have it, but not as it should be: an assumption about this system is wrong, and nothing more may be written.
    Wrong {
        /// What differs.
        what: String,
    },
}

/// A change of an invoice's status that Finkare reported.
#[derive(Debug, Clone)]
pub struct StatusChange<'a> {
    /// The invoice, as Finkare knows it.
    pub invoice: &'a Invoice,
    /// The number by which the system knows it.
    pub number: &'a str,
    /// The status before, if the event says so.
    pub from: Option<&'a str>,
    /// The status now: free text.
    pub to: &'a str,
    /// The action that `status_map` gives for it.
    pub action: &'a str,
    /// The day of the event, in the configured time zone.
    pub date: Date,
}

/// What follows from a change of status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusPlan {
    /// Nothing has to be done (any more).
    Done {
        /// Why, for a person.
        why: String,
    },
    /// This request has to be sent. Safe to repeat: the next plan checks first whether the change was made.
    Write(Box<Request>),
    /// See [`Finding::Absent`].
    Absent {
        /// What to do if it stays so.
        instruction: String,
    },
    /// See [`Finding::Hold`].
    Hold {
        /// What the problem is, and what to do there.
        instruction: String,
        /// True if the problem may be solved there without telling the relay.
        recheck: bool,
    },
}

/// An invoicing system.
///
/// The bookkeeper ([`super::Bookkeeper`]) decides the order of the calls. An implementation knows the calls, reads the
/// answers strictly (an answer that it does not understand is [`Trouble::Unreadable`], never a guess), and writes its
/// texts for accountants. It never deletes or cancels anything, sends nothing to a debtor, and changes no amount.
#[async_trait]
pub trait Books: Send + Sync + fmt::Debug + 'static {
    /// What [`Books::booking`] and [`Books::verify`] need to know about an open invoice. [`std::convert::Infallible`] for
    /// a system in which no payment can be recorded, so that the compiler excludes a write.
    type Invoice: Send + Sync;

    /// False for a system in which no payment can be recorded: then only [`Books::find`] is used.
    const WRITES: bool = true;

    /// The client.
    fn api(&self) -> &Api;

    /// Finds the invoice with exactly this number, and whether the books have this payment already. Only reads, and
    /// always looks for the marker.
    ///
    /// [`Finding::Open`] means: exactly one invoice, compared on our side; not a draft, not deleted, not locked, not a
    /// credit note; the same currency; and this amount is no more than what is due. The answer is [`Finding::Hold`] if
    /// [`Wanted::is_uncertain`] and the payment may be there, and if [`Wanted::rivals_within_days`] asks for rivals and
    /// they cannot be seen.
    async fn find(&self, wanted: &Wanted<'_>) -> Result<Finding<Self::Invoice>, Trouble>;

    /// How a person marks an entry of the books as this payment, as an instruction: "write `finkare:x` as its reference".
    fn recognised_by(&self, wanted: &Wanted<'_>) -> Option<String>;

    /// The call that records the payment, with our marker. No other call does.
    fn booking(&self, wanted: &Wanted<'_>, invoice: &Self::Invoice) -> Request;

    /// The system's id of the recorded payment.
    ///
    /// # Errors
    /// [`Trouble::Unreadable`] if the answer does not name it.
    fn receipt(&self, answer: &Answer) -> Result<String, Trouble>;

    /// Reads the recorded payment back. `invoice` is the invoice as it was before the write; `None` if that is no longer
    /// known.
    async fn verify(
        &self,
        wanted: &Wanted<'_>,
        invoice: Option<&Self::Invoice>,
        target_id: &str,
    ) -> Result<Verified, Trouble>;

    /// What a change of status means in this system. Only reads. The configuration has checked `action`.
    async fn status(&self, change: &StatusChange<'_>) -> Result<StatusPlan, Trouble>;

    /// Checks the credentials and the company with harmless reads, and says so in words.
    ///
    /// # Errors
    /// What is wrong and what to change, in a sentence.
    async fn check(&self) -> Result<String, String>;
}
