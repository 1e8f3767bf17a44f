//! Sees that what is said in English has its French: no sentence of the service's may be added or changed without it.
//!
//! Three nets, each with its own mesh:
//!
//! - [`expect`](super::expect) is called where sentences go through one place, so that every unit test that makes one also
//!   asks for its French. It sees whole texts, as far as tests make them.
//! - [`every_sentence_in_the_sources_has_its_french`] reads the sources of the modules whose words reach a page. It sees
//!   every sentence, also one that no test makes, but only whether the words of its parts are those of a phrase.
//! - [`every_phrase_is_still_said`] looks the other way, for phrases that nothing says any more.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::Lit;

use super::CATALOGUES;

/// A text between quotes in a source.
#[derive(Debug)]
struct Literal {
    line: usize,
    /// What the compiler makes of it.
    text: String,
    /// The names of the calls, macros and attributes around it, from the outermost to the innermost.
    within: Vec<String>,
}

/// The texts between quotes of a source, without its tests.
fn literals(source: &str) -> Vec<Literal> {
    let mut found = Vec::new();
    read(source.parse().expect("a source is Rust"), &mut Vec::new(), &mut found);
    found
}

fn read(tokens: TokenStream, within: &mut Vec<String>, found: &mut Vec<Literal>) {
    // What stands before a bracket: `format!`, `self.why.expect`, `#`.
    let mut name = String::new();
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(word) => {
                if !name.ends_with([':', '.', '#', '!']) {
                    name.clear();
                }
                name.push_str(&word.to_string());
            }
            TokenTree::Punct(sign) if "#!:.".contains(sign.as_char()) => name.push(sign.as_char()),
            TokenTree::Punct(_) => name.clear(),
            TokenTree::Group(group) => {
                let is_of_tests = name == "#" && group.stream().to_string().replace(' ', "") == "cfg(test)";
                within.push(std::mem::take(&mut name));
                read(group.stream(), within, found);
                within.pop();
                if is_of_tests {
                    // The item or the statement below it.
                    let ends = |token: &TokenTree| match token {
                        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                        TokenTree::Punct(sign) => sign.as_char() == ';',
                        _ => false,
                    };
                    while tokens.next().is_some_and(|token| !ends(&token)) {}
                }
            }
            TokenTree::Literal(literal) => {
                let line = literal.span().start().line;
                let text = match Lit::new(literal) {
                    Lit::Str(text) => Some(text.value()),
                    Lit::ByteStr(bytes) => Some(String::from_utf8_lossy(&bytes.value()).into_owned()),
                    _ => None,
                };
                found.extend(text.map(|text| Literal { line, text, within: within.clone() }));
                name.clear();
            }
        }
    }
}

/// What no page shows: log lines, what only a bug prints, and the attributes of the API's description.
fn is_for_no_reader(within: &[String]) -> bool {
    let is_attribute = within.iter().any(|name| name.ends_with('#') || name == "#!")
        && within.last().is_none_or(|name| name != "error");
    let is_call = |name: &String| {
        let name = name.rsplit("::").next().unwrap_or_default();
        [".expect", "debug!", "info!", "warn!", "error!", "line!"].iter().any(|end| name.ends_with(end))
            || ["assert", "debug_assert", "unreachable!", "panic!"].iter().any(|start| name.starts_with(start))
            || name == "sqlx::query"
    };
    is_attribute || within.iter().any(is_call)
}

/// The words of a format string or a phrase, between its holes and at the ends of its sentences.
fn pieces(text: &str) -> Vec<String> {
    const HOLE: char = '\u{0}';
    let (mut words, mut rest) = (String::new(), text);
    while let Some(open) = rest.find('{') {
        let inside = rest[open + 1..].split_once('}').filter(|(inside, _)| {
            let (name, kind) = inside.split_once(':').unwrap_or((inside, ""));
            let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            is_name && !kind.contains(['{', '"', ' '])
        });
        words.push_str(&rest[..open]);
        // Doubled in a format string, and once in what it makes.
        if let Some(after) = rest[open..].strip_prefix("{{") {
            words.push('{');
            rest = after;
        } else if let Some((_, after)) = inside {
            words.push(HOLE);
            rest = after;
        } else {
            words.push('{');
            rest = &rest[open + 1..];
        }
    }
    words.push_str(rest);
    let words = single(single(words, "{{"), "}}").replace(". ", ".\u{0}").replace("? ", "?\u{0}");
    words.split(HOLE).map(|piece| piece.trim().to_owned()).filter(|piece| !piece.is_empty()).collect()
}

/// The same with a sign once where it stands twice or more.
fn single(mut text: String, doubled: &str) -> String {
    while text.contains(doubled) {
        text = text.replace(doubled, &doubled[1..]);
    }
    text
}

/// True for words that a person reads, and not for a code, a name or a content type.
fn is_sentence(piece: &str) -> bool {
    let is_word = |word: &&str| {
        word.len() > 1
            && word.chars().all(|c| c.is_ascii_alphabetic())
            && word.chars().skip(1).all(|c| c.is_ascii_lowercase())
    };
    let is_query =
        ["SELECT", "UPDATE", "INSERT", "DELETE", "WITH", "WHERE", "CREATE"].iter().any(|word| piece.contains(word));
    let words = piece.split([' ', ',', '.', ';', ':', '(', ')']).filter(is_word).count();
    words > 1 && piece.contains(' ') && !is_query && !piece.contains("; charset=")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// What is said on a page: a file, or the files of a folder; and from which words of the file on. What stands before them
/// describes options of the configuration, and is for who writes it.
const SAYS: &[(&str, &str)] = &[
    ("src/ingest/explain.rs", ""),
    ("src/ingest/route.rs", ""),
    ("src/ingest/filter/rules.rs", ""),
    ("src/web/stray.rs", ""),
    ("src/web/error.rs", ""),
    ("src/web/admin", ""),
    ("src/dashboard", ""),
    ("src/bulk.rs", ""),
    ("src/replay.rs", ""),
    ("src/activity.rs", ""),
    ("src/link", ""),
    ("src/secrets", ""),
    ("src/dispatch/attempt.rs", ""),
    ("src/store/leases.rs", ""),
    ("src/store/spoiled.rs", ""),
    ("src/reconcile", ""),
    ("src/sinks/guard.rs", ""),
    ("src/sinks/enrich.rs", ""),
    ("src/sinks/lines.rs", ""),
    ("src/resolve", ""),
    ("src/sinks/invoicing", ""),
    ("src/sinks/invoicing/tiime.rs", "impl Tiime {"),
    ("src/sinks/invoicing/fastfaktura.rs", "impl FastFaktura {"),
    ("src/store/ledger", ""),
    ("src/store/error.rs", ""),
    ("src/model/booking.rs", ""),
    ("crates/outgoing/src/failure.rs", ""),
    ("crates/finkare/src", ""),
    ("src/sinks/http/answer.rs", ""),
    ("src/sinks/http.rs", "impl Sink for Http"),
    ("src/sinks/chat/format.rs", "pub(super) fn complaint"),
    ("src/sinks/chat/mod.rs", "async fn outcome"),
    ("src/sinks/email/server.rs", ""),
    ("src/sinks/email/mod.rs", "impl Sink for Email"),
    ("src/sinks/file.rs", "impl<S: Storage>"),
    ("src/sinks/file/look.rs", ""),
    ("src/sinks/stdout.rs", "fn explain"),
    ("src/sinks/template.rs", "pub(super) fn doubt"),
    ("src/model/preview.rs", ""),
    ("src/service/trying.rs", ""),
    ("src/service/test_event.rs", ""),
    ("src/service/reload.rs", ""),
];

/// What is in those folders and says nothing on a page, or in both languages.
const SILENT: &[&str] = &[
    "src/web/admin/openapi.rs",
    "src/dashboard/texts",
    "src/dashboard/assets.rs",
    "src/dashboard/chart.rs",
    "src/resolve/tests",
    "src/sinks/invoicing/options.rs",
    "src/sinks/invoicing/efactori/options.rs",
    "src/sinks/invoicing/facturation_pro/options.rs",
    // From further on: see above.
    "src/sinks/invoicing/tiime.rs",
    "src/sinks/invoicing/fastfaktura.rs",
    "crates/finkare/src/settings.rs",
    "crates/finkare/src/signature",
];

/// What these files say elsewhere, by how it begins.
const ELSEWHERE: &[&str] = &[
    // Members of the API's answers that no page shows: what a command prints that did something.
    "The sink {name} is ",
    "The sink is paused: ",
    "The sink was tripped: ",
    "It was tripped: ",
    "`finkare-relay dispatches list ",
    "The payment counts as recorded and is never written.",
    "The booking is removed.",
    "No change was unfinished.",
    "The unfinished rotation has ended",
    "The unfinished registration has ended",
    "{ended} The previous secrets stay valid",
    // Errors that the API answers in other words, and that only commands and the log print.
    "the new configuration cannot be used, the old one",
    "the store failed",
    "a bulk operation panicked",
    "no endpoint `{0}` is configured",
    "endpoint {endpoint}: a change has been in progress",
    "Finkare did not make the change",
    "it is not known whether Finkare made the change",
    "it is not known whether Finkare has added",
    "Finkare was not asked, because",
    "the stored secrets cannot be read",
    "the signature fits no secret that is known",
    "the store could not begin a reconciliation",
    "payments cannot be looked up",
    "it does not explain itself",
    // Nothing can be stored without a connection, nor a page be shown.
    "could not {action}: there is no connection to the database",
    "the schema could not be brought up to date",
    // What a deserialiser says, which no reason repeats.
    "this is not an amount",
    "this is not a whole number",
    "this is not a text",
    "this is not an id",
    "this is not a count",
    "it is not an id",
    "it is not a text",
    "it is neither a time with its offset from UTC nor a date such as",
    // What a library says of a proxy.
    "tunnel error: ",
    "proxy authorization required",
    "failed to create underlying connection",
    // What the configuration says, and the pages about it.
    "Books each payment ",
    "`{source}` is not an expression: {error}",
    "`i_accept_unofficial_api` is not true",
    // What the command `check` says of books that can be read.
    "it does not tell its time",
    "its clock and ours agree",
    "the company {name} ({id}) and its invoices can be read",
    "the business{name} and its invoices can be read",
    "{SYSTEM} accepts our credentials and shows",
    "{SYSTEM} accepts the credentials, firm",
    // The log.
    "no `webhook_id` is known",
    "marked as uncertain",
    "Check the endpoint's `webhook_id`",
    "Set the endpoint's `api_key`",
    "Finkare asks for fewer calls",
    "Redirects are not followed: check",
    "If this lasts, ",
    "deliveries that fit none of this endpoint's other secrets",
    "the books asked for a pause",
    "it belongs to another user, and in its folder",
    // What the command `check` says.
    "`template` cannot work",
    "`text` cannot work",
    "`{key}` cannot work",
    "{} can be reached",
    "{host} can be reached",
    "{host} knows the webhook",
    "{host} answered {status} when asked",
    ", and accepts the login",
    "{} can be written",
    // What is no sentence.
    "Numbering(",
    "the sink stops",
    "number, sink, payment_id, event_id, ",
    "event_id, invoice_id, amount_cents, ",
    "event_id, endpoint, payment_id, ",
    "finkare-relay: the mark of an admin token",
    "finkare-relay: the token of a form",
    "finkare-relay: name of a master key",
    "scheduled rotation",
    "query string: ",
    "the body is too long",
    "`{0}` is not one of `open`",
];

#[test]
fn every_sentence_in_the_sources_has_its_french() {
    let known = CATALOGUES.iter().copied().flatten().flat_map(|(english, _)| pieces(english));
    // A clause may become the beginning of a sentence.
    let known: Vec<String> = known.map(|piece| piece.to_lowercase()).collect();
    let (mut missing, mut used) = (Vec::new(), BTreeSet::new());
    for (place, from) in SAYS {
        let mut files = vec![root().join(place)];
        if files[0].is_dir() {
            files.clear();
            sources(&root().join(place), &mut files);
            files.retain(|file| !SILENT.iter().any(|silent| file.starts_with(root().join(silent))));
        }
        for file in files {
            let source = fs::read_to_string(&file).unwrap();
            let begin = source.find(from).unwrap_or_else(|| panic!("{place} has no `{from}`"));
            let first = source[..begin].matches('\n').count() + 1;
            for Literal { line, text, within } in literals(&source) {
                if line < first || is_for_no_reader(&within) {
                    continue;
                }
                for piece in pieces(&text).into_iter().filter(|piece| is_sentence(piece)) {
                    // How a part is joined to the others is for the tests that make whole sentences.
                    let joined = piece.trim_matches([' ', ',', '.', ';', ':', '(', ')']).to_lowercase();
                    if known.iter().any(|known| known.contains(&joined)) {
                        continue;
                    }
                    match ELSEWHERE.iter().find(|begins| text.starts_with(**begins)) {
                        Some(begins) => drop(used.insert(*begins)),
                        None => missing.push(format!("{}:{}: {piece}", file.display(), line)),
                    }
                }
            }
        }
    }
    assert!(missing.is_empty(), "no phrase of `french` has these words:\n{}", missing.join("\n"));
    let unused: Vec<_> = ELSEWHERE.iter().filter(|begins| !used.contains(*begins)).collect();
    assert!(unused.is_empty(), "nothing says these any more: {unused:#?}");
}

/// Phrases that are put together of so many parts that the sources do not show their words.
const COMPOSED: &[&str] = &[
    "method not given, currency not given",
    "method not given, currency {currency:word}",
    "two attempts may have recorded the payment of {payment:said} on invoice {number} in {system:word}: look there for an unknown id and for not known, and remove one if there are two",
    "eFactori's payments changed every time they were read: {call:said} was not possible",
    "{state:said} (due: not shown), and the payment of {payment:said} is not among its payments in Facturation.PRO. If it was booked there by hand, cancel this dispatch (`dispatches cancel`); if not, reopen the invoice there and retry this dispatch (`dispatches retry`), or see whether the debtor has paid twice",
    "{state:said} (due: {due:money}), and the payment of {payment:said} is not among its payments in Facturation.PRO. If it was booked there by hand, cancel this dispatch (`dispatches cancel`); if not, reopen the invoice there and retry this dispatch (`dispatches retry`), or see whether the debtor has paid twice",
    "Dispatches that are {state:said} cannot be retried; these states can: dead, held, pending.",
    "Dispatches that are {state:said} cannot be cancelled; these states can: dead, held, pending.",
    // The library of the templates puts its own words before ours.
    "invalid operation: `moment` takes a time, such as event.received_at",
    "invalid operation: `{filter:word}` takes a whole number of cents, such as payment.amount_cents",
    // A word in a statement of the database.
    "erased",
];

#[test]
fn every_phrase_is_still_said() {
    let mut files = Vec::new();
    for folder in ["src", "crates/finkare/src", "crates/outgoing/src"] {
        sources(&root().join(folder), &mut files);
    }
    files.retain(|file| !file.starts_with(root().join("src/french")));
    assert!(files.len() > 100, "{files:?}");
    let said: BTreeSet<String> = files
        .iter()
        .flat_map(|file| literals(&fs::read_to_string(file).unwrap()))
        .flat_map(|literal| pieces(&literal.text))
        .map(|piece| words(&piece).to_lowercase())
        .collect();
    let all = said.iter().cloned().collect::<String>();
    // A word alone is everywhere; it counts where it stands alone.
    let is_said = |run: &str| if run.trim().contains(' ') { all.contains(run) } else { said.contains(run) };
    let (mut stale, mut used) = (Vec::new(), BTreeSet::new());
    for (english, _) in CATALOGUES.iter().copied().flatten() {
        if pieces(english).iter().all(|piece| is_put_together(&words(piece).to_lowercase(), &is_said)) {
            continue;
        }
        match COMPOSED.iter().find(|composed| *composed == english) {
            Some(composed) => drop(used.insert(*composed)),
            None => stale.push(*english),
        }
    }
    assert!(stale.is_empty(), "nothing says these any more:\n{}", stale.join("\n"));
    assert_eq!(used.len(), COMPOSED.len(), "these are found in the sources: {COMPOSED:#?}");
}

/// The words of a text, each between blanks.
fn words(piece: &str) -> String {
    let words = piece.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty());
    format!(" {} ", words.collect::<Vec<_>>().join(" "))
}

/// True if words are those of a source, or of a few places of the sources one after another.
fn is_put_together(words: &str, is_said: &dyn Fn(&str) -> bool) -> bool {
    const MOST_PARTS: usize = 4;
    let mut rest = words;
    for _ in 0..MOST_PARTS {
        let mut ends: Vec<usize> = rest.match_indices(' ').map(|(at, _)| at + 1).skip(1).collect();
        ends.reverse();
        let Some(end) = ends.into_iter().find(|end| is_said(&rest[..*end])) else { return rest.trim().is_empty() };
        rest = &rest[end - 1..];
    }
    rest.trim().is_empty()
}

#[test]
fn a_source_is_read_as_the_compiler_reads_it() {
    let source = r##"
        // "a comment"
        fn one<'a>(quote: char) -> &'a str {
            warn!(x = %y, "for the log: {why}");
            let b = b"bytes";
            if quote == '"' || quote == '\'' { return "a \"quoted\" \
                text of {n} words" }
            #[expect(lint, reason = "for nobody")]
            #[error("an error: {0}")]
            r#"a "raw" text"#
        }
        #[cfg(test)]
        mod tests {
            "of a test";
        }
    "##;
    let found = literals(source);
    let shown: Vec<&str> =
        found.iter().filter(|one| !is_for_no_reader(&one.within)).map(|one| one.text.as_str()).collect();
    assert_eq!(shown, ["bytes", "a \"quoted\" text of {n} words", "an error: {0}", "a \"raw\" text"]);
    assert_eq!(found[2].line, 6);
    assert_eq!(pieces("a {n} b. c {{d}} {e:?}"), ["a", "b.", "c {d}"]);
}
