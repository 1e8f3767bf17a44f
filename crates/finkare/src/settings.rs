//! How Finkare's API is reached: settings, their defaults, and which of them are assumptions.

use std::{num::NonZeroU32, time::Duration};

use http::HeaderName;
use outgoing::{Egress, NoClient};
use url::Url;

use crate::Secret;

/// How long one attempt may take by default, as in the vendor's SDK.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// How many times a call is retried after a 429 by default, as in the vendor's SDK.
pub const DEFAULT_MAX_RETRIES: u32 = 3;

/// The wait after the first 429 without a `Retry-After`, as in the vendor's SDK.
pub const DEFAULT_RETRY_INITIAL: Duration = Duration::from_secs(1);

/// The rate limit by default: one call per second on average, five at once. Finkare's own limits are not documented.
pub const DEFAULT_RATE: (NonZeroU32, Duration) = (NonZeroU32::new(5).unwrap(), Duration::from_secs(5));

const PRODUCTION: &str = "https://api.finkare.io";
const SANDBOX: &str = "https://api-sandbox.finkare.io";
pub(crate) const SANDBOX_HOST: &str = "api-sandbox.finkare.io";

/// The variable that [`Settings::from_env`] reads the key from.
const API_KEY_VARIABLE: &str = "FINKARE_API_KEY";
/// The variable that [`Settings::from_env`] reads the address from.
const API_URL_VARIABLE: &str = "FINKARE_API_URL";

/// How keys of the sandbox begin.
const SANDBOX_KEY: &str = "fk_test_";

/// The path of a base URL that has none.
const DEFAULT_PATH: &str = "/api/v1";

/// The most pages of a list that are read by default: 100,000 items where a page has 100.
pub const DEFAULT_MAX_PAGES: u32 = 1000;

/// The header that names a write, so that its repetition can be recognised.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Paths below the base URL. `{id}` stands for the id.
///
/// **Assumptions:** the vendor's pages show the operations, but none of these paths. The first four follow the pattern of
/// the paths that are documented (`/webhooks`, `/payments`, `/payments/{id}`, `/payments/invoice/{id}`). Those of invoices,
/// debtors and workflows are the ones that a third party's client uses, whose authors had not tried them. Those of API keys
/// follow the pattern. Change a path if Finkare answers 404 to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// One webhook, for get, update and delete: `/webhooks/{id}`.
    pub webhook: String,
    /// Rotating a webhook's secret (POST): `/webhooks/{id}/rotate-secret`.
    pub rotate_secret: String,
    /// A webhook's deliveries: `/webhooks/{id}/deliveries`.
    pub deliveries: String,
    /// One invoice, for get and update: `/invoices/{id}`.
    pub invoice: String,
    /// All invoices, for list and create: `/invoices`.
    pub invoices: String,
    /// Importing many invoices (POST): `/invoices/bulk`.
    pub invoices_bulk: String,
    /// Cancelling an invoice (POST): `/invoices/{id}/cancel`.
    pub cancel_invoice: String,
    /// All debtors: `/debtors`.
    pub debtors: String,
    /// One debtor: `/debtors/{id}`.
    pub debtor: String,
    /// An invoice's workflow: `/workflow/invoice/{id}`.
    pub workflow: String,
    /// Triggering an invoice's workflow (POST): `/workflow/invoice/{id}/trigger`.
    pub trigger_workflow: String,
    /// All API keys, for list and create: `/api-keys`.
    pub api_keys: String,
    /// Rotating an API key (POST): `/api-keys/{id}/rotate`.
    pub rotate_api_key: String,
    /// Revoking an API key ([`Settings::revoke_method`]): `/api-keys/{id}`.
    pub revoke_api_key: String,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            webhook: "/webhooks/{id}".into(),
            rotate_secret: "/webhooks/{id}/rotate-secret".into(),
            deliveries: "/webhooks/{id}/deliveries".into(),
            invoice: "/invoices/{id}".into(),
            invoices: "/invoices".into(),
            invoices_bulk: "/invoices/bulk".into(),
            cancel_invoice: "/invoices/{id}/cancel".into(),
            debtors: "/debtors".into(),
            debtor: "/debtors/{id}".into(),
            workflow: "/workflow/invoice/{id}".into(),
            trigger_workflow: "/workflow/invoice/{id}/trigger".into(),
            api_keys: "/api-keys".into(),
            rotate_api_key: "/api-keys/{id}/rotate".into(),
            revoke_api_key: "/api-keys/{id}".into(),
        }
    }
}

impl Paths {
    /// Names the first path that cannot be used.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        let Self { webhook, rotate_secret, deliveries, invoice, invoices, invoices_bulk, cancel_invoice, .. } = self;
        let Self { debtors, debtor, workflow, trigger_workflow, api_keys, rotate_api_key, revoke_api_key, .. } = self;
        let with_id = [
            ("webhook", webhook),
            ("rotate_secret", rotate_secret),
            ("deliveries", deliveries),
            ("invoice", invoice),
            ("cancel_invoice", cancel_invoice),
            ("debtor", debtor),
            ("workflow", workflow),
            ("trigger_workflow", trigger_workflow),
            ("rotate_api_key", rotate_api_key),
            ("revoke_api_key", revoke_api_key),
        ];
        let without =
            [("invoices", invoices), ("invoices_bulk", invoices_bulk), ("debtors", debtors), ("api_keys", api_keys)];
        let is_path = |path: &str| {
            let dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
            path.starts_with('/') && !path.contains(['?', '#']) && !dots
        };
        for (name, path) in with_id {
            if !is_path(path) || !path.contains("{id}") {
                return Err(SettingsError::Path { name });
            }
        }
        for (name, path) in without {
            if !is_path(path) || path.contains("{id}") {
                return Err(SettingsError::ListPath { name });
            }
        }
        Ok(())
    }
}

/// The HTTP method that updates a webhook or an invoice.
///
/// **Assumption:** none is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum UpdateMethod {
    /// `PUT`
    #[default]
    Put,
    /// `PATCH`
    Patch,
}

/// The HTTP method that revokes an API key.
///
/// **Assumption:** none is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RevokeMethod {
    /// `DELETE`
    #[default]
    Delete,
    /// `POST`
    Post,
}

/// The field in which a new invoice's amount is sent.
///
/// **Assumption:** the vendor's page creates invoices with `amount` and reads `amountCents`, and a third party's client
/// also writes `amountCents`. Both hold whole cents. The default is the vendor's. Whichever is used, the amount in
/// Finkare's answer is compared with the amount that was sent: see [`Invoices::create`](crate::Invoices::create).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AmountField {
    /// `amount`, as on the vendor's page.
    #[default]
    Amount,
    /// `amountCents`, as in the answers.
    AmountCents,
}

impl AmountField {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amount => "amount",
            Self::AmountCents => "amountCents",
        }
    }
}

/// How Finkare's API is reached. [`Settings::new`] has the defaults; change the fields that should differ:
///
/// ```
/// use std::time::Duration;
/// use finkare::{Secret, Settings};
///
/// let settings = Settings { timeout: Duration::from_secs(10), max_retries: 5, ..Settings::new(Secret::new("fk_test_example")) };
/// ```
#[derive(Debug, Clone)]
pub struct Settings {
    /// The key: `fk_live_…` or `fk_test_…`.
    pub api_key: Secret,
    /// Where the API is; `None` follows from the key's prefix. Without a path, `/api/v1` is added.
    pub api_url: Option<Url>,
    /// How long one attempt may take, from connecting to the last byte; 30 s as in the vendor's SDK. Waits for the rate
    /// limit and after a 429 are not included.
    pub timeout: Duration,
    /// How many times a call is retried after a 429; 3 as in the vendor's SDK.
    pub max_retries: u32,
    /// The wait after the first 429 without a `Retry-After`, doubled each time and at most a minute; 1 s as in the vendor's
    /// SDK. If Finkare asks for more than a minute, the call fails instead of waiting.
    pub retry_initial: Duration,
    /// The number of calls per period, for all clones of the client together: as many at once after a pause, and evenly
    /// spread from then on.
    pub rate_limit: (NonZeroU32, Duration),
    /// How the caller introduces itself; `finkare-rust/<version>` by default.
    pub user_agent: String,
    /// The paths that are not documented.
    pub paths: Paths,
    /// The method of an update, which is not documented.
    pub update_method: UpdateMethod,
    /// The method that revokes an API key, which is not documented.
    pub revoke_method: RevokeMethod,
    /// The field of a new invoice's amount, which is documented in two ways.
    pub amount_field: AmountField,
    /// The header with which every write is named; `None` sends no such header. By default `Idempotency-Key`.
    ///
    /// **Assumption:** only a third party's client sends it. A server that does not know it ignores it.
    pub idempotency_header: Option<HeaderName>,
    /// The most pages of one list that are read, so that a server whose list never ends is not asked for ever; 1000. A list
    /// with more pages fails, because a part must not be returned as the whole.
    pub max_pages: u32,
    /// How calls leave: directly, or through a proxy, and which authorities they trust.
    pub egress: Egress,
}

impl Settings {
    /// The defaults, with this key.
    pub fn new(api_key: Secret) -> Self {
        Self {
            api_key,
            api_url: None,
            timeout: DEFAULT_TIMEOUT,
            max_retries: DEFAULT_MAX_RETRIES,
            retry_initial: DEFAULT_RETRY_INITIAL,
            rate_limit: DEFAULT_RATE,
            user_agent: concat!("finkare-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            paths: Paths::default(),
            update_method: UpdateMethod::default(),
            revoke_method: RevokeMethod::default(),
            amount_field: AmountField::default(),
            idempotency_header: Some(IDEMPOTENCY_KEY),
            max_pages: DEFAULT_MAX_PAGES,
            egress: Egress::default(),
        }
    }

    /// The defaults, with the key in the environment's `FINKARE_API_KEY` and the address in `FINKARE_API_URL`, if that is
    /// set.
    ///
    /// # Errors
    /// The variable that is missing, or that cannot be used; never its value.
    pub fn from_env() -> Result<Self, SettingsError> {
        let missing = |name| SettingsError::Variable { name, problem: "is not set" };
        let key = variable(API_KEY_VARIABLE)?.ok_or_else(|| missing(API_KEY_VARIABLE))?;
        let bad = |_| SettingsError::Variable { name: API_URL_VARIABLE, problem: "is not a URL" };
        let api_url = variable(API_URL_VARIABLE)?.map(|url| url.parse().map_err(bad)).transpose()?;
        Ok(Self { api_url, ..Self::new(Secret::new(key)) })
    }

    pub(crate) fn is_sandbox_key(&self) -> bool {
        self.api_key.expose().starts_with(SANDBOX_KEY)
    }
}

/// A variable of the environment; `None` if it is not set, or empty.
#[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads the environment")]
fn variable(name: &'static str) -> Result<Option<String>, SettingsError> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(SettingsError::Variable { name, problem: "is not UTF-8" }),
    }
}

/// Why a client cannot be built. The texts name the setting and never repeat its value.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// `api_key` cannot be a key.
    #[error("`api_key` is empty, or has a blank, a line break or another character that no key has: copy it again")]
    ApiKey,
    /// `api_url` is not the address of a web server.
    #[error("`api_url` must begin with https:// (or http://) and a host, not {scheme}:")]
    ApiUrl {
        /// The scheme that it has.
        scheme: String,
    },
    /// `api_url` has a part that an address of the API does not have.
    #[error("`api_url` must have no user, password, query or fragment: the key is in `api_key`")]
    ApiUrlParts,
    /// One of `paths` cannot be used.
    #[error("`paths.{name}` must begin with `/`, have `{{id}}` in it, and no query, fragment or dots as a step")]
    Path {
        /// The path's name.
        name: &'static str,
    },
    /// One of `paths` cannot be used.
    #[error("`paths.{name}` must begin with `/`, and have no `{{id}}`, query, fragment or dots as a step")]
    ListPath {
        /// The path's name.
        name: &'static str,
    },
    /// A variable of the environment cannot be used.
    #[error("the environment variable `{name}` {problem}")]
    Variable {
        /// The variable's name.
        name: &'static str,
        /// The problem.
        problem: &'static str,
    },
    /// `rate_limit` limits nothing.
    #[error("`rate_limit` must allow its calls in a longer time than none")]
    RateLimit,
    /// `timeout` leaves no time.
    #[error("the time-out of Finkare's API must be longer than none")]
    Timeout,
    /// The HTTP client cannot be built.
    #[error(transparent)]
    Client(#[from] NoClient),
}

/// The address that calls go to: never with a slash at its end, always with a path.
pub(crate) fn base_url(settings: &Settings) -> Result<Url, SettingsError> {
    let by_key = if settings.is_sandbox_key() { SANDBOX } else { PRODUCTION };
    let mut url = match &settings.api_url {
        Some(url) => url.clone(),
        None => Url::parse(by_key).expect("both addresses are written as URLs"),
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(SettingsError::ApiUrl { scheme: url.scheme().to_owned() });
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(SettingsError::ApiUrlParts);
    }
    let path = match url.path().trim_end_matches('/') {
        "" => DEFAULT_PATH.to_owned(),
        path => path.to_owned(),
    };
    url.set_path(&path);
    Ok(url)
}
