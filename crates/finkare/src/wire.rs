//! The form of Finkare's answers, as far as it is documented, and how they are read.
//!
//! - The envelope is `{success, data, message, pagination, requestId, timestamp}`. An answer without it is read as
//!   the data itself, because it is not documented that every call has one.
//! - Every field is read in both spellings, `createdAt` and `created_at`: the documentation uses the one for a
//!   webhook that was created and the other for one that is listed. If an answer has both, the first that is not null
//!   counts. (Serde's aliases reject that as a duplicate.)
//! - Unknown fields are ignored.
//! - Money is an integer of cents, written as digits: `1500.0`, `1.5e3` and `"1500"` cannot be read, and are
//!   never rounded or guessed.
//! - The text of a problem names the field and never repeats the value, which may be a secret.
//!
//! Sources: <https://docs.finkare.io/api-reference/webhooks>, <https://docs.finkare.io/api-reference/payments>,
//! <https://docs.finkare.io/guides/sdk-typescript>.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{Delivery, Invoice, NewWebhook, PaidAt, Payment, Secret, UnreadablePayment, Webhook};

/// More characters than any secret has.
const LONGEST_SECRET: usize = 1024;

/// The length of a list: the fields that are needed to read all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pagination {
    /// Items on a full page.
    pub(crate) limit: Option<u64>,
    /// Items on all pages.
    pub(crate) total: Option<u64>,
}

/// An answer of success, out of its envelope.
#[derive(Debug, PartialEq)]
pub(crate) struct Envelope {
    /// `data`; the whole answer if it has none, [`Value::Null`] if there is no answer at all.
    pub(crate) data: Value,
    pub(crate) pagination: Option<Pagination>,
}

/// Takes the data out of its envelope.
pub(crate) fn open(answer: Value) -> Envelope {
    let Value::Object(mut fields) = answer else {
        return Envelope { data: answer, pagination: None };
    };
    let pagination = fields.get("pagination").and_then(Value::as_object).map(|fields| Pagination {
        limit: fields.get("limit").and_then(Value::as_u64).filter(|limit| *limit > 0),
        total: fields.get("total").and_then(Value::as_u64),
    });
    let data = fields.remove("data").unwrap_or(Value::Object(fields));
    Envelope { data, pagination }
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
        id: fields.text(["id"])?,
        url: fields.text(["url"])?,
        events: fields.texts("events")?.ok_or("`events` is missing")?,
        description: fields.optional_text(["description"])?.map(Into::into),
        enabled: fields.boolean("enabled")?.unwrap_or(true),
        created_at: fields.any_time(["createdAt", "created_at"]),
        last_triggered_at: fields.any_time(["lastTriggeredAt", "last_triggered_at"]),
    })
}

/// A webhook that was just created, and its secret.
///
/// Finkare shows the secret only here, so it must not be lost because another field is missing or odd: apart from the
/// id, such a field takes the requested value.
pub(crate) fn created(data: &Value, asked: &NewWebhook) -> Result<(Webhook, Secret), String> {
    let secret = secret(data)?;
    let fields = Fields::of(data).ok_or(NO_OBJECT)?;
    // One level deeper only where the id is not here.
    let inner = data.get("webhook").and_then(Fields::of);
    let fields = inner.filter(|_| fields.optional_text(["id"]).ok().flatten().is_none()).unwrap_or(fields);
    let webhook = Webhook {
        id: fields.text(["id"])?,
        url: fields.text(["url"]).unwrap_or_else(|_| asked.url.clone()),
        events: fields.texts("events").ok().flatten().unwrap_or_else(|| asked.events.clone()),
        description: match fields.optional_text(["description"]) {
            Ok(Some(description)) => Some(description.to_owned()),
            Ok(None) | Err(_) => asked.description.clone(),
        },
        enabled: fields.boolean("enabled").ok().flatten().unwrap_or(true),
        created_at: fields.any_time(["createdAt", "created_at"]),
        last_triggered_at: fields.any_time(["lastTriggeredAt", "last_triggered_at"]),
    };
    Ok((webhook, secret))
}

/// The secret in an answer: `secret`, or `webhook.secret`.
///
/// A masked secret (`whsec_****`) is an error: if it were stored, every delivery would be refused once the previous
/// secret has expired.
pub(crate) fn secret(data: &Value) -> Result<Secret, String> {
    let at = |value: &Value| value.get("secret").filter(|secret| !secret.is_null()).cloned();
    let found = at(data).or_else(|| at(data.get("webhook")?)).ok_or("`secret` is missing")?;
    let Value::String(text) = found else { return Err("`secret` is not a text".to_owned()) };
    // From here on it is wiped from memory.
    let secret = Secret::new(text);
    let text = secret.expose();
    if text.is_empty()
        || text.len() > LONGEST_SECRET
        || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*')
    {
        return Err("`secret` is masked, or no secret at all".to_owned());
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
    Ok(Delivery { event_type, status, attempts, other })
}

/// An invoice: the fields that this crate reads.
pub(crate) fn invoice(data: &Value) -> Result<Invoice, String> {
    let fields = Fields::of(data).ok_or(NO_OBJECT)?;
    Ok(Invoice {
        id: fields.text(["id"])?,
        invoice_number: fields.text(["invoiceNumber", "invoice_number"])?,
        amount_cents: fields.optional_cents(["amountCents", "amount_cents"])?,
        currency: fields.optional_text(["currency"])?.map(Into::into),
        status: fields.optional_text(["status"])?.map(Into::into),
        // Not documented in this direction, so whatever it is must not spoil the invoice.
        debtor: data["debtor"]["name"].as_str().filter(|name| !name.trim().is_empty()).map(Into::into),
    })
}

/// A payment.
pub(crate) fn payment(item: &Value) -> Result<Payment, String> {
    let fields = Fields::of(item).ok_or(NO_OBJECT)?;
    Ok(Payment {
        id: fields.text(["id"])?,
        invoice_id: fields.text(["invoiceId", "invoice_id"])?,
        amount_cents: fields.optional_cents(["amountCents", "amount_cents"])?.ok_or("`amountCents` is missing")?,
        currency: fields.optional_text(["currency"])?.map(Into::into),
        status: fields.text(["status"])?,
        method: fields.optional_text(["method"])?.map(Into::into),
        paid_at: fields.paid_at(["paidAt", "paid_at"]),
    })
}

/// A payment of a list, or the readable part of one that cannot be read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PaymentRow {
    Read(Payment),
    /// `key` distinguishes it from others: its id, or its whole text.
    Unreadable {
        key: String,
        payment: UnreadablePayment,
    },
}

impl PaymentRow {
    /// The id or text that distinguishes it from others.
    pub(crate) fn key(&self) -> &String {
        match self {
            Self::Read(payment) => &payment.id,
            Self::Unreadable { key, .. } => key,
        }
    }
}

/// A payment in a list. One that cannot be read must not hide the others.
#[expect(clippy::unnecessary_wraps, reason = "what reads an item of a list may fail")]
pub(crate) fn payment_row(item: &Value) -> Result<PaymentRow, String> {
    Ok(match payment(item) {
        Ok(payment) => PaymentRow::Read(payment),
        Err(problem) => {
            let id = Fields::of(item).and_then(|fields| fields.text(["id"]).ok());
            let key = id.clone().unwrap_or_else(|| item.to_string());
            PaymentRow::Unreadable { key, payment: UnreadablePayment { id, problem } }
        }
    })
}

const NO_OBJECT: &str = "it is not an object";

/// The fields of an object. A name is given in all its spellings, the usual one first; null counts as missing.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn of(value: &'a Value) -> Option<Self> {
        value.as_object().map(Self)
    }

    fn find<const N: usize>(self, names: [&str; N]) -> Option<&'a Value> {
        names.iter().filter_map(|name| self.0.get(*name)).find(|value| !value.is_null())
    }

    fn optional_text<const N: usize>(self, names: [&str; N]) -> Result<Option<&'a str>, String> {
        match self.find(names) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| format!("`{}` is not a text", names[0])),
        }
    }

    fn text<const N: usize>(self, names: [&str; N]) -> Result<String, String> {
        match self.optional_text(names)? {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            Some(_) => Err(format!("`{}` is empty", names[0])),
            None => Err(format!("`{}` is missing", names[0])),
        }
    }

    fn texts(self, name: &str) -> Result<Option<Vec<String>>, String> {
        let Some(value) = self.find([name]) else { return Ok(None) };
        let texts = value.as_array().and_then(|items| items.iter().map(|item| item.as_str().map(Into::into)).collect());
        texts.map(Some).ok_or_else(|| format!("`{name}` is not a list of texts"))
    }

    fn boolean(self, name: &str) -> Result<Option<bool>, String> {
        let Some(value) = self.find([name]) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| format!("`{name}` is neither true nor false"))
    }

    fn optional_cents<const N: usize>(self, names: [&str; N]) -> Result<Option<i64>, String> {
        let Some(value) = self.find(names) else { return Ok(None) };
        // A number with a point or an exponent was parsed as a float and is not accepted.
        value.as_i64().map(Some).ok_or_else(|| format!("`{}` is not an integer of cents", names[0]))
    }

    /// When a payment was made; unknown if the text is neither a time nor a date, so that the other payments of the list can
    /// still be read.
    fn paid_at<const N: usize>(self, names: [&str; N]) -> Option<PaidAt> {
        self.optional_text(names).ok().flatten()?.parse().ok()
    }

    /// A time for people to look at; unknown if it cannot be read.
    fn any_time<const N: usize>(self, names: [&str; N]) -> Option<Timestamp> {
        self.optional_text(names).ok().flatten()?.parse().ok()
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
        let (webhook, secret) = created(&data, &asked()).unwrap();
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
            let (webhook, secret) = created(&data, &asked()).unwrap();
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
    fn one_payment_that_cannot_be_read_hides_no_other() {
        let odd = json!({ "id": "odd", "invoiceId": "i", "amountCents": "whsec_a", "status": "completed" });
        let rows = list(&json!([odd, 5, paid(), { "amountCents": 7 }]), payment_row).unwrap();
        let told = |row: &PaymentRow| match row {
            PaymentRow::Read(payment) => (Some(payment.id.clone()), String::new()),
            PaymentRow::Unreadable { payment, .. } => (payment.id.clone(), payment.problem.clone()),
        };
        let text = |text: &str| text.to_owned();
        let expected = [
            (Some(text("odd")), text("`amountCents` is not an integer of cents")),
            (None, text("it is not an object")),
            (Some(text("aaaa1111-0000-4000-8000-000000000009")), text("")),
            (None, text("`id` is missing")),
        ];
        assert_eq!(rows.iter().map(told).collect::<Vec<_>>(), expected);
        let keys: std::collections::HashSet<&String> = rows.iter().map(PaymentRow::key).collect();
        assert_eq!(keys.len(), 4, "each is counted as one");
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
            Some(Pagination { limit: Some(20), total: Some(57) })
        );
        assert_eq!(pagination(json!({ "limit": 0, "total": "57" })), Some(Pagination { limit: None, total: None }));
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
