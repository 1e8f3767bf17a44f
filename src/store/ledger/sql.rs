//! The ledger: which payment an event announces, and what was written of each payment in which sink.
//!
//! Every decision about the ledger is made under its lock ([`Access::Ledger`]), in transactions of a few look-ups by
//! key. So of two replicas one comes first, and the second one is refused because of what it then finds. The unique
//! indexes enforce the same for a program that does not take the lock. A booking is followed by a call to another
//! company's service, which takes far longer than the wait for the lock. All commits are durable.

use std::{collections::HashSet, fmt::Write as _, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    Advance, Assigned, BookingBegun, BookingFilter, LARGEST_ANNOUNCEMENT, LedgerStore, SEARCHED_FOR_PARTS, Search,
    Settled, Unassigned, Word, number_key,
    rows::{
        self, AnnouncedRow, AssignmentRow, Begin, BookingRow, LearnedRow, SETTLED_NOTE, Settle, Step,
        announced_columns, assignment_columns, booking_columns, learned_columns,
    },
};
use crate::{
    model::{
        audit::NewAudit,
        booking::{Announced, Assignment, Booking, BookingState, BookingToken, Learned, NewBooking},
        clock,
        event::PAYMENT_RECEIVED,
        id::{EventId, SinkName},
        money::Cents,
    },
    store::{
        error::{Failure, StoreError},
        link::audit,
        lists::one_of,
        page::Page,
        tx::{Access, Again, Sql, Transact, Tx, Value, sql, values},
    },
};

const OF_EVENT: &str = concat!("SELECT ", assignment_columns!(), " FROM assignments WHERE event_id = $1");

const OF_INVOICE: &str =
    concat!("SELECT ", assignment_columns!(), " FROM assignments WHERE endpoint = $1 AND invoice_id = $2");

const LATE_OF_EVENT: &str = concat!("SELECT ", assignment_columns!(), " FROM late_announcements WHERE event_id = $1");

const LATE_OF_INVOICE: &str =
    concat!("SELECT ", assignment_columns!(), " FROM late_announcements WHERE endpoint = $1 AND invoice_id = $2");

/// The lock keeps a purge from deleting the event before the commit.
const EVENT: Sql = sql!("SELECT id FROM events WHERE id = $1", " FOR KEY SHARE" | "");

/// The same, and whether the payload is still there. An erasure locks the event against this, a repeated delivery does not.
const EVENT_WITH_PAYLOAD: Sql = sql!("SELECT payload IS NOT NULL FROM events WHERE id = $1", " FOR KEY SHARE" | "");

/// The oldest finished bookings; those that another replica purges at this moment are skipped.
pub(in crate::store) const PURGE: Sql = sql!(
    "WITH old AS MATERIALIZED (
         SELECT number FROM bookings WHERE state IN ('booked', 'seen') AND changed_at <= $1
         ORDER BY changed_at LIMIT $2",
    " FOR UPDATE SKIP LOCKED" | "",
    ") DELETE FROM bookings WHERE number IN (SELECT number FROM old)"
);

/// The oldest assignments that are no longer needed.
pub(in crate::store) const PURGE_ASSIGNMENTS: Sql = sql!(
    "WITH old AS MATERIALIZED (
         SELECT event_id FROM assignments AS a
         WHERE assigned_at <= $1
           AND NOT EXISTS (SELECT 1 FROM events WHERE id = a.event_id)
           AND NOT EXISTS (SELECT 1 FROM bookings WHERE payment_id = a.payment_id)
         ORDER BY assigned_at LIMIT $2",
    " FOR UPDATE OF a SKIP LOCKED" | "",
    ") DELETE FROM assignments WHERE event_id IN (SELECT event_id FROM old)"
);

/// The oldest late announcements whose event is gone.
const PURGE_LATE: &str = "
    DELETE FROM late_announcements WHERE event_id IN (
        SELECT event_id FROM late_announcements AS l
        WHERE noted_at <= $1 AND NOT EXISTS (SELECT 1 FROM events WHERE id = l.event_id)
        ORDER BY noted_at LIMIT $2)";

/// `+` keeps SQLite from using the endpoint's index; Postgres has no such operator for texts.
pub(in crate::store) const UNASSIGNED: Sql = sql!(
    "SELECT id, received_at, payload,
            EXISTS (SELECT 1 FROM queue WHERE event_id = e.id AND finished_at IS NULL) AS is_open
     FROM events AS e
     WHERE invoice_id = $1 AND ",
    "" | "+",
    "endpoint = $2 AND type = $3 AND payload IS NOT NULL AND length(payload) <= $4
       AND NOT EXISTS (SELECT 1 FROM assignments WHERE event_id = e.id)
       AND NOT EXISTS (SELECT 1 FROM late_announcements WHERE event_id = e.id)
     ORDER BY id DESC LIMIT $5"
);

/// Each kind of search uses its own index; a part of a number or a name is searched among the latest only. A text contains
/// the part if removing the part changes the text: the databases have different functions for a direct search.
pub(in crate::store) const FIND: &str = "
    SELECT event_id FROM (
        SELECT event_id FROM (
            SELECT event_id FROM announced WHERE number_key = $1 ORDER BY event_id DESC LIMIT $5) AS by_number
        UNION
        SELECT event_id FROM (
            SELECT event_id FROM announced WHERE debtor_key = $1 ORDER BY event_id DESC LIMIT $5) AS by_debtor
        UNION
        SELECT event_id FROM (
            SELECT event_id FROM announced WHERE payment_id = $2 ORDER BY event_id DESC LIMIT $5) AS by_payment
        UNION
        SELECT event_id FROM (
            SELECT event_id FROM announced WHERE amount_cents = $3 ORDER BY event_id DESC LIMIT $5) AS by_amount
        UNION
        SELECT event_id FROM (
            SELECT event_id, number_key, debtor_key FROM announced ORDER BY event_id DESC LIMIT $4) AS latest
        WHERE replace(number_key, $1, '') <> number_key OR replace(debtor_key, $1, '') <> debtor_key
    ) AS found ORDER BY event_id DESC LIMIT $5";

const NOTE: &str = "
    INSERT INTO announced (event_id, invoice_id, amount_cents, currency, payment_id, invoice_number, number_key, debtor,
                           debtor_key, method, paid_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (event_id) DO UPDATE
    SET currency = coalesce(excluded.currency, announced.currency),
        payment_id = coalesce(excluded.payment_id, announced.payment_id),
        invoice_number = coalesce(excluded.invoice_number, announced.invoice_number),
        number_key = coalesce(excluded.number_key, announced.number_key),
        debtor = coalesce(excluded.debtor, announced.debtor),
        debtor_key = coalesce(excluded.debtor_key, announced.debtor_key),
        method = coalesce(excluded.method, announced.method),
        paid_at = coalesce(excluded.paid_at, announced.paid_at)";

/// The same with the assignment, if the event has this payment.
const LEARN: &str = "
    UPDATE assignments
    SET debtor = coalesce($3, debtor), method = coalesce($4, method), paid_at = coalesce($5, paid_at)
    WHERE event_id = $1 AND payment_id = $2";

/// What was learned while nothing was decided.
const ASSIGN: &str = "
    INSERT INTO assignments (event_id, endpoint, payment_id, invoice_id, amount_cents, assigned_at, debtor, method, paid_at)
    VALUES ($1, $2, $3, $4, $5, $6, (SELECT debtor FROM announced WHERE event_id = $1),
            (SELECT method FROM announced WHERE event_id = $1), (SELECT paid_at FROM announced WHERE event_id = $1))";

const LEARNED: Sql = sql!(
    concat!("SELECT ", learned_columns!(), " FROM assignments WHERE event_id "),
    "= ANY($1)" | "IN (SELECT unhex(value) FROM json_each($1))"
);

const ANNOUNCED: Sql = sql!(
    concat!("SELECT ", announced_columns!(), " FROM announced WHERE event_id "),
    "= ANY($1)" | "IN (SELECT unhex(value) FROM json_each($1))"
);

/// A sum that does not fit the type is an error.
pub(in crate::store) const SUM: &str = "
    SELECT CAST(coalesce(sum(amount_cents), 0) AS bigint) FROM bookings
    WHERE invoice_number = $1 AND sink = $2 AND state IN ('written', 'booked')";

const KNOWN: &str =
    concat!("SELECT ", booking_columns!(), ", $3 AS now FROM bookings WHERE sink = $1 AND payment_id = $2");

/// The booking of the same invoice number that is `reserved` or `sending`.
pub(in crate::store) const BUSY: &str = concat!(
    "SELECT ",
    booking_columns!(),
    ", $3 AS now FROM bookings WHERE sink = $1 AND invoice_number = $2 AND state IN ('reserved', 'sending')"
);

const INSERT: &str = "
    INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, token,
                          began_at, changed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, 'reserved', $8, $9, $9)";

/// The old values are on the right. A write of an earlier sender may still be carried out until its own end.
const SEND: &str = "
    UPDATE bookings
    SET state = 'sending', began_at = $4, settles_at = CASE WHEN settles_at > $5 THEN settles_at ELSE $5 END,
        changed_at = CASE WHEN state = 'reserved' THEN $4 ELSE changed_at END
    WHERE sink = $1 AND payment_id = $2 AND token = $3 AND state IN ('reserved', 'sending')";

#[async_trait]
impl<S: Transact> LedgerStore for S {
    async fn assignment(&self, event: EventId) -> Result<Option<Assignment>, StoreError> {
        let action = format!("read which payment event {event} announces");
        self.transact(action, Again::Harmless, Access::Read, async |mut tx| {
            let found = of_event(&mut tx, event).await?;
            tx.commit(found.map(Assignment::from)).await
        })
        .await
    }

    async fn assignments(&self, endpoint: &str, invoice_id: &str) -> Result<Vec<Assignment>, StoreError> {
        let action = "read which payments of an invoice are assigned to events";
        let values = values![endpoint, invoice_id];
        let rows: Vec<AssignmentRow> = self.read(action, Access::Read, OF_INVOICE, values).await?;
        Ok(rows.into_iter().map(Assignment::from).collect())
    }

    async fn taken(&self, endpoint: &str, invoice_id: &str, event: EventId) -> Result<HashSet<String>, StoreError> {
        let action = "read which payments of an invoice belong to other events";
        self.transact(action, Again::Harmless, Access::Read, async |mut tx| {
            let assigned: Vec<AssignmentRow> = tx.rows(OF_INVOICE, values![endpoint, invoice_id]).await?;
            let late: Vec<AssignmentRow> = tx.rows(LATE_OF_INVOICE, values![endpoint, invoice_id]).await?;
            tx.commit(rows::taken(event, assigned, late)).await
        })
        .await
    }

    async fn assign(&self, assignment: &Assignment) -> Result<Assigned, StoreError> {
        let event = assignment.event_id;
        let action = format!("assign a payment to event {event}");
        self.transact(action, Again::Harmless, Access::Ledger, async |mut tx| {
            if !is_stored(&mut tx, event).await? {
                tx.commit(()).await?;
                return Err(rows::no_such_event(event).into());
            }
            let Assignment { endpoint, payment_id, invoice_id, amount_cents, .. } = assignment;
            let of_event = of_event(&mut tx, event).await?;
            let holder = "SELECT event_id FROM assignments WHERE endpoint = $1 AND payment_id = $2";
            let holder: Option<(Uuid,)> = tx.row(holder, values![endpoint, payment_id]).await?;
            let holder = holder.map(|(event,)| event);
            if let Some(answer) = rows::assigned(assignment, of_event, holder) {
                let is_made = holder.is_some_and(|holder| EventId(holder).is_of_payment());
                let answer =
                    if answer == Assigned::Taken && is_made { late(&mut tx, assignment).await? } else { answer };
                return tx.commit(answer).await;
            }
            let now = tx.now().await?;
            tx.execute(ASSIGN, values![event.0, endpoint, payment_id, invoice_id, amount_cents.0, now]).await?;
            tx.commit(Assigned::Ours).await
        })
        .await
    }

    async fn unassigned(&self, endpoint: &str, invoice_id: &str, limit: u32) -> Result<Vec<Unassigned>, StoreError> {
        let action = "read which events of an invoice have no payment yet";
        let values = values![invoice_id, endpoint, PAYMENT_RECEIVED, LARGEST_ANNOUNCEMENT, limit];
        Ok(rows::unassigned(self.read(action, Access::Read, UNASSIGNED, values).await?))
    }

    async fn note_announced(&self, known: &Announced) -> Result<(), StoreError> {
        let action = format!("store what is known of the payment of event {}", known.event_id);
        self.transact(action, Again::Harmless, Access::Write, async |mut tx| {
            let event = known.event_id.0;
            let stored: Option<(bool,)> = tx.row(EVENT_WITH_PAYLOAD, values![event]).await?;
            if let Some((has_payload,)) = stored {
                // Of an invoice that was erased in the meantime, no name is stored.
                let debtor = known.debtor.as_deref().filter(|_| has_payload);
                let paid_at = known.paid_at.map(|paid_at| paid_at.to_string());
                let note = values![
                    event,
                    &known.invoice_id,
                    known.amount_cents.0,
                    &known.currency,
                    &known.payment_id,
                    &known.invoice_number,
                    known.invoice_number.as_deref().map(number_key),
                    debtor,
                    debtor.map(number_key),
                    &known.method,
                    paid_at.clone(),
                ];
                tx.execute(NOTE, note).await?;
                if let Some(payment) = &known.payment_id {
                    tx.execute(LEARN, values![event, payment, debtor, &known.method, paid_at]).await?;
                }
            }
            tx.commit(()).await
        })
        .await
    }

    async fn learned(&self, events: &[EventId]) -> Result<Vec<Learned>, StoreError> {
        let action = "read what was learned of the payments of events";
        let rows: Vec<LearnedRow> = self.read(action, Access::Read, LEARNED, values![events]).await?;
        Ok(rows.into_iter().map(Learned::from).collect())
    }

    async fn announced(&self, events: &[EventId]) -> Result<Vec<Announced>, StoreError> {
        let action = "read what is known of the payments of events";
        let rows: Vec<AnnouncedRow> = self.read(action, Access::Read, ANNOUNCED, values![events]).await?;
        Ok(rows.into_iter().map(Announced::from).collect())
    }

    async fn find_announced(&self, search: &Search, limit: u32) -> Result<Vec<EventId>, StoreError> {
        let amount = search.amount.map(|amount| amount.0);
        let values = values![&search.number, &search.text, amount, SEARCHED_FOR_PARTS, limit];
        let found: Vec<(Uuid,)> = self.read("search for payments", Access::Read, FIND, values).await?;
        Ok(found.into_iter().map(|(event,)| EventId(event)).collect())
    }

    async fn booking(&self, sink: &SinkName, payment_id: &str) -> Result<Option<Booking>, StoreError> {
        let action = format!("read the bookings of a payment in sink {sink}");
        self.transact(action, Again::Harmless, Access::Read, async |mut tx| {
            let row = known(&mut tx, sink, payment_id).await?;
            tx.commit(row.map(BookingRow::booking).transpose()?).await
        })
        .await
    }

    async fn begin_booking(
        &self,
        new: &NewBooking,
        take_over: Option<BookingToken>,
    ) -> Result<BookingBegun, StoreError> {
        let action = format!("reserve a payment in sink {}", new.sink);
        // A repeated call returns the same result.
        self.transact(action, Again::Harmless, Access::Ledger, async |mut tx| {
            let now = tx.now().await?;
            let known = known(&mut tx, &new.sink, &new.payment_id).await?;
            let busy = tx.row(BUSY, values![new.sink.as_str(), &new.invoice_number, now]).await?;
            let begun = match rows::begin(new, take_over, known, busy)? {
                Begin::Answer(answer) => answer,
                Begin::Insert => {
                    insert(&mut tx, new).await?;
                    BookingBegun::Begun
                }
                Begin::TakeOver(number) => {
                    let take_over = "UPDATE bookings
                                     SET token = $2, event_id = $3, began_at = $4, takeovers = takeovers + 1
                                     WHERE number = $1";
                    tx.execute(take_over, values![number, new.token.0, new.event_id.0, now]).await?;
                    BookingBegun::TakenOver
                }
            };
            tx.commit(begun).await
        })
        .await
    }

    async fn send_booking(
        &self,
        sink: &SinkName,
        payment_id: &str,
        token: BookingToken,
        settles_in: Duration,
    ) -> Result<bool, StoreError> {
        let action = format!("record that a payment is about to be written in sink {sink}");
        // A repeated call returns the same result, unless another process has taken the booking over in between.
        self.transact(action, Again::Harmless, Access::Ledger, async |mut tx| {
            let now = tx.now().await?;
            let settles_at = now.saturating_add(clock::duration_micros(settles_in));
            let sent = tx.execute(SEND, values![sink.as_str(), payment_id, token.0, now, settles_at]).await?;
            tx.commit(sent > 0).await
        })
        .await
    }

    async fn withdraw_booking(
        &self,
        sink: &SinkName,
        payment_id: &str,
        token: BookingToken,
    ) -> Result<bool, StoreError> {
        let action = format!("withdraw the booking of a payment in sink {sink}");
        self.transact(action, Again::Unsafe, Access::Ledger, async |mut tx| {
            let withdraw = "DELETE FROM bookings
                            WHERE sink = $1 AND payment_id = $2 AND token = $3 AND state IN ('reserved', 'sending')";
            let withdrawn = tx.execute(withdraw, values![sink.as_str(), payment_id, token.0]).await?;
            tx.commit(withdrawn > 0).await
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
        let action = format!("record how a person settled a payment in sink {sink}");
        self.transact(action, Again::Unsafe, Access::LedgerAndLink, async |mut tx| {
            let now = tx.now().await?;
            let known = known(&mut tx, sink, payment_id).await?;
            let (number, audit) = match rows::settle(word, quiet_for, audit.clone(), known)? {
                Settle::Answer(answer) => return tx.commit(answer).await,
                Settle::Write(number, audit) => (number, audit),
            };
            match word {
                Word::Recorded { target_id } => {
                    let book = "UPDATE bookings
                                SET state = 'booked', target_id = coalesce($2, target_id), note = $3, changed_at = $4
                                WHERE number = $1";
                    tx.execute(book, values![number, target_id, SETTLED_NOTE, now]).await?
                }
                Word::NotRecorded => tx.execute("DELETE FROM bookings WHERE number = $1", values![number]).await?,
            };
            audit::insert(&mut tx, &audit).await?;
            tx.commit(Settled::Settled).await
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
        let action = format!("record the outcome of a payment in sink {sink}");
        self.transact(action, Again::Harmless, Access::Ledger, async |mut tx| {
            let now = tx.now().await?;
            let storable = |text: &String| tx.storable(text).into_owned();
            // In the stored form, so that a repeated call gets the same result.
            let advance = Advance {
                state: advance.state,
                target_id: advance.target_id.as_ref().map(storable),
                note: advance.note.as_ref().map(storable),
            };
            let known = known(&mut tx, sink, payment_id).await?;
            let number = match rows::advance(sink, payment_id, token, &advance, known)? {
                Step::Answer(answer) => return tx.commit(answer).await,
                Step::Write(number) => number,
            };
            let go_on = "UPDATE bookings
                         SET state = $2, target_id = coalesce($3, target_id), note = coalesce($4, note), changed_at = $5
                         WHERE number = $1";
            let values = values![number, advance.state.as_str(), &advance.target_id, &advance.note, now];
            tx.execute(go_on, values).await?;
            tx.commit(None).await
        })
        .await
    }

    async fn booked_cents(&self, sink: &SinkName, invoice_number: &str) -> Result<Cents, StoreError> {
        let action = format!("add up the bookings of an invoice in sink {sink}");
        let sums: Vec<(i64,)> = self.read(action, Access::Read, SUM, values![invoice_number, sink.as_str()]).await?;
        Ok(Cents(sums.first().map_or(0, |(sum,)| *sum)))
    }

    async fn bookings(&self, filter: &BookingFilter, limit: u32) -> Result<Page<(i64, Booking)>, StoreError> {
        self.transact("list bookings", Again::Harmless, Access::Look, async |mut tx| {
            let (text, values) = list(filter, tx.now().await?, limit);
            let rows = tx.rows(Sql::Made(text), &values).await?;
            tx.commit(rows::page(rows, limit)?).await
        })
        .await
    }

    async fn purge_bookings(&self, older_than: Duration, limit: u32) -> Result<u64, StoreError> {
        let action = "purge old bookings";
        self.transact(action, Again::Harmless, Access::Write, async |mut tx| {
            let before = tx.now().await?.saturating_sub(clock::duration_micros(older_than));
            let purged = tx.execute(PURGE, values![before, limit]).await?;
            tx.execute(PURGE_ASSIGNMENTS, values![before, limit]).await?;
            tx.execute(PURGE_LATE, values![before, limit]).await?;
            tx.commit(purged).await
        })
        .await
    }
}

/// The payment of an event, also of a late announcement.
async fn of_event(tx: &mut Tx<'_>, event: EventId) -> Result<Option<AssignmentRow>, Failure> {
    if let Some(found) = tx.row(OF_EVENT, values![event.0]).await? {
        return Ok(Some(found));
    }
    tx.row(LATE_OF_EVENT, values![event.0]).await
}

/// Stores that an event is the late announcement of a payment whose event a reconciliation has made, unless another event
/// is.
async fn late(tx: &mut Tx<'_>, assignment: &Assignment) -> Result<Assigned, Failure> {
    let Assignment { event_id, endpoint, payment_id, invoice_id, amount_cents } = assignment;
    let known = "SELECT event_id FROM late_announcements WHERE endpoint = $1 AND payment_id = $2";
    let known: Option<(Uuid,)> = tx.row(known, values![endpoint, payment_id]).await?;
    if known.is_some() {
        return Ok(Assigned::Taken);
    }
    let now = tx.now().await?;
    let insert = "INSERT INTO late_announcements (event_id, endpoint, payment_id, invoice_id, amount_cents, noted_at)
                  VALUES ($1, $2, $3, $4, $5, $6)";
    tx.execute(insert, values![event_id.0, endpoint, payment_id, invoice_id, amount_cents.0, now]).await?;
    Ok(Assigned::Late)
}

/// True if the event is stored, and stays until the commit.
async fn is_stored(tx: &mut Tx<'_>, event: EventId) -> Result<bool, Failure> {
    let found: Option<(Uuid,)> = tx.row(EVENT, values![event.0]).await?;
    Ok(found.is_some())
}

async fn known(tx: &mut Tx<'_>, sink: &SinkName, payment_id: &str) -> Result<Option<BookingRow>, Failure> {
    let now = tx.now().await?;
    tx.row(KNOWN, values![sink.as_str(), payment_id, now]).await
}

async fn insert(tx: &mut Tx<'_>, new: &NewBooking) -> Result<(), Failure> {
    let now = tx.now().await?;
    let values = values![
        new.sink.as_str(),
        &new.payment_id,
        new.event_id.0,
        &new.invoice_id,
        &new.invoice_number,
        new.amount_cents.0,
        &new.currency,
        new.token.0,
        now,
    ];
    tx.execute(INSERT, values).await?;
    Ok(())
}

/// The statement of a list, and its values. The rare states add the condition of the partial index that holds them.
pub(in crate::store) fn list(filter: &BookingFilter, now: i64, limit: u32) -> (String, Vec<Value<'_>>) {
    let mut text = concat!("SELECT ", booking_columns!(), ", $1 AS now FROM bookings WHERE true").to_owned();
    let mut values = vec![Value::from(now)];
    if let Some(state) = filter.state {
        text.push_str(match state {
            BookingState::Reserved | BookingState::Sending | BookingState::Written => {
                " AND state IN ('reserved', 'sending', 'written')"
            }
            BookingState::Booked | BookingState::Seen => "",
        });
        let _ = write!(text, " AND state = '{state}'");
    }
    let texts = [
        ("sink", &filter.sink),
        ("payment_id", &filter.payment_id),
        ("invoice_id", &filter.invoice_id),
        ("invoice_number", &filter.invoice_number),
        ("target_id", &filter.target_id),
    ];
    for (column, value) in texts {
        if let Some(value) = value {
            values.push(value.into());
            let _ = write!(text, " AND {column} = ${}", values.len());
        }
    }
    if let Some(sinks) = &filter.sinks {
        one_of(&mut text, &mut values, " AND sink", sinks);
    }
    for (operator, time) in [(">=", filter.since), ("<", filter.until)] {
        if let Some(time) = time {
            values.push(clock::to_micros(time).into());
            let _ = write!(text, " AND changed_at {operator} ${}", values.len());
        }
    }
    if let Some(before) = filter.before {
        values.push(before.into());
        let _ = write!(text, " AND number < ${}", values.len());
    }
    values.push((i64::from(limit) + 1).into());
    let _ = write!(text, " ORDER BY number DESC LIMIT ${}", values.len());
    (text, values)
}
