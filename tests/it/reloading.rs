//! A new configuration while the service runs: it is applied as a whole or not at all, and no delivery is refused.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    relay::{Backend, Home, Relay, TOKEN, on_both_stores},
    target::{Reply, Target},
};

on_both_stores!(
    a_sink_comes_and_goes_under_load,
    what_is_wrong_changes_nothing,
    a_hang_up_reloads_too,
    a_file_sink_goes_on_with_its_file,
    a_hanging_sink_holds_no_other_up_and_is_not_restarted,
    a_sink_that_changes_while_it_hangs_is_followed_by_itself,
    a_removed_sink_gets_nothing_until_it_is_back,
    a_changed_route_takes_effect,
    a_reload_ends_no_later_than_the_service,
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
    // The events that the first sink had not received wait until it is configured again.
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
    // The command has another configuration: the service's configuration is the one that is used.
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
    let expected = "The configuration was reloaded: 1 endpoint, 2 sinks.\n  sinks added: second\n  sinks unchanged: first\n  \
                    endpoints unchanged: production\n";
    assert_eq!((code, said.as_str()), (Some(0), expected));
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
        error.contains("the previous one stays in force") && error.contains("colour") && error.contains("nothing"),
        "{error}"
    );
    assert_eq!(names(&relay.get("/sinks").await).len(), 2);
}

/// A target that waits for a permit before each answer.
async fn waiting() -> (Target, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let waits = permits.clone();
    (Target::scripted(move |_, _| Reply::After(waits.clone())).await, permits)
}

fn slow(name: &str, target: &Target) -> String {
    http(name, target) + "timeout_secs = 300\nconcurrency = 1\n"
}

async fn a_hanging_sink_holds_no_other_up_and_is_not_restarted(backend: Backend) {
    let ((hanging, permits), first, second) = (waiting().await, Target::start().await, Target::start().await);
    let home = Home::new(backend).await;
    let relay = home.serve(&(slow("hanging", &hanging) + &http("other", &first))).await;
    let finkare = Finkare::of(&relay);
    finkare.deliver(&payment("a", 1)).await;
    eventually("an attempt hangs", async || hanging.arrivals().len() == 1 && first.arrivals().len() == 1).await;

    rewrite(&home, |text| text.replace(&first.url(), &second.url()));
    let answer = relay.post("/reload").await;
    let sinks = json!({"added": [], "removed": [], "changed": ["other"], "unchanged": ["hanging"]});
    let endpoints = json!({"added": [], "removed": [], "changed": [], "unchanged": ["production"]});
    assert_eq!(
        answer["changes"],
        json!({"sinks": sinks, "endpoints": endpoints, "options": ["sinks.other.url"]}),
        "{answer}"
    );
    finkare.deliver(&payment("b", 2)).await;
    eventually("the other has its event", async || second.arrivals().len() == 1).await;
    assert_eq!((hanging.arrivals().len(), first.arrivals().len()), (1, 1), "nobody waited, nothing was cut off");
    let leased = relay.all("/dispatches?sink=hanging&state=leased").await;
    assert_eq!(leased.len(), 1, "the attempt goes on: {leased:?}");

    permits.add_permits(10);
    relay.drained().await;
    assert_eq!(hanging.arrivals().len(), 2, "each event once");
    for dispatch in relay.all("/dispatches?sink=hanging").await {
        assert_eq!((&dispatch["state"], &dispatch["attempts"]), (&json!("delivered"), &json!(1)), "{dispatch}");
    }
}

async fn a_sink_that_changes_while_it_hangs_is_followed_by_itself(backend: Backend) {
    let ((hanging, permits), other, new) = (waiting().await, Target::start().await, Target::start().await);
    let home = Home::new(backend).await;
    let relay = home.serve(&(slow("hanging", &hanging) + &http("other", &other))).await;
    let finkare = Finkare::of(&relay);
    finkare.deliver(&payment("a", 1)).await;
    eventually("an attempt hangs", async || hanging.arrivals().len() == 1).await;

    // There are two reloads, and neither waits. Then the first attempt ends, and the last configuration is in force.
    rewrite(&home, |text| text.replace("timeout_secs = 300", "timeout_secs = 299"));
    assert_eq!(relay.post("/reload").await["changes"]["sinks"]["changed"], json!(["hanging"]));
    rewrite(&home, |text| text.replace(&hanging.url(), &new.url()));
    assert_eq!(relay.post("/reload").await["changes"]["sinks"]["changed"], json!(["hanging"]));
    finkare.deliver(&payment("b", 2)).await;
    eventually("the other has both", async || other.arrivals().len() == 2).await;
    assert_eq!((hanging.arrivals().len(), new.arrivals().len()), (1, 0), "never two workers of one sink");

    permits.add_permits(1);
    relay.drained().await;
    assert_eq!((hanging.arrivals().len(), new.arrivals().len()), (1, 1));
    for dispatch in relay.all("/dispatches?sink=hanging").await {
        assert_eq!((&dispatch["state"], &dispatch["attempts"]), (&json!("delivered"), &json!(1)), "{dispatch}");
    }
}

async fn a_removed_sink_gets_nothing_until_it_is_back(backend: Backend) {
    let (failing, other) = (Target::scripted(|_, _| Reply::Status(503, vec![])).await, Target::start().await);
    let home = Home::new(backend).await;
    let sink = http("failing", &failing)
        + "retry = { initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }\n\
           breaker = { failures = 1000, probe_secs = 1 }\n";
    let relay = home.serve(&(http("other", &other) + &sink)).await;
    let finkare = Finkare::of(&relay);
    finkare.deliver(&payment("a", 1)).await;
    eventually("it is tried again and again", async || failing.arrivals().len() >= 3).await;

    rewrite(&home, |text| text.replace(&sink, ""));
    assert_eq!(relay.post("/reload").await["changes"]["sinks"]["removed"], json!(["failing"]));
    eventually("its worker has given everything back", async || {
        relay.all("/dispatches?sink=failing&state=pending").await.len() == 1
    })
    .await;
    // When the last events of the other sinks have arrived, the running ones have arrived as well.
    let before = failing.arrivals().len();
    for number in 0..20 {
        finkare.deliver(&payment("b", number)).await;
    }
    eventually("the other goes on", async || other.arrivals().len() == 21).await;
    assert_eq!(failing.arrivals().len(), before, "nobody tries it any more");
    let dispatch = relay.all("/dispatches?sink=failing").await.remove(0);
    assert_eq!(dispatch["sink_state"], "not_configured");

    failing.script(|_, _| Reply::Status(204, vec![]));
    rewrite(&home, |text| text + &sink);
    assert_eq!(relay.post("/reload").await["changes"]["sinks"]["added"], json!(["failing"]));
    relay.drained().await;
    assert_eq!(failing.delivered().len(), 1);
}

async fn a_changed_route_takes_effect(backend: Backend) {
    let target = Target::start().await;
    let home = Home::new(backend).await;
    let relay = home.serve(&http("erp", &target)).await;
    let finkare = Finkare::of(&relay);
    finkare.deliver(&payment("a", 1)).await;
    relay.drained().await;
    rewrite(&home, |text| text + "filter = \"data.amountCents > 50\"\n");
    assert_eq!(relay.post("/reload").await["changes"]["options"], json!(["sinks.erp.filter"]));
    finkare.deliver(&payment("b", 2)).await;
    finkare.deliver(&payment("c", 51)).await;
    relay.drained().await;
    let invoices: Vec<_> = target.arrivals().iter().map(crate::support::target::Arrival::invoice).collect();
    assert_eq!(invoices, ["a", "c"]);
    rewrite(&home, |text| text.replace("filter = \"data.amountCents > 50\"\n", ""));
    relay.post("/reload").await;
    finkare.deliver(&payment("d", 3)).await;
    relay.drained().await;
    assert_eq!(target.arrivals().len(), 3);
}

/// A stop signal and its time limit apply at once, even while a worker that a reload has replaced still waits for its
/// target.
async fn a_reload_ends_no_later_than_the_service(backend: Backend) {
    let target = Target::scripted(|_, _| Reply::Hang).await;
    let home = Home::new(backend).await;
    let mut relay = home.serve_with("shutdown_timeout_secs = 300", &slow("hanging", &target)).await;
    Finkare::of(&relay).deliver(&payment("a", 1)).await;
    eventually("an attempt hangs", async || target.arrivals().len() == 1).await;
    rewrite(&home, |text| text.replace("timeout_secs = 300\nconcurrency", "timeout_secs = 200\nconcurrency"));
    relay.signal("HUP");
    relay.wait_for_line("the configuration was reloaded").await;
    rewrite(&home, |text| text.replace("shutdown_timeout_secs = 300", "shutdown_timeout_secs = 1"));
    relay.signal("HUP");
    relay.wait_for_line("options: server.shutdown_timeout_secs").await;
    relay.signal("TERM");
    assert!(relay.ended().await.success(), "{}", relay.log());
    assert_eq!(target.arrivals().len(), 1);
    let store = home.store().await;
    let left = store.list_dispatches(&finkare_relay::store::DispatchFilter::default(), 10).await.unwrap().rows;
    assert_eq!((left[0].state.to_string(), left[0].attempts), ("pending".to_owned(), 0), "given back, not counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_says_what_differs_by_name_and_never_by_value() {
    let (first, second) = (Target::start().await, Target::start().await);
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve(&http("first", &first)).await;
    let reload = || {
        let mut command = home.command();
        let output = command.args(["reload", "--admin-url", &format!("http://{}", relay.admin)]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let same = reload();
    assert!(same.contains("Nothing has changed.") && same.contains("relay.toml, the service does not see"), "{same}");
    assert_eq!(relay.post("/reload").await["differs"], false);
    // The order and the formatting do not matter.
    rewrite(&home, |text| {
        text.replace(&http("first", &first), &(http("second", &second) + "\n# a note\n" + &http("first", &first)))
    });
    let said = reload();
    assert!(said.contains("sinks added: second\n  sinks unchanged: first\n"), "{said}");
    assert!(!said.contains("options"), "what is new as a whole is not taken to pieces: {said}");

    std::fs::write(home.path("secret"), "whsec_the-secret-in-a-file").unwrap();
    rewrite(&home, |text| {
        let secret = format!("secret = \"{}\"", crate::support::relay::SECRET);
        text.replace(&http("second", &second), "").replace(&secret, "secret = { file = \"secret\" }")
            + "headers = { x-key = \"the-key-of-the-sink\" }\n"
    });
    let said = reload();
    let expected = "  sinks removed: second\n  sinks changed: first\n  endpoints changed: production\n  options that differ: \
                    endpoints.production.secret, endpoints.production.secret.file, sinks.first.headers.x-key\n";
    assert!(said.contains(expected), "{said}");
    // Only the content of the file differs.
    std::fs::write(home.path("secret"), "whsec_another-secret-in-the-file").unwrap();
    let said = reload();
    assert!(
        said.contains("endpoints changed: production\n  options that differ: endpoints.production.secret\n"),
        "{said}"
    );

    let audit = relay.get("/audit").await.to_string();
    assert!(audit.contains("options: endpoints.production.secret"), "{audit}");
    let (_, log) = relay.terminate().await;
    assert!(log.contains("\"differs\":\"sinks added: second\""), "{log}");
    for secret in ["the-secret-in-a-file", "another-secret", "the-key-of-the-sink"] {
        assert!(!log.contains(secret) && !audit.contains(secret) && !said.contains(secret), "{secret}");
    }
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
