//! The provider: how its secrets are changed, and a local stand-in.
//!
//! - [`link`]: registers webhooks and rotates their secrets without dropping a delivery; heals what
//!   a crash or a lost answer left unfinished.
//! - [`simulator`]: a local Finkare, for trying out, the demo and tests.
//!
//! Finkare's API itself is called by the crate [`finkare`], which knows nothing of the relay.

pub mod link;
pub mod simulator;
