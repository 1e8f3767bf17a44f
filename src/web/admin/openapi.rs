//! `GET /openapi.json`: the OpenAPI document of the admin listener, generated from the code.
//!
//! Each handler has its own description (`#[utoipa::path]`). The router is built from these descriptions, so there is no
//! route without one. This module adds what all routes have in common: the token, the answers of the middleware and of
//! the extractors, and that every error is a problem document.
//!
//! A copy is committed as `docs/openapi.json`; a test compares the two. `scripts/schemathesis` checks a running service
//! against it.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Components, Content, Ref, RefOr, ResponseBuilder, Schema,
        path::{Operation, PathItem},
        schema::ArrayItems,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use super::super::{error::Document, health};

/// The prefix of the routes that require a token.
pub(super) const PREFIX: &str = "/api/v1";

/// The name of the security scheme.
const BEARER: &str = "bearer";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "finkare-relay: admin API",
        description = "Operators use this API to look at deliveries of Finkare's webhooks and to decide about them.\n\nLists are \
                       paged: pass `next_cursor` as `cursor` to get the next rows. Times are RFC 3339 in UTC; names of \
                       durations end in their unit. Errors are problem documents (RFC 9457) with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Document<'_>)),
    modifiers(&Common),
    tags(
        (name = "events", description = "Finkare's events, each stored once"),
        (name = "dispatches", description = "One event for one sink, with its state"),
        (name = "sinks", description = "The configured targets"),
        (name = "endpoints", description = "Webhooks registered at Finkare, and their secrets"),
        (name = "invoices", description = "Operations on everything that belongs to one invoice"),
        (name = "refusals", description = "Deliveries that were rejected"),
        (name = "payments", description = "Payments, with what became of them and what is still to be done"),
        (name = "bookings", description = "Payments that were recorded in invoicing software"),
        (name = "reconciliations", description = "Finkare's payments compared with the events and the books"),
        (name = "links", description = "Links for people without a token, who look at some pages of one endpoint"),
        (name = "audit", description = "The audit trail: who did what, and when"),
        (name = "service", description = "The service itself"),
    ),
)]
struct Api;

/// What all routes have in common.
struct Common;

impl Modify for Common {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let bearer = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of `[admin] tokens`, or `RELAY_ADMIN_TOKEN`."));
        let components = api.components.get_or_insert_default();
        components.add_security_scheme(BEARER, SecurityScheme::Http(bearer.build()));
    }
}

/// The document.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    let (_, described) = utoipa_axum::router::OpenApiRouter::with_openapi(Api::openapi())
        .nest(PREFIX, super::guarded())
        .merge(super::open())
        .split_for_parts();
    let mut api = described.merge_from(health::routes().into_openapi());
    api.components.as_mut().map(name_rows);
    for (path, item) in &mut api.paths.paths {
        let is_guarded = path.starts_with(PREFIX);
        for operation in operations(item) {
            complete(operation, is_guarded);
        }
    }
    api
}

/// The schema of a row is inlined in the schema of its list. This gives the row its name back, so that generated clients
/// have one type per kind of row.
fn name_rows(components: &mut Components) {
    let mut rows = Vec::new();
    for (name, schema) in &mut components.schemas {
        if let Some(row) = name.strip_prefix("List_")
            && let RefOr::T(Schema::Object(list)) = schema
            && let Some(RefOr::T(Schema::Array(data))) = list.properties.get_mut("data")
            && let ArrayItems::RefOrSchema(items) = &mut data.items
        {
            let named = RefOr::Ref(Ref::from_schema_name(row));
            rows.push((row.to_owned(), std::mem::replace(&mut **items, named)));
        }
    }
    components.schemas.extend(rows);
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post].into_iter().flatten()
}

/// Adds the answers that a handler does not describe itself.
fn complete(operation: &mut Operation, is_guarded: bool) {
    let has_body = operation.request_body.is_some();
    let mut add = |status: StatusCode, description: &str| {
        let response = || ResponseBuilder::new().description(description).build().into();
        operation.responses.responses.entry(status.as_str().to_owned()).or_insert_with(response);
    };
    if is_guarded {
        add(StatusCode::UNAUTHORIZED, "The token is missing or not known: `unauthorized`.");
        add(
            StatusCode::FORBIDDEN,
            "The token's role is too low: `role_too_low`; no token is configured and the caller is not on this machine: \
             `loopback_only`, or a proxy forwarded the request: `forwarded`; the host of the request is not accepted: \
             `unknown_host`; a page of another site sent the request: `cross_site`.",
        );
        add(
            StatusCode::SERVICE_UNAVAILABLE,
            "It may succeed later: `store_unavailable`, `stopping`, `secrets_unreadable`.",
        );
    }
    if !is_guarded {
        add(
            StatusCode::FORBIDDEN,
            "The host of the request is not accepted: `unknown_host`; a page of another site sent the request: `cross_site`; \
             no token is configured and a proxy forwarded the request: `forwarded`.",
        );
    }
    if has_body {
        add(
            StatusCode::BAD_REQUEST,
            "The body is not JSON: `bad_body`; a parameter or a value is invalid: `bad_parameter`.",
        );
        add(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time: `too_slow`.");
        add(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large: `too_large`.");
    } else if operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty()) {
        add(StatusCode::BAD_REQUEST, "A parameter is invalid or unknown: `bad_parameter`.");
    }
    add(StatusCode::INTERNAL_SERVER_ERROR, "A bug in the service; the log has the details: `internal`.");
    if is_guarded {
        operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(BEARER, [])]);
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && response.content.is_empty()
            && status.as_str() >= "400"
        {
            let problem = Content::builder().schema(Some(Ref::from_schema_name("Problem"))).build();
            response.content.insert("application/problem+json".to_owned(), problem.into());
        }
    }
}

/// The document as it is served, printed and committed.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let mut text = document().to_pretty_json().expect("names and texts always serialise");
        text.push('\n');
        text
    });
    &TEXT
}

/// Returns this document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "service",
    responses((status = 200, description = "OpenAPI", body = Object, content_type = "application/json"))
)]
pub async fn show() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text()).into_response()
}
