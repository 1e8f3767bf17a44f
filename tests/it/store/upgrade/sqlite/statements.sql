-- What version 4 of the schema was used with. Each statement stands on a line of its own.
-- next
DELETE FROM bookings WHERE number = ?1
-- next
DELETE FROM bookings WHERE number IN ( SELECT number FROM bookings WHERE state IN ('booked', 'seen') AND changed_at <= ?1 ORDER BY changed_at LIMIT ?2)
-- next
DELETE FROM bookings WHERE sink = ? AND payment_id = ? AND token = ? AND state IN ('reserved', 'sending')
-- next
DELETE FROM events WHERE id IN ( SELECT id FROM events AS e WHERE payload IS NULL AND received_at < ?1 AND NOT EXISTS (SELECT 1 FROM dispatches WHERE event_id = e.id AND finished_at IS NULL) ORDER BY received_at LIMIT ?2)
-- next
DELETE FROM secrets WHERE endpoint = ? AND fingerprint = ?
-- next
INSERT INTO assignments (event_id, endpoint, payment_id, invoice_id, amount_cents) VALUES (?, ?, ?, ?, ?)
-- next
INSERT INTO attempts (dispatch_id, number, started_at, duration_us, outcome, error) SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?) ) WHERE column1 IS NOT NULL
-- next
INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)
-- next
INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, token, began_at, changed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'reserved', ?8, ?9, ?9)
-- next
INSERT INTO endpoint_activity (endpoint, watched_since, last_delivery_at) SELECT value ->> 0, ?2, value ->> 1 FROM json_each(?1) WHERE TRUE ON CONFLICT (endpoint) DO UPDATE SET last_delivery_at = excluded.last_delivery_at WHERE excluded.last_delivery_at > coalesce(endpoint_activity.last_delivery_at, excluded.last_delivery_at - 1)
-- next
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, last_delivery_at, readable, content_type, payload) SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ) WHERE column1 IS NOT NULL ON CONFLICT (endpoint, dedupe_key) DO NOTHING
-- next
INSERT INTO intents (id, endpoint, kind, state, actor, webhook_id, url, events, overlap_us, begun_at, tries, lease_token, lease_until) VALUES (?, ?, ?, 'in_flight', ?, ?, ?, ?, ?, ?, 1, ?, ?)
-- next
INSERT INTO secrets (id, endpoint, fingerprint, origin, state, created_at, key_id, sealed) VALUES (?, ?, ?, ?, 'active', ?, ?, ?) ON CONFLICT (endpoint, fingerprint) DO NOTHING
-- next
INSERT INTO sinks (name, registered_at) SELECT value, ?2 FROM json_each(?1) WHERE TRUE ON CONFLICT (name) DO NOTHING
-- next
INSERT INTO sinks (name, registered_at, delivered, last_success_at, last_error_at, last_error, paused_at, paused_reason) VALUES (?1, ?2, ?3, iif(?3 > 0, ?2, NULL), iif(?4 IS NULL, NULL, ?2), ?4, iif(?5 IS NULL, NULL, ?2), ?5) ON CONFLICT (name) DO UPDATE SET delivered = delivered + excluded.delivered, last_success_at = coalesce(excluded.last_success_at, last_success_at), last_error_at = coalesce(excluded.last_error_at, last_error_at), last_error = coalesce(excluded.last_error, last_error), paused_reason = iif(paused_at IS NULL, excluded.paused_reason, paused_reason), paused_at = coalesce(paused_at, excluded.paused_at)
-- next
INSERT INTO sinks (name, registered_at, paused_at, paused_reason) VALUES (?1, ?2, ?2, ?3) ON CONFLICT (name) DO UPDATE SET paused_at = excluded.paused_at, paused_reason = excluded.paused_reason WHERE paused_at IS NULL
-- next
INSERT INTO trial_writes (id, written_at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET written_at = excluded.written_at
-- next
INSERT OR REPLACE INTO webhooks (endpoint, id, url, registered_at) VALUES (?, ?, ?, ?)
-- next
SELECT (SELECT min(due_at) FROM dispatches WHERE sink = ?1 AND due_at IS NOT NULL), EXISTS (SELECT 1 FROM sinks WHERE name = ?1 AND paused_at IS NOT NULL)
-- next
SELECT EXISTS (SELECT 1 FROM events WHERE id = ? AND payload IS NOT NULL)
-- next
SELECT EXISTS (SELECT 1 FROM events WHERE id = ?)
-- next
SELECT EXISTS (SELECT 1 FROM intents WHERE id = ? AND lease_token = ?)
-- next
SELECT EXISTS (SELECT 1 FROM secrets WHERE id = ?)
-- next
SELECT coalesce(sum(amount_cents), 0) FROM bookings WHERE invoice_number = ?1 AND sink = ?2 AND state IN ('written', 'booked')
-- next
SELECT count(*) FROM (SELECT 1 FROM events WHERE TRUE AND +endpoint = ? ORDER BY id LIMIT ?)
-- next
SELECT count(*) FROM (SELECT 1 FROM events WHERE TRUE AND instr(payload, ?) > 0 ORDER BY id LIMIT ?)
-- next
SELECT count(*) FROM (SELECT 1 FROM events WHERE TRUE AND invoice_id = ? ORDER BY id LIMIT ?)
-- next
SELECT count(*) FROM (SELECT 1 FROM events WHERE TRUE AND received_at >= ? AND id >= ? AND received_at < ? AND id < ? ORDER BY id LIMIT ?)
-- next
SELECT count(*) FROM (SELECT 1 FROM events WHERE TRUE AND type = ? AND id < ? ORDER BY id LIMIT ?)
-- next
SELECT count(*) FROM (SELECT 1 FROM events WHERE TRUE AND type = ? ORDER BY id LIMIT ?)
-- next
SELECT count(*) FROM (SELECT 1 FROM events WHERE TRUE ORDER BY id LIMIT ?)
-- next
SELECT dispatch_id, number, started_at, duration_us, outcome, error FROM attempts WHERE dispatch_id = ? ORDER BY number
-- next
SELECT dispatch_id, number, started_at, duration_us, outcome, error FROM attempts WHERE dispatch_id IN (SELECT id FROM dispatches WHERE event_id = ?) ORDER BY dispatch_id, number
-- next
SELECT endpoint, id, url, registered_at FROM webhooks
-- next
SELECT endpoint, lease_token, contested, secret_id FROM intents WHERE id = ?
-- next
SELECT endpoint, watched_since, last_delivery_at FROM endpoint_activity WHERE endpoint IN (SELECT value ->> 0 FROM json_each(?1))
-- next
SELECT event_id FROM assignments WHERE endpoint = ? AND payment_id = ?
-- next
SELECT event_id, endpoint, payment_id, invoice_id, amount_cents FROM assignments WHERE endpoint = ? AND invoice_id = ?
-- next
SELECT event_id, endpoint, payment_id, invoice_id, amount_cents FROM assignments WHERE event_id = ?
-- next
SELECT fingerprint FROM secrets WHERE endpoint = ? ORDER BY number DESC LIMIT 1
-- next
SELECT id FROM dispatches WHERE due_at IS NOT NULL AND state = 'leased'
-- next
SELECT id FROM events WHERE id IN (SELECT unhex(value) FROM json_each(?)) AND +rowid > ?
-- next
SELECT id FROM intents WHERE finished_at IS NULL AND coalesce(retry_at, lease_until) <= ? ORDER BY begun_at, id LIMIT 1
-- next
SELECT id, at, actor, action, subject, detail FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, endpoint, fingerprint, origin, state, created_at, valid_until, key_id, sealed FROM secrets WHERE endpoint = ? ORDER BY number DESC
-- next
SELECT id, endpoint, fingerprint, origin, state, created_at, valid_until, key_id, sealed FROM secrets WHERE sealed IS NOT NULL AND (valid_until IS NULL OR valid_until > ?) ORDER BY number DESC
-- next
SELECT id, endpoint, kind, state, actor, webhook_id, url, events, overlap_us, begun_at, tries, lease_token, lease_until FROM intents WHERE endpoint = ? AND finished_at IS NULL
-- next
SELECT id, endpoint, kind, state, actor, webhook_id, url, events, overlap_us, begun_at, tries, lease_token, lease_until FROM intents WHERE finished_at IS NULL
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type FROM events WHERE TRUE AND +endpoint = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type FROM events WHERE TRUE AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type FROM events WHERE TRUE AND instr(payload, ?) > 0 ORDER BY id DESC LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type FROM events WHERE TRUE AND invoice_id = ? AND +endpoint = ? AND type = ? AND received_at >= ? AND id >= ? AND received_at < ? AND id < ? AND id < ? AND instr(payload, ?) > 0 ORDER BY id DESC LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type FROM events WHERE TRUE AND invoice_id = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type FROM events WHERE TRUE AND received_at < ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type FROM events WHERE TRUE AND received_at >= ? AND id >= ? AND received_at < ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type FROM events WHERE TRUE AND received_at >= ? AND id >= ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type FROM events WHERE TRUE AND type = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type FROM events WHERE TRUE AND type = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type FROM events WHERE TRUE ORDER BY id DESC LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload FROM events WHERE id = ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload IS NOT NULL AS has_payload FROM events WHERE TRUE AND +endpoint = ? AND id > ? ORDER BY id LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload IS NOT NULL AS has_payload FROM events WHERE TRUE AND +endpoint = ? ORDER BY id LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload IS NOT NULL AS has_payload FROM events WHERE TRUE AND id > ? ORDER BY id LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload IS NOT NULL AS has_payload FROM events WHERE TRUE AND instr(payload, ?) > 0 AND id > ? ORDER BY id LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload IS NOT NULL AS has_payload FROM events WHERE TRUE AND instr(payload, ?) > 0 ORDER BY id LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload IS NOT NULL AS has_payload FROM events WHERE TRUE AND invoice_id = ? AND id > ? ORDER BY id LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload IS NOT NULL AS has_payload FROM events WHERE TRUE AND invoice_id = ? ORDER BY id LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload IS NOT NULL AS has_payload FROM events WHERE TRUE AND received_at >= ? AND id >= ? AND received_at < ? AND id < ? AND id > ? ORDER BY id LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload IS NOT NULL AS has_payload FROM events WHERE TRUE AND received_at >= ? AND id >= ? AND received_at < ? AND id < ? ORDER BY id LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload IS NOT NULL AS has_payload FROM events WHERE TRUE AND type = ? AND id < ? AND id > ? ORDER BY id LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload IS NOT NULL AS has_payload FROM events WHERE TRUE AND type = ? AND id < ? ORDER BY id LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload IS NOT NULL AS has_payload FROM events WHERE TRUE AND type = ? AND id > ? ORDER BY id LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload IS NOT NULL AS has_payload FROM events WHERE TRUE AND type = ? ORDER BY id LIMIT ?
-- next
SELECT id, endpoint, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload IS NOT NULL AS has_payload FROM events WHERE TRUE ORDER BY id LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state = 'delivered' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state = 'delivered' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state = 'delivered' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state = 'delivered' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state = 'leased' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state = 'leased' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state = 'leased' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state = 'leased' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state = 'pending' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state = 'pending' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state = 'pending' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state = 'pending' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'held' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'held' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'held' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'held' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND invoice_id = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state = 'delivered' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state = 'delivered' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state = 'delivered' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state = 'delivered' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state = 'leased' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state = 'leased' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state = 'leased' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state = 'leased' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state = 'pending' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state = 'pending' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state = 'pending' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state = 'pending' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'held' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'held' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'held' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? AND state IN ('held', 'dead', 'cancelled') AND state = 'held' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND event_id = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND id IN (SELECT id FROM dispatches WHERE due_at IS NOT NULL AND state = 'leased' AND id < ? ORDER BY id DESC LIMIT ?) AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND id IN (SELECT id FROM dispatches WHERE due_at IS NOT NULL AND state = 'leased' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?) AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND id IN (SELECT id FROM dispatches WHERE due_at IS NOT NULL AND state = 'leased' AND sink = ? ORDER BY id DESC LIMIT ?) AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND id IN (SELECT id FROM dispatches WHERE due_at IS NOT NULL AND state = 'leased' ORDER BY id DESC LIMIT ?) ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND id IN (SELECT id FROM dispatches WHERE due_at IS NOT NULL AND state = 'pending' AND id < ? ORDER BY id DESC LIMIT ?) AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND id IN (SELECT id FROM dispatches WHERE due_at IS NOT NULL AND state = 'pending' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?) AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND id IN (SELECT id FROM dispatches WHERE due_at IS NOT NULL AND state = 'pending' AND sink = ? ORDER BY id DESC LIMIT ?) AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND id IN (SELECT id FROM dispatches WHERE due_at IS NOT NULL AND state = 'pending' ORDER BY id DESC LIMIT ?) ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state = 'delivered' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state = 'delivered' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state = 'delivered' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state = 'delivered' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state = 'leased' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state = 'leased' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state = 'leased' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state = 'leased' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state = 'pending' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state = 'pending' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state = 'pending' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state = 'pending' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state IN ('held', 'dead', 'cancelled') AND state = 'held' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state IN ('held', 'dead', 'cancelled') AND state = 'held' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state IN ('held', 'dead', 'cancelled') AND state = 'held' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) AND state IN ('held', 'dead', 'cancelled') AND state = 'held' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND invoice_id = ? AND event_id IN (SELECT id FROM events WHERE invoice_id = ?) ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state = 'delivered' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state = 'delivered' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state = 'delivered' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state = 'delivered' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state IN ('held', 'dead', 'cancelled') AND state = 'cancelled' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state IN ('held', 'dead', 'cancelled') AND state = 'dead' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state IN ('held', 'dead', 'cancelled') AND state = 'held' AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state IN ('held', 'dead', 'cancelled') AND state = 'held' AND sink = ? AND id < ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state IN ('held', 'dead', 'cancelled') AND state = 'held' AND sink = ? ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE AND state IN ('held', 'dead', 'cancelled') AND state = 'held' ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE TRUE ORDER BY id DESC LIMIT ?
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE event_id = ? ORDER BY id
-- next
SELECT id, event_id, event_type, invoice_id, sink, state, attempts, trigger, created_at, due_at, finished_at, last_error, waits_for, attempted_at, attempt_us FROM dispatches WHERE id = ?
-- next
SELECT id, fingerprint, valid_until IS NULL OR valid_until > ?2 FROM secrets WHERE sealed IS NOT NULL AND key_id = ?1
-- next
SELECT id, payload IS NOT NULL FROM events WHERE invoice_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3
-- next
SELECT name, paused_at, paused_reason, delivered, last_success_at, last_error_at, last_error FROM sinks
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, ? AS now FROM bookings WHERE TRUE AND invoice_id = ? ORDER BY number DESC LIMIT ?
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, ? AS now FROM bookings WHERE TRUE AND invoice_number = ? ORDER BY number DESC LIMIT ?
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, ? AS now FROM bookings WHERE TRUE AND number < ? ORDER BY number DESC LIMIT ?
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, ? AS now FROM bookings WHERE TRUE AND payment_id = ? ORDER BY number DESC LIMIT ?
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, ? AS now FROM bookings WHERE TRUE AND sink = ? ORDER BY number DESC LIMIT ?
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, ? AS now FROM bookings WHERE TRUE AND state = 'booked' AND sink = ? AND payment_id = ? AND invoice_id = ? AND invoice_number = ? ORDER BY number DESC LIMIT ?
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, ? AS now FROM bookings WHERE TRUE AND state = 'booked' ORDER BY number DESC LIMIT ?
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, ? AS now FROM bookings WHERE TRUE AND state = 'seen' ORDER BY number DESC LIMIT ?
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, ? AS now FROM bookings WHERE TRUE AND state IN ('reserved', 'sending', 'written') AND state = 'reserved' ORDER BY number DESC LIMIT ?
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, ? AS now FROM bookings WHERE TRUE AND state IN ('reserved', 'sending', 'written') AND state = 'sending' ORDER BY number DESC LIMIT ?
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, ? AS now FROM bookings WHERE TRUE AND state IN ('reserved', 'sending', 'written') AND state = 'written' ORDER BY number DESC LIMIT ?
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, ? AS now FROM bookings WHERE TRUE ORDER BY number DESC LIMIT ?
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, ?3 AS now FROM bookings WHERE sink = ?1 AND invoice_number = ?2 AND state IN ('reserved', 'sending')
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, ?3 AS now FROM bookings WHERE sink = ?1 AND payment_id = ?2
-- next
SELECT sink, state, count, (SELECT created_at FROM dispatches WHERE id = oldest_id) AS oldest FROM (SELECT sink, state, count(*) AS count, min(id) AS oldest_id FROM dispatches WHERE due_at IS NOT NULL AND state IN ('pending', 'leased') GROUP BY sink, state) UNION ALL SELECT sink, state, count(*), NULL FROM dispatches WHERE state IN ('held', 'dead', 'cancelled') AND state IN ('held', 'dead') GROUP BY sink, state
-- next
UPDATE attempts SET error = ?2 WHERE dispatch_id IN (SELECT id FROM dispatches WHERE event_id = ?1) AND error IS NOT NULL
-- next
UPDATE bookings SET state = 'booked', target_id = coalesce(?2, target_id), note = ?3, changed_at = ?4 WHERE number = ?1
-- next
UPDATE bookings SET state = 'sending', began_at = ?4, changed_at = iif(state = 'reserved', ?4, changed_at) WHERE sink = ?1 AND payment_id = ?2 AND token = ?3 AND state IN ('reserved', 'sending')
-- next
UPDATE bookings SET state = ?2, target_id = coalesce(?3, target_id), note = coalesce(?4, note), changed_at = ?5 WHERE number = ?1
-- next
UPDATE bookings SET token = ?2, event_id = ?3, began_at = ?4, takeovers = takeovers + 1 WHERE number = ?1
-- next
UPDATE events SET payload = NULL WHERE id = ? AND payload IS NOT NULL
-- next
UPDATE events SET payload = NULL WHERE id IN ( SELECT id FROM events AS e WHERE payload IS NOT NULL AND received_at < ?1 AND NOT EXISTS (SELECT 1 FROM dispatches WHERE event_id = e.id AND finished_at IS NULL) ORDER BY received_at LIMIT ?2)
-- next
UPDATE intents SET contested = (state = 'in_flight') WHERE endpoint = ? AND finished_at IS NULL
-- next
UPDATE intents SET lease_until = ? WHERE id = ? AND lease_token = ?
-- next
UPDATE intents SET state = 'done', finished_at = ?, secret_id = ?, lease_token = NULL, lease_until = NULL WHERE id = ?
-- next
UPDATE intents SET state = 'failed', finished_at = ?, lease_token = NULL, lease_until = NULL, contested = 0 WHERE id = ? AND lease_token = ?
-- next
UPDATE intents SET state = 'in_flight', lease_token = ?, lease_until = ?, retry_at = NULL, contested = 0, tries = tries + 1 WHERE id = ? RETURNING id, endpoint, kind, state, actor, webhook_id, url, events, overlap_us, begun_at, tries, lease_token, lease_until
-- next
UPDATE intents SET state = 'unknown', retry_at = ?, lease_token = NULL, lease_until = NULL, contested = 0 WHERE finished_at IS NULL
-- next
UPDATE intents SET state = 'unknown', retry_at = ?, lease_token = NULL, lease_until = NULL, contested = 0, finished_at = NULL, secret_id = NULL WHERE id = ?
-- next
UPDATE secrets SET key_id = ?2, sealed = ?3 WHERE id = ?1
-- next
UPDATE secrets SET state = 'expired', sealed = NULL WHERE sealed IS NOT NULL AND valid_until <= ? RETURNING endpoint, fingerprint
-- next
UPDATE secrets SET state = 'retiring', valid_until = min(coalesce(valid_until, ?3), ?3) WHERE endpoint = ?1 AND sealed IS NOT NULL AND id <> ?2
-- next
UPDATE sinks SET paused_at = NULL, paused_reason = NULL WHERE name = ? AND paused_at IS NOT NULL
-- next
WITH repeated (endpoint, dedupe_key, deliveries, received_at) AS (VALUES (?, ?, ?, ?) ) UPDATE events SET deliveries = events.deliveries + repeated.deliveries, last_delivery_at = max(last_delivery_at, repeated.received_at) FROM repeated WHERE events.endpoint = +repeated.endpoint AND events.dedupe_key = +repeated.dedupe_key RETURNING events.id, events.endpoint, events.dedupe_key
