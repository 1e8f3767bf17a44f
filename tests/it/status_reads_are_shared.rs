//! People and scrapers that read the status take no capacity from the service.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use crate::support::{
    PATIENCE,
    finkare::{Finkare, payment},
    http,
    relay::{Backend, Home},
};

/// The number of readers of the sinks' status that wait at this moment.
async fn readings(admin: &mut PgConnection) -> i64 {
    let waiting: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%FROM queue_counts GROUP BY%'",
    )
    .fetch_one(admin)
    .await
    .unwrap();
    assert!(waiting <= 1, "{waiting} read at a time");
    waiting
}

/// Sixty concurrent requests for the state of the sinks, while the database does not answer them.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_scrape_at_once_share_one_reading() {
    let home = Home::new(Backend::Postgres).await;
    // It takes no payment, so that an accept counts nothing.
    let sink = "[[sinks]]\nname = \"file\"\ntype = \"file\"\npath = \"events.ndjson\"\nevents = [\"ping\"]\n";
    let relay = home.serve(sink).await;
    let finkare = Finkare::of(&relay);
    finkare.deliver(&payment("i1", 100)).await;

    let mut foreign = PgConnection::connect(home.store_url()).await.unwrap();
    // Reads wait for this lock; accepts do not.
    sqlx::raw_sql("BEGIN; LOCK TABLE queue_counts IN ACCESS EXCLUSIVE MODE").execute(&mut foreign).await.unwrap();
    let url = format!("http://{}/metrics", relay.admin);
    let scraping: Vec<_> = (0..60)
        .map(|_| {
            let request = http().get(&url).send();
            tokio::spawn(async move { request.await.map(|answer| answer.status().as_u16()) })
        })
        .collect();
    let mut admin = PgConnection::connect(home.store_url()).await.unwrap();
    let begun = Instant::now();
    while readings(&mut admin).await == 0 {
        assert!(begun.elapsed() < PATIENCE, "nobody reads");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for number in 0..5 {
        let accepted =
            tokio::time::timeout(Duration::from_secs(3), finkare.deliver(&payment("i2", 200 + number))).await;
        assert!(!accepted.expect("it is accepted at once").is_duplicate());
        readings(&mut admin).await;
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut foreign).await.unwrap();
    for one in scraping {
        one.abort();
    }
}
