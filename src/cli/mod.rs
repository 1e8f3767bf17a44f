//! The commands. With `main.rs` the only place that prints for people and the only user of `anyhow`.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. Answers go to standard output
//! (tables for people, JSON with `--json`), everything else to standard error.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand};

use crate::{
    config::{self, Config, Problems},
    service::Loader,
};

mod bookings;
mod check;
mod client;
mod demo;
mod endpoints;
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
    /// Run the service (also with no command)
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
    /// Print the OpenAPI document of the admin API
    Openapi,
    /// Ask the service on this machine whether it is ready; exit 0 if so (for container health checks)
    Health,
}

fn after_help() -> String {
    let mut text = String::from("Environment (each also as NAME_FILE, naming a file that holds the value):\n");
    for variable in &config::env::VARIABLES {
        let _ = writeln!(text, "  {:<24} {} [default: {}]", variable.name, variable.meaning, variable.default);
    }
    text
}

/// Why a command ended without success.
enum Failure {
    /// Exit code 2: what the operator wrote is wrong.
    Configuration(Problems),
    /// Exit code 2: the running service says that what the operator wrote is wrong.
    Refused(String),
    /// Exit code 1.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Configuration(problems)
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    // Arguments that clap cannot use end here, with exit code 2.
    let arguments = Arguments::parse();
    // Every TLS client of the process uses this provider; a second call would only say that it is there.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the asynchronous runtime could not be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(arguments));
    // Whatever still runs on the runtime's blocking threads must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure::Configuration(problems)) => {
            eprintln!("{problems}");
            ExitCode::from(2)
        }
        Err(Failure::Refused(problems)) => {
            eprintln!("error: {problems}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            // By hand, so that RUST_BACKTRACE does not bury the message.
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<bool, Failure> {
    let path = arguments.config.as_deref();
    let output = output::Output { json: arguments.json };
    match arguments.command.unwrap_or(Command::Serve) {
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
        Command::Openapi => Ok(openapi()),
        Command::Health => manage::health(&load(path)?).await,
    }
}

/// Prints the document as it is served; false if nobody reads it.
fn openapi() -> bool {
    std::io::stdout().write_all(crate::web::admin::openapi::text().as_bytes()).is_ok()
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
    config::load(path, &|name| std::env::var(name).ok())
}
