// The whole job as a company would build it today, as the second yardstick: verify over the raw body, insert once and
// enqueue in one statement and so in one transaction, answer; graphile-worker in the same process takes each job and
// appends the event to a file. With ORDER=invoice each invoice is a queue of its own, which is how graphile-worker
// keeps an order. Nothing held back: prepared statements, no wait before a job is completed, and without an order the
// worker fetches 500 jobs at once. The file is appended to and never flushed to the disk, which is kinder than the relay.
//
// DATABASE_URL, FINKARE_WEBHOOK_SECRET, PORT (0 takes a free one), POOL_SIZE, WORKERS, ORDER (invoice or none), OUT.

import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { createWriteStream } from "node:fs";
import express from "express";
import { Logger, run, runMigrations } from "graphile-worker";
import pg from "pg";

const required = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`set ${name}`);
  return value;
};

const secret = required("FINKARE_WEBHOOK_SECRET");
const connectionString = required("DATABASE_URL");
const ordered = process.env.ORDER !== "none";
const out = createWriteStream(required("OUT"), { flags: "a" });
const pool = new pg.Pool({ connectionString, max: Number(process.env.POOL_SIZE ?? 16) });
pool.on("error", (error) => console.error("an idle connection failed:", error.message));

await pool.query(`
  CREATE TABLE IF NOT EXISTS events (
    dedupe_key  BYTEA PRIMARY KEY,
    event       TEXT NOT NULL,
    payload     JSON NOT NULL,
    received_at TIMESTAMPTZ NOT NULL DEFAULT now()
  )`);
// It logs each job by default.
const logger = new Logger(() => (level, message) => {
  if (level === "error") console.error(message);
});
await runMigrations({ connectionString, logger });

const insert = {
  name: "insert-and-enqueue",
  text: `
    WITH fresh AS (
      INSERT INTO events (dedupe_key, event, payload) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING payload
    )
    SELECT graphile_worker.add_job('relay', payload, queue_name => $4) FROM fresh`,
};

const genuine = (body, signature) => {
  if (typeof signature !== "string") return false;
  const expected = createHmac("sha256", secret).update(body).digest();
  const given = Buffer.from(signature, "hex");
  return given.length === expected.length && timingSafeEqual(given, expected);
};

const app = express();
app.disable("x-powered-by");
app.disable("etag");

app.post("/webhooks/finkare", express.raw({ type: "application/json", limit: "1mb" }), async (req, res) => {
  if (!Buffer.isBuffer(req.body) || !genuine(req.body, req.headers["x-finkare-signature"])) {
    res.status(401).json({ error: "Invalid signature" });
    return;
  }
  const text = req.body.toString("utf8");
  const { event, data } = JSON.parse(text);
  const dedupeKey = createHash("sha256").update(req.body).digest();
  await pool.query({ ...insert, values: [dedupeKey, String(event), text, ordered ? String(data.invoiceId) : null] });
  res.status(200).json({ received: true });
});

app.use((error, _req, res, _next) => {
  console.error(error.message);
  res.status(error.status ?? 500).json({ error: "Not stored" });
});

const runner = await run({
  connectionString,
  logger,
  concurrency: Number(process.env.WORKERS ?? 16),
  maxPoolSize: Number(process.env.WORKERS ?? 16) + 2,
  noHandleSignals: true,
  pollInterval: 1000,
  // A local queue takes jobs in advance; graphile-worker does not offer it together with an order to keep.
  preset: { worker: { localQueue: ordered ? undefined : { size: 500 }, completeJobBatchDelay: 0 } },
  taskList: { relay: (payload) => void out.write(`${JSON.stringify(payload)}\n`) },
});

const server = app.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", (error) => {
  if (error) throw error;
  console.error(`listening public=127.0.0.1:${server.address().port}`);
});

process.on("SIGTERM", () => {
  server.close(() => runner.stop().then(() => pool.end()));
  server.closeAllConnections();
});
