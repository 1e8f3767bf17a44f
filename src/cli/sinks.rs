//! `sinks`: lists, pauses, resumes and tests sinks.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::{Map, Value};

use super::{
    Failure,
    admin::{Service, Watch, list, path_segment, read},
    client::Client,
    dispatches::{duration_text, outcome_text},
    output::{Output, plain, second, second_or_empty},
};
use crate::{
    config::Config,
    web::admin::{
        sink_test::TestRow,
        sinks::{LastError, SinkRow, SinkState},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Sinks {
    /// List sinks with their state and backlog
    List {
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        service: Service,
    },
    /// Pause a sink: its events wait and are not lost
    Pause {
        /// The sink's name
        name: String,
        #[command(flatten)]
        service: Service,
    },
    /// Resume a paused or tripped sink
    Resume {
        /// The sink's name
        name: String,
        #[command(flatten)]
        service: Service,
    },
    /// Send a test event (`relay.test`) directly to a sink, without storing it
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
            let row = |sink: &SinkRow| {
                let kind = sink.r#type.as_deref().filter(|_| sink.configured);
                vec![
                    plain(&sink.name),
                    kind.map_or_else(|| "(not configured)".to_owned(), plain),
                    sink_state(sink),
                    sink.backlog.to_string(),
                    sink.held.to_string(),
                    sink.dead.to_string(),
                    sink.delivered.to_string(),
                    second_or_empty(sink.last_success),
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
    let answer = client.post(&format!("/sinks/{}/{verb}", path_segment(&name))).await?;
    let sink: SinkRow = read(&answer)?;
    let mut text = format!("The sink {} is {}.", plain(&sink.name), sink_state(&sink));
    if let Some(note) = &sink.note {
        let _ = write!(text, " {}", plain(note));
    }
    output.say(&answer, &text)?;
    Ok(true)
}

/// A sink's state in words.
fn sink_state(sink: &SinkRow) -> String {
    sink.state.as_str().replace('_', " ")
}

/// Why a sink is paused, when it is probed, and its last error with its time unless something was delivered since.
fn sink_notes(sink: &SinkRow) -> String {
    let mut notes = Vec::new();
    notes.extend(sink.paused_reason.as_deref().map(plain));
    if let Some(at) = sink.next_probe_at
        && sink.state == SinkState::Tripped
    {
        notes.push(format!("next probe {}", second(at)));
    }
    // A sink that was paused because its target said that it is gone has the same text twice.
    if let Some(LastError { at, error }) = &sink.last_error
        && sink.last_success <= Some(*at)
        && sink.paused_reason.as_ref() != Some(error)
    {
        notes.push(format!("last error {}: {}", second(*at), plain(error)));
    }
    notes.join("; ")
}

/// `sinks test`: exit 0 only if the sink accepted the event.
async fn test(config: Config, name: &str, service: &Service, output: Output) -> Result<bool, Failure> {
    let client = Client::new(config, service.admin_url.as_deref())?;
    // The call takes at most as long as the sink's time-out.
    let answer = client.decide(&format!("/sinks/{}/test", path_segment(name)), &Value::Object(Map::new())).await?;
    let test: TestRow = read(&answer)?;
    let TestRow { sink, outcome, duration_ms, .. } = &test;
    let is_delivered = outcome == "delivered";
    let what = if is_delivered { "was delivered".to_owned() } else { outcome_text(outcome) };
    let mut text = format!("The test event for the sink {} {what} after {}.", plain(sink), duration_text(*duration_ms));
    if let Some(reason) = &test.reason {
        let _ = write!(text, "\n  {}", plain(reason));
    }
    if let Some(note) = &test.note {
        let _ = write!(text, "\n{}", plain(note));
    }
    output.say(&answer, &text)?;
    Ok(is_delivered)
}
