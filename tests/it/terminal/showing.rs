//! What the commands show: one screen, whole lists, other forms, 80 columns, and a copy of the database.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A service with three events, and its home.
async fn three() -> (Home, Relay) {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("").await;
    for number in 1..=3 {
        assert_eq!(Finkare::of(&relay).deliver(&payment(&format!("i{number}"), 100 * number)).await.status, 200);
    }
    relay.drained().await;
    (home, relay)
}

/// A command for this service, which it finds by the variable.
fn command(home: &Home, relay: &Relay, arguments: &[&str]) -> Command {
    let mut command = home.command();
    command.env("RELAY_ADMIN_URL", relay.admin.to_string()).args(arguments);
    command
}

async fn ask(home: &Home, relay: &Relay, arguments: &[&str]) -> (i32, String, String) {
    run(command(home, relay, arguments)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_whole_in_every_form() {
    let (home, relay) = three().await;
    // More than one page.
    let (code, _, stderr) =
        ask(&home, &relay, &["send", "payment.received", "--count", "500", "--to", &relay.hook()]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    relay.drained().await;
    let (code, csv, _) = ask(&home, &relay, &["events", "list", "-o", "csv", "--all"]).await;
    let lines: Vec<&str> = csv.lines().collect();
    assert!(
        code == 0 && lines.len() == 504 && lines[0].starts_with("ID,RECEIVED (UTC),TYPE"),
        "{} {}",
        lines.len(),
        lines[0]
    );
    let (_, jsonl, _) = ask(&home, &relay, &["events", "list", "-o", "jsonl", "--all"]).await;
    let rows: Vec<Value> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows, relay.all("/events").await);
    let (_, json, _) = ask(&home, &relay, &["events", "list", "-o", "json", "--limit", "2"]).await;
    let page: Value = serde_json::from_str(&json).unwrap();
    assert!(page["data"] == json!(rows[..2]) && page["next_cursor"].is_string(), "{json}");
    assert_eq!(ask(&home, &relay, &["events", "list", "--json"]).await, {
        ask(&home, &relay, &["events", "list", "-o", "json"]).await
    });
    assert_eq!(ask(&home, &relay, &["events", "list", "--json", "-o", "csv"]).await.0, 2, "one form, not two");
    // In a pipe nothing is cut, and times are those of TZ.
    let mut list = command(&home, &relay, &["events", "list"]);
    list.env("TZ", "Asia/Tokyo").env("COLUMNS", "20");
    let (_, table, _) = run(list).await;
    assert!(
        table.contains("RECEIVED (JST)") && rows[..50].iter().all(|row| table.contains(row["id"].as_str().unwrap()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_terminal_a_table_has_its_width_and_colours() {
    let (home, relay) = three().await;
    let id = relay.all("/events").await[0]["id"].as_str().unwrap().to_owned();
    for (width, more, is_whole) in [(80, "", false), (80, "--wide", true), (200, "", true)] {
        let binary = env!("CARGO_BIN_EXE_finkare-relay");
        let line = format!("stty cols {width} rows 50 && '{binary}' events list --no-pager --utc {more}");
        let mut terminal = Command::new("script");
        let at_home = command(&home, &relay, &[]);
        terminal.args(["-qec", &line, "/dev/null"]).current_dir(home.directory.path()).env_clear();
        terminal.envs(at_home.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
        terminal.stdin(Stdio::null());
        let (code, screen, _) = run(terminal).await;
        let screen = screen.replace('\r', "");
        assert!(code == 0 && screen.contains("\u{1b}[1m") && screen.contains(&id), "{width} {more}: {screen}");
        let plain: String =
            screen.split('\u{1b}').map(|part| part.split_once('m').map_or(part, |(_, rest)| rest)).collect();
        let longest = plain.lines().map(|line| line.chars().count()).max().unwrap();
        assert_eq!(longest > 80, is_whole, "{width} {more}:\n{plain}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_screen_says_what_needs_a_person() {
    let (home, relay) = three().await;
    let (code, screen, _) = ask(&home, &relay, &["status"]).await;
    assert!(code == 0 && screen.starts_with("up\n") && screen.contains("production"), "{code}\n{screen}");
    relay.post("/sinks/stdout/pause").await;
    let (code, screen, _) = ask(&home, &relay, &["status"]).await;
    assert!(code == 1 && screen.contains("sink stdout is paused: finkare-relay sinks resume stdout"), "{screen}");
    let (code, json, _) = ask(&home, &relay, &["status", "--json"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["needs_a_person"], &json["up"]), (1, &true.into(), &true.into()));
    let mut nowhere = home.command();
    nowhere.args(["status", "--admin-url", "127.0.0.1:1"]);
    let (code, screen, stderr) = run(nowhere).await;
    assert!(code == 1 && screen.starts_with("down") && stderr.contains("127.0.0.1:1"), "{screen}{stderr}");
    let mut nowhere = home.command();
    nowhere.args(["status", "--json", "--admin-url", "127.0.0.1:1"]);
    let (code, json, _) = run(nowhere).await;
    assert_eq!((code, json.trim()), (1, r#"{"up":false}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_stand_in_a_file() {
    let (home, relay) = three().await;
    for (text, expected) in [(TOKEN, 0), ("another-token-of-nobody", 1)] {
        std::fs::write(home.path("token"), format!("{text}\n")).unwrap();
        let mut list = command(&home, &relay, &["sinks", "list", "--token-file", "token"]);
        // It goes before the variable.
        list.env("RELAY_ADMIN_TOKEN", if expected == 0 { "another-token-of-nobody" } else { TOKEN });
        let (code, _, stderr) = run(list).await;
        assert!(code == expected && !stderr.contains(text), "{code} {stderr}");
    }
    let (code, _, stderr) = ask(&home, &relay, &["sinks", "list", "--token-file", "nothing"]).await;
    assert!(code == 2 && stderr.contains("nothing"), "{code} {stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_printed_as_they_come_until_interrupted() {
    let (home, relay) = three().await;
    let mut following = Relay::spawn(command(&home, &relay, &["follow", "--since", "1h", "-o", "jsonl"]));
    for event in relay.all("/events").await {
        following.wait_for_line(event["id"].as_str().unwrap()).await;
    }
    let id = Finkare::of(&relay).deliver(&payment("i4", 400)).await.id();
    following.wait_for_line(&id).await;
    following.signal("INT");
    assert!(following.ended().await.success());
    assert_eq!(following.log().matches(&id).count(), 1, "each is printed once");
}

#[tokio::test(flavor = "multi_thread")]
async fn following_outlasts_a_restart_and_prints_each_event_once() {
    let home = Home::new(Backend::Sqlite).await;
    // The same address before and after.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let fixed = format!("admin_listen = \"127.0.0.1:{port}\"");
    home.configure("", &format!("secret = \"{SECRET}\""), "[[sinks]]\nname = \"out\"\ntype = \"stdout\"\n");
    let text = std::fs::read_to_string(home.path("relay.toml")).unwrap();
    let text = text.replace("admin_listen = \"127.0.0.1:0\"", &fixed);
    std::fs::write(home.path("relay.toml"), text).unwrap();
    let relay = home.start().await;
    let first = Finkare::of(&relay).deliver(&payment("i1", 100)).await.id();
    let mut following = Relay::spawn(command(&home, &relay, &["follow", "--since", "1h", "-o", "jsonl"]));
    following.wait_for_line(&first).await;
    assert!(relay.terminate().await.0.success());
    following.wait_for_line("waiting for the service").await;
    let relay = home.start().await;
    let second = Finkare::of(&relay).deliver(&payment("i2", 200)).await.id();
    following.wait_for_line(&second).await;
    following.signal("INT");
    assert!(following.ended().await.success());
    let log = following.log();
    let times = |id: &str| log.lines().filter(|line| line.contains(&format!("\"id\":\"{id}\""))).count();
    assert_eq!((times(&first), times(&second)), (1, 1), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_made_while_the_service_runs_and_put_back() {
    let (home, relay) = three().await;
    let (code, _, stderr) = ask(&home, &relay, &["backup", "copy.db"]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    let copy = std::fs::read(home.path("copy.db")).unwrap();
    assert_eq!(std::fs::metadata(home.path("copy.db")).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, _, stderr) = ask(&home, &relay, &["backup", "copy.db"]).await;
    assert!(code == 1 && stderr.contains("copy.db") && std::fs::read(home.path("copy.db")).unwrap() == copy);
    let later = Finkare::of(&relay).deliver(&payment("later", 1)).await.id();
    relay.drained().await;
    // Not under a running service, not over a database without a word, and not from any file.
    let (code, _, stderr) = ask(&home, &relay, &["restore", "--force", "copy.db"]).await;
    assert!(code == 1 && !stderr.is_empty(), "{code}");
    relay.get(&format!("/events/{later}")).await;
    assert!(relay.terminate().await.0.success());
    std::fs::write(home.path("cut.db"), &copy[..copy.len() / 2]).unwrap();
    for (wrong, word) in [(["restore", "copy.db"].as_slice(), "--force"), (&["restore", "--force", "cut.db"], "cut.db")]
    {
        let mut command = home.command();
        command.args(wrong);
        let (code, _, stderr) = run(command).await;
        assert!(code == 1 && stderr.contains(word), "{wrong:?}: {code} {stderr}");
    }
    let mut restore = home.command();
    restore.args(["restore", "--force", "copy.db"]);
    let (code, told, stderr) = run(restore).await;
    assert_eq!((code, stderr.as_str()), (0, ""), "{told}");
    let aside = std::fs::read_dir(home.directory.path()).unwrap().flatten();
    let aside = aside.map(|entry| entry.file_name().into_string().unwrap());
    assert_eq!(aside.filter(|name| name.starts_with("relay.db.before-restore-")).count(), 1, "what was there is kept");
    let relay = home.start().await;
    assert_eq!(relay.all("/events").await.len(), 3);
    assert_eq!(relay.try_get(&format!("/events/{later}")).await.0, 404);
    assert_eq!(Finkare::of(&relay).deliver(&payment("after", 1)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_and_man_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let mut completion = bare(folder.path());
    completion.args(["completion", "bash"]);
    let (code, script, _) = run(completion).await;
    assert!(code == 0 && script.contains("rotate-secret"), "{code}");
    std::fs::write(folder.path().join("completion"), &script).unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-n", "completion"]).current_dir(folder.path());
    assert_eq!(run(bash).await, (0, String::new(), String::new()));
    for (line, expected) in [("events re", "replay"), ("rotate-secret --al", "--all"), ("rot", "rotate-secret")] {
        let words = ["finkare-relay"].into_iter().chain(line.split(' ')).collect::<Vec<_>>().join(" ");
        let (last, word) = (line.split(' ').count(), line.split(' ').next_back().unwrap());
        let ask = format!(
            ". ./completion; COMP_WORDS=({words}); COMP_CWORD={last}; _finkare__relay finkare-relay '{word}' ''; \
             echo \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &ask]).current_dir(folder.path());
        assert_eq!(run(bash).await, (0, format!("{expected}\n"), String::new()), "{line}");
    }
    // The other shells read what they get, where they are installed; fish also says what it would offer.
    for (shell, check) in [("zsh", "zsh -n script"), ("fish", "fish -n script")] {
        let mut completion = bare(folder.path());
        completion.args(["completion", shell]);
        let (code, script, _) = run(completion).await;
        assert!(code == 0 && script.contains("rotate-secret"), "{shell}: {code}");
        std::fs::write(folder.path().join("script"), &script).unwrap();
        if ["/bin", "/usr/bin"].iter().any(|folder| std::path::Path::new(folder).join(shell).exists()) {
            let mut checking = Command::new("sh");
            checking.args(["-c", check]).current_dir(folder.path());
            assert_eq!(run(checking).await, (0, String::new(), String::new()), "{shell}");
        }
    }
    if std::path::Path::new("/usr/bin/fish").exists() {
        let mut fish = Command::new("fish");
        fish.args(["-c", "source script; complete -C 'finkare-relay rotate-secret --al'"]).current_dir(folder.path());
        let (code, offered, _) = run(fish).await;
        assert!(code == 0 && offered.starts_with("--all"), "{offered}");
    }
    let mut man = bare(folder.path());
    man.args(["man", "pages"]);
    assert_eq!(run(man).await.0, 0);
    for page in ["finkare-relay.1", "finkare-relay-events-list.1", "finkare-relay-restore.1"] {
        let text = std::fs::read_to_string(folder.path().join("pages").join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
        // Every page that one names is there.
        for line in text.lines().filter(|line| line.ends_with("(1)")) {
            let named = line.trim_start_matches(".TP").trim_end_matches("(1)").replace('\\', "");
            assert!(folder.path().join("pages").join(format!("{named}.1")).exists(), "{page} names {named}");
        }
    }
}
