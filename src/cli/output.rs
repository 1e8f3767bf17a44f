//! The form of the output: JSON for programs, aligned columns for people. Everything is printed by this module.
//!
//! The `print!` macros panic if the reader has gone, as in `events list | head -1`, so clippy rejects them in this crate
//! (`lib.rs`). [`print`] returns an error instead, which ends the command silently.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use jiff::Timestamp;
use serde_json::Value;

/// Standard output could not be written to.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written to")]
pub(super) struct Unwritten(#[source] pub(super) io::Error);

/// Prints a line, or several, on standard output.
///
/// # Errors
/// [`Unwritten`]; if the reader has gone, it ends the command silently.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let written =
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush());
    Ok(written.map_err(Unwritten)?)
}

/// Prints a line, or several, on standard error. Errors are ignored.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The chosen form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    /// `--json`
    pub(super) json: bool,
}

impl Output {
    /// Prints an answer.
    ///
    /// # Errors
    /// As for [`print`].
    pub(super) fn say(self, json: &Value, text: &str) -> anyhow::Result<()> {
        if self.json {
            print(&json.to_string())
        } else if text.is_empty() {
            Ok(())
        } else {
            print(text)
        }
    }

    /// Prints further information for people on standard error; programs find it in the answer.
    pub(super) fn say_besides(self, text: &str) {
        if !self.json && !text.is_empty() {
            complain(text);
        }
    }
}

/// A table with a header row; the last column is not padded.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        text.trim_end().to_owned()
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text.push('\n');
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// A text on one line, with a blank for each control character, so that it cannot control the terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Like [`plain`]; empty if there is no text.
pub(super) fn plain_or_empty(text: Option<&str>) -> String {
    text.map(plain).unwrap_or_default()
}

/// A JSON value as a cell: texts without quotes as by [`plain`], empty for null.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        other => other.to_string(),
    }
}

/// `1 event`, `2 events`.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A time as a cell: to the second, in UTC.
pub(super) fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Like [`second`]; empty if there is no time.
pub(super) fn second_or_empty(time: Option<Timestamp>) -> String {
    time.map(second).unwrap_or_default()
}

/// A time in JSON as a cell: to the second, in UTC.
pub(super) fn time(value: &Value) -> String {
    let text = cell(value);
    text.parse().map_or(text, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["1".into(), "délivré".into(), String::new()], vec!["100".into(), "x".into(), "why".into()]];
        assert_eq!(table(&["ID", "STATE", "ERROR"], &rows), "ID   STATE    ERROR\n1    délivré\n100  x        why");
    }

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        assert_eq!(cell(&Value::from("a\u{1b}[2Jb\nc")), "a [2Jb c");
        assert_eq!(time(&Value::from("2026-03-15T10:30:00.123Z")), "2026-03-15 10:30:00");
    }
}
