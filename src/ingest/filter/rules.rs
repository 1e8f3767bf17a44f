//! What a filter may read and compare: the tests and filters that replace the library's operators, and the body as an
//! expression sees it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use minijinja::{
    Environment, Error, ErrorKind, State, filters,
    value::{Enumerator, Kwargs, Object, ObjectRepr, Rest, Value, ValueKind},
};

/// The filter that reads a field or an item. No expression can name it.
pub(super) const FIELD: &str = "#field";
/// The test for a chain of comparisons. No expression can name it.
pub(super) const CHAIN: &str = "#chain";

/// Why an alternative does not match, regardless of its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It has read something that is missing.
    Missing,
    /// It has compared values of these kinds.
    Unlike(&'static str, &'static str),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it looks at something that is missing"),
            Self::Unlike(one, other) => write!(f, "it compares {one} with {other}"),
        }
    }
}

impl std::error::Error for Stopped {}

impl Stopped {
    /// The reason that stopped an evaluation, if it was one of these.
    pub(super) fn of(error: &Error) -> Option<Self> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(stopped) = error.downcast_ref::<Self>() {
                return Some(*stopped);
            }
            cause = error.source();
        }
        None
    }

    fn error(self) -> Error {
        Error::new(ErrorKind::InvalidOperation, self.to_string()).with_source(self)
    }
}

/// Replaces the library's own tests and filters by the rules.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    for (names, rule) in [
        (&["==", "eq", "equalto", "sameas"][..], "=="),
        (&["!=", "ne"], "!="),
        (&["<", "lt", "lessthan"], "<"),
        (&["<=", "le"], "<="),
        (&[">", "gt", "greaterthan"], ">"),
        (&[">=", "ge"], ">="),
        (&["in"], "in"),
    ] {
        for name in names {
            environment.add_test(*name, move |value: &Value, other: &Value| holds(rule, value, other));
        }
    }
    environment.add_test(CHAIN, chain);
    environment.add_filter(FIELD, field);
    environment.add_filter("min", |state: &State, value: Value, kwargs: Kwargs| {
        one_kind(&value, &kwargs)?;
        filters::min(state, value, kwargs)
    });
    environment.add_filter("max", |state: &State, value: Value, kwargs: Kwargs| {
        one_kind(&value, &kwargs)?;
        filters::max(state, value, kwargs)
    });
    environment.add_filter("sort", |state: &State, value: Value, kwargs: Kwargs| {
        one_kind(&value, &kwargs)?;
        filters::sort(state, value, kwargs)
    });
}

/// Reads a field or an item. A value without fields and items (a text, a number) has nothing to read.
fn field(whole: &Value, key: &Value) -> Result<Value, Error> {
    match whole.kind() {
        ValueKind::Map | ValueKind::Seq | ValueKind::Iterable => {
            let found = whole.get_item(key)?;
            // This includes values that the expression has built, such as `{'a': 1}.b`.
            if found.is_undefined() { Err(Stopped::Missing.error()) } else { Ok(found) }
        }
        _ => Err(Stopped::Missing.error()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the library passes the further arguments of a test in this way")]
fn chain(first: &Value, rest: Rest<Value>) -> Result<bool, Error> {
    let mut left = first;
    let mut all = true;
    for next in rest.chunks_exact(2) {
        let [operator, right] = next else { continue };
        all &= holds(operator.as_str().unwrap_or_default(), left, right)?;
        left = right;
    }
    Ok(all)
}

/// One comparison.
fn holds(operator: &str, left: &Value, right: &Value) -> Result<bool, Error> {
    Ok(match operator {
        "in" => contained(left, right)?,
        "not in" => !contained(left, right)?,
        "==" => equal(left, right)?,
        "!=" => !equal(left, right)?,
        _ => {
            alike(left, right, Sense::Order)?;
            let order = left.cmp(right);
            match operator {
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                _ => order.is_ge(),
            }
        }
    })
}

fn equal(left: &Value, right: &Value) -> Result<bool, Error> {
    alike(left, right, Sense::Equality)?;
    Ok(left == right)
}

/// The kind of comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sense {
    /// Whether two values are equal. Every value may be compared with `none`.
    Equality,
    /// Which value is larger.
    Order,
}

/// Refuses to compare values of different kinds, including those inside lists and objects.
fn alike(left: &Value, right: &Value, sense: Sense) -> Result<(), Error> {
    if left.is_undefined() || right.is_undefined() {
        return Err(Stopped::Missing.error());
    }
    if sense == Sense::Equality && (left.is_none() || right.is_none()) {
        return Ok(());
    }
    let (one, other) = (name(left), name(right));
    if one != other {
        return Err(Stopped::Unlike(one, other).error());
    }
    match left.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let (one, other): (Vec<Value>, Vec<Value>) = (left.try_iter()?.collect(), right.try_iter()?.collect());
            if sense == Sense::Equality && one.len() != other.len() {
                return Ok(());
            }
            one.iter().zip(&other).try_for_each(|(one, other)| alike(one, other, sense))
        }
        ValueKind::Map if left.len() == right.len() => {
            for key in left.try_iter()? {
                let other = right.get_item(&key)?;
                if !other.is_undefined() {
                    alike(&left.get_item(&key)?, &other, sense)?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The name of a kind in messages. Values with the same name can be compared.
fn name(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "something missing",
        ValueKind::None => "none",
        ValueKind::Bool => "a boolean",
        ValueKind::Number => "a number",
        ValueKind::String => "a text",
        ValueKind::Seq | ValueKind::Iterable => "a list",
        ValueKind::Map => "an object",
        _ => "something else",
    }
}

/// `value in container`. A value cannot be searched for in a list without values of its kind.
fn contained(value: &Value, container: &Value) -> Result<bool, Error> {
    if value.is_undefined() || container.is_undefined() {
        return Err(Stopped::Missing.error());
    }
    match (container.kind(), value.as_str()) {
        (ValueKind::String, Some(part)) => Ok(container.as_str().is_some_and(|text| text.contains(part))),
        (ValueKind::Map, Some(_)) => Ok(!container.get_item(value)?.is_undefined()),
        (ValueKind::Map | ValueKind::Seq | ValueKind::Iterable, _) => {
            let (mut unlike, mut comparable) = (None, false);
            for item in container.try_iter()? {
                // The view has recorded it.
                if item.is_undefined() {
                    continue;
                }
                match equal(value, &item) {
                    Ok(true) => return Ok(true),
                    Ok(false) => comparable |= !item.is_none(),
                    Err(error) => unlike = Some(error),
                }
            }
            match unlike {
                Some(error) if !comparable => Err(error),
                _ => Ok(false),
            }
        }
        _ => Err(Stopped::Unlike(name(value), name(container)).error()),
    }
}

/// Refuses to sort a list with items of different kinds.
fn one_kind(list: &Value, kwargs: &Kwargs) -> Result<(), Error> {
    // The library itself refuses values that are not lists.
    let Ok(items) = list.try_iter() else { return Ok(()) };
    let attributes = kwargs.peek::<Option<&str>>("attribute")?;
    let paths: Vec<&str> = attributes.map_or_else(Vec::new, |names| names.split(',').map(str::trim).collect());
    let items: Vec<Value> = items.collect();
    for pair in items.windows(2) {
        let [one, next] = pair else { continue };
        if paths.is_empty() {
            alike(one, next, Sense::Order)?;
        }
        for path in &paths {
            alike(&at(one, path)?, &at(next, path)?, Sense::Order)?;
        }
    }
    Ok(())
}

/// The value at a path of the library's `attribute` arguments: `a.b.0`.
fn at(value: &Value, path: &str) -> Result<Value, Error> {
    path.split('.').try_fold(value.clone(), |value, part| {
        field(&value, &part.parse::<usize>().map_or_else(|_| Value::from(part), Value::from))
    })
}

/// A JSON object or list as an expression sees it. It records reads of missing fields.
#[derive(Debug)]
struct View<T> {
    content: T,
    missed: Arc<AtomicBool>,
}

impl<T> View<T> {
    /// The value that an expression gets; a missing value is recorded.
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

/// A body as an expression sees it; `missed` becomes true when the expression reads something that is missing.
pub(super) fn seen(value: &serde_json::Value, missed: &Arc<AtomicBool>) -> Value {
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
