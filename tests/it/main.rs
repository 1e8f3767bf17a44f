//! The integration tests: one binary, a module per subject.

mod admin;
mod commands;
mod crashing;
mod outages;
mod readme;
mod receiving;
mod relaying;
mod signature;
mod simulator;
mod sinks;
mod store;
mod support;
