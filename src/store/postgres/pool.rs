//! The connections to the server: making them, lending each to one piece of work at a time, discarding and replacing
//! them.
//!
//! This is a pool of our own, because connections may die silently (the host is gone, a firewall has dropped them):
//! nothing arrives on them, not even an error, and the system itself gives up only after minutes.
//!
//! - A connection that was idle for a while must answer a probe before it is used, within [`PROBE`].
//! - When one connection does not answer in time, every idle connection is discarded, except those that have answered
//!   since ([`Pool::distrust`]). So a silence costs one wait, and not one for each connection.
//! - Giving a connection back sends nothing and waits for nothing, so a dead connection cannot block its place.
//!
//! Settings are made by statements on the new connection, not by its startup packet: a pooler in between refuses or
//! ignores parameters that it does not know there.
//!
//! When no connection can be made, the error is the server's or the system's own message, with the server's address,
//! never "the pool timed out": see [`NoConnection`].

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use super::{ACQUIRE_TIMEOUT, code};
use crate::store::error::{Failure, NoConnection};

/// A connection that was idle for less than this is used without a probe: it has just answered.
const FRESH: Duration = Duration::from_secs(1);

/// How long the answer to a probe may take, at most.
const PROBE: Duration = Duration::from_secs(1);

/// A call that is dropped after it has waited this long for an answer counts as a silence.
const SILENCE: Duration = Duration::from_millis(300);

/// A connection that was idle for longer is closed: firewalls drop unused connections.
const LONGEST_IDLE: Duration = Duration::from_mins(2);

/// No connection is used for longer, so that the memory that the server keeps for it is freed now and then.
const LIFETIME: Duration = Duration::from_mins(30);

/// How long closing a connection cleanly may take.
const GOOD_BYE: Duration = Duration::from_secs(5);

/// The waits between two tries to connect to a server that refuses connections or is just starting.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// The address and database, for messages. Never holds the password.
#[derive(Debug, Clone)]
pub(super) struct Place {
    server: String,
    database: String,
    user: String,
}

impl Place {
    pub(super) fn of(options: &PgConnectOptions) -> Self {
        let host = options.get_host();
        let server = match options.get_socket() {
            Some(path) => format!("the socket in {}", path.display()),
            None if host.starts_with('/') => format!("the socket in {host}"),
            None if host.contains(':') => format!("[{host}]:{}", options.get_port()),
            None => format!("{host}:{}", options.get_port()),
        };
        let user = options.get_username().to_owned();
        let database = options.get_database().map_or_else(|| user.clone(), str::to_owned);
        Self { server, database, user }
    }

    pub(super) fn database(&self) -> &str {
        &self.database
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// Explains to a person why no connection could be made.
    fn explain(&self, error: &sqlx::Error) -> String {
        let Self { server, database, user } = self;
        if let Some(code) = code(error) {
            return match code.as_str() {
                "3D000" => format!(
                    "Postgres at {server} has no database `{database}`: create it, or correct the name in the database URL"
                ),
                "28P01" => format!(
                    "Postgres at {server} does not accept the password of user `{user}`: correct it in the database URL"
                ),
                code if code.starts_with("28") => format!(
                    "Postgres at {server} does not let user `{user}` into database `{database}`: check the user in the \
                     database URL, and the server's pg_hba.conf"
                ),
                "42501" => format!(
                    "user `{user}` has no right to connect to database `{database}` of Postgres at {server}: \
                     GRANT CONNECT"
                ),
                code if code.starts_with("53") => format!(
                    "Postgres at {server} takes no further connection: raise its `max_connections`, or lower \
                     `store.max_connections`"
                ),
                code if code.starts_with("57P") => {
                    format!("Postgres at {server} is starting, stopping or recovering")
                }
                _ => format!("Postgres at {server} refused the connection to database `{database}`"),
            };
        }
        match error {
            sqlx::Error::Io(error) => match error.kind() {
                std::io::ErrorKind::ConnectionRefused => {
                    format!("connection refused: is Postgres running at {server}? (database `{database}`)")
                }
                std::io::ErrorKind::NotFound => {
                    format!("there is no Postgres at {server}: is it running there? (database `{database}`)")
                }
                std::io::ErrorKind::TimedOut => format!(
                    "Postgres at {server} did not answer within {} s: are host and port right, and does a firewall \
                     let us through? (database `{database}`)",
                    ACQUIRE_TIMEOUT.as_secs()
                ),
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => format!(
                    "what listens at {server} ended the connection: is it Postgres, and is the port right? \
                     (database `{database}`)"
                ),
                _ => format!("Postgres at {server} cannot be reached (database `{database}`)"),
            },
            sqlx::Error::Protocol(_) => {
                format!("what answers at {server} does not speak as Postgres does: is the port right?")
            }
            sqlx::Error::Tls(_) => format!("no TLS connection to Postgres at {server} can be established"),
            sqlx::Error::PoolTimedOut => format!(
                "all connections to Postgres at {server} were busy for {} s: raise `store.max_connections`",
                ACQUIRE_TIMEOUT.as_secs()
            ),
            _ => format!("no connection to Postgres at {server}, database `{database}`"),
        }
    }

    pub(super) fn no_connection(&self, source: sqlx::Error) -> NoConnection {
        let problem = self.explain(&source);
        NoConnection::new(problem, source)
    }
}

/// Makes a connection; waits for a server that is just starting, until `deadline`.
pub(super) async fn connect(
    options: &PgConnectOptions,
    place: &Place,
    deadline: Instant,
) -> Result<PgConnection, NoConnection> {
    let mut wait = FIRST_WAIT;
    let mut last = sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    loop {
        match tokio::time::timeout_at(deadline, PgConnection::connect_with(options)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => last = error,
            Err(_) => return Err(place.no_connection(last)),
        }
        if !may_be_starting(&last) || Instant::now() + wait >= deadline {
            return Err(place.no_connection(last));
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// True if another try may succeed soon: the server does not listen yet, is starting, or has no free connection.
fn may_be_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => {
            matches!(error.kind(), std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound)
        }
        error => code(error).is_some_and(|code| matches!(code.as_str(), "57P03" | "53300")),
    }
}

/// The connections, at most `size` of them at a time.
#[derive(Debug)]
pub(super) struct Pool {
    options: PgConnectOptions,
    place: Place,
    /// Statements that every new connection is set up with.
    setup: String,
    size: u32,
    permits: Arc<Semaphore>,
    /// The one used last is at the end.
    idle: Mutex<Vec<Idle>>,
    closed: AtomicBool,
    /// Changes with every silence.
    silences: watch::Sender<u64>,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    born: Instant,
    /// When it last answered.
    since: Instant,
}

impl Pool {
    pub(super) fn new(options: PgConnectOptions, setup: String, size: u32) -> Arc<Self> {
        Arc::new(Self {
            place: Place::of(&options),
            options,
            setup,
            size,
            permits: Arc::new(Semaphore::new(usize::try_from(size).unwrap_or(Semaphore::MAX_PERMITS))),
            idle: Mutex::default(),
            closed: AtomicBool::new(false),
            silences: watch::Sender::new(0),
        })
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Changes whenever something did not answer in time.
    pub(super) fn silences(&self) -> watch::Receiver<u64> {
        self.silences.subscribe()
    }

    /// Lends a connection that has answered a moment ago, or a new one. An idle one gets `patience` to answer the
    /// probe, and never more than [`PROBE`].
    pub(super) async fn checkout(self: &Arc<Self>, patience: Duration) -> Result<Checkout, Failure> {
        let deadline = Instant::now() + ACQUIRE_TIMEOUT;
        let permit = tokio::time::timeout_at(deadline, self.permits.clone().acquire_owned()).await;
        let mut permit = match permit {
            Ok(Ok(permit)) if !self.closed.load(Relaxed) => permit,
            Ok(_) => return Err(sqlx::Error::PoolClosed.into()),
            Err(_) => return Err(self.place.no_connection(sqlx::Error::PoolTimedOut).into()),
        };
        while let Some(Idle { connection, born, since }) = self.pop() {
            let mut checkout = Checkout::new(self, permit, connection, born);
            if since.elapsed() < FRESH {
                return Ok(checkout);
            }
            let asked = Instant::now();
            match tokio::time::timeout(PROBE.min(patience), checkout.on().ping()).await {
                Ok(Ok(())) => return Ok(checkout),
                Ok(Err(_)) => self.drop_idle(),
                Err(_) => self.distrust(asked),
            }
            let Some(back) = checkout.give_up() else { return Err(sqlx::Error::PoolClosed.into()) };
            permit = back;
        }
        let mut connection = connect(&self.options, &self.place, deadline).await?;
        let setup = sqlx::raw_sql(sqlx::AssertSqlSafe(self.setup.as_str()));
        match tokio::time::timeout_at(deadline, setup.execute(&mut connection)).await {
            Ok(Ok(_)) => Ok(Checkout::new(self, permit, connection, Instant::now())),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(self.place.no_connection(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())).into()),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The connection that was used last. Connections that were idle for too long are closed.
    fn pop(&self) -> Option<Idle> {
        let mut idle = self.idle();
        let fresh = idle.iter().position(|one| one.since.elapsed() < LONGEST_IDLE).unwrap_or(idle.len());
        let old: Vec<_> = idle.drain(..fresh).collect();
        let popped = idle.pop();
        drop(idle);
        for one in old {
            part_from(one.connection);
        }
        popped
    }

    fn put_back(&self, connection: PgConnection, born: Instant) {
        if self.closed.load(Relaxed) || born.elapsed() > LIFETIME {
            part_from(connection);
            return;
        }
        self.idle().push(Idle { connection, born, since: Instant::now() });
    }

    /// Discards the idle connections: one was dead, so the server was gone, and all connections with it.
    pub(super) fn drop_idle(&self) {
        let dropped = std::mem::take(&mut *self.idle());
        drop(dropped);
    }

    /// A statement got no answer: discards the connections that have not answered after this time either.
    pub(super) fn distrust(&self, asked: Instant) {
        // Dropped outside of the lock, and without a clean close that the server would not receive.
        let dropped: Vec<_> = {
            let mut idle = self.idle();
            let (kept, dropped) = std::mem::take(&mut *idle).into_iter().partition(|one| one.since > asked);
            *idle = kept;
            dropped
        };
        drop(dropped);
        self.silences.send_modify(|count| *count += 1);
    }

    /// Lends no more connections, waits for the lent ones, and closes the rest.
    pub(super) async fn close(&self) {
        self.closed.store(true, Relaxed);
        let _ = self.permits.acquire_many(self.size).await;
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle());
        futures_util::future::join_all(idle.into_iter().map(|one| good_bye(one.connection))).await;
    }
}

/// Closes a connection cleanly, so that the server does not have to notice it; for a limited time.
async fn good_bye(connection: PgConnection) {
    let _ = tokio::time::timeout(GOOD_BYE, connection.close()).await;
}

/// The same in the background.
fn part_from(connection: PgConnection) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(good_bye(connection));
    }
}

/// A connection in use. It is closed unless its work ended normally.
#[derive(Debug)]
pub(super) struct Checkout {
    pool: Arc<Pool>,
    /// `None` only while it is given back.
    connection: Option<PgConnection>,
    born: Instant,
    /// When its last statement began.
    asked: Instant,
    permit: Option<OwnedSemaphorePermit>,
}

impl Checkout {
    fn new(pool: &Arc<Pool>, permit: OwnedSemaphorePermit, connection: PgConnection, born: Instant) -> Self {
        Self { pool: pool.clone(), connection: Some(connection), born, asked: Instant::now(), permit: Some(permit) }
    }

    /// The connection, for one statement.
    pub(super) fn on(&mut self) -> &mut PgConnection {
        self.asked = Instant::now();
        self.connection.as_mut().expect("it goes only with the checkout")
    }

    /// Gives the connection back after an autocommit statement or a read.
    pub(super) fn finish(mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.put_back(connection, self.born);
        }
    }

    /// Commits, and gives the connection back.
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("COMMIT").execute(self.on()).await?;
        self.finish();
        Ok(())
    }

    /// Rolls back, and gives the connection back.
    pub(super) async fn roll_back(mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("ROLLBACK").execute(self.on()).await?;
        self.finish();
        Ok(())
    }

    /// Discards the connection, and returns its permit.
    fn give_up(mut self) -> Option<OwnedSemaphorePermit> {
        self.connection.take();
        self.permit.take()
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if self.asked.elapsed() < SILENCE {
            part_from(connection);
        } else {
            // The caller stopped waiting for the answer, which may never have come.
            drop(connection);
            self.pool.distrust(self.asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn a_place_is_named_without_the_password() {
        let of = |url: &str| Place::of(&PgConnectOptions::from_str(url).unwrap());
        let problem = of("postgres://relay:s3cret@db.example:5433/books")
            .no_connection(sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into()))
            .to_string();
        assert_eq!(problem, "connection refused: is Postgres running at db.example:5433? (database `books`)");
        let socket = of("postgres://relay@%2Frun%2Fpostgresql/books");
        assert!(socket.server.contains("/run/postgresql"), "{socket:?}");
        let own = Place::of(&PgConnectOptions::from_str("postgres://relay@x/").unwrap().host("::1"));
        assert_eq!((own.server.as_str(), own.database.as_str()), ("[::1]:5432", "relay"));
    }
}
