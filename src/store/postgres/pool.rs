//! The connections to the server: made, lent to one piece of work at a time, distrusted, replaced.
//!
//! A pool of our own, because what matters here is what happens to connections that die without a word (a host
//! that is gone, a firewall that forgot them): nothing comes back on them, not even an error, and the system
//! itself gives up only after minutes.
//!
//! - A connection that lay idle for a while is asked for a sign of life before it is used, within [`PROBE`].
//! - Whatever does not answer in time speaks for all: every idle connection is thrown away, but those that have
//!   answered since ([`Pool::distrust`]), so that a silence is paid for once, and not once for each connection.
//! - Giving a connection back asks nothing and waits for nothing, so a dead one cannot take its place with it.
//!
//! Settings are made by statements on the new connection, not by its startup packet: a pooler in between refuses
//! or ignores what it does not know there.
//!
//! When no connection comes about, the error is the server's or the system's own word, with the place, never
//! "the pool timed out": see [`NoConnection`].

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

/// A connection that was idle for less is used without a question: it has just answered.
const FRESH: Duration = Duration::from_secs(1);

/// How long an idle connection may take for its sign of life, at most.
const PROBE: Duration = Duration::from_secs(1);

/// A call that is dropped after it has waited for an answer for so long counts as a silence.
const SILENCE: Duration = Duration::from_millis(300);

/// What lay idle for longer is closed: firewalls forget connections that nobody uses.
const LONGEST_IDLE: Duration = Duration::from_mins(2);

/// No connection is used for longer, so that what the server keeps for each of them is freed now and then.
const LIFETIME: Duration = Duration::from_mins(30);

/// How long saying good-bye may take.
const GOOD_BYE: Duration = Duration::from_secs(5);

/// The waits between two tries to connect to a server that refuses connections or is just starting.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Where the server is and what we want there, for messages. Never holds the password.
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

    /// What a person should know of a connection that did not come about.
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
            sqlx::Error::Tls(_) => format!("no TLS connection to Postgres at {server} comes about"),
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

/// True if the next moment may be another: nobody listens yet, the server starts, or has no place free.
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
    /// The latest used last.
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

    /// Lends a connection that has answered a moment ago, or a new one. An idle one gets `patience` for its sign of
    /// life, and never more than [`PROBE`].
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

    /// The one that was used last; what nobody has used for long is closed.
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

    /// Throws the idle connections away: one was dead, so the server was gone, and with it all.
    pub(super) fn drop_idle(&self) {
        let dropped = std::mem::take(&mut *self.idle());
        drop(dropped);
    }

    /// Something got no answer: throws away what has not answered after this time either.
    pub(super) fn distrust(&self, asked: Instant) {
        // Dropped without the lock, and without a good-bye that nobody would hear.
        let dropped: Vec<_> = {
            let mut idle = self.idle();
            let (kept, dropped) = std::mem::take(&mut *idle).into_iter().partition(|one| one.since > asked);
            *idle = kept;
            dropped
        };
        drop(dropped);
        self.silences.send_modify(|count| *count += 1);
    }

    /// Lends nothing any more, waits for what is lent, closes the rest.
    pub(super) async fn close(&self) {
        self.closed.store(true, Relaxed);
        let _ = self.permits.acquire_many(self.size).await;
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle());
        futures_util::future::join_all(idle.into_iter().map(|one| good_bye(one.connection))).await;
    }
}

/// Says good-bye, so that the server does not have to find out; for a bounded time.
async fn good_bye(connection: PgConnection) {
    let _ = tokio::time::timeout(GOOD_BYE, connection.close()).await;
}

/// The same, beside whatever we are at.
fn part_from(connection: PgConnection) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(good_bye(connection));
    }
}

/// A connection at work; closed unless its work came to the end.
#[derive(Debug)]
pub(super) struct Checkout {
    pool: Arc<Pool>,
    /// `None` only while it goes.
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

    /// Ends an autocommit statement's or a read's use of the connection.
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

    /// Throws the connection away, and answers its place.
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
            // Nobody waited for the answer any longer: it may never have come.
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
