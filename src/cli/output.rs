//! The form of the output: JSON for programs, aligned columns for people.

use jiff::Timestamp;
use serde_json::Value;

pub(super) use super::{
    streams::{Unwritten, complain, print, print_whole},
    tables::second,
};
use super::{
    tables::csv,
    view::{Form, print_long, view},
};

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
        match view().form {
            Form::Csv => print_whole(&csv_of(json)),
            _ if self.json => print(&json.to_string()),
            _ if text.is_empty() => Ok(()),
            _ => print_long(text),
        }
    }

    /// Prints further information for people on standard error; programs find it in the answer.
    pub(super) fn say_besides(self, text: &str) {
        if !self.json && !text.is_empty() {
            complain(text);
        }
    }
}

/// One object as CSV: a row for each of its members.
fn csv_of(json: &Value) -> String {
    let rows: Vec<[String; 2]> =
        json.as_object().into_iter().flatten().map(|(name, value)| [plain(name), cell(value)]).collect();
    csv(rows.iter().map(<[String; 2]>::as_slice))
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

/// Like [`second`]; empty if there is no time.
pub(super) fn second_or_empty(time: Option<Timestamp>) -> String {
    time.map(second).unwrap_or_default()
}

/// A time in JSON as a cell: to the second.
pub(super) fn time(value: &Value) -> String {
    let text = cell(value);
    text.parse().map_or(text, second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        assert_eq!(cell(&Value::from("a\u{1b}[2Jb\nc")), "a [2Jb c");
        assert_eq!(time(&Value::from("2026-03-15T10:30:00.123Z")), "2026-03-15 10:30:00");
    }
}
