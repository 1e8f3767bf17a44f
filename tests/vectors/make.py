#!/usr/bin/env python3
"""Makes finkare.json, the test vectors of Finkare's signature.

    tests/vectors/make.py            writes the file
    tests/vectors/make.py --check    only says whether it is up to date

Needs openssl, perl and node. Every signature is computed four times, and all must agree, or nothing is written:
by openssl, by Node's crypto (what the vendor's example uses; OpenSSL inside), by Python's hmac over Python's
own SHA-256, and by Perl's Digest::SHA. The last two share no code with the others or with each other.
The re-serialised texts are Node's own: JSON.stringify(JSON.parse(text)).
"""

import base64
import hashlib
import hmac
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
FILE = HERE / "finkare.json"

SECRET = "whsec_3f9a1c5e7b2d4860a1b2c3d4e5f60718"
# The deliveries of the vendor's guide, docs.finkare.io/guides/webhook-setup, with ids made up.
PAYMENT = (
    '{"event":"payment.received","data":{"invoiceId":"c3d4e5f6-0000-4000-8000-000000000001",'
    '"amountCents":150000},"timestamp":"2026-03-15T10:30:00.000Z"}'
)
STATUS = (
    '{"event":"invoice.status_changed","data":{"invoiceId":"c3d4e5f6-0000-4000-8000-000000000001",'
    '"previousStatus":"in_recovery","newStatus":"paid"},"timestamp":"2026-03-15T10:30:00.000Z"}'
)
WORKFLOW = (
    '{"event":"workflow.action_triggered","data":{"action":"relance_email_2",'
    '"invoiceId":"c3d4e5f6-0000-4000-8000-000000000001","channel":"email"},"timestamp":"2026-03-15T10:30:00.000Z"}'
)

# name, how the secret becomes a key, secret, body. A body is a text, bytes in hex, or a text by rule.
SIGNATURES = [
    ("documented payment", "literal", SECRET, {"text": PAYMENT}),
    ("documented change of status", "literal", SECRET, {"text": STATUS}),
    ("documented workflow action", "literal", SECRET, {"text": WORKFLOW}),
    ("empty body", "literal", SECRET, {"text": ""}),
    ("a single zero byte", "literal", SECRET, {"hex": "00"}),
    ("every byte", "literal", SECRET, {"hex": bytes(range(256)).hex()}),
    ("accents and an emoji", "literal", SECRET, {"text": '{"event":"ping","data":{"note":"Créance réglée à 100 % 🎉"}}'}),
    ("the same, escaped", "literal", SECRET, {"text": '{"event":"ping","data":{"note":"Cr\\u00e9ance \\ud83c\\udf89"}}'}),
    ("a lone surrogate, escaped", "literal", SECRET, {"text": '{"event":"ping","data":{"note":"\\ud83c"}}'}),
    ("white space", "literal", SECRET, {"text": '\r\n{\n\t"event" : "ping"\n}\n'}),
    ("one block less a byte", "literal", SECRET, {"before": "", "repeat": "x", "times": 63, "after": ""}),
    ("one block", "literal", SECRET, {"before": "", "repeat": "x", "times": 64, "after": ""}),
    (
        "just below the body limit of 1 MiB",
        "literal",
        SECRET,
        {"before": '{"event":"ping","data":[0', "repeat": ",1234567", "times": 131_000, "after": "]}"},
    ),
    ("secret of one character", "literal", "s", {"text": PAYMENT}),
    ("secret without prefix", "literal", SECRET.removeprefix("whsec_"), {"text": PAYMENT}),
    ("secret as long as a block", "literal", "whsec_".ljust(64, "k"), {"text": PAYMENT}),
    ("secret longer than a block", "literal", "whsec_".ljust(200, "k"), {"text": PAYMENT}),
    ("secret beyond ASCII", "literal", "whsec_clé🔑", {"text": PAYMENT}),
    ("stripped secret", "stripped", SECRET, {"text": PAYMENT}),
    ("base64 secret", "base64", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", {"text": PAYMENT}),
    ("base64 secret with padding", "base64", "whsec_+/+/AP8QIDBAUGBwgJCgsMDQ4PD/AQIDBAUGBwg=", {"text": PAYMENT}),
]

# name, text: the same to us as to JavaScript.
RESERIALIZED = [
    ("documented payment", PAYMENT),
    ("white space", '\r\n{\n\t"event" : "ping" ,\n "data" : [ 1 , [ ] , { } , { "a" : null } ]\n}\n'),
    ("white space in a string", '{"note":"  a \u00a0 b  "}'),
    ("escaped letters", '{"\\u0065vent":"\\u0041\\u00e9\\u20AC","data":{"note":"Cr\\u00E9ance"}}'),
    ("escaped slash", '{"url":"https:\\/\\/example.test\\/a"}'),
    ("short escapes", '"\\b\\f\\n\\r\\t\\"\\\\"'),
    ("short escapes written long", '"\\u0008\\u000C\\u000a\\u000D\\u0009\\u0022\\u005C\\u002f"'),
    ("control characters", '"' + "".join(f"\\u{n:04X}" for n in range(0x20)) + '"'),
    ("delete and line separators", '"\x7f\\u007F\u2028\\u2028\\u2029"'),
    ("accents and an emoji", '{"note":"Créance réglée 🎉"}'),
    ("surrogate pair", '"\\uD83C\\uDF89 \\ud83c\\udf89"'),
    ("lone surrogates", '"\\uD83C \\uDF89 \\uDF89\\uD83C \\uD83C\\uD83C\\uDF89 \\uD83C\\u0041 \\uD83Cx"'),
    ("ends of the surrogates", '"\\uD7FF\\uD800\\uDBFF\\uDC00\\uDFFF\\uE000\\uFFFF"'),
    ("numbers", "[0,-1,1.5,-0.25,9007199254740991,1e+21,5e-324,123456789.125]"),
    ("words", '[true,false,null,"true"]'),
    ("a bare number", " 150000 "),
    ("empty texts and keys", '{"":"","a":{"":[]}}'),
    ("key order", '{"b":1,"a":2,"B":3,"é":4,"-1":5,"1.5":6,"01":7}'),
    ("keys with a meaning elsewhere", '{"__proto__":{"a":1},"constructor":2,"toJSON":"3","length":4}'),
    ("deep", "[" * 100 + "]" * 100),
]

# name, text, what we write: JavaScript writes something else, on purpose not followed (see crates/finkare/src/signature/reserialize.rs).
DIFFERENT = [
    ("a number with more digits than needed", '{"amount":1.0}', '{"amount":1.0}'),
    ("exponents", "[1e2,1E5]", "[1e2,1E5]"),
    ("minus zero", "[-0]", "[-0]"),
    ("an integer beyond 2^53", "[9007199254740993]", "[9007199254740993]"),
    ("keys like array indices", '{"b":1,"10":2,"9":3}', '{"b":1,"10":2,"9":3}'),
]


def bytes_of(body):
    if "hex" in body:
        return bytes.fromhex(body["hex"])
    if "repeat" in body:
        return (body["before"] + body["repeat"] * body["times"] + body["after"]).encode()
    return body["text"].encode()


def key_of(encoding, secret):
    stripped = secret.removeprefix("whsec_")
    return {
        "literal": lambda: secret.encode(),
        "stripped": lambda: stripped.encode(),
        "base64": lambda: base64.b64decode(stripped, validate=True),
    }[encoding]()


def by_openssl(key, body):
    command = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}", "-r"]
    return subprocess.run(command, input=body, capture_output=True, check=True).stdout.split()[0].decode()


def by_python(key, body):
    # Given a name, hmac would hand the work to OpenSSL; given a constructor, it does it by itself.
    own_sha256 = getattr(hashlib, "__get_builtin_constructor")("sha256")
    return hmac.new(key, body, own_sha256).hexdigest()


def by_perl(key, body):
    program = "binmode STDIN; local $/; print Digest::SHA::hmac_sha256_hex(<STDIN>, pack('H*', $ARGV[0]))"
    command = ["perl", "-MDigest::SHA", "-e", program, key.hex()]
    return subprocess.run(command, input=body, capture_output=True, check=True).stdout.decode()


def by_node(signatures, texts):
    question = {
        "signatures": [{"key": key.hex(), "body": body.hex()} for key, body in signatures],
        "texts": [{"secret": SECRET, "text": text} for text in texts],
    }
    command = ["node", HERE / "sign.mjs"]
    return json.loads(subprocess.run(command, input=json.dumps(question).encode(), capture_output=True, check=True).stdout)


def agreed(name, *answers):
    if len(set(answers)) != 1:
        sys.exit(f"the signers disagree about `{name}`: {answers}")
    return answers[0]


def main():
    prepared = [(key_of(encoding, secret), bytes_of(body)) for _, encoding, secret, body in SIGNATURES]
    texts = [text for _, text in RESERIALIZED] + [text for _, text, _ in DIFFERENT]
    node = by_node(prepared, texts)
    same, other = node["texts"][: len(RESERIALIZED)], node["texts"][len(RESERIALIZED) :]

    def written(name, javascript):
        signature = agreed(name, javascript["signature"], by_python(SECRET.encode(), javascript["written"].encode()))
        return {"written": javascript["written"], "signature": signature}

    vectors = {
        "made_by": "tests/vectors/make.py: change that, not this",
        "signatures": [
            {
                "name": name,
                "secret_encoding": encoding,
                "secret": secret,
                "body": body,
                "signature": agreed(name, by_openssl(*case), from_node, by_python(*case), by_perl(*case)),
            }
            for (name, encoding, secret, body), case, from_node in zip(SIGNATURES, prepared, node["signatures"], strict=True)
        ],
        "reserialized": {
            "secret": SECRET,
            "same": [
                {"name": name, "text": text, **written(name, javascript)}
                for (name, text), javascript in zip(RESERIALIZED, same, strict=True)
            ],
            "different": [
                {"name": name, "text": text, "ours": ours, **written(name, javascript)}
                for (name, text, ours), javascript in zip(DIFFERENT, other, strict=True)
            ],
        },
    }
    made = json.dumps(vectors, indent=2) + "\n"
    if "--check" not in sys.argv:
        FILE.write_text(made)
    elif FILE.read_text() != made:
        sys.exit(f"{FILE.name} is out of date: run tests/vectors/make.py")


main()
