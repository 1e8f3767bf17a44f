//! The audit trail: who did what, when. Written with every change that a person, a schedule or the
//! service's own healing makes; never changed afterwards.

use jiff::Timestamp;
use serde_json::Value;

/// Something that was done, about to be written down.
///
/// Secrets stand here by fingerprint only.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAudit {
    /// Who: the name of an admin token, `loopback`, `cli`, `schedule`, or `service` for what it does
    /// by itself.
    pub actor: String,
    /// What, as a stable word: `rotation.begun`, `sink.paused` …
    pub action: &'static str,
    /// To what: `endpoint/production`, `sink/erp`, `dispatch/17` …
    pub subject: String,
    /// What else is worth knowing; an object.
    pub detail: Value,
}

impl NewAudit {
    /// An entry without detail.
    pub fn new(actor: &str, action: &'static str, subject: impl Into<String>) -> Self {
        Self { actor: actor.to_owned(), action, subject: subject.into(), detail: Value::Object(serde_json::Map::new()) }
    }

    /// Adds what else is worth knowing.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.detail[name] = value.into();
        self
    }
}

/// Something that was done, as it stands in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// Its number: a later entry has a larger one.
    pub id: i64,
    /// When, by the store's clock.
    pub at: Timestamp,
    /// Who, see [`NewAudit::actor`].
    pub actor: String,
    /// What, see [`NewAudit::action`].
    pub action: String,
    /// To what.
    pub subject: String,
    /// What else is worth knowing; an object.
    pub detail: Value,
}
