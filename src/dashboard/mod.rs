//! The dashboard: pages for people who have no terminal. What waits for me, and did this payment arrive?
//!
//! ```text
//! browser ─▶ headers ─▶ session ─▶ language ─▶ page ─▶ api ─▶ web::admin (the same routes that programs call)
//!            CSP …      who?       fr, en       │
//!                       sign_in, links,         └─ templates/*.html, texts/{fr,en}.rs
//!                       forms, attempts
//! ```
//!
//! Who may look is decided in [`session`]: people who signed in with an admin token (`sign_in`), visitors who came by a link
//! (`links`), and whoever is on this machine while no token is configured. `forms` refuses what pages of other sites send,
//! and `attempts` slows those down who guess tokens.
//!
//! A page is a client of the admin API inside of this process (`api`): it asks in the name of the person who looks, and
//! renders the answer. So roles, tokens that are limited to endpoints, bounds and the audit trail are the API's, and a page
//! cannot show or do more than the API would. Everything works without a script; the script adds the refresh, copying, and
//! ticking all rows.
//!
//! # How to add a page
//!
//! Write the handler in the file of its subject, with a template; add it to [`router()`], its texts to `texts/fr.rs` and
//! `texts/en.rs`, and its path to the browser tests, which look at every page in both languages. An action is a `POST` that
//! answers 303, with a page of `confirm` before it if it cannot be taken back.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Redirect, Response},
    routing::{any, get, post},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use self::{
    api::Api,
    session::{Access, Entrance, Identity},
    texts::Texts,
    visit::{Visit, Zones},
};
use crate::{
    model::{clock, language::Language},
    web::{admin::Admin, error::Problem},
};

mod api;
mod assets;
mod attempts;
mod chart;
mod confirm;
mod dispatches;
mod endpoints;
mod entering;
mod events;
mod failing;
mod forms;
mod links;
mod payments;
mod pictures;
mod reconciliations;
mod search;
mod service;
pub mod session;
mod sign_in;
mod sinks;
mod statement;
mod texts;
mod todo;
mod trail;
mod visit;
mod words;

/// What every page needs.
#[derive(Debug, Clone)]
struct Dashboard {
    api: Router,
    zones: Arc<Zones>,
}

impl Dashboard {
    /// A look at one page by whoever it is. True if the address has chosen the language, which is then kept.
    fn visit(&self, identity: Identity, request: &Request) -> (Visit, bool) {
        let uri = request.uri();
        let (language, is_chosen) = language(request.headers(), uri.query().unwrap_or_default());
        let visit = Visit {
            language,
            t: Texts::of(language),
            api: Api::new(self.api.clone(), identity.caller.clone()),
            identity,
            // The answer to a form has no address of its own: its links lead to the page that the form stands on.
            here: match uri.path_and_query() {
                Some(here) if is_look(request) => here.as_str().to_owned(),
                _ => back(request),
            },
            zones: self.zones.clone(),
            now: clock::now(),
        };
        (visit, is_chosen)
    }
}

/// Sent with every page. Nothing but the page's own stylesheet, script and pictures is loaded; forms go only here; no other
/// site may frame it, and no address of it reaches another site.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not `no-referrer`: a browser would then send `Origin: null` with our own forms.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=()"),
];

/// The cookie that keeps the language.
const LANGUAGE_COOKIE: &str = "relay_lang";

/// The pages, below `/ui/`. They stand behind the admin listener's gate.
pub fn router(admin: &Arc<Admin>, entrance: Arc<Entrance>) -> Router {
    let usual = admin.meters.first().and_then(|(name, _)| admin.statement.zones.get(name.as_str()));
    let usual = usual.cloned().unwrap_or_else(|| admin.statement.zone_of(None));
    let zones = Arc::new(Zones { of: admin.statement.zones.clone(), usual });
    let access = Arc::new(Access::new(admin.clone(), entrance));
    let dashboard = Dashboard { api: crate::web::admin::api(admin), zones };
    let pages = Router::new()
        .route("/ui/", get(todo::show))
        .route("/ui/events", get(events::list))
        .route("/ui/events/replay", get(events::ask_replay_many).post(events::replay_many))
        .route("/ui/events/{id}", get(events::show))
        .route("/ui/events/{id}/replay", get(events::ask_replay).post(events::replay))
        .route("/ui/payments", get(payments::list))
        .route("/ui/payments/{payment_id}", get(payments::show))
        .route("/ui/payments/{payment_id}/settle", get(payments::ask_settle).post(payments::settle))
        .route("/ui/dispatches", get(dispatches::list))
        .route("/ui/dispatches/confirm", get(dispatches::confirm))
        .route("/ui/dispatches/retry", post(dispatches::retry_all))
        .route("/ui/dispatches/cancel", post(dispatches::cancel_all))
        .route("/ui/dispatches/ticked", post(dispatches::ticked))
        .route("/ui/dispatches/{id}", get(dispatches::show))
        .route("/ui/dispatches/{id}/retry", post(dispatches::retry))
        .route("/ui/dispatches/{id}/cancel", get(dispatches::ask_cancel).post(dispatches::cancel))
        .route("/ui/sinks", get(sinks::list))
        .route("/ui/sinks/{name}", get(sinks::show))
        .route("/ui/sinks/{name}/pause", post(sinks::pause))
        .route("/ui/sinks/{name}/resume", post(sinks::resume))
        .route("/ui/sinks/{name}/test", post(sinks::test))
        .route("/ui/sinks/{name}/try", post(sinks::try_event))
        .route("/ui/endpoints", get(endpoints::list))
        .route("/ui/endpoints/{name}", get(endpoints::show))
        .route("/ui/endpoints/{name}/rotate", get(endpoints::ask_rotate).post(endpoints::rotate))
        .route("/ui/endpoints/{name}/register", get(endpoints::ask_register).post(endpoints::register))
        .route("/ui/endpoints/{name}/settle", get(endpoints::ask_settle).post(endpoints::settle))
        .route("/ui/reconciliations", get(reconciliations::list).post(reconciliations::begin))
        .route("/ui/reconciliations/{id}", get(reconciliations::show))
        .route("/ui/reconciliations/{id}/differences.csv", get(reconciliations::download))
        .route("/ui/statement", get(statement::show))
        .route("/ui/refusals", get(trail::refusals))
        .route("/ui/audit", get(trail::audit))
        .route("/ui/service", get(service::show))
        .route("/ui/service/reload", get(service::ask_reload).post(service::reload))
        .route("/ui/service/erase", get(service::ask_erase).post(service::erase))
        .route("/ui/service/links", post(service::make_link))
        .route("/ui/service/links/{id}/revoke", post(service::revoke_link))
        .route("/ui/logout", post(entering::end))
        .route("/ui/{*rest}", any(nothing_here))
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(dashboard.clone(), look))
        .layer(from_fn_with_state(access.clone(), session::identify));
    let entrances = Router::new()
        .route("/ui/login", get(entering::ask).post(entering::begin))
        .route("/ui/link/{secret}", get(links::visit))
        .method_not_allowed_fallback(wrong_method);
    Router::new()
        .route("/", get(async || Redirect::to("/ui/")))
        .route("/ui", get(async || Redirect::to("/ui/")))
        .route("/ui/assets/{name}", get(assets::serve))
        .merge(pages)
        .merge(entrances)
        .with_state(access)
        .layer(from_fn_with_state(dashboard, receive))
        .layer(from_fn(with_headers))
}

async fn nothing_here() -> Problem {
    Problem::no_such_path()
}

async fn wrong_method() -> Problem {
    Problem::method_not_allowed("GET, HEAD")
}

/// Adds the headers of every page.
async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        // A page may be stricter.
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Around everything: before somebody is known, a page is shown to nobody. A problem becomes a page here, too, and the language
/// that was chosen is kept.
async fn receive(State(dashboard): State<Dashboard>, mut request: Request, next: Next) -> Response {
    let (visit, is_chosen) = dashboard.visit(Identity::nobody(), &request);
    let back = back(&request);
    request.extensions_mut().insert(visit.clone());
    let mut response = shown(&visit, next.run(request).await, back);
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("accept-language, cookie"));
    if is_chosen {
        let word = visit.language.as_str();
        let cookie = format!("{LANGUAGE_COOKIE}={word}; Path=/ui; Max-Age=31536000; SameSite=Lax; HttpOnly");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
    response
}

/// Around every page of somebody who is known: lends it the API in their name, and shows a problem as a page of theirs.
async fn look(State(dashboard): State<Dashboard>, mut request: Request, next: Next) -> Response {
    let Some(identity) = request.extensions().get::<Identity>().cloned() else {
        // The layer outside of this one lets nobody through without one.
        return Problem::internal().into_response();
    };
    let (visit, _) = dashboard.visit(identity, &request);
    let back = back(&request);
    request.extensions_mut().insert(visit.clone());
    shown(&visit, next.run(request).await, back)
}

/// An answer as a page: a problem is shown in the reader's language.
fn shown(visit: &Visit, mut response: Response, back: String) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return failing::page(visit, &problem, back);
    }
    let is_html =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if response.status() == StatusCode::BAD_REQUEST && !is_html {
        // An extractor of axum's has refused the address.
        return failing::page(visit, &bad_input("the address could not be read"), back);
    }
    response
}

/// True for a request that only looks.
fn is_look(request: &Request) -> bool {
    request.method() == Method::GET || request.method() == Method::HEAD
}

/// Where "back" leads from a problem: to the page that a form was sent from as far as its address says, and else to the
/// front page.
fn back(request: &Request) -> String {
    let path = request.uri().path();
    if is_look(request) {
        return "/ui/".to_owned();
    }
    match path.trim_end_matches('/').rsplit_once('/') {
        Some((parent, _)) if parent.len() > "/ui".len() => parent.to_owned(),
        _ => "/ui/".to_owned(),
    }
}

/// The language: as the address says, as it was chosen before, as the browser asks for; else French. True if the address
/// says it, which is then kept.
fn language(headers: &HeaderMap, query: &str) -> (Language, bool) {
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("lang=")).and_then(|word| word.parse().ok());
    if let Some(language) = asked {
        return (language, true);
    }
    let kept = cookie(headers, LANGUAGE_COOKIE).and_then(|word| word.parse().ok());
    let language = kept.or_else(|| {
        let accepted = headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
        preferred(accepted)
    });
    (language.unwrap_or(Language::Fr), false)
}

/// A cookie of a request.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// The one of our languages that a browser prefers (RFC 9110, section 12.5.4).
fn preferred(accepted: &str) -> Option<Language> {
    let weighed = accepted.split(',').filter_map(|part| {
        let (tag, parameters) = part.split_once(';').unwrap_or((part, ""));
        let weight = parameters.trim().strip_prefix("q=").map_or(Some(1.0), |weight| weight.parse::<f32>().ok())?;
        let tag = tag.trim().to_ascii_lowercase();
        let language = tag.split('-').next()?.parse::<Language>().ok()?;
        (weight > 0.0).then_some((language, weight))
    });
    // The first of equal ones counts.
    weighed.reduce(|best, other| if other.1 > best.1 { other } else { best }).map(|(language, _)| language)
}

/// 400: a form or an address cannot be used.
fn bad_input(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_parameter", format!("The request is not usable: {detail}."))
}

/// An answer that a browser saves under this name.
fn file(text: String, kind: &'static str, name: &str) -> Response {
    let mut response = ([(header::CONTENT_TYPE, kind)], text).into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_s_language_is_chosen() {
        for (accepted, expected) in [
            ("fr-FR,fr;q=0.9,en;q=0.8", Some(Language::Fr)),
            ("en-GB,en;q=0.9,fr;q=0.8", Some(Language::En)),
            ("de-DE,de;q=0.9,en;q=0.7", Some(Language::En)),
            ("en;q=0.5, fr", Some(Language::Fr)),
            ("fr;q=0, en", Some(Language::En)),
            ("de, *;q=0.1", None),
            ("", None),
        ] {
            assert_eq!(preferred(accepted), expected, "{accepted}");
        }
        let headers = |cookie: &'static str| {
            HeaderMap::from_iter([
                (header::COOKIE, HeaderValue::from_static(cookie)),
                (header::ACCEPT_LANGUAGE, HeaderValue::from_static("fr")),
            ])
        };
        assert_eq!(language(&headers("a=b; relay_lang=en"), ""), (Language::En, false));
        assert_eq!(language(&headers("relay_lang=en"), "q=x&lang=fr"), (Language::Fr, true));
        assert_eq!(language(&headers("relay_lang=xx"), "lang=de"), (Language::Fr, false));
        assert_eq!(language(&HeaderMap::new(), ""), (Language::Fr, false));
    }
}
