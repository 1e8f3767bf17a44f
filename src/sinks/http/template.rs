//! A body of the operator's own making: a minijinja template (<https://docs.rs/minijinja>).
//!
//! The context is `event` (`id`, `type`, `endpoint`, `invoice_id`, `received_at`), `payload` (Finkare's body, if it is
//! JSON) and, for a sink with `enrich`, `invoice` and `payment` as [`Resolved`](super::super::enrich::Resolved) shows
//! them. Amounts are whole cents; the filter `decimal` writes `1500.00` of them, by integers alone.
//!
//! - Nothing is left out silently: what is not there is an error, and the event is held with the names of what is
//!   missing. (`is defined` may ask.)
//! - Where the content type is JSON, every `{{ … }}` writes a JSON value, a text with its quotes; `| safe` writes it
//!   bare. What comes out must be JSON. With any other content type values are written as they are.
//! - Steps and the length of what comes out are bounded, and no file is read: there is no loader.

use std::{io, sync::Arc};

use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, value::Serde};
use serde::Serialize;

use crate::{model::money::Cents, sinks::Message};

/// The only template of its environment.
const NAME: &str = "template";
/// Steps that one body may take; a body with a hundred fields needs a few thousand.
const FUEL: u64 = 100_000;
/// Bytes of a body; Finkare's own have at most so many.
const MOST_BYTES: usize = 1 << 20;
/// The content type where the operator names none.
pub(super) const DEFAULT_CONTENT_TYPE: &str = "application/json";

/// A template that was read and can be used.
#[derive(Clone)]
pub(super) struct Template {
    environment: Arc<Environment<'static>>,
    is_json: bool,
}

#[derive(Serialize)]
struct Event<'a> {
    id: String,
    r#type: &'a str,
    endpoint: &'a str,
    invoice_id: Option<&'a str>,
    received_at: String,
}

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
        environment.set_auto_escape_callback(move |_| if is_json { AutoEscape::Json } else { AutoEscape::None });
        // Fuel counts the template's own steps, not what goes on inside of a function: without this one a list is
        // never longer than the event or the template itself.
        environment.remove_global("range");
        environment.add_filter("decimal", decimal);
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| {
            let line = error.line().map_or_else(String::new, |line| format!("line {line} of it: "));
            format!("{line}{}", words(&error))
        })?;
        Ok(Self { environment: Arc::new(environment), is_json })
    }

    /// Which of the names that only `enrich` gives a value stand in it.
    pub(super) fn enriched_names(&self) -> Vec<&'static str> {
        let named = self.named(false);
        ["invoice", "payment"].into_iter().filter(|name| named.iter().any(|other| other == name)).collect()
    }

    /// The names that it takes from the context; with `nested`, the whole paths (`payment.currency`).
    fn named(&self, nested: bool) -> Vec<String> {
        let template = self.environment.get_template(NAME);
        let mut named: Vec<String> = template
            .map_or_else(|_| Vec::new(), |template| template.undeclared_variables(nested).into_iter().collect());
        named.sort();
        named
    }

    /// The body for a message.
    ///
    /// # Errors
    /// What is missing or wrong, and what to do.
    pub(super) fn render(&self, message: &Message) -> Result<Vec<u8>, String> {
        let mut context = serde_json::Map::new();
        let mut put = |name: &str, value: serde_json::Value| drop(context.insert(name.to_owned(), value));
        let event = Event {
            id: message.event_id.to_string(),
            r#type: &message.event_type,
            endpoint: &message.endpoint,
            invoice_id: message.invoice_id.as_deref(),
            received_at: format!("{:.6}", message.received_at),
        };
        put("event", serde_json::to_value(event).expect("texts always serialise"));
        if let Ok(payload) = serde_json::from_slice(&message.payload) {
            put("payload", payload);
        }
        let resolved = message.resolved.as_deref().map(serde_json::to_value);
        if let Some(Ok(serde_json::Value::Object(resolved))) = resolved {
            resolved.into_iter().for_each(|(name, value)| put(&name, value));
        }
        let context = serde_json::Value::Object(context);
        self.written(&context).map_err(|what| {
            format!(
                "`template` of this sink cannot make a body of the event: {what}. Change the template (`try` shows what \
                 it makes), reload, and retry; or cancel this dispatch"
            )
        })
    }

    fn written(&self, context: &serde_json::Value) -> Result<Vec<u8>, String> {
        let template = self.environment.get_template(NAME).map_err(|error| words(&error))?;
        let mut out = Bounded(Vec::new());
        if let Err(error) = template.render_captured_to(Value::from(Serde(context)), &mut out) {
            let line = error.line().map_or_else(String::new, |line| format!("line {line} of it: "));
            if out.0.len() == MOST_BYTES {
                return Err(format!("{line}it makes more than {MOST_BYTES} bytes"));
            }
            let missing = self.named(true).into_iter().filter(|path| !leads_somewhere(context, path));
            let missing: Vec<String> = missing.map(|path| format!("`{path}`")).collect();
            return Err(if error.kind() == ErrorKind::UndefinedError && !missing.is_empty() {
                format!("{line}the event has no {}", missing.join(", "))
            } else {
                format!("{line}{}", words(&error))
            });
        }
        if self.is_json {
            serde_json::from_slice::<serde::de::IgnoredAny>(&out.0).map_err(|error| {
                format!("what it makes is no JSON from its line {}, column {} on", error.line(), error.column())
            })?;
        }
        Ok(out.0)
    }
}

/// True for `application/json` and all that is JSON by its name (`application/vnd.x+json`).
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// True if a path leads to a value.
fn leads_somewhere(context: &serde_json::Value, path: &str) -> bool {
    path.split('.').try_fold(context, |value, name| value.get(name)).is_some()
}

/// `1500.00` of 150000 cents. No float is taken: it may have lost what it was.
fn decimal(cents: &Value) -> Result<String, Error> {
    let whole = if cents.is_integer() { i64::try_from(cents.clone()).ok() } else { None };
    whole.map(|cents| Cents(cents).to_string()).ok_or_else(|| {
        Error::new(ErrorKind::InvalidOperation, "`decimal` takes a whole number of cents, such as payment.amount_cents")
    })
}

/// The library's words, without its own place.
fn words(error: &Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()))
}

/// Takes only so much.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MOST_BYTES - self.0.len();
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
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
        sinks::enrich::Resolved,
    };
    use proptest::prelude::*;

    fn message(cents: i64) -> Message {
        let invoice = Invoice {
            id: "i".into(),
            number: "F \"1\"\n".into(),
            amount_cents: Some(Cents(cents)),
            currency: None,
            status: None,
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
        let body = Template::compile(source, content_type).unwrap().render(message)?;
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
            ("\n{{ payment.amount_cents }}", &bare, "line 2 of it: the event has no `payment.amount_cents`"),
            ("{{ payload.data.invoiceNumber }}", &bare, "the event has no `payload.data.invoiceNumber`"),
            ("{{ payload.data.half | decimal }}", &bare, "`decimal` takes a whole number of cents"),
            ("{{ event.invoice_id | decimal }}", &bare, "`decimal` takes a whole number of cents"),
            ("{{ event.id", &Message { payload: "x".into(), ..bare.clone() }, ""),
            ("{{ payload }}", &Message { payload: "no json".into(), ..bare.clone() }, "the event has no `payload`"),
            ("{\"a\": }", &bare, "what it makes is no JSON from its line 1, column 7"),
            ("", &bare, "what it makes is no JSON"),
        ] {
            if expected.is_empty() {
                assert!(Template::compile(source, DEFAULT_CONTENT_TYPE).is_err());
                continue;
            }
            let error = render(source, DEFAULT_CONTENT_TYPE, message).unwrap_err();
            assert!(error.contains(expected) && error.contains("cancel this dispatch"), "{source}: {error}");
        }
    }

    #[test]
    fn a_template_that_is_none_is_told_with_its_line() {
        for (source, expected) in
            [("{}\n{{ event.id", "line 2 of it: "), ("{% for %}", "line 1 of it: "), ("{{ 1 | eurs }}", "")]
        {
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
    fn it_ends_and_is_bounded() {
        let long = "{% for a in payload.data %}".repeat(9) + "x" + &"{% endfor %}".repeat(9);
        assert!(render(&long, "text/plain", &message(1)).unwrap_err().contains("fuel"));
        let much = Message { payload: format!("\"{}\"", "x".repeat(MOST_BYTES / 2)).into(), ..message(1) };
        let error = render("{{ payload }}{{ payload }}{{ payload }}", "text/plain", &much).unwrap_err();
        assert!(error.contains("more than 1048576 bytes"), "{error}");
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
            let invoice = Invoice { id: "i".into(), number: number.clone(), amount_cents: None, currency: None, status: None };
            let message = Message { resolved: Some(Arc::new(Resolved { invoice: Some(invoice), payment: None })), ..message(1) };
            let body = render("{\"n\": {{ invoice.number }}}", DEFAULT_CONTENT_TYPE, &message).unwrap();
            let read: serde_json::Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(read, serde_json::json!({ "n": number }));
        }
    }
}
