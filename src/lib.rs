//! finkare-relay: receives Finkare's webhooks, stores each event once, relays it until it has arrived.
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
//! One direction. The two halves, receiving and relaying, meet in the store: the row is the promise. The wake-up, and the
//! hand-over of a fresh dispatch to a free slot of the same process, only save time and work. The outcome of an attempt
//! goes back only as a row.
//!
//! Beside them is the link to Finkare, which goes the other way:
//!
//! ```text
//! web::admin, schedule ─▶ link ───intent───▶ store
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
//! 3. [`store`]: what is stored and what is promised about it; SQLite and Postgres.
//! 4. [`secrets`]: an endpoint's secrets, encrypted in the store and live in memory; what waits before it is rejected.
//! 5. [`ingest`]: verify, find the dedupe key, choose the sinks, commit in groups; why a delivery was rejected.
//! 6. [`sinks`]: the targets, one file or folder per kind.
//! 7. [`dispatch`]: take what is fresh or due, try it, record the outcome. [`handover`]: where fresh events reach a worker of
//!    this process without a claim.
//! 8. [`replay`]: sends stored events again. [`bulk`]: decisions about many events or dispatches at once.
//! 9. [`link`]: the link to Finkare, which registers, rotates and heals. [`activity`]: endpoints that have gone quiet.
//!    [`notices`]: the relay's own events, which tell a person what needs one. [`traffic`]: counts of each hour, for
//!    pictures.
//! 10. [`resolve`]: which payment and which invoice an event means, found out at Finkare and decided once.
//!     [`statement`]: what was recorded in a month, for people, spreadsheets and accounting software.
//!     [`reconcile`]: Finkare's payments compared with the events, the ledger and the dispatches, to the cent.
//! 11. [`web`]: the two listeners. [`dashboard`]: the pages for people, on the admin listener. [`french`]: what the service
//!     says in English, for whoever reads French.
//! 12. [`options`], [`config`]: reading what the operator wrote. [`telemetry`]: logs, metrics and traces. [`lifecycle`]:
//!     stopping in order. [`pressure`]: accepts go before relaying. [`listener`]: connections, bounded, before there is a
//!     request.
//! 13. [`service`]: puts all of it together, and replaces one configuration by the next; [`cli`]: the commands.
//!
//! Beside them stand the workspace's crates: `crates/outgoing`, the only place that builds HTTP clients and says what an
//! answer or a silence means; `crates/finkare`, the typed client of Finkare's API; `crates/finkare-simulator`, a local
//! Finkare, and `crates/books-simulator`, stand-ins of invoicing systems, which share nothing with them.
//!
//! # Who may know whom
//!
//! Imports point downwards, and there are no cycles:
//!
//! - [`model`] knows no other module. [`options`], [`signature`] and [`store`] know only the model.
//! - Receiving ([`ingest`]) knows the secrets and the store, relaying ([`dispatch`]) knows the sinks and the store; the two
//!   halves do not know each other, but both know the [`handover`].
//! - [`sinks`] know the store's ledger, and of [`resolve`] only the trait that `sinks::invoicing` defines.
//! - [`link`] does not know who asks for a rotation. The simulator shares nothing with the client and the link.
//! - [`web`] translates requests, and never knows a sink. [`config`] knows the options of all parts.
//! - [`service`] and [`cli`] know everything.
//!
//! The whole rule is a table in `tests/imports.rs`. The test there reads every import and fails for one that the table does
//! not allow.

// The printing macros panic if the reader has gone. `cli::streams` replaces them.
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]

pub mod activity;
pub mod bulk;
pub mod cli;
pub mod config;
pub mod dashboard;
pub mod dispatch;
pub mod french;
pub mod handover;

pub mod ingest;
pub mod lifecycle;
pub mod link;
pub mod listener;
pub mod model;
pub mod notices;
pub mod options;
pub mod pressure;
pub mod reconcile;
pub mod replay;
pub mod resolve;
pub mod secrets;
pub mod service;
pub mod signature;
pub mod sinks;
pub mod statement;
pub mod store;
pub mod telemetry;
pub mod traffic;
pub mod web;
