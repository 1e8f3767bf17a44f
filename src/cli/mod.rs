//! The commands. With `main.rs` the only place that prints for people and the only user of `anyhow`.
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

mod bookings;
mod check;
mod client;
mod config;
mod confirm;
mod demo;
mod endpoints;
mod failure;
mod health;
mod local;
mod manage;
mod migrate;
mod operate;
mod output;
mod private;
mod refusals;
mod register;
mod rekey;
mod reload;
mod send;
mod serve;
mod simulate;
mod trying;

use failure::Failure;

/// Receives Finkare's webhooks, keeps each event once, and relays it until it has arrived.
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
    /// Show the main job working, in one process, with nothing to set up
    Demo(demo::Options),
    /// Check the configuration, the store and every sink, without side effects
    Check,
    /// Bring the store's schema up to date (`serve` does so by itself)
    Migrate,
    /// Create the webhook at Finkare, or take the one that has this URL, and store its secret
    Register(register::Options),
    /// Let Finkare give the webhook a new secret, without dropping a delivery
    RotateSecret(endpoints::Rotate),
    /// Let the running service read its configuration again: as a whole, or not at all
    Reload(reload::Options),
    /// Encrypt the stored secrets under another master key (`RELAY_NEW_MASTER_KEY`); stop all services first
    Rekey,
    /// Sign and post test deliveries as Finkare does
    Send(send::Options),
    /// Run a local Finkare: its API, its signed deliveries, and faults on demand
    Simulate(simulate::Options),
    /// Look at endpoints, their secrets and Finkare's own deliveries
    #[command(subcommand)]
    Endpoints(endpoints::Endpoints),
    /// Look at who did what
    #[command(subcommand)]
    Audit(endpoints::Audit),
    /// Look at events, send them again
    #[command(subcommand)]
    Events(manage::Events),
    /// Look at dispatches (one event for one sink, with its state), retry and cancel them
    #[command(subcommand)]
    Dispatches(manage::Dispatches),
    /// Look at what was refused, and why
    #[command(subcommand)]
    Refusals(refusals::Refusals),
    /// Look at what was written of payments in invoicing software, settle what is in doubt
    #[command(subcommand)]
    Bookings(bookings::Bookings),
    /// Look at sinks, pause, resume and test them
    #[command(subcommand)]
    Sinks(manage::Sinks),
    /// Show what a sink would get of an event, or why it would not, without sending anything
    Try(trying::Options),
    /// Remove the payloads of one invoice for good; ids, hashes and times stay
    Erase(operate::Erase),
    /// Show what can be configured
    #[command(subcommand)]
    Config(config::Configuration),
    /// Print the OpenAPI document of the admin API
    Openapi,
    /// Ask the service on this machine whether it is up; exit 0 if so (for container health checks)
    Health(health::Options),
}

fn after_help() -> String {
    let mut text = String::from("Environment (each also as NAME_FILE, naming a file that holds the value):\n");
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
            // Not known from the arguments, which could not be read; what stands after `--` names things.
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
    // Whatever still runs on the runtime's blocking threads must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => failure::told(&failure, json),
    }
}

/// The bare command: what there is. It starts nothing, so that typing it does no harm in any folder.
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
        Command::Events(command) => manage::events(load(path)?, command, output).await,
        Command::Dispatches(command) => manage::dispatches(load(path)?, command, output).await,
        Command::Refusals(command) => refusals::run(load(path)?, command, output).await,
        Command::Bookings(command) => bookings::run(load(path)?, command, output).await,
        Command::Sinks(command) => manage::sinks(load(path)?, command, output).await,
        Command::Try(options) => trying::run(load(path)?, options, output).await,
        Command::Erase(options) => operate::erase(load(path)?, options, output).await,
        Command::Config(command) => config::run(&command),
        Command::Openapi => {
            // The text ends in a newline, as a file does.
            output::print(crate::web::admin::openapi::text().trim_end_matches('\n'))?;
            Ok(true)
        }
        Command::Health(options) => health::run(path, options, output).await,
    }
}

/// Reads the configuration again as it was read at the start, with what was made up.
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
