//! JSON written again as JavaScript's `JSON.stringify(JSON.parse(text))` does.
//!
//! The vendor's example signs `JSON.stringify(body)` of the parsed body (source:
//! <https://docs.finkare.io/guides/webhook-setup>). If the bytes on the way differ from that text, only writing it
//! again finds the signed message. This is one pass over the bytes, without a tree: white space is removed, string
//! escapes become those of `JSON.stringify` (source: ECMA-262, `QuoteJSONString`), and the order of keys stays.
//!
//! Two corner cases differ from JavaScript on purpose, because following it would change the message or require
//! JavaScript's number printing:
//!
//! - **Numbers keep their text.** JavaScript writes `1.0` as `1`, `1e2` as `100`, `-0` as `0`, and
//!   loses digits of integers beyond 2^53.
//! - **Keys keep their place.** JavaScript moves keys that look like array indices (`"7"`) to the
//!   front of their object, in ascending order.
//!
//! An object that names a key twice is refused: JavaScript keeps the last value, other readers the first, and we may
//! only act upon what was verified.

use std::ops::Range;

/// Objects and arrays may be nested this deep; `serde_json` has the same limit.
pub const MAX_DEPTH: usize = 128;

/// Why a body cannot be written again. The texts quote nothing of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not UTF-8, so not JSON (RFC 8259, section 8.1).
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("the body is not JSON: unexpected content at byte {at}")]
    NotJson {
        /// Counted from 0; the body's length if it ends too early.
        at: usize,
    },
    /// An object names a key twice.
    #[error("an object in the body names a key twice")]
    DuplicateKey,
    /// Deeper than [`MAX_DEPTH`].
    #[error("the body is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// Writes a JSON text again. See the module for what that means.
///
/// # Errors
/// The text is no JSON, names a key twice in one object, or is nested too deep.
pub fn reserialize(body: &[u8]) -> Result<Vec<u8>, Error> {
    let text = std::str::from_utf8(body).map_err(|_| Error::NotUtf8)?;
    let mut writer = Writer { input: text.as_bytes(), at: 0, output: Vec::with_capacity(body.len()), keys: Vec::new() };
    writer.value(MAX_DEPTH)?;
    writer.skip_blanks();
    if writer.at < writer.input.len() {
        return Err(writer.unexpected());
    }
    Ok(writer.output)
}

/// Reads the input from `at`, which moves only forward, and writes as it goes.
struct Writer<'a> {
    /// Known to be UTF-8.
    input: &'a [u8],
    at: usize,
    output: Vec<u8>,
    /// Where the keys of the open objects stand in the output, those of the innermost object last.
    keys: Vec<Range<usize>>,
}

impl Writer<'_> {
    fn unexpected(&self) -> Error {
        Error::NotJson { at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    /// The next byte, if it is this one; it is written, too.
    fn copy_if(&mut self, wanted: u8) -> bool {
        let fits = self.peek() == Some(wanted);
        if fits {
            self.at += 1;
            self.output.push(wanted);
        }
        fits
    }

    fn copy(&mut self, wanted: u8) -> Result<(), Error> {
        if self.copy_if(wanted) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Skips the bytes for which this is true; returns how many there were.
    fn skip_while(&mut self, fits: impl Fn(u8) -> bool) -> usize {
        let rest = &self.input[self.at..];
        let count = rest.iter().position(|&byte| !fits(byte)).unwrap_or(rest.len());
        self.at += count;
        count
    }

    fn skip_blanks(&mut self) {
        self.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    fn value(&mut self, depth_left: usize) -> Result<(), Error> {
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.object(depth_left.checked_sub(1).ok_or(Error::TooDeep)?),
            Some(b'[') => self.array(depth_left.checked_sub(1).ok_or(Error::TooDeep)?),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => Err(self.unexpected()),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Error> {
        word.iter().try_for_each(|&byte| self.copy(byte))
    }

    fn array(&mut self, depth_left: usize) -> Result<(), Error> {
        self.copy(b'[')?;
        self.skip_blanks();
        if self.copy_if(b']') {
            return Ok(());
        }
        loop {
            self.value(depth_left)?;
            self.skip_blanks();
            if !self.copy_if(b',') {
                return self.copy(b']');
            }
        }
    }

    fn object(&mut self, depth_left: usize) -> Result<(), Error> {
        let first_key = self.keys.len();
        self.copy(b'{')?;
        self.skip_blanks();
        if self.copy_if(b'}') {
            return Ok(());
        }
        loop {
            self.skip_blanks();
            let start = self.output.len();
            self.string()?;
            self.keys.push(start..self.output.len());
            self.skip_blanks();
            self.copy(b':')?;
            self.value(depth_left)?;
            self.skip_blanks();
            if !self.copy_if(b',') {
                self.copy(b'}')?;
                return self.close_object(first_key);
            }
        }
    }

    /// Refuses a repeated key. The keys are compared as written, where `"\u0061"` is `"a"`. Sorting them costs no
    /// more than the length of the body, for any body that a forger makes.
    fn close_object(&mut self, first_key: usize) -> Result<(), Error> {
        let written = |key: &Range<usize>| &self.output[key.clone()];
        let keys = &mut self.keys[first_key..];
        keys.sort_unstable_by(|one, other| written(one).cmp(written(other)));
        let repeated = keys.windows(2).any(|pair| written(&pair[0]) == written(&pair[1]));
        self.keys.truncate(first_key);
        if repeated { Err(Error::DuplicateKey) } else { Ok(()) }
    }

    /// The grammar of RFC 8259, section 6; the text stays as it is.
    fn number(&mut self) -> Result<(), Error> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.output.extend_from_slice(&self.input[start..self.at]);
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Error> {
        match self.skip_while(|byte| byte.is_ascii_digit()) {
            0 => Err(self.unexpected()),
            _ => Ok(()),
        }
    }

    fn string(&mut self) -> Result<(), Error> {
        self.copy(b'"')?;
        loop {
            let start = self.at;
            self.skip_while(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
            self.output.extend_from_slice(&self.input[start..self.at]);
            match self.peek() {
                Some(b'"') => return self.copy(b'"'),
                Some(b'\\') => self.escape()?,
                // A bare control character, or the end.
                _ => return Err(self.unexpected()),
            }
        }
    }

    /// Reads the escape at `at`, and writes it as `JSON.stringify` writes that character.
    fn escape(&mut self) -> Result<(), Error> {
        self.at += 1;
        let named = self.peek().ok_or_else(|| self.unexpected())?;
        let character = match named {
            b'"' | b'\\' | b'/' => char::from(named),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        self.write_character(character);
        Ok(())
    }

    /// The four digits after `\u`, with the second half of a surrogate pair where it follows.
    fn unicode_escape(&mut self) -> Result<(), Error> {
        self.at += 1;
        let first = self.four_hex_digits()?;
        if let Some(character) = char::from_u32(first) {
            self.write_character(character);
            return Ok(());
        }
        // A surrogate. Only a high one with a low one right behind it is a character.
        if first < 0xDC00 && self.input[self.at..].starts_with(b"\\u") {
            let behind_first = self.at;
            self.at += 2;
            let second = self.four_hex_digits()?;
            if (0xDC00..0xE000).contains(&second) {
                let character = char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00))
                    .expect("a surrogate pair is a character");
                self.write_character(character);
                return Ok(());
            }
            self.at = behind_first;
        }
        self.output.extend_from_slice(format!("\\u{first:04x}").as_bytes());
        Ok(())
    }

    fn four_hex_digits(&mut self) -> Result<u32, Error> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(|| self.unexpected())?;
            number = number << 4 | digit;
            self.at += 1;
        }
        Ok(number)
    }

    fn write_character(&mut self, character: char) {
        let short = match character {
            '"' => b'"',
            '\\' => b'\\',
            '\u{8}' => b'b',
            '\t' => b't',
            '\n' => b'n',
            '\u{c}' => b'f',
            '\r' => b'r',
            '\0'..' ' => {
                self.output.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
                return;
            }
            _ => {
                self.output.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return;
            }
        };
        self.output.extend_from_slice(&[b'\\', short]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> String {
        String::from_utf8(reserialize(text.as_bytes()).expect(text)).unwrap()
    }

    #[test]
    fn drops_blanks_and_keeps_order_and_numbers() {
        assert_eq!(
            written("\r\n\t {\"b\" : [ 1.0 , -0 , 1E+2, 12345678901234567890 ] , \"7\":{ } , \"a\":[ ] }\n"),
            r#"{"b":[1.0,-0,1E+2,12345678901234567890],"7":{},"a":[]}"#
        );
        assert_eq!(written(" true "), "true");
        assert_eq!(written(r#""  kept  ""#), r#""  kept  ""#);
    }

    #[test]
    fn writes_escapes_as_javascript_does() {
        assert_eq!(written(r#""\u0041\/\u00e9\u20AC""#), "\"A/\u{e9}\u{20ac}\"");
        assert_eq!(
            written(r#""\u0008\u0009\u000A\u000c\u000d\u0001\u001F\u0022\u005c""#),
            r#""\b\t\n\f\r\u0001\u001f\"\\""#
        );
        assert_eq!(written(r#""\ud83d\uDE00""#), "\"\u{1f600}\"");
        assert_eq!(written("\"\u{7f}\u{2028}\""), "\"\u{7f}\u{2028}\"");
    }

    #[test]
    fn a_lone_surrogate_stays_an_escape() {
        assert_eq!(written(r#""\uD83D""#), r#""\ud83d""#);
        assert_eq!(written(r#""\uDE00\uD83D""#), r#""\ude00\ud83d""#);
        assert_eq!(written(r#""\uDE00\uDE00""#), r#""\ude00\ude00""#);
        assert_eq!(written(r#""\uD83D\uD83D\uDE00""#), "\"\\ud83d\u{1f600}\"");
        assert_eq!(written(r#""\uD83D\u0041\uD83D\n""#), r#""\ud83dA\ud83d\n""#);
    }

    #[test]
    fn refuses_a_repeated_key_of_one_object_only() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"b":2,"\u0061":3}"#, r#"[{"x":{"":1,"":2}}]"#] {
            assert_eq!(reserialize(text.as_bytes()), Err(Error::DuplicateKey), "{text}");
        }
        for text in [r#"{"a":{"a":1},"b":{"a":2}}"#, r#"[{"a":1},{"a":1}]"#, r#"{"a":1,"A":1,"aa":1,"":1}"#] {
            assert_eq!(written(text), text);
        }
    }

    #[test]
    fn says_where_it_stops_being_json() {
        for (text, at) in [
            ("", 0),
            ("  ", 2),
            ("{", 1),
            (r#"{"a"}"#, 4),
            (r#"{"a":1,}"#, 7),
            ("[1,]", 3),
            ("[1 2]", 3),
            ("01", 1),
            ("-", 1),
            ("1.", 2),
            (".5", 0),
            ("+1", 0),
            ("1e", 2),
            ("tru", 3),
            ("nul!", 3),
            ("\"a", 2),
            ("\"a\nb\"", 2),
            (r#""\x41""#, 2),
            (r#""\u00g1""#, 5),
            (r#""\ud800\u""#, 9),
            ("{} {}", 3),
            ("\u{feff}{}", 0),
            ("NaN", 0),
            ("'a'", 0),
        ] {
            assert_eq!(reserialize(text.as_bytes()), Err(Error::NotJson { at }), "{text}");
        }
        assert_eq!(reserialize(b"\"\xff\""), Err(Error::NotUtf8));
    }

    #[test]
    fn the_depth_is_bounded() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(written(&nested(MAX_DEPTH)), nested(MAX_DEPTH));
        assert_eq!(reserialize(nested(MAX_DEPTH + 1).as_bytes()), Err(Error::TooDeep));
        assert_eq!(reserialize("{\"a\":".repeat(1_000_000).as_bytes()), Err(Error::TooDeep));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
                prop::collection::vec((any::<String>(), inner), 0..8)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// `serde_json` writes compact JSON with the same escapes as `JSON.stringify`.
        #[test]
        fn undoes_pretty_printing(value in any_json()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(written(&pretty), value.to_string());
        }

        #[test]
        fn a_second_time_changes_nothing(value in any_json()) {
            let once = written(&serde_json::to_string_pretty(&value).unwrap());
            prop_assert_eq!(written(&once), once);
        }

        /// With one character exchanged, a text is JSON to us exactly if it is JSON to `serde_json`.
        #[test]
        fn knows_json_from_other_texts(value in any_json(), place in any::<prop::sample::Index>(), other in r"[ -~\n]") {
            let mut text: Vec<char> = serde_json::to_string_pretty(&value).unwrap().chars().collect();
            let place = place.index(text.len());
            text[place] = other.chars().next().unwrap();
            let text: String = text.into_iter().collect();
            let known = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            match reserialize(text.as_bytes()) {
                Ok(_) | Err(Error::DuplicateKey) => prop_assert!(known, "{}", text),
                Err(error) => prop_assert!(!known, "{}: {}", error, text),
            }
        }

        /// Bytes from anyone: an answer, never a panic.
        #[test]
        fn bears_any_bytes(body in prop::collection::vec(any::<u8>(), 0..200), text in r#"["\\u0-9a-fA-F{}:,\[\] ]{0,60}"#) {
            let _ = reserialize(&body);
            let _ = reserialize(text.as_bytes());
        }
    }
}
