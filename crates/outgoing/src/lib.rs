//! Calls to other services: one policy for every HTTP client, and one rule for what a failed write may have done.
//!
//! A sink, an accounting system and Finkare's API are called for different reasons and in different ways. What must
//! hold for all of them is decided here, once, and nowhere else is an HTTP client built for them
//! (docs/decisions/0035-one-way-out.md).
//!
//! # Policy
//!
//! - **Nobody but the configured address gets a request.** Redirects are not followed, because the next address would
//!   receive credentials and payloads that were not meant for it. Cookies are not kept. A proxy is used only where the
//!   operator configured one ([`Egress`]); the environment alone never sends a request through a proxy.
//! - **Nothing is sent twice by the library.** Whether a call is made again is decided by its caller, who knows what it
//!   changes.
//! - **Every call ends.** A client has a bound on connecting and a bound on the whole call ([`Limits`]), and a body is
//!   read up to a number of bytes ([`read`]).
//! - **Only trusted certificates are accepted.** The system's authorities are trusted, and beside them only those that
//!   the operator named ([`Egress::trusting`]).
//! - **What another service says may be shown only after [`Redactor`] has masked it.** Services echo what they receive.
//! - **A write whose outcome is unknown is looked up, never repeated blindly.** [`Effect`] tells "done", "not done" and
//!   "unknown" apart, by one rule for all.
//!
//! # Modules
//!
//! - [`client`]: building a client, through a proxy or directly.
//! - [`effect`]: what is known of a write after the call.
//! - [`failure`]: what to tell the operator about a request that got no answer.
//! - [`body`]: reading a body up to a bound.
//! - [`redact`]: masking secrets in texts of others, and shortening these texts to one line.
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
