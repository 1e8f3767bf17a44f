//! HMAC-SHA256 and the constant-time comparison. Nothing else uses the hmac crate or compares tags.
//!
//! The duration of a check may depend on facts that the sender knows already (the length of the message, the number
//! of readings that are tried) and on the number of keys. It never depends on the bytes of a key or of a computed
//! tag, nor on which key matched.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// The output of HMAC-SHA256.
pub type Tag = [u8; 32];

/// A key, ready for use: its two blocks are hashed once, and each message starts from a copy of
/// that state. Wiped from memory on drop (sha2's feature `zeroize`), so are the copies.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// Prepares a key of any length.
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of every length"))
    }

    /// The tag of the message whose parts these are, in this order and with nothing between them.
    pub fn tag(&self, parts: &[&[u8]]) -> Tag {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key([redacted])")
    }
}

/// The key and the message that match a claimed tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Index into the keys.
    pub key: usize,
    /// Index into the messages.
    pub message: usize,
}

/// Finds the key and the message that match a claimed tag; if several match, the first ones.
///
/// Every key is tried with every message, also after one has matched, without a branch on the result: the duration
/// reveals nothing about the keys.
pub fn find(keys: &[Key], messages: &[impl AsRef<[u8]>], claimed: &Tag) -> Option<Match> {
    let mut found = Choice::from(0);
    let mut position = 0_u64;
    for (message_at, message) in (0_u64..).zip(messages) {
        for (key_at, key) in (0_u64..).zip(keys) {
            let fits = key.tag(&[message.as_ref()]).ct_eq(claimed);
            let here = message_at << 32 | key_at;
            position.conditional_assign(&here, fits & !found);
            found |= fits;
        }
    }
    // The only branch depends on whether anything matched, which the answer to the sender says anyway.
    bool::from(found).then(|| Match {
        key: usize::try_from(position & u64::from(u32::MAX)).expect("an index of the given keys"),
        message: usize::try_from(position >> 32).expect("an index of the given messages"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test cases 2 (short key), 6 (key longer than a block) and 1.
    #[test]
    fn agrees_with_the_rfc() {
        let tag = |key: &[u8], message: &[u8]| hex::encode(Key::new(key).tag(&[message]));
        assert_eq!(
            tag(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            tag(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        assert_eq!(tag(&[0x0b; 20], b"Hi There"), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }

    #[test]
    fn parts_are_one_message() {
        let key = Key::new(b"key");
        assert_eq!(key.tag(&[b"ab", b"", b"c"]), key.tag(&[b"abc"]));
        assert_eq!(key.tag(&[]), key.tag(&[b""]));
        // A prepared key is not used up.
        assert_eq!(key.tag(&[b"abc"]), key.tag(&[b"abc"]));
    }

    #[test]
    fn finds_every_key_with_every_message() {
        let keys: Vec<_> = (0..5_u8).map(|n| Key::new(&[n])).collect();
        let messages: [&[u8]; 3] = [b"one", b"two", b"three"];
        for (key, prepared) in keys.iter().enumerate() {
            for (message, text) in messages.iter().enumerate() {
                let tag = prepared.tag(&[text]);
                assert_eq!(find(&keys, &messages, &tag), Some(Match { key, message }));
            }
        }
        assert_eq!(find(&keys, &messages, &Key::new(b"other").tag(&[b"one"])), None);
        assert_eq!(find(&keys, &[b""; 0], &keys[0].tag(&[b"one"])), None);
        assert_eq!(find(&[], &messages, &keys[0].tag(&[b"one"])), None);
    }

    #[test]
    fn of_equal_keys_the_first_is_named() {
        let keys = [Key::new(b"a"), Key::new(b"b"), Key::new(b"b")];
        let tag = keys[1].tag(&[b"m"]);
        assert_eq!(find(&keys, &[b"m", b"m"], &tag), Some(Match { key: 1, message: 0 }));
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Key::new(b"whsec_abc")), "Key([redacted])");
    }
}
