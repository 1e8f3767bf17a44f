//! What Facturation.PRO answers, read strictly where money depends on it.
//!
//! Field names and types: <https://facturation.dev>, the tables of invoices and of settlements ("règlements"). Not every
//! example there shows every field, so that an item of a list may lack some; [`Shown::complete`] says whether all is there
//! that a decision needs. Amounts are decimal texts with up to three decimals and are kept as integers.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::value::RawValue;

use crate::{model::money::Cents, sinks::invoicing::Answer};

/// An amount in thousandths of its currency: `decimal(15,3)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Thousandths(pub i64);

/// As many of them as are in a cent.
const IN_A_CENT: i64 = 10;
/// Digits of an amount that are read: fifteen are documented.
const MOST_DIGITS: usize = 15;

impl Thousandths {
    /// Reads a decimal: an optional sign, digits, and optionally a dot and up to three decimals (further ones have to be
    /// zeros).
    fn parse(text: &str) -> Option<Self> {
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) || whole.len() + decimals.len() > MOST_DIGITS {
            return None;
        }
        let (kept, beyond) = decimals.split_at(decimals.len().min(3));
        if beyond.bytes().any(|digit| digit != b'0') {
            return None;
        }
        let amount: i64 = format!("{whole}{kept:0<3}").parse().ok()?;
        Some(Self(sign * amount))
    }

    /// None only for an amount that nobody has ever owed.
    pub(super) fn of(cents: Cents) -> Option<Self> {
        cents.0.checked_mul(IN_A_CENT).map(Self)
    }

    pub(super) fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The sum, if it can be written.
    pub(super) fn sum(amounts: impl Iterator<Item = Self>) -> Option<Self> {
        amounts.map(|amount| amount.0).try_fold(0, i64::checked_add).map(Self)
    }

    /// Less than a cent, in either direction: nothing that anyone could pay.
    pub(super) const fn is_less_than_a_cent(self) -> bool {
        self.0.unsigned_abs() < IN_A_CENT.unsigned_abs()
    }

    pub(super) const fn has_a_part_of_a_cent(self) -> bool {
        self.0 % IN_A_CENT != 0
    }
}

/// With two decimals, and a third where there is one: `1500.00`, `0.005`.
impl fmt::Display for Thousandths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let amount = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", amount / 1000, amount % 1000 / 10)?;
        if self.has_a_part_of_a_cent() { write!(f, "{}", amount % 10) } else { Ok(()) }
    }
}

/// A text or a number: by its text, never through a float.
impl<'de> Deserialize<'de> for Thousandths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text_of(deserializer)?;
        Self::parse(text.trim()).ok_or_else(|| D::Error::custom("this is no amount"))
    }
}

/// A whole number, written as a number or as a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Whole(pub u64);

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text_of(deserializer)?;
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if is_plain { text.parse().ok() } else { None };
        number.map(Self).ok_or_else(|| D::Error::custom("this is no whole number"))
    }
}

/// The inside of a text, or any other value as it is written.
fn text_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned()))
}

/// A field that is there, though it may be null: that is something else than one that is missing.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A settlement: one payment of an invoice.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Settlement {
    pub id: Whole,
    invoice_id: Option<Whole>,
    pub total: Thousandths,
    pub payment_mode: Option<Whole>,
    pub paid_on: Option<String>,
    payment_ref: Option<String>,
    /// One example of the documentation's list page spells it so.
    payement_ref: Option<String>,
}

impl Settlement {
    /// The payment reference; empty without one.
    pub(super) fn reference(&self) -> &str {
        let given = [&self.payment_ref, &self.payement_ref].into_iter().flatten();
        given.map(|text| text.trim()).find(|text| !text.is_empty()).unwrap_or_default()
    }

    pub(super) fn is_on(&self, date: Date) -> bool {
        self.paid_on.as_ref().is_some_and(|on| *on == date.to_string())
    }
}

/// An invoice as an answer shows it; an item of a list may lack any of this but its id.
#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::option_option, reason = "what is null is known, what is missing is not")]
pub(super) struct Shown {
    pub id: Whole,
    pub invoice_ref: Option<String>,
    pub full_invoice_ref: Option<String>,
    pub external_ref: Option<String>,
    /// Imported.
    pub external: Option<bool>,
    draft: Option<bool>,
    soft_deleted: Option<bool>,
    hard_delete_on: Option<String>,
    refund_id: Option<Whole>,
    currency: Option<String>,
    total_with_vat: Option<Thousandths>,
    balance: Option<Thousandths>,
    #[serde(default, deserialize_with = "there")]
    paid_on: Option<Option<String>>,
    payment_mode: Option<Whole>,
    payment_ref: Option<String>,
    #[serde(default, deserialize_with = "there")]
    internal_note: Option<Option<String>>,
    pub settlements: Option<Vec<Settlement>>,
}

/// An invoice with all that a decision needs.
#[derive(Debug, Clone)]
pub(super) struct Invoice {
    pub id: Whole,
    pub is_draft: bool,
    /// In the bin, or on its way out of it.
    pub is_deleted: bool,
    pub is_credit_note: bool,
    pub currency: String,
    /// With VAT.
    pub total: Thousandths,
    /// What remains due, with VAT.
    pub balance: Thousandths,
    /// The day on which it was paid; empty while it is not.
    pub paid_on: String,
    /// 0 while it is not paid.
    pub payment_mode: u64,
    /// The payment reference of the invoice itself; empty without one.
    pub payment_ref: String,
    /// Free text of the company.
    pub internal_note: Option<String>,
    pub settlements: Vec<Settlement>,
}

impl Shown {
    /// The invoice, if all is there.
    ///
    /// # Errors
    /// The field that is missing.
    pub(super) fn complete(&self) -> Result<Invoice, &'static str> {
        let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.trim().is_empty());
        let total = self.total_with_vat.ok_or("total_with_vat")?;
        Ok(Invoice {
            id: self.id,
            is_draft: self.draft.ok_or("draft")?,
            is_deleted: self.soft_deleted == Some(true) || is_set(&self.hard_delete_on),
            is_credit_note: self.refund_id.is_some() || total < Thousandths(0),
            currency: self.currency.as_ref().map(|text| text.trim().to_owned()).ok_or("currency")?,
            total,
            balance: self.balance.ok_or("balance")?,
            paid_on: self.paid_on.clone().ok_or("paid_on")?.unwrap_or_default().trim().to_owned(),
            payment_mode: self.payment_mode.ok_or("payment_mode")?.0,
            payment_ref: self.payment_ref.as_deref().unwrap_or_default().trim().to_owned(),
            internal_note: self.internal_note.clone().ok_or("internal_note")?,
            settlements: self.settlements.clone().ok_or("settlements")?,
        })
    }

    /// False if one of the settlements says that it belongs to another invoice.
    pub(super) fn owns_its_settlements(&self) -> bool {
        let mut named = self.settlements.iter().flatten().filter_map(|settlement| settlement.invoice_id);
        named.all(|id| id == self.id)
    }
}

/// Which page of a list this is (header `X-Pagination`, JSON).
#[derive(Debug, Deserialize)]
struct Pagination {
    total_pages: Whole,
}

/// The fewest items that a full page has: 30 in the documentation's example, 50 by its configuration.
const PAGE: usize = 30;

/// How many pages a list has. Without the header, a list that is shorter than a page is whole.
///
/// # Errors
/// What cannot be read.
pub(super) fn pages(answer: &Answer, items: usize) -> Result<u64, &'static str> {
    let Some(header) = answer.header("x-pagination") else {
        return if items < PAGE { Ok(1) } else { Err("it does not say how many pages there are (`X-Pagination`)") };
    };
    let read = serde_json::from_str::<Pagination>(header).map_err(|_| "its `X-Pagination` is something else")?;
    Ok(read.total_pages.0)
}

/// The account of the credentials (`GET /account.json`).
#[derive(Debug, Deserialize)]
pub(super) struct Account {
    pub firms: Vec<Firm>,
}

/// A firm of the account.
#[derive(Debug, Deserialize)]
pub(super) struct Firm {
    pub id: Whole,
    pub name: Option<String>,
}

/// What was made, as the answer to a write names it.
#[derive(Debug, Deserialize)]
pub(super) struct Made {
    pub id: Whole,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_have_three_decimals_and_no_float() {
        for (text, amount, shown) in [
            ("150.0", 150_000, "150.00"),
            ("0.005", 5, "0.005"),
            ("-12.345", -12_345, "-12.345"),
            ("7", 7000, "7.00"),
            ("1.2300000", 1230, "1.23"),
        ] {
            assert_eq!(Thousandths::parse(text), Some(Thousandths(amount)), "{text}");
            assert_eq!(Thousandths(amount).to_string(), shown);
        }
        for text in ["", "-", ".5", "5.", "1e3", "1,5", "+1", " 1", "0.0001", "1.2.3", "NaN", "9999999999999999"] {
            assert_eq!(Thousandths::parse(text), None, "{text:?}");
        }
        // The nearest float is that of the neighbouring amounts, too.
        let read = |json: &str| serde_json::from_str::<Thousandths>(json).map(|amount| amount.0);
        assert_eq!(read("900719925474.993").unwrap(), 900_719_925_474_993);
        assert_eq!(read("\"900719925474.993\"").unwrap(), 900_719_925_474_993);
        assert_eq!(read("12").unwrap(), 12_000);
        for wrong in ["1e2", "null", "true", "\"\"", "[1]", "{\"_\": 1}", "\"12 EUR\""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_are_numbers_or_texts() {
        let read = |json: &str| serde_json::from_str::<Whole>(json).map(|id| id.0);
        assert_eq!((read("4711").unwrap(), read("\"4711\"").unwrap()), (4711, 4711));
        for wrong in ["-1", "1.0", "\"\"", "\"a\"", "null", "{}", "99999999999999999999999", "\"+1\""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let whole = serde_json::json!({
            "id": 1, "draft": false, "currency": "EUR", "total_with_vat": "12.0", "balance": "2.0", "paid_on": null,
            "payment_mode": 0, "internal_note": null,
            "settlements": [{"id": 2, "invoice_id": "1", "total": 10, "payement_ref": "finkare:p"}],
        });
        let shown: Shown = serde_json::from_str(&whole.to_string()).unwrap();
        let invoice = shown.complete().unwrap();
        assert!(shown.owns_its_settlements() && !invoice.is_deleted && !invoice.is_credit_note);
        assert_eq!((invoice.total, invoice.balance), (Thousandths(12_000), Thousandths(2000)));
        assert_eq!((&*invoice.paid_on, invoice.internal_note), ("", None));
        assert_eq!(invoice.settlements[0].reference(), "finkare:p");
        for field in [
            "draft",
            "currency",
            "total_with_vat",
            "balance",
            "paid_on",
            "payment_mode",
            "internal_note",
            "settlements",
        ] {
            let mut less = whole.clone();
            less.as_object_mut().unwrap().remove(field);
            let shown: Shown = serde_json::from_str(&less.to_string()).unwrap();
            assert_eq!(shown.complete().unwrap_err(), field);
        }
        let mut other = whole;
        other["settlements"][0]["invoice_id"] = 7.into();
        assert!(!serde_json::from_str::<Shown>(&other.to_string()).unwrap().owns_its_settlements());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(amount in -999_999_999_999_999i64..=999_999_999_999_999) {
            prop_assert_eq!(Thousandths::parse(&Thousandths(amount).to_string()), Some(Thousandths(amount)));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,30}") {
            let _ = (Thousandths::parse(&text), serde_json::from_str::<Whole>(&text), serde_json::from_str::<Shown>(&text));
        }
    }
}
