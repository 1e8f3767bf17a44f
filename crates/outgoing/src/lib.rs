//! Calls to other services: what they have in common, and what their answers mean.
//!
//! - [`effect`]: what is known of a write after the call.
//! - [`failure`]: what to say of a request that got no answer.
//! - [`rate`]: no more calls than a service takes.
//! - [`secret`]: texts that must never be shown.

pub mod effect;
pub mod failure;
pub mod rate;
pub mod secret;

pub use effect::{Effect, of_answer, of_silence};
