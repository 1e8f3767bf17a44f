//! The ledger: which payment an event announces, and what was written of each payment where.
//!
//! Whoever decides over the ledger does so under its lock ([`PostgresStore::begin_ledger`]), in transactions of a few
//! look-ups by key: so of two replicas one comes first, and what the second finds is why it is refused. The unique
//! indexes say the same to whoever goes without the lock. A booking is followed by a call to another company's
//! service, which takes far longer than the wait. Everything commits durably.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{Again, PostgresStore, audit, now, storable};
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

const OF_EVENT: &str = concat!("SELECT ", assignment_columns!(), " FROM assignments WHERE event_id = $1");

/// The oldest finished ones; what somebody else purges at this moment is passed over.
pub(super) const PURGE: &str = concat!(
    "WITH old AS MATERIALIZED (
        SELECT number FROM bookings
        WHERE state IN ('booked', 'seen') AND changed_at <= ",
    now!("NULL"),
    " - $1
        ORDER BY changed_at LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    DELETE FROM bookings AS b USING old WHERE b.number = old.number"
);

/// The oldest assignments that nothing needs any more.
pub(super) const PURGE_ASSIGNMENTS: &str = concat!(
    "WITH old AS MATERIALIZED (
        SELECT event_id FROM assignments a
        WHERE assigned_at <= ",
    now!("NULL"),
    " - $1
          AND NOT EXISTS (SELECT FROM events e WHERE e.id = a.event_id)
          AND NOT EXISTS (SELECT FROM bookings b WHERE b.payment_id = a.payment_id)
        ORDER BY assigned_at LIMIT $2 FOR UPDATE OF a SKIP LOCKED
    )
    DELETE FROM assignments AS a USING old WHERE a.event_id = old.event_id"
);

const UNASSIGNED: &str = "
    SELECT e.id, e.received_at, e.payload,
           EXISTS (SELECT FROM dispatches d WHERE d.event_id = e.id AND d.finished_at IS NULL) AS is_open
    FROM events e
    WHERE e.invoice_id = $1 AND e.endpoint = $2 AND e.type = $3 AND octet_length(e.payload) <= $4
      AND NOT EXISTS (SELECT FROM assignments a WHERE a.event_id = e.id)
    ORDER BY e.id DESC LIMIT $5";

/// Each way of its own, by its own index; a part of a number among the latest only.
const FIND: &str = "
    SELECT event_id FROM (
        (SELECT event_id FROM announced WHERE number_key = $1 ORDER BY event_id DESC LIMIT $5)
        UNION
        (SELECT event_id FROM announced WHERE payment_id = $2 ORDER BY event_id DESC LIMIT $5)
        UNION
        (SELECT event_id FROM announced WHERE amount_cents = $3 ORDER BY event_id DESC LIMIT $5)
        UNION
        SELECT event_id FROM (SELECT event_id, number_key FROM announced ORDER BY event_id DESC LIMIT $4) AS latest
        WHERE position($1 IN number_key) > 0
    ) AS found ORDER BY event_id DESC LIMIT $5";

/// The lock keeps a purge from leaving it without its event.
const NOTE: &str = "
    WITH stored AS MATERIALIZED (SELECT id FROM events WHERE id = $1 FOR KEY SHARE)
    INSERT INTO announced AS a (event_id, invoice_id, amount_cents, currency, payment_id, invoice_number, number_key)
    SELECT id, $2, $3, $4, $5, $6, $7 FROM stored
    ON CONFLICT (event_id) DO UPDATE
    SET currency = coalesce(excluded.currency, a.currency), payment_id = coalesce(excluded.payment_id, a.payment_id),
        invoice_number = coalesce(excluded.invoice_number, a.invoice_number),
        number_key = coalesce(excluded.number_key, a.number_key)";

/// A sum beyond the type is an error.
pub(super) const SUM: &str = "SELECT coalesce(sum(amount_cents), 0)::bigint FROM bookings
    WHERE invoice_number = $1 AND sink = $2 AND state IN ('written', 'booked')";

#[async_trait]
impl LedgerStore for PostgresStore {
    async fn assignment(&self, event: EventId) -> Result<Option<Assignment>, StoreError> {
        self.run(format!("reading which payment event {event} announces"), Again::Harmless, async || {
            let mut checkout = self.checkout().await?;
            let row: Option<AssignmentRow> =
                sqlx::query_as(OF_EVENT).bind(event.0).fetch_optional(checkout.on()).await?;
            checkout.finish();
            Ok(row.map(Assignment::from))
        })
        .await
    }

    async fn assignments(&self, endpoint: &str, invoice_id: &str) -> Result<Vec<Assignment>, StoreError> {
        self.run("reading which payments of an invoice are assigned", Again::Harmless, async || {
            let mut checkout = self.checkout().await?;
            let rows: Vec<AssignmentRow> = sqlx::query_as(concat!(
                "SELECT ",
                assignment_columns!(),
                " FROM assignments WHERE endpoint = $1 AND invoice_id = $2"
            ))
            .bind(endpoint)
            .bind(invoice_id)
            .fetch_all(checkout.on())
            .await?;
            checkout.finish();
            Ok(rows.into_iter().map(Assignment::from).collect())
        })
        .await
    }

    async fn assign(&self, assignment: &Assignment) -> Result<Assigned, StoreError> {
        let event = assignment.event_id;
        self.run(format!("assigning a payment to event {event}"), Again::Harmless, async || {
            let (mut checkout, now) = self.begin_ledger().await?;
            // Against a purge: what is decided here is decided for an event that is there.
            let stored: Option<Uuid> = sqlx::query_scalar("SELECT id FROM events WHERE id = $1 FOR KEY SHARE")
                .bind(event.0)
                .fetch_optional(checkout.on())
                .await?;
            if stored.is_none() {
                checkout.commit().await?;
                return Err(rows::no_such_event(event).into());
            }
            let of_event: Option<AssignmentRow> =
                sqlx::query_as(OF_EVENT).bind(event.0).fetch_optional(checkout.on()).await?;
            let holder: Option<Uuid> =
                sqlx::query_scalar("SELECT event_id FROM assignments WHERE endpoint = $1 AND payment_id = $2")
                    .bind(&assignment.endpoint)
                    .bind(&assignment.payment_id)
                    .fetch_optional(checkout.on())
                    .await?;
            let answer = rows::assigned(assignment, of_event, holder);
            if answer.is_none() {
                sqlx::query(
                    "INSERT INTO assignments (event_id, endpoint, payment_id, invoice_id, amount_cents, assigned_at)
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(event.0)
                .bind(&assignment.endpoint)
                .bind(&assignment.payment_id)
                .bind(&assignment.invoice_id)
                .bind(assignment.amount_cents.0)
                .bind(now)
                .execute(checkout.on())
                .await?;
            }
            checkout.commit().await?;
            Ok(answer.unwrap_or(Assigned::Ours))
        })
        .await
    }

    async fn unassigned(&self, endpoint: &str, invoice_id: &str, limit: u32) -> Result<Vec<Unassigned>, StoreError> {
        let action = "reading which events of an invoice have no payment yet";
        let rows: Vec<UnassignedRow> = self
            .run(action, Again::Harmless, async || {
                let mut checkout = self.checkout().await?;
                let rows = sqlx::query_as(UNASSIGNED)
                    .bind(invoice_id)
                    .bind(endpoint)
                    .bind(PAYMENT_RECEIVED)
                    .bind(i64::from(LARGEST_ANNOUNCEMENT))
                    .bind(i64::from(limit))
                    .fetch_all(checkout.on())
                    .await?;
                checkout.finish();
                Ok(rows)
            })
            .await?;
        Ok(rows::unassigned(rows))
    }

    async fn note_announced(&self, known: &Announced) -> Result<(), StoreError> {
        let action = format!("writing down what is known of the payment of event {}", known.event_id);
        self.run(action, Again::Harmless, async || {
            let mut checkout = self.begin().await?;
            sqlx::query(NOTE)
                .bind(known.event_id.0)
                .bind(&known.invoice_id)
                .bind(known.amount_cents.0)
                .bind(&known.currency)
                .bind(&known.payment_id)
                .bind(&known.invoice_number)
                .bind(known.invoice_number.as_deref().map(number_key))
                .execute(checkout.on())
                .await?;
            checkout.commit().await?;
            Ok(())
        })
        .await
    }

    async fn announced(&self, events: &[EventId]) -> Result<Vec<Announced>, StoreError> {
        let ids: Vec<Uuid> = events.iter().map(|event| event.0).collect();
        let rows: Vec<AnnouncedRow> = self
            .run("reading what is known of the payments of events", Again::Harmless, async || {
                let mut checkout = self.checkout().await?;
                let statement = concat!("SELECT ", announced_columns!(), " FROM announced WHERE event_id = ANY($1)");
                let rows = sqlx::query_as(statement).bind(&ids).fetch_all(checkout.on()).await?;
                checkout.finish();
                Ok(rows)
            })
            .await?;
        Ok(rows.into_iter().map(Announced::from).collect())
    }

    async fn find_announced(&self, search: &Search, limit: u32) -> Result<Vec<EventId>, StoreError> {
        let found: Vec<Uuid> = self
            .run("searching for payments", Again::Harmless, async || {
                let mut checkout = self.checkout().await?;
                let found = sqlx::query_scalar(FIND)
                    .bind(&search.number)
                    .bind(&search.text)
                    .bind(search.amount.map(|amount| amount.0))
                    .bind(i64::from(SEARCHED_FOR_PARTS))
                    .bind(i64::from(limit))
                    .fetch_all(checkout.on())
                    .await?;
                checkout.finish();
                Ok(found)
            })
            .await?;
        Ok(found.into_iter().map(EventId).collect())
    }

    async fn booking(&self, sink: &SinkName, payment_id: &str) -> Result<Option<Booking>, StoreError> {
        self.run(format!("reading what is known of a payment in sink {sink}"), Again::Harmless, async || {
            let mut checkout = self.checkout().await?;
            let row = known(checkout.on(), sink, payment_id).await?;
            checkout.finish();
            Ok(row.map(BookingRow::booking).transpose()?)
        })
        .await
    }

    async fn begin_booking(
        &self,
        new: &NewBooking,
        take_over: Option<BookingToken>,
    ) -> Result<BookingBegun, StoreError> {
        let action = format!("reserving a payment in sink {}", new.sink);
        // Asked again, the answer is the same.
        self.run(action, Again::Harmless, async || {
            let (mut checkout, now) = self.begin_ledger().await?;
            let known = known(checkout.on(), &new.sink, &new.payment_id).await?;
            let busy = busy(checkout.on(), new).await?;
            let begun = match rows::begin(new, take_over, known, busy)? {
                Begin::Answer(answer) => answer,
                Begin::Insert => {
                    insert(checkout.on(), new, now).await?;
                    BookingBegun::Begun
                }
                Begin::TakeOver(number) => {
                    sqlx::query(
                        "UPDATE bookings SET token = $2, event_id = $3, began_at = $4, takeovers = takeovers + 1
                         WHERE number = $1",
                    )
                    .bind(number)
                    .bind(new.token.0)
                    .bind(new.event_id.0)
                    .bind(now)
                    .execute(checkout.on())
                    .await?;
                    BookingBegun::TakenOver
                }
            };
            checkout.commit().await?;
            Ok(begun)
        })
        .await
    }

    async fn send_booking(&self, sink: &SinkName, payment_id: &str, token: BookingToken) -> Result<bool, StoreError> {
        // Asked again it is still true, unless somebody has taken it over in between.
        let action = format!("writing down that a payment is about to be sent in sink {sink}");
        self.run(action, Again::Harmless, async || {
            let (mut checkout, now) = self.begin_ledger().await?;
            // On the right stand the old values.
            let sent = sqlx::query(
                "UPDATE bookings
                 SET state = 'sending', began_at = $4,
                     changed_at = CASE WHEN state = 'reserved' THEN $4 ELSE changed_at END
                 WHERE sink = $1 AND payment_id = $2 AND token = $3 AND state IN ('reserved', 'sending')",
            )
            .bind(sink.as_str())
            .bind(payment_id)
            .bind(token.0)
            .bind(now)
            .execute(checkout.on())
            .await?
            .rows_affected();
            checkout.commit().await?;
            Ok(sent > 0)
        })
        .await
    }

    async fn withdraw_booking(
        &self,
        sink: &SinkName,
        payment_id: &str,
        token: BookingToken,
    ) -> Result<bool, StoreError> {
        self.run(format!("withdrawing the booking of a payment in sink {sink}"), Again::Unsafe, async || {
            let (mut checkout, _) = self.begin_ledger().await?;
            let withdrawn = sqlx::query(
                "DELETE FROM bookings
                 WHERE sink = $1 AND payment_id = $2 AND token = $3 AND state IN ('reserved', 'sending')",
            )
            .bind(sink.as_str())
            .bind(payment_id)
            .bind(token.0)
            .execute(checkout.on())
            .await?
            .rows_affected();
            checkout.commit().await?;
            Ok(withdrawn > 0)
        })
        .await
    }

    async fn settle_booking(
        &self,
        sink: &SinkName,
        payment_id: &str,
        word: &Word,
        quiet_for: Duration,
        audit: NewAudit,
    ) -> Result<Settled, StoreError> {
        if payment_id.contains('\0') {
            // No stored text holds this character, and Postgres refuses it.
            return Ok(Settled::Unknown);
        }
        let action = format!("writing down what a person says of a payment in sink {sink}");
        self.run(action, Again::Unsafe, async || {
            let (mut checkout, now) = self.begin_ledger_with_audit().await?;
            let known = known(checkout.on(), sink, payment_id).await?;
            let (number, audit) = match rows::settle(word, quiet_for, audit.clone(), known)? {
                Settle::Answer(answer) => {
                    checkout.commit().await?;
                    return Ok(answer);
                }
                Settle::Write(number, audit) => (number, audit),
            };
            let query = match word {
                Word::Recorded { target_id } => sqlx::query(
                    "UPDATE bookings
                     SET state = 'booked', target_id = coalesce($2, target_id), note = $3, changed_at = $4
                     WHERE number = $1",
                )
                .bind(number)
                .bind(target_id.as_deref().map(storable))
                .bind(SETTLED_NOTE)
                .bind(now),
                Word::NotRecorded => sqlx::query("DELETE FROM bookings WHERE number = $1").bind(number),
            };
            query.execute(checkout.on()).await?;
            audit::insert(checkout.on(), now, &audit).await?;
            checkout.commit().await?;
            Ok(Settled::Settled)
        })
        .await
    }

    async fn advance_booking(
        &self,
        sink: &SinkName,
        payment_id: &str,
        token: BookingToken,
        advance: &Advance,
    ) -> Result<Option<Booking>, StoreError> {
        // As it is kept, so that whoever asks again is understood.
        let advance = Advance {
            state: advance.state,
            target_id: advance.target_id.as_deref().map(storable),
            note: advance.note.as_deref().map(storable),
        };
        self.run(format!("writing down what became of a payment in sink {sink}"), Again::Harmless, async || {
            let (mut checkout, now) = self.begin_ledger().await?;
            let known = known(checkout.on(), sink, payment_id).await?;
            let answer = match rows::advance(sink, payment_id, token, &advance, known)? {
                Step::Answer(answer) => answer,
                Step::Write(number) => {
                    sqlx::query(
                        "UPDATE bookings
                         SET state = $2, target_id = coalesce($3, target_id), note = coalesce($4, note), changed_at = $5
                         WHERE number = $1",
                    )
                    .bind(number)
                    .bind(advance.state.as_str())
                    .bind(&advance.target_id)
                    .bind(&advance.note)
                    .bind(now)
                    .execute(checkout.on())
                    .await?;
                    None
                }
            };
            checkout.commit().await?;
            Ok(answer)
        })
        .await
    }

    async fn booked_cents(&self, sink: &SinkName, invoice_number: &str) -> Result<Cents, StoreError> {
        self.run(format!("adding up what was written of an invoice in sink {sink}"), Again::Harmless, async || {
            let mut checkout = self.checkout().await?;
            let sum = sqlx::query_scalar(SUM).bind(invoice_number).bind(sink.as_str()).fetch_one(checkout.on()).await?;
            checkout.finish();
            Ok(Cents(sum))
        })
        .await
    }

    async fn bookings(&self, filter: &BookingFilter, limit: u32) -> Result<Page<(i64, Booking)>, StoreError> {
        let texts = [&filter.sink, &filter.payment_id, &filter.invoice_id, &filter.invoice_number];
        if texts.into_iter().flatten().any(|text| text.contains('\0')) {
            // No stored text holds this character, and Postgres refuses it.
            return Ok(Page { rows: Vec::new(), more: false });
        }
        let rows: Vec<BookingRow> = self
            .run("listing bookings", Again::Harmless, async || {
                let mut checkout = self.checkout().await?;
                let mut query = list_query(filter, limit);
                let rows = query.build_query_as().persistent(false).fetch_all(checkout.on()).await?;
                checkout.finish();
                Ok(rows)
            })
            .await?;
        rows::page(rows, limit)
    }

    async fn purge_bookings(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        self.run("purging old bookings", Again::Harmless, async || {
            let mut checkout = self.begin().await?;
            let purged = sqlx::query(PURGE)
                .bind(clock::duration_micros(older_than))
                .bind(i64::from(limit))
                .execute(checkout.on())
                .await?
                .rows_affected();
            sqlx::query(PURGE_ASSIGNMENTS)
                .bind(clock::duration_micros(older_than))
                .bind(i64::from(limit))
                .execute(checkout.on())
                .await?;
            checkout.commit().await?;
            Ok(purged)
        })
        .await
    }
}

async fn known(
    connection: &mut PgConnection,
    sink: &SinkName,
    payment_id: &str,
) -> Result<Option<BookingRow>, sqlx::Error> {
    sqlx::query_as(concat!(
        "SELECT ",
        booking_columns!(),
        ", ",
        now!("NULL"),
        " AS now FROM bookings WHERE sink = $1 AND payment_id = $2"
    ))
    .bind(sink.as_str())
    .bind(payment_id)
    .fetch_optional(connection)
    .await
}

/// What is looked at or written of the same invoice number.
async fn busy(connection: &mut PgConnection, new: &NewBooking) -> Result<Option<BookingRow>, sqlx::Error> {
    sqlx::query_as(concat!(
        "SELECT ",
        booking_columns!(),
        ", ",
        now!("NULL"),
        " AS now FROM bookings WHERE sink = $1 AND invoice_number = $2 AND state IN ('reserved', 'sending')"
    ))
    .bind(new.sink.as_str())
    .bind(&new.invoice_number)
    .fetch_optional(connection)
    .await
}

async fn insert(connection: &mut PgConnection, new: &NewBooking, now: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state,
                               token, began_at, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'reserved', $8, $9, $9)",
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
pub(super) fn list_query(filter: &BookingFilter, limit: u32) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(concat!(
        "SELECT ",
        booking_columns!(),
        ", ",
        now!("NULL"),
        " AS now FROM bookings WHERE true"
    ));
    if let Some(state) = filter.state {
        let index = match state {
            BookingState::Reserved | BookingState::Sending | BookingState::Written => {
                " AND state IN ('reserved', 'sending', 'written')"
            }
            BookingState::Booked | BookingState::Seen => "",
        };
        query.push(format_args!("{index} AND state = '{state}'"));
    }
    for (column, value) in [
        ("sink", &filter.sink),
        ("payment_id", &filter.payment_id),
        ("invoice_id", &filter.invoice_id),
        ("invoice_number", &filter.invoice_number),
    ] {
        if let Some(value) = value {
            query.push(format_args!(" AND {column} = ")).push_bind(value.clone());
        }
    }
    if let Some(before) = filter.before {
        query.push(" AND number < ").push_bind(before);
    }
    query.push(" ORDER BY number DESC LIMIT ").push_bind(i64::from(limit) + 1);
    query
}
