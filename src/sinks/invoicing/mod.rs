//! Sinks that book payments in invoicing software.
//!
//! A payment that Finkare recovered has to be in the company's books: once, to the cent, without anyone typing it in.
//! The systems differ little, and the dangers are the same in all of them, so the work is divided:
//!
//! - `bookkeeper`: the order of the steps, the two barriers against booking twice, the recovery after a crash.
//! - `books`: the trait that each system implements: Facturation.PRO, eFactori (onFact); Tiime and FastFaktura, in which
//!   no payment can be recorded, so that their sinks only watch.
//! - `api`: the calls, within the system's limits, with an exact account of each failure.
//! - `resolve`: the trait by which the service resolves an event to a payment. The ledger is the store's
//!   ([`crate::store::ledger`]).
//! - `watching`: shared by the sinks that only watch: finding an invoice where the system has no search for it.
//! - `number`: derives the invoice number in the books from Finkare's.
//! - `options`: the options that all systems have in common. `system`: the options of one system, from which its kind of
//!   sink follows.
//!
//! # How to add a system
//!
//! Write one file in this folder, or a folder: the system's options, which implement [`System`](system::System), its
//! [`Books`], and its unit tests. Then follow the steps in [`crate::sinks`], and write a stand-in of the system for the
//! tests that keeps books and checks every call (`tests/it/support`), so that the tests compare books and not calls.

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
