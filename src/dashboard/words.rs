//! States and reasons in the reader's words.

use std::fmt;

use super::{texts::Texts, visit::Visit};
use crate::{
    model::{
        booking::BookingState,
        dispatch::{State, Trigger},
        language::Language,
        reconciliation::{DifferenceKind, ReportState},
        stored_secret::{Origin, SecretState},
    },
    sinks::wording::causes,
    web::admin::sinks::SinkState,
};

/// How a state is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Info,
    Warn,
    Bad,
    Idle,
}

impl Mood {
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Idle => "idle",
        }
    }
}

/// A state, as a label.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pill {
    word: &'static str,
    text: &'static str,
    mood: Mood,
}

impl Pill {
    pub(super) const fn new(word: &'static str, text: &'static str, mood: Mood) -> Self {
        Self { word, text, mood }
    }

    /// The API's word for the state.
    pub(super) const fn word(&self) -> &'static str {
        self.word
    }

    /// The reader's word for it.
    pub(super) const fn text(&self) -> &'static str {
        self.text
    }

    /// How it is meant, as a class.
    pub(super) const fn class(&self) -> &'static str {
        self.mood.class()
    }
}

impl fmt::Display for Pill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Words of our own, which hold nothing that needs to be escaped; a test looks at all of them.
        write!(f, "<span class=\"state {}\">{}</span>", self.mood.class(), self.text)
    }
}

impl askama::filters::HtmlSafe for Pill {}

/// The state of a dispatch.
pub(super) const fn dispatch(state: State, t: &Texts) -> Pill {
    let (text, mood) = match state {
        State::Pending => (t.state_pending, Mood::Info),
        State::Leased => (t.state_leased, Mood::Info),
        State::Delivered => (t.state_delivered, Mood::Good),
        State::Held => (t.state_held, Mood::Warn),
        State::Dead => (t.state_dead, Mood::Bad),
        State::Cancelled => (t.state_cancelled, Mood::Idle),
    };
    Pill { word: state.as_str(), text, mood }
}

/// The state of a sink.
pub(super) const fn sink(state: SinkState, t: &Texts) -> Pill {
    let (text, mood) = match state {
        SinkState::Active => (t.sink_active, Mood::Good),
        SinkState::Paused => (t.sink_paused, Mood::Warn),
        SinkState::Tripped => (t.sink_tripped, Mood::Bad),
        SinkState::NotConfigured => (t.sink_not_configured, Mood::Idle),
    };
    Pill { word: state.as_str(), text, mood }
}

/// The state of a booking.
pub(super) const fn booking(state: BookingState, t: &Texts) -> Pill {
    let (text, mood) = match state {
        BookingState::Reserved => (t.booking_reserved, Mood::Info),
        BookingState::Sending => (t.booking_sending, Mood::Warn),
        BookingState::Written => (t.booking_written, Mood::Warn),
        BookingState::Booked => (t.booking_booked, Mood::Good),
        BookingState::Seen => (t.booking_seen, Mood::Good),
    };
    Pill { word: state.as_str(), text, mood }
}

/// The state of a reconciliation.
pub(super) const fn report(state: ReportState, t: &Texts) -> Pill {
    let (text, mood) = match state {
        ReportState::Running => (t.report_running, Mood::Info),
        ReportState::Done => (t.report_done, Mood::Good),
        ReportState::Failed => (t.report_failed, Mood::Bad),
    };
    Pill { word: state.as_str(), text, mood }
}

/// The state of a secret.
pub(super) fn secret(state: SecretState, t: &Texts) -> Pill {
    let (text, mood) = match state {
        SecretState::Active => (t.secret_active, Mood::Good),
        SecretState::Retiring => (t.secret_retiring, Mood::Info),
        SecretState::Expired => (t.secret_expired, Mood::Idle),
    };
    Pill { word: state.as_str(), text, mood }
}

/// Where a secret comes from.
pub(super) const fn origin(origin: Origin, t: &Texts) -> &'static str {
    match origin {
        Origin::Configured => t.origin_configured,
        Origin::Registered => t.origin_registered,
        Origin::Rotated => t.origin_rotated,
    }
}

/// Why a dispatch exists.
pub(super) const fn trigger(trigger: Trigger, t: &Texts) -> &'static str {
    match trigger {
        Trigger::Event => t.trigger_event,
        Trigger::Replay => t.trigger_replay,
        Trigger::Reconciliation => t.trigger_reconciliation,
        Trigger::Test => t.trigger_test,
    }
}

/// What differs, in words, and what to do about it.
pub(super) const fn difference(kind: DifferenceKind, t: &Texts) -> (&'static str, &'static str) {
    match kind {
        DifferenceKind::NeverAnnounced => (t.difference_never_announced, t.do_never_announced),
        DifferenceKind::UnknownPayment => (t.difference_unknown_payment, t.do_unknown_payment),
        DifferenceKind::AmountDiffers => (t.difference_amount, t.do_amount),
        DifferenceKind::NotBooked => (t.difference_not_booked, t.do_not_booked),
        DifferenceKind::Held => (t.difference_held, t.do_held),
        DifferenceKind::Dead => (t.difference_dead, t.do_dead),
        DifferenceKind::RefundedAfterBooking => (t.difference_refunded, t.do_refunded),
        DifferenceKind::NotInBooks => (t.difference_not_in_books, t.do_not_in_books),
    }
}

/// How it was paid. Another word of Finkare's stays as it is.
pub(super) fn method<'a>(word: Option<&'a str>, t: &Texts) -> &'a str {
    match word {
        None => "–",
        Some("card") => t.method_card,
        Some("bank_transfer") => t.method_transfer,
        Some("sepa_debit") => t.method_debit,
        Some("payment_link") => t.method_link,
        Some(other) => other,
    }
}

/// Why something waits: what it means, what to do, and the reason itself where that says more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Why {
    pub(super) means: String,
    pub(super) to_do: String,
    pub(super) raw: String,
}

/// Explains a reason. Reasons are English sentences that say what to do; the causes that are known are told in French.
pub(super) fn why(visit: &Visit, state: State, reason: &str) -> Why {
    let t = visit.t;
    let usual = if state == State::Dead { t.do_dead_usual } else { t.do_held_usual };
    match visit.language {
        Language::En => Why { means: sentence(reason), to_do: usual.to_owned(), raw: String::new() },
        Language::Fr => {
            let cause = causes::in_french(reason);
            let means = if state == State::Dead { t.means_dead } else { t.means_held };
            Why {
                means: cause.map_or(means, |cause| cause.means).to_owned(),
                to_do: cause.map_or(usual, |cause| cause.to_do).to_owned(),
                raw: reason.to_owned(),
            }
        }
    }
}

/// A text with a capital letter at its beginning.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A reason as a sentence: with a capital letter and a full stop.
fn sentence(reason: &str) -> String {
    let mut letters = reason.trim().chars();
    let Some(first) = letters.next() else { return String::new() };
    let rest = letters.as_str();
    // An address stays as it is.
    let is_word = !rest.starts_with("ttp") && !rest.starts_with("ttps");
    let first = if is_word { first.to_uppercase().to_string() } else { first.to_string() };
    let end = if reason.trim_end().ends_with(['.', '?', '!', '…', ')']) { "" } else { "." };
    format!("{first}{rest}{end}")
}

/// What a refusal means; the explanation itself is English.
pub(super) fn refusal(reason: &str, t: &Texts) -> &'static str {
    match reason {
        "wrong_secret" => t.refusal_wrong_secret,
        "retired_secret" => t.refusal_retired_secret,
        "secret_known_since" => t.refusal_secret_known_since,
        "header_missing" => t.refusal_header_missing,
        "header_repeated" => t.refusal_header_repeated,
        "header_encoding" => t.refusal_header_encoding,
        "body_changed" => t.refusal_body_changed,
        "secret_encoding" | "signature_over" => t.refusal_scheme,
        "no_secret" => t.refusal_no_secret,
        "undecided" => t.refusal_undecided,
        "too_old" => t.refusal_too_old,
        "unknown_path" => t.refusal_unknown_path,
        _ => t.refusal_not_examined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::explain::Reason;

    #[test]
    fn every_label_can_stand_in_a_page_as_it_is() {
        for language in [Language::Fr, Language::En] {
            let t = Texts::of(language);
            let dispatches = State::ALL.map(|state| dispatch(state, t));
            let bookings = BookingState::ALL.map(|state| booking(state, t));
            for pill in dispatches.iter().chain(&bookings) {
                assert!(!pill.text().contains(['<', '>', '&', '"']) && !pill.text().is_empty(), "{pill:?}");
            }
        }
    }

    #[test]
    fn every_refusal_is_explained() {
        let t = Texts::of(Language::Fr);
        for reason in Reason::ALL {
            let told = refusal(reason.as_str(), t);
            assert_eq!(told == t.refusal_not_examined, *reason == Reason::NotExamined, "{}", reason.as_str());
        }
    }

    #[test]
    fn a_reason_becomes_a_sentence() {
        assert_eq!(sentence("invoice F-1 is a draft"), "Invoice F-1 is a draft.");
        assert_eq!(sentence("https://erp.example.fr answered 503"), "https://erp.example.fr answered 503.");
        assert_eq!(sentence("was it booked by hand?"), "Was it booked by hand?");
        assert_eq!(sentence(" "), "");
    }
}
