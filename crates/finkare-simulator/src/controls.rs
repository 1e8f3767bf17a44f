//! The simulator's own API below `/_simulator`, by which a test or a person controls it. Only this machine may use it
//! (others are answered 403, with any key); bodies are JSON with `Content-Type: application/json`.
//!
//! | call | body and answer |
//! |---|---|
//! | `GET /_simulator/faults` | the [`Faults`] as they are now |
//! | `PUT /_simulator/faults` | replaces them all: a fault that is left out goes back to its default, `{}` ends all faults |
//! | `GET`, `PUT /_simulator/variants` | the same for the [`Variants`] |
//! | `POST /_simulator/events` | `{"event":…,"data":{…}}`: delivers it to the webhooks that asked for it |
//! | `POST /_simulator/invoices` | `{"invoiceNumber"?:…,"amountCents"?:…}` and delivers `invoice.created` |
//! | `POST /_simulator/invoices/{id}/status` | `{"status":…}` and delivers `invoice.status_changed` |
//! | `POST /_simulator/payments` | `{"invoiceId"?:…,"invoiceNumber"?:…,"amountCents"?:…,"method"?:…,"status"?:…}` and delivers `payment.received`; without an invoice, or with a number that no invoice has, a new one. Answers the payment, its invoice's number, and the number of `webhooks` that are told |
//! | `GET /_simulator/state` | webhooks (secrets by fingerprint), counts, [`Counters`](crate::Counters) |
//!
//! Errors are `{"error":"…"}`.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequest, Path, Request, State as Extract, rejection::JsonRejection},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Error, NewPayment, World,
    server::Peer,
    settings::{Faults, Variants},
    state::{InvoiceId, written},
};

/// The largest body: as large as a receiver accepts.
const MAX_BODY_BYTES: usize = 1024 * 1024;

pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/faults", get(faults).put(set_faults))
        .route("/variants", get(variants).put(set_variants))
        .route("/events", post(emit))
        .route("/invoices", post(create_invoice))
        .route("/invoices/{id}/status", post(set_status))
        .route("/payments", post(pay))
        .route("/state", get(state))
        .fallback(|| async { refused(StatusCode::NOT_FOUND, "there is nothing at this path") })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(axum::middleware::from_fn(only_from_here))
}

fn refused(status: StatusCode, problem: impl Into<String>) -> Response {
    (status, Json(json!({"error": problem.into()}))).into_response()
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NoSuchInvoice(_) => StatusCode::NOT_FOUND,
            Self::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Setting(_) | Self::Payment(_) | Self::Webhook(_) => StatusCode::BAD_REQUEST,
            Self::Listen { .. } | Self::DeliverTo(_) | Self::Options(_) | Self::Client(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        refused(status, self.to_string())
    }
}

/// Refuses other machines, also where the listener is open to them.
async fn only_from_here(request: Request, next: Next) -> Response {
    let here =
        request.extensions().get::<Peer>().is_some_and(|Peer(address)| address.ip().to_canonical().is_loopback());
    if here {
        return next.run(request).await;
    }
    refused(StatusCode::FORBIDDEN, "the simulator's controls are only for this machine")
}

/// A JSON body, or an error in the form of this API.
struct Body<T>(T);

impl<T, S> FromRequest<S> for Body<T>
where
    Json<T>: FromRequest<S, Rejection = JsonRejection>,
    S: Send + Sync,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        match Json::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(refused(rejection.status(), rejection.body_text())),
        }
    }
}

async fn faults(Extract(world): Extract<Arc<World>>) -> Json<Faults> {
    Json(world.lock().faults.clone())
}

async fn set_faults(Extract(world): Extract<Arc<World>>, Body(faults): Body<Faults>) -> Result<Json<Faults>, Error> {
    world.set_faults(faults.clone())?;
    Ok(Json(faults))
}

async fn variants(Extract(world): Extract<Arc<World>>) -> Json<Variants> {
    Json(world.lock().variants.clone())
}

async fn set_variants(
    Extract(world): Extract<Arc<World>>,
    Body(variants): Body<Variants>,
) -> Result<Json<Variants>, Error> {
    world.set_variants(variants.clone())?;
    Ok(Json(variants))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewEvent {
    event: String,
    data: Value,
}

async fn emit(Extract(world): Extract<Arc<World>>, Body(new): Body<NewEvent>) -> Result<Response, Error> {
    let deliveries = world.emit(&new.event, &new.data)?;
    Ok((StatusCode::ACCEPTED, Json(json!({"deliveries": deliveries}))).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewInvoice {
    invoice_number: Option<String>,
    amount_cents: Option<i64>,
}

async fn create_invoice(Extract(world): Extract<Arc<World>>, Body(new): Body<NewInvoice>) -> Result<Response, Error> {
    let invoice = world.create_invoice(new.invoice_number, new.amount_cents)?;
    let shown = json!({"id": invoice.id, "invoiceNumber": invoice.number, "amountCents": invoice.amount_cents});
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewStatus {
    status: String,
}

async fn set_status(
    Extract(world): Extract<Arc<World>>,
    Path(id): Path<String>,
    Body(new): Body<NewStatus>,
) -> Result<Response, Response> {
    let id: InvoiceId = id.parse().map_err(|_| refused(StatusCode::NOT_FOUND, "an invoice's id is a UUID"))?;
    let deliveries = world.set_status(id, new.status).map_err(IntoResponse::into_response)?;
    Ok((StatusCode::ACCEPTED, Json(json!({"deliveries": deliveries}))).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewPaymentBody {
    invoice_id: Option<uuid::Uuid>,
    invoice_number: Option<String>,
    amount_cents: Option<i64>,
    method: Option<String>,
    status: Option<String>,
}

async fn pay(Extract(world): Extract<Arc<World>>, Body(new): Body<NewPaymentBody>) -> Result<Response, Error> {
    let numbered = new.invoice_number.as_ref();
    let known = numbered.and_then(|number| {
        let state = world.lock();
        state.invoices().rev().find(|invoice| invoice.number == *number).map(|invoice| invoice.id)
    });
    let invoice = match new.invoice_id.map(InvoiceId).or(known) {
        Some(id) => id,
        None => world.create_invoice(new.invoice_number, new.amount_cents)?.id,
    };
    let number = world.lock().invoice(invoice).ok_or(Error::NoSuchInvoice(invoice))?.number.clone();
    let usual = NewPayment::default();
    let (payment, webhooks) = world.pay(
        invoice,
        NewPayment {
            amount_cents: new.amount_cents,
            method: new.method.unwrap_or(usual.method),
            status: new.status.unwrap_or(usual.status),
        },
    )?;
    let shown = json!({
        "id": payment.id, "invoiceId": payment.invoice, "invoiceNumber": number, "amountCents": payment.amount_cents,
        "currency": "EUR", "method": payment.method, "status": payment.status, "webhooks": webhooks,
    });
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

async fn state(Extract(world): Extract<Arc<World>>) -> Json<Value> {
    let state = world.lock();
    let webhooks: Vec<Value> = state
        .hooks()
        .iter()
        .map(|hook| {
            let webhook = &hook.webhook;
            json!({
                "id": webhook.id, "url": webhook.url, "events": webhook.events, "enabled": webhook.enabled,
                "secret": hook.secret.fingerprint(),
                "createdAt": written(webhook.created_at),
                "lastTriggeredAt": webhook.last_triggered_at.map(written),
            })
        })
        .collect();
    Json(json!({
        "webhooks": webhooks,
        "invoices": state.invoices().count(),
        "payments": state.payments(jiff::Timestamp::MAX).count(),
        "openDeliveries": state.open(),
        "counters": state.counters,
    }))
}
