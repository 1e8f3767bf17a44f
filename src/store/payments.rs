//! Payments as a person looks for them: each with the event that announced it, and with what became of it in every sink.
//!
//! A payment stands in several tables. While nobody has looked it up, only its event knows of it (`events`). Once it is
//! looked up, facts are there (`announced`), then the decision which payment it is (`assignments`, which outlives the
//! event), then what was written of it (`bookings`), and all the time the dispatches of its event. So payments are listed by
//! the id of their event, which begins with the time of its receipt: newest first, one order for all of them, and a cursor
//! that the key of both tables answers.
//!
//! A list has two steps. [`PaymentStore::payment_events`] finds the events, piece by piece (`store::search`);
//! [`PaymentStore::payment_facts`] reads everything else about a page of them, by keys.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    error::{Failure, StoreError},
    events::first_id_at,
    ledger::rows::{AnnouncedRow, BookingRow, announced_columns, booking_columns},
    lists::{one_of, push, whole_dispatch},
    rows::{DispatchRow, EventWithPayload},
    search::Pieces,
    tx::{Access, Again, Sql, Transact, Tx, Value, sql, values},
};
use crate::model::{
    booking::{self, Announced, Assignment, Booking, Learned},
    clock,
    dispatch::{Dispatch, State},
    event::{Event, PAYMENT_RECEIVED},
    id::EventId,
    money::Cents,
};

/// Payloads longer than this hold no amount that anybody would look for, in bytes.
const LONGEST: u32 = 8 * 1024;

/// The most events that one id or one invoice number finds.
const MOST_FOUND: u32 = 500;

/// Which payments are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Among {
    /// All.
    #[default]
    All,
    /// Those whose event has a dispatch in one of these states. With `begun`, also those with a booking that is begun and
    /// not finished. The states are those of the queue: not delivered, and not cancelled.
    Unfinished {
        /// The states.
        states: Vec<State>,
        /// Whether unfinished bookings count.
        begun: bool,
    },
}

/// Which payments to list; `None` everywhere lists all.
#[derive(Debug, Clone, Default)]
pub struct PaymentFilter {
    /// By what is to be done.
    pub among: Among,
    /// Only of events of these endpoints. Unfinished bookings are not filtered by it, see [`PaymentFacts::endpoint`].
    pub endpoints: Option<Vec<String>>,
    /// Only events received in this millisecond or later.
    pub since: Option<Timestamp>,
    /// Only events received before this millisecond.
    pub until: Option<Timestamp>,
    /// Only payments before (older than) this event's: the cursor.
    pub before: Option<EventId>,
    /// How many events or dispatches are looked at, if fewer than usual.
    pub look_at: Option<u32>,
}

impl PaymentFilter {
    /// The ids between which the events are: from the first one on, and before the second one.
    pub fn ids(&self) -> (Option<EventId>, Option<EventId>) {
        let at = |time: Timestamp| EventId(first_id_at(clock::to_micros(time)));
        let before = match (self.before, self.until.map(at)) {
            (Some(cursor), Some(until)) => Some(cursor.min(until)),
            (cursor, until) => cursor.or(until),
        };
        (self.since.map(at), before)
    }
}

/// The events of a page of payments, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentEvents {
    /// The events. There are fewer than asked for, and perhaps none, if the search ended early.
    pub events: Vec<EventId>,
    /// Set when the search ended before it had found enough or searched all: what is older than this event was not
    /// searched. To go on, pass it as [`PaymentFilter::before`].
    pub searched_until: Option<EventId>,
}

/// Everything that is stored about one payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentFacts {
    /// The event that announced it, or that a reconciliation has made for it.
    pub event_id: EventId,
    /// The same, as long as it is stored.
    pub event: Option<Event>,
    /// Which payment it is, once that is decided.
    pub assignment: Option<Assignment>,
    /// What was learned with the decision.
    pub learned: Option<Learned>,
    /// What is known of it, decided or not, as long as the event is stored.
    pub announced: Option<Announced>,
    /// The message, if nobody has looked the payment up yet and the message is stored and not long.
    pub payload: Option<Vec<u8>>,
    /// The event that announced it after a reconciliation had made one, and when that was noted.
    pub late: Option<(EventId, Timestamp)>,
    /// The late event, as long as it is stored.
    pub late_event: Option<Event>,
    /// The dispatches of both events, oldest first.
    pub dispatches: Vec<Dispatch>,
    /// What was written of it in each sink.
    pub bookings: Vec<Booking>,
}

impl PaymentFacts {
    /// The endpoint that it came through.
    pub fn endpoint(&self) -> Option<&str> {
        let event = self.event.as_ref().map(|event| event.endpoint.as_str());
        event.or(self.assignment.as_ref().map(|assignment| assignment.endpoint.as_str()))
    }
}

/// The part of the store that is about payments as people look for them.
#[async_trait]
pub trait PaymentStore: Send + Sync {
    /// The events of payments, newest first; at most `limit`. A late announcement is not listed by itself, unless it is
    /// unfinished. Reads a bounded number of rows in a bounded time, and says how far it came.
    async fn payment_events(&self, filter: &PaymentFilter, limit: u32) -> Result<PaymentEvents, StoreError>;

    /// The events of the payment with this id at Finkare, in these endpoints and wherever else it is known, and with
    /// `number` those of which something was written under this invoice number; newest first. Some of them may turn out
    /// not to be of this payment: [`PaymentStore::payment_facts`] tells.
    async fn find_payments(
        &self,
        payment_id: &str,
        number: Option<&str>,
        endpoints: &[String],
    ) -> Result<Vec<EventId>, StoreError>;

    /// What is stored about the payments of these events, newest first, each payment once: a late announcement is told
    /// with the event that has its payment. Events of which nothing is stored are left out.
    async fn payment_facts(&self, events: &[EventId]) -> Result<Vec<PaymentFacts>, StoreError>;
}

type Statement<'v> = (String, Vec<Value<'v>>);

/// Adds the bounds of a piece.
fn between(sql: &mut String, values: &mut Vec<Value<'_>>, column: &str, (from, before): (Option<Uuid>, Option<Uuid>)) {
    if let Some(from) = from {
        push(sql, values, &format!(" AND {column} >= "), from.into());
    }
    if let Some(before) = before {
        push(sql, values, &format!(" AND {column} < "), before.into());
    }
}

/// The condition of `queue_stopped_event`, word for word: those that wait for a person are found among a million others.
const STOPPED: &str = "(state IN ('held', 'dead')) IS TRUE";

/// Whether that index has all dispatches of these states.
fn are_stopped(states: &[State]) -> bool {
    !states.is_empty() && states.iter().all(|state| matches!(state, State::Held | State::Dead))
}

/// The statement for the end of a piece of so many rows.
pub(in crate::store) fn end_statement(
    among: &Among,
    bounds: (Option<Uuid>, Option<Uuid>),
    size: u32,
) -> Statement<'static> {
    let mut values = Vec::new();
    let mut sql = String::new();
    match among {
        Among::All => {
            sql.push_str("SELECT id FROM (SELECT id FROM (SELECT id FROM events WHERE true");
            between(&mut sql, &mut values, "id", bounds);
            push(&mut sql, &mut values, " ORDER BY id DESC LIMIT ", size.into());
            sql.push_str(") AS stored UNION ALL SELECT id FROM (SELECT event_id AS id FROM assignments WHERE true");
            between(&mut sql, &mut values, "event_id", bounds);
            push(&mut sql, &mut values, " ORDER BY event_id DESC LIMIT ", size.into());
            sql.push_str(") AS kept) AS piece ORDER BY id DESC");
        }
        Among::Unfinished { states, .. } => {
            sql.push_str("SELECT event_id FROM queue WHERE ");
            sql.push_str(if are_stopped(states) { STOPPED } else { "true" });
            between(&mut sql, &mut values, "event_id", bounds);
            sql.push_str(" ORDER BY event_id DESC");
        }
    }
    push(&mut sql, &mut values, " LIMIT 1 OFFSET ", size.saturating_sub(1).into());
    (sql, values)
}

/// The statement for the events of a piece, newest first.
pub(in crate::store) fn piece_statement<'v>(
    filter: &'v PaymentFilter,
    bounds: (Option<Uuid>, Option<Uuid>),
    most: u32,
) -> Statement<'v> {
    let mut values: Vec<Value<'v>> = Vec::new();
    let mut sql = "SELECT event_id FROM (".to_owned();
    let of_endpoints = |sql: &mut String, values: &mut Vec<Value<'v>>, words: &str| {
        if let Some(endpoints) = &filter.endpoints {
            one_of(sql, values, words, endpoints);
        }
    };
    match &filter.among {
        Among::All => {
            sql.push_str("SELECT event_id FROM (SELECT id AS event_id FROM events WHERE ");
            push(&mut sql, &mut values, "type = ", PAYMENT_RECEIVED.into());
            between(&mut sql, &mut values, "id", bounds);
            of_endpoints(&mut sql, &mut values, " AND endpoint");
            sql.push_str(" AND NOT EXISTS (SELECT 1 FROM late_announcements AS l WHERE l.event_id = events.id)");
            push(&mut sql, &mut values, " ORDER BY id DESC LIMIT ", most.into());
            sql.push_str(") AS stored UNION SELECT event_id FROM (SELECT event_id FROM assignments WHERE true");
            between(&mut sql, &mut values, "event_id", bounds);
            of_endpoints(&mut sql, &mut values, " AND endpoint");
            push(&mut sql, &mut values, " ORDER BY event_id DESC LIMIT ", most.into());
            sql.push_str(") AS kept");
        }
        Among::Unfinished { states, begun } => {
            sql.push_str("SELECT event_id FROM (SELECT DISTINCT event_id FROM queue WHERE ");
            push(&mut sql, &mut values, "event_type = ", PAYMENT_RECEIVED.into());
            let words: Vec<String> = states.iter().map(|state| format!("'{state}'")).collect();
            // Written out, so that both databases plan for them. Without a state nothing of the queue is asked for.
            let words = if words.is_empty() { "NULL".to_owned() } else { words.join(", ") };
            sql.push_str(" AND state IN (");
            sql.push_str(&words);
            sql.push(')');
            if are_stopped(states) {
                sql.push_str(" AND ");
                sql.push_str(STOPPED);
            }
            between(&mut sql, &mut values, "event_id", bounds);
            if filter.endpoints.is_some() {
                sql.push_str(" AND EXISTS (SELECT 1 FROM events WHERE events.id = queue.event_id");
                of_endpoints(&mut sql, &mut values, " AND endpoint");
                sql.push(')');
            }
            push(&mut sql, &mut values, " ORDER BY event_id DESC LIMIT ", most.into());
            sql.push_str(") AS waiting");
            if *begun {
                // The condition of the partial index, word for word. They are few.
                sql.push_str(
                    " UNION SELECT event_id FROM (
                          SELECT event_id FROM bookings WHERE state IN ('reserved', 'sending', 'written')",
                );
                between(&mut sql, &mut values, "event_id", bounds);
                sql.push_str(") AS begun");
            }
        }
    }
    push(&mut sql, &mut values, ") AS found ORDER BY event_id DESC LIMIT ", most.into());
    (sql, values)
}

/// The events that these late announcements belong to.
const MAIN_OF_LATE: Sql = sql!(
    "SELECT l.event_id, a.event_id AS main FROM late_announcements AS l
     JOIN assignments AS a ON a.endpoint = l.endpoint AND a.payment_id = l.payment_id
     WHERE l.event_id ",
    "= ANY($1)" | "IN (SELECT unhex(value) FROM json_each($1))"
);

/// The late announcements of the payments of these events.
const LATE_OF_MAIN: Sql = sql!(
    "SELECT a.event_id AS main, l.event_id, l.noted_at FROM assignments AS a
     JOIN late_announcements AS l ON l.endpoint = a.endpoint AND l.payment_id = a.payment_id
     WHERE a.event_id ",
    "= ANY($1)" | "IN (SELECT unhex(value) FROM json_each($1))"
);

/// The payload only where nothing else says the amount.
const EVENTS: Sql = sql!(
    "SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at,
            CAST(e.deliveries AS bigint) AS deliveries, e.readable, e.content_type,
            CASE WHEN n.event_id IS NULL AND octet_length(e.payload) <= $2 THEN e.payload END AS payload
     FROM events AS e LEFT JOIN announced AS n ON n.event_id = e.id
     WHERE e.id ",
    "= ANY($1)" | "IN (SELECT unhex(value) FROM json_each($1))"
);

const ASSIGNMENTS: Sql = sql!(
    "SELECT event_id, endpoint, payment_id, invoice_id, amount_cents, debtor, method, paid_at FROM assignments
     WHERE event_id ",
    "= ANY($1)" | "IN (SELECT unhex(value) FROM json_each($1))"
);

const ANNOUNCED: Sql = sql!(
    concat!("SELECT ", announced_columns!(), " FROM announced WHERE event_id "),
    "= ANY($1)" | "IN (SELECT unhex(value) FROM json_each($1))"
);

const DISPATCHES: Sql = sql!(
    concat!(whole_dispatch!(), " WHERE event_id "),
    "= ANY($1)" | "IN (SELECT unhex(value) FROM json_each($1))",
    " ORDER BY id"
);

/// Both kinds of decisions.
const DECIDED: Sql = sql!(
    "SELECT event_id, endpoint FROM (
         SELECT event_id, endpoint FROM assignments UNION ALL SELECT event_id, endpoint FROM late_announcements
     ) AS decided WHERE event_id ",
    "= ANY($1)" | "IN (SELECT unhex(value) FROM json_each($1))"
);

/// Every statement over a page of events, with the values after the ids, for the tests of their plans.
#[cfg(test)]
pub(in crate::store) const OF_EVENTS: [Sql; 7] =
    [MAIN_OF_LATE, LATE_OF_MAIN, EVENTS, ASSIGNMENTS, ANNOUNCED, DISPATCHES, DECIDED];

#[derive(FromRow)]
struct DecidedRow {
    event_id: Uuid,
    endpoint: String,
    payment_id: String,
    invoice_id: String,
    amount_cents: i64,
    debtor: Option<String>,
    method: Option<String>,
    paid_at: Option<String>,
}

impl DecidedRow {
    fn read(self) -> (Assignment, Learned) {
        let event_id = EventId(self.event_id);
        let learned = Learned {
            event_id,
            endpoint: self.endpoint.clone(),
            payment_id: self.payment_id.clone(),
            debtor: self.debtor,
            method: self.method,
            paid_at: booking::paid_at(self.paid_at.as_deref()),
        };
        let assignment = Assignment {
            event_id,
            endpoint: self.endpoint,
            payment_id: self.payment_id,
            invoice_id: self.invoice_id,
            amount_cents: Cents(self.amount_cents),
        };
        (assignment, learned)
    }
}

#[async_trait]
impl<S: Transact> PaymentStore for S {
    async fn payment_events(&self, filter: &PaymentFilter, limit: u32) -> Result<PaymentEvents, StoreError> {
        let (since, before) = filter.ids();
        let (since, mut before) = (since.map(|id| id.0), before.map(|id| id.0));
        let mut pieces = Pieces::of_events(filter.look_at);
        let mut events: Vec<EventId> = Vec::new();
        loop {
            let left = limit.saturating_sub(u32::try_from(events.len()).unwrap_or(u32::MAX));
            let size = pieces.size();
            // Each piece gives its connection back.
            let (end, found) = self
                .transact("list payments", Again::Harmless, Access::Look, async |mut tx| {
                    let (sql, values) = end_statement(&filter.among, (since, before), size);
                    let end: Option<(Uuid,)> = tx.row(Sql::Made(sql), &values).await?;
                    let end = end.map(|(end,)| end);
                    let (sql, values) = piece_statement(filter, (end.or(since), before), left);
                    let found: Vec<(Uuid,)> = tx.rows(Sql::Made(sql), &values).await?;
                    tx.commit((end, found)).await
                })
                .await?;
            events.extend(found.into_iter().map(|(event,)| EventId(event)));
            let Some(end) = end else { return Ok(PaymentEvents { events, searched_until: None }) };
            if events.len() >= limit as usize {
                return Ok(PaymentEvents { events, searched_until: None });
            }
            before = Some(end);
            if !pieces.go_on() {
                return Ok(PaymentEvents { events, searched_until: Some(EventId(end)) });
            }
        }
    }

    async fn find_payments(
        &self,
        payment_id: &str,
        number: Option<&str>,
        endpoints: &[String],
    ) -> Result<Vec<EventId>, StoreError> {
        self.transact("look for a payment", Again::Harmless, Access::Look, async |mut tx| {
            let known = "SELECT event_id FROM announced WHERE payment_id = $1 ORDER BY event_id DESC LIMIT $2";
            let mut found: Vec<(Uuid,)> = tx.rows(known, values![payment_id, MOST_FOUND]).await?;
            let booked = "SELECT event_id FROM bookings WHERE payment_id = $1 LIMIT $2";
            found.extend(tx.rows::<(Uuid,)>(booked, values![payment_id, MOST_FOUND]).await?);
            if let Some(number) = number {
                let booked = "SELECT event_id FROM bookings WHERE invoice_number = $1 LIMIT $2";
                found.extend(tx.rows::<(Uuid,)>(booked, values![number, MOST_FOUND]).await?);
            }
            if !endpoints.is_empty() {
                let mut values: Vec<Value<'_>> = Vec::new();
                let mut sql = "SELECT event_id FROM assignments WHERE ".to_owned();
                push(&mut sql, &mut values, "payment_id = ", payment_id.into());
                one_of(&mut sql, &mut values, " AND endpoint", endpoints);
                found.extend(tx.rows::<(Uuid,)>(Sql::Made(sql), &values).await?);
            }
            let mut events: Vec<EventId> = found.into_iter().map(|(event,)| EventId(event)).collect();
            events.sort_unstable_by(|a, b| b.cmp(a));
            events.dedup();
            tx.commit(events).await
        })
        .await
    }

    async fn payment_facts(&self, events: &[EventId]) -> Result<Vec<PaymentFacts>, StoreError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let read = self.transact("read payments", Again::Harmless, Access::Look, async |mut tx| {
            let read = Read::of(&mut tx, events).await?;
            tx.commit(read).await
        });
        Ok(read.await?.together())
    }
}

/// What was read about a page of payments.
struct Read {
    /// The events that have the payments, newest first, each once.
    main: Vec<EventId>,
    /// By the event that has the payment.
    late: HashMap<EventId, (EventId, Timestamp)>,
    events: HashMap<EventId, (Event, Option<Vec<u8>>)>,
    decided: HashMap<EventId, (Assignment, Learned)>,
    announced: HashMap<EventId, Announced>,
    dispatches: Vec<Dispatch>,
    bookings: Vec<Booking>,
    /// The endpoints of the bookings' events, where they are decided.
    endpoints: HashMap<EventId, String>,
}

impl Read {
    async fn of(tx: &mut Tx<'_>, events: &[EventId]) -> Result<Self, Failure> {
        let mains: Vec<(Uuid, Uuid)> = tx.rows(MAIN_OF_LATE, values![events]).await?;
        let mains: HashMap<Uuid, Uuid> = mains.into_iter().collect();
        let mut main: Vec<EventId> =
            events.iter().map(|event| mains.get(&event.0).map_or(*event, |main| EventId(*main))).collect();
        main.sort_unstable_by(|a, b| b.cmp(a));
        main.dedup();

        let late: Vec<(Uuid, Uuid, i64)> = tx.rows(LATE_OF_MAIN, values![main.as_slice()]).await?;
        let late: HashMap<EventId, (EventId, Timestamp)> = late
            .into_iter()
            .map(|(main, late, noted_at)| (EventId(main), (EventId(late), clock::nearest(noted_at))))
            .collect();
        let all: Vec<EventId> = main.iter().copied().chain(late.values().map(|(late, _)| *late)).collect();

        let stored: Vec<EventWithPayload> = tx.rows(EVENTS, values![all.as_slice(), LONGEST]).await?;
        let stored = stored.into_iter().map(|row| {
            let event = Event::from(row.event);
            (event.id, (event, row.payload))
        });
        let events = stored.collect();
        let decided: Vec<DecidedRow> = tx.rows(ASSIGNMENTS, values![main.as_slice()]).await?;
        let decided: HashMap<EventId, (Assignment, Learned)> =
            decided.into_iter().map(|row| (EventId(row.event_id), row.read())).collect();
        let announced: Vec<AnnouncedRow> = tx.rows(ANNOUNCED, values![all.as_slice()]).await?;
        let announced = announced.into_iter().map(Announced::from).map(|known| (known.event_id, known)).collect();
        let dispatches: Vec<DispatchRow> = tx.rows(DISPATCHES, values![all.as_slice()]).await?;

        let ids: Vec<String> = decided.values().map(|(assignment, _)| assignment.payment_id.clone()).collect();
        let mut values: Vec<Value<'_>> = vec![tx.now().await?.into()];
        let mut sql = concat!("SELECT ", booking_columns!(), ", $1 AS now FROM bookings WHERE true").to_owned();
        one_of(&mut sql, &mut values, " AND payment_id", &ids);
        sql.push_str(" ORDER BY number");
        let bookings: Vec<BookingRow> =
            if ids.is_empty() { Vec::new() } else { tx.rows(Sql::Made(sql), &values).await? };
        let bookings = bookings.into_iter().map(BookingRow::booking).collect::<Result<Vec<_>, StoreError>>()?;
        let by: Vec<EventId> = bookings.iter().map(|booking| booking.event_id).collect();
        let endpoints: Vec<(Uuid, String)> =
            if by.is_empty() { Vec::new() } else { tx.rows(DECIDED, values![by.as_slice()]).await? };
        Ok(Self {
            main,
            late,
            events,
            decided,
            announced,
            dispatches: dispatches.into_iter().map(Dispatch::from).collect(),
            bookings,
            endpoints: endpoints.into_iter().map(|(event, endpoint)| (EventId(event), endpoint)).collect(),
        })
    }

    fn together(mut self) -> Vec<PaymentFacts> {
        let main = std::mem::take(&mut self.main);
        let mut facts = Vec::with_capacity(main.len());
        for event_id in main {
            let late = self.late.get(&event_id).copied();
            let own: HashSet<EventId> = std::iter::once(event_id).chain(late.map(|(late, _)| late)).collect();
            let (event, payload) = self.events.remove(&event_id).unzip();
            let (assignment, learned) = self.decided.remove(&event_id).unzip();
            if event.is_none() && assignment.is_none() {
                continue;
            }
            let late_event = late.and_then(|(late, _)| self.events.remove(&late)).map(|(event, _)| event);
            let announced = self.announced.remove(&event_id);
            // What the late one knows as well, if the first one was never looked up.
            let announced = announced.or_else(|| late.and_then(|(late, _)| self.announced.remove(&late)));
            let dispatches = self.dispatches.extract_if(.., |dispatch| own.contains(&dispatch.event_id)).collect();
            let is_ours = |booking: &Booking| {
                assignment.as_ref().is_some_and(|assignment| {
                    // A payment of another endpoint may have the same id.
                    let by_another = self.endpoints.get(&booking.event_id);
                    assignment.payment_id == booking.payment_id
                        && (own.contains(&booking.event_id)
                            || by_another.is_none_or(|endpoint| *endpoint == assignment.endpoint))
                })
            };
            let bookings = self.bookings.iter().filter(|booking| is_ours(booking)).cloned().collect();
            facts.push(PaymentFacts {
                event_id,
                event,
                payload: payload.flatten(),
                assignment,
                learned,
                announced,
                late,
                late_event,
                dispatches,
                bookings,
            });
        }
        facts
    }
}
