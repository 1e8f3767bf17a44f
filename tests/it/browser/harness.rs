//! The checks themselves: a good page passes all of them, and each kind of bad page is noticed, in words that name it.

use std::collections::HashMap;

use axum::{
    Router,
    http::{StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use fantoccini::Locator;

use super::{
    Browser, Scheme, View,
    check::axe,
    markup::{Markup, checker},
};

/// As strict as the dashboard's own.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'";

/// Dark letters on white, and the reverse.
const STYLE: &str = ":root { color-scheme: light dark; color: #222; background: #fff; font: 16px sans-serif }
@media (prefers-color-scheme: dark) { :root { color: #ddd; background: #111 } }
.low { color: #ccc; background: #fff } .wide { width: 900px }
@media (prefers-color-scheme: dark) { .dark-low { color: #333; background: #222 } }
.tiny { display: inline-block; width: 10px; height: 10px; overflow: hidden }";

/// Moves the paragraph once it has been seen.
const SHIFTING: &str = "new PerformanceObserver(() => requestAnimationFrame(() => {
  document.querySelector('h1').insertAdjacentHTML('afterend', '<p>One<br>two<br>three<br>four<br>five</p>');
  requestAnimationFrame(() => requestAnimationFrame(() => document.body.classList.add('shifted')));
})).observe({ type: 'paint', buffered: true });";

const SCRIPT: &str = "document.querySelector('main').insertAdjacentHTML('beforeend', '<p id=scripted>Scripted</p>');";

const ICON: &str =
    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1 1\"><rect width=\"1\" height=\"1\"/></svg>";

const VIEWPORT: &str = "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">";

/// A page with this in its head and its body.
fn page(head: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>A page</title>{head}\
         <link rel=\"icon\" href=\"/icon.svg\"><link rel=\"stylesheet\" href=\"/style.css\"></head>\n\
         <body><main><h1>A page</h1>\n<p>That says something.</p>\n{body}</main></body>\n</html>\n"
    )
}

/// A page that fits every window, with this in its body.
fn body(body: &str) -> String {
    page(VIEWPORT, body)
}

/// Serves pages by their paths, and what they refer to. A page at `/401` is answered with that status.
async fn serve(pages: HashMap<&'static str, String>) -> String {
    let answer = move |uri: Uri, headers: axum::http::HeaderMap| {
        let found = match uri.path() {
            "/style.css" => Some(("text/css", STYLE.to_owned())),
            "/script.js" => Some(("text/javascript", SCRIPT.to_owned())),
            "/shifting.js" => Some(("text/javascript", SHIFTING.to_owned())),
            "/long.js" => Some(("text/javascript", "// long\n".repeat(20_000))),
            "/icon.svg" => Some(("image/svg+xml", ICON.to_owned())),
            path => pages.get(path).map(|html| ("text/html; charset=utf-8", html.clone())),
        };
        let asked_for = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let status = if uri.path() == "/401" { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        std::future::ready(match found {
            None => StatusCode::NOT_FOUND.into_response(),
            Some((kind, text)) => {
                let text = text.replace("{asked for}", asked_for);
                (status, [("content-type", kind), ("content-security-policy", POLICY)], text).into_response()
            }
        } as Response)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_page_passes_in_every_window_with_scripts_and_without() {
    let form = "<form><label for=\"q\">Search</label> <input id=\"q\" autocomplete=\"off\"> <button>Go</button></form>\
                <noscript><p id=\"unscripted\">Without scripts</p></noscript><script src=\"/script.js\"></script>\
                <p id=\"language\">{asked for}</p>";
    let pages = HashMap::from([("/good", body(form)), ("/401", body(form))]);
    let Some(mut browser) = Browser::start("fr-FR,fr,en").await else { return };
    let server = serve(pages).await;
    let mut markup = Markup::default();
    for view in [View::PHONE, View::DESKTOP] {
        browser.look_through(view).await;
        for runs_scripts in [true, false] {
            browser.scripts(runs_scripts).await;
            browser.open(&format!("{server}/good")).await;
            let scripted = browser.client.find_all(Locator::Id("scripted")).await.unwrap();
            let unscripted = browser.client.find_all(Locator::Id("unscripted")).await.unwrap();
            assert_eq!((scripted.len(), unscripted.len()), if runs_scripts { (1, 0) } else { (0, 1) });
            browser.check().await;
            assert!(browser.sent().await.starts_with("<!doctype html>"), "{}", browser.sent().await);
        }
    }
    let language = browser.client.find(Locator::Id("language")).await.unwrap().text().await.unwrap();
    assert!(language.starts_with("fr-FR,fr;q="), "{language}");

    browser.scripts(true).await;
    browser.colours(Scheme::Dark).await;
    browser.open(&format!("{server}/401")).await;
    let colour = browser.client.find(Locator::Css("h1")).await.unwrap().css_value("color").await.unwrap();
    assert_eq!(colour, "rgba(221, 221, 221, 1)");
    browser.check_answered_with(401).await;
    markup.keep(&browser).await;
    markup.check();
    browser.screenshot("a-good-page").await;
}

/// Every problem that a page has is found, and nothing else.
async fn finds(browser: &mut Browser, url: &str, wanted: &[&str]) {
    browser.open(url).await;
    let problems = browser.problems(200).await;
    let is_met =
        problems.len() == wanted.len() && problems.iter().zip(wanted).all(|(problem, text)| problem.contains(text));
    assert!(is_met, "{url}: {wanted:?} was to be found, and there was: {problems:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_page_beside_its_markup_is_noticed() {
    let pages = HashMap::from([
        ("/inline", body("<script>document.title = 'Changed'</script>")),
        ("/style", body("<p style=\"color: red\">Red</p>")),
        ("/elsewhere", body("<img src=\"http://elsewhere.example/x.png\" alt=\"Nothing\">")),
        ("/missing", body("<img src=\"/missing.png\" alt=\"Nothing\">")),
        ("/wide", body("<div class=\"wide\" id=\"table\">Wide</div>")),
        ("/no-viewport", page("", "")),
        ("/shifting", body("<p id=\"moved\">Moves</p><script src=\"/shifting.js\"></script>")),
        ("/large", body("<script src=\"/long.js\"></script>")),
        ("/401", body("")),
    ]);
    let Some(mut browser) = Browser::start("en").await else { return };
    let server = serve(pages).await;
    let at = |path: &str| format!("{server}{path}");
    browser.look_through(View::PHONE).await;
    finds(&mut browser, &at("/inline"), &["(security): "]).await;
    finds(&mut browser, &at("/style"), &["Applying inline style violates"]).await;
    finds(&mut browser, &at("/elsewhere"), &["http://elsewhere.example/x.png", "(security): "]).await;
    finds(&mut browser, &at("/missing"), &["/missing.png - Failed to load resource"]).await;
    finds(
        &mut browser,
        &at("/wide"),
        &["scrolls to the side: 908 px in a window of 380 px, because of <div#table.wide>"],
    )
    .await;
    finds(&mut browser, &at("/large"), &["transfers 16"]).await;
    finds(&mut browser, &at("/401"), &["answered with 401, not with 200", "a status of 401"]).await;
    // axe-core has its own words for this one.
    browser.open(&at("/no-viewport")).await;
    let problems = browser.problems(200).await;
    assert!(problems[0].starts_with("laid out 980 px wide in a window of 380 px"), "{problems:?}");

    browser.open(&at("/shifting")).await;
    browser.client.wait().for_element(Locator::Css("body.shifted")).await.unwrap();
    let problems = browser.problems(200).await;
    assert!(problems.len() == 1 && problems[0].contains("<p#moved>"), "{problems:?}");

    // Twice the same page: its complaints are not those of the first time.
    finds(&mut browser, &at("/missing"), &["/missing.png"]).await;
    browser.look_through(View::DESKTOP).await;
    finds(&mut browser, &at("/wide"), &[]).await;

    // What a test says then, and shows.
    browser.look_through(View::PHONE).await;
    browser.open(&at("/wide")).await;
    let failed = tokio::spawn(async move { browser.check().await }).await.expect_err("the page is too wide");
    let said = *failed.into_panic().downcast::<String>().expect("a panic has a text");
    assert!(said.starts_with(&at("/wide at View { width: 380")) && said.contains("\n- scrolls to the side"), "{said}");
    let named = said.split_once("seen in ").and_then(|(_, rest)| rest.split_once(":\n")).map(|(path, _)| path);
    assert!(named.is_some_and(|path| std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x89PNG"))), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_person_out_is_noticed() {
    let pages = HashMap::from([
        ("/label", body("<form><input name=\"q\"><button>Go</button></form>")),
        ("/low", body("<p class=\"low\">Pale</p>")),
        ("/dark-low", body("<p class=\"dark-low\">Dim</p>")),
        ("/tiny", body("<a class=\"tiny\" href=\"/a\">a</a><a class=\"tiny\" href=\"/b\">b</a>")),
        ("/headings", body("<h4>Four comes after one</h4>")),
        ("/language", body("").replace(" lang=\"en\"", "")),
    ]);
    let Some(mut browser) = Browser::start("en").await else { return };
    if axe().is_none() {
        eprintln!("skipped: axe-core is not installed (scripts/test installs it with npm)");
        return;
    }
    let server = serve(pages).await;
    let at = |path: &str| format!("{server}{path}");
    finds(&mut browser, &at("/label"), &["[axe: label, critical]"]).await;
    finds(
        &mut browser,
        &at("/low"),
        &["[axe: color-contrast, serious], with light colours:\n    .low:", "color-contrast, serious], with dark"],
    )
    .await;
    finds(&mut browser, &at("/dark-low"), &["[axe: color-contrast, serious], with dark colours:\n    .dark-low:"])
        .await;
    finds(&mut browser, &at("/tiny"), &["[axe: target-size, serious]"]).await;
    finds(&mut browser, &at("/headings"), &["[axe: heading-order, moderate]"]).await;
    finds(&mut browser, &at("/language"), &["[axe: html-has-lang, serious]"]).await;
}

#[test]
fn invalid_markup_is_noticed() {
    if checker().is_none() || super::driver::program(&["java"], &[]).is_none() {
        eprintln!("skipped: Java or the Nu HTML checker is not installed (scripts/test installs the latter with npm)");
        return;
    }
    let mut markup = Markup::default();
    markup.add("/good", &body(""));
    markup.add("/bad", &body("<p><div>A block in a paragraph</div></p>\n<span id=\"a\"></span><span id=\"a\"></span>"));
    let problems = markup.problems();
    let [paragraph, identifier] = problems.as_slice() else { panic!("{problems:#?}") };
    assert!(paragraph.starts_with("/bad, line 6: No “p” element in scope"), "{paragraph}");
    assert!(identifier.starts_with("/bad, line 7: Duplicate ID “a”"), "{identifier}");
}

/// Everybody has a registry of their own: whoever renews the lock leaves out where theirs is.
#[test]
fn the_lock_of_what_comes_from_npm_names_no_place() {
    let lock = include_str!("../../browser/package-lock.json");
    assert!(!lock.contains("://") && lock.matches("\"integrity\": \"sha512-").count() == 2, "{lock}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_ends_with_its_test_also_after_a_panic() {
    let Some(browser) = Browser::start("en").await else { return };
    let (folder, driver) = (browser.driver.folder().to_owned(), browser.driver.url());
    assert!(folder.exists());
    let panicked = tokio::spawn(async move {
        browser.open("about:blank").await;
        panic!("as a failed test does");
    });
    assert!(panicked.await.is_err());
    assert!(!folder.exists(), "its profile is still there");
    let answer = crate::support::http().get(format!("{driver}/status")).send().await;
    assert!(answer.is_err_and(|error| error.is_connect()), "chromedriver still runs");
}
