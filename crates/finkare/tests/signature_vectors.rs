//! The published test vectors, made with another language's library (`signature-vectors.json`).

use bytes::Bytes;
use finkare::{
    Secret,
    signature::{Rejection, SecretEncoding, SignatureOver, Verifier, sign, verify},
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Vector {
    name: String,
    secret: String,
    secret_encoding: SecretEncoding,
    signature_over: SignatureOver,
    body: String,
    signature: String,
    genuine: bool,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../signature-vectors.json")).unwrap()
}

#[test]
fn every_vector_is_decided_as_published() {
    for vector in vectors() {
        let secrets = vec![Secret::new(vector.secret)];
        let verifier = Verifier::new(secrets, vector.secret_encoding, vector.signature_over).unwrap();
        let result = verifier.verify(Some(vector.signature.as_bytes()), &Bytes::from(vector.body));
        assert_eq!(result.is_ok(), vector.genuine, "{}: {result:?}", vector.name);
    }
}

#[test]
fn the_documented_reading_needs_one_call() {
    let mut checked = 0;
    for vector in vectors() {
        if vector.secret_encoding != SecretEncoding::Literal || vector.signature_over != SignatureOver::Raw {
            continue;
        }
        let (secret, body) = (Secret::new(vector.secret), vector.body.as_bytes());
        assert_eq!(verify(&secret, Some(vector.signature.as_str()), body).is_ok(), vector.genuine, "{}", vector.name);
        assert_eq!(verify(&secret, Some(&sign(&secret, body)), body), Ok(()));
        checked += 1;
    }
    assert!(checked >= 7, "{checked}");
    assert_eq!(verify(&Secret::new(""), Some(&sign(&Secret::new(""), b"x")), b"x"), Err(Rejection::NoSecret));
    assert_eq!(verify::<str>(&Secret::new("s"), None, b"x"), Err(Rejection::HeaderMissing));
}
