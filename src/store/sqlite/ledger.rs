//! The ledger: which payment an event announces, and what was written of each payment where.
//!
//! Every write is durable ([`SqliteStore::write`]) and the one writer's: what is looked at within a transaction is
//! still so when it writes.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::{
    SqliteStore, audit,
    rows::{During, micros_or_now},
};
use crate::{
    model::{
        audit::NewAudit,
        booking::{Announced, Assignment, Booking, BookingState, BookingToken, NewBooking},
        clock,
        event::PAYMENT_RECEIVED,
        id::{EventId, SinkName},
        money::Cents,
    },
    store::{
        Page, StoreError,
        ledger::{
            Advance, Assigned, BookingBegun, BookingFilter, LARGEST_ANNOUNCEMENT, LedgerStore, SEARCHED_FOR_PARTS,
            Search, Settled, Unassigned, Word, number_key,
            rows::{
                self, AnnouncedRow, AssignmentRow, Begin, BookingRow, SETTLED_NOTE, Settle, Step, UnassignedRow,
                announced_columns, assignment_columns, booking_columns,
            },
        },
    },
};

const OF_EVENT: &str = concat!("SELECT ", assignment_columns!(), " FROM assignments WHERE event_id = ?");

/// The oldest finished ones.
pub(super) const PURGE: &str = "
    DELETE FROM bookings
    WHERE number IN (
        SELECT number FROM bookings WHERE state IN ('booked', 'seen') AND changed_at <= ?1
        ORDER BY changed_at LIMIT ?2)";

/// The oldest assignments that nothing needs any more.
pub(super) const PURGE_ASSIGNMENTS: &str = "
    DELETE FROM assignments
    WHERE event_id IN (
        SELECT event_id FROM assignments AS a
        WHERE assigned_at <= ?1
          AND NOT EXISTS (SELECT 1 FROM events WHERE id = a.event_id)
          AND NOT EXISTS (SELECT 1 FROM bookings WHERE payment_id = a.payment_id)
        ORDER BY assigned_at LIMIT ?2)";

pub(super) const UNASSIGNED: &str = "
    SELECT id, received_at, payload,
           EXISTS (SELECT 1 FROM dispatches WHERE event_id = e.id AND finished_at IS NULL) AS is_open
    FROM events AS e
    WHERE invoice_id = ?1 AND +endpoint = ?2 AND type = ?3 AND payload IS NOT NULL AND length(payload) <= ?4
      AND NOT EXISTS (SELECT 1 FROM assignments WHERE event_id = e.id)
    ORDER BY id DESC LIMIT ?5";

/// Each way of its own, by its own index; a part of a number among the latest only.
pub(super) const FIND: &str = "
    SELECT event_id FROM (
        SELECT event_id FROM (SELECT event_id FROM announced WHERE number_key = ?1 ORDER BY event_id DESC LIMIT ?5)
        UNION
        SELECT event_id FROM (SELECT event_id FROM announced WHERE payment_id = ?2 ORDER BY event_id DESC LIMIT ?5)
        UNION
        SELECT event_id FROM (SELECT event_id FROM announced WHERE amount_cents = ?3 ORDER BY event_id DESC LIMIT ?5)
        UNION
        SELECT event_id FROM (SELECT event_id, number_key FROM announced ORDER BY event_id DESC LIMIT ?4)
        WHERE instr(number_key, ?1) > 0
    ) ORDER BY event_id DESC LIMIT ?5";

pub(super) const SUM: &str = "
    SELECT coalesce(sum(amount_cents), 0) FROM bookings
    WHERE invoice_number = ?1 AND sink = ?2 AND state IN ('written', 'booked')";

/// What is looked at or written of the same invoice number.
pub(super) const BUSY: &str = concat!(
    "SELECT ",
    booking_columns!(),
    ", ?3 AS now FROM bookings WHERE sink = ?1 AND invoice_number = ?2 AND state IN ('reserved', 'sending')"
);

#[async_trait]
impl LedgerStore for SqliteStore {
    async fn assignment(&self, event: EventId) -> Result<Option<Assignment>, StoreError> {
        let row: Option<AssignmentRow> = sqlx::query_as(OF_EVENT)
            .bind(event.0)
            .fetch_optional(&self.readers)
            .await
            .during(format_args!("reading which payment event {event} announces"))?;
        Ok(row.map(Assignment::from))
    }

    async fn assignments(&self, endpoint: &str, invoice_id: &str) -> Result<Vec<Assignment>, StoreError> {
        let rows: Vec<AssignmentRow> = sqlx::query_as(concat!(
            "SELECT ",
            assignment_columns!(),
            " FROM assignments WHERE endpoint = ? AND invoice_id = ?"
        ))
        .bind(endpoint)
        .bind(invoice_id)
        .fetch_all(&self.readers)
        .await
        .during("reading which payments of an invoice are assigned")?;
        Ok(rows.into_iter().map(Assignment::from).collect())
    }

    async fn assign(&self, assignment: &Assignment) -> Result<Assigned, StoreError> {
        let event = assignment.event_id;
        let assigned = assign(self, assignment).await.during(format_args!("assigning a payment to event {event}"))?;
        assigned.ok_or_else(|| rows::no_such_event(event))
    }

    async fn unassigned(&self, endpoint: &str, invoice_id: &str, limit: u32) -> Result<Vec<Unassigned>, StoreError> {
        let rows: Vec<UnassignedRow> = sqlx::query_as(UNASSIGNED)
            .bind(invoice_id)
            .bind(endpoint)
            .bind(PAYMENT_RECEIVED)
            .bind(LARGEST_ANNOUNCEMENT)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .during("reading which events of an invoice have no payment yet")?;
        Ok(rows::unassigned(rows))
    }

    async fn note_announced(&self, known: &Announced) -> Result<(), StoreError> {
        let action = format!("writing down what is known of the payment of event {}", known.event_id);
        let mut transaction = self.write().await.during(&action)?;
        sqlx::query(
            "INSERT INTO announced (event_id, invoice_id, amount_cents, currency, payment_id, invoice_number, number_key)
             SELECT id, ?2, ?3, ?4, ?5, ?6, ?7 FROM events WHERE id = ?1
             ON CONFLICT (event_id) DO UPDATE
             SET currency = coalesce(excluded.currency, currency), payment_id = coalesce(excluded.payment_id, payment_id),
                 invoice_number = coalesce(excluded.invoice_number, invoice_number),
                 number_key = coalesce(excluded.number_key, number_key)",
        )
        .bind(known.event_id.0)
        .bind(&known.invoice_id)
        .bind(known.amount_cents.0)
        .bind(&known.currency)
        .bind(&known.payment_id)
        .bind(&known.invoice_number)
        .bind(known.invoice_number.as_deref().map(number_key))
        .execute(&mut *transaction)
        .await
        .during(&action)?;
        transaction.commit().await.during(&action)
    }

    async fn announced(&self, events: &[EventId]) -> Result<Vec<Announced>, StoreError> {
        let rows: Vec<AnnouncedRow> = sqlx::query_as(concat!(
            "SELECT ",
            announced_columns!(),
            " FROM announced WHERE event_id IN (SELECT unhex(value) FROM json_each(?))"
        ))
        .bind(json_ids(events))
        .fetch_all(&self.readers)
        .await
        .during("reading what is known of the payments of events")?;
        Ok(rows.into_iter().map(Announced::from).collect())
    }

    async fn find_announced(&self, search: &Search, limit: u32) -> Result<Vec<EventId>, StoreError> {
        let found: Vec<Uuid> = sqlx::query_scalar(FIND)
            .bind(&search.number)
            .bind(&search.text)
            .bind(search.amount.map(|amount| amount.0))
            .bind(SEARCHED_FOR_PARTS)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .during("searching for payments")?;
        Ok(found.into_iter().map(EventId).collect())
    }

    async fn booking(&self, sink: &SinkName, payment_id: &str) -> Result<Option<Booking>, StoreError> {
        let action = format_args!("reading what is known of a payment in sink {sink}").to_string();
        let mut connection = self.readers.acquire().await.during(&action)?;
        let row = known(&mut connection, sink, payment_id, micros_or_now(None)).await.during(&action)?;
        row.map(BookingRow::booking).transpose()
    }

    async fn begin_booking(
        &self,
        new: &NewBooking,
        take_over: Option<BookingToken>,
    ) -> Result<BookingBegun, StoreError> {
        let action = format!("reserving a payment in sink {}", new.sink);
        let now = micros_or_now(None);
        let mut transaction = self.write().await.during(&action)?;
        let known = known(&mut transaction, &new.sink, &new.payment_id, now).await.during(&action)?;
        let busy = busy(&mut transaction, new, now).await.during(&action)?;
        let begun = match rows::begin(new, take_over, known, busy)? {
            Begin::Answer(answer) => return Ok(answer),
            Begin::Insert => {
                insert(&mut transaction, new, now).await.during(&action)?;
                BookingBegun::Begun
            }
            Begin::TakeOver(number) => {
                sqlx::query(
                    "UPDATE bookings SET token = ?2, event_id = ?3, began_at = ?4, takeovers = takeovers + 1
                     WHERE number = ?1",
                )
                .bind(number)
                .bind(new.token.0)
                .bind(new.event_id.0)
                .bind(now)
                .execute(&mut *transaction)
                .await
                .during(&action)?;
                BookingBegun::TakenOver
            }
        };
        transaction.commit().await.during(&action)?;
        Ok(begun)
    }

    async fn send_booking(&self, sink: &SinkName, payment_id: &str, token: BookingToken) -> Result<bool, StoreError> {
        let action = format!("writing down that a payment is about to be sent in sink {sink}");
        let mut transaction = self.write().await.during(&action)?;
        // On the right stand the old values.
        let sent = sqlx::query(
            "UPDATE bookings
             SET state = 'sending', began_at = ?4, changed_at = iif(state = 'reserved', ?4, changed_at)
             WHERE sink = ?1 AND payment_id = ?2 AND token = ?3 AND state IN ('reserved', 'sending')",
        )
        .bind(sink.as_str())
        .bind(payment_id)
        .bind(token.0)
        .bind(micros_or_now(None))
        .execute(&mut *transaction)
        .await
        .during(&action)?;
        transaction.commit().await.during(&action)?;
        Ok(sent.rows_affected() > 0)
    }

    async fn withdraw_booking(
        &self,
        sink: &SinkName,
        payment_id: &str,
        token: BookingToken,
    ) -> Result<bool, StoreError> {
        let action = format!("withdrawing the booking of a payment in sink {sink}");
        let mut transaction = self.write().await.during(&action)?;
        let withdrawn = sqlx::query(
            "DELETE FROM bookings
             WHERE sink = ? AND payment_id = ? AND token = ? AND state IN ('reserved', 'sending')",
        )
        .bind(sink.as_str())
        .bind(payment_id)
        .bind(token.0)
        .execute(&mut *transaction)
        .await
        .during(&action)?;
        transaction.commit().await.during(&action)?;
        Ok(withdrawn.rows_affected() > 0)
    }

    async fn settle_booking(
        &self,
        sink: &SinkName,
        payment_id: &str,
        word: &Word,
        quiet_for: Duration,
        audit: NewAudit,
    ) -> Result<Settled, StoreError> {
        let action = format!("writing down what a person says of a payment in sink {sink}");
        let mut transaction = self.write().await.during(&action)?;
        // Once the writer is ours: what was begun while we waited for it was not begun in the future.
        let now = micros_or_now(None);
        let known = known(&mut transaction, sink, payment_id, now).await.during(&action)?;
        let (number, audit) = match rows::settle(word, quiet_for, audit, known)? {
            Settle::Answer(answer) => return Ok(answer),
            Settle::Write(number, audit) => (number, audit),
        };
        let query = match word {
            Word::Recorded { target_id } => sqlx::query(
                "UPDATE bookings
                 SET state = 'booked', target_id = coalesce(?2, target_id), note = ?3, changed_at = ?4
                 WHERE number = ?1",
            )
            .bind(number)
            .bind(target_id)
            .bind(SETTLED_NOTE)
            .bind(now),
            Word::NotRecorded => sqlx::query("DELETE FROM bookings WHERE number = ?1").bind(number),
        };
        query.execute(&mut *transaction).await.during(&action)?;
        audit::insert(&mut transaction, now, &audit).await.during(&action)?;
        transaction.commit().await.during(&action)?;
        Ok(Settled::Settled)
    }

    async fn advance_booking(
        &self,
        sink: &SinkName,
        payment_id: &str,
        token: BookingToken,
        advance: &Advance,
    ) -> Result<Option<Booking>, StoreError> {
        let action = format!("writing down what became of a payment in sink {sink}");
        let now = micros_or_now(None);
        let mut transaction = self.write().await.during(&action)?;
        let known = known(&mut transaction, sink, payment_id, now).await.during(&action)?;
        let number = match rows::advance(sink, payment_id, token, advance, known)? {
            Step::Answer(answer) => return Ok(answer),
            Step::Write(number) => number,
        };
        sqlx::query(
            "UPDATE bookings
             SET state = ?2, target_id = coalesce(?3, target_id), note = coalesce(?4, note), changed_at = ?5
             WHERE number = ?1",
        )
        .bind(number)
        .bind(advance.state.as_str())
        .bind(&advance.target_id)
        .bind(&advance.note)
        .bind(now)
        .execute(&mut *transaction)
        .await
        .during(&action)?;
        transaction.commit().await.during(&action)?;
        Ok(None)
    }

    async fn booked_cents(&self, sink: &SinkName, invoice_number: &str) -> Result<Cents, StoreError> {
        sqlx::query_scalar(SUM)
            .bind(invoice_number)
            .bind(sink.as_str())
            .fetch_one(&self.readers)
            .await
            .map(Cents)
            .during(format_args!("adding up what was written of an invoice in sink {sink}"))
    }

    async fn bookings(&self, filter: &BookingFilter, limit: u32) -> Result<Page<(i64, Booking)>, StoreError> {
        let rows: Vec<BookingRow> = list_statement(filter, limit)
            .build_query_as()
            .persistent(false)
            .fetch_all(&self.readers)
            .await
            .during("listing bookings")?;
        rows::page(rows, limit)
    }

    async fn purge_bookings(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        let action = "removing bookings that are older than the retention time";
        let before = micros_or_now(None).saturating_sub(clock::duration_micros(older_than));
        let mut transaction = self.write().await.during(action)?;
        let purged = sqlx::query(PURGE).bind(before).bind(limit).execute(&mut *transaction).await.during(action)?;
        sqlx::query(PURGE_ASSIGNMENTS).bind(before).bind(limit).execute(&mut *transaction).await.during(action)?;
        transaction.commit().await.during(action)?;
        Ok(purged.rows_affected())
    }
}

/// Ids as [`json_each`](https://www.sqlite.org/json1.html#jeach) and `unhex` read them.
pub(super) fn json_ids(events: &[EventId]) -> String {
    let ids: Vec<String> = events.iter().map(|event| event.0.simple().to_string()).collect();
    serde_json::to_string(&ids).expect("texts can be written as JSON")
}

/// `None` if there is no such event.
async fn assign(store: &SqliteStore, assignment: &Assignment) -> Result<Option<Assigned>, sqlx::Error> {
    let mut transaction = store.write().await?;
    let is_stored: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM events WHERE id = ?)")
        .bind(assignment.event_id.0)
        .fetch_one(&mut *transaction)
        .await?;
    if !is_stored {
        return Ok(None);
    }
    let of_event: Option<AssignmentRow> =
        sqlx::query_as(OF_EVENT).bind(assignment.event_id.0).fetch_optional(&mut *transaction).await?;
    let holder: Option<Uuid> =
        sqlx::query_scalar("SELECT event_id FROM assignments WHERE endpoint = ? AND payment_id = ?")
            .bind(&assignment.endpoint)
            .bind(&assignment.payment_id)
            .fetch_optional(&mut *transaction)
            .await?;
    if let Some(answer) = rows::assigned(assignment, of_event, holder) {
        return Ok(Some(answer));
    }
    sqlx::query(
        "INSERT INTO assignments (event_id, endpoint, payment_id, invoice_id, amount_cents, assigned_at)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(assignment.event_id.0)
    .bind(&assignment.endpoint)
    .bind(&assignment.payment_id)
    .bind(&assignment.invoice_id)
    .bind(assignment.amount_cents.0)
    .bind(micros_or_now(None))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Some(Assigned::Ours))
}

async fn known(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    payment_id: &str,
    now: i64,
) -> Result<Option<BookingRow>, sqlx::Error> {
    sqlx::query_as(concat!(
        "SELECT ",
        booking_columns!(),
        ", ?3 AS now FROM bookings WHERE sink = ?1 AND payment_id = ?2"
    ))
    .bind(sink.as_str())
    .bind(payment_id)
    .bind(now)
    .fetch_optional(connection)
    .await
}

async fn busy(
    connection: &mut SqliteConnection,
    new: &NewBooking,
    now: i64,
) -> Result<Option<BookingRow>, sqlx::Error> {
    sqlx::query_as(BUSY).bind(new.sink.as_str()).bind(&new.invoice_number).bind(now).fetch_optional(connection).await
}

async fn insert(connection: &mut SqliteConnection, new: &NewBooking, now: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state,
                               token, began_at, changed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'reserved', ?8, ?9, ?9)",
    )
    .bind(new.sink.as_str())
    .bind(&new.payment_id)
    .bind(new.event_id.0)
    .bind(&new.invoice_id)
    .bind(&new.invoice_number)
    .bind(new.amount_cents.0)
    .bind(&new.currency)
    .bind(new.token.0)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// The query of a list. The rare states bring the condition of the partial index that holds them.
pub(super) fn list_statement(filter: &BookingFilter, limit: u32) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new(concat!("SELECT ", booking_columns!(), ", "));
    sql.push_bind(micros_or_now(None)).push(" AS now FROM bookings WHERE TRUE");
    if let Some(state) = filter.state {
        let index = match state {
            BookingState::Reserved | BookingState::Sending | BookingState::Written => {
                " AND state IN ('reserved', 'sending', 'written')"
            }
            BookingState::Booked | BookingState::Seen => "",
        };
        sql.push(format_args!("{index} AND state = '{state}'"));
    }
    for (column, value) in [
        ("sink", &filter.sink),
        ("payment_id", &filter.payment_id),
        ("invoice_id", &filter.invoice_id),
        ("invoice_number", &filter.invoice_number),
    ] {
        if let Some(value) = value {
            sql.push(format_args!(" AND {column} = ")).push_bind(value.clone());
        }
    }
    if let Some(before) = filter.before {
        sql.push(" AND number < ").push_bind(before);
    }
    sql.push(" ORDER BY number DESC LIMIT ").push_bind(i64::from(limit) + 1);
    sql
}
