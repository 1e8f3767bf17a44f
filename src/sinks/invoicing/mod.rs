//! Sinks that book payments in invoicing software.
//!
//! - `ports`: what they need of the service: the resolver, the ledger.

mod ports;

pub use ports::{Ledger, Resolve, Unresolved};
