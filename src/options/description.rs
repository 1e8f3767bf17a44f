//! What is said of the keys of a configuration, as their readers say it.
//!
//! A run of the readers over an empty file under [`Report::describing`](super::problem::Report::describing) leaves one
//! [`Described`] for each key that can be written. There is no second list that could differ from what is read.

use serde_json::Value;

/// One key: what its reader says of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Described {
    /// The table that it stands in: empty for the whole file, `admin.tokens[]` for each table of a list, and
    /// `sinks[http]` for the sinks of one type.
    pub(crate) parent: String,
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is for, in Markdown.
    pub(crate) meaning: &'static str,
    /// What it may be.
    pub(crate) shape: Shape,
    /// What it may be, in words, where the shape does not say all of it.
    pub(crate) allowed: Option<&'static str>,
    /// What applies without it.
    pub(crate) fallback: Fallback,
    /// True if its value may hold something secret although it is not a secret as a whole.
    pub(crate) is_private: bool,
}

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// A text.
    Text,
    /// One of these words.
    Words(Vec<&'static str>),
    /// A whole number, from and to; `u64::MAX` is no bound.
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
    /// A table in which names of the operator's choice have values of this shape.
    ByName(Box<Shape>),
}

impl Shape {
    /// True if its value is a table, or a list of tables, with keys that are described.
    pub(crate) const fn is_table(&self) -> bool {
        matches!(self, Shape::Table | Shape::Tables)
    }
}

/// What applies where a key is not written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fallback {
    /// It has to be written.
    Required,
    /// Nothing.
    Nothing,
    /// This value.
    Value(Value),
    /// What these words say.
    Words(&'static str),
}

impl Described {
    /// True if what stands behind the key may not be shown.
    pub(crate) fn may_hold_a_secret(&self) -> bool {
        let is_secret = |shape: &Shape| matches!(shape, Shape::Secret | Shape::Secrets | Shape::Tables);
        self.is_private
            || match &self.shape {
                Shape::ByName(values) => is_secret(values),
                shape => is_secret(shape),
            }
    }

    /// The table that a table's own keys stand in.
    pub(crate) fn path(&self) -> String {
        let path = if self.parent.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.parent, self.name) };
        if self.shape == Shape::Tables { format!("{path}[]") } else { path }
    }
}

/// `sinks[1].retry` becomes `sinks[].retry`: which table of a list it is does not matter. `sinks[http]` stays.
pub(super) fn without_numbers(path: &str) -> String {
    let mut parts = path.split('[');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push('[');
        plain.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    plain
}
