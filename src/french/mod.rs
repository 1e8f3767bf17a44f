//! What the service says in English, in French.
//!
//! The service explains itself in English sentences: why a payment is held, why a delivery was refused, what a sink
//! answered. They are stored and logged as they are, and an operator searches for their words. Whoever reads the dashboard
//! or a mail in French gets them from here: the catalogues list the sentences as phrases with holes, each with its French
//! one, and [`said`] finds the phrases of a text. So a reason that an earlier version has stored is told in French, too.
//!
//! A text that holds anything unknown is not translated at all: half a translation of a reason about money would be worse
//! than the English original.
//!
//! # Phrases
//!
//! `("invoice {number} is not in {books}", "la facture {number} n’est pas dans {books}")`. A hole takes what stands there as
//! it is; a kind says what may stand there, and how it is written in French:
//!
//! | hole | takes |
//! |---|---|
//! | `{name}` | anything in one line, as it is |
//! | `{name:name}` | a number or a name: anything that ends no clause, as it is |
//! | `{name:word}` | anything without blanks, as it is |
//! | `{name:number}` | digits |
//! | `{name:span}` | `1.5s` or `250ms`; written `1,5 s` |
//! | `{name:method}` | `sepa_debit`; written `prélèvement SEPA`. Other words as they are |
//! | `{name:money}` | `1500.00 EUR` or `1500.00`; written `1 500,00 €` |
//! | `{name:day}` | `2026-11-28`; written `28/11/2026` |
//! | `{name:said}` | what is itself said by phrases; written in French |
//!
//! Phrases follow each other with a space between them. The first phrase that fits counts, so the narrower ones stand
//! before the wider ones.

use std::sync::LazyLock;

use self::phrase::Phrase;

#[cfg(test)]
mod guard;
mod outside;
mod payments;
mod phrase;
mod service;

/// English and French.
type Pair = (&'static str, &'static str);

/// The catalogues, in the order in which they are tried.
const CATALOGUES: &[&[Pair]] = &[
    payments::resolving::PHRASES,
    payments::booking::PHRASES,
    payments::calls::PHRASES,
    payments::watching::PHRASES,
    payments::efactori::PHRASES,
    payments::facturation_pro::PHRASES,
    payments::ledger::PHRASES,
    service::refusals::PHRASES,
    service::endpoints::PHRASES,
    service::reconciliations::PHRASES,
    service::problems::PHRASES,
    service::sinks::PHRASES,
    service::reload::PHRASES,
    // The words of others may go on to the end of the text: what is said about them has to stand before.
    outside::PHRASES,
    payments::calls::ANSWERS,
    ENDED,
];

/// What is known without a full stop is known with one: a clause is stored alone in one place, and stands before another
/// sentence elsewhere.
const ENDED: &[Pair] = &[("{sentence:said}.", "{sentence}.")];

static PHRASES: LazyLock<Vec<Phrase>> =
    LazyLock::new(|| CATALOGUES.iter().copied().flatten().map(|(en, fr)| Phrase::new(en, fr)).collect());

/// A text in French; `None` if any part of it is unknown here.
pub fn said(text: &str) -> Option<String> {
    phrase::said(&PHRASES, text)
}

/// Checks, in the tests of whoever says something, that it has its French.
#[cfg(test)]
pub(crate) fn expect(text: &str) {
    assert!(said(text).is_some(), "the catalogues of `french` have no phrase for this:\n{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hole that only one of them has would lose what stands there, or show its own name.
    #[test]
    fn both_languages_have_the_same_holes() {
        for (en, fr) in CATALOGUES.iter().copied().flatten() {
            let (english, french) = (phrase::holes(en), phrase::holes(fr));
            assert!(french.iter().all(|hole| english.contains(hole)), "`{fr}` has a hole that `{en}` has not");
            assert!(english.iter().all(|hole| french.contains(hole)), "`{fr}` loses a hole of `{en}`");
        }
    }

    /// A wider phrase that stands before it would tell something else.
    #[test]
    fn each_phrase_is_found_as_itself() {
        for (en, fr) in CATALOGUES.iter().copied().flatten() {
            assert_eq!(said(&phrase::sample(en)).as_deref(), Some(&*phrase::french_sample(en, fr)), "`{en}`");
        }
    }

    #[test]
    fn no_phrase_stands_there_twice() {
        let mut known = std::collections::HashSet::new();
        for (en, _) in CATALOGUES.iter().copied().flatten() {
            assert!(known.insert(*en), "`{en}` stands there twice");
        }
    }

    #[test]
    fn french_is_typeset_as_french_is() {
        for (_, fr) in CATALOGUES.iter().copied().flatten() {
            assert!(!fr.contains('\''), "`{fr}`: the apostrophe is ’");
            for sign in [" :", " ;", " ?", " !", " »", "« "] {
                assert!(!fr.contains(sign), "`{fr}`: no breakable space there");
            }
        }
    }
}
