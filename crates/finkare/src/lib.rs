#![doc = include_str!("../README.md")]
//!
//! # How it is made
//!
//! No call guesses: the status decides whether it succeeded, and an amount that is not an integer of cents is an error.
//! For every failure [`Error`] says whether Finkare [may have carried out](Error::may_have_happened) the call.
//!
//! Only Finkare receives the key, by the policy of the crate [`outgoing`], which builds the HTTP client: redirects are
//! not followed, proxies of the environment are not used, and the library repeats nothing. Dropping a method's future
//! drops its request; the part that was sent by then may have been carried out. No error, log line or `Debug` output
//! holds a key or a secret, even if the other side echoes one.
//!
//! - `client`: what all calls share; `settings`: how the API is reached.
//! - `invoices`, `debtors`, `payments`, `webhooks`, `workflow`, `api_keys`: a resource each, with its types.
//! - `pages`: lists; `response`: an answer with its envelope; `ids`, `words`, `paid_at`: small types.
//! - `transport`: one call with its rate limit, the wait after a 429, and the envelope.
//! - `wire`: the form of answers, as far as it is documented, and how they are read.
//! - `error`: why a call failed.
//! - [`signature`]: proof that a delivery comes from Finkare.
//!
//! # How to add a call
//!
//! Add a method to its resource that names the call in a phrase, builds its address ([`Paths`] if its path is not
//! documented) and reads the answer by a function with the documented example as its unit test. Add the call to the
//! simulator, and an example that a test runs (`tests/examples.rs`).
//!
//! Sources: <https://docs.finkare.io/api-reference/webhooks>, <https://docs.finkare.io/api-reference/payments>,
//! <https://docs.finkare.io/guides/sdk-typescript>. None of it has been tried against the real service.

mod api_keys;
mod client;
mod debtors;
mod error;
mod ids;
mod invoices;
mod pages;
mod paid_at;
mod payments;
mod response;
mod settings;
pub mod signature;
mod transport;
mod webhooks;
mod wire;
mod words;
mod workflow;

pub use jiff;
pub use outgoing::{BadCertificates, BadHost, BadProxy, Egress, NoClient, Proxy, Secret};

pub use self::{
    api_keys::{ApiKeyInfo, ApiKeys, CreatedApiKey, NewApiKey},
    client::Client,
    debtors::{Debtor, Debtors},
    error::Error,
    ids::{ApiKeyId, DebtorId, InvoiceId, PaymentId, WebhookId},
    invoices::{
        BulkImport, Imported, Invoice, InvoiceDebtor, InvoiceFilter, InvoiceUpdate, Invoices, NewDebtor, NewInvoice,
    },
    pages::{Items, Page, PageRequest, Pagination, UnreadableItem},
    paid_at::{NoTime, PaidAt},
    payments::{Payment, PaymentFilter, Payments, PaymentsOfInvoice},
    response::Response,
    settings::{
        AmountField, DEFAULT_MAX_PAGES, DEFAULT_MAX_RETRIES, DEFAULT_RATE, DEFAULT_RETRY_INITIAL, DEFAULT_TIMEOUT,
        IDEMPOTENCY_KEY, Paths, RevokeMethod, Settings, SettingsError, UpdateMethod,
    },
    webhooks::{CreatedWebhook, Delivery, NewWebhook, Webhook, WebhookUpdate, Webhooks},
    words::{InvoiceStatus, PaymentMethod, PaymentStatus, WorkflowAction},
    workflow::{Workflow, WorkflowStatus},
};
