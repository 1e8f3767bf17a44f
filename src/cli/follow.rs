//! `follow`: prints events as they come.
//!
//! It asks the admin API for the newest events again and again. Events are stored by several processes at a time, so one may
//! appear behind another that has a later id: each look reaches back a little, and what was printed is remembered.

use std::{collections::BTreeSet, time::Duration};

use clap::Args;
use serde_json::Value;

use super::{
    Failure,
    admin::{Service, amount, moment, read},
    client::Client,
    output::{Output, complain, plain, plain_or_empty, print, second},
};
use crate::{config::Config, model::id::EventId, web::admin::events::EventRow};

/// The time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// How far each look reaches back behind the newest event that was seen, in seconds.
const OVERLAP: i64 = 30;
/// How many printed events are remembered.
const REMEMBERED: usize = 50_000;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  finkare-relay follow\n  finkare-relay follow --type payment.received\n  finkare-relay follow --since 1h --json"
)]
pub(super) struct Options {
    /// Only events of this type
    #[arg(long)]
    r#type: Option<String>,
    /// Only events of this endpoint
    #[arg(long)]
    endpoint: Option<String>,
    /// Only events of this invoice, by its id at Finkare
    #[arg(long)]
    invoice_id: Option<String>,
    /// Begin with the events from this time on [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,
    #[command(flatten)]
    service: Service,
}

/// `follow`: until it is interrupted, or nobody reads it any more.
pub(super) async fn run(config: Config, options: Options, output: Output) -> Result<bool, Failure> {
    let client = Client::new(config, options.service.url())?;
    let mut seen = BTreeSet::new();
    let mut since: jiff::Timestamp = match &options.since {
        Some(since) => since.parse().map_err(anyhow::Error::new)?,
        None => now_there(&client, &options, &mut seen).await?,
    };
    let (mut failing, mut first) = (false, true);
    let follow = async {
        loop {
            match look(&client, &options, since).await {
                Ok(rows) => {
                    if std::mem::take(&mut failing) {
                        complain("the service answers again");
                    }
                    // The oldest first.
                    for row in rows.iter().rev() {
                        let event: EventRow = read(row)?;
                        since = since.max(
                            event.received_at.checked_sub(jiff::SignedDuration::from_secs(OVERLAP)).unwrap_or(since),
                        );
                        if seen.insert(event.id) {
                            print(&line(row, &event, output))?;
                        }
                    }
                    while seen.len() > REMEMBERED {
                        seen.pop_first();
                    }
                }
                // The first one is an error like that of any other command.
                Err(error) if first => return Err(error),
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        complain(&format!("{error:#}: waiting for the service"));
                    }
                }
            }
            first = false;
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::select! {
        ended = follow => ended.map_err(Failure::from),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(anyhow::Error::new)?;
            Ok(true)
        }
    }
}

/// Where to begin without `--since`: by the clock of the service, since that of this machine may be wrong. The events that
/// are there already are not printed.
async fn now_there(
    client: &Client,
    options: &Options,
    seen: &mut BTreeSet<EventId>,
) -> anyhow::Result<jiff::Timestamp> {
    let newest = client.get("/events", &[("limit", "1".to_owned())]).await?;
    let Some(newest) = newest["data"].as_array().and_then(|rows| rows.first()) else {
        return Ok(jiff::Timestamp::UNIX_EPOCH);
    };
    let newest: EventRow = read(newest)?;
    let since = newest.received_at.checked_sub(jiff::SignedDuration::from_secs(OVERLAP))?;
    for row in look(client, options, since).await? {
        let event: EventRow = read(&row)?;
        if event.id <= newest.id {
            seen.insert(event.id);
        }
    }
    Ok(since)
}

/// The events since then, newest first.
async fn look(client: &Client, options: &Options, since: jiff::Timestamp) -> anyhow::Result<Vec<Value>> {
    let (mut rows, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
    loop {
        let mut query = vec![("since", since.to_string()), ("limit", "500".to_owned())];
        for (name, value) in
            [("type", &options.r#type), ("endpoint", &options.endpoint), ("invoice_id", &options.invoice_id)]
        {
            query.extend(value.clone().map(|value| (name, value)));
        }
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let mut page = client.get("/events", &query).await?;
        rows.append(page["data"].as_array_mut().unwrap_or(&mut Vec::new()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(rows),
        }
    }
}

fn line(row: &Value, event: &EventRow, output: Output) -> String {
    if output.json {
        return row.to_string();
    }
    let payment = &event.payment;
    let mut parts = vec![
        second(event.received_at),
        plain_or_empty(event.endpoint.as_deref()),
        plain(&event.r#type),
        amount(payment.amount_cents, payment.currency.as_deref()),
        plain_or_empty(payment.invoice_number.as_deref().or(event.invoice_id.as_deref())),
        event.id.to_string(),
    ];
    parts.retain(|part| !part.is_empty());
    parts.join("  ")
}
