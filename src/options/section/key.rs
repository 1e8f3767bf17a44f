//! One key that is about to be read.
//!
//! ```text
//! let timeout = section
//!     .key("connect_timeout_secs", "How long the TCP and TLS handshakes may take.")
//!     .whole_or(1..=300, 5);
//! ```
//!
//! The first part says what the key is for and what is special about it, the last what it may be and what it is by
//! default. The last part also reads it: what is wrong is reported, and the reading goes on.

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
    /// As the widest kind.
    fn widened(self) -> u64;
    /// `None` if the kind does not reach so far.
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

    // --- what is said of it

    /// What it may be, in words, where its type and range do not say all of it.
    pub(crate) fn allowed(self, words: &'static str) -> Self {
        Self { allowed: Some(words), ..self }
    }

    /// What applies without it, where that is no value of its own.
    pub(crate) fn otherwise(self, words: &'static str) -> Self {
        Self { fallback: Fallback::Words(words), ..self }
    }

    /// The value that applies without it; only said. Words that were said for it before stay.
    pub(crate) fn by_default(self, value: impl Into<serde_json::Value>) -> Self {
        match self.fallback {
            Fallback::Nothing => Self { fallback: Fallback::Value(value.into()), ..self },
            _ => self,
        }
    }

    /// It has to be written. `hint` follows "is missing: " and says what to write.
    pub(crate) fn required(self, hint: &'static str) -> Self {
        Self { required: Some(hint), fallback: Fallback::Required, ..self }
    }

    /// What to write instead of a number that is not in its range.
    pub(crate) fn hint(self, hint: &'static str) -> Self {
        Self { hint, ..self }
    }

    /// Its value may hold something secret, so that no error shows it.
    pub(crate) fn private(self) -> Self {
        Self { is_private: true, ..self }
    }

    // --- how it is read

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

    /// One of a few words, each with what it means.
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

    /// A word that has to be there; whether it is one of these is for the caller to say.
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

    /// `true` or `false`; the default if it is not there.
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

    /// A list of texts, or `"*"`, which stands for a list of it alone. No other text is accepted, so that it is not mistaken
    /// for a pattern.
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

    /// Names with secrets; `None` in place of a secret after a problem with it, and in place of all after one with the
    /// whole.
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

    /// Names with texts. `None` if it is not there, or after a problem with any of them.
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

    /// Names with whole numbers. `None` if it is not there, or after a problem with any of them.
    pub(crate) fn wholes_by_name<T: Whole>(mut self, allowed: RangeInclusive<T>) -> Option<BTreeMap<String, T>> {
        let (from, to) = (allowed.start().widened(), allowed.end().widened());
        let given = self.take(Shape::ByName(Box::new(Shape::Whole(from, to))))?;
        let hint = self.hint;
        self.by_name(given, |section, key, value| within(section, key, &value, (from, to), hint))
    }

    /// A table; an empty one if it is not there.
    pub(crate) fn table(mut self) -> Section<'r> {
        let table = match self.take(Shape::Table) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => self.wrong(&other, "a table").unwrap_or_default(),
        };
        self.section.within(self.name, table)
    }

    /// A table, if it is there.
    pub(crate) fn table_if_set(mut self) -> Option<Section<'r>> {
        let given = self.take(Shape::Table);
        match given {
            None if self.section.report().is_describing() => Some(self.section.within(self.name, Table::new())),
            None => None,
            Some(Value::Table(table)) => Some(self.section.within(self.name, table)),
            Some(other) => self.wrong(&other, "a table"),
        }
    }

    /// A list of tables, `[[name]]`.
    pub(crate) fn tables(mut self) -> Vec<Section<'r>> {
        self.tables_if_set().unwrap_or_default()
    }

    /// A list of tables; `None` if it is not there.
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
                // Not shown: it may be the token itself, where `tokens` takes tables.
                _ => self.section.problem(&path, "is not a table"),
            }
        }
        Some(sections)
    }

    // --- what all of these do

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
        // Collected first, so that every wrong item is reported.
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
