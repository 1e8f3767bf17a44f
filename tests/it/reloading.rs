//! Another configuration while the service runs: as a whole or not at all, and no delivery refused.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use serde_json::Value;

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    relay::{Backend, Home, Relay, on_both_stores},
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
