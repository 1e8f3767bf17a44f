//! Whole files and environments, rule by rule.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use proptest::prelude::*;

use finkare::{Paths, UpdateMethod};

use super::{Config, Dedupe, Role, Sink, StoreConfig, VARIABLES};
use crate::{
    ingest::route::Selection,
    model::dispatch::Order,
    options::{Problems, env::Environment, problem::Report, syntax::Names},
    signature::finkare::{SecretEncoding, SignatureOver},
    sinks::{
        file, http,
        invoicing::{facturation_pro, fastfaktura, tiime},
        kind::KINDS,
    },
};

mod books;
mod companies;
mod documents;
mod endpoints;
mod outgoing;
mod sinks;
mod statement;
mod terminal;

use self::books::{KEYED, facturation_pro_sink, fastfaktura_sink, tiime_sink};

const EXAMPLE: &str = include_str!("../../relay.example.toml");
/// Base64 of 32 bytes.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const TOKEN: &str = "relay_0123456789abcdef";

/// Reads a text under an environment; also gives every option that was looked for.
fn read(text: &str, variables: &[(&str, &str)]) -> (Result<Config, Problems>, BTreeSet<String>) {
    let lookup =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(*value));
    super::load::read(text, Some(Path::new("relay.toml")), &Environment::new(&lookup), Report::default())
}

fn good(text: &str, variables: &[(&str, &str)]) -> Config {
    read(text, variables).0.unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// The problems, without heading and line numbers.
fn wrong(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    match read(text, variables).0 {
        Ok(config) => panic!("{text}\nwas accepted: {config:?}"),
        Err(problems) => problems.iter().map(|problem| format!("{}: {}", problem.place, problem.what)).collect(),
    }
}

/// Asserts that a text has just one problem, which begins as expected.
#[track_caller]
fn one_problem(text: &str, variables: &[(&str, &str)], expected: &str) {
    let problems = wrong(text, variables);
    assert!(problems.len() == 1 && problems[0].starts_with(expected), "{text}\nexpected {expected}\ngot {problems:#?}");
}

fn http_sink(options: &str) -> String {
    format!("[[sinks]]\nname = 'erp'\ntype = 'http'\nurl = 'https://erp.example/x'\n{options}\n")
}

fn endpoint(options: &str) -> String {
    format!("[[endpoints]]\nname = 'e'\npath = '/hooks'\nsecret = 'whsec_x'\n{options}\n")
}

// --- the defaults and the environment

#[test]
fn nothing_configured_gives_a_service_on_sqlite() {
    let config = good("", &[]);
    insta::assert_debug_snapshot!(config);
}

#[test]
fn the_environment_alone_describes_a_service() {
    let config = good(
        "",
        &[
            ("RELAY_LISTEN", "0.0.0.0:80"),
            ("RELAY_ADMIN_LISTEN", "localhost:0"),
            ("RELAY_ADMIN_TOKEN", TOKEN),
            ("RELAY_MASTER_KEY", KEY),
            ("DATABASE_URL", "postgres://relay:hunter2@db/relay"),
            ("FINKARE_WEBHOOK_SECRET", "whsec_s"),
            ("FINKARE_WEBHOOK_ID", "w-1"),
            ("FINKARE_API_KEY", "fk_test_1"),
            ("FINKARE_API_URL", "http://127.0.0.1:9"),
            ("RELAY_SINK_URL", "https://erp.example"),
            ("RELAY_SINK_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"),
        ],
    );
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:80");
    assert_eq!(config.server.admin_listen.to_string(), "127.0.0.1:0");
    assert_eq!(config.admin.tokens.len(), 1);
    assert_eq!((config.admin.tokens[0].name.as_str(), config.admin.tokens[0].role), ("env", Role::Admin));
    assert_eq!(config.master_key.unwrap().expose(), KEY);
    let StoreConfig::Postgres { url, max_connections: 10 } = &config.store else { panic!("{:?}", config.store) };
    assert_eq!(url.expose(), "postgres://relay:hunter2@db/relay");
    let [endpoint] = config.endpoints.as_slice() else { panic!("{:?}", config.endpoints) };
    assert_eq!((endpoint.name.as_str(), endpoint.path.as_str()), ("default", "/webhooks/finkare"));
    assert_eq!(endpoint.secrets[0].expose(), "whsec_s");
    assert_eq!(endpoint.webhook_id.as_deref(), Some("w-1"));
    assert_eq!(endpoint.api_key.as_ref().unwrap().expose(), "fk_test_1");
    assert_eq!(endpoint.api_url.as_ref().unwrap().as_str(), "http://127.0.0.1:9/");
    let [sink] = config.sinks.as_slice() else { panic!("{:?}", config.sinks) };
    let options: &http::Options = sink.kind.options().unwrap();
    assert_eq!((sink.name.as_str(), options.url.as_str()), ("default", "https://erp.example/"));
    assert!(options.secret.is_some());
    assert_eq!(sink.events, Selection::Types(Selection::DEFAULT.map(str::to_owned).to_vec()));
    assert_eq!(config.made_up, super::MadeUp::default());
    assert_eq!(config.notices, Vec::<String>::new());
    assert_eq!(good("", &[("RELAY_MASTER_KEY", KEY)]).notices, Vec::<String>::new());
}

#[test]
fn every_variable_also_comes_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, value: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("{value}\n")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (url, secret, key) = (file("url", "postgres://db/relay"), file("secret", "whsec_f"), file("key", KEY));
    let listen = file("listen", "127.0.0.1:1");
    let config = good(
        "",
        &[
            ("DATABASE_URL_FILE", url.as_str()),
            ("FINKARE_WEBHOOK_SECRET_FILE", secret.as_str()),
            ("RELAY_MASTER_KEY_FILE", key.as_str()),
            ("RELAY_LISTEN_FILE", listen.as_str()),
        ],
    );
    assert!(matches!(config.store, StoreConfig::Postgres { .. }));
    assert_eq!(config.endpoints[0].secrets[0].expose(), "whsec_f");
    assert_eq!(config.server.listen.port(), 1);
    one_problem(
        "",
        &[("RELAY_LISTEN", "127.0.0.1:2"), ("RELAY_LISTEN_FILE", &listen)],
        "RELAY_LISTEN: `RELAY_LISTEN_FILE`",
    );
    let bad = file("bad", "nowhere");
    one_problem("", &[("RELAY_LISTEN_FILE", &bad)], "RELAY_LISTEN_FILE: `nowhere` is not an address");
}

#[test]
fn the_environment_wins_over_the_file() {
    let text = "[server]\nlisten = '127.0.0.1:1'\nadmin_listen = '127.0.0.1:2'\n[store]\nurl = 'sqlite:a'";
    let config =
        good(text, &[("RELAY_LISTEN", "127.0.0.1:3"), ("DATABASE_URL", "sqlite:b"), ("RELAY_ADMIN_LISTEN", "")]);
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.server.admin_listen.port(), 2, "an empty variable is not set");
    assert!(matches!(config.store, StoreConfig::Sqlite { path } if path == Path::new("b")));
}

#[test]
fn every_variable_in_the_list_is_read_and_no_other() {
    // Logging has its own two, traces theirs, and the command `rekey` one; those of proxies are read only if the
    // configuration says so.
    let elsewhere =
        ["RELAY_LOG_FORMAT", "RUST_LOG", "RELAY_NEW_MASTER_KEY", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"];
    let asked = std::cell::RefCell::new(BTreeSet::new());
    let lookup = |name: &str| {
        asked.borrow_mut().insert(name.trim_end_matches("_FILE").to_owned());
        None
    };
    let empty = tempfile::tempdir().unwrap();
    super::load::load_in(empty.path(), None, &lookup).unwrap();
    let listed: BTreeSet<String> = VARIABLES
        .iter()
        .map(|variable| variable.name.to_owned())
        .filter(|name| !elsewhere.contains(&name.as_str()) && !name.starts_with("OTEL_"))
        .collect();
    assert_eq!(asked.into_inner(), listed);
}

#[test]
fn the_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let in_dir =
        |path: Option<&Path>, env: &crate::options::env::Lookup<'_>| super::load::load_in(dir.path(), path, env);
    let none = |_: &str| None;
    assert_eq!(in_dir(None, &none).unwrap().file, None);

    let write = |name: &str, port: u16| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("[server]\nlisten = '127.0.0.1:{port}'")).unwrap();
        path
    };
    let (standard, named, given) = (write("relay.toml", 1), write("named.toml", 2), write("given.toml", 3));
    let variable = |name: &str| (name == "RELAY_CONFIG").then(|| named.clone().into_os_string());
    assert_eq!(in_dir(None, &none).unwrap().file, Some(standard));
    assert_eq!(in_dir(None, &variable).unwrap().server.listen.port(), 2);
    assert_eq!(in_dir(Some(&given), &variable).unwrap().server.listen.port(), 3);

    let missing = |name: &str| (name == "RELAY_CONFIG").then(|| "/nowhere.toml".into());
    let problems = in_dir(None, &missing).unwrap_err().to_string();
    assert!(problems.contains("\n- RELAY_CONFIG: `/nowhere.toml` cannot be read: "), "{problems}");
    std::fs::write(dir.path().join("binary.toml"), [0xff, 0xfe]).unwrap();
    assert!(in_dir(Some(&dir.path().join("binary.toml")), &none).is_err());
}

// --- secrets

#[test]
fn no_secret_is_shown() {
    let text = "
[store]
url = 'postgres://relay:hunter2-db@db/relay'
[admin]
tokens = [{ name = 'ops', role = 'viewer', token = 'hunter2-token-0123' }]
[[endpoints]]
name = 'e'
path = '/e'
secret = 'hunter2-secret'
secrets = ['hunter2-old']
api_key = 'hunter2-key'
[[sinks]]
name = 'erp'
type = 'http'
url = 'https://anna:hunter2-user@erp.example/hook?token=hunter2-query'
secret = 'whsec_aHVudGVyMi1odW50ZXIyLWh1bnRlcjIt'
headers = { x-key = 'hunter2-header' }
";
    let key = KEY.replace("AAEC", "hunt");
    let config = good(text, &[("RELAY_MASTER_KEY", &key), ("RELAY_ADMIN_TOKEN", "hunter2-env-012345")]);
    let mut shown = format!("{config:?} {config:#?} {:?}", config.notices);
    let options: &http::Options = config.sinks[0].kind.options().unwrap();
    assert_eq!(options.url.username(), "");
    assert_eq!(options.headers["authorization"].expose(), "Basic YW5uYTpodW50ZXIyLXVzZXI=");
    for part in ["hunter2", "aHVudGVy", "YW5uYT", &key] {
        assert!(!shown.contains(part), "{part} in {shown}");
    }

    // The same in places and forms where they are wrong.
    let wrong = "
[store]
url = 'postgre://relay:hunter2-db@db/relay'
[admin]
tokens = ['hunter2-a', { name = 'a', role = 'admin', token = ['hunter2'] }, { name = 'b', role = 'admin', token = 'hunter2 with blanks' }]
[[endpoints]]
name = 'e'
path = '/e'
secret = { value = 'hunter2' }
secrets = 'hunter2'
api_key = 'hunter2 é'
api_url = 'https://hunter2@api.finkare.io'
[[sinks]]
name = 'erp'
type = 'http'
url = 'ftp://anna:hunter2@erp.example'
secret = 'hunter2'
headers = { 'x key' = 'hunter2', x-key = 12342, x-line = \"hunter2\\nx\" }
[[sinks]]
name = 'erp2'
type = 'http'
url = 'hunter2:hunter2@erp'
headers = 'hunter2'
secret = 'whsec_hunter2!'
[[sinks]]
name = 'erp3'
type = 'http'
url = 'http://a/b'
headers = { 'x key' = 'hunter2', x-line = \"hunter2\\nx\" }
secret = 'whsec_hunter2!'
";
    let problems = read(wrong, &[("RELAY_MASTER_KEY", "hunter2"), ("RELAY_ADMIN_TOKEN", "hunter2 é")]).0.unwrap_err();
    shown = format!("{problems} {problems:?}");
    assert!(problems.iter().count() >= 20, "{shown}");
    assert!(!shown.contains("hunter2") && !shown.contains("1234"), "{shown}");
}

#[test]
fn a_secret_may_name_a_variable_that_comes_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "whsec_from_file\n").unwrap();
    let path = file.path().to_str().unwrap();
    let text = "[[endpoints]]\nname = 'e'\npath = '/e'\nsecret = { env = 'S' }";
    assert_eq!(good(text, &[("S_FILE", path)]).endpoints[0].secrets[0].expose(), "whsec_from_file");
    one_problem(text, &[], "endpoints[0] (e).secret: the variable `S` is not set, or empty");
    one_problem(text, &[("S", "x"), ("S_FILE", path)], "endpoints[0] (e).secret: the variable S: `S_FILE` is set too");
}

// --- server, store, admin, retention

#[test]
fn listeners() {
    let with = |listen: &str, admin: &str| format!("[server]\nlisten = '{listen}'\nadmin_listen = '{admin}'");
    assert_eq!(good(&with("localhost:5", "[::1]:6"), &[]).server.listen.to_string(), "127.0.0.1:5");
    good(&with("127.0.0.1:0", "127.0.0.1:0"), &[]);
    one_problem(&with("127.0.0.1:5", "0.0.0.0:5"), &[], "server.admin_listen: port 5 is also the port of `listen`");
    for bad in ["8080", ":8080", "relay.example:80", "127.0.0.1", "127.0.0.1:70000", "localhost", ""] {
        one_problem(&with(bad, "127.0.0.1:1"), &[], "server.listen: `");
    }
}

#[test]
fn numbers_of_the_server() {
    for (option, bad) in [
        ("max_body_bytes", vec!["1023", "67108865", "1e6", "'1MiB'"]),
        ("ack_timeout_secs", vec!["0", "31", "4.5"]),
        ("body_timeout_secs", vec!["0", "61"]),
        ("max_connections", vec!["0", "-1", "100001"]),
        ("commit_batch", vec!["0", "1025", "-1"]),
        ("shutdown_timeout_secs", vec!["0", "3601", "true"]),
    ] {
        for bad in bad {
            one_problem(&format!("[server]\n{option} = {bad}"), &[], &format!("server.{option}: "));
        }
    }
    let config = good("[server]\nack_timeout_secs = 5", &[]);
    assert_eq!(config.server.ack_timeout, Duration::from_secs(5));
    assert!(config.notices[0].starts_with("server.ack_timeout_secs: Finkare waits 5 seconds"), "{:?}", config.notices);
    assert!(good("[server]\nack_timeout_secs = 4", &[]).notices.is_empty());
}

#[test]
fn store_urls() {
    for (url, expected) in [
        ("sqlite://data/relay.db", "data/relay.db"),
        ("sqlite:///var/relay.db", "/var/relay.db"),
        ("sqlite:data/relay.db", "data/relay.db"),
        ("sqlite:/var/relay.db", "/var/relay.db"),
    ] {
        let config = good(&format!("[store]\nurl = '{url}'"), &[]);
        assert!(matches!(&config.store, StoreConfig::Sqlite { path } if path == Path::new(expected)), "{url}");
    }
    for (url, expected) in [
        ("sqlite::memory:", "SQLite in memory forgets"),
        ("sqlite://:memory:", "SQLite in memory forgets"),
        ("sqlite://a.db?mode=rwc", "a SQLite URL takes no parameters"),
        ("sqlite://", "the path of the SQLite file is missing"),
        ("sqlite://data/", "the path of the SQLite file ends in `/`"),
        ("mysql://a/b", "only SQLite and Postgres are supported"),
        ("postgres://a:p@ss:word@/x:y", "is not a valid URL"),
        ("data/relay.db", "write `sqlite://data/relay.db`"),
    ] {
        one_problem(&format!("[store]\nurl = '{url}'"), &[], &format!("store.url: {expected}"));
        one_problem("", &[("DATABASE_URL", url)], &format!("DATABASE_URL: {expected}"));
    }
    one_problem("[store]\nurl = ''", &[], "store.url: is empty");
    assert_eq!(good("[store]\nmax_connections = 5", &[]).notices.len(), 1);
    one_problem("[store]\nmax_connections = 1", &[], "store.max_connections: 1 is not from 2 to 1000");
}

#[test]
fn postgres_needs_what_sqlite_makes_up() {
    let url = ("DATABASE_URL", "postgresql://db/relay");
    let problems = wrong("", &[url]);
    assert!(problems.len() == 1 && problems[0].starts_with("RELAY_MASTER_KEY: is required with a Postgres store"));
    assert!(problems[0].contains("openssl rand -base64 32"), "{problems:?}");
    let all = [url, ("RELAY_MASTER_KEY", KEY), ("FINKARE_WEBHOOK_SECRET", "whsec_x")];
    let made_up = good("", &all).made_up;
    assert!(!made_up.secret && !made_up.admin_token);
    let without_secret = good("", &all[..2]);
    assert!(!without_secret.made_up.secret, "replicas have no folder in common");
    assert_eq!(without_secret.notices, Vec::<String>::new(), "the store may have one");

    let open = "[server]\nadmin_listen = '0.0.0.0:81'";
    one_problem(open, &all, "RELAY_ADMIN_TOKEN: no admin token is configured");
    good(open, &[all.as_slice(), &[("RELAY_ADMIN_TOKEN", TOKEN)]].concat());
    assert!(good(open, &[]).made_up.admin_token, "SQLite generates one");
    // A problem with a thing is not also its absence.
    one_problem("", &[url, ("RELAY_MASTER_KEY", "short"), all[2]], "RELAY_MASTER_KEY: is not base64");
    one_problem(
        "",
        &[url, ("RELAY_MASTER_KEY", "AAAA"), all[2]],
        "RELAY_MASTER_KEY: is base64 of 3 bytes instead of 32",
    );
    one_problem(
        "",
        &[url, all[1], ("FINKARE_WEBHOOK_SECRET_FILE", "/nowhere")],
        "FINKARE_WEBHOOK_SECRET_FILE: `/nowhere`",
    );
}

#[test]
fn admin_tokens() {
    let tokens = |text: &str| format!("[admin]\ntokens = [{text}]");
    let ops = format!("{{ name = 'ops', role = 'viewer', token = '{TOKEN}' }}");
    let names = |config: &Config| -> Vec<(String, Role)> {
        config.admin.tokens.iter().map(|token| (token.name.clone(), token.role)).collect()
    };
    let other = ("RELAY_ADMIN_TOKEN", "relay_another_token_here");
    assert_eq!(names(&good(&tokens(&ops), &[])), [("ops".into(), Role::Viewer)]);
    assert_eq!(names(&good(&tokens(&ops), &[other])), [("ops".into(), Role::Viewer), ("env".into(), Role::Admin)]);
    assert_eq!(names(&good(&tokens(&ops.replace("ops", "env")), &[other])), [("env".into(), Role::Admin)]);
    // The same token under a lesser role is not raised.
    assert_eq!(names(&good(&tokens(&ops), &[("RELAY_ADMIN_TOKEN", TOKEN)])), [("ops".into(), Role::Viewer)]);
    assert!(good(&tokens(&ops), &[]).made_up == super::MadeUp { secret: true, admin_token: false, sink: true });

    one_problem(
        &tokens(&format!("{ops}, {}", ops.replace("ops", "b"))),
        &[],
        "admin.tokens[1] (b).token: is the same token as `ops`",
    );
    let twice = format!("{ops}, {{ name = 'ops', role = 'admin', token = 'relay_another_token_here' }}");
    one_problem(&tokens(&twice), &[], "admin.tokens[1] (ops).name: there are two tokens `ops`");
    one_problem(
        &tokens(&ops.replace("viewer", "viwer")),
        &[],
        "admin.tokens[0] (ops).role: `viwer` is not one of `viewer`, `operator`, `admin` (did you mean `viewer`?)",
    );
    assert_eq!(wrong(&tokens("{}"), &[]).len(), 3);
    assert!(
        good("", &[("RELAY_ADMIN_TOKEN", "short")]).notices[0].starts_with("RELAY_ADMIN_TOKEN: the token has fewer")
    );
}

#[test]
fn admin_tokens_by_their_hash() {
    let tokens = |text: &str| format!("[admin]\ntokens = [{text}]");
    // printf %s relay_0123456789abcdef | sha256sum
    let hash = "0f353f6c50f2a0b8f66c8ffa6666d9903908b0a8c3e23f615c940b011c098a85";
    let ops = format!("{{ name = 'ops', role = 'operator', token_sha256 = '{hash}' }}");
    let known = good(&tokens(&ops), &[]);
    assert_eq!(hex::encode(known.admin.tokens[0].token.hash()), hash);
    assert!(known.admin.tokens[0].token.plain().is_none() && !known.made_up.admin_token);
    assert!(!format!("{known:?}").contains(hash), "a short token could be guessed from it");
    assert_eq!(
        good(&tokens(&ops.replace(hash, &hash.to_uppercase())), &[]).admin.tokens[0].token.hash(),
        known.admin.tokens[0].token.hash()
    );

    // The token itself beside it: the same entry, with its role, and now the commands can use it.
    let both = good(&tokens(&ops), &[("RELAY_ADMIN_TOKEN", TOKEN)]);
    let [token] = both.admin.tokens.as_slice() else { panic!("{:?}", both.admin.tokens) };
    assert_eq!(
        (token.name.as_str(), token.role, token.token.plain().map(crate::model::secret::Secret::expose)),
        ("ops", Role::Operator, Some(TOKEN))
    );

    let twice = format!("{ops}, {{ name = 'b', role = 'admin', token = '{TOKEN}' }}");
    one_problem(&tokens(&twice), &[], "admin.tokens[1] (b).token: is the same token as `ops`");
    for bad in ["", "abc", TOKEN, &hash[1..], &hash.replace('0', "g")] {
        let problems = wrong(&tokens(&ops.replace(hash, bad)), &[]);
        assert!(problems.len() == 1 && problems[0].contains("token_sha256"), "{problems:?}");
        assert!(bad.len() < 4 || !problems[0].contains(bad), "a token by mistake: {problems:?}");
    }
    let two = ops.replace("token_sha256", &format!("token = '{TOKEN}', token_sha256"));
    one_problem(
        &tokens(&two),
        &[],
        "admin.tokens[0] (ops).token_sha256: is set in addition to `token`: write one of the two",
    );
}

#[test]
fn retention() {
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let config = good("[retention]\npayload_days = 1\ndedupe_days = 1", &[]);
    assert_eq!((config.retention.payload, config.retention.dedupe), (days(1), days(1)));
    assert_eq!(config.retention.ledger, days(3650));
    // Raising one of them does not force one to write the others.
    let raised = good("[retention]\npayload_days = 5000", &[]).retention;
    assert_eq!((raised.dedupe, raised.ledger), (days(5000), days(5000)));
    assert_eq!(good("[retention]\nledger_days = 400", &[]).retention.ledger, days(400));
    one_problem("[retention]\nledger_days = 399", &[], "retention.ledger_days: 399 is less than dedupe_days (400)");
    one_problem("[retention]\nledger_days = 36501", &[], "retention.ledger_days: 36501 is not from 1 to 36500");
    one_problem("[retention]\npayload_days = 0", &[], "retention.payload_days: 0 is not from 1 to 36500");
    one_problem("[retention]\ndedupe_days = 89", &[], "retention.dedupe_days: 89 is less than payload_days (90)");
}

// --- the whole

#[test]
fn everything_wrong_at_once() {
    let text = r#"
colour = "blue"

[server]
listen = "8080"
admin_lisen = "127.0.0.1:8081"
max_body_bytes = 10
ack_timeout_secs = 4.5

[store]
url = "sqlite::memory:"

[admin]
tokens = [{ name = "ops", role = "root", token = "letmein and more" }]

[retention]
payload_days = 500
dedupe_days = 400

[[endpoints]]
name = "production"
path = "/webhooks/{id}"
secret = { env = "NOT_SET" }
dedupe = "id"

[[endpoints]]
name = "production"
path = "/metrics"
secert = "whsec_oops"

[[sinks]]
name = "erp"
type = "http"
url = "erp.example/hooks"
events = []
endpoints = ["prodution"]
filter = "data.amountCents >"
retry = { initial_secs = 60, max_secs = 5, tries = 3 }
headers = { "x team" = 5 }

[[sinks]]
name = "queue"
type = "nats"

[[sinks]]
name = "archive"
type = "fiel"
"#;
    let problems =
        read(text, &[("RELAY_MASTER_KEY", "bm90IGEga2V5"), ("RELAY_ADMIN_LISTEN", "nowhere")]).0.unwrap_err();
    insta::assert_snapshot!(problems);
}

#[test]
fn a_syntax_error_is_shown_in_its_line() {
    let problems = read("[server]\nlisten = \"127.0.0.1:80\nack_timeout_secs = 4\n", &[]).0.unwrap_err();
    insta::assert_snapshot!(problems);
}

/// The sink of a type in the example, and one of which nothing but what is required is written.
fn shown_and_default(example: &Config, kind: &str, bare: &str) -> (Sink, Sink) {
    let shown = example.sinks.iter().find(|sink| sink.kind.name() == kind).unwrap();
    (shown.clone(), good(bare, &KEYED).sinks[0].clone())
}

/// A certificate, as a file of an authority has it.
fn authority_in_pem() -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let der = STANDARD.encode(include_bytes!("../../tests/it/sinks/untrusted/ca.der"));
    format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n")
}

/// The example with the options switched on that have no default.
fn full_example() -> String {
    EXAMPLE.lines().fold(String::new(), |mut text, line| {
        let is_option = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        writeln!(text, "{}", is_option.unwrap_or(line)).expect("a string takes everything");
        text
    })
}

const EXAMPLE_VARIABLES: [(&str, &str); 14] = [
    ("EFACTORI_SESSION_KEY", "sessionkeyofours"),
    ("EFACTORI_COMPANY_UUID", "0f3a2b1c-7d6e-4f50-8a9b-1c2d3e4f5a6b"),
    ("OPS_TOKEN", TOKEN),
    ("ACME_TOKEN", "relay_0123456789abcdef-acme"),
    ("SMTP_URL", "smtps://user:password@mail.example.fr"),
    ("SLACK_URL", "https://hooks.slack.com/services/T0/B0/x"),
    ("FINKARE_WEBHOOK_SECRET", "whsec_x"),
    ("FINKARE_API_KEY", "fk_live_x"),
    ("ERP_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"),
    ("ERP_AUTHORIZATION", "Bearer x"),
    ("TIIME_TOKEN", "a.b.c"),
    ("FASTFAKTURA_API_KEY", "ffk_x"),
    ("FACTURATION_API_ID", "41837"),
    ("FACTURATION_API_KEY", "c2f1d9a07be64c35"),
];

#[test]
fn the_example_loads_and_shows_the_defaults() {
    let key = ("FINKARE_API_KEY", "fk_live_x");
    let example = good(EXAMPLE, &EXAMPLE_VARIABLES);
    let default = good("", &[("RELAY_SINK_URL", "https://erp.example/hooks/finkare"), key]);
    assert_eq!(example.notices, Vec::<String>::new());
    assert_eq!(example.server, default.server);
    assert_eq!(example.retention, default.retention);
    assert_eq!(format!("{:?}", example.store), format!("{:?}", default.store));
    let comparable = |config: &Config| {
        let mut sink = config.sinks[0].clone();
        sink.name = "same".parse().unwrap();
        let mut endpoint = config.endpoints[0].clone();
        endpoint.name = "same".parse().unwrap();
        endpoint.secrets.clear();
        format!("{sink:?} {:?} {endpoint:?}", sink.kind)
    };
    assert_eq!(comparable(&example), comparable(&default));
    let archive: &file::Options = example.sinks[1].kind.options().unwrap();
    let default = good("[[sinks]]\nname = 'a'\ntype = 'file'\npath = 'x'", &[]);
    assert_eq!(default.sinks[0].kind.options::<file::Options>().unwrap().max_bytes, archive.max_bytes);
    let shown = example.sinks.iter().find(|sink| sink.name.as_str() == "compta").unwrap();
    let default = &good(&facturation_pro_sink(""), &KEYED).sinks[0];
    let comparable = |sink: &Sink| {
        let mut options = sink.kind.options::<facturation_pro::Options>().unwrap().clone();
        let methods = ["bank_transfer", "sepa_debit", "card", "payment_link", "other"];
        let codes = methods.map(|method| options.payment_mode(Some(method)));
        options.payment_modes.clear();
        format!("{options:?} {codes:?} {:?} {:?}", sink.concurrency, sink.timeout)
    };
    assert_eq!(comparable(shown), comparable(default));
    let (shown, default) = shown_and_default(&example, "tiime", &tiime_sink(""));
    assert_eq!((shown.concurrency, shown.timeout), (default.concurrency, default.timeout));
    let options = |sink: &Sink| format!("{:?}", sink.kind.options::<tiime::Options>().unwrap());
    assert_eq!(options(&shown), options(&default));
    let (shown, default) = shown_and_default(&example, "fastfaktura", &fastfaktura_sink(""));
    assert_eq!((shown.concurrency, shown.timeout), (default.concurrency, default.timeout));
    let options = |sink: &Sink| format!("{:?}", sink.kind.options::<fastfaktura::Options>().unwrap());
    assert_eq!(options(&shown), options(&default));
}

#[test]
fn the_example_has_every_option_and_no_other() {
    // The files that the example names are on no machine of ours.
    let (file, authority) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    std::fs::write(file.path(), "whsec_old").unwrap();
    std::fs::write(authority.path(), authority_in_pem()).unwrap();
    let text = full_example()
        .replace("/run/secrets/finkare_webhook_old", file.path().to_str().unwrap())
        .replace("/etc/ssl/company-ca.pem", authority.path().to_str().unwrap());
    let (config, known) = read(&text, &EXAMPLE_VARIABLES);
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.endpoints[0].secrets.len(), 2);

    let mut shown = BTreeSet::new();
    let whole: toml::Table = text.parse().unwrap();
    keys(&whole, "", &mut shown);
    let without_numbers = |path: &String| {
        let parts = path.split('[').map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()));
        parts.collect::<Vec<_>>().join("[")
    };
    // A sink shows all that not every sink has, or every invoicing one: that is shown once.
    let sinks = whole["sinks"].as_array().unwrap();
    let known_of: Vec<BTreeSet<&str>> = (0..sinks.len())
        .map(|index| known.iter().filter_map(|path| path.strip_prefix(&format!("sinks[{index}]."))).collect())
        .collect();
    let is_invoicing = |index: usize| config.sinks[index].kind.is_invoicing();
    for (sink, known) in sinks.iter().zip(&known_of) {
        let mut own = BTreeSet::new();
        keys(sink.as_table().unwrap(), "", &mut own);
        for key in known {
            let having: Vec<usize> = (0..sinks.len()).filter(|index| known_of[*index].contains(key)).collect();
            let is_of_invoicing = having.iter().copied().eq((0..sinks.len()).filter(|index| is_invoicing(*index)));
            let is_common = having.len() == sinks.len() || is_of_invoicing;
            assert!(
                is_common || own.contains(&without_numbers(&(*key).to_owned())),
                "not in relay.example.toml for {}: {key}",
                sink["name"]
            );
        }
    }
    let known: BTreeSet<_> = known.iter().map(without_numbers).collect();
    let missing: Vec<_> = known.difference(&shown).collect();
    assert!(missing.is_empty(), "not in relay.example.toml: {missing:?}");
    // What is shown and not known would have been an unknown key.
    assert!(shown.is_superset(&known) && known.len() > 50, "{known:?}");
}

#[test]
fn what_a_syntax_error_may_show_are_options_without_secrets() {
    let mut paths = BTreeSet::new();
    keys(&full_example().parse().unwrap(), "", &mut paths);
    let names: BTreeSet<_> = paths.iter().map(|path| path.rsplit('.').next().unwrap_or(path)).collect();
    let secret = [
        "secret",
        "secrets",
        "token",
        "tokens",
        "token_sha256",
        "api_key",
        "api_id",
        "api_url",
        "session_key",
        "company_uuid",
        "url",
        "base_url",
        "headers",
        "template",
        "proxy",
        "endpoints",
        "sinks",
        "smtp_url",
        "subject",
        "text",
    ];
    let described = super::load::describe(&KINDS);
    let syntax = Names::of(&described);
    let showable = syntax.showable();
    for name in showable {
        assert!(names.contains(name) && !secret.contains(name), "{name}");
    }
    assert!(!showable.contains("store") && !showable.contains("admin") && showable.contains("retry"));
    let problem = read("store = postgres://relay:hunter2@db", &[]).0.unwrap_err().to_string();
    assert!(problem.contains("store = ********") && !problem.contains("hunter2"), "{problem}");
    for key in described {
        assert!(showable.contains(key.name) || secret.contains(&key.name) || key.shape.is_table(), "{}", key.name);
    }
}

#[test]
fn what_is_missing_is_told_at_the_line_of_its_table() {
    let lines = |text: &str| -> Vec<_> {
        let problems = read(text, &[]).0.unwrap_err();
        problems.iter().map(|problem| (problem.line.as_ref().map(|spot| spot.line), problem.place.clone())).collect()
    };
    let text = format!("{}\n[[sinks]]\n\nname = 's'\n[[sinks]]\ntype = 'stdout'", endpoint(""));
    assert_eq!(lines(&text), [(Some(7), "sinks[0] (s).type".into()), (Some(10), "sinks[1].name".into())]);
}

/// Every key's path, with `[]` for the items of lists.
fn keys(table: &toml::Table, path: &str, into: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            toml::Value::Table(table) => keys(table, &path, into),
            toml::Value::Array(items) => {
                for table in items.iter().filter_map(toml::Value::as_table) {
                    keys(table, &format!("{path}[]"), into);
                }
            }
            _ => {}
        }
        into.insert(path);
    }
}

#[test]
fn the_deepest_nesting_ends() {
    for text in [
        format!("a = {}{}", "[".repeat(20_000), "]".repeat(20_000)),
        format!("a = {}1{}", "{a=".repeat(20_000), "}".repeat(20_000)),
        format!("{}a = 1", "a.".repeat(20_000)),
        format!("[{}a]", "a.".repeat(20_000)),
    ] {
        assert!(read(&text, &[]).0.is_err());
    }
}

/// Text that looks like configuration: lines of the example's keys with values of any type.
fn toml_ish() -> impl Strategy<Value = String> {
    let mut keys = BTreeSet::new();
    self::keys(&full_example().parse().unwrap(), "", &mut keys);
    let keys: Vec<String> = keys.iter().map(|path| path.rsplit('.').next().unwrap_or(path).to_owned()).collect();
    let key = prop_oneof![4 => prop::sample::select(keys), 1 => "[a-z_]{1,8}"];
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        "\"[^\"\\\\\n]{0,12}\"",
        Just("true".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("\"*\"".to_owned()),
        Just("[\"a\", 1, { env = \"X\" }]".to_owned()),
        Just("{ env = \"X\" }".to_owned()),
        Just("{ file = \"/nowhere\" }".to_owned()),
        Just("{ requests = 1, per_secs = 0 }".to_owned()),
        prop::sample::select(vec!["\"http\"", "\"file\"", "\"stdout\"", "\"postgres://é@/\"", "\"https://a:b@c\""])
            .prop_map(str::to_owned),
        "[^\n]{0,12}",
    ];
    let section = prop::sample::select(vec![
        "[server]",
        "[store]",
        "[admin]",
        "[[admin.tokens]]",
        "[retention]",
        "[[endpoints]]",
        "[[sinks]]",
        "[sinks.retry]",
        "[sinks.headers]",
        "[x]",
    ]);
    let line = prop_oneof![
        6 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        2 => section.prop_map(str::to_owned),
        1 => "\\PC{0,20}",
    ];
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in toml_ish(), noise in "\\PC{0,40}", variable in "\\PC{0,20}") {
        let environment = BTreeMap::from([("X", "x"), ("RELAY_SINK_URL", variable.as_str())]);
        let lookup = |name: &str| environment.get(name).map(|value| OsString::from(*value));
        for text in [&text, &noise, &format!("{text}\n{noise}")] {
            let (result, _) = super::load::read(text, None, &Environment::new(&lookup), Report::default());
            if let Err(problems) = result {
                prop_assert!(problems.iter().count() > 0);
                prop_assert!(!problems.to_string().is_empty());
            }
        }
    }
}
