//! The store on Postgres, for any number of replicas on one database.
//!
//! # One call, one connection
//!
//! Every method takes a connection from the pool (`PostgresStore::checkout`) and gives it back only after its work
//! has ended normally. In all other cases (an error, a time-out, a caller that drops the future) the connection is
//! closed, because its state is unknown: sqlx rolls a dropped transaction back, but a `BEGIN` that was cut off on its
//! way stays open, and the next autocommit statement on that connection would be acknowledged and never committed.
//!
//! Time limits keep a failing database from blocking us. The server ends a statement that takes too long, a wait for
//! a lock, and a transaction that we left open (`SETTINGS`). We end a call after [`CALL_TIMEOUT`], and a relaying
//! call after [`RELAYING_TIMEOUT`], in case the server does not answer at all. We wait at most [`ACQUIRE_TIMEOUT`]
//! for a connection.
//!
//! After a restart of the server the pool is full of dead connections. After its host is gone, or its name points to
//! another server, the pool is full of connections on which no answer and no error ever arrives. The first call that
//! meets such a connection discards all that have not answered since (`pool`), and tries once more on a new
//! connection if repeating does no harm: for reads, for everything that had not begun its transaction yet, and for
//! [`super::EventStore::record_deliveries`], which finds its own event again by the dedupe key. A time-out counts as
//! a dead connection. The time that an accept waits on such a connection is limited, so that a second try still comes
//! in time (`docs/decisions/0031-a-silence-is-a-dead-connection.md`).
//!
//! # What waits for the disk
//!
//! Accepts, and everything that a person decides, are durable when they return: `DURABLE` ensures that on every
//! connection. Claiming, finishing and giving back (`begin_relaying`) commit without waiting for the disk
//! (`synchronous_commit = off`, for that transaction only). A crash of the server may undo the latest of them (by
//! default up to 0.6 seconds, <https://www.postgresql.org/docs/current/wal-async-commit.html>), always the newest
//! first and each as a whole: then an attempt is repeated, which "at least once" allows. At most half of the
//! connections relay, so that accepts never wait behind the claims of many sinks; at most a quarter serve what people
//! look at.
//!
//! # The files
//!
//! `events` records and lists events. `claims` leases and finishes dispatches, and explains why no wake-up gets lost.
//! `dispatches` holds a person's actions on dispatches, `sinks` the status of sinks, `purge` retention, and `erase`
//! the removal of one invoice's payloads. `tx` runs the methods whose SQL is the same on both databases: the link,
//! the ledger, activity and breakers, which are in the parent folder. `announce` holds the notifications between
//! replicas, `pool` the connections, `migrating` the schema.
//!
//! A pooler between us and the server must pool sessions, not transactions: we prepare statements,
//! set parameters at the start of a connection, and listen.

use std::{borrow::Cow, fmt::Write as _, str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{PgConnection, migrate::Migrator, postgres::PgConnectOptions};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use self::{
    migrating::MIGRATOR,
    pool::{Checkout, Pool},
};
use super::{
    BaseStore, StoreError,
    error::Failure,
    schema::{self, Notice, Standing},
    tx::Again,
    wake::Wakeups,
};
use crate::model::secret::Secret;

mod announce;
mod claims;
mod dispatches;
mod erase;
mod events;
mod migrating;
mod pool;
mod purge;
mod tx;

/// The name under which our connections appear in `pg_stat_activity`. The number grows with a schema on which the
/// version before cannot work: a migration that makes such a schema waits until no session has another number, or none.
pub const APPLICATION_NAME: &str = "finkare-relay/2";

/// A call that takes longer is aborted and its connection closed. This is longer than the server's own limits, so
/// that a server that still answers can say what was wrong.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// The same for a relaying transaction. These are short, and many sinks share few connections. Longer than the
/// server's limit for a lock.
pub const RELAYING_TIMEOUT: Duration = Duration::from_secs(6);

/// How long a short statement may go without an answer before its connection counts as dead. It is less where an
/// accept has to be answered sooner.
const SOON: Duration = Duration::from_millis(1500);

/// How long a call waits for a free connection, and how long connecting may take.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long [`BaseStore::close`] waits for the work under way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a transaction that lost against another one (deadlock, serialisation) is tried in all.
const TRIES: u32 = 4;

/// Set on every connection of the pool, by statements: see [`pool`].
const SETTINGS: [(&str, &str); 9] = [
    // Our slowest statement is a search through payloads; the others take milliseconds.
    ("statement_timeout", "10s"),
    // Locks are held for the length of a commit. A longer wait means that another session holds the table (a
    // migration, a manual transaction): an error is then better than a queue.
    ("lock_timeout", "4s"),
    // We never leave a transaction open. An open one belongs to a replica that froze, and holds its locks.
    ("idle_in_transaction_session_timeout", "5s"),
    // Every statement here is written for one plan: walk an index, look rows up one by one. The planner may prefer
    // another plan while a table is small or empty (or was, at the last ANALYZE), and keep it prepared while a
    // million rows arrive. The tests of the plans show exactly that with sequential scans; the other three settings
    // prevent similar choices, which were not seen yet.
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
    // Compiling takes longer than any of our statements.
    ("jit", "off"),
];

/// A server that confirms commits before they are durable would break our first promise: acknowledged deliveries
/// could be lost. Stronger settings of the operator (`remote_apply`) stay.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'";

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

/// Begins a transaction. The level is the server's default; it is stated in case the operator changed that.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// The same for a relaying transaction: its commit need not reach the disk before it returns. The setting ends with
/// the transaction.
const BEGIN_RELAYING: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = off";

/// The store on Postgres; see the [module](self).
#[derive(Debug)]
pub struct PostgresStore {
    connections: Connections,
    /// For work that must not be cut off: migrations.
    patient: PgConnectOptions,
    wakeups: Arc<Wakeups>,
    listener: announce::Listener,
    announcer: announce::Announcer,
    notice: Notice,
}

/// The pool, and the limits for all work on it.
#[derive(Debug, Clone)]
struct Connections {
    pool: Arc<Pool>,
    /// See [`SOON`].
    soon: Duration,
    /// One permit for each connection that may relay at the same time.
    relaying: Arc<Semaphore>,
    /// One permit for each connection that may serve what people look at.
    looking: Arc<Semaphore>,
}

impl PostgresStore {
    /// Connects, and starts to listen for the other replicas' work. Does not migrate.
    ///
    /// Opens at most `max_connections` connections (but at least two): one listens, the others work.
    ///
    /// # Errors
    /// [`StoreError::Open`] when the URL cannot be read or the database cannot hold every text,
    /// [`StoreError::NoConnection`] when no connection is made within [`ACQUIRE_TIMEOUT`], or the server rejects us.
    pub async fn connect(url: &Secret, max_connections: u32) -> Result<Self, StoreError> {
        Self::connect_for(url, max_connections, 2 * SOON).await
    }

    /// The same, for a service that answers a delivery within this time. The wait of an accept on a connection that
    /// does not answer is limited, so that there is time for a second try on another one.
    ///
    /// # Errors
    /// See [`PostgresStore::connect`].
    pub async fn connect_for(url: &Secret, max_connections: u32, answer: Duration) -> Result<Self, StoreError> {
        let patient = options(url)?;
        let working = max_connections.saturating_sub(1).max(1);
        let relaying = usize::try_from(working / 2).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        let looking = usize::try_from(working / 4).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        let connections = Connections {
            pool: Pool::new(patient.clone(), setup(), working),
            soon: SOON.min(answer / 2),
            relaying: Arc::new(Semaphore::new(relaying)),
            looking: Arc::new(Semaphore::new(looking)),
        };
        check_encoding(&connections).await?;
        let wakeups = Arc::new(Wakeups::default());
        let listener = announce::Listener::start(patient.clone(), connections.pool.silences(), wakeups.clone());
        let announcer = announce::Announcer::start(connections.clone());
        Ok(Self { connections, patient, wakeups, listener, announcer, notice: Notice::default() })
    }

    /// Brings the schema up to date with other migrations than this program's: for tests, which need those of a newer
    /// program.
    ///
    /// # Errors
    /// See [`BaseStore::migrate`].
    pub async fn migrate_with(&self, migrations: &Migrator) -> Result<usize, StoreError> {
        migrating::migrate(&self.patient, migrations, &self.notice).await
    }

    async fn checkout(&self) -> Result<Checkout, Failure> {
        self.connections.checkout().await
    }

    /// See [`Connections::look`].
    async fn look(&self) -> Result<Looking, Failure> {
        self.connections.look().await
    }

    /// Begins a durable transaction.
    async fn begin(&self) -> Result<Checkout, Failure> {
        self.connections.begin(BEGIN).await
    }

    /// Begins a transaction whose commit does not wait for the disk; see the [module](self). Within
    /// [`PostgresStore::run_relaying`].
    async fn begin_relaying(&self) -> Result<Checkout, Failure> {
        self.connections.begin(BEGIN_RELAYING).await
    }

    /// See [`Connections::run`].
    async fn run<T, F>(&self, action: impl Into<String>, again: Again, work: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.connections.run(action, again, work).await
    }

    /// Runs one relaying transaction, see [`Connections::run`]: at most half of the connections do so at a time.
    async fn run_relaying<T, F>(
        &self,
        action: impl Into<String>,
        again: Again,
        work: impl Fn() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let action = action.into();
        let permit = match tokio::time::timeout(CALL_TIMEOUT, self.connections.relaying.acquire()).await {
            Ok(permit) => permit.map_err(|_| sqlx::Error::PoolClosed),
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        };
        let _permit = permit.map_err(|error| StoreError::from_sqlx(action.as_str(), error))?;
        self.connections.run_within(RELAYING_TIMEOUT, action, again, work).await
    }

    /// See [`Connections::soon`].
    async fn soon<T>(&self, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Failure> {
        self.connections.soon(answer).await
    }
}

/// The options of a connection without time limits.
fn options(url: &Secret) -> Result<PgConnectOptions, StoreError> {
    // The driver's own message may repeat parts of the URL, and with them the password.
    let options = PgConnectOptions::from_str(url.expose()).map_err(|_| {
        StoreError::Open(
            "the database URL cannot be read: write `postgres://user:password@host:5432/database`, \
             with special characters of the password percent-encoded"
                .to_owned(),
        )
    })?;
    // The driver keeps the brackets of an IPv6 address, and looks for a host of that name.
    let address = options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')).map(str::to_owned);
    let options = match address {
        Some(address) => options.host(&address),
        None => options,
    };
    // We never read a number with a fraction as text, and a pooler may refuse a parameter that it does not know.
    Ok(options.application_name(APPLICATION_NAME).extra_float_digits(None))
}

/// The statements that set up every connection of the pool.
fn setup() -> String {
    let mut text = String::new();
    for (name, value) in SETTINGS {
        let _ = write!(text, "SET {name} = '{value}'; ");
    }
    text.push_str(DURABLE);
    text
}

/// Refuses a database that cannot hold every text: it would refuse to store a target's answer, and the event would be
/// sent again.
async fn check_encoding(connections: &Connections) -> Result<(), StoreError> {
    let encoding: String = connections
        .run("open the store", Again::Harmless, async || {
            let mut checkout = connections.checkout().await?;
            let encoding = sqlx::query_scalar("SHOW server_encoding").fetch_one(checkout.on()).await?;
            checkout.finish();
            Ok(encoding)
        })
        .await?;
    // SQL_ASCII stores and returns every byte unchanged.
    if matches!(encoding.as_str(), "UTF8" | "SQL_ASCII") {
        return Ok(());
    }
    let database = connections.pool.place().database();
    Err(StoreError::Open(format!(
        "the database `{database}` has the encoding {encoding}, which cannot hold every text: make one with UTF8 \
         (`createdb --template=template0 --encoding=UTF8 NAME`) and name it in the database URL"
    )))
}

/// A connection on which a person looks at something, with its permit.
#[derive(Debug)]
struct Looking {
    checkout: Checkout,
    permit: OwnedSemaphorePermit,
}

impl Looking {
    /// See [`Checkout::on`].
    fn on(&mut self) -> &mut PgConnection {
        self.checkout.on()
    }

    /// See [`Checkout::finish`].
    fn finish(self) {
        self.checkout.finish();
    }
}

impl Connections {
    /// Takes a connection for one piece of work.
    async fn checkout(&self) -> Result<Checkout, Failure> {
        self.pool.checkout(self.soon).await
    }

    /// Takes a connection for what a person wants to see: lists, pages, counts. These use at most a quarter of the
    /// connections at a time, so that accepts always find one.
    async fn look(&self) -> Result<Looking, Failure> {
        let permit = self.looking.clone().acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
        Ok(Looking { checkout: self.checkout().await?, permit })
    }

    /// Takes a connection and begins a transaction on it. A dead connection is noticed here, before anything was
    /// done, and replaced.
    async fn begin(&self, begin: &'static str) -> Result<Checkout, Failure> {
        match self.begin_once(begin).await {
            Err(failure) if self.parted_from(&failure) => self.begin_once(begin).await,
            result => result,
        }
    }

    async fn begin_once(&self, begin: &'static str) -> Result<Checkout, Failure> {
        let mut checkout = self.checkout().await?;
        self.soon(sqlx::raw_sql(begin).execute(checkout.on())).await?;
        Ok(checkout)
    }

    /// Waits for the answer to a short statement. If none comes, the connection counts as dead.
    async fn soon<T>(&self, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Failure> {
        tokio::time::timeout(self.soon, answer).await.map_or(Err(Failure::Silent), |answer| Ok(answer?))
    }

    /// True if the connection was dead. The idle connections were discarded with it, so another try gets a new one,
    /// or one that has answered since.
    fn parted_from(&self, failure: &Failure) -> bool {
        match failure {
            Failure::Driver(error) if is_dead(error) => self.pool.drop_idle(),
            Failure::Silent => self.pool.distrust(Instant::now()),
            _ => return false,
        }
        true
    }

    /// Runs one method's work within its time limits and returns an error that names the action.
    ///
    /// A transaction that lost against another one is repeated: it was rolled back as a whole. Work that met a dead
    /// connection is repeated only with `again`, or when the server has said that it did nothing.
    async fn run<T, F>(&self, action: impl Into<String>, again: Again, work: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.run_within(CALL_TIMEOUT, action, again, work).await
    }

    async fn run_within<T, F>(
        &self,
        bound: Duration,
        action: impl Into<String>,
        again: Again,
        work: impl Fn() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let tries = async {
            let (mut tried, mut replaced) = (1, false);
            loop {
                match work().await {
                    Err(Failure::Driver(error)) if is_conflict(&error) && tried < TRIES => {}
                    Err(failure) => {
                        let dead = self.parted_from(&failure);
                        let harmless = again == Again::Harmless || is_read_only(&failure);
                        if !dead || !harmless || replaced {
                            return Err(failure);
                        }
                        replaced = true;
                    }
                    result => return result,
                }
                tried += 1;
            }
        };
        let result = tokio::time::timeout(bound, tries).await.unwrap_or_else(|_| {
            self.pool.distrust(Instant::now());
            Err(Failure::Silent)
        });
        result.map_err(|failure| failure.during(action))
    }
}

impl Failure {
    /// True if the place of the leased one in a lane was taken by another transaction.
    fn is_taken(&self) -> bool {
        matches!(self, Self::Driver(error) if error.as_database_error().and_then(|error| error.constraint()) == Some("queue_lane"))
    }
}

/// True if the server did nothing because this session may only read, as on a server that has become a standby.
fn is_read_only(failure: &Failure) -> bool {
    matches!(failure, Failure::Driver(error) if code(error).as_deref() == Some("25006"))
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).map(std::borrow::Cow::into_owned)
}

/// True when the connection is no longer usable: the server was restarted or went away, or no longer takes writes.
fn is_dead(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        // Class 08: the connection. 57P: shut down by an administrator or a crash, starting up, dropped, or idle for
        // too long. 25006: the session may only read; after a failover the server's name leads elsewhere, and
        // existing connections stay with a server that has become a standby. 25P03: ended while we were frozen in a
        // transaction. 26: the session has forgotten our prepared statements, as happens with a pooler that hands us
        // another session.
        sqlx::Error::Database(_) => code(error).is_some_and(|code| {
            matches!(code.as_str(), "25006" | "25P03")
                || ["08", "57P", "26"].iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

/// True when another transaction won: serialisation failure or deadlock.
fn is_conflict(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| matches!(code.as_str(), "40001" | "40P01"))
}

/// The database's clock.
async fn clock(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(concat!("SELECT ", now!("NULL"))).fetch_one(connection).await
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

/// Text as Postgres can store it: without the character NUL. Only for free text (a target's answer, an operator's
/// reason); texts that are compared never contain NUL.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

#[async_trait]
impl BaseStore for PostgresStore {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn wakeups(&self) -> &Wakeups {
        &self.wakeups
    }

    async fn migrate(&self) -> Result<usize, StoreError> {
        self.migrate_with(&MIGRATOR).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let applied = self
            .run("check that the database can be written to", Again::Harmless, async || {
                let mut checkout = self.checkout().await?;
                // Changes nothing, but a standby and a read-only database refuse it nevertheless.
                let trial = sqlx::query("UPDATE sinks SET name = name WHERE false");
                self.soon(trial.execute(checkout.on())).await?;
                let applied = migrating::applied(checkout.on()).await?;
                checkout.finish();
                Ok(applied)
            })
            .await
            .map_err(|error| match &error {
                StoreError::Refused { source, .. } | StoreError::Unavailable { source, .. } => {
                    match code(source).as_deref() {
                        Some("42P01") => {
                            StoreError::Open("the database has no schema yet: run `finkare-relay migrate`".to_owned())
                        }
                        Some("25006") => StoreError::Open(
                            "the database is read-only: point the URL at the primary server, not at a standby"
                                .to_owned(),
                        ),
                        _ => error,
                    }
                }
                _ => error,
            })?;
        match schema::compare(&MIGRATOR, &applied) {
            Standing::Ours => Ok(()),
            Standing::Newer(theirs) => {
                self.notice.newer(theirs, schema::known(&MIGRATOR));
                Ok(())
            }
            Standing::Behind(_) => Err(StoreError::Open(format!(
                "the schema is at version {}, this program needs {}: run `finkare-relay migrate`",
                schema::newest(&applied),
                schema::known(&MIGRATOR)
            ))),
            Standing::Foreign(version) => Err(migrating::foreign(version, &applied)),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_version_6_loses_its_brackets() {
        for (url, host) in [
            ("postgres://u@[::1]:5433/db", "::1"),
            ("postgres://u:p@[2001:db8::7]/db", "2001:db8::7"),
            ("postgres://u@db.example/db", "db.example"),
        ] {
            assert_eq!(options(&Secret::new(url)).unwrap().get_host(), host);
        }
    }

    #[test]
    fn the_startup_packet_says_nothing_that_a_pooler_does_not_know() {
        let options = options(&Secret::new("postgres://u@h/db")).unwrap();
        assert_eq!(options.get_options(), None);
        let setup = setup();
        assert!(setup.starts_with("SET statement_timeout = '10s'; SET lock_timeout = '4s'; "), "{setup}");
        assert!(setup.ends_with(DURABLE), "{setup}");
    }
}
