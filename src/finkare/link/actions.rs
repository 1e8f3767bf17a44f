//! The words of the audit trail; the [module above](super) explains them.

use crate::{
    finkare::client::Error,
    model::{audit::NewAudit, id::EndpointName, intent::IntentKind},
};

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

/// The new secret is kept.
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

/// Nobody knows.
pub(super) const fn uncertain(kind: IntentKind) -> &'static str {
    match kind {
        IntentKind::Rotate => "rotation.uncertain",
        IntentKind::Register => "registration.uncertain",
    }
}

/// What an entry about an endpoint is about.
pub(super) fn subject(endpoint: &EndpointName) -> String {
    format!("endpoint/{endpoint}")
}

/// Adds what Finkare said. Its own words are left out: nobody knows what stands in them.
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
