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

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{
    config::Config,
    model::secret::Secret,
    options::{Problems, env},
    service::Loader,
};

mod about;
mod admin;
mod backup;
mod bookings;
mod books;
mod check;
mod client;
mod config;
mod confirm;
mod demo;
mod dispatches;
mod endpoints;
mod erase;
mod events;
mod examples;
mod failure;
mod follow;
mod health;
mod interrupting;
mod link;
mod local;
mod migrate;
mod output;
mod pay;
mod preview;
mod private;
mod reconcile;
mod refusals;
mod register;
mod rekey;
mod reload;
mod send;
mod serve;
mod simulate;
mod sinks;
mod statement;
mod status;
mod streams;
mod tables;
mod usage;
mod view;

use failure::Failure;

/// Receives Finkare's webhooks, stores each event once, and relays it to every sink until it has arrived.
#[derive(Debug, Parser)]
#[command(name = "finkare-relay", version, propagate_version = true, after_help = after_help())]
struct Arguments {
    /// Configuration file [default: `RELAY_CONFIG`, else `relay.toml` if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read the admin token from this file [default: `RELAY_ADMIN_TOKEN`, or the configuration's own]
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    look: view::Look,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Serve,
    /// Demonstrate the service in one process, with nothing to set up
    Demo(demo::Options),
    /// Show the service on one screen: what is up, what waits, what needs a person; exit 1 if something does
    Status(status::Options),
    /// Print events as they come, until interrupted
    Follow(follow::Options),
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
    /// Make a payment in the simulated Finkare (`simulate`), which announces it
    Pay(pay::Options),
    /// Run a local Finkare: its API, signed deliveries, and faults on demand
    Simulate(simulate::Options),
    /// Show endpoints, their secrets and Finkare's own delivery history; settle a secret
    #[command(subcommand, arg_required_else_help = true)]
    Endpoints(endpoints::Endpoints),
    /// Show the audit trail: who did what, and when
    #[command(subcommand, arg_required_else_help = true)]
    Audit(endpoints::Audit),
    /// Show and replay events
    #[command(subcommand, arg_required_else_help = true)]
    Events(events::Events),
    /// Show, retry and cancel dispatches (one event for one sink, with its state)
    #[command(subcommand, arg_required_else_help = true)]
    Dispatches(dispatches::Dispatches),
    /// Show rejected deliveries and the reasons
    #[command(subcommand, arg_required_else_help = true)]
    Refusals(refusals::Refusals),
    /// Show payments that were recorded in invoicing software, and settle those whose outcome is unknown
    #[command(subcommand, arg_required_else_help = true)]
    Bookings(bookings::Bookings),
    /// Show what was recorded of a month's payments in which system, and what is not there yet: for people, a spreadsheet or
    /// accounting software
    Statement(statement::Options),
    /// Compare the payments of some days with Finkare's, to the cent; exit 1 if something differs
    Reconcile(reconcile::Options),
    /// Make a link to some pages of the dashboard, for somebody without a token (an accountant); list and revoke links
    Link(link::Options),
    /// Show, pause, resume and test sinks
    #[command(subcommand, arg_required_else_help = true)]
    Sinks(sinks::Sinks),
    /// Show what a sink would get for an event, or why it would get nothing, without sending anything
    Try(preview::Options),
    /// Permanently remove the payloads of one invoice; ids, hashes and times remain
    Erase(erase::Options),
    /// Copy the SQLite database into a new file, also while the service runs
    Backup(backup::Backup),
    /// Put a copy that `backup` made into the place of the database
    Restore(backup::Restore),
    /// Show what can be configured
    #[command(subcommand, arg_required_else_help = true)]
    Config(config::Configuration),
    /// Print the OpenAPI document of the admin API
    Openapi,
    /// Print the completions for a shell
    Completion(about::Completion),
    /// Write the manual pages, one for each command
    Man(about::Man),
    /// Show the version, and what it was built with
    Version,
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
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            // The arguments could not be parsed, so `--json` is looked for by hand; words after `--` are values.
            let json = std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json");
            return failure::of_arguments(&error, json);
        }
    };
    view::decide(arguments.look);
    let json = arguments.look.form() != view::Form::Table;
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
    let sources = Sources { config: arguments.config, token_file: arguments.token_file };
    let result = runtime.block_on(run(&sources, command, output));
    // Work that still runs on the runtime's blocking threads must not keep the process alive.
    runtime.shutdown_background();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => failure::told(&failure, json),
    }
}

/// The arguments of this process.
fn arguments() -> Result<Arguments, clap::Error> {
    let mut command = whole();
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// All commands, with their examples.
fn whole() -> clap::Command {
    examples::with_examples(Arguments::command())
}

/// The bare command prints the help. It starts nothing, so that typing it does no harm in any folder.
fn help(json: bool) -> ExitCode {
    let text = whole().render_long_help();
    let text =
        if std::io::IsTerminal::is_terminal(&std::io::stdout()) { text.ansi().to_string() } else { text.to_string() };
    match output::print(text.trim_end()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::told(&error.into(), json),
    }
}

/// Where a command finds its configuration and its token.
struct Sources {
    config: Option<PathBuf>,
    token_file: Option<PathBuf>,
}

async fn run(sources: &Sources, command: Command, output: output::Output) -> Result<bool, Failure> {
    let path = sources.config.as_deref();
    let load = |path: Option<&Path>| -> Result<Config, Failure> {
        let mut config = load(path)?;
        if let Some(file) = &sources.token_file {
            let token = env::read_value(file).map_err(|what| failure::Usage::new(format!("--token-file: {what}")))?;
            config.admin.from_environment = Some(Secret::new(token));
        }
        Ok(config)
    };
    match command {
        Command::Serve => serve::run(load(path)?, reloading(path)).await,
        Command::Demo(options) => demo::run(options).await,
        Command::Status(options) => status::run(load(path)?, options, output).await,
        Command::Follow(options) => follow::run(load(path)?, options, output).await,
        Command::Backup(options) => backup::backup(load(path)?, options, output).await,
        Command::Restore(options) => backup::restore(load(path)?, options, output).await,
        Command::Completion(options) => about::completion(&options, whole()),
        Command::Man(options) => about::man(&options, whole(), output),
        Command::Version => about::version(output),
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
        Command::Pay(options) => pay::run(options, output).await,
        Command::Events(command) => events::run(load(path)?, command, output).await,
        Command::Dispatches(command) => dispatches::run(load(path)?, command, output).await,
        Command::Refusals(command) => refusals::run(load(path)?, command, output).await,
        Command::Bookings(command) => bookings::run(load(path)?, command, output).await,
        Command::Statement(options) => statement::run(load(path)?, options).await,
        Command::Reconcile(options) => reconcile::run(load(path)?, options, output).await,
        Command::Link(options) => link::run(load(path)?, options, output).await,
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
