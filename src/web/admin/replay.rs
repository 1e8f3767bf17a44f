//! Replaying events: one, or a selection. What is chosen and written is decided in [`crate::replay`] and
//! [`crate::bulk`].

use std::sync::Arc;

use axum::{Extension, Json, body::Body, extract::State};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    super::error::Problem, Admin, List, Segment, announced::Known, audit, auth::Caller, bad_parameter,
    bulk::bulk_problem, counted_among, dispatches::DispatchRow, not_found, payload, sinks::Standings, store_problem,
    time,
};
use crate::{
    config::Role,
    model::{audit::NewAudit, id::EventId},
    replay::Summary,
    store::EventFilter,
};

/// The body of a replay of one event; it may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayOne {
    /// The sinks to send the event to. Default: all sinks whose route accepts the event.
    #[schema(min_items = 1)]
    sinks: Option<Vec<String>>,
}

fn named(sinks: Option<&[String]>) -> Result<(), Problem> {
    if sinks.is_some_and(<[String]>::is_empty) {
        return Err(bad_parameter(
            "`sinks` is empty: name sinks, or leave it out to send to all sinks whose route accepts the event.",
        ));
    }
    Ok(())
}

/// Replays one event.
///
/// Requires the role operator.
#[utoipa::path(
    post,
    path = "/events/{id}/replay",
    operation_id = "replay_event",
    tag = "events",
    params(("id" = EventId, Path, description = "The id of an event")),
    request_body(content = Option<ReplayOne>, description = "May be left out"),
    responses(
        (status = 200, description = "The new dispatches", body = List<DispatchRow>),
        (status = 404, description = "There is no event with this id: `not_found`."),
        (status = 409, description = "The payload of the event has been removed: `payload_gone`."),
        (status = 422, description = "The body has the wrong shape: `bad_body`; it names a sink that is not configured: `unknown_sink`."),
    )
)]
pub async fn one(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
    body: Body,
) -> Result<Json<List<DispatchRow>>, Problem> {
    caller.needs(Role::Operator)?;
    let body: ReplayOne = payload(body).await?.unwrap_or_default();
    named(body.sinks.as_deref())?;
    // An invalid id does not name an event either.
    let id: EventId = id.parse().map_err(|_| not_found("event with this id"))?;
    if caller.scope.is_limited() {
        let event = admin.store.event(id).await.map_err(store_problem)?;
        if !event.is_some_and(|detail| caller.scope.has(&detail.event.endpoint)) {
            return Err(not_found("event with this id"));
        }
        admin.reach.named(&caller.scope, body.sinks.as_deref())?;
    }
    let ids = admin.replayer.one(id, body.sinks.as_deref()).await.map_err(|error| bulk_problem(error.into()))?;
    let numbers: Vec<Value> = ids.iter().map(|id| id.0.into()).collect();
    tracing::info!(event.id = %id, dispatches = ids.len(), by = %caller.name, "an event was replayed");
    audit::write(
        &admin,
        NewAudit::new(&caller.name, "event.replayed", format!("event/{id}")).with("dispatches", numbers),
    )
    .await;
    let known = Known::of(&*admin.store, std::iter::once(id)).await?;
    let standings = Standings::now(&admin).await?;
    let mut data = Vec::with_capacity(ids.len());
    for id in ids {
        // A short retention may have removed it in the meantime, which is not an error.
        if let Some((dispatch, _)) = admin.store.dispatch(id).await.map_err(store_problem)? {
            data.push(DispatchRow::new(dispatch, &known, &standings));
        }
    }
    Ok(Json(List { data, next_cursor: None }))
}

/// Which events to replay.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayMany {
    /// Only events of this type.
    r#type: Option<String>,
    /// Only events of this endpoint.
    endpoint: Option<String>,
    /// Only events of this invoice.
    invoice_id: Option<String>,
    /// Only events received at this time or later.
    #[schema(value_type = Option<Timestamp>)]
    since: Option<String>,
    /// Only events received before this time.
    #[schema(value_type = Option<Timestamp>)]
    until: Option<String>,
    /// Selects every event; only without any filter.
    #[serde(default)]
    all: bool,
    /// The sinks to send the events to. Default: all sinks whose route accepts the event.
    #[schema(min_items = 1)]
    sinks: Option<Vec<String>>,
    /// If true, only counts what would be replayed and writes nothing.
    #[serde(default)]
    dry_run: bool,
    /// Only with `dry_run`: how many events it looks at; it then counts the newest 200 of those that match, and `more` says that there may
    /// be others. Without it all are counted, however long that takes.
    #[schema(minimum = 1, maximum = 100_000)]
    look_at: Option<u32>,
}

impl ReplayMany {
    fn filter(&self) -> Result<EventFilter, Problem> {
        Ok(EventFilter {
            event_type: self.r#type.clone(),
            endpoint: self.endpoint.clone(),
            invoice_id: self.invoice_id.clone(),
            since: time("since", self.since.as_deref())?,
            until: time("until", self.until.as_deref())?,
            look_at: counted_among(self.look_at, self.dry_run)?,
            ..EventFilter::default()
        })
    }

    fn has_filter(&self) -> bool {
        [&self.r#type, &self.endpoint, &self.invoice_id, &self.since, &self.until].into_iter().any(Option::is_some)
    }

    /// The selection, for the audit trail.
    fn told(&self) -> Value {
        let mut told = serde_json::Map::new();
        for (name, value) in [
            ("type", &self.r#type),
            ("endpoint", &self.endpoint),
            ("invoice_id", &self.invoice_id),
            ("since", &self.since),
            ("until", &self.until),
        ] {
            told.extend(value.as_ref().map(|value| (name.to_owned(), value.clone().into())));
        }
        told.extend(self.sinks.as_ref().map(|sinks| ("sinks".to_owned(), sinks.clone().into())));
        Value::Object(told)
    }
}

/// Replays a selection of events, or counts what would be replayed.
///
/// Requires the role operator.
#[utoipa::path(
    post,
    path = "/events/replay",
    operation_id = "replay_events",
    tag = "events",
    request_body(content = ReplayMany, description = "A filter, or `all`"),
    responses(
        (status = 200, description = "What was replayed, or would be replayed", body = Summary),
        (status = 409, description = "Another bulk operation is running: `busy`."),
        (status = 422, description = "The body has the wrong shape: `bad_body`; it must have either a filter or the member all: `no_selection`; it names a sink that is not configured: `unknown_sink`; it selects too many events: `too_many`."),
    )
)]
pub async fn many(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<Summary>, Problem> {
    caller.needs(Role::Operator)?;
    let body: ReplayMany = payload(body).await?.unwrap_or_default();
    named(body.sinks.as_deref())?;
    if body.all == body.has_filter() {
        let detail = if body.all {
            "`all` selects every event, and a filter selects some: use only one of them."
        } else {
            "Say which events: `type`, `endpoint`, `invoice_id`, `since` or `until`; or `\"all\": true` for every one."
        };
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no_selection", detail));
    }
    admin.reach.named(&caller.scope, body.sinks.as_deref())?;
    let (filter, told) = (body.filter()?, body.told());
    let filter = EventFilter { endpoints: caller.scope.endpoints(), ..filter };
    let replay = admin.bulk.replay(filter, body.sinks, body.dry_run, told, caller.name);
    Ok(Json(replay.await.map_err(bulk_problem)?))
}
