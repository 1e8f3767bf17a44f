//! Explains a file that is not TOML: shows the line and the place, but no secret.

use std::{collections::BTreeSet, ops::Range};

use super::{description::Described, problem::Problem};

/// The names of all options and tables, which decide what a message may show of a broken line.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Keys whose values are never secret, so that a line that sets only such keys may be shown.
    showable: BTreeSet<&'static str>,
    /// All keys: the key may be shown, but not its value.
    keys: BTreeSet<&'static str>,
    /// The words in the headings of tables.
    tables: BTreeSet<&'static str>,
}

impl Names {
    /// Collects the names from the descriptions. If the value of a name may contain a secret in one place, itself or in a
    /// table below it, the value is hidden in all places: `store = postgres://…` is a mistake that would show a password.
    pub(crate) fn of(described: &[Described]) -> Self {
        let names = |wanted: &dyn Fn(&Described) -> bool| -> BTreeSet<&'static str> {
            described.iter().filter(|key| wanted(key)).map(|key| key.name).collect()
        };
        let has_secrets_below = |key: &Described| {
            let path = key.path();
            key.shape.is_table()
                && described.iter().any(|inner| inner.parent.starts_with(&path) && inner.may_hold_a_secret())
        };
        let hidden = names(&|key| key.may_hold_a_secret() || has_secrets_below(key));
        let keys = names(&|_| true);
        let showable = keys.difference(&hidden).copied().collect();
        Self { showable, keys, tables: names(&|key| key.shape.is_table()) }
    }

    #[cfg(test)]
    pub(crate) fn showable(&self) -> &BTreeSet<&'static str> {
        &self.showable
    }
}

/// The library's word on a text that is no TOML, with the line shown and the place marked.
///
/// The library would show the line as it is, and a forgotten quote is most likely to be forgotten
/// around a pasted secret. So a line is shown in full only if it is a table's heading or sets options that hold no
/// secret. Of all other lines only the punctuation is shown, and the key if there is such an option: what stands before
/// an equals sign may be a secret too, such as base64 on a line of its own.
pub(crate) fn problem(text: &str, span: Range<usize>, message: &str, names: &Names) -> Problem {
    // The library counts in bytes; an error at the very end may lie one past it.
    let at = (0..=span.start.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let number = text[..start].matches('\n').count() + 1;
    let line = text[start..].lines().next().unwrap_or_default();
    let column = text[start..at].chars().count();

    let key_ends = line.find('=').filter(|end| names.keys.contains(line[..*end].trim())).unwrap_or(0);
    let shown: String = if is_showable(line, names) {
        line.to_owned()
    } else {
        let mask = |(byte, c): (usize, char)| if byte >= key_ends && c.is_alphanumeric() { '*' } else { c };
        line.char_indices().map(mask).collect()
    };
    let gutter = " ".repeat(number.to_string().len());
    Problem {
        place: format!("column {}", column + 1),
        line: Some(number.into()),
        what: format!("{message}\n  {gutter} |\n  {number} | {shown}\n  {gutter} | {}^", " ".repeat(column)),
    }
}

/// True if a line is the heading of a table that we know, or no key on it holds a secret.
fn is_showable(line: &str, names: &Names) -> bool {
    let mut before_each_equals: Vec<&str> = line.split('=').collect();
    before_each_equals.pop();
    if before_each_equals.is_empty() {
        let mut words = line.split(['[', ']', '.', ' ']).filter(|word| !word.is_empty());
        return line.starts_with('[') && words.all(|word| names.tables.contains(word));
    }
    // The equals signs in a filter belong to its comparisons.
    if before_each_equals.first().is_some_and(|first| first.trim() == "filter") {
        return true;
    }
    let last_word =
        |before: &&str| before.trim_end().rsplit([' ', '\t', ',', '{']).next().unwrap_or_default().to_owned();
    before_each_equals.iter().map(last_word).all(|key| names.showable.contains(key.as_str()))
}

#[cfg(test)]
mod tests {
    use super::Names;
    use crate::options::section::File;

    #[test]
    fn a_syntax_error_shows_the_line_but_no_secret() {
        let names = || Names {
            showable: ["listen", "name", "filter"].into(),
            keys: ["listen", "name", "filter", "secret", "secrets", "token", "tokens", "url"].into(),
            tables: ["server", "sinks", "tokens"].into(),
        };
        let shown = |text: &str| File::parse(text, names).unwrap_err().to_string();
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
