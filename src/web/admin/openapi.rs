//! `GET /openapi.json`: the OpenAPI document of the admin listener, made from the code.
//!
//! Each handler carries its own description (`#[utoipa::path]`), and the router is built from the same
//! descriptions, so that there is no route without one. What is alike everywhere is added here: the token,
//! what the middleware and the extractors answer, and that every error is a problem document.
//!
//! A copy is committed as `docs/openapi.json`; a test compares the two. `scripts/schemathesis` asks a running
//! service whether it keeps to it.

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

/// Where the routes stand that ask for a token.
pub(super) const PREFIX: &str = "/api/v1";

/// The name of the security scheme.
const BEARER: &str = "bearer";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "finkare-relay: admin API",
        description = "What an operator asks and decides about deliveries of Finkare's webhooks.\n\nLists are pages: hand \
                       `next_cursor` back as `cursor` for the next rows. Times are RFC 3339 in UTC, amounts of time \
                       have their unit in their name. Errors are problem documents (RFC 9457) with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Document<'_>)),
    modifiers(&Common),
    tags(
        (name = "events", description = "What Finkare said, stored once"),
        (name = "dispatches", description = "One event for one sink, with its state"),
        (name = "sinks", description = "Configured targets"),
        (name = "endpoints", description = "Webhooks registered at Finkare, and their secrets"),
        (name = "invoices", description = "What belongs to one invoice"),
        (name = "refusals", description = "Deliveries that were turned away"),
        (name = "bookings", description = "What was written of payments in invoicing software"),
        (name = "audit", description = "Who did what, when"),
        (name = "service", description = "The service itself"),
    ),
)]
struct Api;

/// What is alike everywhere.
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

/// A list's row is written into the list's schema; here it gets its name back, so that whoever makes types from
/// the document gets one per kind of row.
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

/// Adds what a handler does not say of itself.
fn complete(operation: &mut Operation, is_guarded: bool) {
    let has_body = operation.request_body.is_some();
    let mut add = |status: StatusCode, description: &str| {
        let response = || ResponseBuilder::new().description(description).build().into();
        operation.responses.responses.entry(status.as_str().to_owned()).or_insert_with(response);
    };
    if is_guarded {
        add(StatusCode::UNAUTHORIZED, "No token, or not one of ours: `unauthorized`.");
        add(
            StatusCode::FORBIDDEN,
            "The token's role is too low: `role_too_low`; no token is configured and the caller is not on this machine: \
             `loopback_only`, or a proxy handed the request on: `forwarded`; it is for a host that is not answered: \
             `unknown_host`; a page of another site asks: `cross_site`.",
        );
        add(
            StatusCode::SERVICE_UNAVAILABLE,
            "It may work later: `store_unavailable`, `stopping`, `secrets_unreadable`.",
        );
    }
    if !is_guarded {
        add(
            StatusCode::FORBIDDEN,
            "The request is for a host that is not answered: `unknown_host`; a page of another site asks: `cross_site`; \
             no token is configured, and a proxy handed it on: `forwarded`.",
        );
    }
    if has_body {
        add(
            StatusCode::BAD_REQUEST,
            "The body is not JSON: `bad_body`; a parameter or a value cannot be: `bad_parameter`.",
        );
        add(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time: `too_slow`.");
        add(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large: `too_large`.");
    } else if operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty()) {
        add(StatusCode::BAD_REQUEST, "A parameter cannot be, or is not known: `bad_parameter`.");
    }
    add(StatusCode::INTERNAL_SERVER_ERROR, "A bug of ours; the log has the details: `internal`.");
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

/// This document.
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
