//! Why a payment is held or dead, and what the ledger notes of it.

use super::Pair;

pub(super) const PHRASES: &[Pair] = &[];
