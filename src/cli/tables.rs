//! Tables: aligned columns that fit a width, and the same rows as CSV.
//!
//! What does not fit is left out in the order of what a reader misses least: empty columns, the seconds of times, ids that a
//! number says better, and then the ends of long texts. What has to be copied or added up (ids in the first column, amounts,
//! fingerprints) is never cut. The column that says why is what a reader came for: others go before it becomes short.

use std::fmt::Write as _;

use jiff::{Timestamp, civil::DateTime};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::view::{View, view};
use crate::{model::clock, statement};

/// Between two columns.
const GAP: usize = 2;
/// The width to which a text may be cut.
const LEAST: usize = 8;
/// The width to which a text that says why is cut only after other columns were left out.
const LEAST_WHY: usize = 48;
/// The columns that say why, by how their titles begin.
const WHY: [&str; 3] = ["LAST ERROR", "EXPLANATION", "NOTE"];
/// The columns that are left out first, in this order.
const DISPENSABLE: [&str; 17] = [
    "INVOICE",
    "EVENT",
    "DELIVERIES",
    "WEBHOOK",
    "PEER",
    "BYTES",
    "URL",
    "ENDPOINT",
    "ATTEMPTS",
    "PATH",
    "ID THERE",
    "DELIVERED",
    "TYPE",
    "ORIGIN",
    "METHOD",
    "PAID",
    "DEBTOR",
];

/// A table as it is shown, and how many columns with a content did not fit.
pub(super) struct Shown {
    pub(super) text: String,
    pub(super) left_out: usize,
}

/// A table with a header row. `(UTC)` in a header becomes the zone of the column's times, of both if the clocks were changed
/// between them: `(CET/CEST)`.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    shown(head, rows).text
}

/// The same, with what was left out.
pub(super) fn shown(head: &[&str], rows: &[Vec<String>]) -> Shown {
    layout(titles(head, rows, view()), rows, view())
}

/// The titles, each with the zone of its own times.
fn titles(head: &[&str], rows: &[Vec<String>], view: &View) -> Vec<String> {
    let of_column = |(index, title): (usize, &&str)| {
        if !title.contains("(UTC)") {
            return (*title).to_owned();
        }
        let mut zones: Vec<String> = Vec::new();
        for cell in rows.iter().filter_map(|row| row.get(index)) {
            // An hour that comes twice belongs to both.
            let Ok(local) = cell.parse::<DateTime>() else { continue };
            let times = view.zone.to_ambiguous_zoned(local);
            for at in [times.clone().earlier(), times.later()].into_iter().flatten() {
                let name = at.strftime("%Z").to_string();
                if !zones.contains(&name) {
                    zones.push(name);
                }
            }
        }
        if zones.is_empty() {
            zones.push(clock::now().to_zoned(view.zone.clone()).strftime("%Z").to_string());
        }
        title.replace("UTC", &zones.join("/"))
    };
    head.iter().enumerate().map(of_column).collect()
}

#[derive(Debug)]
struct Column {
    title: String,
    cells: Vec<String>,
    width: usize,
    /// It is left out rather than cut.
    is_fixed: bool,
    is_first: bool,
}

impl Column {
    fn measure(&mut self) {
        self.width = self.cells.iter().chain([&self.title]).map(|cell| cell.width()).max().unwrap_or_default();
    }

    /// The width below which it cannot go, where a text that says why has this least width.
    fn least(&self, of_why: usize) -> usize {
        if self.is_fixed {
            self.width
        } else if WHY.iter().any(|title| self.title.starts_with(title)) {
            self.width.min(of_why)
        } else {
            self.width.min(LEAST)
        }
    }

    fn is_empty(&self) -> bool {
        self.cells.iter().all(String::is_empty)
    }

    fn is_of_times(&self) -> bool {
        let is_time = |cell: &str| cell.len() == 19 && cell.as_bytes()[10] == b' ' && cell.as_bytes()[16] == b':';
        let mut cells = self.cells.iter().filter(|cell| !cell.is_empty()).peekable();
        cells.peek().is_some() && cells.all(|cell| is_time(cell))
    }
}

fn layout(head: Vec<String>, rows: &[Vec<String>], view: &View) -> Shown {
    let mut columns: Vec<Column> = head
        .into_iter()
        .enumerate()
        .map(|(index, title)| {
            let cells = rows.iter().map(|row| row.get(index).cloned().unwrap_or_default()).collect();
            let is_first = index == 0;
            // Half an id is good for nothing.
            let is_fixed = is_first
                || title.starts_with("AMOUNT")
                || ["STATE", "INVOICE", "EVENT", "FINGERPRINT", "ACTION"].contains(&&*title);
            let mut column = Column { title, cells, width: 0, is_fixed, is_first };
            column.is_fixed |= column.is_of_times();
            column.measure();
            column
        })
        .collect();
    let with_content = columns.iter().filter(|column| !column.is_empty()).count();
    if let Some(width) = view.width {
        fit(&mut columns, width);
    }
    let left_out = with_content - columns.iter().filter(|column| !column.is_empty()).count();
    let mut text = String::new();
    line(&mut text, &columns, None, view);
    for row in 0..rows.len() {
        text.push('\n');
        line(&mut text, &columns, Some(row), view);
    }
    Shown { text, left_out }
}

fn total(columns: &[Column], width: impl Fn(&Column) -> usize) -> usize {
    columns.iter().map(width).sum::<usize>() + GAP * columns.len().saturating_sub(1)
}

fn fit(columns: &mut Vec<Column>, width: usize) {
    let natural = |columns: &[Column]| total(columns, |column| column.width);
    if natural(columns) <= width {
        return;
    }
    columns.retain(|column| column.is_first || !column.is_empty());
    if natural(columns) <= width {
        return;
    }
    for column in columns.iter_mut().filter(|column| column.is_of_times()) {
        for cell in column.cells.iter_mut().filter(|cell| !cell.is_empty()) {
            cell.truncate(16);
        }
        column.measure();
        column.is_fixed = true;
    }
    for title in DISPENSABLE {
        if total(columns, |column| column.least(LEAST_WHY)) <= width {
            break;
        }
        if columns.len() > 2 {
            columns.retain(|column| column.title != title || column.is_first);
        }
    }
    while columns.len() > 2 && total(columns, |column| column.least(LEAST)) > width {
        columns.pop();
    }
    let fits = |of_why: &usize| total(columns, |column| column.least(*of_why)) <= width;
    let of_why = (LEAST..=LEAST_WHY).rev().find(fits).unwrap_or(LEAST);
    while natural(columns) > width {
        let Some(widest) =
            columns.iter_mut().filter(|column| column.width > column.least(of_why)).max_by_key(|column| column.width)
        else {
            return;
        };
        widest.width -= 1;
    }
}

fn line(text: &mut String, columns: &[Column], row: Option<usize>, view: &View) {
    for (index, column) in columns.iter().enumerate() {
        let cell = row.map_or(column.title.as_str(), |row| &column.cells[row]);
        let cut = cut(cell, column.width);
        let padding = if index + 1 == columns.len() { 0 } else { column.width - cut.width() + GAP };
        match view.has_colour.then(|| if row.is_none() { Some("1") } else { colour(cell) }).flatten() {
            // Select Graphic Rendition (ECMA-48, 8.3.117).
            Some(code) => {
                let _ = write!(text, "\u{1b}[{code}m{cut}\u{1b}[0m");
            }
            None => text.push_str(&cut),
        }
        text.extend(std::iter::repeat_n(' ', padding));
    }
    let trimmed = text.trim_end_matches(' ').len();
    text.truncate(trimmed);
}

/// A text of at most this width; one that is cut ends with `…`.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut taken = 0;
    for c in text.chars() {
        let more = c.width().unwrap_or_default();
        if taken + more + 1 > width {
            break;
        }
        short.push(c);
        taken += more;
    }
    short.push('…');
    short
}

/// The colour of a state.
fn colour(cell: &str) -> Option<&'static str> {
    match cell {
        "delivered" | "booked" | "active" => Some("32"),
        "held" | "retiring" | "paused" | "leased" | "sending" | "written" => Some("33"),
        "dead" | "tripped" | "not configured" | "silent" => Some("31"),
        "cancelled" | "expired" => Some("2"),
        _ => None,
    }
}

/// A text in lines of at most this width, the first and the further ones each after what is given. A word that is longer
/// stands on a line of its own.
pub(super) fn wrapped(text: &str, width: usize, first: &str, further: &str) -> String {
    let mut lines = vec![first.to_owned()];
    let mut is_begun = false;
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is one from the start on");
        if is_begun && line.width() + 1 + word.width() > width {
            lines.push(format!("{further}{word}"));
        } else {
            if is_begun {
                line.push(' ');
            }
            line.push_str(word);
        }
        is_begun = true;
    }
    lines.join("\n")
}

/// Rows as CSV, each with the end of its line (RFC 4180). A cell that a spreadsheet would take for a formula is written as a text.
pub(super) fn csv<'c>(rows: impl IntoIterator<Item = &'c [String]>) -> String {
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| statement::csv::cell(cell, ',')).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

/// A time to the second, in the zone of the view.
pub(super) fn second(time: Timestamp) -> String {
    time.to_zoned(view().zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn view_of(width: Option<usize>, has_colour: bool) -> View {
        View { width, has_colour, zone: TimeZone::UTC, ..view().clone() }
    }

    fn text(head: &[&str], rows: &[&[&str]], width: usize) -> String {
        let head = head.iter().map(|title| (*title).to_owned()).collect();
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        layout(head, &rows, &view_of(Some(width), false)).text
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["1".into(), "délivré".into(), String::new()], vec!["100".into(), "x".into(), "why".into()]];
        assert_eq!(table(&["ID", "STATE", "ERROR"], &rows), "ID   STATE    ERROR\n1    délivré\n100  x        why");
    }

    #[test]
    fn a_table_fits_and_keeps_what_has_to_be_copied() {
        let id = "01a21ede-2588-7614-aa87-f647b370cd31";
        let head = ["ID", "RECEIVED (UTC)", "TYPE", "INVOICE", "NUMBER", "AMOUNT", "DELIVERIES", "ENDPOINT"];
        let row =
            [id, "2026-11-27 20:00:01", "invoice.status_changed", id, "F-2026-001", "1500.00 EUR", "1", "production"];
        for width in [80, 100, 120] {
            let text = text(&head, &[&row], width);
            assert!(text.lines().all(|line| line.width() <= width), "{width}:\n{text}");
            assert!(text.contains(id) && text.contains("1500.00 EUR") && text.contains("2026-11-27 20:00"), "{text}");
        }
        assert!(text(&head, &[&row], 100).contains("invoice."), "{}", text(&head, &[&row], 100));
        let wide = text(&["A", "REASON"], &[&["1", "支払いを待っています支払い"]], 20);
        assert!(wide.lines().all(|line| line.width() <= 20) && wide.contains('…'), "{wide}");
    }

    #[test]
    fn what_says_why_stays_when_columns_go() {
        let head = ["ID", "SINK", "STATE", "ATTEMPTS", "TYPE", "INVOICE", "LAST ERROR"];
        let why = "https://erp.example.fr/hook answered 503";
        let row = ["4711", "erp-production", "dead", "12", "invoice.status_changed", "", why];
        let narrow = text(&head, &[&row], 80);
        assert!(narrow.contains(why) && narrow.contains("erp-product"), "{narrow}");
        assert!(!narrow.contains("ATTEMPTS"), "{narrow}");
        let fingerprint = "19bdbfe385ae12bc";
        let head = ["ENDPOINT", "PATH", "LAST DELIVERY (UTC)", "STATE", "SECRETS", "FINGERPRINT"];
        let row = ["boulangerie-leroy", "/webhooks/leroy", "2026-11-27 23:47:20", "settled", "1", fingerprint];
        let narrow = text(&head, &[&row], 80);
        assert!(narrow.contains(fingerprint) && narrow.lines().all(|line| line.width() <= 80), "{narrow}");
    }

    #[test]
    fn only_columns_with_a_content_count_as_left_out() {
        let head = |titles: &[&str]| titles.iter().map(|title| (*title).to_owned()).collect::<Vec<_>>();
        let long = "x".repeat(30);
        let rows = [vec!["1".to_owned(), String::new(), "i-1".repeat(10), long]];
        let of = |width| {
            layout(head(&["ID", "NUMBER", "INVOICE", "LAST ERROR"]), &rows, &view_of(Some(width), false)).left_out
        };
        assert_eq!((of(200), of(70), of(40)), (0, 0, 1));
    }

    #[test]
    fn a_column_of_times_names_the_zones_of_its_own_rows() {
        let paris = View { zone: TimeZone::get("Europe/Paris").unwrap(), ..view_of(None, false) };
        let of = |cells: &[&str]| {
            let rows: Vec<Vec<String>> = cells.iter().map(|cell| vec![(*cell).to_owned()]).collect();
            titles(&["AT (UTC)"], &rows, &paris).remove(0)
        };
        assert_eq!(of(&["2026-11-27 10:00:00"]), "AT (CET)");
        assert_eq!(of(&["2026-07-27 10:00:00", ""]), "AT (CEST)");
        assert_eq!(of(&["2026-11-27 10:00:00", "2026-07-27 10:00:00"]), "AT (CET/CEST)");
        // 02:30 comes twice in this night.
        assert_eq!(of(&["2026-10-25 02:30:00"]), "AT (CEST/CET)");
        let utc = view_of(None, false);
        assert_eq!(titles(&["AT (UTC)", "WHY"], &[vec!["2026-07-27 10:00:00".into()]], &utc), ["AT (UTC)", "WHY"]);
    }

    #[test]
    fn colours_do_not_move_columns() {
        let head = vec!["ID".to_owned(), "STATE".to_owned(), "X".to_owned()];
        let rows = [vec!["1".into(), "dead".into(), "x".into()]];
        let plain = layout(head.clone(), &rows, &view_of(None, false)).text;
        let coloured = layout(head, &rows, &view_of(None, true)).text;
        assert!(coloured.contains("\u{1b}[31mdead\u{1b}[0m"));
        let mut stripped = String::new();
        for part in coloured.split('\u{1b}') {
            stripped.push_str(
                part.split_once('m').filter(|(code, _)| code.starts_with('[')).map_or(part, |(_, rest)| rest),
            );
        }
        assert_eq!(stripped, plain);
    }

    #[test]
    fn a_text_is_wrapped_between_words() {
        assert_eq!(wrapped("one two three four", 10, "- ", "  "), "- one two\n  three\n  four");
        assert_eq!(wrapped("incomprehensible is long", 10, "- ", "  "), "- incomprehensible\n  is long");
        assert_eq!(wrapped("", 10, "- ", "  "), "- ");
    }

    #[test]
    fn csv_holds_no_formula() {
        let rows = [vec![
            "a,b".to_owned(),
            "say \"x\"".into(),
            "=1+1".into(),
            "-5.00".into(),
            "@x".into(),
            "two\nlines".into(),
        ]];
        assert_eq!(csv(rows.iter().map(Vec::as_slice)), "\"a,b\",\"say \"\"x\"\"\",'=1+1,-5.00,'@x,\"two\nlines\"\r\n");
    }
}
