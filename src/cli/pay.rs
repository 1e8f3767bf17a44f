//! `pay`: makes payments in the local Finkare of `simulate`, which announces them as Finkare does.
//!
//! It calls the simulator's own controls, which the real Finkare does not have: no payment can be made there by mistake.

use std::fmt::{self, Write as _};

use anyhow::{Context, anyhow};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{
    Failure, client,
    output::{Output, counted, plain, print},
};
use crate::model::money::Cents;

/// Where `simulate` listens unless it is told otherwise.
const SIMULATOR: &str = "http://127.0.0.1:8090";

const EXAMPLES: &str = "Examples:
  finkare-relay pay                                      a new invoice of a made-up amount, paid as a whole
  finkare-relay pay --amount 1500.00                     a new invoice of 1500.00 EUR, paid as a whole
  finkare-relay pay --invoice F-000001 --amount '50,00'  50.00 EUR on an invoice that there is
  finkare-relay pay --count 20                           twenty payments
  finkare-relay pay --to http://127.0.0.1:9090           a simulator at another address

Look at what became of it:  finkare-relay events list";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    /// How much is paid, in euros, such as `1500`, `1500.00` or `1 500,00` [default: the whole invoice]
    #[arg(long, value_name = "AMOUNT", value_parser = amount, conflicts_with = "amount_cents")]
    amount: Option<Cents>,
    /// The same in cents
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=99_999_999_999))]
    amount_cents: Option<i64>,
    /// The number of the invoice that is paid; one that is not known is made [default: a new invoice for each payment]
    #[arg(long, value_name = "NUMBER")]
    invoice: Option<String>,
    /// How it is paid
    #[arg(long, value_parser = ["card", "bank_transfer", "sepa_debit", "payment_link"], default_value = "sepa_debit")]
    method: String,
    /// How many payments to make, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Where the simulator is
    #[arg(long, value_name = "URL", value_parser = client::address, default_value = SIMULATOR)]
    to: String,
}

fn amount(text: &str) -> Result<Cents, String> {
    match Cents::typed(text) {
        Some(cents) if cents > Cents(0) => Ok(cents),
        _ => {
            Err("write an amount above 0 with two decimals or none, such as `1500`, `1500.00` or `1 500,00`".to_owned())
        }
    }
}

/// A payment as the simulator tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payment {
    id: String,
    invoice_id: String,
    invoice_number: String,
    amount_cents: i64,
    currency: String,
    method: String,
    /// How many webhooks it is announced to.
    webhooks: u64,
}

impl fmt::Display for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, invoice_number, amount_cents, currency, method, webhooks, .. } = self;
        let amount = Cents(*amount_cents).of(&plain(currency));
        let told = match webhooks {
            0 => "announced to nobody".to_owned(),
            webhooks => format!("announced to {}", counted(*webhooks, "webhook", "webhooks")),
        };
        write!(f, "payment {} of {amount} by {}, invoice {}: {told}", plain(id), plain(method), plain(invoice_number))
    }
}

/// Makes the payments. Each is told as soon as it is made, so that an interruption hides none.
pub(super) async fn run(options: Options, output: Output) -> Result<bool, Failure> {
    let http = client::http()?;
    let url = format!("{}/_simulator/payments", options.to.trim_end_matches('/'));
    let cents = options.amount_cents.or(options.amount.map(|Cents(cents)| cents));
    let mut body = json!({"method": options.method});
    if let Some(cents) = cents {
        body["amountCents"] = cents.into();
    }
    if let Some(number) = &options.invoice {
        body["invoiceNumber"] = number.as_str().into();
    }
    let mut payments = Vec::new();
    for _ in 0..options.count {
        let payment = pay(&http, &url, &options.to, &body).await.map_err(|error| match payments.len() {
            0 => error,
            made => {
                let made = counted(u64::try_from(made).unwrap_or(u64::MAX), "payment was", "payments were");
                error.context(format!("{made} made, and then it failed"))
            }
        })?;
        if !output.json {
            print(&payment.to_string())?;
        }
        payments.push(payment);
    }
    if output.json {
        let shown: Vec<_> = payments
            .iter()
            .map(|payment| {
                json!({
                    "id": payment.id, "invoice_id": payment.invoice_id, "invoice_number": payment.invoice_number,
                    "amount_cents": payment.amount_cents, "currency": payment.currency, "method": payment.method,
                    "webhooks": payment.webhooks,
                })
            })
            .collect();
        output.say(&json!({"payments": shown}), "")?;
        return Ok(true);
    }
    output.say_besides(&what_next(&payments));
    Ok(true)
}

/// What to look at after these payments.
fn what_next(payments: &[Payment]) -> String {
    if payments.iter().all(|payment| payment.webhooks == 0) {
        return "No webhook is registered there for `payment.received`. Register the relay's first:\n  \
                finkare-relay register --url https://hooks.example.fr/webhooks/finkare"
            .to_owned();
    }
    let mut text = "Look at what became of it:\n  finkare-relay events list".to_owned();
    if let [payment] = payments {
        // A `String` takes everything.
        let _ = write!(text, "\n  finkare-relay bookings list --payment-id {}", plain(&payment.id));
    }
    text
}

async fn pay(http: &reqwest::Client, url: &str, base: &str, body: &serde_json::Value) -> anyhow::Result<Payment> {
    let answer = http.post(url).json(body).send().await.map_err(|error| {
        anyhow!(error.without_url()).context(format!(
            "there is no simulated Finkare at {base}: start one with `finkare-relay simulate`, or say with --to where it is"
        ))
    })?;
    let status = answer.status();
    let text = answer.text().await.with_context(|| format!("the answer of {base} broke off"))?;
    if status.is_success()
        && let Ok(payment) = serde_json::from_str(&text)
    {
        return Ok(payment);
    }
    // The simulator says why; another server says something else.
    let why = serde_json::from_str::<serde_json::Value>(&text).ok();
    let why = why.as_ref().and_then(|why| why["error"].as_str()).filter(|_| !status.is_success());
    Err(match why {
        Some(why) => anyhow!("the simulated Finkare at {base} made no payment: {}", plain(why)),
        None => anyhow!(
            "{base} is no simulated Finkare (it answered HTTP {}): say with --to where `finkare-relay simulate` listens",
            status.as_u16()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_without_a_float() {
        for (text, cents) in [("1500", 150_000), ("1500.00", 150_000), ("1 500,00", 150_000), ("0,07", 7)] {
            assert_eq!(amount(text), Ok(Cents(cents)), "{text}");
        }
        for text in ["", "0", "-5", "1500.5", "1.500", "much"] {
            assert!(amount(text).unwrap_err().contains("`1500.00`"), "{text}");
        }
    }
}
