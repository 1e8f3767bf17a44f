//! `bookings`: what was written of payments in invoicing software, and what a person has found there.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failure,
    admin::{Paging, Rows, Service, Watch, amount, list, query, read},
    client::Client,
    confirm::{Sure, ask},
    output::{Output, complain, plain, plain_or_empty, print, second},
};
use crate::{
    config::Config,
    model::{
        booking::{BookingState, UnknownBookingState},
        dispatch::State,
    },
    store::ledger::number_key,
    web::admin::{
        bookings::{BookingRow, Settlement},
        dispatches::DispatchRow,
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

/// What is on its way, held or given up of the payments that were asked for, as lines for a person; `sink` as asked for.
///
/// A search by number finds parts of numbers too; where one has the very number, only such are told.
fn not_booked(rows: &[DispatchRow], number: Option<&str>, sink: Option<&str>) -> Vec<String> {
    let is_open = |row: &&DispatchRow| {
        matches!(row.state, State::Pending | State::Leased | State::Held | State::Dead)
            && sink.is_none_or(|sink| row.sink == sink)
    };
    let open: Vec<&DispatchRow> = rows.iter().filter(is_open).collect();
    let is_it = |row: &DispatchRow| {
        let found = row.payment.invoice_number.as_deref().map(number_key);
        number.is_none_or(|number| found == Some(number_key(number)))
    };
    let has_it = open.iter().any(|row| is_it(row));
    open.into_iter()
        .filter(|row| !has_it || is_it(row))
        .map(|row| {
            let payment = &row.payment;
            let mut line = format!(
                "dispatch {} to {} is {}: {} of invoice {}",
                row.id,
                plain(&row.sink),
                row.state,
                amount(payment.amount_cents, payment.currency.as_deref()),
                plain_or_empty(payment.invoice_number.as_deref())
            );
            for (before, text) in [(", payment ", &payment.payment_id), (": ", &row.last_error)] {
                if let Some(text) = text {
                    line.push_str(before);
                    line.push_str(&plain(text));
                }
            }
            line
        })
        .collect()
}

/// `bookings …`
pub(super) async fn run(config: Config, command: Bookings, output: Output) -> Result<bool, Failure> {
    let (sink, state, payment_id, invoice_id, invoice_number, paging, watch, service) = match command {
        Bookings::List { sink, state, payment_id, invoice_id, invoice_number, paging, watch, service } => {
            (sink, state, payment_id, invoice_id, invoice_number, paging, watch, service)
        }
        Bookings::Settle(options) => return settle(config, options, output).await,
    };
    let looked_for = invoice_number.clone().or_else(|| payment_id.clone());
    let (number, of_sink) = (invoice_number.clone(), sink.clone());
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
    let row = |booking: &BookingRow| {
        vec![
            plain(&booking.payment_id),
            plain(&booking.sink),
            booking.state.to_string(),
            plain(&booking.invoice_number),
            amount(Some(booking.amount_cents), Some(&booking.currency)),
            second(booking.changed_at),
            plain_or_empty(booking.target_id.as_deref()),
            plain_or_empty(booking.note.as_deref()),
        ]
    };
    let fetch = async || {
        let bookings = client.get("/bookings", &query).await?;
        // What is asked for by number or payment may not be in the books yet, which a person has to hear as well.
        let waiting = match &looked_for {
            Some(text) if !output.json => {
                let search = vec![("q", text.clone()), ("limit", "500".to_owned())];
                let Rows { data, .. } = read(&client.get("/dispatches", &search).await?)?;
                not_booked(&data, number.as_deref(), of_sink.as_deref())
            }
            _ => Vec::new(),
        };
        Ok(json!({ "bookings": bookings, "waiting": waiting }))
    };
    let show = |answer: &Value| {
        let waiting: Vec<&str> = answer["waiting"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let has_bookings = answer["bookings"]["data"].as_array().is_some_and(|rows| !rows.is_empty());
        if waiting.is_empty() || has_bookings {
            list(&answer["bookings"], output, &head, row)?;
        }
        if !waiting.is_empty() {
            let lead = if has_bookings { "\nNot in the books:" } else { "Nothing of it is in the books:" };
            print(&format!("{lead}\n  {}\nSee one by: finkare-relay dispatches show ID", waiting.join("\n  ")))?;
        }
        Ok(())
    };
    watch.show(output, fetch, show).await?;
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
        let text = settle_preview(&read(booking)?, recorded);
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
    let settled: Settlement = read(&answer)?;
    let said = if settled.recorded { "stands" } else { "does not stand" };
    let text = format!(
        "Written down: payment {} {said} in the books of {}.\n{}",
        plain(&settled.payment_id),
        plain(&settled.sink),
        plain(&settled.next)
    );
    output.say(&answer, &text)?;
    Ok(true)
}

/// What the line says now, and what the decision would make of it.
fn settle_preview(booking: &BookingRow, recorded: bool) -> String {
    let (payment, sink) = (plain(&booking.payment_id), plain(&booking.sink));
    format!(
        "payment  {payment}, {} for invoice {}\nin       {sink}: {} since {} UTC{}\n{}",
        amount(Some(booking.amount_cents), Some(&booking.currency)),
        plain(&booking.invoice_number),
        booking.state,
        second(booking.changed_at),
        booking.note.as_deref().map(|note| format!(" ({})", plain(note))).unwrap_or_default(),
        if recorded {
            "It would count as booked: the relay never writes it."
        } else {
            "The relay would forget that it may have written it: its dispatch, once retried, writes it into the books."
        },
    )
}
