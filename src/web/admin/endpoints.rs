//! `GET /endpoints` and the calls for one endpoint: its secrets (by fingerprint, never the value), rotating, registering,
//! settling, and Finkare's own history.
//!
//! A refusal by Finkare is a 502 with Finkare's own words in the member `finkare`: the request to the relay was good, and a
//! person has to look at Finkare.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Json, body::Body, extract::State};
use finkare::Delivery;
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{super::error::Problem, Admin, List, Segment, auth::Caller, not_found, payload, store_problem};
use crate::{
    config::Role,
    ingest::route::Selection,
    link::{
        LinkError, LinkedEndpoint, MAX_OVERLAP, Registered, Registration, Rotated,
        settling::{Said, Settled},
        what_a_person_does,
    },
    model::{
        chain::Chain,
        clock,
        id::EndpointName,
        intent::{Intent, IntentKind, IntentState, Link},
        secret::Secret,
        stored_secret::{Fingerprint, Origin, SecretState, StoredSecret},
    },
    secrets::Closed,
};

/// Event types that one registration may name.
const MAX_EVENTS: usize = 100;
/// The longest event type, and the longest description, in bytes.
const MAX_TEXT: usize = 500;

/// The state of an endpoint's link to Finkare.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LinkState {
    /// No change is under way.
    Settled,
    /// Finkare is being asked for a change.
    InFlight,
    /// It is not known whether Finkare made the last change; the service asks again by itself, unless `intent.heals_itself` is
    /// false.
    Unknown,
}

/// An endpoint as the API shows it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct EndpointRow {
    /// The endpoint's name.
    pub(crate) name: EndpointName,
    /// The endpoint's path on the public listener.
    pub(crate) path: String,
    /// When the last genuine delivery came, through any replica; other replicas report it with up to a minute's delay. Null
    /// if none ever came.
    #[schema(required)]
    pub(crate) last_delivery_at: Option<Timestamp>,
    /// Why the endpoint is silent: nothing was delivered for longer than its `silence_alarm_hours`. Null if it is not.
    #[schema(required)]
    pub(crate) silence: Option<String>,
    /// True if the endpoint belongs to Finkare's sandbox, whose payments are not real.
    pub(crate) sandbox: bool,
    /// The webhook's id at Finkare: the configured one, otherwise the registered one.
    #[schema(required)]
    pub(crate) webhook_id: Option<String>,
    /// The URL that Finkare posts to, as it was registered or adopted.
    #[schema(required)]
    pub(crate) url: Option<String>,
    /// When the webhook was registered or adopted.
    #[schema(required)]
    pub(crate) registered_at: Option<Timestamp>,
    /// The state of the link to Finkare.
    pub(crate) state: LinkState,
    /// The number of secrets that are valid now.
    pub(crate) secrets: usize,
    /// The fingerprint of the newest secret.
    #[schema(required)]
    pub(crate) fingerprint: Option<Fingerprint>,
    /// The number of days between two rotations by schedule; null without a schedule.
    #[schema(required)]
    pub(crate) rotate_every_days: Option<u64>,
    /// When the secret is rotated next by schedule; null without a schedule.
    #[schema(required)]
    pub(crate) next_rotation_at: Option<Timestamp>,
    /// The unfinished change at Finkare; null if there is none.
    #[schema(required)]
    pub(crate) intent: Option<IntentRow>,
    /// What needs a person, each with what to do; empty if nothing does.
    pub(crate) attention: Vec<String>,
}

/// An unfinished change at Finkare.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct IntentRow {
    /// What Finkare was asked for.
    pub(crate) kind: IntentKind,
    /// When the change began.
    pub(crate) since: Timestamp,
    /// The person or the schedule that asked for the change.
    pub(crate) actor: String,
    /// The number of times that Finkare was asked.
    pub(crate) tries: u32,
    /// The number of answers of success without a secret that can be read.
    pub(crate) unreadable: u32,
    /// False if the service does not ask Finkare again by itself, because there were too many such answers, or because a
    /// secret was configured while Finkare was being asked. A person has to say which secret is right (`settle`), or to
    /// rotate once more.
    pub(crate) heals_itself: bool,
}

impl EndpointRow {
    /// True while it is not known whether Finkare made the last change.
    pub(crate) fn is_in_doubt(&self) -> bool {
        matches!(self.state, LinkState::Unknown)
    }
}

fn row(
    endpoint: &LinkedEndpoint,
    link: Option<Link>,
    closed: &[Closed],
    last_delivery_at: Option<Timestamp>,
    silence: Option<String>,
) -> EndpointRow {
    let (webhook, secrets, intent) =
        link.map_or_else(Default::default, |link| (link.webhook, link.secrets, link.intent));
    let newest = secrets.first();
    let state = match intent.as_ref().map(|intent| intent.state) {
        None => LinkState::Settled,
        Some(IntentState::InFlight) => LinkState::InFlight,
        // The other two states end an intent, and `links` has no ended one.
        Some(IntentState::Unknown | IntentState::Done | IntentState::Failed) => LinkState::Unknown,
    };
    let next_rotation_at = match (endpoint.rotate_every, newest) {
        (Some(every), Some(newest)) => newest.created_at.checked_add(every).ok(),
        _ => None,
    };
    let attention: Vec<String> =
        intent.as_ref().and_then(doubt).into_iter().chain(closed.iter().map(unusable)).collect();
    #[cfg(test)]
    for what in &attention {
        crate::french::expect(what);
    }
    EndpointRow {
        name: endpoint.name.clone(),
        path: endpoint.path.clone(),
        last_delivery_at,
        silence,
        sandbox: endpoint.is_sandbox,
        webhook_id: endpoint.webhook_id.clone().or_else(|| webhook.as_ref().map(|webhook| webhook.id.clone())),
        registered_at: webhook.as_ref().map(|webhook| webhook.registered_at),
        url: webhook.map(|webhook| webhook.url),
        state,
        secrets: secrets.len(),
        fingerprint: newest.map(|newest| newest.fingerprint.clone()),
        rotate_every_days: endpoint.rotate_every.map(|every| every.as_secs() / (24 * 60 * 60)),
        next_rotation_at,
        intent: intent.map(|intent| IntentRow {
            kind: intent.kind,
            since: intent.begun_at,
            heals_itself: !intent.needs_a_person(),
            unreadable: intent.unreadable,
            actor: intent.actor,
            tries: intent.tries,
        }),
        attention,
    }
}

/// What a person has to know about an intent that the service does not heal by itself.
pub(crate) fn doubt(intent: &Intent) -> Option<String> {
    let name = &intent.endpoint;
    intent.needs_a_person().then(|| {
        let why = if intent.given_meanwhile {
            format!(
                "a secret was configured while Finkare was being asked for another one. If deliveries are accepted, confirm it with \
                 `finkare-relay endpoints settle {name} --current`."
            )
        } else {
            format!("{} successful answers contained no readable secret.", intent.unreadable)
        };
        format!(
            "It is not known which secret Finkare signs with, and the service does not ask again by itself: {why} Deliveries \
             that fit no known secret are answered 503. {}.",
            what_a_person_does(name)
        )
    })
}

/// What a person has to know about a secret that cannot be used.
fn unusable(closed: &Closed) -> String {
    let instead = if closed.is_replaced {
        "The configured secret is used instead."
    } else {
        "Deliveries that fit none of the endpoint's other secrets are answered 503."
    };
    format!("A stored secret cannot be used: {}. {instead}", closed.problem)
}

/// A secret as the API shows it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SecretRow {
    /// The first 16 hexadecimal digits of the secret's SHA-256.
    pub(crate) fingerprint: Fingerprint,
    /// The secret's state, which decides whether deliveries signed with it are genuine.
    pub(crate) state: SecretState,
    /// The secret's origin.
    pub(crate) origin: Origin,
    /// When the secret was stored.
    pub(crate) created_at: Timestamp,
    /// The time until which deliveries signed with it are genuine; null if no end is set.
    #[schema(required)]
    pub(crate) valid_until: Option<Timestamp>,
}

fn secret_row(secret: StoredSecret, now: Timestamp) -> SecretRow {
    let is_over = secret.valid_until.is_some_and(|until| until <= now);
    SecretRow {
        fingerprint: secret.fingerprint,
        // Deliveries are refused from that time on, even before the stored state changes.
        state: if secret.state == SecretState::Retiring && is_over { SecretState::Expired } else { secret.state },
        origin: secret.origin,
        created_at: secret.created_at,
        valid_until: secret.valid_until,
    }
}

/// A delivery in Finkare's own history.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DeliveryRow {
    /// The event's type.
    #[schema(required)]
    pub(crate) event_type: Option<String>,
    /// The delivery's status, as Finkare's word for it.
    #[schema(required)]
    pub(crate) status: Option<String>,
    /// The number of attempts that Finkare made.
    #[schema(required)]
    pub(crate) attempts: Option<u64>,
    /// Finkare's other fields, unchanged.
    #[schema(value_type = Object)]
    pub(crate) other: Map<String, Value>,
}

impl From<Delivery> for DeliveryRow {
    fn from(delivery: Delivery) -> Self {
        let Delivery { event_type, status, attempts, other } = delivery;
        Self { event_type, status, attempts, other }
    }
}

fn find(admin: &Admin, caller: &Caller, name: &str) -> Result<LinkedEndpoint, Problem> {
    let endpoints = admin.links.endpoints();
    let found = endpoints.iter().find(|endpoint| endpoint.name.as_str() == name && caller.scope.has(name)).cloned();
    found.ok_or_else(|| not_found("endpoint with this name"))
}

/// Lists the configured endpoints, in the order of the configuration.
#[utoipa::path(
    get,
    path = "/endpoints",
    operation_id = "list_endpoints",
    tag = "endpoints",
    responses((status = 200, description = "All endpoints", body = List<EndpointRow>))
)]
pub async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<List<EndpointRow>>, Problem> {
    let mut links = admin.store.links().await.map_err(store_problem)?;
    let mut take = |name: &EndpointName| {
        let index = links.iter().position(|link| link.endpoint == *name)?;
        Some(links.swap_remove(index))
    };
    let last = |name: &EndpointName| {
        let (_, meter) = admin.meters.iter().find(|(known, _)| known == name)?;
        meter.last()
    };
    let silences = admin.board.silences();
    let silent = |name: &EndpointName| silences.iter().find(|silence| silence.endpoint == *name);
    let show = |endpoint: &LinkedEndpoint| {
        let silence = silent(&endpoint.name).map(|silence| silence.detail.clone());
        row(endpoint, take(&endpoint.name), &admin.links.closed(&endpoint.name), last(&endpoint.name), silence)
    };
    let endpoints = admin.links.endpoints();
    let data = endpoints.iter().filter(|endpoint| caller.scope.has(endpoint.name.as_str())).map(show).collect();
    Ok(Json(List { data, next_cursor: None }))
}

/// Lists every secret that an endpoint ever had, newest first.
#[utoipa::path(
    get,
    path = "/endpoints/{name}/secrets",
    operation_id = "list_secrets",
    tag = "endpoints",
    params(("name" = EndpointName, Path, description = "The name of an endpoint")),
    responses((status = 200, description = "Its secrets", body = List<SecretRow>), (status = 404, description = "There is no endpoint with this name: `not_found`."))
)]
pub async fn secrets(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(name): Segment,
) -> Result<Json<List<SecretRow>>, Problem> {
    let endpoint = find(&admin, &caller, &name)?;
    let secrets = admin.store.secrets(&endpoint.name).await.map_err(store_problem)?;
    let now = clock::now();
    Ok(Json(List { data: secrets.into_iter().map(|secret| secret_row(secret, now)).collect(), next_cursor: None }))
}

/// The options of a rotation.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateBody {
    /// How long the previous secrets stay valid beside the new one, in seconds: at most 30 days. Less than 10 counts as 10, so
    /// that deliveries which Finkare signed just before the change are accepted. Default: the endpoint's
    /// `rotate_overlap_secs`.
    #[schema(maximum = 2_592_000)]
    overlap_secs: Option<u64>,
}

/// The answer to a rotation.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RotatedRow {
    /// Always true.
    pub(crate) rotated: bool,
    /// The fingerprint of the new secret.
    pub(crate) fingerprint: Fingerprint,
    /// The time until which the previous secrets are valid as well; null if there were none.
    #[schema(required)]
    pub(crate) previous_valid_until: Option<Timestamp>,
}

impl From<Rotated> for RotatedRow {
    fn from(Rotated { fingerprint, previous_valid_until }: Rotated) -> Self {
        Self { rotated: true, fingerprint, previous_valid_until }
    }
}

/// Gives an endpoint's webhook a new secret.
///
/// The new secret is in force when this answers 200. The rotation completes even if the client hangs up. Needs the role
/// admin.
#[utoipa::path(
    post,
    path = "/endpoints/{name}/rotate-secret",
    operation_id = "rotate_secret",
    tag = "endpoints",
    params(("name" = EndpointName, Path, description = "The name of an endpoint")),
    request_body(content = Option<RotateBody>, description = "May be left out"),
    responses(
        (status = 200, description = "The new secret is in force", body = RotatedRow),
        (status = 404, description = "There is no endpoint with this name: `not_found`."),
        (status = 409, description = "A change of this endpoint is under way: `rotation_in_flight`."),
        (status = 422, description = "The body has another shape: `bad_body`; the overlap is too long: `invalid_overlap`; the endpoint has no API key or no known webhook: `endpoint_not_linked`."),
        (status = 502, description = "Finkare refused, could not be reached or could not be understood: `finkare_refused`, `finkare_unreachable`, `finkare_unreadable`, `finkare_unusable`, with its own words in the member `finkare`."),
    )
)]
pub async fn rotate_secret(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(name): Segment,
    body: Body,
) -> Result<Json<RotatedRow>, Problem> {
    caller.needs(Role::Admin)?;
    let endpoint = find(&admin, &caller, &name)?;
    let body: RotateBody = payload(body).await?.unwrap_or_default();
    let overlap = body.overlap_secs.map_or(endpoint.rotate_overlap, Duration::from_secs);
    if overlap > MAX_OVERLAP {
        let longest = MAX_OVERLAP.as_secs();
        return Err(unprocessable("invalid_overlap", format!("`overlap_secs` must be 0 to {longest} (30 days).")));
    }
    let asked = admin.links.rotate(&endpoint.name, &caller.name, overlap).await;
    asked.map(|rotated| Json(rotated.into())).map_err(|error| link_problem(error, "invalid_overlap", Asked::ToChange))
}

/// Which secret Finkare signs with: one of the two members.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleBody {
    /// Finkare signs with this secret. It is stored encrypted and never shown.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 1024, format = "password")]
    secret: Option<Secret>,
    /// Finkare signs with the newest secret that the endpoint has.
    #[serde(default)]
    current: bool,
}

/// The answer to settling.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SettledRow {
    /// Always true.
    pub(crate) settled: bool,
    /// The fingerprint of the endpoint's newest secret, which is the one that was named.
    pub(crate) fingerprint: Fingerprint,
    /// The unfinished change that was ended; null if there was none.
    #[schema(required)]
    pub(crate) ended: Option<IntentKind>,
    /// What this means, and what to do next.
    pub(crate) next: String,
}

/// Says which secret Finkare signs with, and thereby ends an unfinished change.
///
/// For an endpoint whose secret at Finkare is not known, after a person has looked at Finkare's dashboard. Finkare is not
/// asked, and the service does not rotate because of the change that was ended. A given secret is in force when this answers
/// 200; the previous secrets stay valid until the next rotation. Needs the role admin.
#[utoipa::path(
    post,
    path = "/endpoints/{name}/settle",
    operation_id = "settle_endpoint",
    tag = "endpoints",
    params(("name" = EndpointName, Path, description = "The name of an endpoint")),
    request_body(content = SettleBody, description = "The secret, or that the newest one is right"),
    responses(
        (status = 200, description = "The secret is in force, and no change is unfinished", body = SettledRow),
        (status = 404, description = "There is no endpoint with this name: `not_found`."),
        (status = 409, description = "Finkare is being asked at this moment, so the given secret may already be out of date: `rotation_in_flight`; the endpoint has no secret to confirm: `nothing_to_settle`."),
        (status = 422, description = "The body is missing or has another shape: `bad_body`; the text cannot be a secret: `invalid_secret`."),
    )
)]
pub async fn settle(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(name): Segment,
    body: Body,
) -> Result<Json<SettledRow>, Problem> {
    caller.needs(Role::Admin)?;
    let endpoint = find(&admin, &caller, &name)?;
    let bad_body = || {
        let detail = "The body is not usable: send {\"secret\":\"whsec_…\"}, or {\"current\":true}.";
        unprocessable("bad_body", detail)
    };
    let body = match payload::<SettleBody>(body).await {
        Ok(body) => body.ok_or_else(bad_body)?,
        // The usual words would repeat a part of the body, which may be the secret.
        Err(problem) if problem.code() == "bad_body" => return Err(bad_body()),
        Err(problem) => return Err(problem),
    };
    let said = match (body.secret, body.current) {
        (Some(secret), false) => Said::Secret(secret),
        (None, true) => Said::Current,
        (None, false) | (Some(_), true) => return Err(bad_body()),
    };
    let settled = admin.links.settle(&endpoint.name, &caller.name, said).await;
    let settled = settled.map_err(|error| link_problem(error, "invalid_secret", Asked::ToRead))?;
    let next = next_after_settling(&endpoint.name, &settled);
    Ok(Json(SettledRow { settled: true, fingerprint: settled.fingerprint, ended: settled.ended, next }))
}

fn next_after_settling(name: &EndpointName, settled: &Settled) -> String {
    let ended = match settled.ended {
        None => "No change was unfinished.".to_owned(),
        Some(IntentKind::Rotate) => {
            "The unfinished rotation has ended: Finkare is not asked again because of it.".to_owned()
        }
        Some(IntentKind::Register) => format!(
            "The unfinished registration has ended. Run `finkare-relay register --endpoint {name} --url URL` once more, so \
             that the webhook's id is known; this creates no second webhook."
        ),
    };
    format!(
        "{ended} The previous secrets stay valid until the next rotation. If genuine deliveries are refused from now on, the \
         secret is not the one that Finkare signs with: look at its dashboard again."
    )
}

/// The webhook to register.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterBody {
    /// The public URL that Finkare posts to: HTTPS, with the endpoint's path.
    #[schema(format = "uri")]
    url: String,
    /// The event types that Finkare delivers. Default: `payment.received` and `invoice.status_changed`.
    #[schema(min_items = 1, max_items = 100)]
    events: Option<Vec<String>>,
    /// A note that Finkare shows beside the webhook.
    #[schema(max_length = 500)]
    description: Option<String>,
}

/// The answer to a registration.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RegisteredRow {
    /// Always true.
    pub(crate) registered: bool,
    /// True if the webhook was created; false if it existed already and was adopted.
    pub(crate) created: bool,
    /// The webhook's id at Finkare.
    pub(crate) webhook_id: String,
    /// The URL that Finkare posts to.
    pub(crate) url: String,
    /// The fingerprint of the endpoint's newest secret; null if the webhook's secret is not known, until a rotation.
    #[schema(required)]
    pub(crate) fingerprint: Option<Fingerprint>,
    /// What a person should look at.
    pub(crate) notes: Vec<String>,
}

impl From<Registered> for RegisteredRow {
    fn from(registered: Registered) -> Self {
        let Registered { webhook_id, url, created, fingerprint, notes } = registered;
        Self { registered: true, created, webhook_id, url, fingerprint, notes }
    }
}

/// Creates an endpoint's webhook at Finkare, or adopts the one that has this URL.
///
/// Needs the role admin.
#[utoipa::path(
    post,
    path = "/endpoints/{name}/register",
    operation_id = "register_endpoint",
    tag = "endpoints",
    params(("name" = EndpointName, Path, description = "The name of an endpoint")),
    request_body(content = RegisterBody),
    responses(
        (status = 200, description = "The webhook exists and is registered for this endpoint", body = RegisteredRow),
        (status = 404, description = "There is no endpoint with this name: `not_found`."),
        (status = 409, description = "A change of this endpoint is under way: `rotation_in_flight`."),
        (status = 422, description = "The body is missing or has another shape: `bad_body`; Finkare cannot post to the URL: `invalid_url`; the endpoint has no API key or no known webhook: `endpoint_not_linked`."),
        (status = 502, description = "Finkare refused, could not be reached or could not be understood: `finkare_refused`, `finkare_unreachable`, `finkare_unreadable`, `finkare_unusable`, with its own words in the member `finkare`."),
    )
)]
pub async fn register(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(name): Segment,
    body: Body,
) -> Result<Json<RegisteredRow>, Problem> {
    caller.needs(Role::Admin)?;
    let endpoint = find(&admin, &caller, &name)?;
    let body: RegisterBody = payload(body)
        .await?
        .ok_or_else(|| unprocessable("bad_body", "The body is missing: send {\"url\":\"https://…\"}."))?;
    let events = body.events.unwrap_or_else(default_events);
    if let Err(what) = check_registration(&events, body.description.as_deref()) {
        return Err(unprocessable("bad_body", what));
    }
    let registration = Registration { url: body.url, events, description: body.description };
    let registered = admin.links.register(&endpoint.name, &caller.name, registration).await;
    registered
        .map(|registered| Json(registered.into()))
        .map_err(|error| link_problem(error, "invalid_url", Asked::ToChange))
}

/// The event types of a registration that names none: those that sinks take by default.
pub fn default_events() -> Vec<String> {
    Selection::DEFAULT.map(str::to_owned).to_vec()
}

/// Checks the bounds of a registration's body.
///
/// # Errors
/// A sentence on what is wrong.
pub fn check_registration(events: &[String], description: Option<&str>) -> Result<(), String> {
    if events.is_empty() || events.len() > MAX_EVENTS {
        return Err(format!("`events` must name 1 to {MAX_EVENTS} event types."));
    }
    let is_plain = |text: &str| text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
    if let Some(index) = events.iter().position(|event| event.is_empty() || !is_plain(event)) {
        return Err(format!("`events[{index}]` must be a text of 1 to {MAX_TEXT} bytes, on one line."));
    }
    if description.is_some_and(|description| !is_plain(description)) {
        return Err(format!("`description` must be a text of at most {MAX_TEXT} bytes, on one line."));
    }
    Ok(())
}

/// Lists Finkare's own history of an endpoint's deliveries.
#[utoipa::path(
    get,
    path = "/endpoints/{name}/deliveries",
    operation_id = "list_deliveries",
    tag = "endpoints",
    params(("name" = EndpointName, Path, description = "The name of an endpoint")),
    responses(
        (status = 200, description = "The history, as Finkare reports it", body = List<DeliveryRow>),
        (status = 404, description = "There is no endpoint with this name: `not_found`."),
        (status = 422, description = "The endpoint has no API key or no known webhook: `endpoint_not_linked`."),
        (status = 502, description = "Finkare refused, could not be reached or could not be understood: `finkare_refused`, `finkare_unreachable`, `finkare_unreadable`, `finkare_unusable`, with its own words in the member `finkare`."),
    )
)]
pub async fn deliveries(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(name): Segment,
) -> Result<Json<List<DeliveryRow>>, Problem> {
    let endpoint = find(&admin, &caller, &name)?;
    let deliveries = admin.links.deliveries(&endpoint.name).await;
    let deliveries = deliveries.map_err(|error| link_problem(error, "bad_parameter", Asked::ToRead))?;
    Ok(Json(List { data: deliveries.into_iter().map(DeliveryRow::from).collect(), next_cursor: None }))
}

fn unprocessable(code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
}

/// What Finkare was asked for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// For a change: the answer says whether it was made.
    ToChange,
    ToRead,
}

/// The problem document for an error of the link; `invalid` is the code for a parameter that is not valid.
fn link_problem(error: LinkError, invalid: &'static str, asked: Asked) -> Problem {
    match error {
        LinkError::NoSuchEndpoint(_) => not_found("endpoint with this name"),
        LinkError::NotLinked(what) => unprocessable("endpoint_not_linked", sentence(what)),
        LinkError::Invalid(what) => unprocessable(invalid, sentence(what)),
        LinkError::InFlight { endpoint, since, actor } => Problem::new(
            StatusCode::CONFLICT,
            "rotation_in_flight",
            format!(
                "A change of the endpoint {endpoint} has been in progress since {since}, requested by `{actor}`. Try again when it has ended."
            ),
        ),
        LinkError::Refused(error) => {
            let outcome = match asked {
                Asked::ToChange => "Nothing was changed at Finkare, and the previous secrets stay in force.",
                Asked::ToRead => "",
            };
            finkare_problem(&error, outcome)
        }
        LinkError::Uncertain(error) => {
            let outcome = match asked {
                Asked::ToChange => {
                    "It is not known whether Finkare made the change. The previous secrets stay in force, and the service asks again by itself."
                }
                Asked::ToRead => "",
            };
            finkare_problem(&error, outcome)
        }
        LinkError::NeedsAPerson { endpoint, source } => finkare_problem(
            &source,
            &format!(
                "It is not known whether Finkare made the change, and the service does not ask again by itself. The previous secrets \
                 stay in force. {}.",
                what_a_person_does(&endpoint)
            ),
        ),
        LinkError::UpdateUnknown(error) => finkare_problem(
            &error,
            "It is not known whether Finkare added the event types; nothing else was changed. Run the registration again.",
        ),
        LinkError::NothingToSettle(what) => Problem::new(StatusCode::CONFLICT, "nothing_to_settle", sentence(what)),
        LinkError::Store(error) => store_problem(error),
        LinkError::Secrets(_) => Problem::unavailable(
            "secrets_unreadable",
            "The stored secrets could not be read again, so Finkare was not asked, and nothing was changed. The log says why.",
        ),
        LinkError::Stopping => Problem::unavailable(
            "stopping",
            "The service is stopping; an unfinished change continues after the next start.",
        ),
    }
}

/// 502, with Finkare's own words.
fn finkare_problem(error: &finkare::Error, outcome: &str) -> Problem {
    let (code, told) = match error {
        finkare::Error::Unusable { .. } => {
            ("finkare_unusable", json!({"status": null, "code": null, "message": null, "request_id": null}))
        }
        finkare::Error::Api { status, code, message, request_id, .. } => {
            ("finkare_refused", json!({"status": status, "code": code, "message": message, "request_id": request_id}))
        }
        finkare::Error::Network { .. } => {
            ("finkare_unreachable", json!({"status": null, "code": null, "message": null, "request_id": null}))
        }
        finkare::Error::Unreadable { status, request_id, .. } => {
            ("finkare_unreadable", json!({"status": status, "code": null, "message": null, "request_id": request_id}))
        }
    };
    let detail = format!("{} {outcome}", sentence(Chain(error).to_string()));
    Problem::new(StatusCode::BAD_GATEWAY, code, detail.trim_end()).with("finkare", told)
}

/// Adds a full stop, since another sentence may follow.
fn sentence(mut text: String) -> String {
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        intent::{IntentId, Webhook},
        stored_secret::SecretId,
    };

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn secret(state: SecretState, valid_until: Option<&str>) -> StoredSecret {
        StoredSecret {
            id: SecretId(uuid::Uuid::nil()),
            endpoint: EndpointName::new("e").unwrap(),
            fingerprint: Fingerprint::from_stored("00112233445566aa".into()),
            origin: Origin::Rotated,
            state,
            created_at: time("2026-03-01T00:00:00Z"),
            valid_until: valid_until.map(time),
            key_id: "key".into(),
            sealed: Some(b"sealed".to_vec()),
        }
    }

    fn endpoint() -> LinkedEndpoint {
        LinkedEndpoint {
            name: EndpointName::new("e").unwrap(),
            path: "/e".into(),
            webhook_id: None,
            client: None,
            is_sandbox: true,
            rotate_every: Some(Duration::from_hours(24 * 90)),
            rotate_overlap: Duration::ZERO,
        }
    }

    #[test]
    fn an_endpoint_shows_how_its_link_stands() {
        let link = Link {
            endpoint: EndpointName::new("e").unwrap(),
            webhook: Some(Webhook {
                id: "w-1".into(),
                url: "https://relay.example/e".into(),
                registered_at: time("2026-01-01T00:00:00Z"),
            }),
            secrets: vec![
                secret(SecretState::Active, None),
                secret(SecretState::Retiring, Some("2026-03-02T00:00:00Z")),
            ],
            intent: Some(Intent {
                id: IntentId(uuid::Uuid::nil()),
                endpoint: EndpointName::new("e").unwrap(),
                kind: IntentKind::Rotate,
                state: IntentState::Unknown,
                actor: "ops".into(),
                webhook_id: None,
                url: None,
                events: vec![],
                overlap: Duration::ZERO,
                begun_at: time("2026-03-01T00:00:00Z"),
                tries: 3,
                unreadable: 3,
                given_meanwhile: false,
                asked_by: None,
            }),
        };
        let problem = "webhook secret 1 of 1 is empty: copy it again from Finkare, or remove it: check the endpoint's \
                       `secret_encoding`";
        let closed = |is_replaced| Closed {
            fingerprint: Fingerprint::from_stored("00112233445566aa".into()),
            problem: problem.into(),
            is_replaced,
        };
        let rows = [
            row(&endpoint(), Some(link), &[closed(false), closed(true)], Some(Timestamp::UNIX_EPOCH), None),
            row(&endpoint(), None, &[], None, None),
        ];
        insta::assert_json_snapshot!(rows);
        let written = serde_json::to_string(&rows).unwrap();
        let read: [EndpointRow; 2] = serde_json::from_str(&written).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), written, "read back");
        let unusable = written.replace(r#""name":"e""#, r#""name":"no name""#);
        assert!(serde_json::from_str::<[EndpointRow; 2]>(&unusable).is_err());
        let configured = LinkedEndpoint { webhook_id: Some("configured".into()), ..endpoint() };
        assert_eq!(row(&configured, None, &[], None, None).webhook_id.as_deref(), Some("configured"));
    }

    #[test]
    fn a_secret_whose_time_is_over_reads_as_expired() {
        let now = time("2026-03-02T00:00:00Z");
        for (state, until, expected) in [
            (SecretState::Active, None, SecretState::Active),
            (SecretState::Retiring, Some("2026-03-02T00:00:01Z"), SecretState::Retiring),
            (SecretState::Retiring, Some("2026-03-02T00:00:00Z"), SecretState::Expired),
            (SecretState::Expired, Some("2026-03-01T00:00:00Z"), SecretState::Expired),
        ] {
            assert_eq!(secret_row(secret(state, until), now).state, expected, "{state:?} {until:?}");
        }
        let shown = serde_json::to_value(secret_row(secret(SecretState::Active, None), now)).unwrap();
        insta::assert_json_snapshot!(shown);
    }

    fn refused(status: u16) -> finkare::Error {
        finkare::Error::Api {
            call: "rotating the secret of webhook w-1".into(),
            status,
            code: Some("AUTH_003".into()),
            message: "Missing scope".into(),
            request_id: Some("req_1".into()),
            retry_after: None,
        }
    }

    #[tokio::test]
    async fn every_no_has_its_status_and_code() {
        let unreadable = || finkare::Error::Unreadable {
            call: "x".into(),
            status: 200,
            problem: "no `secret` in it".into(),
            request_id: None,
        };
        let name = EndpointName::new("e").unwrap();
        let since = time("2026-03-01T00:00:00Z");
        let mut shown = Vec::new();
        let no_key = "endpoint e has no API key, so Finkare cannot be asked: set its `api_key` (FINKARE_API_KEY for the endpoint \
                      `default`) to a key with the scope `webhooks:manage`";
        let no_secret =
            "endpoint e has no secret that could be confirmed: enter the secret that Finkare's dashboard shows";
        for error in [
            LinkError::NoSuchEndpoint("x".into()),
            LinkError::NotLinked(no_key.into()),
            LinkError::Invalid("no event types are named: write, for example, `payment.received`".into()),
            LinkError::InFlight { endpoint: name.clone(), since, actor: "schedule".into() },
            LinkError::Refused(refused(403)),
            LinkError::Uncertain(refused(503)),
            LinkError::Uncertain(unreadable()),
            LinkError::NeedsAPerson { endpoint: name.clone(), source: Box::new(unreadable()) },
            LinkError::UpdateUnknown(refused(408)),
            LinkError::NothingToSettle(no_secret.into()),
            LinkError::Stopping,
        ] {
            shown.push(link_problem(error, "invalid_url", Asked::ToChange));
        }
        shown.push(link_problem(LinkError::Refused(refused(403)), "x", Asked::ToRead));
        let shown: Vec<_> = shown.iter().map(|problem| problem.members(uuid::Uuid::nil())).collect();
        insta::assert_json_snapshot!(shown);
    }

    #[test]
    fn a_registration_keeps_to_its_bounds() {
        let events = |text: &str| vec![text.to_owned()];
        assert_eq!(check_registration(&default_events(), Some("production")), Ok(()));
        for (events, description) in [
            (vec![], None),
            (vec!["x".to_owned(); MAX_EVENTS + 1], None),
            (events(""), None),
            (events(&"x".repeat(MAX_TEXT + 1)), None),
            (events("a\nb"), None),
            (events("a"), Some("x".repeat(MAX_TEXT + 1))),
            (events("a"), Some("a\u{7}".to_owned())),
        ] {
            assert!(check_registration(&events, description.as_deref()).is_err(), "{events:?} {description:?}");
        }
    }
}
