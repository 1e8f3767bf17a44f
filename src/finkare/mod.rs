//! The provider: how its secrets are changed.
//!
//! - [`link`]: registers webhooks and rotates their secrets without dropping a delivery; heals what
//!   a crash or a lost answer left unfinished.
//!
//! Finkare's API itself is called by the crate [`finkare`], which knows nothing of the relay.

pub mod link;
