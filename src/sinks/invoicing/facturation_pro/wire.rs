//! The shapes of Facturation.PRO's answers, read strictly where money depends on them.
//!
//! Field names and types: <https://facturation.dev>, the tables of invoices and of settlements ("règlements"). Not every
//! example there shows every field: that of a single invoice has neither `full_invoice_ref`, `total_with_vat`, `balance`,
//! `internal_note` nor `settlements`. So a missing field is unknown ([`Invoice`]), and code that needs it asks a person. A
//! field that is present but differs from the documentation makes the answer unreadable. Amounts are decimal texts with up
//! to three decimals and are stored as integers.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::value::RawValue;

use crate::{model::money::Cents, sinks::invoicing::Answer};

/// An amount in thousandths of its currency: `decimal(15,3)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Thousandths(pub i64);

/// Thousandths in a cent.
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

    /// `None` only for an amount that is too large to be real.
    pub(super) fn of(cents: Cents) -> Option<Self> {
        cents.0.checked_mul(IN_A_CENT).map(Self)
    }

    pub(super) fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The sum; `None` if it does not fit.
    pub(super) fn sum(amounts: impl Iterator<Item = Self>) -> Option<Self> {
        amounts.map(|amount| amount.0).try_fold(0, i64::checked_add).map(Self)
    }

    /// Less than a cent, in either direction: too little to pay.
    pub(super) const fn is_less_than_a_cent(self) -> bool {
        self.0.unsigned_abs() < IN_A_CENT.unsigned_abs()
    }

    pub(super) const fn has_a_part_of_a_cent(self) -> bool {
        self.0 % IN_A_CENT != 0
    }
}

/// With two decimals, and a third one if it is not zero: `1500.00`, `0.005`.
impl fmt::Display for Thousandths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let amount = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", amount / 1000, amount % 1000 / 10)?;
        if self.has_a_part_of_a_cent() { write!(f, "{}", amount % 10) } else { Ok(()) }
    }
}

/// Reads the text of a text or a number, never through a float.
impl<'de> Deserialize<'de> for Thousandths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text_of(deserializer)?;
        Self::parse(text.trim()).ok_or_else(|| D::Error::custom("this is not an amount"))
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
        number.map(Self).ok_or_else(|| D::Error::custom("this is not a whole number"))
    }
}

/// The inside of a text, or any other value as it is written.
fn text_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned()))
}

/// A field that is present, although it may be null. A missing field is something else.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A text, or the text of a number.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let raw = Option::<Box<RawValue>>::deserialize(deserializer)?;
    let Some(raw) = raw else { return Ok(None) };
    let is_number = raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
    if is_number {
        return Ok(Some(raw.get().to_owned()));
    }
    serde_json::from_str(raw.get()).map(Some).map_err(|_| D::Error::custom("this is not a text"))
}

/// True if a field that could change what is due does not: it is missing, null, empty or zero.
fn is_nothing(raw: Option<&RawValue>) -> bool {
    raw.is_none_or(|raw| {
        matches!(raw.get(), "null" | "\"\"" | "false")
            || serde_json::from_str::<Thousandths>(raw.get()).is_ok_and(|amount| amount == Thousandths(0))
    })
}

/// A settlement: one payment of an invoice.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Settlement {
    pub id: Whole,
    invoice_id: Option<Whole>,
    pub total: Thousandths,
    pub payment_mode: Option<Whole>,
    pub paid_on: Option<String>,
    #[serde(default, deserialize_with = "text")]
    payment_ref: Option<String>,
    /// One example on the documentation's list page has this spelling.
    #[serde(default, deserialize_with = "text")]
    payement_ref: Option<String>,
}

impl Settlement {
    /// The payment reference; empty without one.
    pub(super) fn reference(&self) -> &str {
        let given = [&self.payment_ref, &self.payement_ref].into_iter().flatten();
        given.map(|text| text.trim()).find(|text| !text.is_empty()).unwrap_or_default()
    }

    pub(super) fn is_on(&self, date: Date) -> bool {
        self.date() == Some(date)
    }

    /// `None` if it is not shown, or is not a date.
    pub(super) fn date(&self) -> Option<Date> {
        self.paid_on.as_deref()?.trim().parse().ok()
    }
}

/// A line of an invoice; only the fields that give the VAT.
#[derive(Debug, Clone, Deserialize)]
struct Line {
    total: Option<Thousandths>,
    /// As a fraction: `0.200`.
    vat: Option<Thousandths>,
    optional: Option<bool>,
}

/// An invoice as an answer shows it; an item of a list may lack any of these fields except the id.
#[derive(Debug, Clone, Deserialize)]
#[expect(clippy::option_option, reason = "what is null is known, what is missing is not")]
pub(super) struct Shown {
    pub id: Whole,
    #[serde(default, deserialize_with = "text")]
    pub invoice_ref: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub full_invoice_ref: Option<String>,
    #[serde(default, deserialize_with = "text")]
    pub external_ref: Option<String>,
    /// Imported.
    pub external: Option<bool>,
    draft: Option<bool>,
    soft_deleted: Option<bool>,
    hard_delete_on: Option<String>,
    refund_id: Option<Whole>,
    currency: Option<String>,
    /// Without VAT. This field and the next five are read only if the total with VAT is not shown.
    total: Option<Box<RawValue>>,
    items: Option<Box<RawValue>>,
    discount: Option<Box<RawValue>>,
    rebate_percentage: Option<Box<RawValue>>,
    precompte: Option<Box<RawValue>>,
    tax_percent: Option<Box<RawValue>>,
    total_with_vat: Option<Thousandths>,
    balance: Option<Thousandths>,
    #[serde(default, deserialize_with = "there")]
    paid_on: Option<Option<String>>,
    payment_mode: Option<Whole>,
    #[serde(default, deserialize_with = "text")]
    payment_ref: Option<String>,
    #[serde(default, deserialize_with = "there")]
    internal_note: Option<Option<String>>,
    pub settlements: Option<Vec<Settlement>>,
}

/// An invoice with its payments; any other field that was not shown is `None`.
#[derive(Debug, Clone)]
#[expect(clippy::option_option, reason = "what is null is known, what is missing is not")]
pub(super) struct Invoice {
    pub id: Whole,
    pub is_draft: Option<bool>,
    /// In the bin, or about to be deleted from it.
    pub is_deleted: bool,
    pub is_credit_note: bool,
    pub currency: Option<String>,
    /// With VAT.
    pub total: Option<Thousandths>,
    /// A lower bound of the total with VAT, for when that is not shown.
    pub total_at_least: Option<Thousandths>,
    /// What remains due, with VAT.
    pub balance: Option<Thousandths>,
    /// The day on which it was paid; empty while it is not.
    pub paid_on: Option<String>,
    /// 0 while it is not paid.
    pub payment_mode: Option<u64>,
    /// The payment reference of the invoice itself; empty without one.
    pub payment_ref: String,
    /// Free text of the company; the inner one is `None` while it has none.
    pub internal_note: Option<Option<String>>,
    pub settlements: Vec<Settlement>,
}

/// What is still due on an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// This much.
    Exactly(Thousandths),
    /// This much and perhaps more: only the total without VAT is shown.
    AtLeast(Thousandths),
    /// The fields contradict each other: by the total and the payments, this much would be due.
    Contradicted(Thousandths),
    /// No field shows it.
    Unknown,
}

impl Invoice {
    /// The sum of its payments; `None` if the sum does not fit.
    pub(super) fn paid(&self) -> Option<Thousandths> {
        Thousandths::sum(self.settlements.iter().map(|settlement| settlement.total))
    }

    /// What is still due, by all fields that are shown. `None` if that cannot be an amount of money.
    pub(super) fn due(&self) -> Option<Due> {
        let paid = self.paid()?;
        Some(match (self.balance, self.total, self.total_at_least) {
            // If both agree, no payment is missing in the list, least of all ours.
            (Some(balance), Some(total), _) => match total.minus(paid)? {
                rest if rest == balance => Due::Exactly(balance),
                rest => Due::Contradicted(rest),
            },
            (Some(balance), None, _) => Due::Exactly(balance),
            (None, Some(total), _) => Due::Exactly(total.minus(paid)?),
            (None, None, Some(least)) => Due::AtLeast(least.minus(paid)?),
            (None, None, None) => Due::Unknown,
        })
    }
}

impl Shown {
    /// True if it has every field that the decision about a payment needs, so that the single invoice need not be read.
    pub(super) fn is_complete(&self) -> bool {
        self.draft.is_some()
            && self.currency.is_some()
            && self.total_with_vat.is_some()
            && self.balance.is_some()
            && self.paid_on.is_some()
            && self.payment_mode.is_some()
            && self.settlements.is_some()
    }

    /// The invoice; `None` without its payments, which are the one field that is always needed.
    pub(super) fn invoice(&self) -> Option<Invoice> {
        let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.trim().is_empty());
        let total = self.total_with_vat.or_else(|| if self.balance.is_none() { self.total_of_lines() } else { None });
        Some(Invoice {
            id: self.id,
            is_draft: self.draft,
            is_deleted: self.soft_deleted == Some(true) || is_set(&self.hard_delete_on),
            is_credit_note: self.refund_id.is_some()
                || total.or(self.total_without_vat()).is_some_and(|total| total < Thousandths(0)),
            currency: self.currency.as_ref().map(|text| text.trim().to_owned()),
            total,
            // VAT only adds to the total, unless something is withheld.
            total_at_least: self.total_without_vat().filter(|_| self.withholds_nothing()),
            balance: self.balance,
            paid_on: self.paid_on.clone().map(|on| on.unwrap_or_default().trim().to_owned()),
            payment_mode: self.payment_mode.map(|mode| mode.0),
            payment_ref: self.payment_ref.as_deref().unwrap_or_default().trim().to_owned(),
            internal_note: self.internal_note.clone(),
            settlements: self.settlements.clone()?,
        })
    }

    fn total_without_vat(&self) -> Option<Thousandths> {
        serde_json::from_str(self.total.as_ref()?.get()).ok()
    }

    fn withholds_nothing(&self) -> bool {
        is_nothing(self.precompte.as_deref()) && is_nothing(self.tax_percent.as_deref())
    }

    /// The total with VAT, computed from the invoice's lines if these leave no doubt: they add up to the total without VAT,
    /// the invoice as a whole has no discount and nothing is withheld, and the VAT of each line is a whole number of cents,
    /// so that nothing was rounded.
    fn total_of_lines(&self) -> Option<Thousandths> {
        let is_plain = self.withholds_nothing()
            && is_nothing(self.discount.as_deref())
            && is_nothing(self.rebate_percentage.as_deref());
        let lines: Vec<Line> = serde_json::from_str(self.items.as_ref()?.get()).ok()?;
        if !is_plain || lines.is_empty() {
            return None;
        }
        let totals: Option<Vec<Thousandths>> =
            lines.iter().map(|line| line.total.filter(|_| line.optional != Some(true))).collect();
        let total = self.total_without_vat();
        if Thousandths::sum(totals?.into_iter()) != total {
            return None;
        }
        let vat = |line: &Line| {
            let product = line.total?.0.checked_mul(line.vat?.0)?;
            (product >= 0 && product % (1000 * IN_A_CENT) == 0).then_some(Thousandths(product / 1000))
        };
        let vats: Option<Vec<Thousandths>> = lines.iter().map(vat).collect();
        Thousandths::sum(vats?.into_iter().chain(total))
    }

    /// True if its whole total is still due, so that it has no payments.
    pub(super) fn shows_no_payment(&self) -> bool {
        self.total_with_vat.is_some() && self.total_with_vat == self.balance
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

/// The smallest number of items on a full page: 30 in the documentation's example, 50 in its configuration.
const PAGE: usize = 30;

/// How many pages a list has. Without the header, a list that is shorter than a page is complete.
///
/// # Errors
/// What cannot be read.
pub(super) fn pages(answer: &Answer, items: usize) -> Result<u64, &'static str> {
    let Some(header) = answer.header("x-pagination") else {
        return if items < PAGE { Ok(1) } else { Err("it does not say how many pages there are (`X-Pagination`)") };
    };
    let read = serde_json::from_str::<Pagination>(header).map_err(|_| "its `X-Pagination` has an unexpected value")?;
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

/// The new object, as the answer to a write names it.
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

    fn shown(json: &serde_json::Value) -> Shown {
        serde_json::from_str(&json.to_string()).unwrap()
    }

    #[test]
    fn what_is_missing_is_unknown_and_no_more() {
        let whole = serde_json::json!({
            "id": 1, "draft": false, "currency": "EUR", "total_with_vat": "12.0", "balance": "2.0", "paid_on": null,
            "payment_mode": 0, "internal_note": null,
            "settlements": [{"id": 2, "invoice_id": "1", "total": 10, "payement_ref": "finkare:p"}],
        });
        let complete = shown(&whole);
        let invoice = complete.invoice().unwrap();
        assert!(complete.is_complete() && complete.owns_its_settlements());
        assert!(!invoice.is_deleted && !invoice.is_credit_note);
        assert_eq!((invoice.total, invoice.balance), (Some(Thousandths(12_000)), Some(Thousandths(2000))));
        assert_eq!((invoice.paid_on.as_deref(), &invoice.internal_note), (Some(""), &Some(None)));
        assert_eq!((invoice.is_draft, invoice.payment_mode), (Some(false), Some(0)));
        assert_eq!(invoice.settlements[0].reference(), "finkare:p");
        let without = |field: &str| {
            let mut less = whole.clone();
            less.as_object_mut().unwrap().remove(field);
            shown(&less)
        };
        for field in ["draft", "currency", "total_with_vat", "balance", "paid_on", "payment_mode"] {
            let less = without(field);
            assert!(!less.is_complete(), "{field}: the single invoice may have it");
            let invoice = less.invoice().unwrap();
            let unknown = [
                ("draft", invoice.is_draft.is_none()),
                ("currency", invoice.currency.is_none()),
                ("total_with_vat", invoice.total.is_none()),
                ("balance", invoice.balance.is_none()),
                ("paid_on", invoice.paid_on.is_none()),
                ("payment_mode", invoice.payment_mode.is_none()),
            ];
            for (name, is_unknown) in unknown {
                assert_eq!(is_unknown, name == field, "{name} without {field}");
            }
            assert_eq!(invoice.due(), Some(Due::Exactly(Thousandths(2000))), "{field}");
        }
        let less = without("internal_note");
        assert!(less.is_complete() && less.invoice().unwrap().internal_note.is_none());
        let less = without("settlements");
        assert!(!less.is_complete() && less.invoice().is_none());
        let mut other = whole;
        other["settlements"][0]["invoice_id"] = 7.into();
        assert!(!shown(&other).owns_its_settlements());
    }

    /// An invoice of 700.00 without VAT, of which 840.00 are asked for, as the documentation's example shows it.
    fn by_lines() -> serde_json::Value {
        let line = |total: &str| serde_json::json!({"id": 1, "optional": false, "total": total, "vat": "0.200"});
        serde_json::json!({
            "id": 1, "total": "700.0", "discount": null, "rebate_percentage": "0.0", "precompte": null,
            "tax_percent": null, "items": [line("500.0"), line("200.0")], "settlements": [],
        })
    }

    #[test]
    fn what_is_due_follows_from_what_is_shown() {
        let due = |changes: serde_json::Value| {
            let mut invoice = by_lines();
            for (field, value) in changes.as_object().unwrap() {
                invoice[field] = value.clone();
            }
            shown(&invoice).invoice().unwrap().due().unwrap()
        };
        let paid = serde_json::json!([{"id": 2, "total": "40.0"}]);
        assert_eq!(due(serde_json::json!({})), Due::Exactly(Thousandths(840_000)));
        assert_eq!(due(serde_json::json!({"settlements": paid})), Due::Exactly(Thousandths(800_000)));
        assert_eq!(due(serde_json::json!({"balance": "840.0"})), Due::Exactly(Thousandths(840_000)));
        assert_eq!(due(serde_json::json!({"balance": "700.0"})), Due::Exactly(Thousandths(700_000)), "it knows better");
        assert_eq!(due(serde_json::json!({"total_with_vat": "700.0"})), Due::Exactly(Thousandths(700_000)));
        let both = serde_json::json!({"total_with_vat": "840.0", "balance": "840.0", "settlements": paid});
        assert_eq!(due(both), Due::Contradicted(Thousandths(800_000)));
        // The lines leave a doubt: then the total without VAT is the least.
        let line = |total: &str, vat: &str| serde_json::json!([{"total": total, "vat": vat}]);
        for doubtful in [
            serde_json::json!({"items": null}),
            serde_json::json!({"items": []}),
            serde_json::json!({"items": line("600.0", "0.200")}),
            serde_json::json!({"items": [{"total": "700.0"}]}),
            serde_json::json!({"items": [{"total": "700.0", "vat": "0.200", "optional": true}]}),
            serde_json::json!({"items": "none"}),
            serde_json::json!({"items": line("700.0", "0.0855")}),
            serde_json::json!({"discount": "10.0"}),
            serde_json::json!({"rebate_percentage": "5.0"}),
        ] {
            assert_eq!(due(doubtful.clone()), Due::AtLeast(Thousandths(700_000)), "{doubtful}");
        }
        let odd = serde_json::json!({"total": "0.33", "items": line("0.33", "0.055")});
        assert_eq!(due(odd), Due::AtLeast(Thousandths(330)), "1.815 cents of VAT were rounded somehow");
        let less = serde_json::json!({"items": null, "settlements": paid});
        assert_eq!(due(less), Due::AtLeast(Thousandths(660_000)));
        // What is withheld makes it less than the total.
        for withheld in [serde_json::json!({"precompte": "1.1"}), serde_json::json!({"tax_percent": "-15.0"})] {
            assert_eq!(due(withheld.clone()), Due::Unknown, "{withheld}");
        }
        assert_eq!(due(serde_json::json!({"total": null})), Due::Unknown);
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
