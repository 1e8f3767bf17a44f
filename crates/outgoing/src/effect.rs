//! What is known of a write after the call.
//!
//! There is one rule for every client that changes something elsewhere: a booking in the books, a rotation or a
//! registration at Finkare. A write that is repeated although it was done costs money or a secret; a write that is taken
//! for done although it was not is lost. So there are three answers, and [`Effect::Unknown`] is the usual one after a
//! failure: it is looked up before anything else is done about it.
//!
//! The rule is pure and asks nobody. What is done about a doubt is decided by the caller. For calls that only read, none of
//! this matters.

/// What is known of a write after the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The other side says that it was done.
    Done,
    /// It was certainly not done.
    NotDone,
    /// It may have been done.
    Unknown,
}

impl Effect {
    /// False only if it was certainly not done.
    pub const fn may_have_happened(self) -> bool {
        !matches!(self, Self::NotDone)
    }
}

/// What an answer with this HTTP status means for a write.
///
/// `says_not_successful` is true if the body contradicts a status of success or cannot be read: `"success": false`,
/// an error where the result should be, no JSON.
///
/// A 4xx is the server's own word, given before it did anything, with these exceptions: 408 may come from a proxy that
/// stopped waiting, and 425 and 409 may be the answer to a repetition of a request that was carried out a moment before.
/// A 3xx is often what a server answers after having done what was asked (303, "see what was made"). A 5xx may come from
/// a proxy, or from a server that failed after having written.
pub const fn of_answer(status: u16, says_not_successful: bool) -> Effect {
    match status {
        200..=299 if !says_not_successful => Effect::Done,
        408 | 409 | 425 => Effect::Unknown,
        400..=499 => Effect::NotDone,
        _ => Effect::Unknown,
    }
}

/// What it means that no answer arrived. `never_left` is true if no byte of the request was sent: see [`never_left`].
pub const fn of_silence(never_left: bool) -> Effect {
    if never_left { Effect::NotDone } else { Effect::Unknown }
}

/// What a call means for a write that failed without an answer.
pub fn of_failure(error: &reqwest::Error) -> Effect {
    of_silence(never_left(error))
}

/// True if no byte of the request was sent, because the connection was never established.
///
/// The library says so of name resolution, TCP, the way through a proxy and the TLS handshake alone, also when these took
/// too long: the request is written only after them. The time-out of the call as a whole does not say how far the call
/// came; nor does a kept connection that breaks.
pub fn never_left(error: &reqwest::Error) -> bool {
    error.is_connect() || error.is_builder()
}

#[cfg(test)]
mod tests {
    use super::{Effect::*, *};

    #[test]
    fn each_status_has_its_meaning() {
        for (statuses, effect) in [
            (&[200, 201, 202, 204, 299][..], Done),
            (&[100, 199, 300, 301, 302, 303, 304, 307, 308, 399], Unknown),
            (&[408, 409, 425], Unknown),
            (&[500, 501, 502, 503, 504, 520, 599, 0, 600, 999], Unknown),
            (
                &[
                    400, 401, 402, 403, 404, 405, 406, 407, 410, 411, 412, 413, 415, 418, 421, 422, 424, 426, 429, 451,
                    499,
                ],
                NotDone,
            ),
        ] {
            for status in statuses {
                assert_eq!(of_answer(*status, false), effect, "{status}");
            }
        }
    }

    #[test]
    fn a_body_that_says_no_turns_success_into_a_doubt_and_changes_nothing_else() {
        for status in [200, 201, 204, 299] {
            assert_eq!(of_answer(status, true), Unknown, "{status}");
        }
        for status in (100..200).chain(300..600) {
            assert_eq!(of_answer(status, true), of_answer(status, false), "{status}");
        }
    }

    #[test]
    fn a_silence_is_a_doubt_unless_nothing_was_sent() {
        assert_eq!((of_silence(true), of_silence(false)), (NotDone, Unknown));
        assert!(Unknown.may_have_happened() && Done.may_have_happened() && !NotDone.may_have_happened());
    }
}
