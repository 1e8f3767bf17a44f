//! Events: recorded once, listed, shown, replayed.

use std::{
    collections::{BTreeSet, HashMap},
    sync::LazyLock,
};

use async_trait::async_trait;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::{
    SqliteStore, dispatches,
    rows::{Chunked, During, json_ids, micros_or_now},
};
use crate::{
    model::{
        clock,
        event::{DedupeKey, NewEvent, Recorded},
        id::{EventId, SinkName},
    },
    store::{
        Candidate, EventDetail, EventFilter, EventStore, EventsPage, Offer, Page, StoreError, Stored,
        events::recording,
        rows::{CandidateRow, EventRow, EventWithPayload},
        search::{End, Pieces},
    },
};

/// Inserts unknown events and leaves known ones alone; the number of inserted rows shows whether any were known.
static INSERT_EVENTS: LazyLock<Chunked> = LazyLock::new(|| {
    Chunked::new(
        "INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries,
             last_delivery_at, readable, content_type, payload)
         SELECT * FROM (VALUES",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        // A row with any other NULL is refused by the table's constraints.
        ") WHERE column1 IS NOT NULL
         ON CONFLICT (endpoint, dedupe_key) DO NOTHING",
    )
});

static INSERT_DISPATCHES: LazyLock<Chunked> = LazyLock::new(|| {
    Chunked::new(
        "WITH now (at) AS (VALUES (?))
         INSERT INTO dispatches (event_id, sink, event_type, invoice_id, state, trigger, created_at, due_at)
         SELECT column1, column2, column3, column4, 'pending', 'event', now.at, now.at FROM now CROSS JOIN (VALUES",
        "(?, ?, ?, ?)",
        ") WHERE column1 IS NOT NULL",
    )
});

/// Counts repeated deliveries and returns the event that each belongs to.
static COUNT_REPEATED: LazyLock<Chunked> = LazyLock::new(|| {
    Chunked::new(
        "WITH repeated (endpoint, dedupe_key, deliveries, received_at) AS (VALUES",
        "(?, ?, ?, ?)",
        ") UPDATE events
           SET deliveries = events.deliveries + repeated.deliveries,
               last_delivery_at = max(last_delivery_at, repeated.received_at)
           FROM repeated
           -- `+`: keeps the planner from joining the other way round, by a walk over all events.
           WHERE events.endpoint = +repeated.endpoint AND events.dedupe_key = +repeated.dedupe_key
           RETURNING events.id, events.endpoint, events.dedupe_key",
    )
});

type Key<'a> = (&'a str, DedupeKey);

fn key(event: &NewEvent) -> Key<'_> {
    (event.endpoint.as_str(), event.dedupe_key)
}

/// One event of a batch with its repetitions in the same batch.
struct Merged<'a> {
    first: &'a NewEvent,
    deliveries: u32,
    last_delivery_at: i64,
}

/// The batch without repetitions, in its order.
fn merge(batch: &[NewEvent]) -> Vec<Merged<'_>> {
    let mut places: HashMap<Key<'_>, usize> = HashMap::with_capacity(batch.len());
    let mut merged: Vec<Merged<'_>> = Vec::with_capacity(batch.len());
    for event in batch {
        let received_at = clock::to_micros(event.received_at);
        let place = *places.entry(key(event)).or_insert(merged.len());
        if let Some(known) = merged.get_mut(place) {
            known.deliveries += 1;
            known.last_delivery_at = known.last_delivery_at.max(received_at);
        } else {
            merged.push(Merged { first: event, deliveries: 1, last_delivery_at: received_at });
        }
    }
    merged
}

#[async_trait]
impl EventStore for SqliteStore {
    async fn record_offering(&self, batch: &[NewEvent], offers: &[Offer]) -> Result<Stored, StoreError> {
        if batch.is_empty() {
            return Ok(Stored::default());
        }
        let merged = merge(batch);
        let known = write(self, &merged).await.during(recording(batch.len()))?;
        let fresh = merged.iter().filter(|event| !known.contains_key(&key(event.first)));
        self.wakeups.wake(fresh.flat_map(|event| &event.first.sinks).collect::<BTreeSet<_>>());

        // An event that was unknown before is new at its first place in the batch, and known from there on.
        let mut seen: HashMap<Key<'_>, EventId> = known;
        let events = batch
            .iter()
            .map(|event| match seen.entry(key(event)) {
                std::collections::hash_map::Entry::Occupied(known) => Recorded { id: *known.get(), duplicate: true },
                std::collections::hash_map::Entry::Vacant(new) => {
                    new.insert(event.id);
                    Recorded { id: event.id, duplicate: false }
                }
            })
            .collect();
        Ok(Stored { events, leased: vec![None; offers.len()] })
    }

    async fn list_events(&self, filter: &EventFilter, limit: u32) -> Result<EventsPage, StoreError> {
        let wanted = limit.saturating_add(1);
        let mut rows: Vec<EventRow> = Vec::new();
        let mut searched_until = None;
        if filter.is_search() {
            let (mut filter, mut pieces) = (filter.clone(), Pieces::new());
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

/// Writes one batch; returns which of its events were known already, and their ids.
async fn write<'a>(store: &SqliteStore, merged: &[Merged<'a>]) -> Result<HashMap<Key<'a>, EventId>, sqlx::Error> {
    let mut transaction = store.write().await?;
    let mut inserted = 0;
    let mut last_before = None;
    for (sql, chunk) in INSERT_EVENTS.chunks(merged) {
        let mut query = sqlx::query(sql);
        for Merged { first, deliveries, last_delivery_at } in chunk {
            query = query
                .bind(first.id.0)
                .bind(first.endpoint.as_str())
                .bind(&first.dedupe_key.0[..])
                .bind(&first.event_type)
                .bind(&first.invoice_id)
                .bind(first.occurred_at.map(clock::to_micros))
                .bind(clock::to_micros(first.received_at))
                .bind(*deliveries)
                .bind(*last_delivery_at)
                .bind(first.readable)
                .bind(&first.content_type)
                .bind(&first.payload[..]);
        }
        let done = query.execute(&mut *transaction).await?;
        inserted += done.rows_affected();
        if done.rows_affected() > 0 && last_before.is_none() {
            // Row numbers are consecutive, and no other connection writes now.
            last_before = Some(done.last_insert_rowid() - done.rows_affected().cast_signed());
        }
    }

    let known = if inserted == merged.len() as u64 {
        HashMap::new()
    } else {
        count_repeated(&mut transaction, merged, last_before).await?
    };

    let now = micros_or_now(None);
    let dispatches: Vec<(&NewEvent, &SinkName)> = merged
        .iter()
        .filter(|event| known.is_empty() || !known.contains_key(&key(event.first)))
        .flat_map(|event| event.first.sinks.iter().map(|sink| (event.first, sink)))
        .collect();
    for (sql, chunk) in INSERT_DISPATCHES.chunks(&dispatches) {
        let mut query = sqlx::query(sql).bind(now);
        for (event, sink) in chunk {
            query = query.bind(event.id.0).bind(sink.as_str()).bind(&event.event_type).bind(&event.invoice_id);
        }
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    store.checkpoints.wrote(merged.len() + dispatches.len());
    Ok(known)
}

/// Runs after an insert that left events out: finds those, counts their deliveries, returns their ids.
///
/// `last_before` is the number of the last row before the inserted ones, if any were inserted. The ids alone do not
/// identify the new rows: a batch whose call was dropped during the commit may be recorded again with the same ids.
async fn count_repeated<'a>(
    connection: &mut SqliteConnection,
    merged: &[Merged<'a>],
    last_before: Option<i64>,
) -> Result<HashMap<Key<'a>, EventId>, sqlx::Error> {
    let ids: Vec<String> = merged.iter().map(|event| event.first.id.0.simple().to_string()).collect();
    let new: Vec<Uuid> =
        // `+`: look them up by their ids, not in the table's order.
        sqlx::query_scalar("SELECT id FROM events WHERE id IN (SELECT unhex(value) FROM json_each(?)) AND +rowid > ?")
            .bind(serde_json::to_string(&ids).expect("texts can be written as JSON"))
            .bind(last_before.unwrap_or(i64::MAX))
            .fetch_all(&mut *connection)
            .await?;
    let new: BTreeSet<EventId> = new.into_iter().map(EventId).collect();
    let repeated: Vec<&Merged<'a>> = merged.iter().filter(|event| !new.contains(&event.first.id)).collect();

    let mut known = HashMap::with_capacity(repeated.len());
    for (sql, chunk) in COUNT_REPEATED.chunks(&repeated) {
        let mut query = sqlx::query(sql);
        let mut keys: HashMap<(&str, &[u8]), Key<'a>> = HashMap::with_capacity(chunk.len());
        for event in chunk {
            let key = key(event.first);
            keys.insert((key.0, &event.first.dedupe_key.0), key);
            query = query
                .bind(key.0)
                .bind(&event.first.dedupe_key.0[..])
                .bind(event.deliveries)
                .bind(event.last_delivery_at);
        }
        for row in query.fetch_all(&mut *connection).await? {
            if let Some(key) = keys.get(&(row.try_get::<&str, _>(1)?, row.try_get::<&[u8], _>(2)?)) {
                known.insert(*key, EventId(row.try_get(0)?));
            }
        }
    }
    Ok(known)
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
    pub(in crate::store::sqlite) fn statements() -> [&'static str; 3] {
        [super::INSERT_EVENTS.largest(), super::INSERT_DISPATCHES.largest(), super::COUNT_REPEATED.largest()]
    }
}
