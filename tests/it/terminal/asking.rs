//! Decisions about many objects: the preview, the confirmation, and what happens without a terminal.

use super::*;

/// The dispatches of the tests: three dispatches of one sink, two of them `dead` and one `pending`.
struct Scene {
    home: Home,
    relay: Relay,
    admin: String,
}

impl Scene {
    /// Two dead dispatches of the sink `erp`, and one that is pending behind a pause.
    async fn new() -> Self {
        let home = Home::new(Backend::Sqlite).await;
        let target = Target::scripted(|_, _| Reply::Status(400, vec![])).await;
        let sinks = format!(
            "[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\nevents = \"*\"\nbreaker = {{ failures = 1000000 }}\n",
            target.url()
        );
        let relay = home.serve(&sinks).await;
        let finkare = Finkare::of(&relay);
        for invoice in ["i1", "i2"] {
            finkare.deliver(&payment(invoice, 100)).await;
        }
        relay.drained().await;
        relay.post("/sinks/erp/pause").await;
        finkare.deliver(&payment("i3", 100)).await;
        let admin = format!("http://{}", relay.admin);
        Self { home, relay, admin }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command();
        command.args(arguments).args(["--admin-url", &self.admin]);
        command
    }

    /// In a pipe, where no question is possible.
    async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        run(self.command(arguments)).await
    }

    /// At a terminal, with a typed answer: exit code, and everything on the screen.
    async fn typed(&self, arguments: &[&str], answer: &str) -> (i32, String) {
        let words = [&[env!("CARGO_BIN_EXE_finkare-relay")], arguments, &["--admin-url", &self.admin]].concat();
        let line: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let mut script = self.home.command();
        // util-linux's `script` creates a terminal around a command, and ends like the command.
        let mut terminal = Command::new("script");
        terminal.args(["-qec", &line.join(" "), "/dev/null"]).current_dir(self.home.directory.path());
        terminal.env_clear().envs(script.get_envs().filter_map(|(name, value)| Some((name, value?))));
        terminal.stdin(Stdio::piped()).stdout(Stdio::piped());
        script.stdin(Stdio::null());
        let answer = format!("{answer}\n");
        let output = tokio::task::spawn_blocking(move || {
            let mut child = terminal.spawn().expect("util-linux is there");
            child.stdin.as_mut().unwrap().write_all(answer.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        })
        .await
        .unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).replace('\r', ""))
    }

    /// The number of dispatches in each of the states dead, pending and cancelled.
    async fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for (count, state) in counts.iter_mut().zip(["dead", "pending", "cancelled"]) {
            *count = self.relay.all(&format!("/dispatches?state={state}")).await.len();
        }
        counts
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_can_be_asked_nothing_is_done_without_a_yes() {
    let scene = Scene::new().await;
    for arguments in [
        &["dispatches", "cancel", "--sink", "erp", "--state", "dead"][..],
        &["dispatches", "cancel", "1"],
        &["dispatches", "retry", "--sink", "erp"],
        &["events", "replay", "--all"],
        &["erase", "--invoice", "i1"],
        &["bookings", "settle", "p", "--sink", "erp", "--recorded"],
    ] {
        let (code, stdout, stderr) = scene.run(arguments).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains("add --yes to do it, or --dry-run to see"), "{arguments:?}: {stderr}");
    }
    assert_eq!(scene.counts().await, [2, 1, 0]);
    assert_eq!(scene.relay.all("/dispatches").await.len(), 3, "nothing was replayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_how_many_and_changes_nothing() {
    let scene = Scene::new().await;
    let before = scene.relay.all("/dispatches").await;
    let trail = scene.relay.all("/audit").await.len();
    for (arguments, said) in [
        (
            &["dispatches", "cancel", "--sink", "erp", "--state", "pending,dead"][..],
            "3 dispatches to erp would be cancelled: 1 pending, 2 dead; nothing was changed.",
        ),
        (
            &["dispatches", "retry", "--sink", "erp"],
            "2 dispatches to erp would be retried: 0 held, 2 dead; nothing was changed.",
        ),
        (
            &["dispatches", "cancel", "--state", "dead", "--invoice-id", "i1", "--sink", "erp"],
            "1 dispatch to erp would be cancelled: 1 dead; nothing was changed.",
        ),
        (&["events", "replay", "--all"], "3 events would be replayed with 3 dispatches; nothing was written."),
        (
            &["erase", "--invoice", "i3"],
            "The payloads of 1 event of invoice i3 and the debtor's name would be removed permanently, and 1 dispatch that is not delivered would be cancelled; nothing was changed.",
        ),
    ] {
        let (code, stdout, stderr) = scene.run(&[arguments, &["--dry-run"]].concat()).await;
        assert_eq!((code, stdout.trim_end()), (0, said), "{arguments:?}: {stderr}");
    }
    let (code, stdout, _) = scene.run(&["dispatches", "cancel", "1", "--dry-run"]).await;
    assert!(code == 0 && stdout.ends_with("It would be cancelled; nothing was changed.\n"), "{stdout}");
    let (_, stdout, _) = scene.run(&["dispatches", "cancel", "--state", "dead,pending", "--dry-run", "--json"]).await;
    let expected = json!({"cancelled": 3, "states": {"dead": 2, "pending": 1}, "more": false, "dry_run": true});
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap(), expected);
    assert_eq!(scene.relay.all("/dispatches").await, before);
    assert_eq!(scene.relay.all("/audit").await.len(), trail, "and nothing stands in the audit trail");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_takes_the_states_that_are_asked_for_and_no_other() {
    let scene = Scene::new().await;
    let (code, stdout, stderr) =
        scene.run(&["dispatches", "cancel", "--sink", "erp", "--state", "held,dead", "--yes"]).await;
    assert_eq!((code, stdout.as_str()), (0, "2 dispatches were cancelled.\n"), "{stderr}");
    assert_eq!(scene.counts().await, [0, 1, 2], "what is pending still waits");
    let (code, stdout, _) = scene.run(&["dispatches", "cancel", "--state", "pending", "--sink", "erp", "--yes"]).await;
    assert_eq!((code, stdout.as_str()), (0, "1 dispatch was cancelled.\n"));
    assert_eq!(scene.counts().await, [0, 0, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_terminal_it_is_said_and_asked() {
    let scene = Scene::new().await;
    let cancel = ["dispatches", "cancel", "--sink", "erp", "--state", "dead"];
    let (code, screen) = scene.typed(&cancel, "n").await;
    let question = "2 dispatches to erp would be cancelled: 2 dead.\nCancel them permanently? [y/N]";
    assert!(code == 1 && screen.contains(question) && screen.contains("Nothing was changed."), "{code} {screen}");
    assert_eq!(scene.counts().await, [2, 1, 0]);
    // Enter alone is a no, too.
    assert_eq!(scene.typed(&cancel, "").await.0, 1);
    assert_eq!(scene.counts().await, [2, 1, 0]);
    let (code, screen) = scene.typed(&cancel, "y").await;
    assert!(code == 0 && screen.contains("2 dispatches were cancelled."), "{code} {screen}");
    assert_eq!(scene.counts().await, [0, 1, 2]);

    let (code, screen) = scene.typed(&["erase", "--invoice", "i3"], "n").await;
    assert!(code == 1 && screen.contains("Erase the invoice? [y/N]"), "{code} {screen}");
    let (code, screen) = scene.typed(&["events", "replay", "--all"], "n").await;
    assert!(code == 1 && screen.contains("3 events would be replayed with 3 dispatches."), "{code} {screen}");
    let (code, screen) = scene.typed(&["events", "replay", "--type", "payment.received"], "n").await;
    assert!(code == 1 && screen.contains("Send them again? [y/N]"), "{code} {screen}");
    assert_eq!(scene.relay.all("/dispatches").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_to_another_companys_sink_is_warned_of() {
    let home = Home::new(Backend::Sqlite).await;
    home.configure(
        "",
        &format!("secret = \"{SECRET}\"\n[[endpoints]]\nname = \"c06\"\npath = \"/hooks/c06\"\nsecret = \"{SECRET}\""),
        "[[sinks]]\nname = \"erp-c06\"\ntype = \"file\"\npath = \"out.jsonl\"\nendpoints = [\"c06\"]\n",
    );
    let relay = home.start().await;
    Finkare::of(&relay).deliver(&payment("i1", 100)).await;
    let replay = async |arguments: &[&str]| {
        let mut command = home.command();
        command.args(["events", "replay", "--sink", "erp-c06", "--admin-url", &format!("http://{}", relay.admin)]);
        command.args(arguments);
        run(command).await
    };
    let warning = "warning: 1 of these dispatches go to a sink whose `endpoints` do not include the event's endpoint";
    let (code, stdout, _) = replay(&["--endpoint", "production", "--dry-run"]).await;
    assert!(code == 0 && stdout.contains(warning), "{stdout}");
    let (code, stdout, _) = replay(&["--endpoint", "c06", "--dry-run"]).await;
    assert_eq!((code, stdout.as_str()), (0, "0 events would be replayed with 0 dispatches; nothing was written.\n"));
    assert!(relay.all("/dispatches").await.is_empty());
}
