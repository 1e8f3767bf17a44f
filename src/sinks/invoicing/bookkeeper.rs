//! Books a payment once: the order of the steps, the same for every system.
//!
//! ```text
//! resolve ─▶ ledger ─▶ reserved ─▶ find ─▶ sending ─▶ write ─▶ written ─▶ verify ─▶ booked
//!             │                     │                  │
//!             │ booked: done        │                  └─ unknown outcome: the line stays `sending`
//!             │                     └─ held, not there, too early: the line is deleted
//!             └─ sending: an earlier attempt may have written it ─▶ find first, and wait until it has settled
//! ```
//!
//! Two barriers protect the one call that writes. The first is the *ledger*. It has one line for each payment and sink,
//! which is `reserved` before the books are searched and `sending` before the call. While a line is in one of these two
//! states, no other worker writes to that invoice. The second is the *marker*: before every write, the books are searched
//! for it. After a crash or a time-out the marker decides; if it is not found, nothing is written before the earlier
//! request has certainly ended (`settle_secs`).
//!
//! An attempt writes only while it owns the line, and only within its own time, which ends before its lease. So a worker
//! that was delayed does not write after the next worker has taken over. The one remaining gap is a process that is
//! stopped between the last check of the clock and sending, for longer than its lease.
//!
//! The worker that writes records in the line how long its write may take (`settles_in`), because another process may
//! have shorter times configured. An answer that leaves open whether the payment was recorded counts as no answer
//! ([`outgoing::effect`]): the payment is searched for, and sent once more only if it is not found. After a second such
//! answer a person decides.
//!
//! If the books have a payment of the same amount and about the same day that the relay did not book, it may be the same
//! money, typed in by a person or imported from the bank ([`Rival`](super::Rival)). A person looks at it, unless
//! `on_same_amount` says otherwise.

mod again;
mod explain;
mod rivals;
mod status;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::civil::Date;
use tokio::time::Instant;

use super::{
    api::{Transcript, Trouble},
    books::{Books, Finding, Verified, Wanted},
    options::{Common, OnSameAmount},
    resolve::Resolve,
};
use crate::{
    model::{
        booking::{Booking, BookingState, BookingToken, NewBooking, Payment},
        chain::Chain,
        clock,
        dispatch::{Outcome, Trigger},
        id::SinkName,
        money::Cents,
    },
    sinks::{Message, Sink, StillShows, Unseen, preview::Explained},
    store::{
        StoreError,
        ledger::{Advance, BookingBegun, BookingFilter, LedgerStore},
    },
};

/// The wait for another attempt of the relay, which ends soon.
const SOON: Duration = Duration::from_secs(2);
/// The wait for another payment of the same invoice that is being booked.
const BEHIND_ANOTHER: Duration = Duration::from_secs(15);
/// The first wait for a missing invoice; doubled each time.
const FIRST_LOOK: Duration = Duration::from_secs(15);
/// Lines of the ledger that are read at once.
const LINES_AT_ONCE: u32 = 200;
/// The longest id of a payment, in bytes, that can be used in a marker. An id with blanks cannot be used either.
const LONGEST_ID: usize = 100;

/// How many days before or after a payment an entry of the same amount may be the same payment, for an endpoint that
/// does not set `payment_window_days`.
pub const DEFAULT_PAYMENT_WINDOW_DAYS: u32 = 7;

/// What a bookkeeper works with.
pub struct Desk {
    /// From events to payments.
    pub resolver: Arc<dyn Resolve>,
    /// The ledger of all sinks.
    pub ledger: Arc<dyn LedgerStore>,
    /// This sink's name in it.
    pub sink: SinkName,
    /// A whole attempt; shorter than its lease.
    pub timeout: Duration,
    /// `payment_window_days` of each endpoint, by its name; [`DEFAULT_PAYMENT_WINDOW_DAYS`] for one that is not in it.
    pub payment_window_days: HashMap<String, u32>,
    /// Where the calls are written down, if anywhere: for [`Sink::explain`].
    pub transcript: Option<Transcript>,
}

/// A sink that books payments in one system.
pub struct Bookkeeper<B> {
    books: B,
    sink: SinkName,
    resolver: Arc<dyn Resolve>,
    ledger: Arc<dyn LedgerStore>,
    timeout: Duration,
    payment_window_days: HashMap<String, u32>,
    transcript: Option<Transcript>,
    options: Common,
}

/// A payment with what follows from the settings.
struct Entry {
    payment: Payment,
    number: String,
    date: Date,
    /// `None` if payments of the same amount are not searched for.
    window_days: Option<u32>,
}

impl Entry {
    fn wanted(&self, booked_before: Cents, is_uncertain: bool) -> Wanted<'_> {
        let Self { payment, number, date, window_days } = self;
        Wanted { payment, number, date: *date, booked_before, is_uncertain, rivals_within_days: *window_days }
    }
}

/// The outcome of an attempt that ends early, returned with `?`.
struct Ends(Outcome);

impl From<StoreError> for Ends {
    fn from(error: StoreError) -> Self {
        Self(Outcome::Retry { reason: format!("the ledger could not be used: {}", Chain(&error)), after: None })
    }
}

impl From<Trouble> for Ends {
    fn from(trouble: Trouble) -> Self {
        Self(trouble.into())
    }
}

/// Another attempt is booking the payment already; its outcome is known soon.
fn another_attempt() -> Outcome {
    Outcome::Wait { reason: "another attempt is booking this payment".into(), after: SOON }
}

fn hold(reason: impl Into<String>) -> Outcome {
    Outcome::Hold { reason: reason.into(), recheck_after: None }
}

impl<B: Books> fmt::Debug for Bookkeeper<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bookkeeper").field("books", &self.books).field("sink", &self.sink).finish_non_exhaustive()
    }
}

impl<B: Books> Bookkeeper<B> {
    /// A bookkeeper for one system.
    pub fn new(books: B, desk: Desk, options: Common) -> Self {
        let Desk { resolver, ledger, sink, timeout, payment_window_days, transcript } = desk;
        Self { books, sink, resolver, ledger, timeout, payment_window_days, transcript, options }
    }

    fn system(&self) -> &'static str {
        self.books.api().system()
    }

    // --- payments

    async fn payment(&self, message: &Message, not_after: Instant) -> Result<Outcome, Ends> {
        let entry = self.entry(message).await?;
        let mut known = self.ledger.booking(&self.sink, &entry.payment.id).await?;
        if let Some(line) = &known
            && let Some(differs) = differs(line, &entry)
        {
            if line.state != BookingState::Reserved {
                return Ok(hold(differs));
            }
            // Nothing was sent for this line, so the payment starts again with its present data.
            if !self.clear(line).await? {
                return Ok(another_attempt());
            }
            known = None;
        }
        if let Some(line) = &known
            && let Some(another) = self.of_another_event(message, line).await?
        {
            return Ok(hold(another));
        }
        match known {
            Some(Booking { state: BookingState::Booked | BookingState::Seen, .. }) => {
                tracing::info!(
                    sink.name = %self.sink, event.id = %message.event_id, payment.id = entry.payment.id,
                    "the payment is in the books already: nothing is written"
                );
                Ok(Outcome::Delivered)
            }
            Some(written @ Booking { state: BookingState::Written, .. }) => {
                let target_id = written.target_id.clone().unwrap_or_default();
                self.confirm(&entry, written.token, None, &target_id).await
            }
            // Where the relay never writes, a line that was left behind leaves no doubt.
            Some(sending @ Booking { state: BookingState::Sending, .. }) if B::WRITES => {
                self.heal(message, &entry, sending, not_after).await
            }
            // A line that is only reserved was not sent.
            other => self.book(message, &entry, other.map(|line| line.token), not_after).await,
        }
    }

    /// Why a finished line does not prove that this event is done: the payment was assigned to this event, but the line was
    /// written for another event of the same endpoint, so that one of the two events means another payment.
    ///
    /// An event of another endpoint is no objection, because that endpoint may announce the same payment. Neither is the event
    /// that a reconciliation has made of the payment: the other one is its late announcement.
    async fn of_another_event(&self, message: &Message, line: &Booking) -> Result<Option<String>, StoreError> {
        let is_finished = matches!(line.state, BookingState::Booked | BookingState::Seen);
        let is_made = line.event_id.is_of_payment() || message.event_id.is_of_payment();
        if !is_finished || is_made || line.event_id == message.event_id {
            return Ok(None);
        }
        if self.ledger.assignment(message.event_id).await?.is_none_or(|ours| ours.payment_id != line.payment_id) {
            return Ok(None);
        }
        if self.ledger.assignment(line.event_id).await?.is_some_and(|theirs| theirs.endpoint != message.endpoint) {
            return Ok(None);
        }
        Ok(Some(format!(
            "payment {} of {} on invoice {} is in the books of {} already ({}), and was written for event {}; now event {} \
             announces it again. If both events mean the same payment, cancel this dispatch; if this event means another one, \
             book that one by hand and cancel this dispatch",
            line.payment_id,
            line.amount_cents.of(&line.currency),
            line.invoice_number,
            self.system(),
            line.state,
            line.event_id,
            message.event_id
        )))
    }

    /// Finds the payment that the event announces, and what to book for it.
    async fn entry(&self, message: &Message) -> Result<Entry, Ends> {
        let payment = self.resolver.payment(message).await.map_err(|unresolved| Ends(unresolved.into()))?;
        let is_usable =
            |id: &str| (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_usable(&payment.id) {
            return Err(Ends(hold(
                "Finkare's payment has an id that cannot be used as a marker: book the payment by hand",
            )));
        }
        if payment.amount_cents <= Cents::ZERO {
            return Err(Ends(hold(format!(
                "Finkare's payment {} has the amount {}: only amounts above zero are booked",
                payment.id,
                payment.amount_cents.of(&payment.currency)
            ))));
        }
        let number = self.options.number.of(&payment.invoice).map_err(|problem| Ends(hold(problem)))?;
        let date = payment.paid_at.date(&self.options.timezone);
        let window = self.payment_window_days.get(&payment.endpoint).copied().unwrap_or(DEFAULT_PAYMENT_WINDOW_DAYS);
        let window_days = (self.options.on_same_amount == OnSameAmount::Hold).then_some(window);
        Ok(Entry { payment, number, date, window_days })
    }

    /// Books a payment for which nothing was sent yet; `left` is the line of an attempt that ended after reserving it.
    async fn book(
        &self,
        message: &Message,
        entry: &Entry,
        left: Option<BookingToken>,
        not_after: Instant,
    ) -> Result<Outcome, Ends> {
        // Where nothing can be written there is nothing to reserve.
        if !B::WRITES {
            let wanted = entry.wanted(self.seen_before(entry).await?, false);
            let found = self.look(&wanted).await?;
            let Judgement::End(end) = self.judge(message, &wanted, found) else {
                return Ok(hold(
                    "a payment was about to be written to a system that takes none; this is a bug: report it",
                ));
            };
            if let End::Done(seen) = end {
                return self.note(message, entry, &seen, wanted.booked_before).await;
            }
            return Ok(end.outcome());
        }
        let token = BookingToken::generate();
        match self.ledger.begin_booking(&self.new_booking(message, entry, token), left).await? {
            BookingBegun::Begun => {}
            BookingBegun::TakenOver => {
                // The previous holder of the line may have begun to send just before.
                let line = self.ledger.booking(&self.sink, &entry.payment.id).await?;
                if line.is_none_or(|line| line.state != BookingState::Reserved) {
                    return Ok(another_attempt());
                }
            }
            BookingBegun::Exists(_) => return Ok(another_attempt()),
            BookingBegun::Busy(other) => return self.behind(&other).await,
        }
        let booked_before = self.ledger.booked_cents(&self.sink, &entry.number).await;
        let wanted = match booked_before {
            Ok(booked_before) => entry.wanted(booked_before, false),
            Err(error) => return self.give_up(entry, token, Ends::from(error).0).await,
        };
        let found = match self.look(&wanted).await {
            Ok(found) => found,
            Err(Ends(outcome)) => return self.give_up(entry, token, outcome).await,
        };
        match self.judge(message, &wanted, found) {
            Judgement::Open(invoice) => self.write(entry, &wanted, token, &invoice, not_after).await,
            Judgement::End(End::Done(advance)) => self.finish(entry, token, &advance).await,
            Judgement::End(end) => self.give_up(entry, token, end.outcome()).await,
        }
    }

    /// Continues after an earlier attempt that may have written the payment. The line is taken over only once it is clear
    /// what to do.
    async fn heal(
        &self,
        message: &Message,
        entry: &Entry,
        sending: Booking,
        not_after: Instant,
    ) -> Result<Outcome, Ends> {
        let wanted = entry.wanted(self.ledger.booked_cents(&self.sink, &entry.number).await?, true);
        let found = self.judge(message, &wanted, self.look(&wanted).await?);
        // The earlier attempt may have written at the very end of its time, and only the line says how long that was. Our
        // own time is the minimum, because earlier versions did not record theirs in the line.
        let settles_in = self.settles().saturating_sub(sending.began_ago).max(sending.settles_in.unwrap_or_default());
        match &found {
            Judgement::Open(_) if !settles_in.is_zero() => {
                return Ok(Outcome::Wait {
                    reason: format!(
                        "an earlier attempt to record the payment in {} got no answer, and the payment is not there: the \
                         relay waits until that request has certainly ended before it writes again",
                        self.system()
                    ),
                    after: settles_in,
                });
            }
            Judgement::Open(_) | Judgement::End(End::Done(_)) => {}
            // The line stays `sending`, because the outcome is still unknown.
            Judgement::End(End::Outcome(Outcome::Hold { reason, recheck_after })) => {
                return Ok(Outcome::Hold {
                    reason: format!(
                        "{reason}. An earlier attempt may have recorded it: look there, report what you found with \
                         `bookings settle`, and retry or cancel this dispatch"
                    ),
                    recheck_after: *recheck_after,
                });
            }
            Judgement::End(End::Outcome(outcome)) => return Ok(outcome.clone()),
        }
        let token = BookingToken::generate();
        let new = self.new_booking(message, entry, token);
        let BookingBegun::TakenOver = self.ledger.begin_booking(&new, Some(sending.token)).await? else {
            return Ok(another_attempt());
        };
        match found {
            Judgement::Open(invoice) => self.write(entry, &wanted, token, &invoice, not_after).await,
            Judgement::End(End::Done(advance)) => self.finish(entry, token, &advance).await,
            Judgement::End(End::Outcome(outcome)) => Ok(outcome),
        }
    }

    /// How long after the start of an attempt its write may still be carried out.
    fn settles(&self) -> Duration {
        self.timeout + Duration::from_secs(self.options.settle_secs)
    }

    /// What a finding leads to.
    fn judge(&self, message: &Message, wanted: &Wanted<'_>, found: Finding<B::Invoice>) -> Judgement<B::Invoice> {
        let recheck = Duration::from_secs(self.options.recheck_secs);
        Judgement::End(match found {
            Finding::Open { invoice, .. } => return Judgement::Open(invoice),
            Finding::Booked { target_id } => End::Done(Advance {
                state: BookingState::Booked,
                target_id: Some(target_id),
                note: Some("found by our marker".to_owned()),
            }),
            Finding::Paid { note } if wanted.is_uncertain && B::WRITES => End::Outcome(hold(format!(
                "{note}, and the payment of {} is not among its payments",
                wanted.in_words()
            ))),
            Finding::Paid { note } => {
                End::Done(Advance { state: BookingState::Seen, target_id: None, note: Some(note) })
            }
            Finding::Absent { instruction } => End::Outcome(self.absent(message, &instruction)),
            Finding::Hold { instruction, recheck: again } => {
                End::Outcome(Outcome::Hold { reason: instruction, recheck_after: again.then_some(recheck) })
            }
        })
    }

    /// A missing invoice may be new: the relay waits for `not_found_secs`, and then asks a person.
    fn absent(&self, message: &Message, instruction: &str) -> Outcome {
        let waited = clock::since(message.received_at, clock::now());
        if waited < Duration::from_secs(self.options.not_found_secs) {
            let doublings = message.attempt.saturating_sub(1).min(8);
            let after = FIRST_LOOK.saturating_mul(1 << doublings).min(Duration::from_mins(10));
            return Outcome::Wait {
                reason: format!("{instruction} (the invoice may be new: the relay looks again)"),
                after,
            };
        }
        let recheck_after = Some(Duration::from_secs(self.options.recheck_secs));
        Outcome::Hold { reason: instruction.to_owned(), recheck_after }
    }

    /// The one call that writes.
    async fn write(
        &self,
        entry: &Entry,
        wanted: &Wanted<'_>,
        token: BookingToken,
        invoice: &B::Invoice,
        not_after: Instant,
    ) -> Result<Outcome, Ends> {
        let request = self.books.booking(wanted, invoice);
        if !self.ledger.send_booking(&self.sink, &entry.payment.id, token, self.settles()).await? {
            return Ok(another_attempt());
        }
        let answer = self.books.api().send(&request, Some(not_after)).await;
        let target_id = match answer.and_then(|answer| self.books.receipt(&answer)) {
            Ok(target_id) => target_id,
            // The line stays `sending`, because the outcome is still unknown.
            Err(trouble) if trouble.may_have_happened() => return Ok(self.in_doubt(trouble, wanted.is_uncertain)),
            Err(Trouble::Missing { reason } | Trouble::Refused { reason }) => {
                let refused = hold(format!(
                    "{reason}. It was not recorded: correct the cause there and retry this dispatch (`dispatches retry`), or \
                     record the payment there by hand and cancel this dispatch (`dispatches cancel`)"
                ));
                return self.give_up(entry, token, refused).await;
            }
            Err(trouble) => return self.give_up(entry, token, trouble.into()).await,
        };
        let written = Advance { state: BookingState::Written, target_id: Some(target_id.clone()), note: None };
        if let Some(other) = self.ledger.advance_booking(&self.sink, &entry.payment.id, token, &written).await? {
            return Ok(self.two_of_us(entry, &target_id, &other));
        }
        self.confirm(entry, token, Some((wanted, invoice)), &target_id).await
    }

    /// The outcome of an attempt whose write may or may not have been carried out. `again` is true if this happened
    /// before and the payment has been searched for and not found since. After the second time a person has to look.
    fn in_doubt(&self, trouble: Trouble, again: bool) -> Outcome {
        let system = self.system();
        match trouble {
            Trouble::Doubtful { reason, concerns_all: false } if again => hold(format!(
                "{reason}. It was sent twice, and is not there: it may still appear. Look for it in {system}, report what you \
                 found with `bookings settle`, and retry or cancel this dispatch"
            )),
            Trouble::Doubtful { reason, .. } | Trouble::Unreadable { reason } if again => Outcome::Stop {
                reason: format!(
                    "{reason}. It was sent twice, and is not there: {system} does not accept payments as this version sends them. \
                     Find out why, look for the payment there, and resume the sink (`sinks resume`)"
                ),
            },
            trouble => Outcome::Retry {
                reason: format!(
                    "{}. It is not known whether the payment was recorded: the relay looks for it before it writes again",
                    trouble.reason()
                ),
                after: None,
            },
        }
    }

    /// Reads back what was written.
    async fn confirm(
        &self,
        entry: &Entry,
        token: BookingToken,
        before: Option<(&Wanted<'_>, &B::Invoice)>,
        target_id: &str,
    ) -> Result<Outcome, Ends> {
        let verified = match before {
            Some((wanted, invoice)) => self.books.verify(wanted, Some(invoice), target_id).await?,
            None => self.books.verify(&entry.wanted(Cents::ZERO, false), None, target_id).await?,
        };
        let system = self.system();
        match verified {
            Verified::Right => {
                let right =
                    Advance { state: BookingState::Booked, target_id: None, note: Some("read back".to_owned()) };
                self.finish(entry, token, &right).await
            }
            Verified::Missing { what } => Ok(Outcome::Retry {
                reason: format!("{system} accepted the payment as {target_id} but does not show it: {what}"),
                after: None,
            }),
            Verified::Wrong { what } => {
                let wrong = Advance { state: BookingState::Booked, target_id: None, note: Some(what.clone()) };
                self.ledger.advance_booking(&self.sink, &entry.payment.id, token, &wrong).await?;
                Ok(Outcome::Stop {
                    reason: format!(
                        "the payment of {} on invoice {} was recorded in {system} as {target_id}, but not as it \
                         should be: {what}. Nothing more is written until a person has looked at it there and resumed the \
                         sink",
                        entry.wanted(Cents::ZERO, false).in_words(),
                        entry.number
                    ),
                })
            }
        }
    }

    /// Ends the booking of a payment that is in the books.
    async fn finish(&self, entry: &Entry, token: BookingToken, advance: &Advance) -> Result<Outcome, Ends> {
        match self.ledger.advance_booking(&self.sink, &entry.payment.id, token, advance).await? {
            None | Some(Booking { state: BookingState::Booked | BookingState::Seen, .. }) => {}
            Some(other) => return Ok(self.two_of_us(entry, "an unknown id", &other)),
        }
        tracing::info!(
            sink.name = %self.sink, payment.id = entry.payment.id, invoice.number = entry.number,
            amount = %entry.payment.amount_cents.of(&entry.payment.currency), state = advance.state.as_str(),
            "the payment is in the books"
        );
        Ok(Outcome::Delivered)
    }

    /// The sum of the invoice's other payments that were seen as paid: payments beyond the invoice's total must not be
    /// closed.
    async fn seen_before(&self, entry: &Entry) -> Result<Cents, StoreError> {
        let mut filter = BookingFilter {
            sink: Some(self.sink.to_string()),
            invoice_number: Some(entry.number.clone()),
            ..BookingFilter::default()
        };
        let mut sum = Cents::ZERO;
        loop {
            let page = self.ledger.bookings(&filter, LINES_AT_ONCE).await?;
            for (_, line) in &page.rows {
                // An unfinished line belongs to another attempt, which computes its own sum.
                let is_begun = matches!(line.state, BookingState::Reserved | BookingState::Sending);
                if line.payment_id != entry.payment.id && !is_begun {
                    // A sum that does not fit is more than any invoice.
                    sum = sum.checked_add(line.amount_cents).unwrap_or(Cents(i64::MAX));
                }
            }
            match page.rows.last() {
                Some((number, _)) if page.more => filter.before = Some(*number),
                _ => return Ok(sum),
            }
        }
    }

    /// Notes a payment that was seen as paid in the books, so that the next event of the same amount is another payment.
    /// `before` is the sum of earlier payments with which the invoice was judged.
    async fn note(&self, message: &Message, entry: &Entry, seen: &Advance, before: Cents) -> Result<Outcome, Ends> {
        let token = BookingToken::generate();
        let new = self.new_booking(message, entry, token);
        // The relay writes nothing to this system, so one worker can simply finish a line that was left behind.
        let soon = || Outcome::Wait {
            reason: "another attempt is noting this payment, or another one of this invoice".into(),
            after: SOON,
        };
        let begun = match self.ledger.begin_booking(&new, None).await? {
            BookingBegun::Exists(Booking {
                state: BookingState::Reserved | BookingState::Sending,
                token: theirs,
                ..
            }) => self.ledger.begin_booking(&new, Some(theirs)).await?,
            begun => begun,
        };
        match begun {
            BookingBegun::Begun | BookingBegun::TakenOver => {}
            BookingBegun::Exists(Booking { state: BookingState::Booked | BookingState::Seen, .. }) => {
                return Ok(Outcome::Delivered);
            }
            BookingBegun::Exists(_) => return Ok(soon()),
            BookingBegun::Busy(other) => {
                if other.began_ago > self.timeout * 2 {
                    self.ledger.withdraw_booking(&self.sink, &other.payment_id, other.token).await?;
                }
                return Ok(soon());
            }
        }
        // From here on no other worker notes a payment of this invoice; one may have done so before.
        if self.seen_before(entry).await? != before {
            return self.give_up(entry, token, soon()).await;
        }
        match self.ledger.advance_booking(&self.sink, &entry.payment.id, token, seen).await? {
            None | Some(Booking { state: BookingState::Booked | BookingState::Seen, .. }) => {}
            Some(_) => return Ok(soon()),
        }
        tracing::info!(
            sink.name = %self.sink, payment.id = entry.payment.id, invoice.number = entry.number,
            amount = %entry.payment.amount_cents.of(&entry.payment.currency), state = seen.state.as_str(),
            "the payment is in the books"
        );
        Ok(Outcome::Delivered)
    }

    /// Ends an attempt that certainly wrote nothing: deletes its line.
    async fn give_up(&self, entry: &Entry, token: BookingToken, outcome: Outcome) -> Result<Outcome, Ends> {
        if let Err(error) = self.ledger.withdraw_booking(&self.sink, &entry.payment.id, token).await {
            // The line stays, and the next attempt checks the books first.
            tracing::warn!(
                sink.name = %self.sink, payment.id = entry.payment.id, error = %Chain(&error),
                "a line of the ledger could not be withdrawn: the next attempt checks the books before it writes"
            );
        }
        Ok(outcome)
    }

    fn new_booking(&self, message: &Message, entry: &Entry, token: BookingToken) -> NewBooking {
        NewBooking {
            sink: self.sink.clone(),
            payment_id: entry.payment.id.clone(),
            event_id: message.event_id,
            invoice_id: entry.payment.invoice.id.clone(),
            invoice_number: entry.number.clone(),
            amount_cents: entry.payment.amount_cents,
            currency: entry.payment.currency.clone(),
            token,
        }
    }

    /// Another payment of the same invoice is being written, or its outcome is unknown.
    async fn behind(&self, other: &Booking) -> Result<Outcome, Ends> {
        let number = &other.invoice_number;
        let wait =
            |after| Outcome::Wait { reason: format!("another payment of invoice {number} is being booked"), after };
        let patience = self.timeout * 2;
        if other.state == BookingState::Reserved {
            if other.began_ago > patience {
                // Nothing was sent for it, and its attempt should be over. If it is not, it finds its line deleted.
                self.clear(other).await?;
            }
            return Ok(wait(SOON));
        }
        let patience = patience + Duration::from_secs(self.options.settle_secs);
        let may_come = other.settles_in.is_some_and(|settles_in| !settles_in.is_zero());
        if other.began_ago < patience || may_come {
            return Ok(wait(BEHIND_ANOTHER.min(patience)));
        }
        Ok(Outcome::Hold {
            reason: format!(
                "it is not known whether another payment of invoice {number} ({}, Finkare's payment {}) was recorded in {}: \
                 retry or replay its event {} first; if that does not help, look there and report what you found with \
                 `bookings settle`",
                other.amount_cents.of(&other.currency),
                other.payment_id,
                self.system(),
                other.event_id
            ),
            recheck_after: Some(Duration::from_mins(10)),
        })
    }

    /// Deletes a line that is only reserved. Returns false if its payment is being sent by now, or if it belongs to another
    /// worker.
    ///
    /// The line is taken over first, because its holder may begin to send at this very moment, and a `sending` line must
    /// not be deleted.
    async fn clear(&self, line: &Booking) -> Result<bool, StoreError> {
        let token = BookingToken::generate();
        let same = NewBooking {
            sink: self.sink.clone(),
            payment_id: line.payment_id.clone(),
            event_id: line.event_id,
            invoice_id: line.invoice_id.clone(),
            invoice_number: line.invoice_number.clone(),
            amount_cents: line.amount_cents,
            currency: line.currency.clone(),
            token,
        };
        let BookingBegun::TakenOver = self.ledger.begin_booking(&same, Some(line.token)).await? else {
            return Ok(false);
        };
        match self.ledger.booking(&self.sink, &line.payment_id).await? {
            Some(Booking { state: BookingState::Reserved, .. }) => {
                self.ledger.withdraw_booking(&self.sink, &line.payment_id, token).await
            }
            _ => Ok(false),
        }
    }

    /// This worker wrote, and another one had taken over the same payment meanwhile.
    fn two_of_us(&self, entry: &Entry, target_id: &str, other: &Booking) -> Outcome {
        if matches!(other.state, BookingState::Reserved | BookingState::Sending) {
            // That worker looks for our marker before it writes, and sees it twice if it looked too early: it decides.
            return another_attempt();
        }
        let theirs = other.target_id.as_deref().unwrap_or("not known");
        if theirs == target_id {
            return Outcome::Delivered;
        }
        hold(format!(
            "two attempts may have recorded the payment of {} on invoice {} in {}: look there for {target_id} and for {theirs}, \
             and remove one if there are two",
            entry.wanted(Cents::ZERO, false).in_words(),
            entry.number,
            self.system()
        ))
    }
}

/// What a finding leads to.
enum Judgement<I> {
    Open(I),
    End(End),
}

enum End {
    /// Nothing has to be written (any more).
    Done(Advance),
    /// It ends in another way; nothing was written.
    Outcome(Outcome),
}

impl End {
    fn outcome(self) -> Outcome {
        match self {
            End::Done(_) => Outcome::Delivered,
            End::Outcome(outcome) => outcome,
        }
    }
}

/// What differs between a payment as Finkare shows it now and as it was noted. If anything does, the line must not count as
/// this payment.
fn differs(booking: &Booking, entry: &Entry) -> Option<String> {
    let payment = &entry.payment;
    // A booked payment may have another invoice number by now; a payment that is under way may not.
    let is_finished = matches!(booking.state, BookingState::Booked | BookingState::Seen);
    let is_same = booking.amount_cents == payment.amount_cents
        && booking.currency == payment.currency
        && booking.invoice_id == payment.invoice.id
        && (is_finished || booking.invoice_number == entry.number);
    (!is_same).then(|| {
        format!(
            "Finkare's payment {} is now {} on invoice {}, and was noted here as {} on invoice {}: look for either in the \
             books, correct it there by hand, and cancel this dispatch",
            payment.id,
            payment.amount_cents.of(&payment.currency),
            entry.number,
            booking.amount_cents.of(&booking.currency),
            booking.invoice_number
        )
    })
}

#[async_trait]
impl<B: Books> Sink for Bookkeeper<B> {
    async fn deliver(&self, message: &Message) -> Outcome {
        let not_after = Instant::now() + self.timeout;
        if message.trigger == Trigger::Test {
            // A test must leave no trace in the books.
            return match self.books.check().await {
                Ok(_) => Outcome::Delivered,
                Err(reason) => Outcome::Retry { reason, after: None },
            };
        }
        let ended = match message.event_type.as_str() {
            "payment.received" => self.payment(message, not_after).await,
            "invoice.status_changed" => self.status(message, not_after).await,
            // `events` selects this type, but books have no use for it.
            _ => Ok(Outcome::Delivered),
        };
        ended.unwrap_or_else(|Ends(outcome)| outcome)
    }

    async fn check(&self) -> Result<String, String> {
        self.books.check().await
    }

    async fn explain(&self, message: &Message) -> Option<Explained> {
        let ended = match message.event_type.as_str() {
            "payment.received" => self.explain_payment(message).await,
            "invoice.status_changed" => self.explain_status(message).await,
            other => Ok((format!("nothing is done in {} for `{other}`", self.system()), None)),
        };
        let (decision, outcome, not_made) = match ended {
            Ok((decision, step)) => (decision, "delivered", step),
            Err(Ends(outcome)) => {
                let word = match &outcome {
                    Outcome::Delivered | Outcome::Partly { .. } => "delivered",
                    Outcome::Retry { .. } => "retried",
                    Outcome::Wait { .. } => "waits",
                    Outcome::Rejected { .. } => "dead",
                    Outcome::Hold { .. } => "held",
                    Outcome::Stop { .. } => "the sink stops",
                };
                (outcome.reason().unwrap_or_default().to_owned(), word, None)
            }
        };
        let made = self.transcript.as_ref().map(|calls| calls.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let calls = made.into_iter().flatten().chain(not_made).collect();
        Some(Explained { calls, decision, outcome: outcome.to_owned() })
    }

    async fn still_shows(&self, payment_id: &str) -> Option<Result<StillShows, Unseen>> {
        if B::WRITES { Some(self.look_again(payment_id).await) } else { None }
    }
}
