//! The documentation lists every log line that the service writes, with its level, and no others.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// This command is not a service: it writes for the person who started it.
const APART: [&str; 1] = ["cli/simulate.rs"];

/// Every message in the code, with its levels.
fn written() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = root.join("src");
    let mut messages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let crates = ["finkare", "outgoing"].map(|name| root.join("crates").join(name).join("src"));
    for file in files(&source).into_iter().chain(crates.iter().flat_map(|source| files(source))) {
        if APART.iter().any(|apart| file.strip_prefix(&source).is_ok_and(|file| file.starts_with(apart))) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for level in ["error", "warn", "info", "debug"] {
            for begin in [format!("tracing::{level}!("), format!("line!({level}, ")] {
                for call in text.split(&begin).skip(1) {
                    let message = message(call).unwrap_or_else(|| panic!("{}: {begin}{call:.200}", file.display()));
                    messages.entry(message).or_default().insert(level.to_owned());
                }
            }
        }
    }
    messages
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The literal among the arguments that is not the value of a field; `…` replaces the inserted values.
fn message(call: &str) -> Option<String> {
    let (mut depth, mut before) = (0, '(');
    let mut letters = call.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return None,
            ')' | ']' | '}' => depth -= 1,
            '"' => {
                let mut escaped = false;
                let (end, _) = letters.find(|(_, letter)| {
                    let ends = *letter == '"' && !escaped;
                    escaped = *letter == '\\' && !escaped;
                    ends
                })?;
                if depth == 0 && matches!(before, '(' | ',') {
                    // A source line that ends with a backslash continues without the indentation of the next line.
                    let whole: String = call[at + 1..end].split("\\\n").map(str::trim_start).collect();
                    return Some(whole.split('{').next()?.to_owned());
                }
            }
            _ => {}
        }
        if !letter.is_whitespace() {
            before = letter;
        }
    }
    None
}

/// The entries of the documentation's table, with their levels. An entry that ends with `…` matches all messages with
/// this beginning.
fn documented() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/log-lines.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| level"));
    let mut entries = Vec::new();
    for row in rows {
        let cells: Vec<_> = row.split(" | ").collect();
        let mut rest = cells[1];
        while let Some(at) = rest.find('`') {
            let fence = if rest[at..].starts_with("``") { "``" } else { "`" };
            let entry = &rest[at + fence.len()..];
            let end = entry.find(fence).unwrap_or_else(|| panic!("{row}"));
            entries.push((entry[..end].to_owned(), cells[0].to_owned()));
            rest = &entry[end + fence.len()..];
        }
    }
    entries
}

#[test]
fn every_log_line_is_documented_and_no_other() {
    let (written, documented) = (written(), documented());
    assert!(written.len() > 80, "{}", written.len());
    let fits = |entry: &str, message: &str| match entry.strip_suffix('…') {
        Some(beginning) => message.starts_with(beginning),
        None => message == entry,
    };
    let mut missing = Vec::new();
    for (message, levels) in written.iter().filter(|(message, _)| !message.is_empty()) {
        for level in levels {
            if !documented.iter().any(|(entry, given)| fits(entry, message) && given.contains(level.as_str())) {
                missing.push(format!("{level} | {message}"));
            }
        }
    }
    assert!(missing.is_empty(), "not in docs/reference/log-lines.md:\n{}", missing.join("\n"));
    let stale: Vec<_> =
        documented.iter().filter(|(entry, _)| !written.keys().any(|message| fits(entry, message))).collect();
    assert!(stale.is_empty(), "in docs/reference/log-lines.md, but written nowhere: {stale:#?}");
}
