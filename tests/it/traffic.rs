//! The numbers of each hour: what was posted to a real service is what `GET /traffic` answers, through a restart, and for a
//! limited token only its own.

use finkare_relay::{
    model::{
        clock,
        traffic::{KEPT, Line, What, hour_of},
    },
    store::traffic::Batch,
};
use serde_json::{Value, json};

use crate::support::{
    eventually,
    finkare::{payment, sign},
    http,
    relay::{Backend, Home, Relay, SECRET, on_both_stores},
    target::{Reply, Target},
};

on_both_stores!(
    every_delivery_and_every_attempt_is_counted_once,
    a_limited_token_sees_its_own_numbers,
    old_numbers_are_deleted_by_the_service,
);

const ACME: &str = "the-token-of-acme-alone";

fn sum(numbers: &Value) -> u64 {
    numbers.as_array().expect("a list").iter().filter_map(Value::as_u64).sum()
}

fn row<'a>(rows: &'a Value, name: &str) -> &'a Value {
    let found = rows.as_array().expect("a list").iter().find(|row| row["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {rows}"))
}

fn received(traffic: &Value, name: &str) -> [u64; 3] {
    let endpoint = row(&traffic["endpoints"], name);
    ["accepted", "duplicates", "refused"].map(|what| sum(&endpoint[what]))
}

fn relayed(traffic: &Value, name: &str) -> [u64; 4] {
    let sink = row(&traffic["sinks"], name);
    ["delivered", "retried", "dead", "held"].map(|what| sum(&sink[what]))
}

async fn post(relay: &Relay, path: &str, signature: &str, body: &[u8]) -> u16 {
    let url = format!("http://{}{path}", relay.public);
    let request = http().post(url).header("x-finkare-signature", signature).body(body.to_vec());
    request.send().await.unwrap().status().as_u16()
}

async fn deliver(relay: &Relay, endpoint: &str, body: &[u8]) {
    assert_eq!(post(relay, &format!("/{endpoint}"), &sign(&format!("whsec_{endpoint}"), body), body).await, 200);
}

/// Every list has a number for each hour.
fn is_whole(traffic: &Value, hours: usize) {
    let times: Vec<_> = traffic["hours"].as_array().unwrap().iter().map(|hour| hour.as_str().unwrap()).collect();
    assert!(times.is_sorted() && times.iter().all(|hour| hour.ends_with(":00:00Z")), "{times:?}");
    assert_eq!(times.len(), hours);
    for row in ["endpoints", "sinks"].iter().flat_map(|kind| traffic[kind].as_array().unwrap()) {
        for numbers in row.as_object().unwrap().values().filter(|value| value.is_array()) {
            assert_eq!(numbers.as_array().unwrap().len(), hours, "{row}");
        }
    }
}

async fn every_delivery_and_every_attempt_is_counted_once(backend: Backend) {
    let target = Target::start().await;
    // The first attempt of each event fails; what is of the invoice `bad` is refused for good.
    target.script(|headers, body| {
        let is_first = headers["x-relay-attempt"] == "1";
        let is_bad = body.windows(5).any(|part| part == b"\"bad\"");
        Reply::Status(
            if is_bad {
                422
            } else if is_first {
                503
            } else {
                200
            },
            vec![],
        )
    });
    let home = Home::new(backend).await;
    let sinks = format!(
        "[[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"{}\"\nretry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }}\n\
         [[sinks]]\nname = \"idle\"\ntype = \"stdout\"\nevents = [\"invoice.created\"]\n",
        target.url()
    );
    home.configure("", &format!("secret = \"{SECRET}\""), &sinks);
    let relay = home.start().await;
    let path = crate::support::relay::PATH;
    for invoice in ["one", "two", "three", "bad"] {
        let body = payment(invoice, 100);
        for expected in [200, 200] {
            assert_eq!(post(&relay, path, &sign(SECRET, &body), &body).await, expected);
        }
    }
    for signature in ["", "00"] {
        assert_eq!(post(&relay, path, signature, b"{}").await, 401);
    }
    // Nobody's: not counted by any name.
    assert_eq!(post(&relay, "/somewhere-else", "00", b"{}").await, 404);
    relay.drained().await;
    let (status, log) = relay.terminate().await;
    assert!(status.success(), "{log}");

    // All of it was written at the end.
    let relay = home.start().await;
    let traffic = relay.get("/traffic").await;
    is_whole(&traffic, 24);
    assert_eq!(received(&traffic, "production"), [4, 4, 2], "{traffic}");
    assert_eq!(relayed(&traffic, "erp"), [3, 3, 1, 0], "{traffic}");
    assert_eq!(relayed(&traffic, "idle"), [0, 0, 0, 0]);
    assert_eq!(traffic["endpoints"].as_array().unwrap().len(), 1, "{traffic}");
    let acks = &traffic["acknowledgement"];
    assert_eq!(sum(&acks["count"]), 8, "{traffic}");
    for (hour, count) in acks["count"].as_array().unwrap().iter().enumerate() {
        let (p50, p99) = (acks["p50_ms"][hour].as_f64(), acks["p99_ms"][hour].as_f64());
        assert_eq!((p50.is_some(), p99.is_some()), (count != 0, count != 0), "{acks}");
        assert!(p50 <= p99, "{acks}");
    }
    // In hours in which the service did not run, nothing is known.
    let backlog = row(&traffic["sinks"], "erp")["backlog"].as_array().unwrap();
    assert!(backlog[0].is_null() && backlog.iter().any(Value::is_u64), "{traffic}");

    // The same, and more, through the next life of the process.
    let body = payment("four", 100);
    assert_eq!(post(&relay, path, &sign(SECRET, &body), &body).await, 200);
    relay.drained().await;
    relay.terminate().await;
    let relay = home.start().await;
    let traffic = relay.get("/traffic?hours=168").await;
    is_whole(&traffic, 168);
    assert_eq!((received(&traffic, "production"), relayed(&traffic, "erp")), ([5, 4, 2], [4, 4, 1, 0]));

    // One endpoint or sink alone; and what is not there.
    let one = relay.get("/traffic?hours=2&sink=erp").await;
    is_whole(&one, 2);
    assert_eq!((one["sinks"].as_array().unwrap().len(), one["endpoints"].as_array().unwrap().len()), (1, 0));
    let one = relay.get("/traffic?endpoint=production").await;
    assert_eq!((one["sinks"].as_array().unwrap().len(), one["endpoints"].as_array().unwrap().len()), (0, 1));
    for (query, status, code) in [
        ("hours=0", 400, "bad_parameter"),
        ("hours=169", 400, "bad_parameter"),
        ("hours=day", 400, "bad_parameter"),
        ("endpoint=nobody", 404, "not_found"),
        ("sink=%00", 404, "not_found"),
        ("sink=erp&endpoint=nobody", 404, "not_found"),
    ] {
        let (answered, problem) = relay.try_get(&format!("/traffic?{query}")).await;
        assert_eq!((answered, &problem["code"]), (status, &json!(code)), "{query}: {problem}");
    }
}

async fn a_limited_token_sees_its_own_numbers(backend: Backend) {
    let target = Target::start().await;
    let home = Home::new(backend).await;
    let endpoint = |name: &str| {
        format!(
            "[[endpoints]]\nname = \"{name}\"\npath = \"/{name}\"\nsecret = \"whsec_{name}\"\n\
             sinks = [{{ name = \"{name}-sink\", type = \"http\", url = \"{}\" }}]\n",
            target.url()
        )
    };
    let sinks =
        format!("{}{}[[sinks]]\nname = \"shared-sink\"\ntype = \"stdout\"\n", endpoint("acme"), endpoint("beta"));
    home.configure("", &format!("secret = \"{SECRET}\""), &sinks);
    std::fs::create_dir_all(home.path("relay.d")).unwrap();
    let token =
        format!("[[admin.tokens]]\nname = \"acme\"\nrole = \"viewer\"\nendpoints = [\"acme\"]\ntoken = \"{ACME}\"\n");
    std::fs::write(home.path("relay.d/tokens.toml"), token).unwrap();
    let relay = home.start().await;
    for (name, count) in [("acme", 2), ("beta", 3)] {
        for number in 0..count {
            deliver(&relay, name, &payment(&format!("{name}-{number}"), 100)).await;
        }
    }
    relay.drained().await;
    relay.terminate().await;
    let relay = home.start().await;
    let everything = relay.get("/traffic?hours=3").await;
    assert_eq!((received(&everything, "acme"), received(&everything, "beta")), ([2, 0, 0], [3, 0, 0]));
    assert_eq!(relayed(&everything, "shared-sink"), [5, 0, 0, 0]);
    assert_eq!(sum(&everything["acknowledgement"]["count"]), 5);

    let ask = async |query: &str| {
        let url = format!("http://{}/api/v1/traffic{query}", relay.admin);
        let answer = http().get(url).bearer_auth(ACME).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, own) = ask("?hours=3").await;
    assert_eq!((status, &own["acknowledgement"]), (200, &Value::Null));
    assert_eq!((received(&own, "acme"), relayed(&own, "acme-sink")), ([2, 0, 0], [2, 0, 0, 0]));
    let names = |rows: &Value| rows.as_array().unwrap().iter().map(|row| row["name"].clone()).collect::<Vec<_>>();
    assert_eq!((names(&own["endpoints"]), names(&own["sinks"])), (vec![json!("acme")], vec![json!("acme-sink")]));
    // As if it were not there.
    for query in ["?endpoint=beta", "?sink=beta-sink", "?sink=shared-sink", "?endpoint=nobody"] {
        assert_eq!(ask(query).await.0, 404, "{query}");
    }
    assert_eq!(ask("?sink=acme-sink&endpoint=acme").await.0, 200);
}

async fn old_numbers_are_deleted_by_the_service(backend: Backend) {
    let home = Home::new(backend).await;
    let relay = home.serve("[[sinks]]\nname = \"erp\"\ntype = \"stdout\"\n").await;
    relay.terminate().await;
    let store = home.store().await;
    let (old, recent) = (hour_of(clock::now()) - KEPT * 2, hour_of(clock::now()) - KEPT / 2);
    let line = |hour| Line { hour, what: What::Accepted, name: "production".into(), count: 7 };
    let batch = Batch { writer: uuid::Uuid::from_u128(1), number: 1, lines: vec![line(old), line(recent)] };
    assert!(store.add_traffic(&batch).await.unwrap());
    assert_eq!(store.traffic(old, recent).await.unwrap().first(), Some(&line(old)));
    let relay = home.start().await;
    eventually("the old numbers are deleted", async || store.traffic(old, old).await.unwrap().is_empty()).await;
    assert_eq!(store.traffic(recent, recent).await.unwrap(), [line(recent)]);
    assert_eq!(received(&relay.get("/traffic?hours=168").await, "production"), [7, 0, 0]);
    store.close().await;
}
