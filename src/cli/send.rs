//! `send`: signs and posts test deliveries as Finkare does.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Failure, client,
    failure::Usage,
    local,
    output::{Output, complain, print},
};
use crate::{
    config::{Config, Endpoint, StoreConfig},
    model::{chain::Chain, clock, secret::Secret},
    service,
    signature::finkare,
};

/// How long the store may take to answer its newest secret.
const STORE_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The event's type, such as `payment.received` or `invoice.status_changed`
    event: String,
    /// Where to post [default: this configuration's endpoint on this machine]
    #[arg(long, value_name = "URL", value_parser = client::address)]
    to: Option<String>,
    /// The endpoint whose secret is used to sign [default: the first one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// The body's `data` [default: a made-up invoice and amount]
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// How many different deliveries to post
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// How many times to repeat each delivery
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000))]
    duplicate: u32,
    /// Sign with a wrong secret: every delivery must be rejected
    #[arg(long)]
    forge: bool,
}

/// The body of a delivery, as Finkare writes it.
pub(super) fn body(event: &str, data: &Value, timestamp: Timestamp) -> Vec<u8> {
    let timestamp = timestamp.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
    json!({"event": event, "data": data, "timestamp": timestamp}).to_string().into_bytes()
}

/// Plausible data for an event type.
fn made_up(event: &str, number: u32) -> Value {
    let invoice = Uuid::now_v7();
    match event {
        "payment.received" => json!({"invoiceId": invoice, "amountCents": 150_000 + i64::from(number)}),
        "invoice.status_changed" => {
            json!({"invoiceId": invoice, "previousStatus": "in_recovery", "newStatus": "paid"})
        }
        _ => json!({"invoiceId": invoice}),
    }
}

/// The endpoint's newest secret in the store. With an API key, the configured secret may have been replaced by a rotation.
///
/// # Errors
/// Why the store could not answer, in a sentence.
async fn stored(config: &Config, endpoint: &Endpoint) -> Result<Option<Secret>, String> {
    let is_new = matches!(&config.store, StoreConfig::Sqlite { path } if !path.exists());
    if is_new || (endpoint.api_key.is_none() && !endpoint.secrets.is_empty()) {
        return Ok(None);
    }
    let looking = async {
        let open = service::open_store(&config.store, false).await.map_err(|error| Chain(&error).to_string())?;
        let links = open.store.links().await;
        open.store.close().await;
        let links = match links {
            Ok(links) => links,
            Err(error) => {
                let problem = Chain(&error).to_string();
                return if super::check::has_no_schema(&problem) { Ok(None) } else { Err(problem) };
            }
        };
        let link = links.into_iter().find(|link| link.endpoint == endpoint.name);
        let Some(newest) = link.and_then(|link| link.secrets.into_iter().next()) else { return Ok(None) };
        let vault = service::vault(config).map_err(|error| error.to_string())?;
        vault.open(&newest).map_err(|error| error.to_string())
    };
    match tokio::time::timeout(STORE_TIMEOUT, looking).await {
        Ok(found) => found,
        Err(_) => Err(format!("the database did not answer within {} s", STORE_TIMEOUT.as_secs())),
    }
}

/// Posts the deliveries; true if each was answered as expected.
pub(super) async fn run(mut config: Config, options: Options, output: Output) -> Result<bool, Failure> {
    local::find_made_up(&mut config);
    let endpoint = match &options.endpoint {
        None => config.endpoints.first(),
        Some(name) => config.endpoints.iter().find(|endpoint| endpoint.name.as_str() == name),
    };
    let endpoint = endpoint.with_context(|| {
        let names: Vec<_> = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
        format!("there is no such endpoint; configured are: {}", names.join(", "))
    })?;
    let stored = match (stored(&config, endpoint).await, endpoint.secrets.first()) {
        (Ok(stored), _) => stored,
        (Err(problem), None) => {
            return Err(anyhow::anyhow!("{problem}").context(
                "the endpoint's secrets are in the database, which cannot be used: fix that first, or set the endpoint's `secret`",
            ).into());
        }
        (Err(problem), Some(_)) => {
            complain(&format!(
                "note: the database cannot be used, so the configured secret is used, which a rotation may have replaced: {problem}"
            ));
            None
        }
    };
    let secret = stored.as_ref().or(endpoint.secrets.first()).context(
        "the endpoint has no secret to sign with: start `serve` once (it generates one), run `finkare-relay register`, or set \
         FINKARE_WEBHOOK_SECRET",
    )?;
    let secret = if options.forge { Secret::new("whsec_forged") } else { secret.clone() };
    let url = options
        .to
        .clone()
        .unwrap_or_else(|| format!("http://{}{}", client::reachable(config.server.listen), endpoint.path));
    let data: Option<Value> = match &options.data {
        None => None,
        Some(text) => match serde_json::from_str(text) {
            Ok(data) => Some(data),
            Err(error) => return Err(Usage::new(format!("--data is not JSON: {error}")).into()),
        },
    };
    let http = client::http()?;
    let began = clock::now();
    let (mut good, mut bad) = (0_u32, 0_u32);
    for number in 0..options.count {
        let data = data.clone().unwrap_or_else(|| made_up(&options.event, number));
        // One millisecond apart, so that equal data give different deliveries.
        let timestamp = began + SignedDuration::from_millis(i64::from(number));
        let body = body(&options.event, &data, timestamp);
        let signature = finkare::sign(&secret, &body);
        for _ in 0..=options.duplicate {
            let sent = Instant::now();
            let response = http
                .post(&url)
                .header("content-type", "application/json")
                .header(finkare::HEADER, &signature)
                .body(body.clone())
                .send()
                .await
                .map_err(reqwest::Error::without_url);
            let response = response.map_err(|error| {
                let what = client::why_not(&error);
                anyhow::Error::new(error).context(format!("cannot post to {}: {what}", client::shown(&url)))
            })?;
            let status = response.status();
            let answer: Value = response.json().await.unwrap_or(Value::Null);
            let as_expected = if options.forge { status.as_u16() == 401 } else { status.is_success() };
            if as_expected {
                good += 1;
            } else {
                bad += 1;
            }
            report(output, &options.event, status, &answer, clock::fractional_millis(sent.elapsed()), as_expected)?;
        }
    }
    if good + bad > 1 && !output.json {
        let word = if options.forge { "rejected, as expected" } else { "acknowledged" };
        print(&format!("{good} {word}{}", if bad > 0 { format!(", {bad} NOT") } else { String::new() }))?;
    }
    if options.forge && bad > 0 {
        return Err(Failure::Failed(anyhow::anyhow!("a forged delivery was not rejected with 401")));
    }
    Ok(bad == 0)
}

fn report(
    output: Output,
    event: &str,
    status: http::StatusCode,
    answer: &Value,
    milliseconds: f64,
    as_expected: bool,
) -> anyhow::Result<()> {
    let id = answer["id"].as_str().unwrap_or_default();
    let duplicate = if answer["duplicate"] == true { " (duplicate)" } else { "" };
    let text = if status.is_success() {
        format!("{event}: {} in {milliseconds:.1} ms, event {id}{duplicate}", status.as_u16())
    } else {
        let detail = answer["detail"].as_str().unwrap_or("no detail was given");
        format!("{event}: {} in {milliseconds:.1} ms: {detail}", status.as_u16())
    };
    let json = json!({
        "status": status.as_u16(), "answer": answer, "duration_ms": milliseconds, "as_expected": as_expected,
    });
    output.say(&json, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_look_like_finkares() {
        let time = "2026-03-15T10:30:00Z".parse().unwrap();
        assert_eq!(
            String::from_utf8(body("payment.received", &json!({"invoiceId": "i", "amountCents": 1}), time)).unwrap(),
            r#"{"event":"payment.received","data":{"invoiceId":"i","amountCents":1},"timestamp":"2026-03-15T10:30:00.000Z"}"#
        );
    }
}
