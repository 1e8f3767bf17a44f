//! `GET /events` and `GET /events/{id}`.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    super::error::Problem,
    Admin, Params, Segment,
    announced::{self, AnnouncedPayment, Known},
    auth::Caller,
    dispatches::{AttemptRow, DispatchRow},
    limit, look_at, not_found, parse,
    sinks::Standings,
    store_problem, time,
};
use crate::{
    model::{event::Event, id::EventId},
    store::EventFilter,
};

/// An event.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct EventRow {
    /// The id of the event. Every sink gets it as the message id.
    pub(crate) id: EventId,
    /// The endpoint that received the event, or that one of the relay's own events is about; null if it is about none.
    #[schema(required)]
    pub(crate) endpoint: Option<String>,
    /// Finkare's type of the event; `unreadable` if the body could not be read.
    pub(crate) r#type: String,
    /// The id of the event's invoice at Finkare.
    #[schema(required)]
    pub(crate) invoice_id: Option<String>,
    /// When it happened, according to Finkare.
    #[schema(required)]
    pub(crate) occurred_at: Option<Timestamp>,
    /// When the event was stored.
    pub(crate) received_at: Timestamp,
    /// How many times Finkare delivered the event.
    pub(crate) deliveries: u32,
    /// `reconciliation` for an event that a reconciliation has made, because Finkare never announced its payment; its times are
    /// those of the payment. Absent for events that Finkare delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
    /// False if the event was stored but its body could not be read.
    pub(crate) readable: bool,
    #[serde(flatten)]
    pub(crate) payment: AnnouncedPayment,
    /// Present if a part of the stored row cannot be read: says which part. That part is empty or approximate here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<String>,
}

impl EventRow {
    /// The row, with what is known about the payment.
    fn new(event: Event, known: &Known) -> Self {
        Self {
            payment: known.payment(event.id),
            origin: event.id.is_of_payment().then_some(Origin::Reconciliation),
            id: event.id,
            endpoint: Some(event.endpoint).filter(|endpoint| !endpoint.is_empty()),
            r#type: event.event_type,
            invoice_id: event.invoice_id,
            occurred_at: event.occurred_at,
            received_at: event.received_at,
            deliveries: event.deliveries,
            readable: event.readable,
            fault: event.fault,
        }
    }
}

/// What made an event that Finkare has not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = EventOrigin)]
pub enum Origin {
    /// A reconciliation.
    Reconciliation,
}

/// One event with its payload and its dispatches.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    #[serde(flatten)]
    pub(crate) event: EventRow,
    /// The content type that Finkare sent.
    #[schema(required)]
    pub(crate) content_type: Option<String>,
    /// The payload as JSON, or as text if it is not JSON. Null if it is neither, or if it has been removed.
    #[schema(value_type = Value, required)]
    pub(crate) payload: Option<Box<RawValue>>,
    /// The payload in base64. Present only if it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload_base64: Option<String>,
    /// The dispatches of the event, oldest first.
    pub(crate) dispatches: Vec<DispatchWithAttempts>,
}

/// Reads the answer back with the payload as it was written. What serde derives for flattened fields would read it into a
/// tree first, and lose how its numbers are written.
impl<'de> Deserialize<'de> for EventPage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Rest {
            content_type: Option<String>,
            payload: Option<Box<RawValue>>,
            payload_base64: Option<String>,
            dispatches: Vec<DispatchWithAttempts>,
        }
        let whole = Box::<RawValue>::deserialize(deserializer)?;
        let event = serde_json::from_str(whole.get()).map_err(D::Error::custom)?;
        let Rest { content_type, payload, payload_base64, dispatches } =
            serde_json::from_str(whole.get()).map_err(D::Error::custom)?;
        Ok(Self { event, content_type, payload, payload_base64, dispatches })
    }
}

/// A dispatch of the event, with its attempts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct DispatchWithAttempts {
    #[serde(flatten)]
    pub(crate) dispatch: DispatchRow,
    /// The attempts, oldest first.
    pub(crate) attempt_log: Vec<AttemptRow>,
}

/// A page of events.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// The rows, newest first.
    pub(crate) data: Vec<EventRow>,
    /// Pass this as `cursor` to get the next rows; null if there are no more.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
    /// Present if a search (by `type`, `endpoint` or `q`) stopped before the end: it has looked at the events received since
    /// this time. `next_cursor` continues the search. Such a page may have fewer rows than requested, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) searched_until: Option<Timestamp>,
}

/// The filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Only events of this type.
    r#type: Option<String>,
    /// Only events of this endpoint.
    endpoint: Option<String>,
    /// Only events of this invoice.
    invoice_id: Option<String>,
    /// Only events received at this time or later.
    #[param(value_type = Option<Timestamp>)]
    since: Option<String>,
    /// Only events received before this time.
    #[param(value_type = Option<Timestamp>)]
    until: Option<String>,
    /// Only events whose payload contains exactly this text, whose payment has this id or this amount (`1500`, `1500.00`,
    /// `1 500,00`), or whose invoice number or debtor is or contains this text, ignoring case.
    q: Option<String>,
    /// How many rows a page has, by default 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// How many events a search looks at before it says how far it got, if fewer than usual.
    #[param(minimum = 1, maximum = 100_000)]
    look_at: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[param(value_type = Option<EventId>)]
    cursor: Option<String>,
}

/// Lists events, newest first.
///
/// A search by `type`, `endpoint` or `q` looks at a limited number of events per call and says how far it got.
#[utoipa::path(
    get,
    path = "/events",
    operation_id = "list_events",
    tag = "events",
    params(EventQuery),
    responses((status = 200, description = "A page of events", body = EventList))
)]
pub async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<EventQuery>,
) -> Result<Json<EventList>, Problem> {
    let found = match &query.q {
        Some(text) => announced::find(&*admin.store, text).await?,
        None => Vec::new(),
    };
    let filter = EventFilter {
        found,
        event_type: query.r#type,
        endpoint: query.endpoint,
        endpoints: caller.scope.endpoints(),
        invoice_id: query.invoice_id,
        since: time("since", query.since.as_deref())?,
        until: time("until", query.until.as_deref())?,
        contains: query.q,
        before: query.cursor.map(|cursor| parse("cursor", &cursor)).transpose()?,
        look_at: look_at(query.look_at)?,
    };
    let page = admin.store.list_events(&filter, limit(query.limit)?).await.map_err(store_problem)?;
    let known = Known::of(&*admin.store, page.rows.iter().map(|event| event.id)).await?;
    let cursor = page.searched_until.or_else(|| page.rows.last().filter(|_| page.more).map(|event| event.id));
    Ok(Json(EventList {
        data: page.rows.into_iter().map(|event| EventRow::new(event, &known)).collect(),
        next_cursor: cursor.map(|id| id.to_string()),
        searched_until: page.searched_until.and_then(EventId::made_at),
    }))
}

/// Shows one event.
#[utoipa::path(
    get,
    path = "/events/{id}",
    operation_id = "show_event",
    tag = "events",
    params(("id" = EventId, Path, description = "The id of an event")),
    responses((status = 200, description = "The event", body = EventPage), (status = 404, description = "There is no event with this id: `not_found`."))
)]
pub async fn show(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
) -> Result<Json<EventPage>, Problem> {
    let unknown = || not_found("event with this id");
    // An invalid id does not name an event either.
    let id: EventId = id.parse().map_err(|_| unknown())?;
    let detail = admin.store.event(id).await.map_err(store_problem)?.ok_or_else(unknown)?;
    if !caller.scope.has(&detail.event.endpoint) {
        return Err(unknown());
    }
    let known = Known::of(&*admin.store, std::iter::once(id)).await?;
    let content_type = detail.event.content_type.clone();
    let (payload, payload_base64) = shown(detail.payload);
    let standings = Standings::now(&admin).await?;
    let dispatches = detail
        .dispatches
        .into_iter()
        .map(|(dispatch, attempts)| DispatchWithAttempts {
            dispatch: DispatchRow::new(dispatch, &known, &standings),
            attempt_log: attempts.into_iter().map(AttemptRow::from).collect(),
        })
        .collect();
    Ok(Json(EventPage {
        event: EventRow::new(detail.event, &known),
        content_type,
        payload,
        payload_base64,
        dispatches,
    }))
}

/// JSON unchanged, other text as a string, anything else in base64.
fn shown(payload: Option<Vec<u8>>) -> (Option<Box<RawValue>>, Option<String>) {
    match payload.map(String::from_utf8) {
        None => (None, None),
        Some(Err(error)) => (None, Some(STANDARD.encode(error.into_bytes()))),
        Some(Ok(text)) => {
            let raw = RawValue::from_string(text.clone())
                .or_else(|_| serde_json::value::to_raw_value(&text))
                .expect("a string always serialises");
            (Some(raw), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_shown_as_what_they_are() {
        let show = |bytes: &[u8]| {
            let (payload, base64) = shown(Some(bytes.to_vec()));
            (payload.map(|raw| raw.get().to_owned()), base64)
        };
        assert_eq!(show(br#"{"a":1.0}"#), (Some(r#"{"a":1.0}"#.into()), None));
        assert_eq!(show(b"not \"json\""), (Some(r#""not \"json\"""#.into()), None));
        assert_eq!(show(&[0xff]), (None, Some("/w==".into())));
        assert!(shown(None).0.is_none());
    }

    #[test]
    fn a_page_is_read_back_as_it_was_written() {
        let text = r#"{"id":"01900000-0000-7000-8000-000000000000","endpoint":"production","type":"payment.received","invoice_id":"i-1","occurred_at":null,"received_at":"2026-10-05T10:30:00Z","deliveries":2,"origin":"reconciliation","readable":true,"invoice_number":"F-12","payment_id":"p-1","amount_cents":150000,"currency":"EUR","debtor":"Martin","method":"card","paid_at":"2026-10-05","content_type":"application/json","payload":{"b":1.50,"a":12345678901234567890123},"dispatches":[{"id":7,"event_id":"01900000-0000-7000-8000-000000000000","event_type":"payment.received","invoice_id":"i-1","sink":"books","state":"held","attempts":1,"created_at":"2026-10-05T10:30:00Z","next_attempt_at":null,"finished_at":null,"last_error":"no invoice F-12","trigger":"event","waits_for":null,"sink_state":"active","sink_next_probe_at":null,"invoice_number":"F-12","payment_id":"p-1","amount_cents":150000,"currency":"EUR","debtor":"Martin","method":"card","paid_at":"2026-10-05","attempt_log":[{"number":1,"started_at":"2026-10-05T10:30:00Z","duration_ms":1.5,"outcome":"hold","error":"no invoice F-12"}]}]}"#;
        let page: EventPage = serde_json::from_str(text).unwrap();
        assert_eq!((page.event.deliveries, page.dispatches[0].attempt_log.len()), (2, 1));
        assert_eq!(serde_json::to_string(&page).unwrap(), text);
        let gone = text.replace(r#"{"b":1.50,"a":12345678901234567890123}"#, "null");
        let page: EventPage = serde_json::from_slice(gone.as_bytes()).unwrap();
        assert!(page.payload.is_none() && page.payload_base64.is_none());
    }
}
