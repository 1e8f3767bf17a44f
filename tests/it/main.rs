//! The integration tests: one binary, a module per subject.

mod crashing;
mod receiving;
mod relaying;
mod signature;
mod sinks;
mod store;
mod support;
