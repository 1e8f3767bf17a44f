//! Every list: at a terminal of 80 columns, as a whole and row by row, between two times; and bulk work that is interrupted.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Json, Router, routing::post};

use super::*;

const LISTS: [&[&str]; 7] = [
    &["events", "list"],
    &["dispatches", "list"],
    &["refusals", "list"],
    &["audit", "list"],
    &["bookings", "list"],
    &["sinks", "list"],
    &["endpoints", "list"],
];

/// A service with rows for the lists: a dead dispatch with a long reason, a refusal, an entry of the audit trail.
async fn busy() -> (Home, Relay) {
    let home = Home::new(Backend::Sqlite).await;
    let target = Target::scripted(|_, _| Reply::Status(400, vec![])).await;
    let sinks = format!(
        "[[sinks]]\nname = \"a-sink-with-a-long-name\"\ntype = \"http\"\nurl = \"{}\"\nevents = \"*\"\nbreaker = {{ failures = 1000000 }}\n",
        target.url()
    );
    let relay = home.serve(&sinks).await;
    for number in 1..=3 {
        assert_eq!(Finkare::of(&relay).deliver(&payment(&format!("i{number}"), 100 * number)).await.status, 200);
    }
    let (code, _, _) = ask(&home, &relay, &["send", "payment.received", "--forge", "--to", &relay.hook()]).await;
    assert_eq!(code, 0, "it is refused, as it should be");
    relay.drained().await;
    relay.post("/sinks/a-sink-with-a-long-name/pause").await;
    (home, relay)
}

async fn ask(home: &Home, relay: &Relay, arguments: &[&str]) -> (i32, String, String) {
    let mut command = home.command();
    command.env("RELAY_ADMIN_URL", relay.admin.to_string()).args(arguments);
    run(command).await
}

/// A list at a terminal of this width, without colours.
async fn at_terminal(home: &Home, relay: &Relay, list: &[&str], width: u32) -> String {
    let binary = env!("CARGO_BIN_EXE_finkare-relay");
    let line = format!("stty cols {width} rows 50 && '{binary}' {} --no-pager --utc --color never", list.join(" "));
    let at_home = home.command();
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &line, "/dev/null"]).current_dir(home.directory.path()).env_clear();
    terminal.envs(at_home.get_envs().filter_map(|(name, value)| Some((name, value?))));
    terminal.env("TERM", "xterm").env("RELAY_ADMIN_URL", relay.admin.to_string()).stdin(Stdio::null());
    let (code, screen, _) = run(terminal).await;
    // The status says by its code that something is to be done.
    assert_eq!(code, i32::from(list == ["status"]), "{list:?}: {screen}");
    screen.replace('\r', "")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_fits_80_columns_and_keeps_what_it_is_read_for() {
    let (home, relay) = busy().await;
    for list in LISTS {
        let screen = at_terminal(&home, &relay, list, 80).await;
        assert!(screen.lines().all(|line| line.chars().count() <= 80), "{list:?}:\n{screen}");
    }
    let dispatches = at_terminal(&home, &relay, &["dispatches", "list"], 80).await;
    let reason = relay.all("/dispatches").await[0]["last_error"].as_str().unwrap().to_owned();
    let begin: String = reason.chars().take(30).collect();
    assert!(dispatches.contains(&begin), "{reason}\n{dispatches}");
    let status = at_terminal(&home, &relay, &["status"], 80).await;
    assert!(status.lines().all(|line| line.chars().count() <= 80), "{status}");
    let command = "finkare-relay dispatches list --sink a-sink-with-a-long-name --state dead";
    assert!(status.lines().any(|line| line.trim() == command), "it can be copied: {status}");
    let endpoints = at_terminal(&home, &relay, &["endpoints", "list"], 80).await;
    let fingerprint = relay.all("/endpoints").await[0]["fingerprint"].as_str().unwrap().to_owned();
    assert!(endpoints.contains(&fingerprint), "{endpoints}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_lists_are_printed_row_by_row_and_their_times_are_utc() {
    let (home, relay) = busy().await;
    for (path, list) in
        [("/events", LISTS[0]), ("/dispatches", LISTS[1]), ("/refusals", LISTS[2]), ("/audit", LISTS[3])]
    {
        let rows = relay.all(path).await;
        assert!(!rows.is_empty(), "{path}");
        let (code, jsonl, _) = ask(&home, &relay, &[list, &["--all", "-o", "jsonl"]].concat()).await;
        let printed: Vec<Value> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((code, printed), (0, rows.clone()), "{path}");
        let mut csv = home.command();
        csv.env("RELAY_ADMIN_URL", relay.admin.to_string()).env("TZ", "Asia/Tokyo");
        csv.args(list).args(["--all", "-o", "csv"]);
        let (code, csv, complaint) = run(csv).await;
        assert_eq!(code, 0, "{path}: {complaint}");
        let (head, body) = csv.split_once("\r\n").expect("RFC 4180 ends lines so");
        assert!(head.contains("(UTC)"), "{path}: {head}");
        assert_eq!(body.lines().count(), rows.len(), "{path}: {body}");
        if let Some(at) = rows[0]["at"].as_str() {
            let second = at.replace('T', " ").chars().take(19).collect::<String>();
            assert!(body.contains(&second), "{at}: {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_with_times_has_the_same_bounds() {
    let (home, relay) = busy().await;
    for list in &LISTS[..5] {
        let is_filled = list[0] != "bookings";
        for (bounds, expected) in [
            (&["--since", "1h"][..], is_filled),
            (&["--until", "1h"], false),
            (&["--since", "2020-01-01", "--until", "2020-01-02 12:00"], false),
            (&["--since", "2020-01-01T00:00:00Z"], is_filled),
        ] {
            let (code, jsonl, stderr) = ask(&home, &relay, &[list, bounds, &["-o", "jsonl"]].concat()).await;
            assert_eq!((code, !jsonl.is_empty()), (0, expected), "{list:?} {bounds:?}: {stderr}");
        }
        let (code, _, stderr) = ask(&home, &relay, &[list, &["--since", "tomorrow"][..]].concat()).await;
        assert!(code == 2 && stderr.contains("2h"), "{list:?}: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_and_a_token_are_enough_without_a_configuration() {
    let (_home, relay) = busy().await;
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("token"), TOKEN).unwrap();
    for list in LISTS {
        let mut command = bare(elsewhere.path());
        command.args(list).args(["--admin-url", &relay.admin.to_string(), "--token-file", "token"]);
        let (code, _, stderr) = run(command).await;
        assert_eq!(code, 0, "{list:?}: {stderr}");
    }
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 1, "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_bulk_work_says_what_was_done() {
    let calls = Arc::new(AtomicUsize::new(0));
    let answer = {
        let calls = calls.clone();
        move || async move {
            // The first call is done, the second one goes on and on.
            if calls.fetch_add(1, Ordering::SeqCst) > 0 {
                std::future::pending::<()>().await;
            }
            Json(json!({"retried": 3, "more": false}))
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(axum::serve(listener, Router::new().route("/api/v1/dispatches/retry", post(answer))).into_future());
    let folder = tempfile::tempdir().unwrap();
    let mut command = bare(folder.path());
    command.env("RELAY_ADMIN_URL", &address).env("RELAY_ADMIN_TOKEN", TOKEN);
    command.args(["dispatches", "retry", "--state", "held,dead,pending", "--yes"]);
    let mut retrying = Relay::spawn(command);
    eventually("the second call has begun", async || calls.load(Ordering::SeqCst) == 2).await;
    retrying.signal("INT");
    assert_eq!(retrying.ended().await.code(), Some(130));
    let told = retrying.wait_for_line("3 dispatches were retried so far").await;
    assert!(told.contains("audit list --action dispatches.retried"), "{told}");
    assert_eq!(calls.load(Ordering::SeqCst), 2, "nothing more was begun");
}
