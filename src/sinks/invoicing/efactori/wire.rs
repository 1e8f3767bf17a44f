//! The shapes of the platform's answers, as far as the relay needs them, and how strictly they are read.
//!
//! The vendor's OpenAPI file (`onFact/onfact5-api-php` on GitHub, `src/openapi.json`, of 2021) gives the fields. It
//! contradicts itself about what is a number and what a text (`payment_account_id` is a text, the account's own `id`
//! an integer), so both are accepted. An amount is documented as an object, whose `_` is in the document's currency
//! and whose other keys are converted; a plain number or text is accepted as well.
//!
//! In a list only the id of a line has to be valid: a malformed line about another payment must not stop the search for
//! ours. Fields that decide about money are read strictly, from the one invoice or payment that is concerned.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::value::RawValue;

use crate::model::money::{Cents, DecimalAmount};

/// The longest id, in bytes.
const LONGEST_ID: usize = 64;

/// An id of the platform, written as a number or as a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Id(String);

impl Id {
    /// The id as a segment of a path.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Loose(text) = Loose::deserialize(deserializer)?;
        let is_id = |text: &String| {
            (1..=LONGEST_ID).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        text.filter(is_id).map(Self).ok_or_else(|| D::Error::custom("this is not an id"))
    }
}

/// A text, or the text of a number; empty for anything else.
#[derive(Debug, Clone, Default)]
pub(super) struct Loose(Option<String>);

impl Loose {
    /// The text without surrounding blanks; `None` if it is missing or empty.
    pub(super) fn text(&self) -> Option<&str> {
        self.0.as_deref().map(str::trim).filter(|text| !text.is_empty())
    }

    /// The text as a day; a time after it is ignored.
    fn day(&self) -> Option<Date> {
        let text = self.text()?;
        let (day, rest) = text.split_at_checked(10)?;
        if rest.starts_with(|c: char| c != 'T' && c != ' ') { None } else { day.parse().ok() }
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let is_number = raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
        Ok(Self(if is_number { Some(raw.get().to_owned()) } else { serde_json::from_str(raw.get()).ok() }))
    }
}

/// Yes or no: a boolean, or 0 or 1; unknown for anything else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flag(pub(super) Option<bool>);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(match raw.get().trim_matches('"') {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }))
    }
}

/// An amount as it was received. It is parsed only where a decision depends on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Amount(Option<Box<RawValue>>);

impl Amount {
    /// The amount in the currency of the document; `None` if it is not an amount in whole cents.
    pub(super) fn cents(&self) -> Option<Cents> {
        #[derive(Deserialize)]
        struct Object {
            #[serde(rename = "_")]
            of_document: DecimalAmount,
        }
        let text = self.0.as_ref()?.get();
        let DecimalAmount(cents) = if text.starts_with('{') {
            serde_json::from_str::<Object>(text).ok()?.of_document
        } else {
            serde_json::from_str(text).ok()?
        };
        Some(cents)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Self(Some(raw)))
    }
}

/// A count: a number, or the text of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count(pub(super) usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let loose = Loose::deserialize(deserializer)?;
        let count = loose.text().and_then(|text| text.parse().ok());
        count.map(Self).ok_or_else(|| D::Error::custom("this is not a count"))
    }
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    /// The number of lines on all pages.
    pub(super) count: Count,
    pub(super) items: Vec<T>,
}

/// A line of the list of invoices.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ListedInvoice {
    pub(super) id: Id,
    #[serde(default)]
    pub(super) number_formatted: Loose,
    #[serde(default)]
    pub(super) deleted: Flag,
}

/// An invoice.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Invoice {
    pub(super) id: Id,
    /// The number as printed.
    #[serde(default)]
    pub(super) number_formatted: Loose,
    /// A free text; only `paid`, `payed` and `concept` are known.
    #[serde(default)]
    pub(super) status: Loose,
    #[serde(default)]
    pub(super) currency_id: Loose,
    /// With VAT.
    #[serde(default)]
    pub(super) total_amount_incl: Amount,
    /// The invoice is in the bookkeeping already and must not be changed.
    #[serde(default)]
    pub(super) locked: Flag,
    /// In the bin.
    #[serde(default)]
    pub(super) deleted: Flag,
}

/// A payment. It does not say which invoice it belongs to.
#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the fields have the names of the platform")]
pub(super) struct Payment {
    pub(super) id: Id,
    #[serde(default)]
    pub(super) payment_account_id: Loose,
    #[serde(default)]
    date: Loose,
    #[serde(default)]
    pub(super) amount: Amount,
    #[serde(default)]
    pub(super) currency_id: Loose,
    /// The name of the other party, which holds our marker.
    #[serde(default)]
    pub(super) name: Loose,
}

impl Payment {
    pub(super) fn day(&self) -> Option<Date> {
        self.date.day()
    }

    /// True if a date is shown, valid or not.
    pub(super) fn shows_a_date(&self) -> bool {
        self.date.text().is_some()
    }
}

/// A payment account: a bank account or the cash box.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Account {
    pub(super) id: Id,
    #[serde(default)]
    pub(super) name: Loose,
}

/// The new object, as the answer to a write names it.
#[derive(Debug, Deserialize)]
pub(super) struct Made {
    pub(super) id: Id,
}

/// A line of a list.
pub(super) trait Listed {
    fn id(&self) -> &Id;
}

impl Listed for ListedInvoice {
    fn id(&self) -> &Id {
        &self.id
    }
}

impl Listed for Payment {
    fn id(&self) -> &Id {
        &self.id
    }
}

impl Listed for Account {
    fn id(&self) -> &Id {
        &self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment(fields: &str) -> Payment {
        serde_json::from_str(&format!(r#"{{"id": 7{fields}}}"#)).unwrap()
    }

    #[test]
    fn ids_are_numbers_or_texts() {
        let id = |json: &str| serde_json::from_str::<Id>(json).map(|id| id.to_string()).ok();
        assert_eq!(id("12").as_deref(), Some("12"));
        assert_eq!(id(r#""12""#).as_deref(), Some("12"));
        assert_eq!(id("18446744073709551616").as_deref(), Some("18446744073709551616"), "no float");
        for wrong in ["null", "true", r#""""#, r#""1/2""#, r#""../x""#, "1.5", "[1]", "{}"] {
            assert_eq!(id(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn amounts_have_three_shapes_and_no_float() {
        for (json, cents) in [
            ("150.0", Some(15_000)),
            (r#""150.05""#, Some(15_005)),
            (r#"{"EUR": 90.0, "_": 100.05}"#, Some(10_005)),
            (r#"{"_": "0.07"}"#, Some(7)),
            (r#"{"_": 9007199254740.93}"#, Some(900_719_925_474_093)),
            (r#"{"EUR": 100.05}"#, None),
            ("1e2", None),
            ("0.005", None),
            ("null", None),
            ("[]", None),
            (r#"{"_": 1, "_": 2}"#, None),
        ] {
            let amount = payment(&format!(r#", "amount": {json}"#)).amount;
            assert_eq!(amount.cents(), cents.map(Cents), "{json}");
        }
        assert_eq!(payment("").amount.cents(), None);
    }

    #[test]
    fn days_and_flags_are_read_or_not_known() {
        let day = |json: &str| payment(&format!(r#", "date": {json}"#)).day().map(|day| day.to_string());
        assert_eq!(day(r#""2026-03-15""#).as_deref(), Some("2026-03-15"));
        assert_eq!(day(r#""2026-03-15T00:00:00+01:00""#).as_deref(), Some("2026-03-15"));
        for wrong in [r#""15/03/2026""#, r#""2026-03-155""#, r#""2026-02-30""#, "null", "20260315", r#""éééééééééé""#]
        {
            assert_eq!(day(wrong), None, "{wrong}");
        }
        let flag = |json: &str| serde_json::from_str::<Flag>(json).unwrap().0;
        let expected = [("true", Some(true)), ("0", Some(false)), (r#""1""#, Some(true)), ("null", None), ("{}", None)];
        for (json, known) in expected {
            assert_eq!(flag(json), known, "{json}");
        }
    }

    #[test]
    fn what_is_odd_in_a_line_does_not_hide_the_list() {
        let odd = payment(r#", "name": {"x": 1}, "date": [], "payment_account_id": null, "amount": "a""#);
        assert_eq!((odd.name.text(), odd.day(), odd.payment_account_id.text()), (None, None, None));
        assert_eq!(payment(r#", "name": "  a ""#).name.text(), Some("a"));
        assert!(serde_json::from_str::<Payment>(r#"{"name": "a"}"#).is_err(), "without an id it is none");
        let page: Page<Payment> = serde_json::from_str(r#"{"count": "2", "items": []}"#).unwrap();
        assert_eq!(page.count.0, 2);
        for wrong in [r#"{"items": []}"#, r#"{"count": -1, "items": []}"#, r#"{"count": 1}"#] {
            assert!(serde_json::from_str::<Page<Payment>>(wrong).is_err(), "{wrong}");
        }
    }
}
