//! `erase`: permanently removes the payloads of one invoice.

use clap::Args;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::{
    Failure,
    admin::{Rows, Service, path_segment, read},
    client::Client,
    confirm::{Sure, ask},
    output::{Output, complain, counted, plain},
};
use crate::{config::Config, model::dispatch::State, web::admin::invoices::ErasedRow};

/// Which invoice to erase.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The invoice's id at Finkare (`data.invoiceId`)
    #[arg(long, value_name = "ID")]
    invoice: String,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    service: Service,
}

/// `erase`
pub(super) async fn run(config: Config, options: Options, output: Output) -> Result<bool, Failure> {
    let Options { invoice, sure, service } = options;
    let wants_preview = sure.wants_preview("Erasing cannot be undone")?;
    let client = Client::new(config, service.url())?;
    if wants_preview {
        let events = count(&client, "/events", &invoice, None).await?;
        let mut open = 0;
        for state in [State::Pending, State::Leased, State::Held, State::Dead] {
            open += count(&client, "/dispatches", &invoice, Some(state)).await?;
        }
        // The ledger keeps the name of a payment's debtor for longer than the event.
        if events == 0 && count(&client, "/bookings", &invoice, None).await? == 0 {
            return Err(anyhow::anyhow!("There is no event and no booking of this invoice.").into());
        }
        let text = format!(
            "The payloads of {} of invoice {} and the debtor's name would be removed permanently, and {} that {} not delivered would be cancelled",
            counted(events, "event", "events"),
            plain(&invoice),
            counted(open, "dispatch", "dispatches"),
            if open == 1 { "is" } else { "are" },
        );
        if sure.dry_run {
            let answer = json!({"events": events, "cancelled": open, "dry_run": true});
            output.say(&answer, &format!("{text}; nothing was changed."))?;
            return Ok(true);
        }
        if !ask(&format!("{text}.\nErase the invoice?"))? {
            complain("Nothing was erased.");
            return Ok(false);
        }
    }
    let path = format!("/invoices/{}/erase", path_segment(&invoice));
    let answer = client.decide(&path, &Value::Object(Map::new())).await?;
    let ErasedRow { events, payloads, cancelled, names } = read(&answer)?;
    let text = format!(
        "The payloads of {payloads} of {events} events were removed, {cancelled} dispatches were cancelled, {names} payments \
         lost the debtor's name."
    );
    output.say(&answer, &text)?;
    Ok(true)
}

/// Counts the rows of a list for an invoice, page by page.
async fn count(client: &Client, path: &str, invoice: &str, state: Option<State>) -> anyhow::Result<u64> {
    let mut query = vec![("invoice_id", invoice.to_owned()), ("limit", "500".to_owned())];
    query.extend(state.map(|state| ("state", state.as_str().to_owned())));
    let mut counted = 0;
    loop {
        let page: Rows<IgnoredAny> = read(&client.get(path, &query).await?)?;
        counted += page.data.len() as u64;
        let Some(cursor) = page.next_cursor else { return Ok(counted) };
        query.retain(|(name, _)| *name != "cursor");
        query.push(("cursor", cursor));
    }
}
