//! Two lists to look things up in: the deliveries that were refused, and the audit trail.

use askama::Template;
use axum::{extract::Query, response::Response};
use serde::Deserialize;
use serde_json::Value;

use super::{
    api::query,
    texts::Texts,
    visit::{Nav, Page, Time, Visit},
    words,
};
use crate::{
    ingest::explain::Refusal,
    web::{
        admin::{List, audit::AuditRow},
        error::Problem,
    },
};

/// The filters of both, as they stand in the address.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Filters {
    endpoint: String,
    actor: String,
    action: String,
    cursor: String,
}

#[derive(Template)]
#[template(path = "refusals.html")]
struct Refusals {
    page: Page,
    t: &'static Texts,
    filters: Filters,
    endpoints: Vec<String>,
    rows: Vec<Refused>,
    more: Option<String>,
}

/// A refused delivery.
#[derive(Debug)]
struct Refused {
    at: Time,
    endpoint: String,
    peer: String,
    status: u16,
    reason: &'static str,
    means: &'static str,
    explanation: String,
    request_id: String,
    bytes: usize,
}

/// `GET /ui/refusals`
pub(super) async fn refusals(visit: Visit, Query(filters): Query<Filters>) -> Result<Response, Problem> {
    let t = visit.t;
    let path = query(&[("endpoint", filters.endpoint.as_str()), ("cursor", filters.cursor.as_str())]);
    let path = format!("/refusals{path}");
    let (found, endpoints) = tokio::join!(visit.api.get::<List<Refusal>>(&path), visit.endpoints());
    let List { data, next_cursor } = found?;
    let rows = data.into_iter().map(|one| {
        let endpoint = one.endpoint.as_ref().map(|name| name.as_str().to_owned());
        Refused {
            at: visit.time(one.at, endpoint.as_deref()),
            endpoint: endpoint.unwrap_or_else(|| "–".to_owned()),
            peer: one.peer.map_or_else(|| "–".to_owned(), |peer| peer.to_string()),
            status: one.status,
            reason: one.reason.as_str(),
            means: words::refusal(one.reason.as_str(), t),
            explanation: one.explanation,
            request_id: one.request_id.map(|id| id.to_string()).unwrap_or_default(),
            bytes: one.body_bytes,
        }
    });
    let more = next_cursor.map(|cursor| {
        format!("/ui/refusals{}", query(&[("endpoint", filters.endpoint.as_str()), ("cursor", cursor.as_str())]))
    });
    visit.show(&Refusals {
        page: Page { is_live: filters.cursor.is_empty(), ..visit.page(Nav::Refusals, t.refusals_title) },
        t,
        rows: rows.collect(),
        more,
        endpoints: endpoints?,
        filters,
    })
}

#[derive(Template)]
#[template(path = "audit.html")]
struct Audit {
    page: Page,
    t: &'static Texts,
    filters: Filters,
    endpoints: Vec<String>,
    rows: Vec<Entry>,
    more: Option<String>,
}

/// An entry of the audit trail.
#[derive(Debug)]
struct Entry {
    id: i64,
    at: Time,
    actor: String,
    action: String,
    subject: String,
    href: String,
    detail: Vec<(String, String, bool)>,
}

/// The page of what was changed, where it has one.
fn href(subject: &str) -> String {
    match subject.split_once('/') {
        Some((kind @ ("sink" | "endpoint" | "event" | "dispatch" | "payment"), name)) => {
            format!("/ui/{}{}/{}", kind, if kind == "dispatch" { "es" } else { "s" }, super::api::encoded(name))
        }
        _ => String::new(),
    }
}

/// The members in which the service says something in words.
const SAID: [&str; 3] = ["differs", "problem", "reason"];

/// `sink: erp, was: held`: names and values, and whether the value is a sentence of the service's.
fn told(detail: &Value) -> Vec<(String, String, bool)> {
    let one = |(name, value): (&String, &Value)| match value {
        // A word alone is a code.
        Value::String(text) => (name.clone(), text.clone(), SAID.contains(&name.as_str()) && text.contains(' ')),
        other => (name.clone(), other.to_string(), false),
    };
    detail.as_object().into_iter().flatten().map(one).collect()
}

/// `GET /ui/audit`
pub(super) async fn audit(visit: Visit, Query(filters): Query<Filters>) -> Result<Response, Problem> {
    let t = visit.t;
    let of = |cursor: &str| {
        query(&[
            ("endpoint", filters.endpoint.as_str()),
            ("actor", filters.actor.trim()),
            ("action", filters.action.trim()),
            ("cursor", cursor),
        ])
    };
    let path = format!("/audit{}", of(&filters.cursor));
    let (found, endpoints) = tokio::join!(visit.api.get::<List<AuditRow>>(&path), visit.endpoints());
    let List { data, next_cursor } = found?;
    let more = next_cursor.map(|cursor| format!("/ui/audit{}", of(&cursor)));
    let rows = data.into_iter().map(|entry| Entry {
        id: entry.id,
        at: visit.time(entry.at, None),
        href: href(&entry.subject),
        detail: told(&entry.detail),
        actor: entry.actor,
        action: entry.action,
        subject: entry.subject,
    });
    visit.show(&Audit {
        page: visit.page(Nav::Audit, t.audit_title),
        t,
        rows: rows.collect(),
        more,
        endpoints: endpoints?,
        filters,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_leads_to_what_was_changed() {
        for (subject, expected) in [
            ("sink/erp", "/ui/sinks/erp"),
            ("dispatch/17", "/ui/dispatches/17"),
            ("payment/p 1", "/ui/payments/p%201"),
            ("configuration", ""),
            ("invoice/i-1", ""),
        ] {
            assert_eq!(href(subject), expected, "{subject}");
        }
    }
}
