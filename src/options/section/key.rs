//! One key that is about to be read.
//!
//! ```text
//! let timeout = section
//!     .key("connect_timeout_secs", "How long the TCP and TLS handshakes may take.")
//!     .whole_or(1..=300, 5);
//! ```
//!
//! The first call gives the key's purpose, and the last one its allowed values and its default. The last call also reads
//! the value: it reports a problem, and the reading continues.

use std::{collections::BTreeMap, num::NonZeroU32, ops::RangeInclusive, time::Duration};

use toml::{Table, Value};

use super::{Section, wrong_type};
use crate::{
    model::secret::Secret,
    options::{
        description::{Described, Fallback, Shape, without_numbers},
        header::HeaderSecret,
        problem::{did_you_mean, listed},
    },
};

/// A key of a section, before it is read.
#[must_use = "it is read by its last method"]
pub(crate) struct Key<'s, 'r> {
    section: &'s mut Section<'r>,
    name: &'static str,
    meaning: &'static str,
    allowed: Option<&'static str>,
    fallback: Fallback,
    required: Option<&'static str>,
    hint: &'static str,
    is_private: bool,
}

/// A kind of whole number that an option can be.
pub(crate) trait Whole: Copy {
    /// The number as the widest type.
    fn widened(self) -> u64;
    /// `None` if the number does not fit into this type.
    fn narrowed(wide: u64) -> Option<Self>;
}

macro_rules! whole {
    ($($kind:ty),*) => {$(
        impl Whole for $kind {
            fn widened(self) -> u64 {
                u64::try_from(self).unwrap_or(u64::MAX)
            }
            fn narrowed(wide: u64) -> Option<Self> {
                Self::try_from(wide).ok()
            }
        }
    )*};
}
whole!(u16, u32, u64, usize);

impl Whole for NonZeroU32 {
    fn widened(self) -> u64 {
        self.get().into()
    }
    fn narrowed(wide: u64) -> Option<Self> {
        u32::try_from(wide).ok().and_then(Self::new)
    }
}

impl<'s, 'r> Key<'s, 'r> {
    pub(super) fn new(section: &'s mut Section<'r>, name: &'static str, meaning: &'static str) -> Self {
        Self {
            section,
            name,
            meaning,
            allowed: None,
            fallback: Fallback::Nothing,
            required: None,
            hint: "",
            is_private: false,
        }
    }

    // --- its description

    /// Describes the allowed values in words, if the type and range do not say everything.
    pub(crate) fn allowed(self, words: &'static str) -> Self {
        Self { allowed: Some(words), ..self }
    }

    /// Describes what applies without the key, if that is not a value.
    pub(crate) fn otherwise(self, words: &'static str) -> Self {
        Self { fallback: Fallback::Words(words), ..self }
    }

    /// Describes the value that applies without the key. Words that were given before are not replaced.
    pub(crate) fn by_default(self, value: impl Into<serde_json::Value>) -> Self {
        match self.fallback {
            Fallback::Nothing => Self { fallback: Fallback::Value(value.into()), ..self },
            _ => self,
        }
    }

    /// Makes the key required. `hint` follows "is missing: " and says what to write.
    pub(crate) fn required(self, hint: &'static str) -> Self {
        Self { required: Some(hint), fallback: Fallback::Required, ..self }
    }

    /// Says what to write instead of a number that is out of range.
    pub(crate) fn hint(self, hint: &'static str) -> Self {
        Self { hint, ..self }
    }

    /// Marks the value as one that may contain something secret, so that no error shows it.
    pub(crate) fn private(self) -> Self {
        Self { is_private: true, ..self }
    }

    // --- reading it

    /// A text.
    pub(crate) fn text(mut self) -> Option<String> {
        match self.take(Shape::Text)? {
            Value::String(text) => Some(text),
            other => self.wrong(&other, "a text in quotes"),
        }
    }

    /// A text, or the default.
    pub(crate) fn text_or(self, default: &str) -> String {
        self.by_default(default).text().unwrap_or_else(|| default.to_owned())
    }

    /// One of a few words, each with its meaning.
    pub(crate) fn word<T: Copy>(mut self, words: &[(&'static str, T)]) -> Option<T> {
        let known = || words.iter().map(|(word, _)| *word);
        let text = match self.take(Shape::Words(known().collect()))? {
            Value::String(text) => text,
            other => return self.wrong(&other, "a text in quotes"),
        };
        let read = words.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant);
        if read.is_none() {
            let meant = did_you_mean(&text, known());
            self.problem(format!("`{text}` is not one of {}{meant}", listed(known())));
        }
        read
    }

    /// A required word; the caller checks whether it is one of these.
    pub(crate) fn one_of(mut self, words: Vec<&'static str>) -> Option<String> {
        self.fallback = Fallback::Required;
        if !self.section.has(self.name) {
            self.problem(format!("is missing: write one of {}", listed(words.iter().copied())));
        }
        match self.take(Shape::Words(words))? {
            Value::String(text) => Some(text),
            other => self.wrong(&other, "a text in quotes"),
        }
    }

    /// One of a few words, or the default.
    pub(crate) fn word_or<T: Copy + PartialEq>(self, words: &[(&'static str, T)], default: T) -> T {
        let name = words.iter().find(|(_, meant)| *meant == default).map_or("", |(word, _)| *word);
        self.by_default(name).word(words).unwrap_or(default)
    }

    /// A whole number.
    pub(crate) fn whole<T: Whole>(mut self, allowed: RangeInclusive<T>) -> Option<T> {
        let (from, to) = (allowed.start().widened(), allowed.end().widened());
        let given = self.take(Shape::Whole(from, to))?;
        let (name, hint) = (self.name, self.hint);
        within(self.section, name, &given, (from, to), hint)
    }

    /// A whole number, or the default.
    pub(crate) fn whole_or<T: Whole>(self, allowed: RangeInclusive<T>, default: T) -> T {
        self.by_default(default.widened()).whole(allowed).unwrap_or(default)
    }

    /// A time in whole seconds, or the default.
    pub(crate) fn secs_or(self, allowed: RangeInclusive<u64>, default: u64) -> Duration {
        Duration::from_secs(self.whole_or(allowed, default))
    }

    /// A time in seconds that may have a fraction, or the default.
    pub(crate) fn fractional_secs_or(mut self, allowed: RangeInclusive<f64>, default: f64) -> Duration {
        self = self.by_default(default);
        let read = match self.take(Shape::Number(*allowed.start(), *allowed.end())) {
            None => Some(default),
            #[expect(clippy::cast_precision_loss, reason = "the range excludes what would lose precision")]
            Some(Value::Integer(number)) => Some(number as f64),
            Some(Value::Float(number)) => Some(number),
            Some(other) => self.wrong(&other, "a number"),
        };
        let good = read.filter(|number| allowed.contains(number));
        if let (Some(number), None) = (read, good) {
            self.problem(format!("{number} is not from {} to {}", allowed.start(), allowed.end()));
        }
        Duration::from_secs_f64(good.unwrap_or(default))
    }

    /// `true` or `false`; the default if the key is not set.
    pub(crate) fn flag_or(mut self, default: bool) -> bool {
        self = self.by_default(default);
        match self.take(Shape::Flag) {
            None => default,
            Some(Value::Boolean(flag)) => flag,
            Some(other) => self.wrong(&other, "`true` or `false`").unwrap_or(false),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(mut self) -> Option<Vec<String>> {
        let given = self.take(Shape::Texts)?;
        self.all_texts(given)
    }

    /// A list of texts, or the default.
    pub(crate) fn texts_or(self, default: &[&str]) -> Vec<String> {
        self.by_default(default).texts().unwrap_or_else(|| default.iter().map(|text| (*text).to_owned()).collect())
    }

    /// A list of texts, or `"*"`, which means a list with only that text. No other text is accepted, so that nobody expects
    /// it to work as a pattern.
    pub(crate) fn texts_or_star(mut self, default: &[&str]) -> Option<Vec<String>> {
        self = self.by_default(default);
        match self.take(Shape::TextsOrStar)? {
            Value::String(star) if star == "*" => Some(vec![star]),
            other => self.all_texts(other),
        }
    }

    /// A secret.
    pub(crate) fn secret(mut self) -> Option<Secret> {
        let given = self.take(Shape::Secret)?;
        self.section.resolve(self.name, given)
    }

    /// A secret that travels in a header.
    pub(crate) fn header_secret(mut self) -> Option<HeaderSecret> {
        let given = self.take(Shape::Secret)?;
        let secret = self.section.resolve(self.name, given)?;
        HeaderSecret::new(secret).map_err(|what| self.problem(what)).ok()
    }

    /// A list of secrets.
    pub(crate) fn secrets(mut self) -> Vec<Secret> {
        match self.take(Shape::Secrets) {
            None => Vec::new(),
            Some(Value::Array(items)) => items
                .into_iter()
                .enumerate()
                .filter_map(|(index, item)| self.section.resolve(&format!("{}[{index}]", self.name), item))
                .collect(),
            Some(_) => {
                self.problem("is not a list of secrets");
                Vec::new()
            }
        }
    }

    /// Names with secrets; `None` in place of a secret that has a problem, and `None` as a whole if the table has one.
    pub(crate) fn secrets_by_name(mut self) -> Option<Vec<(String, Option<Secret>)>> {
        let entries = match self.take(Shape::ByName(Box::new(Shape::Secret))) {
            None => return Some(Vec::new()),
            Some(Value::Table(entries)) => entries,
            Some(_) => {
                // Not shown: it may be a secret.
                self.problem("is not a table: write { \"name\" = \"value\" }");
                return None;
            }
        };
        let read = |(name, value): (String, Value)| {
            let secret = self.section.resolve(&format!("{}.{name}", self.name), value);
            (name, secret)
        };
        Some(entries.into_iter().map(read).collect())
    }

    /// Names with texts. `None` if the key is not set, or after a problem with any of them.
    pub(crate) fn texts_by_name(mut self) -> Option<BTreeMap<String, String>> {
        let given = self.take(Shape::ByName(Box::new(Shape::Text)))?;
        self.by_name(given, |section, key, value| match value {
            Value::String(text) => Some(text),
            other => {
                section.problem(key, wrong_type(&other, "a text in quotes"));
                None
            }
        })
    }

    /// Names with whole numbers. `None` if the key is not set, or after a problem with any of them.
    pub(crate) fn wholes_by_name<T: Whole>(mut self, allowed: RangeInclusive<T>) -> Option<BTreeMap<String, T>> {
        let (from, to) = (allowed.start().widened(), allowed.end().widened());
        let given = self.take(Shape::ByName(Box::new(Shape::Whole(from, to))))?;
        let hint = self.hint;
        self.by_name(given, |section, key, value| within(section, key, &value, (from, to), hint))
    }

    /// A table; an empty one if the key is not set.
    pub(crate) fn table(mut self) -> Section<'r> {
        let table = match self.take(Shape::Table) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => self.wrong(&other, "a table").unwrap_or_default(),
        };
        self.section.within(self.name, table)
    }

    /// A table, if the key is set.
    pub(crate) fn table_if_set(mut self) -> Option<Section<'r>> {
        let given = self.take(Shape::Table);
        match given {
            None if self.section.report().is_describing() => Some(self.section.within(self.name, Table::new())),
            None => None,
            Some(Value::Table(table)) => Some(self.section.within(self.name, table)),
            Some(other) => self.wrong(&other, "a table"),
        }
    }

    /// Describes a table of options that other readers read, and takes it.
    pub(crate) fn options(mut self) {
        match self.take(Shape::Options) {
            None | Some(Value::Table(_)) => {}
            Some(other) => drop(self.wrong::<()>(&other, "a table")),
        }
    }

    /// Describes a list of tables that other readers read. What is left of it is not a list of tables.
    pub(crate) fn options_list(mut self) {
        if let Some(other) = self.take(Shape::OptionsList) {
            self.wrong::<()>(&other, "a list of tables");
        }
    }

    /// A list of tables, `[[name]]`.
    pub(crate) fn tables(mut self) -> Vec<Section<'r>> {
        self.tables_if_set().unwrap_or_default()
    }

    /// A list of tables; `None` if the key is not set.
    pub(crate) fn tables_if_set(&mut self) -> Option<Vec<Section<'r>>> {
        let items = match self.take(Shape::Tables) {
            None if self.section.report().is_describing() => vec![Value::Table(Table::new())],
            None => return None,
            Some(Value::Array(items)) => items,
            Some(other) => {
                let name = self.name;
                self.problem(format!("{}: begin each with [[{name}]]", wrong_type(&other, "a list of tables")));
                return Some(Vec::new());
            }
        };
        let mut sections = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{}[{index}]", self.name);
            match item {
                Value::Table(table) => sections.push(self.section.within(&path, table)),
                // Not shown: the operator may have written the token itself, where `tokens` expects tables.
                _ => self.section.problem(&path, "is not a table"),
            }
        }
        Some(sections)
    }

    // --- shared by all of these

    fn take(&mut self, shape: Shape) -> Option<Value> {
        self.section.report().describe(|| Described {
            parent: without_numbers(self.section.raw_path()),
            name: self.name,
            meaning: self.meaning,
            shape,
            allowed: self.allowed,
            fallback: self.fallback.clone(),
            is_private: self.is_private,
        });
        if let Some(hint) = self.required
            && !self.section.has(self.name)
        {
            self.problem(format!("is missing: {hint}"));
        }
        self.section.take(self.name)
    }

    fn problem(&self, what: impl Into<String>) {
        self.section.problem(self.name, what);
    }

    fn wrong<T>(&self, given: &Value, wanted: &str) -> Option<T> {
        if self.is_private {
            self.problem(format!("is not {wanted}"));
        } else {
            self.problem(wrong_type(given, wanted));
        }
        None
    }

    fn all_texts(&self, given: Value) -> Option<Vec<String>> {
        let items = match given {
            Value::Array(items) => items,
            other => return self.wrong(&other, "a list of texts"),
        };
        let read = items.into_iter().enumerate().map(|(index, item)| match item {
            Value::String(text) => Some(text),
            other => {
                let key = format!("{}[{index}]", self.name);
                self.section.problem(&key, wrong_type(&other, "a text in quotes"));
                None
            }
        });
        // Collected first, so that every invalid item is reported.
        let read: Vec<_> = read.collect();
        read.into_iter().collect()
    }

    fn by_name<T>(
        &self,
        given: Value,
        read: impl Fn(&Section<'r>, &str, Value) -> Option<T>,
    ) -> Option<BTreeMap<String, T>> {
        let entries = match given {
            Value::Table(entries) => entries,
            other => return self.wrong(&other, "a table"),
        };
        let read = |(name, value): (String, Value)| {
            let read = read(self.section, &format!("{}.{name}", self.name), value);
            read.map(|value| (name, value))
        };
        let read: Vec<_> = entries.into_iter().map(read).collect();
        read.into_iter().collect()
    }
}

/// A whole number in its range; `None` after a problem, which ends with the hint.
fn within<T: Whole>(section: &Section<'_>, key: &str, given: &Value, (from, to): (u64, u64), hint: &str) -> Option<T> {
    let Value::Integer(number) = given else {
        section.problem(key, wrong_type(given, "a whole number"));
        return None;
    };
    let read = u64::try_from(*number).ok().filter(|number| (from..=to).contains(number)).and_then(T::narrowed);
    if read.is_none() {
        let hint = if hint.is_empty() { String::new() } else { format!(": {hint}") };
        let bounds = if to == u64::MAX { format!("{from} or more") } else { format!("from {from} to {to}") };
        section.problem(key, format!("{number} is not {bounds}{hint}"));
    }
    read
}
