//! `[[endpoints]]`: the webhooks registered at Finkare, or the one that the environment describes.

use std::time::Duration;

use finkare::{DEFAULT_RATE, Paths, UpdateMethod};
use serde_json::json;
use url::{Host, Url};

use super::{Endpoint, RateLimit, zone};
use crate::{
    ingest::Dedupe,
    link::{DEFAULT_OVERLAP, MAX_OVERLAP},
    model::{
        id::EndpointName,
        secret::{Secret, has_split_password},
    },
    options::section::Section,
    reconcile::{EVERY_HOURS, LOOK_BACK_DAYS, Schedule},
    resolve::{DEFAULT_PATIENCE, DEFAULT_WINDOW_DAYS},
    signature::finkare::{SecretEncoding, SignatureOver},
};

/// Where the endpoint `default` listens.
const DEFAULT_PATH: &str = "/webhooks/finkare";

/// The variables that describe the endpoint `default`, with their options.
const VARIABLES: [(&str, &str); 4] = [
    ("secret", "FINKARE_WEBHOOK_SECRET"),
    ("webhook_id", "FINKARE_WEBHOOK_ID"),
    ("api_key", "FINKARE_API_KEY"),
    ("api_url", "FINKARE_API_URL"),
];

/// Paths that the service answers itself, including all paths below them.
const RESERVED: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/api"];

/// The client's default: Finkare's own limits are not documented, and the relay makes few calls.
const API_RATE: RateLimit = RateLimit { requests: DEFAULT_RATE.0, per: DEFAULT_RATE.1 };
/// As in the vendor's SDK (<https://docs.finkare.io/guides/sdk-typescript>).
const API_TIMEOUT_SECS: u64 = 30;
/// As in the vendor's SDK (same source).
const API_MAX_RETRIES: u32 = 3;
/// The placeholder of the id in a path.
const ID: &str = "{id}";
const SECS_PER_DAY: u64 = 24 * 60 * 60;

/// The result of reading.
pub(super) struct Read {
    pub(super) endpoints: Vec<Endpoint>,
    /// The names of all endpoints, including those that have a problem and are not in `endpoints`.
    pub(super) names: Vec<EndpointName>,
    /// True if there is only `default`, and no secret was configured for it.
    pub(super) is_without_secret: bool,
}

/// Reads the endpoints. Dedupe keys are stored for `kept_for`.
pub(super) fn read(root: &mut Section<'_>, kept_for: Duration) -> Read {
    let is_configured = root.has("endpoints");
    let sections = root
        .key(
            "endpoints",
            "One for each webhook registered at Finkare. Without any, `FINKARE_WEBHOOK_SECRET`, `FINKARE_WEBHOOK_ID`, \
             `FINKARE_API_KEY` and `FINKARE_API_URL` describe one named `default`, with the path `/webhooks/finkare`.",
        )
        .tables();
    if sections.is_empty() {
        let from_environment = default_endpoint(root, kept_for);
        // `endpoints = 5` was reported already.
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

/// Reads one endpoint; `None` if it has no usable name or path. `earlier` has the previous endpoints.
fn one(
    mut section: Section<'_>,
    name: Option<EndpointName>,
    earlier: &[Endpoint],
    kept_for: Duration,
) -> Option<Endpoint> {
    section
        .key(
            "sinks",
            "Sinks that get the events of this endpoint alone, as [[sinks]] without `endpoints`. One without a name has the \
             endpoint's.",
        )
        .options_list();
    let path = path(&mut section, earlier);
    let webhook_id = section
        .key("webhook_id", "The webhook's id at Finkare, for rotating its secret.")
        .allowed("letters, digits, `-`, `_`")
        .otherwise("what `register` stored")
        .text();
    let webhook_id = webhook_id.filter(|id| {
        // The id becomes a part of a path in Finkare's API.
        let good = (1..=100).contains(&id.len()) && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if !good {
            section.problem("webhook_id", "is not an id: write it as Finkare shows it, letters, digits and `-`");
        }
        good
    });
    let secrets = secrets(&mut section);
    let api_key = section
        .key(
            "api_key",
            "The key for Finkare's API. Its scopes: `webhooks:manage` to register and to rotate, `invoices:read` and \
             `payments:read` for invoicing sinks and `enrich`.",
        )
        .secret();
    let api_key = api_key.filter(|key| {
        let good = key.expose().chars().all(|c| c.is_ascii_graphic());
        if !good {
            section.problem("api_key", "has blanks or characters beyond ASCII, which no API key has");
        }
        good
    });
    let api_url = api_url(&mut section);
    let api_rate_limit = super::sink::rate_limit(
        section
            .key(
                "api_rate_limit",
                "The largest number of calls to Finkare's API in any period of this length, in each process.",
            )
            .by_default(json!({"requests": API_RATE.requests, "per_secs": API_RATE.per.as_secs()})),
        "calls",
    )
    .unwrap_or(API_RATE);
    let api_timeout = section
        .key("api_timeout_secs", "How long one call to Finkare's API may take, in seconds.")
        .secs_or(1..=300, API_TIMEOUT_SECS);
    let api_max_retries = section
        .key("api_max_retries", "How many times a call is retried after a 429.")
        .whole_or(0..=10, API_MAX_RETRIES);
    let api_paths = api_paths(&mut section);
    let api_update_method = section
        .key("api_update_method", "The method that changes a webhook. Finkare does not document it.")
        .word_or(&[("PUT", UpdateMethod::Put), ("PATCH", UpdateMethod::Patch)], UpdateMethod::default());
    let timezone = zone::timezone(
        &mut section,
        "The zone in which a day begins and ends, for statements and reconciliations: a payment belongs to the day on which it was paid there.",
    );
    let payment_patience = section
        .key(
            "payment_patience_secs",
            "How long after its event an invoice or a payment may become visible in Finkare's API, in seconds, before a \
             person is asked.",
        )
        .secs_or(0..=604_800, DEFAULT_PATIENCE.as_secs());
    let payment_window = section
        .key(
            "payment_window_days",
            "If an event does not name its payment, a payment that is dated further from the event, in days, is never \
             assigned to it ([why](decisions/0027-the-nearest-payment-decides.md)).",
        )
        .whole_or(1..=365, DEFAULT_WINDOW_DAYS)
        * SECS_PER_DAY;
    let reconcile = reconcile(&mut section, api_key.is_some());
    let rotate_every = rotate_every(&mut section, api_key.is_some());
    let rotate_overlap = section
        .key(
            "rotate_overlap_secs",
            "How long the earlier secrets stay valid after a rotation, in seconds; less than 10 counts as 10.",
        )
        .secs_or(0..=MAX_OVERLAP.as_secs(), DEFAULT_OVERLAP.as_secs());
    let dedupe = dedupe(&mut section);
    let max_age = max_age(&mut section, kept_for);
    let silence_alarm = section
        .key(
            "silence_alarm_hours",
            "Reports the endpoint as silent after this many hours without a genuine delivery \
             ([silent endpoints](guide/watch.md#silent-endpoints)).",
        )
        .otherwise("never")
        .whole(1..=8760_u64)
        .map(|hours| Duration::from_secs(hours * 60 * 60));
    let signature_over = section
        .key(
            "signature_over",
            "What Finkare's signature covers: `raw` is the body as it was received, `reserialized` the JSON parsed and \
             written again ([why](decisions/0004-signature-over-the-raw-bytes.md)), `either` accepts both.",
        )
        .word_or(
            &[
                ("raw", SignatureOver::Raw),
                ("reserialized", SignatureOver::Reserialized),
                ("either", SignatureOver::Either),
            ],
            SignatureOver::default(),
        );
    let secret_encoding = section
        .key(
            "secret_encoding",
            "How the secret becomes the key: `literal` as it is, `stripped` without `whsec_`, `base64` without it and \
             decoded.",
        )
        .word_or(
            &[
                ("literal", SecretEncoding::Literal),
                ("stripped", SecretEncoding::Stripped),
                ("base64", SecretEncoding::Base64),
            ],
            SecretEncoding::default(),
        );
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
        api_max_retries,
        api_paths,
        api_update_method,
        // Set later, in the same way for all endpoints.
        egress: outgoing::Egress::default(),
        timezone,
        payment_patience,
        payment_window: Duration::from_secs(payment_window),
        reconcile,
        rotate_every,
        rotate_overlap,
        dedupe,
        max_age,
        silence_alarm,
        signature_over,
        secret_encoding,
    })
}

/// `reconcile`: when the endpoint is compared with Finkare by itself.
fn reconcile(section: &mut Section<'_>, has_key: bool) -> Option<Schedule> {
    let is_set = section.has("reconcile");
    let mut table = section
        .key(
            "reconcile",
            "Compares the payments with Finkare's by itself ([reconciliation](guide/reconcile.md)). Needs `api_key`.",
        )
        .otherwise("never")
        .table_if_set()?;
    let every = table
        .key("every_hours", "The time between two reconciliations, in hours.")
        .whole_or(1..=24 * 366_u64, EVERY_HOURS);
    let look_back_days =
        table.key("look_back_days", "How many days before today it begins.").whole_or(1..=366_u32, LOOK_BACK_DAYS);
    let fill =
        table.key("fill", "Whether a payment that no event announced becomes an event by itself.").flag_or(false);
    table.finish();
    if is_set && !has_key {
        section.problem("reconcile", "needs `api_key`: Finkare is asked for its payments");
        return None;
    }
    Some(Schedule { every: Duration::from_secs(every * 60 * 60), look_back_days, fill })
}

fn name(section: &mut Section<'_>, earlier: &[EndpointName]) -> Option<EndpointName> {
    let text = section
        .key("name", "Its name.")
        .allowed("1 to 63 letters, digits, `-`, `_` and `.`")
        .required("an endpoint needs a name")
        .text()?;
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
    let path = section
        .key("path", "Its path on the public listener.")
        .allowed("letters, digits and `-._~/`; not `/healthz`, `/readyz`, `/metrics`, `/api`")
        .required("write, for example, `/webhooks/finkare`")
        .text()?;
    if let Err(what) = check_path(&path) {
        section.problem("path", format!("`{path}` {what}"));
    } else if let Some(other) = earlier.iter().find(|other| other.path == path) {
        section
            .problem("path", format!("`{path}` is also the path of the endpoint `{}`: give each its own", other.name));
    }
    Some(path)
}

/// Accepts only characters that need no encoding in a URL (RFC 3986, section 2.3), so that a path is written the same
/// everywhere, and no character that a router could take for a pattern.
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
        return Err("has an empty part, `.` or `..`, which proxies and clients remove".to_owned());
    }
    let is_below =
        |reserved: &str| path.strip_prefix(reserved).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match RESERVED.into_iter().find(|reserved| is_below(reserved)) {
        Some(reserved) => Err(format!("is used by the service itself (`{reserved}`): choose another")),
        None => Ok(()),
    }
}

/// `secret` first, then `secrets`; a secret that is there twice counts once.
fn secrets(section: &mut Section<'_>) -> Vec<Secret> {
    let mut secrets: Vec<Secret> = Vec::new();
    let first = section
        .key(
            "secret",
            "The webhook's secret as Finkare showed it. Secrets are stored encrypted in the database, and one that is set here \
             is added to them once. It is not needed if `finkare-relay register` creates the webhook.",
        )
        .secret();
    let others = section
        .key("secrets", "Further secrets that are valid, such as one that was changed by hand at Finkare.")
        .secrets();
    for secret in first.into_iter().chain(others) {
        if !secrets.contains(&secret) {
            secrets.push(secret);
        }
    }
    secrets
}

fn api_url(section: &mut Section<'_>) -> Option<Url> {
    let text = section
        .key("api_url", "Finkare's API. Without a path, `/api/v1` is added.")
        .allowed("https, or http on this machine")
        .otherwise("from the key's prefix (`fk_live_`, `fk_test_`)")
        .private()
        .text()?;
    // A text that does not parse is not repeated, because it may contain a key.
    let wrong = match Url::parse(&text) {
        Err(error) => format!("is not a URL ({error}): write, for example, `https://api.finkare.io`"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() || has_split_password(&text) => {
            "contains a user or a password: Finkare accepts only the `api_key`".to_owned()
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            "has a `?` or a `#`: write the address alone".to_owned()
        }
        Ok(url) if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) => return Some(url),
        Ok(_) => {
            "is not https: the API key must not be sent unencrypted (http is allowed only for this machine)".to_owned()
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
    let text = section
        .key(
            "dedupe",
            "How a repeated delivery is recognised: by its bytes (`message`), or by the event's type and a text or number in \
             the body, such as `/id` or `/data/paymentId`. If that value is empty, missing, `null`, a boolean, a list or \
             an object, the bytes count. Numbers are compared as they are written.",
        )
        .allowed("`message` or a JSON pointer")
        .text_or("message");
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

/// The limit must be below the time for which dedupe keys are stored: otherwise a repeated delivery could count as new. It
/// is a day below, because Finkare's clock and ours may differ (docs/decisions/0019-max-age.md).
fn max_age(section: &mut Section<'_>, kept_for: Duration) -> Option<Duration> {
    let days = section
        .key(
            "max_age_days",
            "Refuses a genuine delivery whose own timestamp is older, in days, with 403 \
             ([why](decisions/0019-max-age.md)). It must be less than `dedupe_days`.",
        )
        .otherwise("never")
        .whole(1..=36_500_u64)?;
    let kept_days = kept_for.as_secs() / SECS_PER_DAY;
    if days >= kept_days {
        section.problem(
            "max_age_days",
            format!("{days} is not less than retention.dedupe_days ({kept_days}): a delivery that is accepted after its dedupe key was deleted would be booked twice"),
        );
    }
    Some(Duration::from_secs(days * SECS_PER_DAY))
}

fn api_paths(section: &mut Section<'_>) -> Paths {
    let Paths { webhook, rotate_secret, deliveries, invoice, .. } = Paths::default();
    let shown = json!({
        "webhook": webhook, "rotate_secret": rotate_secret, "deliveries": deliveries, "invoice": invoice,
    });
    let table = section
        .key(
            "api_paths",
            "Paths below the API's address. Finkare does not document them: change one if Finkare answers 404 to it.",
        )
        .by_default(shown)
        .table_if_set();
    let Some(mut paths) = table else { return Paths::default() };
    let mut path = |name: &'static str, meaning: &'static str, default: &str| {
        let path = paths.key(name, meaning).allowed("a path with `{id}`").text_or(default);
        if let Err(what) = check_api_path(&path) {
            paths.problem(name, format!("`{path}` {what}"));
        }
        path
    };
    let read = Paths {
        webhook: path("webhook", "One webhook.", &webhook),
        rotate_secret: path("rotate_secret", "The rotation of a webhook's secret.", &rotate_secret),
        deliveries: path("deliveries", "A webhook's deliveries.", &deliveries),
        invoice: path("invoice", "One invoice.", &invoice),
        ..Paths::default()
    };
    paths.finish();
    read
}

/// Checks a path below the API's address: the id must be in it once, as a part or within one.
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
    let days = section
        .key("rotate_every_days", "Rotates the secret by itself after this many days. It needs `api_key`.")
        .otherwise("never")
        .whole(1..=3650_u64)?;
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
