//! Proof that a message is genuine, coming in ([`finkare`]) and going out ([`standard_webhooks`]).
//!
//! Pure: bytes, headers, secrets and time are arguments. Only [`hmac`] touches the hmac crate, and
//! only it compares.

pub mod finkare;
pub mod hmac;
pub mod standard_webhooks;
