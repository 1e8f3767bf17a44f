//! The JSON object that line and broker sinks write for a message.
//!
//! ```text
//! {"id":…,"type":…,"endpoint":…,"invoice_id":…,"received_at":…,"payload":…}
//! ```
//!
//! `endpoint` is `null` for one of the relay's own events that is about none.
//!
//! For a sink with `enrich`, Finkare's data about the event follows at the end: `"resolved":{"invoice":{…},"payment":{…}}`
//! (see [`Resolved`]).
//!
//! The payload is embedded as Finkare wrote it: numbers keep their text, keys their order, strings their escapes. Only line
//! breaks between tokens become blanks, so that the object stays on one line. A payload that is not JSON is written as a
//! string; for one that is not even UTF-8, `payload` is `null` and the bytes are in `payload_base64`.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Message, Resolved, preview::Preview};
use crate::model::id::EventId;

#[derive(Serialize)]
struct Object<'a> {
    id: EventId,
    r#type: &'a str,
    endpoint: Option<&'a str>,
    invoice_id: Option<&'a str>,
    received_at: String,
    payload: Payload<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<&'a Resolved>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payload<'a> {
    Json(&'a RawValue),
    Text(&'a str),
    Binary,
}

/// The object, on one line, without a line break at the end.
///
/// `received_at` is RFC 3339 in UTC, always with six digits of microseconds.
pub fn object(message: &Message) -> Vec<u8> {
    let payload = match serde_json::from_slice::<&RawValue>(&message.payload) {
        Ok(json) => Payload::Json(json),
        Err(_) => std::str::from_utf8(&message.payload).map_or(Payload::Binary, Payload::Text),
    };
    let payload_base64 = matches!(payload, Payload::Binary).then(|| BASE64_STANDARD.encode(&message.payload));
    let object = Object {
        id: message.event_id,
        r#type: &message.event_type,
        endpoint: message.endpoint(),
        invoice_id: message.invoice_id.as_deref(),
        received_at: format!("{:.6}", message.received_at),
        payload,
        payload_base64,
        resolved: message.resolved.as_deref(),
    };
    let mut bytes = Vec::with_capacity(message.payload.len() + 256);
    serde_json::to_writer(&mut bytes, &object).expect("texts and checked JSON always serialise, and a Vec takes all");
    // JSON allows no bare line break inside a string, so each of them is between two tokens.
    for byte in &mut bytes {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    bytes
}

/// The object as a preview of a sink that writes lines.
pub(super) fn preview(message: &Message) -> Preview {
    Preview::Line(String::from_utf8_lossy(&object(message)).into_owned())
}

/// The object with a line break at its end, and no other line break.
pub fn line(message: &Message) -> Vec<u8> {
    let mut line = object(message);
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{dispatch::Trigger, id::DispatchId};
    use proptest::prelude::*;

    fn message(payload: &[u8]) -> Message {
        Message {
            event_id: "0192f3a4-5b6c-7d8e-9f01-23456789abcd".parse().unwrap(),
            dispatch_id: DispatchId(1),
            endpoint: "production".into(),
            event_type: "payment.received".into(),
            invoice_id: Some("c3d4".into()),
            received_at: "2026-03-15T11:30:00+01:00".parse().unwrap(),
            content_type: None,
            payload: payload.to_vec().into(),
            attempt: 1,
            trigger: Trigger::Event,
            trace: None,
            resolved: None,
        }
    }

    fn text(payload: &[u8]) -> String {
        String::from_utf8(line(&message(payload))).unwrap()
    }

    #[test]
    fn embeds_the_payload_as_it_was_written() {
        assert_eq!(
            text(b"{ \"b\":1.50,\r\n\"a\":1e400, \"a\":12345678901234567890123, \"e\":\"\\u00e9\\n\\ud800\" }\n"),
            concat!(
                r#"{"id":"0192f3a4-5b6c-7d8e-9f01-23456789abcd","type":"payment.received","endpoint":"production","#,
                r#""invoice_id":"c3d4","received_at":"2026-03-15T10:30:00.000000Z","#,
                r#""payload":{ "b":1.50,  "a":1e400, "a":12345678901234567890123, "e":"\u00e9\n\ud800" }}"#,
                "\n"
            )
        );
    }

    #[test]
    fn what_is_not_json_is_a_string_or_base64() {
        assert!(text(b"a=1\nb=\"2\"").ends_with(",\"payload\":\"a=1\\nb=\\\"2\\\"\"}\n"));
        assert!(text(b"").ends_with(",\"payload\":\"\"}\n"));
        assert!(text(b"{} {}").ends_with(",\"payload\":\"{} {}\"}\n"));
        assert!(text(b"\xff\n\x00").ends_with(",\"payload\":null,\"payload_base64\":\"/woA\"}\n"));
        assert!(text(b"null").ends_with(",\"payload\":null}\n"), "JSON's null is not binary");
        // JSON in every respect but the encoding of its string.
        assert!(text(b"\"\xff\"").contains("payload_base64"));
    }

    #[test]
    fn an_event_without_invoice_says_null() {
        let line = line(&Message { invoice_id: None, ..message(b"1") });
        assert!(String::from_utf8(line).unwrap().contains(r#""invoice_id":null"#));
    }

    #[test]
    fn what_finkare_says_stands_behind_the_payload() {
        let invoice = crate::model::booking::Invoice {
            id: "i".into(),
            number: "F-1\n".into(),
            amount_cents: None,
            currency: None,
            status: None,
            debtor: None,
        };
        let resolved = Some(std::sync::Arc::new(Resolved { invoice: Some(invoice), payment: None }));
        let line = String::from_utf8(line(&Message { resolved, ..message(b"[1]") })).unwrap();
        assert!(
            line.ends_with(concat!(
                r#","payload":[1],"resolved":{"invoice":{"id":"i","number":"F-1\n","amount_cents":null,"#,
                r#""currency":null,"status":null}}}"#,
                "\n"
            )),
            "{line}"
        );
        assert!(!text(b"[1]").contains("resolved"), "absent where nobody asked for it");
    }

    #[test]
    fn depth_does_not_matter() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(text(deep.as_bytes()).contains(&deep));
    }

    proptest! {
        #[test]
        fn is_one_line_from_which_the_payload_comes_back(payload in prop_oneof![
            any::<Vec<u8>>(), any::<String>().prop_map(String::into_bytes), "[\\[\\]{}\",:0-9\n\r ]{0,12}".prop_map(String::into_bytes),
        ]) {
            let line = line(&message(&payload));
            prop_assert_eq!(line.iter().filter(|byte| matches!(**byte, b'\n' | b'\r')).count(), 1);
            let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
            if let Some(base64) = read.get("payload_base64") {
                prop_assert_eq!(BASE64_STANDARD.decode(base64.as_str().unwrap()).unwrap(), payload);
            } else if let Ok(json) = serde_json::from_slice::<serde_json::Value>(&payload) {
                prop_assert_eq!(&read["payload"], &json);
            } else {
                prop_assert_eq!(read["payload"].as_str().unwrap().as_bytes(), payload);
            }
        }
    }
}
