//! The commands at a terminal, in a pipe and in a script: exit codes, questions, closed pipes, other folders, and bytes
//! that are not text.

use std::{
    ffi::OsStr,
    io::Write as _,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use finkare_relay::signature::finkare;
use serde_json::{Value, json};

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    http,
    relay::{Backend, Home, PATH, Relay, SECRET, TOKEN},
    target::{Reply, Target},
};

mod asking;
mod listing;
mod many;
mod showing;

/// A text that a `str` cannot hold: "café" in the encoding of Windows and old databases.
const LATIN1: &[u8] = b"caf\xe9";

/// The binary in a folder, with nothing in the environment.
fn bare(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finkare-relay"));
    command.current_dir(folder).env_clear().stdin(Stdio::null());
    command
}

/// Runs a command to its end, outside of the runtime's threads: exit code, standard output, standard error.
async fn run(mut command: Command) -> (i32, String, String) {
    let output: Output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A text without the blanks that align its columns.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A pipe whose reader has gone.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bare_command_prints_help_and_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = run(bare(folder.path())).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    for word in ["Usage: finkare-relay", "  serve ", "  events ", "DATABASE_URL", "--config"] {
        assert!(stdout.contains(word), "{word} is missing in\n{stdout}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_ends_quietly_everywhere() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("").await;
    Finkare::of(&relay).deliver(&payment("i1", 1)).await;
    relay.drained().await;
    let (admin, hook) = (format!("http://{}", relay.admin), relay.hook());
    let id = relay.all("/events").await[0]["id"].as_str().unwrap().to_owned();
    for arguments in [
        &["events", "list", "--admin-url", &admin][..],
        &["events", "list", "--json", "--admin-url", &admin],
        &["events", "show", &id, "--admin-url", &admin],
        &["events", "replay", &id, "--admin-url", &admin],
        &["dispatches", "list", "--json", "--admin-url", &admin],
        &["sinks", "list", "--watch", "--admin-url", &admin],
        &["endpoints", "list", "--admin-url", &admin],
        &["audit", "list", "--admin-url", &admin],
        &["refusals", "list", "--admin-url", &admin],
        &["bookings", "list", "--admin-url", &admin],
        &["try", "--sink", "stdout", "--since", "2020-01-01T00:00:00Z", "--admin-url", &admin],
        &["send", "payment.received", "--count", "3", "--to", &hook],
        &["send", "payment.received", "--json", "--to", &hook],
        &["check"],
        &["check", "--json"],
        &["migrate"],
        &["openapi"],
        &["health"],
        &["demo"],
        &[],
    ] {
        let mut command = home.command();
        command.env("RELAY_LISTEN", relay.public.to_string()).env("RUST_BACKTRACE", "1");
        command.env("RUST_LOG", "off").env("TMPDIR", home.directory.path()).args(arguments).stdout(unread());
        let (code, _, stderr) = run(command).await;
        assert_eq!((code, stderr.as_str()), (141, ""), "{arguments:?}");
    }
    // Also without a reader of the errors.
    let mut command = home.command();
    command.args(["events", "show", "nothing", "--admin-url", &admin]).stdout(unread()).stderr(unread());
    assert_eq!(run(command).await.0, 1);
    // A full disk does not count as a closed pipe.
    let mut command = home.command();
    command.arg("openapi").stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let (code, _, stderr) = run(command).await;
    assert!(code == 1 && stderr.starts_with("error: standard output cannot be written to"), "{code} {stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_is_2_everywhere_and_says_what_could_be_written() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("").await;
    let admin = format!("http://{}", relay.admin);
    let listing = ["events", "dispatches", "audit", "refusals", "bookings"];
    for list in listing {
        for limit in ["0", "501", "x"] {
            let mut command = home.command();
            command.args([list, "list", "--limit", limit, "--admin-url", &admin]);
            let (code, _, stderr) = run(command).await;
            assert!(code == 2 && stderr.contains("--limit"), "{list} {limit}: {code} {stderr}");
        }
    }
    for (arguments, words) in [
        (&["events", "list", "--since", "yesterday"][..], &["2026-03-15T10:30:00Z"][..]),
        (&["events", "list", "--until", "2026-11-31"], &["2026-03-15T10:30:00Z"]),
        (&["events", "list", "--cursor", "x"], &["cursor"]),
        (&["dispatches", "list", "--cursor", "x"], &["cursor"]),
        (&["dispatches", "list", "--state", "foo"], &["`pending`", "`cancelled`"]),
        (&["bookings", "list", "--state", "foo"], &["`reserved`", "`booked`"]),
        (&["dispatches", "retry"], &["<ID|--sink <NAME>|--state <STATE>>"]),
        (&["dispatches", "cancel"], &["<ID|--sink <NAME>|--state <STATE>>"]),
        (&["dispatches", "retry", "--invoice-id", "X"], &["<ID|--sink <NAME>|--state <STATE>>"]),
        (&["dispatches", "cancel", "--sink", "stdout", "--yes"], &["--state <STATE>"]),
        (&["dispatches", "retry", "--state", "delivered", "--yes"], &["wrong_state"]),
        (&["dispatches", "retry", "--state", "foo", "--yes"], &["`held`"]),
        (&["events", "replay"], &["an id", "--type", "--endpoint", "--invoice-id", "--since", "--until", "--all"]),
        (&["events", "replay", "0192f3a4-5b6c-7d8e-9f01-23456789abcd", "--dry-run"], &["--all", "try --sink NAME"]),
        (&["events", "replay", "--all", "--type", "ping", "--yes"], &["cannot be used with"]),
        (&["bookings", "settle", "p", "--sink", "stdout"], &["<--recorded|--not-recorded>"]),
        (&["try", "--sink", "stdout"], &["<--event <ID|FILE>|--since <TIME>>"]),
        (&["try", "--sink", "stdout", "--since", "yesterday"], &["2026-03-15T10:30:00Z"]),
        (&["dispatches", "cancel", "--state", "dead", "--yes", "--dry-run"], &["cannot be used with"]),
    ] {
        let mut command = home.command();
        command.args(arguments).args(["--admin-url", &admin]);
        let (code, stdout, stderr) = run(command).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{arguments:?} without {word}: {stderr}");
        }
    }
    for (arguments, word) in [
        (&["events", "list", "--admin-url", "ftp://127.0.0.1:8081"][..], "`http://` or `https://`"),
        (&["events", "list", "--admin-url", "http://anna:pw@127.0.0.1:1"], "holds a user or a password"),
        (&["events", "list", "--admin-url", "anna:pw@127.0.0.1:1"], "holds a user or a password"),
        (&["send", "payment.received", "--to", "ftp://127.0.0.1:8080"], "`http://` or `https://`"),
        (&["send", "payment.received", "--data", "{", "--to", "http://127.0.0.1:1"], "--data is not JSON"),
        (&["register", "--url", "https://relay.example/x", "--event", ""], "event"),
    ] {
        let mut command = home.command();
        command.args(arguments);
        let (code, _, stderr) = run(command).await;
        assert!(code == 2 && stderr.contains(word), "{arguments:?}: {code} {stderr}");
    }
    assert_eq!(relay.all("/dispatches?state=cancelled").await.len(), 0, "nothing was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_json_errors_are_problem_documents() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("").await;
    let admin = format!("http://{}", relay.admin);
    let problem = async |mut command: Command, code: i32| -> Value {
        command.arg("--json");
        let (answered, stdout, stderr) = run(command).await;
        assert_eq!((answered, stdout.as_str()), (code, ""), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let document: Value = serde_json::from_str(&stderr).unwrap_or_else(|error| panic!("{error}: {stderr}"));
        assert_eq!(document["type"], "about:blank", "{document}");
        assert!(document["title"].is_string() && document["detail"].is_string(), "{document}");
        document
    };
    let with = |arguments: &[&str]| {
        let mut command = home.command();
        command.args(arguments);
        command
    };
    // An error of the API: its own document.
    let document = problem(with(&["events", "show", "nothing", "--admin-url", &admin]), 1).await;
    assert_eq!((&document["status"], &document["code"]), (&json!(404), &json!("not_found")), "{document}");
    assert!(document["request_id"].is_string(), "{document}");
    let document = problem(with(&["events", "list", "--cursor", "x", "--admin-url", &admin]), 2).await;
    assert_eq!((&document["status"], &document["code"]), (&json!(400), &json!("bad_parameter")), "{document}");
    let mut command = with(&["events", "list", "--admin-url", &admin]);
    command.env("RELAY_ADMIN_TOKEN", "a-token-that-nobody-knows");
    let document = problem(command, 1).await;
    assert_eq!(document["status"], 401, "{document}");
    assert!(document["detail"].as_str().unwrap().contains("RELAY_ADMIN_TOKEN holds one that it does not know"));
    // An error of the arguments.
    for arguments in [&["events", "list", "--limit", "0"][..], &["events", "replay"], &["serf"]] {
        let document = problem(with(arguments), 2).await;
        assert_eq!((&document["code"], &document["status"]), (&json!("bad_usage"), &Value::Null), "{document}");
    }
    // An error of the configuration: every problem.
    std::fs::write(home.path("relay.toml"), "[server]\nlisten = 'x'\ncolour = 1\n").unwrap();
    let document = problem(with(&["events", "list"]), 2).await;
    assert_eq!(document["code"], "bad_configuration");
    let problems: Vec<_> = document["problems"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert!(problems.len() == 2 && problems[0].starts_with("line 2: server.listen: `x` is not"), "{problems:?}");
    // An error about an object that does not exist.
    std::fs::write(home.path("relay.toml"), "").unwrap();
    let document = problem(with(&["events", "list", "--admin-url", "http://127.0.0.1:1"]), 1).await;
    assert_eq!(document["code"], "unreachable", "{document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_not_utf8_stops_everything_that_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, LATIN1).unwrap();
    for (command, variable, value) in [
        (&["serve"][..], "DATABASE_URL", OsStr::from_bytes(b"postgres://relay:caf\xe9@db/relay")),
        (&["serve"], "RELAY_LOG_FORMAT", OsStr::from_bytes(LATIN1)),
        (&["serve"], "RUST_LOG", OsStr::from_bytes(LATIN1)),
        (&["serve"], "OTEL_EXPORTER_OTLP_ENDPOINT", OsStr::from_bytes(LATIN1)),
        (&["serve"], "OTEL_TRACES_SAMPLER", OsStr::from_bytes(LATIN1)),
        (&["serve"], "FINKARE_WEBHOOK_SECRET_FILE", secret.as_os_str()),
        (&["check"], "RELAY_CONFIG", OsStr::from_bytes(LATIN1)),
        (&["health"], "RELAY_LISTEN", OsStr::from_bytes(LATIN1)),
        (&["rekey"], "RELAY_NEW_MASTER_KEY", OsStr::from_bytes(LATIN1)),
        (&["simulate", "--listen", "127.0.0.1:0"], "RUST_LOG", OsStr::from_bytes(LATIN1)),
        (&["demo"], "RUST_LOG", OsStr::from_bytes(LATIN1)),
        (&["events", "list"], "RELAY_ADMIN_TOKEN", OsStr::from_bytes(LATIN1)),
    ] {
        let mut process = bare(folder.path());
        process.args(command).env(variable, value).env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1");
        let (code, stdout, stderr) = run(process).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{command:?} {variable}: {stderr}");
        assert!(stderr.contains(&format!("- {variable}: ")) && stderr.contains("UTF-8"), "{variable}: {stderr}");
        assert!(!stderr.contains("caf"), "{stderr}");
    }
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_leads_nowhere_is_not_left_out() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/nowhere/relay.toml", folder.path().join("relay.toml")).unwrap();
    for command in ["serve", "check"] {
        let mut process = bare(folder.path());
        process.arg(command);
        let (code, _, stderr) = run(process).await;
        assert!(code == 2 && stderr.contains("it is a link to `/nowhere/relay.toml`"), "{command}: {code} {stderr}");
    }
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_reads_the_address_and_nothing_else() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("").await;
    let broken = format!(
        "[server]\nlisten = \"{}\"\nadmin_listen = \"nowhere\"\n[[endpoints]]\nsecret = {{ env = \"NOT_SET\" }}\n[[sinks]]\ntype = \"hal",
        relay.public
    );
    std::fs::write(home.path("relay.toml"), broken).unwrap();
    let health = async |arguments: &[&str]| {
        let mut command = bare(home.directory.path());
        command.args(["health"]).args(arguments);
        run(command).await
    };
    let up = format!("The service at http://{} is up.\n", relay.public);
    assert_eq!(health(&[]).await, (0, up, String::new()));
    let (code, stdout, _) = health(&["--json"]).await;
    assert_eq!((code, &serde_json::from_str::<Value>(&stdout).unwrap()["status"]), (0, &json!("ok")));
    let (code, stdout, _) = health(&["--ready"]).await;
    assert!(code == 0 && stdout.contains("is ready: a delivery that arrives now would be accepted"), "{stdout}");
    drop(relay);
    let (code, _, stderr) = health(&[]).await;
    assert!(code == 1 && stderr.contains("nothing answers at"), "{stderr}");
    // Another program listens on the port.
    let target = Target::start().await;
    let mut command = bare(home.directory.path());
    command.arg("health").env("RELAY_LISTEN", target.url().split('/').nth(2).unwrap());
    let (code, _, stderr) = run(command).await;
    assert!(code == 1 && stderr.contains("is not the relay"), "{code} {stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_database_down_that_is_what_is_said_first() {
    let home = Home::new(Backend::Sqlite).await;
    let endpoints: Vec<String> = (1..=30)
        .map(|number| {
            let key = "api_key = \"fk_test_1\"\napi_url = \"http://127.0.0.1:1\"\napi_max_retries = 0\napi_timeout_secs = 1\n";
            let key = if number <= 3 { key } else { "" };
            format!("[[endpoints]]\nname = \"c{number:02}\"\npath = \"/hooks/c{number:02}\"\n{key}")
        })
        .collect();
    // Each piece of the password can be distinguished from every word of a message.
    let store = "[store]\nurl = \"postgres://relay:qqa@qqb@127.0.0.1:1/relay\"\n";
    std::fs::write(home.path("relay.toml"), format!("{store}{}", endpoints.concat())).unwrap();
    let mut check = home.command();
    check.arg("check");
    let (code, stdout, stderr) = run(check).await;
    assert_eq!((code, stderr.as_str()), (1, ""), "{stdout}");
    let first = stdout.lines().find(|line| line.starts_with("FAIL")).unwrap();
    assert!(first.starts_with("FAIL  store  ") && first.contains("127.0.0.1:1"), "{stdout}");
    assert!(!stdout.contains("register") && !stdout.contains("endpoint c"), "{stdout}");
    assert!(stdout.contains("note  the endpoints' secrets and webhooks are stored in the database"), "{stdout}");

    let mut send = home.command();
    send.args(["send", "payment.received", "--endpoint", "c01"]);
    let (code, said, complaint) = run(send).await;
    assert_eq!((code, said.as_str()), (1, ""), "{complaint}");
    let expected = "error: the endpoint's secrets are in the database, which cannot be used";
    assert!(complaint.starts_with(expected) && !complaint.contains("register"), "{complaint}");
    for piece in ["qqa", "qqb"] {
        assert!(!stdout.contains(piece) && !complaint.contains(piece), "{stdout}{complaint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_work_from_any_folder() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = home.path().join("relay.toml");
    let text = "[[endpoints]]\nname = \"e\"\npath = \"/e\"\nsecret = { file = \"webhook.txt\" }\n\
                [[sinks]]\nname = \"archive\"\ntype = \"file\"\npath = \"out.jsonl\"\nevents = \"*\"\n";
    std::fs::write(home.path().join("webhook.txt"), format!("{SECRET}\n")).unwrap();
    std::fs::write(&file, text).unwrap();
    let at = |listen: &str, admin: &str| {
        let mut command = bare(elsewhere.path());
        command.arg("--config").arg(&file).env("RELAY_LISTEN", listen).env("RELAY_ADMIN_LISTEN", admin);
        command
    };
    let mut serve = at("127.0.0.1:0", "127.0.0.1:0");
    serve.arg("serve");
    let relay = Relay::start(serve).await;
    let (public, admin) = (relay.public.to_string(), relay.admin.to_string());
    for (arguments, word) in [
        (&["send", "payment.received"][..], "payment.received: 200"),
        (&["events", "list"], "payment.received"),
        (&["sinks", "list"], "archive"),
        (&["check"], "sqlite answers, its schema is up to date"),
    ] {
        let mut command = at(&public, &admin);
        command.args(arguments);
        let (code, stdout, stderr) = run(command).await;
        assert!(code == 0 && stdout.contains(word), "{arguments:?}: {stdout}{stderr}");
    }
    eventually("the file sink writes beside the configuration", async || home.path().join("out.jsonl").exists()).await;
    assert!(home.path().join("data/relay.db").exists() && home.path().join("data/admin-token").exists());
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0, "nothing was made elsewhere");

    // Without the configuration, from another folder: the missing setting is named, and `check` sees the other service.
    let lost = || {
        let mut command = bare(elsewhere.path());
        command.env("RELAY_LISTEN", &public).env("RELAY_ADMIN_LISTEN", &admin);
        command
    };
    let mut list = lost();
    list.args(["events", "list"]);
    let (code, _, stderr) = run(list).await;
    let missing = format!("there is no `admin-token` in {}", elsewhere.path().join("data").display());
    assert!(code == 1 && stderr.contains(&missing) && stderr.contains("RELAY_ADMIN_TOKEN"), "{code} {stderr}");
    let mut check = lost();
    check.arg("check");
    let (code, stdout, _) = run(check).await;
    assert!(code == 0 && stdout.contains(&format!("note  a service answers at http://{admin}")), "{stdout}");
    assert!(stdout.contains(&elsewhere.path().join("data/relay.db").display().to_string()), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_the_environment_wins_over_every_other() {
    let home = Home::new(Backend::Sqlite).await;
    home.configure("", &format!("secret = \"{SECRET}\""), "");
    let config = std::fs::read_to_string(home.path("relay.toml")).unwrap();
    let both = "tokens = [{ name = \"viewer\", role = \"viewer\", token = \"the-token-of-the-viewer\" }, ";
    std::fs::write(home.path("relay.toml"), config.replace("tokens = [", both)).unwrap();
    let relay = home.start().await;
    let pause = async |token: Option<&str>| {
        let mut command = home.command();
        command.args(["sinks", "pause", "stdout", "--admin-url", &format!("http://{}", relay.admin)]);
        command.envs(token.map(|token| ("RELAY_ADMIN_TOKEN", token)));
        run(command).await
    };
    let (code, _, stderr) = pause(Some("the-token-of-the-viewer")).await;
    assert!(code == 1 && stderr.contains("code role_too_low"), "{code} {stderr}");
    assert_eq!(relay.sink("stdout").await["state"], "active");
    assert_eq!(pause(Some(TOKEN)).await.0, 0);
    assert_eq!(pause(None).await.0, 0, "without it the file's most powerful one is taken");
    let actors: Vec<_> = relay.all("/audit").await.iter().map(|row| row["actor"].clone()).collect();
    assert_eq!(actors[0], "tests", "{actors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directive_that_matches_nothing_is_told_and_silences_nothing() {
    let home = Home::new(Backend::Sqlite).await;
    home.configure("", &format!("secret = \"{SECRET}\""), "");
    let mut serve = home.command();
    serve.arg("serve").env("RUST_LOG", "finkare-relay=debug");
    // The test waits for the line that names the addresses.
    let mut relay = Relay::start(serve).await;
    let line = relay.wait_for_line("matches nothing").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "WARN");
    let told = "RUST_LOG: `finkare-relay=debug` matches nothing: write `finkare_relay=debug`.";
    assert!(line["message"].as_str().unwrap().starts_with(told), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_is_told_of_only_after_the_store_was_looked_at() {
    let home = Home::new(Backend::Sqlite).await;
    drop(home.serve("").await);
    // The secret is in the store now.
    home.configure("", "", "");
    let relay = home.start().await;
    assert!(!relay.log().contains("no secret"), "{}", relay.log());
    let mut reload = home.command();
    reload.args(["reload", "--admin-url", &format!("http://{}", relay.admin)]);
    let (code, stdout, _) = run(reload).await;
    assert!(code == 0 && !stdout.contains("no secret"), "{stdout}");
    drop(relay);
    let mut check = home.command();
    check.arg("check");
    let (code, stdout, _) = run(check).await;
    assert!(
        code == 0 && words(&stdout).contains("ok endpoint production 1 secret") && !stdout.contains("no secret"),
        "{stdout}"
    );

    // An endpoint without any secret is reported as well.
    let text = std::fs::read_to_string(home.path("relay.toml")).unwrap();
    std::fs::write(home.path("relay.toml"), format!("{text}[[endpoints]]\nname = \"new\"\npath = \"/new\"\n")).unwrap();
    let mut relay = home.start().await;
    let line = relay.wait_for_line("this endpoint has no secret and refuses every delivery").await;
    assert!(line.contains("\"endpoint.name\":\"new\"") && line.contains("set its `secret`"), "{line}");
    let mut check = home.command();
    check.arg("check");
    let (code, stdout, _) = run(check).await;
    assert!(code == 1 && words(&stdout).contains("FAIL endpoint new it has no secret"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_leaves_no_new_secrets_behind() {
    let made = |folder: &Path| {
        let data = folder.join("data");
        ["master-key", "webhook-secret", "admin-token"].map(|name| std::fs::read_to_string(data.join(name)).ok())
    };
    let serve = |folder: &Path, listen: &str| {
        let mut command = bare(folder);
        command.arg("serve").env("RELAY_LISTEN", listen).env("RELAY_ADMIN_LISTEN", "127.0.0.1:0");
        command
    };
    // The address is in use.
    let folder = tempfile::tempdir().unwrap();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (code, _, stderr) = run(serve(folder.path(), &taken.local_addr().unwrap().to_string())).await;
    assert!(code == 1 && stderr.contains("server.listen"), "{stderr}");
    assert_eq!(made(folder.path()), [None, None, None]);

    // The database was used with another key.
    drop(Relay::start(serve(folder.path(), "127.0.0.1:0")).await);
    let before = made(folder.path());
    assert!(before.iter().all(Option::is_some));
    std::fs::rename(folder.path().join("data/master-key"), folder.path().join("kept")).unwrap();
    let (code, _, stderr) = run(serve(folder.path(), "127.0.0.1:0")).await;
    assert!(code == 1 && stderr.contains("was encrypted under the master key"), "{stderr}");
    assert_eq!(made(folder.path())[0], None, "no key that looks like the right one");
    std::fs::rename(folder.path().join("kept"), folder.path().join("data/master-key")).unwrap();
    drop(Relay::start(serve(folder.path(), "127.0.0.1:0")).await);
    assert_eq!(made(folder.path()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn durations_are_decimals() {
    let home = Home::new(Backend::Sqlite).await;
    let target = Target::start().await;
    let sink = format!("[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\nevents = \"*\"\n", target.url());
    let relay = home.serve(&sink).await;
    // About every third product of two doubles has a rounding error.
    let mut send = home.command();
    send.args(["send", "payment.received", "--count", "30", "--json", "--to", &relay.hook()]);
    let (code, stdout, _) = run(send).await;
    assert_eq!(code, 0);
    relay.drained().await;
    let mut seen = stdout;
    for event in relay.all("/events").await {
        seen.push_str(&relay.get(&format!("/events/{}", event["id"].as_str().unwrap())).await.to_string());
    }
    seen.push_str(&relay.terminate().await.1);
    let durations: Vec<&str> =
        seen.split("duration_ms\":").skip(1).map(|rest| rest.split([',', '}']).next().unwrap()).collect();
    assert!(durations.len() > 90, "{}", durations.len());
    for duration in durations {
        let decimals = duration.split_once('.').map_or("", |(_, decimals)| decimals);
        assert!(decimals.len() <= 3 && duration.parse::<f64>().is_ok(), "{duration}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_quotes_is_told_at_the_start_and_in_the_explanation() {
    let home = Home::new(Backend::Sqlite).await;
    home.configure("", &format!("secret = '\"{SECRET}\"'"), "");
    let mut relay = home.start().await;
    let line = relay.wait_for_line("is in quotes, which is taken for a part of the secret").await;
    assert!(line.contains("endpoints[0] (production).secret") && !line.contains(SECRET), "{line}");
    let body = payment("i1", 1);
    let signature = finkare::sign(&finkare_relay::model::secret::Secret::new(SECRET), &body);
    let request = http().post(format!("http://{}{PATH}", relay.public)).header(finkare::HEADER, signature).body(body);
    assert_eq!(request.send().await.unwrap().status(), 401);
    eventually("the refusal is examined", async || {
        let rows = relay.all("/refusals").await;
        rows.first().is_some_and(|row| !row["explanation"].as_str().unwrap().contains("will be examined in a moment"))
    })
    .await;
    let rows = relay.all("/refusals").await;
    let explanation = rows[0]["explanation"].as_str().unwrap();
    assert_eq!(rows[0]["reason"], "wrong_secret", "{explanation}");
    let told = "The configured secret is in quotes: correct it where it is configured, and reload.";
    assert!(
        explanation.ends_with(told) && explanation.starts_with("The signature fits the endpoint's secret"),
        "{explanation}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_tls_is_not_asked_whether_serve_is_running() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("").await;
    let mut send = home.command();
    send.args(["send", "payment.received", "--to", &format!("https://{}/x?token=qqa", relay.public)]);
    let (code, _, stderr) = run(send).await;
    assert!(
        code == 1 && stderr.contains("/x: its TLS certificate is not accepted, or it does not speak TLS"),
        "{stderr}"
    );
    assert!(!stderr.contains("qqa") && !stderr.contains("serve"), "{stderr}");
}
