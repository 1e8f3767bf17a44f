//! What of a French page is English: nothing, but for what others say.

use http::StatusCode;

use super::scene::{ADMIN, LIMITED, OPERATOR, Person, Scene, VIEWER};
use crate::support::relay::Backend;

/// Quotes that may stay English: they are words of others, or wait for their French.
///
/// Each is named by a part of it.
const OF_OTHERS: &[&str] = &[
    // The words of a selection.
    "is marked as paid there since",
];

/// Words that English sentences are made of, and French ones are not.
const ENGLISH: [&str; 23] = [
    "the", "was", "is", "are", "not", "and", "with", "of", "has", "been", "this", "that", "which", "cannot", "does",
    "from", "will", "there", "its", "when", "waits", "by", "for",
];

/// The main part of a page, in pieces of text with whether each is marked as English; what is code, or a payload, is left out.
fn texts(html: &str) -> Vec<(String, bool)> {
    let main = html.split("<main").nth(1).unwrap_or_default();
    let mut rest = &main[main.find('>').map_or(0, |end| end + 1)..];
    let (mut found, mut quoted, mut left_out) = (Vec::new(), false, 0_u32);
    while let Some(open) = rest.find('<') {
        let text = rest[..open].trim();
        if left_out == 0 && !text.is_empty() {
            found.push((text.replace("&#39;", "'").replace("&#34;", "\"").replace("&amp;", "&"), quoted));
        }
        let (tag, after) = rest[open + 1..].split_once('>').unwrap_or_default();
        let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap_or_default();
        let is_end = tag.starts_with('/');
        if ["code", "pre", "title", "desc"].contains(&name) {
            left_out = if is_end { left_out.saturating_sub(1) } else { left_out + 1 };
        }
        if tag == "span lang=\"en\"" {
            quoted = true;
        } else if quoted && name == "span" && is_end {
            quoted = false;
        }
        rest = after;
    }
    found
}

/// True for a text of which at least three words are English.
fn reads_as_english(text: &str) -> bool {
    let words = text.split(|c: char| !c.is_alphabetic() && c != '`').map(str::to_lowercase);
    words.filter(|word| ENGLISH.contains(&word.as_str())).count() > 2
}

/// The English of a page: what is marked as such, and what is not.
pub(crate) fn english_of(html: &str) -> Vec<String> {
    let is_left = |(text, is_quoted): &(String, bool)| {
        if *is_quoted { !OF_OTHERS.iter().any(|part| text.contains(part)) } else { reads_as_english(text) }
    };
    texts(html).into_iter().filter(is_left).map(|(text, _)| text).collect()
}

#[test]
fn english_is_found_on_a_page() {
    let page = "<body><p>the title is not of that part</p><main id=\"x\"><p>C’est en ordre.</p><p>The sink is not \
                there.</p><code>it is not for that</code><p><span lang=\"en\">busy</span> Raison</p></main>";
    assert_eq!(english_of(page), ["The sink is not there.", "busy"]);
}

/// The pages that nothing links to: what was refused, and what a form led to.
#[tokio::test(flavor = "multi_thread")]
async fn what_forms_lead_to_is_told_in_french() {
    let scene = Scene::new(Backend::Sqlite).await;
    let (acme, beta) = (scene.event_of("acme").await, scene.event_of("beta").await);
    let people = [ADMIN, OPERATOR, VIEWER, LIMITED].map(|token| scene.sign_in(token, "fr"));
    let [admin, operator, viewer, limited] = futures_util::future::join_all(people).await.try_into().ok().unwrap();
    let mut english = Vec::new();
    let mut look = async |person: &Person, path: &str, fields: Option<&[(&str, &str)]>, expected: StatusCode| {
        let answer = match fields {
            None => person.get(path).await,
            Some(fields) => person.post(path, fields).await,
        };
        let status = answer.status();
        let html = answer.text().await.unwrap();
        let shown = html.split("<main").nth(1).unwrap_or_default();
        assert_eq!(status, expected, "{path} {fields:?}: {shown}");
        assert!(html.contains("<html lang=\"fr\">"), "{path}: {html}");
        english.extend(english_of(&html).into_iter().map(|text| format!("{path}: {text}")));
    };
    let (ok, bad, missing) = (StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND);
    let unusable = StatusCode::UNPROCESSABLE_ENTITY;
    for (path, status) in [
        ("/ui/nothing", missing),
        ("/ui/payments/no-such-payment", missing),
        ("/ui/payments?since=soon", bad),
        ("/ui/events/x", missing),
        ("/ui/events?since=soon", bad),
        ("/ui/dispatches?until=soon", bad),
        ("/ui/dispatches?state=x", bad),
        ("/ui/dispatches/confirm?action=remove", bad),
        ("/ui/dispatches/999999", missing),
        ("/ui/statement?month=soon", bad),
        ("/ui/statement?endpoint=x", missing),
        ("/ui/reconciliations/x", missing),
        ("/ui/sinks/x", missing),
        ("/ui/endpoints/x", missing),
        ("/ui/endpoints/beta?history=yes", unusable),
        ("/ui/service/erase", bad),
        ("/ui/sinks/erp", ok),
    ] {
        look(&admin, path, None, status).await;
    }
    let at_acme: [(&str, &str); 1] = [("event_id", &acme)];
    let at_beta: [(&str, &str); 1] = [("event_id", &beta)];
    for (path, fields, status) in [
        ("/ui/sinks/erp/try", &at_acme[..], ok),
        ("/ui/sinks/erp/try", &at_beta, ok),
        ("/ui/sinks/crm/try", &at_acme, ok),
        ("/ui/sinks/erp/try", &[], bad),
        ("/ui/sinks/erp/test", &[], ok),
        ("/ui/sinks/crm/test", &[], ok),
        ("/ui/sinks/x/test", &[], missing),
        ("/ui/endpoints/beta/rotate", &[], unusable),
        ("/ui/endpoints/acme/register", &[("url", "http://relay.example/webhooks/finkare")], unusable),
        ("/ui/endpoints/acme/register", &[("url", "relay")], unusable),
        ("/ui/endpoints/acme/register", &[("url", "https://relay.example/elsewhere")], ok),
        ("/ui/endpoints/acme/settle", &[("which", "x")], bad),
        ("/ui/endpoints/acme/settle", &[("which", "secret"), ("secret", "whsec_****")], unusable),
        ("/ui/reconciliations", &[("endpoint", "beta")], StatusCode::CONFLICT),
        ("/ui/reconciliations", &[("endpoint", "x")], missing),
        ("/ui/service/links", &[("endpoint", "acme"), ("page", "statement"), ("days", "0")], unusable),
        ("/ui/service/links", &[("endpoint", "acme"), ("days", "1")], unusable),
        ("/ui/service/links", &[("endpoint", "acme"), ("days", "x")], bad),
        ("/ui/service/erase", &[("invoice_id", "x")], missing),
        ("/ui/dispatches/ticked", &[("action", "x")], bad),
    ] {
        look(&admin, path, Some(fields), status).await;
    }
    look(&viewer, "/ui/sinks/erp/pause", Some(&[]), StatusCode::FORBIDDEN).await;
    look(&operator, "/ui/endpoints/acme/rotate", Some(&[]), StatusCode::FORBIDDEN).await;
    look(&limited, "/ui/sinks/beta-archive/pause", Some(&[]), missing).await;
    let mut stranger = scene.sign_in(VIEWER, "fr").await;
    "x".clone_into(&mut stranger.form_token);
    look(&stranger, "/ui/sinks/erp/pause", Some(&[]), StatusCode::FORBIDDEN).await;
    stranger.cookie.clear();
    look(&stranger, "/ui/sinks/erp/pause", Some(&[]), StatusCode::UNAUTHORIZED).await;
    // A reload that changes something, and one that cannot.
    let file = scene.home.path("relay.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace("name = \"crm\"", "name = \"crm2\"") + "[outgoing]\nno_proxy = [\"x\"]\n";
    std::fs::write(&file, changed).unwrap();
    look(&admin, "/ui/service/reload", Some(&[]), ok).await;
    std::fs::write(&file, text.replace("[store]", "[store]\nmax_connections = 3")).unwrap();
    look(&admin, "/ui/service/reload", Some(&[]), ok).await;
    look(&admin, "/ui/audit", None, ok).await;
    assert!(english.is_empty(), "{english:#?}");
}
