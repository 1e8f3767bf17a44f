//! The admin API: who may use it, what it shows, and that its lists are complete.

use std::collections::HashSet;

use finkare_relay::{
    model::{
        booking::{BookingState, BookingToken, NewBooking},
        id::{EventId, SinkName},
        money::Cents,
    },
    store::ledger::{Advance, BookingBegun},
};
use serde_json::{Value, json};

use crate::support::{
    eventually,
    finkare::{Finkare, payment},
    http,
    relay::{Backend, Home, Relay, TOKEN, on_both_stores},
};

const FILE: &str = "[[sinks]]\nname = \"file\"\ntype = \"file\"\npath = \"out.jsonl\"\nevents = \"*\"\n";

on_both_stores!(
    lists_are_whole_and_filtered,
    bookings_are_listed_by_route_and_command,
    what_does_not_exist_or_cannot_be_meant,
    health_and_metrics,
);

async fn ask(relay: &Relay, path: &str, authorization: Option<&str>) -> (u16, Value) {
    let mut request = http().get(format!("http://{}{path}", relay.admin));
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_token_opens_it() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve(FILE).await;
    for path in ["/api/v1/events", "/api/v1/sinks", "/api/v1/nothing"] {
        for wrong in [
            None,
            Some(""),
            Some("Bearer"),
            Some("Bearer "),
            Some("Bearer wrong"),
            Some("Basic dGVzdHM6eA=="),
            Some(TOKEN),
            Some(&*format!("Bearer {TOKEN}x")),
            Some(&*format!("Bearer {}", &TOKEN[..TOKEN.len() - 1])),
        ] {
            let (status, problem) = ask(&relay, path, wrong).await;
            assert_eq!((status, &problem["code"]), (401, &json!("unauthorized")), "{path} with {wrong:?}");
        }
        assert_ne!(ask(&relay, path, Some(&format!("bearer {TOKEN}"))).await.0, 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_may_look_and_not_touch() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve(FILE).await;
    drop(relay);
    let config = std::fs::read_to_string(home.path("relay.toml")).unwrap();
    let config = config.replace("role = \"admin\"", "role = \"viewer\"");
    std::fs::write(home.path("relay.toml"), config).unwrap();
    let mut command = home.command();
    command.arg("serve");
    let relay = Relay::start(command).await;
    assert_eq!(relay.try_get("/sinks").await.0, 200);
    let response =
        http().post(format!("http://{}/api/v1/sinks/file/pause", relay.admin)).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(response.json::<Value>().await.unwrap()["code"], "role_too_low");
    assert_eq!(relay.sink("file").await["state"], "active");
}

async fn lists_are_whole_and_filtered(backend: Backend) {
    let home = Home::new(backend).await;
    let relay = home.serve(FILE).await;
    let finkare = Finkare::of(&relay);
    let mut ids = Vec::new();
    for number in 0..25 {
        ids.push(finkare.deliver(&payment(&format!("i{}", number % 5), number)).await.id());
    }
    let unreadable = finkare.deliver(b"unreadable").await.id();
    relay.drained().await;

    for path in ["/events", "/dispatches"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = relay.get(&format!("{path}?limit=7{cursor}")).await;
            let rows = page["data"].as_array().unwrap().clone();
            assert!(rows.len() <= 7);
            seen.extend(rows.iter().map(|row| row["id"].to_string()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), 26, "{path}");
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 26, "{path}: none twice");
    }
    let newest = relay.get("/events?limit=1").await;
    assert_eq!(newest["data"][0]["id"], unreadable.as_str(), "newest first");
    let count = async |query: &str| relay.all(query).await.len();
    assert_eq!(count("/events?invoice_id=i3").await, 5);
    assert_eq!(count("/events?type=payment.received").await, 25);
    assert_eq!(count("/events?type=unreadable").await, 1);
    assert_eq!(count("/events?endpoint=production").await, 26);
    assert_eq!(count("/events?endpoint=other").await, 0);
    assert_eq!(count("/events?q=unread").await, 1);
    assert_eq!(count("/dispatches?state=delivered&sink=file").await, 26);
    assert_eq!(count("/dispatches?state=dead").await, 0);
    assert_eq!(count("/dispatches?invoice_id=i3").await, 5);
    assert_eq!(count(&format!("/dispatches?event_id={unreadable}")).await, 1);
    let tenth = relay.get(&format!("/events/{}", ids[10])).await;
    let received = tenth["received_at"].as_str().unwrap();
    let (since, until) =
        (count(&format!("/events?since={received}")).await, count(&format!("/events?until={received}")).await);
    assert_eq!((since, until), (16, 10), "`since` includes, `until` does not");
}

async fn bookings_are_listed_by_route_and_command(backend: Backend) {
    let home = Home::new(backend).await;
    let relay = home.serve(FILE).await;
    assert_eq!(relay.get("/bookings").await, json!({"data": [], "next_cursor": null}));
    let store = home.store().await;
    let mut tokens = Vec::new();
    for number in 0..9 {
        let new = NewBooking {
            sink: SinkName::new(if number % 3 == 0 { "onfact" } else { "compta" }).unwrap(),
            payment_id: format!("p{number}"),
            event_id: EventId::generate(),
            invoice_id: format!("i{}", number % 2),
            invoice_number: format!("F{}", number % 2),
            amount_cents: Cents(150_000 + number),
            currency: "EUR".to_owned(),
            token: BookingToken::generate(),
        };
        assert_eq!(store.begin_booking(&new, None).await.unwrap(), BookingBegun::Begun);
        let state = if number == 8 { BookingState::Written } else { BookingState::Booked };
        let (target_id, note) =
            (Some(format!("there-{number}")), (number == 8).then(|| "not read back yet".to_owned()));
        let advance = Advance { state, target_id, note };
        assert_eq!(store.advance_booking(&new.sink, &new.payment_id, new.token, &advance).await.unwrap(), None);
        tokens.push((new.token, new.event_id));
    }
    let stored = store.booking(&SinkName::new("compta").unwrap(), "p8").await.unwrap().unwrap();
    store.close().await;

    let row = relay.get("/bookings?limit=1").await["data"][0].clone();
    let expected = json!({
        "sink": "compta", "payment_id": "p8", "event_id": tokens[8].1.to_string(), "invoice_id": "i0",
        "invoice_number": "F0", "amount_cents": 150_008, "currency": "EUR", "state": "written",
        "debtor": null, "method": null, "paid_at": null,
        "target_id": "there-8", "note": "not read back yet", "began_at": stored.began_at, "changed_at": stored.changed_at,
    });
    assert_eq!(row, expected);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = relay.get(&format!("/bookings?limit=4{cursor}")).await;
        let rows = page["data"].as_array().unwrap();
        assert!(rows.len() <= 4);
        seen.extend(rows.iter().map(|row| row["payment_id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["p8", "p7", "p6", "p5", "p4", "p3", "p2", "p1", "p0"], "newest first, each once");
    let count = async |query: &str| relay.all(query).await.len();
    assert_eq!(count("/bookings?sink=onfact").await, 3);
    assert_eq!(count("/bookings?state=booked").await, 8);
    assert_eq!(count("/bookings?state=sending").await, 0);
    assert_eq!(count("/bookings?payment_id=p4").await, 1);
    assert_eq!(count("/bookings?invoice_id=i1").await, 4);
    assert_eq!(count("/bookings?invoice_number=F0&sink=onfact").await, 2);
    assert_eq!(count("/bookings?payment_id=p%00").await, 0);

    let list = async |arguments: &[&str]| {
        let mut command = home.command();
        command.args(["bookings", "list", "--admin-url", &format!("http://{}", relay.admin)]).args(arguments);
        command.env("RELAY_ADMIN_TOKEN", TOKEN);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert!(output.status.success(), "{}", text(output.stderr));
        (text(output.stdout), text(output.stderr))
    };
    let (table, _) = list(&["--payment-id", "p8"]).await;
    for word in ["p8", "compta", "written", "F0", " 1500.08 EUR ", "there-8", "not read back yet"] {
        assert!(table.contains(word), "{word} is not in\n{table}");
    }
    let all = ["--sink", "compta", "--state", "booked", "--invoice-id", "i1", "--invoice-number", "F1", "--json"];
    let answer: Value = serde_json::from_str(&list(&all).await.0).unwrap();
    let found: Vec<_> = answer["data"].as_array().unwrap().iter().map(|row| row["payment_id"].clone()).collect();
    assert_eq!(found, [json!("p7"), json!("p5"), json!("p1")]);
    let (table, more) = list(&["--limit", "2"]).await;
    assert!(table.lines().count() == 3 && more.contains("--cursor"), "{table}{more}");
    // The owner of a token could continue the booking.
    let said = relay.get("/bookings").await.to_string() + &table + &relay.log();
    for (token, _) in tokens {
        assert!(!said.contains(&token.0.to_string()));
    }
}

async fn what_does_not_exist_or_cannot_be_meant(backend: Backend) {
    let home = Home::new(backend).await;
    let relay = home.serve(FILE).await;
    for path in [
        "/events/0197f5a0-0000-7000-8000-000000000000",
        "/events/nonsense",
        "/dispatches/4711",
        "/dispatches/-1",
        "/dispatches/99999999999999999999999",
        "/dispatches/x",
        "/nothing",
    ] {
        assert_eq!(relay.try_get(path).await.0, 404, "{path}");
    }
    for path in [
        "/events?limit=0",
        "/events?limit=501",
        "/events?limit=x",
        "/events?since=yesterday",
        "/events?cursor=x",
        "/events?colour=red",
        "/dispatches?state=lost",
        "/dispatches?cursor=x",
        "/dispatches?event_id=x",
        "/bookings?limit=0",
        "/bookings?state=lost",
        "/bookings?cursor=x",
        "/bookings?colour=red",
    ] {
        let (status, problem) = relay.try_get(path).await;
        assert_eq!((status, &problem["code"]), (400, &json!("bad_parameter")), "{path}");
        let name = path.split(['?', '=']).nth(1).unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(name), "it names the parameter: {problem}");
    }
    let response = http().post(format!("http://{}/api/v1/sinks/nobody/pause", relay.admin)).bearer_auth(TOKEN);
    assert_eq!(response.send().await.unwrap().status(), 404);
    let response =
        http().delete(format!("http://{}/api/v1/events", relay.admin)).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"GET, HEAD".parse().unwrap()));
}

async fn health_and_metrics(backend: Backend) {
    let home = Home::new(backend).await;
    let relay = home.serve(FILE).await;
    let finkare = Finkare::of(&relay);
    let body = payment("i", 1);
    finkare.deliver(&body).await;
    finkare.deliver(&body).await;
    finkare.post(body, Some("00")).await;
    relay.drained().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask(&relay, path, None).await.0, 200, "{path}");
    }
    let scrape =
        async || http().get(format!("http://{}/metrics", relay.admin)).send().await.unwrap().text().await.unwrap();
    // A scrape may get states of the sinks that are a second old.
    eventually("the metrics show what was delivered", async || {
        scrape().await.contains(r#"relay_dispatches{sink="file",state="delivered"} 1"#)
    })
    .await;
    let text = scrape().await;
    for line in [
        r#"relay_deliveries_total{endpoint="production",result="accepted"} 1"#,
        r#"relay_deliveries_total{endpoint="production",result="duplicate"} 1"#,
        r#"relay_deliveries_total{endpoint="production",result="bad_signature"} 1"#,
        r#"relay_ack_seconds_count{endpoint="production"} 2"#,
        r#"relay_dispatches{sink="file",state="delivered"} 1"#,
        r#"relay_dispatches{sink="file",state="pending"} 0"#,
        r#"relay_attempts_total{sink="file",outcome="delivered"} 1"#,
        r#"relay_sink_state{sink="file",state="active"} 1"#,
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}
