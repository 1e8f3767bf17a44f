//! The form of Finkare's answers, as far as it is documented, and how they are read.
//!
//! - The envelope is `{success, data, message, pagination, requestId, timestamp}`. An answer without it is read as
//!   the data itself, because it is not documented that every call has one.
//! - Every field is read in both spellings, `createdAt` and `created_at`: the documentation uses the one for a
//!   webhook that was created and the other for one that is listed. If an answer has both, the first that is not null
//!   counts. (Serde's aliases reject that as a duplicate.)
//! - Unknown fields are kept in `other`, and so is a field whose value cannot be read where that is no error. The value
//!   of a field that is named like a secret is not.
//! - Money is an integer of cents, written as digits: `1500.0`, `1.5e3` and `"1500"` cannot be read, and are
//!   never rounded or guessed.
//! - The text of a problem names the field and never repeats the value, which may be a secret.
//!
//! Sources: <https://docs.finkare.io/api-reference/webhooks>, <https://docs.finkare.io/api-reference/payments>,
//! <https://docs.finkare.io/guides/sdk-typescript>.

use std::cell::RefCell;

use jiff::{Timestamp, civil::Date};
use serde_json::{Map, Value};

use crate::{
    CreatedWebhook, Delivery, Invoice, InvoiceDebtor, NewInvoice, NewWebhook, Pagination, PaidAt, Payment, Secret,
    Webhook,
};

/// What stands in place of a value that is not shown.
const MASK: &str = "[redacted]";

/// More characters than any secret has.
const LONGEST_SECRET: usize = 1024;

/// An answer of success, out of its envelope.
#[derive(Debug, PartialEq)]
pub(crate) struct Envelope {
    /// `data`; the whole answer if it has none, [`Value::Null`] if there is no answer at all.
    pub(crate) data: Value,
    pub(crate) pagination: Option<Pagination>,
    pub(crate) message: Option<String>,
    pub(crate) timestamp: Option<Timestamp>,
}

impl Envelope {
    fn bare(data: Value) -> Self {
        Self { data, pagination: None, message: None, timestamp: None }
    }
}

/// Takes the data out of its envelope.
pub(crate) fn open(answer: Value) -> Envelope {
    let Value::Object(mut fields) = answer else { return Envelope::bare(answer) };
    let pagination = fields.get("pagination").and_then(Value::as_object).map(|fields| {
        let number = |name| fields.get(name).and_then(Value::as_u64);
        let counted = |name| number(name).filter(|number| *number > 0);
        Pagination { page: counted("page"), limit: counted("limit"), total: number("total") }
    });
    let Some(data) = fields.remove("data") else {
        return Envelope { pagination, ..Envelope::bare(Value::Object(fields)) };
    };
    let text = |name| fields.get(name).and_then(Value::as_str);
    let message = text("message").filter(|message| !message.trim().is_empty()).map(Into::into);
    let timestamp = text("timestamp").and_then(|time| time.parse().ok());
    Envelope { data, pagination, message, timestamp }
}

/// True if the body of an answer says that the call failed.
pub(crate) fn is_refusal(answer: &Value) -> bool {
    answer.get("success") == Some(&Value::Bool(false))
}

/// `requestId` of an answer.
pub(crate) fn request_id(answer: &Value) -> Option<&str> {
    Fields::of(answer)?.optional_text(["requestId", "request_id"]).ok()?
}

/// The code and the message of an answer of failure, whose shape is not documented.
pub(crate) fn failure(answer: &Value) -> (Option<String>, Option<String>) {
    let inner = answer.get("error");
    let said = |name| inner.and_then(|inner| words(inner.get(name)?)).or_else(|| words(answer.get(name)?));
    (said("code"), said("message").or_else(|| words(inner?)))
}

/// A text, a number as text, or a list of texts as one.
fn words(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "),
        Value::Null | Value::Bool(_) | Value::Object(_) => return None,
    };
    (!text.trim().is_empty()).then_some(text)
}

/// The items of a list.
pub(crate) fn list<T>(data: &Value, read: impl Fn(&Value) -> Result<T, String>) -> Result<Vec<T>, String> {
    let items = data.as_array().ok_or("`data` is not a list")?;
    let read = |(index, item)| read(item).map_err(|problem| format!("item {index}: {problem}"));
    items.iter().enumerate().map(read).collect()
}

/// A webhook as it is listed.
pub(crate) fn webhook(data: &Value) -> Result<Webhook, String> {
    let fields = Fields::of(data).ok_or(NO_OBJECT)?;
    Ok(Webhook {
        id: fields.text(["id"])?.into(),
        url: fields.text(["url"])?,
        events: fields.texts("events")?.ok_or("`events` is missing")?,
        description: fields.optional_text(["description"])?.map(Into::into),
        enabled: fields.boolean("enabled")?.unwrap_or(true),
        created_at: fields.any_time(["createdAt", "created_at"]),
        last_triggered_at: fields.any_time(["lastTriggeredAt", "last_triggered_at"]),
        other: fields.rest(),
    })
}

/// A webhook that was just created, and its secret.
///
/// Finkare shows the secret only here, so it must not be lost because another field is missing or odd: apart from the
/// id, such a field takes the requested value.
pub(crate) fn created(data: &Value, asked: &NewWebhook) -> Result<CreatedWebhook, String> {
    let secret = secret(data)?;
    let fields = inner_of(data, "webhook")?;
    let webhook = Webhook {
        id: fields.text(["id"])?.into(),
        url: fields.text(["url"]).unwrap_or_else(|_| asked.url.clone()),
        events: fields.texts("events").ok().flatten().unwrap_or_else(|| asked.events.clone()),
        description: match fields.optional_text(["description"]) {
            Ok(Some(description)) => Some(description.to_owned()),
            Ok(None) | Err(_) => asked.description.clone(),
        },
        enabled: fields.boolean("enabled").ok().flatten().unwrap_or(asked.enabled.unwrap_or(true)),
        created_at: fields.any_time(["createdAt", "created_at"]),
        last_triggered_at: fields.any_time(["lastTriggeredAt", "last_triggered_at"]),
        other: fields.rest_without(&["secret"]),
    };
    Ok(CreatedWebhook { webhook, secret })
}

/// The fields of what was just created: one level deeper only where the id is not here.
pub(crate) fn inner_of<'a>(data: &'a Value, name: &str) -> Result<Fields<'a>, String> {
    let fields = Fields::of(data).ok_or(NO_OBJECT)?;
    let is_here = fields.optional_text(["id"]).ok().flatten().is_some();
    let inner = data.get(name).and_then(Fields::of);
    Ok(inner.filter(|_| !is_here).unwrap_or(fields))
}

/// The secret in an answer: `secret`, or `webhook.secret`.
///
/// A masked secret (`whsec_****`) is an error: if it were stored, every delivery would be refused once the previous
/// secret has expired.
pub(crate) fn secret(data: &Value) -> Result<Secret, String> {
    shown_once(data, &["secret"], "webhook")
}

/// A text that is shown only in this answer, in one of these fields, or one level deeper.
pub(crate) fn shown_once(data: &Value, names: &[&'static str], inner: &str) -> Result<Secret, String> {
    let name = names[0];
    let at = |value: &Value| names.iter().filter_map(|name| value.get(*name)).find(|found| !found.is_null()).cloned();
    let found = at(data).or_else(|| at(data.get(inner)?)).ok_or_else(|| format!("`{name}` is missing"))?;
    let Value::String(text) = found else { return Err(format!("`{name}` is not a text")) };
    // From here on it is wiped from memory.
    let secret = Secret::new(text);
    let text = secret.expose();
    if text.is_empty()
        || text.len() > LONGEST_SECRET
        || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*')
    {
        return Err(format!("`{name}` is masked, or no secret at all"));
    }
    Ok(secret)
}

/// One delivery of Finkare's own history. It is read for people to look at, so fields that differ from the
/// documentation stay in `other` and are not an error.
pub(crate) fn delivery(item: &Value) -> Result<Delivery, String> {
    let mut other = item.as_object().ok_or(NO_OBJECT)?.clone();
    let mut text = |names: &[&str]| {
        let name = names.iter().find(|name| other.get(**name).is_some_and(Value::is_string))?;
        // Keeps the order of what is left.
        other.shift_remove(*name)?.as_str().map(ToOwned::to_owned)
    };
    let (event_type, status) = (text(&["eventType", "event_type"]), text(&["status"]));
    let attempts = other.get("attempts").and_then(Value::as_u64);
    if attempts.is_some() {
        other.shift_remove("attempts");
    }
    let other = other.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect();
    Ok(Delivery { event_type, status, attempts, other })
}

/// An invoice.
pub(crate) fn invoice(data: &Value) -> Result<Invoice, String> {
    let fields = Fields::of(data).ok_or(NO_OBJECT)?;
    let (id, number) = (fields.text(["id"])?, fields.text(["invoiceNumber", "invoice_number"])?);
    invoice_of(&fields, id, number)
}

fn invoice_of(fields: &Fields<'_>, id: String, invoice_number: String) -> Result<Invoice, String> {
    Ok(Invoice {
        id: id.into(),
        invoice_number,
        amount_cents: fields.optional_cents(["amountCents", "amount_cents"])?,
        currency: fields.optional_text(["currency"])?.map(Into::into),
        status: fields.optional_text(["status"])?.map(Into::into),
        issue_date: fields.any_date(["issueDate", "issue_date"]),
        due_date: fields.any_date(["dueDate", "due_date"]),
        debtor: fields.read_if(["debtor"], invoice_debtor),
        other: fields.rest(),
    })
}

/// An invoice that was just created. Only the id is certain to be in the answer, so a field that is missing takes the
/// value that was sent. An amount that Finkare understood differently is an error.
pub(crate) fn created_invoice(data: &Value, new: &NewInvoice) -> Result<Invoice, String> {
    let fields = inner_of(data, "invoice")?;
    let id = fields.text(["id"])?;
    let number = fields.text(["invoiceNumber", "invoice_number"]).unwrap_or_else(|_| new.invoice_number.clone());
    let invoice = invoice_of(&fields, id, number)?;
    let asked = new.amount_cents;
    if let Some(cents) = invoice.amount_cents.filter(|cents| *cents != asked) {
        return Err(format!(
            "it shows an amount of {cents} cents, and {asked} cents were sent: cancel invoice {} at Finkare, and try \
             the other `amount_field`",
            new.invoice_number
        ));
    }
    Ok(Invoice { amount_cents: Some(asked), ..invoice })
}

/// The debtor on an invoice. Not documented in this direction, so whatever it is must not spoil the invoice.
fn invoice_debtor(value: &Value) -> Option<InvoiceDebtor> {
    let fields = Fields::of(value)?;
    let text =
        |name| fields.read_if([name], |value| value.as_str().filter(|text| !text.trim().is_empty()).map(String::from));
    let [id, name, email, phone, siret] = ["id", "name", "email", "phone", "siret"].map(text);
    Some(InvoiceDebtor { id: id.map(Into::into), name, email, phone, siret, other: fields.rest() })
}

/// A payment.
pub(crate) fn payment(item: &Value) -> Result<Payment, String> {
    let fields = Fields::of(item).ok_or(NO_OBJECT)?;
    Ok(Payment {
        id: fields.text(["id"])?.into(),
        invoice_id: fields.text(["invoiceId", "invoice_id"])?.into(),
        amount_cents: fields.optional_cents(["amountCents", "amount_cents"])?.ok_or("`amountCents` is missing")?,
        currency: fields.optional_text(["currency"])?.map(Into::into),
        status: fields.text(["status"])?.into(),
        method: fields.optional_text(["method"])?.map(Into::into),
        paid_at: fields.paid_at(["paidAt", "paid_at"]),
        other: fields.rest(),
    })
}

pub(crate) const NO_OBJECT: &str = "it is not an object";

/// The end of names of fields whose values are not shown, whatever they are, in lower case and without `_`.
const SECRET_NAMES: [&str; 5] = ["secret", "apikey", "password", "token", "privatekey"];

/// The fields of an object. A name is given in all its spellings, the usual one first; null counts as missing.
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// The names of what was read.
    read: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(value: &'a Value) -> Option<Self> {
        Some(Self { map: value.as_object()?, read: RefCell::default() })
    }

    fn find<const N: usize>(&self, names: [&'static str; N]) -> Option<&'a Value> {
        let found = names.iter().find_map(|name| Some((name, self.map.get(*name).filter(|value| !value.is_null())?)));
        let (name, value) = found?;
        self.read.borrow_mut().push(name);
        Some(value)
    }

    /// Keeps a field in the rest, because its value was not read.
    fn unread<const N: usize>(&self, names: [&'static str; N]) {
        self.read.borrow_mut().retain(|name| !names.contains(name));
    }

    /// Every field that was not read, in its order; those that are named like secrets without their values.
    pub(crate) fn rest(&self) -> Map<String, Value> {
        self.rest_without(&[])
    }

    /// The same, without these fields.
    pub(crate) fn rest_without(&self, names: &[&str]) -> Map<String, Value> {
        let read = self.read.borrow();
        let is_left = |name: &str| !read.contains(&name) && !names.contains(&name);
        let left = self.map.iter().filter(|(name, value)| is_left(name) && !value.is_null());
        left.map(|(name, value)| (name.clone(), shown(name, value))).collect()
    }

    /// A value that is read as far as it can be; what cannot stays in the rest.
    pub(crate) fn read_if<const N: usize, T>(
        &self,
        names: [&'static str; N],
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = read(self.find(names)?);
        if value.is_none() {
            self.unread(names);
        }
        value
    }

    pub(crate) fn optional_text<const N: usize>(&self, names: [&'static str; N]) -> Result<Option<&'a str>, String> {
        match self.find(names) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| format!("`{}` is not a text", names[0])),
        }
    }

    pub(crate) fn text<const N: usize>(&self, names: [&'static str; N]) -> Result<String, String> {
        match self.optional_text(names)? {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            Some(_) => Err(format!("`{}` is empty", names[0])),
            None => Err(format!("`{}` is missing", names[0])),
        }
    }

    pub(crate) fn texts(&self, name: &'static str) -> Result<Option<Vec<String>>, String> {
        let Some(value) = self.find([name]) else { return Ok(None) };
        let texts = value.as_array().and_then(|items| items.iter().map(|item| item.as_str().map(Into::into)).collect());
        texts.map(Some).ok_or_else(|| format!("`{name}` is not a list of texts"))
    }

    pub(crate) fn boolean(&self, name: &'static str) -> Result<Option<bool>, String> {
        let Some(value) = self.find([name]) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| format!("`{name}` is neither true nor false"))
    }

    pub(crate) fn count(&self, name: &'static str) -> Result<u64, String> {
        let value = self.find([name]).ok_or_else(|| format!("`{name}` is missing"))?;
        value.as_u64().ok_or_else(|| format!("`{name}` is not a number of items"))
    }

    pub(crate) fn optional_cents<const N: usize>(&self, names: [&'static str; N]) -> Result<Option<i64>, String> {
        let Some(value) = self.find(names) else { return Ok(None) };
        // A number with a point or an exponent was parsed as a float and is not accepted.
        value.as_i64().map(Some).ok_or_else(|| format!("`{}` is not an integer of cents", names[0]))
    }

    /// When a payment was made; unknown if the text is neither a time nor a date, so that the other payments of the list can
    /// still be read.
    pub(crate) fn paid_at<const N: usize>(&self, names: [&'static str; N]) -> Option<PaidAt> {
        self.read_if(names, |value| value.as_str()?.parse().ok())
    }

    /// A time for people to look at; unknown if it cannot be read.
    pub(crate) fn any_time<const N: usize>(&self, names: [&'static str; N]) -> Option<Timestamp> {
        self.read_if(names, |value| value.as_str()?.parse().ok())
    }

    /// A day; unknown if it is no bare date. A time is none: which day it means depends on a zone that nobody names.
    pub(crate) fn any_date<const N: usize>(&self, names: [&'static str; N]) -> Option<Date> {
        self.read_if(names, |value| match value.as_str()?.parse() {
            Ok(PaidAt::On(date)) => Some(date),
            Ok(PaidAt::At(_)) | Err(_) => None,
        })
    }
}

/// A value as it may be shown: without the value of a field that is named like a secret, also further inside.
fn shown(name: &str, value: &Value) -> Value {
    let plain: String = name.chars().filter(|c| *c != '_' && *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    if SECRET_NAMES.iter().any(|end| plain.ends_with(end)) && !matches!(value, Value::Null | Value::Bool(_)) {
        return MASK.into();
    }
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect(),
        Value::Array(items) => items.iter().map(|item| shown("", item)).collect(),
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The list as documented, with `snake_case` times.
    fn listed() -> Value {
        json!({
            "success": true,
            "data": [{
                "id": "e5f6a7b8-0000-4000-8000-000000000001",
                "url": "https://example.test/webhooks/finkare",
                "events": ["payment.received", "invoice.status_changed"],
                "description": "production",
                "enabled": true,
                "created_at": "2026-03-01T08:00:00.000Z",
                "last_triggered_at": "2026-03-15T10:30:00.000Z"
            }],
            "requestId": "req_0a1b2c",
            "timestamp": "2026-03-15T10:31:00.000Z"
        })
    }

    fn asked() -> NewWebhook {
        NewWebhook {
            url: "https://example.test/x".into(),
            events: vec!["payment.received".into()],
            description: Some("ours".into()),
            enabled: None,
        }
    }

    /// The payment as documented.
    fn paid() -> Value {
        json!({
            "id": "aaaa1111-0000-4000-8000-000000000009",
            "invoiceId": "c3d4e5f6-0000-4000-8000-000000000001",
            "amountCents": 150_000,
            "currency": "EUR",
            "status": "completed",
            "method": "sepa_debit",
            "paidAt": "2026-03-15T10:29:58.000Z"
        })
    }

    #[test]
    fn the_documented_list_of_webhooks_is_read() {
        assert_eq!(request_id(&listed()), Some("req_0a1b2c"));
        let envelope = open(listed());
        assert_eq!((is_refusal(&listed()), envelope.pagination), (false, None));
        let expected = Webhook {
            id: "e5f6a7b8-0000-4000-8000-000000000001".into(),
            url: "https://example.test/webhooks/finkare".into(),
            events: vec!["payment.received".into(), "invoice.status_changed".into()],
            description: Some("production".into()),
            enabled: true,
            created_at: Some(at("2026-03-01T08:00:00Z")),
            last_triggered_at: Some(at("2026-03-15T10:30:00Z")),
            other: Map::new(),
        };
        assert_eq!(list(&envelope.data, webhook), Ok(vec![expected]));
    }

    #[test]
    fn both_spellings_are_read_and_may_stand_side_by_side() {
        let times = |fields: Value| {
            let mut value = open(listed()).data[0].take();
            let object = value.as_object_mut().unwrap();
            object.retain(|name, _| !name.ends_with("_at"));
            object.extend(fields.as_object().unwrap().clone());
            let webhook = webhook(&value).unwrap();
            (webhook.created_at, webhook.last_triggered_at)
        };
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
        assert_eq!(times(json!({ "createdAt": early, "lastTriggeredAt": late })), (Some(at(early)), Some(at(late))));
        assert_eq!(times(json!({ "created_at": early, "createdAt": early })), (Some(at(early)), None));
        assert_eq!(times(json!({ "createdAt": null, "created_at": early })), (Some(at(early)), None));
        assert_eq!(times(json!({ "createdAt": "yesterday" })), (None, None), "it is only for people to look at");

        let snake = json!({
            "id": "p", "invoice_id": "i", "amount_cents": -5, "status": "refunded", "paid_at": early, "new": [1]
        });
        let payment = payment(&snake).unwrap();
        assert_eq!(
            (payment.invoice_id.as_str(), payment.amount_cents, payment.paid_at),
            ("i", -5, Some(PaidAt::At(at(early))))
        );
        let invoice = invoice(&json!({ "id": "i", "invoice_number": "F-1", "amount_cents": 7 })).unwrap();
        assert_eq!((invoice.invoice_number.as_str(), invoice.amount_cents), ("F-1", Some(7)));
        assert_eq!(delivery(&json!({ "event_type": "x" })).unwrap().event_type.as_deref(), Some("x"));
        assert_eq!(request_id(&json!({ "request_id": "req_1" })), Some("req_1"));
    }

    #[test]
    fn a_made_webhook_is_read_with_its_secret() {
        let data = json!({
            "id": "w", "url": "https://example.test/y", "events": ["invoice.created"], "enabled": false,
            "secret": "whsec_abc", "createdAt": "2026-03-01T08:00:00.000Z"
        });
        let CreatedWebhook { webhook, secret } = created(&data, &asked()).unwrap();
        assert_eq!(secret.expose(), "whsec_abc");
        assert_eq!((webhook.url.as_str(), webhook.enabled), ("https://example.test/y", false));
        assert_eq!(webhook.events, ["invoice.created"]);
        assert_eq!(webhook.created_at, Some(at("2026-03-01T08:00:00Z")));
    }

    #[test]
    fn nothing_but_the_id_can_cost_the_secret_of_a_made_webhook() {
        let odd = json!({ "id": "w", "url": 7, "events": "all", "description": {}, "enabled": "yes", "createdAt": 1, "secret": "whsec_a" });
        let bare = json!({ "id": "w", "secret": "whsec_a" });
        let deeper = json!({ "webhook": { "id": "w" }, "secret": "whsec_a" });
        let whole = json!({ "webhook": { "id": "w", "secret": "whsec_a" } });
        for data in [odd, bare, deeper, whole] {
            let CreatedWebhook { webhook, secret } = created(&data, &asked()).unwrap();
            assert_eq!((webhook.id.as_str(), secret.expose()), ("w", "whsec_a"));
            assert_eq!(
                (webhook.url, webhook.events, webhook.description),
                (asked().url, asked().events, asked().description)
            );
            assert!(webhook.enabled);
        }
        assert_eq!(created(&json!({ "secret": "whsec_a" }), &asked()), Err("`id` is missing".into()));
        assert_eq!(created(&json!({ "id": "w" }), &asked()), Err("`secret` is missing".into()));
    }

    #[test]
    fn a_masked_secret_is_none() {
        assert_eq!(secret(&json!({ "secret": "whsec_a" })).unwrap().expose(), "whsec_a");
        assert_eq!(secret(&json!({ "secret": null, "webhook": { "secret": "whsec_b" } })).unwrap().expose(), "whsec_b");
        let long = "a".repeat(LONGEST_SECRET + 1);
        for odd in ["", "whsec_****", "whsec_abc…", "whsec_a b", "whsec_a\n", &long] {
            assert_eq!(
                secret(&json!({ "secret": odd })),
                Err("`secret` is masked, or no secret at all".into()),
                "{odd}"
            );
        }
        for none in [json!(null), json!([]), json!("whsec_a"), json!({ "secret": 5 }), json!({ "webhook": 5 })] {
            secret(&none).unwrap_err();
        }
    }

    #[test]
    fn the_documented_payment_is_read() {
        let expected = Payment {
            id: "aaaa1111-0000-4000-8000-000000000009".into(),
            invoice_id: "c3d4e5f6-0000-4000-8000-000000000001".into(),
            amount_cents: 150_000,
            currency: Some("EUR".into()),
            status: "completed".into(),
            method: Some("sepa_debit".into()),
            paid_at: Some(PaidAt::At(at("2026-03-15T10:29:58Z"))),
            other: Map::new(),
        };
        assert_eq!(payment(&paid()), Ok(expected));
    }

    #[test]
    fn money_is_digits_and_nothing_else() {
        let cents = |digits: &str| {
            let text = format!(r#"{{"id":"p","invoiceId":"i","status":"completed","amountCents":{digits}}}"#);
            payment(&serde_json::from_str(&text).unwrap()).map(|payment| payment.amount_cents)
        };
        assert_eq!(cents("0"), Ok(0));
        assert_eq!(cents("-1"), Ok(-1));
        assert_eq!(cents("9223372036854775807"), Ok(i64::MAX));
        for odd in ["1.5", "1500.0", "1e3", "1E3", "-0", "\"1500\"", "true", "[1]", "{}", "9223372036854775808", "1e99"]
        {
            assert_eq!(cents(odd), Err("`amountCents` is not an integer of cents".into()), "{odd}");
        }
        assert_eq!(cents("null"), Err("`amountCents` is missing".into()));
    }

    #[test]
    fn a_problem_names_the_field_and_never_its_value() {
        for (name, value, problem) in [
            ("id", json!(""), "`id` is empty"),
            ("id", json!(null), "`id` is missing"),
            ("status", json!({ "whsec_a": "whsec_a" }), "`status` is not a text"),
            ("invoiceId", json!(["whsec_a"]), "`invoiceId` is not a text"),
        ] {
            let mut item = paid();
            item[name] = value;
            assert_eq!(payment(&item), Err(problem.into()));
        }
        assert_eq!(list(&json!([paid(), 5]), payment), Err("item 1: it is not an object".into()));
        assert_eq!(list(&json!({ "a": 1 }), payment), Err("`data` is not a list".into()));
        assert_eq!(list(&Value::Null, payment), Err("`data` is not a list".into()));
    }

    #[test]
    fn when_it_was_paid_is_a_time_a_day_or_not_known() {
        let paid_at = |value: Value| {
            let mut item = paid();
            item["paidAt"] = value;
            payment(&item).unwrap().paid_at
        };
        assert_eq!(paid_at(json!("2026-03-15")), Some(PaidAt::On(jiff::civil::date(2026, 3, 15))));
        let time = Some(PaidAt::At(at("2026-03-15T10:29:58Z")));
        assert_eq!(paid_at(json!("2026-03-15T11:29:58+01:00")), time);
        for odd in [json!("yesterday"), json!("2026-03-15T10:29:58"), json!(1_773_570_598), json!({}), json!(null)] {
            assert_eq!(paid_at(odd.clone()), None, "{odd}");
        }
    }

    #[test]
    fn what_is_not_known_is_kept_and_what_is_secret_is_not_shown() {
        let mut item = paid();
        item["paidAt"] = json!("yesterday");
        item["fee"] = json!({ "cents": 5, "apiToken": "x" });
        item["nothing"] = json!(null);
        item["client_secret"] = json!("x");
        let payment = payment(&item).unwrap();
        assert_eq!(
            Value::Object(payment.other),
            json!({
                "paidAt": "yesterday", "fee": { "cents": 5, "apiToken": "[redacted]" }, "client_secret": "[redacted]",
            })
        );
        let invoice = invoice(&json!({
            "id": "i", "invoiceNumber": "F-1", "status": "legal", "issueDate": "2026-02-15",
            "dueDate": "2026-03-15T23:00:00.000Z", "debtor": { "name": "Lefebvre SARL", "email": 5, "city": "Lyon" },
        }));
        let invoice = invoice.unwrap();
        assert_eq!(invoice.status, Some(crate::InvoiceStatus::Other("legal".into())));
        assert_eq!((invoice.issue_date, invoice.due_date), (Some(jiff::civil::date(2026, 2, 15)), None));
        assert_eq!(Value::Object(invoice.other.clone()), json!({ "dueDate": "2026-03-15T23:00:00.000Z" }));
        assert_eq!(invoice.debtor_name(), Some("Lefebvre SARL"));
        let other = invoice.debtor.unwrap().other;
        assert_eq!(Value::Object(other), json!({ "email": 5, "city": "Lyon" }));
        let bare = super::invoice(&json!({ "id": "i", "invoiceNumber": "F-1", "debtor": "Lefebvre" })).unwrap();
        assert_eq!((bare.debtor, Value::Object(bare.other)), (None, json!({ "debtor": "Lefebvre" })));
    }

    #[test]
    fn a_new_invoice_needs_its_id_and_must_not_have_another_amount() {
        let day = jiff::civil::date(2026, 2, 15);
        let asked = NewInvoice::new("F-1", 285_000, day, day, crate::NewDebtor::default());
        for data in [
            json!({ "id": "i" }),
            json!({ "invoice": { "id": "i", "amountCents": 285_000 } }),
            json!({ "id": "i", "invoiceNumber": "F-1", "amountCents": 285_000, "status": "new" }),
        ] {
            let invoice = created_invoice(&data, &asked).unwrap();
            assert_eq!((invoice.id.as_str(), invoice.invoice_number.as_str()), ("i", "F-1"));
            assert_eq!(invoice.amount_cents, Some(285_000));
        }
        for cents in [28_500_000, 2850] {
            let problem = created_invoice(&json!({ "id": "i", "amountCents": cents }), &asked).unwrap_err();
            assert!(problem.contains(&format!("{cents} cents")) && problem.contains("F-1"), "{problem}");
        }
        assert_eq!(created_invoice(&json!({}), &asked), Err("`id` is missing".into()));
    }

    #[test]
    fn an_answer_without_an_envelope_is_the_data_itself() {
        assert_eq!(open(json!({ "id": "w" })).data, json!({ "id": "w" }));
        assert_eq!(open(json!([1])).data, json!([1]));
        assert_eq!(open(Value::Null).data, Value::Null);
        assert_eq!(open(json!({ "data": null, "id": "w" })).data, Value::Null, "`data` counts where there is one");
        let inline = open(json!({ "success": true, "secret": "whsec_a" }));
        assert_eq!(secret(&inline.data).unwrap().expose(), "whsec_a", "a secret that is shown once is not lost");
    }

    #[test]
    fn the_envelope_says_how_far_a_list_goes_and_whether_it_was_refused() {
        let pagination = |value: Value| open(json!({ "data": [], "pagination": value })).pagination;
        assert_eq!(
            pagination(json!({ "page": 1, "limit": 20, "total": 57 })),
            Some(Pagination { page: Some(1), limit: Some(20), total: Some(57) })
        );
        assert_eq!(pagination(json!({ "limit": 0, "total": "57" })), Some(Pagination::default()));
        assert_eq!(pagination(json!(null)), None);
        assert!(is_refusal(&json!({ "success": false, "data": {} })));
        assert!(!is_refusal(&json!({ "success": null, "data": {} })) && !is_refusal(&json!([false])));
    }

    #[test]
    fn an_error_is_read_in_all_shapes_that_are_usual() {
        let read = |value: Value| {
            let (code, message) = failure(&value);
            (code.unwrap_or_default(), message.unwrap_or_default())
        };
        let pair = |code: &str, message: &str| (code.to_owned(), message.to_owned());
        assert_eq!(
            read(json!({ "error": { "code": "RES_001", "message": "Resource not found" } })),
            pair("RES_001", "Resource not found")
        );
        assert_eq!(
            read(json!({ "code": "RES_001", "message": "Resource not found" })),
            pair("RES_001", "Resource not found")
        );
        assert_eq!(read(json!({ "error": { "code": "A" }, "code": "B", "message": "m" })), pair("A", "m"));
        assert_eq!(read(json!({ "error": "Invalid signature" })), pair("", "Invalid signature"));
        assert_eq!(read(json!({ "error": "Bad Request", "message": ["a", "b"], "code": 7 })), pair("7", "a; b"));
        for nothing in [json!({}), json!(null), json!("text"), json!({ "error": { "message": " " } }), json!([{}])] {
            assert_eq!(read(nothing), pair("", ""));
        }
    }

    #[test]
    fn a_delivery_keeps_what_is_not_documented() {
        let item =
            json!({ "id": "d", "eventType": "payment.received", "status": "failed", "attempts": 3, "z": 1, "a": 2 });
        let read = delivery(&item).unwrap();
        assert_eq!(read.event_type.as_deref(), Some("payment.received"));
        assert_eq!((read.status.as_deref(), read.attempts), (Some("failed"), Some(3)));
        assert_eq!(read.other.keys().collect::<Vec<_>>(), ["id", "z", "a"]);
        let odd = delivery(&json!({ "eventType": null, "status": 200, "attempts": "3" })).unwrap();
        assert_eq!((odd.event_type, odd.status, odd.attempts), (None, None, None));
        assert_eq!(Value::Object(odd.other), json!({ "eventType": null, "status": 200, "attempts": "3" }));
    }
}
