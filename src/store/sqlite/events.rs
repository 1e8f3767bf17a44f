//! Events: recorded once, listed, shown, replayed.

use std::collections::{BTreeSet, HashMap, hash_map::Entry};

use async_trait::async_trait;
use rusqlite::{Connection, params};
use sqlx::{QueryBuilder, Sqlite};
use uuid::Uuid;

use super::{
    SqliteStore,
    claim::is_paused,
    dispatches,
    rows::{During, json_ids, micros_or_now},
    writer::Flush,
};
use crate::{
    model::{
        clock,
        dispatch::Order,
        event::{NewEvent, Recorded},
        id::{DispatchId, EventId, SinkName},
    },
    store::{
        Candidate, EventDetail, EventFilter, EventStore, EventsPage, Offer, Page, StoreError, Stored,
        events::recording,
        rows::{CandidateRow, EventRow, EventWithPayload},
        search::{End, Pieces},
        tx::later,
    },
};

/// A known event is left alone: no row is inserted then.
const INSERT_EVENT: &str = "
    INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries,
                        last_delivery_at, readable, content_type, payload)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?7, ?8, ?9, ?10) ON CONFLICT (endpoint, dedupe_key) DO NOTHING";

/// Counts a repeated delivery and returns the event that it belongs to.
const COUNT_REPEATED: &str = "
    UPDATE events SET deliveries = deliveries + 1, last_delivery_at = max(last_delivery_at, ?3)
    WHERE endpoint = ?1 AND dedupe_key = ?2 RETURNING id";

/// Leased until ?6 if there is a token, ?7; else due at once.
const INSERT_DISPATCH: &str = "
    INSERT INTO queue (event_id, sink, event_type, invoice_id, state, trigger, created_at, first_attempt_at, due_at,
                       lease_token, alone)
    VALUES (?1, ?2, ?3, ?4, iif(?7 IS NULL, 'pending', 'leased'), 'event', ?5, iif(?7 IS NULL, NULL, ?5), ?6, ?7, ?8)";

/// Whether the invoice has an unfinished dispatch for the sink.
const LANE: &str = "SELECT 1 FROM queue WHERE sink = ? AND invoice_id = ? AND finished_at IS NULL LIMIT 1";

#[async_trait]
impl EventStore for SqliteStore {
    async fn record_offering(&self, batch: &[NewEvent], offers: &[Offer]) -> Result<Stored, StoreError> {
        if batch.is_empty() {
            return Ok(Stored::default());
        }
        let bytes: usize = batch.iter().map(|event| event.payload.len()).sum();
        let (events, offered) = (batch.to_vec(), offers.to_vec());
        let recorded = self.thread.run(Flush::Now, batch.len() + bytes / 1024, move |on| record(on, &events, &offered));
        let Written { stored, due } = recorded.await.during(recording(batch.len()))?;
        self.wakeups.wake(&due);
        Ok(stored)
    }

    async fn list_events(&self, filter: &EventFilter, limit: u32) -> Result<EventsPage, StoreError> {
        let wanted = limit.saturating_add(1);
        let mut rows: Vec<EventRow> = Vec::new();
        let mut searched_until = None;
        if filter.is_search() {
            let (mut filter, mut pieces) = (filter.clone(), Pieces::of_events(filter.look_at));
            loop {
                let left = wanted.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
                let (end, found) = piece(self, &filter, pieces.size(), left).await.during("search the events")?;
                rows.extend(found);
                let End::At(last) = end else { break };
                if rows.len() > limit as usize {
                    break;
                }
                if !pieces.go_on() {
                    searched_until = Some(last);
                    break;
                }
                filter.before = Some(last);
            }
        } else {
            rows = list_statement(filter, limit)
                .build_query_as()
                .persistent(false)
                .fetch_all(&self.lookers)
                .await
                .during("list events")?;
        }
        let Page { rows, more } = Page::cut(rows, limit);
        Ok(EventsPage { rows, more: more || searched_until.is_some(), searched_until })
    }

    async fn events_after(
        &self,
        filter: &EventFilter,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Page<Candidate>, StoreError> {
        let rows: Vec<CandidateRow> = walk_statement(filter, after, limit)
            .build_query_as()
            .persistent(false)
            .fetch_all(&self.lookers)
            .await
            .during("read the selected events")?;
        Ok(Page::cut(rows, limit))
    }

    async fn count_events(&self, filter: &EventFilter, most: u32) -> Result<u64, StoreError> {
        let count: i64 = count_statement(filter, most)
            .build_query_scalar()
            .persistent(false)
            .fetch_one(&self.lookers)
            .await
            .during("count events")?;
        Ok(count.unsigned_abs())
    }

    async fn event(&self, id: EventId) -> Result<Option<EventDetail>, StoreError> {
        read(self, id).await.during(format_args!("read event {id}"))
    }
}

/// What was recorded, and the sinks that have something to claim.
struct Written {
    stored: Stored,
    due: BTreeSet<SinkName>,
}

/// Records one batch.
fn record(on: &Connection, batch: &[NewEvent], offers: &[Offer]) -> rusqlite::Result<Written> {
    let now = micros_or_now(None);
    let mut insert_event = on.prepare_cached(INSERT_EVENT)?;
    let mut insert_dispatch = on.prepare_cached(INSERT_DISPATCH)?;
    let mut count_repeated = on.prepare_cached(COUNT_REPEATED)?;
    let mut lane = on.prepare_cached(LANE)?;
    let open = open_offers(on, offers)?;
    let mut due = BTreeSet::new();
    let mut stored = Stored { events: Vec::with_capacity(batch.len()), leased: vec![None; offers.len()] };
    for (place, event) in batch.iter().enumerate() {
        let (id, endpoint, key) = (event.id.0.as_bytes(), event.endpoint.as_str(), &event.dedupe_key.0);
        let (event_type, invoice) = (event.event_type.as_str(), event.invoice_id.as_deref());
        let (occurred_at, received_at) = (event.occurred_at.map(clock::to_micros), clock::to_micros(event.received_at));
        let (content_type, payload) = (event.content_type.as_deref(), &event.payload[..]);
        let inserted = insert_event.execute(params![
            id,
            endpoint,
            key,
            event_type,
            invoice,
            occurred_at,
            received_at,
            event.readable,
            content_type,
            payload
        ])?;
        if inserted == 0 {
            let known = count_repeated.query_one(params![endpoint, key, received_at], |row| row.get(0))?;
            stored.events.push(Recorded { id: EventId(Uuid::from_bytes(known)), duplicate: true });
            continue;
        }
        stored.events.push(Recorded { id: event.id, duplicate: false });
        for sink in &event.sinks {
            let mut taken = open.get(&(place, sink)).copied();
            let mut is_alone = false;
            if let Some(offer) = taken
                && offers[offer].order == Order::Invoice
                && let Some(invoice) = invoice
            {
                is_alone = !lane.exists(params![sink.as_str(), invoice])?;
                taken = taken.filter(|_| is_alone);
            }
            let (due_at, token) = match taken.map(|offer| &offers[offer]) {
                Some(offer) => (later(now, offer.lease), Some(offer.token.0.as_bytes())),
                None => (now, None),
            };
            insert_dispatch.execute(params![id, sink.as_str(), event_type, invoice, now, due_at, token, is_alone])?;
            match taken {
                Some(offer) => stored.leased[offer] = Some(DispatchId(on.last_insert_rowid())),
                None if due.contains(sink) => {}
                None => drop(due.insert(sink.clone())),
            }
        }
    }
    Ok(Written { stored, due })
}

/// The offers for sinks that are not paused, by the place of the event and the sink.
fn open_offers<'o>(on: &Connection, offers: &'o [Offer]) -> rusqlite::Result<HashMap<(usize, &'o SinkName), usize>> {
    let mut paused: HashMap<&SinkName, bool> = HashMap::new();
    let mut open = HashMap::with_capacity(offers.len());
    for (number, offer) in offers.iter().enumerate() {
        let is_paused = match paused.entry(&offer.sink) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => *unknown.insert(is_paused(on, &offer.sink)?),
        };
        if !is_paused {
            open.insert((offer.event, &offer.sink), number);
        }
    }
    Ok(open)
}

/// The columns of [`EventRow`].
const EVENT_COLUMNS: &str =
    "id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type";

/// The statement for a list of events.
pub(super) fn list_statement(filter: &EventFilter, limit: u32) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(EVENT_COLUMNS).push(" FROM events WHERE TRUE");
    push_conditions(&mut sql, filter);
    sql.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit) + 1);
    sql
}

/// The same from the oldest event up, starting after a given one.
pub(super) fn walk_statement(filter: &EventFilter, after: Option<EventId>, limit: u32) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(EVENT_COLUMNS).push(", payload IS NOT NULL AS has_payload FROM events WHERE TRUE");
    push_conditions(&mut sql, filter);
    if let Some(after) = after {
        sql.push(" AND id > ").push_bind(after.0);
    }
    sql.push(" ORDER BY id LIMIT ").push_bind(i64::from(limit) + 1);
    sql
}

/// How many events a filter selects, counted up to `most`.
pub(super) fn count_statement(filter: &EventFilter, most: u32) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT count(*) FROM (SELECT 1 FROM events WHERE TRUE");
    push_conditions(&mut sql, filter);
    sql.push(" ORDER BY id LIMIT ").push_bind(i64::from(most)).push(")");
    sql
}

fn push_conditions(sql: &mut QueryBuilder<Sqlite>, filter: &EventFilter) {
    push_range(sql, filter);
    if let Some(endpoint) = &filter.endpoint {
        // `+`: not by the index of keys, which would have to sort all events of the endpoint.
        sql.push(" AND +endpoint = ").push_bind(endpoint.clone());
    }
    if let Some(endpoints) = &filter.endpoints {
        let endpoints = serde_json::to_string(endpoints).expect("texts can be written as JSON");
        sql.push(" AND +endpoint IN (SELECT value FROM json_each(").push_bind(endpoints).push("))");
    }
    if let Some(event_type) = &filter.event_type {
        sql.push(" AND type = ").push_bind(event_type.clone());
    }
    if let Some(since) = filter.since.map(clock::to_micros) {
        sql.push(" AND received_at >= ").push_bind(since);
    }
    if let Some(until) = filter.until.map(clock::to_micros) {
        sql.push(" AND received_at < ").push_bind(until);
    }
    if let Some(text) = &filter.contains {
        // On blobs `instr` compares bytes.
        sql.push(" AND (instr(payload, ").push_bind(text.clone().into_bytes()).push(") > 0");
        if !filter.found.is_empty() {
            sql.push(" OR id IN (SELECT unhex(value) FROM json_each(")
                .push_bind(json_ids(filter.found.iter().map(|event| event.0)))
                .push("))");
        }
        sql.push(")");
    }
}

/// Adds the conditions that the index of ids, or that of an invoice, can check.
fn push_range(sql: &mut QueryBuilder<Sqlite>, filter: &EventFilter) {
    if let Some(invoice_id) = &filter.invoice_id {
        sql.push(" AND invoice_id = ").push_bind(invoice_id.clone());
    }
    let (first, end) = filter.ids();
    for (operator, id) in [(">=", first), ("<", end), ("<", filter.before.map(|id| id.0))] {
        if let Some(id) = id {
            sql.push(format_args!(" AND id {operator} ")).push_bind(id);
        }
    }
}

/// Where a piece of a search ends: at the last of `size` events, whether they match or not.
pub(super) fn end_statement(filter: &EventFilter, size: u32) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT id FROM events WHERE TRUE");
    push_range(&mut sql, filter);
    sql.push(" ORDER BY id DESC LIMIT 1 OFFSET ").push_bind(i64::from(size.max(1)) - 1);
    sql
}

/// A piece of a search: the matching events between the cursor and the piece's end.
pub(super) fn piece_statement(filter: &EventFilter, end: End, limit: u32) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(EVENT_COLUMNS).push(" FROM events WHERE TRUE");
    push_conditions(&mut sql, filter);
    if let End::At(id) = end {
        sql.push(" AND id >= ").push_bind(id.0);
    }
    sql.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit));
    sql
}

/// One piece of a search. It gives its connection back.
async fn piece(
    store: &SqliteStore,
    filter: &EventFilter,
    size: u32,
    limit: u32,
) -> Result<(End, Vec<EventRow>), sqlx::Error> {
    let mut connection = store.lookers.acquire().await?;
    let end: Option<Uuid> =
        end_statement(filter, size).build_query_scalar().persistent(false).fetch_optional(&mut *connection).await?;
    let end = End::from(end);
    let found =
        piece_statement(filter, end, limit).build_query_as().persistent(false).fetch_all(&mut *connection).await?;
    Ok((end, found))
}

async fn read(store: &SqliteStore, id: EventId) -> Result<Option<EventDetail>, sqlx::Error> {
    let mut transaction = store.look().await?;
    let row: Option<EventWithPayload> = sqlx::query_as(
        "SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload
         FROM events WHERE id = ?",
    )
    .bind(id.0)
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(EventWithPayload { event, payload }) = row else { return Ok(None) };
    let dispatches = dispatches::of_event(&mut transaction, id).await?;
    Ok(Some(EventDetail { event: event.into(), payload, dispatches }))
}

#[cfg(test)]
pub(super) mod hot {
    //! The hot statements, for the tests of their plans.
    pub(in crate::store::sqlite) const STATEMENTS: [&str; 4] =
        [super::INSERT_EVENT, super::INSERT_DISPATCH, super::COUNT_REPEATED, super::LANE];
}
