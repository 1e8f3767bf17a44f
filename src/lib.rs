//! finkare-relay: receives Finkare's webhooks, keeps each event once, relays it until it has arrived.
//!
//! # The way of an event
//!
//! ```text
//! Finkare ─POST─▶ web::receive ─▶ ingest ─▶ store ─▶ dispatch ─▶ sinks ─▶ target
//!                  limits, 401     verify     one       claim,      one file
//!                  problem+json    dedupe     commit    attempt,    per kind
//!                                  batch                record
//! ```
//!
//! One direction. The two halves, receiving and relaying, meet only in the store: the row is the
//! promise, the wake-up only saves time. The outcome of an attempt goes back only as a row.
//!
//! Beside them is the link to Finkare, which goes the other way:
//!
//! ```text
//! web::admin, schedule ─▶ finkare::link ─intent─▶ store
//!                            │     ▲                │ all replicas
//!                     rotate │     │ a new secret   ▼
//!                            ▼     │             secrets ─▶ ingest verifies by it
//!                           Finkare
//! ```
//!
//! # Reading order
//!
//! 1. [`model`]: the words. Events, dispatches and their states, ids, time; decisions as pure functions.
//! 2. [`signature`]: proof that a message is genuine, coming in and going out.
//! 3. [`store`]: what is kept and what is promised about it; SQLite and Postgres.
//! 4. [`secrets`]: an endpoint's secrets, encrypted in the store and live in memory; what waits before it is refused.
//! 5. [`ingest`]: verify, find the dedupe key, choose the sinks, commit in groups; what a refused delivery looks like.
//! 6. [`sinks`]: the targets, one file per kind.
//! 7. [`dispatch`]: claim what is due, try it, record what came of it.
//! 8. [`replay`]: what is stored already is sent again, one event or a selection.
//! 9. [`finkare`]: the client of Finkare's API; the link, which registers, rotates and heals; the local Finkare.
//!    [`activity`]: endpoints that have gone quiet.
//! 10. [`resolve`]: which payment and which invoice an event speaks of, found out at Finkare and decided once.
//! 11. [`web`]: the two listeners.
//!     [`outgoing`]: what an answer, or a silence, means for a call that writes.
//! 12. [`options`], [`config`], [`telemetry`], [`lifecycle`], [`pressure`], [`rate`]: reading what the operator wrote, and
//!     what of it this service has; logs and metrics; stopping well; accepts before relaying; no more requests than a
//!     target takes. [`listener`]: connections, bounded, before there is a request.
//! 13. [`service`]: puts all of it together, and another configuration in its place; [`cli`]: the commands.
//!
//! Who may know whom: [`model`] knows nobody, and [`outgoing`], the meaning of answers to writes, neither; [`signature`], [`store`] and [`sinks`] know only the
//! model (and the `http` sink the outgoing signature, the invoicing sinks the ledger of the store); [`secrets`] knows the signature and the store; [`ingest`] knows
//! these three, [`dispatch`] the store and the sinks, and the two do not know each other; [`replay`] knows the store and
//! the routes; [`resolve`] knows Finkare's client and the store, and sinks know of it only what `sinks::invoicing` asks
//! for; [`finkare::link`] knows the store and the secrets, not who asks for a rotation; the simulator shares
//! nothing with the client and the link; [`web`] never knows a sink; [`service`] and [`cli`] know all.

// The macros that print panic where nobody reads any more: `cli::output` has what takes their place.
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]

pub mod activity;
pub mod bulk;
pub mod cli;
pub mod config;
pub mod dispatch;
pub mod finkare;
pub mod ingest;
pub mod lifecycle;
pub mod listener;
pub mod model;
pub mod options;
pub mod outgoing;
pub mod pressure;
pub mod rate;
pub mod replay;
pub mod resolve;
pub mod secrets;
pub mod service;
pub mod signature;
pub mod sinks;
pub mod store;
pub mod telemetry;
pub mod web;
