//! The circuit breaker from an operator's view: what closes it, in one process and in several, and what the operator
//! sees.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use serde_json::{Value, json};

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    relay::{Backend, Home, Relay, on_both_stores},
    target::{Reply, Target},
};

on_both_stores!(
    nothing_left_to_probe_with_is_no_alarm,
    a_resume_tries_a_tripped_sink_at_once,
    a_test_that_succeeds_closes_the_breaker,
    a_retry_says_what_the_dispatches_wait_for,
    the_list_shows_an_error_until_the_next_success,
    a_reload_for_another_sink_leaves_the_breaker_as_it_is,
);

/// A target that works, or fails, as the test decides.
async fn target() -> (Target, Arc<AtomicBool>) {
    let works = Arc::new(AtomicBool::new(false));
    let is_up = works.clone();
    let target = Target::scripted(move |_, _| Reply::Status(if is_up.load(Relaxed) { 204 } else { 503 }, vec![])).await;
    (target, works)
}

/// Trips at the first failure. Retries are due at once; `probe` is the number of seconds between two probes.
fn sink(target: &Target, probe_secs: f64) -> String {
    format!(
        "[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\nconcurrency = 1\n\
         retry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }}\n\
         breaker = {{ failures = 1, probe_secs = {probe_secs} }}\n",
        target.url()
    )
}

/// A probe interval that is longer than any test.
const NEVER: f64 = 3600.0;

async fn eventually_is(relay: &Relay, state: &str) {
    eventually(&format!("the sink is {state}"), async || relay.sink("erp").await["state"] == state).await;
}

/// One process with a tripped sink, and one event for this sink.
async fn tripped(backend: Backend) -> (Home, Relay, Target, Arc<AtomicBool>) {
    let (target, works) = target().await;
    let home = Home::new(backend).await;
    let relay = home.serve(&sink(&target, NEVER)).await;
    assert_eq!(Finkare::of(&relay).deliver(&payment("i", 1)).await.status, 200);
    eventually_is(&relay, "tripped").await;
    // The outcome has been recorded, so the dispatch is pending again.
    eventually("it is pending", async || relay.all("/dispatches?state=pending").await.len() == 1).await;
    (home, relay, target, works)
}

async fn run(home: &Home, relay: &Relay, arguments: &[&str]) -> String {
    let mut command = home.command();
    command.args(arguments).args(["--admin-url", &format!("http://{}", relay.admin)]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

async fn nothing_left_to_probe_with_is_no_alarm(backend: Backend) {
    let (target, works) = target().await;
    let home = Home::new(backend).await;
    let relay = home.serve(&sink(&target, 0.2)).await;
    let finkare = Finkare::of(&relay);
    finkare.deliver(&payment("i", 1)).await;
    eventually_is(&relay, "tripped").await;
    eventually("it is cancelled", async || {
        let (_, answer) = relay.try_post_json("/dispatches/cancel", &json!({"sink": "erp"})).await;
        answer["cancelled"] == 1
    })
    .await;
    eventually_is(&relay, "active").await;
    let metrics = crate::support::http().get(format!("http://{}/metrics", relay.admin)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("relay_sink_state{sink=\"erp\",state=\"tripped\"} 0"), "{metrics}");
    // A retry is not a proof that the target works: one failure trips the sink again.
    let before = target.arrivals().len();
    finkare.deliver(&payment("i", 2)).await;
    finkare.deliver(&payment("j", 3)).await;
    eventually_is(&relay, "tripped").await;
    assert!(target.arrivals().len() > before);
    works.store(true, Relaxed);
    relay.drained().await;
    assert_eq!(relay.sink("erp").await["state"], "active");
}

async fn a_resume_tries_a_tripped_sink_at_once(backend: Backend) {
    let (home, relay, target, works) = tripped(backend).await;
    let before = target.arrivals().len();
    // The retry fails: there is one more attempt, and the sink trips again.
    let said = run(&home, &relay, &["sinks", "resume", "erp"]).await;
    assert!(said.starts_with("The sink erp is ") && said.contains("one event is tried now"), "{said}");
    eventually("it is tried", async || target.arrivals().len() == before + 1).await;
    eventually_is(&relay, "tripped").await;

    works.store(true, Relaxed);
    run(&home, &relay, &["sinks", "resume", "erp"]).await;
    relay.drained().await;
    assert_eq!((target.arrivals().len(), target.delivered().len()), (before + 2, 1));
    assert_eq!(relay.sink("erp").await["state"], "active");
    let said = run(&home, &relay, &["sinks", "resume", "erp"]).await;
    assert_eq!(said, "The sink erp is active.\n", "nothing was to be done");
    let audit = relay.get("/audit").await.to_string();
    assert_eq!(audit.matches("sink.resumed").count(), 2, "{audit}");
}

async fn a_test_that_succeeds_closes_the_breaker(backend: Backend) {
    let (home, relay, target, works) = tripped(backend).await;
    let (_, answer) = relay.try_post("/sinks/erp/test").await;
    assert_eq!((&answer["outcome"], &answer["note"]), (&json!("retry"), &Value::Null));
    assert_eq!(relay.sink("erp").await["state"], "tripped", "one that fails changes nothing");
    works.store(true, Relaxed);
    let said = run(&home, &relay, &["sinks", "test", "erp"]).await;
    assert!(
        said.contains("was delivered") && said.contains("The sink was tripped: its events are sent again."),
        "{said}"
    );
    relay.drained().await;
    assert_eq!(relay.sink("erp").await["state"], "active");
    assert_eq!(target.delivered().len(), 2, "the event and the test");
}

async fn a_retry_says_what_the_dispatches_wait_for(backend: Backend) {
    let (home, relay, target, works) = tripped(backend).await;
    // A probe time in the past is not mentioned.
    let listed = run(&home, &relay, &["dispatches", "list"]).await;
    eventually("it is due, and waits for the probe", async || {
        run(&home, &relay, &["dispatches", "list"]).await.contains("sink tripped, probed at 20")
    })
    .await;
    assert!(listed.contains("pending"), "{listed}");
    let row = relay.all("/dispatches").await.remove(0);
    assert_eq!(row["sink_state"], "tripped");
    assert!(row["sink_next_probe_at"].is_string() && relay.sink("erp").await["next_probe_at"].is_string());

    let before = target.arrivals().len();
    let retry = ["dispatches", "retry", "--sink", "erp", "--state", "pending", "--yes"];
    let said = run(&home, &relay, &retry).await;
    assert!(said.starts_with("1 dispatch is due again. The sink erp is tripped: one event is tried now"), "{said}");
    eventually("it is tried", async || target.arrivals().len() == before + 1).await;
    eventually_is(&relay, "tripped").await;

    relay.post("/sinks/erp/pause").await;
    eventually("it is pending", async || relay.all("/dispatches?state=pending").await.len() == 1).await;
    let said = run(&home, &relay, &retry).await;
    assert!(
        said.starts_with("1 dispatch is due again. The sink erp is paused") && said.contains("sinks resume erp"),
        "{said}"
    );
    assert!(run(&home, &relay, &["dispatches", "list"]).await.contains("sink paused"));
    let id = row["id"].to_string();
    let said = run(&home, &relay, &["dispatches", "retry", &id]).await;
    assert!(said.contains("waits: sink paused") && said.contains("is paused: its events wait"), "{said}");
    assert_eq!(target.arrivals().len(), before + 1, "a paused sink gets nothing");

    works.store(true, Relaxed);
    run(&home, &relay, &["sinks", "resume", "erp"]).await;
    relay.drained().await;
    assert_eq!(target.delivered().len(), 1);
    assert!(!run(&home, &relay, &["dispatches", "list"]).await.contains("sink "));
}

async fn the_list_shows_an_error_until_the_next_success(backend: Backend) {
    let (home, relay, _target, works) = tripped(backend).await;
    let listed = run(&home, &relay, &["sinks", "list"]).await;
    assert!(listed.contains("next probe 20") && listed.contains("last error 20") && listed.contains("503"), "{listed}");
    works.store(true, Relaxed);
    relay.post("/sinks/erp/resume").await;
    relay.drained().await;
    let listed = run(&home, &relay, &["sinks", "list"]).await;
    assert!(!listed.contains("503") && !listed.contains("next probe"), "{listed}");
    assert!(
        relay.sink("erp").await["last_error"]["error"].to_string().contains("503"),
        "the API keeps it, with its time"
    );

    // A sink that was removed from the configuration is shown as not configured.
    let path = home.path("relay.toml");
    let text = std::fs::read_to_string(&path).unwrap().replace("name = \"erp\"", "name = \"other\"");
    std::fs::write(path, text).unwrap();
    relay.post("/reload").await;
    let row = relay.sink("erp").await;
    assert_eq!((&row["state"], &row["configured"]), (&json!("not_configured"), &json!(false)));
    assert!(run(&home, &relay, &["sinks", "list"]).await.contains("not configured"));
}

async fn a_reload_for_another_sink_leaves_the_breaker_as_it_is(backend: Backend) {
    let (home, relay, target, _works) = tripped(backend).await;
    let before = target.arrivals().len();
    let other = Target::start().await;
    let path = home.path("relay.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let added = format!("[[sinks]]\nname = \"other\"\ntype = \"http\"\nurl = \"{}\"\n", other.url());
    std::fs::write(path, format!("{text}\n{added}")).unwrap();
    relay.post("/reload").await;
    assert_eq!(relay.sink("erp").await["state"], "tripped");
    Finkare::of(&relay).deliver(&payment("j", 2)).await;
    eventually("the new sink has its event", async || relay.sink("other").await["last_success"].is_string()).await;
    assert_eq!(target.arrivals().len(), before, "a worker that begins anew would have tried");
    assert_eq!(relay.sink("erp").await["state"], "tripped");
}

/// Two processes in which the sink has tripped, with an event that waits.
async fn both_tripped() -> (Home, [Relay; 2], Target, Arc<AtomicBool>) {
    let (target, works) = target().await;
    let home = Home::new(Backend::Postgres).await;
    let relays = [home.serve(&sink(&target, NEVER)).await, home.start().await];
    let finkare = Finkare::of(&relays[0]);
    for number in 0..4 {
        finkare.deliver(&payment(&format!("i{number}"), number)).await;
    }
    // A process in which the sink has tripped claims nothing more, so the other process meets the failure as well.
    for relay in &relays {
        eventually_is(relay, "tripped").await;
    }
    (home, relays, target, works)
}

/// One process delivers the backlog. The other one has no event left to probe with, and its next probe is an hour away.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_hears_that_another_got_through() {
    let (home, [first, mut second], target, works) = both_tripped().await;
    works.store(true, Relaxed);
    // A new process has seen no failure.
    assert!(first.terminate().await.0.success());
    let first = home.start().await;
    first.drained().await;
    eventually_is(&second, "active").await;
    second.wait_for_line("another replica reached the sink").await;
    assert_eq!(target.delivered().len(), 4);
    drop(first);
    Finkare::of(&second).deliver(&payment("more", 1)).await;
    second.drained().await;
    assert_eq!((target.delivered().len(), second.sink("erp").await["state"].clone()), (5, json!("active")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_says_to_one_replica_reaches_the_other() {
    let (home, [first, mut second], target, works) = both_tripped().await;
    works.store(true, Relaxed);
    // The sink is paused, so that the other process learns only of the request and not of a success.
    first.post("/sinks/erp/pause").await;
    let said = run(&home, &first, &["sinks", "test", "erp"]).await;
    assert!(said.contains("The sink is paused: its events wait until it is resumed"), "{said}");
    second.wait_for_line("a person asked for a retry: the sink is tried again").await;
    assert!(target.delivered().len() == 1, "a paused sink gets the test alone");
    run(&home, &second, &["sinks", "resume", "erp"]).await;
    first.drained().await;
    for relay in [&first, &second] {
        eventually_is(relay, "active").await;
    }
    assert_eq!(target.delivered().len(), 5);
}
