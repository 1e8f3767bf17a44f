//! `bookings`: what was written of payments in invoicing software, and what a person has found there.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failure,
    client::Client,
    confirm::{Sure, ask},
    manage::{Paging, Service, Watch, list, query},
    output::{Output, cell, complain, time},
};
use crate::{
    config::Config,
    model::{
        booking::{BookingState, UnknownBookingState},
        money::Cents,
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Bookings {
    /// List what was written of payments where, newest first
    List {
        /// Only in this sink
        #[arg(long)]
        sink: Option<String>,
        /// Only in this state: reserved (being looked at), sending (may have been written), written (not read back yet),
        /// booked, seen (paid there, we wrote nothing)
        #[arg(long, value_parser = state)]
        state: Option<BookingState>,
        /// Only of this payment, by Finkare's id
        #[arg(long)]
        payment_id: Option<String>,
        /// Only of this invoice, by Finkare's id
        #[arg(long)]
        invoice_id: Option<String>,
        /// Only of this invoice, by its number in the books
        #[arg(long)]
        invoice_number: Option<String>,
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        service: Service,
    },
    /// Say what stands in the books of a payment that stays `sending` or `written`, after looking there
    Settle(Settle),
}

fn state(text: &str) -> Result<BookingState, UnknownBookingState> {
    text.parse()
}

/// What a person has found in the books.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("found").args(["recorded", "not_recorded"]).required(true)))]
pub(super) struct Settle {
    /// The payment, by Finkare's id
    payment: String,
    /// The sink in whose books it was looked for
    #[arg(long, value_name = "NAME")]
    sink: String,
    /// It stands there, once: it is never written
    #[arg(long)]
    recorded: bool,
    /// It does not stand there: its dispatch, once retried, writes it
    #[arg(long)]
    not_recorded: bool,
    /// The id that it has there
    #[arg(long, value_name = "ID", conflicts_with = "not_recorded")]
    target_id: Option<String>,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    service: Service,
}

/// `bookings …`
pub(super) async fn run(config: Config, command: Bookings, output: Output) -> Result<bool, Failure> {
    let (sink, state, payment_id, invoice_id, invoice_number, paging, watch, service) = match command {
        Bookings::List { sink, state, payment_id, invoice_id, invoice_number, paging, watch, service } => {
            (sink, state, payment_id, invoice_id, invoice_number, paging, watch, service)
        }
        Bookings::Settle(options) => return settle(config, options, output).await,
    };
    let filters = [
        ("sink", sink),
        ("state", state.map(|state| state.as_str().to_owned())),
        ("payment_id", payment_id),
        ("invoice_id", invoice_id),
        ("invoice_number", invoice_number),
    ];
    let client = Client::new(config, service.url())?;
    let query = query(filters, paging);
    let head = ["PAYMENT", "SINK", "STATE", "INVOICE", "AMOUNT", "CHANGED (UTC)", "ID THERE", "NOTE"];
    let row = |booking: &Value| {
        vec![
            cell(&booking["payment_id"]),
            cell(&booking["sink"]),
            cell(&booking["state"]),
            cell(&booking["invoice_number"]),
            amount(booking),
            time(&booking["changed_at"]),
            cell(&booking["target_id"]),
            cell(&booking["note"]),
        ]
    };
    watch
        .show(output, async || client.get("/bookings", &query).await, |answer| list(answer, output, &head, row))
        .await?;
    Ok(true)
}

/// `bookings settle`
async fn settle(config: Config, options: Settle, output: Output) -> Result<bool, Failure> {
    let Settle { payment, sink, recorded, not_recorded: _, target_id, sure, service } = options;
    let what = if recorded {
        "What is said to be recorded is never written"
    } else {
        "What is said not to be recorded may be written again"
    };
    let wants_preview = sure.wants_preview(what)?;
    let client = Client::new(config, service.url())?;
    if wants_preview {
        let query = [("sink", sink.clone()), ("payment_id", payment.clone())];
        let answer = client.get("/bookings", &query).await?;
        let Some(booking) = answer["data"].as_array().and_then(|rows| rows.first()) else {
            return Err(anyhow::anyhow!("There is no booking of this payment in this sink.").into());
        };
        let text = settle_preview(booking, recorded);
        if sure.dry_run {
            output.say(
                &json!({"dry_run": true, "recorded": recorded, "booking": booking}),
                &format!("{text} Nothing was changed."),
            )?;
            return Ok(true);
        }
        if !ask(&format!("{text}\nIs that what the books show?"))? {
            complain("Nothing was changed.");
            return Ok(false);
        }
    }
    let mut body = json!({ "sink": sink, "payment_id": payment, "recorded": recorded });
    if let Some(id) = target_id {
        body["target_id"] = id.into();
    }
    let answer = client.decide("/bookings/settle", &body).await?;
    let said = if answer["recorded"] == true { "stands" } else { "does not stand" };
    let text = format!(
        "Written down: payment {} {said} in the books of {}.\n{}",
        cell(&answer["payment_id"]),
        cell(&answer["sink"]),
        cell(&answer["next"])
    );
    output.say(&answer, &text)?;
    Ok(true)
}

/// What the line says now, and what the decision would make of it.
fn settle_preview(booking: &Value, recorded: bool) -> String {
    let (payment, sink) = (cell(&booking["payment_id"]), cell(&booking["sink"]));
    format!(
        "payment  {payment}, {} for invoice {}\nin       {sink}: {} since {} UTC{}\n{}",
        amount(booking),
        cell(&booking["invoice_number"]),
        cell(&booking["state"]),
        time(&booking["changed_at"]),
        match cell(&booking["note"]) {
            note if note.is_empty() => String::new(),
            note => format!(" ({note})"),
        },
        if recorded {
            "It would count as booked: the relay never writes it."
        } else {
            "The relay would forget that it may have written it: its dispatch, once retried, writes it into the books."
        },
    )
}

/// `1500.00 EUR`
fn amount(booking: &Value) -> String {
    let cents = booking["amount_cents"].as_i64().map(Cents);
    cents.map(|cents| cents.of(&cell(&booking["currency"]))).unwrap_or_default()
}
