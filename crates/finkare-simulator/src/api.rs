//! The API below `/api/v1`, as far as it is documented, and the most likely reading of the rest.
//!
//! The documentation covers the envelope, `X-API-Key`, the list and the creation of webhooks, everything about
//! payments, the operations on invoices, debtors, workflows and API keys without their paths, and the error code `RES_001`
//! for an unknown resource. The rest is our own choice: all other codes
//! (`AUTH_001` for an invalid key, `VAL_001` for an invalid value, `REQ_001` for a method that a path does not
//! accept, `RATE_001` for too many calls, `SRV_001` for a fault), the statuses that go with them, the order of lists
//! (newest first), and that a single webhook is spelled as in the answer to its creation.

mod debtors;
mod invoices;
mod keys;
mod workflow;

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State as Extract},
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::{
    API_PATH, Error, PAYMENT_STATUSES, World, deliveries as posting, now,
    secret::Secret,
    settings::{ErrorBody, RevokeMethod, Spelling, UpdateMethod, Variants, spend},
    state::{Delivery, InvoiceId, Payment, PaymentId, Webhook, WebhookId, check_webhook, written},
};

/// The largest body of a call.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The largest body of an import, as a third party's client says.
const MAX_IMPORT_BYTES: usize = 10 * 1024 * 1024;
/// The header that names a write.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// How long a call's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The outcome of a call.
#[derive(Clone)]
pub(crate) enum Answer {
    /// `success: true`.
    Done { status: StatusCode, data: Value, message: Option<&'static str>, pagination: Option<Value> },
    /// `success: false`.
    Refused(Refusal),
    /// No answer; the connection is cut.
    Cut,
    /// 200, and a body that is not the envelope.
    Garbled,
}

impl Answer {
    fn data(data: Value) -> Self {
        Self::Done { status: StatusCode::OK, data, message: None, pagination: None }
    }
}

/// An error's content.
#[derive(Clone)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after_secs: Option<u32>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after_secs: None }
    }

    fn too_many(retry_after_secs: Option<u32>) -> Self {
        Self { retry_after_secs, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_001", "Too many requests") }
    }

    fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "RES_001", "Resource not found")
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "VAL_001", message)
    }

    fn failing(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, "SRV_001", "A simulated fault")
    }
}

/// The resource that a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Webhooks,
    Webhook(String),
    Rotation(String),
    Deliveries(String),
    Invoices,
    Import,
    Cancellation(String),
    Invoice(String),
    Debtors,
    Debtor(String),
    Workflow(String),
    Trigger(String),
    ApiKeys,
    KeyRotation(String),
    Revocation(String),
    Payments,
    Payment(String),
    PaymentsOfInvoice(String),
}

/// The resource that a path names for a method; otherwise the methods that the path takes, which are none if there is no
/// such path.
fn target(variants: &Variants, method: &Method, path: &str) -> Result<Target, Vec<&'static str>> {
    type Make = fn(String) -> Target;
    let one: &[&str] = match variants.update_method {
        UpdateMethod::Both => &["GET", "PUT", "PATCH", "DELETE"],
        UpdateMethod::Put => &["GET", "PUT", "DELETE"],
        UpdateMethod::Patch => &["GET", "PATCH", "DELETE"],
    };
    let invoice: &[&str] = match variants.update_method {
        UpdateMethod::Both => &["GET", "PUT", "PATCH"],
        UpdateMethod::Put => &["GET", "PUT"],
        UpdateMethod::Patch => &["GET", "PATCH"],
    };
    let revoke: &[&str] = match variants.revoke_method {
        RevokeMethod::Delete => &["DELETE"],
        RevokeMethod::Post => &["POST"],
    };
    let table: [(&str, &[&str], Make); 18] = [
        ("/webhooks", &["GET", "POST"], |_| Target::Webhooks),
        (&variants.rotate_path, &["POST"], Target::Rotation),
        (&variants.deliveries_path, &["GET"], Target::Deliveries),
        (&variants.webhook_path, one, Target::Webhook),
        (&variants.invoices_path, &["GET", "POST"], |_| Target::Invoices),
        (&variants.import_path, &["POST"], |_| Target::Import),
        (&variants.cancel_path, &["POST"], Target::Cancellation),
        (&variants.invoice_path, invoice, Target::Invoice),
        (&variants.debtors_path, &["GET"], |_| Target::Debtors),
        (&variants.debtor_path, &["GET"], Target::Debtor),
        (&variants.workflow_path, &["GET"], Target::Workflow),
        (&variants.trigger_path, &["POST"], Target::Trigger),
        (&variants.api_keys_path, &["GET", "POST"], |_| Target::ApiKeys),
        (&variants.rotate_key_path, &["POST"], Target::KeyRotation),
        (&variants.revoke_key_path, revoke, Target::Revocation),
        ("/payments", &["GET"], |_| Target::Payments),
        ("/payments/invoice/{id}", &["GET"], Target::PaymentsOfInvoice),
        ("/payments/{id}", &["GET"], Target::Payment),
    ];
    let mut allowed = Vec::new();
    for (template, methods, make) in table {
        if let Some(id) = id_in(template, path) {
            if methods.contains(&method.as_str()) {
                return Ok(make(id));
            }
            allowed.extend_from_slice(methods);
        }
    }
    Err(allowed)
}

/// The segment at `{id}` if the path fits the template; empty for a template without `{id}`.
fn id_in(template: &str, path: &str) -> Option<String> {
    let (mut wanted, mut found) = (template.split('/'), path.split('/'));
    let mut id = String::new();
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return Some(id),
            (Some("{id}"), Some(segment)) if !segment.is_empty() => segment.clone_into(&mut id),
            (Some(wanted), Some(found)) if wanted == found && wanted != "{id}" => {}
            _ => return None,
        }
    }
}

/// Answers a call.
pub(crate) async fn call(Extract(world): Extract<Arc<World>>, request: Request) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let answer = match toll(&world) {
        Some(answer) => answer,
        None => answered(&world, request).await.unwrap_or_else(Answer::Refused),
    };
    let response = written_answer(&world, answer);
    tracing::debug!(%method, path = uri.path(), status = response.status().as_u16(), "API call");
    response
}

/// The fault that applies to this call, if any.
fn toll(world: &World) -> Option<Answer> {
    let mut state = world.lock();
    state.counters.api_calls += 1;
    let faults = &mut state.faults;
    let answer = if spend(&mut faults.cut_connections) {
        Answer::Cut
    } else if spend(&mut faults.api_errors) {
        Answer::Refused(Refusal::failing(faults.api_error_status))
    } else if spend(&mut faults.too_many_requests) {
        Answer::Refused(Refusal::too_many(faults.retry_after_secs))
    } else {
        return None;
    };
    state.counters.api_faults += 1;
    Some(answer)
}

async fn answered(world: &Arc<World>, request: Request) -> Result<Answer, Refusal> {
    if !authorized(world, request.headers()) {
        world.lock().counters.unauthorized += 1;
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "AUTH_001", "X-API-Key is missing or not valid"));
    }
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().strip_prefix(API_PATH).unwrap_or_default().to_owned();
    let found = target(&world.lock().variants, &parts.method, &path);
    let target = match found {
        Ok(target) => target,
        Err(allowed) if allowed.is_empty() => return Err(Refusal::not_found()),
        Err(allowed) => {
            let message = format!("This path takes {}", allowed.join(", "));
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "REQ_001", message));
        }
    };
    let most = if target == Target::Import { MAX_IMPORT_BYTES } else { MAX_BODY_BYTES };
    let body = match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, most)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "REQ_001", "The body is too large")),
        Err(_) => return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "REQ_001", "The body did not come")),
    };
    let named = named(world, &parts.method, &path, &parts.headers);
    if let Some((key, call)) = &named
        && let Some(answer) = world.lock().company.answer_to(key, call)
    {
        return Ok(answer.clone());
    }
    let makes_invoices = parts.method == Method::POST && matches!(target, Target::Invoices | Target::Import);
    let answer = carried_out(world, target, &parts.method, &parts.uri, &body).await?;
    let mut state = world.lock();
    if let (Some((key, call)), Answer::Done { .. }) = (named, &answer) {
        state.company.remember(key, call, answer.clone());
    }
    if makes_invoices && spend(&mut state.faults.lost_invoices) {
        return Ok(Answer::Cut);
    }
    Ok(answer)
}

/// The key of a write, and the call that it names; `None` where keys mean nothing.
fn named(world: &World, method: &Method, path: &str, headers: &HeaderMap) -> Option<(String, String)> {
    if *method == Method::GET || !world.lock().variants.idempotency {
        return None;
    }
    let key = headers.get(IDEMPOTENCY_KEY)?.to_str().ok()?;
    Some((key.to_owned(), format!("{method} {path}")))
}

async fn carried_out(
    world: &Arc<World>,
    target: Target,
    method: &Method,
    uri: &Uri,
    body: &[u8],
) -> Result<Answer, Refusal> {
    let is_post = *method == Method::POST;
    match target {
        Target::Webhooks if is_post => create_webhook(world, body),
        Target::Webhooks => Ok(webhooks(world)),
        Target::Webhook(id) => webhook(world, method, &id, body),
        Target::Rotation(id) => rotate(world, &id).await,
        Target::Deliveries(id) => deliveries(world, &id),
        Target::Invoices if is_post => invoices::create(world, body),
        Target::Invoices => invoices::list(world, uri),
        Target::Import => invoices::import(world, body),
        Target::Cancellation(id) => invoices::cancel(world, &id, body),
        Target::Invoice(id) => invoices::one(world, method, &id, body),
        Target::Debtors => debtors::list(world, uri),
        Target::Debtor(id) => debtors::one(world, &id),
        Target::Workflow(id) => workflow::status(world, &id),
        Target::Trigger(id) => workflow::trigger(world, &id, body),
        Target::ApiKeys if is_post => keys::create(world, body),
        Target::ApiKeys => Ok(keys::list(world)),
        Target::KeyRotation(id) => keys::rotate(world, &id),
        Target::Revocation(id) => keys::revoke(world, &id),
        Target::Payments => payments(world, uri),
        Target::Payment(id) => payment(world, &id),
        Target::PaymentsOfInvoice(id) => payments_of_invoice(world, &id),
    }
}

/// Whether the key is any `fk_live_…` or `fk_test_…`, or one of the given keys, or was created here, and was not revoked.
/// Compared in constant time.
fn authorized(world: &World, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all("x-api-key").iter();
    let (Some(key), None) = (values.next(), values.next()) else { return false };
    // Both have the same length, for any key that was sent.
    let claimed = Sha256::digest(key.as_bytes());
    let fits = |key: &Secret| Sha256::digest(key.expose().as_bytes()).ct_eq(&claimed);
    let is_one_of = |found: Choice, key: &Secret| found | fits(key);
    let state = world.lock();
    if state.company.revoked.iter().fold(Choice::from(0), is_one_of).into() {
        return false;
    }
    if world.options.api_keys.is_empty() {
        let name = |prefix: &[u8]| key.as_bytes().strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
        return name(b"fk_live_") || name(b"fk_test_");
    }
    let given = world.options.api_keys.iter().fold(Choice::from(0), is_one_of);
    state.company.keys.iter().map(|key| &key.key).fold(given, is_one_of).into()
}

// --- webhooks

#[derive(Deserialize)]
struct NewWebhook {
    url: String,
    events: Vec<String>,
    description: Option<String>,
    #[serde(default = "yes")]
    enabled: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Update {
    url: Option<String>,
    events: Option<Vec<String>>,
    description: Option<String>,
    enabled: Option<bool>,
}

fn create_webhook(world: &Arc<World>, body: &[u8]) -> Result<Answer, Refusal> {
    let new: NewWebhook = read(body)?;
    let mut state = world.lock();
    let created = state.create_webhook(new.url, new.events, new.description, new.enabled, now());
    let (webhook, secret, ping) = created.map_err(refusal)?;
    let lost = spend(&mut state.faults.lost_creates);
    drop(state);
    posting::start(world, ping);
    if lost {
        return Ok(Answer::Cut);
    }
    Ok(Answer::Done {
        status: StatusCode::CREATED,
        data: json!({
            "id": webhook.id, "url": webhook.url, "events": webhook.events, "enabled": webhook.enabled,
            "secret": secret.expose(), "createdAt": written(webhook.created_at),
        }),
        message: Some("Webhook created. Keep the secret: it is not shown again."),
        pagination: None,
    })
}

fn webhooks(world: &World) -> Answer {
    let state = world.lock();
    let spelling = state.variants.list_fields;
    Answer::data(state.hooks().iter().map(|hook| shown_webhook(&hook.webhook, spelling)).collect())
}

fn shown_webhook(webhook: &Webhook, spelling: Spelling) -> Value {
    let mut shown = json!({
        "id": webhook.id, "url": webhook.url, "events": webhook.events, "description": webhook.description,
        "enabled": webhook.enabled,
    });
    let (created, triggered) = match spelling {
        Spelling::Snake => ("created_at", "last_triggered_at"),
        Spelling::Camel => ("createdAt", "lastTriggeredAt"),
    };
    shown[created] = json!(written(webhook.created_at));
    shown[triggered] = json!(webhook.last_triggered_at.map(written));
    shown
}

fn webhook(world: &World, method: &Method, id: &str, body: &[u8]) -> Result<Answer, Refusal> {
    let id: WebhookId = id.parse().map_err(|_| Refusal::not_found())?;
    let mut state = world.lock();
    match *method {
        Method::DELETE => {
            if !state.delete_webhook(id) {
                return Err(Refusal::not_found());
            }
            let message = Some("Webhook deleted");
            Ok(Answer::Done { status: StatusCode::OK, data: json!({"id": id}), message, pagination: None })
        }
        Method::PUT | Method::PATCH => {
            let webhook = &mut state.hook_mut(id).ok_or_else(Refusal::not_found)?.webhook;
            let update: Update = read(body)?;
            let url = update.url.unwrap_or_else(|| webhook.url.clone());
            let events = update.events.unwrap_or_else(|| webhook.events.clone());
            check_webhook(&url, &events).map_err(refusal)?;
            (webhook.url, webhook.events) = (url, events);
            webhook.enabled = update.enabled.unwrap_or(webhook.enabled);
            webhook.description = update.description.or_else(|| webhook.description.take());
            Ok(Answer::data(shown_webhook(webhook, Spelling::Camel)))
        }
        _ => {
            let hook = state.hook(id).ok_or_else(Refusal::not_found)?;
            Ok(Answer::data(shown_webhook(&hook.webhook, Spelling::Camel)))
        }
    }
}

/// Rotates a secret, even if the caller hangs up in the meantime: Finkare finishes what it has begun.
async fn rotate(world: &Arc<World>, id: &str) -> Result<Answer, Refusal> {
    let id: WebhookId = id.parse().map_err(|_| Refusal::not_found())?;
    let rotation = {
        let world = world.clone();
        async move {
            let (before, after) = {
                let state = world.lock();
                state.hook(id).ok_or_else(Refusal::not_found)?;
                (state.faults.rotation_delay_ms, state.faults.rotation_answer_delay_ms)
            };
            world.pause(Duration::from_millis(before)).await;
            let (answer, id) = {
                let mut state = world.lock();
                let secret = state.rotate(id, now()).ok_or_else(Refusal::not_found)?;
                let faults = &mut state.faults;
                let answer = if spend(&mut faults.lost_rotations) {
                    Answer::Cut
                } else if spend(&mut faults.failing_rotations) {
                    Answer::Refused(Refusal::failing(faults.api_error_status))
                } else if spend(&mut faults.garbled_rotations) {
                    Answer::Garbled
                } else {
                    Answer::data(json!({"secret": secret.expose()}))
                };
                (answer, id)
            };
            tracing::info!(webhook.id = %id, "the secret is changed");
            world.pause(Duration::from_millis(after)).await;
            Ok(answer)
        }
    };
    world.tracker.spawn(rotation).await.unwrap_or_else(|_| Err(Refusal::failing(500)))
}

fn deliveries(world: &World, id: &str) -> Result<Answer, Refusal> {
    let id: WebhookId = id.parse().map_err(|_| Refusal::not_found())?;
    let state = world.lock();
    state.hook(id).ok_or_else(Refusal::not_found)?;
    Ok(Answer::data(state.history(id).rev().map(shown_delivery).collect()))
}

/// Documented are `eventType`, `status` and `attempts`.
fn shown_delivery(delivery: &Delivery) -> Value {
    json!({
        "id": delivery.id, "eventType": delivery.event_type, "status": delivery.status, "attempts": delivery.attempts,
        "responseStatus": delivery.last_answer, "createdAt": written(delivery.created_at),
    })
}

// --- payments

fn shown_payment(payment: &Payment, now: Timestamp) -> Value {
    json!({
        "id": payment.id, "invoiceId": payment.invoice, "amountCents": payment.amount_cents, "currency": "EUR",
        "status": payment.status(now), "method": payment.method, "paidAt": written(payment.paid_at),
    })
}

fn payment(world: &World, id: &str) -> Result<Answer, Refusal> {
    let id: PaymentId = id.parse().map_err(|_| Refusal::not_found())?;
    let (state, now) = (world.lock(), now());
    let found = state.payments(now).find(|payment| payment.id == id);
    found.map(|payment| Answer::data(shown_payment(payment, now))).ok_or_else(Refusal::not_found)
}

fn payments_of_invoice(world: &World, id: &str) -> Result<Answer, Refusal> {
    let id: InvoiceId = id.parse().map_err(|_| Refusal::not_found())?;
    let (state, now) = (world.lock(), now());
    state.invoice(id).ok_or_else(Refusal::not_found)?;
    let found = state.payments(now).rev().filter(|payment| payment.invoice == id);
    Ok(Answer::data(found.map(|payment| shown_payment(payment, now)).collect()))
}

fn payments(world: &World, uri: &Uri) -> Result<Answer, Refusal> {
    let query = query(uri)?;
    let page = Page::of(&query)?;
    let status = query.get("status").map(String::as_str);
    if status.is_some_and(|status| !PAYMENT_STATUSES.contains(&status)) {
        return Err(Refusal::invalid(format!("`status` must be one of {}", PAYMENT_STATUSES.join(", "))));
    }
    let invoice = query.get("invoiceId").map(|id| id.parse::<InvoiceId>());
    let invoice = invoice.transpose().map_err(|_| Refusal::invalid("`invoiceId` must be a UUID"))?;
    let from = query.get("fromDate").map(|text| time("fromDate", text, false)).transpose()?;
    let to = query.get("toDate").map(|text| time("toDate", text, true)).transpose()?;
    let (state, now) = (world.lock(), now());
    let found = state.payments(now).rev().filter(|payment| {
        status.is_none_or(|status| status == payment.status(now))
            && invoice.is_none_or(|invoice| invoice == payment.invoice)
            && from.is_none_or(|from| from <= payment.paid_at)
            && to.is_none_or(|to| payment.paid_at <= to)
    });
    Ok(page.answer(found.map(|payment| shown_payment(payment, now))))
}

/// A date or a time. A day as an end lasts until its last millisecond; it is unknown whether Finkare's does.
fn time(name: &str, text: &str, end: bool) -> Result<Timestamp, Refusal> {
    let day = |day: Date| -> Option<Timestamp> {
        if !end {
            return Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp());
        }
        let next = day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        next.checked_sub(SignedDuration::from_millis(1)).ok()
    };
    let read = text.parse::<Timestamp>().ok().or_else(|| day(text.parse().ok()?));
    read.ok_or_else(|| Refusal::invalid(format!("`{name}` must be a date or a time by ISO 8601")))
}

/// `page` (from 1, default 1) and `limit` (default 20, at most 100).
struct Page {
    page: usize,
    limit: usize,
}

impl Page {
    fn of(query: &HashMap<String, String>) -> Result<Self, Refusal> {
        let number = |name: &str, default: usize, most: usize| match query.get(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|number| (1..=most).contains(number))
                .ok_or_else(|| Refusal::invalid(format!("`{name}` must be a number from 1 to {most}"))),
        };
        Ok(Self { page: number("page", 1, 1_000_000)?, limit: number("limit", 20, 100)? })
    }

    fn answer(&self, found: impl Iterator<Item = Value>) -> Answer {
        let (mut total, first) = (0, (self.page - 1) * self.limit);
        let mut data = Vec::new();
        for (at, item) in found.enumerate() {
            total += 1;
            if (first..first + self.limit).contains(&at) {
                data.push(item);
            }
        }
        let pagination = Some(json!({"page": self.page, "limit": self.limit, "total": total}));
        Answer::Done { status: StatusCode::OK, data: Value::Array(data), message: None, pagination }
    }
}

// --- reading and writing

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::invalid(format!("The body cannot be read: {error}")))
}

fn query(uri: &Uri) -> Result<HashMap<String, String>, Refusal> {
    axum::extract::Query::try_from_uri(uri)
        .map(|axum::extract::Query(query)| query)
        .map_err(|_| Refusal::invalid("The query cannot be read"))
}

fn refusal(error: Error) -> Refusal {
    match error {
        Error::NoSuchInvoice(_) => Refusal::not_found(),
        error => Refusal::invalid(error.to_string()),
    }
}

fn written_answer(world: &World, answer: Answer) -> Response {
    let (request_id, shape) = {
        let mut state = world.lock();
        (state.request_id(), state.variants.error_body)
    };
    let timestamp = written(now());
    let mut retry_after = None;
    let (status, body) = match answer {
        Answer::Cut => return cut(),
        Answer::Garbled => (StatusCode::OK, "{\"success\":true,\"data\":{\"sec".to_owned()),
        Answer::Done { status, data, message, pagination } => {
            let mut body = json!({"success": true, "data": data});
            if let Some(message) = message {
                body["message"] = json!(message);
            }
            if let Some(pagination) = pagination {
                body["pagination"] = pagination;
            }
            body["requestId"] = json!(request_id);
            body["timestamp"] = json!(timestamp);
            (status, body.to_string())
        }
        Answer::Refused(Refusal { status, code, message, retry_after_secs }) => {
            retry_after = retry_after_secs;
            let body = match shape {
                ErrorBody::Nested => json!({
                    "success": false, "error": {"code": code, "message": message}, "requestId": request_id,
                    "timestamp": timestamp,
                })
                .to_string(),
                ErrorBody::Flat => json!({
                    "success": false, "code": code, "message": message, "requestId": request_id,
                    "timestamp": timestamp,
                })
                .to_string(),
                ErrorBody::Text => format!("{code}: {message}"),
            };
            (status, body)
        }
    };
    let text = !status.is_success() && shape == ErrorBody::Text;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let content_type = if text { "text/plain; charset=utf-8" } else { "application/json" };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// A body that fails before its first byte: hyper then drops the connection with nothing sent, the head included.
fn cut() -> Response {
    let failing = futures_util::stream::once(async {
        Err::<bytes::Bytes, _>(std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "a simulated cut"))
    });
    Response::new(Body::from_stream(failing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_by_their_templates() {
        let variants = Variants::default();
        let find = |method: Method, path: &str| target(&variants, &method, path);
        assert_eq!(find(Method::POST, "/webhooks"), Ok(Target::Webhooks));
        assert_eq!(find(Method::POST, "/webhooks/a/rotate-secret"), Ok(Target::Rotation("a".into())));
        assert_eq!(find(Method::GET, "/payments/invoice/a"), Ok(Target::PaymentsOfInvoice("a".into())));
        assert_eq!(find(Method::GET, "/payments/a"), Ok(Target::Payment("a".into())));
        assert_eq!(find(Method::POST, "/payments/a"), Err(vec!["GET"]));
        for nowhere in ["", "/", "/webhooks/", "/webhooks/a/b", "/{id}", "/webhooks/a/rotate-secret/"] {
            assert_eq!(find(Method::POST, nowhere).unwrap_err(), Vec::<&str>::new(), "{nowhere}");
        }
    }

    #[test]
    fn a_day_is_whole() {
        let read = |text, end| time("toDate", text, end).ok().map(written);
        assert_eq!(read("2026-03-15", false).as_deref(), Some("2026-03-15T00:00:00.000Z"));
        assert_eq!(read("2026-03-15", true).as_deref(), Some("2026-03-15T23:59:59.999Z"));
        assert_eq!(read("2026-03-15T10:00:00+01:00", true).as_deref(), Some("2026-03-15T09:00:00.000Z"));
        assert_eq!(read("soon", false), None);
    }
}
