//! Reads the payment from the body of a `payment.received`, strictly, since this is where amounts enter the relay.
//!
//! Documented are `data.invoiceId` and `data.amountCents`; `paymentId`, `currency`, `method` and `paidAt` are read
//! if they are there (<https://docs.finkare.io/guides/webhook-setup>). A field that exists but cannot be read is never ignored: a
//! body that means another payment than the one that would be found is held.

use finkare::PaidAt;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{event::MAX_TEXT, money::Cents};

/// What an event says about its payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// `data.invoiceId`
    pub(super) invoice_id: String,
    /// `data.amountCents`: more than zero.
    pub(super) amount: Cents,
    /// `data.paymentId`
    pub(super) payment_id: Option<String>,
    /// `data.currency`
    pub(super) currency: Option<String>,
    /// `data.method`
    pub(super) method: Option<String>,
    /// `data.paidAt`: a time, or a day.
    pub(super) paid_at: Option<PaidAt>,
    /// `timestamp`. What it means (event or sending) is not documented, so an unreadable one is not a problem.
    pub(super) timestamp: Option<Timestamp>,
}

/// Only the known fields; the library rejects a field that occurs twice.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    data: Option<Data<'a>>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    invoice_id: Option<&'a RawValue>,
    #[serde(borrow)]
    amount_cents: Option<&'a RawValue>,
    #[serde(borrow)]
    payment_id: Option<&'a RawValue>,
    #[serde(borrow)]
    currency: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    paid_at: Option<&'a RawValue>,
}

impl Asked {
    /// Reads a verified message.
    ///
    /// # Errors
    /// What is wrong with the message, as a phrase: "`data.amountCents` is missing".
    pub(super) fn read(message: &[u8]) -> Result<Self, String> {
        // The library's message may repeat a part of the body, so only the position is given.
        let body: Body<'_> = serde_json::from_slice(message).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("the body cannot be read: it is not JSON of the documented form at line {line}, column {column}")
        })?;
        let data = body.data.ok_or("`data` is missing")?;
        let paid_at = text("data.paidAt", data.paid_at)?.map(|text| text.parse::<PaidAt>()).transpose();
        Ok(Self {
            invoice_id: text("data.invoiceId", data.invoice_id)?.ok_or("`data.invoiceId` is missing")?,
            amount: cents(data.amount_cents)?,
            payment_id: text("data.paymentId", data.payment_id)?,
            currency: text("data.currency", data.currency)?,
            method: text("data.method", data.method)?,
            paid_at: paid_at.map_err(|_| "`data.paidAt` is neither a time with its offset from UTC nor a date")?,
            timestamp: body.timestamp.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()?.parse().ok()),
        })
    }
}

/// A text that may be missing, or null.
fn text(name: &str, raw: Option<&RawValue>) -> Result<Option<String>, String> {
    let Some(raw) = raw else { return Ok(None) };
    let text: String = serde_json::from_str(raw.get()).map_err(|_| format!("`{name}` is not a text"))?;
    if text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        return Err(format!("`{name}` is empty, longer than {MAX_TEXT} bytes, or has control characters"));
    }
    Ok(Some(text))
}

/// Digits only: a number with a point or an exponent was a float for its sender.
fn cents(raw: Option<&RawValue>) -> Result<Cents, String> {
    let text = raw.ok_or("`data.amountCents` is missing")?.get();
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(cents @ 1..) => Ok(Cents(cents)),
        _ => Err("`data.amountCents` is not a whole number of cents above zero".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(data: &str) -> Result<Asked, String> {
        Asked::read(
            format!(r#"{{"event":"payment.received","data":{data},"timestamp":"2026-03-15T10:30:00Z"}}"#).as_bytes(),
        )
    }

    #[test]
    fn the_documented_body_is_read() {
        let asked = with(r#"{"invoiceId":"c3d4","amountCents":150000,"more":[1.5]}"#).unwrap();
        let expected = Asked {
            invoice_id: "c3d4".into(),
            amount: Cents(150_000),
            payment_id: None,
            currency: None,
            method: None,
            paid_at: None,
            timestamp: Some("2026-03-15T10:30:00Z".parse().unwrap()),
        };
        assert_eq!(asked, expected);
    }

    #[test]
    fn what_may_be_there_is_read_and_null_is_not_there() {
        let asked = with(
            r#"{"invoiceId":"i","amountCents":1,"paymentId":"p","currency":"EUR","method":"card","paidAt":"2026-03-15T11:00:00+01:00"}"#,
        )
        .unwrap();
        assert_eq!(
            (asked.payment_id.as_deref(), asked.currency.as_deref(), asked.method.as_deref()),
            (Some("p"), Some("EUR"), Some("card"))
        );
        assert_eq!(asked.paid_at, Some("2026-03-15T10:00:00Z".parse().unwrap()));
        let bare = with(r#"{"invoiceId":"i","amountCents":1,"paidAt":"2026-03-15"}"#).unwrap();
        assert_eq!(bare.paid_at, Some(PaidAt::On(jiff::civil::date(2026, 3, 15))), "a day is that day");
        let nulls = with(r#"{"invoiceId":"i","amountCents":1,"paymentId":null,"paidAt":null}"#).unwrap();
        assert_eq!((nulls.payment_id, nulls.paid_at), (None, None));
        let no_time = Asked::read(br#"{"data":{"invoiceId":"i","amountCents":1},"timestamp":"yesterday"}"#).unwrap();
        assert_eq!(no_time.timestamp, None);
        assert_eq!(
            Asked::read(br#"{"data":{"invoiceId":"i","amountCents":1},"timestamp":7}"#).unwrap().timestamp,
            None
        );
    }

    #[test]
    fn an_amount_is_digits_and_nothing_else() {
        let amount = |digits: &str| with(&format!(r#"{{"invoiceId":"i","amountCents":{digits}}}"#));
        assert_eq!(amount("9223372036854775807").unwrap().amount, Cents(i64::MAX));
        for odd in ["0", "-1", "-0", "1.0", "1.5", "1e3", "1E3", "\"1500\"", "true", "[1]", "{}", "9223372036854775808"]
        {
            assert!(amount(odd).unwrap_err().contains("`data.amountCents` is not a whole number"), "{odd}");
        }
        assert_eq!(amount("null").unwrap_err(), "`data.amountCents` is missing");
    }

    #[test]
    fn what_is_wrong_is_named_and_not_repeated() {
        for (data, problem) in [
            ("null", "`data` is missing"),
            ("[]", "the body cannot be read"),
            (r#""privat""#, "the body cannot be read"),
            (r#"{"amountCents":1}"#, "`data.invoiceId` is missing"),
            (r#"{"invoiceId":5,"amountCents":1}"#, "`data.invoiceId` is not a text"),
            (r#"{"invoiceId":"","amountCents":1}"#, "`data.invoiceId` is empty"),
            (r#"{"invoiceId":"i","amountCents":1,"amountCents":2}"#, "the body cannot be read"),
            (r#"{"invoiceId":"i","amountCents":1,"paymentId":5}"#, "`data.paymentId` is not a text"),
            (r#"{"invoiceId":"i","amountCents":1,"currency":["privat"]}"#, "`data.currency` is not a text"),
            (r#"{"invoiceId":"i","amountCents":1,"paidAt":"privat"}"#, "`data.paidAt` is neither a time"),
            (r#"{"invoiceId":"i","amountCents":1,"paidAt":"2026-02-30"}"#, "`data.paidAt` is neither a time"),
            (r#"{"invoiceId":"i","amountCents":1,"paidAt":"2026-03-15T10:00:00"}"#, "`data.paidAt` is neither a time"),
        ] {
            let error = with(data).unwrap_err();
            assert!(error.starts_with(problem) && !error.contains("privat"), "{data}: {error}");
        }
        Asked::read(b"not json").unwrap_err();
        Asked::read(b"").unwrap_err();
    }

    proptest! {
        #[test]
        fn what_is_read_is_above_zero_and_was_written_so(text in "[-+0-9.eE\"]{0,22}") {
            if let Ok(asked) = with(&format!(r#"{{"invoiceId":"i","amountCents":{text}}}"#)) {
                prop_assert!(asked.amount > Cents::ZERO);
                prop_assert_eq!(asked.amount.0.to_string(), text);
            }
        }
    }
}
