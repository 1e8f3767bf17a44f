//! An event that Finkare reported: stored once and never changed.

use std::collections::HashMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256, Sha512_256};

use super::{
    clock,
    id::{EndpointName, EventId, SinkName},
    notice,
};

/// The type given to an event that was signed correctly but could not be read.
pub const UNREADABLE: &str = "unreadable";

/// The type that announces a payment (<https://docs.finkare.io/api-reference/webhooks>).
pub const PAYMENT_RECEIVED: &str = "payment.received";

/// The longest event type and invoice id that are accepted, in bytes; longer ones make an event unreadable.
pub const MAX_TEXT: usize = 200;

/// Recognises an event that is delivered again: 32 bytes, unique within an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DedupeKey(pub [u8; 32]);

impl DedupeKey {
    /// The key by content: SHA-256 of the message that was verified.
    pub fn of_message(message: &[u8]) -> Self {
        Self(Sha256::digest(message).into())
    }

    /// The key from a value in the body, for an event of this type. The operator configures the value's place (see
    /// `endpoints.dedupe`), and [`key_at`] finds it.
    ///
    /// It can never equal a key by content, which is made by another hash function. Each part follows its own length,
    /// so that no two lists of parts look the same.
    pub fn of_value(pointer: &str, event_type: &str, value: &str) -> Self {
        let mut hash = Sha512_256::new();
        for part in [pointer, event_type, value] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

/// The value at a JSON pointer (RFC 6901), if it can distinguish events: a text that is not blank, as JSON, or a
/// number as it is written (`1` and `1.0` are different, and no digit is lost).
///
/// `None` for everything else: `null`, a list and an object are not keys, and a boolean would be the key of half of
/// all events.
pub fn key_at(message: &[u8], pointer: &str) -> Option<String> {
    let mut value: &RawValue = serde_json::from_slice(message).ok()?;
    if !pointer.is_empty() {
        for token in pointer.strip_prefix('/')?.split('/') {
            let token = token.replace("~1", "/").replace("~0", "~");
            value = match value.get().as_bytes().first()? {
                // If a name occurs twice, the last value counts, as everywhere else.
                b'{' => serde_json::from_str::<HashMap<String, &RawValue>>(value.get()).ok()?.remove(&token)?,
                b'[' => {
                    let place = token.parse::<usize>().ok().filter(|place| place.to_string() == token)?;
                    serde_json::from_str::<Vec<&RawValue>>(value.get()).ok()?.get(place).copied()?
                }
                _ => return None,
            };
        }
    }
    match value.get().as_bytes().first()? {
        b'"' => {
            let text: String = serde_json::from_str(value.get()).ok()?;
            // The characters may be escaped in any way.
            (!text.trim().is_empty()).then(|| serde_json::Value::String(text).to_string())
        }
        b'-' | b'0'..=b'9' => Some(value.get().to_owned()),
        _ => None,
    }
}

impl std::fmt::Debug for DedupeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DedupeKey({})", hex::encode(self.0))
    }
}

/// A verified delivery on its way into the store.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The id that the event gets if it is new.
    pub id: EventId,
    /// The endpoint through which it came.
    pub endpoint: EndpointName,
    /// Unique within the endpoint.
    pub dedupe_key: DedupeKey,
    /// `payment.received` and so on, or [`UNREADABLE`].
    pub event_type: String,
    /// `data.invoiceId`, when there is one: events of one invoice keep their order.
    pub invoice_id: Option<String>,
    /// The body's `timestamp`, when there is one. What it means (event or sending) is not documented.
    pub occurred_at: Option<Timestamp>,
    /// When its last byte had arrived.
    pub received_at: Timestamp,
    /// False when it was signed correctly but could not be understood.
    pub readable: bool,
    /// The delivery's `Content-Type`, which HTTP sinks repeat.
    pub content_type: Option<String>,
    /// The verified message: what Finkare sent, byte for byte, unless `signature_over` says otherwise.
    pub payload: Bytes,
    /// The sinks that asked for it; each gets a dispatch in the same transaction.
    pub sinks: Vec<SinkName>,
}

/// The result of recording a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The event's id: the given one, or that of the event that was stored before.
    pub id: EventId,
    /// True if the event was known: the delivery was counted, and no dispatch was written.
    pub duplicate: bool,
}

/// A stored event, without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// See [`NewEvent::id`].
    pub id: EventId,
    /// See [`NewEvent::endpoint`].
    pub endpoint: String,
    /// See [`NewEvent::event_type`].
    pub event_type: String,
    /// See [`NewEvent::invoice_id`].
    pub invoice_id: Option<String>,
    /// See [`NewEvent::occurred_at`].
    pub occurred_at: Option<Timestamp>,
    /// When the first delivery arrived.
    pub received_at: Timestamp,
    /// How many times it was delivered, including the first.
    pub deliveries: u32,
    /// See [`NewEvent::readable`].
    pub readable: bool,
    /// See [`NewEvent::content_type`].
    pub content_type: Option<String>,
    /// The values of its row that cannot be read; these are empty or the nearest possible value here. `None` if all
    /// can be read.
    pub fault: Option<String>,
}

/// The parts of a delivery's body that can be read without knowing every event of Finkare.
///
/// Source of the names: <https://docs.finkare.io/guides/webhook-setup> (`event`, `data`,
/// `timestamp`, `data.invoiceId`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// `event`, or [`UNREADABLE`].
    pub event_type: String,
    /// `data.invoiceId`.
    pub invoice_id: Option<String>,
    /// `timestamp`, if it is RFC 3339 and every store gives it back.
    pub occurred_at: Option<Timestamp>,
    /// False if the body could not be understood; it is stored for a person.
    pub readable: bool,
}

#[derive(Deserialize)]
struct Body {
    event: String,
    #[serde(default, deserialize_with = "lenient")]
    data: Option<Data>,
    #[serde(default, deserialize_with = "lenient_text")]
    timestamp: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default, rename = "invoiceId", deserialize_with = "lenient_text")]
    invoice_id: Option<String>,
}

/// `data` may be anything in an event that we do not know; only an object can hold an invoice id.
fn lenient<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Data>, D::Error> {
    let raw = <&RawValue>::deserialize(input)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

fn lenient_text<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    let raw = <&RawValue>::deserialize(input)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

/// Reads the parts that we need from a verified message.
///
/// Never fails: a message that is not JSON, has no `event` text, or holds texts that no database or header can carry
/// (control characters, more than [`MAX_TEXT`] bytes) is [`UNREADABLE`]. An unknown event type is readable.
pub fn read(message: &[u8]) -> Reading {
    let usable = |text: &str| !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
    match serde_json::from_slice::<Body>(message) {
        // The types of the relay's own events are its own: no delivery may pass for one of them.
        Ok(body) if usable(&body.event) && body.event != UNREADABLE && !notice::is_own(&body.event) => {
            let invoice_id = body.data.and_then(|data| data.invoice_id);
            let readable = invoice_id.as_deref().is_none_or(usable);
            Reading {
                event_type: if readable { body.event } else { UNREADABLE.to_owned() },
                invoice_id: invoice_id.filter(|_| readable),
                occurred_at: body.timestamp.and_then(|text| text.parse().ok()).and_then(clock::storable),
                readable,
            }
        }
        _ => Reading { event_type: UNREADABLE.to_owned(), invoice_id: None, occurred_at: None, readable: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_documented_delivery() {
        let reading = read(
            br#"{"event":"payment.received","data":{"invoiceId":"c3d4","amountCents":150000},"timestamp":"2026-03-15T10:30:00.000Z"}"#,
        );
        assert_eq!(reading.event_type, "payment.received");
        assert_eq!(reading.invoice_id.as_deref(), Some("c3d4"));
        assert_eq!(reading.occurred_at, Some("2026-03-15T10:30:00Z".parse().unwrap()));
        assert!(reading.readable);
    }

    #[test]
    fn an_unknown_event_with_odd_parts_is_readable() {
        for body in [
            r#"{"event":"ping"}"#,
            r#"{"event":"ping","data":7,"timestamp":5}"#,
            r#"{"event":"ping","data":{"invoiceId":5},"timestamp":"yesterday"}"#,
            r#"{"event":"ping","data":null}"#,
        ] {
            let reading = read(body.as_bytes());
            assert!(reading.readable && reading.event_type == "ping" && reading.invoice_id.is_none(), "{body}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_marked() {
        let long = format!(r#"{{"event":"{}"}}"#, "x".repeat(MAX_TEXT + 1));
        for body in [
            "",
            "not json",
            "[]",
            "{}",
            r#"{"event":5}"#,
            r#"{"event":""}"#,
            r#"{"event":"a\u0000b"}"#,
            r#"{"event":"a","data":{"invoiceId":"x\u0000"}}"#,
            r#"{"event":"a"} trailing"#,
            r#"{"event":"relay.held","data":{"count":1}}"#,
            &long,
        ] {
            let reading = read(body.as_bytes());
            assert!(!reading.readable && reading.event_type == UNREADABLE, "{body:.60}");
        }
        assert!(!read(&[0xff, 0xfe, 0x00]).readable);
        // However deep, reading it ends.
        read(format!(r#"{{"event":"a","data":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000)).as_bytes());
    }

    #[test]
    fn keys_by_value_and_by_message_never_meet() {
        let key = |pointer, event_type, value| DedupeKey::of_value(pointer, event_type, value);
        assert_eq!(key("/id", "ping", "\"evt_1\""), key("/id", "ping", "\"evt_1\""));
        assert_ne!(key("/id", "ping", "\"evt_1\""), key("/data/id", "ping", "\"evt_1\""));
        assert_ne!(key("/id", "ping", "\"evt_1\""), key("/id", "pong", "\"evt_1\""));
        assert_ne!(key("/id", "ping", "1"), key("/id", "pin", "g1"));
        assert_ne!(key("/id", "ping", "\"evt_1\""), DedupeKey::of_message(b"\"evt_1\""));
        // A message that is what is hashed for a value.
        let mut message = Vec::new();
        for part in ["/id", "ping", "1"] {
            message.extend_from_slice(&(part.len() as u64).to_be_bytes());
            message.extend_from_slice(part.as_bytes());
        }
        assert_ne!(key("/id", "ping", "1"), DedupeKey::of_message(&message));
    }

    #[test]
    fn only_what_tells_events_apart_is_a_key() {
        let at = |message: &str, pointer| key_at(message.as_bytes(), pointer);
        let body =
            r#"{"id":"e1","n":[7,{"a/b~c":1.0}],"big":123456789012345678901234567890,"e":1e0,"u":"\u0065\u0031"}"#;
        for (pointer, value) in [
            ("/id", "\"e1\""),
            ("/u", "\"e1\""),
            ("/n/0", "7"),
            ("/n/1/a~1b~0c", "1.0"),
            ("/e", "1e0"),
            ("/big", "123456789012345678901234567890"),
        ] {
            assert_eq!(at(body, pointer).as_deref(), Some(value), "{pointer}");
        }
        for pointer in ["", "/n", "/n/1", "/n/2", "/n/00", "/n/-", "/id/x", "/none", "id"] {
            assert_eq!(at(body, pointer), None, "{pointer}");
        }
        for none in ["\"\"", "\" \\n\"", "null", "true", "false", "[]", "[1]", "{}", "{\"a\":1}"] {
            assert_eq!(at(&format!("{{\"id\":{none}}}"), "/id"), None, "{none}");
        }
        assert_eq!(at(r#"{"id":"a","id":"b"}"#, "/id").as_deref(), Some("\"b\""));
        assert_eq!(at("not json", "/id"), None);
        assert_eq!(at("\"whole\"", "").as_deref(), Some("\"whole\""));
    }

    #[test]
    fn a_time_that_no_store_gives_back_is_none() {
        let at = |text: &str| read(format!(r#"{{"event":"ping","timestamp":"{text}"}}"#).as_bytes()).occurred_at;
        for kept in [
            "1970-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999Z",
            "0001-01-01T00:00:00Z",
            "9999-12-30T21:59:59.999999Z",
        ] {
            assert_eq!(at(kept), Some(kept.parse().unwrap()), "{kept}");
        }
        for none in [
            "9999-12-30T22:00:00.5Z",
            "9999-12-31T23:59:59Z",
            "0000-12-31T23:59:59Z",
            "-000001-01-01T00:00:00Z",
            "-009999-01-02T02:00:00.5Z",
            "+010000-01-01T00:00:00Z",
        ] {
            assert_eq!(at(none), None, "{none}");
        }
        // What is finer than a store keeps is cut, not refused.
        assert_eq!(at("2026-03-15T10:30:00.123456789Z"), Some("2026-03-15T10:30:00.123456Z".parse().unwrap()));
    }
}
