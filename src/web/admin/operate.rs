//! What a person decides about many things at once, and what has no list of its own: replaying events, retrying and
//! cancelling dispatches in bulk, trying a sink, erasing an invoice.
//!
//! A decision about many runs to its end, also when whoever asked hangs up: half a decision would be
//! hard to make out afterwards. One at a time in a process; the next one is told to wait.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{Extension, Json, body::Body, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::{
    super::error::Problem,
    Admin, List, Segment,
    announced::Known,
    audit,
    auth::Caller,
    bad_parameter,
    dispatches::DispatchRow,
    not_found, parse, payload,
    sinks::{SinkState, Standings, after_retry, try_again},
    store_problem, time,
};
use crate::{
    config::Role,
    model::{
        audit::NewAudit,
        clock,
        dispatch::{Outcome, State as DispatchState},
        id::{DispatchId, EventId, SinkName},
    },
    replay::{ReplayError, Replayer, Summary},
    store::{DispatchFilter, EventFilter, Store},
};

/// Dispatches in one transaction.
const PAGE: usize = 500;
/// The most that one call decides about; whoever has more asks again. A million numbers are 8 MB.
const MOST: usize = 1_000_000;

/// What these handlers work with.
#[derive(Debug)]
pub struct Operate {
    /// Replays events.
    pub replayer: Arc<Replayer>,
    /// Tries sinks.
    pub tests: Arc<dyn TestSinks>,
    /// Whose decision runs.
    turn: Arc<Mutex<()>>,
}

impl Operate {
    /// For one configuration.
    pub fn new(replayer: Replayer, tests: Arc<dyn TestSinks>) -> Self {
        Self { replayer: Arc::new(replayer), tests, turn: Arc::default() }
    }
}

/// Sends a test event to a sink: the admin API knows no sink itself.
#[async_trait]
pub trait TestSinks: Send + Sync + std::fmt::Debug {
    /// Sends a test event past the store, within the sink's time-out; `None` if no sink of this name is configured.
    async fn test(&self, name: &str) -> Option<Tested>;
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// The id that the test event had.
    pub event_id: EventId,
    /// The sink's answer.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
}

fn replay_problem(error: ReplayError) -> Problem {
    let detail = error.to_string();
    match error {
        ReplayError::UnknownSink { .. } => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_sink", detail),
        ReplayError::NoSuchEvent => not_found("event with this id"),
        ReplayError::PayloadGone => Problem::new(StatusCode::CONFLICT, "payload_gone", detail),
        ReplayError::TooMany => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many", detail),
        ReplayError::Store(error) => store_problem(error),
    }
}

/// Runs a decision about many to its end, whatever becomes of the request; one at a time.
async fn in_turn<T: Send + 'static>(
    admin: &Admin,
    decision: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let turn = admin.operate.turn.clone().try_lock_owned().map_err(|_| {
        let detail =
            "Another decision about many events or dispatches is being carried out. Please try again after it.";
        Problem::new(StatusCode::CONFLICT, "busy", detail)
    })?;
    let task = tokio::spawn(async move {
        let _turn = turn;
        decision.await
    });
    task.await.map_err(|_| Problem::internal())?
}

/// The body of a replay of one event; it may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayOne {
    /// The sinks that get it. Default: all whose route takes the event.
    #[schema(min_items = 1)]
    sinks: Option<Vec<String>>,
}

fn named(sinks: Option<&[String]>) -> Result<(), Problem> {
    if sinks.is_some_and(<[String]>::is_empty) {
        return Err(bad_parameter(
            "`sinks` is empty: name sinks, or leave it out for all whose route takes the event.",
        ));
    }
    Ok(())
}

/// Sends one event again.
///
/// Needs the role operator.
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
        (status = 409, description = "The event has no payload any more: `payload_gone`."),
        (status = 422, description = "The body has another shape: `bad_body`; it names a sink that is not configured: `unknown_sink`."),
    )
)]
pub async fn replay_one(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
    body: Body,
) -> Result<Json<List<DispatchRow>>, Problem> {
    caller.needs(Role::Operator)?;
    let body: ReplayOne = payload(body).await?.unwrap_or_default();
    named(body.sinks.as_deref())?;
    // What is no id at all names no event either.
    let id: EventId = id.parse().map_err(|_| not_found("event with this id"))?;
    let ids = admin.operate.replayer.one(id, body.sinks.as_deref()).await.map_err(replay_problem)?;
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
        // One that a short retention has removed since is no error.
        if let Some((dispatch, _)) = admin.store.dispatch(id).await.map_err(store_problem)? {
            data.push(DispatchRow::new(dispatch, &known, &standings));
        }
    }
    Ok(Json(List { data, next_cursor: None }))
}

/// Which events to send again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayMany {
    /// Only this type.
    r#type: Option<String>,
    /// Only of this endpoint.
    endpoint: Option<String>,
    /// Only of this invoice.
    invoice_id: Option<String>,
    /// Received at this time or later.
    #[schema(value_type = Option<Timestamp>)]
    since: Option<String>,
    /// Received before this time.
    #[schema(value_type = Option<Timestamp>)]
    until: Option<String>,
    /// Where no filter is given: really all.
    #[serde(default)]
    all: bool,
    /// The sinks that get them. Default: all whose route takes the event.
    #[schema(min_items = 1)]
    sinks: Option<Vec<String>>,
    /// True: say what it would come to, and write nothing.
    #[serde(default)]
    dry_run: bool,
}

impl ReplayMany {
    fn filter(&self) -> Result<EventFilter, Problem> {
        Ok(EventFilter {
            event_type: self.r#type.clone(),
            endpoint: self.endpoint.clone(),
            invoice_id: self.invoice_id.clone(),
            since: time("since", self.since.as_deref())?,
            until: time("until", self.until.as_deref())?,
            ..EventFilter::default()
        })
    }

    fn has_filter(&self) -> bool {
        [&self.r#type, &self.endpoint, &self.invoice_id, &self.since, &self.until].into_iter().any(Option::is_some)
    }

    /// What the audit trail keeps of it.
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

/// Sends a selection of events again, or says what that would come to.
///
/// Needs the role operator.
#[utoipa::path(
    post,
    path = "/events/replay",
    operation_id = "replay_events",
    tag = "events",
    request_body(content = ReplayMany, description = "A filter, or `all`"),
    responses(
        (status = 200, description = "What it came to, or would", body = Summary),
        (status = 409, description = "Another decision about many is being carried out: `busy`."),
        (status = 422, description = "The body has another shape: `bad_body`; it says nothing, or two things, about which events are meant: `no_selection`; it names a sink that is not configured: `unknown_sink`; it selects too many: `too_many`."),
    )
)]
pub async fn replay_many(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<Summary>, Problem> {
    caller.needs(Role::Operator)?;
    let body: ReplayMany = payload(body).await?.unwrap_or_default();
    named(body.sinks.as_deref())?;
    if body.all == body.has_filter() {
        let detail = if body.all {
            "`all` says that every event is meant, and a filter that only some are: keep one of the two."
        } else {
            "Say which events: `type`, `endpoint`, `invoice_id`, `since` or `until`; or `\"all\": true` for every one."
        };
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no_selection", detail));
    }
    let filter = body.filter()?;
    let asked = admin.clone();
    let decision = async move {
        let replayer = &asked.operate.replayer;
        let summary = replayer.many(&filter, body.sinks.as_deref(), body.dry_run).await.map_err(replay_problem)?;
        if !summary.dry_run {
            tracing::info!(
                events = summary.events, dispatches = summary.dispatches, skipped = summary.skipped, by = %caller.name,
                "events were replayed"
            );
            let entry = NewAudit::new(&caller.name, "events.replayed", "events")
                .with("selection", body.told())
                .with("events", summary.events)
                .with("dispatches", summary.dispatches)
                .with("skipped", summary.skipped);
            audit::write(&asked, entry).await;
        }
        Ok(summary)
    };
    Ok(Json(in_turn(&admin, decision).await?))
}

/// Which dispatches are meant.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Chosen {
    /// Only of this sink.
    sink: Option<String>,
    /// Only in this state.
    #[schema(value_type = Option<DispatchState>)]
    state: Option<String>,
    /// Only of this invoice.
    invoice_id: Option<String>,
    /// Only count, change nothing.
    #[serde(default)]
    #[schema(default = false)]
    dry_run: bool,
}

/// What a person decides about dispatches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Retry,
    Cancel,
}

impl Verb {
    /// The states of which it can be decided in bulk.
    const STATES: &'static [DispatchState] = &[DispatchState::Dead, DispatchState::Held, DispatchState::Pending];

    /// The states that are meant if none is named. What is pending is tried again by itself, so a retry of that has to
    /// be asked for: to skip the waits once a target works again.
    const fn usual_states(self) -> &'static [DispatchState] {
        match self {
            Verb::Retry => &[DispatchState::Dead, DispatchState::Held],
            Verb::Cancel => Self::STATES,
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Verb::Retry => "retried",
            Verb::Cancel => "cancelled",
        }
    }

    const fn action(self) -> &'static str {
        match self {
            Verb::Retry => "dispatches.retried",
            Verb::Cancel => "dispatches.cancelled",
        }
    }
}

/// What retrying many came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetriedMany {
    /// So many are pending again, or would be.
    retried: u64,
    /// True: there are more than one call decides about; ask again.
    more: bool,
    /// What they wait for all the same: a sink that is paused, tripped or not configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// There, and true, if nothing was changed because `dry_run` was asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

/// What cancelling many came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct CancelledMany {
    /// So many were called off, or would be.
    cancelled: u64,
    /// True: there are more than one call decides about; ask again.
    more: bool,
    /// There, and true, if nothing was changed because `dry_run` was asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

/// Puts dispatches that are `dead` or `held` back to `pending`.
///
/// With the state `pending`, those that wait for their next try are due at once.
///
/// Needs the role operator.
#[utoipa::path(
    post,
    path = "/dispatches/retry",
    operation_id = "retry_dispatches",
    tag = "dispatches",
    request_body(content = Chosen, description = "A `sink`, a `state`, or both"),
    responses(
        (status = 200, description = "How many", body = RetriedMany),
        (status = 404, description = "There is no sink with this name: `not_found`."),
        (status = 409, description = "Another decision about many is being carried out: `busy`."),
        (status = 422, description = "The body has another shape: `bad_body`; it says nothing about which dispatches are meant: `no_selection`; their state does not allow it: `wrong_state`."),
    )
)]
pub async fn retry_many(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<RetriedMany>, Problem> {
    let Decided { count, more, dry_run, sink } = decide(&admin, caller, body, Verb::Retry).await?;
    let note = if count == 0 || dry_run { None } else { after_retry(&admin, sink.as_deref()).await? };
    Ok(Json(RetriedMany { retried: count, more, note, dry_run }))
}

/// Calls off dispatches that are `pending`, `held` or `dead`.
///
/// Also those of a sink that is no longer configured. Needs the role operator.
#[utoipa::path(
    post,
    path = "/dispatches/cancel",
    operation_id = "cancel_dispatches",
    tag = "dispatches",
    request_body(content = Chosen, description = "A `sink`, a `state`, or both"),
    responses(
        (status = 200, description = "How many", body = CancelledMany),
        (status = 404, description = "There is no sink with this name: `not_found`."),
        (status = 409, description = "Another decision about many is being carried out: `busy`."),
        (status = 422, description = "The body has another shape: `bad_body`; it says nothing about which dispatches are meant: `no_selection`; their state does not allow it: `wrong_state`."),
    )
)]
pub async fn cancel_many(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<CancelledMany>, Problem> {
    let Decided { count, more, dry_run, .. } = decide(&admin, caller, body, Verb::Cancel).await?;
    Ok(Json(CancelledMany { cancelled: count, more, dry_run }))
}

/// How many were changed, or would be, whether there are more, and of which sink they are, if only of one.
struct Decided {
    count: u64,
    more: bool,
    dry_run: bool,
    sink: Option<String>,
}

async fn decide(admin: &Arc<Admin>, caller: Caller, body: Body, verb: Verb) -> Result<Decided, Problem> {
    caller.needs(Role::Operator)?;
    let chosen: Chosen = payload(body).await?.unwrap_or_default();
    if chosen.sink.is_none() && chosen.state.is_none() {
        let detail = "Say which dispatches: a `sink`, a `state`, or both.";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no_selection", detail));
    }
    let state: Option<DispatchState> = chosen.state.as_deref().map(|state| parse("state", state)).transpose()?;
    let states = match &state {
        None => verb.usual_states(),
        Some(state) if Verb::STATES.contains(state) => std::slice::from_ref(state),
        Some(other) => {
            let allowed: Vec<&str> = Verb::STATES.iter().map(|state| state.as_str()).collect();
            let detail = format!("What is {other} cannot be {}; that can be {}.", verb.done(), allowed.join(", "));
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_state", detail));
        }
    };
    if let Some(sink) = &chosen.sink {
        let statuses = admin.statuses.now().await?;
        if statuses.iter().all(|status| status.name != *sink) {
            return Err(not_found("sink with this name"));
        }
    }
    let (asked, states) = (admin.clone(), states.to_vec());
    let decision = async move {
        let (ids, more) = find(&*asked.store, &chosen, &states).await?;
        if chosen.dry_run {
            return Ok(Decided { count: ids.len() as u64, more, dry_run: true, sink: chosen.sink });
        }
        let count = carry_out(&*asked.store, &ids, verb).await;
        // Also what was done before the store failed is written down.
        let (done, failure) = match count {
            Ok(done) => (done, None),
            Err((done, problem)) => (done, Some(problem)),
        };
        tracing::info!(
            dispatches = done, sink.name = chosen.sink, state = chosen.state, by = %caller.name,
            "dispatches were {}", verb.done()
        );
        let subject = chosen.sink.as_ref().map_or_else(|| "dispatches".to_owned(), |sink| format!("sink/{sink}"));
        let entry = NewAudit::new(&caller.name, verb.action(), subject)
            .with("state", chosen.state.clone())
            .with("invoice_id", chosen.invoice_id.clone())
            .with("dispatches", done);
        audit::write(&asked, entry).await;
        match failure {
            Some(problem) => Err(problem),
            None => Ok(Decided { count: done, more, dry_run: false, sink: chosen.sink }),
        }
    };
    in_turn(admin, decision).await
}

/// The numbers of what is chosen, oldest first, and whether there are more. One reading for each state: what workers add
/// meanwhile is not meant.
async fn find(
    store: &dyn Store,
    chosen: &Chosen,
    states: &[DispatchState],
) -> Result<(Vec<DispatchId>, bool), Problem> {
    let mut ids: Vec<DispatchId> = Vec::new();
    for state in states {
        let filter = DispatchFilter {
            state: Some(*state),
            sink: chosen.sink.clone(),
            invoice_id: chosen.invoice_id.clone(),
            ..DispatchFilter::default()
        };
        let left = MOST.saturating_sub(ids.len()).saturating_add(1);
        let found = store.dispatch_ids(&filter, u32::try_from(left).unwrap_or(u32::MAX)).await;
        ids.extend(found.map_err(store_problem)?);
    }
    let more = ids.len() > MOST;
    ids.truncate(MOST);
    ids.sort_unstable();
    Ok((ids, more))
}

/// Answers how many were changed, also when the store failed after some.
///
/// Retried are the oldest first: once the earlier one of an invoice is pending again, the later one waits for it.
/// Cancelled are the newest first: nothing that is about to be cancelled gets its turn because the one before
/// it is gone.
async fn carry_out(store: &dyn Store, ids: &[DispatchId], verb: Verb) -> Result<u64, (u64, Problem)> {
    let mut done = 0;
    let pages = ids.chunks(PAGE);
    match verb {
        Verb::Retry => {
            for page in pages {
                done += store.retry_dispatches(page).await.map_err(|error| (done, store_problem(error)))?;
            }
        }
        Verb::Cancel => {
            for page in pages.rev() {
                done += store.cancel_dispatches(page).await.map_err(|error| (done, store_problem(error)))?;
            }
        }
    }
    Ok(done)
}

/// What a test came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct TestRow {
    /// The sink.
    sink: String,
    /// The id that the test event had.
    event_id: EventId,
    /// `delivered`, `retry`, `rejected` or `hold`.
    outcome: &'static str,
    /// What the target said, or what a person should do.
    #[schema(required)]
    reason: Option<String>,
    /// How long it took, in milliseconds.
    duration_ms: f64,
    /// What follows from it for the sink's events.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Sends a test event straight to a sink, past the store, also to a paused one.
///
/// If the sink takes it, one that was tripped is sent its events again. Needs the role operator.
#[utoipa::path(
    post,
    path = "/sinks/{name}/test",
    operation_id = "test_sink",
    tag = "sinks",
    params(("name" = String, Path, description = "The name of a sink")),
    responses((status = 200, description = "What the sink made of it", body = TestRow), (status = 404, description = "There is no configured sink with this name: `not_found`."))
)]
pub async fn test_sink(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(name): Segment,
) -> Result<Json<TestRow>, Problem> {
    caller.needs(Role::Operator)?;
    let tested = admin.operate.tests.test(&name).await.ok_or_else(|| not_found("configured sink with this name"))?;
    let note = after_test(&admin, &name, &tested.outcome).await?;
    let row = TestRow {
        note,
        event_id: tested.event_id,
        outcome: tested.outcome.as_str(),
        reason: tested.outcome.reason().map(str::to_owned),
        duration_ms: clock::fractional_millis(tested.duration),
        sink: name,
    };
    tracing::info!(sink.name = row.sink, outcome = row.outcome, by = %caller.name, "a sink got a test event");
    let entry = NewAudit::new(&caller.name, "sink.tested", format!("sink/{}", row.sink))
        .with("event_id", row.event_id.to_string())
        .with("outcome", row.outcome);
    audit::write(&admin, entry).await;
    Ok(Json(row))
}

/// A target that took a test event works: its breaker closes, and the other processes try it again.
async fn after_test(admin: &Admin, name: &str, outcome: &Outcome) -> Result<Option<String>, Problem> {
    let Ok(sink) = SinkName::new(name) else { return Ok(None) };
    if *outcome != Outcome::Delivered {
        return Ok(None);
    }
    let was_tripped = try_again(admin, &sink, true).await.map_err(store_problem)?;
    let is_paused = Standings::now(admin).await?.of(name).0 == SinkState::Paused;
    Ok(if is_paused {
        Some(format!("The sink is paused: its events wait until it is resumed (`finkare-relay sinks resume {sink}`)."))
    } else {
        was_tripped.then(|| "The sink was tripped: its events are sent again.".to_owned())
    })
}

/// What erasing an invoice came to.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErasedRow {
    /// Events of this invoice.
    events: u64,
    /// Payloads that are gone for good now.
    payloads: u64,
    /// Unfinished dispatches that were called off.
    cancelled: u64,
}

/// Removes the payloads of an invoice for good; ids, hashes and times stay.
///
/// Needs the role admin.
#[utoipa::path(
    post,
    path = "/invoices/{invoice_id}/erase",
    operation_id = "erase_invoice",
    tag = "invoices",
    params(("invoice_id" = String, Path, description = "The invoice's id at Finkare", min_length = 1)),
    responses(
        (status = 200, description = "What was removed", body = ErasedRow),
        (status = 404, description = "There is no event of this invoice: `not_found`."),
        (status = 409, description = "Another decision about many is being carried out: `busy`."),
    )
)]
pub async fn erase_invoice(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(invoice_id): Segment,
) -> Result<Json<ErasedRow>, Problem> {
    caller.needs(Role::Admin)?;
    let asked = admin.clone();
    let decision = async move {
        let audit = NewAudit::new(&caller.name, "invoice.erased", format!("invoice/{invoice_id}"));
        let erased = asked.store.erase_invoice(&invoice_id, audit).await.map_err(store_problem)?;
        if erased.events == 0 {
            return Err(not_found("event of this invoice"));
        }
        tracing::info!(
            events = erased.events, payloads = erased.payloads, cancelled = erased.cancelled, by = %caller.name,
            "an invoice was erased"
        );
        Ok(ErasedRow { events: erased.events, payloads: erased.payloads, cancelled: erased.cancelled })
    };
    Ok(Json(in_turn(&admin, decision).await?))
}
