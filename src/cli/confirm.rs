//! Decisions that cannot be taken back, or that touch many things at once: said before they are carried out, asked about
//! on a terminal, and carried out elsewhere only with `--yes`.
//!
//! One pattern for `dispatches cancel` and `retry`, `events replay`, `bookings settle` and `erase`:
//!
//! 1. `--dry-run` says what would happen, and does nothing.
//! 2. `--yes` asks nothing.
//! 3. On a terminal it says what will happen, and to how many, and asks.
//! 4. Where nobody can be asked it does nothing: exit code 2, with what to add.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context;
use clap::Args;

use super::failure::{Failure, Usage};

/// How sure the caller is.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Sure {
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Say what would happen, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl Sure {
    /// Whether a preview is needed: to be shown, or to be asked about. `what` is the decision, as the beginning of a
    /// sentence: "Erasing cannot be undone".
    ///
    /// # Errors
    /// [`Usage`] where nobody can be asked and nobody has said yes. Nothing was looked at then.
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
            "{what}, and nobody can be asked here: add --yes to do it, or --dry-run to see what it would do"
        )))
    }
}

impl Sure {
    /// True if nobody has said yes, and somebody can be asked.
    pub(super) fn can_be_asked(self) -> bool {
        !self.yes && can_ask()
    }
}

/// True if there is somebody at a terminal who can answer a question.
fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks at the terminal, after what the decision would do was said; anything but a yes is a no.
pub(super) fn ask(question: &str) -> Result<bool, Failure> {
    let mut terminal = io::stderr();
    let written = write!(terminal, "{question} [y/N] ").and_then(|()| terminal.flush());
    written.context("the terminal cannot be written to")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("the terminal cannot be read")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes" | "YES"))
}
