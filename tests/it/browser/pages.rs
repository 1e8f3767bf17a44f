//! The dashboard's own pages: each looked at in both languages, wide and narrow, and used as a person uses them, with scripts
//! and without.

use fantoccini::{Locator, elements::Element};

use super::{Browser, Scheme, View, markup::Markup};
use crate::{
    dashboard::scene::{ADMIN, OPERATOR, Scene, VIEWER},
    support::{eventually, relay::Backend},
};

/// Signs in as a person does.
async fn sign_in(browser: &Browser, scene: &Scene, token: &str) {
    browser.open(&scene.url("/ui/")).await;
    fill(browser, "#token", token).await;
    press(browser, "main form button").await;
    browser.client.wait().for_element(Locator::Css("header .who")).await.expect("somebody is signed in");
}

async fn find(browser: &Browser, css: &str) -> Element {
    browser.client.wait().for_element(Locator::Css(css)).await.unwrap_or_else(|error| panic!("no {css}: {error}"))
}

async fn fill(browser: &Browser, css: &str, text: &str) {
    let field = find(browser, css).await;
    field.clear().await.unwrap();
    field.send_keys(text).await.unwrap();
}

async fn press(browser: &Browser, css: &str) {
    find(browser, css).await.click().await.unwrap_or_else(|error| panic!("{css} cannot be pressed: {error}"));
}

async fn text(browser: &Browser, css: &str) -> String {
    find(browser, css).await.text().await.unwrap()
}

/// Waits until a part of the page says this: after a form is sent, its answer takes a moment.
async fn says(browser: &Browser, css: &str, wanted: &str) {
    eventually(wanted, async || match browser.client.find(Locator::Css(css)).await {
        Ok(found) => found.text().await.is_ok_and(|text| text == wanted),
        Err(_) => false,
    })
    .await;
}

async fn is_there(browser: &Browser, css: &str) -> bool {
    !browser.client.find_all(Locator::Css(css)).await.unwrap().is_empty()
}

/// The pages, with the names of their pictures.
async fn pages(scene: &Scene) -> Vec<(&'static str, String)> {
    let payments = scene.relay.all("/payments?q=1500").await;
    let payment = payments[0]["payment_id"].as_str().unwrap();
    let held = scene.relay.all("/dispatches?state=held").await;
    let event = held[0]["event_id"].as_str().unwrap();
    let begun = scene.relay.try_post_json("/reconciliations", &serde_json::json!({ "endpoint": "acme" })).await;
    assert_eq!(begun.0, 202, "{}", begun.1);
    let report = begun.1["id"].as_str().unwrap().to_owned();
    eventually("it is reconciled", async || {
        scene.relay.get(&format!("/reconciliations/{report}")).await["state"] == "done"
    })
    .await;
    [
        ("todo", "/ui/".to_owned()),
        ("payments", "/ui/payments".to_owned()),
        ("payment", format!("/ui/payments/{payment}?endpoint=acme")),
        ("payment-settle", format!("/ui/payments/{payment}/settle?sink=books")),
        ("statement", "/ui/statement".to_owned()),
        ("reconciliations", "/ui/reconciliations".to_owned()),
        ("reconciliation", format!("/ui/reconciliations/{report}")),
        ("events", "/ui/events".to_owned()),
        ("event", format!("/ui/events/{event}")),
        ("event-replay", format!("/ui/events/{event}/replay?sink=books")),
        ("dispatches", "/ui/dispatches".to_owned()),
        ("dispatches-confirm", "/ui/dispatches/confirm?action=cancel&state=pending&sink=erp".to_owned()),
        ("sinks", "/ui/sinks".to_owned()),
        ("sink", "/ui/sinks/books".to_owned()),
        ("endpoints", "/ui/endpoints".to_owned()),
        ("endpoint", "/ui/endpoints/acme?history=yes".to_owned()),
        ("endpoint-rotate", "/ui/endpoints/acme/rotate".to_owned()),
        ("endpoint-register", "/ui/endpoints/acme/register".to_owned()),
        ("endpoint-settle", "/ui/endpoints/acme/settle".to_owned()),
        ("refusals", "/ui/refusals".to_owned()),
        ("audit", "/ui/audit".to_owned()),
        ("service", "/ui/service".to_owned()),
        ("service-erase", "/ui/service/erase?invoice_id=i-1".to_owned()),
    ]
    .into_iter()
    .collect()
}

/// The pages whose pictures stand in the book.
const PICTURED: [&str; 6] = ["todo", "payment", "dispatches", "sink", "statement", "reconciliation"];

/// The window of the book's pictures: that of a tablet.
const BOOK: View = View { width: 1000, height: 720, is_phone: false };

/// Looks at every page through one window, and at the one for signing in, and at one that is not there.
async fn look(language: &str, accepted: &str, view: View, scheme: Scheme) {
    let Some(mut browser) = Browser::start(accepted).await else { return };
    let scene = Scene::new(Backend::Sqlite).await;
    browser.look_through(view).await;
    browser.colours(scheme).await;
    let mut markup = Markup::default();
    browser.open(&scene.url("/ui/login")).await;
    browser.check().await;
    markup.keep(&browser).await;
    sign_in(&browser, &scene, ADMIN).await;
    for (name, path) in pages(&scene).await {
        browser.open(&scene.url(&path)).await;
        let shown = find(&browser, "html").await.attr("lang").await.unwrap();
        assert_eq!(shown.as_deref(), Some(language), "{path}");
        browser.check().await;
        markup.keep(&browser).await;
        if PICTURED.contains(&name) && view == View::DESKTOP {
            browser.look_through(BOOK).await;
            browser.open(&scene.url(&path)).await;
            browser.check().await;
            browser.screenshot(&format!("{name}-{language}")).await;
            browser.look_through(view).await;
        }
        if name == "todo" && view == View::PHONE {
            browser.screenshot(&format!("{name}-phone-{language}")).await;
        }
    }
    // Answers to forms are pages, too: what a sink would get, what came of a test, a link that was just made.
    let event = scene.relay.all("/dispatches?state=held").await[0]["event_id"].as_str().unwrap().to_owned();
    for (page, form) in [
        (format!("/ui/events/{event}"), "/ui/sinks/books/try"),
        ("/ui/sinks/erp".to_owned(), "/ui/sinks/erp/test"),
        ("/ui/service".to_owned(), "/ui/service/links"),
    ] {
        browser.open(&scene.url(&page)).await;
        press(&browser, &format!("form[action='{form}'] button")).await;
        let answer = scene.url(form).parse().unwrap();
        browser.client.wait().for_url(&answer).await.expect("the form is answered");
        browser.check().await;
        markup.keep(&browser).await;
    }
    browser.open(&scene.url("/ui/nothing-here")).await;
    browser.check_answered_with(404).await;
    markup.keep(&browser).await;
    markup.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_in_order_in_french_on_a_phone() {
    look("fr", "fr-FR,fr,en", View::PHONE, Scheme::Dark).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_in_order_in_french_on_a_desk() {
    look("fr", "fr-FR,fr,en", View::DESKTOP, Scheme::Light).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_in_order_in_english_on_a_phone() {
    look("en", "en-GB,en", View::PHONE, Scheme::Light).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_in_order_in_english_on_a_desk() {
    look("en", "en-GB,en", View::DESKTOP, Scheme::Light).await;
}

/// From the front page to a payment that is tried again, a sink that is resumed and paused again, and everything that matches
/// closed after a question.
async fn work(runs_scripts: bool) {
    let Some(mut browser) = Browser::start("en-GB,en").await else { return };
    let scene = Scene::new(Backend::Sqlite).await;
    browser.scripts(runs_scripts).await;
    // A wrong token first.
    browser.open(&scene.url("/ui/sinks")).await;
    fill(&browser, "#token", "not the token").await;
    press(&browser, "main form button").await;
    says(&browser, "main .problem", "This token is not known here.").await;
    fill(&browser, "#token", OPERATOR).await;
    press(&browser, "main form button").await;
    assert_eq!(browser.client.current_url().await.unwrap().path(), "/ui/sinks", "where they wanted to go");

    // The payment that waits: found from the front page, and tried again.
    press(&browser, "header .brand a").await;
    assert!(text(&browser, "main").await.contains("1 dispatch is held for books"));
    press(&browser, "[data-state=held][data-sink=books] .actions a").await;
    let dispatch = scene.held().await;
    let before = scene.relay.get(&format!("/dispatches/{dispatch}")).await["attempts"].as_u64().unwrap();
    press(&browser, "article[data-sink=books] form button").await;
    says(&browser, ".flash p", "1 dispatch is tried again.").await;
    eventually("it was tried", async || {
        scene.relay.get(&format!("/dispatches/{dispatch}")).await["attempts"].as_u64().unwrap() > before
    })
    .await;

    // The sink that was paused.
    press(&browser, "header nav a[href='/ui/sinks']").await;
    press(&browser, "tr[data-sink=erp] form button").await;
    says(&browser, ".flash p", "The sink is active again.").await;
    eventually("it has caught up", async || scene.relay.sink("erp").await["backlog"] == 0).await;
    press(&browser, ".flash form button").await;
    says(&browser, ".flash p", "The sink is paused.").await;
    assert_eq!(scene.relay.sink("erp").await["state"], "paused");

    // A payment is found by its amount.
    press(&browser, "header .brand a").await;
    fill(&browser, "#q", "1500").await;
    press(&browser, "main .search button").await;
    says(&browser, "h1", "Payment of €1,500.00").await;

    // Everything that matches, after a question.
    let (exit, said, complained) = scene.finkare.pay(&["--amount", "5", "--count", "3"]).await;
    assert_eq!(exit, 0, "{said}{complained}");
    eventually("they wait", async || scene.relay.sink("erp").await["pending"] == 3).await;
    browser.open(&scene.url("/ui/dispatches?sink=erp&state=pending")).await;
    press(&browser, "a[href*='action=cancel']").await;
    assert!(text(&browser, "main").await.contains("3 dispatches match."));
    press(&browser, "button.danger").await;
    says(&browser, ".flash p", "3 dispatches are cancelled.").await;
    assert_eq!(scene.relay.sink("erp").await["pending"], 0);

    press(&browser, "form[action='/ui/logout'] button").await;
    assert!(is_there(&browser, "#token").await);
    browser.open(&scene.url("/ui/")).await;
    assert!(is_there(&browser, "#token").await, "nobody is signed in any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_s_work_is_done_with_scripts() {
    work(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_s_work_is_done_without_scripts() {
    work(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_follow_what_happens_until_they_are_paused() {
    let Some(browser) = Browser::start("en-GB,en").await else { return };
    let scene = Scene::new(Backend::Sqlite).await;
    sign_in(&browser, &scene, VIEWER).await;
    browser.open(&scene.url("/ui/events")).await;
    let rows = async || browser.client.find_all(Locator::Css("tr[data-event-id]")).await.unwrap().len();
    let before = rows().await;
    let (exit, said, complained) = scene.finkare.pay(&["--amount", "7"]).await;
    assert_eq!(exit, 0, "{said}{complained}");
    eventually("the page shows it by itself", async || rows().await > before).await;
    // Paused: the next one is shown when the refresh goes on.
    press(&browser, "#refresh").await;
    says(&browser, "#refresh", "Resume the refresh").await;
    let shown = rows().await;
    scene.finkare.pay(&["--amount", "8"]).await;
    eventually("it has come", async || scene.relay.all("/events?endpoint=acme").await.len() + 1 > shown).await;
    assert_eq!(rows().await, shown);
    press(&browser, "#refresh").await;
    eventually("the page shows it again", async || rows().await > shown).await;
    // What is to be done changes: a screen reader is told, once it has.
    browser.open(&scene.url("/ui/")).await;
    let told = text(&browser, "[data-news]").await;
    assert!(told.contains("1 sink stopped"), "{told}");
    let aloud = async || {
        let news = browser.client.find(Locator::Css("#news")).await.unwrap();
        news.prop("textContent").await.unwrap().unwrap_or_default()
    };
    assert_eq!(aloud().await, "");
    scene.relay.post("/sinks/crm/pause").await;
    eventually("it is told", async || aloud().await.contains("2 sinks stopped")).await;
    assert_eq!(aloud().await, text(&browser, "[data-news]").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn ticking_all_ticks_all() {
    let Some(browser) = Browser::start("en-GB,en").await else { return };
    let scene = Scene::new(Backend::Sqlite).await;
    sign_in(&browser, &scene, OPERATOR).await;
    browser.open(&scene.url("/ui/dispatches?sink=erp&state=pending")).await;
    press(&browser, "input[data-all]").await;
    press(&browser, "button[name=action][value=cancel]").await;
    says(&browser, ".flash p", "2 dispatches are cancelled.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_token() {
    let Some(browser) = Browser::start("en-GB,en").await else { return };
    let scene = Scene::new(Backend::Sqlite).await;
    sign_in(&browser, &scene, VIEWER).await;
    let path = scene.home.path("relay.toml");
    let configured = std::fs::read_to_string(&path).unwrap();
    let without: Vec<&str> = configured.lines().filter(|line| !line.contains(VIEWER)).collect();
    std::fs::write(&path, without.join("\n")).unwrap();
    scene.relay.post("/reload").await;
    browser.open(&scene.url("/ui/events")).await;
    assert!(is_there(&browser, "#token").await, "{}", text(&browser, "main").await);
    assert!(browser.client.current_url().await.unwrap().as_str().ends_with("/ui/login?next=%2Fui%2Fevents"));
}
