//! The real binary, started as an operator would start it, on either store.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
};

use finkare_relay::{
    model::secret::Secret,
    store::{Store, postgres::PostgresStore, sqlite::SqliteStore},
};
use serde_json::Value;

use super::{PATIENCE, eventually, http, postgres};

/// Which store a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

/// Makes one test for each store of an `async fn(Backend)`.
macro_rules! on_both_stores {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(crate::support::relay::Backend::Sqlite).await })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() { super::$name(crate::support::relay::Backend::Postgres).await })+
        }
    };
}
pub(crate) use on_both_stores;

/// The webhook secret of every test's endpoint.
pub(crate) const SECRET: &str = "whsec_dGhlIHdlYmhvb2sgc2VjcmV0IG9mIHRoZSB0ZXN0cw==";
/// The admin token of every test.
pub(crate) const TOKEN: &str = "the-admin-token-of-the-tests";
/// The master key of every test's service.
pub(crate) const MASTER_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// The path of every test's endpoint.
pub(crate) const PATH: &str = "/webhooks/finkare";

/// A place to run the service in: a directory, a database, a configuration.
pub(crate) struct Home {
    pub directory: tempfile::TempDir,
    url: String,
    _database: Option<postgres::Database>,
}

impl Home {
    pub(crate) async fn new(backend: Backend) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let database = match backend {
            Backend::Sqlite => None,
            Backend::Postgres => Some(postgres::database().await),
        };
        let url = match &database {
            None => format!("sqlite://{}", directory.path().join("relay.db").display()),
            Some(database) => database.url(),
        };
        Self { directory, url, _database: database }
    }

    /// A home whose database nobody has migrated yet.
    pub(crate) async fn untouched(backend: Backend) -> Self {
        let home = Self::new(Backend::Sqlite).await;
        match backend {
            Backend::Sqlite => {
                std::fs::write(home.path("relay.db"), "").expect("an empty file is an empty database");
                home
            }
            Backend::Postgres => {
                let database = postgres::empty_database().await;
                Self { url: database.url(), _database: Some(database), ..home }
            }
        }
    }

    /// The database's URL.
    pub(crate) fn store_url(&self) -> &str {
        &self.url
    }

    /// The same database, opened once more beside the service.
    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        if self.url.starts_with("postgres") {
            Arc::new(PostgresStore::connect(&Secret::new(self.url.as_str()), 2).await.expect("the database is there"))
        } else {
            Arc::new(SqliteStore::open(&self.path("relay.db")).await.expect("the database is there"))
        }
    }

    /// The same home, with another way to its database.
    pub(crate) fn at(mut self, url: &str) -> Self {
        url.clone_into(&mut self.url);
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the service with these sinks (TOML) and waits until it listens.
    pub(crate) async fn serve(&self, sinks: &str) -> Relay {
        self.serve_with("", sinks).await
    }

    /// Like [`Home::serve`], with further keys of `[server]`.
    pub(crate) async fn serve_with(&self, server: &str, sinks: &str) -> Relay {
        self.configure(server, &format!("secret = \"{SECRET}\""), sinks);
        self.start().await
    }

    /// Writes the configuration: keys of `[server]`, keys of the endpoint beside its name and path, sinks.
    pub(crate) fn configure(&self, server: &str, endpoint: &str, sinks: &str) {
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n{server}\n\
             [store]\nurl = \"{}\"\n\
             [admin]\ntokens = [{{ name = \"tests\", role = \"admin\", token = \"{TOKEN}\" }}]\n\
             [[endpoints]]\nname = \"production\"\npath = \"{PATH}\"\n{endpoint}\n{sinks}\n",
            self.url
        );
        std::fs::write(self.path("relay.toml"), text).expect("the configuration can be written");
    }

    /// Starts the service as it is configured and waits until it listens.
    pub(crate) async fn start(&self) -> Relay {
        let mut command = self.command();
        command.arg("serve");
        Relay::start(command).await
    }

    /// The binary with this home's configuration; the environment holds nothing of the caller's.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_finkare-relay"));
        command
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", super::variable("PATH").unwrap_or_default())
            .env("RELAY_CONFIG", self.path("relay.toml"))
            .env("RELAY_MASTER_KEY", MASTER_KEY)
            .env("RUST_LOG", "finkare_relay=debug,info")
            .stdin(Stdio::null());
        command
    }

    /// Everything that the service has written into its directory and said so far is searched for a text.
    pub(crate) fn files_contain(&self, text: &str) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.directory.path()).expect("the directory is there");
        entries.flatten().map(|entry| entry.path()).find(|path| {
            path.is_file()
                && std::fs::read(path).is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
        })
    }
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

/// A running service.
pub(crate) struct Relay {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    log: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
    client: reqwest::Client,
}

impl Relay {
    /// Starts a command and waits for the line that says where it listens.
    pub(crate) async fn start(command: Command) -> Self {
        let mut relay = Self::spawn(command);
        relay.listens().await;
        relay
    }

    /// Starts a command; what it does may take a while.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary was built with the tests");
        let log = Arc::new(Log::default());
        let stdout = child.stdout.take().map(|stream| collect(stream, log.clone()));
        let stderr = child.stderr.take().map(|stream| collect(stream, log.clone()));
        Self {
            public: ([127, 0, 0, 1], 0).into(),
            admin: ([127, 0, 0, 1], 0).into(),
            child,
            log,
            readers: stdout.into_iter().chain(stderr).collect(),
            client: http(),
        }
    }

    /// Waits for the line that says where it listens.
    pub(crate) async fn listens(&mut self) {
        let line = self.wait_for_line("listening public=").await;
        let line: Value = serde_json::from_str(&line).expect("without a terminal, log lines are JSON");
        let address = |field: &str| line[field].as_str().and_then(|text| text.parse().ok()).expect("an address");
        (self.public, self.admin) = (address("public"), address("admin"));
    }

    /// The first line, from the start on, that holds this text.
    pub(crate) async fn wait_for_line(&mut self, text: &str) -> String {
        let log = self.log.clone();
        let wanted = text.to_owned();
        let found = tokio::task::spawn_blocking(move || {
            let find = |lines: &Vec<String>| lines.iter().find(|line| line.contains(&wanted)).cloned();
            let lines = log.lines.lock().unwrap();
            let (lines, _) = log.more.wait_timeout_while(lines, PATIENCE, |lines| find(lines).is_none()).unwrap();
            find(&lines)
        })
        .await
        .unwrap();
        found.unwrap_or_else(|| panic!("no line with `{text}`; there was:\n{}", self.log()))
    }

    /// All that it has printed so far.
    pub(crate) fn log(&self) -> String {
        self.log.lines.lock().unwrap().join("\n")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn hook(&self) -> String {
        format!("http://{}{PATH}", self.public)
    }

    /// SIGKILL; waits until it is gone.
    pub(crate) fn kill(mut self) -> String {
        self.child.kill().expect("it is ours to kill");
        self.child.wait().expect("it can be waited for");
        self.end()
    }

    /// SIGTERM (or another signal), without waiting.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(status.expect("every system has sh").success());
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = Mutex::new(&mut self.child);
        let mut status = None;
        eventually("the process ends", || {
            status = child.lock().unwrap().try_wait().expect("it can be waited for");
            std::future::ready(status.is_some())
        })
        .await;
        status.expect("it has ended")
    }

    /// SIGTERM; waits for the end; answers the exit status and the whole log.
    pub(crate) async fn terminate(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let status = self.ended().await;
        (status, self.end())
    }

    fn end(mut self) -> String {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        self.log()
    }

    /// `GET` of the admin API.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.try_get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// `GET` of the admin API, whatever it answers.
    pub(crate) async fn try_get(&self, path: &str) -> (u16, Value) {
        let request = self.client.get(format!("http://{}/api/v1{path}", self.admin)).bearer_auth(TOKEN);
        let response = request.send().await.expect("the admin API answers");
        (response.status().as_u16(), response.json().await.expect("the admin API answers JSON"))
    }

    /// `POST` of the admin API.
    pub(crate) async fn post(&self, path: &str) -> Value {
        let (status, body) = self.try_post(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// `POST` of the admin API, whatever it answers.
    pub(crate) async fn try_post(&self, path: &str) -> (u16, Value) {
        let request = self.client.post(format!("http://{}/api/v1{path}", self.admin)).bearer_auth(TOKEN);
        let response = request.send().await.expect("the admin API answers");
        (response.status().as_u16(), response.json().await.expect("the admin API answers JSON"))
    }

    /// `POST` of the admin API with a JSON body, whatever it answers.
    pub(crate) async fn try_post_json(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(format!("http://{}/api/v1{path}", self.admin)).bearer_auth(TOKEN);
        let response = request.json(body).send().await.expect("the admin API answers");
        (response.status().as_u16(), response.json().await.expect("the admin API answers JSON"))
    }

    /// Every row of a list, page by page.
    pub(crate) async fn all(&self, path: &str) -> Vec<Value> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut rows = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("{path}{separator}limit=500{cursor}")).await;
            rows.extend(page["data"].as_array().expect("a list").iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    }

    /// The dispatches that are pending or leased and wait for no other dispatch. One walk over all of them: asked for by
    /// state, one that is between its attempts may be leased at the first question and pending at the second, and is
    /// then in neither answer.
    pub(crate) async fn unfinished(&self) -> Vec<Value> {
        let mut rows = self.all("/dispatches").await;
        rows.retain(|row| matches!(row["state"].as_str(), Some("pending" | "leased")) && row["waits_for"].is_null());
        rows
    }

    /// Whether only so many are unfinished, with a measure of how far it is. The whole walk is made once few are pending.
    pub(crate) async fn has_settled(&self, but: usize) -> (bool, usize) {
        let pending = self.all("/dispatches?state=pending").await;
        let pending = pending.iter().filter(|row| row["waits_for"].is_null()).count();
        if pending > but {
            return (false, pending);
        }
        let unfinished = self.unfinished().await.len();
        (unfinished == but, unfinished)
    }

    /// One sink's row.
    pub(crate) async fn sink(&self, name: &str) -> Value {
        let sinks = self.get("/sinks").await;
        let rows = sinks["data"].as_array().expect("a list");
        rows.iter().find(|sink| sink["name"] == name).unwrap_or_else(|| panic!("no sink {name}: {sinks}")).clone()
    }

    /// Waits until no sink has anything left to do by itself.
    pub(crate) async fn drained(&self) {
        eventually("all sinks are drained", async || {
            let sinks = self.get("/sinks").await;
            sinks["data"].as_array().expect("a list").iter().all(|sink| sink["backlog"] == 0)
        })
        .await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A test that failed half-way leaves nothing running; one that ended it is told nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stream: impl std::io::Read + Send + 'static, log: Arc<Log>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            log.lines.lock().unwrap().push(line);
            log.more.notify_all();
        }
    })
}
