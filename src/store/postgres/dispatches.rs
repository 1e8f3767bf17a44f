//! Dispatches as a person lists and changes them: lists, retry, cancel, replay.

use std::collections::{BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{Again, Failure, PostgresStore, announce, claims, now};
use crate::{
    model::{
        dispatch::{Attempt, Dispatch},
        id::{DispatchId, EventId, SinkName},
    },
    store::{
        DispatchFilter, DispatchStore, DispatchesPage, Replay, StoreError,
        dispatches::{PieceEnd, Walk, whole_dispatch},
        rows::{AttemptRow, DispatchRow, with_attempts},
    },
};

/// Adds their attempts to dispatches.
async fn add_attempts(
    connection: &mut PgConnection,
    dispatches: Vec<DispatchRow>,
) -> Result<Vec<(Dispatch, Vec<Attempt>)>, Failure> {
    let ids: Vec<_> = dispatches.iter().map(|dispatch| dispatch.id).collect();
    let rows: Vec<AttemptRow> = sqlx::query_as(
        "SELECT dispatch_id, number::bigint AS number, started_at, duration_us, outcome, error FROM attempts
         WHERE dispatch_id = ANY($1) ORDER BY dispatch_id, number",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(with_attempts(dispatches, rows))
}

/// All dispatches of an event, in the order in which they were written.
pub(super) async fn of_event(
    connection: &mut PgConnection,
    event: EventId,
) -> Result<Vec<(Dispatch, Vec<Attempt>)>, Failure> {
    let rows = sqlx::query_as(concat!(whole_dispatch!(), " WHERE event_id = $1 ORDER BY id"))
        .bind(event.0)
        .fetch_all(&mut *connection)
        .await?;
    add_attempts(connection, rows).await
}

/// The query of a list; `from` is the last dispatch of a piece.
fn list_query(filter: &DispatchFilter, from: Option<DispatchId>, most: u32) -> QueryBuilder<Postgres> {
    let (columns, table) = filter.source();
    let mut query = QueryBuilder::new("SELECT ");
    query.push(columns).push(" FROM ").push(table);
    push_conditions(&mut query, filter);
    if let Some(from) = from {
        query.push(" AND id >= ").push_bind(from.0);
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(most));
    query
}

/// The query for the end of a piece of so many dispatches. Only the bound of the filter matters to it.
fn end_query(filter: &DispatchFilter, size: u32) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new("SELECT id, created_at FROM ");
    query.push(filter.source().1).push(" WHERE true");
    if let Some(before) = filter.before {
        query.push(" AND id < ").push_bind(before.0);
    }
    query.push(" ORDER BY id DESC LIMIT 1 OFFSET ").push_bind(i64::from(size.max(1)) - 1);
    query
}

/// The state is written out, so that the conditions of the partial indexes follow from it.
fn push_conditions(query: &mut QueryBuilder<Postgres>, filter: &DispatchFilter) {
    query.push(" WHERE true");
    if let Some(event) = filter.event_id {
        query.push(" AND event_id = ").push_bind(event.0);
    }
    if let Some(found) = &filter.found {
        let found: Vec<Uuid> = found.iter().map(|event| event.0).collect();
        query.push(" AND event_id = ANY(").push_bind(found).push(")");
    }
    if let Some(invoice) = &filter.invoice_id {
        query.push(" AND invoice_id = ").push_bind(invoice.clone());
        if filter.event_id.is_none() {
            // An array, which the planner takes for short: it always looks the events up one by one.
            query.push(" AND event_id = ANY(ARRAY(SELECT id FROM events WHERE invoice_id = ").push_bind(invoice.clone());
            query.push("))");
        }
    }
    if let Some(state) = filter.state {
        query.push(format_args!(" AND state = '{state}'"));
    }
    if let Some(sink) = &filter.sink {
        query.push(" AND sink = ").push_bind(sink.clone());
    }
    if let Some(before) = filter.before {
        query.push(" AND id < ").push_bind(before.0);
    }
}

/// No stored text holds the character NUL, and Postgres refuses it.
fn matches_nothing(filter: &DispatchFilter) -> bool {
    [&filter.sink, &filter.invoice_id].into_iter().flatten().any(|text| text.contains('\0'))
}

/// The lock on the event keeps a purge from deleting the payload in the meantime. A dispatch without a payload stays
/// as it is, because there is nothing to send.
const RETRY: &str = concat!(
    "WITH chosen AS MATERIALIZED (
        SELECT d.id FROM queue d JOIN events e ON e.id = d.event_id
        WHERE d.id = ANY($1) AND d.state IN ('pending', 'held', 'dead') AND e.payload IS NOT NULL
        ORDER BY d.id FOR UPDATE OF d FOR SHARE OF e
    )
    UPDATE queue AS d
    SET state = 'pending', due_at = ",
    now!("$2"),
    ", finished_at = NULL, waits_for = NULL, wait_us = 0,
        first_attempt_at = CASE d.state WHEN 'pending' THEN d.first_attempt_at END,
        ageless = CASE d.state WHEN 'pending' THEN d.ageless ELSE d.attempts END
    FROM chosen WHERE d.id = chosen.id
    RETURNING d.sink"
);

const CANCEL: &str = concat!(
    "WITH chosen AS MATERIALIZED (
        SELECT id FROM queue WHERE id = ANY($1) AND state IN ('pending', 'held', 'dead')
        ORDER BY id FOR UPDATE
    ), moment AS MATERIALIZED (SELECT ",
    now!("$2"),
    " AS now), gone AS (
        DELETE FROM queue AS d USING chosen WHERE d.id = chosen.id RETURNING d.*
    )
    INSERT INTO history (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, finished_at,
                         last_error)
    SELECT id, event_id, sink, event_type, invoice_id, 'cancelled', trigger, attempts, created_at, moment.now, last_error
    FROM gone, moment
    RETURNING sink, invoice_id, finished_at"
);

/// The events stay locked against a purge until their new dispatches are written. The new numbers follow the order of
/// the request, as they follow the order of the batch in [`super::events`].
const REPLAY: &str = concat!(
    "WITH event AS MATERIALIZED (
        SELECT id, type, invoice_id FROM events WHERE id = ANY($1) AND payload IS NOT NULL ORDER BY id FOR SHARE
    ), moment AS MATERIALIZED (SELECT ",
    now!("$4"),
    " AS now), written AS (
        INSERT INTO queue (event_id, sink, event_type, invoice_id, state, trigger, created_at, due_at)
        SELECT event.id, asked.sink, event.type, event.invoice_id, 'pending', 'replay', moment.now, moment.now
        FROM moment, unnest($2::uuid[], $3::text[]) WITH ORDINALITY AS asked (id, sink, place)
        JOIN event ON event.id = asked.id
        ORDER BY asked.place
        RETURNING id, event_id
    )
    SELECT event.id, ARRAY(SELECT written.id FROM written WHERE written.event_id = event.id ORDER BY written.id)
    FROM event"
);

#[async_trait]
impl DispatchStore for PostgresStore {
    async fn list_dispatches(&self, filter: &DispatchFilter, limit: u32) -> Result<DispatchesPage, StoreError> {
        let mut walk = Walk::new(filter, limit);
        while let Some((filter, size, most)) = walk.next().filter(|_| !matches_nothing(filter)) {
            // Each piece gives its connection back.
            let (end, rows) = self
                .run("list dispatches", Again::Harmless, async || {
                    let mut checkout = self.look().await?;
                    let mut end: Option<PieceEnd> = None;
                    if let Some(size) = size {
                        let mut query = end_query(filter, size);
                        end = query.build_query_as().persistent(false).fetch_optional(checkout.on()).await?;
                    }
                    let mut query = list_query(filter, end.map(|(id, _)| DispatchId(id)), most);
                    let rows = query.build_query_as().persistent(false).fetch_all(checkout.on()).await?;
                    checkout.finish();
                    Ok((end, rows))
                })
                .await?;
            walk.add(end, rows);
        }
        Ok(walk.page())
    }

    async fn dispatch_ids(&self, filter: &DispatchFilter, most: u32) -> Result<Vec<DispatchId>, StoreError> {
        if matches_nothing(filter) {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = self
            .run("select dispatches", Again::Harmless, async || {
                let mut checkout = self.look().await?;
                let mut query = QueryBuilder::new("SELECT id FROM ");
                query.push(filter.source().1);
                push_conditions(&mut query, filter);
                query.push(" LIMIT ").push_bind(i64::from(most));
                let ids = query.build_query_scalar().persistent(false).fetch_all(checkout.on()).await?;
                checkout.finish();
                Ok(ids)
            })
            .await?;
        Ok(ids.into_iter().map(DispatchId).collect())
    }

    async fn dispatch(&self, id: DispatchId) -> Result<Option<(Dispatch, Vec<Attempt>)>, StoreError> {
        self.run(format!("read dispatch {id}"), Again::Harmless, async || {
            let mut checkout = self.look().await?;
            let rows = sqlx::query_as(concat!(whole_dispatch!(), " WHERE id = $1"))
                .bind(id.0)
                .fetch_all(checkout.on())
                .await?;
            let mut found = add_attempts(checkout.on(), rows).await?;
            checkout.finish();
            Ok(found.pop())
        })
        .await
    }

    async fn retry_dispatches(&self, ids: &[DispatchId]) -> Result<u64, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let changed: Vec<String> = self
            .run(format!("retry dispatches ({})", ids.len()), Again::Unsafe, async || {
                let mut checkout = self.begin().await?;
                let changed: Vec<String> =
                    sqlx::query_scalar(RETRY).bind(&ids).bind(None::<i64>).fetch_all(checkout.on()).await?;
                if !changed.is_empty() {
                    announce::announce(checkout.on(), changed.iter().map(String::as_str)).await?;
                }
                checkout.commit().await?;
                Ok(changed)
            })
            .await?;
        let sinks = changed.iter().map(|name| claims::sink_name(name)).collect::<Result<HashSet<_>, _>>()?;
        self.wakeups.wake(&sinks);
        Ok(changed.len() as u64)
    }

    async fn cancel_dispatches(&self, ids: &[DispatchId]) -> Result<u64, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.0).collect();
        let (changed, wake) = self
            .run(format!("cancel dispatches ({})", ids.len()), Again::Unsafe, async || {
                let mut checkout = self.begin().await?;
                let changed: Vec<(String, Option<String>, i64)> =
                    sqlx::query_as(CANCEL).bind(&ids).bind(None::<i64>).fetch_all(checkout.on()).await?;
                let mut wake = Vec::new();
                if let Some((_, _, moment)) = changed.first() {
                    let lanes =
                        changed.iter().filter_map(|(sink, invoice, _)| Some((sink.as_str(), invoice.as_deref()?)));
                    wake = claims::wake_next(checkout.on(), lanes.collect(), *moment).await?;
                }
                if !wake.is_empty() {
                    announce::announce(checkout.on(), wake.iter().map(SinkName::as_str)).await?;
                }
                checkout.commit().await?;
                Ok((changed.len() as u64, wake))
            })
            .await?;
        self.wakeups.wake(&wake);
        Ok(changed)
    }

    async fn replay_event(&self, id: EventId, sinks: &[SinkName]) -> Result<Option<Vec<DispatchId>>, StoreError> {
        let wanted = [Replay { event: id, sinks: sinks.to_vec() }];
        Ok(self.replay_events(&wanted).await?.pop().flatten())
    }

    async fn replay_events(&self, wanted: &[Replay]) -> Result<Vec<Option<Vec<DispatchId>>>, StoreError> {
        let events: Vec<Uuid> = wanted.iter().map(|replay| replay.event.0).collect();
        let (of, names): (Vec<Uuid>, Vec<&str>) =
            wanted.iter().flat_map(|replay| replay.sinks.iter().map(|sink| (replay.event.0, sink.as_str()))).unzip();
        let sinks: BTreeSet<&SinkName> = wanted.iter().flat_map(|replay| &replay.sinks).collect();
        let written = self
            .run(format!("replay events ({})", wanted.len()), Again::Unsafe, async || {
                let mut checkout = self.begin().await?;
                let written: Vec<(Uuid, Vec<i64>)> = sqlx::query_as(REPLAY)
                    .bind(&events)
                    .bind(&of)
                    .bind(&names)
                    .bind(None::<i64>)
                    .fetch_all(checkout.on())
                    .await?;
                if written.iter().any(|(_, ids)| !ids.is_empty()) {
                    announce::announce(checkout.on(), sinks.iter().map(|sink| sink.as_str())).await?;
                }
                checkout.commit().await?;
                Ok(written)
            })
            .await?;
        self.wakeups.wake(sinks);
        let mut written: HashMap<Uuid, Vec<i64>> = written.into_iter().collect();
        // An event that was asked for twice has all its dispatches in the result of its first place.
        let answer = |replay: &Replay| {
            let ids = written.get_mut(&replay.event.0)?;
            Some(std::mem::take(ids).into_iter().map(DispatchId).collect())
        };
        Ok(wanted.iter().map(answer).collect())
    }
}
