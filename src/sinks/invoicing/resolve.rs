//! Resolving an event to a payment and its invoice, as invoicing sinks and sinks with `enrich` need it. The service provides
//! the implementation.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::{
    model::{
        booking::{Invoice, Payment},
        dispatch::Outcome,
    },
    sinks::Message,
};

/// Why an event could not be resolved, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// It is too early: the payment is pending, or not visible yet.
    Wait {
        /// What the relay waits for.
        reason: String,
        /// For how long.
        after: Duration,
    },
    /// Finkare's API or our store does not work at present.
    Retry {
        /// What went wrong.
        reason: String,
        /// The wait that the other side asked for.
        after: Option<Duration>,
    },
    /// A person must decide.
    Hold {
        /// What the problem is, and what to do.
        reason: String,
        /// When the relay checks again by itself.
        recheck_after: Option<Duration>,
    },
    /// Nothing can be resolved until a person has acted: Finkare refuses the API key.
    Stop {
        /// What happened, and what to do.
        reason: String,
    },
}

#[cfg(test)]
impl Unresolved {
    /// Why, in words.
    pub fn reason(&self) -> &str {
        match self {
            Unresolved::Wait { reason, .. }
            | Unresolved::Retry { reason, .. }
            | Unresolved::Hold { reason, .. }
            | Unresolved::Stop { reason } => reason,
        }
    }
}

impl From<Unresolved> for Outcome {
    fn from(unresolved: Unresolved) -> Self {
        match unresolved {
            Unresolved::Wait { reason, after } => Outcome::Wait { reason, after },
            Unresolved::Retry { reason, after } => Outcome::Retry { reason, after },
            Unresolved::Hold { reason, recheck_after } => Outcome::Hold { reason, recheck_after },
            Unresolved::Stop { reason } => Outcome::Stop { reason },
        }
    }
}

/// Finds out which payment and which invoice an event speaks of.
#[async_trait]
pub trait Resolve: Send + Sync + fmt::Debug {
    /// The completed payment that this `payment.received` announces. It is decided once for each event and stored.
    async fn payment(&self, message: &Message) -> Result<Payment, Unresolved>;

    /// The invoice that an event of any type names in `data.invoiceId`.
    async fn invoice(&self, message: &Message) -> Result<Invoice, Unresolved>;
}
