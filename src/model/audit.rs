//! The audit trail: who did what, when. An entry is written with every change that a person, a schedule or the service
//! itself makes, and is never changed afterwards.

use jiff::Timestamp;
use serde_json::Value;

/// An entry about to be written.
///
/// Secrets appear by fingerprint only.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAudit {
    /// The actor: the name of an admin token, `loopback`, `cli`, `schedule`, or `service` for what the service does by
    /// itself.
    pub actor: String,
    /// The action, as a stable word: `rotation.begun`, `sink.paused` …
    pub action: &'static str,
    /// The subject: `endpoint/production`, `sink/erp`, `dispatch/17` …
    pub subject: String,
    /// Further details; an object.
    pub detail: Value,
}

impl NewAudit {
    /// An entry without detail.
    pub fn new(actor: &str, action: &'static str, subject: impl Into<String>) -> Self {
        Self { actor: actor.to_owned(), action, subject: subject.into(), detail: Value::Object(serde_json::Map::new()) }
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.detail[name] = value.into();
        self
    }
}

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Its number: a later entry has a larger one.
    pub id: i64,
    /// When it was written, by the store's clock.
    pub at: Timestamp,
    /// The actor: see [`NewAudit::actor`].
    pub actor: String,
    /// The action: see [`NewAudit::action`].
    pub action: String,
    /// The subject: see [`NewAudit::subject`].
    pub subject: String,
    /// Further details; an object.
    pub detail: Value,
}
