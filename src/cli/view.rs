//! How answers are shown: in which form, with which colours, how wide, in which time zone. Decided once, from the options,
//! the environment and whether a person is looking.
//!
//! On a terminal, tables fit its width, have colours, show local time, and go through a pager if they are longer than the
//! screen. In a pipe or a file they are complete, plain, and in UTC unless `TZ` is set: what reads them there must not depend
//! on who started it. CSV is in UTC always.

use std::{
    io::{IsTerminal as _, Write as _},
    process::{Command, Stdio},
    sync::OnceLock,
};

use clap::{Args, ValueEnum};
use jiff::{Timestamp, tz::TimeZone};

use super::streams::print;
use crate::{model::clock, options::env};

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Form {
    /// Aligned columns, for people.
    #[default]
    Table,
    /// The admin API's answer.
    Json,
    /// One JSON object for each row.
    Jsonl,
    /// Comma-separated values with a header (RFC 4180).
    Csv,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The options of all commands that decide how an answer looks.
#[derive(Debug, Clone, Copy, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Look {
    /// Answer with JSON, for programs: short for `--output json`
    #[arg(long, global = true, conflicts_with = "output")]
    pub(super) json: bool,
    /// The form of the answer
    #[arg(short, long, global = true, value_enum, value_name = "FORM")]
    output: Option<Form>,
    /// Do not cut tables to the width of the terminal
    #[arg(long, global = true)]
    wide: bool,
    /// When to use colours [default: auto: on a terminal, unless `NO_COLOR` is set]
    #[arg(long, global = true, value_enum, value_name = "WHEN")]
    color: Option<Colour>,
    /// Do not show long lists in a pager (`RELAY_PAGER`, `PAGER`)
    #[arg(long, global = true)]
    no_pager: bool,
    /// Show and read times in UTC instead of local time
    #[arg(long, global = true)]
    utc: bool,
}

impl Look {
    /// The form.
    pub(super) fn form(self) -> Form {
        self.output.unwrap_or(if self.json { Form::Json } else { Form::Table })
    }
}

/// What was decided.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// The form of answers.
    pub(super) form: Form,
    /// True if colours are used.
    pub(super) has_colour: bool,
    /// The width of tables; `None`: as wide as they are.
    pub(super) width: Option<usize>,
    /// The zone of times.
    pub(super) zone: TimeZone,
    /// The lines of the screen beyond which a pager is used, and its command.
    pub(super) pager: Option<(usize, String)>,
}

static VIEW: OnceLock<View> = OnceLock::new();

/// Decides how this process shows its answers. A second call has no effect.
pub(super) fn decide(look: Look) {
    let is_terminal = std::io::stdout().is_terminal();
    let variable = |name: &str| env::of_process(name).map(|value| value.to_string_lossy().into_owned());
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let size = terminal_size::terminal_size().filter(|_| is_terminal);
    let pager = variable("RELAY_PAGER").or_else(|| variable("PAGER")).unwrap_or_else(|| "less -FRX".to_owned());
    let has_colour = match look.color.unwrap_or_default() {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => is_terminal && !is_set("NO_COLOR") && variable("TERM").is_none_or(|term| term != "dumb"),
    };
    let view = View {
        form: look.form(),
        has_colour: has_colour && look.form() == Form::Table,
        width: size.filter(|_| !look.wide).map(|(width, _)| usize::from(width.0)),
        // A file outlives the zone it was made in, and rows of winter and summer stand in one column.
        zone: if look.form() == Form::Csv { TimeZone::UTC } else { zone(look.utc) },
        pager: size
            .filter(|_| !look.no_pager && !pager.trim().is_empty())
            .map(|(_, height)| (usize::from(height.0), pager)),
    };
    let _ = VIEW.set(view);
}

/// UTC, or where a person is looking (or `TZ` says where) the local zone.
fn zone(utc: bool) -> TimeZone {
    let is_local = std::io::stdout().is_terminal() || env::of_process("TZ").is_some_and(|zone| !zone.is_empty());
    if utc || !is_local { TimeZone::UTC } else { TimeZone::system() }
}

/// The view of this process.
pub(super) fn view() -> &'static View {
    VIEW.get_or_init(|| View { form: Form::Table, has_colour: false, width: None, zone: TimeZone::UTC, pager: None })
}

/// A time in a sentence: to the second, with its zone.
pub(super) fn in_words(at: Timestamp) -> String {
    at.to_zoned(view().zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// Reads a time: RFC 3339, a date, a date with a time (both in the zone of the view), or how long ago (`30m`, `2h`, `7d`,
/// `1w`). The answer is RFC 3339 in UTC.
///
/// # Errors
/// What to write instead.
pub(super) fn moment(text: &str) -> Result<String, String> {
    // The options are not read yet while the arguments are.
    let utc = std::env::args_os().any(|word| word == "--utc");
    read_moment(text, clock::now(), &zone(utc)).map(|at| at.to_string())
}

fn read_moment(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    let wrong = || {
        "it must be a time like 2026-03-15T10:30:00Z, 2026-03-15, `2026-03-15 10:30`, or how long ago: 30m, 2h, 7d, 1w"
            .to_owned()
    };
    let text = text.trim();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Some((number, unit)) = text.len().checked_sub(1).and_then(|last| text.split_at_checked(last)) {
        let hours = match unit {
            "m" => Some(0),
            "h" => Some(1),
            "d" => Some(24),
            "w" => Some(7 * 24),
            _ => None,
        };
        if let (Some(hours), Ok(number)) = (hours, number.parse::<u32>()) {
            let minutes = i64::from(number).saturating_mul(if hours == 0 { 1 } else { 60 * hours });
            return now.checked_sub(jiff::SignedDuration::from_mins(minutes)).map_err(|_| wrong());
        }
    }
    let local = text.parse::<jiff::civil::DateTime>().or_else(|_| text.replacen(' ', "T", 1).parse());
    // A time that a change of the clocks skips is the one after the gap.
    local.ok().and_then(|local| local.to_zoned(zone.clone()).ok()).map(|zoned| zoned.timestamp()).ok_or_else(wrong)
}

/// Prints a text for people: through the pager if it is longer than the screen.
///
/// # Errors
/// As for [`print`].
pub(super) fn print_long(text: &str) -> anyhow::Result<()> {
    let Some((height, pager)) = &view().pager else { return print(text) };
    if text.lines().count() < *height {
        return print(text);
    }
    // The shell splits the command, as with other programs.
    let started = Command::new("sh").args(["-c", pager]).stdin(Stdio::piped()).spawn();
    let Ok(mut process) = started else { return print(text) };
    if let Some(mut stdin) = process.stdin.take() {
        // The reader may leave before the end.
        let _ = stdin.write_all(text.as_bytes()).and_then(|()| stdin.write_all(b"\n"));
    }
    match process.wait() {
        Ok(status) if status.code() == Some(127) => print(text),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let paris = TimeZone::get("Europe/Paris").unwrap();
        let now: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-03-15T10:30:00+01:00", "2026-03-15T09:30:00Z"),
            ("2026-11-26", "2026-11-25T23:00:00Z"),
            ("2026-07-01 14:05", "2026-07-01T12:05:00Z"),
            ("30m", "2026-11-27T11:30:00Z"),
            ("1h", "2026-11-27T11:00:00Z"),
            ("2d", "2026-11-25T12:00:00Z"),
            ("1w", "2026-11-20T12:00:00Z"),
            // The hour that the clocks skip, and the one that comes twice.
            ("2026-03-29 02:30", "2026-03-29T01:30:00Z"),
            ("2026-10-25 02:30", "2026-10-25T00:30:00Z"),
        ] {
            assert_eq!(read_moment(text, now, &paris).unwrap().to_string(), expected, "{text}");
        }
        for wrong in ["", "h", "-1h", "1y", "tomorrow", "2026-13-01", "99999999999h"] {
            assert!(read_moment(wrong, now, &paris).is_err(), "{wrong}");
        }
    }
}
