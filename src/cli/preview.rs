//! `try`: shows what a sink would get for an event, or why it would get nothing, without sending anything.
//!
//! The route and the sink come from the configuration of this command, which may differ from the running service's. A
//! change can thus be tried with stored events before it is put into force.

use std::{fmt::Write as _, path::Path, sync::Arc};

use anyhow::{Context, anyhow, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::{ArgGroup, Args};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    Failure,
    admin::{Service, moment, path_segment},
    client::Client,
    output::{Output, cell, time},
    tables::table,
};
use crate::{
    config::{Config, Sink},
    model::{
        clock, event,
        id::EventId,
        notice,
        preview::{Explained, Preview, Step},
    },
    resolve::Resolver,
    service::{
        self,
        trying::{self, Looking, Routing, message},
    },
    sinks::Message,
    web::admin::trying::TryRow,
};

/// The most stored events that `--since` looks at.
const MOST: usize = 1000;
/// The largest file that is read as a delivery, in bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("tried").args(["event", "since"]).required(true)))]
pub(super) struct Options {
    /// The name of the sink
    #[arg(long, value_name = "NAME")]
    sink: String,
    /// The id of a stored event, or a file with the body of a delivery
    #[arg(long, value_name = "ID|FILE")]
    event: Option<String>,
    /// Instead of one event: all stored events received at this time (RFC 3339) or later, one line each
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,
    /// The endpoint that would receive the delivery in the file [default: the first one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    #[command(flatten)]
    service: Service,
}

/// A stored event, as the admin API answers it.
#[derive(Deserialize)]
struct Stored {
    id: EventId,
    endpoint: Option<String>,
    r#type: String,
    invoice_id: Option<String>,
    received_at: Timestamp,
    content_type: Option<String>,
    payload: Option<Box<RawValue>>,
    payload_base64: Option<String>,
}

impl Stored {
    fn message(self) -> anyhow::Result<Message> {
        let payload = match (self.payload, self.payload_base64) {
            // A payload that is not JSON is answered as a string.
            (Some(raw), _) => match serde_json::from_str::<String>(raw.get()) {
                Ok(text) => text.into_bytes(),
                Err(_) => raw.get().as_bytes().to_vec(),
            },
            (None, Some(base64)) => {
                STANDARD.decode(base64).context("the admin API's `payload_base64` is not base64")?
            }
            (None, None) => bail!("the payload of event {} has been purged or erased: nothing can be sent", self.id),
        };
        Ok(message(
            self.id,
            self.endpoint.unwrap_or_default(),
            (self.r#type, self.invoice_id),
            self.received_at,
            self.content_type,
            payload,
        ))
    }
}

/// `try`
pub(super) async fn run(config: Config, options: Options, output: Output) -> Result<bool, Failure> {
    let sink = config.sinks.iter().find(|sink| sink.name.as_str() == options.sink).cloned().ok_or_else(|| {
        let names: Vec<&str> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
        anyhow!("there is no configured sink `{}`; there is {}", options.sink, names.join(", "))
    })?;
    let routes = config.sinks.iter().map(|sink| service::route(sink, &config)).collect();
    let routing = Routing::new(&config, routes);
    let admin_url = options.service.admin_url.as_deref();
    if let Some(since) = &options.since {
        let client = Client::new(config, admin_url)?;
        since_then(&client, since, &routing, &sink, output).await?;
        return Ok(true);
    }
    let event = options.event.unwrap_or_default();
    let message = if let Ok(id) = event.parse::<EventId>() {
        stored(&Client::new(config.clone(), admin_url)?, &id.to_string()).await?.message()?
    } else {
        from_file(&config, Path::new(&event), options.endpoint.as_deref())?
    };
    let decision = routing.decide(&sink, &message);
    let tried = if trying::needs_looking(&sink, &decision) {
        let looking = looking(&config).await?;
        let tried = trying::on_sink(&sink, &decision, message, Some(&looking)).await;
        looking.store.close().await;
        tried
    } else {
        trying::on_sink(&sink, &decision, message, None).await
    };
    let tried = tried.map_err(anyhow::Error::from)?;
    match &tried.would_do {
        Some(explained) => {
            show_explained(&sink, &tried, explained, output)?;
            Ok(true)
        }
        None => show(&tried, output),
    }
}

/// With what payments are looked for: the store that this command opens.
async fn looking(config: &Config) -> anyhow::Result<Looking> {
    let linked = service::linked_endpoints(config)?;
    let open = service::open_store(&config.store, false)
        .await
        .context("the store could not be opened; it holds the payments of other events, which are needed here")?;
    let resolver = Resolver::looking(open.store.clone(), &service::resolved_endpoints(config, &linked));
    Ok(Looking { resolver: Arc::new(resolver), store: open.store, payment_window_days: config.payment_window_days() })
}

async fn stored(client: &Client, id: &str) -> anyhow::Result<Stored> {
    client.get_as(&format!("/events/{}", path_segment(id))).await
}

/// Reads the delivery in a file.
fn from_file(config: &Config, path: &Path, endpoint: Option<&str>) -> anyhow::Result<Message> {
    let endpoint = match endpoint {
        None => config.endpoints.first(),
        Some(wanted) => config.endpoints.iter().find(|endpoint| endpoint.name.as_str() == wanted),
    };
    let endpoint = endpoint.context("there is no such endpoint in the configuration")?;
    let cannot = || format!("{} is neither an event's id nor a file that can be read", path.display());
    let size = std::fs::metadata(path).with_context(cannot)?.len();
    if size > MAX_FILE_BYTES {
        bail!("{} has {size} bytes, more than a delivery may have", path.display());
    }
    let payload = std::fs::read(path).with_context(cannot)?;
    let json = Some("application/json".to_owned());
    if let Some(own) = own_type(&payload) {
        return Ok(message(EventId::generate(), String::new(), (own, None), clock::now(), json, payload));
    }
    let reading = event::read(&payload);
    let of = (reading.event_type, reading.invoice_id);
    Ok(message(EventId::generate(), endpoint.name.as_str().to_owned(), of, clock::now(), json, payload))
}

/// The type of one of the relay's own events, if the file holds one: no delivery has such a type.
fn own_type(payload: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(payload).ok()?;
    body["event"].as_str().filter(|event_type| notice::is_own(event_type)).map(str::to_owned)
}

fn show(tried: &TryRow, output: Output) -> Result<bool, Failure> {
    let mut text = format!(
        "event     {} ({}, {})\nsink      {}\ndecision  {}: {}",
        tried.event_id,
        cell(&Value::from(tried.r#type.as_str())),
        origin(tried),
        tried.sink,
        if tried.taken { "yes" } else { "no" },
        tried.reason,
    );
    if let Some(reason) = &tried.not_yet {
        let _ = write!(text, "\nnot yet   {}", printable(reason));
    }
    let is_broken = matches!(tried.would_get, Some(Preview::Broken(_)));
    match &tried.would_get {
        None => {}
        Some(Preview::Broken(broken)) => {
            let _ = write!(text, "\n\n`template` cannot make a body from it: {}", printable(&broken.to_string()));
            if let Some(excerpt) = &broken.excerpt {
                let _ = write!(text, "\nat        {}", printable(excerpt));
            }
            let _ = write!(text, "\nit made   {}", printable(&broken.made));
        }
        Some(Preview::Mail { headers, text: body }) => {
            for (name, value) in headers {
                let _ = write!(text, "\n{name}: {}", printable(value));
            }
            let _ = write!(text, "\n\n{}", printable(body));
        }
        Some(Preview::Line(line)) => {
            let _ = write!(text, "\n\n{}", printable(line));
        }
        Some(Preview::Request { method, url, headers, body }) => {
            let _ = write!(text, "\n\n{method} {url}");
            for (name, value) in headers {
                let _ = write!(text, "\n{name}: {}", printable(value));
            }
            let _ = write!(text, "\n\n{}", printable(body));
        }
    }
    output.say(&json!(tried), &text)?;
    Ok(!is_broken)
}

/// Where the event comes from.
fn origin(tried: &TryRow) -> String {
    match &tried.endpoint {
        None => "of the relay itself".to_owned(),
        Some(name) => format!("endpoint {name}"),
    }
}

fn show_explained(sink: &Sink, tried: &TryRow, explained: &Explained, output: Output) -> anyhow::Result<()> {
    let Explained { calls, decision, outcome } = explained;
    let mut text = format!(
        "event     {} ({}, {})\nsink      {} ({})",
        tried.event_id,
        cell(&Value::from(tried.r#type.as_str())),
        origin(tried),
        sink.name,
        sink.kind.name(),
    );
    let (made, meant): (Vec<&Step>, Vec<&Step>) = calls.iter().partition(|step| step.answer.is_some());
    for (heading, steps) in [("read, to find out:", made), ("would be written, and was not:", meant)] {
        if !steps.is_empty() {
            let _ = write!(text, "\n\n{heading}");
        }
        for step in steps {
            let _ = write!(text, "\n  {} {}\n      {}", step.method, printable(&step.url), printable(&step.purpose));
            if let Some(body) = &step.body {
                let _ = write!(text, "\n      {}", printable(body));
            }
            if let Some(answer) = &step.answer {
                let _ = write!(text, "\n      answer: {}", printable(answer));
            }
        }
    }
    let _ = write!(text, "\n\ndecision  {}\nthen      {outcome}", printable(decision));
    output.say(&json!(tried), &text)
}

/// Text without control characters except line breaks.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

async fn since_then(
    client: &Client,
    since: &str,
    routing: &Routing,
    sink: &Sink,
    output: Output,
) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut cursor: Option<String> = None;
    let mut more = false;
    loop {
        let mut query = vec![("since", since.to_owned()), ("limit", "100".to_owned())];
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = client.get("/events", &query).await?;
        for event in page["data"].as_array().into_iter().flatten() {
            let found = stored(client, event["id"].as_str().unwrap_or_default()).await?;
            let (taken, reason) = match found.message() {
                Ok(message) => {
                    let decision = routing.decide(sink, &message);
                    (decision.is_taken(), decision.to_string())
                }
                Err(gone) => (false, gone.to_string()),
            };
            rows.push(json!({
                "event_id": event["id"], "received_at": event["received_at"], "type": event["type"],
                "invoice_id": event["invoice_id"], "taken": taken, "reason": reason,
            }));
        }
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
        if rows.len() >= MOST {
            more = true;
            break;
        }
    }
    let taken = rows.iter().filter(|row| row["taken"] == true).count();
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                cell(&row["event_id"]),
                time(&row["received_at"]),
                cell(&row["type"]),
                cell(&row["invoice_id"]),
                if row["taken"] == true { "yes".to_owned() } else { format!("no: {}", cell(&row["reason"])) },
            ]
        })
        .collect();
    let mut text = table(&["ID", "RECEIVED (UTC)", "TYPE", "INVOICE", "WOULD GET IT"], &lines);
    let _ = write!(text, "\n{taken} of {} events", rows.len());
    if more {
        let _ = write!(text, "; only the newest {MOST} were checked");
    }
    output.say(&json!({"data": rows, "taken": taken, "more": more}), &text)?;
    Ok(())
}
