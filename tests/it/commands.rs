//! The commands as a person uses them: the first ten minutes, and common mistakes.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    relay::{Backend, Home, Relay, SECRET, TOKEN},
    target::Target,
};

/// The binary in a directory, with only the listen addresses in its environment.
fn bare(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finkare-relay"));
    command.current_dir(directory).env_clear().stdin(Stdio::null());
    command
}

fn text(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Runs a command to its end, outside of the runtime's threads.
async fn run(mut command: Command) -> (i32, String, String) {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (stdout, stderr) = text(&output);
    (output.status.code().unwrap_or(-1), stdout, stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_ten_minutes_with_nothing_configured() {
    let directory = tempfile::tempdir().unwrap();
    let mut serve = bare(directory.path());
    serve.arg("serve").env("RELAY_LISTEN", "127.0.0.1:0").env("RELAY_ADMIN_LISTEN", "127.0.0.1:0");
    let mut relay = Relay::start(serve).await;
    for file in ["webhook-secret", "admin-token", "master-key"] {
        relay.wait_for_line(file).await;
        let metadata = std::fs::metadata(directory.path().join("data").join(file)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }

    // The command exactly as `serve` prints it.
    let line = relay.wait_for_line("send a first event:").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    let printed = line["message"].as_str().unwrap().split(':').skip(1).collect::<Vec<_>>().join(":");
    let mut words = printed.split_whitespace();
    assert_eq!(words.next(), Some(env!("CARGO_BIN_EXE_finkare-relay")));
    let mut send = bare(directory.path());
    send.args(words);
    let (code, stdout, stderr) = run(send).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("payment.received: 200"), "{stdout}");

    // The event is printed by the `stdout` sink, as one JSON line.
    let line = relay.wait_for_line(r#""type":"payment.received""#).await;
    let event: Value = serde_json::from_str(&line).unwrap();
    assert!(stdout.contains(event["id"].as_str().unwrap()), "the id that `send` told");

    let line = relay.wait_for_line("look at it:").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    let printed = line["message"].as_str().unwrap().split_once(':').unwrap().1.to_owned();
    let mut list = bare(directory.path());
    list.args(printed.split_whitespace().skip(1));
    let (code, stdout, stderr) = run(list).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("ID ") && stdout.contains(event["id"].as_str().unwrap()), "{stdout}");

    // The generated secrets never appear in the output.
    for file in ["webhook-secret", "admin-token", "master-key"] {
        let secret = std::fs::read_to_string(directory.path().join("data").join(file)).unwrap();
        assert!(secret.trim().len() > 20 && !relay.log().contains(secret.trim()), "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_at_events_dispatches_and_sinks() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("[[sinks]]\nname = \"file\"\ntype = \"file\"\npath = \"out.jsonl\"\nevents = \"*\"\n").await;
    let id = Finkare::of(&relay).deliver(&payment("inv-7", 150_000)).await.id();
    relay.drained().await;
    let admin = format!("http://{}", relay.admin);
    let ask = async |arguments: &[&str]| {
        let mut command = home.command();
        command.args(arguments).args(["--admin-url", &admin]);
        run(command).await
    };
    for (arguments, words) in [
        (&["events", "list"][..], vec!["RECEIVED (UTC)", "payment.received", "inv-7", &id]),
        (&["events", "show", &id], vec!["\"amountCents\": 150000", "dispatch 1 to file: delivered", "attempt 1 at"]),
        (&["dispatches", "list"], vec!["STATE", "delivered", "inv-7"]),
        (&["dispatches", "list", "--state", "dead"], vec!["Nothing to list."]),
        (&["dispatches", "show", "1"], vec![&id, "dispatch 1 to file: delivered"]),
        (&["sinks", "list"], vec!["BACKLOG", "file", "active"]),
        (&["sinks", "pause", "file"], vec!["The sink file is paused."]),
        (&["sinks", "resume", "file"], vec!["The sink file is active."]),
    ] {
        let (code, stdout, stderr) = ask(arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        for word in words {
            assert!(stdout.contains(word), "{arguments:?} without {word}:\n{stdout}");
        }
    }
    let (code, stdout, _) = ask(&["events", "list", "--json"]).await;
    assert_eq!(code, 0);
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["data"][0]["id"], id.as_str());

    for (arguments, expected, word) in [
        (&["events", "show", "nothing"][..], 1, "There is no event with this id."),
        (&["dispatches", "list", "--state", "lost"], 2, "`pending`"),
        (&["sinks", "pause", "../../x"], 1, "There is no sink with this name."),
    ] {
        let (code, _, stderr) = ask(arguments).await;
        assert_eq!(code, expected, "{arguments:?}");
        assert!(stderr.contains(word), "{arguments:?}: {stderr}");
    }
    let mut wrong = home.command();
    wrong.args(["events", "list", "--admin-url", &admin]).env("RELAY_ADMIN_TOKEN", "a-token-that-nobody-knows");
    let (code, _, stderr) = run(wrong).await;
    // The environment takes precedence over the file, so the wrong token is sent.
    assert!(code == 1 && stderr.contains("does not accept the token"), "{code}: {stderr}");
    drop(relay);
    let (code, _, stderr) = ask(&["events", "list"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("is `finkare-relay serve` running there?"), "{stderr}");
    assert!(!stderr.contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn sending_repeating_and_forging() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("").await;
    let send = async |arguments: &[&str]| {
        let mut command = home.command();
        command.arg("send").args(arguments).args(["--to", &relay.hook()]);
        run(command).await
    };
    let (code, stdout, stderr) = send(&["payment.received", "--count", "3", "--duplicate", "2"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("9 acknowledged") && stdout.matches("(duplicate)").count() == 6, "{stdout}");
    let data = r#"{"invoiceId":"x-1","amountCents":5}"#;
    assert_eq!(send(&["payment.received", "--data", data, "--count", "2"]).await.0, 0);
    assert_eq!(relay.all("/events?invoice_id=x-1").await.len(), 2, "equal data, different deliveries");
    let (code, stdout, _) = send(&["payment.received", "--forge", "--json"]).await;
    assert_eq!(code, 0, "a forged delivery that is refused is a success: {stdout}");
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["status"], 401);
    assert_eq!(relay.all("/events").await.len(), 5);
    let (code, _, stderr) = send(&["payment.received", "--data", "{"]).await;
    assert!(code == 2 && stderr.contains("--data is not JSON"), "{stderr}");
    let mut nowhere = home.command();
    nowhere.args(["send", "payment.received", "--to", "http://127.0.0.1:1/x"]);
    let (code, _, stderr) = run(nowhere).await;
    assert!(code == 1 && stderr.contains("cannot post to http://127.0.0.1:1/x"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checking() {
    let target = Target::start().await;
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let home = Home::new(backend).await;
        let good = format!("[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\n", target.url());
        drop(home.serve(&good).await);
        let mut check = home.command();
        check.arg("check");
        let (code, stdout, stderr) = run(check).await;
        assert_eq!(code, 0, "{stdout}{stderr}");
        assert_eq!(stdout.lines().filter(|line| line.starts_with("ok ")).count(), 4, "{stdout}");
        assert!(!stdout.contains(SECRET));

        let bad = "[[sinks]]\nname = \"gone\"\ntype = \"http\"\nurl = \"http://127.0.0.1:1/\"\n\
                   [[sinks]]\nname = \"disk\"\ntype = \"file\"\npath = \"relay.toml/out.jsonl\"\n";
        drop(home.serve(bad).await);
        let mut check = home.command();
        check.args(["check", "--json"]);
        let (code, stdout, _) = run(check).await;
        assert_eq!(code, 1);
        let report: Value = serde_json::from_str(&stdout).unwrap();
        let failed: Vec<_> =
            report["checks"].as_array().unwrap().iter().filter(|check| check["ready"] == false).collect();
        assert_eq!((failed.len(), &report["ready"]), (2, &json!(false)), "{report}");
    }
    assert!(target.arrivals().iter().all(|arrival| arrival.body.is_empty()), "nothing was posted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_a_schema_is_ready_for_serve() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let home = Home::untouched(backend).await;
        std::fs::write(home.path("relay.toml"), format!("[store]\nurl = \"{}\"\n", home.store_url())).unwrap();
        let mut check = home.command();
        check.arg("check").env("FINKARE_WEBHOOK_SECRET", SECRET);
        let (code, stdout, stderr) = run(check).await;
        assert!(code == 0 && stdout.contains("`serve` will migrate its schema"), "{stdout}{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_greeting_names_an_address_that_can_be_reached() {
    let directory = tempfile::tempdir().unwrap();
    let mut serve = bare(directory.path());
    serve.arg("serve").env("RELAY_LISTEN", "0.0.0.0:0").env("RELAY_ADMIN_LISTEN", "0.0.0.0:0");
    let mut relay = Relay::start(serve).await;
    assert!(relay.wait_for_line("send a first event:").await.contains("--to http://127.0.0.1:"));
    assert!(relay.wait_for_line("look at it:").await.contains("--admin-url http://127.0.0.1:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn how_to_log_is_configuration_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut serve = bare(directory.path());
    serve.arg("serve").env("RELAY_LOG_FORMAT", "xml").env("RUST_LOG", "info,finkare_relay=loud");
    let (code, _, stderr) = run(serve).await;
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("- RELAY_LOG_FORMAT: `xml` is not one of") && stderr.contains("- RUST_LOG: "), "{stderr}");
    assert!(!directory.path().join("data").exists(), "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_and_health() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let home = Home::new(backend).await;
        std::fs::write(home.path("relay.toml"), format!("[store]\nurl = \"{}\"\n", home.store_url())).unwrap();
        let migrate = async || {
            let mut command = home.command();
            command.args(["migrate", "--json"]).env("FINKARE_WEBHOOK_SECRET", SECRET);
            run(command).await
        };
        let (code, stdout, stderr) = migrate().await;
        assert_eq!(code, 0, "{stderr}");
        assert!(serde_json::from_str::<Value>(&stdout).unwrap()["applied"].is_number());
        let (_, stdout, _) = migrate().await;
        assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["applied"], 0);

        let relay = home.serve("").await;
        let mut health = home.command();
        health.arg("health").env("RELAY_LISTEN", relay.public.to_string());
        assert_eq!(run(health).await.0, 0);
        let address = relay.public.to_string();
        drop(relay);
        let mut health = home.command();
        health.arg("health").env("RELAY_LISTEN", address);
        let (code, _, stderr) = run(health).await;
        assert!(code == 1 && stderr.contains("nothing answers at"), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_wrong_is_all_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let secret = "whsec_c2VjcmV0LXRoYXQtbXVzdC1ub3QtYmUtc2hvd24=";
    std::fs::write(
        directory.path().join("relay.toml"),
        format!(
            "[server]\nlisten = \"everywhere\"\nmax_bodi_bytes = 5\n[[endpoints]]\nname = \"a b\"\npath = \"hook\"\n\
             secret = {{ env = \"NOT_SET\" }}\n[[sinks]]\nname = \"erp\"\ntype = \"htp\"\nsecret = \"{secret}\"\n\
             [[sinks]]\nname = \"x\"\ntype = \"http\"\nurl = \"ftp://x\"\nfilter = \"data.x >=\"\nsecret = \"{secret}\"\n"
        ),
    )
    .unwrap();
    for command in ["serve", "check", "migrate", "send"] {
        let mut run_it = bare(directory.path());
        run_it.arg(command);
        if command == "send" {
            run_it.arg("payment.received");
        }
        let (code, _, stderr) = run(run_it).await;
        assert_eq!(code, 2, "{command}: {stderr}");
        for word in [
            "server.listen",
            "max_bodi_bytes",
            "did you mean",
            "endpoints[0]",
            "NOT_SET",
            "sinks[0]",
            "sinks[1]",
            "filter",
            "https://",
        ] {
            assert!(stderr.contains(word), "{command} without {word}:\n{stderr}");
        }
        assert!(!stderr.contains("c2VjcmV0"), "{stderr}");
    }
    for wrong in [&["serve", "--colour"][..], &["serf"], &["send"], &["events", "lits"], &["send", "x", "--count", "0"]]
    {
        let mut command = bare(directory.path());
        command.args(wrong);
        assert_eq!(run(command).await.0, 2, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_group_is_a_question() {
    let directory = tempfile::tempdir().unwrap();
    for group in ["events", "dispatches", "sinks", "endpoints", "bookings", "refusals", "audit", "config"] {
        let mut command = bare(directory.path());
        command.arg(group);
        let (code, help, stderr) = run(command).await;
        assert!(code == 0 && stderr.is_empty(), "{group}: {code}\n{stderr}");
        assert!(help.contains(&format!("Usage: finkare-relay {group} [OPTIONS] <COMMAND>")), "{help}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let mut serve = bare(directory.path());
    serve.arg("serve").env("RELAY_LISTEN", &address).env("RELAY_ADMIN_LISTEN", "127.0.0.1:0");
    let (code, _, stderr) = run(serve).await;
    assert!(code == 1 && stderr.contains(&address) && stderr.contains("server.listen"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_keeps_every_promise() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = bare(directory.path());
    demo.arg("demo").env("TMPDIR", directory.path());
    let (code, stdout, stderr) = run(demo).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("Every promise held:") && !stdout.contains("BROKEN"), "{stdout}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "it cleans up after itself");
}

/// Every part that could leak a secret is made to write something; then all output is searched.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_in_logs_answers_or_metrics() {
    const SINK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let target = Target::scripted(|headers, _| {
        // It echoes the request.
        let echo = headers.get("x-api-key").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        crate::support::target::Reply::Status(400, vec![("x-echo", echo)])
    })
    .await;
    let home = Home::new(Backend::Sqlite).await;
    let url = target.url().replace("http://", "http://user:url-password@") + "?key=query-secret";
    let relay = home
        .serve(&format!(
            "[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{url}\"\nsecret = \"{SINK_SECRET}\"\n\
             headers = {{ x-api-key = \"header-secret\" }}\nretry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 5 }}\n\
             [[sinks]]\nname = \"down\"\ntype = \"http\"\nurl = \"http://user:url-password@127.0.0.1:1/?key=query-secret\"\n"
        ))
        .await;
    let finkare = Finkare::of(&relay);
    let body = payment("i", 1);
    finkare.deliver(&body).await;
    finkare.post(body.clone(), Some(&crate::support::finkare::sign("whsec_old", &body))).await;
    finkare.post(body.clone(), None).await;
    eventually("both sinks have failed", async || {
        relay.sink("erp").await["dead"] == 1 && relay.sink("down").await["last_error"].is_object()
    })
    .await;
    let mut said = String::new();
    for path in ["/events", "/dispatches", "/sinks", "/dispatches/1", "/dispatches/2"] {
        said += &relay.get(path).await.to_string();
    }
    let metrics = crate::support::http().get(format!("http://{}/metrics", relay.admin)).send().await.unwrap();
    said += &metrics.text().await.unwrap();
    let (_, log) = relay.terminate().await;
    assert!(log.contains("given up") && log.contains("delivery refused"), "it did speak:\n{log}");
    said += &log;
    let signature = crate::support::finkare::sign(SECRET, &body);
    for secret in
        [SECRET, SINK_SECRET, TOKEN, "header-secret", "url-password", "query-secret", "MDEyMzQ1Njc4", &signature]
    {
        let found = said.find(secret).map(|at| said[at.saturating_sub(200)..(at + 50).min(said.len())].to_owned());
        assert_eq!(found, None, "{secret} was said");
    }
    // The database must not contain them either.
    for secret in [SECRET, SINK_SECRET, TOKEN, "header-secret", "url-password", "query-secret"] {
        std::fs::remove_file(home.path("relay.toml")).ok();
        assert_eq!(home.files_contain(secret), None, "{secret} is in a file");
    }
}
