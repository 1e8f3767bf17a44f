//! A throw-away Postgres for the tests, and a fresh database in it for each.
//!
//! # One server for all who test at the same time
//!
//! Under `cargo test` all tests share a process, under `cargo nextest` each has its own. So the
//! server belongs to nobody: every test process holds a shared lock on a file (`users`), and a small
//! shell script (the keeper) ends the server and removes its folder once it gets that lock
//! exclusively. The kernel frees the locks of a process however it dies, so this also holds after
//! `kill -9`, without a signal to arm, which would need `unsafe` code. A process that comes while
//! the server runs joins it; that is what makes nextest fast. The keeper lingers for a moment, as
//! nextest has no test process between two tests.
//!
//! The server in its turn holds a lock on a file (`running`) for as long as any of its processes
//! lives. Who finds an address but no such lock has found what a power cut or a `kill -9` of everything
//! left behind, and starts a new server in its place.
//!
//! Each set of migrations has a template database of its own, made by whoever needs it first; a
//! test's database is a copy of it, which takes some milliseconds.
//!
//! `RELAY_TEST_POSTGRES_URL` names a server to use instead (its user must be allowed to create
//! databases). Without a server's programs the tests fail and say what to install, unless
//! `RELAY_TEST_SKIP_POSTGRES` is set: see [`available`].

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use finkare_relay::{
    model::secret::Secret,
    store::{BaseStore as _, postgres::PostgresStore},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// How long the server may take to start, on a machine that is busy with tests.
const START: Duration = Duration::from_mins(1);

/// What the tests do not need: durability (the store sets `synchronous_commit` for itself, and the test
/// that restarts the server would notice if it did not). What they do: room for many small pools.
const SETTINGS: [&str; 8] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=400",
    "shared_buffers=128MB",
    "max_wal_size=4GB",
    "autovacuum_naptime=10s",
    "listen_addresses=127.0.0.1",
];

/// Starts the server, writes its address down, and ends it when nobody uses it any more.
///
/// `flock` on the file `users` succeeds when every test process has dropped its shared lock; the
/// second one, after the linger, makes sure that none came meanwhile. Only then, and while it still
/// has the lock, does it take the address away: whoever comes next finds none and starts anew.
///
/// The lock on `running` is the server's by inheritance. A server that ends without having been asked to
/// takes its keeper along, as the next test starts a new one with a keeper of its own.
const KEEPER: &str = r#"
dir=$1 linger=$2; shift 2
trap '' INT HUP
exec 8<"$dir/running"
flock -x 8
{
    while "$@" >>"$dir/log" 2>&1 </dev/null; [ -e "$dir/again" ]; do rm -f "$dir/again"; done
    [ -e "$dir/ending" ] || kill -KILL $$
} &
exec 8<&-
while true; do
    flock -x "$dir/users" true
    sleep "$linger"
    exec 9<"$dir/users"
    if flock -x -n 9; then break; fi
    exec 9<&-
done
rm -f "$dir/address"
: >"$dir/ending"
kill -QUIT "$(head -n 1 "$dir/data/postmaster.pid")" 2>/dev/null
wait
rm -rf "$dir"
"#;

/// False when these tests are to be skipped because Postgres is not installed and
/// `RELAY_TEST_SKIP_POSTGRES` is set.
pub(crate) fn available() -> bool {
    let usable = super::variable("RELAY_TEST_POSTGRES_URL").is_some() || program("postgres").is_some();
    usable || super::variable("RELAY_TEST_SKIP_POSTGRES").is_none()
}

/// A database for one test, with the schema; dropped with the value.
#[derive(Debug)]
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    /// Its URL.
    pub(crate) fn url(&self) -> String {
        with_database(&self.server, &self.name)
    }

    /// The same, as the store takes it.
    pub(crate) fn secret(&self) -> Secret {
        Secret::new(self.url())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // On a thread of its own, because this may be dropped within a runtime, which must not block.
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&server).await.map_err(io::Error::other)?;
                sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")))
                    .execute(&mut connection)
                    .await
                    .map_err(io::Error::other)?;
                Ok::<_, io::Error>(())
            })
        });
        // Best effort: what stays behind goes with the server.
        let _ = dropping.join();
    }
}

/// A fresh database on the shared server.
///
/// # Panics
/// When there is no Postgres; the text says what to install.
pub(crate) async fn database() -> Database {
    database_on(&shared_server().await).await
}

/// A fresh database on the shared server, without the schema.
pub(crate) async fn empty_database() -> Database {
    create(&shared_server().await, "template1").await
}

/// The same, made in a special way: what `CREATE DATABASE` takes after `TEMPLATE`.
pub(crate) async fn special_database(how: &str) -> Database {
    create(&shared_server().await, how).await
}

/// A program that refuses to run as root.
pub(crate) fn unprivileged_command(program: &Path) -> Command {
    command(program, unprivileged())
}

async fn shared_server() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    match super::variable("RELAY_TEST_POSTGRES_URL") {
        Some(url) => url.into_string().expect("a database URL is text"),
        None => tokio::task::spawn_blocking(|| SERVER.get_or_init(|| Server::join(&shared_dir())).url())
            .await
            .expect("joining the server panicked, see above"),
    }
}

/// A fresh database on a given server.
pub(crate) async fn database_on(server: &str) -> Database {
    let template = template(server).await;
    create(server, &template).await
}

async fn create(server: &str, template: &str) -> Database {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(server).await.expect("the test server accepts connections");
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}")))
        .execute(&mut connection)
        .await
        .expect("a database can be created from the template");
    Database { server: server.to_owned(), name }
}

/// The migrated template database; made if it is not there.
async fn template(server: &str) -> String {
    let migrations = sqlx::migrate!("migrations/postgres");
    let checksums: Vec<u8> = migrations.iter().flat_map(|migration| migration.checksum.to_vec()).collect();
    // A short name for this very list of migrations.
    let name = format!(
        "template_{:016x}",
        checksums
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| { (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3) })
    );
    let mut connection = PgConnection::connect(server).await.expect("the test server accepts connections");
    let exists = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
    if sqlx::query_scalar::<_, bool>(exists)
        .bind(&name)
        .fetch_one(&mut connection)
        .await
        .expect("databases can be listed")
    {
        return name;
    }
    // One makes it, the others wait. Under another name until it is complete.
    sqlx::query("SELECT pg_advisory_lock(7)").execute(&mut connection).await.expect("the lock can be taken");
    if !sqlx::query_scalar::<_, bool>(exists)
        .bind(&name)
        .fetch_one(&mut connection)
        .await
        .expect("databases can be listed")
    {
        let run = |sql: String| AssertSqlSafe(sql);
        let making = format!("{name}_making");
        for sql in [format!("DROP DATABASE IF EXISTS {making} WITH (FORCE)"), format!("CREATE DATABASE {making}")] {
            sqlx::raw_sql(run(sql)).execute(&mut connection).await.expect("the template can be made");
        }
        let store = PostgresStore::connect(&Secret::new(with_database(server, &making)), 2).await.expect("it connects");
        store.migrate().await.expect("the migrations apply");
        store.close().await;
        // The listener's connection may take a moment to be gone on the server's side.
        let ended = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = $1";
        sqlx::query(ended).bind(&making).execute(&mut connection).await.expect("connections can be ended");
        let sql = format!("ALTER DATABASE {making} RENAME TO {name}");
        sqlx::raw_sql(run(sql)).execute(&mut connection).await.expect("the template can be named");
    }
    name
}

/// The URL of another database of the same server.
fn with_database(server: &str, database: &str) -> String {
    let mut url: url::Url = server.parse().expect("the server's address is a URL");
    url.set_path(database);
    url.into()
}

/// A server and our use of it, which ends with the value or with the process.
#[derive(Debug)]
pub(crate) struct Server {
    dir: PathBuf,
    port: u16,
    _user: File,
}

impl Server {
    /// A server for one test alone, which may freeze or restart it.
    pub(crate) fn alone() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self::join(&std::env::temp_dir().join(format!("relay-test-postgres-alone-{}-{number}", std::process::id())))
    }

    /// Its URL, with a database that is always there.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Joins the server in this folder, or starts it.
    fn join(dir: &Path) -> Self {
        let started = Instant::now();
        loop {
            match Self::try_join(dir) {
                Ok(server) => return server,
                // The keeper removed the folder under our hands: once more, with a new one.
                Err(error) if error.kind() == io::ErrorKind::NotFound && started.elapsed() < START => {
                    std::thread::yield_now();
                }
                Err(error) => panic!("no Postgres for the tests in {}: {error}", dir.display()),
            }
        }
    }

    fn try_join(dir: &Path) -> io::Result<Self> {
        let (Some(initdb), Some(postgres)) = (program("initdb"), program("postgres")) else {
            panic!(
                "the tests of the Postgres store need PostgreSQL's programs: `apt-get install postgresql`, \
                 or name a server in RELAY_TEST_POSTGRES_URL, or set RELAY_TEST_SKIP_POSTGRES to go without"
            );
        };
        let user = unprivileged();
        if !dir.exists() {
            // Complete at the moment in which it gets its name; if somebody else was faster, it is theirs.
            let fresh = dir.with_extension(format!("fresh-{}", std::process::id()));
            fs::create_dir_all(&fresh)?;
            fs::set_permissions(&fresh, fs::Permissions::from_mode(0o700))?;
            for name in ["users", "starting", "running"] {
                File::create(fresh.join(name))?;
                chown(fresh.join(name), user.map(|user| user.0), user.map(|user| user.1))?;
            }
            chown(&fresh, user.map(|user| user.0), user.map(|user| user.1))?;
            if fs::rename(&fresh, dir).is_err() {
                fs::remove_dir_all(&fresh)?;
            }
        }
        let users = File::open(dir.join("users"))?;
        users.lock_shared()?;
        let starting = File::open(dir.join("starting"))?;
        starting.lock()?;
        if !same_file(&users, &dir.join("users")) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let address = dir.join("address");
        let port = if runs(dir)? {
            fs::read_to_string(&address)?.trim().parse().map_err(io::Error::other)?
        } else {
            // What it says is of a server that is gone.
            let _ = fs::remove_file(&address);
            let port = start(dir, user, &initdb, &postgres)?;
            fs::write(&address, port.to_string())?;
            port
        };
        Ok(Self { dir: dir.to_owned(), port, _user: users })
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join("log")).expect("the server keeps a log")).into_owned()
    }

    /// The ids of all its processes: the server itself first.
    fn processes(&self) -> Vec<u32> {
        let Some(server) = server_process(&self.dir) else { return Vec::new() };
        let children = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
            let id: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // `pid (name) state ppid …`, and the name may hold anything.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()?;
            (parent == server).then_some(id)
        });
        std::iter::once(server).chain(children).collect()
    }

    /// Sends a signal to all its processes.
    fn signal(&self, signal: &str) {
        let processes = self.processes();
        assert!(!processes.is_empty(), "the server in {} runs", self.dir.display());
        let ids = processes.iter().map(u32::to_string);
        // One of them may have ended meanwhile, which `kill` would report.
        let _ = Command::new("kill").arg(signal).args(ids).stderr(Stdio::null()).status().expect("`kill` can be run");
    }

    /// Stops all its processes where they stand: connections stay open, and nobody answers.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen server go on.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Ends the server without a word to its clients and waits until it runs again, on the same port.
    pub(crate) fn restart(&self) {
        let before = server_process(&self.dir);
        // The keeper starts it again when it finds this.
        fs::write(self.dir.join("again"), "").expect("the server's folder can be written to");
        let before = before.expect("the server runs");
        let killed = Command::new("kill").args(["-QUIT", &before.to_string()]).status().expect("`kill` can be run");
        assert!(killed.success(), "the server can be ended: {killed}");
        let started = Instant::now();
        while server_process(&self.dir).is_none_or(|now| now == before) || !is_ready(&self.dir.join("data")) {
            assert!(started.elapsed() < START, "the server did not start again within {START:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A frozen server could not be ended by its keeper. The shared one is never dropped.
        self.thaw();
    }
}

/// Starts a server and its keeper in a folder where none runs; answers its port.
fn start(dir: &Path, user: Option<(u32, u32)>, initdb: &Path, postgres: &Path) -> io::Result<u16> {
    let data = dir.join("data");
    // Left behind by a keeper that was killed itself.
    let _ = fs::remove_dir_all(&data);
    let made = command(initdb, user)
        .current_dir(dir)
        .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions", "-D"])
        .arg(&data)
        .output()?;
    if !made.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
    }
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let mut keeper = command(Path::new("/bin/sh"), user);
    keeper.current_dir("/").args(["-c", KEEPER, "keeper"]).arg(dir).arg("3").arg(postgres).arg("-D").arg(&data);
    keeper.args(["-p", &port.to_string(), "-k", ""]);
    for setting in SETTINGS {
        keeper.args(["-c", setting]);
    }
    // A group of its own: Ctrl-C at the tests must not cut the keeper off before it has cleaned up.
    let mut keeper = keeper.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let started = Instant::now();
    while !is_ready(&data) {
        if started.elapsed() > START || keeper.try_wait()?.is_some() {
            let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
            return Err(io::Error::other(format!("the server did not start within {START:?}: {log}")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(port)
}

/// True while any process of the server in this folder lives, or its keeper is about to start it.
fn runs(dir: &Path) -> io::Result<bool> {
    // A folder that was left behind may be older than this file.
    match File::options().create(true).append(true).open(dir.join("running"))?.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// True once the server takes connections: the last line of its own file says so.
fn is_ready(data: &Path) -> bool {
    fs::read_to_string(data.join("postmaster.pid")).is_ok_and(|text| text.contains("ready"))
}

/// The server's process, by its own file.
fn server_process(dir: &Path) -> Option<u32> {
    fs::read_to_string(dir.join("data/postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

/// True if the path still leads to this open file: nobody has replaced it.
fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
        _ => false,
    }
}

/// Where the shared server of this user lives.
fn shared_dir() -> PathBuf {
    let user = fs::metadata("/proc/self").map(|own| own.uid()).unwrap_or_default();
    std::env::temp_dir().join(format!("relay-test-postgres-{user}"))
}

/// The newest installed version of a Postgres program.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin").join(name))))
        .filter(|(_, path)| path.exists())
        .collect();
    found.sort();
    let on_path =
        || std::env::split_paths(&super::variable("PATH")?).map(|dir| dir.join(name)).find(|path| path.exists());
    found.pop().map(|(_, path)| path).or_else(on_path)
}

/// The user and group to become, as Postgres refuses to run as root: `postgres`, or else `nobody`.
/// None when we are not root.
fn unprivileged() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").ok()?.uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2).map_while(|field| field.parse().ok());
        Some((ids.next()?, ids.next()?))
    };
    find("postgres").or_else(|| find("nobody"))
}

/// A program as that user.
fn command(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    command.env_remove("PGDATA").stdin(Stdio::null());
    command
}

#[tokio::test]
async fn a_server_that_was_killed_with_its_keeper_is_replaced() {
    if !available() {
        return;
    }
    let connects = async |server: &Server| PgConnection::connect(&server.url()).await.map(drop);
    let first = tokio::task::spawn_blocking(Server::alone).await.unwrap();
    connects(&first).await.unwrap();

    // As a power cut ends them: with the address left where it was.
    let server = server_process(&first.dir).unwrap();
    let stat = fs::read_to_string(format!("/proc/{server}/stat")).unwrap();
    let group = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(2).unwrap();
    let killed = Command::new("kill").args(["-KILL", "--", &format!("-{group}")]).status().unwrap();
    assert!(killed.success(), "{killed}");
    let dir = first.dir.clone();
    super::eventually("the server is gone", || std::future::ready(!runs(&dir).unwrap())).await;
    assert!(dir.join("address").exists());
    connects(&first).await.unwrap_err();

    let second = tokio::task::spawn_blocking(move || Server::join(&dir)).await.unwrap();
    connects(&second).await.unwrap();
    // The first has nothing left to thaw.
    std::mem::forget(first);
}
