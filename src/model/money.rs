//! Amounts of money: integer cents, and never a float on the way from one system to another.
//!
//! The invoicing systems write amounts as decimal texts ("150.0", up to three decimals) or as JSON numbers
//! (`2850.0`). [`Cents::parse`] reads both from their text. An amount that is not a whole number of cents is an error
//! and is not rounded. JSON numbers have to be read as [`serde_json::value::RawValue`], because any other way makes a
//! float of them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::value::RawValue;

/// The most digits of an amount; a longer number is not an amount of money.
const MOST_DIGITS: usize = 15;

/// An amount in the hundredths of its currency; may be negative (a credit).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Cents(pub i64);

/// What events announce together, as long as each names its amount and all name the same currency, or none does.
/// Amounts of two currencies have no sum.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Total {
    /// Of no event.
    #[default]
    Empty,
    /// Of events of one currency.
    Of(Cents, Option<String>),
    /// One names no amount, or another currency.
    Unknown,
}

impl Total {
    /// Adds what the body of an event announces: `data.amountCents` (<https://docs.finkare.io/guides/webhook-setup>) in
    /// `data.currency`, which is not documented and read where it is there. `None`: the body is gone.
    pub fn add(&mut self, body: Option<&[u8]>) {
        let announced = body.and_then(announced);
        *self = match (std::mem::take(self), announced) {
            (Self::Empty, Some((cents, currency))) => Self::Of(cents, currency),
            (Self::Of(sum, known), Some((cents, currency))) if known == currency => {
                sum.0.checked_add(cents.0).map_or(Self::Unknown, |sum| Self::Of(Cents(sum), known))
            }
            _ => Self::Unknown,
        };
    }

    /// The sum and its currency.
    pub fn known(&self) -> Option<(Cents, Option<&str>)> {
        match self {
            Self::Of(cents, currency) => Some((*cents, currency.as_deref())),
            Self::Empty | Self::Unknown => None,
        }
    }
}

fn announced(body: &[u8]) -> Option<(Cents, Option<String>)> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let cents = Cents(body["data"]["amountCents"].as_i64()?);
    match &body["data"]["currency"] {
        serde_json::Value::Null => Some((cents, None)),
        serde_json::Value::String(currency) => Some((cents, Some(currency.to_ascii_uppercase()))),
        _ => None,
    }
}

/// A text that is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAmount {
    /// It is not a decimal number, or has too many digits.
    #[error("`{0}` is not an amount: write digits, with a dot before the decimals")]
    NotDecimal(String),
    /// It has a fraction of a cent.
    #[error("`{0}` has a fraction of a cent, which cannot be booked")]
    PartOfACent(String),
}

impl Cents {
    /// Nothing.
    pub const ZERO: Cents = Cents(0);

    /// Reads a decimal: an optional sign, digits, and optionally a dot and decimals. All decimals beyond the second
    /// must be zeros.
    ///
    /// # Errors
    /// Anything else, exponents included.
    pub fn parse(text: &str) -> Result<Self, NoAmount> {
        let no = || NoAmount::NotDecimal(text.chars().take(40).collect());
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) || whole.len() + decimals.len() > MOST_DIGITS {
            return Err(no());
        }
        let (cents, beyond) = decimals.split_at(decimals.len().min(2));
        if beyond.bytes().any(|digit| digit != b'0') {
            return Err(NoAmount::PartOfACent(text.to_owned()));
        }
        let amount: i64 = format!("{whole}{cents:0<2}").parse().map_err(|_| no())?;
        Ok(Self(if negative { -amount } else { amount }))
    }

    /// Reads an amount as a person types it in a search: `1500`, `1500.00`, `1 500,00`, `1.500,00 €`, `1500 EUR`. It
    /// has two decimals or none. A point or comma before three digits is ambiguous, so `1.500` is not an amount.
    pub fn typed(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches(['€', ' ', '\u{a0}', '\u{202f}']);
        let currency = text.len().checked_sub(3).and_then(|at| text.split_at_checked(at));
        let text = match currency {
            Some((amount, code)) if code.bytes().all(|byte| byte.is_ascii_alphabetic()) => amount,
            _ => text,
        };
        let dense: String = text.chars().filter(|c| !matches!(c, ' ' | '\u{a0}' | '\u{202f}' | '\'' | '’')).collect();
        let (whole, decimals) = match dense.rfind(['.', ',']) {
            Some(at) => (&dense[..at], &dense[at + 1..]),
            None => (dense.as_str(), "00"),
        };
        if decimals.len() != 2 {
            return None;
        }
        // The other mark may only separate groups of three digits.
        let mut groups = whole.split(['.', ',']);
        let first = groups.next().unwrap_or_default();
        let rest: Vec<&str> = groups.collect();
        if rest.iter().any(|group| group.len() != 3) || (!rest.is_empty() && !(1..=3).contains(&first.len())) {
            return None;
        }
        let whole = [&[first][..], &rest].concat().concat();
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(&whole) {
            return None;
        }
        Self::parse(&format!("{whole}.{decimals}")).ok()
    }

    /// The sum, if it fits the type.
    pub fn checked_add(self, other: Cents) -> Option<Cents> {
        self.0.checked_add(other.0).map(Cents)
    }

    /// The difference, if it fits the type.
    pub fn checked_sub(self, other: Cents) -> Option<Cents> {
        self.0.checked_sub(other.0).map(Cents)
    }

    /// With its currency, as an accountant writes it: `1500.00 EUR`.
    pub fn of(self, currency: &str) -> String {
        format!("{self} {currency}")
    }
}

/// With exactly two decimals and a dot: `1500.00`.
impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let amount = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", amount / 100, amount % 100)
    }
}

impl FromStr for Cents {
    type Err = NoAmount;
    fn from_str(text: &str) -> Result<Self, NoAmount> {
        Self::parse(text)
    }
}

/// An amount in another system's JSON: a decimal number or a text that contains one. Both are in euros (or the
/// currency's main unit), not in cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecimalAmount(pub Cents);

impl<'de> Deserialize<'de> for DecimalAmount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        let amount = match serde_json::from_str::<String>(text) {
            Ok(inner) => Cents::parse(inner.trim()),
            Err(_) => Cents::parse(text),
        };
        amount.map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_amounts_of_one_currency_have_a_sum() {
        let total = |bodies: &[&str]| {
            let mut total = Total::default();
            for body in bodies {
                total.add(Some(body.as_bytes()));
            }
            total.known().map(|(cents, currency)| (cents.0, currency.map(str::to_owned)))
        };
        let (plain, euros, dollars) = (
            r#"{"data":{"amountCents":100}}"#,
            r#"{"data":{"amountCents":20,"currency":"EUR"}}"#,
            r#"{"data":{"amountCents":3,"currency":"USD"}}"#,
        );
        assert_eq!(total(&[plain, plain]), Some((200, None)));
        assert_eq!(total(&[euros, euros]), Some((40, Some("EUR".to_owned()))));
        for unlike in
            [&[euros, dollars][..], &[plain, euros], &[euros, dollars, euros], &[euros, "{}"], &["{}", euros], &[]]
        {
            assert_eq!(total(unlike), None, "{unlike:?}");
        }
        let mut gone = Total::default();
        gone.add(None);
        gone.add(Some(euros.as_bytes()));
        assert_eq!(gone, Total::Unknown);
    }

    #[test]
    fn an_amount_is_found_as_a_person_types_it() {
        for text in [
            "1500",
            "1500.00",
            "1500,00",
            "1 500,00",
            "1\u{a0}500,00",
            "1\u{202f}500,00 €",
            "1.500,00",
            "1,500.00",
            "1'500.00",
            " 1500 EUR ",
            "1500,00eur",
        ] {
            assert_eq!(Cents::typed(text), Some(Cents(150_000)), "{text}");
        }
        assert_eq!(Cents::typed("0,05"), Some(Cents(5)));
        assert_eq!(Cents::typed("1.234.567,89"), Some(Cents(123_456_789)));
        for odd in [
            "",
            "EUR",
            "€",
            "1.500",
            "1,500",
            "1500.5",
            "1500.001",
            "12.34.56",
            "1.50,00",
            "-5",
            "F-2026-001",
            "1e3",
            "99999999999999999999",
        ] {
            assert_eq!(Cents::typed(odd), None, "{odd}");
        }
    }

    #[test]
    fn reads_what_the_systems_write() {
        for (text, cents) in [
            ("150.0", 15_000),
            ("150", 15_000),
            ("0.07", 7),
            ("1500.000", 150_000),
            ("-3.5", -350),
            ("00012.30", 1230),
            ("9999999999999.99", 999_999_999_999_999),
        ] {
            assert_eq!(Cents::parse(text), Ok(Cents(cents)), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "-",
            ".5",
            "5.",
            "1e3",
            "1,50",
            "+1",
            " 1",
            "1 ",
            "--1",
            "1.2.3",
            "NaN",
            "0x10",
            "１",
            "12345678901234.567",
        ] {
            assert!(matches!(Cents::parse(text), Err(NoAmount::NotDecimal(_))), "{text}");
        }
        for text in ["0.001", "10.105", "-0.019"] {
            assert_eq!(Cents::parse(text), Err(NoAmount::PartOfACent(text.into())));
        }
    }

    #[test]
    fn json_numbers_and_texts_are_read_without_a_float() {
        #[derive(Deserialize)]
        struct Invoice {
            total: DecimalAmount,
        }
        let of = |json: &str| serde_json::from_str::<Invoice>(json).map(|invoice| invoice.total.0.0);
        assert_eq!(of(r#"{"total": 2850.0}"#).unwrap(), 285_000);
        assert_eq!(of(r#"{"total": "2850.10"}"#).unwrap(), 285_010);
        // The nearest float is 90071992547409.91 as well as .92: its text is not.
        assert_eq!(of(r#"{"total": 9007199254740.93}"#).unwrap(), 900_719_925_474_093);
        for wrong in
            [r#"{"total": 1e2}"#, r#"{"total": null}"#, r#"{"total": "a"}"#, r#"{"total": 1.005}"#, r#"{"total": []}"#]
        {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(cents in -999_999_999_999_999i64..=999_999_999_999_999) {
            prop_assert_eq!(Cents::parse(&Cents(cents).to_string()), Ok(Cents(cents)));
        }

        #[test]
        fn never_panics(text in "[-+0-9.eE]{0,20}") {
            let _ = Cents::parse(&text);
        }
    }
}
