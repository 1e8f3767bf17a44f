//! The descriptions of the keys of a configuration, as their readers give them.
//!
//! A run of the readers over an empty file with [`Report::describing`](super::problem::Report::describing) leaves one
//! [`Described`] for each key that can be set. There is no second list that could differ from the readers.

use serde_json::Value;

/// One key, as its reader describes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Described {
    /// The table that contains it: empty for the whole file, `admin.tokens[]` for each table of a list, and
    /// `sinks[http]` for the sinks of one type.
    pub(crate) parent: String,
    /// Its name.
    pub(crate) name: &'static str,
    /// Its purpose, in Markdown.
    pub(crate) meaning: &'static str,
    /// The type and range of its values.
    pub(crate) shape: Shape,
    /// Its allowed values in words, if the shape does not say everything.
    pub(crate) allowed: Option<&'static str>,
    /// The value that applies without it.
    pub(crate) fallback: Fallback,
    /// True if its value may contain something secret although it is not a secret as a whole.
    pub(crate) is_private: bool,
}

/// The type and range of a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// A text.
    Text,
    /// One of these words.
    Words(Vec<&'static str>),
    /// A whole number, from and to; `u64::MAX` means no upper bound.
    Whole(u64, u64),
    /// A number that may have a fraction, from and to.
    Number(f64, f64),
    /// `true` or `false`.
    Flag,
    /// A text, `{ env = "NAME" }` or `{ file = "PATH" }`.
    Secret,
    /// A list of them.
    Secrets,
    /// A list of texts.
    Texts,
    /// A list of texts, or the star alone.
    TextsOrStar,
    /// A table with keys of its own.
    Table,
    /// A list of such tables.
    Tables,
    /// A table of options that are described elsewhere.
    Options,
    /// A list of such tables.
    OptionsList,
    /// A table in which names of the operator's choice have values of this shape.
    ByName(Box<Shape>),
}

impl Shape {
    /// True if its value is a table, or a list of tables, with keys that are described.
    pub(crate) const fn is_table(&self) -> bool {
        matches!(self, Shape::Table | Shape::Tables)
    }
}

/// What applies if a key is not set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fallback {
    /// The key is required.
    Required,
    /// Nothing.
    Nothing,
    /// This value.
    Value(Value),
    /// The behaviour that these words describe.
    Words(&'static str),
}

impl Described {
    /// True if the value of the key must not be shown.
    pub(crate) fn may_hold_a_secret(&self) -> bool {
        let is_secret = |shape: &Shape| matches!(shape, Shape::Secret | Shape::Secrets | Shape::Tables);
        self.is_private
            || match &self.shape {
                Shape::ByName(values) => is_secret(values),
                shape => is_secret(shape),
            }
    }

    /// The path of a table's own keys.
    pub(crate) fn path(&self) -> String {
        let path = if self.parent.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.parent, self.name) };
        if self.shape == Shape::Tables { format!("{path}[]") } else { path }
    }
}

/// `sinks[1].retry` becomes `sinks[].retry`, because the position in a list does not matter. `sinks[http]` stays.
pub(super) fn without_numbers(path: &str) -> String {
    let mut parts = path.split('[');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push('[');
        plain.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    plain
}
