//! Connecting to Postgres: through a pooler, to a database that lacks what the service needs, and to a server that is
//! not Postgres.

use std::time::{Duration, Instant};

use finkare_relay::{
    model::{
        audit::NewAudit,
        chain::Chain,
        clock,
        event::{DedupeKey, NewEvent},
        id::{EndpointName, EventId},
        secret::Secret,
    },
    store::{BaseStore, EventStore, StoreError, link::SecretStore, postgres::PostgresStore},
};
use sqlx::{Connection, PgConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{PATIENCE, postgres};

/// Skips a test if Postgres is neither installed nor required.
macro_rules! need_postgres {
    () => {
        if !postgres::available() {
            return;
        }
    };
}

fn event() -> NewEvent {
    NewEvent {
        id: EventId::generate(),
        endpoint: EndpointName::new("default").unwrap(),
        dedupe_key: DedupeKey::of_message(b"x"),
        event_type: "payment.received".into(),
        invoice_id: None,
        occurred_at: None,
        received_at: clock::now(),
        readable: true,
        content_type: None,
        payload: b"x".to_vec().into(),
        sinks: vec![],
    }
}

/// The limits and the planner's settings under which an accept really runs.
async fn settings(url: &str, database: &postgres::Database) -> Vec<(String, String)> {
    let mut admin = PgConnection::connect(&database.url()).await.unwrap();
    sqlx::raw_sql(
        "CREATE TABLE noted AS SELECT name, setting FROM pg_settings WHERE false;
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO noted SELECT name, current_setting(name) FROM unnest(ARRAY[
                 'enable_seqscan', 'idle_in_transaction_session_timeout', 'jit', 'lock_timeout', 'plan_cache_mode',
                 'statement_timeout', 'synchronous_commit']) AS name;
             RETURN NULL;
         END $$;
         CREATE TRIGGER note AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION note()",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    let store = PostgresStore::connect(&Secret::new(url), 3).await.expect("it connects");
    store.record_deliveries(&[event()]).await.unwrap();
    store.close().await;
    sqlx::query_as("SELECT name, setting FROM noted ORDER BY name").fetch_all(&mut admin).await.unwrap()
}

fn ours() -> Vec<(String, String)> {
    [
        ("enable_seqscan", "off"),
        ("idle_in_transaction_session_timeout", "5s"),
        ("jit", "off"),
        ("lock_timeout", "4s"),
        ("plan_cache_mode", "force_generic_plan"),
        ("statement_timeout", "10s"),
        ("synchronous_commit", "on"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

#[tokio::test]
async fn the_settings_are_in_force() {
    need_postgres!();
    let database = postgres::database().await;
    assert_eq!(settings(&database.url(), &database).await, ours());
}

/// `PgBouncer` in session mode, with its default settings: it rejects unknown startup parameters, and passes a session
/// on to the next client.
#[tokio::test(flavor = "multi_thread")]
async fn the_settings_are_in_force_behind_pgbouncer() {
    need_postgres!();
    let debian = std::path::PathBuf::from("/usr/sbin/pgbouncer");
    let Some(program) = postgres::program("pgbouncer").or_else(|| debian.exists().then_some(debian)) else {
        eprintln!("skipped: pgbouncer is not installed");
        return;
    };
    let database = postgres::database().await;
    let direct: url::Url = database.url().parse().unwrap();
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pgbouncer.ini");
    let text = format!(
        "[databases]\n* = host=127.0.0.1 port={} user={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = any\npool_mode = session\n",
        direct.port().unwrap_or(5432),
        direct.username()
    );
    std::fs::write(&file, text).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode;
    std::fs::set_permissions(folder.path(), open(0o755)).unwrap();
    std::fs::set_permissions(&file, open(0o644)).unwrap();
    let mut command = postgres::unprivileged_command(&program);
    let pooler = command.current_dir("/").arg(&file).stderr(std::process::Stdio::null()).spawn().unwrap();
    // Ends with the test, also if the test panics.
    let mut pooler = Pooler(pooler);
    let begun = Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(begun.elapsed() < PATIENCE && pooler.0.try_wait().unwrap().is_none(), "pgbouncer does not start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut url = direct.clone();
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(port)).unwrap();
    assert_eq!(settings(url.as_str(), &database).await, ours());

    // The service's other work: migrating and listening.
    let store = PostgresStore::connect(&Secret::new(url.as_str()), 3).await.unwrap();
    assert_eq!(store.migrate().await.unwrap(), 0);
    store.ready().await.unwrap();
    let other = PostgresStore::connect(&database.secret(), 2).await.unwrap();
    let mut link = store.wakeups().link();
    let begun = Instant::now();
    loop {
        let audit = NewAudit::new("tester", "test", "endpoint/default");
        let endpoint = EndpointName::new("default").unwrap();
        other.adopt_webhook(&endpoint, "id", "https://relay.example", audit).await.unwrap();
        if tokio::time::timeout(Duration::from_millis(200), link.changed()).await.is_ok() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not listen");
    }
    store.close().await;
}

/// Ends the process when it is dropped.
struct Pooler(std::process::Child);

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_refused() {
    need_postgres!();
    let latin = postgres::special_database("template0 ENCODING 'LATIN1' LOCALE 'C'").await;
    let error = PostgresStore::connect(&latin.secret(), 2).await.expect_err("its texts would be refused one by one");
    let StoreError::Open(text) = &error else { panic!("{error:?}") };
    assert!(text.contains("LATIN1") && text.contains("--encoding=UTF8"), "{text}");
}

async fn problem(url: &str) -> String {
    let error = PostgresStore::connect(&Secret::new(url), 2).await.expect_err("there is no such database");
    assert!(error.is_unavailable(), "somebody may repair it: {error:?}");
    let told = Chain(&error).to_string();
    assert!(!told.contains("s3cret") && !format!("{error:?}").contains("s3cret"), "{told}");
    told
}

/// A server that answers everything with the same bytes.
async fn answering(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let _ = client.read(&mut buffer).await;
            let _ = client.write_all(bytes).await;
            let _ = client.shutdown().await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reason_for_no_connection_has_its_sentence() {
    need_postgres!();
    let database = postgres::database().await;
    let mut url: url::Url = database.url().parse().unwrap();
    let place = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
    url.set_path("nowhere");
    let told = problem(url.as_str()).await;
    assert!(told.contains(&format!("Postgres at {place} has no database `nowhere`: create it")), "{told}");

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let told = problem(&format!("postgres://relay:s3cret@127.0.0.1:{closed}/books")).await;
    let expected = format!("connection refused: is Postgres running at 127.0.0.1:{closed}? (database `books`)");
    assert!(told.ends_with(&expected) && !told.contains("pool"), "{told}");

    let http = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let told = problem(&format!("postgres://relay:s3cret@127.0.0.1:{http}/books")).await;
    assert!(told.contains(&format!("127.0.0.1:{http} does not speak as Postgres does: is the port right?")), "{told}");

    for (code, expected) in [
        ("28P01", "does not accept the password of user `relay`: correct it in the database URL"),
        ("28000", "does not let user `relay` into database `books`"),
    ] {
        let text = format!("SFATAL\0VFATAL\0C{code}\0Mno\0\0");
        let mut message = vec![b'E'];
        message.extend(u32::try_from(text.len() + 4).unwrap().to_be_bytes());
        message.extend(text.as_bytes());
        let server = answering(message.leak()).await;
        let told = problem(&format!("postgres://relay:s3cret@127.0.0.1:{server}/books?sslmode=disable")).await;
        assert!(told.contains(expected), "{told}");
    }
}
