//! What the store keeps for the relay's own events.
//!
//! Triggers of the schema (`migrations/*/0012_notices.sql`) note what happens to dispatches and sinks, in the transaction
//! that changes them. So no path of the code can forget to, a crash loses nothing, and an accept pays nothing. What is
//! noted is turned into events by [`NoticeStore::settle_notices`], in one transaction that is alone among all replicas:
//! what one of them tells, the others find told.

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    error::{Failure, StoreError},
    events::first_id_at,
    reconciliations::last_reports,
    tx::{Access, Again, Sql, Transact, Tx, sql, values},
};
use crate::model::{
    clock,
    event::DedupeKey,
    id::{DispatchId, EventId, SinkName},
    reconciliation::Report,
};

/// The most dispatches that are read at a time.
const MOST: u32 = 20_000;
/// Payloads longer than this hold no amount that anybody would look for, in bytes.
const LONGEST: i64 = 8 * 1024;

/// A dispatch that has come to wait for a person, or was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The dispatch.
    pub dispatch: DispatchId,
    /// Its sink.
    pub sink: String,
    /// The endpoint of its event; empty if the event is gone.
    pub endpoint: String,
    /// `held` or `dead`.
    pub state: String,
    /// The reason.
    pub reason: String,
    /// When it happened.
    pub at: Timestamp,
    /// The word under which it was told before.
    pub told: Option<String>,
    /// Its event's payload; `None` if it was not asked for, is long, or is gone.
    pub payload: Option<Vec<u8>>,
}

/// A pause of a sink, or its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// The note's number.
    pub id: i64,
    /// The sink.
    pub sink: String,
    /// Why it was paused; `None` if the pause has ended.
    pub reason: Option<String>,
    /// When it happened.
    pub at: Timestamp,
}

/// Deliveries that were refused for one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedCount {
    /// The endpoint; empty for a path that no endpoint has.
    pub endpoint: String,
    /// The cause, a stable word.
    pub cause: String,
    /// How many.
    pub count: u64,
    /// When the first of them came.
    pub first_at: Timestamp,
}

/// A group of notes about one cause, and when it was last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// When it was last told.
    pub told_at: Timestamp,
    /// How long what belongs to it was collected then, in microseconds.
    pub window_us: i64,
}

/// Something that was told and lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its name.
    pub name: String,
    /// When it began.
    pub at: Timestamp,
    /// When a process last saw it.
    pub seen_at: Timestamp,
    /// A number, whose meaning follows from the name.
    pub number: i64,
}

/// An entry of the audit trail about a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Its number.
    pub id: i64,
    /// `rotation.done` and so on.
    pub action: String,
    /// `endpoint/NAME`.
    pub subject: String,
    /// Further details, a JSON object.
    pub detail: String,
}

/// Everything that is noted and not told yet, and what was told before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noted {
    /// Dispatches, in the order of their numbers.
    pub stopped: Vec<Stopped>,
    /// Pauses, in their order.
    pub pauses: Vec<Pause>,
    /// Refused deliveries.
    pub refusals: Vec<RefusedCount>,
    /// Groups that were told.
    pub groups: Vec<Group>,
    /// Marks.
    pub marks: Vec<Mark>,
    /// Entries of the audit trail about rotations after the mark `audit`, in their order.
    pub rotations: Vec<Rotated>,
    /// The newest number of the audit trail.
    pub last_audit: i64,
    /// When each sink last delivered something, and how much waits for it.
    pub sinks: Vec<SinkBrief>,
    /// The last reconciliation of each endpoint that is done.
    pub reconciliations: Vec<Report>,
    /// When each endpoint last received a genuine delivery.
    pub heard: Vec<(String, Option<Timestamp>)>,
}

/// What is needed of a sink's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkBrief {
    /// The sink.
    pub name: String,
    /// When it last delivered something, through any process.
    pub last_success_at: Option<Timestamp>,
    /// Why an attempt last failed.
    pub last_error: Option<String>,
    /// How many dispatches are pending or in progress.
    pub pending: u64,
}

/// One of the relay's own events, about to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnEvent {
    /// Its id.
    pub id: EventId,
    /// The endpoint that it is about; empty if it is about none.
    pub endpoint: String,
    /// Its type.
    pub event_type: String,
    /// When it was made.
    pub at: Timestamp,
    /// Its body.
    pub payload: Vec<u8>,
    /// The sinks that get it.
    pub sinks: Vec<SinkName>,
}

/// What is to be told, and what follows from that.
#[derive(Debug, Clone, Default)]
pub struct Settlement {
    /// The events.
    pub events: Vec<OwnEvent>,
    /// Dispatches that are told, or need not be, with the word under which.
    pub told: Vec<(Vec<DispatchId>, String)>,
    /// The numbers of the pauses that are told. One with a lower number may be committed later.
    pub pauses: Vec<i64>,
    /// Refusals to add to what is counted.
    pub refused: Vec<RefusedCount>,
    /// Refusals (endpoint and cause) that are told.
    pub refusals_told: Vec<(String, String)>,
    /// Groups that were told now.
    pub groups: Vec<Group>,
    /// Marks to set.
    pub marks: Vec<Mark>,
    /// Names of marks to remove.
    pub unmarked: Vec<String>,
}

impl Settlement {
    /// True if nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.told.is_empty()
            && self.pauses.is_empty()
            && self.refused.is_empty()
            && self.refusals_told.is_empty()
            && self.groups.is_empty()
            && self.marks.is_empty()
            && self.unmarked.is_empty()
    }
}

/// Decides what of the notes is told now. It may be asked several times, and must answer the same for the same notes.
pub type Decide<'d> = dyn Fn(&Noted, Timestamp) -> Settlement + Send + Sync + 'd;

/// How many events of one type an endpoint has received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// The endpoint.
    pub endpoint: String,
    /// The type.
    pub event_type: String,
    /// How many.
    pub events: u64,
}

/// What was booked in one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// The sink.
    pub sink: String,
    /// How many payments.
    pub payments: u64,
    /// Their sum, in cents of the currency.
    pub amount_cents: i64,
    /// The currency.
    pub currency: String,
}

/// What waits at one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The sink.
    pub sink: String,
    /// Dispatches that wait for a person.
    pub held: u64,
    /// Dispatches that were given up.
    pub dead: u64,
    /// Dispatches that have been pending since before the given time.
    pub late: u64,
}

/// The figures of a digest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// What arrived in the time, without the relay's own events.
    pub arrived: Vec<Arrived>,
    /// What was booked in the time.
    pub booked: Vec<Booked>,
    /// What waits now; only sinks where something does.
    pub waiting: Vec<Waiting>,
}

/// The part of the store that is about the relay's own events.
#[async_trait]
pub trait NoticeStore: Send + Sync {
    /// Lets `decide` choose what of the notes is told now, stores these events with their dispatches, and marks what is
    /// told, in one transaction that is alone among all replicas. Writes nothing, and waits for nobody, if there is
    /// nothing to do. Returns how many events were stored.
    ///
    /// `now` replaces the store's clock, for tests.
    async fn settle_notices(&self, decide: &Decide<'_>, now: Option<Timestamp>) -> Result<usize, StoreError>;

    /// The figures of the time from `since` until `until`; pending dispatches that were written before `late` count as
    /// late. Reads the events of that time, so it is for rare use.
    async fn figures(&self, since: Timestamp, until: Timestamp, late: Timestamp) -> Result<Figures, StoreError>;
}

const STOPPED: &str = "SELECT dispatch_id, sink, endpoint, state, reason, at, told, NULL AS payload
    FROM notice_dispatches WHERE open = 1 ORDER BY dispatch_id LIMIT $1";

/// With payloads, for amounts. Whoever changes a row meanwhile is not overwritten: Postgres leaves out the rows that are being
/// changed, and they are told the next time. SQLite has one writer.
const STOPPED_FULLY: Sql = sql!(
    "SELECT dispatch_id, sink, n.endpoint, state, reason, at, told,
        CASE WHEN octet_length(e.payload) <= $2 THEN e.payload END AS payload
    FROM notice_dispatches n LEFT JOIN events e ON e.id = n.event_id WHERE open = 1 ORDER BY dispatch_id LIMIT $1",
    " FOR UPDATE OF n SKIP LOCKED" | ""
);

const SINKS: &str = "SELECT name, last_success_at, last_error,
        CAST(coalesce((SELECT sum(n) FROM queue_counts WHERE sink = name AND state IN ('pending', 'leased')), 0) AS bigint)
    FROM sinks ORDER BY name";

const ROTATIONS: &str = "SELECT id, action, subject, detail FROM audit
    WHERE id > $1 AND action IN ('rotation.done', 'rotation.refused', 'rotation.uncertain', 'secret.settled')
    ORDER BY id LIMIT 100";

const INSERT: Sql = Sql::Fixed {
    postgres: "INSERT INTO events (id, endpoint, dedupe_key, type, occurred_at, received_at, deliveries, readable,
                                   content_type, payload)
               VALUES ($1, $2, $3, $4, $5, $5, 1, TRUE, 'application/json', $6)",
    sqlite: "INSERT INTO events (id, endpoint, dedupe_key, type, occurred_at, received_at, deliveries,
                                 last_delivery_at, readable, content_type, payload)
             VALUES ($1, $2, $3, $4, $5, $5, 1, $5, TRUE, 'application/json', $6)",
};

const TOLD: Sql = sql!(
    "UPDATE notice_dispatches SET open = 0, told = $2 WHERE dispatch_id IN (SELECT CAST(value AS bigint) FROM ",
    "json_array_elements_text(CAST($1 AS json))" | "json_each($1)",
    ")"
);

#[derive(FromRow)]
struct StoppedRow {
    dispatch_id: i64,
    sink: String,
    endpoint: String,
    state: String,
    reason: Option<String>,
    at: i64,
    told: Option<String>,
    payload: Option<Vec<u8>>,
}

impl From<StoppedRow> for Stopped {
    fn from(row: StoppedRow) -> Self {
        Self {
            dispatch: DispatchId(row.dispatch_id),
            sink: row.sink,
            endpoint: row.endpoint,
            state: row.state,
            reason: row.reason.unwrap_or_default(),
            at: clock::nearest(row.at),
            told: row.told,
            payload: row.payload,
        }
    }
}

async fn read(tx: &mut Tx<'_>, fully: bool) -> Result<Noted, Failure> {
    let stopped: Vec<StoppedRow> = if fully {
        tx.rows(STOPPED_FULLY, values![MOST, LONGEST]).await?
    } else {
        tx.rows(STOPPED, values![MOST]).await?
    };
    let pauses: Vec<(i64, String, Option<String>, i64)> =
        tx.rows("SELECT id, sink, reason, at FROM notice_sinks ORDER BY id LIMIT 1000", &[]).await?;
    let refusals: Vec<(String, String, i64, i64)> =
        tx.rows("SELECT endpoint, cause, n, at FROM notice_refusals ORDER BY endpoint, cause", &[]).await?;
    let groups: Vec<(String, i64, i64)> = tx.rows("SELECT name, told_at, window_us FROM notice_groups", &[]).await?;
    let marks: Vec<(String, i64, i64, i64)> =
        tx.rows("SELECT name, at, seen_at, number FROM notice_marks ORDER BY name", &[]).await?;
    let marks: Vec<Mark> = marks
        .into_iter()
        .map(|(name, at, seen_at, number)| Mark {
            name,
            at: clock::nearest(at),
            seen_at: clock::nearest(seen_at),
            number,
        })
        .collect();
    let last: (Option<i64>,) = tx.one("SELECT max(id) FROM audit", &[]).await?;
    let read_until = marks.iter().find(|mark| mark.name == AUDIT).map_or(i64::MAX, |mark| mark.number);
    let rotations: Vec<(i64, String, String, String)> = tx.rows(ROTATIONS, values![read_until]).await?;
    let sinks: Vec<(String, Option<i64>, Option<String>, i64)> = tx.rows(SINKS, &[]).await?;
    let heard: Vec<(String, Option<i64>)> =
        tx.rows("SELECT endpoint, last_delivery_at FROM endpoint_activity ORDER BY endpoint", &[]).await?;
    let reconciliations = last_reports(tx).await?;
    Ok(Noted {
        reconciliations,
        stopped: stopped.into_iter().map(Stopped::from).collect(),
        pauses: pauses
            .into_iter()
            .map(|(id, sink, reason, at)| Pause { id, sink, reason, at: clock::nearest(at) })
            .collect(),
        refusals: refusals
            .into_iter()
            .map(|(endpoint, cause, n, at)| RefusedCount {
                endpoint,
                cause,
                count: n.try_into().unwrap_or_default(),
                first_at: clock::nearest(at),
            })
            .collect(),
        groups: groups
            .into_iter()
            .map(|(name, told_at, window_us)| Group { name, told_at: clock::nearest(told_at), window_us })
            .collect(),
        marks,
        rotations: rotations
            .into_iter()
            .map(|(id, action, subject, detail)| Rotated { id, action, subject, detail })
            .collect(),
        last_audit: last.0.unwrap_or_default(),
        sinks: sinks
            .into_iter()
            .map(|(name, at, last_error, pending)| SinkBrief {
                name,
                last_success_at: at.map(clock::nearest),
                last_error,
                pending: pending.try_into().unwrap_or_default(),
            })
            .collect(),
        heard: heard.into_iter().map(|(endpoint, at)| (endpoint, at.map(clock::nearest))).collect(),
    })
}

/// The name of the mark that says how far the audit trail was read. Without it nothing of the trail is news.
pub const AUDIT: &str = "audit";

async fn write(tx: &mut Tx<'_>, settlement: &Settlement, now: i64) -> Result<(), Failure> {
    for event in &settlement.events {
        insert(tx, event, now).await?;
    }
    for (dispatches, word) in &settlement.told {
        let ids = serde_json::to_string(&dispatches.iter().map(|dispatch| dispatch.0).collect::<Vec<_>>());
        tx.execute(TOLD, values![ids.expect("numbers can be written as JSON"), word]).await?;
    }
    for id in &settlement.pauses {
        tx.execute("DELETE FROM notice_sinks WHERE id = $1", values![*id]).await?;
    }
    for refused in &settlement.refused {
        let add = "INSERT INTO notice_refusals (endpoint, cause, n, at) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (endpoint, cause) DO UPDATE SET n = notice_refusals.n + excluded.n";
        let count = i64::try_from(refused.count).unwrap_or(i64::MAX);
        let at = clock::to_micros(refused.first_at);
        tx.execute(add, values![&refused.endpoint, &refused.cause, count, at]).await?;
    }
    for (endpoint, cause) in &settlement.refusals_told {
        tx.execute("DELETE FROM notice_refusals WHERE endpoint = $1 AND cause = $2", values![endpoint, cause]).await?;
    }
    for group in &settlement.groups {
        let told = "INSERT INTO notice_groups (name, told_at, window_us) VALUES ($1, $2, $3)
                    ON CONFLICT (name) DO UPDATE SET told_at = excluded.told_at, window_us = excluded.window_us";
        tx.execute(told, values![&group.name, clock::to_micros(group.told_at), group.window_us]).await?;
    }
    for mark in &settlement.marks {
        let set = "INSERT INTO notice_marks (name, at, seen_at, number) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (name) DO UPDATE
                   SET at = excluded.at, seen_at = excluded.seen_at, number = excluded.number";
        let (at, seen_at) = (clock::to_micros(mark.at), clock::to_micros(mark.seen_at));
        tx.execute(set, values![&mark.name, at, seen_at, mark.number]).await?;
    }
    for name in &settlement.unmarked {
        tx.execute("DELETE FROM notice_marks WHERE name = $1", values![name]).await?;
    }
    if !settlement.events.is_empty() {
        // Groups that have been quiet for so long begin anew anyway.
        let long_ago = now.saturating_sub(7 * 24 * 3_600_000_000);
        tx.execute("DELETE FROM notice_groups WHERE told_at < $1", values![long_ago]).await?;
    }
    Ok(())
}

/// Stores one event, which is new, with a pending dispatch for each of its sinks.
async fn insert(tx: &mut Tx<'_>, event: &OwnEvent, now: i64) -> Result<(), Failure> {
    // Its id is its own key: it is never delivered again.
    let DedupeKey(key) = DedupeKey::of_value("", &event.event_type, &event.id.to_string());
    let at = clock::to_micros(event.at);
    let (id, event_type) = (event.id.0, &event.event_type);
    tx.execute(INSERT, values![id, &event.endpoint, &key[..], event_type, at, &event.payload[..]]).await?;
    for sink in &event.sinks {
        let dispatch = "INSERT INTO queue (event_id, sink, event_type, state, trigger, created_at, due_at)
                        VALUES ($1, $2, $3, 'pending', 'event', $4, $4)";
        tx.execute(dispatch, values![id, sink.as_str(), event_type, now]).await?;
        tx.wake(sink);
    }
    Ok(())
}

#[async_trait]
impl<S: Transact> NoticeStore for S {
    async fn settle_notices(&self, decide: &Decide<'_>, now: Option<Timestamp>) -> Result<usize, StoreError> {
        let action = "look for what is to be told";
        let noted = self
            .transact(action, Again::Harmless, Access::Read, async |mut tx| {
                let noted = read(&mut tx, false).await?;
                let now = clock::nearest(tx.now().await?);
                tx.commit((noted, now)).await
            })
            .await?;
        if decide(&noted.0, now.unwrap_or(noted.1)).is_empty() {
            return Ok(0);
        }
        // Another replica may have been faster, so the decision is made again under the lock.
        self.transact("store the relay's own events", Again::Unsafe, Access::Notices, async |mut tx| {
            let noted = read(&mut tx, true).await?;
            let micros = now.map_or(tx.now().await?, clock::to_micros);
            let settlement = decide(&noted, clock::nearest(micros));
            write(&mut tx, &settlement, micros).await?;
            tx.commit(settlement.events.len()).await
        })
        .await
    }

    async fn figures(&self, since: Timestamp, until: Timestamp, late: Timestamp) -> Result<Figures, StoreError> {
        let [since, until, late] = [since, until, late].map(clock::to_micros);
        self.transact("add up what happened", Again::Harmless, Access::Look, async |mut tx| {
            let arrived = "SELECT endpoint, type, count(*) FROM events
                           WHERE id >= $1 AND id < $2 AND type NOT LIKE 'relay.%'
                           GROUP BY endpoint, type ORDER BY endpoint, type";
            let (from, end): (Uuid, Uuid) = (first_id_at(since), first_id_at(until));
            let arrived: Vec<(String, String, i64)> = tx.rows(arrived, values![from, end]).await?;
            let booked = "SELECT sink, count(*), CAST(sum(amount_cents) AS bigint), currency FROM bookings
                          WHERE state IN ('booked', 'seen') AND changed_at >= $1 AND changed_at < $2
                          GROUP BY sink, currency ORDER BY sink, currency";
            let booked: Vec<(String, i64, i64, String)> = tx.rows(booked, values![since, until]).await?;
            let counts = "SELECT sink, state, CAST(sum(n) AS bigint) FROM queue_counts
                          WHERE state IN ('held', 'dead') GROUP BY sink, state ORDER BY sink, state";
            let mut counts: Vec<(String, String, i64)> = tx.rows(counts, &[]).await?;
            let pending = "SELECT sink, 'late', count(*) FROM queue WHERE state = 'pending' AND created_at < $1
                           GROUP BY sink ORDER BY sink";
            counts.extend(tx.rows::<(String, String, i64)>(pending, values![late]).await?);
            tx.commit(figures(arrived, booked, counts)).await
        })
        .await
    }
}

fn figures(
    arrived: Vec<(String, String, i64)>,
    booked: Vec<(String, i64, i64, String)>,
    counts: Vec<(String, String, i64)>,
) -> Figures {
    let count = |count: i64| u64::try_from(count).unwrap_or_default();
    let mut waiting: Vec<Waiting> = Vec::new();
    for (sink, state, n) in counts.into_iter().filter(|(.., n)| *n > 0) {
        let place = waiting.iter().position(|waiting| waiting.sink == sink).unwrap_or_else(|| {
            waiting.push(Waiting { sink, held: 0, dead: 0, late: 0 });
            waiting.len() - 1
        });
        let waiting = &mut waiting[place];
        *match state.as_str() {
            "held" => &mut waiting.held,
            "dead" => &mut waiting.dead,
            _ => &mut waiting.late,
        } = count(n);
    }
    waiting.sort_by(|one, other| one.sink.cmp(&other.sink));
    Figures {
        arrived: arrived
            .into_iter()
            .map(|(endpoint, event_type, events)| Arrived { endpoint, event_type, events: count(events) })
            .collect(),
        booked: booked
            .into_iter()
            .map(|(sink, payments, amount_cents, currency)| Booked {
                sink,
                payments: count(payments),
                amount_cents,
                currency,
            })
            .collect(),
        waiting,
    }
}
