//! What the store reads for the statement of a month: the bookings of the payments of that time, and what is not in the
//! books yet.
//!
//! Everything is read piece by piece, each piece on a connection of its own from those on which people look at something,
//! so that neither accepts nor relaying wait for it. A payment only moves forward, from the queue to a booking that is
//! begun to one that is finished, and is read in this order: one that moves in the meantime may be read twice, and is
//! never missed.

use async_trait::async_trait;
use jiff::{Timestamp, civil::Date};
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    error::StoreError,
    ledger::{
        LedgerStore,
        rows::{BookingRow, booking_columns},
    },
    lists::{one_of, push},
    tx::{Access, Again, Sql, Transact, Value},
};
use crate::model::{
    booking::{self, Announced, Booking, Learned},
    clock,
    dispatch::State,
    event::PAYMENT_RECEIVED,
    id::{DispatchId, EventId},
    money::Cents,
};

/// The payments in one piece.
const PIECE: u32 = 500;
/// The dispatches of the queue in one piece, most of which are not of the time or not of a payment.
const PIECE_OF_QUEUE: u32 = 2000;
/// Payloads longer than this hold no amount that anybody would look for, in bytes.
const LONGEST: u32 = 8 * 1024;

/// Which payments are read. The days are wider than any time zone makes them: the caller decides which payments belong to
/// its month.
#[derive(Debug, Clone)]
pub struct Span {
    /// The first day, in UTC.
    pub first: Date,
    /// The last day, in UTC.
    pub last: Date,
    /// Only of these endpoints.
    pub endpoints: Option<Vec<String>>,
    /// Only bookings of these sinks.
    pub books: Option<Vec<String>>,
    /// Only dispatches for these sinks.
    pub sinks: Option<Vec<String>>,
    /// Nothing but what is in the books.
    pub booked_only: bool,
}

/// A booking, with what was learned of its payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The booking.
    pub booking: Booking,
    /// `None` if the payment's event is unknown.
    pub learned: Option<Learned>,
}

/// A dispatch of a payment that is not finished, or was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The dispatch.
    pub id: DispatchId,
    /// Its event.
    pub event_id: EventId,
    /// The event's endpoint.
    pub endpoint: String,
    /// Its sink.
    pub sink: String,
    /// Its state: not delivered, and not cancelled.
    pub state: State,
    /// Why it is not delivered, if an attempt has said so.
    pub reason: Option<String>,
    /// Finkare's id of the invoice.
    pub invoice_id: Option<String>,
    /// When the event was received.
    pub received_at: Timestamp,
    /// What is known of the payment.
    pub known: Option<Announced>,
    /// The payload, if nothing is known of the payment and the payload is stored and not long.
    pub payload: Option<Vec<u8>>,
}

/// What was read for a statement, in no particular order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MonthRows {
    /// What is not delivered.
    pub open: Vec<Open>,
    /// Bookings that are not finished, of any time.
    pub begun: Vec<Recorded>,
    /// Finished bookings.
    pub finished: Vec<Recorded>,
}

impl MonthRows {
    fn len(&self) -> usize {
        self.open.len() + self.begun.len() + self.finished.len()
    }
}

/// The part of the store that is about statements.
#[async_trait]
pub trait StatementStore: Send + Sync {
    /// Reads the payments of a time: those that were paid then, and where that is unknown, bookings that were finished then
    /// and dispatches whose event was received then. `None` if there are more than `most`.
    async fn month_rows(&self, span: &Span, most: usize) -> Result<Option<MonthRows>, StoreError>;
}

#[async_trait]
impl<S: Transact + LedgerStore> StatementStore for S {
    async fn month_rows(&self, span: &Span, most: usize) -> Result<Option<MonthRows>, StoreError> {
        let mut rows = MonthRows::default();
        let mut after = (!span.booked_only).then_some(0);
        while let Some(id) = after {
            after = open(self, span, id, &mut rows.open).await?;
            if rows.len() > most {
                return Ok(None);
            }
        }
        let mut after = (!span.booked_only).then(At::default);
        while let Some(at) = after {
            after = by_number(self, span, BEGUN, at, &mut rows.begun).await?;
            if rows.len() > most {
                return Ok(None);
            }
        }
        let mut after = Some((String::new(), Uuid::nil()));
        while let Some(at) = after {
            after = by_day(self, span, at, &mut rows.finished).await?;
            if rows.len() > most {
                return Ok(None);
            }
        }
        let mut after = Some(At::default());
        while let Some(at) = after {
            after = by_number(self, span, FINISHED_UNDATED, at, &mut rows.finished).await?;
            if rows.len() > most {
                return Ok(None);
            }
        }
        Ok(Some(rows))
    }
}

/// Where a walk through bookings stands: the time of the last change, and the number.
type At = (i64, i64);

/// Bookings that are not finished: the condition of the partial index, word for word. They are few.
const BEGUN: &str = "state IN ('reserved', 'sending', 'written')";
/// Finished ones of whose payment it is not known when it was paid: all of earlier versions.
const FINISHED_UNDATED: &str = "state IN ('booked', 'seen') AND NOT EXISTS (
    SELECT 1 FROM assignments AS a WHERE a.event_id = bookings.event_id AND a.payment_id = bookings.payment_id AND a.paid_at IS NOT NULL)";

impl Span {
    /// The time from which on, and before which, in microseconds.
    fn micros(&self) -> (i64, i64) {
        let at = |day: Date| clock::to_micros(utc(day));
        (at(self.first), at(self.last.tomorrow().unwrap_or(Date::MAX)))
    }

    /// The same as stored texts.
    fn texts(&self) -> (String, String) {
        (self.first.to_string(), self.last.tomorrow().unwrap_or(Date::MAX).to_string())
    }
}

fn utc(day: Date) -> Timestamp {
    day.to_zoned(jiff::tz::TimeZone::UTC).map_or(Timestamp::MAX, |midnight| midnight.timestamp())
}

#[derive(FromRow)]
struct OpenRow {
    id: i64,
    of_event: Uuid,
    endpoint: String,
    sink: String,
    state: String,
    last_error: Option<String>,
    of_invoice: Option<String>,
    received_at: i64,
    event_id: Option<Uuid>,
    invoice_id: Option<String>,
    amount_cents: Option<i64>,
    currency: Option<String>,
    payment_id: Option<String>,
    invoice_number: Option<String>,
    debtor: Option<String>,
    method: Option<String>,
    paid_at: Option<String>,
    payload: Option<Vec<u8>>,
}

impl From<OpenRow> for Open {
    fn from(row: OpenRow) -> Self {
        let known = row.event_id.map(|event| Announced {
            event_id: EventId(event),
            invoice_id: row.invoice_id.unwrap_or_default(),
            amount_cents: Cents(row.amount_cents.unwrap_or_default()),
            currency: row.currency,
            payment_id: row.payment_id,
            invoice_number: row.invoice_number,
            debtor: row.debtor,
            method: row.method,
            paid_at: booking::paid_at(row.paid_at.as_deref()),
        });
        Self {
            id: DispatchId(row.id),
            event_id: EventId(row.of_event),
            endpoint: row.endpoint,
            sink: row.sink,
            // The others of the queue wait by themselves, or are being attempted at this moment.
            state: match row.state.as_str() {
                "held" => State::Held,
                "dead" => State::Dead,
                _ => State::Pending,
            },
            reason: row.last_error,
            invoice_id: row.of_invoice,
            received_at: clock::nearest(row.received_at),
            known,
            payload: row.payload,
        }
    }
}

/// One piece of the queue; answers after which number the next one begins.
async fn open<S: Transact>(
    store: &S,
    span: &Span,
    after: i64,
    found: &mut Vec<Open>,
) -> Result<Option<i64>, StoreError> {
    let (since, until) = span.micros();
    let (first, end) = span.texts();
    let (last, rows): (Option<i64>, Vec<OpenRow>) = store
        .transact("read what is not in the books yet", Again::Harmless, Access::Look, async |mut tx| {
            let mut values: Vec<Value<'_>> = Vec::new();
            let mut sql = "SELECT id FROM queue WHERE id > ".to_owned();
            push(&mut sql, &mut values, "", after.into());
            push(&mut sql, &mut values, " ORDER BY id LIMIT 1 OFFSET ", (PIECE_OF_QUEUE - 1).into());
            let last: Option<(i64,)> = tx.row(Sql::Made(sql), &values).await?;
            let last = last.map(|(id,)| id);

            let mut values: Vec<Value<'_>> = Vec::new();
            let mut sql = "SELECT q.id, q.event_id AS of_event, e.endpoint, q.sink, q.state, q.last_error,
                        q.invoice_id AS of_invoice, e.received_at, n.event_id, n.invoice_id, n.amount_cents, n.currency,
                        n.payment_id, n.invoice_number, n.debtor, n.method, n.paid_at,
                        CASE WHEN n.event_id IS NULL AND octet_length(e.payload) <= "
                .to_owned();
            push(&mut sql, &mut values, "", LONGEST.into());
            sql.push_str(
                " THEN e.payload END AS payload
                 FROM queue AS q
                 JOIN events AS e ON e.id = q.event_id
                 LEFT JOIN announced AS n ON n.event_id = q.event_id
                 WHERE q.event_type = ",
            );
            push(&mut sql, &mut values, "", PAYMENT_RECEIVED.into());
            push(&mut sql, &mut values, " AND q.id > ", after.into());
            if let Some(last) = last {
                push(&mut sql, &mut values, " AND q.id <= ", last.into());
            }
            push(
                &mut sql,
                &mut values,
                " AND CASE WHEN n.paid_at IS NOT NULL THEN n.paid_at >= ",
                first.clone().into(),
            );
            push(&mut sql, &mut values, " AND n.paid_at < ", end.clone().into());
            push(&mut sql, &mut values, " ELSE e.received_at >= ", since.into());
            push(&mut sql, &mut values, " AND e.received_at < ", until.into());
            sql.push_str(" END");
            if let Some(endpoints) = &span.endpoints {
                one_of(&mut sql, &mut values, " AND e.endpoint", endpoints);
            }
            if let Some(sinks) = &span.sinks {
                one_of(&mut sql, &mut values, " AND q.sink", sinks);
            }
            let rows = tx.rows(Sql::Made(sql), &values).await?;
            tx.commit((last, rows)).await
        })
        .await?;
    found.extend(rows.into_iter().map(Open::from));
    Ok(last)
}

/// A piece of the bookings that meet a condition; answers where the next one begins.
async fn by_number<S: Transact + LedgerStore>(
    store: &S,
    span: &Span,
    condition: &str,
    (changed_at, number): At,
    found: &mut Vec<Recorded>,
) -> Result<Option<At>, StoreError> {
    let mut rows: Vec<BookingRow> = store
        .transact("read the bookings of a month", Again::Harmless, Access::Look, async |mut tx| {
            let mut values: Vec<Value<'_>> = vec![tx.now().await?.into()];
            let mut sql =
                format!(concat!("SELECT ", booking_columns!(), ", $1 AS now FROM bookings WHERE {}"), condition);
            if condition == FINISHED_UNDATED {
                let (since, until) = span.micros();
                push(&mut sql, &mut values, " AND changed_at >= ", since.into());
                push(&mut sql, &mut values, " AND changed_at < ", until.into());
            }
            push(&mut sql, &mut values, " AND (changed_at, number) > (", changed_at.into());
            push(&mut sql, &mut values, ", ", number.into());
            sql.push(')');
            if let Some(books) = &span.books {
                one_of(&mut sql, &mut values, " AND sink", books);
            }
            push(&mut sql, &mut values, " ORDER BY changed_at, number LIMIT ", PIECE.into());
            let rows = tx.rows(Sql::Made(sql), &values).await?;
            tx.commit(rows).await
        })
        .await?;
    let is_last = rows.len() < PIECE as usize;
    let mut end = (changed_at, number);
    let mut bookings = Vec::new();
    for row in rows.drain(..) {
        let (number, booking) = row.read()?;
        end = (clock::to_micros(booking.changed_at), number);
        bookings.push(booking);
    }
    let events: Vec<EventId> = bookings.iter().map(|booking| booking.event_id).collect();
    let learned = store.learned(&events).await?;
    for booking in bookings {
        let learned = learned.iter().find(|learned| learned.is_of(&booking)).cloned();
        let is_asked = |asked: &Vec<String>| learned.as_ref().is_some_and(|one| asked.contains(&one.endpoint));
        if span.endpoints.as_ref().is_none_or(is_asked) {
            found.push(Recorded { booking, learned });
        }
    }
    Ok((!is_last).then_some(end))
}

#[derive(FromRow)]
struct PaidRow {
    event_id: Uuid,
    endpoint: String,
    payment_id: String,
    debtor: Option<String>,
    method: Option<String>,
    paid_at: String,
}

/// A piece of the payments in the order of their days, with their bookings; answers where the next one begins.
async fn by_day<S: Transact>(
    store: &S,
    span: &Span,
    (paid, event): (String, Uuid),
    found: &mut Vec<Recorded>,
) -> Result<Option<(String, Uuid)>, StoreError> {
    let (first, end) = span.texts();
    let (paid_rows, bookings): (Vec<PaidRow>, Vec<BookingRow>) = store
        .transact("read the bookings of a month", Again::Harmless, Access::Look, async |mut tx| {
            let mut values: Vec<Value<'_>> = Vec::new();
            let mut sql =
                "SELECT event_id, endpoint, payment_id, debtor, method, paid_at FROM assignments WHERE paid_at >= "
                    .to_owned();
            push(&mut sql, &mut values, "", first.clone().into());
            push(&mut sql, &mut values, " AND paid_at < ", end.clone().into());
            push(&mut sql, &mut values, " AND (paid_at, event_id) > (", paid.clone().into());
            push(&mut sql, &mut values, ", ", event.into());
            sql.push(')');
            if let Some(endpoints) = &span.endpoints {
                one_of(&mut sql, &mut values, " AND endpoint", endpoints);
            }
            push(&mut sql, &mut values, " ORDER BY paid_at, event_id LIMIT ", PIECE.into());
            let paid: Vec<PaidRow> = tx.rows(Sql::Made(sql), &values).await?;
            if paid.is_empty() {
                return tx.commit((paid, Vec::new())).await;
            }

            let now = tx.now().await?;
            let ids: Vec<String> = paid.iter().map(|row| row.payment_id.clone()).collect();
            let mut values: Vec<Value<'_>> = vec![now.into()];
            let mut sql =
                concat!("SELECT ", booking_columns!(), ", $1 AS now FROM bookings WHERE state IN ('booked', 'seen')")
                    .to_owned();
            one_of(&mut sql, &mut values, " AND payment_id", &ids);
            if let Some(books) = &span.books {
                one_of(&mut sql, &mut values, " AND sink", books);
            }
            let bookings: Vec<BookingRow> = tx.rows(Sql::Made(sql), &values).await?;
            tx.commit((paid, bookings)).await
        })
        .await?;
    let next = paid_rows.last().filter(|_| paid_rows.len() == PIECE as usize);
    let next = next.map(|row| (row.paid_at.clone(), row.event_id));
    for row in bookings {
        let booking = row.booking()?;
        // The event that asked for it last decides; a payment of another endpoint may have the same id.
        let learned = paid_rows.iter().find(|row| EventId(row.event_id) == booking.event_id);
        if let Some(row) = learned.filter(|row| row.payment_id == booking.payment_id) {
            let learned = Learned {
                event_id: booking.event_id,
                endpoint: row.endpoint.clone(),
                payment_id: row.payment_id.clone(),
                debtor: row.debtor.clone(),
                method: row.method.clone(),
                paid_at: booking::paid_at(Some(&row.paid_at)),
            };
            found.push(Recorded { booking, learned: Some(learned) });
        }
    }
    Ok(next)
}
