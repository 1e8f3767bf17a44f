//! The sinks' standing: pauses, counts, the last success and the last error.

use std::collections::BTreeMap;

use sqlx::FromRow;

use super::{Again, PostgresStore, announce, count, now, storable};
use crate::{
    model::{clock, dispatch::State, id::SinkName},
    store::{Paused, SinkStatus, StoreError},
};

pub(super) async fn register(store: &PostgresStore, sinks: &[SinkName]) -> Result<(), StoreError> {
    let mut names: Vec<_> = sinks.iter().map(SinkName::as_str).collect();
    // In order, like everyone who writes to several of these rows.
    names.sort_unstable();
    store
        .run("registering the sinks", Again::Harmless, async || {
            let mut checkout = store.checkout().await?;
            sqlx::query(concat!(
                "INSERT INTO sinks (name, registered_at) SELECT name, ",
                now!("$2"),
                " FROM unnest($1::text[]) AS name ON CONFLICT (name) DO NOTHING"
            ))
            .bind(&names)
            .bind(None::<i64>)
            .execute(checkout.on())
            .await?;
            checkout.finish();
            Ok(())
        })
        .await
}

#[derive(FromRow)]
struct SinkRow {
    name: String,
    paused_at: Option<i64>,
    paused_reason: Option<String>,
    delivered: i64,
    last_success_at: Option<i64>,
    last_error_at: Option<i64>,
    last_error: Option<String>,
}

/// Unfinished work by sink and state, from the two indexes that hold nothing else: what is due once,
/// and what waits for a person or was given up. Of the first, held dispatches with a re-check are left
/// to the second.
pub(super) const COUNTS: &str = "SELECT sink, state, count(*), min(id) FROM dispatches
        WHERE due_at IS NOT NULL AND state IN ('pending', 'leased') GROUP BY sink, state
    UNION ALL
    SELECT sink, state, count(*), min(id) FROM dispatches
        WHERE attention AND state IN ('held', 'dead') GROUP BY sink, state";

pub(super) async fn statuses(store: &PostgresStore) -> Result<Vec<SinkStatus>, StoreError> {
    let (sinks, counts, oldest) = store
        .run("reading the sinks' status", Again::Harmless, async || {
            let mut checkout = store.checkout().await?;
            let sinks: Vec<SinkRow> = sqlx::query_as(
                "SELECT name, paused_at, paused_reason, delivered, last_success_at, last_error_at, last_error FROM sinks",
            )
            .fetch_all(checkout.on())
            .await?;
            let counts: Vec<(String, String, i64, i64)> = sqlx::query_as(COUNTS).fetch_all(checkout.on()).await?;
            let first: Vec<_> = counts.iter().map(|(_, _, _, id)| *id).collect();
            let oldest: Vec<(String, i64)> = sqlx::query_as(
                "SELECT sink, min(created_at) FROM dispatches
                 WHERE id = ANY($1) AND state IN ('pending', 'leased') GROUP BY sink",
            )
            .bind(first)
            .fetch_all(checkout.on())
            .await?;
            checkout.finish();
            Ok((sinks, counts, oldest))
        })
        .await?;

    let mut statuses = BTreeMap::new();
    for row in sinks {
        // A time that cannot be read is shown as the nearest one: it must not hide the other sinks.
        let time = |micros: Option<i64>| micros.map(clock::nearest);
        let status = SinkStatus {
            name: row.name.clone(),
            paused: time(row.paused_at).zip(row.paused_reason).map(|(at, reason)| Paused { at, reason }),
            delivered: count("sinks", "delivered", &row.name, row.delivered)?,
            last_success_at: time(row.last_success_at),
            last_error: time(row.last_error_at).zip(row.last_error),
            ..SinkStatus::default()
        };
        statuses.insert(row.name, status);
    }
    for (sink, state, number, _) in counts {
        let status = entry(&mut statuses, sink);
        let number = number.unsigned_abs();
        match super::dispatches::state(&state, &status.name)? {
            State::Pending => status.pending = number,
            State::Leased => status.leased = number,
            State::Held => status.held = number,
            State::Dead => status.dead = number,
            State::Delivered | State::Cancelled => {}
        }
    }
    for (sink, created_at) in oldest {
        entry(&mut statuses, sink).oldest_pending = Some(clock::nearest(created_at));
    }
    Ok(statuses.into_values().collect())
}

/// A sink's status; a sink without a row was dispatched to and never registered.
fn entry(statuses: &mut BTreeMap<String, SinkStatus>, sink: String) -> &mut SinkStatus {
    statuses.entry(sink).or_insert_with_key(|name| SinkStatus { name: name.clone(), ..SinkStatus::default() })
}

pub(super) async fn pause(store: &PostgresStore, sink: &SinkName, reason: &str) -> Result<bool, StoreError> {
    let reason = storable(reason);
    store
        .run(format!("pausing sink {sink}"), Again::Unsafe, async || {
            let mut checkout = store.begin().await?;
            let changed = sqlx::query(concat!(
                "INSERT INTO sinks AS s (name, registered_at, paused_at, paused_reason)
                 SELECT $1, now, now, $2 FROM (SELECT ",
                now!("$3"),
                " AS now) AS moment
                 ON CONFLICT (name) DO UPDATE SET paused_at = excluded.paused_at, paused_reason = excluded.paused_reason
                 WHERE s.paused_at IS NULL"
            ))
            .bind(sink.as_str())
            .bind(&reason)
            .bind(None::<i64>)
            .execute(checkout.on())
            .await?
            .rows_affected();
            checkout.commit().await?;
            Ok(changed > 0)
        })
        .await
}

pub(super) async fn resume(store: &PostgresStore, sink: &SinkName) -> Result<bool, StoreError> {
    let resumed = store
        .run(format!("resuming sink {sink}"), Again::Unsafe, async || {
            let mut checkout = store.begin().await?;
            let changed = sqlx::query(
                "UPDATE sinks SET paused_at = NULL, paused_reason = NULL WHERE name = $1 AND paused_at IS NOT NULL",
            )
            .bind(sink.as_str())
            .execute(checkout.on())
            .await?
            .rows_affected();
            if changed > 0 {
                announce::announce(checkout.on(), [sink.as_str()]).await?;
            }
            checkout.commit().await?;
            Ok(changed > 0)
        })
        .await?;
    if resumed {
        store.wakeups.wake([sink]);
    }
    Ok(resumed)
}
