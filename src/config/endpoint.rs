//! `[[endpoints]]`: the webhooks registered at Finkare, or the one that the environment describes.

use std::time::Duration;

use finkare::{DEFAULT_RATE, Paths};
use url::{Host, Url};

use super::{Endpoint, RateLimit};
use crate::{
    finkare::link::{DEFAULT_OVERLAP, MAX_OVERLAP},
    ingest::Dedupe,
    model::{
        id::EndpointName,
        secret::{Secret, has_split_password},
    },
    options::section::Section,
    resolve::{DEFAULT_PATIENCE, DEFAULT_WINDOW_DAYS},
};

/// Where the endpoint `default` listens.
const DEFAULT_PATH: &str = "/webhooks/finkare";

/// What describes the endpoint `default`, with the options that they stand for.
const VARIABLES: [(&str, &str); 4] = [
    ("secret", "FINKARE_WEBHOOK_SECRET"),
    ("webhook_id", "FINKARE_WEBHOOK_ID"),
    ("api_key", "FINKARE_API_KEY"),
    ("api_url", "FINKARE_API_URL"),
];

/// Paths that the service answers itself, with all that lies below them.
const RESERVED: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/api"];

/// As the client: Finkare's own limits are not documented, and we call seldom.
const API_RATE: RateLimit = RateLimit { requests: DEFAULT_RATE.0, per: DEFAULT_RATE.1 };
/// As in the vendor's SDK (<https://docs.finkare.io/guides/sdk-typescript>).
const API_TIMEOUT_SECS: u64 = 30;
/// As in the vendor's SDK (same source).
const API_MAX_RETRIES: u64 = 3;
/// Where the id goes in a path.
const ID: &str = "{id}";
const SECS_PER_DAY: u64 = 24 * 60 * 60;

/// What was read.
pub(super) struct Read {
    pub(super) endpoints: Vec<Endpoint>,
    /// The names of all, also of those that have a problem and are not among the endpoints.
    pub(super) names: Vec<EndpointName>,
    /// True if there is only `default`, without any secret that was meant to be there.
    pub(super) is_without_secret: bool,
}

/// Reads the endpoints. `kept_for` is how long dedupe keys are kept.
pub(super) fn read(root: &mut Section<'_>, kept_for: Duration) -> Read {
    let is_configured = root.has("endpoints");
    let sections = root.sections("endpoints");
    if sections.is_empty() {
        let from_environment = default_endpoint(root, kept_for);
        // After `endpoints = 5` the problem is there already.
        let has_no_secret = from_environment.secrets.is_empty() && !root.environment().is_set("FINKARE_WEBHOOK_SECRET");
        let names = vec![from_environment.name.clone()];
        let is_without_secret = !is_configured && has_no_secret;
        return Read { endpoints: vec![from_environment], names, is_without_secret };
    }
    let mut endpoints: Vec<Endpoint> = Vec::new();
    let mut names: Vec<EndpointName> = Vec::new();
    for mut section in sections {
        let name = name(&mut section, &names);
        names.extend(name.clone());
        endpoints.extend(one(section, name, &endpoints, kept_for));
    }
    for (_, variable) in VARIABLES {
        if root.environment().is_set_in_vain(variable) {
            let place = crate::options::problem::Place::variable(variable);
            let what = format!(
                "is set but not used, because [[endpoints]] is configured: name it there by {{ env = \"{variable}\" }}"
            );
            root.report().notice(&place, what);
        }
    }
    Read { endpoints, names, is_without_secret: false }
}

fn default_endpoint(root: &Section<'_>, kept_for: Duration) -> Endpoint {
    let mut section = Section::beside(root, "endpoints (default)");
    section.put("name", "default");
    section.put("path", DEFAULT_PATH);
    for (key, variable) in VARIABLES {
        section.lay_over(key, root.environment().get(variable, root.report()));
    }
    let name = name(&mut section, &[]);
    one(section, name, &[], kept_for)
        .expect("its name and its path are good, and nothing else makes an endpoint unreadable")
}

/// Reads one endpoint; `None` if it has no usable name or path. `earlier` are those before it.
fn one(
    mut section: Section<'_>,
    name: Option<EndpointName>,
    earlier: &[Endpoint],
    kept_for: Duration,
) -> Option<Endpoint> {
    let path = path(&mut section, earlier);
    let webhook_id = section.text("webhook_id").filter(|id| {
        // It becomes a part of a URL's path at Finkare.
        let good = (1..=100).contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if !good {
            section.problem("webhook_id", "is not an id: write it as Finkare shows it, letters, digits and `-`");
        }
        good
    });
    let secrets = secrets(&mut section);
    let api_key = section.secret("api_key").filter(|key| {
        let good = key.expose().chars().all(|c| c.is_ascii_graphic());
        if !good {
            section.problem("api_key", "has blanks or characters beyond ASCII, which no API key has");
        }
        good
    });
    let api_url = api_url(&mut section);
    let api_rate_limit = super::sink::rate_limit(&mut section, "api_rate_limit").unwrap_or(API_RATE);
    let api_timeout = section.secs("api_timeout_secs", &(1..=300), API_TIMEOUT_SECS);
    let api_max_retries = section.whole("api_max_retries", &(0..=10), API_MAX_RETRIES);
    let api_paths = api_paths(&mut section);
    let api_update_method = section.word("api_update_method", &["PUT", "PATCH"]).unwrap_or_default();
    let payment_patience = section.secs("payment_patience_secs", &(0..=604_800), DEFAULT_PATIENCE.as_secs());
    let payment_window = section.whole("payment_window_days", &(1..=365), DEFAULT_WINDOW_DAYS) * SECS_PER_DAY;
    let rotate_every = rotate_every(&mut section, api_key.is_some());
    let rotate_overlap = section.secs("rotate_overlap_secs", &(0..=MAX_OVERLAP.as_secs()), DEFAULT_OVERLAP.as_secs());
    let dedupe = dedupe(&mut section);
    let max_age = max_age(&mut section, kept_for);
    let silence_alarm =
        section.whole_if_set("silence_alarm_hours", &(1..=8760)).map(|hours| Duration::from_secs(hours * 60 * 60));
    let signature_over = section.word("signature_over", &["raw", "reserialized", "either"]).unwrap_or_default();
    let secret_encoding = section.word("secret_encoding", &["literal", "stripped", "base64"]).unwrap_or_default();
    section.finish();
    Some(Endpoint {
        name: name?,
        path: path?,
        webhook_id,
        secrets,
        api_key,
        api_url,
        api_rate_limit,
        api_timeout,
        api_max_retries: u32::try_from(api_max_retries).unwrap_or(u32::MAX),
        api_paths,
        api_update_method,
        // Set afterwards, for all endpoints alike.
        egress: outgoing::Egress::default(),
        payment_patience,
        payment_window: Duration::from_secs(payment_window),
        rotate_every,
        rotate_overlap,
        dedupe,
        max_age,
        silence_alarm,
        signature_over,
        secret_encoding,
    })
}

fn name(section: &mut Section<'_>, earlier: &[EndpointName]) -> Option<EndpointName> {
    if !section.has("name") {
        section.problem("name", "is missing: an endpoint needs a name");
    }
    let text = section.text("name")?;
    let name = match EndpointName::new(&text) {
        Ok(name) => name,
        Err(error) => {
            section.problem("name", error.to_string());
            return None;
        }
    };
    section.call(&text);
    if earlier.contains(&name) {
        section.problem("name", format!("there are two endpoints `{name}`: give each its own name"));
    }
    Some(name)
}

fn path(section: &mut Section<'_>, earlier: &[Endpoint]) -> Option<String> {
    if !section.has("path") {
        section.problem("path", format!("is missing: write, for example, `{DEFAULT_PATH}`"));
    }
    let path = section.text("path")?;
    if let Err(what) = check_path(&path) {
        section.problem("path", format!("`{path}` {what}"));
    } else if let Some(other) = earlier.iter().find(|other| other.path == path) {
        section
            .problem("path", format!("`{path}` is the path of the endpoint `{}` too: give each its own", other.name));
    }
    Some(path)
}

/// Only what needs no encoding in a URL (RFC 3986, section 2.3), so that a path is one text
/// everywhere, and nothing that a router could take for a pattern.
fn check_path(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err("does not begin with `/`".to_owned());
    }
    if let Some(wrong) = path.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._~/".contains(*c))) {
        return Err(format!(
            "has a {wrong:?}: use letters, digits, `-`, `.`, `_`, `~` and `/`, no query and no pattern"
        ));
    }
    if path.len() > 200 {
        return Err("is longer than 200 characters".to_owned());
    }
    if path.contains("//") || path.split('/').any(|part| part == "." || part == "..") {
        return Err("has an empty part, `.` or `..`, which proxies and clients take out".to_owned());
    }
    let is_below =
        |reserved: &str| path.strip_prefix(reserved).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match RESERVED.into_iter().find(|reserved| is_below(reserved)) {
        Some(reserved) => Err(format!("is taken by the service itself (`{reserved}`): take another")),
        None => Ok(()),
    }
}

/// `secret` first, then `secrets`; a secret that stands there twice counts once.
fn secrets(section: &mut Section<'_>) -> Vec<Secret> {
    let mut secrets: Vec<Secret> = Vec::new();
    let first = section.secret("secret");
    let others = section.secrets("secrets");
    for secret in first.into_iter().chain(others) {
        if !secrets.contains(&secret) {
            secrets.push(secret);
        }
    }
    secrets
}

fn api_url(section: &mut Section<'_>) -> Option<Url> {
    let text = section.text("api_url")?;
    // What does not parse is not repeated: it may hold a key.
    let wrong = match Url::parse(&text) {
        Err(error) => format!("is not a URL ({error}): write, for example, `https://api.finkare.io`"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() || has_split_password(&text) => {
            "holds a user or a password: Finkare takes only the `api_key`".to_owned()
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            "has a `?` or a `#`: write the address alone".to_owned()
        }
        Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) => return Some(url),
        Ok(_) => {
            "is not https: the API key must not travel in the open (http is taken only for this machine)".to_owned()
        }
    };
    section.problem("api_url", wrong);
    None
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn dedupe(section: &mut Section<'_>) -> Dedupe {
    let Some(text) = section.text("dedupe") else { return Dedupe::Message };
    if text == "message" {
        return Dedupe::Message;
    }
    // RFC 6901, section 3: `~` stands only before `0` and `1`.
    let is_escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if !text.starts_with('/') || !is_escaped {
        section.problem(
            "dedupe",
            format!(
                "`{text}` is neither `message` nor a JSON pointer into the body, such as `/id` or `/data/paymentId`"
            ),
        );
    }
    Dedupe::Pointer(text)
}

/// Below the time for which dedupe keys are kept: between the two a repeated delivery would be taken for new. A day
/// below, as Finkare's clock and ours may differ (docs/decisions/0019-max-age.md).
fn max_age(section: &mut Section<'_>, kept_for: Duration) -> Option<Duration> {
    let days = section.whole_if_set("max_age_days", &(1..=36_500))?;
    let kept_days = kept_for.as_secs() / SECS_PER_DAY;
    if days >= kept_days {
        section.problem(
            "max_age_days",
            format!("{days} is not less than retention.dedupe_days ({kept_days}): what is older than its dedupe key and still taken would be booked twice"),
        );
    }
    Some(Duration::from_secs(days * SECS_PER_DAY))
}

fn api_paths(section: &mut Section<'_>) -> Paths {
    let defaults = Paths::default();
    let Some(mut paths) = section.section_if_set("api_paths") else { return defaults };
    let mut path = |key: &'static str, default: String| {
        let Some(path) = paths.text(key) else { return default };
        if let Err(what) = check_api_path(&path) {
            paths.problem(key, format!("`{path}` {what}"));
        }
        path
    };
    let read = Paths {
        webhook: path("webhook", defaults.webhook),
        rotate_secret: path("rotate_secret", defaults.rotate_secret),
        deliveries: path("deliveries", defaults.deliveries),
        invoice: path("invoice", defaults.invoice),
    };
    paths.finish();
    read
}

/// A path below the API's address, in which one whole part, or a piece of one, is the id.
fn check_api_path(path: &str) -> Result<(), String> {
    let Some((before, after)) = path.split_once(ID) else {
        return Err(format!("has no `{ID}`: write, for example, `/webhooks/{ID}`"));
    };
    if after.contains(ID) {
        return Err(format!("has more than one `{ID}`"));
    }
    if !before.starts_with('/') {
        return Err("does not begin with `/`".to_owned());
    }
    let without_id = [before, after].concat();
    if let Some(wrong) = without_id.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._~/:".contains(*c))) {
        return Err(format!("has a {wrong:?}: use letters, digits, `-`, `.`, `_`, `~`, `:` and `/`, and no query"));
    }
    if path.contains("//") || path.split('/').any(|part| part == "." || part == "..") {
        return Err("has an empty part, `.` or `..`".to_owned());
    }
    Ok(())
}

fn rotate_every(section: &mut Section<'_>, has_api_key: bool) -> Option<Duration> {
    let days = section.whole_if_set("rotate_every_days", &(1..=3650))?;
    if !has_api_key {
        section.problem(
            "rotate_every_days",
            "needs an `api_key` with the scope `webhooks:manage`: only Finkare can give a webhook a new secret",
        );
    }
    Some(Duration::from_secs(days * SECS_PER_DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_plain_and_our_own_paths_are_taken() {
        for good in ["/", "/webhooks/finkare", "/a/", "/apis", "/healthz2", "/A-b_c.d~e"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "hooks",
            "/a b",
            "/a?b",
            "/a#b",
            "/{id}",
            "/*rest",
            "/:id",
            "/é",
            "/%41",
            "//a",
            "/a//b",
            "/a/../b",
            "/.",
            "/healthz",
            "/readyz",
            "/metrics",
            "/metrics/x",
            "/api",
            "/api/",
            "/api/v1/events",
        ] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
        assert!(check_path(&format!("/{}", "a".repeat(200))).is_err());
    }

    #[test]
    fn a_path_of_the_api_holds_the_id_once() {
        for good in ["/webhooks/{id}", "/v2/webhooks/{id}/rotate", "/webhooks/{id}:rotate"] {
            assert_eq!(check_api_path(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/",
            "webhooks/{id}",
            "{id}",
            "/webhooks",
            "/{id}/{id}",
            "/{id}?x=1",
            "/{ID}",
            "/a b/{id}",
            "//x/{id}",
            "/../{id}",
        ] {
            assert!(check_api_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (url, expected) in [
            ("http://localhost:1", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:8", true),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
