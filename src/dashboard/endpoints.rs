//! The endpoints: the last delivery of each, its secrets by fingerprint, its webhook at Finkare, and what changes them.

use askama::Template;
use axum::{
    extract::{Path, Query},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    api::encoded,
    bad_input,
    confirm::{Question, ask},
    forms::Fields,
    pictures::{self, Picture},
    texts::{Texts, fill},
    visit::{Maybe, Nav, Page, Time, Visit, see},
    words::{self, Pill},
};
use crate::web::{
    admin::{
        List,
        endpoints::{DeliveryRow, EndpointRow, RegisteredRow, RotatedRow, SecretRow, SettledRow},
    },
    error::Problem,
};

#[derive(Template)]
#[template(path = "endpoints.html")]
struct Endpoints {
    page: Page,
    t: &'static Texts,
    rows: Vec<Row>,
}

/// An endpoint.
#[derive(Debug)]
struct Row {
    name: String,
    href: String,
    path: String,
    last_delivery: Maybe,
    is_silent: bool,
    is_sandbox: bool,
    is_in_doubt: bool,
    webhook_id: String,
    url: String,
    registered_at: Maybe,
    secrets: usize,
    fingerprint: String,
    next_rotation: Maybe,
    rotate_every: String,
    attention: Vec<String>,
    intent: Option<(Time, String, u32, bool)>,
}

fn row(visit: &Visit, endpoint: EndpointRow) -> Row {
    let t = visit.t;
    let name = endpoint.name.as_str().to_owned();
    let zone = Some(name.as_str());
    Row {
        href: href(&name),
        last_delivery: visit.time_or_dash(endpoint.last_delivery_at, zone),
        is_silent: endpoint.silence.is_some(),
        is_sandbox: endpoint.sandbox,
        is_in_doubt: endpoint.is_in_doubt() || !endpoint.attention.is_empty(),
        registered_at: visit.time_or_dash(endpoint.registered_at, zone),
        secrets: endpoint.secrets,
        fingerprint: endpoint.fingerprint.as_ref().map_or_else(|| "–".to_owned(), |print| print.as_str().to_owned()),
        next_rotation: visit.time_or_dash(endpoint.next_rotation_at, zone),
        rotate_every: endpoint.rotate_every_days.map(|days| t.count(t.every_n_days, days)).unwrap_or_default(),
        intent: endpoint
            .intent
            .as_ref()
            .map(|intent| (visit.time(intent.since, zone), intent.actor.clone(), intent.tries, intent.heals_itself)),
        path: endpoint.path,
        webhook_id: endpoint.webhook_id.unwrap_or_default(),
        url: endpoint.url.unwrap_or_default(),
        attention: endpoint.attention,
        name,
    }
}

/// The page of an endpoint.
fn href(name: &str) -> String {
    format!("/ui/endpoints/{}", encoded(name))
}

/// `GET /ui/endpoints`
pub(super) async fn list(visit: Visit) -> Result<Response, Problem> {
    let List { data, .. } = visit.api.get::<List<EndpointRow>>("/endpoints").await?;
    let page = Page { is_live: true, ..visit.page(Nav::Endpoints, visit.t.endpoints_title) };
    let rows = data.into_iter().map(|endpoint| row(&visit, endpoint)).collect();
    visit.show(&Endpoints { page, t: visit.t, rows })
}

#[derive(Template)]
#[template(path = "endpoint.html")]
struct Endpoint {
    page: Page,
    t: &'static Texts,
    row: Row,
    secrets: Vec<Secret>,
    /// Finkare's own history, if it was asked for.
    history: Option<Vec<Delivery>>,
    charts: Vec<Picture>,
    /// The silence in the service's words.
    silence: String,
    /// What a registration that was just made leaves to do.
    notes: Vec<String>,
}

/// A secret, by its fingerprint.
#[derive(Debug)]
struct Secret {
    fingerprint: String,
    state: Pill,
    origin: &'static str,
    created_at: Time,
    valid_until: Maybe,
}

/// A delivery as Finkare remembers it.
#[derive(Debug)]
struct Delivery {
    event_type: String,
    status: String,
    attempts: String,
    other: String,
}

/// What else to show.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shown {
    history: String,
}

async fn find(visit: &Visit, name: &str) -> Result<EndpointRow, Problem> {
    let List { data, .. } = visit.api.get::<List<EndpointRow>>("/endpoints").await?;
    data.into_iter().find(|endpoint| endpoint.name.as_str() == name).ok_or_else(Problem::no_such_path)
}

/// `GET /ui/endpoints/{name}`
pub(super) async fn show(
    visit: Visit,
    Path(name): Path<String>,
    Query(shown): Query<Shown>,
) -> Result<Response, Problem> {
    page(&visit, name, shown, Vec::new()).await
}

async fn page(visit: &Visit, name: String, shown: Shown, notes: Vec<String>) -> Result<Response, Problem> {
    let t = visit.t;
    let path = format!("/endpoints/{}/secrets", encoded(&name));
    let (endpoint, secrets, charts) =
        tokio::join!(find(visit, &name), visit.api.get::<List<SecretRow>>(&path), pictures::of_endpoint(visit, &name),);
    let endpoint = endpoint?;
    // Finkare is asked only when somebody wants to see it.
    let history = if shown.history == "yes" {
        let path = format!("/endpoints/{}/deliveries", encoded(&name));
        let List { data, .. } = visit.api.get::<List<DeliveryRow>>(&path).await?;
        Some(data.into_iter().map(delivery).collect())
    } else {
        None
    };
    let secrets = secrets?.data.into_iter().map(|secret| Secret {
        fingerprint: secret.fingerprint.as_str().to_owned(),
        state: words::secret(secret.state, t),
        origin: words::origin(secret.origin, t),
        created_at: visit.time(secret.created_at, Some(&name)),
        valid_until: visit.time_or_dash(secret.valid_until, Some(&name)),
    });
    visit.show(&Endpoint {
        page: Page { is_live: history.is_none() && notes.is_empty(), ..visit.page(Nav::Endpoints, name.clone()) },
        t,
        secrets: secrets.collect(),
        history,
        charts: charts?,
        silence: endpoint.silence.clone().unwrap_or_default(),
        notes,
        row: row(visit, endpoint),
    })
}

fn delivery(row: DeliveryRow) -> Delivery {
    let other = row.other.iter().map(|(name, value)| match value {
        Value::String(text) => format!("{name}: {text}"),
        other => format!("{name}: {other}"),
    });
    Delivery {
        event_type: row.event_type.unwrap_or_else(|| "–".to_owned()),
        status: row.status.unwrap_or_else(|| "–".to_owned()),
        attempts: row.attempts.map_or_else(|| "–".to_owned(), |attempts| attempts.to_string()),
        other: other.collect::<Vec<_>>().join(" · "),
    }
}

/// `GET /ui/endpoints/{name}/rotate`
pub(super) async fn ask_rotate(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let t = visit.t;
    let endpoint = find(&visit, &name).await?;
    let name = endpoint.name.as_str();
    let question = Question {
        title: fill(t.rotate_title, &[("endpoint", name)]),
        lines: vec![t.rotate_means.to_owned(), t.rotate_overlap.to_owned()],
        action: format!("{}/rotate", href(name)),
        button: t.rotate_button.to_owned(),
        back: href(name),
        ..Question::default()
    };
    ask(&visit, Nav::Endpoints, question)
}

/// `POST /ui/endpoints/{name}/rotate`
pub(super) async fn rotate(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let _: RotatedRow = visit.api.post(&format!("/endpoints/{}/rotate-secret", encoded(&name)), &json!({})).await?;
    Ok(see(&format!("{}?done=rotated", href(&name))))
}

#[derive(Template)]
#[template(path = "register.html")]
struct Register {
    page: Page,
    t: &'static Texts,
    name: String,
    back: String,
    url: String,
    hint: String,
}

/// `GET /ui/endpoints/{name}/register`
pub(super) async fn ask_register(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let t = visit.t;
    let endpoint = find(&visit, &name).await?;
    let page = visit.page(Nav::Endpoints, fill(t.register_title, &[("endpoint", &name)]));
    let hint = fill(t.register_hint, &[("path", &endpoint.path)]);
    visit.show(&Register { page, t, back: href(&name), url: endpoint.url.unwrap_or_default(), hint, name })
}

/// `POST /ui/endpoints/{name}/register`: where something is left to do, the answer says it.
pub(super) async fn register(visit: Visit, Path(name): Path<String>, fields: Fields) -> Result<Response, Problem> {
    let mut body = json!({ "url": fields.one("url") });
    let events: Vec<&str> = fields.one("events").split([',', ' ']).filter(|event| !event.is_empty()).collect();
    if !events.is_empty() {
        body["events"] = events.into();
    }
    if !fields.one("description").is_empty() {
        body["description"] = fields.one("description").into();
    }
    let done: RegisteredRow = visit.api.post(&format!("/endpoints/{}/register", encoded(&name)), &body).await?;
    if !done.notes.is_empty() {
        return page(&visit, name, Shown::default(), done.notes).await;
    }
    let word = if done.created { "registered" } else { "adopted" };
    Ok(see(&format!("{}?done={word}", href(&name))))
}

#[derive(Template)]
#[template(path = "settle_endpoint.html")]
struct Settle {
    page: Page,
    t: &'static Texts,
    name: String,
    back: String,
    fingerprint: String,
}

/// `GET /ui/endpoints/{name}/settle`
pub(super) async fn ask_settle(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let t = visit.t;
    let endpoint = find(&visit, &name).await?;
    let fingerprint = endpoint.fingerprint.map(|print| print.as_str().to_owned()).unwrap_or_default();
    let page = visit.page(Nav::Endpoints, fill(t.settle_endpoint_title, &[("endpoint", &name)]));
    visit.show(&Settle { page, t, back: href(&name), fingerprint, name })
}

/// `POST /ui/endpoints/{name}/settle`
pub(super) async fn settle(visit: Visit, Path(name): Path<String>, fields: Fields) -> Result<Response, Problem> {
    let body = match fields.one("which") {
        "current" => json!({ "current": true }),
        "secret" if !fields.one("secret").is_empty() => json!({ "secret": fields.one("secret") }),
        _ => return Err(bad_input("say which secret Finkare signs with")),
    };
    let _: SettledRow = visit.api.post(&format!("/endpoints/{}/settle", encoded(&name)), &body).await?;
    Ok(see(&format!("{}?done=settled_secret", href(&name))))
}
