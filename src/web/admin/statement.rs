//! `GET /statement`: what was recorded of a month's payments in which system, and what is not there yet.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{super::error::Problem, Admin, Params, auth::Caller, bad_parameter, not_found, parse, store_problem};
use crate::{
    model::language::Language,
    statement::{self, MOST_LINES, Month, Statement, Wanted},
    store::ledger::BookingFilter,
};

/// Which statement, and in which form.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatementQuery {
    /// The month, such as `2026-10`: the payments that were paid in it, by the time zone of their endpoint.
    #[param(pattern = "^(19[7-9][0-9]|[2-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-(0[1-9]|1[0-2])$")]
    month: String,
    /// Only payments of this endpoint.
    endpoint: Option<String>,
    /// Only this sink.
    sink: Option<String>,
    /// `booked`: only what is in the books. What is not there yet is left out, which is much faster where very many dispatches wait.
    #[param(value_type = Option<Part>, inline)]
    part: Option<String>,
    /// `json` (the default), `csv` for a spreadsheet, `fec` for accounting software: the columns of article A47 A-1 of the
    /// Livre des procédures fiscales. `fec` needs `endpoint` if more than one is configured.
    #[param(value_type = Option<Format>, inline)]
    format: Option<String>,
    /// The language of `csv`: `fr` (the default) or `en`.
    #[param(value_type = Option<Language>, inline)]
    language: Option<String>,
}

/// A part of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, utoipa::ToSchema)]
#[schema(rename_all = "lowercase", as = StatementPart)]
pub enum Part {
    /// What is in the books.
    Booked,
}

/// The form of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Format {
    /// As JSON.
    Json,
    /// For a spreadsheet.
    Csv,
    /// For accounting software.
    Fec,
}

/// Shows what was recorded of a month's payments in each sink, and what is not in the books yet, with the reasons.
///
/// Everything is read from the ledger; nothing is asked of Finkare. The same month gives the same bytes until something
/// changes. A statement has at most 50,000 payments.
#[utoipa::path(
    get,
    path = "/statement",
    operation_id = "show_statement",
    tag = "bookings",
    params(StatementQuery),
    responses(
        (status = 200, description = "The statement", content(
            (Statement = "application/json"),
            (String = "text/csv"),
            (String = "text/plain"),
        )),
        (status = 404, description = "There is no endpoint or sink with this name: `not_found`."),
    )
)]
pub async fn show(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<StatementQuery>,
) -> Result<Response, Problem> {
    let month: Month = parse("month", &query.month)?;
    let format = match query.format.as_deref() {
        None | Some("json") => Format::Json,
        Some("csv") => Format::Csv,
        Some("fec") => Format::Fec,
        Some(_) => return Err(bad_parameter("`format` must be `json`, `csv` or `fec`.")),
    };
    let language = query.language.map(|word| parse("language", &word)).transpose()?.unwrap_or(Language::Fr);
    let booked_only = match query.part.as_deref() {
        None => false,
        Some("booked") => true,
        Some(_) => return Err(bad_parameter("`part` must be `booked`, or be left out.")),
    };
    if let Some(endpoint) = &query.endpoint
        && !(admin.statement.zones.contains_key(endpoint) && caller.scope.has(endpoint))
    {
        return Err(not_found("endpoint with this name"));
    }
    if let Some(sink) = &query.sink
        && !is_known(&admin, &caller, sink).await?
    {
        return Err(not_found("sink with this name"));
    }
    let visible = admin.statement.zones.keys().filter(|endpoint| caller.scope.has(endpoint)).count();
    if format == Format::Fec && query.endpoint.is_none() && visible > 1 {
        return Err(bad_parameter(
            "The accounting entries of several endpoints may be those of several companies: give `endpoint`.",
        ));
    }

    let wanted = Wanted {
        month,
        endpoint: query.endpoint,
        sink: query.sink,
        booked_only,
        endpoints: caller.scope.endpoints(),
        books: admin.reach.sinks(&caller.scope),
        known: admin.reach.reached(&caller.scope),
    };
    let span = wanted.span(&admin.statement);
    let Some(rows) = admin.store.month_rows(&span, MOST_LINES).await.map_err(store_problem)? else {
        return Err(bad_parameter(format!(
            "The statement of {month} has more than {MOST_LINES} payments: limit it by `endpoint` or `sink`."
        )));
    };
    let statement = statement::draw(&wanted, &admin.statement, rows);
    Ok(match format {
        Format::Json => Json(statement).into_response(),
        Format::Csv => {
            file(statement::csv::csv(&statement, language), "text/csv; charset=utf-8", &format!("finkare-{month}.csv"))
        }
        Format::Fec => file(
            statement::fec::fec(&statement, &admin.statement.accounts),
            "text/plain; charset=utf-8",
            &format!("finkare-{month}-fec.txt"),
        ),
    })
}

/// True if the caller may know the sink: a configured one, or one that has left bookings behind.
async fn is_known(admin: &Admin, caller: &Caller, sink: &str) -> Result<bool, Problem> {
    if admin.statement.sinks.iter().any(|known| known.name == sink) {
        return Ok(admin.reach.reaches(&caller.scope, sink));
    }
    if caller.scope.is_limited() || sink.contains('\0') {
        return Ok(false);
    }
    let filter = BookingFilter { sink: Some(sink.to_owned()), ..BookingFilter::default() };
    Ok(!admin.store.bookings(&filter, 1).await.map_err(store_problem)?.rows.is_empty())
}

/// An answer that a browser saves under this name.
fn file(text: String, kind: &'static str, name: &str) -> Response {
    let mut response = ([(header::CONTENT_TYPE, kind)], text).into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}
