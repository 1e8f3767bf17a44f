//! The form of a signature header, for telling an operator why a delivery was refused. Nothing here makes a delivery
//! genuine: only [`super::finkare`] decides that.

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::{finkare::HEADER, hmac::Tag};

/// The form of a header's value, without the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// There is no header.
    None,
    /// Nothing but blanks.
    Empty,
    /// Hexadecimal digits.
    Hex,
    /// `sha256=` and hexadecimal digits.
    #[serde(rename = "sha256=hex")]
    PrefixedHex,
    /// Another prefix that ends in `=`, `,` or `:`, and hexadecimal digits.
    OtherPrefix,
    /// Base64 of 32 bytes, of either alphabet, with or without a prefix.
    Base64,
    /// Any other printable ASCII.
    Text,
    /// Anything else.
    Bytes,
    /// More than one header.
    Repeated,
}

/// A delivery's signature header.
#[derive(Clone, Copy)]
pub struct Header {
    /// The form of the value.
    pub shape: Shape,
    /// Its length in bytes; if there are several headers, that of the first one.
    pub bytes: Option<usize>,
    /// The signature, if the header is well-formed. It is a credential: never show it.
    pub claimed: Option<Tag>,
}

/// Examines the signature header.
pub fn of(headers: &HeaderMap) -> Header {
    let mut values = headers.get_all(HEADER).iter().map(http::HeaderValue::as_bytes);
    let Some(first) = values.next() else { return Header { shape: Shape::None, bytes: None, claimed: None } };
    let (shape, claimed) = if values.next().is_some() { (Shape::Repeated, None) } else { look(first) };
    Header { shape, bytes: Some(first.len()), claimed }
}

fn look(value: &[u8]) -> (Shape, Option<Tag>) {
    let Ok(text) = std::str::from_utf8(value.trim_ascii()) else { return (Shape::Bytes, None) };
    let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    // Base64 may end in `=`, so its prefix ends at the first separator; a prefix of hex digits ends at the last one.
    let behind = text.split_once(['=', ',', ':']).map_or("", |(_, rest)| rest);
    if text.is_empty() {
        (Shape::Empty, None)
    } else if is_hex(text) {
        (Shape::Hex, tag(text))
    } else if is_base64(text) || is_base64(behind) {
        (Shape::Base64, None)
    } else if let Some((prefix, digits)) = text.rsplit_once(['=', ',', ':'])
        && is_hex(digits)
    {
        let is_usual = prefix.eq_ignore_ascii_case("sha256") && text.as_bytes()[prefix.len()] == b'=';
        if is_usual { (Shape::PrefixedHex, tag(digits)) } else { (Shape::OtherPrefix, None) }
    } else {
        (if text.is_ascii() { Shape::Text } else { Shape::Bytes }, None)
    }
}

fn tag(digits: &str) -> Option<Tag> {
    let mut tag = Tag::default();
    hex::decode_to_slice(digits, &mut tag).ok().map(|()| tag)
}

/// Whether these are 32 bytes in base64 of either alphabet.
fn is_base64(text: &str) -> bool {
    let text = text.trim_end_matches('=');
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use http::HeaderValue;

    use super::*;

    const HEX: &str = "4b1a5ea79e3ff5d2c6b4eb6ef8a2b6d9fce4d4b8a87b3fd5a1e4a5bb6b7d0c1e";

    fn header(values: &[&[u8]]) -> Header {
        let value = |value: &&[u8]| (http::HeaderName::from_static(HEADER), HeaderValue::from_bytes(value).unwrap());
        of(&values.iter().map(value).collect())
    }

    #[test]
    fn a_value_is_named_by_its_shape() {
        let base64 = base64::prelude::BASE64_STANDARD.encode(tag(HEX).unwrap());
        let url_safe = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode([0xfb; 32]);
        for (value, shape, is_claim) in [
            (HEX, Shape::Hex, true),
            (&format!(" {} ", HEX.to_uppercase()), Shape::Hex, true),
            (&format!("SHA256={HEX}"), Shape::PrefixedHex, true),
            (&HEX[2..], Shape::Hex, false),
            (&format!("v1={HEX}"), Shape::OtherPrefix, false),
            (&format!("t=1700000000,v1={HEX}"), Shape::OtherPrefix, false),
            (&format!("sha256:{HEX}"), Shape::OtherPrefix, false),
            (&base64, Shape::Base64, false),
            (&url_safe, Shape::Base64, false),
            (base64.trim_end_matches('='), Shape::Base64, false),
            (&format!("v1,{base64}"), Shape::Base64, false),
            ("  ", Shape::Empty, false),
            ("Bearer x", Shape::Text, false),
        ] {
            let header = header(&[value.as_bytes()]);
            assert_eq!((header.shape, header.claimed.is_some()), (shape, is_claim), "{value}");
        }
        assert_eq!(header(&[b"\xff\xfe"]).shape, Shape::Bytes);
        assert_eq!((header(&[]).shape, header(&[]).bytes), (Shape::None, None));
        let two = header(&[b"x", HEX.as_bytes()]);
        assert_eq!((two.shape, two.bytes, two.claimed), (Shape::Repeated, Some(1), None));
    }
}
