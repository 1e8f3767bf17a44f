//! The words of the service as types: events, dispatches, attempts, ids, time.
//!
//! Every module may use this one; it uses no other module and no runtime, database or HTTP library. Pure functions
//! here decide what happens to a dispatch after an attempt ([`dispatch::after_attempt`], [`backoff::next_wait`]), so
//! that both stores and every sink follow the same rules.

pub mod audit;
pub mod backoff;
pub mod booking;
pub mod chain;
pub mod clock;
pub mod dispatch;
pub mod event;
pub mod guest;
pub mod id;
pub mod intent;
pub mod language;
pub mod money;
pub mod notice;
pub mod preview;
pub mod reason;
pub mod reconciliation;
pub mod secret;
pub mod stored_secret;
pub mod trace;
pub mod traffic;
mod words;
