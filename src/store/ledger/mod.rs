//! What the store promises about payments: which event announces which payment, and what was written of each payment
//! in which sink.
//!
//! All writes are durable when they return, on both stores: nothing may be written into a company's books that is not
//! stored here first. Times are the store's clock.
//!
//! [`LedgerStore`] is implemented in `sql`, once for both databases; `rows` holds the rows that are read, and the
//! decisions that follow from them.

use std::{collections::HashSet, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{error::StoreError, page::Page};
use crate::model::{
    audit::NewAudit,
    booking::{Announced, Assignment, Booking, BookingState, BookingToken, Learned, NewBooking},
    id::{EventId, SinkName},
    money::Cents,
};

pub(in crate::store) mod rows;
pub(in crate::store) mod sql;

/// The result of assigning a payment to an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assigned {
    /// The payment now belongs to this event, or already did.
    Ours,
    /// The event already had another payment, which stays.
    Another(Assignment),
    /// A reconciliation had made the event that has the payment, and this event is its late announcement: both mean the same
    /// payment. Stored; each payment has at most one late announcement.
    Late,
    /// Another event of the endpoint has the payment.
    Taken,
}

/// An event that announces a payment and has none yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unassigned {
    /// The event.
    pub event_id: EventId,
    /// When it was received.
    pub received_at: Timestamp,
    /// The verified message.
    pub payload: Vec<u8>,
    /// True while one of its dispatches is unfinished.
    pub is_open: bool,
}

/// The largest payload, in bytes, of an event among the [`Unassigned`]. Finkare's are far smaller.
pub const LARGEST_ANNOUNCEMENT: u32 = 16 * 1024;

/// How many of the latest announcements are searched for a part of an invoice number or of a name.
pub const SEARCHED_FOR_PARTS: u32 = 20_000;

/// What a person searches for: a payment's id, an amount, or an invoice number or a debtor's name or a part of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// As it was typed.
    pub text: String,
    /// The same as a part of [`number_key`].
    pub number: String,
    /// The amount that it may be.
    pub amount: Option<Cents>,
}

impl Search {
    /// Builds a search from a text as typed; `None` if nothing can be found by it.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_usable = !text.is_empty() && !text.contains('\0');
        is_usable.then(|| Self { text: text.to_owned(), number: number_key(text), amount: Cents::typed(text) })
    }
}

/// An invoice number, or a name, in the form in which it is searched: without the difference between capitals and small letters.
pub fn number_key(number: &str) -> String {
    number.trim().to_lowercase()
}

/// The result of beginning a booking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BookingBegun {
    /// The booking is ours, `reserved`, and the payment had none before.
    Begun,
    /// The booking was unfinished under the given token. It is ours now, in its previous state; if that is `sending`,
    /// it is unknown what the earlier holder did. Read it again now: the token may have been read while the booking
    /// was still `reserved`, and its holder may have sent since.
    TakenOver,
    /// There is a booking of the payment already, as given here; nothing was changed.
    Exists(Booking),
    /// Another payment of the same invoice number is `reserved` or `sending` in this sink; nothing was changed.
    Busy(Booking),
}

/// The next state of a booking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// Its new state: `written`, `booked` or `seen`.
    pub state: BookingState,
    /// The target's own id; `None` keeps the stored one.
    pub target_id: Option<String>,
    /// A note for a person; `None` keeps the stored one. It outlives an erasure of the invoice, so it must hold no
    /// names and no text of the target's.
    pub note: Option<String>,
}

/// What a person has found in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// The payment is recorded there: the booking becomes `booked`, with a note that says who said so.
    Recorded {
        /// The payment's id in the target, if it was given.
        target_id: Option<String>,
    },
    /// The payment is not recorded there: the booking is removed, and the next attempt writes it.
    NotRecorded,
}

/// The result of a person's statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The booking is now as the person said.
    Settled,
    /// The booking was begun too recently; nothing was changed.
    TooEarly(Booking),
    /// There is nothing to settle: the booking is finished already.
    Finished(Booking),
    /// There is no such booking.
    Unknown,
}

/// Which bookings to list; `None` everywhere lists all.
#[derive(Debug, Clone, Default)]
pub struct BookingFilter {
    /// Only in this sink.
    pub sink: Option<String>,
    /// Only in these sinks.
    pub sinks: Option<Vec<String>>,
    /// Only in this state.
    pub state: Option<BookingState>,
    /// Only of this payment.
    pub payment_id: Option<String>,
    /// Only of this invoice, by Finkare's id.
    pub invoice_id: Option<String>,
    /// Only of this invoice, by its number.
    pub invoice_number: Option<String>,
    /// Only what has this id in the target.
    pub target_id: Option<String>,
    /// Only what got its state at this time or later.
    pub since: Option<Timestamp>,
    /// Only what got its state before this time.
    pub until: Option<Timestamp>,
    /// Only bookings after this one in the list: the cursor, a number of [`LedgerStore::bookings`].
    pub before: Option<i64>,
}

/// The part of the store that is about the ledger.
#[async_trait]
pub trait LedgerStore: Send + Sync {
    /// The payment that an event announces, if that has been decided; also for a [late](Assigned::Late) announcement.
    async fn assignment(&self, event: EventId) -> Result<Option<Assignment>, StoreError>;

    /// All assignments of an invoice's payments in an endpoint, in no particular order.
    async fn assignments(&self, endpoint: &str, invoice_id: &str) -> Result<Vec<Assignment>, StoreError>;

    /// The invoice's payments that this event cannot announce, because they belong to other events. A payment whose event a
    /// reconciliation has made is not among them before its late announcement is known.
    async fn taken(&self, endpoint: &str, invoice_id: &str, event: EventId) -> Result<HashSet<String>, StoreError> {
        let assignments = self.assignments(endpoint, invoice_id).await?;
        let of_others = assignments.into_iter().filter(|assignment| assignment.event_id != event);
        Ok(of_others.map(|assignment| assignment.payment_id).collect())
    }

    /// Decides that the event announces the payment. An event has at most one payment, and a payment at most one
    /// event in each endpoint. If two callers ask at the same time, one gets it.
    ///
    /// # Errors
    /// [`StoreError::Open`] if the event is not stored (any more).
    async fn assign(&self, assignment: &Assignment) -> Result<Assigned, StoreError>;

    /// The newest events of an invoice in an endpoint that announce a payment (`payment.received`), have none assigned and
    /// have a payload of no more than [`LARGEST_ANNOUNCEMENT`] bytes; at most `limit`.
    async fn unassigned(&self, endpoint: &str, invoice_id: &str, limit: u32) -> Result<Vec<Unassigned>, StoreError>;

    /// Stores what is known of an event's payment, for lists and searches, and with the event's assignment if that is of
    /// this payment ([`Learned`]). A value that is unknown now stays as it was. Nothing is stored for an event that is not
    /// stored, and no name for one whose payload is gone. The entry is deleted with its event, or when its invoice is
    /// erased; what is stored with the assignment stays without the name.
    async fn note_announced(&self, known: &Announced) -> Result<(), StoreError>;

    /// What was learned of these events' payments, in no particular order. Events without an assignment are left out.
    async fn learned(&self, events: &[EventId]) -> Result<Vec<Learned>, StoreError>;

    /// What is known of these events' payments, in no particular order. Events without a known payment are left out.
    async fn announced(&self, events: &[EventId]) -> Result<Vec<Announced>, StoreError>;

    /// The events whose payment a search finds, the newest first; at most `limit`. A part of a number or name is searched
    /// among the latest [`SEARCHED_FOR_PARTS`] only, everything else in all of them.
    async fn find_announced(&self, search: &Search, limit: u32) -> Result<Vec<EventId>, StoreError>;

    /// The booking of a payment in a sink.
    async fn booking(&self, sink: &SinkName, payment_id: &str) -> Result<Option<Booking>, StoreError>;

    /// Reserves a payment in a sink, before the relay reads anything there.
    ///
    /// There is at most one booking for each sink and payment. A booking that is `reserved` or `sending` is only
    /// taken over by a caller that names its token in `take_over`, and keeps its state; if two callers do so at the
    /// same time, one succeeds. While a booking is `reserved` or `sending`, no other payment with the same invoice
    /// number is begun in this sink, so that two callers never check the same balance. A repeated call with the same
    /// token, while the booking is unfinished, returns the same result and writes nothing.
    ///
    /// A booking that is taken over keeps its number and its `changed_at`; its event and `began_at` are the new ones.
    /// If the new one names another invoice, invoice number, amount or currency, it is not taken over and the result
    /// is [`BookingBegun::Exists`]: the payment may be recorded in the target under the old values.
    async fn begin_booking(
        &self,
        new: &NewBooking,
        take_over: Option<BookingToken>,
    ) -> Result<BookingBegun, StoreError>;

    /// Stores that a payment is about to be sent, right before it is sent. A booking that is `reserved` or `sending`
    /// under this token becomes `sending`, and its `began_at` is now, also if it was `sending` already. False if the
    /// booking is not ours (any more): then nothing may be sent.
    ///
    /// `settles_in` says for how long from now the write may still be carried out. The booking keeps it
    /// ([`Booking::settles_in`]), and never less than an earlier sender's value.
    async fn send_booking(
        &self,
        sink: &SinkName,
        payment_id: &str,
        token: BookingToken,
        settles_in: Duration,
    ) -> Result<bool, StoreError>;

    /// Removes a booking that is `reserved` or `sending` under this token: it is certain that nothing was written. False if
    /// there is no such booking.
    async fn withdraw_booking(
        &self,
        sink: &SinkName,
        payment_id: &str,
        token: BookingToken,
    ) -> Result<bool, StoreError>;

    /// Applies a person's statement on an unfinished booking, after a look into the target: see [`Word`]. The audit
    /// entry is written with it, if anything is changed, and gets the booking's values: `recorded`, `was` (its
    /// state), `invoice_number`, `amount_cents`, `currency`, `target_id`.
    ///
    /// Only for a booking that was begun at least `quiet_for` ago, so that no process is working on it any more.
    async fn settle_booking(
        &self,
        sink: &SinkName,
        payment_id: &str,
        word: &Word,
        quiet_for: Duration,
        audit: NewAudit,
    ) -> Result<Settled, StoreError>;

    /// Advances a booking that is `reserved`, `sending` or `written` under this token, and returns `None`. If another
    /// process has advanced it, returns the booking as it is, unchanged. A repeated call with the very same advance
    /// returns the same result.
    ///
    /// # Errors
    /// [`StoreError::Open`] if there is no booking at all, or if the new state is `reserved` or `sending`.
    async fn advance_booking(
        &self,
        sink: &SinkName,
        payment_id: &str,
        token: BookingToken,
        advance: &Advance,
    ) -> Result<Option<Booking>, StoreError>;

    /// The sum that we have written for an invoice in a sink (`written` and `booked`), by the invoice number that the
    /// target uses.
    async fn booked_cents(&self, sink: &SinkName, invoice_number: &str) -> Result<Cents, StoreError>;

    /// Lists bookings, newest first, each with its number; at most `limit` rows.
    async fn bookings(&self, filter: &BookingFilter, limit: u32) -> Result<Page<(i64, Booking)>, StoreError>;

    /// Deletes finished bookings (`booked`, `seen`) that have not changed for this long, the oldest first; at most
    /// `limit`. Returns how many.
    ///
    /// Also deletes assignments of that age, at most `limit`, if neither their event nor any booking of their payment
    /// is stored any more: as long as one of these is stored, the payment must not become free for another event.
    async fn purge_bookings(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError>;
}
