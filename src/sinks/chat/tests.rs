use serde_json::{Value, json};

use super::{
    super::wording::{Fact, Language, Told},
    format::Service,
    *,
};
use crate::sinks::kind::Kind;

/// A text that would be markup, a mention or a link somewhere.
const HOSTILE: &str = "<!channel> @everyone @here *bold* _it_ ~no~ `code` [a](http://b) <users/all> & | # > ||x|| \
                       http://evil.example WWW2.evil.example mailto:evil@evil.example evil.example/x $a$ c:\\d 14:05";

fn told(value: &str, facts: usize) -> Told {
    Told {
        title: value.to_owned(),
        sentence: Some(value.to_owned()),
        facts: (0..facts).map(|_| Fact { label: "Montant", value: value.to_owned() }).collect(),
        advice: Some(value.to_owned()),
    }
}

/// Every text in a body.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(list) => list.iter().flat_map(texts).collect(),
        Value::Object(map) => {
            map.iter().filter(|(key, _)| *key != "$schema").flat_map(|(_, value)| texts(value)).collect()
        }
        _ => Vec::new(),
    }
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

#[test]
fn nothing_of_an_event_becomes_markup() {
    for service in Service::ALL {
        let body = service.of_told(&told(HOSTILE, 3), Language::Fr);
        // An operator's template gets values in the same way, and is not the poorer for it.
        let value = service.escaping()(HOSTILE);
        for text in texts(&body).into_iter().chain([value]) {
            for link in ["http://", "WWW2.", "mailto:e", "@e", "@h"] {
                assert!(!text.contains(link), "{service}: {link} in {text}");
            }
            match service {
                Service::Slack => assert!(!text.contains('<') && !text.contains('>'), "{service}: {text}"),
                Service::GoogleChat => assert!(!text.contains("<users") && !text.contains('<'), "{service}: {text}"),
                Service::Discord | Service::Teams | Service::Mattermost => {
                    for mark in ["@everyone", "@here", " *b", " _i", " `c", " [a", " ~n"] {
                        assert!(!text.contains(mark), "{service}: {mark} in {text}");
                    }
                }
            }
        }
        if service == Service::Discord {
            assert_eq!(body["allowed_mentions"], json!({"parse": []}));
        }
    }
    assert_eq!(
        Service::Slack.of_told(&told("a & <b>", 0), Language::En)["blocks"][0]["text"]["text"],
        "a &amp; &lt;b&gt;"
    );
    let value = Service::Mattermost.escaping();
    assert_eq!(value("<b> \\d $a$ x.fr/ & 14:05"), "&lt;b&gt; &#92;d &#36;a&#36; x\\.fr/ &amp; 14:05");
    assert_eq!(Service::Discord.escaping()("*b* 14:05"), "\\*b\\* 14\\:05");
}

#[test]
fn our_own_labels_are_shown_as_they_are() {
    const LABEL: &str = "Facture (identifiant chez Finkare)";
    let told = Told { facts: vec![Fact { label: LABEL, value: "i1".to_owned() }], ..told("t", 0) };
    for service in Service::ALL {
        let body = service.of_told(&told, Language::Fr);
        assert!(texts(&body).iter().any(|text| text.contains(LABEL)), "{service}: {body}");
    }
}

/// Slack and Discord refuse an empty field, and the event would be given up.
#[test]
fn a_text_of_which_nothing_can_be_seen_is_left_out() {
    for nothing in ["", " ", "\u{200b}", "\u{2800}\u{3164}", "\u{202e}\r\n"] {
        assert!(is_blank(nothing));
        for service in Service::ALL {
            let told = told(nothing, 2);
            for text in texts(&service.of_told(&told, Language::Fr)) {
                assert!(!is_blank(&text), "{service}: {text:?}");
                assert!(!text.contains("Montant"), "{service}: {text:?}");
            }
        }
    }
    assert!(!is_blank("\u{200b}a"));
}

#[test]
fn every_limit_is_kept_whatever_is_told() {
    for (value, facts) in [("&".repeat(1000), 40), ("*".repeat(1000), 40), ("𝄞".repeat(900), 25), ("x".into(), 100)]
    {
        let told = told(&value, facts);
        let slack = Service::Slack.of_told(&told, Language::Fr);
        let blocks = slack["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50);
        assert!(units(blocks[0]["text"]["text"].as_str().unwrap()) <= 150);
        for block in blocks {
            assert!(block["text"]["text"].as_str().is_none_or(|text| units(text) <= 3000));
            let fields = block["fields"].as_array().cloned().unwrap_or_default();
            assert!(fields.len() <= 10 && fields.iter().all(|field| units(field["text"].as_str().unwrap()) <= 2000));
        }
        let mattermost = Service::Mattermost.of_told(&told, Language::Fr);
        assert!(units(mattermost["text"].as_str().unwrap()) <= 16_383);
        let discord = Service::Discord.of_told(&told, Language::Fr);
        let embed = &discord["embeds"][0];
        assert!(
            units(embed["title"].as_str().unwrap()) <= 256 && units(embed["description"].as_str().unwrap()) <= 4096
        );
        let fields = embed["fields"].as_array().unwrap();
        assert!(fields.len() <= 25);
        assert!(
            fields.iter().all(|field| units(field["name"].as_str().unwrap()) <= 256
                && units(field["value"].as_str().unwrap()) <= 1024)
        );
        assert!(texts(embed).iter().map(|text| units(text)).sum::<usize>() <= 6000);
        assert!(Service::Teams.of_told(&told, Language::Fr).to_string().len() <= 28 * 1024);
        assert!(Service::GoogleChat.of_told(&told, Language::Fr).to_string().len() <= 32_000);
        for service in Service::ALL {
            let text = service.of_text(&value.repeat(40));
            let longest = texts(&text).iter().map(|text| units(text)).max().unwrap();
            let most = match service {
                Service::Discord => 2000,
                Service::Slack => 3000,
                _ => 16_383,
            };
            assert!(longest <= most, "{service}");
        }
    }
    let many = Service::Discord.of_told(&told("x", 40), Language::Fr);
    let last = many["embeds"][0]["fields"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((last["name"].as_str(), last["value"].as_str()), (Some("…"), Some("\\+16")), "what is left out is said");
}

/// What [`wording::tell`] bounds, at its longest.
#[test]
fn teams_gets_no_more_than_its_limit_counted_in_utf_16() {
    for c in ["\\", "*", "\"", "@", "€", "𝄞"] {
        let facts = (0..8).map(|_| Fact { label: "Dernière livraison", value: c.repeat(500) }).collect();
        let told = Told { title: c.repeat(200), sentence: Some(c.repeat(1000)), facts, advice: Some(c.repeat(500)) };
        for body in [Service::Teams.of_told(&told, Language::Fr), Service::Teams.of_text(&c.repeat(20_000))] {
            assert!(2 * units(&body.to_string()) <= 28 * 1024, "{c}: {}", units(&body.to_string()));
        }
    }
    let long = Service::Teams.of_text(&"\u{1}".repeat(20_000));
    assert!(2 * units(&long.to_string()) <= 28 * 1024);
}

#[test]
fn only_what_a_service_documents_confirms_a_message() {
    let failed = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error";
    let (slow, large) = (format!("{failed} 429 with ContextId tcid=0"), format!("{failed} 413 with ContextId tcid=0"));
    for (service, status, body, said) in [
        (Service::Slack, 200, "ok", Said::Posted),
        (Service::Slack, 200, "<html>ok</html>", Said::Nothing),
        (Service::Slack, 200, "", Said::Nothing),
        (Service::Mattermost, 200, "ok\n", Said::Posted),
        (Service::Mattermost, 200, "<!doctype html>", Said::Nothing),
        (Service::Discord, 200, r#"{"id":"1"}"#, Said::Posted),
        (Service::Discord, 204, "", Said::Posted),
        (Service::Discord, 200, "ok", Said::Nothing),
        (Service::GoogleChat, 200, r#"{"name":"spaces/x/messages/y"}"#, Said::Posted),
        (Service::GoogleChat, 200, "{}", Said::Nothing),
        (Service::Teams, 202, "", Said::Posted),
        (Service::Teams, 200, "1", Said::Posted),
        (Service::Teams, 200, "<html>", Said::Nothing),
        (Service::Teams, 200, &slow, Said::Later),
        (Service::Teams, 200, failed, Said::Later),
        (Service::Teams, 200, &large, Said::Refused),
    ] {
        assert_eq!(service.said(status, body.as_bytes()), said, "{service}: {status} {body}");
    }
}

#[test]
fn an_answer_about_the_webhook_itself_is_told_from_one_about_a_message() {
    let removed = br#"{"id":"web.incoming_webhook.invalid.app_error","message":"Invalid webhook."}"#;
    for service in Service::ALL {
        for status in [401, 403, 404, 410] {
            assert!(service.complaint(status, b"").is_some(), "{service}: {status}");
        }
        assert!(service.complaint(400, b"invalid_payload").is_none(), "{service}");
        assert_eq!(service.complaint(400, removed).is_some(), service == Service::Mattermost, "{service}");
    }
}

#[test]
fn the_address_asks_for_a_confirmation_and_names_the_event() {
    let event = "0192f3a4-5b6c-7d8e-9f01-23456789abcd";
    let address = |service: Service, url: &str| service.address(&url.parse().unwrap(), event.parse().unwrap());
    let google = "https://chat.googleapis.com/v1/spaces/x/messages?key=a&token=b%3D";
    assert_eq!(address(Service::GoogleChat, google).as_str(), format!("{google}&requestId={event}"));
    let own = "https://chat.googleapis.com/v1/spaces/x/messages?requestId=own";
    assert_eq!(address(Service::GoogleChat, own).as_str(), own);
    assert_eq!(address(Service::Discord, "https://discord.com/api/webhooks/1/t").query(), Some("wait=true"));
    assert_eq!(address(Service::Discord, "https://discord.com/x?wait=false").query(), Some("wait=false"));
    for service in [Service::Slack, Service::Mattermost, Service::Teams] {
        assert_eq!(address(service, "https://x.example/a?b=c%3D").as_str(), "https://x.example/a?b=c%3D");
    }
}

#[test]
fn every_part_of_the_address_is_masked() {
    let url = "https://user:pass%2Fword@x.logic.azure.com/work%40flow/run?api=1&sig=se%2Fcr%3Det";
    let kind = Kind::parse(&format!("type = \"chat\"\nurl = \"{url}\"")).unwrap();
    let redactor = redactor(kind.options::<Options>().unwrap());
    for private in ["se%2Fcr%3Det", "se/cr=et", "work%40flow", "work@flow", "pass%2Fword", "pass/word", "user"] {
        assert_eq!(redactor.redact(&format!("a {private} b")), "a [redacted] b", "{private}");
    }
    assert!(!redactor.redact(url).contains("sig="));
}

#[test]
fn the_service_follows_from_the_address_where_that_is_certain() {
    let parse = |url: &str, more: &str| Kind::parse(&format!("type = \"chat\"\nurl = \"{url}\"\n{more}"));
    let service = |url: &str, more: &str| parse(url, more).unwrap().options::<Options>().unwrap().service;
    assert_eq!(service("https://hooks.slack.com/services/T0/B0/secret", ""), Service::Slack);
    assert_eq!(service("https://chat.example.fr/hooks/secret", "service = \"mattermost\""), Service::Mattermost);
    assert_eq!(service("https://prod-1.westeurope.logic.azure.com/workflows/x?sig=secret", ""), Service::Teams);
    for (url, more, problem) in [
        ("https://chat.example.fr/hooks/secret-1", "", "is missing, and the address does not tell"),
        (
            "https://hooks.slack.com/services/secret-1",
            "service = \"discord\"",
            "is `discord`, but the address is one of Slack",
        ),
        ("http://chat.example.fr/hooks/secret-1", "service = \"mattermost\"", "does not begin with `https://`"),
        ("https://hooks.slack.com/services/secret-1", "text = \"{{ invoice.number }}\"\nlanguage = \"de\"", "language"),
        ("https://hooks.slack.com/services/secret-1", "text = \"{{ told.titel }}\"\ntext2 = 1", "text2"),
    ] {
        let problems = parse(url, more).unwrap_err().lines().join("\n");
        assert!(problems.contains(problem) && !problems.contains("secret-1"), "{problems}");
    }
    let shown = format!("{:?}", parse("https://hooks.slack.com/services/T0/secret-1", "").unwrap());
    assert!(!shown.contains("secret-1") && shown.contains("hooks.slack.com"), "{shown}");
}

#[test]
fn discords_wait_is_read_from_its_body() {
    assert_eq!(
        wait_in_body(br#"{"message":"slow","retry_after":0.65,"global":false}"#),
        Some(Duration::from_millis(650))
    );
    for none in ["", "{}", r#"{"retry_after":-1}"#, r#"{"retry_after":1e300}"#, r#"{"retry_after":"1"}"#] {
        assert_eq!(wait_in_body(none.as_bytes()), None, "{none}");
    }
}
