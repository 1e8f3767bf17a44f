//! Confirms operations that cannot be undone or that change many objects. On a terminal the command says what will happen
//! and asks; elsewhere it needs `--yes`.
//!
//! `dispatches cancel` and `retry`, `events replay`, `bookings settle` and `erase` all work in this way:
//!
//! 1. With `--dry-run` the command says what would happen, and changes nothing.
//! 2. With `--yes` it does not ask.
//! 3. On a terminal it says what will happen, and to how many objects, and asks.
//! 4. Otherwise it changes nothing, says which option is missing, and exits with 2.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context;
use clap::Args;

use super::failure::{Failure, Usage};

/// The options `--yes` and `--dry-run`.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Sure {
    /// Do not ask for confirmation
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Say what would happen, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl Sure {
    /// True if a preview is needed, to be shown or to be confirmed. `what` describes the operation as the beginning of a
    /// sentence: "Erasing cannot be undone".
    ///
    /// # Errors
    /// [`Usage`] without `--yes` where no terminal can be asked.
    pub(super) fn wants_preview(self, what: &str) -> Result<bool, Usage> {
        if self.dry_run {
            return Ok(true);
        }
        if self.yes {
            return Ok(false);
        }
        if can_ask() {
            return Ok(true);
        }
        Err(Usage::new(format!(
            "{what}, and there is no terminal to ask for confirmation: add --yes to do it, or --dry-run to see what it would do"
        )))
    }
}

impl Sure {
    /// True if `--yes` was not given and a terminal can be asked.
    pub(super) fn can_be_asked(self) -> bool {
        !self.yes && can_ask()
    }
}

/// True if a person at a terminal can answer a question.
fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks at the terminal. Any answer but yes counts as no.
pub(super) fn ask(question: &str) -> Result<bool, Failure> {
    let mut terminal = io::stderr();
    let written = write!(terminal, "{question} [y/N] ").and_then(|()| terminal.flush());
    written.context("the terminal cannot be written to")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("the terminal cannot be read")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes" | "YES"))
}
