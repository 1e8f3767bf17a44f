//! The services: how each wants a message, what must be escaped, and how much it takes.
//!
//! What an event says may hold anything: an invoice's number, what a target answered. Nothing of it may mention somebody,
//! and no address in it becomes a link: both are broken by a blank of no width (`harmless`), since no escape of the
//! services reaches them. Nothing of it becomes markup either, but where a service has no escape for it: in a `text` of the
//! operator's for Slack or Google Chat, `*` and `_` of a value may still make a word bold or italic. A text of which nothing
//! can be seen is left out, because services refuse empty fields. Lengths are counted in UTF-16 units, as the strictest of
//! the services do, and after escaping.

use std::fmt;

use serde_json::{Value, json};
use url::Url;

use crate::{
    model::id::EventId,
    sinks::wording::{Fact, Language, Told, colon},
};

/// The most that Teams takes, in bytes of UTF-16.
const TEAMS_BYTES: usize = 28 * 1024;

/// A service with incoming webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// <https://api.slack.com/messaging/webhooks>: blocks of plain text. A header has at most 150 characters, a section
    /// 3000, and at most 10 fields of 2000 (<https://api.slack.com/reference/block-kit/blocks>). `&`, `<` and `>` are
    /// escaped (<https://api.slack.com/reference/surfaces/formatting#escaping>).
    Slack,
    /// <https://developers.mattermost.com/integrate/webhooks/incoming/>: Markdown, at most 16383 characters. A backslash is
    /// an escape before ``\`*{}[]()#+-.!_>|~`` only, and every `scheme:x`, `www.` and `name.tld/` becomes a link
    /// (<https://github.com/mattermost/marked/blob/master/lib/marked.js>).
    Mattermost,
    /// <https://discord.com/developers/docs/resources/webhook#execute-webhook>: an embed, whose title has at most 256
    /// characters, its description 4096, each of 25 fields 256 and 1024, and all together 6000
    /// (<https://discord.com/developers/docs/resources/message#embed-object-embed-limits>); `content` has 2000.
    Discord,
    /// <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using>: an adaptive
    /// card, at most 28 KB. Senders report that 14,000 characters are refused already
    /// (<https://stackoverflow.com/questions/78034694>), as if it were counted in UTF-16: so it is counted here.
    Teams,
    /// <https://developers.google.com/workspace/chat/quickstart/webhooks>: a card, at most 32,000 bytes. The address is the
    /// method `spaces.messages.create`, which posts nothing again for a `requestId` that it knows
    /// (<https://developers.google.com/workspace/chat/api/reference/rest/v1/spaces.messages/create>).
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

    /// The address to post to. Discord answers with the message, which confirms it, if it is asked to wait. Google Chat
    /// takes the event's id as the key by which it tells a repetition.
    pub(super) fn address(self, url: &Url, event: EventId) -> Url {
        let (name, value) = match self {
            Service::Discord => ("wait", "true".to_owned()),
            Service::GoogleChat => ("requestId", event.to_string()),
            Service::Slack | Service::Mattermost | Service::Teams => return url.clone(),
        };
        let mut url = url.clone();
        if !url.query_pairs().any(|(given, _)| given == name) {
            url.query_pairs_mut().append_pair(name, &value);
        }
        url
    }

    /// How a value is escaped within this service's markup.
    pub(super) fn escaping(self) -> fn(&str) -> String {
        match self {
            Service::Slack => |value| entities(&harmless(value)),
            Service::Mattermost => |value| mattermost(&harmless(value)),
            Service::Discord | Service::Teams => |value| backslashes(&harmless(value)),
            Service::GoogleChat => |value| without_angles(&harmless(value)),
        }
    }

    /// What a 2xx answer says about the message. The body is whole.
    ///
    /// Slack and Mattermost answer `ok`, Discord with the message and its `id` (or 204, if the operator's address does not
    /// let it wait), Google Chat with the message's `name`. A workflow of Teams answers 202 without a body, and with
    /// whatever its maker chose if it answers by itself: there only a page is no confirmation. An old connector of Teams
    /// answers 200 with `1`, or with `Webhook message delivery failed with error: … HTTP error 429 …`.
    pub(super) fn said(self, status: u16, body: &[u8]) -> Said {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        let names = |key: &str| serde_json::from_str::<Value>(text).is_ok_and(|body| body[key].is_string());
        let is_posted = match self {
            Service::Slack | Service::Mattermost => text == "ok",
            Service::Discord => status == 204 || names("id"),
            Service::GoogleChat => names("name"),
            Service::Teams if text.contains("delivery failed") => {
                let status = text.split("HTTP error ").nth(1).and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
                let is_over = status.is_some_and(|status| !matches!(status, 408 | 429 | 500..=599));
                return if is_over { Said::Refused } else { Said::Later };
            }
            Service::Teams => !text.starts_with('<'),
        };
        if is_posted { Said::Posted } else { Said::Nothing }
    }

    /// What a person has to do if an answer concerns the webhook itself, so that every other message would get it too.
    ///
    /// Mattermost answers 400 for a webhook that was removed
    /// (<https://github.com/mattermost/mattermost/blob/master/server/channels/app/webhook.go>).
    pub(super) fn complaint(self, status: u16, body: &[u8]) -> Option<&'static str> {
        let is_unknown = self == Service::Mattermost
            && status == 400
            && String::from_utf8_lossy(body).contains("web.incoming_webhook.invalid.app_error");
        match status {
            404 | 410 => Some("The webhook was probably removed: make a new one"),
            401 | 403 => Some("The service refuses this webhook: allow it there, or make a new one"),
            _ => is_unknown.then_some("The webhook was probably removed: make a new one"),
        }
    }

    /// The operator's own text, already escaped where needed.
    pub(super) fn of_text(self, text: &str) -> Value {
        match self {
            Service::Slack => json!({"text": cut(text, 3000), "unfurl_links": false, "unfurl_media": false}),
            Service::Mattermost => json!({"text": cut(text, 16_000)}),
            Service::Discord => json!({"content": cut(text, 2000), "allowed_mentions": {"parse": []}}),
            Service::Teams => teams_text(text),
            Service::GoogleChat => json!({"text": cut(text, 4000)}),
        }
    }

    /// What an event says.
    pub(super) fn of_told(self, told: &Told, language: Language) -> Value {
        let told = &visible(told);
        match self {
            Service::Slack => slack(told, language),
            Service::Mattermost => json!({"text": mattermost_text(told, language)}),
            Service::Discord => discord(told),
            Service::Teams => teams(told),
            Service::GoogleChat => google(told),
        }
    }
}

/// What an answer with a 2xx status says about the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It was posted.
    Posted,
    /// It was not, and may be later.
    Later,
    /// It was not, and never will be.
    Refused,
    /// Nothing that the service documents.
    Nothing,
}

/// True for a text of which nothing can be seen.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_whitespace()
            || c.is_control()
            || matches!(
                c,
                '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            )
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || matches!(c, '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}')
    })
}

/// What is told, without mentions and links, and without texts of which nothing can be seen.
fn visible(told: &Told) -> Told {
    let seen = |text: &String| (!is_blank(text)).then(|| harmless(text));
    Told {
        title: seen(&told.title).unwrap_or_else(|| "…".to_owned()),
        sentence: told.sentence.as_ref().and_then(seen),
        facts: told
            .facts
            .iter()
            .filter_map(|fact| Some(Fact { label: fact.label, value: seen(&fact.value)? }))
            .collect(),
        advice: told.advice.as_ref().and_then(seen),
    }
}

/// A blank of no width after everything that makes a mention or a link of the text behind it: `@`, the colon of an address
/// (`https:`, `mailto:x`), `www`. It stays readable, and the time in `14:05` is untouched.
fn harmless(text: &str) -> String {
    const BREAK: char = '\u{200b}';
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    // `www2.` begins a link as `www.` does.
    let is_www = |word: &str| word.trim_end_matches(|c: char| c.is_ascii_digit()).to_ascii_lowercase().ends_with("www");
    let mut written = String::with_capacity(text.len());
    // The characters before the present one that could be the scheme of an address.
    let mut word = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '.' && is_www(&word) {
            written.push(BREAK);
        }
        written.push(c);
        let begins_address = c == ':'
            && word.contains(|c: char| c.is_ascii_alphabetic())
            && rest.peek().is_some_and(|next| !next.is_whitespace());
        if c == '@' || begins_address {
            written.push(BREAK);
        }
        if is_part(c) {
            word.push(c);
        } else {
            word.clear();
        }
    }
    written
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

/// The first facts that fit into so many units and so many facts; a fact that is left out is not left out silently. The
/// labels are short words of ours without markup, so they need no escape, and services that take labels literally would
/// show one.
fn facts(told: &Told, most: usize, mut room: usize) -> Vec<(&'static str, String)> {
    let mut facts: Vec<(&'static str, String)> = Vec::new();
    for (index, Fact { label, value }) in told.facts.iter().enumerate() {
        // The longest escapes, such as `&amp;`, have five units.
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

/// A backslash before everything that Markdown could take for markup.
fn backslashes(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\`*_{}[]()<>#+-.!|~:".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The same for Mattermost, whose backslash is no escape before `<`, `$` (a formula), or a backslash before a letter: these
/// are entities, which it shows as what they stand for.
fn mattermost(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\\' => escaped.push_str("&#92;"),
            '$' => escaped.push_str("&#36;"),
            _ => {
                if "`*_{}[]()#+-.!|~".contains(c) {
                    escaped.push('\\');
                }
                escaped.push(c);
            }
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
    json!({"text": fit(&told.title, 1000, entities), "blocks": blocks, "unfurl_links": false, "unfurl_media": false})
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
        let line =
            |(label, value): &(&str, String)| format!("- {label}{}{}", colon(language), fit(value, 1500, mattermost));
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
        .map(|(label, value)| json!({"name": label, "value": fit(value, 1024, backslashes), "inline": true}))
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

/// The operator's text, as much of it as a card may hold.
fn teams_text(text: &str) -> Value {
    let mut most = 8000;
    loop {
        let card = card(&[json!({"type": "TextBlock", "text": cut(text, most), "wrap": true})]);
        if 2 * units(&card.to_string()) <= TEAMS_BYTES || most < 2 {
            return card;
        }
        most = most * 3 / 4;
    }
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
        .map(|(label, value)| json!({"title": label, "value": fit(value, 1500, backslashes)}))
        .collect();
    if !facts.is_empty() {
        body.push(json!({"type": "FactSet", "facts": facts}));
    }
    body.extend(told.advice.as_deref().map(block));
    card(&body)
}

fn google(told: &Told) -> Value {
    let paragraph = |text: &str| json!({"textParagraph": {"text": fit(text, 3000, entities)}});
    let mut widgets: Vec<Value> = told.sentence.as_deref().map(paragraph).into_iter().collect();
    widgets.extend(facts(told, 30, 9000).iter().map(|(label, value)| {
        json!({"decoratedText": {"topLabel": label, "text": fit(value, 1500, entities), "wrapText": true}})
    }));
    widgets.extend(told.advice.as_deref().map(paragraph));
    let mut content = json!({"header": {"title": fit(&told.title, 200, without_angles)}});
    if !widgets.is_empty() {
        content["sections"] = json!([{"widgets": widgets}]);
    }
    json!({"cardsV2": [{"cardId": "event", "card": content}], "fallbackText": fit(&told.title, 1000, without_angles)})
}
