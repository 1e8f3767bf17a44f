//! One invoicing system, as the bookkeeper needs it.

use std::fmt;

use async_trait::async_trait;
use jiff::civil::Date;

use super::api::{Answer, Api, Request, Trouble};
use crate::model::{
    booking::{Invoice, Payment},
    money::Cents,
};

/// A payment that is to stand in the books.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// As Finkare knows it.
    pub payment: &'a Payment,
    /// The number by which the system knows the invoice (`number` in the settings; Finkare's own by default).
    pub number: &'a str,
    /// The day of the payment, in the configured time zone.
    pub date: Date,
    /// What we have booked on this invoice before, by the ledger.
    pub booked_before: Cents,
    /// True if an earlier attempt may have written it: it is not known.
    pub is_uncertain: bool,
    /// Entries of the same amount that are dated within this number of days of the payment, that day included, are its
    /// [rivals](Rival); `None` if rivals are not asked for.
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
    /// Their id of it.
    pub target_id: String,
    /// Finkare's payment whose marker it bears; `None` without a marker.
    pub payment_id: Option<String>,
    /// It in a phrase for people: date, amount, reference, id.
    pub what: String,
}

/// What the books show of a payment before anything is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding<I> {
    /// This very payment stands there, by our marker.
    Booked {
        /// Their id of it.
        target_id: String,
    },
    /// The invoice is there and takes this payment.
    Open {
        /// What the write and the check after it need.
        invoice: I,
        /// What stands there of the same amount; those that we booked ourselves among them.
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
        /// What is the matter, and what to do there.
        instruction: String,
        /// True if it may be settled there without telling us: it is looked at again on schedule.
        recheck: bool,
    },
}

/// What the books show of a payment after it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// It stands there once, with this amount and our marker, and the invoice's balance agrees.
    Right,
    /// It does not stand there (yet).
    Missing {
        /// What was looked for.
        what: String,
    },
    /// It stands there, but not as it should: what we believe of this system is wrong, and nothing more may be written.
    Wrong {
        /// What differs.
        what: String,
    },
}

/// A change of an invoice's status that Finkare told.
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
    /// What `status_map` says of it.
    pub action: &'a str,
    /// The day of the event, in the configured time zone.
    pub date: Date,
}

/// What follows from a change of status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusPlan {
    /// Nothing is to be done (any more).
    Done {
        /// Why, for a person.
        why: String,
    },
    /// This is to be sent. Safe to repeat: what it brings about is looked for before.
    Write(Box<Request>),
    /// See [`Finding::Absent`].
    Absent {
        /// What to do if it stays so.
        instruction: String,
    },
    /// See [`Finding::Hold`].
    Hold {
        /// What is the matter, and what to do there.
        instruction: String,
        /// True if it may be settled there without telling us.
        recheck: bool,
    },
}

/// An invoicing system.
///
/// The bookkeeper ([`super::Bookkeeper`]) decides when what is asked; an implementation knows the calls, reads the
/// answers strictly (what it does not understand is [`Trouble::Unreadable`], never a guess), and speaks the
/// accountant's words. It never deletes, cancels, sends anything to a debtor, or changes an amount.
#[async_trait]
pub trait Books: Send + Sync + fmt::Debug + 'static {
    /// What [`Books::booking`] and [`Books::verify`] need of an open invoice. [`std::convert::Infallible`] for a
    /// system in which no payment can be recorded: so it cannot be tried.
    type Invoice: Send + Sync;

    /// False for a system in which no payment can be recorded: there only [`Books::find`] is asked.
    const WRITES: bool = true;

    /// The client.
    fn api(&self) -> &Api;

    /// Finds the invoice with exactly this number, and whether this payment stands there already. Only reads, and
    /// looks for the marker in any case.
    ///
    /// [`Finding::Open`] says: exactly one invoice, compared on our side; not a draft, not deleted, not locked, not a
    /// credit note; the same currency; and this amount is no more than what is due. If [`Wanted::is_uncertain`] and it
    /// cannot be excluded that the payment stands there, the answer is [`Finding::Hold`]; likewise where
    /// [`Wanted::rivals_within_days`] asks for rivals and they cannot be seen.
    async fn find(&self, wanted: &Wanted<'_>) -> Result<Finding<Self::Invoice>, Trouble>;

    /// By what a person makes an entry of the books recognisable as this payment, as an order: "write `finkare:x` as its
    /// reference".
    fn recognised_by(&self, wanted: &Wanted<'_>) -> Option<String>;

    /// The call that records the payment, with our marker. The only one that does.
    fn booking(&self, wanted: &Wanted<'_>, invoice: &Self::Invoice) -> Request;

    /// Their id of what was recorded.
    ///
    /// # Errors
    /// [`Trouble::Unreadable`] if the answer does not name it.
    fn receipt(&self, answer: &Answer) -> Result<String, Trouble>;

    /// Reads back what was recorded. `invoice` is as it was before the write; `None` if that is not known any more.
    async fn verify(
        &self,
        wanted: &Wanted<'_>,
        invoice: Option<&Self::Invoice>,
        target_id: &str,
    ) -> Result<Verified, Trouble>;

    /// What a change of status means here. Only reads. `action` was found good by the configuration.
    async fn status(&self, change: &StatusChange<'_>) -> Result<StatusPlan, Trouble>;

    /// Credentials, company and one harmless read, in words.
    ///
    /// # Errors
    /// What is wrong and what to change, in a sentence.
    async fn check(&self) -> Result<String, String>;
}
