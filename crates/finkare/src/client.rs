//! The client: its settings, its results, and one method for each call.

use std::{collections::HashSet, fmt, num::NonZeroU32, time::Duration};

use http::Method;
use jiff::Timestamp;
use outgoing::{Egress, NoClient};
use serde_json::{Map, Value, json};
use url::Url;

use crate::{
    Error, PaidAt, Secret,
    error::redact_value,
    transport::{Answer, Call, Transport},
    wire::{self, Pagination},
};

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
const SANDBOX_HOST: &str = "api-sandbox.finkare.io";

/// How keys of the sandbox begin.
const SANDBOX_KEY: &str = "fk_test_";

/// The path of a base URL that has none.
const DEFAULT_PATH: &str = "/api/v1";

/// Payments on a page: the most that is documented.
const PAGE: u64 = 100;

/// How many pages of a list are read. A longer list is an error, because a part must not be returned as the whole.
const MOST_PAGES: u64 = 1000;

/// Bytes of an id; Finkare's are UUIDs.
const LONGEST_ID: usize = 200;

/// Characters of an id that a text repeats.
const SHOWN_ID: usize = 64;

/// Paths below the base URL that are not documented; `{id}` stands for the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// One webhook, for get, update and delete: `/webhooks/{id}`.
    pub webhook: String,
    /// Rotating a webhook's secret (POST): `/webhooks/{id}/rotate-secret`.
    pub rotate_secret: String,
    /// A webhook's deliveries: `/webhooks/{id}/deliveries`.
    pub deliveries: String,
    /// One invoice: `/invoices/{id}`.
    pub invoice: String,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            webhook: "/webhooks/{id}".into(),
            rotate_secret: "/webhooks/{id}/rotate-secret".into(),
            deliveries: "/webhooks/{id}/deliveries".into(),
            invoice: "/invoices/{id}".into(),
        }
    }
}

/// The HTTP method that updates a webhook, which is not documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum UpdateMethod {
    /// `PUT`
    #[default]
    Put,
    /// `PATCH`
    Patch,
}

/// How Finkare's API is reached.
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
            egress: Egress::default(),
        }
    }

    fn is_sandbox_key(&self) -> bool {
        self.api_key.expose().starts_with(SANDBOX_KEY)
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
fn base_url(settings: &Settings) -> Result<Url, SettingsError> {
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

/// A webhook as Finkare lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// A UUID.
    pub id: String,
    /// Where Finkare posts.
    pub url: String,
    /// Event types.
    pub events: Vec<String>,
    /// Free text.
    pub description: Option<String>,
    /// Whether Finkare posts at all.
    pub enabled: bool,
    /// `created_at` or `createdAt`.
    pub created_at: Option<Timestamp>,
    /// `last_triggered_at` or `lastTriggeredAt`.
    pub last_triggered_at: Option<Timestamp>,
}

/// A webhook to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// HTTPS.
    pub url: String,
    /// Event types.
    pub events: Vec<String>,
    /// Free text.
    pub description: Option<String>,
}

/// What to change about a webhook; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookUpdate {
    /// Where Finkare posts.
    pub url: Option<String>,
    /// Event types.
    pub events: Option<Vec<String>>,
    /// Free text.
    pub description: Option<String>,
    /// Whether Finkare posts at all.
    pub enabled: Option<bool>,
}

/// One delivery in Finkare's own history. Only three fields are documented; all others are in `other`.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// `eventType`
    pub event_type: Option<String>,
    /// `status`: its values are not documented.
    pub status: Option<String>,
    /// `attempts`
    pub attempts: Option<u64>,
    /// All other fields, as they came, but with keys and secrets masked.
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// An invoice: the fields that this crate reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// A UUID.
    pub id: String,
    /// The number in the company's own books.
    pub invoice_number: String,
    /// In cents.
    pub amount_cents: Option<i64>,
    /// Such as `EUR`.
    pub currency: Option<String>,
    /// Free text: only `in_recovery` is documented.
    pub status: Option<String>,
    /// The debtor's name. An invoice is created with `debtor.name`
    /// (<https://docs.finkare.io/guides/sdk-typescript>); whether it is given back is not documented.
    pub debtor: Option<String>,
}

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// A UUID.
    pub id: String,
    /// The invoice that was paid.
    pub invoice_id: String,
    /// In cents; may be a part of the invoice's amount.
    pub amount_cents: i64,
    /// Such as `EUR`.
    pub currency: Option<String>,
    /// `pending`, `completed`, `failed`, `refunded`.
    pub status: String,
    /// `card`, `bank_transfer`, `sepa_debit`, `payment_link`.
    pub method: Option<String>,
    /// When it was paid; `None` also for what is neither a time nor a date.
    pub paid_at: Option<PaidAt>,
}

/// A payment of a list that cannot be read. The others of the list can be read all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadablePayment {
    /// Its id, if at least the id can be read.
    pub id: Option<String>,
    /// The problem. The text names the field and never repeats its value.
    pub problem: String,
}

/// The payments of an invoice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentsOfInvoice {
    /// The payments that can be read, in Finkare's order.
    pub payments: Vec<Payment>,
    /// The payments that cannot be read.
    pub unreadable: Vec<UnreadablePayment>,
}

/// Which payments to list; `None` everywhere lists all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentFilter {
    /// Only in this state.
    pub status: Option<String>,
    /// From this time on.
    pub from_date: Option<Timestamp>,
    /// Until this time.
    pub to_date: Option<Timestamp>,
    /// Only of this invoice.
    pub invoice_id: Option<String>,
}

/// A client for one API key.
pub struct Client {
    settings: Settings,
    base: Url,
    transport: Transport,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    /// Builds a client. No request is sent yet.
    ///
    /// The process's TLS provider must be installed
    /// (`rustls::crypto::aws_lc_rs::default_provider().install_default()`).
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let Paths { webhook, rotate_secret, deliveries, invoice } = &settings.paths;
        for (name, path) in
            [("webhook", webhook), ("rotate_secret", rotate_secret), ("deliveries", deliveries), ("invoice", invoice)]
        {
            let dots = path.split('/').any(|segment| matches!(segment, "." | ".."));
            if !path.starts_with('/') || !path.contains("{id}") || path.contains(['?', '#']) || dots {
                return Err(SettingsError::Path { name });
            }
        }
        let base = base_url(&settings)?;
        Ok(Self { transport: Transport::new(&settings, &base)?, base, settings })
    }

    /// True if the key or the URL is the sandbox's.
    pub fn is_sandbox(&self) -> bool {
        self.settings.is_sandbox_key() || self.base.host_str() == Some(SANDBOX_HOST)
    }

    /// All webhooks.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>, Error> {
        let url = self.url("/webhooks");
        self.list("listing the webhooks", &url, Paging::IfAnswered, wire::webhook, |webhook| &webhook.id).await
    }

    /// One webhook.
    pub async fn webhook(&self, id: &str) -> Result<Webhook, Error> {
        let call = self.call_of(Method::GET, "reading webhook", &self.settings.paths.webhook, id)?;
        self.transport.call(&call).await?.read(&call, wire::webhook)
    }

    /// Creates a webhook. Finkare shows its secret only in this answer.
    ///
    /// An answer of success without a secret is [`Error::Unreadable`]; the webhook may exist nevertheless.
    pub async fn create_webhook(&self, webhook: &NewWebhook) -> Result<(Webhook, Secret), Error> {
        let mut body = json!({ "url": webhook.url, "events": webhook.events });
        if let Some(description) = &webhook.description {
            body["description"] = json!(description);
        }
        let (what, url) = ("creating a webhook".to_owned(), self.url("/webhooks"));
        let call = Call { what, method: Method::POST, url, body: Some(body) };
        self.transport.call(&call).await?.read(&call, |data| wire::created(data, webhook))
    }

    /// Changes a webhook. Only the fields to change are sent; it is not documented whether Finkare takes a `PUT` as a
    /// change of these fields or of the whole webhook.
    pub async fn update_webhook(&self, id: &str, update: &WebhookUpdate) -> Result<(), Error> {
        let method = match self.settings.update_method {
            UpdateMethod::Put => Method::PUT,
            UpdateMethod::Patch => Method::PATCH,
        };
        let WebhookUpdate { url, events, description, enabled } = update;
        let body: Map<String, Value> = [
            ("url", url.as_ref().map(|url| json!(url))),
            ("events", events.as_ref().map(|events| json!(events))),
            ("description", description.as_ref().map(|description| json!(description))),
            ("enabled", enabled.map(Value::from)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
        let mut call = self.call_of(method, "changing webhook", &self.settings.paths.webhook, id)?;
        call.body = Some(Value::Object(body));
        self.transport.call(&call).await.map(drop)
    }

    /// Deletes a webhook.
    pub async fn delete_webhook(&self, id: &str) -> Result<(), Error> {
        let call = self.call_of(Method::DELETE, "deleting webhook", &self.settings.paths.webhook, id)?;
        self.transport.call(&call).await.map(drop)
    }

    /// Gives a webhook a new secret and returns it. When this succeeds, Finkare signs with the new secret; when it fails,
    /// Finkare may do so as well: see [`Error::may_have_happened`].
    pub async fn rotate_secret(&self, id: &str) -> Result<Secret, Error> {
        let path = &self.settings.paths.rotate_secret;
        let call = self.call_of(Method::POST, "rotating the secret of webhook", path, id)?;
        self.transport.call(&call).await?.read(&call, wire::secret)
    }

    /// Finkare's own history of a webhook's deliveries, as far as one answer shows it.
    pub async fn deliveries(&self, id: &str) -> Result<Vec<Delivery>, Error> {
        let path = &self.settings.paths.deliveries;
        let call = self.call_of(Method::GET, "listing the deliveries of webhook", path, id)?;
        let mut deliveries = self.transport.call(&call).await?.read(&call, |data| wire::list(data, wire::delivery))?;
        // They are shown to people, and their content is not documented.
        for delivery in &mut deliveries {
            delivery.other.values_mut().for_each(|value| redact_value(&self.transport.redactor, value));
        }
        Ok(deliveries)
    }

    /// One invoice.
    pub async fn invoice(&self, id: &str) -> Result<Invoice, Error> {
        let call = self.call_of(Method::GET, "reading invoice", &self.settings.paths.invoice, id)?;
        self.transport.call(&call).await?.read(&call, wire::invoice)
    }

    /// All payments that match the filter, read page by page; each once, in Finkare's order.
    ///
    /// # Errors
    /// More than 100,000 payments are [`Error::Unreadable`], and so is a list that ends before the number of payments that
    /// it announced: a part is never returned as the whole.
    pub async fn payments(&self, filter: &PaymentFilter) -> Result<Vec<Payment>, Error> {
        let PaymentFilter { status, from_date, to_date, invoice_id } = filter;
        let mut url = self.url("/payments");
        for (name, value) in [
            ("status", status.clone()),
            // The form of the two times is not documented; in the answers it is this one.
            ("fromDate", from_date.map(|time| time.to_string())),
            ("toDate", to_date.map(|time| time.to_string())),
            ("invoiceId", invoice_id.clone()),
        ] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, &value);
            }
        }
        self.list("listing payments", &url, Paging::Asked, wire::payment, |payment| &payment.id).await
    }

    /// All payments of one invoice; see [`payments`](Self::payments). Payments that cannot be read are listed apart.
    pub async fn payments_of_invoice(&self, invoice_id: &str) -> Result<PaymentsOfInvoice, Error> {
        let Call { what, url, .. } =
            self.call_of(Method::GET, "listing the payments of invoice", "/payments/invoice/{id}", invoice_id)?;
        let rows = self.list(&what, &url, Paging::IfAnswered, wire::payment_row, wire::PaymentRow::key).await?;
        let mut found = PaymentsOfInvoice::default();
        for row in rows {
            match row {
                wire::PaymentRow::Read(payment) => found.payments.push(payment),
                wire::PaymentRow::Unreadable { payment, .. } => found.unreadable.push(payment),
            }
        }
        Ok(found)
    }

    /// The address of a path that has no id.
    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }

    /// A call about the item with this id, which becomes a part of one segment of the path.
    fn call_of(&self, method: Method, what: &str, path: &str, id: &str) -> Result<Call, Error> {
        let what = format!("{what} {}", self.transport.redactor.line(id, SHOWN_ID));
        let unusable = |problem: &str| Error::Unusable { call: what.clone(), problem: problem.to_owned() };
        if id.is_empty() {
            return Err(unusable("the id is empty"));
        }
        if id.len() > LONGEST_ID {
            return Err(unusable("the id is longer than any of Finkare's"));
        }
        // An address cannot hold a step of dots, or a line break, in any spelling: it would become another address.
        if matches!(id, "." | "..") || id.chars().any(char::is_control) {
            return Err(unusable("the id is made of dots or has control characters"));
        }
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| unusable("`api_url` cannot have a path"))?
            .extend(path.trim_start_matches('/').split('/').map(|segment| segment.replace("{id}", id)));
        Ok(Call { what, method, url, body: None })
    }

    /// Follows a list to its end.
    ///
    /// It ends when as many items have arrived as the answer announces (`total`). Without that number, it ends with the
    /// first page that is not full or has nothing new: a server without pages answers every request with the same list.
    async fn list<T>(
        &self,
        what: &str,
        url: &Url,
        paging: Paging,
        read: fn(&Value) -> Result<T, String>,
        id: fn(&T) -> &String,
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        let mut known = HashSet::new();
        let mut previous = Vec::new();
        let mut came = 0;
        let mut page = 1;
        loop {
            let mut url = url.clone();
            if paging == Paging::Asked {
                url.query_pairs_mut().append_pair("limit", &PAGE.to_string());
            }
            if paging == Paging::Asked || page > 1 {
                url.query_pairs_mut().append_pair("page", &page.to_string());
            }
            let call = Call { what: format!("{what} (page {page})"), method: Method::GET, url, body: None };
            let answer = self.transport.call(&call).await?;
            let items = answer.read(&call, |data| wire::list(data, read))?;

            let ids: Vec<String> = items.iter().map(|item| id(item).clone()).collect();
            let length = ids.len() as u64;
            let repeated = !ids.is_empty() && ids == previous;
            let known_before = known.len();
            // A new item at the front of a list moves others to the next page, where they appear again.
            all.extend(items.into_iter().filter(|item| known.insert(id(item).clone())));
            let nothing_new = known.len() == known_before;
            came += length;
            previous = ids;

            match announced(&answer) {
                Pagination { total: Some(total), .. } if came >= total && !repeated => return Ok(all),
                Pagination { total: Some(total), .. } if nothing_new => {
                    let problem = format!("it announces {total} items, but page {page} has none that is new");
                    return Err(answer.unreadable(&call, problem));
                }
                Pagination { total: Some(_), .. } => {}
                Pagination { total: None, limit } => {
                    // A server that was not asked for pages and does not mention them has returned everything.
                    let full = match paging {
                        Paging::Asked => Some(limit.map_or(PAGE, |limit| limit.min(PAGE))),
                        Paging::IfAnswered => limit,
                    };
                    if nothing_new || full.is_none_or(|full| length < full) {
                        return Ok(all);
                    }
                }
            }
            if page == MOST_PAGES {
                let problem = format!("it goes on after {MOST_PAGES} pages: ask for a part of it, by dates");
                return Err(answer.unreadable(&call, problem));
            }
            page += 1;
        }
    }
}

/// Whether a list is asked for in pages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Paging {
    /// Pages are documented.
    Asked,
    /// They are not: the first page is asked for without a number, further pages only if the answer mentions them.
    IfAnswered,
}

fn announced(answer: &Answer) -> Pagination {
    answer.envelope.pagination.unwrap_or(Pagination { limit: None, total: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(key: &str, url: Option<&str>) -> Result<Client, SettingsError> {
        let _installed_already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let api_url = url.map(|url| url.parse().unwrap());
        Client::new(Settings { api_url, ..Settings::new(Secret::new(key)) })
    }

    #[test]
    fn the_address_follows_from_the_key_and_the_setting() {
        let base = |key, url| client(key, url).unwrap().base.to_string();
        assert_eq!(base("fk_live_a", None), "https://api.finkare.io/api/v1");
        assert_eq!(base("fk_test_a", None), "https://api-sandbox.finkare.io/api/v1");
        assert_eq!(base("other", None), "https://api.finkare.io/api/v1");
        for (url, expected) in [
            ("http://127.0.0.1:1", "http://127.0.0.1:1/api/v1"),
            ("http://127.0.0.1:1/", "http://127.0.0.1:1/api/v1"),
            ("https://x.example/v2", "https://x.example/v2"),
            ("https://x.example/v2/", "https://x.example/v2"),
            ("https://x.example/a/api/v1//", "https://x.example/a/api/v1"),
        ] {
            assert_eq!(base("fk_test_a", Some(url)), expected);
        }
    }

    #[test]
    fn the_sandbox_is_known_by_its_key_or_its_host() {
        let is_sandbox = |key, url| client(key, url).unwrap().is_sandbox();
        assert!(is_sandbox("fk_test_a", None));
        assert!(is_sandbox("fk_test_a", Some("https://x.example")));
        assert!(is_sandbox("fk_live_a", Some("https://api-sandbox.finkare.io/api/v1")));
        assert!(!is_sandbox("fk_live_a", None));
        assert!(!is_sandbox("fk_live_a", Some("https://x.example")));
    }

    #[test]
    fn an_id_stays_one_step_of_the_path() {
        let client = client("fk_live_a", Some("https://x.example/v2")).unwrap();
        let url = |path, id| client.call_of(Method::GET, "reading", path, id).map(|call| call.url.to_string());
        for (id, step) in [
            ("5e4f", "5e4f"),
            ("a/../b?c#d", "a%2F..%2Fb%3Fc%23d"),
            ("%2e%2e", "%252e%252e"),
            ("é {id}\\", "%C3%A9%20%7Bid%7D%5C"),
            ("...", "..."),
        ] {
            assert_eq!(
                url("/webhooks/{id}/rotate", id).unwrap(),
                format!("https://x.example/v2/webhooks/{step}/rotate")
            );
        }
        for (id, word) in
            [("", "empty"), (".", "dots"), ("..", "dots"), ("a\nb", "control"), (&"a".repeat(201), "longer")]
        {
            let error = url("/webhooks/{id}", id).unwrap_err();
            assert!(error.to_string().contains(word) && !error.to_string().contains('\n'), "{error}");
            assert!(!error.may_have_happened());
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name_and_without_its_value() {
        for (key, url, word) in [
            ("", None, "`api_key`"),
            ("fk_live_privat e", None, "`api_key`"),
            ("fk_live_privat\n", None, "`api_key`"),
            ("fk_live_privat\"", None, "`api_key`"),
            ("fk_live_a", Some("ftp://x.example"), "`api_url`"),
            ("fk_live_a", Some("unix:/run/x"), "`api_url`"),
            ("fk_live_a", Some("https://privat:privat@x.example"), "`api_url`"),
            ("fk_live_a", Some("https://x.example?key=privat"), "`api_url`"),
        ] {
            let problem = client(key, url).unwrap_err().to_string();
            assert!(problem.contains(word) && !problem.contains("privat"), "{problem}");
        }
        for path in ["invoices/{id}", "/invoices", "/invoices/{id}?x", "/../{id}"] {
            let mut settings = Settings::new(Secret::new("fk_live_a"));
            settings.paths.invoice = path.to_owned();
            assert!(Client::new(settings).unwrap_err().to_string().contains("`paths.invoice`"), "{path}");
        }
        let settings = Settings::new(Secret::new("fk_live_a"));
        let no_time = Settings { rate_limit: (DEFAULT_RATE.0, Duration::ZERO), ..settings.clone() };
        assert!(matches!(Client::new(no_time), Err(SettingsError::RateLimit)));
        let no_time = Settings { timeout: Duration::ZERO, ..settings };
        assert!(matches!(Client::new(no_time), Err(SettingsError::Timeout)));
    }

    #[test]
    fn a_client_shows_no_key() {
        let shown = format!("{:?}", client("fk_live_privat", None).unwrap());
        assert!(shown.contains("api.finkare.io") && !shown.contains("privat"), "{shown}");
    }
}
