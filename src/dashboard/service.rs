//! What concerns the whole service: reading the configuration again, erasing what is known of an invoice, links for the
//! accountant.

use askama::Template;
use axum::{
    extract::{Path, Query},
    response::Response,
};
use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::json;

use super::{
    api::encoded,
    bad_input,
    confirm::{Question, ask},
    forms::{Fields, is_https},
    texts::{Texts, fill},
    visit::{Maybe, Nav, Page, Time, Visit, see},
};
use crate::{
    config::Role,
    model::guest::GuestPage,
    web::{
        admin::{
            List,
            invoices::ErasedRow,
            links::{LinkRow, MadeLink, RevokedLink},
            reload::Reloaded,
        },
        error::Problem,
    },
};

#[derive(Template)]
#[template(path = "service.html")]
struct Service {
    page: Page,
    t: &'static Texts,
    /// True for a token limited to endpoints: it may make links, and neither reload nor erase.
    is_limited: bool,
    version: &'static str,
    reloaded: Option<Done>,
    erased: Vec<String>,
    /// The address of a link that was just made. It is shown once.
    made: Option<(String, Time)>,
    links: Vec<Link>,
    endpoints: Vec<String>,
}

/// A link for somebody without a token.
#[derive(Debug)]
struct Link {
    id: String,
    label: String,
    endpoint: String,
    pages: String,
    made_by: String,
    seen_at: Maybe,
    expires_at: Time,
    is_usable: bool,
}

/// What was just done, for the page that tells it.
#[derive(Debug, Default)]
struct Told {
    reloaded: Option<Done>,
    erased: Vec<String>,
    made: Option<(String, Time)>,
}

/// What a reload has changed.
#[derive(Debug)]
struct Done {
    text: String,
    changes: String,
    notices: Vec<String>,
}

fn page_name(page: GuestPage, t: &Texts) -> &'static str {
    match page {
        GuestPage::Statement => t.nav_statement,
        GuestPage::Payments => t.nav_payments,
    }
}

async fn page(visit: &Visit, told: Told) -> Result<Response, Problem> {
    let t = visit.t;
    let is_admin = visit.identity.caller.role >= Role::Admin;
    let (links, endpoints) = if is_admin {
        let (links, endpoints) = tokio::join!(visit.api.get::<List<LinkRow>>("/links?limit=100"), visit.endpoints());
        (links?.data, endpoints?)
    } else {
        (Vec::new(), Vec::new())
    };
    let links = links.into_iter().map(|link| {
        let zone = Some(link.endpoint.as_str());
        let pages: Vec<&str> = link.pages.iter().map(|page| page_name(*page, t)).collect();
        Link {
            id: link.id.to_string(),
            label: link.label.unwrap_or_else(|| "–".to_owned()),
            pages: pages.join(", "),
            made_by: link.made_by,
            seen_at: visit.time_or_dash(link.seen_at, zone),
            expires_at: visit.time(link.expires_at, zone),
            is_usable: link.usable,
            endpoint: link.endpoint,
        }
    });
    let Told { reloaded, erased, made } = told;
    visit.show(&Service {
        is_limited: visit.identity.caller.scope.is_limited(),
        page: visit.page(Nav::Service, t.service_title),
        t,
        version: env!("CARGO_PKG_VERSION"),
        reloaded,
        erased,
        made,
        links: links.collect(),
        endpoints,
    })
}

/// `GET /ui/service`
pub(super) async fn show(visit: Visit) -> Result<Response, Problem> {
    page(&visit, Told::default()).await
}

/// `POST /ui/service/links`: the answer shows the new link's address.
pub(super) async fn make_link(visit: Visit, headers: HeaderMap, fields: Fields) -> Result<Response, Problem> {
    let days: u32 = fields.one("days").parse().map_err(|_| bad_input("the days are a number"))?;
    let mut body = json!({ "endpoint": fields.one("endpoint"), "pages": fields.all("page"), "days": days });
    if !fields.one("label").is_empty() {
        body["label"] = fields.one("label").into();
    }
    let made: MadeLink = visit.api.post("/links", &body).await?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let scheme = if is_https(&headers) { "https" } else { "http" };
    let until = visit.time(made.expires_at, Some(fields.one("endpoint")));
    let told = Told { made: Some((format!("{scheme}://{host}{}", made.path), until)), ..Told::default() };
    page(&visit, told).await
}

/// `POST /ui/service/links/{id}/revoke`
pub(super) async fn revoke_link(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let _: RevokedLink = visit.api.post(&format!("/links/{}/revoke", encoded(&id)), &json!({})).await?;
    Ok(see("/ui/service?done=revoked"))
}

/// `GET /ui/service/reload`
pub(super) async fn ask_reload(visit: Visit) -> Result<Response, Problem> {
    let t = visit.t;
    let question = Question {
        title: t.reload_title.to_owned(),
        lines: vec![t.reload_means.to_owned()],
        action: "/ui/service/reload".to_owned(),
        button: t.reload_button.to_owned(),
        back: "/ui/service".to_owned(),
        ..Question::default()
    };
    ask(&visit, Nav::Service, question)
}

/// `POST /ui/service/reload`: the answer says what has changed.
pub(super) async fn reload(visit: Visit) -> Result<Response, Problem> {
    let t = visit.t;
    let reloaded: Reloaded = visit.api.post("/reload", &json!({})).await?;
    let done = Done {
        text: if reloaded.differs { t.reloaded } else { t.reloaded_same }.to_owned(),
        changes: if reloaded.differs { reloaded.changes.to_string() } else { String::new() },
        notices: reloaded.notices,
    };
    page(&visit, Told { reloaded: Some(done), ..Told::default() }).await
}

/// Whose data.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Invoice {
    invoice_id: String,
}

/// `GET /ui/service/erase`
pub(super) async fn ask_erase(
    visit: Visit,
    Query(Invoice { invoice_id }): Query<Invoice>,
) -> Result<Response, Problem> {
    let t = visit.t;
    let invoice_id = invoice_id.trim().to_owned();
    if invoice_id.is_empty() {
        return Err(bad_input("the form names no invoice"));
    }
    let question = Question {
        title: fill(t.erase_title, &[("invoice", &invoice_id)]),
        lines: vec![t.erase_means.to_owned(), t.erase_never_back.to_owned()],
        action: "/ui/service/erase".to_owned(),
        fields: vec![("invoice_id", invoice_id)],
        button: t.erase_button.to_owned(),
        back: "/ui/service".to_owned(),
        is_danger: true,
        ..Question::default()
    };
    ask(&visit, Nav::Service, question)
}

/// `POST /ui/service/erase`: the answer says what was removed.
pub(super) async fn erase(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    let t = visit.t;
    let path = format!("/invoices/{}/erase", encoded(fields.one("invoice_id")));
    let done: ErasedRow = visit.api.post(&path, &json!({})).await?;
    let erased = vec![
        t.count(t.erased_payloads, done.payloads),
        t.count(t.erased_cancelled, done.cancelled),
        t.count(t.erased_names, done.names),
    ];
    page(&visit, Told { erased, ..Told::default() }).await
}
