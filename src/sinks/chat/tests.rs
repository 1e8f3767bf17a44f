use serde_json::{Value, json};

use super::{
    super::wording::{Fact, Language, Told},
    format::Service,
    *,
};
use crate::sinks::kind::Kind;

/// A text that would be markup, a mention or a link somewhere.
const HOSTILE: &str = "<!channel> @everyone @here *bold* _it_ ~no~ `code` [a](http://b) <users/all> & | # > ||x||";

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
        for text in texts(&body) {
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

#[test]
fn old_connectors_say_in_the_body_that_they_failed() {
    let hidden = |text: &str| Service::Teams.hidden_failure(text.as_bytes());
    assert_eq!(hidden("1"), None);
    let failed = "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error";
    assert_eq!(hidden(&format!("{failed} 429 with ContextId tcid=0")), Some(true));
    assert_eq!(hidden(&format!("{failed} 413 with ContextId tcid=0")), Some(false));
    assert_eq!(Service::Slack.hidden_failure(failed.as_bytes()), None);
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
