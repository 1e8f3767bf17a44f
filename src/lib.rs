//! finkare-relay: receives Finkare's webhooks, keeps each event once, relays it until it has arrived.

pub mod config;
pub mod ingest;
pub mod model;
pub mod signature;
pub mod sinks;
pub mod store;
