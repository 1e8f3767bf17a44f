//! Which sinks asked for an event: by type, by endpoint, by an expression over the body.
//!
//! The expression language is minijinja's (<https://docs.rs/minijinja>), compiled when the service
//! starts and bounded by fuel, so that no expression can hold up a delivery. One thing is added to
//! it, because filters decide over money: **a missing field is not a match**. In minijinja a
//! missing field is smaller than every number, so that `data.amountCents < 10000` would be true of
//! a body without an amount. Here an expression matches only if it is true whatever the missing
//! fields might hold; see [`Filter::matches`].

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use minijinja::{
    Environment, Expression, UndefinedBehavior,
    value::{Enumerator, Object, ObjectRepr, Value},
};

use crate::model::{
    event::Reading,
    id::{EndpointName, SinkName},
};

/// Steps that one evaluation may take; an expression over one body needs a few dozen.
const FUEL: u64 = 10_000;

/// How many levels above the compared field may be missing altogether.
const DEEPEST: u8 = 4;

/// Which event types a sink wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// `"*"`: everything, also what is unknown or could not be read.
    All,
    /// Just these types.
    Types(Vec<String>),
}

impl Selection {
    /// What a sink gets whose operator did not say: payments and status changes.
    pub const DEFAULT: [&'static str; 2] = ["payment.received", "invoice.status_changed"];

    fn wants(&self, event_type: &str) -> bool {
        match self {
            Selection::All => true,
            Selection::Types(types) => types.iter().any(|wanted| wanted == event_type),
        }
    }
}

/// What one sink asked for.
#[derive(Debug, Clone)]
pub struct Route {
    /// The sink.
    pub sink: SinkName,
    /// Which types.
    pub events: Selection,
    /// Of which endpoints; `None` is all.
    pub endpoints: Option<Vec<EndpointName>>,
    /// Only events of which this is true.
    pub filter: Option<Filter>,
}

/// The sinks that asked for an event.
///
/// The body is parsed only if a filter has to see it, and once.
pub fn sinks_for(routes: &[Route], endpoint: &EndpointName, reading: &Reading, message: &[u8]) -> Vec<SinkName> {
    let mut body: Option<Option<Arc<serde_json::Value>>> = None;
    let mut sinks = Vec::new();
    for route in routes {
        if !route.events.wants(&reading.event_type)
            || route.endpoints.as_ref().is_some_and(|wanted| !wanted.contains(endpoint))
        {
            continue;
        }
        if let Some(filter) = &route.filter {
            let body = body.get_or_insert_with(|| serde_json::from_slice(message).ok().map(Arc::new));
            let matched = match body {
                Some(body) => filter.matches(body),
                None => Ok(false),
            };
            match matched {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    tracing::warn!(
                        sink.name = %route.sink, event.r#type = reading.event_type, %error,
                        "a filter failed on an event: it counts as no match"
                    );
                    continue;
                }
            }
        }
        sinks.push(route.sink.clone());
    }
    sinks
}

/// A compiled filter expression.
#[derive(Clone)]
pub struct Filter {
    source: Arc<str>,
    expression: Arc<Expression<'static, 'static>>,
    /// What a missing field might hold, as far as this expression could tell the difference.
    guesses: Arc<[Value]>,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.source).finish()
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Filter {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What the expression library says of the text, on one line.
    pub fn compile(source: &str) -> Result<Self, String> {
        let expression = environment()
            .compile_expression_owned(source.to_owned())
            .map_err(|error| error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))?;
        let mut guesses = vec![Value::from_object(Anything)];
        for literal in literals(source) {
            guesses.push(literal.clone());
            // The missing field may be one on the way to the one compared: `data.debtor.country`.
            guesses.extend((1..=DEEPEST).map(|depth| Value::from_object(Below { depth, value: literal.clone() })));
        }
        Ok(Self { source: source.into(), expression: Arc::new(expression), guesses: guesses.into() })
    }

    /// True if the expression is exactly `true` of this body.
    ///
    /// Where the body lacks a field that the expression looked at (or holds `null` there), the
    /// expression has to stay true when that field holds something larger than all else, or any of
    /// the literals that stand in the expression: so `data.newStatus != 'paid'` does not match a
    /// body without `newStatus`, while `data.amountCents >= 1 or event == 'ping'` does match a ping.
    ///
    /// # Errors
    /// The library's word when the evaluation fails or runs out of fuel.
    pub fn matches(&self, body: &Arc<serde_json::Value>) -> Result<bool, String> {
        let touched = Arc::new(AtomicBool::new(false));
        if !self.is_true(body, None, &touched)? {
            return Ok(false);
        }
        if !touched.load(Relaxed) {
            return Ok(true);
        }
        for guess in self.guesses.iter() {
            // A guess of the wrong type may make a sub-expression fail; then it is not true of it.
            if !self.is_true(body, Some(guess), &touched).unwrap_or(false) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_true(
        &self,
        body: &Arc<serde_json::Value>,
        guess: Option<&Value>,
        touched: &Arc<AtomicBool>,
    ) -> Result<bool, String> {
        let root = seen(body, guess, touched);
        let result = self.expression.eval(root).map_err(|error| error.to_string())?;
        Ok(result == Value::from(true) && result.kind() == minijinja::value::ValueKind::Bool)
    }
}

/// One environment for all filters: no loader, no files, missing fields chain.
fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: std::sync::LazyLock<Environment<'static>> = std::sync::LazyLock::new(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_fuel(Some(FUEL));
        environment
    });
    &ENVIRONMENT
}

/// The numbers and quoted texts in an expression.
fn literals(source: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(start) = rest.find(|c: char| c == '"' || c == '\'' || c.is_ascii_digit()) {
        let after = &rest[start..];
        let first = after.chars().next().unwrap_or_default();
        let length = if first.is_ascii_digit() {
            let length = after.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(after.len());
            if let Ok(number) = after[..length].parse::<i64>() {
                found.push(Value::from(number));
            } else if let Ok(number) = after[..length].parse::<f64>() {
                found.push(Value::from(number));
            }
            length
        } else {
            let inner = &after[1..];
            let length = inner.find(first).unwrap_or(inner.len());
            found.push(Value::from(&inner[..length]));
            (length + 2).min(after.len())
        };
        rest = &after[length..];
    }
    found
}

/// Larger than every other value, equal to none.
#[derive(Debug)]
struct Anything;

impl Object for Anything {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// An object that holds a value so many steps down, under whatever names are asked for.
#[derive(Debug)]
struct Below {
    depth: u8,
    value: Value,
}

impl Object for Below {
    fn get_value(self: &Arc<Self>, _key: &Value) -> Option<Value> {
        Some(match self.depth {
            0 | 1 => self.value.clone(),
            deeper => Value::from_object(Below { depth: deeper - 1, value: self.value.clone() }),
        })
    }
}

/// A JSON object seen by an expression: notes when a field is asked for that is not there.
#[derive(Debug)]
struct View {
    fields: serde_json::Map<String, serde_json::Value>,
    guess: Option<Value>,
    touched: Arc<AtomicBool>,
}

impl Object for View {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match self.fields.get(key.as_str()?) {
            Some(value) if !value.is_null() => Some(seen(value, self.guess.as_ref(), &self.touched)),
            _ => {
                self.touched.store(true, Relaxed);
                self.guess.clone()
            }
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.fields.keys().map(Value::from).collect())
    }
}

fn seen(value: &serde_json::Value, guess: Option<&Value>, touched: &Arc<AtomicBool>) -> Value {
    match value {
        serde_json::Value::Object(fields) => {
            Value::from_object(View { fields: fields.clone(), guess: guess.cloned(), touched: touched.clone() })
        }
        serde_json::Value::Array(items) => {
            Value::from(items.iter().map(|item| seen(item, guess, touched)).collect::<Vec<_>>())
        }
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Bool(truth) => Value::from(*truth),
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(whole)) => Value::from(whole),
            (None, None) => number.as_f64().map_or_else(Value::default, Value::from),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, body: serde_json::Value) -> bool {
        Filter::compile(filter).unwrap().matches(&Arc::new(body)).unwrap()
    }

    fn payment(cents: i64) -> serde_json::Value {
        serde_json::json!({"event": "payment.received", "data": {"invoiceId": "i", "amountCents": cents}})
    }

    #[test]
    fn compares_what_is_there() {
        assert!(matches("data.amountCents >= 10000", payment(10000)));
        assert!(!matches("data.amountCents >= 10000", payment(9999)));
        assert!(matches("data.amountCents < 10000 and event == 'payment.received'", payment(1)));
        assert!(matches("data['amountCents'] in [1, 2]", payment(2)));
        assert!(matches("'amountCents' in data", payment(2)));
        assert!(matches("data.lines[0].n == 1", serde_json::json!({"data": {"lines": [{"n": 1}]}})));
    }

    #[test]
    fn a_missing_field_is_not_a_match() {
        let status = serde_json::json!({"event": "invoice.status_changed", "data": {"note": null}});
        for filter in [
            "data.amountCents >= 10000",
            "data.amountCents < 10000",
            "not (data.amountCents >= 10000)",
            "not (data.amountCents < 10000)",
            "data['amountCents'] < 10000",
            "data.amountCents == 0",
            "data.newStatus != 'paid'",
            "data.newStatus not in ['paid', 'draft']",
            "data.debtor.country.code != 'FR'",
            "data.note < 5",
            "nothing.at.all < 1",
            "'amountCents' in data",
        ] {
            assert!(!matches(filter, status.clone()), "{filter}");
        }
        assert!(matches("data.amountCents >= 10000 or event == 'invoice.status_changed'", status));
    }

    #[test]
    fn only_true_itself_matches() {
        assert!(!matches("data.amountCents", payment(1)), "a number is not `true`");
        assert!(!matches("'yes'", payment(1)));
        assert!(matches("true", payment(1)));
    }

    #[test]
    fn an_endless_expression_ends() {
        let filter = Filter::compile("range(99999) | map('string') | list | length > data.amountCents").unwrap();
        // Whether the library stops it by its fuel or it ends by itself: it must come back.
        let _ = filter.matches(&Arc::new(payment(1)));
        assert!(Filter::compile("data.amountCents >=").is_err());
    }

    #[test]
    fn routes_by_type_endpoint_and_filter() {
        let endpoint = EndpointName::new("production").unwrap();
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
            let sinks = sinks_for(&routes, &endpoint, &crate::model::event::read(message), message);
            sinks.iter().map(|sink| sink.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(payment(501).to_string().as_bytes()), ["all", "payments", "large"]);
        assert_eq!(names(payment(500).to_string().as_bytes()), ["all", "payments", "small"]);
        assert_eq!(names(b"not json"), ["all"], "what cannot be read goes to those who want everything");
    }
}
