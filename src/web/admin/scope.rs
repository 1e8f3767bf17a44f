//! What a token that is limited to endpoints can see: only what belongs to them. Everything else does not exist for it:
//! lists leave it out in the store's own query, so that pages, cursors and counts say nothing of it, and a route that names
//! it answers 404.
//!
//! - An event, a dispatch and a refusal belong to their endpoint. A refusal at a path that no endpoint has belongs to none.
//! - A sink belongs to the token if it gets events of no other endpoint; its bookings, its pauses and its entries of the
//!   audit trail with it. A dispatch for a sink that several companies share is seen, the sink is not.
//! - What concerns the whole service (a reload, an erasure by invoice) does not exist for such a token.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use http::{Method, StatusCode};

use super::{super::error::Problem, not_found};
use crate::{
    ingest::route::Route,
    model::id::{EndpointName, SinkName},
};

/// The endpoints of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope(Option<Arc<[EndpointName]>>);

impl Scope {
    /// Limited to these endpoints; `None`: not limited.
    pub fn new(endpoints: Option<&[EndpointName]>) -> Self {
        Self(endpoints.map(Into::into))
    }

    /// The names, for a query of the store; `None`: all.
    pub fn endpoints(&self) -> Option<Vec<String>> {
        Some(self.0.as_ref()?.iter().map(|name| name.as_str().to_owned()).collect())
    }

    /// True if the token is limited.
    pub const fn is_limited(&self) -> bool {
        self.0.is_some()
    }

    /// True if the endpoint belongs to the token.
    pub fn has(&self, endpoint: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.iter().any(|name| name.as_str() == endpoint))
    }
}

/// Which endpoints each sink gets events of.
#[derive(Debug, Default)]
pub struct Reach {
    sinks: HashMap<String, Vec<EndpointName>>,
    /// All endpoints.
    all: Vec<EndpointName>,
}

impl Reach {
    /// The sinks of these routes.
    pub fn new(routes: &[Route], all: Vec<EndpointName>) -> Self {
        let of = |route: &Route| {
            let endpoints = route.endpoints.clone().unwrap_or_else(|| all.clone());
            (route.sink.as_str().to_owned(), endpoints)
        };
        Self { sinks: routes.iter().map(of).collect(), all }
    }

    /// True if the sink gets events of the token's endpoints alone. A sink that is no longer configured belongs to nobody.
    pub fn shows(&self, scope: &Scope, sink: &str) -> bool {
        !scope.is_limited()
            || self
                .sinks
                .get(sink)
                .is_some_and(|endpoints| !endpoints.is_empty() && endpoints.iter().all(|name| scope.has(name.as_str())))
    }

    /// True if the sink gets events of one of the token's endpoints at least.
    pub fn reaches(&self, scope: &Scope, sink: &str) -> bool {
        !scope.is_limited()
            || self.sinks.get(sink).is_some_and(|endpoints| endpoints.iter().any(|name| scope.has(name.as_str())))
    }

    /// The sinks that belong to the token, for a query of the store; `None`: all.
    pub fn sinks(&self, scope: &Scope) -> Option<Vec<String>> {
        scope.is_limited().then(|| self.sinks.keys().filter(|sink| self.shows(scope, sink)).cloned().collect())
    }

    /// The sinks that get events of one of the token's endpoints at least; `None`: all.
    pub fn reached(&self, scope: &Scope) -> Option<Vec<String>> {
        scope.is_limited().then(|| self.sinks.keys().filter(|sink| self.reaches(scope, sink)).cloned().collect())
    }

    /// The subjects of the audit trail that belong to the token; `None`: all.
    pub fn subjects(&self, scope: &Scope) -> Option<Vec<String>> {
        let sinks = self.sinks(scope)?.into_iter().map(|sink| format!("sink/{sink}"));
        let endpoints = self.all.iter().filter(|name| scope.has(name.as_str()));
        Some(endpoints.map(|name| format!("endpoint/{name}")).chain(sinks).collect())
    }

    /// Checks that the sinks that a request names exist for the token.
    ///
    /// # Errors
    /// 422, as for a sink that is not configured.
    pub fn named(&self, scope: &Scope, sinks: Option<&[String]>) -> Result<(), Problem> {
        match sinks.unwrap_or_default().iter().find(|sink| !self.reaches(scope, sink)) {
            Some(sink) if SinkName::new(sink).is_ok() => {
                let detail = format!("There is no sink `{sink}`.");
                Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_sink", detail))
            }
            Some(_) => Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_sink", "There is no such sink.")),
            None => Ok(()),
        }
    }

    /// Checks that a sink exists for the token.
    ///
    /// # Errors
    /// 404.
    pub fn sink(&self, scope: &Scope, sink: &str) -> Result<(), Problem> {
        if self.shows(scope, sink) { Ok(()) } else { Err(not_found("sink with this name")) }
    }
}

/// The routes that look at the token's endpoints; every other one does not exist for a token that is limited. So a new
/// route is hidden until somebody has decided what it shows.
static LIMITED: LazyLock<Vec<(Method, &str)>> = LazyLock::new(|| {
    [
        (Method::GET, "/events"),
        (Method::GET, "/events/{id}"),
        (Method::POST, "/events/{id}/replay"),
        (Method::POST, "/events/replay"),
        (Method::GET, "/dispatches"),
        (Method::GET, "/dispatches/{id}"),
        (Method::POST, "/dispatches/{id}/retry"),
        (Method::POST, "/dispatches/{id}/cancel"),
        (Method::POST, "/dispatches/retry"),
        (Method::POST, "/dispatches/cancel"),
        (Method::GET, "/waiting"),
        (Method::GET, "/reconciliations"),
        (Method::POST, "/reconciliations"),
        (Method::GET, "/reconciliations/{id}"),
        (Method::GET, "/refusals"),
        (Method::GET, "/payments"),
        (Method::GET, "/payments/{payment_id}"),
        (Method::GET, "/bookings"),
        (Method::POST, "/bookings/settle"),
        (Method::GET, "/statement"),
        (Method::GET, "/sinks"),
        (Method::POST, "/sinks/{name}/pause"),
        (Method::POST, "/sinks/{name}/resume"),
        (Method::POST, "/sinks/{name}/test"),
        (Method::POST, "/sinks/{name}/try"),
        (Method::GET, "/endpoints"),
        (Method::GET, "/endpoints/{name}/secrets"),
        (Method::GET, "/endpoints/{name}/deliveries"),
        (Method::POST, "/endpoints/{name}/rotate-secret"),
        (Method::POST, "/endpoints/{name}/register"),
        (Method::POST, "/endpoints/{name}/settle"),
        (Method::GET, "/traffic"),
        (Method::GET, "/links"),
        (Method::POST, "/links"),
        (Method::POST, "/links/{id}/revoke"),
        (Method::GET, "/audit"),
    ]
    .into()
});

/// True if a route exists for a token that is limited.
pub(super) fn is_for_limited(method: &Method, route: &str) -> bool {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    methods_for_limited(route).any(|known| known == method)
}

/// What such a token may do at a route, as the header `Allow` lists it; empty if the route does not exist for it.
pub(super) fn allowed_for_limited(route: &str) -> &'static str {
    let (mut reads, mut writes) = (false, false);
    for method in methods_for_limited(route) {
        reads |= method == Method::GET;
        writes |= method == Method::POST;
    }
    match (reads, writes) {
        (true, true) => "GET, HEAD, POST",
        (true, false) => "GET, HEAD",
        (false, true) => "POST",
        (false, false) => "",
    }
}

fn methods_for_limited(route: &str) -> impl Iterator<Item = &Method> {
    LIMITED.iter().filter_map(move |(method, path)| {
        // The whole route below the prefix.
        let prefix = route.strip_suffix(path)?;
        (prefix.is_empty() || prefix == super::openapi::PREFIX).then_some(method)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::route::Selection;

    fn name(name: &str) -> EndpointName {
        EndpointName::new(name).unwrap()
    }

    #[test]
    fn a_sink_belongs_to_a_token_that_has_all_its_endpoints() {
        let route = |sink: &str, endpoints: Option<&[&str]>| Route {
            sink: SinkName::new(sink).unwrap(),
            events: Selection::All,
            endpoints: endpoints.map(|names| names.iter().map(|text| name(text)).collect()),
            filter: None,
        };
        let routes = [route("acme", Some(&["acme"])), route("both", Some(&["acme", "beta"])), route("all", None)];
        let reach = Reach::new(&routes, vec![name("acme"), name("beta")]);
        let acme = Scope::new(Some(&[name("acme")]));
        let everything = Scope::new(None);
        let both = Scope::new(Some(&[name("acme"), name("beta")]));
        for (sink, sees, reaches) in
            [("acme", true, true), ("both", false, true), ("all", false, true), ("gone", false, false)]
        {
            assert_eq!((reach.shows(&acme, sink), reach.reaches(&acme, sink)), (sees, reaches), "{sink}");
            assert!(reach.shows(&everything, sink));
        }
        assert!(reach.shows(&both, "all") && !reach.shows(&both, "gone"));
        let mut subjects = reach.subjects(&acme).unwrap();
        subjects.sort();
        assert_eq!(subjects, ["endpoint/acme", "sink/acme"]);
        assert_eq!(reach.subjects(&everything), None);
    }

    #[test]
    fn what_nobody_has_decided_about_is_hidden() {
        assert!(is_for_limited(&Method::GET, "/api/v1/events/{id}") && is_for_limited(&Method::HEAD, "/api/v1/events"));
        for (method, route) in
            [(Method::POST, "/api/v1/reload"), (Method::POST, "/api/v1/events"), (Method::GET, "/api/v1/x/events")]
        {
            assert!(!is_for_limited(&method, route), "{method} {route}");
        }
        let allowed =
            ["/api/v1/reload", "/api/v1/x/events", "/api/v1/events", "/api/v1/events/replay"].map(allowed_for_limited);
        assert_eq!(allowed, ["", "", "GET, HEAD", "POST"]);
    }
}
