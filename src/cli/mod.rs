//! The commands. Only this module and `main.rs` print for people and use `anyhow`.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration (more in `failure`). Answers go to standard output
//! (tables for people, JSON with `--json`), everything else to standard error, where errors are problem documents with
//! `--json`.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    config::Config,
    options::{Problems, env},
    service::Loader,
};

mod admin;
mod bookings;
mod check;
mod client;
mod config;
mod confirm;
mod demo;
mod dispatches;
mod endpoints;
mod erase;
mod events;
mod failure;
mod health;
mod local;
mod migrate;
mod output;
mod preview;
mod private;
mod refusals;
mod register;
mod rekey;
mod reload;
mod send;
mod serve;
mod simulate;
mod sinks;

use failure::Failure;

/// Receives Finkare's webhooks, stores each event once, and relays it to every sink until it has arrived.
#[derive(Debug, Parser)]
#[command(name = "finkare-relay", version, propagate_version = true, after_help = after_help())]
struct Arguments {
    /// Configuration file [default: `RELAY_CONFIG`, else `relay.toml` if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Answer with JSON, for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Serve,
    /// Demonstrate the service in one process, with nothing to set up
    Demo(demo::Options),
    /// Check the configuration, the store and every sink, without side effects
    Check,
    /// Bring the store's schema up to date (`serve` does so by itself)
    Migrate,
    /// Create the webhook at Finkare, or adopt the one that has this URL, and store its secret
    Register(register::Options),
    /// Rotate the webhook's secret at Finkare, without dropping a delivery
    RotateSecret(endpoints::Rotate),
    /// Make the running service read its configuration again, as a whole or not at all
    Reload(reload::Options),
    /// Encrypt the stored secrets with a new master key (`RELAY_NEW_MASTER_KEY`); stop all services first
    Rekey,
    /// Sign and post test deliveries as Finkare does
    Send(send::Options),
    /// Run a local Finkare: its API, signed deliveries, and faults on demand
    Simulate(simulate::Options),
    /// Show endpoints, their secrets and Finkare's own delivery history; settle a secret
    #[command(subcommand)]
    Endpoints(endpoints::Endpoints),
    /// Show the audit trail: who did what, and when
    #[command(subcommand)]
    Audit(endpoints::Audit),
    /// Show and replay events
    #[command(subcommand)]
    Events(events::Events),
    /// Show, retry and cancel dispatches (one event for one sink, with its state)
    #[command(subcommand)]
    Dispatches(dispatches::Dispatches),
    /// Show rejected deliveries and the reasons
    #[command(subcommand)]
    Refusals(refusals::Refusals),
    /// Show payments that were recorded in invoicing software, and settle those whose outcome is unknown
    #[command(subcommand)]
    Bookings(bookings::Bookings),
    /// Show, pause, resume and test sinks
    #[command(subcommand)]
    Sinks(sinks::Sinks),
    /// Show what a sink would get for an event, or why it would get nothing, without sending anything
    Try(preview::Options),
    /// Permanently remove the payloads of one invoice; ids, hashes and times remain
    Erase(erase::Options),
    /// Show what can be configured
    #[command(subcommand)]
    Config(config::Configuration),
    /// Print the OpenAPI document of the admin API
    Openapi,
    /// Check whether the service on this machine is up; exit 0 if so (for container health checks)
    Health(health::Options),
}

fn after_help() -> String {
    let mut text = String::from("Environment (each variable also as NAME_FILE, which names a file with the value):\n");
    for variable in &crate::config::VARIABLES {
        let _ = writeln!(text, "  {:<24} {} [default: {}]", variable.name, variable.meaning, variable.default);
    }
    text
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // The arguments could not be parsed, so `--json` is looked for by hand; words after `--` are values.
            let json = std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json");
            return failure::of_arguments(&error, json);
        }
    };
    let json = arguments.json;
    let Some(command) = arguments.command else { return help(json) };
    // Every TLS client of the process uses this provider; a second call would only say that it is there.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = anyhow::Error::new(error).context("the asynchronous runtime could not be started");
            return failure::told(&error.into(), json);
        }
    };
    let output = output::Output { json };
    let result = runtime.block_on(run(arguments.config.as_deref(), command, output));
    // Work that still runs on the runtime's blocking threads must not keep the process alive.
    runtime.shutdown_background();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => failure::told(&failure, json),
    }
}

/// The bare command prints the help. It starts nothing, so that typing it does no harm in any folder.
fn help(json: bool) -> ExitCode {
    let text = Arguments::command().render_long_help();
    let text =
        if std::io::IsTerminal::is_terminal(&std::io::stdout()) { text.ansi().to_string() } else { text.to_string() };
    match output::print(text.trim_end()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::told(&error.into(), json),
    }
}

async fn run(path: Option<&Path>, command: Command, output: output::Output) -> Result<bool, Failure> {
    match command {
        Command::Serve => serve::run(load(path)?, reloading(path)).await,
        Command::Demo(options) => demo::run(options).await,
        Command::Check => check::run(load(path)?, output).await,
        Command::Migrate => migrate::run(load(path)?, output).await,
        Command::Register(options) => register::run(load(path)?, options, output).await,
        Command::RotateSecret(options) => endpoints::rotate(load(path)?, options, output).await,
        Command::Reload(options) => reload::run(load(path)?, options, output).await,
        Command::Rekey => rekey::run(load(path)?, output).await,
        Command::Endpoints(command) => endpoints::endpoints(load(path)?, command, output).await,
        Command::Audit(command) => endpoints::audit(load(path)?, command, output).await,
        Command::Send(options) => send::run(load(path)?, options, output).await,
        Command::Simulate(options) => simulate::run(options, output).await,
        Command::Events(command) => events::run(load(path)?, command, output).await,
        Command::Dispatches(command) => dispatches::run(load(path)?, command, output).await,
        Command::Refusals(command) => refusals::run(load(path)?, command, output).await,
        Command::Bookings(command) => bookings::run(load(path)?, command, output).await,
        Command::Sinks(command) => sinks::run(load(path)?, command, output).await,
        Command::Try(options) => preview::run(load(path)?, options, output).await,
        Command::Erase(options) => erase::run(load(path)?, options, output).await,
        Command::Config(command) => config::run(&command),
        Command::Openapi => {
            // The text ends in a newline, as a file does.
            output::print(crate::web::admin::openapi::text().trim_end_matches('\n'))?;
            Ok(true)
        }
        Command::Health(options) => health::run(path, options, output).await,
    }
}

/// Reads the configuration again as at the start, with the generated secrets.
fn reloading(path: Option<&Path>) -> Loader {
    let path = path.map(Path::to_owned);
    Arc::new(move || {
        let mut config = load(path.as_deref())?;
        local::find_made_up(&mut config);
        Ok(config)
    })
}

fn load(path: Option<&Path>) -> Result<Config, Problems> {
    crate::config::load(path, &env::of_process)
}
