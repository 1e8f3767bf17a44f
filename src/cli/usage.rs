//! The error of arguments that make no sense. It has its own file since the client and the report of failures both need it.

use std::{error::Error, fmt};

/// The arguments make no sense: exit code 2.
#[derive(Debug)]
pub(super) struct Usage(String);

impl Usage {
    /// Says what is wrong with the arguments and what to write instead.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Usage {}
