//! Who gets in, and who does not: signing in, forms of other sites, guessing, links.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::scene::Person;
use crate::admin_access::without_a_token;
use crate::support::{
    http,
    relay::{Backend, Home, Relay, TOKEN, on_both_stores},
    simulated::run,
};

on_both_stores!(
    one_signs_in_with_a_token_and_is_out_after_signing_out,
    forms_of_others_are_refused,
    a_session_has_the_rights_that_its_token_has_now,
    a_link_is_made_by_a_command_and_ends,
);

const VIEWER: &str = "the-token-of-a-viewer";
const SINK: &str = "[[sinks]]\nname = \"out\"\ntype = \"stdout\"\n";

/// A service with a second token, of this role.
async fn serve(backend: Backend, role: &str) -> (Home, Relay) {
    let home = Home::new(backend).await;
    give(&home, role);
    let relay = home.serve(SINK).await;
    (home, relay)
}

/// Gives the second token this role.
fn give(home: &Home, role: &str) {
    std::fs::create_dir_all(home.path("relay.d")).unwrap();
    let token = format!("[[admin.tokens]]\nname = \"second\"\nrole = \"{role}\"\ntoken = \"{VIEWER}\"\n");
    std::fs::write(home.path("relay.d/tokens.toml"), token).unwrap();
}

/// A request with these headers, and a form with these fields.
async fn send(
    relay: &Relay,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    fields: &[(&str, &str)],
) -> Response {
    let mut request = http().request(method, format!("http://{}{path}", relay.admin));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !fields.is_empty() {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
    }
    request.send().await.unwrap()
}

fn header<'r>(answer: &'r Response, name: &str) -> &'r str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn sign_in(relay: &Relay, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Response {
    send(relay, Method::POST, "/ui/login", headers, fields).await
}

async fn one_signs_in_with_a_token_and_is_out_after_signing_out(backend: Backend) {
    let (home, relay) = serve(backend, "viewer").await;
    let to_sign_in = send(&relay, Method::GET, "/ui/events?q=x%26y", &[], &[]).await;
    assert_eq!(to_sign_in.status(), 303);
    assert_eq!(header(&to_sign_in, "location"), "/ui/login?next=%2Fui%2Fevents%3Fq%3Dx%2526y");
    // Somebody follows a link in a message: without the cookie, which a browser keeps back then, a page of ours leads to the
    // same address once more.
    let from_a_mailbox =
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let followed = send(&relay, Method::GET, "/ui/events?q=1&type=x", &from_a_mailbox, &[]).await;
    assert_eq!(followed.status(), 200);
    assert!(followed.text().await.unwrap().contains("content=\"0; url=/ui/events?q=1&amp;type=x\""));
    let wrong = sign_in(&relay, &[], &[("token", "wrong"), ("next", "/ui/events")]).await;
    assert_eq!(wrong.status(), 401);
    assert!(header(&wrong, "set-cookie").is_empty());
    let text = wrong.text().await.unwrap();
    assert!(text.contains("name=\"next\" value=\"/ui/events\"") && !text.contains("\"wrong\""), "{text}");

    for (headers, is_secure) in [
        (&[][..], false),
        (&[("x-forwarded-proto", "https")], true),
        (&[("forwarded", "for=192.0.2.1;proto=https")], true),
    ] {
        let done = sign_in(&relay, headers, &[("token", TOKEN), ("next", "/ui/events?q=1")]).await;
        assert_eq!((done.status().as_u16(), header(&done, "location")), (303, "/ui/events?q=1"));
        let cookie = header(&done, "set-cookie");
        for part in ["relay_session=", "; Path=/ui;", "; HttpOnly", "; SameSite=Strict"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert_eq!(cookie.contains("; Secure"), is_secure, "{cookie}");
    }
    // Nobody is led elsewhere.
    for next in ["//evil.example/ui/", "https://evil.example/", "/ui/../api/v1/sinks", "/\\evil.example"] {
        let done = sign_in(&relay, &[], &[("token", TOKEN), ("next", next)]).await;
        assert_eq!(header(&done, "location"), "/ui/", "{next}");
    }

    let person = Person::sign_in(&relay, TOKEN, "en").await;
    let secret = person.cookie.split_once('=').unwrap().1.to_owned();
    // A cookie opens the pages, and not the API.
    let api = send(&relay, Method::GET, "/api/v1/events", &[("cookie", &person.cookie)], &[]).await;
    assert_eq!(api.status(), 401);
    let out = person.post("/ui/logout", &[]).await;
    assert!(header(&out, "set-cookie").contains("Max-Age=0"), "{out:?}");
    let again = person.get("/ui/events").await;
    assert_eq!((again.status().as_u16(), header(&again, "location")), (303, "/ui/login?next=%2Fui%2Fevents"));
    let post = person.post("/ui/sinks/out/pause", &[]).await;
    assert_eq!(post.status(), 401);
    // Another value of the cookie opens nothing, and neither does one that was never given.
    for cookie in ["relay_session=", "relay_session=x", &format!("relay_session={}", "A".repeat(43))] {
        let answer = send(&relay, Method::GET, "/ui/", &[("cookie", cookie)], &[]).await;
        assert_eq!(answer.status(), 303, "{cookie}");
    }
    let trail = relay.all("/audit").await;
    let count = |action: &str| trail.iter().filter(|entry| entry["action"] == action).count();
    assert_eq!((count("session.began"), count("session.ended")), (8, 1), "{trail:#?}");
    let store = relay.terminate().await.1;
    assert!(!store.contains(&secret) && !store.contains(TOKEN), "a secret is in the log");
    assert_eq!(home.files_contain(&secret), None);
}

async fn forms_of_others_are_refused(backend: Backend) {
    let (_home, relay) = serve(backend, "operator").await;
    let person = Person::sign_in(&relay, VIEWER, "en").await;
    let other = Person::sign_in(&relay, VIEWER, "en").await;
    assert_ne!(person.form_token, other.form_token);
    let (cookie, token) = (person.cookie.as_str(), person.form_token.as_str());
    let here = format!("http://{}", relay.admin);
    let wrong_port = "http://127.0.0.1:1";
    for (headers, token, code) in [
        (&[("sec-fetch-site", "cross-site")][..], Some(token), "cross_site"),
        (&[("sec-fetch-site", "same-site")], Some(token), "cross_site"),
        (&[("sec-fetch-site", "none")], Some(token), "cross_site"),
        (&[("origin", "https://evil.example")], Some(token), "cross_site"),
        (&[("origin", "null")], Some(token), "cross_site"),
        (&[("origin", wrong_port)], Some(token), "cross_site"),
        (&[("origin", &here), ("sec-fetch-site", "same-origin")], None, "form_token"),
        (&[("origin", &here), ("sec-fetch-site", "same-origin")], Some(""), "form_token"),
        (&[], Some("wrong"), "form_token"),
        (&[], Some(&other.form_token), "form_token"),
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().copied().chain([("cookie", cookie)]).collect();
        let mut fields = vec![("x", "y")];
        fields.extend(token.map(|token| ("form_token", token)));
        let answer = send(&relay, Method::POST, "/ui/sinks/out/pause", &headers, &fields).await;
        assert_eq!(answer.status(), 403, "{headers:?}");
        let text = answer.text().await.unwrap();
        assert!(
            text.contains(&format!("\"{code}\"")) || text.contains(&format!("<code>{code}</code>")),
            "{headers:?}: {text}"
        );
    }
    // The other methods do nothing either, with the right token.
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let headers = [("cookie", cookie)];
        let answer = send(&relay, method.clone(), "/ui/sinks/out/pause", &headers, &[("form_token", token)]).await;
        assert_eq!(answer.status(), 405, "{method}");
    }
    let looked = send(&relay, Method::GET, "/ui/sinks/out/pause", &[("cookie", cookie)], &[]).await;
    assert_eq!(looked.status(), 405);
    let long = "x".repeat(70_000);
    let large = person.post("/ui/sinks/out/pause", &[("long", &long)]).await;
    assert_eq!(large.status(), 413);
    let headers = [("cookie", cookie), ("content-type", "application/json")];
    let body = json!({ "form_token": token }).to_string();
    let request = http().post(format!("{here}/ui/sinks/out/pause")).body(body);
    let json = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    assert_eq!(json.send().await.unwrap().status(), 415);
    assert_eq!(relay.sink("out").await["state"], "active");
    // And the right one, as a browser sends it.
    assert_eq!(person.post("/ui/sinks/out/pause", &[]).await.status(), 303);
    assert_eq!(relay.sink("out").await["state"], "paused");
}

async fn a_session_has_the_rights_that_its_token_has_now(backend: Backend) {
    let (home, relay) = serve(backend, "operator").await;
    let person = Person::sign_in(&relay, VIEWER, "en").await;
    assert_eq!(person.post("/ui/sinks/out/pause", &[]).await.status(), 303);
    give(&home, "viewer");
    relay.post("/reload").await;
    assert_eq!(person.post("/ui/sinks/out/resume", &[]).await.status(), 403);
    assert!(!person.page("/ui/sinks").await.contains("/ui/sinks/out/resume"));
    // Another token under the same name: nobody is in any more.
    let file = home.path("relay.d/tokens.toml");
    let changed = std::fs::read_to_string(&file).unwrap().replace(VIEWER, "another-token-of-a-viewer");
    std::fs::write(&file, changed).unwrap();
    relay.post("/reload").await;
    assert_eq!(person.get("/ui/sinks").await.status(), 303);
    assert_eq!(relay.sink("out").await["state"], "paused");
}

async fn a_link_is_made_by_a_command_and_ends(backend: Backend) {
    let (home, relay) = serve(backend, "viewer").await;
    let link = async |arguments: &[&str]| {
        let mut command = home.command();
        command.arg("link").args(arguments).args(["--admin-url", &format!("http://{}", relay.admin)]);
        command.env("RELAY_ADMIN_TOKEN", TOKEN).env("RUST_LOG", "off");
        run(command).await
    };
    let (exit, said, complained) =
        link(&["--endpoint", "production", "--pages", "statement,payments", "--days", "30", "--label", "Durand"]).await;
    assert_eq!(exit, 0, "{complained}");
    let url = said.lines().next().unwrap();
    let path = url.strip_prefix(&format!("http://{}", relay.admin)).unwrap();
    let guest = Person::by_link(&relay, path, "fr").await;
    assert!(guest.page("/ui/statement").await.contains("link:Durand"));
    // A page of another site led here: the browser is led on by a page, whose request brings the cookie.
    let from_a_mailbox =
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let followed = send(&relay, Method::GET, path, &from_a_mailbox, &[]).await;
    assert_eq!((followed.status().as_u16(), header(&followed, "referrer-policy")), (200, "no-referrer"));
    assert!(followed.text().await.unwrap().contains("content=\"0; url=/ui/statement\""));
    // Looking at it in advance leaves no session behind.
    let head = send(&relay, Method::HEAD, path, &[], &[]).await;
    assert!(head.status() == 303 && header(&head, "set-cookie").is_empty());
    for (page, status) in [("/ui/", 404), ("/ui/events", 404), ("/ui/payments", 200), ("/ui/service", 404)] {
        assert_eq!(guest.get(page).await.status(), status, "{page}");
    }
    let (exit, listed, _) = link(&["list", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let row = &listed["data"][0];
    assert_eq!(
        (exit, &row["endpoint"], &row["label"], &row["usable"]),
        (0, &json!("production"), &json!("Durand"), &json!(true))
    );
    assert!(!listed.to_string().contains(path), "a list shows no link");
    let (exit, said, _) = link(&["revoke", row["id"].as_str().unwrap()]).await;
    assert!(exit == 0 && said.starts_with("revoked: "), "{said}");
    assert_eq!(guest.get("/ui/statement").await.status(), 303);
    let gone = send(&relay, Method::GET, path, &[("accept-language", "fr")], &[]).await;
    assert_eq!(gone.status(), 404);
    assert!(gone.text().await.unwrap().contains("Ce lien est terminé ou incomplet."));
    for wrong in [
        &["--endpoint", "production", "--pages", "events", "--days", "30"][..],
        &["--endpoint", "production", "--pages", "statement", "--days", "0"],
        &["--endpoint", "production", "--pages", "statement", "--days", "367"],
        &["--endpoint", "production", "--pages", "statement"],
    ] {
        assert_eq!(link(wrong).await.0, 2, "{wrong:?}");
    }
    let (exit, _, complained) = link(&["--endpoint", "nowhere", "--pages", "statement", "--days", "1"]).await;
    assert!(exit == 1 && complained.contains("endpoint"), "{complained}");
    // A viewer makes none.
    let answer = http()
        .post(format!("http://{}/api/v1/links", relay.admin))
        .bearer_auth(VIEWER)
        .json(&json!({ "endpoint": "production", "pages": ["statement"], "days": 1 }))
        .send();
    assert_eq!(answer.await.unwrap().status(), 403);
    let secret = path.rsplit('/').next().unwrap().to_owned();
    let trail = relay.all("/audit").await;
    for action in ["link.created", "link.revoked"] {
        assert!(trail.iter().any(|entry| entry["action"] == action && entry["actor"] == "tests"), "{action}");
    }
    assert!(!serde_json::to_string(&trail).unwrap().contains(&secret));
    let log = relay.terminate().await.1;
    assert!(!log.contains(&secret), "the link is in the log");
    assert_eq!(home.files_contain(&secret), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_ends_with_the_token_that_made_it() {
    let (home, relay) = serve(Backend::Sqlite, "admin").await;
    let made = http()
        .post(format!("http://{}/api/v1/links", relay.admin))
        .bearer_auth(VIEWER)
        .json(&json!({ "endpoint": "production", "pages": ["payments"], "days": 366 }))
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    let guest = Person::by_link(&relay, made["path"].as_str().unwrap(), "en").await;
    assert_eq!(guest.get("/ui/payments").await.status(), 200);
    give(&home, "operator");
    relay.post("/reload").await;
    assert_eq!(guest.get("/ui/payments").await.status(), 303, "its maker may no longer make it");
    assert_eq!(relay.all("/links").await[0]["usable"], false);
    let again = send(&relay, Method::GET, made["path"].as_str().unwrap(), &[], &[]).await;
    assert_eq!(again.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_has_to_wait() {
    let (_home, relay) = serve(Backend::Sqlite, "viewer").await;
    for guess in 0..10 {
        let answer = sign_in(&relay, &[], &[("token", &format!("guess-{guess}"))]).await;
        assert_eq!(answer.status(), 401, "{guess}");
    }
    let later = sign_in(&relay, &[("accept-language", "en")], &[("token", TOKEN)]).await;
    assert_eq!(later.status(), 429, "the right one has to wait as well, or the answer would tell it from a wrong one");
    let wait: u64 = header(&later, "retry-after").parse().unwrap();
    assert!((1..=6).contains(&wait), "{wait}");
    assert!(later.text().await.unwrap().contains(&format!("Try again in {wait} s.")));
    // Programs with a token are not slowed down.
    assert_eq!(relay.sink("out").await["state"], "active");
    let log = relay.terminate().await.1;
    assert!(log.contains("a sign-in to the dashboard was refused") && !log.contains("guess-"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_this_machine_needs_none_and_forms_still_do() {
    let home = Home::new(Backend::Postgres).await;
    let relay = without_a_token(&home, SINK).await;
    let page = send(&relay, Method::GET, "/ui/sinks", &[("accept-language", "en")], &[]).await;
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    assert!(page.contains("loopback"), "{page}");
    let refused = send(&relay, Method::POST, "/ui/sinks/out/pause", &[], &[("form_token", "wrong")]).await;
    assert_eq!(refused.status(), 403);
    let token = page.split("name=\"form_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let done = send(&relay, Method::POST, "/ui/sinks/out/pause", &[], &[("form_token", token)]).await;
    assert_eq!(header(&done, "location"), "/ui/sinks/out?done=paused");
    let proxied = send(&relay, Method::GET, "/ui/sinks", &[("x-forwarded-for", "203.0.113.7")], &[]).await;
    assert_eq!(proxied.status(), 403, "a caller behind a proxy could be anybody");
    let rebound = send(&relay, Method::GET, "/ui/sinks", &[("host", "evil.example")], &[]).await;
    assert_eq!(rebound.status(), 403);
}
