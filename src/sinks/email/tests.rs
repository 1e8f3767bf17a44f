use mail_parser::{HeaderValue, MessageParser};
use serde_json::json;

use super::*;
use crate::{
    model::{
        dispatch::Trigger,
        id::{DispatchId, EventId},
    },
    sinks::kind::Kind,
};

fn parse(more: &str) -> Result<Options, String> {
    let text = format!(
        "type = \"email\"\nfrom = \"Relais Finkare <relais@example.fr>\"\nto = [\"compta@example.fr\"]\n{more}"
    );
    let kind = Kind::parse(&text).map_err(|problems| problems.lines().join("\n"))?;
    Ok(kind.options::<Options>().unwrap().clone())
}

fn message(data: &serde_json::Value) -> Message {
    Message {
        event_id: "0192f3a4-5b6c-7d8e-9f01-23456789abcd".parse::<EventId>().unwrap(),
        dispatch_id: DispatchId(1),
        endpoint: "production".into(),
        event_type: "payment.received".into(),
        invoice_id: Some("c3d4 <x>".into()),
        received_at: "2026-11-27T13:05:00Z".parse().unwrap(),
        content_type: None,
        payload: json!({"event": "payment.received", "data": data}).to_string().into_bytes().into(),
        attempt: 1,
        trigger: Trigger::Event,
        trace: None,
        resolved: None,
    }
}

fn built(options: &Options, message: &Message) -> Vec<u8> {
    let email = Email::new(options, Duration::from_secs(5));
    mail::build(message, &options.from, &options.to, email.written(message).unwrap()).unwrap()
}

#[test]
fn the_server_is_read_from_its_address() {
    let server = |url: &str| server(&Secret::new(url)).unwrap();
    let one = server("smtps://us%40er:p%2Fw@mail.example.fr");
    assert_eq!((one.host.as_str(), one.port, one.encryption), ("mail.example.fr", 465, Encryption::FromTheStart));
    let login = one.login.unwrap();
    assert_eq!((login.user.as_str(), login.password.expose()), ("us@er", "p/w"));
    assert_eq!((server("smtp://mail.example.fr?tls=required").port, server("smtp://localhost:2525").port), (587, 2525));
    assert_eq!(server("smtp://[::1]").host, "::1");
    for (url, problem) in [
        ("http://user:secret-1@x", "does not begin with `smtp://`"),
        ("smtps://user:secret-1@x?tls=required", "`smtps://` always has TLS"),
        ("smtp://user:secret-1@x?tls=maybe", "another `tls` than `required`"),
        ("smtp://user:secret-1@x?starttls=1", "a parameter other than `tls`"),
        ("smtp://user:secret-1/2@x", "seems to contain a password"),
        ("smtp://secret-1@x", "a user without a password"),
        ("smtp://user:secret-1@x/inbox", "has a path"),
    ] {
        let wrong = super::server(&Secret::new(url)).unwrap_err();
        assert!(wrong.contains(problem) && !wrong.contains("secret-1"), "{url}: {wrong}");
    }
}

#[test]
fn options_are_checked() {
    let unencrypted = parse("smtp_url = \"smtp://user:secret-1@mail.example.fr\"").unwrap_err();
    assert!(unencrypted.contains("unencrypted") && !unencrypted.contains("secret-1"), "{unencrypted}");
    parse("smtp_url = \"smtp://user:secret-1@127.0.0.1\"").unwrap();
    for (more, problem) in [
        ("", "smtp_url"),
        ("smtp_url = \"smtp://localhost\"\nreply_to = \"x\"", "reply_to"),
        ("smtp_url = \"smtp://localhost\"\nsubject = \"{{ nothing\"", "cannot be read"),
        ("smtp_url = \"smtp://localhost\"\ntimezone = \"Mars/Base\"", "is not a time zone"),
        ("smtp_url = \"smtp://localhost\"\ncurrency = \"euro\"", "is not a currency"),
    ] {
        let wrong = parse(more).unwrap_err();
        assert!(wrong.contains(problem), "{wrong}");
    }
    let shown = format!("{:?}", parse("smtp_url = \"smtps://user:secret-1@mail.example.fr\"").unwrap());
    assert!(!shown.contains("secret-1") && shown.contains("mail.example.fr:465"), "{shown}");
}

#[test]
fn a_mail_is_what_a_mailbox_reads() {
    let options = parse("smtp_url = \"smtp://localhost\"").unwrap();
    let message = message(&json!({"invoiceId": "c3d4 <x>", "invoiceNumber": "F-1 <b> & co", "amountCents": 150_000}));
    let bytes = built(&options, &message);
    assert!(bytes.is_ascii(), "servers without 8BITMIME take it");
    let mail = MessageParser::default().parse(&bytes).unwrap();
    assert_eq!(mail.subject(), Some("Paiement reçu\u{a0}: 1\u{202f}500,00\u{a0}€ pour la facture F-1 <b> & co"));
    assert_eq!(mail.message_id(), Some("0192f3a4-5b6c-7d8e-9f01-23456789abcd@example.fr"));
    assert_eq!(mail.from().unwrap().first().unwrap().name(), Some("Relais Finkare"));
    assert_eq!(mail.header("Auto-Submitted").unwrap(), &HeaderValue::Text("auto-generated".into()));
    assert_eq!(mail.references().as_text(), Some("invoice.c3d4__x_@finkare-relay.example.fr"));
    let (text, html) = (mail.body_text(0).unwrap(), mail.body_html(0).unwrap());
    assert!(
        text.contains("Montant\u{a0}: 1\u{202f}500,00\u{a0}€") && text.contains("27 novembre 2026 à 14:05"),
        "{text}"
    );
    assert!(html.contains("F-1 &lt;b&gt; &amp; co") && !html.contains("<b>") && html.contains("lang=\"fr\""), "{html}");
}

#[test]
fn no_event_writes_a_header() {
    let options = parse("smtp_url = \"smtp://localhost\"\nsubject = \"{{ payload.data.invoiceNumber }}\"").unwrap();
    let message = message(&json!({"invoiceNumber": "F-1\r\nBcc: thief@example.com\r\n\r\nhello"}));
    let bytes = built(&options, &message);
    let mail = MessageParser::default().parse(&bytes).unwrap();
    assert!(mail.bcc().is_none());
    assert_eq!(mail.subject(), Some("F-1  Bcc: thief@example.com    hello"));
}

#[test]
fn templates_write_for_the_reader_and_hold_what_is_missing() {
    let more = "smtp_url = \"smtp://localhost\"\nlanguage = \"en\"\nsubject = \"{{ told.title }} ({{ payload.data.amountCents | money }})\"\ntext = \"{% for fact in told.facts %}{{ fact.label }}={{ fact.value }};{% endfor %} {{ event.received_at | moment }}\"";
    let options = parse(more).unwrap();
    let email = Email::new(&options, Duration::from_secs(5));
    let written = email.written(&message(&json!({"amountCents": 4200}))).unwrap();
    assert_eq!(written.subject, "Payment received: €42.00 (€42.00)");
    assert!(
        written.text.starts_with("Amount=€42.00;") && written.text.ends_with("27 November 2026 at 14:05"),
        "{}",
        written.text
    );
    assert_eq!(written.html, None);
    let broken = email.written(&message(&json!({}))).unwrap_err();
    assert!(broken.to_string().contains("`payload.data.amountCents`"), "{broken}");
}
