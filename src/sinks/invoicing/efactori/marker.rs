//! Recognises our marker in a payment's `name`, and the remains of a marker.
//!
//! The field is for the name of the other party, the only field of a payment that can hold a text (the vendor's OpenAPI
//! file shows no reference). Its maximum length is not documented, so a marker may come back cut off; and a person may
//! have added to it.

/// Characters that may surround a whole marker. Ids contain none of them, so that `p-1` is not found in `p-1.2`.
const BOUNDARIES: [char; 12] = ['(', ')', '[', ']', '{', '}', '"', '\'', '«', '»', ',', ';'];

/// How a payment's name compares with our marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    /// It has the marker: it is this payment.
    Same,
    /// It may be this payment: the marker was cut off or changed.
    Remains,
    /// It is another payment.
    Other,
}

/// Compares a payment's name with the marker. Every marker begins with `prefix`.
pub(super) fn compare(name: &str, marker: &str, prefix: &str) -> Likeness {
    if holds(name, marker) {
        return Likeness::Same;
    }
    let (name, marker, prefix) = (plain(name), plain(marker), plain(prefix));
    let is_cut = !name.is_empty() && name.len() >= prefix.len() && marker.starts_with(&name);
    if is_cut || holds(&name, &marker) { Likeness::Remains } else { Likeness::Other }
}

/// The id of Finkare's payment whose marker is in a name, if there is one.
pub(super) fn payment_in(name: &str, prefix: &str) -> Option<String> {
    let (before, after) = name.split_once(prefix)?;
    let is_end = |c: char| c.is_whitespace() || BOUNDARIES.contains(&c);
    let id = after.split(is_end).next().unwrap_or_default();
    (before.chars().next_back().is_none_or(is_end) && !id.is_empty()).then(|| id.to_owned())
}

/// True if the name has the marker as a separate word.
fn holds(name: &str, marker: &str) -> bool {
    let is_free = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || BOUNDARIES.contains(&c));
    name.match_indices(marker)
        .any(|(at, found)| is_free(name[..at].chars().next_back()) && is_free(name[at + found.len()..].chars().next()))
}

/// The text in lower case, with single blanks.
fn plain(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_a_word_of_its_own() {
        let of = |name: &str| compare(name, "Finkare p-1", "Finkare ");
        for same in ["Finkare p-1", "Débiteur SPRL (Finkare p-1)", "Finkare p-1, seen by Anna", "\"Finkare p-1\""] {
            assert_eq!(of(same), Likeness::Same, "{same}");
        }
        for other in ["", "Finkare p-10", "Finkare p-1.2", "Finkare p-1-2", "xFinkare p-1", "p-1", "Débiteur", "F"] {
            assert_eq!(of(other), Likeness::Other, "{other}");
        }
    }

    #[test]
    fn whose_marker_stands_there_is_read() {
        for (name, id) in [
            ("Finkare p-1", Some("p-1")),
            ("Débiteur SPRL (Finkare p-1.2), seen", Some("p-1.2")),
            ("xFinkare p-1", None),
            ("Finkare ", None),
            ("Finkare (p-1)", None),
            ("Débiteur", None),
            ("", None),
        ] {
            assert_eq!(payment_in(name, "Finkare ").as_deref(), id, "{name}");
        }
    }

    #[test]
    fn what_was_cut_off_or_changed_may_be_it() {
        let marker = "Finkare aaaa1111-0000-4000-8000-000000000009";
        let of = |name: &str| compare(name, marker, "Finkare ");
        for remains in [
            "Finkare aaaa1111-0000",
            "Finkare a",
            "Finkare",
            "FINKARE AAAA1111-0000-4000-8000-000000000009",
            "finkare  aa",
        ] {
            assert_eq!(of(remains), Likeness::Remains, "{remains}");
        }
        for other in ["Finkar", "Finkare b", "Finkare aaaa1111-0000-4000-8000-000000000008", ""] {
            assert_eq!(of(other), Likeness::Other, "{other}");
        }
    }
}
