//! Which sinks asked for an event: by type, by endpoint, by an expression over the body.
//!
//! The expression language is minijinja's (<https://docs.rs/minijinja>), compiled when the service
//! starts and bounded by fuel, so that no expression can hold up a delivery. One thing is added to
//! it, because filters decide over money: **a missing field is not a match**. In minijinja a
//! missing field is smaller than every number, so that `data.amountCents < 10000` would be true of
//! a body without an amount. Here each alternative of an `or` is judged alone, and one that needs a
//! field that is missing is not a match; see [`Filter::matches`].

use std::{
    cell::OnceCell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use minijinja::{
    Environment, Expression, UndefinedBehavior,
    value::{Enumerator, Object, ObjectRepr, Value, ValueKind},
};

use crate::model::id::{EndpointName, SinkName};

/// Steps that one evaluation may take; an expression over one body needs a few dozen.
const FUEL: u64 = 10_000;

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

/// What a route makes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The sink gets it.
    Taken,
    /// The sink did not ask for events of this type.
    OtherType,
    /// The sink did not ask for events of this endpoint.
    OtherEndpoint,
    /// The filter is not true of it, or needs a field that it does not have.
    NoMatch,
    /// There is a filter, and the body is no JSON that it could look at.
    NotJson,
    /// The filter failed, with the library's word; that counts as no match.
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
            Self::OtherEndpoint => {
                f.write_str("the sink does not take events of this endpoint (`endpoints`, or `live` and the sandbox)")
            }
            Self::NoMatch => f.write_str("its `filter` is not true of this event, or needs a field that is missing"),
            Self::NotJson => f.write_str("it has a `filter`, and the body is no JSON"),
            Self::Failed(word) => write!(f, "its `filter` failed on this event, which counts as no match: {word}"),
        }
    }
}

/// A message that is parsed when a filter asks for it, and once.
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
    /// True if nothing but the filter can be in the way: without one, the body need not be known.
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

    /// Whether the sink gets an event, and if not, why.
    pub fn decide(&self, endpoint: &str, event_type: &str, body: &Body<'_>) -> Decision {
        if let Some(refusal) = self.refusal(endpoint, event_type) {
            return refusal;
        }
        let Some(filter) = &self.filter else { return Decision::Taken };
        let Some(json) = body.json() else { return Decision::NotJson };
        match filter.matches(json) {
            Ok(true) => Decision::Taken,
            Ok(false) => Decision::NoMatch,
            Err(error) => Decision::Failed(error),
        }
    }
}

/// The sinks that asked for an event.
///
/// The body is parsed only if a filter has to see it, and once.
pub fn sinks_for(routes: &[Route], endpoint: &str, event_type: &str, message: &[u8]) -> Vec<SinkName> {
    let body = Body::new(message);
    let mut sinks = Vec::new();
    for route in routes {
        match route.decide(endpoint, event_type, &body) {
            Decision::Taken => sinks.push(route.sink.clone()),
            Decision::OtherType | Decision::OtherEndpoint | Decision::NoMatch | Decision::NotJson => {}
            Decision::Failed(error) => tracing::warn!(
                sink.name = %route.sink, event.r#type = event_type, %error,
                "a filter failed on an event: it counts as no match"
            ),
        }
    }
    sinks
}

/// A compiled filter expression.
#[derive(Clone)]
pub struct Filter {
    source: Arc<str>,
    alternatives: Arc<[Alternative]>,
}

/// What stands between two `or`s of a filter.
struct Alternative {
    expression: Expression<'static, 'static>,
    /// The fields that it names by dots: `["data", "amountCents"]`.
    named: Vec<Vec<String>>,
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
        let whole = Alternative::compile(source)?;
        // A part that is no expression by itself would mean that it was cut in a wrong place. The
        // whole as one alternative matches less, never more.
        let parts: Result<Vec<_>, _> = alternatives(source).into_iter().map(Alternative::compile).collect();
        let alternatives = parts.unwrap_or_else(|_| vec![whole]);
        Ok(Self { source: source.into(), alternatives: alternatives.into() })
    }

    /// True if one alternative is exactly `true` of this body and looked at nothing that is missing.
    ///
    /// The alternatives are what stands between the `or`s of the expression, those in brackets not
    /// counted; each is evaluated by itself. Missing is a field that is not there or `null`, an
    /// item beyond the end of a list, and a field of what has no fields. Looking is enough, whatever
    /// is made of it: `data.newStatus != 'paid'` does not match a body without `newStatus`, nor does
    /// `data.newStatus is not defined`; `data.amountCents >= 1 or event == 'ping'` does match a ping.
    ///
    /// # Errors
    /// The library's word when no alternative matches and one failed or ran out of fuel, except over
    /// something missing, which is no match like any other.
    pub fn matches(&self, body: &serde_json::Value) -> Result<bool, String> {
        let missed = Arc::new(AtomicBool::new(false));
        let root = seen(body, &missed);
        let mut failure = None;
        for alternative in self.alternatives.iter() {
            missed.store(false, Relaxed);
            let result = alternative.expression.eval(root.clone());
            if missed.load(Relaxed) || alternative.named.iter().any(|path| leads_nowhere(body, path)) {
                continue;
            }
            match result {
                Ok(value) if value.kind() == ValueKind::Bool && value.is_true() => return Ok(true),
                Ok(_) => {}
                Err(error) => failure = Some(error.to_string()),
            }
        }
        failure.map_or(Ok(false), Err)
    }
}

impl Alternative {
    fn compile(source: &str) -> Result<Self, String> {
        let expression = environment()
            .compile_expression_owned(source.to_owned())
            .map_err(|error| error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))?;
        let named = expression.undeclared_variables(true);
        let named = named.iter().map(|path| path.split('.').map(str::to_owned).collect()).collect();
        Ok(Self { expression, named })
    }
}

/// True if a path goes on below a value that has no fields: the library sees a missing field there
/// without asking a [`View`].
fn leads_nowhere(body: &serde_json::Value, path: &[String]) -> bool {
    let mut value = body;
    for name in path {
        match value {
            serde_json::Value::Object(fields) => match fields.get(name) {
                Some(below) => value = below,
                // If it was asked for, the view has noticed.
                None => return false,
            },
            _ => return true,
        }
    }
    false
}

/// Cuts an expression at its `or`s, those in brackets and in texts not counted.
///
/// `a or b if c else d` binds the other way round and stays whole.
fn alternatives(source: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut depth, mut before) = (0, 0_usize, ' ');
    let mut rest = source.char_indices().peekable();
    while let Some((at, first)) = rest.next() {
        match first {
            '"' | '\'' => {
                while let Some((_, inner)) = rest.next() {
                    match inner {
                        '\\' => drop(rest.next()),
                        end if end == first => break,
                        _ => {}
                    }
                }
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ if is_of_word(first) => {
                let mut end = at + first.len_utf8();
                while let Some((at, more)) = rest.next_if(|(_, c)| is_of_word(*c)) {
                    end = at + more.len_utf8();
                }
                // Behind a full stop it is a field's name.
                if depth == 0 && before != '.' {
                    match &source[at..end] {
                        "or" => {
                            parts.push(&source[begin..at]);
                            begin = end;
                        }
                        "if" => return vec![source],
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        if !first.is_whitespace() {
            before = first;
        }
    }
    parts.push(&source[begin..]);
    parts
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// One environment for all filters: no loader, no files, missing fields chain.
fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: std::sync::LazyLock<Environment<'static>> = std::sync::LazyLock::new(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_fuel(Some(FUEL));
        // Fuel counts the expression's own steps, not what a library filter does with a list: without
        // this function a list is never longer than the body or the expression itself.
        environment.remove_global("range");
        environment
    });
    &ENVIRONMENT
}

/// A JSON object or list seen by an expression: notes when something is asked for that is not there.
#[derive(Debug)]
struct View<T> {
    content: T,
    missed: Arc<AtomicBool>,
}

impl<T> View<T> {
    /// What an expression gets: what is there, and a note if that is nothing.
    fn give(&self, found: Option<&serde_json::Value>) -> Option<Value> {
        let found = found.filter(|value| !value.is_null());
        if found.is_none() {
            self.missed.store(true, Relaxed);
        }
        found.map(|value| seen(value, &self.missed))
    }
}

impl Object for View<serde_json::Map<String, serde_json::Value>> {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.give(key.as_str().and_then(|key| self.content.get(key)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.content.keys().map(Value::from).collect())
    }
}

impl Object for View<Vec<serde_json::Value>> {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.give(key.as_usize().and_then(|place| self.content.get(place)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.content.len())
    }
}

fn seen(value: &serde_json::Value, missed: &Arc<AtomicBool>) -> Value {
    match value {
        serde_json::Value::Object(fields) => {
            Value::from_object(View { content: fields.clone(), missed: missed.clone() })
        }
        serde_json::Value::Array(items) => Value::from_object(View { content: items.clone(), missed: missed.clone() }),
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

    #[expect(clippy::needless_pass_by_value, reason = "most bodies are made for one call")]
    fn matches(filter: &str, body: serde_json::Value) -> bool {
        Filter::compile(filter).unwrap().matches(&body).unwrap()
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
        let data = serde_json::json!({"note": null, "empty": [], "nulls": [null]});
        let status = serde_json::json!({"event": "invoice.status_changed", "data": data});
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
            "'amountCents' not in data",
            "data.amountCents is not defined",
            "data.amountCents is undefined or data.amountCents < 5",
            "data.amountCents | default(0) < 10000",
            "(data.note ~ 'x') != 'paidx'",
            "data.a.b.c.d.e.f != 'FR'",
            "data['a']['b'] != 'FR'",
            "event.country != 'FR'",
            "event.country.code != 'FR'",
            "data.lines[0].kind != 'fee'",
            "data.lines[0] != 'fee' or data.lines[-3] != 'fee'",
            "data.empty[0] != 'fee'",
            "data.empty[-1] != 'fee'",
            "data.nulls[0] != 'fee'",
            "data[5] != 1",
            "(data.amountCents < 10000 or event == 'invoice.status_changed')",
            "not (data.amountCents >= 10000 or event == 'x')",
            "event == 'invoice.status_changed' and (data.amountCents or true)",
            "true if data.amountCents < 5 or true else false",
            "data.amountCents + 1 > 0",
            "data.amountCents / 'x' > 0",
        ] {
            assert!(!matches(filter, status.clone()), "{filter}");
        }
        for filter in [
            "data.amountCents >= 10000 or event == 'invoice.status_changed'",
            "event == 'invoice.status_changed' or data.amountCents >= 10000",
            "data.amountCents < 1 or data.note == 'or' or (event) == 'invoice.status_changed'",
            "event != 'payment.received' or data.amountCents < 5",
            "event == 'x' and data.amountCents < 5 or event in ['invoice.status_changed']",
            "(event == 'invoice.status_changed' or data.amountCents < 5)",
            "data.empty == []",
            "1 / 'x' == 1 or event == 'invoice.status_changed'",
        ] {
            assert!(matches(filter, status.clone()), "{filter}");
        }
    }

    #[test]
    fn an_alternative_that_fails_is_told_unless_something_is_missing() {
        let fails = |filter: &str| Filter::compile(filter).unwrap().matches(&payment(1));
        assert!(fails("data.amountCents / 'x' == 1").is_err());
        assert!(fails("event == 'y' or data.amountCents / 'x' == 1").is_err());
        assert_eq!(fails("data.nothing / 'x' == 1"), Ok(false));
        assert_eq!(fails("data.amountCents / 'x' == 1 or event == 'payment.received'"), Ok(true));
    }

    #[test]
    fn alternatives_are_cut_where_the_language_cuts_them() {
        for (source, expected) in [
            ("a", vec!["a"]),
            ("a or b or c", vec!["a ", " b ", " c"]),
            ("(a)or(b)", vec!["(a)", "(b)"]),
            ("a == ' or ' or b == \" or '\"", vec!["a == ' or ' ", " b == \" or '\""]),
            (r"a == 'it\'s or' or b", vec![r"a == 'it\'s or' ", " b"]),
            ("(a or b) and [c or d][0] and {'x': e or f}", vec!["(a or b) and [c or d][0] and {'x': e or f}"]),
            ("data.or == 1 or data . or == 2", vec!["data.or == 1 ", " data . or == 2"]),
            ("order or error or x_or_y", vec!["order ", " error ", " x_or_y"]),
            ("a\nor\nb", vec!["a\n", "\nb"]),
            ("a or b if c or d else e", vec!["a or b if c or d else e"]),
            ("(a if b else c) or d", vec!["(a if b else c) ", " d"]),
        ] {
            assert_eq!(alternatives(source), expected, "{source}");
        }
    }

    #[test]
    fn only_true_itself_matches() {
        assert!(!matches("data.amountCents", payment(1)), "a number is not `true`");
        assert!(!matches("'yes'", payment(1)));
        assert!(matches("true", payment(1)));
    }

    #[test]
    fn an_endless_expression_ends() {
        let long = format!("[{}] | length > 0", "event,".repeat(2 * usize::try_from(FUEL).unwrap()));
        let error = Filter::compile(&long).unwrap().matches(&payment(1)).unwrap_err();
        assert!(error.contains("fuel"), "{error}");
        // Lists out of nothing would cost time that fuel does not count.
        let filter = Filter::compile("range(99999) | map('string') | list | length > data.amountCents").unwrap();
        assert_eq!(filter.matches(&payment(1)), Ok(false), "there is no such function");
        assert!(Filter::compile("data.amountCents >=").is_err());
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
