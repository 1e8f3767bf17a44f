//! `bookings`: lists payments that were recorded in invoicing software, and settles those whose outcome is unknown.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failure,
    admin::{Paging, Period, Rows, Service, Watch, amount, fetch, list, query, read, streamed},
    client::Client,
    confirm::{Sure, ask},
    output::{Output, complain, plain, plain_or_empty, print, second},
    view::in_words,
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
    /// List bookings (payments in the books of a sink), newest first
    List {
        /// Only bookings of this sink
        #[arg(long)]
        sink: Option<String>,
        /// Only bookings in this state: reserved (being checked), sending (may have been written), written (not verified yet),
        /// booked, seen (already paid in the books, nothing was written)
        #[arg(long, value_parser = state)]
        state: Option<BookingState>,
        /// Only bookings of this payment, by its id at Finkare
        #[arg(long)]
        payment_id: Option<String>,
        /// Only bookings of this invoice, by its id at Finkare
        #[arg(long)]
        invoice_id: Option<String>,
        /// Only bookings of this invoice, by its number in the books
        #[arg(long)]
        invoice_number: Option<String>,
        #[command(flatten)]
        period: Period,
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        service: Service,
    },
    /// Settle a booking that stays `sending` or `written`, after looking into the books
    Settle(Settle),
}

fn state(text: &str) -> Result<BookingState, UnknownBookingState> {
    text.parse()
}

/// What a person has found in the books.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("found").args(["recorded", "not_recorded"]).required(true)))]
pub(super) struct Settle {
    /// The payment, by its id at Finkare
    payment: String,
    /// The sink whose books were checked
    #[arg(long, value_name = "NAME")]
    sink: String,
    /// The books hold the payment, once: it is never written
    #[arg(long)]
    recorded: bool,
    /// The books do not hold the payment: its dispatch writes it as soon as it is retried
    #[arg(long)]
    not_recorded: bool,
    /// The id of the payment's record in the books
    #[arg(long, value_name = "ID", conflicts_with = "not_recorded")]
    target_id: Option<String>,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    service: Service,
}

/// Describes the requested payments that are not in the books yet: on their way, held or given up, one line each.
///
/// A search by number also finds parts of numbers. If an invoice has exactly this number, only its payments are listed.
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
    let (sink, state, payment_id, invoice_id, invoice_number, period, paging, watch, service) = match command {
        Bookings::List { sink, state, payment_id, invoice_id, invoice_number, period, paging, watch, service } => {
            (sink, state, payment_id, invoice_id, invoice_number, period, paging, watch, service)
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
        ("since", period.since),
        ("until", period.until),
    ];
    let client = Client::new(config, service.url())?;
    let query = query(filters, paging);
    let head = [
        "PAYMENT",
        "SINK",
        "STATE",
        "INVOICE",
        "AMOUNT",
        "DEBTOR",
        "METHOD",
        "PAID",
        "CHANGED (UTC)",
        "ID THERE",
        "NOTE",
    ];
    let row = |booking: &BookingRow| {
        vec![
            plain(&booking.payment_id),
            plain(&booking.sink),
            booking.state.to_string(),
            plain(&booking.invoice_number),
            amount(Some(booking.amount_cents), Some(&booking.currency)),
            plain_or_empty(booking.debtor.as_deref()),
            plain_or_empty(booking.method.as_deref()),
            plain_or_empty(booking.paid_at.as_deref()),
            second(booking.changed_at),
            plain_or_empty(booking.target_id.as_deref()),
            plain_or_empty(booking.note.as_deref()),
        ]
    };
    if !watch.watch && streamed(&client, "/bookings", &query, &head, row).await? {
        return Ok(true);
    }
    let fetch = async || {
        let bookings = fetch(&client, "/bookings", &query).await?;
        // A payment that is searched for by its id or number may not be in the books yet, which people need to know as well.
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
            let lead = if has_bookings { "\nNot in the books yet:" } else { "Not in the books yet:" };
            print(&format!("{lead}\n  {}\nFor details: finkare-relay dispatches show ID", waiting.join("\n  ")))?;
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
        "A payment that counts as recorded is never written"
    } else {
        "A payment that counts as not recorded may be written again"
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
    let said = if settled.recorded { "is" } else { "is not" };
    let text = format!(
        "Settled: payment {} {said} in the books of {}.\n{}",
        plain(&settled.payment_id),
        plain(&settled.sink),
        plain(&settled.next)
    );
    output.say(&answer, &text)?;
    Ok(true)
}

/// The booking as it is now, and what settling it would change.
fn settle_preview(booking: &BookingRow, recorded: bool) -> String {
    let (payment, sink) = (plain(&booking.payment_id), plain(&booking.sink));
    format!(
        "payment  {payment}, {} for invoice {}\nin       {sink}: {} since {}{}\n{}",
        amount(Some(booking.amount_cents), Some(&booking.currency)),
        plain(&booking.invoice_number),
        booking.state,
        in_words(booking.changed_at),
        booking.note.as_deref().map(|note| format!(" ({})", plain(note))).unwrap_or_default(),
        if recorded {
            "The payment would count as booked: the relay never writes it."
        } else {
            "The payment would count as not written: its dispatch writes it into the books as soon as it is retried."
        },
    )
}
