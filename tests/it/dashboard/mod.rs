//! The dashboard as a browser without scripts has it: pages, forms and rights, over HTTP. How the pages look, and work with
//! scripts, is tried in `browser`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::{
    eventually, http,
    relay::{Backend, Home, on_both_stores},
};

mod access;
mod french;
mod measure;
pub(crate) mod scene;

use scene::{ADMIN, LIMITED, LIMITED_ADMIN, OPERATOR, Person, Scene, VIEWER};

on_both_stores!(
    every_page_that_is_linked_is_there,
    a_token_of_one_company_sees_nothing_of_another,
    the_admin_of_one_company_makes_links_and_no_more,
    a_viewer_sees_no_button_and_is_refused,
    what_waits_is_found_and_repaired_without_a_terminal,
    everything_that_matches_is_decided_after_a_question,
    a_selection_by_reason_or_day_decides_about_that_alone,
);

/// The addresses that a page links to, as they stand in its links.
fn links(html: &str) -> Vec<String> {
    let hrefs = html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let ours = hrefs.filter(|href| href.starts_with("/ui/") && !href.starts_with("/ui/assets/"));
    ours.map(|href| href.replace("&amp;", "&").replace("&#38;", "&")).collect()
}

/// Visits everything that can be reached by links, and answers the pages by their addresses. Actions are forms, so looking
/// changes nothing.
async fn crawl(person: &Person, start: &str) -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    let mut seen: BTreeSet<String> = BTreeSet::from([start.to_owned()]);
    let mut waiting = VecDeque::from([start.to_owned()]);
    while let Some(path) = waiting.pop_front() {
        let answer = person.get(&path).await;
        let (status, location) = (answer.status().as_u16(), answer.headers().get("location").cloned());
        let text = answer.text().await.unwrap();
        let mut found = links(&text);
        found.extend(location.map(|location| location.to_str().unwrap().to_owned()));
        assert!(matches!(status, 200 | 303), "{path}: {status}\n{text}");
        for link in found {
            let link = link.split('#').next().unwrap().to_owned();
            // The other language has the same pages, and each month leads to the month before.
            let is_endless = link.contains("lang=") || link.contains("/ui/statement?month=");
            if !is_endless && seen.insert(link.clone()) {
                waiting.push_back(link);
            }
        }
        pages.insert(path, text);
        assert!(pages.len() < 400, "the pages lead ever further: {:?}", pages.keys());
    }
    pages
}

async fn every_page_that_is_linked_is_there(backend: Backend) {
    let scene = Scene::new(backend).await;
    for language in ["fr", "en"] {
        let person = scene.sign_in(ADMIN, language).await;
        let pages = crawl(&person, "/ui/").await;
        for wanted in [
            "/ui/payments",
            "/ui/statement",
            "/ui/reconciliations",
            "/ui/events",
            "/ui/dispatches",
            "/ui/sinks",
            "/ui/sinks/books",
            "/ui/endpoints",
            "/ui/endpoints/acme",
            "/ui/endpoints/acme/rotate",
            "/ui/endpoints/acme/register",
            "/ui/endpoints/acme/settle",
            "/ui/refusals",
            "/ui/audit",
            "/ui/service",
            "/ui/service/reload",
        ] {
            assert!(pages.contains_key(wanted), "nothing links to {wanted}: {:?}", pages.keys());
        }
        let english = pages
            .iter()
            .filter(|_| language == "fr")
            .flat_map(|(path, html)| french::english_of(html).into_iter().map(move |text| format!("{path}: {text}")));
        let english: Vec<String> = english.collect();
        assert!(english.is_empty(), "{english:#?}");
        for (path, html) in &pages {
            assert!(html.is_empty() || html.contains(&format!("<html lang=\"{language}\">")), "{path}");
            assert!(html.len() < 100_000, "{path} has {} bytes", html.len());
            // A text with a place that nobody has filled in.
            let main = html.split("<main").nth(1).unwrap_or_default();
            for place in ["{n}", "{sink}", "{endpoint}", "{ago}", "{since}", "{span}", "{amount}", "{type}"] {
                assert!(!main.contains(place), "{path} shows {place}");
            }
        }
        let one_of = |prefix: &str, part: &str| {
            let found = pages.iter().find(|(path, _)| path.starts_with(prefix) && path.len() > prefix.len());
            let (path, html) = found.unwrap_or_else(|| panic!("no page below {prefix}"));
            assert!(html.contains(part), "{path} has no {part}:\n{html}");
        };
        one_of("/ui/events/", "data-event-id=");
        one_of("/ui/payments/", "data-payment-id=");
    }
}

async fn a_token_of_one_company_sees_nothing_of_another(backend: Backend) {
    let scene = Scene::new(backend).await;
    let person = scene.sign_in(LIMITED, "en").await;
    let pages = crawl(&person, "/ui/").await;
    assert!(pages.len() > 15, "{:?}", pages.keys());
    for (path, html) in &pages {
        for word in ["beta", "F-BETA", "Bertin"] {
            assert!(!html.contains(word), "{path} tells of {word}:\n{html}");
        }
    }
    assert!(pages.values().any(|html| html.contains("acme")));
    let beta = scene.event_of("beta").await;
    for path in [
        format!("/ui/events/{beta}"),
        "/ui/endpoints/beta".to_owned(),
        "/ui/sinks/beta-archive".to_owned(),
        "/ui/statement?endpoint=beta".to_owned(),
        "/ui/endpoints/beta/rotate".to_owned(),
        "/ui/service/reload".to_owned(),
    ] {
        let answer = person.get(&path).await;
        // The question before a reload is no secret; what it asks for is refused.
        assert!(answer.status() == 404 || path.starts_with("/ui/service"), "{path}: {}", answer.status());
    }
    for path in [
        "/ui/sinks/beta-archive/pause".to_owned(),
        format!("/ui/events/{beta}/replay"),
        "/ui/service/reload".to_owned(),
    ] {
        assert_eq!(person.post(&path, &[]).await.status(), 404, "{path}");
    }
    assert_eq!(scene.relay.sink("beta-archive").await["state"], "active");
}

/// Links for its own accountant are a company's business; a reload and an erasure concern every company.
async fn the_admin_of_one_company_makes_links_and_no_more(backend: Backend) {
    let scene = Scene::new(backend).await;
    let person = scene.sign_in(LIMITED_ADMIN, "en").await;
    let pages = crawl(&person, "/ui/").await;
    let service = &pages["/ui/service"];
    assert!(service.contains("<option>acme</option>") && !service.contains("beta"), "{service}");
    assert!(!service.contains("/ui/service/reload") && !service.contains("/ui/service/erase"), "{service}");
    let fields = |endpoint: &'static str| [("endpoint", endpoint), ("page", "statement"), ("days", "3")];
    let made = person.post("/ui/service/links", &fields("acme")).await;
    assert_eq!(made.status(), 200);
    assert!(made.text().await.unwrap().contains("/ui/link/"));
    assert_eq!(person.post("/ui/service/links", &fields("beta")).await.status(), 404);
    for path in ["/ui/service/reload", "/ui/service/erase"] {
        assert_eq!(person.post(path, &[("invoice_id", "i1")]).await.status(), 404, "{path}");
    }
}

async fn a_viewer_sees_no_button_and_is_refused(backend: Backend) {
    let scene = Scene::new(backend).await;
    let person = scene.sign_in(VIEWER, "en").await;
    let pages = crawl(&person, "/ui/").await;
    for (path, html) in &pages {
        let main = html.split("<main").nth(1).unwrap_or_default();
        assert!(!main.contains("method=\"post\""), "{path} has a form that acts:\n{main}");
    }
    let dispatch = scene.held().await;
    for path in [
        format!("/ui/dispatches/{dispatch}/retry"),
        format!("/ui/dispatches/{dispatch}/cancel"),
        "/ui/sinks/books/pause".to_owned(),
        "/ui/endpoints/acme/rotate".to_owned(),
        "/ui/service/reload".to_owned(),
    ] {
        let answer = person.post(&path, &[]).await;
        assert_eq!(answer.status(), 403, "{path}");
        assert!(answer.text().await.unwrap().contains("<code>role_too_low</code>"), "{path}");
    }
    // An operator does not get what an admin has.
    let person = scene.sign_in(OPERATOR, "en").await;
    assert_eq!(person.post("/ui/endpoints/acme/rotate", &[]).await.status(), 403);
    assert_eq!(scene.relay.sink("books").await["state"], "active");
}

async fn what_waits_is_found_and_repaired_without_a_terminal(backend: Backend) {
    let scene = Scene::new(backend).await;
    let person = scene.sign_in(OPERATOR, "fr").await;
    let front = person.page("/ui/").await;
    // The held payment with its instruction, the one that was given up, the sink that stopped.
    for part in [
        "1 envoi attend une décision pour books · 20,00",
        "La facture est déjà soldée dans votre logiciel",
        "Que faire\u{a0}:",
        "data-sink=\"erp\"",
        "Cette destination est en pause",
    ] {
        assert!(front.contains(part), "`{part}` is not on the front page:\n{front}");
    }
    // The stopped sink goes on, and the same page offers the way back.
    let answer = person.post("/ui/sinks/erp/resume", &[]).await;
    assert_eq!(answer.headers()["location"], "/ui/sinks/erp?done=resumed");
    let page = person.page("/ui/sinks/erp?done=resumed").await;
    assert!(
        page.contains("La destination est de nouveau en service.") && page.contains("/ui/sinks/erp/pause"),
        "{page}"
    );
    eventually("the sink has caught up", async || scene.relay.sink("erp").await["backlog"] == 0).await;
    // The payment is found by its number; the dispatch for it is closed, after a question.
    let dispatch = scene.held().await;
    let question = person.page(&format!("/ui/dispatches/{dispatch}/cancel")).await;
    assert!(question.contains("Classer\u{a0}?") && question.contains("books"), "{question}");
    let answer = person.post(&format!("/ui/dispatches/{dispatch}/cancel"), &[]).await;
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.contains("done=cancelled") && location.ends_with(&format!("#dispatch-{dispatch}")), "{location}");
    assert!(person.page(&location).await.contains("1 envoi est classé."));
    let front = person.page("/ui/").await;
    assert!(!front.contains("data-state=\"held\""), "{front}");
    // Who did it stands in the trail.
    let trail = scene.relay.all("/audit?actor=operator").await;
    let done: Vec<(&str, &str)> = trail
        .iter()
        .filter(|entry| !entry["action"].as_str().unwrap().starts_with("session."))
        .map(|entry| (entry["action"].as_str().unwrap(), entry["subject"].as_str().unwrap()))
        .collect();
    assert_eq!(done, [("dispatch.cancelled", format!("dispatch/{dispatch}").as_str()), ("sink.resumed", "sink/erp")]);
}

async fn everything_that_matches_is_decided_after_a_question(backend: Backend) {
    let scene = Scene::new(backend).await;
    let waiting = scene.relay.sink("erp").await["pending"].as_u64().unwrap();
    assert!(waiting >= 2, "{waiting}");
    let person = scene.sign_in(OPERATOR, "en").await;
    let list = person.page("/ui/dispatches?state=pending&sink=erp").await;
    let link = links(&list).into_iter().find(|link| link.contains("confirm?action=cancel")).unwrap();
    let question = person.page(&link).await;
    assert!(question.contains(&format!("{waiting} dispatches match.")), "{question}");
    assert_eq!(scene.relay.sink("erp").await["pending"], waiting, "a question changes nothing");
    let answer = person.post("/ui/dispatches/cancel", &[("state", "pending"), ("sink", "erp")]).await;
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.ends_with(&format!("done=cancelled&n={waiting}")), "{location}");
    assert!(person.page(&location).await.contains(&format!("{waiting} dispatches are cancelled.")));
    assert_eq!(scene.relay.sink("erp").await["pending"], 0);
    assert_eq!(scene.relay.sink("books").await["held"], 1, "what does not match stays");
}

async fn a_selection_by_reason_or_day_decides_about_that_alone(backend: Backend) {
    let scene = Scene::new(backend).await;
    let person = scene.sign_in(OPERATOR, "en").await;
    let none = person.page("/ui/dispatches/confirm?action=retry&state=held&reason=no+such+reason").await;
    assert!(none.contains("0 dispatches match.") && none.contains(" disabled>"), "{none}");
    let one = person.page("/ui/dispatches/confirm?action=retry&state=held&reason=is+marked+as+paid").await;
    assert!(one.contains("1 dispatch matches.") && !one.contains(" disabled>"), "{one}");
    let past = person.page("/ui/dispatches/confirm?action=retry&state=held&until=2020-01-31").await;
    assert!(past.contains("0 dispatches match."), "{past}");
    let wrong = person.get("/ui/dispatches/confirm?action=retry&state=held&until=soon").await;
    assert_eq!(wrong.status(), 400);
    for (action, status) in [("remove", 400), ("", 400)] {
        assert_eq!(person.get(&format!("/ui/dispatches/confirm?action={action}")).await.status(), status);
    }
    // Ticked rows, of which one has moved on since.
    let held = scene.held().await.to_string();
    let answer = person.post("/ui/dispatches/ticked", &[("action", "cancel"), ("id", &held), ("id", "999999")]).await;
    assert_eq!(answer.headers()["location"], "/ui/dispatches?done=cancelled&n=1");
    let again = person.post("/ui/dispatches/ticked", &[("action", "cancel"), ("id", &held)]).await;
    assert_eq!(again.headers()["location"], "/ui/dispatches?done=cancelled&n=0");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_search_finds_a_payment_by_whatever_is_known_of_it() {
    let scene = Scene::new(Backend::Sqlite).await;
    let person = scene.sign_in(VIEWER, "fr").await;
    let rows = scene.relay.all("/payments?q=1500").await;
    let id = rows[0]["payment_id"].as_str().unwrap();
    for q in ["1500", "1 500,00", "1500.00 EUR", id] {
        let answer = person.get_with("/ui/payments", &[("q", q)]).await;
        assert_eq!(answer.headers()["location"], format!("/ui/payments/{id}?endpoint=acme").as_str(), "{q}");
    }
    let both = person.page("/ui/payments?q=f-2026-042").await;
    assert_eq!(both.matches("<tr data-event-id").count(), 2, "{both}");
    let page = person.page(&format!("/ui/payments/{id}?endpoint=acme")).await;
    for part in ["1\u{202f}500,00\u{a0}€", "F-2026-042", "prélèvement SEPA", "Inscrit", "Montant inscrit", id] {
        assert!(page.contains(part), "`{part}` is not on the payment's page:\n{page}");
    }
    let gone = person.get("/ui/payments/no-such-payment").await;
    assert_eq!(gone.status(), 404);
    let text = gone.text().await.unwrap();
    assert!(text.contains("Cela n’existe pas") && text.contains("<html lang=\"fr\">"), "{text}");
    // Words, states, days and endpoints in the search of events.
    for (q, expected) in
        [("En attente d’une décision", "/ui/dispatches?state=held"), ("dead", "/ui/dispatches?state=dead")]
    {
        let answer = person.get_with("/ui/events", &[("q", q)]).await;
        assert_eq!(answer.headers()["location"], expected, "{q}");
    }
    let event = scene.event_of("beta").await;
    let answer = person.get_with("/ui/events", &[("q", &event)]).await;
    assert_eq!(answer.headers()["location"], format!("/ui/events/{event}").as_str());
    let of_beta = person.page("/ui/events?q=beta").await;
    assert!(of_beta.contains("data-endpoint=\"beta\"") && !of_beta.contains("data-endpoint=\"acme\""), "{of_beta}");
    assert!(person.page("/ui/events?q=2020-01-31").await.contains("Rien ne correspond."));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registration_leaves_to_do_is_said() {
    let scene = Scene::new(Backend::Sqlite).await;
    let form = "/ui/endpoints/acme/register";
    // Registered already, and nothing is left to do.
    let admin = scene.sign_in(ADMIN, "en").await;
    let again = admin.post(form, &[("url", "https://relay.example/webhooks/finkare")]).await;
    assert_eq!(
        (again.status(), &again.headers()["location"]),
        (StatusCode::SEE_OTHER, &"/ui/endpoints/acme?done=adopted".parse().unwrap())
    );
    for (language, note) in [
        ("en", "the URL&#39;s path does not end with /webhooks/finkare, where endpoint acme listens"),
        ("fr", "le chemin de l’adresse ne finit pas par /webhooks/finkare, où écoute la source acme"),
    ] {
        let admin = scene.sign_in(ADMIN, language).await;
        let answer = admin.post(form, &[("url", "https://relay.example/elsewhere")]).await;
        assert_eq!(answer.status(), 200);
        let html = answer.text().await.unwrap();
        assert!(html.contains(note), "{html}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_made_on_a_page_shows_its_pages_and_nothing_else() {
    let scene = Scene::new(Backend::Sqlite).await;
    let admin = scene.sign_in(ADMIN, "en").await;
    for (pages, starts) in [(&["statement", "payments"][..], "/ui/statement"), (&["payments"][..], "/ui/payments")] {
        let mut fields = vec![("endpoint", "acme"), ("days", "30"), ("label", "Cabinet Durand")];
        fields.extend(pages.iter().map(|page| ("page", *page)));
        let made = admin.post("/ui/service/links", &fields).await;
        assert_eq!(made.status(), 200);
        let made = made.text().await.unwrap();
        let path =
            made.split("/ui/link/").nth(1).and_then(|rest| rest.split('<').next()).expect("the address is shown");
        let path = format!("/ui/link/{path}");
        assert!(!admin.page("/ui/service").await.contains(&path), "it is shown once");

        let guest = Person::by_link(&scene.relay, &path, "fr").await;
        let seen = crawl(&guest, starts).await;
        let mut subjects: Vec<&str> = seen.keys().map(|path| path.split(['?', '/']).nth(2).unwrap()).collect();
        subjects.dedup();
        assert_eq!(subjects, pages.iter().rev().copied().collect::<Vec<_>>(), "{:?}", seen.keys());
        for (path, html) in &seen {
            assert!(!html.contains("beta") && !html.contains("F-BETA"), "{path} tells of another company:\n{html}");
            let main = html.split("<main").nth(1).unwrap_or_default();
            assert!(!main.contains("method=\"post\""), "{path} has a form that acts:\n{main}");
        }
        for path in ["/ui/", "/ui/events", "/ui/sinks/books", "/ui/audit", "/ui/service", "/ui/endpoints/acme"] {
            assert_eq!(guest.get(path).await.status(), 404, "{path}");
        }
        assert_eq!(guest.get("/ui/statement?endpoint=beta").await.status(), 404);
    }
    // Revoked on the page: nobody comes in by it any more, and who is in, is out.
    let page = admin.page("/ui/service").await;
    let revoke: Vec<String> = page
        .split("action=\"")
        .filter_map(|rest| rest.split('"').next())
        .filter(|action| action.ends_with("/revoke"))
        .map(str::to_owned)
        .collect();
    assert_eq!(revoke.len(), 2, "{page}");
    for action in revoke {
        assert_eq!(admin.post(&action, &[]).await.headers()["location"], "/ui/service?done=revoked");
    }
    assert!(!admin.page("/ui/service").await.contains("Cabinet Durand"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sink_would_get_is_shown_and_not_sent() {
    let scene = Scene::new(Backend::Sqlite).await;
    let person = scene.sign_in(OPERATOR, "en").await;
    let event = scene.event_of("acme").await;
    let before = scene.relay.all("/dispatches").await.len();
    let shown = person.post("/ui/sinks/erp/try", &[("event_id", &event)]).await.text().await.unwrap();
    for part in ["The sink would get this event.", "Nothing was sent.", "POST http://127.0.0.1", "payment.received"] {
        assert!(shown.contains(part), "`{part}` is missing:\n{shown}");
    }
    assert!(
        links(&shown).contains(&"/ui/sinks/erp?lang=fr".to_owned()),
        "the answer to a form has no address:\n{shown}"
    );
    let books = person.post("/ui/sinks/books/try", &[("event_id", &event)]).await.text().await.unwrap();
    assert!(books.contains("is in Facturation.PRO already"), "{books}");
    let held = scene.relay.all("/dispatches?state=held").await[0]["event_id"].as_str().unwrap().to_owned();
    let books = person.post("/ui/sinks/books/try", &[("event_id", &held)]).await.text().await.unwrap();
    assert!(books.contains("The calls") && books.contains("GET "), "{books}");
    let other = person.post("/ui/sinks/beta-archive/try", &[("event_id", &event)]).await.text().await.unwrap();
    assert!(other.contains("The sink would not get this event."), "{other}");
    assert_eq!(person.post("/ui/sinks/erp/try", &[]).await.status(), 400);
    assert_eq!(scene.relay.all("/dispatches").await.len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_stays_text() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("[[sinks]]\nname = \"out\"\ntype = \"stdout\"\n").await;
    let evil = "<script>alert(1)</script>\"'&{n}";
    let body = serde_json::json!({"type": evil, "data": {"invoiceId": evil, "note": "</pre><b>x</b>"}}).to_string();
    let signature = crate::support::finkare::sign(crate::support::relay::SECRET, body.as_bytes());
    let answer = http().post(relay.hook()).header("x-finkare-signature", signature).body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let id = answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let person = Person::sign_in(&relay, crate::support::relay::TOKEN, "en").await;
    for path in [
        "/ui/events".to_owned(),
        format!("/ui/events/{id}"),
        "/ui/dispatches".to_owned(),
        "/ui/events?q=%3Cscript%3Ealert(1)%3C/script%3E".to_owned(),
        "/ui/dispatches?reason=%3Cscript%3Ealert(1)%3C/script%3E&state=%22%3E%3Cscript%3E".to_owned(),
        "/ui/sinks/%3Cscript%3Ealert(1)%3C%2Fscript%3E".to_owned(),
        "/ui/?done=%3Cscript%3E".to_owned(),
    ] {
        let html = person.get(&path).await.text().await.unwrap();
        assert!(
            !html.contains("<script>") && !html.contains("<b>x") && !html.contains("\"><script"),
            "{path}:\n{html}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_its_headers() {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve("").await;
    let person = Person::sign_in(&relay, crate::support::relay::TOKEN, "en").await;
    for path in ["/ui/", "/ui/login", "/ui/nothing", "/ui/events/x", "/", "/ui"] {
        let answer = person.get(path).await;
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let policy = header("content-security-policy").unwrap_or_default();
        for part in ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(header("referrer-policy").as_deref(), Some("same-origin"), "{path}");
        assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{path}");
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
    }
    let page = person.page("/ui/").await;
    assert!(!page.contains(" style=") && !page.contains(" onclick") && !page.contains("<style"), "{page}");
    let asset = page.split("href=\"").filter_map(|rest| rest.split('"').next()).find(|href| href.contains("/style-"));
    let answer = person.get(asset.unwrap()).await;
    assert_eq!(answer.headers()["cache-control"], "public, max-age=31536000, immutable");
    // Which language it is in: as the browser asks, as the address says, as was chosen before.
    let kept = person.get("/ui/?lang=fr").await;
    let cookies: Vec<_> =
        kept.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect();
    assert!(cookies.iter().any(|cookie| cookie.starts_with("relay_lang=fr; ")), "{cookies:?}");
    assert!(kept.text().await.unwrap().contains("<html lang=\"fr\">"));
}
