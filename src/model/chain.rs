//! An error with all its causes on one line, for the log and for terminals.
//!
//! The `Display` of our error types says what their own layer tried, and leaves the cause to `source`. The code that
//! handles an error writes the whole chain, once.

use std::{error::Error, fmt};

/// Displays an error and its causes, joined by `: `.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the file could not be read")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn shows_every_cause_once() {
        assert_eq!(
            Chain(&Outer(std::io::Error::other("disk on fire"))).to_string(),
            "the file could not be read: disk on fire"
        );
    }
}
