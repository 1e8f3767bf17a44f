//! The entries of the audit trail; the [module above](super) explains their words.

use finkare::Error;

use super::Linked;
use crate::model::{audit::NewAudit, id::EndpointName, intent::IntentKind};

pub(super) const WEBHOOK_ADOPTED: &str = "webhook.adopted";
pub(super) const INTENT_DROPPED: &str = "intent.dropped";
pub(super) const SECRET_SETTLED: &str = "secret.settled";

/// Finkare is about to be asked.
pub(super) const fn begun(kind: IntentKind) -> &'static str {
    match kind {
        IntentKind::Rotate => "rotation.begun",
        IntentKind::Register => "registration.begun",
    }
}

/// The new secret is stored.
pub(super) const fn done(kind: IntentKind) -> &'static str {
    match kind {
        IntentKind::Rotate => "rotation.done",
        IntentKind::Register => "registration.done",
    }
}

/// Nothing has changed.
pub(super) const fn refused(kind: IntentKind) -> &'static str {
    match kind {
        IntentKind::Rotate => "rotation.refused",
        IntentKind::Register => "registration.refused",
    }
}

/// It is not known whether Finkare made the change.
pub(super) const fn uncertain(kind: IntentKind) -> &'static str {
    match kind {
        IntentKind::Rotate => "rotation.uncertain",
        IntentKind::Register => "registration.uncertain",
    }
}

/// The subject of an entry about an endpoint.
pub(super) fn subject(endpoint: &EndpointName) -> String {
    format!("endpoint/{endpoint}")
}

/// An entry about an endpoint.
pub(super) fn audit(action: &'static str, linked: &Linked, actor: &str) -> NewAudit {
    NewAudit::new(actor, action, subject(&linked.name))
}

/// Adds Finkare's answer to an entry. Its message is left out, because it may hold anything.
pub(super) fn with_failure(audit: NewAudit, error: &Error) -> NewAudit {
    let optional = |audit: NewAudit, name, value: &Option<String>| match value {
        Some(value) => audit.with(name, value.as_str()),
        None => audit,
    };
    match error {
        Error::Unusable { .. } => audit.with("problem", "unusable"),
        Error::Api { status, code, request_id, .. } => {
            optional(optional(audit.with("status", *status), "code", code), "request_id", request_id)
        }
        Error::Unreadable { status, request_id, .. } => {
            optional(audit.with("status", *status).with("problem", "unreadable"), "request_id", request_id)
        }
        Error::Network { never_sent: true, .. } => audit.with("problem", "not_connected"),
        Error::Network { timed_out: true, .. } => audit.with("problem", "timed_out"),
        Error::Network { .. } => audit.with("problem", "cut_off"),
    }
}
