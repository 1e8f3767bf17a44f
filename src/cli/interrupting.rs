//! Ctrl-C while the service carries out an operation on many objects.
//!
//! The service finishes what it has begun even if the caller goes (`crate::bulk`): half of it would be hard to find. So
//! Ctrl-C ends the command, begins nothing more, and says what was done, what goes on, and where the result will be.

use std::{
    error::Error,
    fmt,
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// After how long a person who waits is told that the work goes on, and how often.
const TELL: Duration = Duration::from_secs(1);

/// A person has interrupted the command: exit code 130, as of a process that SIGINT ended.
#[derive(Debug)]
pub(super) struct Interrupted(pub(super) String);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Interrupted {}

/// Notes Ctrl-C from its creation on, also between two calls.
pub(super) struct Interrupts(Signal);

impl Interrupts {
    /// Ctrl-C no longer ends the process by itself.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub(super) fn noted() -> anyhow::Result<Self> {
        Ok(Self(signal(SignalKind::interrupt()).context("Ctrl-C cannot be waited for")?))
    }

    /// Waits for a call, and tells a person at a terminal how long it has taken so far.
    ///
    /// # Errors
    /// That of the call; [`Interrupted`] with what `so_far` says.
    pub(super) async fn unless<T>(
        &mut self,
        call: impl Future<Output = anyhow::Result<T>>,
        what: &str,
        so_far: impl FnOnce() -> String,
    ) -> anyhow::Result<T> {
        let is_watched = std::io::stderr().is_terminal();
        let began = Instant::now();
        let mut call = std::pin::pin!(call);
        let mut is_told = false;
        let result = loop {
            tokio::select! {
                // An answer that is there counts, even if Ctrl-C came at the same moment.
                biased;
                result = &mut call => break result,
                _ = self.0.recv() => break Err(Interrupted(so_far()).into()),
                () = tokio::time::sleep(TELL), if is_watched => {
                    // One line that is written over (ECMA-48, EL).
                    told(&format!("\r{what} … {} s\u{1b}[K", began.elapsed().as_secs()));
                    is_told = true;
                }
            }
        };
        if is_told {
            told("\r\u{1b}[K");
        }
        result
    }
}

/// Writes to standard error without ending the line.
fn told(text: &str) {
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
