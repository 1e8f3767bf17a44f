//! Writes the mail: headers, plain text, and HTML without anything that a mail program would have to load.

use std::{fmt::Write as _, time::SystemTime};

use lettre::message::{
    Mailbox, Message as Mail, MultiPart, SinglePart,
    header::{HeaderName, HeaderValue},
};
use minijinja::HtmlEscape;

use crate::{
    model::notice,
    sinks::{
        Message,
        wording::{self, Fact, Language, Reader, Told, colon, format::bounded},
    },
};

/// The longest subject, in characters.
const LONGEST_SUBJECT: usize = 250;

/// Subject, text and HTML of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) subject: String,
    pub(super) text: String,
    /// `None` where the operator writes the text.
    pub(super) html: Option<String>,
}

/// Writes what the message says to the reader; the operator's subject and text go before.
pub(super) fn write(message: &Message, reader: &Reader, subject: Option<String>, text: Option<String>) -> Written {
    let told = wording::tell(message, reader);
    let subject = bounded(&subject.unwrap_or_else(|| told.title.clone()), LONGEST_SUBJECT);
    if let Some(text) = text {
        return Written { subject, text, html: None };
    }
    let footer = footer(message, reader.language);
    let body = told.text(reader.language);
    let text = format!("{}\n\n{body}\n-- \n{footer}\n", told.title);
    Written { subject, text, html: Some(html(&told, &footer, reader.language)) }
}

fn footer(message: &Message, language: Language) -> String {
    let id = message.event_id;
    match language {
        Language::Fr => format!("Envoyé automatiquement par finkare-relay, événement {id}"),
        Language::En => format!("Sent automatically by finkare-relay, event {id}"),
    }
}

fn html(told: &Told, footer: &str, language: Language) -> String {
    let lang = match language {
        Language::Fr => "fr",
        Language::En => "en",
    };
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"{lang}\"><head><meta charset=\"utf-8\"><title>{0}</title></head>\
         <body style=\"font-family: sans-serif\">\n<h2>{0}</h2>\n",
        escaped(&told.title)
    );
    if let Some(sentence) = &told.sentence {
        let _ = writeln!(html, "<p>{}</p>", escaped(sentence));
    }
    if !told.facts.is_empty() {
        html.push_str("<table>\n");
        for Fact { label, value } in &told.facts {
            let (label, value) = (escaped(label), escaped(value));
            let _ = writeln!(
                html,
                "<tr><th style=\"text-align: left; padding-right: 1em\">{label}{}</th><td>{value}</td></tr>",
                colon(language).trim_end()
            );
        }
        html.push_str("</table>\n");
    }
    if let Some(advice) = &told.advice {
        let _ = writeln!(html, "<p><strong>{}</strong></p>", escaped(advice));
    }
    let _ = write!(html, "<p style=\"color: #666\"><small>{}</small></p>\n</body></html>\n", escaped(footer));
    html
}

/// A text between tags.
fn escaped(text: &str) -> String {
    HtmlEscape(text).to_string()
}

/// The same for every try and replay of an event (RFC 5322, section 3.6.4).
pub(super) fn message_id(message: &Message, from: &Mailbox) -> String {
    format!("<{}@{}>", message.event_id, from.email.domain())
}

/// The mail as it is sent.
///
/// # Errors
/// The library refuses a header.
pub(super) fn build(message: &Message, from: &Mailbox, to: &[Mailbox], written: Written) -> Result<Vec<u8>, String> {
    let Written { subject, text, html } = written;
    let mut builder = Mail::builder()
        .from(from.clone())
        .subject(subject)
        .date(SystemTime::from(message.received_at))
        .message_id(Some(message_id(message, from)));
    // Mailboxes show mails together that refer to the same one, although nobody ever received it.
    let thread = match (&message.invoice_id, notice::is_own(&message.event_type)) {
        (Some(invoice), _) => Some(format!("invoice.{}", plain_id(invoice))),
        (None, true) => Some("notices".to_owned()),
        (None, false) => None,
    };
    if let Some(thread) = thread {
        builder = builder.references(format!("<{thread}@finkare-relay.{}>", from.email.domain()));
    }
    for mailbox in to {
        builder = builder.to(mailbox.clone());
    }
    let built = match html {
        Some(html) => builder.multipart(MultiPart::alternative_plain_html(text, html)),
        None => builder.singlepart(SinglePart::plain(text)),
    };
    let mut mail = built.map_err(|error| error.to_string())?;
    // No absence notes and no receipts come back (RFC 3834, section 5).
    for (name, value) in [("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All")] {
        let name = HeaderName::new_from_ascii_str(name);
        mail.headers_mut().insert_raw(HeaderValue::new(name, value.to_owned()));
    }
    Ok(mail.formatted())
}

/// An id in characters that need no quoting in a `Message-ID`.
fn plain_id(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(100).collect()
}
