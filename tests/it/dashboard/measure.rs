//! How long each page takes on the server, over a million dispatches to be done and a million done, 30,000 of the former held and
//! 10,000 dead, with messages as long as Finkare's. To be run by hand, with an optimised program, as it takes minutes to lay
//! them:
//!
//! ```text
//! cargo test --profile bench-fast --test it -- --ignored --nocapture dashboard::measure
//! ```

use std::time::{Duration, Instant};

use finkare_relay::model::id::SinkName;

use super::scene::Person;
use crate::{
    store::{Fixture, measure_lists::lay, on_postgres, on_sqlite},
    support::relay::{Backend, Home, TOKEN},
};

/// What a page may take.
const LONGEST: Duration = Duration::from_millis(50);

/// The pages. What a search looks for is a rare one, and one that is not there.
const PAGES: [&str; 37] = [
    "/ui/",
    "/ui/payments",
    "/ui/payments?state=open",
    "/ui/payments?state=held",
    "/ui/payments?state=held&endpoint=main",
    "/ui/payments?state=dead",
    "/ui/payments?state=done",
    "/ui/payments?q=1500",
    "/ui/payments?q=1234.56",
    "/ui/payments?q=Martin",
    "/ui/events",
    "/ui/events?q=inv-777",
    "/ui/events?q=nowhere",
    "/ui/events?type=payment.received&endpoint=main",
    "/ui/events?endpoint=main&since=2023-11-15&until=2023-11-16",
    "/ui/events/replay?type=payment.received",
    "/ui/events/replay?type=payment.failed&endpoint=main",
    "/ui/dispatches",
    "/ui/dispatches?state=pending&sink=erp",
    "/ui/dispatches?state=pending&reason=nowhere",
    "/ui/dispatches?state=pending&endpoint=main&reason=nowhere",
    "/ui/dispatches?state=held",
    "/ui/dispatches?state=held&endpoint=main",
    "/ui/dispatches?state=held&reason=not%20in%20the%20books",
    "/ui/dispatches/confirm?action=retry&state=pending&sink=erp",
    "/ui/dispatches/confirm?action=retry&state=held",
    "/ui/dispatches/confirm?action=retry&state=held&endpoint=main&reason=not%20in%20the%20books",
    "/ui/dispatches/confirm?action=cancel&state=pending&endpoint=main",
    "/ui/sinks",
    "/ui/sinks/erp",
    "/ui/endpoints",
    "/ui/endpoints/main",
    "/ui/reconciliations",
    "/ui/refusals",
    "/ui/audit",
    "/ui/statement?month=2025-01",
    "/ui/service",
];

/// Messages of a usual length, and what waits for a person.
async fn lay_more(on: &Fixture) {
    let payload = r#"{"event":"payment.received","data":{"invoiceId":"c3d4e5f6-0000-4000-8000-' || X || '","amountCents":' || Y || ',"paymentDate":"2026-10-05T10:30:00.000Z","method":"bank_transfer","reference":"VIR SEPA 2026 10 05 ALMA CONSEIL"},"timestamp":"2026-10-05T10:30:00.000Z"}"#;
    let of = |x: &str, y: &str| payload.replace('X', x).replace('Y', y);
    on.lay(
        &format!("UPDATE events SET payload = CAST('{}' AS BLOB)", of("hex(id)", "received_at / 1000 % 900000 + 1")),
        &format!(
            "UPDATE events SET payload = convert_to('{}', 'UTF8')",
            of("id::text", "received_at / 1000 % 900000 + 1")
        ),
    )
    .await;
    let reason = "'invoice F-' || id || ' is not in the books. The payment of 1500.00 EUR was not booked. Record it there by hand \
                  and cancel this dispatch (`dispatches cancel`), or add the invoice and retry it (`dispatches retry`)'";
    on.execute(&format!(
        "UPDATE queue SET state = 'held', due_at = NULL, last_error = {reason} WHERE id % 33 = 7 AND state = 'pending'"
    ))
    .await;
    on.execute(
        "UPDATE queue SET state = 'dead', due_at = NULL, finished_at = 5, last_error = 'erp answered 422: no such thing'
         WHERE id % 100 = 3 AND state = 'pending'",
    )
    .await;
    on.lay("ANALYZE", "VACUUM ANALYZE").await;
}

async fn measure(on: Fixture) {
    let store = on.open().await;
    lay(&on).await;
    lay_more(&on).await;
    let sinks = ["erp", "mail", "rare", "late"].map(|name| SinkName::new(name).unwrap());
    store.register_sinks(&sinks).await.unwrap();
    for sink in &sinks {
        // Nothing is sent while pages are measured.
        store.pause_sink(sink, "to be measured").await.unwrap();
    }
    let home = Home::new(Backend::Sqlite).await.at(&on.url());
    let sinks = sinks.map(|name| format!("[[sinks]]\nname = \"{name}\"\ntype = \"stdout\"\n")).concat();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[store]\nurl = \"{}\"\n\
         [admin]\ntokens = [{{ name = \"tests\", role = \"admin\", token = \"{TOKEN}\" }}]\n\
         [[endpoints]]\nname = \"main\"\npath = \"/main\"\nsecret = \"whsec_bWFpbg==\"\n{sinks}",
        on.url()
    );
    std::fs::write(home.path("relay.toml"), text).unwrap();
    let relay = home.start().await;
    let person = Person::sign_in(&relay, TOKEN, "fr").await;
    let mut slow = Vec::new();
    for path in PAGES {
        let mut shortest = Duration::MAX;
        let mut size = 0;
        for _ in 0..4 {
            let began = Instant::now();
            size = person.page(path).await.len();
            shortest = shortest.min(began.elapsed());
        }
        println!("| `{path}` | {:.1} ms | {size} bytes |", shortest.as_secs_f64() * 1000.0);
        assert!(size < 100_000, "{path}: {size} bytes");
        if shortest > LONGEST {
            slow.push(path);
        }
    }
    assert!(slow.is_empty(), "these take more than {LONGEST:?}: {slow:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, to be run by hand"]
async fn sqlite() {
    measure(on_sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, to be run by hand"]
async fn postgres() {
    measure(on_postgres().await).await;
}
