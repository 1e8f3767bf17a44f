//! A client for Finkare, the French receivables platform: its API, typed, and the check of its webhooks' signatures.
//!
//! ```no_run
//! use finkare::{Client, PaymentFilter, Secret, Settings};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! rustls::crypto::aws_lc_rs::default_provider().install_default().expect("no other provider is installed yet");
//! let client = Client::new(Settings::new(Secret::new("fk_test_example")))?;
//!
//! let completed = PaymentFilter { status: Some("completed".to_owned()), ..PaymentFilter::default() };
//! for payment in client.payments(&completed).await? {
//!     println!("{}: {} cents of invoice {}", payment.id, payment.amount_cents, payment.invoice_id);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Client`] has one method for each call. None of them guesses: the status decides whether a call succeeded, and an
//! amount that is not an integer of cents is an error. For every failure [`Error`] says whether Finkare [may have
//! carried out](Error::may_have_happened) the call, which matters for every call that changes something.
//!
//! Only Finkare receives the key, by the policy of the crate [`outgoing`], which builds the HTTP client: redirects
//! are not followed, proxies of the environment are not used, and the library repeats nothing. Dropping a method's
//! future drops its request; the part that was sent by then may have been carried out. No error, log line or `Debug`
//! output holds a key or a secret, even if the other side echoes one.
//!
//! Webhooks are checked by a [`Verifier`](signature::Verifier): see [`signature`].
//!
//! # Modules
//!
//! - `client`: settings, types and calls.
//! - `transport`: one call with its rate limit, the wait after a 429, and the envelope.
//! - `wire`: the form of answers, as far as it is documented, and how they are read.
//! - `error`: why a call failed.
//! - [`signature`]: proof that a delivery comes from Finkare.
//!
//! # How to add a call
//!
//! Add a method on [`Client`] that names the call in a phrase, builds its address ([`Paths`] if its path is not
//! documented) and reads the answer by a function in `wire`, with the documented example as its unit test. Add a test
//! against a real server in `tests/it/finkare_client.rs` of the workspace.
//!
//! Sources: <https://docs.finkare.io/api-reference/webhooks>, <https://docs.finkare.io/api-reference/payments>,
//! <https://docs.finkare.io/guides/sdk-typescript>. None of it has been tried against the real service.

mod client;
mod error;
mod paid_at;
pub mod signature;
mod transport;
mod wire;

pub use outgoing::{Egress, Secret};

pub use self::{
    client::{
        Client, DEFAULT_MAX_RETRIES, DEFAULT_RATE, DEFAULT_RETRY_INITIAL, DEFAULT_TIMEOUT, Delivery, Invoice,
        NewWebhook, Paths, Payment, PaymentFilter, PaymentsOfInvoice, Settings, SettingsError, UnreadablePayment,
        UpdateMethod, Webhook, WebhookUpdate,
    },
    error::Error,
    paid_at::{NoTime, PaidAt},
};
