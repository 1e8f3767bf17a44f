//! How Postgres carries the hot statements out, over a large history.
//!
//! The plans are those of the store's own calls: the server explains every statement of these
//! connections into its log as it runs it (`auto_explain`), with the parameters, the settings and
//! the prepared plans that the service has.

use std::time::Duration;

use bytes::Bytes;
use finkare_relay::{
    model::{
        clock,
        dispatch::{FinishedAttempt, LeasedDispatch, Next, Order, Outcome, State},
        event::{DedupeKey, NewEvent},
        id::{DispatchId, EndpointName, EventId, LeaseToken, SinkName},
        money::Cents,
        secret::Secret,
    },
    store::{
        Claim, DispatchFilter, DispatchStore, EventFilter, EventStore, Finish, LeaseStore, Offer, Purge,
        RetentionStore, SinkStore,
        ledger::{LedgerStore, Search},
        payments::{Among, PaymentFilter, PaymentStore},
        postgres::PostgresStore,
        statement::{Span, StatementStore},
    },
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::postgres::{self, Database, Server};

/// Events from long ago, numbered from `$1` to `$2`, received a millisecond apart.
const EVENTS: &str = "WITH old AS (
        INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, received_at, deliveries, readable,
                            payload)
        SELECT encode(int8send((1700000000000 + n) << 16) || int8send(n), 'hex')::uuid, 'default',
               sha256(int8send(n)), 'payment.received', 'inv-' || n / 4, (1700000000000 + n) * 1000, 1, true, '{}'
        FROM generate_series($1::bigint, $2) AS n RETURNING id, invoice_id, received_at
    )";

/// They were delivered.
const DELIVERED: &str = "INSERT INTO history (id, event_id, sink, event_type, invoice_id, state, trigger, attempts,
                                              created_at, finished_at)
    SELECT nextval('queue_id_seq'), id, 'erp', 'payment.received', invoice_id, 'delivered', 'event', 1, received_at,
           received_at
    FROM old";

/// They were not, and are due.
const PENDING: &str = "INSERT INTO queue (event_id, sink, event_type, invoice_id, state, trigger, created_at, due_at)
    SELECT id, 'erp', 'payment.received', invoice_id, 'pending', 'event', received_at, received_at FROM old";

async fn admin(database: &Database) -> PgConnection {
    PgConnection::connect(&database.url()).await.unwrap()
}

async fn old_events(database: &Database, numbers: std::ops::Range<i64>, dispatched: &str) {
    let mut connection = admin(database).await;
    sqlx::query(AssertSqlSafe(format!("{EVENTS} {dispatched}")))
        .bind(numbers.start)
        .bind(numbers.end - 1)
        .execute(&mut connection)
        .await
        .unwrap();
}

/// Runs a call and answers what the server has to say of each of its statements.
async fn explained<T>(server: &Server, call: impl Future<Output = T>) -> (T, Vec<String>) {
    let before = server.log().len();
    let answer = call.await;
    let log = server.log();
    let plans = log[before..].split("LOG:  duration:").skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert!(!plans.is_empty(), "the server explains nothing: {log}");
    (answer, plans)
}

/// No statement reads a table from one end to the other, or gathers more than it needs; and together
/// they use exactly these of the indexes that we made.
fn assert_indexes(what: &str, plans: &[String], expected: &[&str]) {
    let all = plans.concat();
    // The few rows of `sinks` may be read as they lie.
    for table in ["events", "queue", "history", "attempts", "bookings", "assignments", "announced"] {
        for scan in ["Seq Scan", "Bitmap Heap Scan"] {
            assert!(!all.contains(&format!("{scan} on {table} ")), "{what}: {scan} on {table} in {all}");
        }
    }
    for index in expected {
        assert!(
            all.contains(&format!(" {index} on ")) || all.contains(&format!("Arbiter Indexes: {index}")),
            "{what}: no {index} in {all}"
        );
    }
}

/// The pages that the statements touched.
fn pages(plans: &[String]) -> u64 {
    let of = |plan: &String| {
        // The first line is that of the whole plan.
        let line = plan.lines().find(|line| line.trim_start().starts_with("Buffers: shared"))?;
        let numbers = line
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("hit=").or_else(|| word.strip_prefix("read="))?.parse::<u64>().ok());
        Some(numbers.sum::<u64>())
    };
    plans.iter().filter_map(of).sum()
}

fn erp() -> SinkName {
    SinkName::new("erp").unwrap()
}

/// An event; of the same number as one of the history, its repetition.
fn event(number: i64) -> NewEvent {
    NewEvent {
        id: EventId::generate(),
        endpoint: EndpointName::new("default").unwrap(),
        dedupe_key: DedupeKey::of_message(&number.to_be_bytes()),
        event_type: "payment.received".into(),
        invoice_id: Some(format!("inv-{}", number / 4)),
        occurred_at: None,
        received_at: clock::now(),
        readable: true,
        content_type: None,
        payload: Bytes::from_static(b"{}"),
        sinks: vec![erp()],
    }
}

fn delivered_by(id: DispatchId, token: LeaseToken) -> FinishedAttempt {
    FinishedAttempt {
        id,
        token,
        sink: erp(),
        started_at: clock::now(),
        duration: Duration::from_millis(1),
        outcome: Outcome::Delivered,
        next: Next::Delivered,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_statements_walk_indexes_and_claims_do_not_feel_the_history() {
    const EACH: i64 = 20_000;
    const WAITING: std::ops::Range<i64> = 10_000_000..10_020_000;
    if !postgres::available() {
        return;
    }
    let server = tokio::task::spawn_blocking(Server::alone).await.unwrap();
    let database = postgres::database_on(&server.url()).await;
    let explaining = ["session_preload_libraries=auto_explain", "auto_explain.log_min_duration=0"]
        .into_iter()
        .chain(["auto_explain.log_analyze=on", "auto_explain.log_buffers=on", "auto_explain.log_timing=off"])
        .map(|setting| format!("-c%20{setting}"))
        .collect::<Vec<_>>()
        .join("%20");
    let url = Secret::new(format!("{}?options={explaining}", database.url()));
    // The plans are made now, while the tables are empty, and stay prepared until the next ANALYZE,
    // here after the first round: the worst case, an evening on which everything begins.
    sqlx::raw_sql(
        "ALTER TABLE events SET (autovacuum_enabled = off); ALTER TABLE queue SET (autovacuum_enabled = off);
         ALTER TABLE history SET (autovacuum_enabled = off)",
    )
    .execute(&mut admin(&database).await)
    .await
    .unwrap();
    let store = PostgresStore::connect(&url, 2).await.unwrap();
    let sink = erp();
    let claim = Claim {
        sink: &sink,
        order: Order::Invoice,
        limit: 100,
        lease: Duration::from_mins(1),
        longest_wait: Duration::MAX,
        now: None,
    };
    let finish_all = async |leased: &[LeasedDispatch]| {
        let attempts: Vec<_> = leased.iter().map(|leased| delivered_by(leased.id, leased.token)).collect();
        store.finish_attempts(&attempts, None).await.unwrap()
    };
    store.record_deliveries(&[event(-1)]).await.unwrap();
    finish_all(&store.claim_due(claim).await.unwrap().dispatches).await;

    let mut costs = Vec::new();
    for delivered in [0..EACH, EACH..EACH * 10] {
        old_events(&database, delivered.clone(), DELIVERED).await;
        if delivered.start == 0 {
            old_events(&database, WAITING, PENDING).await;
        } else {
            sqlx::raw_sql("VACUUM ANALYZE").execute(&mut admin(&database).await).await.unwrap();
        }
        let (claimed, plans) = explained(&server, store.claim_due(claim)).await;
        let leased = claimed.unwrap().dispatches;
        assert!(!leased.is_empty());
        assert_indexes("claim", &plans, &["queue_due", "queue_lane", "queue_pkey", "events_pkey"]);
        // Taken in the index's own order: a sort would first have to read the whole backlog.
        let candidates = plans.iter().find(|plan| plan.contains("LIMIT $3 FOR UPDATE OF")).expect("it is explained");
        assert!(candidates.contains("Index Cond: ((sink = $1) AND (due_at <= "), "{candidates}");
        assert!(!candidates.contains("Sort"), "{candidates}");
        costs.push(pages(&plans) / leased.len() as u64);

        let (_, plans) = explained(&server, finish_all(&leased)).await;
        assert_indexes("finish", &plans, &["queue_pkey", "queue_lane"]);
        costs.push(pages(&plans) / leased.len() as u64);

        // Half of them are known.
        let batch: Vec<_> =
            (0..64).map(|n| event(n * 100)).chain((0..64).map(|n| event(delivered.end * 100 + n * 4))).collect();
        let offers: Vec<Offer> = (0..batch.len())
            .map(|event| Offer {
                event,
                sink: erp(),
                order: Order::Invoice,
                lease: Duration::from_mins(1),
                token: LeaseToken::generate(),
            })
            .collect();
        let (recorded, plans) = explained(&server, store.record_offering(&batch, &offers)).await;
        let recorded = recorded.unwrap();
        assert_eq!(recorded.events.iter().filter(|recorded| recorded.duplicate).count(), 64);
        assert_indexes("record", &plans, &["events_dedupe", "queue_lane", "sinks_pkey"]);
        assert!(plans.concat().contains("hashed SubPlan"), "dispatches are matched by hash: {plans:?}");
        costs.push(pages(&plans) / 128);

        let handed: Vec<_> =
            recorded.leased.iter().zip(&offers).filter_map(|(id, offer)| Some(((*id)?, offer))).collect();
        assert_eq!(handed.len(), 64);
        let attempts: Vec<_> = handed.iter().map(|(id, offer)| delivered_by(*id, offer.token)).collect();
        let (finished, plans) = explained(&server, store.finish_attempts(&attempts, None)).await;
        assert_eq!(finished.unwrap(), [Finish::Recorded; 64]);
        assert_indexes("finish what was handed over", &plans, &["queue_pkey", "queue_lane"]);
        costs.push(pages(&plans) / 64);
    }
    let (small, large) = costs.split_at(4);
    let what = ["claim", "finish", "record", "finish what was handed over"];
    for (what, (small, large)) in what.iter().zip(small.iter().zip(large)) {
        println!("{what}: {small} pages a row, {large} with ten times the history");
        assert!(
            *small > 0 && *large <= small * 3 / 2 + 3,
            "{what}: {small} pages a row, and {large} with ten times the history"
        );
    }

    // What people ask for, over 200,000 delivered and 20,000 pending.
    let invoice = EventFilter { invoice_id: Some("inv-77".into()), ..EventFilter::default() };
    let (page, plans) = explained(&server, store.list_events(&invoice, 50)).await;
    assert_eq!(page.unwrap().rows.len(), 4);
    assert_indexes("events of an invoice", &plans, &["events_invoice"]);
    assert!(pages(&plans) < 50, "{plans:?}");

    let at = |n: i64| clock::from_micros((1_700_000_000_000 + n) * 1000);
    let window = EventFilter { since: at(500), until: at(600), ..EventFilter::default() };
    let (page, plans) = explained(&server, store.list_events(&window, 50)).await;
    assert_eq!(page.unwrap().rows.len(), 50);
    assert_indexes("events of a time", &plans, &["events_pkey"]);

    let all = DispatchFilter::default;
    let sink = || Some("erp".to_owned());
    for (what, filter, rows, indexes) in [
        (
            "dispatches of an invoice",
            DispatchFilter { invoice_id: Some("inv-77".into()), ..all() },
            4,
            &["events_invoice", "queue_event", "history_event"][..],
        ),
        ("all dispatches", all(), 50, &["queue_pkey", "history_pkey"]),
        ("dead ones", DispatchFilter { state: Some(State::Dead), ..all() }, 0, &["queue_stopped"]),
        (
            "dead ones of a sink",
            DispatchFilter { state: Some(State::Dead), sink: sink(), ..all() },
            0,
            &["queue_stopped"],
        ),
        ("pending ones", DispatchFilter { state: Some(State::Pending), ..all() }, 50, &["queue_pkey"]),
        (
            "pending ones of a sink",
            DispatchFilter { state: Some(State::Pending), sink: sink(), ..all() },
            50,
            &["queue_oldest"],
        ),
        ("cancelled ones", DispatchFilter { state: Some(State::Cancelled), ..all() }, 0, &["history_cancelled"]),
        ("delivered ones", DispatchFilter { state: Some(State::Delivered), ..all() }, 50, &["history_pkey"]),
    ] {
        let (page, plans) = explained(&server, store.list_dispatches(&filter, 50)).await;
        assert_eq!(page.unwrap().rows.len(), rows, "{what}");
        assert_indexes(what, &plans, indexes);
        assert!(pages(&plans) < 120, "{what}: {} pages: {plans:?}", pages(&plans));
    }

    // What is looked for among others is read in pieces, by the key.
    let nobody = DispatchFilter { sink: Some("nobody".into()), ..all() };
    let (page, plans) = explained(&server, store.list_dispatches(&nobody, 50)).await;
    let page = page.unwrap();
    assert!(page.rows.is_empty() && page.searched_until.is_some(), "{page:?}");
    assert_indexes("dispatches of a sink", &plans, &["queue_pkey", "history_pkey"]);

    // However much there is, it is not counted now.
    let left = "SELECT count(*) FROM queue WHERE state IN ('pending', 'leased')";
    let left: i64 = sqlx::query_scalar(left).fetch_one(&mut admin(&database).await).await.unwrap();
    let (statuses, plans) = explained(&server, store.sink_statuses()).await;
    let erp = &statuses.unwrap()[0];
    assert_eq!((erp.pending + erp.leased, erp.held, erp.dead), (left.unsigned_abs(), 0, 0));
    assert_indexes("counts", &plans, &["queue_oldest"]);
    assert!(pages(&plans) < 50, "{} pages: {plans:?}", pages(&plans));

    // A search reads no further than it has to, by the key.
    let search = EventFilter { contains: Some("no such text".into()), before: Some(EventId::generate()), ..window };
    let (page, plans) = explained(&server, store.list_events(&search, 50)).await;
    assert!(page.unwrap().rows.is_empty());
    assert_indexes("a search", &plans, &["events_pkey"]);

    let purge = Purge { payloads_before: at(1000).unwrap(), events_before: at(500).unwrap(), limit: 600 };
    let (purged, plans) = explained(&server, async {
        let first = store.purge(purge).await.unwrap();
        (first, store.purge(purge).await.unwrap())
    })
    .await;
    assert_eq!((purged.0.events, purged.1.payloads), (500, 500));
    let by = ["events_pkey", "queue_event", "history_event", "overdue_pkey"];
    assert_indexes("purge", &plans, &by);

    // The ledger's searches, and its own retention.
    sqlx::raw_sql(
        "INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state,
                               token, began_at, changed_at)
         SELECT 'compta', 'p' || n, gen_random_uuid(), 'i' || n, 'F' || n, 1, 'EUR', 'booked', gen_random_uuid(), n, n
         FROM generate_series(1, 5000) AS n;
         INSERT INTO assignments (event_id, endpoint, payment_id, invoice_id, amount_cents, assigned_at, paid_at)
         SELECT event_id, 'default', payment_id, invoice_id, 1, changed_at, (date '2020-01-01' + number::int)::text
         FROM bookings;
         INSERT INTO announced (event_id, invoice_id, amount_cents, payment_id, invoice_number, number_key, debtor_key)
         SELECT event_id, invoice_id, number, payment_id, invoice_number, lower(invoice_number), 'debtor ' || number
         FROM bookings;
         ANALYZE bookings, assignments, announced",
    )
    .execute(&mut admin(&database).await)
    .await
    .unwrap();
    let search = Search { text: "p17".into(), number: "f17".into(), amount: Some(Cents(17)) };
    let (found, plans) = explained(&server, store.find_announced(&search, 50)).await;
    assert_eq!(found.unwrap().len(), 50);
    let by =
        ["announced_by_number", "announced_by_debtor", "announced_by_payment", "announced_by_amount", "announced_pkey"];
    assert_indexes("a search for payments", &plans, &by);
    let span = Span {
        first: jiff::civil::date(2021, 3, 1),
        last: jiff::civil::date(2021, 3, 3),
        endpoints: None,
        books: None,
        sinks: None,
        booked_only: false,
    };
    let (rows, plans) = explained(&server, store.month_rows(&span, 100)).await;
    assert_eq!(rows.unwrap().unwrap().finished.len(), 3);
    let by = ["assignments_by_paid_at", "bookings_by_payment_alone", "bookings_finished", "queue_pkey"];
    assert_indexes("the statement of a month", &plans, &by);
    // Payments: all of them, those that are not finished, and everything about a few.
    let of = |among| PaymentFilter { among, ..PaymentFilter::default() };
    let (page, plans) = explained(&server, store.payment_events(&of(Among::All), 50)).await;
    let few: Vec<EventId> = page.unwrap().events.into_iter().take(3).collect();
    assert_eq!(few.len(), 3);
    assert_indexes("payments", &plans, &["events_pkey", "assignments_pkey"]);
    let unfinished = of(Among::Unfinished { states: vec![State::Pending], begun: true });
    let (page, plans) = explained(&server, store.payment_events(&unfinished, 50)).await;
    assert_eq!(page.unwrap().events.len(), 50);
    assert_indexes("unfinished payments", &plans, &["queue_event", "bookings_open"]);
    let (facts, plans) = explained(&server, store.payment_facts(&few)).await;
    assert_eq!(facts.unwrap().len(), 3);
    let by = ["events_pkey", "assignments_pkey", "announced_pkey", "queue_event", "history_event"];
    assert_indexes("everything about payments", &plans, &by);
    let (found, plans) = explained(&server, store.find_payments("p17", Some("F17"), &["default".into()])).await;
    assert_eq!(found.unwrap().len(), 1);
    let by = ["announced_by_payment", "bookings_by_payment_alone", "bookings_by_number", "assignments_by_payment"];
    assert_indexes("a payment by its id", &plans, &by);
    let (open, plans) = explained(&server, store.unassigned("default", "inv-4000", 10)).await;
    assert_eq!(open.unwrap().len(), 4);
    assert_indexes("events without a payment", &plans, &["events_invoice", "queue_event", "assignments_pkey"]);
    let (purged, plans) = explained(&server, store.purge_bookings(Duration::ZERO, 100)).await;
    assert_eq!(purged.unwrap(), 100);
    let by = ["bookings_finished", "bookings_pkey", "assignments_by_age", "assignments_pkey"];
    assert_indexes("the ledger's retention", &plans, &by);
    let events: Vec<EventId> = (0..3).map(|_| EventId::generate()).collect();
    let (_, plans) = explained(&server, store.announced(&events)).await;
    assert_indexes("payments of events", &plans, &["announced_pkey"]);
}
