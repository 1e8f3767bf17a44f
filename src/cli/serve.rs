//! `serve`: runs the service until it is told to stop.

use std::{cell::RefCell, io::IsTerminal, path::PathBuf};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, client::reachable, local, output::complain, private};
use crate::{
    config::{Config, StoreConfig},
    options::{Problems, env},
    service::{Loader, Service},
    telemetry::{self, traces::Settings},
};

/// Runs until SIGTERM or SIGINT, and reloads on SIGHUP. Answers false if a part of the service has failed. Work that was
/// interrupted at the end went back to the store, and is not a failure.
pub(super) async fn run(mut config: Config, load: Loader) -> Result<bool, Failure> {
    let variable = |name| env::read(name, &env::of_process);
    let (format, filter) = (variable("RELAY_LOG_FORMAT")?, variable("RUST_LOG")?);
    let _logging = telemetry::init(format.as_deref(), filter.as_deref()).map_err(Problems::of_variables)?;
    private::close_memory();
    start_traces()?;
    // Before anything slow, so that a signal during the start is not lost.
    let mut stop = Stop::new()?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(anyhow::Error::new)?;
    local::settle_master_key(&config).await?;
    let made = local::make_up(&mut config)?;
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = config.file.as_ref().map(|file| tracing::field::display(file.display())),
        store = match &config.store {
            StoreConfig::Sqlite { path } => path.display().to_string(),
            StoreConfig::Postgres { .. } => "postgres".to_owned(),
        },
        endpoints = config.endpoints.len(),
        sinks = config.sinks.len(),
        "starting"
    );
    let service = tokio::select! {
        service = Service::start(&config, load) => service.map_err(anyhow::Error::new)?,
        () = stop.asked() => return Ok(true),
    };
    telemetry::announce_listening(service.public, service.admin);
    greet(&config, &service, &made);
    // It holds secrets in plain text that are no longer needed.
    drop(config);

    // In a task of its own, so that no signal and no failure waits for a reload. A SIGHUP during a reload is remembered:
    // the file may have changed again after it was read.
    let reloader = service.reloader();
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            if let Err(error) = reloader.reload("SIGHUP").await {
                tracing::error!(%error, "the configuration was not reloaded");
            }
        }
    });
    tokio::select! {
        () = stop.asked() => tracing::info!("stopping: finishing the work in progress (a second signal stops at once)"),
        () = service.lifecycle.soft.cancelled() => {}
    }
    tokio::spawn(async move {
        stop.asked().await;
        complain("ending at once");
        std::process::exit(1);
    });
    let failed = service.lifecycle.failed();
    service.stop().await;
    telemetry::traces::stop().await;
    tracing::info!("stopped");
    Ok(!failed)
}

/// Enables traces if the variables of the OpenTelemetry standard are set.
fn start_traces() -> Result<(), Failure> {
    let problems = RefCell::new(None);
    let variable = |name| {
        let value = env::read(name, &env::of_process);
        value.unwrap_or_else(|problem| {
            problems.borrow_mut().get_or_insert(problem);
            None
        })
    };
    let settings = Settings::from_variables(variable);
    if let Some(problem) = problems.into_inner() {
        return Err(problem.into());
    }
    if let Some(settings) = settings.map_err(Problems::of_variables)? {
        telemetry::traces::start(&settings).map_err(Problems::of_variables)?;
    }
    Ok(())
}

/// SIGTERM and SIGINT.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tells a person who started the service without any configuration what was generated and what to do next.
fn greet(config: &Config, service: &Service, made: &[PathBuf]) {
    let mut lines = Vec::new();
    for file in made {
        lines.push(format!("made {} (only you can read it)", file.display()));
    }
    let Some(endpoint) = config.endpoints.first() else { return };
    if config.made_up.secret {
        if config.made_up.sink {
            lines.push("no sink is configured: events are printed to standard output".to_owned());
        }
        let program = std::env::args_os().next().unwrap_or_else(|| "finkare-relay".into());
        let program = program.to_string_lossy();
        let file = config.file.as_ref().map(|file| format!("--config {} ", file.display())).unwrap_or_default();
        lines.push(format!(
            "send a first event:  {program} {file}send payment.received --to http://{}{}",
            reachable(service.public),
            endpoint.path
        ));
        // A port that was chosen at the start is not in the configuration.
        let admin = match config.server.admin_listen.port() {
            0 => format!(" --admin-url http://{}", reachable(service.admin)),
            _ => String::new(),
        };
        lines.push(format!("look at it:          {program} {file}events list{admin}"));
    }
    if std::io::stderr().is_terminal() {
        for line in lines {
            complain(&format!("  {line}"));
        }
    } else {
        for line in lines {
            tracing::info!("{line}");
        }
    }
}
