//! `pay`: makes a payment in the simulated Finkare, which announces it to the relay.

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{
    Failure, client,
    output::{Output, cell},
};
use crate::model::money::Cents;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  finkare-relay pay\n  finkare-relay pay --amount 1500.00\n  finkare-relay pay --amount 99 --number F-2026-001 --count 3"
)]
pub(super) struct Options {
    /// The amount: 1500, 1500.00 or `1 500,00` [default: one that the simulator makes up]
    #[arg(long, value_parser = amount)]
    amount: Option<Cents>,
    /// Pay a new invoice with this number [default: a new one with a number that the simulator makes up]
    #[arg(long, value_name = "NUMBER", conflicts_with = "invoice_id")]
    number: Option<String>,
    /// Pay this invoice, by its id in the simulator
    #[arg(long, value_name = "ID")]
    invoice_id: Option<String>,
    /// How it is paid: `card`, `bank_transfer`, `sepa_debit` or `payment_link`
    #[arg(long)]
    method: Option<String>,
    /// How many payments to make
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// The address of the simulator (`finkare-relay simulate`)
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8090", value_parser = client::address)]
    to: String,
}

fn amount(text: &str) -> Result<Cents, String> {
    let cents = Cents::typed(text).or_else(|| Cents::parse(text).ok()).filter(|cents| cents.0 > 0);
    cents.ok_or_else(|| "write an amount above zero, like 1500, 1500.00 or `1 500,00`".to_owned())
}

/// `pay`
pub(super) async fn run(options: Options, output: Output) -> Result<bool, Failure> {
    let http = client::http()?;
    let base = options.to.trim_end_matches('/');
    let post = async |path: &str, body: Value| -> anyhow::Result<Value> {
        let sent = http.post(format!("{base}/_simulator{path}")).json(&body).send().await;
        let answer = sent.map_err(|error| {
            anyhow::anyhow!(
                "nothing answers at {base} ({}): run `finkare-relay simulate`, or give its address with --to",
                client::why_not(&error)
            )
        })?;
        let status = answer.status();
        let text = answer.text().await.context("the simulator's answer was incomplete")?;
        if !status.is_success() {
            bail!("the simulator at {base} answered {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{base} does not answer like a simulator"))
    };
    for _ in 0..options.count {
        let mut invoice = options.invoice_id.clone();
        if let Some(number) = &options.number {
            let made = post("/invoices", json!({"invoiceNumber": number, "amountCents": options.amount})).await?;
            invoice = made["id"].as_str().map(str::to_owned);
        }
        let mut body = serde_json::Map::new();
        body.extend(invoice.map(|id| ("invoiceId".to_owned(), id.into())));
        body.extend(options.amount.map(|amount| ("amountCents".to_owned(), amount.0.into())));
        body.extend(options.method.clone().map(|method| ("method".to_owned(), method.into())));
        let paid = post("/payments", body.into()).await?;
        let cents = paid["amountCents"].as_i64().map(|cents| Cents(cents).of("EUR")).unwrap_or_default();
        let text = format!(
            "Paid {cents} of invoice {} (payment {}). The simulator announces it; see: finkare-relay events list",
            cell(&paid["invoiceId"]),
            cell(&paid["id"])
        );
        output.say(&paid, &text)?;
    }
    Ok(true)
}
