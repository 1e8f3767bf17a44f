//! `simulate`: runs the local Finkare until it is told to stop; with `--books` also the invoicing software in which its
//! payments are booked.

use std::{fmt::Write as _, net::SocketAddr, num::NonZeroU32};

use books_simulator::desk::Desk;
use clap::Args;
use finkare_simulator::{self as simulator, Faults, Simulator, Variants};
use serde_json::json;
use url::Url;

use super::{
    Failure,
    books::{StandIn, System},
    client::reachable,
    output::Output,
    serve::Stop,
};
use crate::{
    options::{Problems, env},
    telemetry,
};

/// The event types of a webhook of `--webhook`: all that Finkare's documentation shows.
const EVENTS: [&str; 5] =
    ["payment.received", "invoice.status_changed", "invoice.created", "invoice.updated", "workflow.action_triggered"];

/// The key that is suggested; the simulator takes any that begins with `fk_test_` or `fk_live_`.
const SUGGESTED_KEY: &str = "fk_test_simulator";

const EXAMPLES: &str = "Examples:
  finkare-relay simulate --deliver-to http://127.0.0.1:8080
  finkare-relay simulate --deliver-to http://127.0.0.1:8080 --books facturation_pro
  finkare-relay simulate --deliver-to http://127.0.0.1:8080 --fault repeats=2 --rate 5
  finkare-relay pay --amount 1500.00                     in another terminal";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Send all deliveries to this server (scheme, host, port), whatever host the webhook's HTTPS URL names
    #[arg(long, value_name = "URL")]
    deliver_to: Option<Url>,
    /// How many payments to make per second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: Option<u32>,
    /// Create a webhook for this HTTPS URL at the start, and print its id and its made-up secret (may be repeated)
    #[arg(long, value_name = "URL")]
    webhook: Vec<String>,
    /// Let something go wrong, such as `repeats=2` (may be repeated; a wrong name lists them all)
    #[arg(long, value_name = "NAME=VALUE", value_parser = fault)]
    fault: Vec<(String, String)>,
    /// Choose another reading of what Finkare does not document, such as `secret_encoding=base64` (may be repeated)
    #[arg(long, value_name = "NAME=VALUE", value_parser = variant)]
    variant: Vec<(String, String)>,
    /// Make up the same ids, secrets and amounts again
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Also play invoicing software with the same invoices, in which the relay can book, and print the sink for it
    #[arg(long, value_name = "SYSTEM")]
    books: Option<System>,
    /// Where the books listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8091", requires = "books")]
    books_listen: SocketAddr,
    /// Let something go wrong at the books, such as `lost_answers=2`: the next two (may be repeated; a wrong name lists them all)
    #[arg(long, value_name = "NAME=VALUE", value_parser = books_fault, requires = "books")]
    books_fault: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

fn fault(text: &str) -> Result<(String, String), String> {
    let (name, value) = pair(text)?;
    Faults::default().set(&name, &value).map_err(|error| error.to_string())?;
    Ok((name, value))
}

fn variant(text: &str) -> Result<(String, String), String> {
    let (name, value) = pair(text)?;
    Variants::default().set(&name, &value).map_err(|error| error.to_string())?;
    Ok((name, value))
}

fn books_fault(text: &str) -> Result<(String, String), String> {
    let (name, value) = pair(text)?;
    Desk::default().set(&name, &value).map_err(|error| error.to_string())?;
    Ok((name, value))
}

/// Runs until SIGTERM or SIGINT; false if a part of it failed instead.
pub(super) async fn run(options: Options, output: Output) -> Result<bool, Failure> {
    let variable = |name| env::read(name, &env::of_process);
    let (format, filter) = (variable("RELAY_LOG_FORMAT")?, variable("RUST_LOG")?);
    let _logging = telemetry::init(format.as_deref(), filter.as_deref()).map_err(Problems::of_variables)?;
    // Before anything that takes long, so that a signal during the start is not lost.
    let mut stop = Stop::new()?;

    let (mut faults, mut variants) = (Faults::default(), Variants::default());
    for (name, value) in &options.fault {
        faults.set(name, value).map_err(anyhow::Error::new)?;
    }
    for (name, value) in &options.variant {
        variants.set(name, value).map_err(anyhow::Error::new)?;
    }
    let books = match options.books {
        Some(system) => Some(StandIn::open(system, options.books_listen).await?),
        None => None,
    };
    for (name, value) in &options.books_fault {
        if let Some(StandIn { books, .. }) = &books {
            books.desk().set(name, value).map_err(anyhow::Error::new)?;
        }
    }
    let usual = simulator::Options::default();
    let simulator = Simulator::start(simulator::Options {
        listen: options.listen,
        deliver_to: options.deliver_to,
        rate: options.rate.and_then(NonZeroU32::new),
        faults,
        variants,
        seed: options.seed.unwrap_or(usual.seed),
        on_invoice: books.as_ref().map(StandIn::with_each_invoice),
        ..usual
    })
    .await
    .map_err(anyhow::Error::new)?;
    let mut webhooks = Vec::new();
    for url in &options.webhook {
        let (id, secret) = simulator.create_webhook(url, &EVENTS).map_err(anyhow::Error::new)?;
        webhooks.push((url, id, secret));
    }

    let base = format!("http://{}", reachable(simulator.address()));
    let curl = format!("curl -s {base}/_simulator/payments -H 'content-type: application/json' -d '{{}}'");
    let mut text = format!(
        "simulated Finkare listens on {}\n\nfor the relay:\n  FINKARE_API_URL={base}\n  FINKARE_API_KEY={SUGGESTED_KEY}\n",
        simulator.address()
    );
    for (url, id, secret) in &webhooks {
        // A `String` takes everything.
        let _ = writeln!(text, "for the webhook {url}:");
        let _ = writeln!(text, "  FINKARE_WEBHOOK_ID={id}\n  FINKARE_WEBHOOK_SECRET={}", secret.expose());
    }
    if let Some(books) = &books {
        let url = books.books.url();
        let _ = writeln!(text, "\nbooks with the same invoices, at {url} (open it to see what is booked).");
        let _ = writeln!(text, "For relay.toml:\n\n{}", books.sink().trim_end());
    }
    let _ = writeln!(text, "\nmake a payment:\n  finkare-relay pay --to {base}");
    let json = json!({
        "address": simulator.address(), "api_url": simulator.api_url(), "api_key": SUGGESTED_KEY, "payment": curl,
        "webhooks": webhooks.iter().map(|(url, id, secret)| json!({
            "url": url, "id": id, "secret": secret.expose(),
        })).collect::<Vec<_>>(),
        "books": books.as_ref().map(|books| json!({"url": books.books.url(), "sink": books.sink()})),
    });
    output.say(&json, &text)?;

    let stopped = simulator.stopped();
    let asked = tokio::select! {
        () = stop.asked() => true,
        () = stopped.cancelled() => false,
    };
    let counters = simulator.counters();
    simulator.stop().await;
    tracing::info!(
        deliveries = counters.deliveries,
        acknowledged = counters.acknowledged,
        failed = counters.failed,
        api_calls = counters.api_calls,
        "stopped"
    );
    Ok(asked)
}
