//! An operator's afternoon, by commands alone: no curl, no database. The snapshot keeps every answer as it reads.

use std::{fmt::Write as _, io::BufRead as _, path::PathBuf, process::Stdio};

use serde_json::{Value, json};

use crate::support::{
    eventually, http,
    relay::Relay,
    target::{Reply, Target},
};

/// The same on every machine and every day: names replace ids, times, fingerprints, ports and durations.
fn steady(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || ['-', ':', '.'].contains(&c);
    let (mut steady, mut rest) = (String::new(), text);
    while !rest.is_empty() {
        let other = rest.find(is_part).unwrap_or(rest.len());
        steady.push_str(&rest[..other]);
        let word = &rest[other..];
        let end = word.find(|c| !is_part(c)).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        let (word, mark) = word.split_at(word.trim_end_matches([':', '.']).len());
        steady.push_str(named(word, after).unwrap_or(word));
        steady.push_str(mark);
        rest = after;
    }
    steady
}

fn named(word: &str, after: &str) -> Option<&'static str> {
    let shape: String = word.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let is_hex = |word: &str| word.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(match shape.as_str() {
        "0000-00-00" => "[day]",
        "00:00:00" => "[time]",
        _ if shape.starts_with("0000-00-00T00:00:00") => "[day and time]",
        _ if word.starts_with("127.0.0.1:") => "[address]",
        _ if uuid::Uuid::try_parse(word).is_ok() => "[id]",
        _ if word.len() == 16 && is_hex(word) => "[fingerprint]",
        _ if after.starts_with(" ms") && word.parse::<f64>().is_ok() => "[some]",
        _ => return None,
    })
}

/// One machine, and the commands on it.
struct Desk {
    directory: tempfile::TempDir,
    relay: Relay,
    /// The typed commands and their answers.
    story: String,
}

fn bare(directory: &std::path::Path) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_finkare-relay"));
    command.current_dir(directory).env_clear().stdin(Stdio::null());
    command
}

impl Desk {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut serve = bare(directory.path());
        serve.arg("serve").env("RELAY_LISTEN", "127.0.0.1:0").env("RELAY_ADMIN_LISTEN", "127.0.0.1:0");
        let relay = Relay::start(serve).await;
        Self { directory, relay, story: String::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.path("relay.toml"), text).unwrap();
    }

    async fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
        let mut command = bare(self.directory.path());
        command.args(arguments).envs(variables.iter().copied());
        // On a real machine these are fixed, and the configuration contains them.
        command.env("RELAY_LISTEN", self.relay.public.to_string());
        command.env("RELAY_ADMIN_LISTEN", self.relay.admin.to_string());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap_or(-1), text.into_owned())
    }

    /// Types a command; its answer is added to the story.
    async fn types(&mut self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let (code, said) = self.run(arguments, variables).await;
        let failed = if code == 0 { String::new() } else { format!("(exit {code})\n") };
        let _ = write!(self.story, "$ finkare-relay {}\n{}{failed}\n", steady(&arguments.join(" ")), steady(&said));
        said
    }

    /// The same command's answer as JSON, which is not added to the story.
    async fn json(&self, arguments: &[&str]) -> Value {
        let (code, said) = self.run(&[arguments, &["--json"]].concat(), &[]).await;
        assert_eq!(code, 0, "{arguments:?}: {said}");
        serde_json::from_str(&said).unwrap()
    }

    async fn rows(&self, arguments: &[&str]) -> Vec<Value> {
        self.json(arguments).await["data"].as_array().unwrap().clone()
    }

    /// Waits until a list has this number of rows: an operator would look again.
    async fn lists(&self, arguments: &[&str], rows: usize) {
        eventually(&format!("{rows} rows of {arguments:?}"), async || self.rows(arguments).await.len() == rows).await;
    }
}

/// The local Finkare, as `finkare-relay simulate` runs it.
struct Simulated {
    child: std::process::Child,
    url: String,
}

impl Drop for Simulated {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Simulated {
    fn start(desk: &Desk) -> Self {
        let mut command = bare(desk.directory.path());
        let deliver_to = format!("http://{}", desk.relay.public);
        command.args(["simulate", "--json", "--listen", "127.0.0.1:0", "--deliver-to", &deliver_to, "--seed", "7"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let said: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let url = format!("http://{}", said["address"].as_str().unwrap());
        Self { child, url }
    }

    /// A debtor pays.
    async fn pays(&self, cents: i64) {
        let request = http().post(format!("{}/_simulator/payments", self.url)).json(&json!({"amountCents": cents}));
        assert_eq!(request.send().await.unwrap().status(), 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_a_rotation() {
    let mut desk = Desk::new().await;
    let began = finkare_relay::model::clock::now().to_string();

    // Nothing is configured: a first event.
    desk.types(&["send", "payment.received", "--data", r#"{"invoiceId":"INV-1","amountCents":150000}"#], &[]).await;
    desk.lists(&["dispatches", "list", "--state", "delivered"], 1).await;
    desk.types(&["events", "list"], &[]).await;
    desk.types(&["sinks", "list"], &[]).await;

    // Finkare and a target.
    let finkare = Simulated::start(&desk);
    let target = Target::start().await;
    let config = format!(
        "[admin]\ntokens = [{{ name = \"anna\", role = \"admin\", token = \"the-token-of-anna\" }}]\n\
         [[endpoints]]\nname = \"default\"\npath = \"/webhooks/finkare\"\napi_key = \"fk_test_simulator\"\napi_url = \"{}\"\n\
         api_rate_limit = {{ requests = 100, per_secs = 1 }}\n\
         [[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\n",
        finkare.url,
        target.url()
    );
    desk.configure(&config);
    desk.types(&["reload"], &[]).await;
    let token = std::fs::read_to_string(desk.path("data/admin-token")).unwrap();
    desk.types(&["reload"], &[("RELAY_ADMIN_TOKEN", token.trim())]).await;
    desk.types(&["register", "--url", "https://relay.example/webhooks/finkare"], &[]).await;
    desk.types(&["endpoints", "list"], &[]).await;
    finkare.pays(120_000).await;
    desk.lists(&["dispatches", "list", "--sink", "erp", "--state", "delivered"], 1).await;
    desk.types(&["events", "list", "--type", "payment.received"], &[]).await;

    // The target is down for a moment; then its password changes.
    target.script(|_, _| Reply::Status(503, vec![("retry-after", "600".into())]));
    finkare.pays(130_000).await;
    eventually("it was tried", async || {
        let rows = desk.rows(&["dispatches", "list", "--state", "pending", "--sink", "erp"]).await;
        rows.len() == 1 && rows[0]["attempts"] == 1
    })
    .await;
    target.script(|_, _| Reply::Status(401, vec![]));
    finkare.pays(140_000).await;
    finkare.pays(150_000).await;
    desk.lists(&["dispatches", "list", "--state", "dead"], 2).await;
    desk.types(&["sinks", "list"], &[]).await;
    desk.types(&["dispatches", "list", "--state", "pending", "--sink", "erp"], &[]).await;
    desk.types(&["dispatches", "list", "--state", "dead"], &[]).await;
    let dead = desk.rows(&["dispatches", "list", "--state", "dead"]).await;
    let id = dead[1]["id"].to_string();
    desk.types(&["dispatches", "show", &id], &[]).await;
    desk.types(&["events", "show", dead[1]["event_id"].as_str().unwrap()], &[]).await;
    desk.types(&["sinks", "test", "erp"], &[]).await;

    // The password is corrected.
    target.script(|_, _| Reply::Status(204, vec![]));
    desk.types(&["sinks", "test", "erp"], &[]).await;
    desk.types(&["dispatches", "retry", "--sink", "erp", "--state", "dead", "--yes"], &[]).await;
    let waiting = desk.rows(&["dispatches", "list", "--state", "pending", "--sink", "erp"]).await;
    let waiting = waiting.iter().find(|row| row["attempts"] == 1 && row["trigger"] == "event");
    let waiting = waiting.map(|row| row["id"].to_string()).unwrap_or_default();
    // The answer may say `pending` or `leased`, depending on the timing, so it is not part of the story.
    assert_eq!(desk.run(&["dispatches", "retry", &waiting], &[]).await.0, 0);
    desk.lists(&["dispatches", "list", "--sink", "erp", "--state", "delivered"], 4).await;
    desk.types(&["sinks", "list"], &[]).await;

    // A new sink gets the earlier events.
    desk.configure(&format!("{config}[[sinks]]\nname = \"archive\"\ntype = \"file\"\npath = \"archive.jsonl\"\n"));
    desk.types(&["reload"], &[]).await;
    desk.types(&["events", "replay", "--since", &began, "--sink", "archive", "--dry-run"], &[]).await;
    desk.types(&["events", "replay", "--since", &began, "--sink", "archive"], &[]).await;
    desk.lists(&["dispatches", "list", "--sink", "archive", "--state", "delivered"], 5).await;
    assert_eq!(std::fs::read_to_string(desk.path("archive.jsonl")).unwrap().lines().count(), 5);

    // A delivery arrives with a wrong secret.
    desk.types(&["send", "payment.received", "--forge", "--data", r#"{"invoiceId":"INV-2","amountCents":1}"#], &[])
        .await;
    desk.types(&["refusals", "list"], &[]).await;

    // The secret is rotated, and payments continue.
    desk.types(&["rotate-secret"], &[]).await;
    desk.types(&["endpoints", "secrets", "default"], &[]).await;
    finkare.pays(160_000).await;
    desk.lists(&["dispatches", "list", "--sink", "archive", "--state", "delivered"], 6).await;
    desk.types(&["audit", "list"], &[]).await;

    insta::assert_snapshot!(desk.story);
    let Desk { relay, .. } = desk;
    let (exit, log) = relay.terminate().await;
    assert!(exit.success() && !log.contains("the-token-of-anna"), "{log}");
}
