//! The hot statements use their indexes, also on a database with a long history.
//!
//! A `SCAN` of a table must never appear: its cost grows with everything ever delivered.

use sqlx::{AssertSqlSafe, Row};

use super::{SqliteStore, claim, erase, events, finish, purge};
use crate::{
    model::{
        booking::BookingState,
        clock,
        dispatch::State,
        id::{DispatchId, EventId},
    },
    store::{
        BaseStore, DispatchFilter, EventFilter,
        ledger::{BookingFilter, sql as ledger},
        lists,
        payments::{self, Among, PaymentFilter},
        sinks,
        tx::Sql,
    },
};

/// A store with 20,000 delivered dispatches and a few of every other state, and what `ANALYZE`
/// knows of it, so that a plan cannot be good only because the planner knows nothing.
async fn with_history(folder: &tempfile::TempDir) -> SqliteStore {
    let store = SqliteStore::open(&folder.path().join("relay.db")).await.unwrap();
    store.migrate().await.unwrap();
    sqlx::raw_sql(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)
         INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, received_at, deliveries, last_delivery_at,
                             readable, payload)
         SELECT randomblob(16), 'main', randomblob(32), 'payment.received', 'i' || (n % 500), n, 1, n, 1,
                iif(n % 2 = 0, x'00', NULL)
         FROM numbers;
         INSERT INTO history (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at,
                              finished_at)
         SELECT rowid, id, 'erp', type, invoice_id, 'delivered', 'event', 1, received_at, received_at FROM events;
         INSERT INTO queue (id, event_id, sink, event_type, invoice_id, state, trigger, created_at, due_at)
         SELECT 20000 + rowid, id, 'erp' || (rowid % 20), type, invoice_id, 'pending', 'event', received_at, received_at
         FROM events WHERE rowid <= 5000;
         INSERT INTO queue (event_id, sink, event_type, invoice_id, state, trigger, created_at, finished_at)
         SELECT id, 'erp', type, invoice_id, 'dead', 'event', received_at, received_at FROM events LIMIT 10;
         INSERT INTO attempts (dispatch_id, number, started_at, duration_us, outcome)
         SELECT id, 1, created_at, 5, 'retry' FROM history;
         INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state,
                               token, began_at, changed_at)
         SELECT 'compta', 'p' || id, event_id, invoice_id, 'F' || invoice_id, 1, 'EUR', 'booked', randomblob(16), id, id
         FROM history;
         ANALYZE;",
    )
    .execute(&store.writer)
    .await
    .unwrap();
    store
}

/// SQLite's plan, one step a line.
async fn plan(store: &SqliteStore, sql: &str) -> String {
    // The statements are those of this crate.
    let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(&store.writer).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>("detail")).collect::<Vec<_>>().join("\n")
}

/// The text of a statement of both databases.
fn of_sqlite(sql: &Sql) -> &str {
    match sql {
        Sql::Fixed { sqlite, .. } => sqlite,
        Sql::Made(text) => text,
    }
}

/// Asserts that the plan names these indexes and walks no table from end to end.
async fn goes_by(store: &SqliteStore, sql: &str, indexes: &[&str]) {
    let plan = plan(store, sql).await;
    for index in indexes {
        assert!(plan.contains(index), "{index} is not used by\n{sql}\n{plan}");
    }
    // Constant rows, and what an inner query found, are scanned; a partial index may be.
    let walked = plan.lines().find(|line| {
        let Some(rest) = line.trim().strip_prefix("SCAN ") else { return false };
        ["events", "queue", "history", "attempts", "bookings", "assignments", "e", "d", "a", "head"].contains(&rest)
            || rest.contains("sqlite_autoindex")
    });
    assert_eq!(walked, None, "in the plan of\n{sql}\n{plan}");
}

#[tokio::test]
async fn hot_statements_go_by_their_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_history(&folder).await;
    let due = "queue_due (sink=? AND due_at<?)";
    let lane = "queue_lane (sink=? AND invoice_id=?)";
    let by_number = "SEARCH queue USING INTEGER PRIMARY KEY (rowid=?)";
    goes_by(&store, claim::DUE, &[due, lane]).await;
    goes_by(&store, claim::EVENT, &["sqlite_autoindex_events_1 (id=?)"]).await;
    goes_by(&store, claim::NEXT_DUE, &["COVERING INDEX queue_due (sink=?"]).await;
    let [leased, deliver, remove, set_state, call, head] = finish::hot::STATEMENTS;
    for sql in claim::hot::WRITES.into_iter().chain([leased, deliver, remove, set_state, call]) {
        goes_by(&store, sql, &[by_number]).await;
    }
    let [insert_event, insert_dispatch, count_repeated, of_invoice] = events::hot::STATEMENTS;
    goes_by(&store, insert_event, &[]).await;
    goes_by(&store, insert_dispatch, &[]).await;
    goes_by(&store, count_repeated, &["events_by_key (endpoint=? AND dedupe_key=?)"]).await;
    for sql in [claim::DUE, head, of_invoice] {
        let plan = plan(&store, sql).await;
        assert_eq!(plan.matches(lane).count(), 1, "{sql}\n{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "nothing is sorted, however much is due:\n{plan}");
    }
}

#[tokio::test]
async fn status_and_purge_go_by_their_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_history(&folder).await;
    goes_by(&store, sinks::WORK, &["queue_oldest (sink>? AND sink<?)"]).await;
    let unfinished = "queue_event (event_id=?)";
    let by_id = "sqlite_autoindex_events_1 (id=?)";
    goes_by(&store, purge::WALK, &["sqlite_autoindex_events_1 (id>? AND id<?)", unfinished]).await;
    goes_by(&store, purge::LISTED, &["PRIMARY KEY (event_id>?)", by_id, unfinished]).await;
    for sql in [purge::WALK, purge::LISTED] {
        assert!(!plan(&store, sql).await.contains("TEMP B-TREE"), "{sql}");
    }
    // What is removed is removed by its id: the writer looks for nothing.
    for sql in [purge::DELETE, purge::EMPTY] {
        goes_by(&store, sql, &[by_id, unfinished]).await;
    }
    goes_by(&store, purge::LIST, &[by_id]).await;
    goes_by(&store, purge::UNLIST, &["PRIMARY KEY (event_id=?)", by_id]).await;
    let [attempts, queue, history, overdue] = purge::DELETE_REST;
    goes_by(&store, attempts, &["attempts USING PRIMARY KEY (dispatch_id=?)", "queue_event", "history_event"]).await;
    goes_by(&store, queue, &["queue_event (event_id=?)"]).await;
    goes_by(&store, history, &["history_event (event_id=?)"]).await;
    goes_by(&store, overdue, &["PRIMARY KEY (event_id=?)"]).await;
    goes_by(&store, purge::BRING_BACK, &["SEARCH queue USING INTEGER PRIMARY KEY (rowid=?)"]).await;
    goes_by(&store, purge::POSTPONED, &["queue_due (", " AND due_at>?)"]).await;
    let by_age = ["assignments_by_age (assigned_at<?)", "bookings_by_payment_alone (payment_id=?)"];
    goes_by(&store, of_sqlite(&ledger::PURGE_ASSIGNMENTS), &by_age).await;
    goes_by(&store, of_sqlite(&ledger::UNASSIGNED), &["events_by_invoice (invoice_id=?", unfinished]).await;
    let found = [
        "announced_by_number (number_key=?",
        "announced_by_payment (payment_id=?",
        "announced_by_amount (amount_cents=?",
    ];
    goes_by(&store, ledger::FIND, &found).await;
}

/// Bulk decisions read their selection once, and sort nothing; a search finds the ends of its pieces in the key.
#[tokio::test]
async fn selections_and_searches_go_by_their_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_history(&folder).await;
    let all = DispatchFilter::default;
    let sink = || Some("erp".to_owned());
    for (filter, index) in [
        (DispatchFilter { state: Some(State::Pending), sink: sink(), ..all() }, "queue_oldest (sink>? AND sink<?)"),
        (DispatchFilter { state: Some(State::Dead), sink: sink(), ..all() }, "queue_stopped (state=?"),
        (DispatchFilter { invoice_id: Some("i1".into()), ..all() }, "queue_event (event_id=?"),
    ] {
        let sql = lists::ids_statement(&filter, 1000).0;
        goes_by(&store, &sql, &[index]).await;
        assert!(!plan(&store, &sql).await.contains("TEMP B-TREE"), "{sql}");
    }
    let search = EventFilter { contains: Some("x".into()), event_type: Some("ping".into()), ..EventFilter::default() };
    let of_invoice = EventFilter { invoice_id: Some("i1".into()), ..search.clone() };
    let end = |filter: &EventFilter| events::end_statement(filter, 512).into_string();
    assert!(plan(&store, &end(&search)).await.contains("COVERING INDEX sqlite_autoindex_events_1"));
    goes_by(&store, &end(&of_invoice), &["COVERING INDEX events_by_invoice (invoice_id=?)"]).await;
    let piece = events::piece_statement(&search, crate::store::search::End::At(EventId::generate()), 50).into_string();
    goes_by(&store, &piece, &["sqlite_autoindex_events_1 (id>?)"]).await;
}

#[tokio::test]
async fn lists_go_by_their_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_history(&folder).await;
    let list = |filter: &DispatchFilter| lists::list_statement(filter, None, 51).0;
    let all = DispatchFilter::default;
    let sink = Some("erp".to_owned());
    let invoice_id = Some("i1".to_owned());
    for (state, index) in [
        (State::Held, "queue_stopped (state=?"),
        (State::Dead, "queue_stopped (state=?"),
        (State::Cancelled, "history_cancelled"),
    ] {
        for sink in [None, sink.clone()] {
            goes_by(&store, &list(&DispatchFilter { state: Some(state), sink, ..all() }), &[index]).await;
        }
    }
    let of_sink = DispatchFilter { state: Some(State::Pending), sink: sink.clone(), ..all() };
    goes_by(&store, &list(&of_sink), &["queue_oldest (sink>? AND sink<?)"]).await;
    // These are read as the tables lie, from their end: the queue is short, and nearly all of the history is delivered.
    for state in [None, Some(State::Pending), Some(State::Delivered)] {
        let plan = plan(&store, &list(&DispatchFilter { state, ..all() })).await;
        assert!(!plan.contains("TEMP B-TREE") && !plan.contains("INDEX"), "{state:?}:\n{plan}");
        assert!(state.is_none() || plan.lines().count() == 1, "one table alone can hold {state:?}:\n{plan}");
    }
    let leased = plan(&store, &list(&DispatchFilter { state: Some(State::Leased), ..all() })).await;
    assert!(
        leased.contains("SCAN queue\n") && !leased.contains("history"),
        "the few that are sorted are known:\n{leased}"
    );
    let of_event = DispatchFilter { event_id: Some(EventId::generate()), ..all() };
    goes_by(&store, &list(&of_event), &["queue_event (event_id=?", "history_event (event_id=?"]).await;
    let by_invoice = "events_by_invoice (invoice_id=?";
    for (state, indexes) in [
        (None, &["queue_event (event_id=?", "history_event (event_id=?", by_invoice][..]),
        (Some(State::Delivered), &["history_event (event_id=?", by_invoice]),
        (Some(State::Pending), &["queue_event (event_id=?", by_invoice]),
    ] {
        let of_invoice = DispatchFilter { invoice_id: invoice_id.clone(), state, ..all() };
        goes_by(&store, &list(&of_invoice), indexes).await;
    }
    for (state, index) in
        [(State::Held, "queue_stopped (state=? AND id<?)"), (State::Cancelled, "history_cancelled (id<?)")]
    {
        let search = DispatchFilter { before: Some(DispatchId(500)), state: Some(state), ..all() };
        goes_by(&store, &lists::end_statement(&search, 512).0, &[index]).await;
    }
    for state in [None, Some(State::Delivered)] {
        let search = DispatchFilter { before: Some(DispatchId(500)), state, sink: sink.clone(), ..all() };
        goes_by(&store, &lists::end_statement(&search, 512).0, &["PRIMARY KEY (rowid<?)"]).await;
        let piece = lists::list_statement(&search, Some(100), 51).0;
        goes_by(&store, &piece, &["PRIMARY KEY (rowid>? AND rowid<?)"]).await;
    }

    let list = |filter: EventFilter| events::list_statement(&filter, 50).into_string();
    let all = EventFilter::default;
    goes_by(&store, &list(EventFilter { invoice_id, ..all() }), &[by_invoice]).await;
    let range = EventFilter { since: Some(clock::now()), until: Some(clock::now()), ..all() };
    goes_by(&store, &list(range), &["sqlite_autoindex_events_1 (id>? AND id<?)"]).await;
    let before = EventFilter { before: Some(EventId::generate()), endpoint: sink, ..all() };
    goes_by(&store, &list(before), &["sqlite_autoindex_events_1 (id<?)"]).await;
}

#[tokio::test]
async fn walks_go_by_their_indexes_and_sort_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_history(&folder).await;
    let all = EventFilter::default;
    let invoice_id = Some("i1".to_owned());
    let of_type = EventFilter { event_type: Some("ping".into()), endpoint: Some("main".into()), ..all() };
    let range = EventFilter { since: Some(clock::now()), until: Some(clock::now()), ..all() };
    for (filter, index) in [
        (EventFilter { invoice_id, ..all() }, "events_by_invoice (invoice_id=? AND id>?)"),
        (of_type, "sqlite_autoindex_events_1 (id>?)"),
        (range, "sqlite_autoindex_events_1 (id>? AND id<?)"),
    ] {
        let sql = events::walk_statement(&filter, Some(EventId::generate()), 500).into_string();
        goes_by(&store, &sql, &[index]).await;
        assert!(!plan(&store, &sql).await.contains("TEMP B-TREE"), "{sql}");
    }
    goes_by(&store, erase::FIND, &["events_by_invoice (invoice_id=? AND id>?)"]).await;
}

#[tokio::test]
async fn the_ledger_goes_by_its_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_history(&folder).await;
    goes_by(&store, ledger::SUM, &["bookings_by_number (invoice_number=? AND sink=?)"]).await;
    goes_by(&store, ledger::BUSY, &["bookings_busy (sink=? AND invoice_number=?)"]).await;
    goes_by(&store, of_sqlite(&ledger::PURGE), &["bookings_finished (changed_at<?)"]).await;
    let list = |filter: BookingFilter| ledger::list(&filter, 0, 50).0;
    let all = BookingFilter::default;
    let text = || Some("x".to_owned());
    for (filter, index) in [
        (BookingFilter { payment_id: text(), ..all() }, "bookings_by_payment"),
        (BookingFilter { payment_id: text(), sink: text(), ..all() }, "bookings_by_payment"),
        (BookingFilter { invoice_id: text(), ..all() }, "bookings_by_invoice (invoice_id=?"),
        (BookingFilter { invoice_number: text(), ..all() }, "bookings_by_number (invoice_number=?"),
        (BookingFilter { target_id: text(), sink: text(), ..all() }, "bookings_by_target (sink=? AND target_id=?"),
        (BookingFilter { state: Some(BookingState::Reserved), ..all() }, "bookings_open (state=?"),
        (BookingFilter { state: Some(BookingState::Sending), ..all() }, "bookings_open (state=?"),
        (BookingFilter { state: Some(BookingState::Written), ..all() }, "bookings_open (state=?"),
        (BookingFilter { before: Some(500), ..all() }, "INTEGER PRIMARY KEY (rowid<?)"),
    ] {
        goes_by(&store, &list(filter), &[index]).await;
    }
}

#[tokio::test]
async fn payments_go_by_their_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_history(&folder).await;
    sqlx::raw_sql(
        "INSERT INTO assignments (event_id, endpoint, payment_id, invoice_id, amount_cents, assigned_at)
         SELECT event_id, 'main', payment_id, invoice_id, 1, changed_at FROM bookings;
         ANALYZE;",
    )
    .execute(&store.writer)
    .await
    .unwrap();
    let bounds = (Some(EventId::generate().0), Some(EventId::generate().0));
    let begun = Among::Unfinished { states: vec![State::Held, State::Pending], begun: true };
    let waiting = "queue_event (event_id>? AND event_id<?)";
    let stopped = Among::Unfinished { states: vec![State::Held], begun: false };
    let by_person = "queue_stopped_event (event_id>? AND event_id<?)";
    for (among, ends, pieces) in [
        (
            Among::All,
            &["sqlite_autoindex_events_1 (id>? AND id<?)", "PRIMARY KEY (event_id>? AND event_id<?)"][..],
            &["sqlite_autoindex_events_1 (id>? AND id<?)", "PRIMARY KEY (event_id>? AND event_id<?)"][..],
        ),
        (begun, &[waiting], &[waiting, "bookings_open (state=?)"]),
        (stopped, &[by_person], &[by_person]),
    ] {
        goes_by(&store, &payments::end_statement(&among, bounds, 512).0, ends).await;
        let filter = PaymentFilter { among, endpoints: Some(vec!["main".into()]), ..PaymentFilter::default() };
        goes_by(&store, &payments::piece_statement(&filter, bounds, 50).0, pieces).await;
    }
    for sql in payments::OF_EVENTS {
        goes_by(&store, of_sqlite(&sql), &[]).await;
    }
}
