//! Calls to other services: one policy for every HTTP client, and one rule for what a failed write may have done.
//!
//! A sink, an accounting system and Finkare's API are called for different reasons and in different ways. The rules
//! that apply to all of them are decided here, once, and no other code builds an HTTP client for them
//! (docs/decisions/0035-one-way-out.md).
//!
//! # Policy
//!
//! - **Only the configured address gets a request.** Redirects are not followed, because the next address would
//!   receive credentials and payloads that were not meant for it. Cookies are not kept. A proxy is used only if the
//!   operator configured one ([`Egress`]); the environment alone never sends a request through a proxy.
//! - **The library sends nothing twice.** The caller decides whether to retry a call, because it knows what the call
//!   changes.
//! - **Every call ends.** A client has a time limit on connecting and one on the whole call ([`Limits`]), and a body
//!   is read up to a number of bytes ([`read`]).
//! - **Only trusted certificates are accepted.** Trusted are the system's authorities, and in addition only those
//!   that the operator configured ([`Egress::trusting`]).
//! - **Texts of another service may be shown only after [`Redactor`] has masked them.** Services echo what they
//!   receive.
//! - **A write whose outcome is unknown is looked up, never repeated blindly.** [`Effect`] distinguishes "done", "not
//!   done" and "unknown", by one rule for all.
//!
//! # Modules
//!
//! - [`client`]: building a client, through a proxy or directly.
//! - [`effect`]: whether a write was carried out.
//! - [`failure`]: explains to the operator why a request got no answer.
//! - [`body`]: reading a body up to a bound.
//! - [`redact`]: masks secrets in the texts of other services, and shortens these texts to one line.
//! - [`retry_after`](mod@retry_after): the wait that another service asks for.
//! - [`rate`]: keeping below the number of calls that a service accepts.
//! - [`secret`]: texts that must never be shown.
//!
//! The crate knows nothing of the service that uses it. It reads no configuration and no environment variables, and the
//! time is an argument.

pub mod body;
pub mod client;
pub mod effect;
pub mod failure;
pub mod rate;
pub mod redact;
pub mod retry_after;
pub mod secret;

pub use self::{
    body::{Body, End, read},
    client::{BadCertificates, BadHost, BadProxy, Egress, NoClient, Plan, Proxy},
    effect::{Effect, never_left, of_answer, of_failure, of_silence},
    failure::{Limits, explain, innermost},
    rate::{Pace, Rate},
    redact::{Redactor, one_line},
    retry_after::retry_after,
    secret::Secret,
};
