//! Sinks that book payments in invoicing software.
//!
//! A payment that Finkare recovered has to stand in the company's books: once, to the cent, without anyone typing it.
//! What differs between the systems is small, and what is dangerous is the same for all, so the work is divided:
//!
//! - `bookkeeper`: the order of the steps, the two barriers against booking twice, what a crash leaves behind.
//! - `books`: what it needs of a system. One implementation each: Facturation.PRO, eFactori (onFact); Tiime and
//!   FastFaktura, in which no payment can be recorded, so that they only look.
//! - `api`: the calls, within the system's limits, with an honest word about each that fails.
//! - `resolve`: what it needs of the service: who resolves an event to a payment. The ledger is the store's
//!   ([`crate::store::ledger`]).
//! - `watching`: what those have in common that only look: finding an invoice where there is no search for it.
//! - `number`: from Finkare's invoice number to the one in the books.
//! - `options`: the options that all have in common. `system`: what a system says of itself, which makes a kind of sink of
//!   it.
//!
//! # How to add a system
//!
//! One file in this folder, or a folder where it is more than one: its options, which implement [`System`](system::System), its [`Books`],
//! and its unit tests. Then the steps of [`crate::sinks`]'s list, and a stand-in of the system for the tests that keeps books and complains
//! (`tests/it/support`), so that books are compared and not calls.

pub mod api;
pub(in crate::sinks) mod bookkeeper;
mod books;
pub mod efactori;
pub mod facturation_pro;
pub mod fastfaktura;
mod number;
mod options;
mod resolve;
pub mod system;
pub mod tiime;
pub(in crate::sinks) mod watching;

pub use api::{Answer, Api, Request, Settings, Transcript, Trouble};
pub use bookkeeper::{Bookkeeper, DEFAULT_PAYMENT_WINDOW_DAYS, Desk};
pub use books::{Books, Finding, Rival, StatusChange, StatusPlan, Verified, Wanted};
pub use number::Numbering;
use options::METHODS;
pub use options::{ApiLimit, Common, Defaults, OnSameAmount};
pub use resolve::{Resolve, Unresolved};
