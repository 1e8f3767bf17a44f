//! The integration tests, as one binary: a module per subject.

mod store;
