//! Amounts, dates and texts as a reader writes them. Amounts are integer cents, and stay integers.

use std::fmt::Write as _;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::Language;
use crate::model::money::Cents;

/// An amount: `1 500,00 €` in French (with a narrow no-break space between the thousands and a no-break space before the
/// sign, as the Imprimerie nationale prints it), `€1,500.00` in English. Currencies without a sign of their own follow or
/// precede as their code.
pub fn money(cents: Cents, currency: Option<&str>, language: Language) -> String {
    let amount = cents.0.unsigned_abs();
    let (group, point) = match language {
        Language::Fr => ('\u{202f}', ','),
        Language::En => (',', '.'),
    };
    let digits = (amount / 100).to_string();
    let mut number = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            number.push(group);
        }
        number.push(digit);
    }
    let _ = write!(number, "{point}{:02}", amount % 100);
    let sign = if cents.0 < 0 { "-" } else { "" };
    match (currency, language) {
        (None, _) => format!("{sign}{number}"),
        (Some("EUR"), Language::Fr) => format!("{sign}{number}\u{a0}€"),
        (Some(code), Language::Fr) => format!("{sign}{number}\u{a0}{code}"),
        (Some("EUR"), Language::En) => format!("{sign}€{number}"),
        (Some(code), Language::En) => format!("{sign}{code}\u{a0}{number}"),
    }
}

const MONTHS: [(&str, &str); 12] = [
    ("janvier", "January"),
    ("février", "February"),
    ("mars", "March"),
    ("avril", "April"),
    ("mai", "May"),
    ("juin", "June"),
    ("juillet", "July"),
    ("août", "August"),
    ("septembre", "September"),
    ("octobre", "October"),
    ("novembre", "November"),
    ("décembre", "December"),
];

/// A day: `1er novembre 2026`, `27 November 2026`.
pub fn date(day: Date, language: Language) -> String {
    let month = month_name(day);
    match (language, day.day()) {
        (Language::Fr, 1) => format!("1er {} {}", month.0, day.year()),
        (Language::Fr, number) => format!("{number} {} {}", month.0, day.year()),
        (Language::En, number) => format!("{number} {} {}", month.1, day.year()),
    }
}

/// A month: `octobre 2026`, `October 2026`.
pub fn month(day: Date, language: Language) -> String {
    let (fr, en) = month_name(day);
    match language {
        Language::Fr => format!("{fr} {}", day.year()),
        Language::En => format!("{en} {}", day.year()),
    }
}

fn month_name(day: Date) -> (&'static str, &'static str) {
    usize::try_from(day.month() - 1).ok().and_then(|index| MONTHS.get(index)).copied().unwrap_or(MONTHS[0])
}

/// A day and a time: `27 novembre 2026 à 14:05`, `27 November 2026 at 14:05`.
pub fn moment(at: Timestamp, timezone: &TimeZone, language: Language) -> String {
    let local = at.to_zoned(timezone.clone());
    let word = match language {
        Language::Fr => "à",
        Language::En => "at",
    };
    format!("{} {word} {:02}:{:02}", date(local.date(), language), local.hour(), local.minute())
}

/// `de Martin`, `d’Alma`: French elides before a vowel.
pub fn of(name: &str) -> String {
    let first = name.chars().next().and_then(|c| c.to_lowercase().next());
    if first.is_some_and(|c| "aàâäeéèêëiîïoôöuùûü".contains(c)) {
        format!("d’{name}")
    } else {
        format!("de {name}")
    }
}

/// True for what could begin a new line, or control a terminal: also the separators of Unicode (U+2028, U+2029).
fn ends_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A text on one line, of at most so many characters. Control characters become blanks; characters that change the
/// direction of the text or are not seen are removed, because they could make it read as something else.
pub fn bounded(text: &str, most: usize) -> String {
    let is_hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}');
    let plain = text.chars().filter(|c| !is_hidden(*c)).map(|c| if ends_line(c) { ' ' } else { c });
    let mut short: String = plain.clone().take(most).collect();
    if plain.count() > most {
        short.pop();
        short.push('…');
    }
    short.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_written_as_the_reader_writes_them() {
        for (cents, currency, fr, en) in [
            (150_000, Some("EUR"), "1\u{202f}500,00\u{a0}€", "€1,500.00"),
            (-5, Some("EUR"), "-0,05\u{a0}€", "-€0.05"),
            (123_456_789, Some("USD"), "1\u{202f}234\u{202f}567,89\u{a0}USD", "USD\u{a0}1,234,567.89"),
            (99_900, None, "999,00", "999.00"),
            (
                i64::MIN,
                None,
                "-92\u{202f}233\u{202f}720\u{202f}368\u{202f}547\u{202f}758,08",
                "-92,233,720,368,547,758.08",
            ),
        ] {
            assert_eq!(money(Cents(cents), currency, Language::Fr), fr);
            assert_eq!(money(Cents(cents), currency, Language::En), en);
        }
    }

    #[test]
    fn times_are_those_of_the_readers_clock() {
        let paris = TimeZone::get("Europe/Paris").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(moment(at("2026-11-27T13:05:59Z"), &paris, Language::Fr), "27 novembre 2026 à 14:05");
        assert_eq!(moment(at("2026-07-31T22:30:00Z"), &paris, Language::Fr), "1er août 2026 à 00:30");
        assert_eq!(moment(at("2026-11-27T13:05:59Z"), &paris, Language::En), "27 November 2026 at 14:05");
        assert_eq!(of("Alma"), "d’Alma");
        assert_eq!(of("Martin"), "de Martin");
    }

    proptest! {
        #[test]
        fn no_cent_is_lost(cents in any::<i64>()) {
            for language in [Language::Fr, Language::En] {
                let written = money(Cents(cents), None, language);
                let digits: String = written.chars().filter(|c| c.is_ascii_digit() || *c == '-').collect();
                prop_assert_eq!(digits.parse::<i128>().unwrap(), i128::from(cents));
            }
        }

        #[test]
        fn a_bounded_text_is_one_line(text in any::<String>(), most in 1_usize..50) {
            let bounded = bounded(&text, most);
            prop_assert!(bounded.chars().count() <= most && !bounded.chars().any(char::is_control));
        }
    }
}
