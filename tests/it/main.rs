//! The integration tests: one binary, a module per subject.

mod signature;
mod sinks;
mod store;
