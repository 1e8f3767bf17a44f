//! The database fails and recovers: senders are asked to retry, and nothing must be restarted.

use std::time::Instant;

use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::support::{
    PATIENCE, eventually,
    finkare::{Finkare, payment},
    http,
    proxy::{Proxy, Way},
    relay::{Backend, Home, Relay},
    target::Target,
};

fn sink(target: &Target) -> String {
    format!("[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\ntimeout_secs = 1\n", target.url())
}

async fn ready(relay: &Relay) -> (u16, Value) {
    let response = http().get(format!("http://{}/readyz", relay.public)).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn refused_for_now(finkare: &Finkare) {
    let answer = finkare.deliver(&payment("i", 1)).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert!(["store_unavailable", "busy"].contains(&answer.body["code"].as_str().unwrap()), "{answer:?}");
}

async fn survives(way: Way) {
    let home = Home::new(Backend::Postgres).await;
    let target = Target::start().await;
    let url: url::Url = home.store_url().parse().unwrap();
    let server = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5432));
    let server = tokio::net::lookup_host(server).await.unwrap().next().unwrap();
    let proxy = Proxy::to(server).await;
    let mut through = url.clone();
    through.set_host(Some("127.0.0.1")).unwrap();
    through.set_port(Some(proxy.address.port())).unwrap();
    let home = home.at(through.as_str());
    let relay = home.serve_with("ack_timeout_secs = 1", &sink(&target)).await;
    let finkare = Finkare::of(&relay);
    let first = finkare.deliver(&payment("i", 1)).await;
    assert_eq!(first.status, 200, "{}", relay.log());

    proxy.set(way);
    for _ in 0..3 {
        refused_for_now(&finkare).await;
    }
    let (status, report) = ready(&relay).await;
    assert_eq!((status, &report["ready"]), (503, &json!(false)), "{report}");
    assert_eq!(report["checks"][0]["name"], "store");

    proxy.set(Way::Open);
    let body = payment("i", 2);
    let begun = Instant::now();
    let answer = loop {
        let answer = finkare.deliver(&body).await;
        if answer.status == 200 {
            break answer;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not heal: {answer:?}\n{}", relay.log());
    };
    eventually("what was acknowledged arrives", async || {
        let delivered = target.delivered();
        delivered.contains_key(&first.id()) && delivered.contains_key(&answer.id())
    })
    .await;
    eventually("it is ready again", async || ready(&relay).await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_way_to_postgres_heals() {
    survives(Way::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_to_postgres_that_swallows_heals() {
    survives(Way::Hanging).await;
}

/// Another program holds the write lock of the SQLite file, such as a backup that does not release it.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_sqlite_file_heals() {
    let home = Home::new(Backend::Sqlite).await;
    let target = Target::start().await;
    let relay = home.serve_with("ack_timeout_secs = 1", &sink(&target)).await;
    let finkare = Finkare::of(&relay);
    assert_eq!(finkare.deliver(&payment("i", 1)).await.status, 200);
    let options = SqliteConnectOptions::new().filename(home.path("relay.db"));
    let mut other = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    refused_for_now(&finkare).await;
    assert_eq!(ready(&relay).await.0, 503);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    let body = payment("i", 2);
    eventually("it heals", async || finkare.deliver(&body).await.status == 200).await;
    relay.drained().await;
}

/// The cause is logged once, not once for each refused delivery.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_says_no_is_told_once() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("").await;
    let options = SqliteConnectOptions::new().filename(home.path("relay.db"));
    let mut other = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("ALTER TABLE events RENAME TO elsewhere").execute(&mut other).await.unwrap();
    refused_for_now(&Finkare::of(&relay)).await;
    let (_, log) = relay.terminate().await;
    let of = |message: &str| -> Value {
        let line = log.lines().find(|line| line.contains(message)).unwrap_or_else(|| panic!("{message} in {log}"));
        serde_json::from_str(line).unwrap()
    };
    let cause = of("deliveries could not be stored: Finkare is asked to retry them");
    assert!(cause["level"] == "ERROR" && cause["error"].as_str().unwrap().contains("no such table"), "{cause}");
    let refused = of("delivery refused");
    assert_eq!((&refused["level"], &refused["error"]), (&json!("WARN"), &json!("the delivery could not be stored")));
}

/// Forged deliveries need no database: they are refused during the outage as usual.
#[tokio::test(flavor = "multi_thread")]
async fn forged_deliveries_are_refused_whatever_the_database_does() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("").await;
    let options = SqliteConnectOptions::new().filename(home.path("relay.db"));
    let mut other = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let answer = Finkare::of(&relay).post(payment("i", 1), Some(&"ab".repeat(32))).await;
    assert_eq!(answer.status, 401);
}

/// Data that is committed into a deleted file is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_file_that_is_removed_is_noticed_before_the_answer() {
    let (home, target) = (Home::new(Backend::Sqlite).await, Target::start().await);
    let mut relay = home.serve(&sink(&target)).await;
    let finkare = Finkare::of(&relay);
    assert_eq!(finkare.deliver(&payment("i", 1)).await.status, 200);
    eventually("it is ready", async || ready(&relay).await.0 == 200).await;
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(home.path(&format!("relay.db{suffix}"))).unwrap();
    }
    for _ in 0..3 {
        refused_for_now(&finkare).await;
    }
    eventually("it says so", async || {
        let (status, report) = ready(&relay).await;
        status == 503 && report["checks"][0]["name"] == "store" && report["checks"][0]["ready"] == false
    })
    .await;
    relay.wait_for_line("was removed or replaced while the service has it open").await;
    relay.kill();
    // After a restart, the service begins with a new file and accepts the repeated deliveries.
    let relay = home.start().await;
    assert!(!Finkare::of(&relay).deliver(&payment("i", 1)).await.is_duplicate());
}
