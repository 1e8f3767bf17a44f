//! The integration tests, as one binary: a module for each subject.

mod store;
mod support;
