//! Why a payment waits, is held or dead, what the ledger notes of it, and what would be done with it.

pub(super) mod booking;
pub(super) mod calls;
pub(super) mod efactori;
pub(super) mod facturation_pro;
pub(super) mod ledger;
pub(super) mod resolving;
pub(super) mod watching;
