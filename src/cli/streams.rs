//! Standard output and standard error. Everything is printed by this module.
//!
//! The `print!` macros panic if the reader has gone, as in `events list | head -1`, so clippy rejects them in this crate
//! (`lib.rs`). [`print`] returns an error instead, which ends the command silently.

use std::io::{self, Write as _};

/// Standard output could not be written to.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written to")]
pub(super) struct Unwritten(#[source] pub(super) io::Error);

/// Prints a line, or several, on standard output.
///
/// # Errors
/// [`Unwritten`]; if the reader has gone, it ends the command silently.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    print_whole(&format!("{text}\n"))
}

/// Prints a text that ends its own lines.
///
/// # Errors
/// As for [`print`].
pub(super) fn print_whole(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    Ok(written.map_err(Unwritten)?)
}

/// Prints a line, or several, on standard error. Errors are ignored.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
