//! The services: how each wants a message, what must be escaped, and how much it takes.
//!
//! What an event says may hold anything: an invoice's number, what a target answered. Nothing of it may become markup, a
//! link or a mention of everybody. Lengths are counted in UTF-16 units, as the strictest of the services do, and after
//! escaping.

use std::fmt;

use serde_json::{Value, json};
use url::Url;

use crate::sinks::wording::{Fact, Language, Told, colon};

/// A service with incoming webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// <https://api.slack.com/messaging/webhooks>: blocks of plain text. A header has at most 150 characters, a section
    /// 3000, and at most 10 fields of 2000 (<https://api.slack.com/reference/block-kit/blocks>). `&`, `<` and `>` are
    /// escaped (<https://api.slack.com/reference/surfaces/formatting#escaping>).
    Slack,
    /// <https://developers.mattermost.com/integrate/webhooks/incoming/>: Markdown, at most 16383 characters.
    Mattermost,
    /// <https://discord.com/developers/docs/resources/webhook#execute-webhook>: an embed, whose title has at most 256
    /// characters, its description 4096, each of 25 fields 256 and 1024, and all together 6000
    /// (<https://discord.com/developers/docs/resources/message#embed-object-embed-limits>); `content` has 2000.
    Discord,
    /// <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>: an adaptive
    /// card, at most 28 KB.
    Teams,
    /// <https://developers.google.com/workspace/chat/quickstart/webhooks>: a card, at most 32,000 bytes.
    GoogleChat,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Service::Slack => "Slack",
            Service::Mattermost => "Mattermost",
            Service::Discord => "Discord",
            Service::Teams => "Microsoft Teams",
            Service::GoogleChat => "Google Chat",
        })
    }
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Slack, Self::Mattermost, Self::Discord, Self::Teams, Self::GoogleChat];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Service::Slack => "slack",
            Service::Mattermost => "mattermost",
            Service::Discord => "discord",
            Service::Teams => "teams",
            Service::GoogleChat => "google_chat",
        }
    }

    /// The service at this host, if that is certain.
    pub fn of_host(host: &str) -> Option<Self> {
        let is = |name: &str| host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        [
            ("hooks.slack.com", Self::Slack),
            ("hooks.slack-gov.com", Self::Slack),
            ("discord.com", Self::Discord),
            ("discordapp.com", Self::Discord),
            ("webhook.office.com", Self::Teams),
            ("outlook.office.com", Self::Teams),
            ("logic.azure.com", Self::Teams),
            ("powerplatform.com", Self::Teams),
            ("chat.googleapis.com", Self::GoogleChat),
        ]
        .into_iter()
        .find(|(name, _)| is(name))
        .map(|(_, service)| service)
    }

    /// The address to post to. Discord answers with the message, which confirms it, if it is asked to wait.
    pub(super) fn asking_for_confirmation(self, url: &Url) -> Url {
        let mut url = url.clone();
        if self == Service::Discord && !url.query_pairs().any(|(name, _)| name == "wait") {
            url.query_pairs_mut().append_pair("wait", "true");
        }
        url
    }

    /// How a value is escaped within this service's markup.
    pub(super) fn escaping(self) -> fn(&str) -> String {
        match self {
            Service::Slack => entities,
            Service::Mattermost => mattermost,
            Service::Discord | Service::Teams => backslashes,
            Service::GoogleChat => without_angles,
        }
    }

    /// What is wrong although the status is 2xx: `Some(true)` if it may work later. Old connectors of Teams answer 200 and
    /// `Webhook message delivery failed with error: … HTTP error 429 …`.
    pub(super) fn hidden_failure(self, body: &[u8]) -> Option<bool> {
        let text = String::from_utf8_lossy(body);
        if self != Service::Teams || !text.contains("delivery failed") {
            return None;
        }
        let status = text.split("HTTP error ").nth(1).and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
        Some(status.is_none_or(|status| matches!(status, 408 | 429 | 500..=599)))
    }

    /// The operator's own text, already escaped where needed.
    pub(super) fn of_text(self, text: &str) -> Value {
        match self {
            Service::Slack => json!({"text": cut(text, 3000), "unfurl_links": false}),
            Service::Mattermost => json!({"text": cut(text, 16_000)}),
            Service::Discord => json!({"content": cut(text, 2000), "allowed_mentions": {"parse": []}}),
            Service::Teams => card(&[json!({"type": "TextBlock", "text": cut(text, 8000), "wrap": true})]),
            Service::GoogleChat => json!({"text": cut(text, 4000)}),
        }
    }

    /// What an event says.
    pub(super) fn of_told(self, told: &Told, language: Language) -> Value {
        match self {
            Service::Slack => slack(told, language),
            Service::Mattermost => json!({"text": mattermost_text(told, language)}),
            Service::Discord => discord(told),
            Service::Teams => teams(told),
            Service::GoogleChat => google(told),
        }
    }
}

/// The escaped text, cut so that it has at most so many UTF-16 units; it is never cut within an escape.
fn fit(text: &str, most: usize, escape: fn(&str) -> String) -> String {
    let escaped = escape(text);
    if units(&escaped) <= most {
        return escaped;
    }
    let mut short = String::new();
    let mut length = 1;
    for c in text.chars() {
        let more = escape(c.encode_utf8(&mut [0; 4]));
        length += units(&more);
        if length > most {
            break;
        }
        short.push_str(&more);
    }
    short.push('…');
    short
}

fn cut(text: &str, most: usize) -> String {
    fit(text, most, str::to_owned)
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The first facts that fit into so many units and so many facts; a fact that is left out is not left out silently.
fn facts(told: &Told, most: usize, mut room: usize) -> Vec<(&'static str, String)> {
    let mut facts: Vec<(&'static str, String)> = Vec::new();
    for (index, Fact { label, value }) in told.facts.iter().enumerate() {
        // Escaping at most sextuples a text (`&quot;` is not used; `&amp;` has five).
        let size = units(label) + 5 * units(value);
        if index + 1 >= most && told.facts.len() > most || size > room {
            facts.push(("…", format!("+{}", told.facts.len() - index)));
            break;
        }
        room -= size;
        facts.push((label, value.clone()));
    }
    facts
}

/// `&`, `<` and `>` as entities: nothing of it is a link, a mention or a tag then.
fn entities(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A backslash before everything that Markdown could take for markup, and no mention.
fn backslashes(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\`*_{}[]()<>#+-.!|~:".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
        // No name follows it any more.
        if c == '@' {
            escaped.push('\u{200b}');
        }
    }
    escaped
}

/// The same for Mattermost, where a backslash before a colon or a point would be shown.
fn mattermost(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\`*_{}[]()<>#+!|~".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
        if c == '@' {
            escaped.push('\u{200b}');
        }
    }
    escaped
}

/// Google Chat documents no escape in texts, and `<users/all>` mentions everybody.
fn without_angles(text: &str) -> String {
    text.replace('<', "‹").replace('>', "›")
}

fn slack(told: &Told, language: Language) -> Value {
    let plain = |text: &str, most| json!({"type": "plain_text", "text": fit(text, most, entities), "emoji": false});
    let mut blocks = vec![json!({"type": "header", "text": plain(&told.title, 150)})];
    if let Some(sentence) = &told.sentence {
        blocks.push(json!({"type": "section", "text": plain(sentence, 3000)}));
    }
    for chunk in facts(told, 20, 12_000).chunks(10) {
        let fields: Vec<Value> =
            chunk.iter().map(|(label, value)| plain(&format!("{label}{}{value}", colon(language)), 2000)).collect();
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    if let Some(advice) = &told.advice {
        blocks.push(json!({"type": "section", "text": plain(advice, 3000)}));
    }
    json!({"text": fit(&told.title, 1000, entities), "blocks": blocks, "unfurl_links": false})
}

fn mattermost_text(told: &Told, language: Language) -> String {
    let mut text = format!("**{}**", fit(&told.title, 1000, mattermost));
    let mut add = |more: String| {
        text.push_str("\n\n");
        text.push_str(&more);
    };
    if let Some(sentence) = &told.sentence {
        add(fit(sentence, 3000, mattermost));
    }
    let facts = facts(told, 30, 9000);
    if !facts.is_empty() {
        let line = |(label, value): &(&str, String)| {
            format!("- {}{}{}", mattermost(label), colon(language), fit(value, 1500, mattermost))
        };
        add(facts.iter().map(line).collect::<Vec<_>>().join("\n"));
    }
    if let Some(advice) = &told.advice {
        add(fit(advice, 1500, mattermost));
    }
    text
}

fn discord(told: &Told) -> Value {
    let mut description = told.sentence.clone().unwrap_or_default();
    if let Some(advice) = &told.advice {
        if !description.is_empty() {
            description.push_str("\n\n");
        }
        description.push_str(advice);
    }
    let description = fit(&description, 1800, backslashes);
    let fields: Vec<Value> = facts(told, 25, 3600)
        .iter()
        .map(|(label, value)| {
            json!({"name": fit(label, 256, backslashes), "value": fit(value, 1024, backslashes), "inline": true})
        })
        .collect();
    let mut embed = json!({"title": fit(&told.title, 256, backslashes), "fields": fields});
    if !description.is_empty() {
        embed["description"] = description.into();
    }
    json!({"embeds": [embed], "allowed_mentions": {"parse": []}})
}

fn card(body: &[Value]) -> Value {
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
            },
        }],
    })
}

fn teams(told: &Told) -> Value {
    let block = |text: &str| json!({"type": "TextBlock", "text": fit(text, 3000, backslashes), "wrap": true});
    let mut title = block(&told.title);
    title["weight"] = "Bolder".into();
    title["size"] = "Medium".into();
    let mut body = vec![title];
    body.extend(told.sentence.as_deref().map(block));
    let facts: Vec<Value> = facts(told, 30, 9000)
        .iter()
        .map(|(label, value)| json!({"title": fit(label, 200, backslashes), "value": fit(value, 1500, backslashes)}))
        .collect();
    if !facts.is_empty() {
        body.push(json!({"type": "FactSet", "facts": facts}));
    }
    body.extend(told.advice.as_deref().map(block));
    card(body)
}

fn google(told: &Told) -> Value {
    let paragraph = |text: &str| json!({"textParagraph": {"text": fit(text, 3000, entities)}});
    let mut widgets: Vec<Value> = told.sentence.as_deref().map(paragraph).into_iter().collect();
    widgets.extend(facts(told, 30, 9000).iter().map(|(label, value)| {
        json!({"decoratedText": {"topLabel": fit(label, 200, entities), "text": fit(value, 1500, entities), "wrapText": true}})
    }));
    widgets.extend(told.advice.as_deref().map(paragraph));
    let mut content = json!({"header": {"title": fit(&told.title, 200, without_angles)}});
    if !widgets.is_empty() {
        content["sections"] = json!([{"widgets": widgets}]);
    }
    json!({"cardsV2": [{"cardId": "event", "card": content}], "fallbackText": fit(&told.title, 1000, without_angles)})
}
