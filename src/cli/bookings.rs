//! `bookings`: what was written of payments in invoicing software.

use clap::Subcommand;
use serde_json::Value;

use super::{
    Failure,
    client::Client,
    manage::{Paging, Service, Watch, list, query},
    output::{Output, cell, time},
};
use crate::{config::Config, model::money::Cents};

#[derive(Debug, Subcommand)]
pub(super) enum Bookings {
    /// List what was written of payments where, newest first
    List {
        /// Only in this sink
        #[arg(long)]
        sink: Option<String>,
        /// Only in this state: sending, written, booked, seen
        #[arg(long)]
        state: Option<String>,
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
}

/// `bookings …`
pub(super) async fn run(config: Config, command: Bookings, output: Output) -> Result<bool, Failure> {
    let Bookings::List { sink, state, payment_id, invoice_id, invoice_number, paging, watch, service } = command;
    let filters = [
        ("sink", sink),
        ("state", state),
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

/// `1500.00 EUR`
fn amount(booking: &Value) -> String {
    let cents = booking["amount_cents"].as_i64().map(Cents);
    cents.map(|cents| cents.of(&cell(&booking["currency"]))).unwrap_or_default()
}
