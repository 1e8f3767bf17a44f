//! Finkare's API, typed.

use std::{num::NonZeroU32, time::Duration};

use jiff::Timestamp;
use url::Url;

use crate::model::secret::Secret;

/// Paths below the base URL that nobody documents; `{id}` stands for the id.
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

/// With which method a webhook is updated; not documented.
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
    /// How long one call may take, from connecting to the last byte; 30 s as in the vendor's SDK.
    pub timeout: Duration,
    /// How often a call that was answered 429 is made again; 3 as in the vendor's SDK.
    pub max_retries: u32,
    /// At most so many calls in such a time, ours towards Finkare.
    pub rate: (NonZeroU32, Duration),
    /// What is not documented.
    pub paths: Paths,
    /// What is not documented.
    pub update_method: UpdateMethod,
}

/// Why a call failed. None of these texts holds a key or a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Finkare answered, and said no.
    #[error("Finkare answered {status}{} to {call}: {message}", code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Api {
        /// What was asked, as a phrase ("rotating the secret of webhook 5e4f").
        call: String,
        /// The HTTP status.
        status: u16,
        /// Finkare's own code, such as `RES_001`.
        code: Option<String>,
        /// Finkare's own words; the first 500 characters of the answer where it has none.
        message: String,
        /// `req_…`, for asking Finkare about it.
        request_id: Option<String>,
        /// When to try again, if Finkare said so.
        retry_after: Option<Duration>,
    },
    /// No answer.
    #[error("Finkare could not be reached for {call}")]
    Network {
        /// What was asked.
        call: String,
        /// True if the request never left: the connection did not come about.
        never_sent: bool,
        /// True if it took too long.
        timed_out: bool,
        /// The library's word, without the URL.
        #[source]
        source: reqwest::Error,
    },
    /// An answer of success that cannot be read.
    #[error("Finkare's answer to {call} cannot be read: {problem}")]
    Unreadable {
        /// What was asked.
        call: String,
        /// The HTTP status.
        status: u16,
        /// What is wrong with it; never the body.
        problem: String,
        /// `req_…`
        request_id: Option<String>,
    },
}

impl Error {
    /// True if Finkare may have done what was asked all the same: after a time-out, a cut connection, a 5xx
    /// (a proxy may have answered for a server that did it), an answer of success that cannot be read.
    /// False where it has certainly done nothing: the request never left, or was refused with 4xx or 3xx.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Api { status, .. } => *status >= 500,
            Self::Network { never_sent, .. } => !never_sent,
            Self::Unreadable { .. } => true,
        }
    }

    /// Finkare's own code, if it gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Api { code, .. } => code.as_deref(),
            Self::Network { .. } | Self::Unreadable { .. } => None,
        }
    }
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

/// What to change of a webhook; `None` leaves as it is.
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

/// One delivery in Finkare's own history. Only three fields are documented; whatever else is there is in `other`.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// `eventType`
    pub event_type: Option<String>,
    /// `status`: its values are not documented.
    pub status: Option<String>,
    /// `attempts`
    pub attempts: Option<u64>,
    /// All other fields, as they came.
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// An invoice, as far as we need it.
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
}

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// A UUID.
    pub id: String,
    /// Whose.
    pub invoice_id: String,
    /// In cents; may be a part of the invoice's amount.
    pub amount_cents: i64,
    /// Such as `EUR`.
    pub currency: Option<String>,
    /// `pending`, `completed`, `failed`, `refunded`.
    pub status: String,
    /// `card`, `bank_transfer`, `sepa_debit`, `payment_link`.
    pub method: Option<String>,
    /// When it was paid.
    pub paid_at: Option<Timestamp>,
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
#[derive(Debug)]
pub struct Client {
    #[expect(dead_code, reason = "not built yet")]
    settings: Settings,
}

impl Client {
    /// Makes a client; calls nobody.
    ///
    /// # Errors
    /// What cannot be used, in a sentence.
    pub fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self { settings })
    }

    /// True if the key or the URL is the sandbox's.
    pub fn is_sandbox(&self) -> bool {
        todo!()
    }

    /// All webhooks.
    pub async fn webhooks(&self) -> Result<Vec<Webhook>, Error> {
        todo!()
    }

    /// One webhook.
    pub async fn webhook(&self, _id: &str) -> Result<Webhook, Error> {
        todo!()
    }

    /// Creates a webhook; the secret is shown only here.
    pub async fn create_webhook(&self, _webhook: &NewWebhook) -> Result<(Webhook, Secret), Error> {
        todo!()
    }

    /// Changes a webhook.
    pub async fn update_webhook(&self, _id: &str, _update: &WebhookUpdate) -> Result<(), Error> {
        todo!()
    }

    /// Deletes a webhook.
    pub async fn delete_webhook(&self, _id: &str) -> Result<(), Error> {
        todo!()
    }

    /// Gives a webhook a new secret and answers it. Finkare has switched when this returns `Ok`, and may have
    /// when it fails: see [`Error::may_have_happened`].
    pub async fn rotate_secret(&self, _id: &str) -> Result<Secret, Error> {
        todo!()
    }

    /// Finkare's own history of a webhook's deliveries.
    pub async fn deliveries(&self, _id: &str) -> Result<Vec<Delivery>, Error> {
        todo!()
    }

    /// One invoice.
    pub async fn invoice(&self, _id: &str) -> Result<Invoice, Error> {
        todo!()
    }

    /// All payments that fit, page by page.
    pub async fn payments(&self, _filter: &PaymentFilter) -> Result<Vec<Payment>, Error> {
        todo!()
    }

    /// All payments of one invoice.
    pub async fn payments_of_invoice(&self, _invoice_id: &str) -> Result<Vec<Payment>, Error> {
        todo!()
    }
}
