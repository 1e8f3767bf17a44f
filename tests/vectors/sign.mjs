// What Node makes of the cases that make.py sends as JSON on standard input: signatures as the
// vendor's example computes them, and texts parsed and written again.
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";

const hmac = (key, message) => createHmac("sha256", key).update(message).digest("hex");

const { signatures, texts } = JSON.parse(readFileSync(0, "utf8"));
const answer = {
  signatures: signatures.map(({ key, body }) => hmac(Buffer.from(key, "hex"), Buffer.from(body, "hex"))),
  texts: texts.map(({ secret, text }) => {
    const written = JSON.stringify(JSON.parse(text));
    return { written, signature: hmac(secret, written) };
  }),
};
// Escapes instead of bare characters: the vectors shall be readable in every editor.
const ascii = (text) => text.replace(/[^\x20-\x7e]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
process.stdout.write(ascii(JSON.stringify(answer)));
