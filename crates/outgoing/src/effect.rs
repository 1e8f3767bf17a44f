//! Whether a write was carried out, as far as the call shows.
//!
//! There is one rule for every client that changes something elsewhere: a booking in the books, a rotation or a
//! registration at Finkare. Repeating a write that was carried out costs money or a secret; assuming that a write was
//! carried out when it was not loses the write. So there are three answers. [`Effect::Unknown`] is the usual one
//! after a failure: the caller then looks up what happened before it does anything else.
//!
//! The rule is pure and calls no service. The caller decides how to resolve a doubt. Calls that only read do not need
//! this rule.

/// Whether a write was carried out, as far as the call shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The other side says that it was carried out.
    Done,
    /// It was certainly not carried out.
    NotDone,
    /// It may have been carried out.
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
/// A 4xx is the server's own answer, given before it did anything, with these exceptions: 408 may come from a proxy
/// that stopped waiting, and 425 and 409 may be the answer to a repetition of a request that was carried out a moment
/// before. Servers often answer 3xx after they have done what was asked (303, "see the result there"). A 5xx may come
/// from a proxy, or from a server that failed after the write.
pub const fn of_answer(status: u16, says_not_successful: bool) -> Effect {
    match status {
        200..=299 if !says_not_successful => Effect::Done,
        408 | 409 | 425 => Effect::Unknown,
        400..=499 => Effect::NotDone,
        _ => Effect::Unknown,
    }
}

/// The effect of a write that got no answer. `never_left` is true if no byte of the request was sent: see
/// [`never_left`].
pub const fn of_silence(never_left: bool) -> Effect {
    if never_left { Effect::NotDone } else { Effect::Unknown }
}

/// The effect of a write whose call failed without an answer.
pub fn of_failure(error: &reqwest::Error) -> Effect {
    of_silence(never_left(error))
}

/// True if no byte of the request was sent, because the connection was never established.
///
/// The library reports this only for name resolution, TCP, the way through a proxy and the TLS handshake, also if one
/// of these took too long: the request is written only after them. The time-out of the whole call does not show how
/// far the call came; nor does a kept connection that breaks.
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
