//! `[[endpoints]]`: the webhooks registered at Finkare, or the one that the environment describes.

use url::{Host, Url};

use super::{Endpoint, raw::Section};
use crate::{
    ingest::Dedupe,
    model::{id::EndpointName, secret::Secret},
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

/// What is told of an option that this version reads and does not act on.
pub(super) const NOT_YET: &str = "accepted for a later version; nothing uses it yet";

/// Reads the endpoints. The flag is true if there is only `default`, without any secret.
pub(super) fn read(root: &mut Section<'_>) -> (Vec<Endpoint>, bool) {
    let is_configured = root.has("endpoints");
    let sections = root.sections("endpoints");
    if sections.is_empty() {
        let from_environment = default_endpoint(root);
        // After `endpoints = 5` the problem is there already.
        let made_up = !is_configured && from_environment.secrets.is_empty();
        return (vec![from_environment], made_up);
    }
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for section in sections {
        endpoints.extend(one(section, &endpoints));
    }
    for (_, variable) in VARIABLES {
        if root.environment().is_set_in_vain(variable) {
            let place = super::problem::Place::variable(variable);
            let what = format!(
                "is set but not used, because [[endpoints]] is configured: name it there by {{ env = \"{variable}\" }}"
            );
            root.report().notice(&place, what);
        }
    }
    (endpoints, false)
}

fn default_endpoint(root: &Section<'_>) -> Endpoint {
    let mut section = Section::beside(root, "endpoints (default)");
    section.put("name", "default");
    section.put("path", DEFAULT_PATH);
    for (key, variable) in VARIABLES {
        section.lay_over(key, root.environment().get(variable, root.report()));
    }
    one(section, &[]).expect("its name and its path are good, and nothing else makes an endpoint unreadable")
}

/// Reads one endpoint; `None` if it has no usable name or path. `earlier` are those before it.
fn one(mut section: Section<'_>, earlier: &[Endpoint]) -> Option<Endpoint> {
    let name = name(&mut section, earlier);
    let path = path(&mut section, earlier);
    let webhook_id = section.text("webhook_id").filter(|id| {
        // It becomes a part of a URL's path at Finkare.
        let good = (1..=100).contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if !good {
            section.problem("webhook_id", "is not an id: write it as Finkare shows it, letters, digits and `-`");
        }
        good
    });
    let has_secret = section.has("secret") || section.has("secrets");
    let secrets = secrets(&mut section);
    // The endpoint of the environment stands on no line; where it has no secret one is generated.
    if !has_secret && section.here().line.is_some() {
        section.report().notice(
            &section.here(),
            "has no secret, so every delivery to it is refused: set `secret` to what Finkare showed when the webhook was created",
        );
    }
    let api_key = section.secret("api_key").filter(|key| {
        let good = key.expose().chars().all(|c| c.is_ascii_graphic());
        if !good {
            section.problem("api_key", "has blanks or characters beyond ASCII, which no API key has");
        }
        good
    });
    let api_url = api_url(&mut section);
    let dedupe = dedupe(&mut section);
    let signature_over = section.word("signature_over", &["raw", "reserialized", "either"]).unwrap_or_default();
    let secret_encoding = section.word("secret_encoding", &["literal", "stripped", "base64"]).unwrap_or_default();
    let set = [("webhook_id", webhook_id.is_some()), ("api_key", api_key.is_some()), ("api_url", api_url.is_some())];
    not_yet(&mut section, set.into_iter().filter_map(|(key, is_set)| is_set.then_some(key)));
    section.finish();
    Some(Endpoint {
        name: name?,
        path: path?,
        webhook_id,
        secrets,
        api_key,
        api_url,
        dedupe,
        signature_over,
        secret_encoding,
    })
}

fn name(section: &mut Section<'_>, earlier: &[Endpoint]) -> Option<EndpointName> {
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
    if earlier.iter().any(|other| other.name == name) {
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
    let first = section.secret("secret").map(|secret| ("secret", secret));
    let others = section.secrets("secrets").into_iter().map(|secret| ("secrets", secret));
    for (key, secret) in first.into_iter().chain(others) {
        if secret.expose().trim() != secret.expose() {
            section.notice(key, "begins or ends with a blank or a newline, which is taken for a part of the secret");
        }
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
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
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

/// Options whose meaning is settled and checked, but which nothing in this version acts on.
///
/// `set` are those that are read elsewhere and turned out to be set.
fn not_yet(section: &mut Section<'_>, set: impl Iterator<Item = &'static str>) {
    for key in set {
        section.notice(key, NOT_YET);
    }
    if section.has("api_rate_limit") {
        section.notice("api_rate_limit", NOT_YET);
    }
    super::sink::rate_limit(section, "api_rate_limit");
    if section.whole_if_set("rotate_every_days", &(1..=3650)).is_some() {
        section.notice("rotate_every_days", format!("{NOT_YET}, and no secret is rotated by itself"));
    }
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
