//! The provider: what we ask of Finkare, and how its secrets are changed.
//!
//! - [`client`]: Finkare's API, typed.
//! - [`link`]: registers webhooks and rotates their secrets without dropping a delivery; heals what
//!   a crash or a lost answer left unfinished.
//!
//! No Rust client of Finkare exists, and much of its API is documented by example only. What nobody
//! documents is a setting here, with the most careful reading as its default.

pub mod client;
pub mod link;
