//! What a refused signature was probably meant to be: other ways to read the header, the body as it
//! may have been before something on the way changed it.
//!
//! Only for explaining refusals to an operator, after the answer has been decided: nothing that is
//! found here ever makes a delivery genuine. Pure, like the rest of [`crate::signature`]; the keys
//! are tried by [`crate::secrets`], which alone has them.

use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use http::HeaderMap;

use super::{finkare::HEADER, hmac::Tag, reserialize::reserialize};

/// So many values of a repeated header are looked at.
const MOST_VALUES: usize = 4;
/// Longer values are not looked into; the longest that means something is below 100 bytes.
const LONGEST_VALUE: usize = 512;

const BASE64: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// How a header's value looks, without the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// There is no header.
    None,
    /// Nothing but blanks.
    Empty,
    /// Hexadecimal digits.
    Hex,
    /// `sha256=` and hexadecimal digits.
    PrefixedHex,
    /// Another prefix that ends in `=`, `,` or `:`, and hexadecimal digits.
    OtherPrefix,
    /// Base64 of 32 bytes, of either alphabet.
    Base64,
    /// Any other printable ASCII.
    Text,
    /// Anything else.
    Bytes,
    /// More than one header.
    Repeated,
}

impl Shape {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Empty => "empty",
            Self::Hex => "hex",
            Self::PrefixedHex => "sha256=hex",
            Self::OtherPrefix => "other-prefix",
            Self::Base64 => "base64",
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::Repeated => "repeated",
        }
    }
}

/// A signature that a header may have been meant to carry.
#[derive(Clone, Copy)]
pub struct Claim {
    /// The tag.
    pub tag: Tag,
    /// How it was written.
    pub written: Written,
}

/// Without the tag: it is a credential.
impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("written", &self.written).finish_non_exhaustive()
    }
}

/// How a tag was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// As it should be.
    Properly,
    /// In hexadecimal behind a prefix that is not `sha256=`.
    WithOtherPrefix,
    /// In base64.
    InBase64,
}

/// What the signature headers of a delivery say and how they look.
#[derive(Debug, Clone)]
pub struct Headers {
    /// How the value looks.
    pub shape: Shape,
    /// Its length in bytes; the first one's, where there are several.
    pub length: Option<usize>,
    /// Every tag that can be read out of it.
    pub claims: Vec<Claim>,
}

/// Reads the signature headers.
pub fn headers(headers: &HeaderMap) -> Headers {
    let mut values = headers.get_all(HEADER).iter().map(http::HeaderValue::as_bytes);
    let Some(first) = values.next() else { return Headers { shape: Shape::None, length: None, claims: Vec::new() } };
    let (shape, mut claims) = value(first);
    let mut more = false;
    for other in values.take(MOST_VALUES - 1) {
        more = true;
        claims.extend(value(other).1);
    }
    Headers { shape: if more { Shape::Repeated } else { shape }, length: Some(first.len()), claims }
}

fn value(value: &[u8]) -> (Shape, Vec<Claim>) {
    if value.len() > LONGEST_VALUE {
        return (if value.is_ascii() { Shape::Text } else { Shape::Bytes }, Vec::new());
    }
    let value = value.trim_ascii();
    let Ok(text) = std::str::from_utf8(value) else { return (Shape::Bytes, Vec::new()) };
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let claim = |tag: Option<Tag>, written| tag.map(|tag| Claim { tag, written }).into_iter().collect::<Vec<_>>();
    if text.is_empty() {
        (Shape::Empty, Vec::new())
    } else if is_hex(text) {
        (Shape::Hex, claim(hex_tag(text), Written::Properly))
    } else if let Some(tag) = base64_tag(text) {
        (Shape::Base64, claim(Some(tag), Written::InBase64))
    } else if let Some((prefix, rest)) = text.rsplit_once(['=', ',', ':'])
        && is_hex(rest)
    {
        if prefix.eq_ignore_ascii_case("sha256") && text.as_bytes()[prefix.len()] == b'=' {
            (Shape::PrefixedHex, claim(hex_tag(rest), Written::Properly))
        } else {
            (Shape::OtherPrefix, claim(hex_tag(rest), Written::WithOtherPrefix))
        }
    } else {
        // Base64 may end in `=`, so the separator is the first one here: `v1,…=`, `sha256=…=`.
        let behind = text.split_once(['=', ',', ':']).and_then(|(_, rest)| base64_tag(rest));
        match behind {
            Some(tag) => (Shape::Base64, claim(Some(tag), Written::InBase64)),
            None if text.is_ascii() => (Shape::Text, Vec::new()),
            None => (Shape::Bytes, Vec::new()),
        }
    }
}

fn hex_tag(text: &str) -> Option<Tag> {
    let mut tag = Tag::default();
    hex::decode_to_slice(text, &mut tag).ok().map(|()| tag)
}

fn base64_tag(text: &str) -> Option<Tag> {
    let alphabets = [&alphabet::STANDARD, &alphabet::URL_SAFE];
    alphabets.into_iter().find_map(|alphabet| {
        GeneralPurpose::new(alphabet, BASE64).decode(text).ok().and_then(|bytes| bytes.try_into().ok())
    })
}

/// How a body may have looked when it was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As it came.
    AsItCame,
    /// Written again, compactly, as `JSON.stringify` does.
    Reserialized,
    /// Without the blanks around it.
    Trimmed,
    /// With a newline at its end.
    NewlineAtEnd,
    /// With a carriage return and a newline at its end.
    CrLfAtEnd,
    /// With newlines where it has carriage returns and newlines.
    LfLines,
    /// With carriage returns and newlines where it has newlines.
    CrLfLines,
    /// Without the byte order mark at its beginning.
    NoByteOrderMark,
    /// Indented by two blanks.
    Indented,
}

impl Reading {
    /// What has happened on the way, to follow "the signature fits the body if".
    pub const fn told(self) -> &'static str {
        match self {
            Self::AsItCame => "it is taken as it came",
            Self::Reserialized => "its JSON is written again without blanks",
            Self::Trimmed => "the blanks or newlines at its beginning and end are removed: something added them",
            Self::NewlineAtEnd => "a newline is added at its end: something removed it",
            Self::CrLfAtEnd => "a carriage return and a newline are added at its end: something removed them",
            Self::LfLines => "its line ends are LF: something turned them into CRLF",
            Self::CrLfLines => "its line ends are CRLF: something turned them into LF",
            Self::NoByteOrderMark => "the byte order mark at its beginning is removed: something added it",
            Self::Indented => "its JSON is indented by two blanks: something wrote it again",
        }
    }
}

/// The body as it came, and every other way in which it may have been signed. Never the same bytes twice.
pub fn readings(body: &Bytes) -> (Vec<Reading>, Vec<Bytes>) {
    let (mut which, mut bytes) = (vec![Reading::AsItCame], vec![body.clone()]);
    let mut add = |reading, text: Bytes| {
        if !bytes.contains(&text) {
            which.push(reading);
            bytes.push(text);
        }
    };
    let trimmed = body.trim_ascii();
    if trimmed.len() < body.len() {
        add(Reading::Trimmed, body.slice_ref(trimmed));
    }
    if let Some(rest) = body.strip_prefix(b"\xef\xbb\xbf") {
        add(Reading::NoByteOrderMark, body.slice_ref(rest));
    }
    add(Reading::NewlineAtEnd, [body, &b"\n"[..]].concat().into());
    add(Reading::CrLfAtEnd, [body, &b"\r\n"[..]].concat().into());
    let lines = crlf_to_lf(body);
    add(Reading::CrLfLines, lf_to_crlf(&lines).into());
    add(Reading::LfLines, lines.into());
    if let Ok(written) = reserialize(body) {
        add(Reading::Reserialized, written.into());
        // Keys keep their order, and numbers as `serde_json` reads them: large or odd ones may differ.
        if let Ok(value) = serde_json::from_slice::<serde_json::Value>(body)
            && let Ok(indented) = serde_json::to_vec_pretty(&value)
        {
            add(Reading::Indented, indented.into());
        }
    }
    (which, bytes)
}

fn crlf_to_lf(body: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(body.len());
    for (at, &byte) in body.iter().enumerate() {
        if !(byte == b'\r' && body.get(at + 1) == Some(&b'\n')) {
            lines.push(byte);
        }
    }
    lines
}

fn lf_to_crlf(body: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(body.len());
    for &byte in body {
        if byte == b'\n' {
            lines.push(b'\r');
        }
        lines.push(byte);
    }
    lines
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "4b1a5ea79e3ff5d2c6b4eb6ef8a2b6d9fce4d4b8a87b3fd5a1e4a5bb6b7d0c1e";

    fn of(values: &[&[u8]]) -> Headers {
        let mut map = HeaderMap::new();
        for value in values {
            map.append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        headers(&map)
    }

    #[test]
    fn a_value_is_seen_through() {
        let tag = hex_tag(HEX).unwrap();
        let base64 = base64::prelude::BASE64_STANDARD.encode(tag);
        let url_safe = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(tag);
        for (value, shape, written) in [
            (HEX.to_owned(), Shape::Hex, Some(Written::Properly)),
            (format!(" {} ", HEX.to_uppercase()), Shape::Hex, Some(Written::Properly)),
            (format!("SHA256={HEX}"), Shape::PrefixedHex, Some(Written::Properly)),
            (format!("v1={HEX}"), Shape::OtherPrefix, Some(Written::WithOtherPrefix)),
            (format!("t=1700000000,v1={HEX}"), Shape::OtherPrefix, Some(Written::WithOtherPrefix)),
            (format!("sha256:{HEX}"), Shape::OtherPrefix, Some(Written::WithOtherPrefix)),
            (base64.clone(), Shape::Base64, Some(Written::InBase64)),
            (url_safe, Shape::Base64, Some(Written::InBase64)),
            (base64.trim_end_matches('=').to_owned(), Shape::Base64, Some(Written::InBase64)),
            (format!("sha256={base64}"), Shape::Base64, Some(Written::InBase64)),
            (format!("v1,{base64}"), Shape::Base64, Some(Written::InBase64)),
            (HEX[2..].to_owned(), Shape::Hex, None),
            ("  ".to_owned(), Shape::Empty, None),
            ("Bearer x".to_owned(), Shape::Text, None),
            ("a".repeat(LONGEST_VALUE + 1), Shape::Text, None),
        ] {
            let read = of(&[value.as_bytes()]);
            assert_eq!((read.shape, read.claims.first().map(|claim| claim.written)), (shape, written), "{value}");
            assert!(read.claims.iter().all(|claim| claim.tag == tag), "{value}");
        }
        assert_eq!(of(&[b"\xff\xfe"]).shape, Shape::Bytes);
        let none = of(&[]);
        assert_eq!((none.shape, none.length), (Shape::None, None));
    }

    #[test]
    fn of_several_headers_each_is_read_and_few_are() {
        let read = of(&[b"x", HEX.as_bytes()]);
        assert_eq!((read.shape, read.length, read.claims.len()), (Shape::Repeated, Some(1), 1));
        assert_eq!(of(&[HEX.as_bytes(); 50]).claims.len(), MOST_VALUES);
        assert!(!format!("{read:?}").contains(&HEX[..8]), "a tag is a credential");
    }

    #[test]
    fn a_body_is_read_as_it_may_have_been() {
        let read = |body: &'static str| {
            let (which, bytes) = readings(&body.into());
            which.into_iter().zip(bytes).collect::<Vec<_>>()
        };
        for (came, was, reading) in [
            ("{\"a\":1}\n", "{\"a\":1}", Reading::Trimmed),
            ("{\"a\":1}", "{\"a\":1}\n", Reading::NewlineAtEnd),
            ("{\"a\":1}", "{\"a\":1}\r\n", Reading::CrLfAtEnd),
            ("{\r\n\"a\":1}", "{\n\"a\":1}", Reading::LfLines),
            ("{\n\"a\":1}", "{\r\n\"a\":1}", Reading::CrLfLines),
            ("\u{feff}{\"a\":1}", "{\"a\":1}", Reading::NoByteOrderMark),
            ("{ \"a\" : 1 }", "{\"a\":1}", Reading::Reserialized),
            ("{\"b\":1,\"a\":2}", "{\n  \"b\": 1,\n  \"a\": 2\n}", Reading::Indented),
        ] {
            assert!(read(came).contains(&(reading, Bytes::from(was))), "{came:?}: {:?}", read(came));
        }
        assert_eq!(read("x")[0], (Reading::AsItCame, Bytes::from("x")));
    }

    proptest! {
        #[test]
        fn any_body_has_few_readings(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let (which, bytes) = readings(&body.clone().into());
            prop_assert!(which.len() == bytes.len() && which.len() <= 9);
            prop_assert_eq!(&bytes[0][..], &body[..]);
        }
    }
}
