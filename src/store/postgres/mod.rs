//! The store on Postgres, for any number of replicas on one database.
//!
//! # One call, one connection
//!
//! Every method takes a connection from the pool (`PostgresStore::checkout`) and gives it back
//! only after its work has come to its end. Whatever else happens (an error, a time-out, a caller
//! that drops the future) the connection is closed, because its state is not known: sqlx rolls a
//! dropped transaction back, but a `BEGIN` that was cut off while under way stays open, and the
//! next autocommit statement on that connection would be acknowledged and never committed.
//!
//! Three bounds keep a sick database from holding us: the server ends a statement that takes too
//! long, a lock that does not come and a transaction that we left open (`SETTINGS`); we end a call
//! after [`CALL_TIMEOUT`], for a server that says nothing at all; and we wait at most
//! [`ACQUIRE_TIMEOUT`] for a connection. After a restart of the server the pool is full of dead
//! connections. The first call that meets one throws all idle ones away and tries once more, where
//! doing it twice does no harm: reads, everything that had not begun its transaction yet, and
//! [`Store::record_deliveries`], which finds its own event again by the dedupe key.
//!
//! # What waits for the disk
//!
//! Accepts, and whatever a person decides, are durable when they return: `DURABLE` sees to that on
//! every connection. Claiming, finishing and giving back (`begin_relaying`) commit
//! without waiting for the disk (`synchronous_commit = off`, for that transaction only). A crash of
//! the server may undo the last of them (by default up to 0.6 seconds,
//! <https://www.postgresql.org/docs/current/wal-async-commit.html>), always the newest first and each
//! as a whole: then an attempt is made twice, which "at least once" allows. And at most half of the
//! connections relay, so that accepts never wait behind many sinks' claims; at most a quarter show people things.
//!
//! # The files
//!
//! `events` records and lists events, `claims` leases and finishes dispatches (and explains why
//! no wake-up gets lost), `dispatches` is what a person does with them, `sinks` their standing,
//! `purge` retention, `erase` the removal of one invoice's payloads, `announce` the notifications between replicas.
//! The link to Finkare: `secrets` (and webhooks), `intents`, the `audit` trail, and `link`, which hands each method
//! to one of them. `ledger` keeps what is known of payments.
//!
//! A pooler between us and the server must pool sessions, not transactions: we prepare statements,
//! set parameters at the start of a connection, and listen.

use std::{str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{
    Connection, PgConnection, PgPool, Postgres, Row,
    migrate::Migrator,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Candidate, Claim, Claimed, DispatchFilter, Erased, EventDetail, EventFilter, EventsPage, Finish, Page, Replay,
    SinkStatus, Store, StoreError, counts::Everything, wake::Wakeups,
};
use crate::model::{
    audit::NewAudit,
    clock,
    dispatch::{Attempt, Dispatch, FinishedAttempt},
    event::{NewEvent, Recorded},
    id::{DispatchId, EventId, LeaseToken, SinkName},
    secret::Secret,
};

mod activity;
mod announce;
mod audit;
mod claims;
mod dispatches;
mod erase;
mod events;
mod intents;
mod ledger;
mod link;
mod purge;
mod secrets;
mod sinks;

static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// The name under which our connections appear in `pg_stat_activity`.
pub const APPLICATION_NAME: &str = "finkare-relay";

/// A call that takes longer is given up and its connection closed. Longer than the server's own
/// bounds, so that a server that still speaks gets to say what was wrong.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a call waits for a free connection, and how long making one may take.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long [`Store::close`] waits for what is under way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a transaction that lost against another (deadlock, serialisation) is tried in all.
const TRIES: u32 = 4;

/// Set on every connection of the pool.
const SETTINGS: [(&str, &str); 9] = [
    // Our slowest statement is a search through payloads; the others take milliseconds.
    ("statement_timeout", "10s"),
    // Locks are held for the length of a commit. One that takes longer means that somebody has the
    // table (a migration, a hand-written transaction): better to say so than to queue up.
    ("lock_timeout", "4s"),
    // We never leave a transaction open; one that stays is a replica that froze, with its locks.
    ("idle_in_transaction_session_timeout", "5s"),
    // Every statement here is written for one plan: walk an index, look rows up one by one. The
    // planner may prefer another one while a table is (or was, at the last ANALYZE) small or empty,
    // and keeps it prepared while a million rows arrive. With sequential scans the tests of the plans
    // see exactly that; the other three are the same temptation, not yet seen to be followed.
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    // Compiling takes longer than any of our statements.
    ("jit", "off"),
];

/// A server on which commits are answered before they are durable would break our first promise: what
/// was acknowledged could be lost. Every stronger choice of the operator's (`remote_apply`) stays.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'";

/// Keeps two replicas that start together from counting the same migrations; any number would do.
const MIGRATION_LOCK: i64 = 0x0066_696e_6b61_7265;

/// Whoever changes something about the link to Finkare holds this lock until its commit. It is rare, and
/// much easier to think about when it happens one after the other; any number would do.
const LINK_LOCK: i64 = 0x6c69_6e6b;

/// Whoever decides over a payment's place in the ledger holds this lock until its commit; any number would do.
const LEDGER_LOCK: i64 = 0x6c65_6467_6572;

/// The time of a statement: the parameter if there is one, else the database's clock, in
/// microseconds. A sub-select, so that one statement sees one time.
macro_rules! now {
    ($parameter:literal) => {
        concat!(
            "(SELECT COALESCE(",
            $parameter,
            "::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))"
        )
    };
}
use now;

/// Begins a transaction; like the server's default, but said, whatever the operator set.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// The same for a transaction that relays: its commit need not reach the disk before it returns. The
/// setting ends with the transaction, however that ends.
const BEGIN_RELAYING: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = off";

/// The store on Postgres; see the [module](self).
#[derive(Debug)]
pub struct PostgresStore {
    connections: Connections,
    counted: Arc<Everything>,
    /// For what must not be cut off: migrations.
    patient: PgConnectOptions,
    wakeups: Arc<Wakeups>,
    listener: announce::Listener,
    announcer: announce::Announcer,
}

/// The pool, and the bounds within which everything runs on it.
#[derive(Debug, Clone)]
struct Connections {
    pool: PgPool,
    /// A permit for each connection that may relay at a time.
    relaying: Arc<Semaphore>,
    /// A permit for each connection on which people may look at things at a time.
    looking: Arc<Semaphore>,
}

impl PostgresStore {
    /// Connects, and starts to listen for the other replicas' work. Does not migrate.
    ///
    /// Opens at most `max_connections` connections (but at least two): one listens, the others work.
    ///
    /// # Errors
    /// [`StoreError::Open`] when the URL cannot be read, [`StoreError::Unavailable`] when no
    /// connection comes about within [`ACQUIRE_TIMEOUT`], [`StoreError::Refused`] when the server
    /// does not let us in.
    pub async fn connect(url: &Secret, max_connections: u32) -> Result<Self, StoreError> {
        // The driver's own words may repeat parts of the URL, and with them the password.
        let patient = PgConnectOptions::from_str(url.expose()).map_err(|_| {
            StoreError::Open(
                "the database URL cannot be read: write `postgres://user:password@host:5432/database`, \
                 with special characters of the password percent-encoded"
                    .to_owned(),
            )
        })?;
        let patient = patient.application_name(APPLICATION_NAME);
        let options = patient.clone().options(SETTINGS);
        let place = format!("{}:{}", patient.get_host(), patient.get_port());
        let working = max_connections.saturating_sub(1).max(1);
        let pool = PgPoolOptions::new()
            .max_connections(working)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // A round trip for every call, to find what the call finds out by itself.
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(async { sqlx::query(DURABLE).execute(connection).await.map(drop) }))
            .connect_with(options)
            .await
            .map_err(|error| StoreError::from_sqlx(format!("connecting to Postgres at {place}"), error))?;
        let wakeups = Arc::new(Wakeups::default());
        let listener = announce::Listener::start(patient.clone(), wakeups.clone());
        let relaying = usize::try_from(working / 2).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        let looking = usize::try_from(working / 4).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        let connections = Connections {
            pool,
            relaying: Arc::new(Semaphore::new(relaying)),
            looking: Arc::new(Semaphore::new(looking)),
        };
        let announcer = announce::Announcer::start(connections.clone());
        Ok(Self { connections, counted: Arc::default(), patient, wakeups, listener, announcer })
    }

    async fn checkout(&self) -> Result<Checkout, sqlx::Error> {
        self.connections.checkout().await
    }

    /// See [`Connections::look`].
    async fn look(&self) -> Result<Checkout, sqlx::Error> {
        self.connections.look().await
    }

    /// Begins a durable transaction.
    async fn begin(&self) -> Result<Checkout, sqlx::Error> {
        self.connections.begin(BEGIN).await
    }

    /// Begins a durable transaction that changes the link to Finkare, alone among all replicas; and its time,
    /// taken under the lock, so that a later change has a later one.
    async fn begin_link(&self) -> Result<(Checkout, i64), sqlx::Error> {
        let mut checkout = self.begin().await?;
        // A statement of its own: the next ones see all that was committed under the lock.
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LINK_LOCK).execute(checkout.on()).await?;
        let now = clock(checkout.on()).await?;
        Ok((checkout, now))
    }

    /// Begins a durable transaction that decides over the ledger, alone among all replicas; and its time. The numbers of
    /// bookings follow the order of the commits, so that a list that was read to its end misses none.
    async fn begin_ledger(&self) -> Result<(Checkout, i64), sqlx::Error> {
        let mut checkout = self.begin().await?;
        // A statement of its own: the next ones see all that was committed under the lock.
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LEDGER_LOCK).execute(checkout.on()).await?;
        let now = clock(checkout.on()).await?;
        Ok((checkout, now))
    }

    /// Begins a durable transaction that decides over the ledger and writes into the audit trail; and its time. Both
    /// locks, always in this order: bookings do not wait behind what the link is at.
    async fn begin_ledger_with_audit(&self) -> Result<(Checkout, i64), sqlx::Error> {
        let (mut checkout, _) = self.begin_link().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LEDGER_LOCK).execute(checkout.on()).await?;
        let now = clock(checkout.on()).await?;
        Ok((checkout, now))
    }

    /// Begins a transaction whose commit does not wait for the disk; see the [module](self).
    async fn begin_relaying(&self) -> Result<Checkout, sqlx::Error> {
        let permit = self.connections.relaying.clone().acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let mut checkout = self.connections.begin(BEGIN_RELAYING).await?;
        checkout.permit = Some(permit);
        Ok(checkout)
    }

    /// See [`Connections::run`].
    async fn run<T, F>(&self, action: impl Into<String>, again: Again, work: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.connections.run(action, again, work).await
    }
}

impl Connections {
    /// Takes a connection for one piece of work.
    async fn checkout(&self) -> Result<Checkout, sqlx::Error> {
        Ok(Checkout { connection: self.pool.acquire().await?, finished: false, permit: None })
    }

    /// Takes a connection for what a person wants to see: lists, pages, counts. At most a quarter of the connections at a
    /// time, so that however many look, accepts find one.
    async fn look(&self) -> Result<Checkout, sqlx::Error> {
        let permit = self.looking.clone().acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let mut checkout = self.checkout().await?;
        checkout.permit = Some(permit);
        Ok(checkout)
    }

    /// Takes a connection and begins a transaction on it. A dead connection is noticed here, before
    /// anything was done, and replaced.
    async fn begin(&self, begin: &'static str) -> Result<Checkout, sqlx::Error> {
        match self.begin_once(begin).await {
            Err(error) if is_dead(&error) => {
                self.drop_idle();
                self.begin_once(begin).await
            }
            result => result,
        }
    }

    async fn begin_once(&self, begin: &'static str) -> Result<Checkout, sqlx::Error> {
        let mut checkout = self.checkout().await?;
        sqlx::raw_sql(begin).execute(checkout.on()).await?;
        Ok(checkout)
    }

    /// Throws the idle connections away: one was dead, so the server was gone, and with it all.
    fn drop_idle(&self) {
        while let Some(connection) = self.pool.try_acquire() {
            drop(connection.detach());
        }
    }

    /// Runs one method's work within its bounds and says what failed.
    ///
    /// What lost against another transaction is repeated: it was rolled back as a whole. What met a
    /// dead connection is repeated only with `again`.
    async fn run<T, F>(&self, action: impl Into<String>, again: Again, work: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let tries = async {
            let mut tried = 1;
            loop {
                match work().await {
                    Err(Failure::Driver(error)) if is_conflict(&error) && tried < TRIES => {}
                    Err(Failure::Driver(error)) if again == Again::Harmless && is_dead(&error) && tried == 1 => {
                        self.drop_idle();
                    }
                    result => return result,
                }
                tried += 1;
            }
        };
        let timed_out = || Failure::Driver(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
        let result = tokio::time::timeout(CALL_TIMEOUT, tries).await.unwrap_or_else(|_| Err(timed_out()));
        result.map_err(|failure| match failure {
            Failure::Driver(error) => StoreError::from_sqlx(action, error),
            Failure::Told(error) => error,
        })
    }
}

/// Whether work that met a dead connection half-way may simply be done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Reads, and writes that come out the same.
    Harmless,
    /// The commit may have happened: the caller has to find out.
    Unsafe,
}

/// Why a piece of work failed.
#[derive(Debug)]
enum Failure {
    /// The driver's word, still to be put into a sentence.
    Driver(sqlx::Error),
    /// Complete already.
    Told(StoreError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Told(error)
    }
}

/// A connection at work; closed unless its work came to the end.
#[derive(Debug)]
struct Checkout {
    connection: PoolConnection<Postgres>,
    finished: bool,
    /// Held by what relays, or looks, for as long as it has the connection.
    permit: Option<OwnedSemaphorePermit>,
}

impl Checkout {
    /// The connection, for one statement.
    fn on(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Ends an autocommit statement's or a read's use of the connection.
    fn finish(mut self) {
        self.finished = true;
    }

    /// Commits, and gives the connection back.
    async fn commit(mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("COMMIT").execute(self.on()).await?;
        self.finish();
        Ok(())
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if !self.finished {
            self.connection.close_on_drop();
        }
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).map(std::borrow::Cow::into_owned)
}

/// True when the connection is of no use any more: the server was restarted or went away.
fn is_dead(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        // Shut down by an administrator, by a crash, or starting up; and the connection class.
        sqlx::Error::Database(_) => code(error)
            .is_some_and(|code| matches!(code.as_str(), "57P01" | "57P02" | "57P03") || code.starts_with("08")),
        _ => false,
    }
}

/// True when another transaction won: serialisation failure, deadlock.
fn is_conflict(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| matches!(code.as_str(), "40001" | "40P01"))
}

/// The database's clock.
async fn clock(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(concat!("SELECT ", now!("NULL"))).fetch_one(connection).await
}

/// A stored time so much later; still a time, see [`clock::duration_micros`].
fn later(micros: i64, by: Duration) -> i64 {
    micros.saturating_add(clock::duration_micros(by))
}

/// A stored time, or which row holds none.
fn time(table: &'static str, column: &'static str, row: &impl ToString, micros: i64) -> Result<Timestamp, StoreError> {
    clock::from_micros(micros).ok_or_else(|| StoreError::Unreadable {
        table,
        column,
        row: row.to_string(),
        problem: format!("{micros} is not a time in microseconds since 1970"),
    })
}

/// A stored count.
fn count(table: &'static str, column: &'static str, row: &impl ToString, value: i64) -> Result<u64, StoreError> {
    value.try_into().map_err(|_| StoreError::Unreadable {
        table,
        column,
        row: row.to_string(),
        problem: format!("{value} is negative"),
    })
}

/// Text as Postgres can keep it: any but the character NUL. Only for words that we were told (a
/// target's answer, an operator's reason); what is compared never holds one.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[async_trait]
impl Store for PostgresStore {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn wakeups(&self) -> &Wakeups {
        &self.wakeups
    }

    async fn migrate(&self) -> Result<usize, StoreError> {
        // Not from the pool: a migration may take longer than any statement of ours should.
        let connecting = async {
            let mut connection = PgConnection::connect_with(&self.patient).await?;
            sqlx::query("SELECT pg_advisory_lock($1)").bind(MIGRATION_LOCK).execute(&mut connection).await?;
            let before = applied(&mut connection).await?;
            Ok((connection, before))
        };
        let failed = |error| StoreError::from_sqlx("bringing the schema up to date", error);
        let (mut connection, before) = connecting.await.map_err(failed)?;
        // `run` on a borrowed connection does not compile within a `Send` future; this is what it calls.
        MIGRATOR
            .run_direct(None, &mut connection, false)
            .await
            .map_err(|error| StoreError::Migration(Box::new(error)))?;
        let after = applied(&mut connection).await.map_err(failed)?;
        // The lock ends with the connection.
        connection.close().await.map_err(failed)?;
        Ok(after.len().saturating_sub(before.len()))
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let applied = self
            .run("checking that the database can be written to", Again::Harmless, async || {
                let mut checkout = self.checkout().await?;
                // Changes nothing, but a standby and a read-only database refuse it all the same.
                sqlx::query("UPDATE sinks SET name = name WHERE false").execute(checkout.on()).await?;
                let applied = applied(checkout.on()).await?;
                checkout.finish();
                Ok(applied)
            })
            .await
            .map_err(|error| match &error {
                StoreError::Refused { source, .. } => match code(source).as_deref() {
                    Some("42P01") => {
                        StoreError::Open("the database has no schema yet: run `finkare-relay migrate`".to_owned())
                    }
                    Some("25006") => StoreError::Open(
                        "the database is read-only: point the URL at the primary server, not at a standby".to_owned(),
                    ),
                    _ => error,
                },
                _ => error,
            })?;
        let ours: Vec<_> = MIGRATOR.iter().map(|migration| (migration.version, migration.checksum.to_vec())).collect();
        if applied == ours {
            return Ok(());
        }
        let newest = |list: &[(i64, Vec<u8>)]| list.last().map_or(0, |(version, _)| *version);
        let (theirs, ours) = (newest(&applied), newest(&ours));
        Err(StoreError::Open(if theirs < ours {
            format!("the schema is at version {theirs}, this program needs {ours}: run `finkare-relay migrate`")
        } else {
            format!(
                "the schema is at version {theirs}, this program knows {ours} or another history: run the newer program"
            )
        }))
    }

    async fn record_deliveries(&self, batch: &[NewEvent]) -> Result<Vec<Recorded>, StoreError> {
        events::record(self, batch).await
    }

    async fn claim_due(&self, claim: Claim<'_>) -> Result<Claimed, StoreError> {
        claims::claim(self, claim).await
    }

    async fn finish_attempts(
        &self,
        batch: &[FinishedAttempt],
        now: Option<Timestamp>,
    ) -> Result<Vec<Finish>, StoreError> {
        claims::finish(self, batch, now).await
    }

    async fn give_back(&self, leases: &[(DispatchId, LeaseToken)]) -> Result<u64, StoreError> {
        claims::give_back(self, leases).await
    }

    async fn expire_leases(&self) -> Result<u64, StoreError> {
        claims::expire(self).await
    }

    async fn list_events(&self, filter: &EventFilter, limit: u32) -> Result<EventsPage, StoreError> {
        events::list(self, filter, limit).await
    }

    async fn events_after(
        &self,
        filter: &EventFilter,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Page<Candidate>, StoreError> {
        events::after(self, filter, after, limit).await
    }

    async fn count_events(&self, filter: &EventFilter, most: u32) -> Result<u64, StoreError> {
        events::count_selected(self, filter, most).await
    }

    async fn event(&self, id: EventId) -> Result<Option<EventDetail>, StoreError> {
        events::detail(self, id).await
    }

    async fn list_dispatches(&self, filter: &DispatchFilter, limit: u32) -> Result<Page<Dispatch>, StoreError> {
        dispatches::list(self, filter, limit).await
    }

    async fn dispatch_ids(&self, filter: &DispatchFilter, most: u32) -> Result<Vec<DispatchId>, StoreError> {
        dispatches::ids(self, filter, most).await
    }

    async fn dispatch(&self, id: DispatchId) -> Result<Option<(Dispatch, Vec<Attempt>)>, StoreError> {
        dispatches::detail(self, id).await
    }

    async fn register_sinks(&self, sinks: &[SinkName]) -> Result<(), StoreError> {
        sinks::register(self, sinks).await
    }

    async fn sink_statuses(&self) -> Result<Vec<SinkStatus>, StoreError> {
        sinks::statuses(self).await
    }

    async fn pause_sink(&self, sink: &SinkName, reason: &str) -> Result<bool, StoreError> {
        sinks::pause(self, sink, reason).await
    }

    async fn resume_sink(&self, sink: &SinkName) -> Result<bool, StoreError> {
        sinks::resume(self, sink).await
    }

    async fn retry_dispatches(&self, ids: &[DispatchId]) -> Result<u64, StoreError> {
        dispatches::retry(self, ids).await
    }

    async fn cancel_dispatches(&self, ids: &[DispatchId]) -> Result<u64, StoreError> {
        dispatches::cancel(self, ids).await
    }

    async fn replay_event(&self, id: EventId, sinks: &[SinkName]) -> Result<Option<Vec<DispatchId>>, StoreError> {
        let wanted = [Replay { event: id, sinks: sinks.to_vec() }];
        Ok(dispatches::replay(self, &wanted).await?.pop().flatten())
    }

    async fn replay_events(&self, wanted: &[Replay]) -> Result<Vec<Option<Vec<DispatchId>>>, StoreError> {
        dispatches::replay(self, wanted).await
    }

    async fn erase_invoice(&self, invoice_id: &str, audit: NewAudit) -> Result<Erased, StoreError> {
        erase::erase(self, invoice_id, audit).await
    }

    async fn close(&self) {
        let closing = async {
            self.listener.stop().await;
            self.announcer.stop().await;
            self.connections.pool.close().await;
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_err() {
            tracing::warn!("closing the database's connections took too long; they end with the process");
        }
    }
}

/// The migrations that the database has, with their checksums, in order.
async fn applied(connection: &mut PgConnection) -> Result<Vec<(i64, Vec<u8>)>, sqlx::Error> {
    let exists: bool =
        sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(&mut *connection).await?;
    if !exists {
        return Ok(Vec::new());
    }
    let rows = sqlx::query("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version")
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
