//! What the store promises when the payloads of one invoice are erased.

use async_trait::async_trait;

use super::error::StoreError;
use crate::model::audit::NewAudit;

/// What an erasure removed, see [`EraseStore::erase_invoice`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Events of the invoice, those without payload included.
    pub events: u64,
    /// Payloads removed now.
    pub payloads: u64,
    /// Dispatches cancelled now.
    pub cancelled: u64,
}

/// The part of the store that erases.
#[async_trait]
pub trait EraseStore: Send + Sync {
    /// Removes the payloads of an invoice's events, and what targets answered (which may quote them); cancels its
    /// dispatches that are `pending`, `held` or `dead`, with the reason [`ERASED`](super::ERASED), and writes the audit entry with
    /// the counts. Ids, hashes and times stay, so that a delivery that is repeated is still a duplicate.
    ///
    /// The ledger stays as well: which payments its events announce, and what was written of them where, are ids,
    /// amounts and times, and without them a payment could be booked twice.
    ///
    /// A leased dispatch is left to its worker, which has the payload in memory and may still deliver it. If it would be
    /// claimed again, it is cancelled instead.
    ///
    /// Large invoices are erased in several transactions, the audit entry with the last: after an error, ask again. For
    /// an invoice without events nothing is written.
    async fn erase_invoice(&self, invoice_id: &str, audit: NewAudit) -> Result<Erased, StoreError>;
}
