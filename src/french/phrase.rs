//! Phrases with holes, and how the phrases of a text are found.

use std::collections::HashSet;

/// Longer texts are not translated, in bytes.
const LONGEST: usize = 16 * 1024;

/// How many parts of one text are looked at, and holes of phrases tried, before the text is left as it is. A text from
/// outside, quoted in a reason, must not keep a page waiting.
const MOST_TRIED: u32 = 20_000;

/// An English phrase and its French one.
#[derive(Debug)]
pub(super) struct Phrase {
    english: Vec<Piece>,
    french: Vec<Piece>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Words(&'static str),
    Hole(&'static str, Kind),
}

/// What may stand in a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Name,
    Word,
    Number,
    Span,
    Method,
    Money,
    Day,
    Said,
}

impl Phrase {
    pub(super) fn new(english: &'static str, french: &'static str) -> Self {
        Self { english: pieces(english), french: pieces(french) }
    }

    /// False if the words of the phrase do not follow each other in a text: then nothing has to be tried.
    fn may_begin(&self, text: &str) -> bool {
        let mut rest = text;
        for (place, piece) in self.english.iter().enumerate() {
            let Piece::Words(words) = piece else { continue };
            let behind =
                if place == 0 { rest.strip_prefix(words) } else { rest.split_once(words).map(|(_, rest)| rest) };
            let Some(behind) = behind else { return false };
            rest = behind;
        }
        true
    }

    fn filled(&self, found: &[(&'static str, String)]) -> String {
        let mut text = String::new();
        for piece in &self.french {
            match piece {
                Piece::Words(words) => text.push_str(words),
                Piece::Hole(name, _) => {
                    text.push_str(found.iter().find(|(hole, _)| hole == name).map_or("", |(_, value)| value));
                }
            }
        }
        text
    }
}

/// The names of the holes of a phrase.
#[cfg(test)]
pub(super) fn holes(phrase: &'static str) -> Vec<&'static str> {
    let holes = pieces(phrase).into_iter().filter_map(|piece| match piece {
        Piece::Hole(name, _) => Some(name),
        Piece::Words(_) => None,
    });
    holes.collect()
}

/// What stands in a hole of a sample, and how it is written in French.
#[cfg(test)]
fn in_a_sample(name: &str, kind: Kind) -> (String, String) {
    let both = |text: &str| (text.to_owned(), text.to_owned());
    match kind {
        Kind::Any | Kind::Name => both(&format!("any {name}")),
        Kind::Word => both(&format!("word-{name}")),
        Kind::Number => both(&name.len().to_string()),
        Kind::Span => ("2.5s".to_owned(), "2,5\u{a0}s".to_owned()),
        Kind::Method => ("card".to_owned(), "carte".to_owned()),
        Kind::Money => ("1500.00 EUR".to_owned(), "1\u{202f}500,00\u{a0}€".to_owned()),
        Kind::Day => ("2026-11-28".to_owned(), "28/11/2026".to_owned()),
        // A phrase of the catalogues.
        Kind::Said => ("read back".to_owned(), "relu".to_owned()),
    }
}

/// An English sentence of a phrase.
#[cfg(test)]
pub(super) fn sample(english: &'static str) -> String {
    let written = |piece| match piece {
        Piece::Words(words) => words.to_owned(),
        Piece::Hole(name, kind) => in_a_sample(name, kind).0,
    };
    pieces(english).into_iter().map(written).collect()
}

/// The French one of [`sample`].
#[cfg(test)]
pub(super) fn french_sample(english: &'static str, french: &'static str) -> String {
    let found: Found = pieces(english)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Words(_) => None,
            Piece::Hole(name, kind) => Some((name, in_a_sample(name, kind).1)),
        })
        .collect();
    Phrase::new(english, french).filled(&found)
}

/// Words in braces that are no name with a kind are words: a phrase may quote JSON.
fn pieces(phrase: &'static str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = phrase;
    let mut from = 0;
    while let Some(open) = rest[from..].find('{').map(|at| at + from) {
        let hole =
            rest[open + 1..].find('}').and_then(|end| hole(&rest[open + 1..=open + end]).map(|hole| (hole, end)));
        let Some((hole, end)) = hole else {
            from = open + 1;
            continue;
        };
        if open > 0 {
            pieces.push(Piece::Words(&rest[..open]));
        }
        pieces.push(hole);
        rest = &rest[open + end + 2..];
        from = 0;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Words(rest));
    }
    pieces
}

fn hole(text: &'static str) -> Option<Piece> {
    let (name, kind) = text.split_once(':').unwrap_or((text, ""));
    let kind = match kind {
        "" => Kind::Any,
        "name" => Kind::Name,
        "word" => Kind::Word,
        "span" => Kind::Span,
        "method" => Kind::Method,
        "number" => Kind::Number,
        "money" => Kind::Money,
        "day" => Kind::Day,
        "said" => Kind::Said,
        _ => return None,
    };
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_name.then_some(Piece::Hole(name, kind))
}

/// A text in French; `None` if any part of it is no phrase.
pub(super) fn said(phrases: &[Phrase], text: &str) -> Option<String> {
    if text.len() > LONGEST {
        return None;
    }
    Search { phrases, unknown: HashSet::new(), left: MOST_TRIED }.said(text)
}

struct Search<'p> {
    phrases: &'p [Phrase],
    /// Parts of the text that are known to be no phrases, by where they begin and how long they are.
    unknown: HashSet<(usize, usize)>,
    left: u32,
}

type Found = Vec<(&'static str, String)>;

impl Search<'_> {
    /// The whole text as phrases, one after another.
    fn said(&mut self, text: &str) -> Option<String> {
        let key = (text.as_ptr().addr(), text.len());
        if text.is_empty() || self.unknown.contains(&key) {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        let phrases = self.phrases;
        for phrase in phrases.iter().filter(|phrase| phrase.may_begin(text)) {
            if let Some(french) = self.fit(phrase, &phrase.english, text, &mut Vec::new()) {
                return Some(french);
            }
        }
        self.unknown.insert(key);
        None
    }

    /// The text as the rest of a phrase and the phrases behind it.
    fn fit(&mut self, phrase: &Phrase, pieces: &[Piece], text: &str, found: &mut Found) -> Option<String> {
        match pieces.split_first() {
            None if text.is_empty() => Some(phrase.filled(found)),
            None => {
                let rest = self.said(text.strip_prefix(' ')?)?;
                Some(format!("{} {rest}", phrase.filled(found)))
            }
            Some((Piece::Words(words), pieces)) => self.fit(phrase, pieces, text.strip_prefix(words)?, found),
            Some((&Piece::Hole(name, kind), pieces)) => {
                for end in ends(text, pieces.first()) {
                    self.left = self.left.checked_sub(1)?;
                    let Some(value) = self.value(kind, &text[..end]) else { continue };
                    found.push((name, value));
                    if let Some(french) = self.fit(phrase, pieces, &text[end..], found) {
                        return Some(french);
                    }
                    found.pop();
                }
                None
            }
        }
    }

    /// What stands in a hole, as it is written in French.
    fn value(&mut self, kind: Kind, text: &str) -> Option<String> {
        match kind {
            Kind::Any => (!text.contains('\n')).then(|| text.to_owned()),
            Kind::Name => is_name(text).then(|| text.to_owned()),
            Kind::Word => (!text.is_empty() && !text.contains(char::is_whitespace)).then(|| text.to_owned()),
            Kind::Span => span(text),
            Kind::Method => (!text.is_empty() && !text.contains('\n')).then(|| method(text).to_owned()),
            Kind::Number => {
                (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.to_owned())
            }
            Kind::Money => money(text),
            Kind::Day => {
                let day: jiff::civil::Date = text.parse().ok().filter(|_| text.len() == 10)?;
                Some(format!("{:02}/{:02}/{}", day.day(), day.month(), day.year()))
            }
            Kind::Said => self.said(text),
        }
    }
}

/// Where what stands in a hole may end: before the words that follow; behind the last piece at the end of a sentence, or of
/// the text.
fn ends(text: &str, next: Option<&Piece>) -> Vec<usize> {
    match next {
        Some(Piece::Words(words)) => {
            // What is quoted may be empty.
            let least = usize::from(!words.starts_with('`'));
            text.match_indices(words).map(|(at, _)| at).filter(|at| *at >= least).collect()
        }
        // Two holes without words between them would be a guess; there are none.
        Some(Piece::Hole(..)) => Vec::new(),
        None => {
            let sentences = text.match_indices(". ").map(|(at, _)| at + 1);
            sentences.chain([text.len()]).filter(|at| *at > 0).collect()
        }
    }
}

/// True for what may be a name: it ends no clause.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains('\n') && ![". ", ": ", "; ", ", "].iter().any(|end| text.contains(end))
}

/// `1.5s` as `1,5 s`, as a [`std::time::Duration`] is written.
fn span(text: &str) -> Option<String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.')?);
    let is_number = number.split('.').all(|part| !part.is_empty()) && number.matches('.').count() <= 1;
    (is_number && ["s", "ms", "µs", "ns"].contains(&unit)).then(|| format!("{}\u{a0}{unit}", number.replace('.', ",")))
}

/// A method of payment by its usual name, if Finkare documents it.
fn method(word: &str) -> &str {
    match word {
        "card" => "carte",
        "bank_transfer" => "virement",
        "sepa_debit" => "prélèvement SEPA",
        "payment_link" => "lien de paiement",
        other => other,
    }
}

/// `1500.00 EUR` as `1 500,00 €`.
fn money(text: &str) -> Option<String> {
    let (amount, currency) = text.split_once(' ').map_or((text, None), |(amount, currency)| (amount, Some(currency)));
    let is_code = |code: &str| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if currency.is_some_and(|code| !is_code(code)) {
        return None;
    }
    let (whole, cents) = amount.split_once('.')?;
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(cents) {
        return None;
    }
    let mut french = sign.to_owned();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            french.push('\u{202f}');
        }
        french.push(digit);
    }
    french.push(',');
    french.push_str(cents);
    if let Some(code) = currency {
        french.push('\u{a0}');
        french.push_str(if code == "EUR" { "€" } else { code });
    }
    Some(french)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn french(text: &str) -> Option<String> {
        let phrases = [
            (
                "invoice {number} of {amount:money} is not in {books}.",
                "La facture {number} de {amount:money} n’est pas dans {books}.",
            ),
            ("erp answered {status:number}: {words}", "erp a répondu {status:number}\u{a0}: {words}"),
            ("erp answered {status:number}", "erp a répondu {status:number}"),
            ("It was not sent, as {why:said}", "Il n’a pas été envoyé, car {why:said}"),
            ("Paid on {day:day}.", "Payé le {day:day}."),
            ("{\"a\":{n:number}} was sent.", "{\"a\":{n:number}} a été envoyé."),
            ("{who:word} waited for {time:span}.", "{who} a attendu {time}."),
            ("It came by {method:method}.", "Il est venu par {method}."),
            ("Its state is `{state}`.", "Son état est `{state}`."),
            ("Look at invoice {number:name}", "Regardez la facture {number}"),
        ]
        .map(|(en, fr)| Phrase::new(en, fr));
        said(&phrases, text)
    }

    #[test]
    fn phrases_are_found_one_after_another_and_inside_of_each_other() {
        for (text, expected) in [
            (
                "invoice F-1 of 1234567.50 EUR is not in Tiime. Paid on 2026-11-28.",
                "La facture F-1 de 1\u{202f}234\u{202f}567,50\u{a0}€ n’est pas dans Tiime. Payé le 28/11/2026.",
            ),
            ("erp answered 503", "erp a répondu 503"),
            ("erp answered 503: busy. Paid on 2026-11-28.", "erp a répondu 503\u{a0}: busy. Payé le 28/11/2026."),
            ("erp answered 503: busy. Come back.", "erp a répondu 503\u{a0}: busy. Come back."),
            ("It was not sent, as erp answered 410", "Il n’a pas été envoyé, car erp a répondu 410"),
            ("{\"a\":7} was sent.", "{\"a\":7} a été envoyé."),
            ("erp waited for 1.5s.", "erp a attendu 1,5\u{a0}s."),
            ("erp waited for 250ms.", "erp a attendu 250\u{a0}ms."),
            ("Look at invoice F 1. Paid on 2026-11-28.", "Regardez la facture F 1. Payé le 28/11/2026."),
            ("Its state is `new`.", "Son état est `new`."),
            ("Its state is ``.", "Son état est ``."),
            ("It came by sepa_debit.", "Il est venu par prélèvement SEPA."),
            ("It came by wire or so.", "Il est venu par wire or so."),
        ] {
            assert_eq!(french(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_as_a_whole_is_not_translated() {
        for text in [
            "",
            " ",
            "erp answered",
            "erp answered nothing",
            "erp answered 503 ",
            "erp answered 503, and left",
            "It was not sent, as nobody was there",
            "invoice F-1 of 12,50 EUR is not in Tiime.",
            "invoice F-1 of 12.50 euros is not in Tiime.",
            "Paid on 2026-13-28.",
            "Look at invoice F 1: or at another",
            "Look at invoice F 1. Or at another",
            "the erp waited for 2s.",
            "erp waited for 2h.",
            "erp waited for 1..5s.",
            "erp waited for s.",
            "erp answered 503\nIt was not sent, as erp answered 410",
        ] {
            assert_eq!(french(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_from_outside_ends() {
        let quoted = "It was not sent, as erp answered 5: x. ".repeat(400);
        assert_eq!(french(&format!("{quoted}\n")), None);
        assert_eq!(french(&"a".repeat(LONGEST + 1)), None);
    }
}
