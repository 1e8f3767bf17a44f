//! The words of the service as types: events, dispatches, attempts, ids, time.
//!
//! Everything else may use this module; it uses nothing of ours and no runtime, database or HTTP
//! library. What happens to a dispatch after an attempt is decided here by pure functions
//! ([`dispatch::after_attempt`], [`backoff::next_wait`]), so that both stores and every sink obey
//! the same rules.

pub mod audit;
pub mod backoff;
pub mod booking;
pub mod chain;
pub mod clock;
pub mod dispatch;
pub mod event;
pub mod id;
pub mod intent;
pub mod money;
pub mod secret;
pub mod stored_secret;
pub mod trace;
mod words;
