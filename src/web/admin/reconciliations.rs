//! Reconciliations with Finkare: asked for, listed, read.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Extension, Json, body::Body, extract::State};
use http::StatusCode;
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::error::Problem, Admin, List, Params, Segment, auth::Caller, limit, not_found, parse, payload, store_problem,
};
use crate::{
    config::Role,
    model::reconciliation::{Difference, DifferenceKind, Report, ReportId, ReportState, Sum, Sums},
    reconcile::Refused,
};

/// The most differences that one answer shows.
const MOST_DIFFERENCES: u32 = 10_000;

/// A number of payments and their sum.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names are those of the API")]
pub struct Payments {
    /// How many.
    pub(crate) payments: u64,
    /// Their sum, in cents of the currency.
    pub(crate) amount_cents: i64,
    /// The currency, such as `EUR`; null if it is not known.
    #[schema(required)]
    pub(crate) currency: Option<String>,
}

/// What became of the payments in one sink.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct InSink {
    /// The sink.
    pub(crate) sink: String,
    /// How many payments are in the books, as far as the ledger knows.
    pub(crate) booked: u64,
    /// Their sum, in cents of the currency.
    pub(crate) amount_cents: i64,
    /// The currency, such as `EUR`; null if it is not known.
    #[schema(required)]
    pub(crate) currency: Option<String>,
    /// How many payments wait for a person.
    pub(crate) held: u64,
    /// How many payments are on their way.
    pub(crate) open: u64,
    /// How many payments were given up.
    pub(crate) dead: u64,
}

/// The sums of one further currency.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OtherCurrency {
    /// The currency; null if it is not known.
    #[schema(required)]
    pub(crate) currency: Option<String>,
    /// The completed payments at Finkare.
    pub(crate) finkare: Payments,
    /// The payments that events announced.
    pub(crate) events: Payments,
    /// What became of them in each sink.
    pub(crate) sinks: Vec<InSink>,
}

/// A reconciliation, without its differences.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ReconciliationRow {
    /// Its id.
    pub(crate) id: ReportId,
    /// The endpoint.
    pub(crate) endpoint: String,
    /// The first day, in the endpoint's `timezone`.
    #[schema(value_type = String, format = Date)]
    pub(crate) since: Date,
    /// The last day.
    #[schema(value_type = String, format = Date)]
    pub(crate) until: Date,
    /// Whether payments that were never announced become events.
    pub(crate) fill: bool,
    /// Who asked: the name of a token, or `schedule`.
    pub(crate) actor: String,
    /// Its state.
    pub(crate) state: ReportState,
    /// When it was begun.
    pub(crate) started_at: Timestamp,
    /// When it was finished.
    #[schema(required)]
    pub(crate) finished_at: Option<Timestamp>,
    /// Why it failed, or what hinders it now.
    #[schema(required)]
    pub(crate) problem: Option<String>,
    /// The completed payments at Finkare.
    pub(crate) finkare: Payments,
    /// The payments that events announced, with the amounts of the events.
    pub(crate) events: Payments,
    /// What became of them in each sink.
    pub(crate) sinks: Vec<InSink>,
    /// The sums of further currencies: nothing is added across currencies. Present if there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) other_currencies: Vec<OtherCurrency>,
    /// How many of Finkare's payments could not be read, and are in no sum. Present if there are any.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) unreadable: u64,
    /// How many differences there are, by kind.
    #[schema(value_type = std::collections::BTreeMap<String, u64>)]
    pub(crate) counts: BTreeMap<DifferenceKind, u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires it")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A reconciliation with its differences.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ReconciliationPage {
    #[serde(flatten)]
    pub(crate) row: ReconciliationRow,
    /// The differences, in the order in which they were found; at most 10,000.
    pub(crate) differences: Vec<Difference>,
}

fn sums_of(sums: &Sums, currency: &str) -> (Payments, Payments, Vec<InSink>) {
    let currency = Some(currency.to_owned()).filter(|currency| !currency.is_empty());
    let shown = |sum: &Sum| Payments { payments: sum.payments, amount_cents: sum.cents, currency: currency.clone() };
    let sinks = sums.sinks.iter().map(|(sink, sums)| InSink {
        sink: sink.clone(),
        booked: sums.booked.payments,
        amount_cents: sums.booked.cents,
        currency: currency.clone(),
        held: sums.held,
        open: sums.open,
        dead: sums.dead,
    });
    (shown(&sums.finkare), shown(&sums.events), sinks.collect())
}

impl From<Report> for ReconciliationRow {
    fn from(report: Report) -> Self {
        let main = report.main_currency().to_owned();
        let (finkare, events, sinks) = sums_of(report.sums.get(&main).unwrap_or(&Sums::default()), &main);
        let others = report.sums.iter().filter(|(currency, _)| **currency != main).map(|(currency, sums)| {
            let (finkare, events, sinks) = sums_of(sums, currency);
            OtherCurrency { currency: finkare.currency.clone(), finkare, events, sinks }
        });
        Self {
            other_currencies: others.collect(),
            finkare,
            events,
            sinks,
            id: report.asked.id,
            endpoint: report.asked.endpoint,
            since: report.asked.since,
            until: report.asked.until,
            fill: report.asked.fill,
            actor: report.asked.actor,
            state: report.state,
            started_at: report.started_at,
            finished_at: report.finished_at,
            problem: report.problem,
            unreadable: report.unreadable,
            counts: report.counts,
        }
    }
}

/// Which days of which endpoint to compare.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reconcile {
    /// The endpoint; may be left out if there is only one.
    endpoint: Option<String>,
    /// The first day, such as `2026-10-01`, in the endpoint's `timezone`; by default 35 days ago, or as many as the endpoint's
    /// `look_back_days`.
    since: Option<String>,
    /// The last day; by default today.
    until: Option<String>,
    /// Whether each payment that no event announced becomes an event; by default not.
    #[serde(default)]
    fill: bool,
}

/// The id of a reconciliation that was begun.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Begun {
    /// The id: `GET /api/v1/reconciliations/{id}` shows how far it is.
    pub(crate) id: ReportId,
}

/// Compares the payments of some days with Finkare's.
///
/// The answer comes at once; the comparison is made in the background, and goes on after a restart. One is made at a time for
/// each endpoint. With `fill`, each payment that no event announced becomes an event `payment.received`, once, and is sent to
/// the sinks as usual. Requires the role operator.
#[utoipa::path(
    post,
    path = "/reconciliations",
    operation_id = "begin_reconciliation",
    tag = "reconciliations",
    request_body(content = Reconcile, description = "Which days of which endpoint"),
    responses(
        (status = 202, description = "It is begun", body = Begun),
        (status = 404, description = "There is no such endpoint: `not_found`."),
        (status = 409, description = "One is running for the endpoint, whose id the answer has as well: `reconciling`; the endpoint has no API key: `no_api_key`."),
        (status = 422, description = "The body has the wrong shape, or the days cannot be compared: `bad_body`."),
    )
)]
pub async fn begin(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<(StatusCode, Json<Begun>), Problem> {
    caller.needs(Role::Operator)?;
    let asked = payload::<Reconcile>(body).await?.unwrap_or_default();
    let unusable = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", detail);
    let names: Vec<String> = admin.meters.iter().map(|(name, _)| name.as_str().to_owned()).collect();
    let mine: Vec<&String> = names.iter().filter(|name| caller.scope.has(name)).collect();
    let endpoint = match (&asked.endpoint, mine.as_slice()) {
        (Some(name), mine) => {
            mine.iter().find(|known| **known == name).ok_or_else(|| not_found("endpoint of this name"))?
        }
        (None, [one]) => one,
        (None, _) => {
            return Err(unusable("The body is not usable: there are several endpoints, so say `endpoint`.".into()));
        }
    };
    let day = |name: &str, text: &Option<String>| {
        let wrong = || unusable(format!("The body is not usable: `{name}` must be a day such as 2026-10-31."));
        text.as_deref().map(|text| text.parse::<Date>().map_err(|_| wrong())).transpose()
    };
    let days = (day("since", &asked.since)?, day("until", &asked.until)?);
    match admin.reconciling.begin(endpoint, days, asked.fill, &caller.name).await {
        Ok(id) => Ok((StatusCode::ACCEPTED, Json(Begun { id }))),
        Err(Refused::Store(error)) => Err(store_problem(error)),
        Err(Refused::Running(id)) => {
            Err(Problem::new(StatusCode::CONFLICT, "reconciling", Refused::Running(id).to_string())
                .with("reconciliation", id.to_string()))
        }
        Err(refused @ Refused::NoKey(_)) => Err(Problem::new(StatusCode::CONFLICT, "no_api_key", refused.to_string())),
        Err(refused @ (Refused::WrongWayRound { .. } | Refused::TooOld { .. })) => Err(unusable(refused.to_string())),
    }
}

/// The filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReconciliationQuery {
    /// Only of this endpoint.
    endpoint: Option<String>,
    /// How many rows a page has, by default 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[param(value_type = Option<uuid::Uuid>)]
    cursor: Option<String>,
}

/// Lists reconciliations, newest first. The last 200 of each endpoint are kept.
#[utoipa::path(
    get,
    path = "/reconciliations",
    operation_id = "list_reconciliations",
    tag = "reconciliations",
    params(ReconciliationQuery),
    responses((status = 200, description = "A page of reconciliations", body = List<ReconciliationRow>))
)]
pub async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<ReconciliationQuery>,
) -> Result<Json<List<ReconciliationRow>>, Problem> {
    let endpoints = match (query.endpoint, caller.scope.endpoints()) {
        (Some(name), _) if caller.scope.has(&name) => Some(vec![name]),
        (Some(_), _) => Some(Vec::new()),
        (None, all) => all,
    };
    let before = query.cursor.map(|cursor| parse("cursor", &cursor)).transpose()?;
    let page = admin.store.reconciliations(endpoints.as_deref(), before, limit(query.limit)?).await;
    let page = page.map_err(store_problem)?;
    Ok(Json(List::from_page(page, |report| report.asked.id.to_string(), ReconciliationRow::from)))
}

/// Shows a reconciliation with its differences, as far as it is made.
#[utoipa::path(
    get,
    path = "/reconciliations/{id}",
    operation_id = "show_reconciliation",
    tag = "reconciliations",
    params(("id" = uuid::Uuid, Path, description = "The id of the reconciliation")),
    responses(
        (status = 200, description = "The reconciliation", body = ReconciliationPage),
        (status = 404, description = "There is no such reconciliation: `not_found`."),
    )
)]
pub async fn show(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
) -> Result<Json<ReconciliationPage>, Problem> {
    let id: ReportId = id.parse().map_err(|_| not_found("reconciliation with this id"))?;
    let report = admin.store.reconciliation(id).await.map_err(store_problem)?;
    let report = report.filter(|report| caller.scope.has(&report.asked.endpoint));
    let report = report.ok_or_else(|| not_found("reconciliation with this id"))?;
    let differences = admin.store.differences(id, 0, MOST_DIFFERENCES).await.map_err(store_problem)?;
    Ok(Json(ReconciliationPage {
        row: report.into(),
        differences: differences.into_iter().map(|(_, difference)| difference).collect(),
    }))
}
