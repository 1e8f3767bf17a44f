//! Finkare's signature against vectors that other programs made (`tests/vectors/make.py`).

use bytes::Bytes;
use finkare_relay::{
    model::secret::Secret,
    signature::{
        finkare::{self, Rejection, SecretEncoding, SignatureOver, Verifier},
        reserialize::reserialize,
    },
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    signatures: Vec<Signed>,
    reserialized: Reserialized,
}

#[derive(Deserialize)]
struct Signed {
    name: String,
    secret_encoding: SecretEncoding,
    secret: Secret,
    body: Body,
    signature: String,
}

/// A body as text, as hexadecimal digits, or by a rule if it is too long to store.
#[derive(Deserialize)]
#[serde(untagged)]
enum Body {
    Text { text: String },
    Hex { hex: String },
    Rule { before: String, repeat: String, times: usize, after: String },
}

impl Body {
    fn bytes(&self) -> Bytes {
        match self {
            Body::Text { text } => text.clone().into(),
            Body::Hex { hex } => hex::decode(hex).unwrap().into(),
            Body::Rule { before, repeat, times, after } => format!("{before}{}{after}", repeat.repeat(*times)).into(),
        }
    }
}

#[derive(Deserialize)]
struct Reserialized {
    secret: Secret,
    same: Vec<Rewritten>,
    different: Vec<Different>,
}

/// JavaScript's serialisation of a text, and its signature.
#[derive(Deserialize)]
struct Rewritten {
    name: String,
    text: String,
    written: String,
    signature: String,
}

#[derive(Deserialize)]
struct Different {
    ours: String,
    #[serde(flatten)]
    javascript: Rewritten,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/finkare.json")).unwrap()
}

fn verifier(secret: &Secret, encoding: SecretEncoding, over: SignatureOver) -> Verifier {
    Verifier::new(vec![Secret::new("whsec_another1"), secret.clone()], encoding, over).unwrap()
}

#[test]
fn other_programs_signatures_are_genuine() {
    let vectors = vectors().signatures;
    assert!(vectors.len() >= 20, "only {} vectors", vectors.len());
    for Signed { name, secret_encoding, secret, body, signature } in vectors {
        let body = body.bytes();
        for over in [SignatureOver::Raw, SignatureOver::Either] {
            let verified = verifier(&secret, secret_encoding, over)
                .verify(Some(signature.as_bytes()), &body)
                .unwrap_or_else(|rejection| panic!("{name}, {over:?}: {rejection}"));
            assert_eq!((verified.message, verified.key), (body.clone(), 1), "{name}, {over:?}");
        }
        if secret_encoding == SecretEncoding::Literal {
            assert_eq!(finkare::sign(&secret, &body), signature, "{name}");
        }
    }
}

#[test]
fn a_vectors_signature_fits_no_other_vectors_body() {
    let vectors = vectors().signatures;
    let documented = &vectors[0];
    let verifier = verifier(&documented.secret, documented.secret_encoding, SignatureOver::Raw);
    for other in vectors.iter().filter(|other| other.signature != documented.signature) {
        let result = verifier.verify(Some(other.signature.as_bytes()), &documented.body.bytes());
        assert_eq!(result, Err(Rejection::Mismatch), "{}", other.name);
    }
}

#[test]
fn json_is_written_again_as_javascript_does() {
    let Reserialized { secret, same, .. } = vectors().reserialized;
    assert!(same.len() >= 15, "only {} vectors", same.len());
    for Rewritten { name, text, written, signature } in same {
        let ours = reserialize(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(ours.as_ref(), Ok(&written), "{name}");
        for over in [SignatureOver::Reserialized, SignatureOver::Either] {
            let verified = verifier(&secret, SecretEncoding::Literal, over)
                .verify(Some(signature.as_bytes()), &Bytes::copy_from_slice(text.as_bytes()))
                .unwrap_or_else(|rejection| panic!("{name}, {over:?}: {rejection}"));
            assert_eq!(verified.message, written.as_bytes(), "{name}, {over:?}");
        }
    }
}

/// The special cases that `signature::reserialize` documents: they are refused, not misread.
#[test]
fn where_javascript_differs_the_delivery_is_refused() {
    let Reserialized { secret, different, .. } = vectors().reserialized;
    assert!(!different.is_empty());
    for Different { ours, javascript: Rewritten { name, text, written, signature } } in different {
        assert_ne!(ours, written, "{name}: this belongs to `same`");
        assert_eq!(reserialize(text.as_bytes()), Ok(ours.into_bytes()), "{name}");
        let result = verifier(&secret, SecretEncoding::Literal, SignatureOver::Either)
            .verify(Some(signature.as_bytes()), &text.into());
        assert_eq!(result, Err(Rejection::Mismatch), "{name}");
    }
}
