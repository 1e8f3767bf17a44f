//! Routes: which sinks get an event, by its type, by its endpoint and by an expression over its body ([`Filter`]).

use std::{cell::OnceCell, fmt};

pub use super::filter::Filter;
use crate::model::{
    id::{EndpointName, SinkName},
    notice,
};

/// Which event types a sink wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// `"*"`: all events of Finkare's, including unknown types and unreadable bodies.
    All,
    /// Only these types. `"*"` among them means all of Finkare's, `"relay.*"` all of the relay's own.
    Types(Vec<String>),
}

impl Selection {
    /// The default of a sink: payments and status changes.
    pub const DEFAULT: [&'static str; 2] = ["payment.received", "invoice.status_changed"];

    fn wants(&self, event_type: &str) -> bool {
        match self {
            Selection::All => !notice::is_own(event_type),
            Selection::Types(types) => {
                let is_own = notice::is_own(event_type);
                types.iter().any(|wanted| {
                    wanted == event_type || (is_own && wanted == notice::ALL) || (!is_own && wanted == "*")
                })
            }
        }
    }
}

/// The events that one sink gets.
#[derive(Debug, Clone)]
pub struct Route {
    /// The sink.
    pub sink: SinkName,
    /// The types.
    pub events: Selection,
    /// The endpoints; `None` means all.
    pub endpoints: Option<Vec<EndpointName>>,
    /// Only events that match this filter.
    pub filter: Option<Filter>,
}

/// The decision of a route about an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The sink gets it.
    Taken,
    /// The route does not include this type.
    OtherType,
    /// One of the relay's own events, about this very sink.
    AboutItself,
    /// The route does not include this endpoint.
    OtherEndpoint,
    /// The filter does not match, or needs a field that is missing.
    NoMatch,
    /// There is a filter, and the body is not JSON.
    NotJson,
    /// The filter failed, or compared values of different kinds, which counts as no match. The text is the reason.
    Failed(String),
}

impl Decision {
    /// True if the sink gets it.
    pub fn is_taken(&self) -> bool {
        *self == Self::Taken
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("the sink gets it"),
            Self::OtherType => f.write_str("the sink does not ask for this type (`events`)"),
            Self::AboutItself => f.write_str("the event is about this sink itself"),
            Self::OtherEndpoint => {
                f.write_str("the sink does not take events of this endpoint (`endpoints`, or `live` and the sandbox)")
            }
            Self::NoMatch => f.write_str("its `filter` does not match this event, or needs a field that is missing"),
            Self::NotJson => f.write_str("it has a `filter`, and the body is not JSON"),
            Self::Failed(word) => write!(f, "its `filter` failed on this event, which counts as no match: {word}"),
        }
    }
}

/// A message that is parsed once, when a filter needs it.
#[derive(Debug)]
pub struct Body<'a> {
    message: &'a [u8],
    parsed: OnceCell<Option<serde_json::Value>>,
}

impl<'a> Body<'a> {
    /// Not parsed yet.
    pub fn new(message: &'a [u8]) -> Self {
        Self { message, parsed: OnceCell::new() }
    }

    fn json(&self) -> Option<&serde_json::Value> {
        self.parsed.get_or_init(|| serde_json::from_slice(self.message).ok()).as_ref()
    }
}

impl Route {
    /// True if only the filter can still reject the event. Without a filter the body is not needed.
    pub fn wants(&self, endpoint: &str, event_type: &str) -> bool {
        self.refusal(endpoint, event_type).is_none()
    }

    fn refusal(&self, endpoint: &str, event_type: &str) -> Option<Decision> {
        if !self.events.wants(event_type) {
            return Some(Decision::OtherType);
        }
        let is_other =
            self.endpoints.as_ref().is_some_and(|wanted| wanted.iter().all(|name| name.as_str() != endpoint));
        is_other.then_some(Decision::OtherEndpoint)
    }

    /// Decides whether the sink gets an event, with the reason.
    pub fn decide(&self, endpoint: &str, event_type: &str, body: &Body<'_>) -> Decision {
        if let Some(refusal) = self.refusal(endpoint, event_type) {
            return refusal;
        }
        self.filtered(body)
    }

    /// Decides whether the sink gets one of the relay's own events. `routes` are those of all sinks, and `all` the names of
    /// all endpoints.
    pub fn decide_own(&self, routes: &[Route], all: &[EndpointName], own: Own<'_>, body: &Body<'_>) -> Decision {
        if !self.events.wants(own.event_type) {
            return Decision::OtherType;
        }
        if own.sink == Some(self.sink.as_str()) {
            return Decision::AboutItself;
        }
        let is_among = |endpoints: &[EndpointName]| {
            if let Some(endpoint) = own.endpoint {
                return endpoints.iter().any(|name| name.as_str() == endpoint);
            }
            // What is about a sink belongs to the endpoints of that sink, and what is about nothing to all.
            let of_sink = own
                .sink
                .and_then(|about| routes.iter().find(|route| route.sink.as_str() == about))
                .and_then(|route| route.endpoints.as_deref())
                .unwrap_or(all);
            of_sink.iter().all(|name| endpoints.contains(name))
        };
        if self.endpoints.as_deref().is_some_and(|endpoints| !is_among(endpoints)) {
            return Decision::OtherEndpoint;
        }
        self.filtered(body)
    }

    fn filtered(&self, body: &Body<'_>) -> Decision {
        let Some(filter) = &self.filter else { return Decision::Taken };
        let Some(json) = body.json() else { return Decision::NotJson };
        match filter.matches(json) {
            Ok(true) => Decision::Taken,
            Ok(false) => Decision::NoMatch,
            Err(error) => Decision::Failed(error),
        }
    }
}

/// The sinks that get an event.
///
/// The body is parsed only if a filter needs it, and only once.
pub fn sinks_for(routes: &[Route], endpoint: &str, event_type: &str, message: &[u8]) -> Vec<SinkName> {
    let body = Body::new(message);
    taken(routes.iter().map(|route| (route, route.decide(endpoint, event_type, &body))), event_type)
}

/// What one of the relay's own events is about.
#[derive(Debug, Clone, Copy)]
pub struct Own<'e> {
    /// Its type.
    pub event_type: &'e str,
    /// The endpoint that it is about.
    pub endpoint: Option<&'e str>,
    /// The sink that it is about.
    pub sink: Option<&'e str>,
}

impl<'e> Own<'e> {
    /// Reads what a stored event is about; `endpoint` is empty for none.
    pub fn read(event_type: &'e str, endpoint: &'e str, body: &'e Body<'_>) -> Self {
        let sink = body.json().and_then(|json| json["data"]["sink"].as_str());
        Self { event_type, endpoint: Some(endpoint).filter(|name| !name.is_empty()), sink }
    }
}

/// The sinks that get one of the relay's own events: those that ask for it, and never the one that it is about. `all` has
/// the names of all endpoints.
pub fn sinks_for_own(routes: &[Route], all: &[EndpointName], own: Own<'_>, body: &Body<'_>) -> Vec<SinkName> {
    taken(routes.iter().map(|route| (route, route.decide_own(routes, all, own, body))), own.event_type)
}

/// The sinks of the routes that take it. A filter that failed is logged.
fn taken<'r>(decided: impl Iterator<Item = (&'r Route, Decision)>, event_type: &str) -> Vec<SinkName> {
    let mut sinks = Vec::new();
    for (route, decision) in decided {
        match decision {
            Decision::Taken => sinks.push(route.sink.clone()),
            Decision::OtherType
            | Decision::AboutItself
            | Decision::OtherEndpoint
            | Decision::NoMatch
            | Decision::NotJson => {}
            Decision::Failed(error) => tracing::warn!(
                sink.name = %route.sink, event.r#type = event_type, %error,
                "a filter failed on an event: the event counts as not matching"
            ),
        }
    }
    sinks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment(cents: i64) -> serde_json::Value {
        serde_json::json!({"event": "payment.received", "data": {"invoiceId": "i", "amountCents": cents}})
    }

    #[test]
    fn routes_by_type_endpoint_and_filter() {
        let route = |name: &str, events: Selection, endpoints: Option<&str>, filter: Option<&str>| Route {
            sink: SinkName::new(name).unwrap(),
            events,
            endpoints: endpoints.map(|name| vec![EndpointName::new(name).unwrap()]),
            filter: filter.map(|text| Filter::compile(text).unwrap()),
        };
        let payments = || Selection::Types(vec!["payment.received".into()]);
        let routes = [
            route("all", Selection::All, None, None),
            route("payments", payments(), Some("production"), None),
            route("other-endpoint", payments(), Some("sandbox"), None),
            route("large", payments(), None, Some("data.amountCents > 500")),
            route("small", payments(), None, Some("data.amountCents <= 500")),
        ];
        let names = |message: &[u8]| {
            let reading = crate::model::event::read(message);
            let sinks = sinks_for(&routes, "production", &reading.event_type, message);
            sinks.iter().map(|sink| sink.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(payment(501).to_string().as_bytes()), ["all", "payments", "large"]);
        assert_eq!(names(payment(500).to_string().as_bytes()), ["all", "payments", "small"]);
        let why = |index: usize, endpoint, event_type, message: &[u8]| {
            routes[index].decide(endpoint, event_type, &Body::new(message))
        };
        let body = payment(500).to_string();
        assert_eq!(why(1, "production", "ping", body.as_bytes()), Decision::OtherType);
        assert_eq!(why(2, "production", "payment.received", body.as_bytes()), Decision::OtherEndpoint);
        assert_eq!(why(3, "production", "payment.received", body.as_bytes()), Decision::NoMatch);
        assert_eq!(why(3, "production", "payment.received", b"not json"), Decision::NotJson);
        assert!(why(4, "production", "payment.received", body.as_bytes()).is_taken());
        assert!(
            routes[4].wants("production", "payment.received") && !routes[2].wants("production", "payment.received")
        );
        assert_eq!(names(b"not json"), ["all"], "what cannot be read goes to those who want everything");
    }
}
