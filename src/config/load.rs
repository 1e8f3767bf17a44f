//! Reads the file and the environment into a checked [`Config`]: the sections that exist once, and the rules that involve
//! several sections.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use ::outgoing::Egress;
use base64::{Engine, engine::general_purpose::STANDARD};
use toml::de::{DeTable, DeValue};

use super::{
    Admin, AdminToken, Config, MadeUp, Retention, Role, Server, StoreConfig, Token, endpoint, outgoing, sink,
    statement, zone,
};
use crate::{
    model::{
        id::EndpointName,
        secret::{Secret, has_split_password},
    },
    notices::{self, Settings},
    options::{
        Problem, Problems,
        description::Described,
        env::{self, Environment, Found, Lookup},
        problem::{Place, Report, Spot, did_you_mean},
        section::{File, Key, Section},
        syntax::Names,
    },
    sinks::kind::{KINDS, Row},
    statement::fec::Accounts,
};

/// The file that is read if it lies in the working directory and no other is named.
const DEFAULT_FILE: &str = "relay.toml";

/// The public listener, on loopback: a proxy in front of it handles TLS.
const LISTEN: &str = "127.0.0.1:8080";
/// The admin listener.
const ADMIN_LISTEN: &str = "127.0.0.1:8081";
/// Finkare's own example receiver takes 1 MB (<https://docs.finkare.io/guides/webhook-setup>).
const MAX_BODY_BYTES: usize = 1 << 20;
/// Finkare gives up after 5 seconds (same source); one second is left for the network.
const ACK_TIMEOUT_SECS: u64 = 4;
/// Above this an acknowledgement may come too late.
const LONGEST_SAFE_ACK_SECS: u64 = 4;
/// Finkare no longer waits for a delivery whose body takes longer.
const BODY_TIMEOUT_SECS: u64 = 4;
/// Larger groups gained nothing in measurements, and each holds its payloads in memory.
const COMMIT_BATCH: usize = 128;
/// A connection costs some 20 KiB; this keeps them below a tenth of the memory budget.
const MAX_CONNECTIONS: usize = 1024;
/// Twice an attempt's default time-out, below the 30 seconds that container platforms grant.
const SHUTDOWN_TIMEOUT_SECS: u64 = 20;
/// In the folder of the configuration file, or the working directory if there is none.
const STORE_URL: &str = "sqlite://data/relay.db";
/// Connections to Postgres, of the 100 that it allows by default.
const STORE_MAX_CONNECTIONS: u32 = 10;
/// A quarter of a year: long enough to answer "was it booked?".
const PAYLOAD_DAYS: u64 = 90;
/// More than a year, so that a delivery that an annual audit repeats is recognised as a repetition.
const DEDUPE_DAYS: u64 = 400;
/// As long as a French merchant keeps its accounting records: ten years (Code de commerce, article L123-22).
const LEDGER_DAYS: u64 = 3650;
/// Shorter admin tokens could be guessed.
const SHORT_TOKEN: usize = 16;

/// Reads the configuration and checks all of it.
///
/// `path` names the file; without it the variable `RELAY_CONFIG` does, and without that it is
/// `relay.toml` if the working directory has one. `env` looks up environment variables. Relative
/// paths in the file start from its folder, those in variables from the working directory
/// (docs/decisions/0034-commands-from-anywhere.md).
///
/// # Errors
/// All problems at once. A file that cannot be read, or that is not TOML, is reported alone.
pub fn load(path: Option<&Path>, env: &Lookup<'_>) -> Result<Config, Problems> {
    load_in(Path::new(""), path, env)
}

/// Reads only the address of the public listener, for the check whether the service is alive: that must not depend on the
/// rest of the configuration.
///
/// # Errors
/// The variable or the file with the address cannot be used. Other problems in the file do not matter, even if it is not
/// TOML elsewhere.
pub fn public_address(path: Option<&Path>, env: &Lookup<'_>) -> Result<SocketAddr, Problems> {
    let report = Report::default();
    let environment = Environment::new(env);
    let mut file = None;
    let address = match environment.get("RELAY_LISTEN", &report) {
        Some(Found { value, place }) => address(&value, LISTEN).map_err(|what| report.problem(&place, what)).ok(),
        None if environment.is_set("RELAY_LISTEN") => None,
        None => {
            let (place, found) = locate(Path::new(""), path, &environment, &report);
            let text = match &found {
                None => String::new(),
                Some(path) => match env::read_text(path) {
                    Ok(text) => text.to_string(),
                    Err(what) => {
                        report.problem(&place, what);
                        String::new()
                    }
                },
            };
            file = found;
            let (table, _) = DeTable::parse_recoverable(&text);
            let server = table.get_ref().get("server").and_then(|server| match server.get_ref() {
                DeValue::Table(server) => server.get("listen"),
                _ => None,
            });
            let listen = server.map(|listen| listen.get_ref().as_str().unwrap_or_default());
            let place = Place { path: "server.listen".to_owned(), line: None };
            address(listen.unwrap_or(LISTEN), LISTEN).map_err(|what| report.problem(&place, what)).ok()
        }
    };
    let (list, ..) = report.into_parts();
    address.filter(|_| list.is_empty()).ok_or_else(|| Problems::new(file, list))
}

/// [`load`], looking for `relay.toml` in the given directory.
pub(super) fn load_in(directory: &Path, path: Option<&Path>, env: &Lookup<'_>) -> Result<Config, Problems> {
    let report = Report::default();
    let environment = Environment::new(env);
    let (place, path) = locate(directory, path, &environment, &report);
    let text = match &path {
        None => String::new(),
        Some(path) => match env::read_text(path) {
            Ok(text) => text.to_string(),
            Err(what) => {
                report.problem(&place, what);
                return Err(Problems::new(Some(path.clone()), report.into_parts().0));
            }
        },
    };
    let parts = match parts(&path.clone().unwrap_or_else(|| directory.join(DEFAULT_FILE))) {
        Ok(parts) => parts,
        Err(what) => {
            report.problem(&Place::default(), what);
            return Err(Problems::new(path, report.into_parts().0));
        }
    };
    read_with(&KINDS, &text, &parts, path.as_deref(), &environment, report).0
}

/// A file of the folder beside the main file, with its text.
struct Part {
    /// As problems name it: `relay.d/acme.toml`.
    name: String,
    path: PathBuf,
    text: zeroize::Zeroizing<String>,
}

/// The files of the folder beside the main file (`relay.d` beside `relay.toml`), in the order of their names. Others than
/// `*.toml`, and hidden ones, are left by editors and package managers.
///
/// # Errors
/// The folder, or a file in it, cannot be read.
fn parts(main: &Path) -> Result<Vec<Part>, String> {
    let folder = main.with_extension("d");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(format!("the folder `{}` cannot be read: {error}", folder.display())),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| format!("the folder `{}` cannot be read: {error}", folder.display()))?.path();
        let is_hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let folder = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let read = |path: PathBuf| {
        let text = env::read_text(&path)?;
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Part { name: format!("{folder}/{file}"), path, text })
    };
    paths.into_iter().map(read).collect()
}

/// The configuration file, and the place that names it.
///
/// A `relay.toml` that cannot be read, such as a broken link, counts all the same: without it the service would start with
/// the defaults, on an empty database.
fn locate(
    directory: &Path,
    path: Option<&Path>,
    environment: &Environment<'_>,
    report: &Report,
) -> (Place, Option<PathBuf>) {
    if let Some(path) = path {
        return (Place::default(), Some(path.to_owned()));
    }
    if let Some(Found { value, place }) = environment.get("RELAY_CONFIG", report) {
        return (place, Some(PathBuf::from(value)));
    }
    let standard = directory.join(DEFAULT_FILE);
    let is_there = !matches!(standard.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound);
    (Place::default(), is_there.then_some(standard))
}

/// Reads a file's text, without the folder beside it, together with an environment; also returns the path of every option that it looked for.
#[cfg(test)]
pub(super) fn read(
    text: &str,
    path: Option<&Path>,
    environment: &Environment<'_>,
    report: Report,
) -> (Result<Config, Problems>, BTreeSet<String>) {
    read_with(&KINDS, text, &[], path, environment, report)
}

/// Reads a text without an environment, with these kinds of sinks.
#[cfg(test)]
pub(crate) fn load_with(kinds: &[Row], text: &str, path: &Path) -> Result<Config, Problems> {
    read_with(kinds, text, &[], Some(path), &Environment::new(&|_| None), Report::default()).0
}

/// [`read`], with these kinds of sinks.
fn read_with(
    kinds: &[Row],
    text: &str,
    parts: &[Part],
    path: Option<&Path>,
    environment: &Environment<'_>,
    report: Report,
) -> (Result<Config, Problems>, BTreeSet<String>) {
    let problems = |list: Vec<Problem>| Problems::new(path.map(Path::to_owned), list);
    let file = match File::parse(text, || Names::of(&describe(kinds))) {
        Ok(file) => file,
        Err(problem) => {
            let mut list = report.into_parts().0;
            list.push(problem);
            return (Err(problems(list)), BTreeSet::new());
        }
    };
    let mut file = file;
    let mut wrong = Vec::new();
    for part in parts {
        match File::parse(&part.text, || Names::of(&describe(kinds))) {
            Ok(other) => file.merge(other.called(&part.name), &mut wrong),
            Err(mut problem) => {
                problem.line = problem.line.map(|spot| Spot { file: Some(part.name.as_str().into()), ..spot });
                wrong.push(problem);
            }
        }
    }
    let types: Vec<&str> = kinds.iter().map(|row| row.name).collect();
    file.spread(&sink::COMMON, &types, &mut wrong);
    for Problem { place, line, what } in wrong {
        report.problem(&Place { path: place, line }, what);
    }
    let file = file.in_folder(path.and_then(Path::parent).unwrap_or(Path::new("")));
    let mut root = file.root(&report, environment);
    let Single { server, store, admin, has_token, limited, retention, own_events, accounts, outgoing } =
        single(&mut root);
    let endpoint::Read { mut endpoints, names, is_without_secret } = endpoint::read(&mut root, retention.dedupe);
    for (place, name) in limited {
        if !names.contains(&name) {
            let meant = did_you_mean(name.as_str(), names.iter().map(EndpointName::as_str));
            report.problem(&place, format!("there is no endpoint `{name}`{meant}"));
        }
    }
    let (sinks, made_up_sink) = sink::read(&mut root, &endpoints, &names, &outgoing, kinds);
    root.finish();
    for endpoint in &mut endpoints {
        endpoint.egress = outgoing.clone();
    }
    let master_key = master_key(environment, &report);
    let is_sqlite = matches!(store, Some(StoreConfig::Sqlite { .. }));
    // With an API key, Finkare provides a secret; a generated one would be in its way.
    let has_api_key = endpoints.first().is_some_and(|endpoint| endpoint.api_key.is_some());
    let made_up = MadeUp {
        secret: is_without_secret && !has_api_key && is_sqlite,
        admin_token: admin.tokens.is_empty() && is_sqlite,
        sink: made_up_sink,
    };
    if let Some(StoreConfig::Postgres { .. }) = &store {
        require_for_postgres(&server, has_token, master_key.is_some(), environment, &report);
    }

    let written = std::mem::take(&mut *report.written()).by_name(
        &endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect::<Vec<_>>(),
        &sinks.iter().map(|sink| sink.name.as_str()).collect::<Vec<_>>(),
    );
    let (list, notices, known) = report.into_parts();
    let config = match (store, list.is_empty()) {
        (Some(store), true) => Ok(Config {
            server,
            store,
            admin,
            retention,
            own_events,
            accounts,
            endpoints,
            sinks,
            master_key,
            made_up,
            unsaved: Vec::new(),
            file: path.map(Path::to_owned),
            parts: parts.iter().map(|part| part.path.clone()).collect(),
            notices,
            written,
        }),
        _ => Err(problems(list)),
    };
    (config, known)
}

/// Describes every key that can be set, in the order of reading; the keys of each kind of sink are under `sinks[http]` and
/// so on.
pub(crate) fn describe(kinds: &[Row]) -> Vec<Described> {
    let report = Report::describing();
    let nothing = |_: &str| None;
    let environment = Environment::new(&nothing);
    let file = File::default();
    let mut root = file.root(&report, &environment);
    let Single { retention, .. } = single(&mut root);
    endpoint::read(&mut root, retention.dedupe);
    sink::describe(&mut root, kinds);
    drop(root);
    report.into_described()
}

/// The sections that exist once.
struct Single {
    server: Server,
    /// `None` after a problem.
    store: Option<StoreConfig>,
    admin: Admin,
    /// True if an admin token was configured, valid or not.
    has_token: bool,
    /// The endpoints that tokens name.
    limited: Limited,
    retention: Retention,
    own_events: Settings,
    accounts: Accounts,
    outgoing: Egress,
}

fn single(root: &mut Section<'_>) -> Single {
    let mut defaults = root
        .key(
            "defaults",
            "Options that many sinks or endpoints share, written once. In their texts, `{name}` is the name of the endpoint \
             (for a sink of one endpoint) or of the sink, and `{NAME}` the same as in the name of a variable.",
        )
        .table();
    defaults
        .key(
            "sinks",
            "What every sink has unless it says otherwise: the keys that all sinks have, and a table for each type with the \
             keys of that type (`[defaults.sinks.facturation_pro]`).",
        )
        .options();
    defaults.key("endpoints", "What every endpoint has unless it says otherwise.").options();
    defaults.finish();
    let server = server(root.key("server", "The two listeners, and what they accept.").table());
    let store = store(root.key("store", "The database.").table());
    let (admin, has_token, limited) = admin(root.key("admin", "Who may use the admin API.").table());
    let retention = retention(root.key("retention", "How long data is stored.").table());
    let own_events =
        own_events(root.key("notices", "When the relay's own events (`relay.held` and so on) are made.").table());
    let accounts =
        statement::read(root.key("statement", "What the month's statement needs beside the ledger.").table());
    let outgoing = outgoing::read(
        root.key(
            "outgoing",
            "How calls to sinks, accounting systems and Finkare's API leave, and which certificates they accept.",
        )
        .table(),
    );
    Single { server, store, admin, has_token, limited, retention, own_events, accounts, outgoing }
}

fn server(mut section: Section<'_>) -> Server {
    let environment = section.environment();
    section.lay_over("listen", environment.get("RELAY_LISTEN", section.report()));
    section.lay_over("admin_listen", environment.get("RELAY_ADMIN_LISTEN", section.report()));
    let listen = listen(
        section.key(
            "listen",
            "The public listener: Finkare's deliveries and health checks. Port 0 takes a free port. `RELAY_LISTEN` overrides \
             it.",
        ),
        LISTEN,
    )
    .map_err(|what| section.problem("listen", what))
    .ok();
    let admin_listen = self::listen(
        section.key("admin_listen", "The admin listener: API, metrics, health. `RELAY_ADMIN_LISTEN` overrides it."),
        ADMIN_LISTEN,
    )
    .map_err(|what| section.problem("admin_listen", what))
    .ok();
    if let (Some(public), Some(admin)) = (listen, admin_listen)
        && public.port() == admin.port()
        && public.port() != 0
    {
        section.problem("admin_listen", format!("port {} is also the port of `listen`: choose another", admin.port()));
    }
    let max_body_bytes = section
        .key("max_body_bytes", "Larger bodies are refused with 413.")
        .whole_or(1 << 10..=64 << 20, MAX_BODY_BYTES);
    let ack_timeout_secs = section
        .key(
            "ack_timeout_secs",
            "A delivery that is not stored within this time, in seconds, is answered with 503. Finkare waits 5 seconds.",
        )
        .whole_or(1..=30, ACK_TIMEOUT_SECS);
    if ack_timeout_secs > LONGEST_SAFE_ACK_SECS {
        section.notice(
            "ack_timeout_secs",
            format!(
                "Finkare waits 5 seconds for an answer and then delivers again; {ack_timeout_secs} leaves no time for the network"
            ),
        );
    }
    let read = Server {
        listen: listen.unwrap_or_else(|| default_address(LISTEN)),
        admin_listen: admin_listen.unwrap_or_else(|| default_address(ADMIN_LISTEN)),
        max_body_bytes,
        ack_timeout: Duration::from_secs(ack_timeout_secs),
        body_timeout: section
            .key("body_timeout_secs", "A body that has not arrived within this time, in seconds, is refused with 408.")
            .secs_or(1..=60, BODY_TIMEOUT_SECS),
        max_connections: section
            .key("max_connections", "Connections beyond this number wait in the operating system's queue.")
            .whole_or(1..=100_000, MAX_CONNECTIONS),
        commit_batch: section
            .key(
                "commit_batch",
                "The largest number of deliveries that share a transaction. 1 commits each by itself, which is slower under \
                 load.",
            )
            .whole_or(1..=1024, COMMIT_BATCH),
        shutdown_timeout: section
            .key("shutdown_timeout_secs", "How long a stop waits for work that is under way, in seconds.")
            .secs_or(1..=3600, SHUTDOWN_TIMEOUT_SECS),
    };
    section.finish();
    read
}

fn default_address(text: &str) -> SocketAddr {
    text.parse().expect("the default addresses are written as addresses")
}

/// Names are not resolved: the address of a name may change, and the listener must not move with it. Only `localhost` is
/// accepted, as 127.0.0.1.
fn listen(key: Key<'_, '_>, default: &str) -> Result<SocketAddr, String> {
    address(&key.allowed("an address and a port").text_or(default), default)
}

fn address(text: &str, default: &str) -> Result<SocketAddr, String> {
    let address = match text.strip_prefix("localhost:") {
        Some(port) => port.parse().ok().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        None => text.parse().ok(),
    };
    address.ok_or_else(|| {
        format!(
            "`{}` is not an address with a port: write, for example, `{default}`, `0.0.0.0:8080` or `[::]:8080`",
            text.escape_debug()
        )
    })
}

/// `None` after a problem with the URL.
fn store(mut section: Section<'_>) -> Option<StoreConfig> {
    section.lay_over("url", section.environment().get("DATABASE_URL", section.report()));
    let is_given = section.has("url");
    let url = section
        .key(
            "url",
            "`sqlite://relative/path`, `sqlite:///absolute/path` or `postgres://user:password@host/database`. \
             `DATABASE_URL` overrides it. It can be written like a secret.",
        )
        .allowed("a URL")
        .by_default(STORE_URL)
        .secret()
        .or_else(|| (!is_given).then(|| Secret::new(STORE_URL)));
    let max_connections = section
        .key(
            "max_connections",
            "Postgres only: the largest number of connections that this process opens, one of which listens for notifications.",
        )
        .by_default(STORE_MAX_CONNECTIONS)
        .whole(2..=1000_u32);
    // A problem never repeats the URL, because it contains the password.
    let read = url.and_then(|url| match store_url(&url) {
        Ok(StoreUrl::Sqlite(path)) => {
            if max_connections.is_some() {
                section.notice("max_connections", "is for Postgres; SQLite has one writer");
            }
            Some(StoreConfig::Sqlite { path: database_file(&section, &path) })
        }
        Ok(StoreUrl::Postgres) => {
            let max_connections = max_connections.unwrap_or(STORE_MAX_CONNECTIONS);
            Some(StoreConfig::Postgres { url: with_certificates(&section, url), max_connections })
        }
        Err(what) => {
            // An operator who pasted a URL with its quotes, or used a file with Windows line ends, cannot see the problem.
            match url.oddity() {
                Some(oddity) => section.problem("url", format!("{oddity}: take that out")),
                None => section.problem("url", what),
            }
            None
        }
    });
    section.finish();
    read
}

/// The SQLite file: a relative path starts from the folder of the configuration file.
///
/// Up to version 0.1 it started from the working directory. If there is a database in the working directory and none in the
/// folder of the file, the service would start with an empty database that knows no booked payment: that is rejected.
fn database_file(section: &Section<'_>, path: &Path) -> PathBuf {
    let anchored = section.anchored("url", path);
    if anchored != path && path.exists() && !anchored.exists() {
        section.problem(
            "url",
            format!(
                "a relative path starts from the folder of the configuration file, and `{}` does not exist, while the working \
                 directory has a database `{}`: if that is the one, move its folder there with all that it holds, or write its \
                 absolute path",
                anchored.display(),
                path.display()
            ),
        );
    }
    anchored
}

/// The URL with the files that its parameters name: relative ones start from the folder of the configuration file.
fn with_certificates(section: &Section<'_>, url: Secret) -> Secret {
    const FILES: [&str; 7] = ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];
    // The driver also takes the text of a certificate here.
    let file = |key: &str, value: &str| {
        (FILES.contains(&key) && !value.contains("-----BEGIN")).then(|| section.anchored("url", Path::new(value)))
    };
    let Ok(mut parsed) = url::Url::parse(url.expose()) else { return url };
    let is_moved = |key: &str, value: &str| file(key, value).is_some_and(|path| path != Path::new(value));
    if !parsed.query_pairs().any(|(key, value)| is_moved(&key, &value)) {
        return url;
    }
    let pairs: Vec<(String, String)> = parsed
        .query_pairs()
        .map(|(key, value)| {
            let value = file(&key, &value).map_or_else(|| value.to_string(), |path| path.display().to_string());
            (key.into_owned(), value)
        })
        .collect();
    parsed.query_pairs_mut().clear().extend_pairs(pairs);
    Secret::new(String::from(parsed))
}

#[derive(Debug, PartialEq, Eq)]
enum StoreUrl {
    Sqlite(PathBuf),
    Postgres,
}

fn store_url(url: &Secret) -> Result<StoreUrl, &'static str> {
    const FORMS: &str = "write `sqlite://data/relay.db`, `sqlite:///var/lib/relay/relay.db` or `postgres://user:password@host/database`";
    const IN_THE_PASSWORD: &str = "has an `@` behind the host, or a `#`, so that a part of the password would be taken for something else: in user and password write `@` as `%40`, `/` as `%2F`, `?` as `%3F`, `#` as `%23`";
    // The parser would silently drop a carriage return or a newline.
    if url.expose().chars().any(char::is_control) || url.oddity().is_some() {
        return Err("has characters that no URL has, such as a carriage return or another line break: take them out");
    }
    let url = url.expose();
    if let Some(rest) = url.strip_prefix("sqlite:") {
        // `sqlite:///abs` is `//` and the absolute path, `sqlite://data` is `//` and a relative one.
        let path = rest.strip_prefix("//").unwrap_or(rest);
        return match path {
            "" => Err("the path of the SQLite file is missing: write, for example, `sqlite://data/relay.db`"),
            ":memory:" => {
                Err("SQLite in memory forgets what was acknowledged: name a file, for example `sqlite://data/relay.db`")
            }
            path if path.contains(['?', '#']) => Err(
                "a SQLite URL takes no parameters here: the service sets what it needs; leave out the `?` or `#` and what follows",
            ),
            path if path.ends_with('/') => Err("the path of the SQLite file ends in `/`: name the file itself"),
            path => Ok(StoreUrl::Sqlite(PathBuf::from(path))),
        };
    }
    match url::Url::parse(url) {
        Ok(parsed) if ["postgres", "postgresql"].contains(&parsed.scheme()) && url.contains("://") => {
            // If the password has a `/`, `?` or `#`, the parser takes its beginning for a port and its rest for a database,
            // a parameter or a fragment, which errors and logs would then repeat.
            if has_split_password(url) || parsed.fragment().is_some() {
                return Err(IN_THE_PASSWORD);
            }
            // The driver writes parameters that it does not know into the log, with their values.
            let is_password = |key: &str| key != "password" && (key.contains("pass") || key.contains("pwd"));
            if parsed.query_pairs().any(|(key, _)| is_password(&key)) {
                return Err(
                    "has a parameter for a password that is not called `password`: rename it, or write user and password before the host",
                );
            }
            Ok(StoreUrl::Postgres)
        }
        Ok(parsed) if ["mysql", "mariadb", "mssql", "redis", "mongodb"].contains(&parsed.scheme()) => {
            Err("only SQLite and Postgres are supported: write `sqlite://…` or `postgres://…`")
        }
        Err(_) if url.starts_with("postgres") => Err(
            "is not a valid URL: write `postgres://user:password@host:5432/database`; in user and password write `@` as `%40`, `/` as `%2F`, `#` as `%23`",
        ),
        _ => Err(FORMS),
    }
}

/// Also returns whether a token was configured, valid or not.
/// An endpoint that a token names, and where.
type Limited = Vec<(Place, EndpointName)>;

fn admin(mut section: Section<'_>) -> (Admin, bool, Limited) {
    let mut limited = Limited::new();
    let report = section.report();
    let is_given = section.has("tokens") || section.environment().is_set("RELAY_ADMIN_TOKEN");
    let mut tokens: Vec<AdminToken> = Vec::new();
    let tables = section
        .key(
            "tokens",
            "Who may use the admin API. `RELAY_ADMIN_TOKEN` adds a token `env` with the role `admin`. Without any token, one \
             is generated on SQLite; on Postgres the admin API then accepts only callers on loopback, and none through a \
             proxy.",
        )
        .tables();
    for mut section in tables {
        let name = section
            .key("name", "The name of the person or program, for the audit log.")
            .allowed("1 to 63 characters")
            .required("a token needs a name, for the audit log")
            .text();
        match &name {
            None => {}
            Some(name) if name.is_empty() || name.len() > 63 || name.chars().any(char::is_control) => {
                section.problem("name", "write 1 to 63 characters");
            }
            Some(name) => {
                section.call(name);
                if tokens.iter().any(|token| token.name == *name) {
                    section.problem("name", format!("there are two tokens `{name}`: give each its own name"));
                }
            }
        }
        let role = section
            .key(
                "role",
                "`viewer` reads; `operator` also decides (pause, resume, test, retry, cancel, replay); `admin` also \
                 registers, rotates, reloads and erases.",
            )
            .required("write `viewer`, `operator` or `admin`")
            .word(&[("viewer", Role::Viewer), ("operator", Role::Operator), ("admin", Role::Admin)]);
        let limits = section
            .key(
                "endpoints",
                "The token is for these endpoints alone: everything else does not exist for it. Of the sinks it sees those \
                 that get events of no other endpoint.",
            )
            .allowed("names of endpoints")
            .otherwise("all")
            .texts();
        if limits.as_ref().is_some_and(Vec::is_empty) {
            section.problem("endpoints", "is empty, so that the token would be good for nothing: name endpoints");
        }
        let mut endpoints = limits.as_ref().map(|_| Vec::new());
        for (index, text) in limits.iter().flatten().enumerate() {
            match EndpointName::new(text) {
                Ok(name) => {
                    let place = section.place(&format!("endpoints[{index}]"));
                    limited.push((place, name.clone()));
                    if let Some(endpoints) = &mut endpoints {
                        endpoints.push(name);
                    }
                }
                Err(error) => section.problem(&format!("endpoints[{index}]"), error.to_string()),
            }
        }
        let (place, token) = token(&mut section, report);
        section.finish();
        let (Some(name), Some(token)) = (name, token) else { continue };
        if let Some(other) = tokens.iter().find(|other| other.token.hash() == token.hash()) {
            let what = format!("is the same token as `{}`: the audit log could not tell the two apart", other.name);
            report.problem(&place, what);
        }
        // After a problem with the role the configuration is not used; `Viewer` only lets the reading continue.
        tokens.push(AdminToken { name, role: role.unwrap_or(Role::Viewer), endpoints, token });
    }
    let mut from_environment = None;
    if let Some(Found { value, place }) = section.environment().get("RELAY_ADMIN_TOKEN", report) {
        let token = Secret::new(value);
        // The file may use the same variable by { env = … }, with its own name and a lesser role. Then only that entry
        // counts, because a second one would raise the role. An entry with a hash gets the token itself, for the commands.
        if check_token(&token, &place, report) {
            report.written().text("RELAY_ADMIN_TOKEN", token.expose());
            from_environment = Some(token.clone());
            let token = Token::Plain(token);
            if let Some(same) = tokens.iter_mut().find(|other| other.token.hash() == token.hash()) {
                same.token = token;
            } else {
                tokens.retain(|other| other.name != "env");
                tokens.push(AdminToken { name: "env".to_owned(), role: Role::Admin, endpoints: None, token });
            }
        }
    }
    let hosts = section
        .key(
            "hosts",
            "Further host names for which the admin listener answers. It always answers for addresses and `localhost` and, if \
             there are tokens, for names without a dot, as containers have (`http://relay:8081/metrics`). Any other name gets \
             403 `unknown_host`, as a protection against web pages that let their own name point here.",
        )
        .allowed("a list of names without a port")
        .texts()
        .unwrap_or_default();
    for host in &hosts {
        // As in a request's `Host` header, without the port.
        if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
            section.problem("hosts", "write names without a port, such as \"relay.internal\"");
        }
    }
    section.finish();
    (Admin { tokens, hosts, from_environment }, is_given, limited)
}

/// Reads a token, as itself or as its hash, and returns its place.
fn token(section: &mut Section<'_>, report: &Report) -> (Place, Option<Token>) {
    if section.has("token") && section.has("token_sha256") {
        section.problem("token_sha256", "is set in addition to `token`: write one of the two");
    } else if !section.has("token") && !section.has("token_sha256") {
        let what = "is missing: write { env = \"NAME\" }, { file = \"PATH\" } or the token itself, or its hash as `token_sha256`";
        section.problem("token", what);
    }
    let place = section.place(if section.has("token") { "token" } else { "token_sha256" });
    let plain = section
        .key("token", "The bearer token itself. Either this or `token_sha256` is required.")
        .secret()
        .filter(|token| check_token(token, &place, report))
        .map(Token::Plain);
    let hash = section
        .key(
            "token_sha256",
            "The token's SHA-256 in 64 hex digits (`printf %s \"$TOKEN\" | sha256sum`): enough to recognise the token, but \
             useless to a reader of the file. The commands on this machine cannot use it either and need \
             `RELAY_ADMIN_TOKEN`.",
        )
        .secret();
    let hash = hash.and_then(|given| {
        let mut hash = [0; 32];
        if hex::decode_to_slice(given.expose().trim(), &mut hash).is_err() {
            let what = "is not 64 hex digits: make them with `printf %s \"$TOKEN\" | sha256sum`";
            section.problem("token_sha256", what);
            return None;
        }
        Some(Token::Hash(hash))
    });
    (place, plain.or(hash))
}

/// A bearer token is sent in a header, so it can only contain characters that a header can.
fn check_token(token: &Secret, place: &Place, report: &Report) -> bool {
    let oddity = token.oddity();
    let token = token.expose();
    if !token.chars().all(|c| c.is_ascii_graphic()) {
        let seen = oddity.map(|oddity| format!("; it {oddity}")).unwrap_or_default();
        report.problem(place, format!("has blanks or characters beyond ASCII, which no bearer token can have{seen}"));
        return false;
    }
    // A token in the file was checked for oddities when it was read.
    if let (Some(oddity), None) = (oddity, &place.line) {
        report.notice(place, format!("{oddity}, which is taken for a part of the secret: take it out if it is none"));
    }
    if token.len() < SHORT_TOKEN {
        report.notice(
            place,
            format!("the token has fewer than {SHORT_TOKEN} characters: make one with `openssl rand -hex 32`"),
        );
    }
    true
}

fn retention(mut section: Section<'_>) -> Retention {
    const LONGEST: u64 = 36_500;
    let payload_days = section
        .key(
            "payload_days",
            "Payloads are deleted this many days after their receipt. Unfinished events are never deleted; `held` counts as \
             unfinished, `dead` does not.",
        )
        .whole_or(1..=LONGEST, PAYLOAD_DAYS);
    let dedupe_days = section
        .key(
            "dedupe_days",
            "Events and their dedupe keys, by which a repeated delivery is recognised, are deleted after this many days. Not \
             less than `payload_days`.",
        )
        .whole_or(1..=LONGEST, DEDUPE_DAYS.max(payload_days));
    if dedupe_days < payload_days {
        section.problem(
            "dedupe_days",
            format!("{dedupe_days} is less than payload_days ({payload_days}): an event would count as new while its payload is still stored"),
        );
    }
    let ledger_days = section
        .key(
            "ledger_days",
            "The record of a payment's booking in invoicing software is deleted this many days after it was finished. Not \
             less than `dedupe_days`. French merchants keep accounting records for ten years (Code de commerce, L123-22).",
        )
        .whole_or(1..=LONGEST, LEDGER_DAYS.max(dedupe_days));
    if ledger_days < dedupe_days {
        section.problem(
            "ledger_days",
            format!("{ledger_days} is less than dedupe_days ({dedupe_days}): an event that is still stored could be booked again"),
        );
    }
    section.finish();
    let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
    Retention { payload: days(payload_days), dedupe: days(dedupe_days), ledger: days(ledger_days) }
}

fn own_events(mut section: Section<'_>) -> Settings {
    let group = section
        .key(
            "group_secs",
            "What happens for one cause within this time, in seconds, is one event with a count. While it goes on, each \
             further event collects for twice as long, up to four hours.",
        )
        .secs_or(1..=86_400, notices::GROUP_SECS);
    let tripped_after = section
        .key("tripped_after_secs", "How long a sink must have been failing before `relay.sink_tripped`, in seconds.")
        .secs_or(1..=86_400, notices::TRIPPED_AFTER_SECS);
    let digest_at = section
        .key("digest_at", "When `relay.digest` is made every day.")
        .allowed("a time such as `\"08:00\"`")
        .otherwise("never")
        .text()
        .and_then(|text| {
            let time = jiff::civil::Time::strptime("%H:%M", &text).ok();
            if time.is_none() {
                section.problem("digest_at", format!("`{text}` is not a time of day: write it like \"08:00\""));
            }
            time
        });
    let timezone = zone::timezone(&mut section, "The time zone of `digest_at`.");
    section.finish();
    Settings { group, tripped_after, digest_at, timezone }
}

const MAKE_A_MASTER_KEY: &str =
    "make one with `openssl rand -base64 32` and keep it: without it stored secrets cannot be read";

fn master_key(environment: &Environment<'_>, report: &Report) -> Option<Secret> {
    let Found { value, place } = environment.get("RELAY_MASTER_KEY", report)?;
    let key = Secret::new(value.trim());
    match STANDARD.decode(key.expose()).map(zeroize::Zeroizing::new) {
        Ok(bytes) if bytes.len() == 32 => {}
        Ok(bytes) => {
            report.problem(&place, format!("is base64 of {} bytes instead of 32: {MAKE_A_MASTER_KEY}", bytes.len()));
        }
        Err(_) => {
            let seen = key.oddity().map(|oddity| format!(" (it {oddity})")).unwrap_or_default();
            report.problem(&place, format!("is not base64{seen}: {MAKE_A_MASTER_KEY}"));
        }
    }
    Some(key)
}

/// Secrets that are generated on `SQLite`, in files beside the database, must be configured on Postgres, because replicas
/// have no common folder.
fn require_for_postgres(
    server: &Server,
    has_token: bool,
    has_master_key: bool,
    environment: &Environment<'_>,
    report: &Report,
) {
    if !has_master_key && !environment.is_set("RELAY_MASTER_KEY") {
        let what = format!("is required with a Postgres store: {MAKE_A_MASTER_KEY}");
        report.problem(&Place::variable("RELAY_MASTER_KEY"), what);
    }
    if !has_token && !server.admin_listen.ip().is_loopback() {
        let what = format!(
            "no admin token is configured, and the admin listener {} is not on loopback: set RELAY_ADMIN_TOKEN (`openssl rand -hex 32`), or listen on 127.0.0.1",
            server.admin_listen
        );
        report.problem(&Place::variable("RELAY_ADMIN_TOKEN"), what);
    }
}
