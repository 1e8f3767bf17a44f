//! `sinks`: how they stand, pausing, resuming and testing them.

use std::fmt::Write as _;

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    Failure,
    admin::{Service, Watch, list, path_segment},
    client::Client,
    output::{Output, cell, time},
};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum Sinks {
    /// List sinks with their state and backlog
    List {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        service: Service,
    },
    /// Pause a sink: its events wait, nothing is lost
    Pause {
        /// The sink's name
        name: String,
        #[command(flatten)]
        service: Service,
    },
    /// Let a paused or tripped sink go on
    Resume {
        /// The sink's name
        name: String,
        #[command(flatten)]
        service: Service,
    },
    /// Send a test event (`relay.test`) straight to a sink, past the store
    Test {
        /// The sink's name
        name: String,
        #[command(flatten)]
        service: Service,
    },
}

/// `sinks …`
pub(super) async fn run(config: Config, command: Sinks, output: Output) -> Result<bool, Failure> {
    let (verb, name, service) = match command {
        Sinks::List { watch, service } => {
            let client = Client::new(config, service.admin_url.as_deref())?;
            let head =
                ["SINK", "TYPE", "STATE", "BACKLOG", "HELD", "DEAD", "DELIVERED", "LAST SUCCESS (UTC)", "NOTES (UTC)"];
            let row = |sink: &Value| {
                vec![
                    cell(&sink["name"]),
                    if sink["configured"] == true { cell(&sink["type"]) } else { "(not configured)".to_owned() },
                    sink_state(sink),
                    cell(&sink["backlog"]),
                    cell(&sink["held"]),
                    cell(&sink["dead"]),
                    cell(&sink["delivered"]),
                    time(&sink["last_success"]),
                    sink_notes(sink),
                ]
            };
            watch
                .show(output, async || client.get("/sinks", &[]).await, |answer| list(answer, output, &head, row))
                .await?;
            return Ok(true);
        }
        Sinks::Pause { name, service } => ("pause", name, service),
        Sinks::Resume { name, service } => ("resume", name, service),
        Sinks::Test { name, service } => return test(config, &name, &service, output).await,
    };
    let client = Client::new(config, service.admin_url.as_deref())?;
    let sink = client.post(&format!("/sinks/{}/{verb}", path_segment(&name))).await?;
    let mut text = format!("The sink {} is {}.", cell(&sink["name"]), sink_state(&sink));
    if sink["note"].is_string() {
        let _ = write!(text, " {}", cell(&sink["note"]));
    }
    output.say(&sink, &text)?;
    Ok(true)
}

/// A sink's state in words.
fn sink_state(sink: &Value) -> String {
    cell(&sink["state"]).replace('_', " ")
}

/// Why a sink is paused, when it is probed, and its last error with its time unless it has got something since.
fn sink_notes(sink: &Value) -> String {
    let mut notes = Vec::new();
    let error = &sink["last_error"]["error"];
    if sink["paused_reason"].is_string() {
        notes.push(cell(&sink["paused_reason"]));
    }
    if sink["next_probe_at"].is_string() && sink["state"] == "tripped" {
        notes.push(format!("next probe {}", time(&sink["next_probe_at"])));
    }
    let at = |value: &Value| value.as_str().and_then(|at| at.parse::<Timestamp>().ok());
    let is_over = at(&sink["last_success"]) > at(&sink["last_error"]["at"]);
    // A sink that its target ended is paused for that very error.
    if error.is_string() && !is_over && *error != sink["paused_reason"] {
        notes.push(format!("last error {}: {}", time(&sink["last_error"]["at"]), cell(error)));
    }
    notes.join("; ")
}

/// `sinks test`: exit 0 only if the sink took the event.
async fn test(config: Config, name: &str, service: &Service, output: Output) -> Result<bool, Failure> {
    let client = Client::new(config, service.admin_url.as_deref())?;
    // As long as a sink's time-out may be.
    let answer = client.decide(&format!("/sinks/{}/test", path_segment(name)), &Value::Object(Map::new())).await?;
    let mut text = format!(
        "The test of the sink {} came to `{}` after {:.1} ms.",
        cell(&answer["sink"]),
        cell(&answer["outcome"]),
        answer["duration_ms"].as_f64().unwrap_or_default()
    );
    if answer["reason"].is_string() {
        let _ = write!(text, "\n  {}", cell(&answer["reason"]));
    }
    if answer["note"].is_string() {
        let _ = write!(text, "\n{}", cell(&answer["note"]));
    }
    output.say(&answer, &text)?;
    Ok(answer["outcome"] == "delivered")
}
