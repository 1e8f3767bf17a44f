//! A record of the options that were set, with hashes of their values: it can name the differences between two
//! configurations without storing a value.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use sha2::{Digest, Sha256};
use toml::Value;

/// Every option that was set, in the file or by a variable, with the SHA-256 of its value.
///
/// A secret that is stored elsewhere (`{ env = … }`, `{ file = … }`) counts with the text that was read from there. Options
/// are called `server.listen`, `sinks.erp.url`, `endpoints.production.secret`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Written(BTreeMap<String, [u8; 32]>);

/// Shows only the options' names, because a short value could be guessed from its hash.
impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Written {
    /// Notes an option and all options below it. `path` is as in `sinks[0].url`.
    pub(crate) fn value(&mut self, path: &str, value: &Value) {
        match value {
            Value::Table(table) => {
                for (key, value) in table {
                    self.value(&format!("{path}.{key}"), value);
                }
            }
            Value::Array(items) if items.iter().any(Value::is_table) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(&format!("{path}[{index}]"), item);
                }
            }
            plain => self.text(path, &plain.to_string()),
        }
    }

    /// Notes the resolved text of an option.
    pub(crate) fn text(&mut self, path: &str, text: &str) {
        self.0.insert(path.to_owned(), Sha256::digest(text).into());
    }

    /// Names sinks and endpoints by their names instead of their positions, so that their order does not matter.
    pub(crate) fn by_name(self, endpoints: &[&str], sinks: &[&str]) -> Self {
        let named = |path: String| {
            [("endpoints", endpoints), ("sinks", sinks)]
                .into_iter()
                .find_map(|(list, names)| {
                    let rest = path.strip_prefix(list)?;
                    // An endpoint or sink that only the environment describes is called `default`.
                    if let Some(rest) = rest.strip_prefix(" (default)") {
                        return Some(format!("{list}.default{rest}"));
                    }
                    let (index, rest) = rest.strip_prefix('[')?.split_once(']')?;
                    Some(format!("{list}.{}{rest}", names.get(index.parse::<usize>().ok()?)?))
                })
                .unwrap_or(path)
        };
        Self(self.0.into_iter().map(|(path, hash)| (named(path), hash)).collect())
    }

    /// These options and others, which have other names.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.0.extend(others.0.iter().map(|(name, hash)| (name.clone(), *hash)));
        self
    }

    /// The options of one sink.
    #[must_use]
    pub fn sink(&self, name: &str) -> Self {
        self.below(&format!("sinks.{name}."))
    }

    /// The options of one endpoint.
    #[must_use]
    pub fn endpoint(&self, name: &str) -> Self {
        self.below(&format!("endpoints.{name}."))
    }

    /// The options whose names have this beginning, without it.
    #[must_use]
    pub fn below(&self, prefix: &str) -> Self {
        let below = self.0.iter().filter_map(|(path, hash)| Some((path.strip_prefix(prefix)?.to_owned(), *hash)));
        Self(below.collect())
    }

    /// All options except those whose names begin with one of these.
    #[must_use]
    pub fn without(mut self, prefixes: &[&str]) -> Self {
        self.0.retain(|path, _| !prefixes.iter().any(|prefix| path.starts_with(prefix)));
        self
    }

    /// The names of the options that only one of the two has, or that have different values.
    pub fn differing(&self, other: &Self) -> BTreeSet<String> {
        let paths = self.0.keys().chain(other.0.keys());
        paths.filter(|path| self.0.get(*path) != other.0.get(*path)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Written {
        let table: toml::Table = text.parse().unwrap();
        let mut written = Written::default();
        for (key, value) in &table {
            written.value(key, value);
        }
        written
    }

    #[test]
    fn what_differs_is_named_wherever_it_stands() {
        let before =
            written("[server]\na = 1\nb = [1, 2]\n[[sinks]]\nurl = 'x'\nsecret = { env = 'A' }\nheaders = { h = '1' }");
        let after = written(
            "[server]\na = 1\nb = [2, 1]\n[[sinks]]\nurl = 'x'\nsecret = 'plain'\nheaders = { h = '2' }\nnew = 1",
        );
        let names = ["server.b", "sinks[0].headers.h", "sinks[0].new", "sinks[0].secret", "sinks[0].secret.env"];
        assert_eq!(before.differing(&after), names.map(str::to_owned).into());
        assert_eq!(after.differing(&before), names.map(str::to_owned).into());
        assert!(before.differing(&before.clone()).is_empty());
        assert_eq!(before.below("sinks[0].").differing(&after.below("sinks[0].")).len(), 4);
    }

    #[test]
    fn no_value_is_kept() {
        assert_eq!(format!("{:?}", written("token = 'hunter2'")), "{\"token\"}");
    }
}
