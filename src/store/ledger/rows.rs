//! The rows of the ledger that both stores read, and the decisions that follow from them: these are made here once,
//! the stores only read and write. The columns and their types are the same on both.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::{Advance, Assigned, BookingBegun, Settled, Unassigned, Word};
use crate::{
    model::{
        audit::NewAudit,
        booking::{self, Announced, Assignment, Booking, BookingState, BookingToken, Learned, NewBooking},
        clock,
        id::{EventId, SinkName},
        money::Cents,
    },
    store::{error::StoreError, page::Page},
};

/// The columns of [`AssignmentRow`].
macro_rules! assignment_columns {
    () => {
        "event_id, endpoint, payment_id, invoice_id, amount_cents"
    };
}
pub(in crate::store) use assignment_columns;

/// The columns of [`BookingRow`], except for `now`, the store's clock.
macro_rules! booking_columns {
    () => {
        "number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note,
         token, takeovers, began_at, settles_at, changed_at"
    };
}
pub(in crate::store) use booking_columns;

#[derive(FromRow)]
pub(in crate::store) struct AssignmentRow {
    event_id: Uuid,
    endpoint: String,
    payment_id: String,
    invoice_id: String,
    amount_cents: i64,
}

impl From<AssignmentRow> for Assignment {
    fn from(row: AssignmentRow) -> Self {
        Self {
            event_id: EventId(row.event_id),
            endpoint: row.endpoint,
            payment_id: row.payment_id,
            invoice_id: row.invoice_id,
            amount_cents: Cents(row.amount_cents),
        }
    }
}

/// The columns of [`AnnouncedRow`].
macro_rules! announced_columns {
    () => {
        "event_id, invoice_id, amount_cents, currency, payment_id, invoice_number, debtor, method, paid_at"
    };
}
pub(in crate::store) use announced_columns;

#[derive(FromRow)]
pub(in crate::store) struct AnnouncedRow {
    event_id: Uuid,
    invoice_id: String,
    amount_cents: i64,
    currency: Option<String>,
    payment_id: Option<String>,
    invoice_number: Option<String>,
    debtor: Option<String>,
    method: Option<String>,
    paid_at: Option<String>,
}

impl From<AnnouncedRow> for Announced {
    fn from(row: AnnouncedRow) -> Self {
        Self {
            event_id: EventId(row.event_id),
            invoice_id: row.invoice_id,
            amount_cents: Cents(row.amount_cents),
            currency: row.currency,
            payment_id: row.payment_id,
            invoice_number: row.invoice_number,
            debtor: row.debtor,
            method: row.method,
            paid_at: booking::paid_at(row.paid_at.as_deref()),
        }
    }
}

/// The columns of [`LearnedRow`].
macro_rules! learned_columns {
    () => {
        "event_id, endpoint, payment_id, debtor, method, paid_at"
    };
}
pub(in crate::store) use learned_columns;

#[derive(FromRow)]
pub(in crate::store) struct LearnedRow {
    event_id: Uuid,
    endpoint: String,
    payment_id: String,
    debtor: Option<String>,
    method: Option<String>,
    paid_at: Option<String>,
}

impl From<LearnedRow> for Learned {
    fn from(row: LearnedRow) -> Self {
        Self {
            event_id: EventId(row.event_id),
            endpoint: row.endpoint,
            payment_id: row.payment_id,
            debtor: row.debtor,
            method: row.method,
            paid_at: booking::paid_at(row.paid_at.as_deref()),
        }
    }
}

#[derive(FromRow)]
pub(in crate::store) struct UnassignedRow {
    id: Uuid,
    received_at: i64,
    payload: Vec<u8>,
    is_open: bool,
}

/// An event whose time cannot be read is left out: it decides nothing.
pub(in crate::store) fn unassigned(rows: Vec<UnassignedRow>) -> Vec<Unassigned> {
    let read = |row: UnassignedRow| {
        let received_at = clock::from_micros(row.received_at)?;
        Some(Unassigned { event_id: EventId(row.id), received_at, payload: row.payload, is_open: row.is_open })
    };
    rows.into_iter().filter_map(read).collect()
}

#[derive(FromRow)]
pub(in crate::store) struct BookingRow {
    number: i64,
    sink: String,
    payment_id: String,
    event_id: Uuid,
    invoice_id: String,
    invoice_number: String,
    amount_cents: i64,
    currency: String,
    state: String,
    target_id: Option<String>,
    note: Option<String>,
    token: Uuid,
    takeovers: i64,
    began_at: i64,
    settles_at: Option<i64>,
    changed_at: i64,
    now: i64,
}

impl BookingRow {
    fn unreadable(&self, column: &'static str, problem: &impl ToString) -> StoreError {
        let row = self.number.to_string();
        StoreError::Unreadable { table: "bookings", column, row, problem: problem.to_string() }
    }

    fn time(&self, column: &'static str, micros: i64) -> Result<Timestamp, StoreError> {
        let problem = || format!("{micros} µs since 1970 is no time of this calendar");
        clock::from_micros(micros).ok_or_else(|| self.unreadable(column, &problem()))
    }

    fn state(&self) -> Result<BookingState, StoreError> {
        self.state.parse().map_err(|error| self.unreadable("state", &error))
    }

    /// With its number.
    pub(in crate::store) fn read(self) -> Result<(i64, Booking), StoreError> {
        let state = self.state()?;
        let began_at = self.time("began_at", self.began_at)?;
        let changed_at = self.time("changed_at", self.changed_at)?;
        let began_ago = Duration::from_micros(u64::try_from(self.now.saturating_sub(self.began_at)).unwrap_or(0));
        let ahead = |at: i64| Duration::from_micros(u64::try_from(at.saturating_sub(self.now)).unwrap_or(0));
        let settles_in = self.settles_at.map(ahead);
        let booking = Booking {
            sink: self.sink,
            payment_id: self.payment_id,
            event_id: EventId(self.event_id),
            invoice_id: self.invoice_id,
            invoice_number: self.invoice_number,
            amount_cents: Cents(self.amount_cents),
            currency: self.currency,
            state,
            target_id: self.target_id,
            note: self.note,
            token: BookingToken(self.token),
            began_at,
            began_ago,
            settles_in,
            changed_at,
        };
        Ok((self.number, booking))
    }

    /// True while it is unknown whether it is written, so that it may be taken over and withdrawn.
    fn is_begun(&self) -> Result<bool, StoreError> {
        Ok(match self.state()? {
            BookingState::Reserved | BookingState::Sending => true,
            BookingState::Written | BookingState::Booked | BookingState::Seen => false,
        })
    }

    /// Without its number.
    pub(in crate::store) fn booking(self) -> Result<Booking, StoreError> {
        Ok(self.read()?.1)
    }
}

/// A page of bookings out of one row more than were asked for.
pub(in crate::store) fn page(mut rows: Vec<BookingRow>, limit: u32) -> Result<Page<(i64, Booking)>, StoreError> {
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    Ok(Page { rows: rows.into_iter().map(BookingRow::read).collect::<Result<_, _>>()?, more })
}

/// The result of [`super::LedgerStore::assign`], from the event's assignment and the event that has the payment;
/// `None` if the row has to be written.
pub(in crate::store) fn assigned(
    wanted: &Assignment,
    of_event: Option<AssignmentRow>,
    holder: Option<Uuid>,
) -> Option<Assigned> {
    match (of_event, holder) {
        (Some(row), _) if row.payment_id == wanted.payment_id => Some(Assigned::Ours),
        (Some(row), _) => Some(Assigned::Another(row.into())),
        (None, Some(_)) => Some(Assigned::Taken),
        (None, None) => None,
    }
}

/// The result of [`super::LedgerStore::taken`].
pub(in crate::store) fn taken(
    event: EventId,
    assigned: Vec<AssignmentRow>,
    late: Vec<AssignmentRow>,
) -> HashSet<String> {
    let announced_late: HashMap<String, Uuid> = late.into_iter().map(|row| (row.payment_id, row.event_id)).collect();
    let is_open = |row: &AssignmentRow| {
        let by = announced_late.get(&row.payment_id);
        EventId(row.event_id).is_of_payment() && by.is_none_or(|by| *by == event.0)
    };
    let of_others = assigned.into_iter().filter(|row| row.event_id != event.0 && !is_open(row));
    of_others.map(|row| row.payment_id).collect()
}

/// The event of an assignment is not there.
pub(in crate::store) fn no_such_event(event: EventId) -> StoreError {
    StoreError::Open(format!("the event {event} is not stored (any more): no payment can be assigned to it"))
}

/// How to begin a booking.
#[expect(clippy::large_enum_variant, reason = "one at a time, and taken apart at once")]
pub(in crate::store) enum Begin {
    /// Write a new row.
    Insert,
    /// Write our token and event into the row with this number.
    TakeOver(i64),
    /// Write nothing: this is the result.
    Answer(BookingBegun),
}

/// Decides [`super::LedgerStore::begin_booking`], from the booking of the payment in the sink, and from the booking
/// of the same invoice number that is `reserved` or `sending` there.
pub(in crate::store) fn begin(
    new: &NewBooking,
    take_over: Option<BookingToken>,
    known: Option<BookingRow>,
    busy: Option<BookingRow>,
) -> Result<Begin, StoreError> {
    let Some(row) = known else {
        return Ok(match busy {
            Some(other) => Begin::Answer(BookingBegun::Busy(other.booking()?)),
            None => Begin::Insert,
        });
    };
    let is_begun = row.is_begun()?;
    let is_the_same = row.invoice_id == new.invoice_id
        && row.invoice_number == new.invoice_number
        && row.amount_cents == new.amount_cents.0
        && row.currency == new.currency;
    Ok(if is_begun && row.token == new.token.0 {
        // The caller repeats the call because our answer did not reach it.
        Begin::Answer(if row.takeovers > 0 { BookingBegun::TakenOver } else { BookingBegun::Begun })
    } else if is_begun && is_the_same && take_over == Some(BookingToken(row.token)) {
        Begin::TakeOver(row.number)
    } else {
        Begin::Answer(BookingBegun::Exists(row.booking()?))
    })
}

/// How to advance a booking.
#[expect(clippy::large_enum_variant, reason = "one at a time, and taken apart at once")]
pub(in crate::store) enum Step {
    /// Write the row with this number.
    Write(i64),
    /// Write nothing: this is the result.
    Answer(Option<Booking>),
}

/// Decides [`super::LedgerStore::advance_booking`].
pub(in crate::store) fn advance(
    sink: &SinkName,
    payment_id: &str,
    token: BookingToken,
    advance: &Advance,
    known: Option<BookingRow>,
) -> Result<Step, StoreError> {
    if matches!(advance.state, BookingState::Reserved | BookingState::Sending) {
        let problem =
            format!("the booking of payment {payment_id} in sink {sink} cannot go back to `{}`", advance.state);
        return Err(StoreError::Open(problem));
    }
    let Some(row) = known else {
        let problem = format!("there is no booking of payment {payment_id} in sink {sink} to go on with");
        return Err(StoreError::Open(problem));
    };
    let state = row.state()?;
    let says = |wanted: &Option<String>, known: &Option<String>| wanted.is_none() || wanted == known;
    let is_done = state == advance.state && says(&advance.target_id, &row.target_id) && says(&advance.note, &row.note);
    Ok(if row.token != token.0 {
        Step::Answer(Some(row.booking()?))
    } else if is_done {
        Step::Answer(None)
    } else {
        match state {
            BookingState::Reserved | BookingState::Sending | BookingState::Written => Step::Write(row.number),
            BookingState::Booked | BookingState::Seen => Step::Answer(Some(row.booking()?)),
        }
    })
}

/// The note after a person's statement, in place of the doubt.
pub(in crate::store) const SETTLED_NOTE: &str = "recorded there, as a person has confirmed";

/// How to apply a person's statement.
pub(in crate::store) enum Settle {
    /// Apply the statement to the row with this number, and write this entry.
    Write(i64, NewAudit),
    /// Write nothing: this is the result.
    Answer(Settled),
}

/// Decides [`super::LedgerStore::settle_booking`]. The audit entry gets the booking's values: if the booking is
/// removed, the entry is all that is left of it.
pub(in crate::store) fn settle(
    word: &Word,
    quiet_for: Duration,
    audit: NewAudit,
    known: Option<BookingRow>,
) -> Result<Settle, StoreError> {
    let Some(row) = known else { return Ok(Settle::Answer(Settled::Unknown)) };
    let (number, booking) = row.read()?;
    Ok(match booking.state {
        BookingState::Booked | BookingState::Seen => Settle::Answer(Settled::Finished(booking)),
        BookingState::Reserved | BookingState::Sending | BookingState::Written if booking.began_ago < quiet_for => {
            Settle::Answer(Settled::TooEarly(booking))
        }
        BookingState::Reserved | BookingState::Sending | BookingState::Written => {
            let (told, was_recorded) = match word {
                Word::Recorded { target_id } => (target_id.clone(), true),
                Word::NotRecorded => (None, false),
            };
            let audit = audit
                .with("recorded", was_recorded)
                .with("was", booking.state.as_str())
                .with("invoice_number", booking.invoice_number)
                .with("amount_cents", booking.amount_cents.0)
                .with("currency", booking.currency)
                .with("target_id", told.or(booking.target_id));
            Settle::Write(number, audit)
        }
    })
}
