//! The sinks' status: pauses, counts, the last success and the last error.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::FromRow;

use super::{Again, Connections, PostgresStore, announce, count, now, storable};
use crate::{
    model::{chain::Chain, clock, id::SinkName},
    store::{
        Paused, SinkStatus, SinkStore, StoreError,
        counts::{COUNTED_AT_ONCE, Quick, Tallies, Turn},
    },
};

#[async_trait]
impl SinkStore for PostgresStore {
    async fn register_sinks(&self, sinks: &[SinkName]) -> Result<(), StoreError> {
        let mut names: Vec<_> = sinks.iter().map(SinkName::as_str).collect();
        // In order, like every statement that writes several of these rows.
        names.sort_unstable();
        self.run("register the sinks", Again::Harmless, async || {
            let mut checkout = self.checkout().await?;
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

    async fn sink_statuses(&self) -> Result<Vec<SinkStatus>, StoreError> {
        let (sinks, rows, oldest) = self.run("read the status of the sinks", Again::Harmless, async || {
            let mut checkout = self.look().await?;
            let sinks: Vec<SinkRow> = sqlx::query_as(
                "SELECT name, paused_at, paused_reason, delivered, last_success_at, last_error_at, last_error FROM sinks",
            )
            .fetch_all(checkout.on())
            .await?;
            let rows: Vec<(String, String, i64, i64, Option<bool>)> =
                sqlx::query_as(QUICK).bind(COUNTED_AT_ONCE).fetch_all(checkout.on()).await?;
            let first: Vec<i64> = rows.iter().map(|row| row.3).collect();
            let oldest: Vec<(String, i64)> = sqlx::query_as(OLDEST).bind(first).fetch_all(checkout.on()).await?;
            checkout.finish();
            Ok((sinks, rows, oldest))
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
        let mut quick = Quick::default();
        let mut counts = Vec::new();
        for (sink, state, number, first, is_cut) in rows {
            match is_cut {
                None => counts.push((sink, state, number, first)),
                Some(is_cut) if sink.is_empty() => quick.stopped_is_cut = is_cut,
                Some(is_cut) => quick.tallies.entry(sink).or_default().is_cut = is_cut,
            }
        }
        tally(&mut quick.tallies, counts, oldest)?;
        if quick.is_cut()
            && let Some(turn) = self.counted.turn()
        {
            // The task ends with the pool at the latest.
            tokio::spawn(count_everything(self.connections.clone(), turn));
        }
        self.counted.fill(&mut statuses, &quick);
        Ok(statuses.into_values().collect())
    }

    async fn pause_sink(&self, sink: &SinkName, reason: &str) -> Result<bool, StoreError> {
        let reason = storable(reason);
        self.run(format!("pause sink {sink}"), Again::Unsafe, async || {
            let mut checkout = self.begin().await?;
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

    async fn resume_sink(&self, sink: &SinkName) -> Result<bool, StoreError> {
        let resumed = self
            .run(format!("resume sink {sink}"), Again::Unsafe, async || {
                let mut checkout = self.begin().await?;
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
            self.wakeups.wake([sink]);
        }
        Ok(resumed)
    }
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

/// How many dispatches of a sink are in a state, and the smallest number among them.
type CountRow = (String, String, i64, i64);

/// Unfinished work of each sink, at most `$1` of it, and at most `$1` held or dead dispatches, read from the two
/// indexes that hold nothing else. The sinks are found by one step into the first index for each. A held dispatch
/// with a re-check is in both indexes, and is counted in the second. `cut` says that there may be more; such a row
/// has no sink for held or dead dispatches.
pub(super) const QUICK: &str = "WITH RECURSIVE names (name) AS (
        (SELECT sink FROM dispatches WHERE due_at IS NOT NULL ORDER BY sink LIMIT 1)
        UNION ALL
        SELECT (SELECT sink FROM dispatches WHERE due_at IS NOT NULL AND sink > names.name ORDER BY sink LIMIT 1)
        FROM names WHERE names.name IS NOT NULL
    ), unfinished AS (
        SELECT names.name AS sink, entry.state, entry.id FROM names CROSS JOIN LATERAL (
            SELECT state, id FROM dispatches WHERE sink = names.name AND due_at IS NOT NULL LIMIT $1
        ) AS entry
        WHERE names.name IS NOT NULL
    ), stopped AS (
        SELECT sink, state, id FROM dispatches WHERE attention ORDER BY id DESC LIMIT $1
    )
    SELECT sink, state, count(*), min(id), NULL::boolean FROM unfinished
        WHERE state IN ('pending', 'leased') GROUP BY sink, state
    UNION ALL
    SELECT sink, state, count(*), min(id), NULL FROM stopped WHERE state IN ('held', 'dead') GROUP BY sink, state
    UNION ALL
    SELECT sink, '', 0, 0, count(*) >= $1 FROM unfinished GROUP BY sink
    UNION ALL
    SELECT '', '', 0, 0, count(*) >= $1 FROM stopped";

/// Counts everything.
pub(super) const COUNTS: &str = "SELECT sink, state, count(*), min(id) FROM dispatches
        WHERE due_at IS NOT NULL AND state IN ('pending', 'leased') GROUP BY sink, state
    UNION ALL
    SELECT sink, state, count(*), min(id) FROM dispatches
        WHERE attention AND state IN ('held', 'dead') GROUP BY sink, state";

const OLDEST: &str = "SELECT sink, min(created_at) FROM dispatches
    WHERE id = ANY($1) AND state IN ('pending', 'leased') GROUP BY sink";

fn tally(tallies: &mut Tallies, counts: Vec<CountRow>, oldest: Vec<(String, i64)>) -> Result<(), StoreError> {
    for (sink, state, number, _) in counts {
        let state = super::dispatches::state(&state, &sink)?;
        tallies.entry(sink).or_default().add(state, number.unsigned_abs(), None);
    }
    for (sink, created_at) in oldest {
        tallies.entry(sink).or_default().oldest = Some(clock::nearest(created_at));
    }
    Ok(())
}

async fn count_everything(connections: Connections, turn: Turn) {
    let at = clock::now();
    let action = "count the work of the sinks";
    let counted = async {
        let (counts, oldest) = connections
            .run(action, Again::Harmless, async || {
                let mut checkout = connections.look().await?;
                let counts: Vec<CountRow> = sqlx::query_as(COUNTS).fetch_all(checkout.on()).await?;
                let first: Vec<i64> = counts.iter().map(|row| row.3).collect();
                let oldest: Vec<(String, i64)> = sqlx::query_as(OLDEST).bind(first).fetch_all(checkout.on()).await?;
                checkout.finish();
                Ok((counts, oldest))
            })
            .await?;
        let mut tallies = Tallies::new();
        tally(&mut tallies, counts, oldest)?;
        Ok::<_, StoreError>(tallies)
    };
    match counted.await {
        Ok(tallies) => turn.counted(at, tallies),
        Err(error) => tracing::debug!(error = %Chain(&error), "the work of the sinks was not counted this time"),
    }
}
