//! A file that is no TOML: shows the line and the place, and no secret.

use std::ops::Range;

use super::problem::Problem;

/// Keys whose values are never secret, so that a line beginning with one may be shown.
pub(crate) const SHOWABLE: [&str; 47] = [
    "listen",
    "admin_listen",
    "max_body_bytes",
    "ack_timeout_secs",
    "body_timeout_secs",
    "max_connections",
    "commit_batch",
    "shutdown_timeout_secs",
    "payload_days",
    "dedupe_days",
    "ledger_days",
    "name",
    "path",
    "role",
    "webhook_id",
    "api_rate_limit",
    "api_timeout_secs",
    "api_max_retries",
    "api_paths",
    "api_update_method",
    "payment_patience_secs",
    "payment_window_days",
    "rotate_every_days",
    "rotate_overlap_secs",
    "dedupe",
    "signature_over",
    "secret_encoding",
    "type",
    "events",
    "endpoints",
    "enrich",
    "content_type",
    "live",
    "filter",
    "order",
    "concurrency",
    "timeout_secs",
    "connect_timeout_secs",
    "max_bytes",
    "rate_limit",
    "retry",
    "breaker",
    "initial_secs",
    "max_secs",
    "give_up_after_secs",
    "failures",
    "probe_secs",
];

/// Keys whose values are secret, or may be: the key may be shown, what stands behind it may not.
const KEYS: [&str; 14] = [
    "secret",
    "secrets",
    "token",
    "tokens",
    "token_sha256",
    "api_key",
    "api_id",
    "api_url",
    "session_key",
    "company_uuid",
    "url",
    "base_url",
    "headers",
    "template",
];

/// The words of the tables' headings.
const TABLES: [&str; 10] =
    ["server", "store", "admin", "tokens", "retention", "endpoints", "sinks", "retry", "breaker", "headers"];

/// The library's word on a text that is no TOML, with the line shown and the place marked.
///
/// The library would show the line as it is, and a forgotten quote is most likely to be forgotten
/// around a pasted secret. So a line is shown in full only if it is a table's heading or sets an
/// option that holds no secret; of all others only the punctuation is shown, and the key if it is one of ours: what
/// stands before an equals sign may be a secret too, such as base64 on a line of its own.
pub(crate) fn problem(text: &str, span: Range<usize>, message: &str) -> Problem {
    // The library counts in bytes; an error at the very end may lie one past it.
    let at = (0..=span.start.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let number = text[..start].matches('\n').count() + 1;
    let line = text[start..].lines().next().unwrap_or_default();
    let column = text[start..at].chars().count();

    let key_ends = line.find('=').filter(|end| is_key(line[..*end].trim())).unwrap_or(0);
    let shown: String = if is_showable(line) {
        line.to_owned()
    } else {
        let mask = |(byte, c): (usize, char)| if byte >= key_ends && c.is_alphanumeric() { '*' } else { c };
        line.char_indices().map(mask).collect()
    };
    let gutter = " ".repeat(number.to_string().len());
    Problem {
        place: format!("column {}", column + 1),
        line: Some(number),
        what: format!("{message}\n  {gutter} |\n  {number} | {shown}\n  {gutter} | {}^", " ".repeat(column)),
    }
}

fn is_key(word: &str) -> bool {
    KEYS.contains(&word) || SHOWABLE.contains(&word)
}

/// True if a line is the heading of a table that we know, or every key on it is one of [`SHOWABLE`].
fn is_showable(line: &str) -> bool {
    let mut before_each_equals: Vec<&str> = line.split('=').collect();
    before_each_equals.pop();
    if before_each_equals.is_empty() {
        let mut words = line.split(['[', ']', '.', ' ']).filter(|word| !word.is_empty());
        return line.starts_with('[') && words.all(|word| TABLES.contains(&word));
    }
    // The equals signs in a filter belong to its comparisons.
    if before_each_equals.first().is_some_and(|first| first.trim() == "filter") {
        return true;
    }
    let last_word =
        |before: &&str| before.trim_end().rsplit([' ', '\t', ',', '{']).next().unwrap_or_default().to_owned();
    before_each_equals.iter().map(last_word).all(|key| SHOWABLE.contains(&key.as_str()))
}

#[cfg(test)]
mod tests {
    use crate::options::section::File;

    #[test]
    fn a_syntax_error_shows_the_line_but_no_secret() {
        let shown = |text: &str| File::parse(text).unwrap_err().to_string();
        let plain = shown("[server]\nlisten = 127.0.0.1:80\n");
        assert!(plain.starts_with("line 2: column ") && plain.contains("  2 | listen = 127.0.0.1:80\n"), "{plain}");
        assert!(shown("[[sinks]\nname = 'x'").contains("  1 | [[sinks]\n"));
        assert!(shown("filter = \"a >= 1 and b == 'c'\n").contains(" | filter = \"a >= 1 and b == 'c'\n"));
        for text in [
            "secret = \"whsec_hunter2\nname = 'x'",
            "secret = whsec_hunter2",
            "tokens = [{ name = 'a', token = hunter2 }]",
            "secrets = [\n  hunter2,\n]",
            "secrt = 'hunter2",
            "tokens = [{\n  name = 'ops', token = hunter2 }]",
            "secrets = [\n[hunter2",
            "x = {\nname = 'ops', token >= hunter2",
            "name = 'x'\n= 'hunter2'",
            "'hunter2",
            "secrets = [\n  whsec_hunter2=,\n]",
            "secrets = [\n  whsec_hunter2==\n",
            "url = 'postgres://relay:x'y=hunter2@db/relay'",
            "secret = \"whsec\"hunter2=\"",
            "hunter2 = hunter2",
        ] {
            let problem = shown(text);
            assert!(!problem.contains("hunter2"), "{problem}");
            assert!(problem.starts_with("line ") && problem.contains('^'), "{problem}");
        }
    }
}
