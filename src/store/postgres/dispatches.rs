//! Dispatches as a person lists and changes them: lists, retry, cancel, replay.

use std::collections::{BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Again, Failure, PostgresStore, announce, claims, now};
use crate::{
    model::{
        dispatch::{Attempt, Dispatch},
        id::{DispatchId, EventId, SinkName},
    },
    store::{
        DispatchFilter, DispatchStore, DispatchesPage, Replay, StoreError,
        lists::{Lists as _, whole_dispatch},
        rows::{DispatchRow, with_attempts},
    },
};

/// All dispatches of an event with their attempts, in the order in which they were written.
pub(super) async fn of_event(
    connection: &mut PgConnection,
    event: EventId,
) -> Result<Vec<(Dispatch, Vec<Attempt>)>, Failure> {
    let dispatches: Vec<DispatchRow> = sqlx::query_as(concat!(whole_dispatch!(), " WHERE event_id = $1 ORDER BY id"))
        .bind(event.0)
        .fetch_all(&mut *connection)
        .await?;
    let ids: Vec<_> = dispatches.iter().map(|dispatch| dispatch.id).collect();
    let attempts = sqlx::query_as(
        "SELECT dispatch_id, number::bigint AS number, started_at, duration_us, outcome, error FROM attempts
         WHERE dispatch_id = ANY($1) ORDER BY dispatch_id, number",
    )
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(with_attempts(dispatches, attempts))
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
        self.list(filter, limit).await
    }

    async fn dispatch_ids(&self, filter: &DispatchFilter, most: u32) -> Result<Vec<DispatchId>, StoreError> {
        self.ids(filter, most).await
    }

    async fn count_dispatches(&self, filter: &DispatchFilter) -> Result<(u64, bool), StoreError> {
        self.count(filter).await
    }

    async fn dispatch(&self, id: DispatchId) -> Result<Option<(Dispatch, Vec<Attempt>)>, StoreError> {
        self.one(id).await
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
