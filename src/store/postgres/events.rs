//! Events: recording deliveries, listing what arrived.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::{Again, Failure, PostgresStore, claims, dispatches, now};
use crate::{
    model::{
        clock,
        dispatch::Order,
        event::{DedupeKey, NewEvent, Recorded},
        id::{DispatchId, EventId, SinkName},
    },
    store::{
        Candidate, EventDetail, EventFilter, EventStore, EventsPage, Offer, Page, StoreError, Stored,
        events::recording,
        rows::{CandidateRow, EventRow, EventWithPayload},
        search::{End, Pieces},
    },
};

/// Records a group of deliveries: one statement, one round trip, one commit.
///
/// - The arrays are sorted by key, and `unnest` keeps their order: two replicas that record the same events lock them
///   in the same order and cannot deadlock.
/// - `deliveries` shows what happened: an inserted event has exactly as many as were given, a known event has more.
///   (The id does not show it: a repeated call brings the same id.)
/// - `IS TRUE` keeps the planner from turning `IN` into a join. It uses a hash table instead, once for each dispatch,
///   and the dispatches keep their order, so that their numbers ascend in it.
/// - What is handed over takes the leased one's place in its lane, and the unique index has one. If another transaction
///   takes it after this statement began, the statement waits for that one's end, and is refused. Two replicas take the
///   lanes in the same order.
/// - An event that is not among the answers was new, and given once.
const RECORD: &str = concat!(
    "WITH recorded AS (
        INSERT INTO events AS e (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries,
                                 readable, content_type, payload)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
                             $8::int[], $9::bool[], $10::text[], $11::bytea[])
        ON CONFLICT (endpoint, dedupe_key) DO UPDATE
        SET deliveries = e.deliveries + excluded.deliveries
        RETURNING id, endpoint, dedupe_key, deliveries
    ), moment AS MATERIALIZED (SELECT ",
    now!("$20"),
    " AS now), dispatched AS (
        INSERT INTO queue (id, event_id, sink, event_type, invoice_id, state, trigger, created_at, first_attempt_at,
                           due_at, lease_token, alone)
        SELECT id, event_id, sink, event_type, invoice_id, CASE WHEN is_free THEN 'leased' ELSE 'pending' END, 'event',
               now, CASE WHEN is_free THEN now END, CASE WHEN is_free THEN now + lease_us ELSE now END,
               CASE WHEN is_free THEN token END, is_free AND alone
        FROM moment, (
            SELECT nextval('queue_id_seq') AS id, d.*,
                   d.token IS NOT NULL
                   AND d.sink <> ALL (ARRAY(SELECT name FROM sinks WHERE name = ANY($14) AND paused_at IS NOT NULL))
                   AND NOT (d.alone AND EXISTS (SELECT FROM queue q WHERE q.sink = d.sink AND q.finished_at IS NULL
                                                                      AND q.invoice_id = d.invoice_id)) AS is_free
            FROM unnest($12::uuid[], $13::int[], $14::text[], $15::text[], $16::text[], $17::uuid[], $18::bigint[],
                        $19::bool[])
                 AS d (event_id, deliveries, sink, event_type, invoice_id, token, lease_us, alone)
            WHERE ((d.event_id, d.deliveries) IN (SELECT id, deliveries FROM recorded)) IS TRUE
        ) AS wanted
        ORDER BY sink, invoice_id
        RETURNING id, sink, lease_token
    )
    SELECT id, endpoint, dedupe_key, deliveries, NULL AS dispatch FROM recorded WHERE deliveries > 1
    UNION ALL SELECT lease_token, NULL, NULL, NULL, id FROM dispatched WHERE lease_token IS NOT NULL
    UNION ALL (SELECT DISTINCT NULL::uuid, sink, NULL::bytea, NULL::int, NULL::bigint FROM dispatched
               WHERE lease_token IS NULL)"
);

/// A row of the answer. An event that was delivered more than once has all but the last column; a dispatch that was
/// handed over has its token and its number; and of a sink with new pending dispatches there is the name.
type RecordedRow = (Option<Uuid>, Option<String>, Option<Vec<u8>>, Option<i32>, Option<i64>);

/// One event of a batch, after equal ones were merged.
struct Merged<'a> {
    /// Its first delivery.
    event: &'a NewEvent,
    /// The place of that one in the batch.
    first: usize,
    deliveries: i32,
}

type Key<'a> = (&'a str, DedupeKey);

fn key(event: &NewEvent) -> Key<'_> {
    (event.endpoint.as_str(), event.dedupe_key)
}

/// Merges equal events of a batch, in the order of their first delivery. The second list holds, for each delivery,
/// the place of its merged event.
fn merge(batch: &[NewEvent]) -> (Vec<Merged<'_>>, Vec<usize>) {
    let mut merged: Vec<Merged<'_>> = Vec::with_capacity(batch.len());
    let mut known = HashMap::with_capacity(batch.len());
    let place = batch
        .iter()
        .enumerate()
        .map(|(first, event)| {
            let index = *known.entry(key(event)).or_insert(merged.len());
            match merged.get_mut(index) {
                Some(first) => first.deliveries = first.deliveries.saturating_add(1),
                None => merged.push(Merged { event, first, deliveries: 1 }),
            }
            index
        })
        .collect();
    (merged, place)
}

/// What one run of the statement has done.
struct Outcome {
    /// The merged events, in their order.
    events: Vec<Recorded>,
    /// The dispatches that were handed over, by their tokens.
    handed: HashMap<Uuid, DispatchId>,
    /// The sinks that have new pending dispatches.
    waiting: HashSet<SinkName>,
}

/// Runs the statement. With `repeated`, an earlier run of the statement may have been committed without our knowing:
/// an event with the id that we gave is then our own.
///
/// Nothing is handed over by a repetition. What the first run has handed over, if it was committed, stays leased, but no
/// worker knows of it: it is claimed when the lease ends, as after the end of a process. Its worker's time would have
/// begun with the first run, so that a lease could end before its attempt.
async fn record_merged(
    store: &PostgresStore,
    merged: &[Merged<'_>],
    offers: &[Offer],
    repeated: bool,
) -> Result<Outcome, Failure> {
    let mut sorted: Vec<_> = merged.iter().collect();
    sorted.sort_unstable_by_key(|merged| key(merged.event));
    // One array for each column.
    macro_rules! column {
        ($merged:ident => $value:expr) => {
            sorted.iter().map(|$merged| $value).collect::<Vec<_>>()
        };
    }
    let wanted = wanted(merged, if repeated { &[] } else { offers });
    macro_rules! dispatch_column {
        ($of:pat => $value:expr) => {
            wanted.iter().map(|$of| $value).collect::<Vec<_>>()
        };
    }
    let query = sqlx::query_as(RECORD)
        .bind(column!(m => m.event.id.0))
        .bind(column!(m => m.event.endpoint.as_str()))
        .bind(column!(m => m.event.dedupe_key.0.as_slice()))
        .bind(column!(m => m.event.event_type.as_str()))
        .bind(column!(m => m.event.invoice_id.as_deref()))
        .bind(column!(m => m.event.occurred_at.map(clock::to_micros)))
        .bind(column!(m => clock::to_micros(m.event.received_at)))
        .bind(column!(m => m.deliveries))
        .bind(column!(m => m.event.readable))
        .bind(column!(m => m.event.content_type.as_deref()))
        .bind(column!(m => m.event.payload.as_ref()))
        .bind(dispatch_column!((m, ..) => m.event.id.0))
        .bind(dispatch_column!((m, ..) => m.deliveries))
        .bind(dispatch_column!((_, sink, _) => sink.as_str()))
        .bind(dispatch_column!((m, ..) => m.event.event_type.as_str()))
        .bind(dispatch_column!((m, ..) => m.event.invoice_id.as_deref()))
        .bind(dispatch_column!((.., offer) => offer.map(|offer| offer.token.0)))
        .bind(dispatch_column!((.., offer) => offer.map(|offer| clock::duration_micros(offer.lease))))
        .bind(dispatch_column!((m, _, offer) => m.event.invoice_id.is_some()
            && offer.is_some_and(|offer| offer.order == Order::Invoice)))
        .bind(None::<i64>);
    let mut checkout = store.checkout().await?;
    let rows = query.fetch_all(checkout.on());
    // The second try has a connection that has just answered, and all the remaining time: it may have to wait for a
    // lock, or for the first try to end.
    let rows = if repeated { rows.await.map_err(Failure::from) } else { store.soon(rows).await };
    if rows.as_ref().err().is_none_or(Failure::is_taken) {
        checkout.finish();
    }
    let rows: Vec<RecordedRow> = rows?;

    let (mut known, mut handed, mut waiting) = (HashMap::new(), HashMap::new(), HashSet::new());
    for row in &rows {
        match row {
            (Some(token), .., Some(dispatch)) => drop(handed.insert(*token, DispatchId(*dispatch))),
            (Some(id), Some(endpoint), Some(key), Some(deliveries), None) => {
                let key = DedupeKey(key.as_slice().try_into().map_err(|_| StoreError::Unreadable {
                    table: "events",
                    column: "dedupe_key",
                    row: id.to_string(),
                    problem: format!("{} bytes instead of 32", key.len()),
                })?);
                known.insert((endpoint.as_str(), key), (*id, *deliveries));
            }
            (_, sink, ..) => waiting.extend(sink.as_deref().map(claims::sink_name).transpose()?),
        }
    }
    let event = |merged: &Merged<'_>| {
        let ours = (merged.event.id.0, merged.deliveries);
        let (id, deliveries) = known.get(&key(merged.event)).copied().unwrap_or(ours);
        let inserted = deliveries == merged.deliveries || (repeated && id == merged.event.id.0);
        Recorded { id: EventId(id), duplicate: !inserted }
    };
    let events: Vec<_> = merged.iter().map(event).collect();
    if repeated {
        // The first run may have left pending ones.
        let new = merged.iter().zip(&events).filter(|(_, recorded)| !recorded.duplicate);
        waiting.extend(new.flat_map(|(merged, _)| merged.event.sinks.iter().cloned()));
    }
    Ok(Outcome { events, handed, waiting })
}

/// The dispatches of a batch, in its order, each with the offer that may be taken for it: the first one of an invoice
/// has the first claim to its lane, whether there is an offer for it or not.
fn wanted<'a>(merged: &'a [Merged<'_>], offers: &'a [Offer]) -> Vec<(&'a Merged<'a>, &'a SinkName, Option<&'a Offer>)> {
    let offered: HashMap<_, _> = offers.iter().map(|offer| ((offer.event, &offer.sink), offer)).collect();
    let mut lanes = HashSet::new();
    let dispatches = merged.iter().flat_map(|merged| merged.event.sinks.iter().map(move |sink| (merged, sink)));
    dispatches
        .map(|(merged, sink)| {
            let is_first = merged.event.invoice_id.as_ref().is_none_or(|invoice| lanes.insert((sink, invoice)));
            let offer = offered.get(&(merged.first, sink)).copied();
            (merged, sink, offer.filter(|offer| is_first || offer.order == Order::None))
        })
        .collect()
}

/// The columns of [`EventRow`].
macro_rules! event_columns {
    () => {
        "e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries::bigint AS deliveries, e.readable,
         e.content_type"
    };
}

/// The query of a list. It has only the conditions that were asked for, so that each index can be used.
///
/// Without an invoice it walks the primary key from the newest event down, to `from` at most, and stops when it has
/// enough.
fn list_query(filter: &EventFilter, from: Option<Uuid>, limit: u32) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(concat!("SELECT ", event_columns!(), " FROM events e WHERE true"));
    push_conditions(&mut query, filter);
    if let Some(from) = from {
        query.push(" AND e.id >= ").push_bind(from);
    }
    query.push(" ORDER BY e.id DESC LIMIT ").push_bind(i64::from(limit) + 1);
    query
}

/// The same from the oldest event up, starting after a given one.
fn walk_query(filter: &EventFilter, after: Option<EventId>, limit: u32) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(concat!(
        "SELECT ",
        event_columns!(),
        ", e.payload IS NOT NULL AS has_payload FROM events e WHERE true"
    ));
    push_conditions(&mut query, filter);
    if let Some(after) = after {
        query.push(" AND e.id > ").push_bind(after.0);
    }
    query.push(" ORDER BY e.id LIMIT ").push_bind(i64::from(limit) + 1);
    query
}

fn push_conditions(query: &mut QueryBuilder<Postgres>, filter: &EventFilter) {
    push_range(query, filter);
    for (column, text) in [("e.type", &filter.event_type), ("e.endpoint", &filter.endpoint)] {
        if let Some(text) = text {
            query.push(format_args!(" AND {column} = ")).push_bind(text.clone());
        }
    }
    if let Some(endpoints) = &filter.endpoints {
        query.push(" AND e.endpoint = ANY(").push_bind(endpoints.clone()).push(")");
    }
    if let Some(since) = filter.since {
        query.push(" AND e.received_at >= ").push_bind(clock::to_micros(since));
    }
    if let Some(until) = filter.until {
        query.push(" AND e.received_at < ").push_bind(clock::to_micros(until));
    }
    if let Some(text) = &filter.contains {
        query.push(" AND (position(").push_bind(text.clone().into_bytes()).push(" IN e.payload) > 0");
        if !filter.found.is_empty() {
            let found: Vec<Uuid> = filter.found.iter().map(|event| event.0).collect();
            query.push(" OR e.id = ANY(").push_bind(found).push(")");
        }
        query.push(")");
    }
}

/// Adds the conditions that the index of ids, or that of an invoice, can check.
fn push_range(query: &mut QueryBuilder<Postgres>, filter: &EventFilter) {
    if let Some(invoice_id) = &filter.invoice_id {
        query.push(" AND e.invoice_id = ").push_bind(invoice_id.clone());
    }
    let (first, end) = filter.ids();
    for (operator, id) in [(">=", first), ("<", end), ("<", filter.before.map(|id| id.0))] {
        if let Some(id) = id {
            query.push(format_args!(" AND e.id {operator} ")).push_bind(id);
        }
    }
}

/// Where a piece of a search ends: at the last of `size` events, whether they match or not.
fn end_query(filter: &EventFilter, size: u32) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("SELECT e.id FROM events e WHERE true");
    push_range(&mut query, filter);
    query.push(" ORDER BY e.id DESC LIMIT 1 OFFSET ").push_bind(i64::from(size.max(1)) - 1);
    query
}

/// Searches piece by piece. Each piece gives its connection back.
async fn search(store: &PostgresStore, filter: &EventFilter, limit: u32) -> Result<EventsPage, StoreError> {
    let action = "search the events";
    let (mut rows, mut searched_until): (Vec<EventRow>, _) = (Vec::new(), None);
    let (mut filter, mut pieces) = (filter.clone(), Pieces::of_events(filter.look_at));
    loop {
        let left = limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        let (end, found) = store
            .run(action, Again::Harmless, async || {
                let mut checkout = store.look().await?;
                let end: Option<Uuid> = end_query(&filter, pieces.size())
                    .build_query_scalar()
                    .persistent(false)
                    .fetch_optional(checkout.on())
                    .await?;
                let mut query = list_query(&filter, end, left);
                let found: Vec<EventRow> = query.build_query_as().persistent(false).fetch_all(checkout.on()).await?;
                checkout.finish();
                Ok((End::from(end), found))
            })
            .await?;
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
    let Page { rows, more } = Page::cut(rows, limit);
    Ok(EventsPage { rows, more: more || searched_until.is_some(), searched_until })
}

/// No stored text holds the character NUL, and Postgres refuses it.
fn matches_nothing(filter: &EventFilter) -> bool {
    let texts = [&filter.event_type, &filter.endpoint, &filter.invoice_id];
    texts.into_iter().flatten().any(|text| text.contains('\0'))
}

#[async_trait]
impl EventStore for PostgresStore {
    async fn record_offering(&self, batch: &[NewEvent], offers: &[Offer]) -> Result<Stored, StoreError> {
        if batch.is_empty() {
            return Ok(Stored::default());
        }
        let (merged, place) = merge(batch);
        let merged = merged.as_slice();
        let tries = std::sync::atomic::AtomicU32::new(0);
        let Outcome { events: stored, handed, waiting } = self
            .run(recording(batch.len()), Again::Harmless, || {
                let repeated = tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0;
                async move {
                    match record_merged(self, merged, offers, repeated).await {
                        // Nothing was written: what could not be handed over is going to wait.
                        Err(taken) if taken.is_taken() => record_merged(self, merged, &[], repeated).await,
                        result => result,
                    }
                }
            })
            .await?;
        // A sink for which we offer slots has its worker here. It gets to the others soon, too.
        let offering: HashSet<_> = offers.iter().map(|offer| &offer.sink).collect();
        self.announcer.announce(waiting.iter().filter(|sink| !offering.contains(sink)));
        self.wakeups.wake(&waiting);
        let mut seen = vec![false; merged.len()];
        let events = place
            .into_iter()
            .map(|index| {
                let again = std::mem::replace(&mut seen[index], true);
                Recorded { duplicate: stored[index].duplicate || again, ..stored[index] }
            })
            .collect();
        Ok(Stored { events, leased: offers.iter().map(|offer| handed.get(&offer.token.0).copied()).collect() })
    }

    async fn list_events(&self, filter: &EventFilter, limit: u32) -> Result<EventsPage, StoreError> {
        if matches_nothing(filter) {
            return Ok(EventsPage { rows: Vec::new(), more: false, searched_until: None });
        }
        if filter.is_search() {
            return search(self, filter, limit).await;
        }
        let rows: Vec<EventRow> = self
            .run("list events", Again::Harmless, async || {
                let mut checkout = self.look().await?;
                let mut query = list_query(filter, None, limit);
                let rows = query.build_query_as().persistent(false).fetch_all(checkout.on()).await?;
                checkout.finish();
                Ok(rows)
            })
            .await?;
        let Page { rows, more } = Page::cut(rows, limit);
        Ok(EventsPage { rows, more, searched_until: None })
    }

    async fn events_after(
        &self,
        filter: &EventFilter,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Page<Candidate>, StoreError> {
        if matches_nothing(filter) {
            return Ok(Page { rows: Vec::new(), more: false });
        }
        let rows: Vec<CandidateRow> = self
            .run("read the selected events", Again::Harmless, async || {
                let mut checkout = self.look().await?;
                let mut query = walk_query(filter, after, limit);
                let rows = query.build_query_as().persistent(false).fetch_all(checkout.on()).await?;
                checkout.finish();
                Ok(rows)
            })
            .await?;
        Ok(Page::cut(rows, limit))
    }

    async fn count_events(&self, filter: &EventFilter, most: u32) -> Result<u64, StoreError> {
        if matches_nothing(filter) {
            return Ok(0);
        }
        let count: i64 = self
            .run("count events", Again::Harmless, async || {
                let mut checkout = self.look().await?;
                let mut query = QueryBuilder::new("SELECT count(*) FROM (SELECT FROM events e WHERE true");
                push_conditions(&mut query, filter);
                query.push(" ORDER BY e.id LIMIT ").push_bind(i64::from(most)).push(") AS selected");
                let count = query.build_query_scalar().persistent(false).fetch_one(checkout.on()).await?;
                checkout.finish();
                Ok(count)
            })
            .await?;
        Ok(count.unsigned_abs())
    }

    async fn event(&self, id: EventId) -> Result<Option<EventDetail>, StoreError> {
        let found = self
            .run(format!("read event {id}"), Again::Harmless, async || {
                let mut checkout = self.look().await?;
                let event: Option<EventWithPayload> =
                    sqlx::query_as(concat!("SELECT ", event_columns!(), ", e.payload FROM events e WHERE e.id = $1"))
                        .bind(id.0)
                        .fetch_optional(checkout.on())
                        .await?;
                let dispatches = match event {
                    Some(_) => dispatches::of_event(checkout.on(), id).await?,
                    None => Vec::new(),
                };
                checkout.finish();
                Ok(event.map(|event| (event, dispatches)))
            })
            .await?;
        let Some((row, dispatches)) = found else { return Ok(None) };
        Ok(Some(EventDetail { event: row.event.into(), payload: row.payload, dispatches }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::EndpointName;

    fn event(key: u8, at: i64) -> NewEvent {
        NewEvent {
            id: EventId::generate(),
            endpoint: EndpointName::new("default").unwrap(),
            dedupe_key: DedupeKey([key; 32]),
            event_type: "ping".into(),
            invoice_id: None,
            occurred_at: None,
            received_at: clock::from_micros(at).unwrap(),
            readable: true,
            content_type: None,
            payload: b"{}".as_slice().into(),
            sinks: Vec::new(),
        }
    }

    #[test]
    fn equal_events_of_a_batch_become_the_first() {
        let batch = [event(7, 10), event(1, 20), event(7, 40), event(7, 30)];
        let (merged, place) = merge(&batch);
        assert_eq!(place, [0, 1, 0, 0]);
        let told: Vec<_> = merged.iter().map(|m| (m.event.id, m.deliveries)).collect();
        assert_eq!(told, [(batch[0].id, 3), (batch[1].id, 1)]);
    }
}
