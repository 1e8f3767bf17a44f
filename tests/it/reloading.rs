//! Another configuration while the service runs: as a whole or not at all, and no delivery refused.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    relay::{Backend, Home, Relay, TOKEN, on_both_stores},
    target::Target,
};

on_both_stores!(
    a_sink_comes_and_goes_under_load,
    what_is_wrong_changes_nothing,
    a_hang_up_reloads_too,
    a_file_sink_goes_on_with_its_file,
);

fn http(name: &str, target: &Target) -> String {
    format!("[[sinks]]\nname = \"{name}\"\ntype = \"http\"\nurl = \"{}\"\n", target.url())
}

/// Changes the sinks in the file of a running service.
fn rewrite(home: &Home, change: impl FnOnce(String) -> String) {
    let path = home.path("relay.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, change(text)).unwrap();
}

fn names(sinks: &Value) -> Vec<(String, bool)> {
    let rows = sinks["data"].as_array().unwrap();
    rows.iter().map(|row| (row["name"].as_str().unwrap().to_owned(), row["configured"] == true)).collect()
}

async fn a_sink_comes_and_goes_under_load(backend: Backend) {
    let (first, second) = (Target::start().await, Target::start().await);
    let home = Home::new(backend).await;
    let relay = home.serve(&http("first", &first)).await;
    let (finkare, go_on) = (Finkare::of(&relay), Arc::new(AtomicBool::new(true)));
    let load = tokio::spawn({
        let go_on = go_on.clone();
        async move {
            let mut sent = 0;
            while go_on.load(Relaxed) {
                let answer = finkare.deliver(&payment("i", 1)).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                sent += 1;
            }
            sent
        }
    });
    rewrite(&home, |text| text + &http("second", &second));
    let answer = relay.post("/reload").await;
    assert_eq!((&answer["sinks"], &answer["endpoints"]), (&Value::from(2), &Value::from(1)));
    eventually("the new sink is fed", async || !second.arrivals().is_empty()).await;
    rewrite(&home, |text| text.replace(&http("first", &first), ""));
    relay.post("/reload").await;
    assert_eq!(names(&relay.get("/sinks").await), [("first".to_owned(), false), ("second".to_owned(), true)]);
    go_on.store(false, Relaxed);
    let sent: usize = load.await.unwrap();
    eventually("what was stored for the new sink has arrived", async || relay.sink("second").await["backlog"] == 0)
        .await;
    // What the first sink had not got waits for its return.
    rewrite(&home, |text| text + &http("first", &first));
    relay.post("/reload").await;
    relay.drained().await;
    assert_eq!(relay.all("/events").await.len(), sent);
    for sink in ["first", "second"] {
        assert_eq!(relay.all(&format!("/dispatches?sink={sink}&state=delivered")).await.len() as u64, {
            relay.sink(sink).await["delivered"].as_u64().unwrap()
        });
    }
}

async fn what_is_wrong_changes_nothing(backend: Backend) {
    let target = Target::start().await;
    let home = Home::new(backend).await;
    let relay = home.serve(&http("first", &target)).await;
    let good = std::fs::read_to_string(home.path("relay.toml")).unwrap();
    for (bad, says) in [
        (format!("{good}\nnonsense = 1\n"), vec!["nonsense"]),
        (good.replace("type = \"http\"", "type = \"htp\"") + "[nothing]\n", vec!["htp", "nothing"]),
        (good.replace("admin_listen = \"127.0.0.1:0\"", "admin_listen = \"127.0.0.1:1\""), vec!["server.admin_listen"]),
        (String::from("not toml"), vec!["line 1"]),
    ] {
        std::fs::write(home.path("relay.toml"), bad).unwrap();
        let (status, answer) = relay.try_post("/reload").await;
        assert_eq!((status, answer["code"].as_str()), (422, Some("bad_configuration")), "{answer}");
        let problems = answer["problems"].to_string();
        assert!(says.iter().all(|word| problems.contains(word)), "{problems}");
        assert_eq!(Finkare::of(&relay).deliver(&payment("i", 1)).await.status, 200);
    }
    std::fs::write(home.path("relay.toml"), good).unwrap();
    relay.post("/reload").await;
    relay.drained().await;
    assert_eq!(target.arrivals().len(), 4);
}

async fn a_hang_up_reloads_too(backend: Backend) {
    let (first, second) = (Target::start().await, Target::start().await);
    let home = Home::new(backend).await;
    let mut relay: Relay = home.serve(&http("first", &first)).await;
    rewrite(&home, |text| text + "nonsense = 1\n");
    relay.signal("HUP");
    let line = relay.wait_for_line("the configuration was not reloaded").await;
    assert!(line.contains("nonsense"), "{line}");
    rewrite(&home, |text| text.replace("nonsense = 1\n", "") + &http("second", &second));
    relay.signal("HUP");
    relay.wait_for_line("the configuration was reloaded").await;
    assert_eq!(Finkare::of(&relay).deliver(&payment("i", 1)).await.status, 200);
    relay.drained().await;
    assert_eq!((first.arrivals().len(), second.arrivals().len()), (1, 1));
    let audit = relay.get("/audit").await;
    assert_eq!(
        (&audit["data"][0]["action"], &audit["data"][0]["actor"]),
        (&"configuration.reloaded".into(), &"SIGHUP".into())
    );
}

async fn a_file_sink_goes_on_with_its_file(backend: Backend) {
    let home = Home::new(backend).await;
    let relay = home.serve("[[sinks]]\nname = \"lines\"\ntype = \"file\"\npath = \"lines.jsonl\"\n").await;
    for _ in 0..3 {
        assert_eq!(Finkare::of(&relay).deliver(&payment("i", 1)).await.status, 200);
        relay.post("/reload").await;
    }
    relay.drained().await;
    assert_eq!(std::fs::read_to_string(home.path("lines.jsonl")).unwrap().lines().count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_reloads_and_tells_what_is_wrong() {
    let (first, second) = (Target::start().await, Target::start().await);
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve(&http("first", &first)).await;
    // With a configuration of its own: it is the service's that counts.
    let other = home.path("other.toml");
    std::fs::copy(home.path("relay.toml"), &other).unwrap();
    let reload = |more: &[&str]| {
        let mut command = home.command();
        command.env("RELAY_CONFIG", &other).args(["reload", "--admin-url", &format!("http://{}", relay.admin)]);
        let output = command.args(more).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    rewrite(&home, |text| text + &http("second", &second));
    let (code, said, _) = reload(&[]);
    assert_eq!((code, said.as_str()), (Some(0), "The configuration was reloaded: 1 endpoint, 2 sinks.\n"));
    assert_eq!(names(&relay.get("/sinks").await).len(), 2);

    let short = "{ name = \"guest\", role = \"viewer\", token = \"short\" }";
    rewrite(&home, |text| text.replace(" }]\n[[endpoints]]", &format!(" }}, {short}]\n[[endpoints]]")));
    let (code, said, _) = reload(&[]);
    assert_eq!(code, Some(0));
    assert!(said.contains("\nnotice: ") && said.contains("(guest).token"), "what may surprise is told: {said}");
    let (code, said, _) = reload(&["--json"]);
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &answer["sinks"]), (Some(0), &Value::from(2)), "{answer}");

    rewrite(&home, |text| text + "colour = 1\n[nothing]\n");
    let (code, said, error) = reload(&[]);
    assert_eq!((code, said.as_str()), (Some(2), ""));
    assert!(
        error.contains("the one before goes on") && error.contains("colour") && error.contains("nothing"),
        "{error}"
    );
    assert_eq!(names(&relay.get("/sinks").await).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_known_by_its_hash_opens_the_api() {
    let target = Target::start().await;
    let home = Home::new(Backend::Sqlite).await;
    home.configure("", &format!("secret = \"{}\"", crate::support::relay::SECRET), &http("erp", &target));
    let hash = hex::encode(Sha256::digest(TOKEN));
    rewrite(&home, |text| text.replace(&format!("token = \"{TOKEN}\""), &format!("token_sha256 = \"{hash}\"")));
    let relay = home.start().await;
    assert_eq!(relay.sink("erp").await["state"], "active");
    let by_hash = crate::support::http().get(format!("http://{}/api/v1/sinks", relay.admin)).bearer_auth(&hash);
    assert_eq!(by_hash.send().await.unwrap().status(), 401, "the hash itself opens nothing");

    let list = |token: Option<&str>| {
        let mut command = home.command();
        command.args(["sinks", "list", "--admin-url", &format!("http://{}", relay.admin)]);
        command.envs(token.map(|token| ("RELAY_ADMIN_TOKEN", token)));
        command.output().unwrap()
    };
    let without = list(None);
    assert_eq!(without.status.code(), Some(1));
    let said = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(said.contains("token_sha256") && said.contains("RELAY_ADMIN_TOKEN"), "what to do: {said}");
    let with = list(Some(TOKEN));
    assert!(with.status.success() && String::from_utf8_lossy(&with.stdout).contains("erp"), "{with:?}");
    assert!(!relay.terminate().await.1.contains(&hash));
}
