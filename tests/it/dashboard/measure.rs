//! How long each page takes on the server, over a million dispatches to be done and a million done. To be run by hand, with an
//! optimised program, as it takes minutes to lay them:
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

/// The pages.
const PAGES: [&str; 22] = [
    "/ui/",
    "/ui/payments",
    "/ui/payments?state=open",
    "/ui/payments?state=held",
    "/ui/payments?q=1500",
    "/ui/events",
    "/ui/events?q=inv-777",
    "/ui/events?type=payment.received&endpoint=main",
    "/ui/dispatches",
    "/ui/dispatches?state=pending&sink=erp",
    "/ui/dispatches?state=held",
    "/ui/dispatches?state=held&endpoint=main",
    "/ui/dispatches/confirm?action=retry&state=pending&sink=erp",
    "/ui/dispatches/confirm?action=retry&state=held",
    "/ui/sinks",
    "/ui/sinks/erp",
    "/ui/endpoints",
    "/ui/endpoints/main",
    "/ui/reconciliations",
    "/ui/refusals",
    "/ui/audit",
    "/ui/statement?month=2025-01",
];

async fn measure(on: Fixture) {
    let store = on.open().await;
    lay(&on).await;
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
