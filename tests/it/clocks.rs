//! A service that starts with a wrong clock, or after a long time: the service cannot distinguish the two.
//!
//! For the service, a clock that is a hundred days ahead is the same as a database in which every time is a hundred
//! days older. The tests therefore shift the times in the database.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    relay::{Backend, Home, Relay, on_both_stores},
    target::{Reply, Target},
};

on_both_stores!(a_clock_that_is_ahead_ends_nothing, a_clock_that_was_set_back_stops_nothing);

/// Microseconds in a day.
const DAY: i64 = 86_400_000_000;

/// Runs these statements on the database of a service that is not running.
async fn execute(home: &Home, backend: Backend, statements: &[String]) {
    match backend {
        Backend::Sqlite => {
            let options = SqliteConnectOptions::new().filename(home.path("relay.db")).foreign_keys(false);
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            for statement in statements {
                sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut connection).await.unwrap();
            }
            connection.close().await.unwrap();
        }
        Backend::Postgres => {
            let mut connection = PgConnection::connect(home.store_url()).await.unwrap();
            for statement in statements {
                sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut connection).await.unwrap();
            }
        }
    }
}

/// Moves every relevant time by this many microseconds, also those in the ids of the events.
fn shifted(backend: Backend, by: i64) -> Vec<String> {
    let millis = format!("(received_at + {by}) / 1000");
    let id = match backend {
        Backend::Sqlite => format!("unhex(printf('%012x', {millis}) || substr(hex(id), 13))"),
        Backend::Postgres => {
            format!("CAST(lpad(to_hex({millis}), 12, '0') || substr(replace(CAST(id AS text), '-', ''), 13) AS uuid)")
        }
    };
    let of_event =
        |table| format!("UPDATE {table} SET event_id = (SELECT {id} FROM events WHERE id = {table}.event_id)");
    [
        of_event("queue"),
        of_event("history"),
        of_event("announced"),
        format!("UPDATE events SET id = {id}, received_at = received_at + {by}"),
        format!(
            "UPDATE queue SET created_at = created_at + {by}, first_attempt_at = first_attempt_at + {by},
                due_at = due_at + {by}, finished_at = finished_at + {by}"
        ),
        format!("UPDATE history SET created_at = created_at + {by}, finished_at = finished_at + {by}"),
        format!("UPDATE retention_clock SET believed_at = believed_at + {by}, seen_at = seen_at + {by}"),
    ]
    .to_vec()
}

async fn only(relay: &Relay, sink: &str) -> Value {
    let rows = relay.all(&format!("/dispatches?sink={sink}")).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].clone()
}

fn sinks(target: &Target) -> String {
    format!(
        "[[sinks]]\nname = \"sick\"\ntype = \"http\"\nurl = \"{}\"\nevents = [\"payment.received\"]\n\
         retry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }}\n\
         breaker = {{ failures = 1000, probe_secs = 1 }}\n\
         [[sinks]]\nname = \"file\"\ntype = \"file\"\npath = \"events.ndjson\"\nevents = \"*\"\n",
        target.url()
    )
}

async fn a_clock_that_is_ahead_ends_nothing(backend: Backend) {
    let target = Target::scripted(|_, _| Reply::Status(503, vec![])).await;
    let home = Home::new(backend).await;
    let relay = home.serve(&sinks(&target)).await;
    let finkare = Finkare::of(&relay);
    finkare.deliver(&payment("i1", 150_000)).await;
    // Only for the other sink: nothing but the doubt about the clock keeps its payload.
    let done = br#"{"event":"case.updated","data":{"invoiceId":"i2"},"timestamp":"2026-03-15T10:30:00.000Z"}"#;
    let id = finkare.deliver(done).await.id();
    eventually("one was tried, the other is done", async || {
        let of_event = relay.get(&format!("/events/{id}")).await;
        of_event["dispatches"][0]["state"] == "delivered" && only(&relay, "sick").await["attempts"] != 0
    })
    .await;
    relay.terminate().await;

    // 500 days: by this clock, payloads, keys and give-up times expired long ago.
    execute(&home, backend, &shifted(backend, -500 * DAY)).await;
    let before = target.arrivals().len();
    let mut relay = home.start().await;
    relay.wait_for_line("nothing is deleted until").await;
    eventually("it is tried again", async || target.arrivals().len() >= before + 3).await;
    let id = relay.all("/events?type=case.updated").await[0]["id"].as_str().expect("it is there").to_owned();
    let sick = only(&relay, "sick").await;
    assert_ne!(sick["state"], "dead", "tried again, and not given up: {sick}");
    assert!(relay.get(&format!("/events/{id}")).await["payload"].is_object());
    relay.terminate().await;
    // The same holds after another start, and the key is still there.
    let mut relay = home.start().await;
    relay.wait_for_line("nothing is deleted until").await;
    let again = Finkare::of(&relay).deliver(done).await;
    assert_eq!(again.id(), id, "it is known as a repetition");
    assert!(relay.get(&format!("/events/{id}")).await["payload"].is_object());
}

async fn a_clock_that_was_set_back_stops_nothing(backend: Backend) {
    let well = Arc::new(AtomicBool::new(false));
    let answers = well.clone();
    let target =
        Target::scripted(move |_, _| Reply::Status(if answers.load(Relaxed) { 204 } else { 503 }, vec![])).await;
    let home = Home::new(backend).await;
    let relay = home.serve(&sinks(&target)).await;
    let finkare = Finkare::of(&relay);
    finkare.deliver(&payment("i1", 100)).await;
    eventually("it was tried", async || only(&relay, "sick").await["attempts"] != 0).await;
    relay.terminate().await;

    // Two hours: a hardware clock in local time.
    execute(&home, backend, &shifted(backend, DAY / 12)).await;
    well.store(true, Relaxed);
    let mut relay = home.start().await;
    relay.wait_for_line("the clock was set back").await;
    eventually("it is delivered", async || only(&relay, "sick").await["state"] == "delivered").await;
    // The event behind it is delivered as well.
    Finkare::of(&relay).deliver(&payment("i1", 200)).await;
    relay.drained().await;
}
