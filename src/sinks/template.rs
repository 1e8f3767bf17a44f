//! The operator's template for a body, in minijinja (<https://docs.rs/minijinja>).
//!
//! The context is `event` (`id`, `type`, `endpoint`, `invoice_id`, `received_at`), `payload` (Finkare's body, if it is
//! JSON) and, for a sink with `enrich`, `invoice` and `payment` as [`Resolved`](crate::sinks::Resolved) shows
//! them. Amounts are whole cents; the filter `decimal` writes them like `1500.00`, with integer arithmetic.
//!
//! - Nothing is left out silently: a missing value is an error, and the event is held with the names of the missing
//!   values. (`is defined` can test for them.)
//! - If the content type is JSON, every `{{ … }}` writes a JSON value, and a text with its quotes; `| safe` writes it
//!   without. So a text cannot be put between quotes of the template (`"Invoice {{ … }}"`): that is rejected, with advice
//!   on how to write it. The result must be JSON. With any other content type, values are written as they are.
//! - A template that cannot work with any event ([`Template::doubt`]: an unknown filter, a name that no event has, a text
//!   between quotes) is reported before an event comes.
//! - The number of steps and the length of the result are bounded, and no file is read: there is no loader.

use std::{cell::Cell, io, ops::Range, sync::Arc};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, escape_formatter,
    machinery::{self, Instruction},
    value::{Serde, ValueKind},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    model::money::Cents,
    sinks::{
        Message,
        preview::{Broken, place},
        wording::{self, Reader},
    },
};

/// The name of the only template in its environment.
const NAME: &str = "template";
/// Steps that one body may take; a body with a hundred fields needs a few thousand.
const FUEL: u64 = 100_000;
/// The largest body, in bytes; Finkare's own bodies are no larger.
const MOST_BYTES: usize = 1 << 20;
/// Characters of an excerpt of a template.
const EXCERPT: usize = 60;
/// The content type if the operator names none.
pub(super) const DEFAULT_CONTENT_TYPE: &str = "application/json";

/// The names that the context has, and the fields of those whose fields are always the same.
const KNOWN: [(&str, &[&str]); 4] = [
    ("event", &["id", "type", "endpoint", "invoice_id", "received_at"]),
    ("payload", &[]),
    ("invoice", &["id", "number", "amount_cents", "currency", "status"]),
    ("payment", &["id", "amount_cents", "currency", "method", "paid_at"]),
];

/// What an event says, in templates for people.
const TOLD: &str = "told";
const TOLD_FIELDS: [&str; 5] = ["title", "sentence", "text", "facts", "advice"];

thread_local! {
    /// True while the JSON text that this thread is rendering has an open quote. A template is rendered without interruption
    /// on one thread.
    static IN_QUOTES: Cell<bool> = const { Cell::new(false) };
}

/// A template that was read and can be used.
#[derive(Clone)]
pub(super) struct Template {
    environment: Arc<Environment<'static>>,
    source: Arc<str>,
    is_json: bool,
    /// Whether it has `told`, and the filters that write for a reader.
    reader: Option<Reader>,
}

#[derive(Serialize)]
struct Event<'a> {
    id: String,
    r#type: &'a str,
    endpoint: Option<&'a str>,
    invoice_id: Option<&'a str>,
    received_at: String,
}

/// A text was to be written between quotes of the template.
#[derive(Debug, thiserror::Error)]
#[error("a text between quotes")]
struct BetweenQuotes;

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong, with its line in the template.
    pub(super) fn compile(source: &str, content_type: &str) -> Result<Self, String> {
        let is_json = is_json(content_type);
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        // The library would keep the values of an event beside an error.
        environment.set_debug(false);
        environment.set_auto_escape_callback(move |_| if is_json { AutoEscape::Json } else { AutoEscape::None });
        if is_json {
            environment.set_formatter(|out, state, value| {
                let has_quotes = matches!(value.kind(), ValueKind::String | ValueKind::Map);
                if has_quotes && !value.is_safe() && IN_QUOTES.get() {
                    return Err(
                        Error::new(ErrorKind::InvalidOperation, "a text between quotes").with_source(BetweenQuotes)
                    );
                }
                escape_formatter(out, state, value)
            });
        }
        // Fuel counts the template's own steps, not those inside a function. Without `range`, a list is never longer than
        // the event or the template itself.
        environment.remove_global("range");
        environment.add_filter("decimal", decimal);
        Self::finish(environment, source, is_json, None)
    }

    /// Reads a template for people: plain text, in which `told` is what the event says to the reader (`title`, `sentence`,
    /// `text`, `facts`, `advice`), and the filters `money` (cents) and `moment` (a time) write for the reader. `escape` is
    /// applied to every value, and not to the template's own text.
    ///
    /// # Errors
    /// What is wrong, with its line in the template.
    pub(super) fn for_people(source: &str, reader: &Reader, escape: fn(&str) -> String) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_debug(false);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_formatter(move |out, _, value| {
            let text = if value.is_none() { String::new() } else { value.to_string() };
            out.write_str(&if value.is_safe() { text } else { escape(&text) }).map_err(Error::from)
        });
        environment.remove_global("range");
        environment.add_filter("decimal", decimal);
        let of = reader.clone();
        environment.add_filter("money", move |cents: &Value, currency: Option<String>| {
            let cents = whole_cents(cents, "money")?;
            Ok::<_, Error>(of.money(cents, currency.as_deref()))
        });
        let of = reader.clone();
        environment.add_filter("moment", move |at: &str| {
            let at: jiff::Timestamp = at.parse().map_err(|_| {
                Error::new(ErrorKind::InvalidOperation, "`moment` takes a time, such as event.received_at")
            })?;
            Ok::<_, Error>(of.moment(at))
        });
        Self::finish(environment, source, false, Some(reader.clone()))
    }

    fn finish(
        mut environment: Environment<'static>,
        source: &str,
        is_json: bool,
        reader: Option<Reader>,
    ) -> Result<Self, String> {
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| {
            let line = error.line().map_or_else(String::new, |line| format!("line {line} of the template: "));
            format!("{line}{}", words(&error))
        })?;
        Ok(Self { environment: Arc::new(environment), source: source.into(), is_json, reader })
    }

    /// The names in the template that have a value only with `enrich`.
    pub(super) fn enriched_names(&self) -> Vec<&'static str> {
        let named = self.named(false);
        ["invoice", "payment"].into_iter().filter(|name| named.iter().any(|other| other == name)).collect()
    }

    /// The names that the template uses from the context; with `nested`, the whole paths (`payment.currency`).
    fn named(&self, nested: bool) -> Vec<String> {
        let template = self.environment.get_template(NAME);
        let mut named: Vec<String> = template
            .map_or_else(|_| Vec::new(), |template| template.undeclared_variables(nested).into_iter().collect());
        named.sort();
        named
    }

    /// Why the template cannot work, as far as that can be seen without an event; `None` if no problem was found.
    pub(super) fn doubt(&self) -> Option<String> {
        self.unknown().or_else(|| self.trial())
    }

    /// The first filter, test, function or name that does not exist.
    fn unknown(&self) -> Option<String> {
        let template = self.environment.get_template(NAME).ok()?;
        let code = &machinery::get_compiled_template(&template).instructions;
        // The result of the filter or test does not matter, only whether it exists.
        let is_filter = |name: &str| {
            let tried = self.environment.empty_state().apply_filter(name, &[]);
            !tried.is_err_and(|error| error.kind() == ErrorKind::UnknownFilter)
        };
        let is_test = |name: &str| {
            let tried = self.environment.empty_state().perform_test(name, &[]);
            !tried.is_err_and(|error| error.kind() == ErrorKind::UnknownTest)
        };
        let at = |index: u32| {
            let range = code.get_span(index).map(|span| span.start_offset as usize..span.end_offset as usize);
            let (line, column, _) = self.spot(range);
            place(line.or_else(|| code.get_line(index)), column)
        };
        for index in 0.. {
            let Some(instruction) = code.get(index) else { break };
            match instruction {
                Instruction::ApplyFilter(name, ..) if !is_filter(name) => {
                    return Some(format!("{}there is no filter `{name}`", at(index)));
                }
                Instruction::PerformTest(name, ..) if !is_test(name) => {
                    return Some(format!("{}there is no test `{name}`", at(index)));
                }
                Instruction::CallFunction(name, _) if !self.environment.globals().any(|(known, _)| known == *name) => {
                    return Some(format!("{}there is no function `{name}`", at(index)));
                }
                _ => {}
            }
        }
        let is_known = |path: &String| {
            let mut parts = path.split('.');
            let (name, field) = (parts.next().unwrap_or_default(), parts.next());
            let known = KNOWN.iter().find(|(known, _)| *known == name);
            self.environment.globals().any(|(global, _)| global == name)
                || (name == TOLD && self.reader.is_some() && field.is_none_or(|field| TOLD_FIELDS.contains(&field)))
                || known
                    .is_some_and(|(_, fields)| fields.is_empty() || field.is_none_or(|field| fields.contains(&field)))
        };
        let unknown = self.named(true).into_iter().find(|path| !is_known(path))?;
        let name = unknown.split('.').next().unwrap_or_default();
        Some(match KNOWN.iter().find(|(known, _)| *known == name) {
            Some((_, fields)) => format!("no event has `{unknown}`: `{name}` has {}", fields.join(", ")),
            None => format!(
                "no event has `{unknown}`: there are `event`, `payload` and, with `enrich = true`, `invoice` and `payment`"
            ),
        })
    }

    /// Renders Finkare's documented events, with a text for every field of `payload` that these do not have. Only an error
    /// that must occur with every event counts.
    fn trial(&self) -> Option<String> {
        let mut found = None;
        for (event_type, data) in [
            ("payment.received", json!({"invoiceId": "i", "amountCents": 150_000})),
            ("invoice.status_changed", json!({"invoiceId": "i", "previousStatus": "sent", "newStatus": "paid"})),
        ] {
            let mut context = json!({
                "event": {"id": "e", "type": event_type, "endpoint": "default", "invoice_id": "i", "received_at": "2026-03-15T10:30:00.000000Z"},
                "payload": {"event": event_type, "data": data, "timestamp": "2026-03-15T10:30:00.000Z"},
                "invoice": {"id": "i", "number": "F1", "amount_cents": 150_000, "currency": "EUR", "status": "sent"},
                "payment": {"id": "p", "amount_cents": 150_000, "currency": "EUR", "method": "card", "paid_at": "2026-03-15T10:29:58Z"},
            });
            if self.reader.is_some() {
                context[TOLD] = json!({"title": "t", "sentence": "s", "text": "t", "facts": [{"label": "l", "value": "v"}], "advice": "a"});
            }
            for path in self.named(true) {
                fill(&mut context, &path);
            }
            match self.written(&context) {
                Ok(_) | Err((_, false)) => return None,
                Err((broken, true)) => found = found.or(Some(broken.to_string())),
            }
        }
        found
    }

    /// Line and column of a part of the template, counted from 1, and its text.
    fn spot(&self, range: Option<Range<usize>>) -> (Option<usize>, Option<usize>, Option<String>) {
        let Some((range, before)) = range.and_then(|range| self.expression(range)) else {
            return (None, None, None);
        };
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let excerpt = self.source.get(range).map(|text| text.chars().take(EXCERPT).collect());
        (Some(line), Some(column), excerpt)
    }

    /// A part of the template, extended to the whole of its `{{ … }}`, because the library begins some parts in the middle
    /// (at the first full stop of `payload.data`); and the text before it.
    fn expression(&self, range: Range<usize>) -> Option<(Range<usize>, &str)> {
        let before = self.source.get(..range.start)?;
        let Some(open) = before.rfind("{{").filter(|open| !before[*open..].contains("}}")) else {
            return Some((range, before));
        };
        let inner = &before[open + 2..];
        let begin = open + 2 + inner.len() - inner.trim_start_matches('-').trim_start().len();
        let rest = self.source.get(range.end..)?;
        let end = range.end + rest.find("}}").map_or(0, |end| rest[..end].trim_end_matches('-').trim_end().len());
        Some((begin..end, &self.source[..begin]))
    }

    /// The body for a message.
    ///
    /// # Errors
    /// What is missing or wrong, where, and the text that was rendered until then.
    pub(super) fn render(&self, message: &Message) -> Result<Vec<u8>, Box<Broken>> {
        let mut context = serde_json::Map::new();
        let mut put = |name: &str, value: serde_json::Value| drop(context.insert(name.to_owned(), value));
        let event = Event {
            id: message.event_id.to_string(),
            r#type: &message.event_type,
            endpoint: message.endpoint(),
            invoice_id: message.invoice_id.as_deref(),
            received_at: format!("{:.6}", message.received_at),
        };
        put("event", serde_json::to_value(event).expect("texts always serialise"));
        if let Some(reader) = &self.reader {
            put(TOLD, told(message, reader));
        }
        if let Ok(payload) = serde_json::from_slice(&message.payload) {
            put("payload", payload);
        }
        let resolved = message.resolved.as_deref().map(serde_json::to_value);
        if let Some(Ok(serde_json::Value::Object(resolved))) = resolved {
            resolved.into_iter().for_each(|(name, value)| put(&name, value));
        }
        self.written(&serde_json::Value::Object(context)).map_err(|(broken, _)| Box::new(broken))
    }

    /// The rendered text; or why it failed, and whether it fails with every event.
    fn written(&self, context: &serde_json::Value) -> Result<Vec<u8>, (Broken, bool)> {
        let mut out = Bounded { bytes: Vec::new(), quotes: self.is_json.then(Quotes::default) };
        IN_QUOTES.set(false);
        let rendered = self
            .environment
            .get_template(NAME)
            .and_then(|template| template.render_captured_to(Value::from(Serde(context)), &mut out).map(drop));
        let broken = |problem: String, at: (Option<usize>, Option<usize>, Option<String>), made: &[u8]| Broken {
            problem,
            line: at.0,
            column: at.1,
            excerpt: at.2,
            made: String::from_utf8_lossy(made).into_owned(),
        };
        if let Err(error) = rendered {
            let mut at = self.spot(error.range());
            at.0 = at.0.or_else(|| error.line());
            let is_between_quotes = caused_by_quotes(&error);
            let problem = if out.bytes.len() == MOST_BYTES {
                format!("its result is longer than {MOST_BYTES} bytes")
            } else if is_between_quotes {
                between_quotes(at.2.as_deref())
            } else {
                let missing = self.named(true).into_iter().filter(|path| !leads_somewhere(context, path));
                let missing: Vec<String> = missing.map(|path| format!("`{path}`")).collect();
                if error.kind() == ErrorKind::UndefinedError && !missing.is_empty() {
                    format!("the event has no {}", missing.join(", "))
                } else {
                    words(&error)
                }
            };
            return Err((broken(problem, at, &out.bytes), is_between_quotes));
        }
        if self.is_json {
            serde_json::from_slice::<serde::de::IgnoredAny>(&out.bytes).map_err(|error| {
                let line = String::from_utf8_lossy(&out.bytes);
                let line = line.lines().nth(error.line().saturating_sub(1)).unwrap_or_default().to_owned();
                let before: String = line.chars().take(error.column().saturating_sub(1)).collect();
                let tail = before.chars().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect::<String>();
                let rest: String = line.chars().skip(before.chars().count()).take(20).collect();
                let near = if line.is_empty() { String::new() } else { format!(" (at `{tail}` before `{rest}`)") };
                let problem =
                    format!("its result is not JSON from line {}, column {} on{near}", error.line(), error.column());
                // A value that is written without quotes, or only in some cases, may differ with another event.
                let is_plain = !self.source.contains("safe") && !self.source.contains("{%");
                (broken(problem, (None, None, None), &out.bytes), is_plain)
            })?;
        }
        Ok(out.bytes)
    }
}

/// Advice on how to write a text that cannot be put between quotes.
fn between_quotes(expression: Option<&str>) -> String {
    let expression = match expression.map(str::trim) {
        None | Some("") => "payload.data.invoiceId".to_owned(),
        Some(plain) if plain.chars().all(|c| c.is_alphanumeric() || "._[]'".contains(c)) => plain.to_owned(),
        Some(other) => format!("({other})"),
    };
    format!(
        "every `{{{{ … }}}}` writes its own quotes, so it cannot be put between quotes of the template: let one \
         `{{{{ … }}}}` write the whole text, such as {{\"text\": {{{{ \"before \" ~ {expression} ~ \" after\" }}}}}}"
    )
}

fn caused_by_quotes(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<BetweenQuotes>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Adds a text at the end of a path that does not exist, and objects along it.
fn fill(context: &mut serde_json::Value, path: &str) {
    let mut value = context;
    for name in path.split('.') {
        let Some(fields) = value.as_object_mut() else { return };
        value = fields.entry(name).or_insert_with(|| json!({}));
    }
    if value.as_object().is_some_and(serde_json::Map::is_empty) {
        *value = json!("text");
    }
}

/// True for `application/json` and every content type that ends with `+json` (`application/vnd.x+json`).
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// True if a path leads to a value.
fn leads_somewhere(context: &serde_json::Value, path: &str) -> bool {
    path.split('.').try_fold(context, |value, name| value.get(name)).is_some()
}

/// What the message says, as templates see it; what there is not is an empty text.
fn told(message: &Message, reader: &Reader) -> serde_json::Value {
    let told = wording::tell(message, reader);
    let facts: Vec<_> = told.facts.iter().map(|fact| json!({"label": fact.label, "value": fact.value})).collect();
    json!({
        "text": told.text(reader.language), "title": told.title, "sentence": told.sentence.unwrap_or_default(),
        "facts": facts, "advice": told.advice.unwrap_or_default(),
    })
}

fn whole_cents(cents: &Value, filter: &str) -> Result<Cents, Error> {
    if cents.is_undefined() {
        return Err(ErrorKind::UndefinedError.into());
    }
    let whole = if cents.is_integer() { i64::try_from(cents.clone()).ok() } else { None };
    whole.map(Cents).ok_or_else(|| {
        let what = format!("`{filter}` takes a whole number of cents, such as payment.amount_cents");
        Error::new(ErrorKind::InvalidOperation, what)
    })
}

/// Writes 150000 cents as `1500.00`. Floats are rejected, because they may have lost precision.
fn decimal(cents: &Value) -> Result<String, Error> {
    whole_cents(cents, "decimal").map(|cents| cents.to_string())
}

/// The library's message, without its position.
fn words(error: &Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()))
}

/// A bounded buffer that tracks whether a quote is open.
struct Bounded {
    bytes: Vec<u8>,
    quotes: Option<Quotes>,
}

/// The position in a JSON text: only whether it is between quotes.
#[derive(Debug, Default)]
struct Quotes {
    is_open: bool,
    is_escaped: bool,
}

impl Quotes {
    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.is_open => self.is_escaped = true,
                b'"' => self.is_open = !self.is_open,
                _ => {}
            }
        }
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MOST_BYTES - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if let Some(quotes) = &mut self.quotes {
            quotes.pass(bytes);
            IN_QUOTES.set(quotes.is_open);
        }
        if bytes.len() > room {
            return Err(io::Error::other("the body is too long"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            booking::{Invoice, Payment},
            dispatch::Trigger,
            id::DispatchId,
        },
        sinks::Resolved,
    };
    use proptest::prelude::*;

    fn message(cents: i64) -> Message {
        let invoice = Invoice {
            id: "i".into(),
            number: "F \"1\"\n".into(),
            amount_cents: Some(Cents(cents)),
            currency: None,
            status: None,
            debtor: None,
        };
        let payment = Payment {
            id: "p".into(),
            endpoint: "production".into(),
            invoice: invoice.clone(),
            amount_cents: Cents(cents),
            currency: "EUR".into(),
            method: None,
            paid_at: "2026-03-15T10:29:58Z".parse().unwrap(),
        };
        Message {
            event_id: "0192f3a4-5b6c-7d8e-9f01-23456789abcd".parse().unwrap(),
            dispatch_id: DispatchId(1),
            endpoint: "production".into(),
            event_type: "payment.received".into(),
            invoice_id: Some("i".into()),
            received_at: "2026-03-15T11:30:00+01:00".parse().unwrap(),
            content_type: None,
            payload: format!(r#"{{"event":"payment.received","data":{{"invoiceId":"i","amountCents":{cents},"half":0.5,"none":null}}}}"#)
                .into(),
            attempt: 1,
            trigger: Trigger::Event,
            trace: None,
            resolved: Some(Arc::new(Resolved { invoice: Some(invoice), payment: Some(payment) })),
        }
    }

    fn render(source: &str, content_type: &str, message: &Message) -> Result<String, String> {
        let body =
            Template::compile(source, content_type).unwrap().render(message).map_err(|broken| broken.to_string())?;
        Ok(String::from_utf8(body).unwrap())
    }

    fn json(source: &str) -> Result<String, String> {
        render(source, DEFAULT_CONTENT_TYPE, &message(150_005))
    }

    #[test]
    fn json_values_are_written_as_json() {
        assert_eq!(
            json(r#"{"n":{{ invoice.number }},"c":{{ payment.amount_cents }},"d":{{ payment.amount_cents | decimal }},"bare":{{ payment.amount_cents | decimal | safe }},"m":{{ payment.method }},"day":{{ payment.paid_at[:10] }}}"#)
                .unwrap(),
            r#"{"n":"F \"1\"\n","c":150005,"d":"1500.05","bare":1500.05,"m":null,"day":"2026-03-15"}"#
        );
        assert_eq!(
            json("[{{ event.id }}, {{ event.type }}, {{ event.endpoint }}, {{ event.invoice_id }}, {{ event.received_at }}]").unwrap(),
            r#"["0192f3a4-5b6c-7d8e-9f01-23456789abcd", "payment.received", "production", "i", "2026-03-15T10:30:00.000000Z"]"#
        );
        assert_eq!(
            json("{{ payload.data }}").unwrap(),
            r#"{"invoiceId":"i","amountCents":150005,"half":0.5,"none":null}"#
        );
        assert_eq!(json("{% if payment is defined %}1{% else %}2{% endif %}").unwrap(), "1");
    }

    #[test]
    fn any_other_content_type_gets_values_as_they_are() {
        let text =
            render("{{ invoice.id }};{{ payment.amount_cents | decimal }}", "text/csv; charset=utf-8", &message(-7));
        assert_eq!(text.unwrap(), "i;-0.07");
        assert!(
            is_json("Application/JSON; charset=utf-8") && is_json("application/vnd.x+json") && !is_json("text/json5")
        );
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_is_made() {
        let bare = Message { resolved: None, ..message(1) };
        for (source, message, expected) in [
            (
                "\n{{ payment.amount_cents }}",
                &bare,
                "line 2, column 4 of the template: the event has no `payment.amount_cents`",
            ),
            ("{{ payload.data.invoiceNumber }}", &bare, "the event has no `payload.data.invoiceNumber`"),
            ("{{ payload.data.half | decimal }}", &bare, "`decimal` takes a whole number of cents"),
            ("{{ event.invoice_id | decimal }}", &bare, "`decimal` takes a whole number of cents"),
            ("{{ event.id", &Message { payload: "x".into(), ..bare.clone() }, ""),
            ("{{ payload }}", &Message { payload: "no json".into(), ..bare.clone() }, "the event has no `payload`"),
            ("{\"a\": }", &bare, "its result is not JSON from line 1, column 7"),
            ("", &bare, "its result is not JSON"),
        ] {
            if expected.is_empty() {
                assert!(Template::compile(source, DEFAULT_CONTENT_TYPE).is_err());
                continue;
            }
            let error = render(source, DEFAULT_CONTENT_TYPE, message).unwrap_err();
            assert!(error.contains(expected), "{source}: {error}");
        }
    }

    #[test]
    fn a_template_that_is_none_is_told_with_its_line() {
        for (source, expected) in [
            ("{}\n{{ event.id", "line 2 of the template: "),
            ("{% for %}", "line 1 of the template: "),
            ("{{ 1 | eurs }}", ""),
        ] {
            let problem = Template::compile(source, DEFAULT_CONTENT_TYPE).map(|_| ());
            if expected.is_empty() {
                // The library finds out only when it comes to it.
                assert!(problem.is_ok() && json(source).unwrap_err().contains("eurs"));
            } else {
                assert!(problem.as_ref().is_err_and(|problem| problem.starts_with(expected)), "{source}: {problem:?}");
            }
        }
    }

    #[test]
    fn a_text_between_quotes_is_told_with_how_to_write_it() {
        let template = |source: &str| Template::compile(source, DEFAULT_CONTENT_TYPE).unwrap();
        let usual = template("{\n  \"text\": \"Payment for {{ payload.data.invoiceId }}\"}");
        let broken = usual.render(&message(1)).unwrap_err();
        assert_eq!((broken.line, broken.column), (Some(2), Some(27)));
        assert_eq!(broken.excerpt.as_deref(), Some("payload.data.invoiceId"));
        assert_eq!(broken.made, "{\n  \"text\": \"Payment for ");
        let told = broken.to_string();
        assert!(told.contains(r#"{"text": {{ "before " ~ payload.data.invoiceId ~ " after" }}}"#), "{told}");
        assert_eq!(usual.doubt().as_ref(), Some(&told), "it is known before an event comes");
        // As it is told.
        assert_eq!(
            json(r#"{"text": {{ "Payment for " ~ payload.data.invoiceId }}}"#).unwrap(),
            r#"{"text": "Payment for i"}"#
        );
        // A number has no quotes, and what is written bare is the operator's own business.
        for good in [
            r#"{"text": "{{ payload.data.amountCents }} cents"}"#,
            r#"{"text": "{{ payload.data.invoiceId | safe }}"}"#,
            r#"{"text": "a \" b", "i": {{ payload.data.invoiceId }}}"#,
            r#"{"{{ payload.data.amountCents }}": [{{ payload.data }}]}"#,
        ] {
            assert!(json(good).is_ok(), "{good}: {:?}", json(good));
            assert_eq!(template(good).doubt(), None, "{good}");
        }
    }

    #[test]
    fn what_no_event_could_make_work_is_told_before_one_comes() {
        let doubt = |source: &str| Template::compile(source, DEFAULT_CONTENT_TYPE).unwrap().doubt();
        for (source, expected) in [
            ("{\n\"a\": {{ event.id | eurs }}}", "line 2, column "),
            ("{{ event.id | eurs }}", "there is no filter `eurs`"),
            ("{% if false %}{{ event.id | eurs }}{% endif %}{}", "there is no filter `eurs`"),
            ("{% if event.id is oddly %}1{% else %}2{% endif %}", "there is no test `oddly`"),
            ("{{ now() }}", "there is no function `now`"),
            ("{{ paylod.data.invoiceId }}", "no event has `paylod.data.invoiceId`: there are `event`, `payload`"),
            ("{{ event.typ }}", "no event has `event.typ`: `event` has id, type, endpoint, invoice_id, received_at"),
            ("{{ payment.amount }}", "no event has `payment.amount`: `payment` has id, amount_cents"),
            ("{\"a\": }", "its result is not JSON from line 1, column 7 on (at `{\"a\": ` before `}`)"),
        ] {
            let told = doubt(source).unwrap_or_default();
            assert!(told.contains(expected), "{source}: {told}");
        }
        for source in [
            r#"{"n": {{ payload.data.anything.at.all }}}"#,
            r#"{"n": {{ payload.data.total | decimal }}, "c": {{ payload.data.currency | upper }}}"#,
            r#"{"u": {{ "https://x.example/?q=" ~ (payload.data.invoiceId | urlencode) }}}"#,
            r#"{% if payload.data.kind == "fee" %}{"c": 1}{% endif %}"#,
            r#"{% if event.type == "payment.received" %}{"c": {{ payload.data.amountCents }}}{% else %}{}{% endif %}"#,
            "{% for line in payload.data.lines %}{{ line.cents }}{% endfor %}",
            "{{ payload.data.raw | safe }}",
        ] {
            assert_eq!(doubt(source), None, "{source}");
        }
        assert_eq!(json(r#"{{ "a b&é/" | urlencode }}"#).unwrap(), r#""a%20b%26%C3%A9/""#);
    }

    #[test]
    fn it_ends_and_is_bounded() {
        let long = "{% for a in payload.data %}".repeat(9) + "x" + &"{% endfor %}".repeat(9);
        assert!(render(&long, "text/plain", &message(1)).unwrap_err().contains("fuel"));
        let much = Message { payload: format!("\"{}\"", "x".repeat(MOST_BYTES / 2)).into(), ..message(1) };
        let error = render("{{ payload }}{{ payload }}{{ payload }}", "text/plain", &much).unwrap_err();
        assert!(error.contains("longer than 1048576 bytes"), "{error}");
        assert_eq!(render("{{ payload }}{{ payload }}", "text/plain", &much).unwrap().len(), MOST_BYTES);
        assert!(json("{{ range(3) }}").is_err());
    }

    #[test]
    fn the_names_that_need_enrich_are_known() {
        let names = |source| Template::compile(source, DEFAULT_CONTENT_TYPE).unwrap().enriched_names();
        assert_eq!(names("{{ payment.id }}{% if invoice %}{% endif %}"), ["invoice", "payment"]);
        assert_eq!(names("{{ payload.payment }}{{ event.invoice_id }}{{ payload['invoice'] }}"), [""; 0]);
    }

    proptest! {
        #[test]
        fn no_cent_is_lost(cents in any::<i64>()) {
            let message = message(cents);
            let expected = format!("{}{}.{:02}", if cents < 0 { "-" } else { "" }, cents.unsigned_abs() / 100, cents.unsigned_abs() % 100);
            prop_assert_eq!(render("{{ payment.amount_cents | decimal }}", "text/plain", &message).unwrap(), expected.clone());
            prop_assert_eq!(render("{{ payload.data.amountCents | decimal }}", "text/plain", &message).unwrap(), expected);
            prop_assert_eq!(render("{{ payment.amount_cents }}", DEFAULT_CONTENT_TYPE, &message).unwrap(), cents.to_string());
        }

        #[test]
        fn no_text_breaks_out_of_json(number in "\\PC{0,20}") {
            let invoice = Invoice { id: "i".into(), number: number.clone(), amount_cents: None, currency: None, status: None, debtor: None, };
            let message = Message { resolved: Some(Arc::new(Resolved { invoice: Some(invoice), payment: None })), ..message(1) };
            let body = render("{\"n\": {{ invoice.number }}}", DEFAULT_CONTENT_TYPE, &message).unwrap();
            let read: serde_json::Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(read, serde_json::json!({ "n": number }));
        }
    }
}
