//! The integration tests: one binary, a module per subject.

mod admin;
mod afternoon;
mod commands;
mod controlling;
mod crashing;
mod endpoints;
mod explaining;
mod finkare_client;
mod invoicing;
mod link;
mod observing;
mod openapi;
mod operating;
mod outages;
mod readme;
mod receiving;
mod relaying;
mod reloading;
mod replicas;
mod rotation;
mod secrets;
mod signature;
mod simulator;
mod sinks;
mod store;
mod support;
