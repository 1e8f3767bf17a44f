//! Fills a relay's SQLite database with events of the past year, each with one dispatch, so that an old and a busy
//! database can be measured without waiting a year. `bench/fill.sql` does the same on Postgres.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

/// What to add.
#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// The database of a relay that has been started once and is stopped now
    #[arg(long)]
    database: PathBuf,
    /// How many events
    #[arg(long)]
    count: u32,
    /// The sink of their dispatches
    #[arg(long)]
    sink: String,
    /// In which state these are
    #[arg(long, value_enum)]
    state: State,
}

/// The state of the dispatches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum State {
    /// Done, in the history.
    Delivered,
    /// Due, in the queue.
    Pending,
}

/// A year and a day less, in microseconds: nothing is so new that it seems to come from this run.
const YEAR: i64 = 365 * 86_400_000_000;
const SPREAD: i64 = 364 * 86_400_000_000;

/// Adds the events in one transaction and counts the table's values anew for the planner.
///
/// # Errors
/// When the database is not that of a relay of this version.
#[expect(clippy::disallowed_methods, reason = "a benchmark goes by the clock")]
pub(crate) fn run(plan: &Plan) -> anyhow::Result<()> {
    let mut database = Connection::open(&plan.database)?;
    database.execute_batch("PRAGMA cache_size = -200000; PRAGMA synchronous = NORMAL")?;
    fill(&mut database, plan, Timestamp::now())?;
    database.execute_batch("ANALYZE; PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(())
}

/// Runs statements on a database that nobody has open.
///
/// # Errors
/// When SQLite does not take them.
pub(crate) fn execute(database: &Path, sql: &str) -> anyhow::Result<()> {
    Ok(Connection::open(database)?.execute_batch(sql)?)
}

fn fill(database: &mut Connection, plan: &Plan, now: Timestamp) -> anyhow::Result<()> {
    let transaction = database.transaction()?;
    {
        let mut event = transaction.prepare(
            "INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries,
                                 last_delivery_at, readable, content_type, payload)
             VALUES (?1, 'default', ?2, 'payment.received', ?3, ?4, ?4, 1, ?4, 1, 'application/json', ?5)",
        )?;
        let mut dispatch = transaction.prepare(match plan.state {
            State::Delivered => {
                "INSERT INTO history (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at,
                                      finished_at, attempted_at, attempt_us)
                 VALUES (?1, ?2, ?3, 'payment.received', ?4, 'delivered', 'event', 1, ?5, ?5 + 2000, ?5 + 1000, 1000)"
            }
            State::Pending => {
                "INSERT INTO queue (id, event_id, sink, event_type, invoice_id, state, trigger, created_at, due_at)
                 VALUES (?1, ?2, ?3, 'payment.received', ?4, 'pending', 'event', ?5, ?5)"
            }
        })?;
        let last: i64 = transaction.query_row(
            "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'queue'), 0),
                        coalesce((SELECT max(id) FROM history), 0))",
            [],
            |row| row.get(0),
        )?;
        let mut random = u64::try_from(now.as_microsecond())?;
        for number in 0..i64::from(plan.count) {
            let at = now.as_microsecond() - YEAR + SPREAD / i64::from(plan.count) * number;
            let id = uuid_v7(at / 1000, wide(&mut random));
            let invoice = dashed(wide(&mut random));
            let body = format!(
                r#"{{"event":"payment.received","data":{{"invoiceId":"{invoice}","amountCents":{}}},"timestamp":"{:.3}"}}"#,
                number + 1,
                Timestamp::UNIX_EPOCH + SignedDuration::from_micros(at)
            );
            event.execute(params![id, Sha256::digest(id).as_slice(), invoice, at, body.as_bytes()])?;
            dispatch.execute(params![last + 1 + number, id, plan.sink, invoice, at])?;
        }
        // The numbers of dispatches go on after those that are in the history already.
        if plan.state == State::Delivered {
            let top = last + i64::from(plan.count);
            if transaction.execute("UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'queue'", [top])? == 0 {
                transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('queue', ?1)", [top])?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// 128 bits without pattern, from a step of `SplitMix64` for each half.
fn wide(state: &mut u64) -> u128 {
    let mut half = || {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        u128::from(crate::deliveries::scatter(*state))
    };
    half() << 64 | half()
}

/// A UUID of version 7: the time in milliseconds, then bits without pattern.
fn uuid_v7(millis: i64, random: u128) -> [u8; 16] {
    let mut id = random.to_be_bytes();
    id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    id[6] = 0x70 | id[6] & 0x0f;
    id[8] = 0x80 | id[8] & 0x3f;
    id
}

/// 128 bits as a UUID is written.
fn dashed(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_version_7_and_in_the_order_of_time() {
        let id = uuid_v7(0x0192_3456_789a, u128::MAX);
        assert_eq!(hex::encode(id), "01923456789a7fffbfffffffffffffff");
        assert!(uuid_v7(1, u128::MAX) < uuid_v7(2, 0));
        assert_eq!(dashed(0x1), "00000000-0000-0000-0000-000000000001");
    }

    #[test]
    fn the_schema_of_this_repository_takes_what_is_filled_in() {
        let mut database = Connection::open_in_memory().unwrap();
        let mut files: Vec<_> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/sqlite"))
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        files.sort();
        for file in files {
            database.execute_batch(&std::fs::read_to_string(file).unwrap()).unwrap();
        }
        let mut now: Timestamp = "2026-03-15T10:30:00Z".parse().unwrap();
        for state in [State::Delivered, State::Pending, State::Delivered] {
            let plan = Plan { database: PathBuf::new(), count: 100, sink: "slow".into(), state };
            fill(&mut database, &plan, now).unwrap();
            now += SignedDuration::from_secs(1);
        }
        let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count("SELECT count(*) FROM events"), 300);
        assert_eq!(count("SELECT count(DISTINCT id) FROM dispatches"), 300, "no number is given twice");
        assert_eq!(count("SELECT n FROM queue_counts WHERE sink = 'slow' AND state = 'pending'"), 100);
        assert_eq!(count("SELECT count(*) FROM dispatches d JOIN events e ON e.id = d.event_id"), 300);
        assert_eq!(count("SELECT seq FROM sqlite_sequence WHERE name = 'queue'"), 300, "new numbers come after all");
    }
}
