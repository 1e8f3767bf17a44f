-- Fills a relay's database on Postgres with events of the past year: `bench/run` passes the variables `n` (how many
-- events), `sink` and `state` (delivered or pending). What one event and one dispatch look like is what
-- `finkare-relay-bench fill` writes on SQLite. The ids are version 7, so they come in the order of the times.
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, readable,
                    content_type, payload)
SELECT id, 'default', sha256(uuid_send(id)), 'payment.received', invoice, at, at, 1, true, 'application/json',
       convert_to(format('{"event":"payment.received","data":{"invoiceId":"%s","amountCents":%s},"timestamp":"%s"}',
                         invoice, i, to_char(to_timestamp(at / 1e6) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')),
                  'UTF8')
FROM (
    SELECT i, at, gen_random_uuid()::text AS invoice,
           (lpad(to_hex(at / 1000), 12, '0') || '7' || substr(md5(random()::text), 1, 3)
            || '8' || substr(md5(random()::text), 1, 15))::uuid AS id
    FROM (
        SELECT i, (extract(epoch FROM now()) * 1e6)::bigint - 31536000000000 + 31449600000000 / :n * i AS at
        FROM generate_series(1, :n) AS i
    ) AS spread
) AS made;

-- The events that have no dispatch yet are those just made.
INSERT INTO history (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, finished_at,
                     attempted_at, attempt_us)
SELECT nextval('queue_id_seq'), id, :'sink', type, invoice_id, 'delivered', 'event', 1, received_at,
       received_at + 2000, received_at + 1000, 1000
FROM (SELECT * FROM events WHERE :'state' = 'delivered' AND NOT EXISTS (SELECT FROM queue WHERE event_id = events.id)
      AND NOT EXISTS (SELECT FROM history WHERE event_id = events.id) ORDER BY id) AS made;

INSERT INTO queue (event_id, sink, event_type, invoice_id, state, trigger, created_at, due_at)
SELECT id, :'sink', type, invoice_id, 'pending', 'event', received_at, received_at
FROM (SELECT * FROM events WHERE :'state' = 'pending' AND NOT EXISTS (SELECT FROM queue WHERE event_id = events.id)
      AND NOT EXISTS (SELECT FROM history WHERE event_id = events.id) ORDER BY id) AS made;
