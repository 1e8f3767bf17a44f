//! An operator's repairs: dead letters, replays, sinks that are added and removed, and an invoice that must be erased.

use std::{collections::HashSet, process::Stdio};

use finkare_relay::{
    model::{
        booking::{Assignment, BookingState, BookingToken, NewBooking},
        id::{EventId, SinkName},
        money::Cents,
    },
    store::{
        Store,
        ledger::{Advance, Assigned, BookingBegun},
    },
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};
use uuid::Uuid;

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    http,
    relay::{Backend, Home, Relay, TOKEN, on_both_stores},
    target::{Arrival, Reply, Target},
};

on_both_stores!(
    dead_letters_are_retried_one_by_one_and_in_bulk,
    what_waits_for_its_next_try_is_tried_at_once_if_asked,
    a_replay_keeps_id_bytes_and_order,
    a_sink_added_later_is_fed_by_a_replay,
    a_sink_that_is_removed_leaves_nothing_behind_unseen,
    a_pause_outlives_a_restart,
    an_erased_invoice_is_gone_and_still_known,
    what_is_old_goes_when_the_service_starts,
    a_person_says_what_stands_in_the_books,
    what_cannot_be_meant_is_refused,
);

/// An `http` sink that never trips, so that tests need not wait for a probe.
fn sink(name: &str, target: &Target) -> String {
    format!(
        "[[sinks]]\nname = \"{name}\"\ntype = \"http\"\nurl = \"{}\"\nevents = \"*\"\n\
         retry = {{ initial_secs = 0.05, max_secs = 1 }}\nbreaker = {{ failures = 1000000 }}\n",
        target.url()
    )
}

/// `POST` with a JSON body.
async fn post(relay: &Relay, path: &str, body: &Value) -> (u16, Value) {
    post_as(relay, TOKEN, path, body).await
}

async fn post_as(relay: &Relay, token: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = http().post(format!("http://{}/api/v1{path}", relay.admin)).bearer_auth(token).json(body);
    let response = request.send().await.expect("the admin API answers");
    (response.status().as_u16(), response.json().await.expect("the admin API answers JSON"))
}

/// A `POST` that must succeed.
async fn done(relay: &Relay, path: &str, body: &Value) -> Value {
    let (status, answer) = post(relay, path, body).await;
    assert_eq!(status, 200, "{path} {body}: {answer}");
    answer
}

/// The events that the target accepted, in the order of arrival.
fn taken(arrivals: &[Arrival]) -> Vec<(String, String)> {
    let good = arrivals.iter().filter(|arrival| (200..300).contains(&arrival.status));
    good.map(|arrival| (arrival.invoice(), arrival.id.clone())).collect()
}

/// Asserts that the events of each invoice came in this order.
fn assert_order(taken: &[(String, String)], expected: &[(String, String)]) {
    let invoices: HashSet<&String> = expected.iter().map(|(invoice, _)| invoice).collect();
    for invoice in invoices {
        let of = |list: &[(String, String)]| {
            list.iter().filter(|(of, _)| of == invoice).map(|(_, id)| id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(of(taken), of(expected), "the order of {invoice}");
    }
}

/// Delivers this number of events of three invoices, one after the other.
async fn deliver(relay: &Relay, number: usize) -> Vec<(String, String)> {
    let finkare = Finkare::of(relay);
    let mut sent = Vec::new();
    for number in 0..number {
        let invoice = format!("i{}", number % 3);
        let id = finkare.deliver(&payment(&invoice, 100)).await.id();
        sent.push((invoice, id));
    }
    sent
}

/// The actions of the audit trail, oldest first.
async fn actions(relay: &Relay) -> Vec<String> {
    let rows = relay.all("/audit").await;
    rows.iter().rev().map(|row| row["action"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn dead_letters_are_retried_one_by_one_and_in_bulk(backend: Backend) {
    let home = Home::new(backend).await;
    let target = Target::scripted(|_, _| Reply::Status(400, vec![])).await;
    let relay = home.serve(&sink("erp", &target)).await;
    let sent = deliver(&relay, 9).await;
    relay.drained().await;
    let dead = relay.all("/dispatches?state=dead&sink=erp").await;
    assert_eq!(dead.len(), 9);

    target.script(|_, _| Reply::Status(204, vec![]));
    let oldest = dead.last().unwrap()["id"].as_i64().unwrap();
    // A worker may already have claimed it, so the state in the answer means nothing.
    assert_eq!(relay.post(&format!("/dispatches/{oldest}/retry")).await["id"], oldest);
    let of_invoice = json!({"sink": "erp", "state": "dead", "invoice_id": "i1"});
    assert_eq!(done(&relay, "/dispatches/retry", &of_invoice).await["retried"], 3);
    relay.drained().await;
    assert_eq!(relay.all("/dispatches?state=dead").await.len(), 5);
    // Counted at a glance, the dead ones are looked at, and none of the delivered.
    for (look_at, expected) in [
        (5000, json!({"retried": 5, "more": false, "dry_run": true})),
        (2, json!({"retried": 2, "more": true, "dry_run": true})),
    ] {
        let glance = json!({"state": "dead", "reason": "answered 400", "dry_run": true, "look_at": look_at});
        assert_eq!(done(&relay, "/dispatches/retry", &glance).await, expected);
    }
    let page = relay.get("/waiting?look_at=2").await;
    assert_eq!((&page["complete"], &page["data"][0]["count"]), (&json!(false), &json!(2)));
    for path in ["/waiting", "/events", "/dispatches", "/payments"] {
        let (status, answer) = relay.try_get(&format!("{path}?look_at=0")).await;
        assert_eq!((status, &answer["code"]), (400, &json!("bad_parameter")), "{path}: {answer}");
    }
    // It bounds no decision, so none is made with it.
    let bounded = [
        ("/dispatches/retry", json!({"state": "dead", "look_at": 2})),
        ("/dispatches/cancel", json!({"state": "dead", "look_at": 2})),
        ("/events/replay", json!({"all": true, "look_at": 2})),
    ];
    for (path, body) in bounded {
        let (status, answer) = relay.try_post_json(path, &body).await;
        assert_eq!((status, &answer["code"]), (422, &json!("bad_body")), "{path}: {answer}");
    }
    assert_eq!(relay.all("/dispatches?state=dead").await.len(), 5);
    let rest = done(&relay, "/dispatches/retry", &json!({"sink": "erp"})).await;
    assert_eq!(rest, json!({"retried": 5, "more": false}));
    relay.drained().await;
    assert_order(&taken(&target.arrivals()), &sent);
    assert_eq!(relay.sink("erp").await["delivered"], 9);
    assert_eq!(done(&relay, "/dispatches/retry", &json!({"state": "dead"})).await["retried"], 0);

    // The dispatch is cancelled instead.
    target.script(|_, _| Reply::Status(400, vec![]));
    deliver(&relay, 3).await;
    relay.drained().await;
    assert_eq!(done(&relay, "/dispatches/cancel", &json!({"state": "dead"})).await["cancelled"], 3);
    assert_eq!(relay.all("/dispatches?state=cancelled").await.len(), 3);
    let actions = actions(&relay).await;
    assert_eq!(actions.iter().filter(|action| *action == "dispatches.retried").count(), 3);
    assert_eq!(actions.last().map(String::as_str), Some("dispatches.cancelled"));
}

async fn what_waits_for_its_next_try_is_tried_at_once_if_asked(backend: Backend) {
    let home = Home::new(backend).await;
    let target = Target::scripted(|_, _| Reply::Status(503, vec![])).await;
    let patient = "retry = { initial_secs = 3600, max_secs = 3600, give_up_after_secs = 36000 }";
    let erp = format!("[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\n{patient}\n", target.url());
    let relay = home.serve(&erp).await;
    let sent = deliver(&relay, 3).await;
    eventually("each was tried once", async || target.arrivals().len() == 3).await;
    eventually("and waits", async || relay.sink("erp").await["leased"] == 0).await;
    target.script(|_, _| Reply::Status(204, vec![]));
    assert_eq!(done(&relay, "/dispatches/retry", &json!({"sink": "erp"})).await["retried"], 0, "only if it is named");
    let waiting = json!({"sink": "erp", "state": "pending"});
    assert!(done(&relay, "/dispatches/retry", &waiting).await["retried"].as_u64().unwrap() <= 3);
    // Without the retry they would wait an hour.
    relay.drained().await;
    assert_eq!(target.delivered().len(), sent.len());
}

async fn a_replay_keeps_id_bytes_and_order(backend: Backend) {
    let home = Home::new(backend).await;
    let target = Target::start().await;
    let relay = home.serve(&sink("erp", &target)).await;
    let finkare = Finkare::of(&relay);
    let mut sent = deliver(&relay, 6).await;
    let odd = b"{ \"event\":\"payment.received\",\n \"data\":{\"invoiceId\":\"i0\", \"x\":1.50, \"y\":1234567890123} }";
    sent.push(("i0".to_owned(), finkare.deliver(odd).await.id()));
    relay.drained().await;
    let first = target.delivered();
    assert_eq!(first.len(), 7);

    // A dry run changes nothing.
    let all = json!({"all": true, "dry_run": true});
    let expected = json!({"events": 7, "dispatches": 7, "skipped": 0, "dry_run": true});
    assert_eq!(done(&relay, "/events/replay", &all).await, expected);
    // At a glance it is the same, and two of seven events are not all.
    let glance = json!({"all": true, "dry_run": true, "look_at": 1000});
    assert_eq!(done(&relay, "/events/replay", &glance).await, expected);
    let narrow = json!({"type": "payment.received", "dry_run": true, "look_at": 2});
    let some = json!({"events": 2, "dispatches": 2, "skipped": 0, "dry_run": true, "more": true});
    assert_eq!(done(&relay, "/events/replay", &narrow).await, some);
    relay.drained().await;
    assert_eq!((target.arrivals().len(), relay.all("/dispatches").await.len()), (7, 7));
    assert!(!actions(&relay).await.contains(&"events.replayed".to_owned()));

    // Every replay fails once before the target accepts it.
    let mut failed = HashSet::new();
    target.script(move |headers, _| {
        let id = headers["webhook-id"].to_str().unwrap().to_owned();
        Reply::Status(if failed.insert(id) { 503 } else { 204 }, vec![])
    });
    let summary = done(&relay, "/events/replay", &json!({"all": true})).await;
    assert_eq!(summary, json!({"events": 7, "dispatches": 7, "skipped": 0, "dry_run": false}));
    relay.drained().await;
    let replayed = &target.arrivals()[7..];
    assert_eq!(replayed.len(), 14, "each was tried twice: nothing was taken for a repetition");
    assert_order(&taken(replayed), &sent);
    assert!(replayed.iter().all(|arrival| arrival.header("x-relay-trigger") == "replay"));
    assert_eq!(target.delivered(), first, "the same ids with the same bytes");
    assert!(first.values().any(|body| &body[..] == odd));

    // One event is sent twice more, and Finkare's own repetition in between still counts as the same event.
    let (_, last) = sent.last().unwrap();
    for _ in 0..2 {
        assert!(finkare.deliver(odd).await.is_duplicate());
        let answer = done(&relay, &format!("/events/{last}/replay"), &json!({})).await;
        let rows = answer["data"].as_array().unwrap();
        assert_eq!((rows.len(), &rows[0]["sink"], &rows[0]["trigger"]), (1, &json!("erp"), &json!("replay")));
        assert_eq!(rows[0]["event_id"], last.as_str());
        relay.drained().await;
    }
    assert_eq!(target.arrivals().len(), 7 + 14 + 2);
    let page = relay.get(&format!("/events/{last}")).await;
    assert_eq!((&page["deliveries"], page["dispatches"].as_array().unwrap().len()), (&json!(3), 4));

    // Selections by invoice, by time and by type, and one that selects nothing.
    let since = page["received_at"].as_str().unwrap();
    for (selection, events) in [
        (json!({"invoice_id": "i1"}), 2),
        (json!({"since": since}), 1),
        (json!({"until": since}), 6),
        (json!({"type": "payment.received", "endpoint": "production"}), 7),
        (json!({"type": "ping"}), 0),
    ] {
        let mut selection = selection;
        selection["dry_run"] = true.into();
        assert_eq!(done(&relay, "/events/replay", &selection).await["events"], events, "{selection}");
    }
    let actions = actions(&relay).await;
    assert_eq!(actions.iter().filter(|action| *action == "event.replayed").count(), 2);
    assert_eq!(actions.iter().filter(|action| *action == "events.replayed").count(), 1);
}

async fn a_sink_added_later_is_fed_by_a_replay(backend: Backend) {
    let home = Home::new(backend).await;
    let (old, new) = (Target::start().await, Target::start().await);
    let relay = home.serve(&sink("old", &old)).await;
    let finkare = Finkare::of(&relay);
    let small = finkare.deliver(&payment("i1", 100)).await.id();
    let large = finkare.deliver(&payment("i1", 90_000)).await.id();
    relay.drained().await;
    assert!(relay.terminate().await.0.success());

    let later = format!("{}filter = \"data.amountCents > 5000\"\n", sink("later", &new));
    let relay = home.serve(&format!("{}{later}", sink("old", &old))).await;
    let selection = json!({"invoice_id": "i1", "dry_run": true});
    assert_eq!(done(&relay, "/events/replay", &selection).await["dispatches"], 3, "its filter takes one of two");
    // To the sinks whose route accepts the event.
    let answer = done(&relay, &format!("/events/{large}/replay"), &json!({})).await;
    let sinks: Vec<&str> = answer["data"].as_array().unwrap().iter().filter_map(|row| row["sink"].as_str()).collect();
    assert_eq!(sinks, ["old", "later"]);
    relay.drained().await;
    assert_eq!(new.delivered().keys().collect::<Vec<_>>(), [&large]);
    // To a named sink, regardless of its filter.
    let summary = done(&relay, "/events/replay", &json!({"all": true, "sinks": ["later", "later"]})).await;
    assert_eq!((&summary["events"], &summary["dispatches"]), (&json!(2), &json!(2)));
    relay.drained().await;
    assert_order(&taken(&new.arrivals()[1..]), &[("i1".to_owned(), small), ("i1".to_owned(), large)]);
    assert_eq!(old.arrivals().len(), 3);
}

async fn a_sink_that_is_removed_leaves_nothing_behind_unseen(backend: Backend) {
    let home = Home::new(backend).await;
    let (stays, goes) = (Target::start().await, Target::scripted(|_, _| Reply::Status(503, vec![])).await);
    let both = format!("{}{}", sink("stays", &stays), sink("goes", &goes));
    let relay = home.serve(&both).await;
    let sent = deliver(&relay, 6).await;
    eventually("the other sink has everything", async || stays.delivered().len() == 6).await;
    assert!(relay.terminate().await.0.success());

    let relay = home.serve(&sink("stays", &stays)).await;
    let row = relay.sink("goes").await;
    assert_eq!((&row["configured"], &row["backlog"], &row["type"]), (&json!(false), &json!(6), &Value::Null));
    let listed = relay.all("/dispatches?sink=goes&state=pending").await;
    assert_eq!(listed.len(), 6);
    // One dispatch by its number, two by their invoice.
    let newest = listed[0]["id"].as_i64().unwrap();
    assert_eq!(done(&relay, &format!("/dispatches/{newest}/cancel"), &json!({})).await["state"], "cancelled");
    let of_invoice = json!({"sink": "goes", "state": "pending", "invoice_id": "i1"});
    assert_eq!(done(&relay, "/dispatches/cancel", &of_invoice).await["cancelled"], 2);
    for path in [format!("/events/{}/replay", sent[0].1), "/events/replay".to_owned()] {
        let mut body = json!({"sinks": ["goes"]});
        if path == "/events/replay" {
            body["all"] = true.into();
        }
        let (status, problem) = post(&relay, &path, &body).await;
        assert_eq!((status, &problem["code"]), (422, &json!("unknown_sink")), "{path}");
        assert!(problem["detail"].as_str().unwrap().contains("stays"), "{problem}");
    }
    assert_eq!(post(&relay, "/sinks/goes/test", &json!({})).await.0, 404);
    let seen = goes.arrivals().len();
    assert!(relay.terminate().await.0.success());
    assert_eq!(goes.arrivals().len(), seen, "a sink that is not configured gets nothing");

    // The sink is configured again, and its events continue.
    goes.script(|_, _| Reply::Status(204, vec![]));
    let relay = home.serve(&both).await;
    relay.drained().await;
    let left: Vec<_> = sent[..5].iter().filter(|(invoice, _)| invoice != "i1").cloned().collect();
    assert_order(&taken(&goes.arrivals()), &left);
    assert_eq!(goes.delivered().len(), 3);
    assert_eq!(stays.delivered().len(), 6);
}

async fn a_pause_outlives_a_restart(backend: Backend) {
    let home = Home::new(backend).await;
    let target = Target::start().await;
    let config = format!("{}secret = \"whsec_dGhlIHNlY3JldCBvZiB0aGUgc2luayBpbiB0ZXN0cw==\"\n", sink("erp", &target));
    let relay = home.serve(&config).await;
    relay.post("/sinks/erp/pause").await;
    let id = Finkare::of(&relay).deliver(&payment("i1", 1)).await.id();
    assert!(relay.terminate().await.0.success());
    let relay = home.serve(&config).await;
    let row = relay.sink("erp").await;
    assert_eq!((&row["state"], &row["backlog"]), (&json!("paused"), &json!(1)));

    // A test event is sent although the sink is paused, and is not stored.
    let tested = done(&relay, "/sinks/erp/test", &json!({})).await;
    assert_eq!((&tested["outcome"], &tested["reason"]), (&json!("delivered"), &Value::Null));
    assert!(tested["duration_ms"].as_f64().is_some_and(|millis| millis > 0.0));
    let [test] = <[Arrival; 1]>::try_from(target.arrivals()).expect("only the test event has come");
    assert_eq!((test.header("x-relay-trigger"), test.header("x-relay-event")), ("test", "relay.test"));
    assert_eq!(test.id, tested["event_id"].as_str().unwrap());
    let webhook = standardwebhooks::Webhook::new("whsec_dGhlIHNlY3JldCBvZiB0aGUgc2luayBpbiB0ZXN0cw==").unwrap();
    webhook.verify(&test.body, &test.headers).expect("it is signed as always");
    assert_eq!(relay.all("/events").await.len(), 1);
    assert_eq!(relay.all("/dispatches").await.len(), 1);

    target.script(|_, _| Reply::Status(403, vec![]));
    let refused = done(&relay, "/sinks/erp/test", &json!({})).await;
    assert_eq!(refused["outcome"], "rejected");
    assert!(refused["reason"].as_str().unwrap().contains("403"), "{refused}");
    assert_eq!(relay.sink("erp").await["last_error"], Value::Null, "a test leaves no trace in the sink's standing");

    target.script(|_, _| Reply::Status(204, vec![]));
    relay.post("/sinks/erp/resume").await;
    relay.drained().await;
    assert_eq!(target.arrivals().last().unwrap().id, id);
    assert_eq!(actions(&relay).await.iter().filter(|action| *action == "sink.tested").count(), 2);
}

/// True if the database still contains this text anywhere.
async fn database_holds(home: &Home, backend: Backend, text: &str) -> bool {
    match backend {
        Backend::Sqlite => home.files_contain(text).is_some(),
        Backend::Postgres => {
            let mut connection = PgConnection::connect(home.store_url()).await.unwrap();
            sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM events e WHERE position($1::text::bytea IN e.payload) > 0)
                     OR EXISTS (SELECT FROM dispatches d WHERE position($1 IN d::text) > 0)
                     OR EXISTS (SELECT FROM attempts a WHERE position($1 IN a::text) > 0)",
            )
            .bind(text)
            .fetch_one(&mut connection)
            .await
            .unwrap()
        }
    }
}

async fn an_erased_invoice_is_gone_and_still_known(backend: Backend) {
    let home = Home::new(backend).await;
    let name = "Jeanne-Erasable";
    // A target that repeats the request in its answer.
    let target = Target::scripted(|_, _| Reply::Status(400, vec![])).await;
    let relay = home.serve(&sink("erp", &target)).await;
    let finkare = Finkare::of(&relay);
    let body = |invoice: &str, number: usize, name: &str| {
        let long = "é".repeat(if number.is_multiple_of(7) { 5000 } else { number });
        let data = json!({"invoiceId": invoice, "debtor": name, "number": number, "note": long});
        json!({"event": "payment.received", "data": data}).to_string().into_bytes()
    };
    let mut ids = Vec::new();
    for number in 0..40 {
        finkare.deliver(&body("other", number, "Somebody-Else")).await;
        if number % 4 == 0 {
            ids.push(finkare.deliver(&body("i1", number, name)).await.id());
            // Counting a repetition writes the row again.
            assert!(finkare.deliver(&body("i1", number, name)).await.is_duplicate());
        }
    }
    relay.drained().await;
    assert!(database_holds(&home, backend, name).await, "the search finds what is there");

    let erased = done(&relay, "/invoices/i1/erase", &json!({})).await;
    assert_eq!(erased, json!({"events": 10, "payloads": 10, "cancelled": 10, "names": 0}));
    assert!(!database_holds(&home, backend, name).await, "the payload is gone");
    assert!(database_holds(&home, backend, "Somebody-Else").await);
    for id in &ids {
        let page = relay.get(&format!("/events/{id}")).await;
        assert_eq!((&page["payload"], &page["deliveries"]), (&Value::Null, &json!(2)));
        assert_eq!(page["dispatches"][0]["state"], "cancelled");
    }
    let again = finkare.deliver(&body("i1", 0, name)).await;
    assert!(again.is_duplicate() && again.id() == ids[0]);
    assert!(!database_holds(&home, backend, name).await, "a repetition brings nothing back");
    let (status, problem) = post(&relay, &format!("/events/{}/replay", ids[0]), &json!({})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("payload_gone")));
    let summary = done(&relay, "/events/replay", &json!({"invoice_id": "i1"})).await;
    assert_eq!(summary, json!({"events": 10, "dispatches": 0, "skipped": 10, "dry_run": false}));
    assert_eq!(done(&relay, "/dispatches/retry", &json!({"sink": "erp", "invoice_id": "i1"})).await["retried"], 0);
    let audit = relay.all("/audit").await;
    let entry = audit.iter().find(|entry| entry["action"] == "invoice.erased").expect("it is written down");
    assert_eq!((&entry["actor"], &entry["subject"]), (&json!("tests"), &json!("invoice/i1")));
    assert_eq!(entry["detail"], erased);
    let (status, problem) = post(&relay, "/invoices/nothing/erase", &json!({})).await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")));
}

/// Changes the database of a service that is not running.
pub(crate) async fn execute(home: &Home, statement: &'static str) {
    let changed = if home.store_url().starts_with("postgres") {
        let mut connection = PgConnection::connect(home.store_url()).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap().rows_affected()
    } else {
        let options = SqliteConnectOptions::new().filename(home.path("relay.db"));
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap().rows_affected()
    };
    assert!(changed > 0, "{statement}");
}

/// Makes an event older by this many days. Its id holds its time as well, so it gets another one, which is the answer.
pub(crate) async fn make_older(home: &Home, event: &str, days: u32) -> String {
    let id: Uuid = event.parse().expect("an id");
    let older = Uuid::from_u128(id.as_u128() - ((u128::from(days) * 86_400_000) << 80));
    let is_postgres = home.store_url().starts_with("postgres");
    let literal = |id: Uuid| if is_postgres { format!("'{id}'") } else { format!("x'{}'", id.simple()) };
    let (from, to, micros) = (literal(id), literal(older), i64::from(days) * 86_400_000_000);
    let mut statements: Vec<String> = ["queue", "history", "announced", "assignments"]
        .map(|table| format!("UPDATE {table} SET event_id = {to} WHERE event_id = {from}"))
        .into();
    statements.push(format!("UPDATE events SET id = {to}, received_at = received_at - {micros} WHERE id = {from}"));
    let all = AssertSqlSafe(statements.join(";\n"));
    if is_postgres {
        let mut connection = PgConnection::connect(home.store_url()).await.unwrap();
        sqlx::raw_sql(all).execute(&mut connection).await.unwrap();
    } else {
        let options = SqliteConnectOptions::new().filename(home.path("relay.db")).foreign_keys(false);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql(all).execute(&mut connection).await.unwrap();
    }
    older.to_string()
}

/// Writes the same into the ledger as an invoicing sink: the event's payment and its booking. Answers the event.
async fn book(store: &dyn Store, event: &str, payment: &str, state: BookingState) -> EventId {
    let event_id: EventId = event.parse().expect("an id");
    let new = NewBooking {
        sink: SinkName::new("compta").unwrap(),
        payment_id: payment.to_owned(),
        event_id,
        invoice_id: format!("invoice of {payment}"),
        invoice_number: format!("F-{payment}"),
        amount_cents: Cents(150_000),
        currency: "EUR".to_owned(),
        token: BookingToken::generate(),
    };
    let assignment = Assignment {
        event_id,
        endpoint: "production".to_owned(),
        payment_id: payment.to_owned(),
        invoice_id: new.invoice_id.clone(),
        amount_cents: new.amount_cents,
    };
    assert_eq!(store.assign(&assignment).await.unwrap(), Assigned::Ours);
    assert_eq!(store.begin_booking(&new, None).await.unwrap(), BookingBegun::Begun);
    assert!(store.send_booking(&new.sink, payment, new.token, std::time::Duration::ZERO).await.unwrap());
    if state != BookingState::Sending {
        let advance = Advance { state, target_id: None, note: None };
        assert_eq!(store.advance_booking(&new.sink, payment, new.token, &advance).await.unwrap(), None);
    }
    event_id
}

async fn what_is_old_goes_when_the_service_starts(backend: Backend) {
    let home = Home::new(backend).await;
    let target = Target::start().await;
    let days = "payload_days = 30\ndedupe_days = 60\nledger_days = 90";
    let sinks = format!("[retention]\n{days}\n{}", sink("erp", &target));
    let relay = home.serve(&sinks).await;
    let finkare = Finkare::of(&relay);
    let bodies = ["ancient", "old", "new"].map(|invoice| payment(invoice, 1));
    let mut ids = Vec::new();
    for body in &bodies {
        ids.push(finkare.deliver(body).await.id());
    }
    relay.drained().await;
    let store = home.store().await;
    book(&*store, &ids[0], "ancient", BookingState::Booked).await;
    book(&*store, &ids[1], "old", BookingState::Seen).await;
    book(&*store, &ids[2], "unfinished", BookingState::Sending).await;
    store.close().await;
    assert_eq!(relay.all("/bookings").await.len(), 3);
    assert!(relay.terminate().await.0.success());
    // Days in microseconds.
    execute(&home, "UPDATE bookings SET changed_at = changed_at - 91 * 86400000000 WHERE payment_id <> 'old'").await;
    execute(&home, "UPDATE bookings SET changed_at = changed_at - 89 * 86400000000 WHERE payment_id = 'old'").await;
    execute(&home, "UPDATE assignments SET assigned_at = assigned_at - 91 * 86400000000").await;
    ids[0] = make_older(&home, &ids[0], 61).await;
    ids[1] = make_older(&home, &ids[1], 31).await;
    let assigned: EventId = ids[0].parse().expect("an id");
    let relay = home.serve(&sinks).await;
    eventually("the oldest is gone, with its key", async || {
        relay.try_get(&format!("/events/{}", ids[0])).await.0 == 404
    })
    .await;
    eventually("the payload of the older one is gone", async || {
        relay.get(&format!("/events/{}", ids[1])).await["payload"].is_null()
    })
    .await;
    assert!(relay.get(&format!("/events/{}", ids[2])).await["payload"].is_object());
    eventually("the oldest booking is gone", async || relay.all("/bookings").await.len() == 2).await;
    let left = relay.all("/bookings").await;
    let left: Vec<&str> = left.iter().filter_map(|row| row["payment_id"].as_str()).collect();
    assert_eq!(left, ["unfinished", "old"], "what is not finished stays, whatever its age");
    let store = home.store().await;
    eventually("what the event announced is forgotten as late as the ledger", async || {
        store.assignment(assigned).await.unwrap().is_none()
    })
    .await;
    let kept = ids[1].parse().expect("an id");
    assert!(store.assignment(kept).await.unwrap().is_some());
    store.close().await;
    let finkare = Finkare::of(&relay);
    assert!(!finkare.deliver(&bodies[0]).await.is_duplicate());
    for (body, id) in bodies.iter().zip(&ids).skip(1) {
        let answer = finkare.deliver(body).await;
        assert_eq!((answer.is_duplicate(), &answer.id()), (true, id), "the key outlives the payload");
    }
}

/// Moves the beginning of all bookings ten minutes back, in microseconds.
async fn wait_with_bookings(home: &Home) {
    execute(home, "UPDATE bookings SET began_at = began_at - 600000000").await;
}

async fn a_person_says_what_stands_in_the_books(backend: Backend) {
    let home = Home::new(backend).await;
    let target = Target::start().await;
    let relay = home.serve(&sink("erp", &target)).await;
    let finkare = Finkare::of(&relay);
    let mut ids = Vec::new();
    for invoice in ["i1", "i2", "i3", "i4"] {
        ids.push(finkare.deliver(&payment(invoice, 1)).await.id());
    }
    let store = home.store().await;
    book(&*store, &ids[0], "there", BookingState::Sending).await;
    book(&*store, &ids[1], "gone", BookingState::Written).await;
    book(&*store, &ids[2], "booked", BookingState::Booked).await;
    book(&*store, &ids[3], "seen", BookingState::Seen).await;
    store.close().await;
    let before = relay.all("/bookings").await;
    let word = |payment: &str, recorded: bool| json!({"sink": "compta", "payment_id": payment, "recorded": recorded});
    let settle = async |body: &Value| post(&relay, "/bookings/settle", body).await;

    for recorded in [true, false] {
        for payment in ["there", "gone"] {
            let (status, problem) = settle(&word(payment, recorded)).await;
            assert_eq!((status, &problem["code"]), (409, &json!("too_early")), "{problem}");
            let wait = problem["retry_in_secs"].as_u64().unwrap();
            assert!((1..=300).contains(&wait), "{problem}");
            assert!(problem["detail"].as_str().unwrap().contains(&format!("again in {wait} s")), "{problem}");
        }
        for (payment, state) in [("booked", "`booked`"), ("seen", "`seen`")] {
            let (status, problem) = settle(&word(payment, recorded)).await;
            assert_eq!((status, &problem["code"]), (409, &json!("finished")), "{problem}");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(state) && detail.contains("by hand") != recorded, "{detail}");
        }
    }
    assert_eq!(relay.all("/bookings").await, before, "nothing was changed");
    assert!(!actions(&relay).await.contains(&"booking.settled".to_owned()));

    wait_with_bookings(&home).await;
    let said = json!({"sink": "compta", "payment_id": "there", "recorded": true, "target_id": "4711"});
    let (status, answer) = settle(&said).await;
    assert_eq!(status, 200, "{answer}");
    let next = answer["next"].as_str().unwrap().to_owned();
    let expected = json!({"sink": "compta", "payment_id": "there", "event_id": ids[0], "recorded": true, "next": next});
    assert_eq!(answer, expected);
    let row = relay.get("/bookings?payment_id=there").await["data"][0].clone();
    assert_eq!((&row["state"], &row["target_id"]), (&json!("booked"), &json!("4711")));
    assert!(row["note"].as_str().is_some_and(|note| note.contains("a person")), "{row}");
    assert_eq!(settle(&said).await.1["code"], "finished", "said once more");

    let (status, answer) = settle(&word("gone", false)).await;
    assert_eq!((status, &answer["recorded"]), (200, &json!(false)), "{answer}");
    let next = answer["next"].as_str().unwrap();
    assert!(next.contains("has to be retried") && next.contains(&format!("--event-id {}", ids[1])), "{next}");
    assert!(relay.all("/bookings?payment_id=gone").await.is_empty());
    let (status, problem) = settle(&word("gone", false)).await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{problem}");

    let trail = relay.all("/audit").await;
    let entries: Vec<_> = trail.iter().filter(|row| row["action"] == "booking.settled").collect();
    let [gone, there] = entries[..] else { panic!("{entries:?}") };
    assert_eq!((&there["subject"], &gone["subject"]), (&json!("payment/there"), &json!("payment/gone")));
    assert_eq!((&there["actor"], &gone["actor"]), (&json!("tests"), &json!("tests")));
    let told = |payment: &str, recorded: bool, was: &str, target_id: Option<&str>| {
        json!({
            "sink": "compta", "recorded": recorded, "was": was, "invoice_number": format!("F-{payment}"),
            "amount_cents": 150_000, "currency": "EUR", "target_id": target_id,
        })
    };
    assert_eq!(there["detail"], told("there", true, "sending", Some("4711")));
    assert_eq!(gone["detail"], told("gone", false, "written", None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_books_is_said_from_a_terminal() {
    let home = Home::new(Backend::Sqlite).await;
    let target = Target::start().await;
    let relay = home.serve(&sink("erp", &target)).await;
    let admin = format!("http://{}", relay.admin);
    let finkare = Finkare::of(&relay);
    let ids = [finkare.deliver(&payment("i1", 1)).await.id(), finkare.deliver(&payment("i2", 1)).await.id()];
    let store = home.store().await;
    book(&*store, &ids[0], "there", BookingState::Sending).await;
    book(&*store, &ids[1], "gone", BookingState::Sending).await;
    store.close().await;
    let settle = async |arguments: &[&str]| {
        run(&home, &admin, &[&["bookings", "settle", "--sink", "compta", "--yes"], arguments].concat()).await
    };
    for unclear in [
        &["there"][..],
        &["there", "--recorded", "--not-recorded"],
        &["there", "--not-recorded", "--target-id", "4711"],
        &["--recorded"],
    ] {
        assert_eq!(settle(unclear).await.0, 2, "{unclear:?}");
    }
    let (code, _, complaint) = settle(&["there", "--recorded"]).await;
    assert!(code == 1 && complaint.contains("code too_early"), "{code} {complaint}");
    let (code, _, complaint) = settle(&["nowhere", "--recorded"]).await;
    assert!(code == 1 && complaint.contains("code not_found"), "{code} {complaint}");

    wait_with_bookings(&home).await;
    let (code, said, complaint) = settle(&["there", "--recorded", "--target-id", "4711"]).await;
    assert_eq!(code, 0, "{complaint}");
    assert!(said.contains("payment there is in the books of compta"), "{said}");
    let row = relay.get("/bookings?payment_id=there").await["data"][0].clone();
    assert_eq!((&row["state"], &row["target_id"]), (&json!("booked"), &json!("4711")));
    let (code, said, complaint) = settle(&["gone", "--not-recorded", "--json"]).await;
    assert_eq!(code, 0, "{complaint}");
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&answer["recorded"], &answer["event_id"]), (&json!(false), &json!(ids[1])));
    assert!(relay.all("/bookings?payment_id=gone").await.is_empty());
    let (code, _, complaint) = settle(&["there", "--not-recorded"]).await;
    assert!(code == 1 && complaint.contains("code finished"), "{code} {complaint}");
}

async fn what_cannot_be_meant_is_refused(backend: Backend) {
    let home = Home::new(backend).await;
    let target = Target::start().await;
    drop(home.serve(&sink("erp", &target)).await);
    let config = std::fs::read_to_string(home.path("relay.toml")).unwrap();
    let tokens = ["viewer", "operator", "admin"]
        .map(|role| format!("{{ name = \"{role}\", role = \"{role}\", token = \"the-token-of-the-{role}\" }}"));
    let only = format!("{{ name = \"tests\", role = \"admin\", token = \"{TOKEN}\" }}");
    std::fs::write(home.path("relay.toml"), config.replace(&only, &format!("{only}, {}", tokens.join(", ")))).unwrap();
    let mut command = home.command();
    command.arg("serve");
    let relay = Relay::start(command).await;
    let id = Finkare::of(&relay).deliver(&payment("i1", 1)).await.id();
    relay.drained().await;

    let event = format!("/events/{id}/replay");
    for path in
        [&*event, "/events/replay", "/dispatches/retry", "/dispatches/cancel", "/sinks/erp/test", "/bookings/settle"]
    {
        let (status, problem) = post_as(&relay, "the-token-of-the-viewer", path, &json!({})).await;
        assert_eq!((status, &problem["code"]), (403, &json!("role_too_low")), "{path}");
    }
    for token in ["the-token-of-the-viewer", "the-token-of-the-operator"] {
        let (status, _) = post_as(&relay, token, "/invoices/i1/erase", &json!({})).await;
        assert_eq!(status, 403, "erasing is for admins");
    }
    let booked = |target_id: &Value, recorded: bool| json!({"sink": "erp", "payment_id": "p1", "recorded": recorded, "target_id": target_id});
    for (path, body, status, code) in [
        ("/events/nothing/replay", json!({}), 404, "not_found"),
        ("/events/0192f3a4-5b6c-7d8e-9f01-23456789abcd/replay", json!({}), 404, "not_found"),
        (&*event, json!({"sinks": ["nobody"]}), 422, "unknown_sink"),
        (&*event, json!({"sinks": []}), 400, "bad_parameter"),
        (&*event, json!({"sink": "erp"}), 422, "bad_body"),
        ("/events/replay", json!({}), 422, "no_selection"),
        ("/events/replay", json!({"dry_run": true}), 422, "no_selection"),
        ("/events/replay", json!({"all": true, "type": "ping"}), 422, "no_selection"),
        ("/events/replay", json!({"all": true, "sinks": ["nobody"]}), 422, "unknown_sink"),
        ("/events/replay", json!({"since": "yesterday"}), 400, "bad_parameter"),
        ("/events/replay", json!({"all": true, "limit": 5}), 422, "bad_body"),
        ("/dispatches/retry", json!({}), 422, "no_selection"),
        ("/dispatches/retry", json!({"invoice_id": "i1"}), 422, "no_selection"),
        ("/dispatches/retry", json!({"state": "delivered"}), 422, "wrong_state"),
        ("/dispatches/cancel", json!({"state": "delivered"}), 422, "wrong_state"),
        ("/dispatches/cancel", json!({"state": "lost"}), 400, "bad_parameter"),
        ("/dispatches/cancel", json!({"sink": "nobody"}), 404, "not_found"),
        ("/dispatches/cancel", json!({"sink": "erp", "all": true}), 422, "bad_body"),
        ("/sinks/nobody/test", json!({}), 404, "not_found"),
        ("/bookings/settle", json!({}), 422, "bad_body"),
        ("/bookings/settle", Value::Null, 422, "bad_body"),
        ("/bookings/settle", json!({"sink": "erp", "payment_id": "p1"}), 422, "bad_body"),
        ("/bookings/settle", json!({"sink": "erp", "payment_id": "p1", "recorded": "yes"}), 422, "bad_body"),
        ("/bookings/settle", json!({"sink": "erp", "payment_id": "p1", "recorded": true, "id": "x"}), 422, "bad_body"),
        ("/bookings/settle", booked(&json!("x"), false), 422, "bad_body"),
        ("/bookings/settle", booked(&json!(""), true), 400, "bad_parameter"),
        ("/bookings/settle", booked(&json!("a\nb"), true), 400, "bad_parameter"),
        ("/bookings/settle", booked(&json!("x".repeat(201)), true), 400, "bad_parameter"),
        ("/bookings/settle", booked(&json!("x".repeat(200)), true), 404, "not_found"),
        ("/bookings/settle", booked(&Value::Null, true), 404, "not_found"),
        ("/bookings/settle", json!({"sink": "No Name", "payment_id": "p1", "recorded": true}), 404, "not_found"),
        ("/bookings/settle", json!({"sink": "erp", "payment_id": "p\0", "recorded": true}), 404, "not_found"),
    ] {
        let (answered, problem) = post_as(&relay, "the-token-of-the-operator", path, &body).await;
        assert_eq!((answered, &problem["code"]), (status, &json!(code)), "{path} {body}: {problem}");
    }
    assert_eq!(relay.try_get("/events/replay").await.0, 405);
    assert_eq!(target.arrivals().len(), 1);
    assert_eq!(relay.all("/dispatches").await.len(), 1);
    assert!(actions(&relay).await.iter().all(|action| action.starts_with("secret")), "nothing was done");
}

/// Runs a command to its end; answers its exit code, its output and its errors.
async fn run(home: &Home, admin: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = home.command();
    command.args(arguments).args(["--admin-url", admin]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_from_a_terminal() {
    let home = Home::new(Backend::Sqlite).await;
    let target = Target::scripted(|_, _| Reply::Status(400, vec![])).await;
    let config = format!(
        "{}secret = \"whsec_dGhlIHNlY3JldCBvZiB0aGUgc2luayBpbiB0ZXN0cw==\"\n\
         headers = {{ \"x-key\" = \"the-key-of-the-sink\" }}\n\
         filter = \"data.amountCents > 50\"\n[[sinks]]\nname = \"file\"\ntype = \"file\"\npath = \"out.jsonl\"\n",
        sink("erp", &target).replace("/hooks", "/hooks/the-path-of-the-hook")
    );
    let relay = home.serve(&config).await;
    let admin = format!("http://{}", relay.admin);
    let finkare = Finkare::of(&relay);
    let body = b"{\"event\":\"payment.received\",\"data\":{\"invoiceId\":\"i1\",\"amountCents\":100,\"x\":1.50}}";
    let id = finkare.deliver(body).await.id();
    let small = finkare.deliver(&payment("i2", 5)).await.id();
    relay.drained().await;
    std::fs::write(home.path("event.json"), body).unwrap();
    for (arguments, code, words) in [
        (&["sinks", "test", "erp"][..], 1, vec!["was rejected", "400"]),
        (&["dispatches", "retry", "1"], 0, vec!["dispatch 1 to erp: "]),
        (&["sinks", "test", "file"], 0, vec!["was delivered"]),
        (&["events", "replay", &id, "--sink", "file"], 0, vec!["to file: ", "(replay)"]),
        (&["events", "replay", "--type", "ping"], 0, vec!["0 events were replayed"]),
        (
            &["events", "replay", "--all", "--dry-run"],
            0,
            vec!["2 events would be replayed with 3 dispatches; nothing was written"],
        ),
        (&["events", "replay", "--invoice-id", "i2", "--json"], 0, vec!["\"dispatches\":1"]),
        (&["try", "--sink", "erp", "--event", &id], 0, vec!["decision  yes", "POST http://127.0.0.1:", "\"x\":1.50"]),
        (&["try", "--sink", "erp", "--event", &id], 0, vec!["webhook-signature: v1,", "x-key: [redacted]", &id]),
        (&["try", "--sink", "erp", "--event", &small], 0, vec!["decision  no", "`filter`"]),
        (&["try", "--sink", "file", "--event", "event.json"], 0, vec!["decision  yes", "{\"id\":\"", "\"x\":1.50"]),
        (&["try", "--sink", "erp", "--since", "2020-01-01T00:00:00Z"], 0, vec!["WOULD GET IT", "1 of 2 events"]),
        (&["try", "--sink", "erp", "--event", &id, "--json"], 0, vec!["\"taken\":true", "\"method\":\"POST\""]),
    ] {
        let (answered, stdout, stderr) = run(&home, &admin, arguments).await;
        assert_eq!(answered, code, "{arguments:?}: {stdout}{stderr}");
        for word in words {
            assert!(stdout.contains(word), "{arguments:?} without {word}:\n{stdout}");
        }
        for secret in ["the-key-of-the-sink", "dGhlIHNlY3JldCBvZiB0aGUgc2luayBpbiB0ZXN0cw==", "the-path-of-the-hook"] {
            assert!(!stdout.contains(secret) && !stderr.contains(secret), "{arguments:?}: {stdout}{stderr}");
        }
        relay.drained().await;
    }
    for (arguments, words) in [
        (&["dispatches", "retry", "--sink", "erp", "--state", "dead", "--yes"][..], "1 dispatch is being retried."),
        (&["dispatches", "cancel", "--state", "dead", "--yes"], "1 dispatch was cancelled."),
        (
            &["erase", "--invoice", "i1", "--yes"],
            "The payloads of 1 of 1 events were removed, 0 dispatches were cancelled, 0 payments lost the debtor's name.",
        ),
    ] {
        let (code, stdout, stderr) = run(&home, &admin, arguments).await;
        assert!(code == 0 && stdout.trim() == words, "{arguments:?}: {stdout}{stderr}");
        relay.drained().await;
    }
    for (arguments, code, words) in [
        (&["erase", "--invoice", "i2"][..], 2, "add --yes"),
        (&["erase", "--invoice", "nothing", "--yes"], 1, "There is no event of this invoice."),
        (&["events", "replay"], 2, "--all for all of them"),
        (&["events", "replay", &small, "--all"], 2, "cannot be used with"),
        (&["dispatches", "retry"], 2, "required"),
        (&["try", "--sink", "nobody", "--event", "event.json"], 1, "there is erp, file"),
        (&["try", "--sink", "erp", "--event", "nothing.json"], 1, "nothing.json"),
        (&["try", "--sink", "erp", "--event", &id], 1, "purged or erased"),
    ] {
        let (answered, stdout, stderr) = run(&home, &admin, arguments).await;
        assert!(answered == code && stderr.contains(words), "{arguments:?}: {answered} {stdout}{stderr}");
    }

    // From the configuration alone: the service is not running.
    drop(relay);
    let (code, stdout, stderr) = run(&home, &admin, &["try", "--sink", "erp", "--event", "event.json"]).await;
    assert!(code == 0 && stdout.contains("x-relay-endpoint: production"), "{stdout}{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_looks_again_and_survives_a_restart() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("").await;
    let mut command = home.command();
    command.args(["sinks", "list", "--watch", "--json", "--admin-url", &format!("http://{}", relay.admin)]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut watching = command.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watching.stdout.take().unwrap()));
    let mut errors = std::io::BufRead::lines(std::io::BufReader::new(watching.stderr.take().unwrap()));
    let (watching, first, second, complaint) = tokio::task::spawn_blocking(move || {
        let first = lines.next().unwrap().unwrap();
        let second = lines.next().unwrap().unwrap();
        drop(relay);
        let complaint = errors.next().unwrap().unwrap();
        watching.kill().unwrap();
        (watching, first, second, complaint)
    })
    .await
    .unwrap();
    let mut watching = watching;
    watching.wait().unwrap();
    for line in [first, second] {
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["data"][0]["name"], "stdout", "no screen is cleared where there is none");
    }
    assert!(complaint.starts_with("error: "), "{complaint}");
}
