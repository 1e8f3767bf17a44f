//! What a person types into a search field, read as what it most likely is.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::texts::Texts;
use crate::model::{dispatch::State, id::EventId};

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing.
    Nothing,
    /// An event's id, or another id of that shape.
    Id(EventId),
    /// The state of a dispatch, in a word of the API's or of the pages'.
    State(State),
    /// A type of events.
    Type(String),
    /// A configured endpoint.
    Endpoint(String),
    /// A day.
    Day(Date),
    /// An invoice number, a payment's id, an amount, a debtor, or a text of the payload.
    Text(String),
}

/// Reads it. `endpoints` are those that the reader may see.
pub(super) fn read(text: &str, endpoints: &[String], t: &Texts) -> Typed {
    let text = text.trim();
    if text.is_empty() {
        return Typed::Nothing;
    }
    if let Ok(id) = text.parse() {
        return Typed::Id(id);
    }
    let lower = text.to_lowercase();
    let state = State::ALL
        .into_iter()
        .find(|state| lower == state.as_str() || lower == super::words::dispatch(*state, t).text().to_lowercase());
    if let Some(state) = state {
        return Typed::State(state);
    }
    if let Some(endpoint) = endpoints.iter().find(|name| *name == text) {
        return Typed::Endpoint(endpoint.clone());
    }
    if let Some(day) = day(text) {
        return Typed::Day(day);
    }
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if text.split_once('.').is_some_and(|(subject, what)| is_word(subject) && is_word(what)) {
        return Typed::Type(text.to_owned());
    }
    Typed::Text(text.to_owned())
}

/// A day, as `2026-10-31` or `31/10/2026`.
pub(super) fn day(text: &str) -> Option<Date> {
    let text = text.trim();
    if let Ok(day) = text.parse::<Date>() {
        return (text.len() == 10).then_some(day);
    }
    let mut parts = text.splitn(3, '/');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let is_full = day.len() <= 2 && month.len() <= 2 && year.len() == 4;
    is_full.then(|| Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()).flatten()
}

/// The beginning of a day, and of the day after it, as the API takes them.
pub(super) fn span(day: Date, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
    let begin = |day: Date| day.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp());
    Some((begin(day)?, begin(day.tomorrow().ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::language::Language;

    #[test]
    fn each_kind_is_recognised() {
        let endpoints = ["acme".to_owned()];
        let t = Texts::of(Language::Fr);
        let id = "01900000-0000-7000-8000-000000000000";
        for (text, expected) in [
            ("  ", Typed::Nothing),
            (id, Typed::Id(id.parse().unwrap())),
            ("held", Typed::State(State::Held)),
            ("Abandonné", Typed::State(State::Dead)),
            ("acme", Typed::Endpoint("acme".into())),
            ("payment.received", Typed::Type("payment.received".into())),
            ("2026-10-31", Typed::Day(Date::constant(2026, 10, 31))),
            ("31/10/2026", Typed::Day(Date::constant(2026, 10, 31))),
            ("1/2/2026", Typed::Day(Date::constant(2026, 2, 1))),
            ("31/13/2026", Typed::Text("31/13/2026".into())),
            ("1 500,00", Typed::Text("1 500,00".into())),
            ("F-2026.001", Typed::Text("F-2026.001".into())),
            ("Martin SARL", Typed::Text("Martin SARL".into())),
        ] {
            assert_eq!(read(text, &endpoints, t), expected, "{text}");
        }
    }

    #[test]
    fn a_day_is_as_long_as_its_clock_says() {
        let paris = TimeZone::get("Europe/Paris").unwrap();
        let (begin, end) = span(Date::constant(2026, 10, 25), &paris).unwrap();
        assert_eq!(
            (begin.to_string().as_str(), end.to_string().as_str()),
            ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z")
        );
    }
}
