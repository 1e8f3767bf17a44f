//! What the store promises about erasing the payloads of one invoice.

use async_trait::async_trait;

use super::error::StoreError;
use crate::model::audit::NewAudit;

/// What an erasure removed, see [`EraseStore::erase_invoice`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Events of the invoice, including those without a payload.
    pub events: u64,
    /// Payloads removed now.
    pub payloads: u64,
    /// Dispatches cancelled now.
    pub cancelled: u64,
    /// Payments of the ledger that lost the debtor's name now.
    pub names: u64,
}

impl Erased {
    /// True if there was nothing of the invoice.
    pub const fn is_nothing(&self) -> bool {
        self.events == 0 && self.names == 0
    }
}

/// The part of the store that erases.
#[async_trait]
pub trait EraseStore: Send + Sync {
    /// Removes the payloads of an invoice's events, and the stored answers of targets (which may quote them). Cancels
    /// the invoice's dispatches that are `pending`, `held` or `dead`, with the reason [`ERASED`](super::ERASED), and
    /// writes the audit entry with the counts. Ids, hashes and times stay, so that a repeated delivery is still
    /// recognised as a duplicate.
    ///
    /// The ledger stays as well, without the debtor's name. It holds which payments the events announce and what was
    /// written of them in which sink: ids, numbers, amounts and times. Without these a payment could be booked twice.
    ///
    /// A leased dispatch is left to its worker, which has the payload in memory and may still deliver it. When it
    /// would be claimed again, it is cancelled instead.
    ///
    /// Large invoices are erased in several transactions; the audit entry is written in the last one. After an error,
    /// call this again. For an invoice of which nothing is stored, nothing is written.
    async fn erase_invoice(&self, invoice_id: &str, audit: NewAudit) -> Result<Erased, StoreError>;
}
