//! Reasons, grouped: a hundred payments that wait for one cause are one line for a person, not a hundred.
//!
//! A reason is a sentence that names its invoice, its amount and its ids. [`group`] replaces these by `…`, so that sentences
//! about the same cause become the same text. It is used for the relay's own events, for the overview of what waits, and to
//! choose dispatches by their reason.

/// The most characters of a group.
const LONGEST: usize = 240;

/// The text that all reasons of one cause have in common: each word that has a digit is replaced by `…`, and several of
/// them in a row by one. The status after `answered` stays, because it is the cause.
///
/// Never empty for a text that is not blank; at most 240 characters; grouping a group changes nothing.
pub fn group(reason: &str) -> String {
    let mut grouped = String::new();
    let mut before = "";
    let mut length = 0;
    for word in reason.split_whitespace() {
        let core = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '…');
        let is_status = before == "answered" && core.len() == 3 && core.bytes().all(|byte| byte.is_ascii_digit());
        before = word;
        let told = if core.chars().any(|c| c.is_ascii_digit()) && !is_status {
            // What stands around it is part of the sentence: a bracket, a comma, a colon.
            let (open, rest) = word.split_once(core).unwrap_or(("", ""));
            format!("{open}…{rest}")
        } else {
            word.to_owned()
        };
        if told == "…" && grouped.ends_with('…') {
            continue;
        }
        let more = told.chars().count() + usize::from(!grouped.is_empty());
        if length + more > LONGEST {
            if grouped.is_empty() {
                grouped.extend(told.chars().take(LONGEST));
            }
            break;
        }
        if !grouped.is_empty() {
            grouped.push(' ');
        }
        grouped.push_str(&told);
        length += more;
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_cause_is_one_group() {
        for (reasons, expected) in [
            (
                &[
                    "invoice F-2026-001 is not in Tiime (amount 1500.00 EUR)",
                    "invoice F-2026-77 is not in Tiime (amount 1.00 EUR)",
                ][..],
                "invoice … is not in Tiime (amount … EUR)",
            ),
            (&["the books have 1 500,00 € already", "the books have 20,00 € already"], "the books have … € already"),
            (
                &["the target answered 503 to request 17", "the target answered 503 to request 18"],
                "the target answered 503 to request …",
            ),
        ] {
            for reason in reasons {
                assert_eq!(group(reason), expected);
            }
        }
        assert_ne!(group("the target answered 404"), group("the target answered 410"));
        assert_eq!(group("  "), "");
    }

    proptest! {
        #[test]
        fn a_group_is_its_own_group(reason in "[a-zé0-9 (),.:…]{0,400}") {
            let once = group(&reason);
            prop_assert_eq!(group(&once), once.clone());
            prop_assert!(once.chars().count() <= LONGEST);
            prop_assert_eq!(once.is_empty(), reason.trim().is_empty());
        }
    }
}
