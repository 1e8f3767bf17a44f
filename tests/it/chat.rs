//! The sink `chat` against stand-ins that ask for what each service documents, and complain as it does.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{
    eventually,
    finkare::Finkare,
    receiver::{Answer, Receiver, Request},
    relay::{Backend, Home, Relay},
};

const SECRET: &str = "T0AAAA/B0BBBB/secret-of-the-webhook";
/// A text that means something in each service.
const HOSTILE: &str = "F-1 <!channel> @everyone <users/all> *b* _i_ `c` [x](http://evil) & more";
/// The same as a value in an operator's text for Slack: `@` and `:` are followed by a blank of no width.
const HOSTILE_IN_SLACK: &str =
    "F-1 &lt;!channel&gt; @\u{200b}everyone &lt;users/all&gt; *b* _i_ `c` [x](http:\u{200b}//evil) &amp; more";

fn string<'v>(value: &'v Value, what: &str) -> Result<&'v str, String> {
    value.as_str().filter(|text| !text.is_empty()).ok_or(format!("missing {what}"))
}

fn at_most(text: &str, most: usize, what: &str) -> Result<(), String> {
    if text.encode_utf16().count() > most { Err(format!("{what} must be less than {most} characters")) } else { Ok(()) }
}

/// What Slack asks for: <https://api.slack.com/reference/block-kit/blocks>.
fn slack(body: &Value) -> Result<(), String> {
    string(&body["text"], "no_text")?;
    let blocks = body["blocks"].as_array().ok_or("invalid_blocks")?;
    if blocks.is_empty() || blocks.len() > 50 {
        return Err("invalid_blocks".into());
    }
    let text = |text: &Value, most: usize| {
        if !matches!(text["type"].as_str(), Some("plain_text" | "mrkdwn")) {
            return Err("invalid_blocks: no text object".to_owned());
        }
        let text = string(&text["text"], "text")?;
        if text.contains(['<', '>']) || text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").contains('&')
        {
            return Err(format!("not escaped: {text}"));
        }
        at_most(text, most, "text")
    };
    for block in blocks {
        match block["type"].as_str() {
            Some("header") => text(&block["text"], 150)?,
            Some("section") => {
                let fields = block["fields"].as_array().cloned().unwrap_or_default();
                if block["text"].is_null() && (fields.is_empty() || fields.len() > 10) {
                    return Err("invalid_blocks: a section has a text or 1 to 10 fields".into());
                }
                fields.iter().try_for_each(|field| text(field, 2000))?;
                if !block["text"].is_null() {
                    text(&block["text"], 3000)?;
                }
            }
            _ => return Err("invalid_blocks: unknown type".into()),
        }
    }
    Ok(())
}

fn no_markup(text: &str) -> Result<(), String> {
    for mark in ["@everyone", "@channel", "@here", " *b", " _i", " `c", " [x", "http://"] {
        if text.contains(mark) {
            return Err(format!("{mark} in {text}"));
        }
    }
    Ok(())
}

/// <https://developers.mattermost.com/integrate/webhooks/incoming/>
fn mattermost(body: &Value) -> Result<(), String> {
    let text = string(&body["text"], "text")?;
    no_markup(text)?;
    // Where Mattermost knows no escape, the backslash would be shown.
    if ["\\<", "\\@", "\\:", "\\&", "\\$"].iter().any(|shown| text.contains(shown)) {
        return Err(format!("a backslash that is shown: {text}"));
    }
    at_most(text, 16_383, "text")
}

/// <https://discord.com/developers/docs/resources/message#embed-object-embed-limits>
fn discord(body: &Value) -> Result<(), String> {
    if body["allowed_mentions"]["parse"] != json!([]) {
        return Err("mentions are allowed".into());
    }
    let embeds = body["embeds"]
        .as_array()
        .filter(|embeds| (1..=10).contains(&embeds.len()))
        .ok_or("Cannot send an empty message")?;
    let mut total = 0;
    for embed in embeds {
        at_most(string(&embed["title"], "title")?, 256, "title")?;
        at_most(embed["description"].as_str().unwrap_or_default(), 4096, "description")?;
        let fields = embed["fields"].as_array().cloned().unwrap_or_default();
        if fields.len() > 25 {
            return Err("fields: must be 25 or fewer".into());
        }
        for field in &fields {
            at_most(string(&field["name"], "name")?, 256, "name")?;
            at_most(string(&field["value"], "value")?, 1024, "value")?;
            no_markup(field["value"].as_str().unwrap())?;
            total += field["name"].as_str().unwrap().len() + field["value"].as_str().unwrap().len();
        }
    }
    if total > 6000 { Err("embed size exceeds 6000".into()) } else { Ok(()) }
}

/// <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>
fn teams(body: &Value) -> Result<(), String> {
    let attachment = &body["attachments"][0];
    if body["type"] != "message" || attachment["contentType"] != "application/vnd.microsoft.card.adaptive" {
        return Err("no message with an adaptive card".into());
    }
    let card = &attachment["content"];
    if card["type"] != "AdaptiveCard" || card["version"].as_str().is_none() {
        return Err("no adaptive card".into());
    }
    for element in card["body"].as_array().ok_or("no body")? {
        match element["type"].as_str() {
            Some("TextBlock") => no_markup(string(&element["text"], "text")?)?,
            Some("FactSet") => {
                for fact in element["facts"].as_array().ok_or("no facts")? {
                    string(&fact["title"], "title")?;
                    no_markup(string(&fact["value"], "value")?)?;
                }
            }
            _ => return Err("unknown element".into()),
        }
    }
    if body.to_string().len() > 28 * 1024 { Err("too large".into()) } else { Ok(()) }
}

/// <https://developers.google.com/workspace/chat/api/reference/rest/v1/cards>
fn google(body: &Value) -> Result<(), String> {
    let card = &body["cardsV2"][0]["card"];
    string(&card["header"]["title"], "header.title")?;
    for section in card["sections"].as_array().ok_or("no sections")? {
        for widget in section["widgets"].as_array().ok_or("no widgets")? {
            let text = widget["textParagraph"]["text"].as_str().or(widget["decoratedText"]["text"].as_str());
            let text = text.filter(|text| !text.is_empty()).ok_or("a widget without text")?;
            if text.contains('<') {
                return Err(format!("not escaped: {text}"));
            }
        }
    }
    if body["fallbackText"].as_str().is_some_and(|text| text.contains('<')) {
        return Err("a mention in fallbackText".into());
    }
    if body.to_string().len() > 32_000 { Err("too large".into()) } else { Ok(()) }
}

type Ask = fn(&Value) -> Result<(), String>;

const SERVICES: [(&str, Ask, u16, &str); 5] = [
    ("slack", slack, 200, "ok"),
    ("mattermost", mattermost, 200, "ok"),
    ("discord", discord, 200, "{\"id\":\"1\"}"),
    ("teams", teams, 202, ""),
    ("google_chat", google, 200, "{\"name\":\"spaces/x/messages/y\"}"),
];

/// A stand-in that accepts what the service accepts, and keeps its complaints.
async fn stand_in(ask: Ask, status: u16, says: &'static str) -> (Receiver, Arc<Mutex<Vec<String>>>) {
    let complaints = Arc::<Mutex<Vec<String>>>::default();
    let kept = complaints.clone();
    let receiver = Receiver::start(move |request: &Request| {
        let asked = match serde_json::from_slice::<Value>(&request.body) {
            _ if !request.header("content-type").starts_with("application/json") => Err("no JSON".into()),
            Err(_) => Err("invalid_payload".into()),
            Ok(body) => ask(&body),
        };
        match asked {
            Ok(()) => Answer::with(status, "", says),
            Err(complaint) => {
                kept.lock().unwrap().push(complaint.clone());
                Answer::with(400, "", &complaint)
            }
        }
    })
    .await;
    (receiver, complaints)
}

fn sink(receiver: &Receiver, service: &str, more: &str) -> String {
    format!(
        "[[sinks]]\nname = \"chat\"\ntype = \"chat\"\nservice = \"{service}\"\nurl = \"{}\"\nevents = [\"*\", \"relay.*\"]\n\
         retry = {{ initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }}\n{more}\n",
        receiver.url(&format!("/services/{SECRET}"))
    )
}

async fn with(sinks: &str) -> (Home, Relay) {
    let home = Home::new(Backend::Sqlite).await;
    let relay = home.serve(sinks).await;
    (home, relay)
}

fn hostile() -> Vec<u8> {
    let data =
        json!({"invoiceId": "i1", "invoiceNumber": HOSTILE, "newStatus": HOSTILE, "previousStatus": "y".repeat(3000)});
    json!({"event": "invoice.status_changed", "data": data, "timestamp": "2026-11-27T20:00:00Z"})
        .to_string()
        .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_gets_what_it_asks_for() {
    for (service, ask, status, says) in SERVICES {
        let (receiver, complaints) = stand_in(ask, status, says).await;
        let other = "[[sinks]]\nname = \"out\"\ntype = \"stdout\"";
        let (_home, relay) = with(&sink(&receiver, service, other)).await;
        let finkare = Finkare::of(&relay);
        let payment =
            json!({"event": "payment.received", "data": {"invoiceId": "i1", "amountCents": 150_000}}).to_string();
        // Nothing of this number can be seen, and a service refuses an empty field.
        let unseen =
            json!({"event": "invoice.created", "data": {"invoiceId": "i2", "invoiceNumber": "\u{200b}\u{2800}"}});
        let unseen = unseen.to_string();
        for body in [payment.as_bytes(), &hostile(), b"not json", br#"{"event":"later.event"}"#, unseen.as_bytes()] {
            assert_eq!(finkare.deliver(body).await.status, 200);
        }
        relay.post("/sinks/out/pause").await;
        eventually("all six are posted", async || receiver.received().len() >= 6).await;
        relay.drained().await;
        assert_eq!(*complaints.lock().unwrap(), Vec::<String>::new(), "{service}");
        let all = receiver
            .received()
            .iter()
            .map(|request| String::from_utf8_lossy(&request.body).into_owned())
            .collect::<String>();
        assert!(
            all.contains("1\u{202f}500,00\u{a0}€") && all.contains("La destination out est en pause"),
            "{service}: {all}"
        );
        assert!(!relay.log().contains("secret-of-the-webhook"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_wants_a_pause_gets_one() {
    let tries = Arc::new(Mutex::new(0));
    let receiver = Receiver::start(move |_: &Request| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        match *tries {
            1 => Answer::with(429, "retry-after: 1\r\n", "{\"message\":\"slow down\",\"retry_after\":0.4}"),
            2 => Answer::with(429, "", "{\"message\":\"slow down\",\"retry_after\":0.4}"),
            _ => Answer::with(200, "", "{\"id\":\"1\"}"),
        }
    })
    .await;
    let (_home, relay) = with(&sink(&receiver, "discord", "language = \"en\"")).await;
    let began = std::time::Instant::now();
    assert_eq!(Finkare::of(&relay).deliver(&hostile()).await.status, 200);
    eventually("it is delivered", async || relay.all("/dispatches").await[0]["state"] == "delivered").await;
    assert!(began.elapsed().as_millis() >= 1400, "both waits were kept");
    assert!(
        receiver.received().iter().all(|request| request.path.ends_with("?wait=true")),
        "a confirmation is asked for"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_webhook_pauses_the_sink_and_shows_no_address() {
    let receiver =
        Receiver::start(|request: &Request| Answer::with(404, "", &format!("no_service {}", request.path))).await;
    let (home, relay) = with(&sink(&receiver, "slack", "")).await;
    assert_eq!(Finkare::of(&relay).deliver(&hostile()).await.status, 200);
    eventually("it is paused", async || relay.sink("chat").await["state"] == "paused").await;
    let sink = relay.sink("chat").await.to_string();
    assert!(sink.contains("make a new one") && !sink.contains("secret-of-the-webhook"), "{sink}");
    let check = home.command().arg("check").output().unwrap();
    let told = String::from_utf8(check.stdout).unwrap() + &String::from_utf8(check.stderr).unwrap();
    assert!(!told.contains("secret-of-the-webhook"), "{told}");
    assert!(!relay.log().contains("secret-of-the-webhook"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connector_that_answers_200_has_not_delivered() {
    let tries = Arc::new(Mutex::new(0));
    let receiver = Receiver::start(move |_: &Request| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        let failed = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId x";
        Answer::with(200, "", if *tries == 1 { failed } else { "1" })
    })
    .await;
    let (_home, relay) = with(&sink(&receiver, "teams", "")).await;
    assert_eq!(Finkare::of(&relay).deliver(&hostile()).await.status, 200);
    eventually("it is delivered", async || relay.all("/dispatches").await[0]["state"] == "delivered").await;
    assert_eq!(relay.all("/dispatches").await[0]["attempts"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_text_is_markup_and_the_events_is_not() {
    let (receiver, _) = stand_in(|_| Ok(()), 200, "ok").await;
    let more = "text = \"*{{ event.type }}* {{ payload.data.invoiceNumber }}\"";
    let (_home, relay) = with(&sink(&receiver, "slack", more)).await;
    assert_eq!(Finkare::of(&relay).deliver(&hostile()).await.status, 200);
    eventually("it is posted", async || receiver.received().len() == 1).await;
    let body: Value = serde_json::from_slice(&receiver.received()[0].body).unwrap();
    assert_eq!(body["text"], format!("*invoice.status_changed* {HOSTILE_IN_SLACK}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_is_told_in_english_too() {
    for (service, ask, status, says) in SERVICES {
        let (receiver, complaints) = stand_in(ask, status, says).await;
        let (_home, relay) = with(&sink(&receiver, service, "language = \"en\"")).await;
        let payment = json!({"event": "payment.received", "data": {"invoiceId": "i1", "amountCents": 150_000}});
        assert_eq!(Finkare::of(&relay).deliver(payment.to_string().as_bytes()).await.status, 200);
        relay.drained().await;
        assert_eq!(*complaints.lock().unwrap(), Vec::<String>::new(), "{service}");
        let body = String::from_utf8_lossy(&receiver.received()[0].body).replace('\\', "");
        assert!(body.contains("Payment received: €1,500.00"), "{service}: {body}");
    }
}

/// Without that, a `url` that leads to the wrong page would swallow every event.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_answers_200_is_no_confirmation() {
    let tries = Arc::new(Mutex::new(0));
    let receiver = Receiver::start(move |_: &Request| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        Answer::with(200, "", if *tries == 1 { "<!doctype html><title>Sign in</title>" } else { "ok" })
    })
    .await;
    let (_home, relay) = with(&sink(&receiver, "mattermost", "")).await;
    assert_eq!(Finkare::of(&relay).deliver(&hostile()).await.status, 200);
    eventually("it is paused", async || relay.sink("chat").await["state"] == "paused").await;
    let sink = relay.sink("chat").await.to_string();
    assert!(sink.contains("not what Mattermost answers") && sink.contains("sinks resume"), "{sink}");
    relay.post("/sinks/chat/resume").await;
    eventually("it is delivered", async || relay.all("/dispatches").await[0]["state"] == "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_mattermost_no_longer_knows_pauses_the_sink() {
    let receiver = Receiver::start(|_: &Request| {
        let says = r#"{"id":"web.incoming_webhook.invalid.app_error","message":"Invalid webhook.","status_code":400}"#;
        Answer::with(400, "", says)
    })
    .await;
    let (_home, relay) = with(&sink(&receiver, "mattermost", "")).await;
    assert_eq!(Finkare::of(&relay).deliver(&hostile()).await.status, 200);
    eventually("it is paused", async || relay.sink("chat").await["state"] == "paused").await;
    assert_eq!(relay.all("/dispatches").await[0]["state"], "pending", "the event is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_refused_for_itself_is_given_up_and_the_next_one_is_posted() {
    let receiver = Receiver::start(|request: &Request| {
        let is_refused = String::from_utf8_lossy(&request.body).contains("later.event");
        if is_refused { Answer::with(400, "", "invalid_blocks") } else { Answer::with(200, "", "ok") }
    })
    .await;
    let (_home, relay) = with(&sink(&receiver, "slack", "")).await;
    let finkare = Finkare::of(&relay);
    assert_eq!(finkare.deliver(br#"{"event":"later.event"}"#).await.status, 200);
    eventually("it is given up", async || relay.all("/dispatches?state=dead").await.len() == 1).await;
    let dead = relay.all("/dispatches?state=dead").await[0].to_string();
    assert!(dead.contains("invalid_blocks"), "{dead}");
    assert_eq!(finkare.deliver(&hostile()).await.status, 200);
    eventually("the next is posted", async || !relay.all("/dispatches?state=delivered").await.is_empty()).await;
}

/// Google Chat posts nothing again for a `requestId` that it knows, so a lost answer costs no second message.
#[tokio::test(flavor = "multi_thread")]
async fn google_chat_can_tell_a_repetition() {
    let tries = Arc::new(Mutex::new(0));
    let receiver = Receiver::start(move |_: &Request| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        if *tries == 1 {
            Answer::Cut(String::new())
        } else {
            Answer::with(200, "", "{\"name\":\"spaces/x/messages/y\"}")
        }
    })
    .await;
    let (_home, relay) = with(&sink(&receiver, "google_chat", "")).await;
    assert_eq!(Finkare::of(&relay).deliver(&hostile()).await.status, 200);
    eventually("it is delivered", async || relay.all("/dispatches").await[0]["state"] == "delivered").await;
    let event = relay.all("/dispatches").await[0]["event_id"].as_str().unwrap().to_owned();
    let posted: Vec<String> = receiver.received().into_iter().map(|request| request.path).collect();
    assert_eq!(posted.len(), 2);
    assert!(posted.iter().all(|path| path.ends_with(&format!("?requestId={event}"))), "{posted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_says_nothing_is_held() {
    let (receiver, _) = stand_in(|_| Ok(()), 200, "ok").await;
    let more = "text = \"{% if event.type == 'payment.received' %}paid{% endif %}\"";
    let (_home, relay) = with(&sink(&receiver, "slack", more)).await;
    assert_eq!(Finkare::of(&relay).deliver(&hostile()).await.status, 200);
    eventually("it is held", async || relay.all("/dispatches").await[0]["state"] == "held").await;
    let held = relay.all("/dispatches").await[0].to_string();
    assert!(held.contains("nothing can be seen") && receiver.received().is_empty(), "{held}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checking_posts_nothing_and_says_what_it_could_not_check() {
    for (service, method, status, told) in [
        ("slack", "HEAD", 302, "shows only with the first message"),
        ("discord", "GET", 200, "knows the webhook"),
        ("discord", "GET", 404, "check `url`"),
    ] {
        let receiver = Receiver::start(move |_: &Request| Answer::with(status, "", "")).await;
        let (home, _relay) = with(&sink(&receiver, service, "")).await;
        let check = home.command().arg("check").output().unwrap();
        let said = String::from_utf8(check.stdout).unwrap() + &String::from_utf8(check.stderr).unwrap();
        assert!(said.contains(told) && !said.contains("secret-of-the-webhook"), "{said}");
        let requests = receiver.received();
        assert!(!requests.is_empty() && requests.iter().all(|request| request.method == method), "{requests:?}");
        // The webhook's own address is left alone where a call could have an effect.
        assert!(service == "discord" || requests.iter().all(|request| request.path == "/"), "{requests:?}");
    }
}
