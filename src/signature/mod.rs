//! Proof that a message is genuine, coming in ([`finkare`](mod@finkare)) and going out ([`standard_webhooks`]).
//!
//! Pure: bytes, headers, secrets and time are arguments. Finkare's own signature is checked by the crate
//! [`finkare`](::finkare); [`header_shape`] describes the form of a rejected header.

pub use ::finkare::signature::{self as finkare, hmac, reserialize};

pub mod header_shape;
pub mod standard_webhooks;
