//! `events`: lists, shows and replays events.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Failure,
    admin::{
        Paging, Rows, Selection, Service, Watch, amount, damaged, fetch, list, object, path_segment, query, read,
        streamed,
    },
    client::Client,
    confirm::{Sure, ask},
    dispatches::dispatch_text,
    failure::Usage,
    interrupting::Interrupts,
    output::{Output, complain, plain, plain_or_empty, second},
};
use crate::{
    config::Config,
    replay::Summary,
    web::admin::{
        dispatches::{DispatchPage, DispatchRow},
        events::EventRow,
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Events {
    /// List events, newest first
    List {
        #[command(flatten)]
        selection: Selection,
        /// Only events whose payload contains this text, or whose payment has this id, this amount (1500.00), this invoice
        /// number or debtor, or a part of these
        #[arg(long, value_name = "TEXT")]
        q: Option<String>,
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        service: Service,
    },
    /// Show one event with its payload, its dispatches and their attempts
    Show {
        /// The event's id
        id: String,
        #[command(flatten)]
        service: Service,
    },
    /// Replay one event or a selection: the same ids, the same bytes
    Replay(Replay),
}

/// Which events to replay, and to which sinks.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The id of one event; or select events with the options below
    #[arg(conflicts_with_all = ["type", "endpoint", "invoice_id", "since", "until", "all"])]
    id: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// All stored events
    #[arg(long, conflicts_with_all = ["type", "endpoint", "invoice_id", "since", "until"])]
    all: bool,
    /// Replay to this sink, regardless of its route; may be repeated [default: the sinks whose route accepts the event]
    #[arg(long = "sink", value_name = "NAME")]
    sinks: Vec<String>,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    service: Service,
}

/// `events …`
pub(super) async fn run(config: Config, command: Events, output: Output) -> Result<bool, Failure> {
    match command {
        Events::List { selection, q, paging, watch, service } => {
            let filters = selection.named().into_iter().chain([("q", q)]);
            let client = Client::new(config, service.admin_url.as_deref())?;
            let query = query(filters, paging);
            let head =
                ["ID", "RECEIVED (UTC)", "TYPE", "INVOICE", "NUMBER", "AMOUNT", "DEBTOR", "DELIVERIES", "ENDPOINT"];
            let row = |event: &EventRow| {
                vec![
                    event.id.to_string(),
                    second(event.received_at),
                    damaged(plain(&event.r#type), event.fault.as_deref()),
                    plain_or_empty(event.invoice_id.as_deref()),
                    plain_or_empty(event.payment.invoice_number.as_deref()),
                    amount(event.payment.amount_cents, event.payment.currency.as_deref()),
                    plain_or_empty(event.payment.debtor.as_deref()),
                    event.deliveries.to_string(),
                    plain_or_empty(event.endpoint.as_deref()),
                ]
            };
            if !watch.watch && streamed(&client, "/events", &query, &head, row).await? {
                return Ok(true);
            }
            watch
                .show(
                    output,
                    async || fetch(&client, "/events", &query).await,
                    |answer| list(answer, output, &head, row),
                )
                .await?;
        }
        Events::Show { id, service } => {
            let client = Client::new(config, service.admin_url.as_deref())?;
            let event = client.get(&format!("/events/{}", path_segment(&id)), &[]).await?;
            output.say(&event, &event_text(&read(&event)?))?;
        }
        Events::Replay(options) => return replay(config, options, output).await,
    }
    Ok(true)
}

/// One event as the admin API shows it. The payload is read as a plain value, since it is only printed.
#[derive(Deserialize)]
struct EventPage {
    #[serde(flatten)]
    event: EventRow,
    payload: Value,
    payload_base64: Option<String>,
    dispatches: Vec<DispatchPage>,
}

fn event_text(page: &EventPage) -> String {
    let EventPage { event, payload, payload_base64, dispatches } = page;
    let payment = &event.payment;
    let mut text = String::new();
    for (label, value) in [
        ("event", event.id.to_string()),
        ("type", plain(&event.r#type)),
        ("endpoint", plain_or_empty(event.endpoint.as_deref())),
        ("invoice", plain_or_empty(event.invoice_id.as_deref())),
        ("number", plain_or_empty(payment.invoice_number.as_deref())),
        ("payment", plain_or_empty(payment.payment_id.as_deref())),
        ("amount", amount(payment.amount_cents, payment.currency.as_deref())),
        ("debtor", plain_or_empty(payment.debtor.as_deref())),
        ("method", plain_or_empty(payment.method.as_deref())),
        ("paid", plain_or_empty(payment.paid_at.as_deref())),
        ("occurred", event.occurred_at.map(|time| time.to_string()).unwrap_or_default()),
        ("received", event.received_at.to_string()),
        ("deliveries", event.deliveries.to_string()),
    ] {
        // Only the lines about a payment are left out where nothing is known.
        if !value.is_empty() || !matches!(label, "number" | "payment" | "amount" | "debtor" | "method" | "paid") {
            let _ = writeln!(text, "{label:<11} {value}");
        }
    }
    if !event.readable {
        text.push_str("            signed correctly, but not readable: a person has to look at it\n");
    }
    if let Some(fault) = &event.fault {
        let _ = writeln!(text, "            the stored row is damaged: {}", plain(fault));
    }
    let payload = match (payload, payload_base64) {
        (Value::Null, Some(base64)) => format!("(base64) {base64}"),
        (Value::Null, None) => "(purged)".to_owned(),
        (Value::String(text), _) => plain(text),
        (json, _) => serde_json::to_string_pretty(json).unwrap_or_default(),
    };
    let _ = write!(text, "payload\n{payload}");
    for dispatch in dispatches {
        let _ = write!(text, "\n\n{}", dispatch_text(&dispatch.dispatch, &dispatch.attempt_log));
    }
    text
}

/// `events replay`
async fn replay(config: Config, options: Replay, output: Output) -> Result<bool, Failure> {
    let Replay { id, selection, all, sinks, sure, service } = options;
    let sinks = (!sinks.is_empty()).then(|| ("sinks".to_owned(), Value::from(sinks)));
    if let Some(id) = id {
        if sure.dry_run {
            let hint = "--dry-run counts a selection (--type, --endpoint, --invoice-id, --since, --until, --all); for one event, \
                        `finkare-relay try --sink NAME --event ID` shows what would be sent";
            return Err(Usage::new(hint).into());
        }
        let client = Client::new(config, service.url())?;
        let body = Value::Object(sinks.into_iter().collect());
        let answer = client.decide(&format!("/events/{}/replay", path_segment(&id)), &body).await?;
        let Rows::<DispatchRow> { data: rows, .. } = read(&answer)?;
        let mut text = String::new();
        for dispatch in &rows {
            let _ = writeln!(text, "{}", dispatch_text(dispatch, &[]));
        }
        if rows.is_empty() {
            text.push_str(
                "No configured sink accepts this event: `try` shows why; --sink replays it to a sink regardless.",
            );
        }
        output.say(&answer, text.trim_end())?;
        return Ok(true);
    }
    let mut body = object(selection.named());
    if body.is_empty() && !all {
        let hint = "select events: an id, --type, --endpoint, --invoice-id, --since, --until, or --all for all of them";
        return Err(Usage::new(hint).into());
    }
    // A selection has limits, so it is confirmed only on a terminal; `--all` needs a confirmation everywhere.
    let wants_preview =
        if all { sure.wants_preview("All events would be sent again")? } else { sure.dry_run || sure.can_be_asked() };
    let client = Client::new(config, service.url())?;
    body.extend(sinks);
    body.extend(all.then(|| ("all".to_owned(), true.into())));
    let mut body = Value::Object(body);
    if wants_preview {
        body["dry_run"] = true.into();
        let answer = client.decide("/events/replay", &body).await?;
        let preview: Summary = read(&answer)?;
        let would = replay_text(&preview, "would be replayed with");
        if sure.dry_run {
            output.say(&answer, &would.replacen("dispatches.", "dispatches; nothing was written.", 1))?;
            return Ok(true);
        }
        let is_more_than_one = preview.dispatches > 1 || preview.foreign > 0;
        if is_more_than_one && !ask(&format!("{would}\nSend them again?"))? {
            complain("Nothing was replayed.");
            return Ok(false);
        }
    }
    body["dry_run"] = false.into();
    let so_far = || {
        "interrupted: the service finishes the replay that has begun; `finkare-relay audit list --action events.replayed` \
         then shows how many"
            .to_owned()
    };
    let replaying = client.decide("/events/replay", &body);
    let answer = Interrupts::noted()?.unless(replaying, "the events are replayed", so_far).await?;
    output.say(&answer, &replay_text(&read(&answer)?, "were replayed with"))?;
    Ok(true)
}

fn replay_text(summary: &Summary, verb: &str) -> String {
    let Summary { events, dispatches, skipped, foreign, dry_run: _, more: _ } = summary;
    let mut text = format!("{events} events {verb} {dispatches} dispatches.");
    if *skipped > 0 {
        let _ = write!(text, " {skipped} are skipped because their payload was removed.");
    }
    if *foreign > 0 {
        let _ = write!(
            text,
            "\nwarning: {foreign} of these dispatches go to a sink whose `endpoints` do not include the event's endpoint, such as \
             another company's"
        );
    }
    text
}
