//! Another server replaces the one that the service is connected to: old connections no longer answer, or refuse to
//! write. New connections work.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use finkare_relay::{
    model::{
        audit::NewAudit,
        clock,
        dispatch::Order,
        event::{DedupeKey, NewEvent},
        id::{EndpointName, EventId, SinkName},
        secret::Secret,
    },
    store::{BaseStore, Claim, EventFilter, EventStore, LeaseStore, link::SecretStore, postgres::PostgresStore},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::Semaphore;

use crate::support::{
    PATIENCE, eventually,
    finkare::{Finkare, payment},
    postgres::{self, Database},
    proxy::{Proxy, Way},
    relay::{Backend, Home, Relay},
    target::{Reply, Target},
};

/// A proxy in front of the server of this URL, and the URL that leads through it.
async fn through(url: &str) -> (Proxy, url::Url) {
    let mut url: url::Url = url.parse().unwrap();
    let server = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5432));
    let server: SocketAddr = tokio::net::lookup_host(server).await.unwrap().next().unwrap();
    let proxy = Proxy::to(server).await;
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(proxy.address.port())).unwrap();
    (proxy, url)
}

fn event(text: &str) -> NewEvent {
    NewEvent {
        id: EventId::generate(),
        endpoint: EndpointName::new("default").unwrap(),
        dedupe_key: DedupeKey::of_message(text.as_bytes()),
        event_type: "payment.received".into(),
        invoice_id: None,
        occurred_at: None,
        received_at: clock::now(),
        readable: true,
        content_type: None,
        payload: text.as_bytes().to_vec().into(),
        sinks: vec![SinkName::new("erp").unwrap()],
    }
}

/// Uses every connection of a store at the same time, so that all of them are open.
async fn fill(store: &Arc<PostgresStore>, database: &Database, connections: u32) {
    // Reading the links waits for this lock, each read on a connection of its own.
    let mut admin = PgConnection::connect(&database.url()).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE secrets IN ACCESS EXCLUSIVE MODE").execute(&mut admin).await.unwrap();
    let readings: Vec<_> = (1..connections)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.links().await.unwrap() })
        })
        .collect();
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let looking = sqlx::PgPool::connect(&database.url()).await.unwrap();
    eventually("all connections wait", async || {
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&looking).await.unwrap();
        waiting == i64::from(connections) - 1
    })
    .await;
    sqlx::raw_sql("COMMIT").execute(&mut admin).await.unwrap();
    for reading in readings {
        reading.await.unwrap();
    }
}

/// The time-out of a silent server is paid once, by whichever call meets it, and not once for each connection.
async fn one_silence(connections: u32) {
    if !postgres::available() {
        return;
    }
    let database = postgres::database().await;
    let (proxy, url) = through(&database.url()).await;
    let store = PostgresStore::connect(&Secret::new(url.as_str()), connections).await.unwrap();
    let store = Arc::new(store);
    let other = PostgresStore::connect(&database.secret(), 2).await.unwrap();
    let audit = || NewAudit::new("tester", "test", "endpoint/default");
    let endpoint = EndpointName::new("default").unwrap();
    // It listens once it hears of the other's work. That it began to listen, it may have told before this.
    let mut link = store.wakeups().link();
    eventually("it listens", async || {
        other.adopt_webhook(&endpoint, "id", "https://relay.example", audit()).await.unwrap();
        link.has_changed().unwrap()
    })
    .await;
    let _ = link.borrow_and_update();
    fill(&store, &database, connections).await;
    proxy.set(Way::Forgotten);

    // Each call succeeds at its first try, regardless of the number of dead connections.
    let erp = SinkName::new("erp").unwrap();
    let claim = Claim {
        sink: &erp,
        order: Order::Invoice,
        limit: 1,
        lease: Duration::from_mins(1),
        longest_wait: Duration::MAX,
        now: None,
    };
    let begun = Instant::now();
    for n in 0..connections {
        let recorded =
            store.record_deliveries(&[event(&format!("after {n}"))]).await.expect("recorded at the first try");
        assert!(!recorded[0].duplicate, "what was tried twice is ours, and no duplicate");
        assert_eq!(store.claim_due(claim).await.expect("claimed at the first try").dispatches.len(), 1);
        store.links().await.expect("read at the first try");
        store.list_events(&EventFilter::default(), 1).await.expect("listed at the first try");
        store.ready().await.expect("ready at the first try");
    }
    // A silence lasts for about a second: ten silences would take longer.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?} for {connections} rounds: every connection was waited for");
    // The listening connection has noticed it as well; by itself it would have checked only after half a minute.
    tokio::time::timeout(Duration::from_secs(20), link.changed()).await.expect("it listens again").unwrap();
    let _ = link.borrow_and_update();
    other.adopt_webhook(&endpoint, "id", "https://relay.example", audit()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), link.changed()).await.expect("it hears of the other's work").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_silence_is_paid_for_with_three_connections() {
    one_silence(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_silence_is_paid_for_with_thirty_connections() {
    one_silence(30).await;
}

async fn serve(home: &Home, connections: u32, target: &Target) -> Relay {
    let secret = crate::support::relay::SECRET;
    let sinks = format!(
        "[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\ntimeout_secs = 30\nconcurrency = 8\n",
        target.url()
    );
    home.configure("", &format!("secret = \"{secret}\""), &sinks);
    let text = std::fs::read_to_string(home.path("relay.toml")).unwrap();
    std::fs::write(
        home.path("relay.toml"),
        text.replace("[store]\n", &format!("[store]\nmax_connections = {connections}\n")),
    )
    .unwrap();
    home.start().await
}

/// With the default settings: the very delivery that meets the silence is answered 200, within `ack_timeout_secs`.
async fn the_host_is_gone(connections: u32) {
    if !postgres::available() {
        return;
    }
    let home = Home::new(Backend::Postgres).await;
    let target = Target::start().await;
    let (proxy, url) = through(home.store_url()).await;
    let home = home.at(url.as_str());
    let relay = serve(&home, connections, &target).await;
    let finkare = Finkare::of(&relay);
    let before = finkare.deliver(&payment("i", 1)).await;
    assert_eq!(before.status, 200);
    let read = async || {
        let reads = (0..connections * 2).map(|_| relay.try_get("/events"));
        futures_util::future::join_all(reads).await.into_iter().map(|(status, _)| status).collect::<Vec<_>>()
    };
    assert!(read().await.iter().all(|status| *status == 200));
    relay.drained().await;

    proxy.set(Way::Forgotten);
    let after = finkare.deliver(&payment("i", 2)).await;
    assert_eq!(after.status, 200, "{after:?}\n{}", relay.log());
    assert!(!after.is_duplicate());
    assert_eq!(finkare.deliver(&payment("i", 3)).await.status, 200);
    let reads = read().await;
    assert!(reads.iter().all(|status| *status == 200), "{reads:?}");
    eventually("what was acknowledged arrives", async || {
        let delivered = target.delivered();
        [&before, &after].iter().all(|answer| delivered.contains_key(&answer.id()))
    })
    .await;
    let log = relay.log();
    assert!(!log.contains("could not be stored"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_gone_costs_no_delivery_with_three_connections() {
    the_host_is_gone(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_gone_costs_no_delivery_with_thirty_connections() {
    the_host_is_gone(30).await;
}

/// A standby has the server's name for some seconds, or a managed server has run out of space: outcomes of that time
/// are recorded when writing works again, and their events are not delivered a second time.
#[tokio::test(flavor = "multi_thread")]
async fn outcomes_outlast_a_server_that_only_reads() {
    const IN_FLIGHT: usize = 8;
    if !postgres::available() {
        return;
    }
    let home = Home::new(Backend::Postgres).await;
    let gate = Arc::new(Semaphore::new(0));
    let permits = gate.clone();
    let target = Target::scripted(move |_, _| Reply::After(permits.clone())).await;
    let relay = serve(&home, 10, &target).await;
    let finkare = Finkare::of(&relay);
    for n in 0..IN_FLIGHT {
        assert_eq!(finkare.deliver(&payment(&format!("i{n}"), 1)).await.status, 200);
    }
    eventually("all are in flight", async || target.arrivals().len() == IN_FLIGHT).await;

    let mut admin = PgConnection::connect(home.store_url()).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&mut admin).await.unwrap();
    let run = async |admin: &mut PgConnection, sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(admin).await.unwrap();
    };
    run(
        &mut admin,
        format!(
            "ALTER DATABASE {name} SET default_transaction_read_only = on;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        ),
    )
    .await;
    gate.add_permits(IN_FLIGHT);
    // The sender was asked to retry; recording the outcomes was tried.
    let body = payment("later", 1);
    assert_eq!(finkare.deliver(&body).await.status, 503);
    eventually("outcomes are kept", async || relay.log().contains("outcomes could not be recorded: trying again"))
        .await;
    let log = relay.log();
    assert!(log.contains("read-only transaction"), "{log}");

    // The sessions that were opened in the meantime stay read-only: they must not be used again.
    run(&mut admin, format!("ALTER DATABASE {name} RESET default_transaction_read_only")).await;
    gate.add_permits(1);
    let begun = Instant::now();
    while finkare.deliver(&body).await.status != 200 {
        assert!(begun.elapsed() < PATIENCE, "{}", relay.log());
    }
    relay.drained().await;
    assert_eq!(relay.sink("erp").await["delivered"], IN_FLIGHT + 1, "{}", relay.log());
    assert_eq!(target.arrivals().len(), IN_FLIGHT + 1, "each once");
    assert!(!relay.log().contains("an outcome was not recorded"), "{}", relay.log());
}
