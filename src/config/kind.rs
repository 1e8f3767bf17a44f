//! A sink's own options: from the keys that remain in its table to the struct of its kind.
//!
//! The structs derive `Deserialize`, which stops at the first thing that is wrong, repeats wrong
//! values in its messages and cannot resolve secrets. So secrets are resolved before, by hand and
//! by name ([`Own::secret`], [`Own::secrets_by_name`]); the struct is asked for its field names, which
//! makes every other key an unknown one with a suggestion; and a field that cannot be read is
//! reported, taken out, and the rest tried again.
//!
//! A new kind of sink needs an arm in [`read`], and there one line for each option that is secret.

use std::{cell::Cell, collections::HashSet, iter};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue};
use jiff::tz::TimeZone;
use serde::{
    Deserializer,
    de::{DeserializeOwned, Error, Visitor, value::MapDeserializer},
    forward_to_deserialize_any,
};
use toml::{Table, Value};
use url::Url;

use crate::{
    model::secret::{Secret, has_split_password},
    options::{
        problem::{did_you_mean, listed},
        section::Section,
    },
    signature::standard_webhooks::Signer,
    sinks::{
        self,
        invoicing::{Common, Numbering},
    },
};

/// Every `type` that users may meet in documentation; not all are in every build.
const DOCUMENTED: [&str; 15] = [
    "stdout",
    "file",
    "http",
    "nats",
    "amqp",
    "redis",
    "kafka",
    "mqtt",
    "sqs",
    "email",
    "chat",
    "facturation_pro",
    "efactori",
    "tiime",
    "fastfaktura",
];

/// How a payment may have been made, as Finkare documents it (<https://docs.finkare.io/api-reference/payments>); and
/// what stands for all others.
const METHODS: [&str; 5] = ["card", "bank_transfer", "sepa_debit", "payment_link", "other"];

/// Reads the `type` and the options of that kind. `None` after a problem.
///
/// `is_enriched` says whether the sink gets its events with what Finkare says of them. Comes last: every key that a sink of any kind may have is taken before, so that what is left is
/// the kind's own or unknown.
pub(super) fn read(mut section: Section<'_>, is_enriched: bool) -> Option<sinks::Kind> {
    let names = sinks::Kind::NAMES;
    if !section.has("type") {
        section.problem("type", format!("is missing: write one of {}", listed(names)));
    }
    let kind = match section.text("type").as_deref() {
        Some("stdout") => options(&mut section, Own::default()).map(sinks::Kind::Stdout),
        Some("file") => file(&mut section).map(sinks::Kind::File),
        Some("http") => http(&mut section, is_enriched).map(sinks::Kind::Http),
        Some("facturation_pro") => facturation_pro(&mut section),
        Some("efactori") => efactori(&mut section),
        Some("tiime") => tiime(&mut section),
        Some("fastfaktura") => fastfaktura(&mut section),
        unusable => {
            if let Some(name) = unusable {
                let what = if DOCUMENTED.contains(&name) {
                    format!("`{name}` is not in this version: it has {}", listed(names))
                } else {
                    format!("`{name}` is not one of {}{}", listed(names), did_you_mean(name, DOCUMENTED))
                };
                section.problem("type", what);
            }
            // What the other keys mean depends on the type, so that nothing can be said of them.
            return None;
        }
    };
    section.finish();
    kind
}

fn file(section: &mut Section<'_>) -> Option<sinks::file::Options> {
    let mut options: sinks::file::Options = options(section, Own::default())?;
    let path = options.path.to_string_lossy();
    if path.is_empty() || path.ends_with('/') {
        section.problem("path", format!("`{path}` does not name a file: write, for example, `data/events.jsonl`"));
    }
    let anchored = section.anchored("path", &options.path);
    if anchored != options.path && options.path.exists() && !anchored.exists() {
        section.notice(
            "path",
            format!(
                "a relative path starts from the folder of the configuration file: events go to `{}`, and no more to `{path}` in \
                 the working directory",
                anchored.display()
            ),
        );
    }
    options.path = anchored;
    Some(options)
}

fn http(section: &mut Section<'_>, is_enriched: bool) -> Option<sinks::http::Options> {
    let mut own = Own::default();
    own.url(section, "url");
    // The sink would refuse it too, but alone and later: here it is told with all other problems.
    if let Some(Err(what)) = own.secret(section, "secret").as_ref().map(Signer::new) {
        section.problem("secret", what);
    }
    let mut seen = HashSet::new();
    for (name, value) in own.secrets_by_name(section, "headers") {
        let key = format!("headers.{name}");
        let Ok(header) = HeaderName::try_from(&name) else {
            section.problem(&key, "is not a header's name: write letters, digits and `-`");
            continue;
        };
        if sinks::http::is_reserved(&header) {
            section.problem(&key, "is written by the relay itself: leave it out");
        }
        if HeaderValue::try_from(value.expose()).is_err() {
            section.problem(&key, "has a character that no header may have, such as a line break");
        }
        if !seen.insert(header) {
            section.problem(&key, "stands there twice, in upper and in lower case: keep one");
        }
    }
    let (options, failed) = options_all_the_same(section, own);
    let mut options: sinks::http::Options = options?;

    if options.connect_timeout_secs == 0 {
        section.problem("connect_timeout_secs", "0 lets nothing connect: write 1 or more");
    }
    if let Some((key, what)) = options.body_problem(is_enriched) {
        section.problem(key, what);
    } else if let Some(doubt) = options.doubt() {
        section.notice("template", format!("cannot work, and events would be held: {doubt}"));
    }
    if let Some(header) = basic_auth(&mut options.url) {
        if seen.contains(&http::header::AUTHORIZATION) {
            section.problem("url", "holds a user, and `headers` an `authorization`: keep one of the two");
        }
        options.headers.insert("authorization".to_owned(), header);
    }
    (!failed).then_some(options)
}

/// Nothing can be written to Tiime, so that `status_map` names what its invoices are to show.
fn tiime(section: &mut Section<'_>) -> Option<sinks::Kind> {
    let mut own = Own::default();
    header_secret(section, &mut own, "token");
    let options: Option<sinks::invoicing::tiime::Options> = options(section, own);
    let common = common(section, &[]);
    let options = options?;
    base_url(section, &options.base_url);
    if !options.i_accept_unofficial_api {
        section.problem("i_accept_unofficial_api", sinks::invoicing::tiime::REFUSAL);
    }
    let is_part = |text: &str, other: u8| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == other)
    };
    if !is_part(&options.company_id, b'-') {
        section.problem("company_id", "is not Tiime's id of a company: letters, digits and `-`");
    }
    if !is_part(&options.app_version, b'.') {
        section.problem("app_version", "is not a version: write, for example, `4.36.3`");
    }
    for (key, number, allowed) in
        [("page_size", options.page_size, 1..=500), ("lookup_max_pages", options.lookup_max_pages, 1..=1000)]
    {
        if !allowed.contains(&number) {
            section.problem(key, format!("{number} is not from {} to {}", allowed.start(), allowed.end()));
        }
    }
    Some(sinks::Kind::Tiime(Box::new(options), common?))
}

/// As for Tiime.
fn fastfaktura(section: &mut Section<'_>) -> Option<sinks::Kind> {
    let mut own = Own::default();
    header_secret(section, &mut own, "api_key");
    let options: Option<sinks::invoicing::fastfaktura::Options> = options(section, own);
    let common = common(section, &[]);
    let options = options?;
    base_url(section, &options.base_url);
    if options.list_key.is_empty() {
        section.problem("list_key", "is empty: leave it out, or write under which name lists stand in an answer");
    }
    if !(1..=1000).contains(&options.lookup_max_pages) {
        section.problem("lookup_max_pages", format!("{} is not from 1 to 1000", options.lookup_max_pages));
    }
    for (index, status) in options.lookup_statuses.iter().enumerate() {
        if status.is_empty() {
            section.problem(&format!("lookup_statuses[{index}]"), "is empty: write a status such as `sent`");
        }
    }
    Some(sinks::Kind::Fastfaktura(Box::new(options), common?))
}

/// A secret that travels in a header.
fn header_secret(section: &mut Section<'_>, own: &mut Own, key: &'static str) {
    let Some(secret) = own.secret(section, key) else { return };
    if secret.expose().is_empty() {
        section.problem(key, "is empty");
    } else if HeaderValue::try_from(secret.expose()).is_err() {
        section.problem(key, "has a character that no header may have, such as a line break");
    }
}

fn facturation_pro(section: &mut Section<'_>) -> Option<sinks::Kind> {
    let common = common(section, &sinks::invoicing::facturation_pro::ACTIONS);
    let mut own = Own::default();
    if section.has("base_url") {
        own.url(section, "base_url");
    }
    own.secret(section, "api_id");
    own.secret(section, "api_key");
    let (options, failed) = options_all_the_same(section, own);
    let options: sinks::invoicing::facturation_pro::Options = options?;
    for (key, what) in options.problems() {
        section.problem(&key, what);
    }
    let options = Some(options).filter(|_| !failed)?;
    Some(sinks::Kind::FacturationPro(Box::new(options), common?))
}

fn efactori(section: &mut Section<'_>) -> Option<sinks::Kind> {
    let mut own = Own::default();
    for key in ["session_key", "company_uuid"] {
        let is_given = section.has(key);
        if own.secret(section, key).is_none() && !is_given {
            section.problem(key, "is missing: it stands in the personal settings of eFactori");
        }
    }
    own.failed |= own.table.len() < 2;
    let options: Option<sinks::invoicing::efactori::Options> = options(section, own);
    let common = common(section, &sinks::invoicing::efactori::Options::ACTIONS);
    let (options, common) = (options?, common?);
    base_url(section, &options.base_url);
    for (key, what) in options.problems(&common) {
        section.problem(key, what);
    }
    for method in options.accounts.keys().filter(|method| !METHODS.contains(&method.as_str())) {
        let meant = did_you_mean(method, METHODS);
        if !meant.is_empty() {
            section.notice("accounts", format!("`{method}` is no method that Finkare documents{meant}"));
        }
    }
    Some(sinks::Kind::Efactori(Box::new(options), common))
}

/// The address of an invoicing system, which is no secret.
fn base_url(section: &mut Section<'_>, url: &Url) {
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        section.problem("base_url", "does not begin with `https://` or `http://` and a host");
    } else if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        section.problem("base_url", "has a user, a query or a fragment: write the address alone");
    }
}

/// What all invoicing sinks have in common. `actions` are what `status_map` may name, `nothing` among them; where
/// there are none, any word will do: it is what the system is to show.
fn common(section: &mut Section<'_>, actions: &[&str]) -> Option<Common> {
    let common: Common = options(section, Own::default())?;
    if let Some(zone) = &common.timezone
        && TimeZone::get(zone).is_err()
    {
        section.problem("timezone", format!("`{zone}` is no time zone: write, for example, `Europe/Paris`"));
    }
    if let Err(problem) = Numbering::new(common.number.as_deref()) {
        section.problem("number", problem);
    }
    for (status, action) in &common.status_map {
        if actions.is_empty() {
            if action.trim().is_empty() {
                section.problem(&format!("status_map.{status}"), "is empty: write the status that is expected there");
            }
        } else if !actions.contains(&action.as_str()) {
            let what = format!("`{action}` is not one of {}", listed(actions.iter().copied()));
            section.problem(&format!("status_map.{status}"), what);
        }
    }
    for (key, secs, allowed) in [
        ("settle_secs", common.settle_secs, 1..=3600),
        ("not_found_secs", common.not_found_secs, 0..=2_592_000),
        ("recheck_secs", common.recheck_secs, 1..=2_592_000),
    ] {
        if !allowed.contains(&secs) {
            section.problem(key, format!("{secs} is not from {} to {}", allowed.start(), allowed.end()));
        }
    }
    if common.api_limits.as_ref().is_some_and(Vec::is_empty) {
        section.problem("api_limits", "is empty: leave it out for the documented limits");
    }
    Some(common)
}

/// Takes user and password out of a URL and makes the header of them that a client would make, so
/// that the URL can be shown in logs.
fn basic_auth(url: &mut Url) -> Option<Secret> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair = percent_decoded(url.username());
    pair.push(b':');
    pair.extend(percent_decoded(url.password().unwrap_or_default()));
    let pair = zeroize::Zeroizing::new(pair);
    url.set_username("")
        .and_then(|()| url.set_password(None))
        .expect("an http URL has a host, so it can lose its user");
    Some(Secret::new(format!("Basic {}", STANDARD.encode(&*pair))))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let byte = match rest {
            [b'%', digits @ ..] if digits.len() >= 2 => {
                let mut byte = [0];
                hex::decode_to_slice(&digits[..2], &mut byte).ok().map(|()| byte[0])
            }
            _ => None,
        };
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &rest[3..] } else { after };
    }
    decoded
}

/// Stands for an address that cannot be used, until all problems are told (RFC 2606, section 2).
const IN_PLACE_OF_A_URL: &str = "https://unusable.invalid/";

/// The keys of a kind that were read by hand before the struct is made.
#[derive(Default)]
struct Own {
    table: Table,
    /// Taken by hand, whether it became anything or not.
    handled: Vec<&'static str>,
    failed: bool,
}

impl Own {
    /// An option that is a secret.
    fn secret(&mut self, section: &mut Section<'_>, key: &'static str) -> Option<Secret> {
        let is_given = section.has(key);
        let secret = section.secret(key);
        self.failed |= is_given && secret.is_none();
        self.put(key, secret.as_ref());
        secret
    }

    /// A table of names and secrets.
    fn secrets_by_name(&mut self, section: &mut Section<'_>, key: &'static str) -> Vec<(String, Secret)> {
        self.handled.push(key);
        let entries = match section.take(key) {
            None => return Vec::new(),
            Some(Value::Table(entries)) => entries,
            Some(_) => {
                section.problem(key, "is not a table: write { \"name\" = \"value\" }");
                self.failed = true;
                return Vec::new();
            }
        };
        let mut resolved = Vec::new();
        for (name, value) in entries {
            match section.resolve(&format!("{key}.{name}"), value) {
                Some(secret) => resolved.push((name, secret)),
                None => self.failed = true,
            }
        }
        let texts = resolved.iter().map(|(name, secret)| (name.clone(), Value::String(secret.expose().to_owned())));
        self.table.insert(key.to_owned(), Value::Table(texts.collect()));
        resolved
    }

    /// A web address, which may hold a token and is treated as a secret.
    fn url(&mut self, section: &mut Section<'_>, key: &'static str) {
        let is_given = section.has(key);
        let given = section.secret(key);
        let wrong = match given.as_ref().map(|url| Url::parse(url.expose())) {
            None if is_given => None,
            None => {
                Some("is missing: write the address to post to, for example `https://erp.example/hooks`".to_owned())
            }
            Some(Err(error)) => Some(format!("is not a URL: {error}")),
            Some(Ok(_)) if given.as_ref().is_some_and(|url| has_split_password(url.expose())) => Some(
                "seems to hold a password with a `/`, `?` or `#`: write these as `%2F`, `%3F`, `%23` (and `@` as `%40`)"
                    .to_owned(),
            ),
            // The scheme is not repeated: in `user:password@host` it is the user.
            Some(Ok(url)) if !["http", "https"].contains(&url.scheme()) => {
                Some("does not begin with `https://` or `http://`".to_owned())
            }
            Some(Ok(_)) => return self.put(key, given.as_ref()),
        };
        self.failed = true;
        // So that the other options can be read and judged, too.
        self.put(key, Some(&Secret::new(IN_PLACE_OF_A_URL)));
        if let Some(what) = wrong {
            section.problem(key, what);
        }
    }

    fn put(&mut self, key: &'static str, secret: Option<&Secret>) {
        self.handled.push(key);
        if let Some(secret) = secret {
            self.table.insert(key.to_owned(), Value::String(secret.expose().to_owned()));
        }
    }
}

/// Makes the struct of what was read by hand and of the keys that bear its fields' names.
///
/// `None` after a problem, its own or one that `own` had.
fn options<T: DeserializeOwned>(section: &mut Section<'_>, own: Own) -> Option<T> {
    let (options, failed) = options_all_the_same(section, own);
    options.filter(|_| !failed)
}

/// As [`options`], also after a problem if the rest makes a struct: to be judged, so that all is told at once, and not
/// to be used. The flag says that there was a problem.
fn options_all_the_same<T: DeserializeOwned>(section: &mut Section<'_>, own: Own) -> (Option<T>, bool) {
    let Own { mut table, handled, mut failed } = own;
    for field in fields_of::<T>() {
        if !handled.contains(field)
            && let Some(value) = section.take(field)
        {
            table.insert((*field).to_owned(), value);
        }
    }
    loop {
        let current = Cell::new(None);
        // After the last entry the deserialiser misses fields; that concerns no entry.
        let entries =
            table.clone().into_iter().inspect(|(key, _)| current.set(Some(key.clone()))).chain(iter::from_fn(|| {
                current.set(None);
                None
            }));
        let error = match T::deserialize(MapDeserializer::<_, toml::de::Error>::new(entries)) {
            Ok(options) => return (Some(options), failed),
            Err(error) => error,
        };
        let Some(key) = current.take() else {
            // After a problem the missing option may be the one that was taken out.
            if !failed {
                let what = match error.message().strip_prefix("missing field ") {
                    Some(field) => format!("the option {field} is missing"),
                    None => error.message().to_owned(),
                };
                section.report().problem(&section.here(), what);
            }
            return (None, true);
        };
        let is_secret = handled.contains(&key.as_str());
        section.problem(&key, if is_secret { "cannot be used" } else { error.message() });
        table.remove(&key);
        failed = true;
    }
}

/// The names of a struct's fields, as its derived `Deserialize` knows them.
fn fields_of<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Ask<'a>(&'a Cell<&'static [&'static str]>);

    impl<'de> Deserializer<'de> for Ask<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _name: &'static str,
            fields: &'static [&'static str],
            _visitor: V,
        ) -> Result<V::Value, Self::Error> {
            self.0.set(fields);
            Err(Error::custom("only the names are wanted"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
            Err(Error::custom("only the names are wanted"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let fields = Cell::new([].as_slice());
    // Always an error: see above.
    let _ = T::deserialize(Ask(&fields));
    fields.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_tells_its_fields() {
        assert_eq!(fields_of::<sinks::file::Options>(), ["path", "max_bytes"]);
        assert_eq!(fields_of::<sinks::stdout::Options>(), [""; 0]);
    }

    #[test]
    fn user_and_password_move_into_a_header() {
        let mut url: Url = "https://al%20a:p%40ss%2@host/x".parse().unwrap();
        let header = basic_auth(&mut url).unwrap();
        assert_eq!(header.expose(), "Basic YWwgYTpwQHNzJTI=");
        assert_eq!(url.as_str(), "https://host/x");
        assert!(basic_auth(&mut url).is_none());
    }

    #[test]
    fn every_buildable_kind_is_documented_and_can_be_read() {
        assert!(sinks::Kind::NAMES.iter().all(|name| DOCUMENTED.contains(name)));
    }
}
