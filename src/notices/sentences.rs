//! What happened, in one English sentence: `data.message` of each event.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    model::{
        notice::{Notice, NoticeType},
        reconciliation::{NewReport, Report, Summary},
    },
    store::notices::Figures,
};

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A sentence ends with one full stop.
fn ended(mut text: String) -> String {
    let trimmed = text.trim_end().trim_end_matches('.').len();
    text.truncate(trimmed);
    text.push('.');
    text
}

pub(super) fn stopped(kind: NoticeType, number: usize, sink: &str, reason: &str) -> String {
    let events = count(u64::try_from(number).unwrap_or(u64::MAX), "event", "events");
    let what = match (kind, number) {
        (NoticeType::Dead, 1) => "was given up",
        (NoticeType::Dead, _) => "were given up",
        (_, 1) => "waits for a person",
        _ => "wait for a person",
    };
    ended(format!("{events} for sink {sink} {what}: {reason}"))
}

pub(super) fn paused(sink: &str, reason: &str) -> String {
    ended(format!("Sink {sink} is paused, and its events wait: {reason}"))
}

pub(super) fn resumed(sink: &str, since: Timestamp) -> String {
    format!("Sink {sink}, which had been paused since {since:.0}, is active again.")
}

pub(super) fn tripped(sink: &str, since: Timestamp, reason: Option<&str>) -> String {
    let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    ended(format!("Sink {sink} has been failing since {since:.0}, and its events wait{why}"))
}

pub(super) fn recovered(sink: &str, since: Timestamp) -> String {
    format!("Sink {sink}, which had been failing since {since:.0}, works again.")
}

pub(super) fn silence(kind: NoticeType, endpoint: &str, last: Option<Timestamp>) -> String {
    if kind == NoticeType::EndpointHeard {
        return format!("Endpoint {endpoint} receives deliveries again.");
    }
    let last = last.map_or_else(
        || "has never received a delivery".to_owned(),
        |last| format!("has received no delivery since {last:.0}"),
    );
    format!(
        "Endpoint {endpoint} {last}: check whether its webhook is enabled at Finkare, and whether its URL leads here."
    )
}

pub(super) fn refused(number: u64, endpoint: Option<&str>, cause: &str) -> String {
    let deliveries = count(number, "delivery that looks genuine was", "deliveries that look genuine were");
    match endpoint {
        Some(endpoint) => format!("{deliveries} refused at endpoint {endpoint}, because of: {cause}."),
        None => format!("{deliveries} refused, because they came to a path that no endpoint has."),
    }
}

pub(super) fn rotation(kind: NoticeType, endpoint: &str, code: &Value) -> String {
    let code = match code {
        Value::Null => String::new(),
        Value::String(code) => format!(" ({code})"),
        other => format!(" ({other})"),
    };
    match kind {
        NoticeType::RotationDone => format!("The secret of endpoint {endpoint} was rotated."),
        NoticeType::RotationFailed => {
            format!(
                "Finkare refused to rotate the secret of endpoint {endpoint}{code}; the previous secret stays valid."
            )
        }
        _ => format!(
            "It is not known whether the secret of endpoint {endpoint} was rotated{code}; the relay asks Finkare again by itself."
        ),
    }
}

pub(super) fn reconciliation(kind: NoticeType, report: &Report) -> String {
    let NewReport { endpoint, since, until, .. } = &report.asked;
    if kind == NoticeType::ReconciliationEqual {
        return format!("Endpoint {endpoint} is equal to Finkare again, from {since} to {until}.");
    }
    let differ = report.counts.iter().filter(|(_, count)| **count > 0);
    let kinds: Vec<String> = differ.map(|(kind, count)| format!("{count} {kind}")).collect();
    format!(
        "{} between endpoint {endpoint} and Finkare, from {since} to {until} ({}): finkare-relay reconcile --show {}",
        count(report.differences(), "difference", "differences"),
        kinds.join(", "),
        report.asked.id
    )
}

/// `differences` by kind; the amount where all payments are in one currency, and else the amounts.
pub(super) fn reconciliation_data(report: &Report, summary: &Summary) -> Map<String, Value> {
    let mut data = Map::new();
    data.insert("id".into(), report.asked.id.to_string().into());
    data.insert("endpoint".into(), report.asked.endpoint.as_str().into());
    data.insert("since".into(), report.asked.since.to_string().into());
    data.insert("until".into(), report.asked.until.to_string().into());
    data.insert("differences".into(), json!(report.counts));
    let named = |currency: &str| Some(currency.to_owned()).filter(|currency| !currency.is_empty());
    let mut amounts = summary.amounts.iter();
    match (amounts.next(), amounts.next()) {
        (Some((currency, cents)), None) => {
            data.insert("amount_cents".into(), (*cents).into());
            data.insert("currency".into(), named(currency).into());
        }
        (Some(_), Some(_)) => {
            let amounts: Vec<Value> = summary
                .amounts
                .iter()
                .map(|(currency, cents)| json!({"currency": named(currency), "amount_cents": cents}))
                .collect();
            data.insert("amounts".into(), amounts.into());
        }
        (None, _) => {}
    }
    data
}

/// The day's digest.
pub(super) fn digest(figures: &Figures, since: Timestamp, until: Timestamp) -> Notice {
    let arrived: u64 = figures.arrived.iter().map(|arrived| arrived.events).sum();
    let booked: u64 = figures.booked.iter().map(|booked| booked.payments).sum();
    let sum = |of: fn(&crate::store::notices::Waiting) -> u64| figures.waiting.iter().map(of).sum::<u64>();
    let (held, dead, late) = (sum(|sink| sink.held), sum(|sink| sink.dead), sum(|sink| sink.late));
    let message = format!(
        "Since {since:.0}, {} arrived and {} booked; {} for a person, {} given up, {} late.",
        count(arrived, "event", "events"),
        count(booked, "payment was", "payments were"),
        count(held, "event waits", "events wait"),
        count(dead, "event is", "events are"),
        count(late, "event is", "events are"),
    );
    let arrived: Vec<Value> = figures
        .arrived
        .iter()
        .map(|arrived| json!({"endpoint": arrived.endpoint, "type": arrived.event_type, "events": arrived.events}))
        .collect();
    let booked: Vec<Value> = figures
        .booked
        .iter()
        .map(|booked| {
            json!({"sink": booked.sink, "payments": booked.payments, "amount_cents": booked.amount_cents, "currency": booked.currency})
        })
        .collect();
    let waiting: Vec<Value> = figures
        .waiting
        .iter()
        .map(|sink| json!({"sink": sink.sink, "held": sink.held, "dead": sink.dead, "late": sink.late}))
        .collect();
    let mut data = Map::new();
    data.insert("since".into(), format!("{since:.0}").into());
    data.insert("until".into(), format!("{until:.0}").into());
    data.insert("arrived".into(), arrived.into());
    data.insert("booked".into(), booked.into());
    data.insert("waiting".into(), waiting.into());
    Notice { kind: NoticeType::Digest, endpoint: None, sink: None, data, message }
}
