-- What version 4 of the schema was used with. Each statement stands on a line of its own.
-- next
DELETE FROM bookings WHERE number = $1
-- next
DELETE FROM bookings WHERE sink = $1 AND payment_id = $2 AND token = $3 AND state IN ('reserved', 'sending')
-- next
DELETE FROM secrets WHERE endpoint = $1 AND fingerprint = $2
-- next
INSERT INTO assignments (event_id, endpoint, payment_id, invoice_id, amount_cents) VALUES ($1, $2, $3, $4, $5)
-- next
INSERT INTO attempts (dispatch_id, number, started_at, duration_us, outcome, error) SELECT * FROM unnest($1::bigint[], $2::int[], $3::bigint[], $4::bigint[], $5::text[], $6::text[])
-- next
INSERT INTO audit (at, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5)
-- next
INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, token, began_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 'reserved', $8, $9, $9)
-- next
INSERT INTO endpoint_activity (endpoint, watched_since, last_delivery_at) SELECT name, (SELECT COALESCE($3::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)), at FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS seen (name, at, place) ORDER BY place ON CONFLICT (endpoint) DO UPDATE SET last_delivery_at = excluded.last_delivery_at WHERE excluded.last_delivery_at > COALESCE(endpoint_activity.last_delivery_at, excluded.last_delivery_at - 1)
-- next
INSERT INTO intents (id, endpoint, kind, state, actor, webhook_id, url, events, overlap_us, begun_at, tries, lease_token, lease_until) VALUES ($1, $2, $3, 'in_flight', $4, $5, $6, $7, $8, $9, 1, $10, $11)
-- next
INSERT INTO secrets (id, endpoint, fingerprint, origin, state, created_at, key_id, sealed) VALUES ($1, $2, $3, $4, 'active', $5, $6, $7) ON CONFLICT (endpoint, fingerprint) DO NOTHING
-- next
INSERT INTO sinks (name, registered_at) SELECT name, (SELECT COALESCE($2::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) FROM unnest($1::text[]) AS name ON CONFLICT (name) DO NOTHING
-- next
INSERT INTO sinks AS s (name, registered_at, delivered, last_success_at, last_error_at, last_error, paused_at, paused_reason) SELECT name, $5::bigint, delivered, CASE WHEN delivered > 0 THEN $5 END, CASE WHEN error IS NOT NULL THEN $5 END, error, CASE WHEN pause IS NOT NULL THEN $5 END, pause FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS given (name, delivered, error, pause) ON CONFLICT (name) DO UPDATE SET delivered = s.delivered + excluded.delivered, last_success_at = COALESCE(excluded.last_success_at, s.last_success_at), last_error_at = COALESCE(excluded.last_error_at, s.last_error_at), last_error = COALESCE(excluded.last_error, s.last_error), paused_at = COALESCE(s.paused_at, excluded.paused_at), paused_reason = COALESCE(s.paused_reason, excluded.paused_reason)
-- next
INSERT INTO sinks AS s (name, registered_at, paused_at, paused_reason) SELECT $1, now, now, $2 FROM (SELECT (SELECT COALESCE($3::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS now) AS moment ON CONFLICT (name) DO UPDATE SET paused_at = excluded.paused_at, paused_reason = excluded.paused_reason WHERE s.paused_at IS NULL
-- next
INSERT INTO trial_writes (id, written_at) VALUES (1, (SELECT COALESCE($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))) ON CONFLICT (id) DO UPDATE SET written_at = excluded.written_at
-- next
INSERT INTO webhooks (endpoint, id, url, registered_at) VALUES ($1, $2, $3, $4) ON CONFLICT (endpoint) DO UPDATE SET id = excluded.id, url = excluded.url, registered_at = excluded.registered_at
-- next
SELECT (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))
-- next
SELECT (SELECT id FROM ((SELECT id, received_at FROM events WHERE payload IS NOT NULL AND received_at >= $1 ORDER BY received_at LIMIT 1) UNION ALL (SELECT id, received_at FROM events WHERE payload IS NULL AND received_at >= $1 ORDER BY received_at LIMIT 1)) AS first ORDER BY received_at LIMIT 1), (SELECT id FROM ((SELECT id, received_at FROM events WHERE payload IS NOT NULL AND received_at < $2 ORDER BY received_at DESC LIMIT 1) UNION ALL (SELECT id, received_at FROM events WHERE payload IS NULL AND received_at < $2 ORDER BY received_at DESC LIMIT 1)) AS last ORDER BY received_at DESC LIMIT 1)
-- next
SELECT EXISTS (SELECT FROM intents WHERE id = $1 AND lease_token = $2)
-- next
SELECT EXISTS (SELECT FROM secrets WHERE id = $1)
-- next
SELECT candidate.id, head.id FROM unnest($2::bigint[], $3::text[]) AS candidate (id, invoice_id) CROSS JOIN LATERAL ( SELECT d.id FROM dispatches d WHERE d.sink = $1 AND d.invoice_id = candidate.invoice_id AND d.finished_at IS NULL AND d.id < candidate.id ORDER BY d.id LIMIT 1 ) AS head
-- next
SELECT coalesce(sum(amount_cents), 0)::bigint FROM bookings WHERE invoice_number = $1 AND sink = $2 AND state IN ('written', 'booked')
-- next
SELECT count(*) FROM (SELECT FROM events e WHERE true AND e.endpoint = $1 ORDER BY e.id LIMIT $2) AS selected
-- next
SELECT count(*) FROM (SELECT FROM events e WHERE true AND e.invoice_id = $1 ORDER BY e.id LIMIT $2) AS selected
-- next
SELECT count(*) FROM (SELECT FROM events e WHERE true AND e.received_at >= $1 AND e.received_at < $2 AND e.id >= $3 AND e.id <= $4 ORDER BY e.id LIMIT $5) AS selected
-- next
SELECT count(*) FROM (SELECT FROM events e WHERE true AND e.type = $1 AND e.id < $2 ORDER BY e.id LIMIT $3) AS selected
-- next
SELECT count(*) FROM (SELECT FROM events e WHERE true AND e.type = $1 ORDER BY e.id LIMIT $2) AS selected
-- next
SELECT count(*) FROM (SELECT FROM events e WHERE true AND position($1 IN e.payload) > 0 ORDER BY e.id LIMIT $2) AS selected
-- next
SELECT count(*) FROM (SELECT FROM events e WHERE true ORDER BY e.id LIMIT $1) AS selected
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE d.event_id = $1 ORDER BY d.id
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE d.id = $1
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'leased' AND d.event_id = $1 AND d.id < $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'leased' AND d.event_id = $1 ORDER BY d.id DESC LIMIT $2
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'leased' AND d.id < $1 ORDER BY d.id DESC LIMIT $2
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'leased' AND d.sink = $1 AND d.event_id = $2 AND d.id < $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'leased' AND d.sink = $1 AND d.event_id = $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'leased' AND d.sink = $1 AND d.id < $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'leased' AND d.sink = $1 ORDER BY d.id DESC LIMIT $2
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'leased' ORDER BY d.id DESC LIMIT $1
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'pending' AND d.event_id = $1 AND d.id < $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'pending' AND d.event_id = $1 ORDER BY d.id DESC LIMIT $2
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'pending' AND d.id < $1 ORDER BY d.id DESC LIMIT $2
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'pending' AND d.sink = $1 AND d.event_id = $2 AND d.id < $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'pending' AND d.sink = $1 AND d.event_id = $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'pending' AND d.sink = $1 AND d.id < $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'pending' AND d.sink = $1 ORDER BY d.id DESC LIMIT $2
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.due_at IS NOT NULL AND d.state = 'pending' ORDER BY d.id DESC LIMIT $1
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.event_id = $1 AND d.id < $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.event_id = $1 ORDER BY d.id DESC LIMIT $2
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.id < $1 ORDER BY d.id DESC LIMIT $2
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.sink = $1 AND d.event_id = $2 AND d.id < $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.sink = $1 AND d.event_id = $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.sink = $1 AND d.id < $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.sink = $1 ORDER BY d.id DESC LIMIT $2
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.state = 'delivered' AND d.event_id = $1 AND d.id < $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.state = 'delivered' AND d.event_id = $1 ORDER BY d.id DESC LIMIT $2
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.state = 'delivered' AND d.id < $1 ORDER BY d.id DESC LIMIT $2
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.state = 'delivered' AND d.sink = $1 AND d.event_id = $2 AND d.id < $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.state = 'delivered' AND d.sink = $1 AND d.event_id = $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.state = 'delivered' AND d.sink = $1 AND d.id < $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.state = 'delivered' AND d.sink = $1 ORDER BY d.id DESC LIMIT $2
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true AND d.state = 'delivered' ORDER BY d.id DESC LIMIT $1
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM dispatches d WHERE true ORDER BY d.id DESC LIMIT $1
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'leased' AND d.event_id = $2 AND d.id < $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'leased' AND d.event_id = $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'leased' AND d.id < $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'leased' AND d.sink = $2 AND d.event_id = $3 AND d.id < $4 ORDER BY d.id DESC LIMIT $5
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'leased' AND d.sink = $2 AND d.event_id = $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'leased' AND d.sink = $2 AND d.id < $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'leased' AND d.sink = $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'leased' ORDER BY d.id DESC LIMIT $2
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'pending' AND d.event_id = $2 AND d.id < $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'pending' AND d.event_id = $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'pending' AND d.id < $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'pending' AND d.sink = $2 AND d.event_id = $3 AND d.id < $4 ORDER BY d.id DESC LIMIT $5
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'pending' AND d.sink = $2 AND d.event_id = $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'pending' AND d.sink = $2 AND d.id < $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'pending' AND d.sink = $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.due_at IS NOT NULL AND d.state = 'pending' ORDER BY d.id DESC LIMIT $2
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.event_id = $2 AND d.id < $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.event_id = $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.id < $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.sink = $2 AND d.event_id = $3 AND d.id < $4 ORDER BY d.id DESC LIMIT $5
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.sink = $2 AND d.event_id = $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.sink = $2 AND d.id < $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.sink = $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.state = 'delivered' AND d.event_id = $2 AND d.id < $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.state = 'delivered' AND d.event_id = $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.state = 'delivered' AND d.id < $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.state = 'delivered' AND d.sink = $2 AND d.event_id = $3 AND d.id < $4 ORDER BY d.id DESC LIMIT $5
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.state = 'delivered' AND d.sink = $2 AND d.event_id = $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.state = 'delivered' AND d.sink = $2 AND d.id < $3 ORDER BY d.id DESC LIMIT $4
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.state = 'delivered' AND d.sink = $2 ORDER BY d.id DESC LIMIT $3
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 AND d.state = 'delivered' ORDER BY d.id DESC LIMIT $2
-- next
SELECT d.id, d.event_id, d.event_type, d.invoice_id, d.sink, d.state, d.attempts, d.trigger, d.created_at, d.due_at, d.finished_at, d.last_error, d.waits_for, d.attempted_at, d.attempt_us FROM events e JOIN dispatches d ON d.event_id = e.id WHERE e.invoice_id = $1 ORDER BY d.id DESC LIMIT $2
-- next
SELECT dispatch_id, number, started_at, duration_us, outcome, error FROM attempts WHERE dispatch_id = ANY($1) ORDER BY dispatch_id, number
-- next
SELECT e.id FROM events e WHERE e.payload IS NOT NULL AND e.received_at < $1 AND NOT EXISTS (SELECT FROM dispatches d WHERE d.event_id = e.id AND d.finished_at IS NULL) ORDER BY e.received_at LIMIT $2 FOR UPDATE OF e SKIP LOCKED
-- next
SELECT e.id FROM events e WHERE e.payload IS NULL AND e.received_at < $1 AND NOT EXISTS (SELECT FROM dispatches d WHERE d.event_id = e.id AND d.finished_at IS NULL) ORDER BY e.received_at LIMIT $2 FOR UPDATE OF e SKIP LOCKED
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type FROM events e WHERE true AND e.endpoint = $1 ORDER BY e.id DESC LIMIT $2
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type FROM events e WHERE true AND e.id < $1 ORDER BY e.id DESC LIMIT $2
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type FROM events e WHERE true AND e.invoice_id = $1 ORDER BY e.id DESC LIMIT $2
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type FROM events e WHERE true AND e.received_at < $1 AND e.id <= $2 ORDER BY e.id DESC LIMIT $3
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type FROM events e WHERE true AND e.received_at >= $1 AND e.id >= $2 ORDER BY e.id DESC LIMIT $3
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type FROM events e WHERE true AND e.received_at >= $1 AND e.received_at < $2 AND e.id >= $3 AND e.id <= $4 ORDER BY e.id DESC LIMIT $5
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type FROM events e WHERE true AND e.type = $1 AND e.endpoint = $2 AND e.invoice_id = $3 AND e.received_at >= $4 AND e.received_at < $5 AND position($6 IN e.payload) > 0 AND e.id >= $7 AND e.id <= $8 AND e.id < $9 ORDER BY e.id DESC LIMIT $10
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type FROM events e WHERE true AND e.type = $1 AND e.id < $2 ORDER BY e.id DESC LIMIT $3
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type FROM events e WHERE true AND e.type = $1 ORDER BY e.id DESC LIMIT $2
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type FROM events e WHERE true AND position($1 IN e.payload) > 0 ORDER BY e.id DESC LIMIT $2
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type FROM events e WHERE true ORDER BY e.id DESC LIMIT $1
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type, e.payload FROM events e WHERE e.id = $1
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type, e.payload IS NOT NULL AS has_payload FROM events e WHERE true AND e.endpoint = $1 AND e.id > $2 ORDER BY e.id LIMIT $3
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type, e.payload IS NOT NULL AS has_payload FROM events e WHERE true AND e.endpoint = $1 ORDER BY e.id LIMIT $2
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type, e.payload IS NOT NULL AS has_payload FROM events e WHERE true AND e.id > $1 ORDER BY e.id LIMIT $2
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type, e.payload IS NOT NULL AS has_payload FROM events e WHERE true AND e.invoice_id = $1 AND e.id > $2 ORDER BY e.id LIMIT $3
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type, e.payload IS NOT NULL AS has_payload FROM events e WHERE true AND e.invoice_id = $1 ORDER BY e.id LIMIT $2
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type, e.payload IS NOT NULL AS has_payload FROM events e WHERE true AND e.received_at >= $1 AND e.received_at < $2 AND e.id >= $3 AND e.id <= $4 AND e.id > $5 ORDER BY e.id LIMIT $6
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type, e.payload IS NOT NULL AS has_payload FROM events e WHERE true AND e.received_at >= $1 AND e.received_at < $2 AND e.id >= $3 AND e.id <= $4 ORDER BY e.id LIMIT $5
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type, e.payload IS NOT NULL AS has_payload FROM events e WHERE true AND e.type = $1 AND e.id < $2 AND e.id > $3 ORDER BY e.id LIMIT $4
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type, e.payload IS NOT NULL AS has_payload FROM events e WHERE true AND e.type = $1 AND e.id < $2 ORDER BY e.id LIMIT $3
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type, e.payload IS NOT NULL AS has_payload FROM events e WHERE true AND e.type = $1 AND e.id > $2 ORDER BY e.id LIMIT $3
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type, e.payload IS NOT NULL AS has_payload FROM events e WHERE true AND e.type = $1 ORDER BY e.id LIMIT $2
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type, e.payload IS NOT NULL AS has_payload FROM events e WHERE true AND position($1 IN e.payload) > 0 AND e.id > $2 ORDER BY e.id LIMIT $3
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type, e.payload IS NOT NULL AS has_payload FROM events e WHERE true AND position($1 IN e.payload) > 0 ORDER BY e.id LIMIT $2
-- next
SELECT e.id, e.endpoint, e.type, e.invoice_id, e.occurred_at, e.received_at, e.deliveries, e.readable, e.content_type, e.payload IS NOT NULL AS has_payload FROM events e WHERE true ORDER BY e.id LIMIT $1
-- next
SELECT e.id, e.payload IS NOT NULL FROM events e WHERE e.invoice_id = $1 AND e.id > $2 ORDER BY e.id LIMIT $3 FOR UPDATE
-- next
SELECT endpoint, id, url, registered_at FROM webhooks
-- next
SELECT endpoint, lease_token, contested, secret_id FROM intents WHERE id = $1 FOR UPDATE
-- next
SELECT endpoint, watched_since, last_delivery_at FROM endpoint_activity WHERE endpoint = ANY ($1::text[])
-- next
SELECT event_id FROM assignments WHERE endpoint = $1 AND payment_id = $2
-- next
SELECT event_id, endpoint, payment_id, invoice_id, amount_cents FROM assignments WHERE endpoint = $1 AND invoice_id = $2
-- next
SELECT event_id, endpoint, payment_id, invoice_id, amount_cents FROM assignments WHERE event_id = $1
-- next
SELECT fingerprint FROM secrets WHERE endpoint = $1 ORDER BY number DESC LIMIT 1
-- next
SELECT id FROM dispatches WHERE id = ANY($1) AND finished_at IS NULL ORDER BY id FOR SHARE SKIP LOCKED
-- next
SELECT id FROM events WHERE id = $1 FOR KEY SHARE
-- next
SELECT id FROM intents WHERE finished_at IS NULL AND coalesce(retry_at, lease_until) <= $1 ORDER BY begun_at, id LIMIT 1 FOR UPDATE
-- next
SELECT id, at, actor, action, subject, detail FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2
-- next
SELECT id, endpoint, fingerprint, origin, state, created_at, valid_until, key_id, sealed FROM secrets WHERE endpoint = $1 ORDER BY number DESC
-- next
SELECT id, endpoint, fingerprint, origin, state, created_at, valid_until, key_id, sealed FROM secrets WHERE sealed IS NOT NULL AND (valid_until IS NULL OR valid_until > $1) ORDER BY number DESC
-- next
SELECT id, endpoint, kind, state, actor, webhook_id, url, events, overlap_us, begun_at, tries, lease_token, lease_until FROM intents WHERE endpoint = $1 AND finished_at IS NULL FOR UPDATE
-- next
SELECT id, endpoint, kind, state, actor, webhook_id, url, events, overlap_us, begun_at, tries, lease_token, lease_until FROM intents WHERE finished_at IS NULL
-- next
SELECT id, fingerprint, valid_until IS NULL OR valid_until > $2 FROM secrets WHERE sealed IS NOT NULL AND key_id = $1
-- next
SELECT name, paused_at, paused_reason, delivered, last_success_at, last_error_at, last_error FROM sinks
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS now FROM bookings WHERE sink = $1 AND invoice_number = $2 AND state IN ('reserved', 'sending')
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS now FROM bookings WHERE sink = $1 AND payment_id = $2
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS now FROM bookings WHERE true AND invoice_id = $1 ORDER BY number DESC LIMIT $2
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS now FROM bookings WHERE true AND invoice_number = $1 ORDER BY number DESC LIMIT $2
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS now FROM bookings WHERE true AND number < $1 ORDER BY number DESC LIMIT $2
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS now FROM bookings WHERE true AND payment_id = $1 ORDER BY number DESC LIMIT $2
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS now FROM bookings WHERE true AND sink = $1 ORDER BY number DESC LIMIT $2
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS now FROM bookings WHERE true AND state = 'booked' AND sink = $1 AND payment_id = $2 AND invoice_id = $3 AND invoice_number = $4 ORDER BY number DESC LIMIT $5
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS now FROM bookings WHERE true AND state = 'booked' ORDER BY number DESC LIMIT $1
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS now FROM bookings WHERE true AND state = 'seen' ORDER BY number DESC LIMIT $1
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS now FROM bookings WHERE true AND state IN ('reserved', 'sending', 'written') AND state = 'reserved' ORDER BY number DESC LIMIT $1
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS now FROM bookings WHERE true AND state IN ('reserved', 'sending', 'written') AND state = 'sending' ORDER BY number DESC LIMIT $1
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS now FROM bookings WHERE true AND state IN ('reserved', 'sending', 'written') AND state = 'written' ORDER BY number DESC LIMIT $1
-- next
SELECT number, sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note, token, takeovers, began_at, changed_at, (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS now FROM bookings WHERE true ORDER BY number DESC LIMIT $1
-- next
SELECT pg_advisory_xact_lock($1)
-- next
SELECT pg_backend_pid()
-- next
SELECT pg_notify($1, $2)
-- next
SELECT pg_notify($1, '')
-- next
SELECT pg_try_advisory_lock($1)
-- next
SELECT set_config('lock_timeout', $1, false), set_config('statement_timeout', $2, false)
-- next
SELECT sink, min(created_at) FROM dispatches WHERE id = ANY($1) AND state IN ('pending', 'leased') GROUP BY sink
-- next
UPDATE bookings SET state = $2, target_id = coalesce($3, target_id), note = coalesce($4, note), changed_at = $5 WHERE number = $1
-- next
UPDATE bookings SET state = 'booked', target_id = coalesce($2, target_id), note = $3, changed_at = $4 WHERE number = $1
-- next
UPDATE bookings SET state = 'sending', began_at = $4, changed_at = CASE WHEN state = 'reserved' THEN $4 ELSE changed_at END WHERE sink = $1 AND payment_id = $2 AND token = $3 AND state IN ('reserved', 'sending')
-- next
UPDATE bookings SET token = $2, event_id = $3, began_at = $4, takeovers = takeovers + 1 WHERE number = $1
-- next
UPDATE events SET payload = NULL WHERE id = ANY($1) AND payload IS NOT NULL
-- next
UPDATE events e SET payload = NULL WHERE e.id = ANY($1) AND NOT EXISTS (SELECT FROM dispatches d WHERE d.event_id = e.id AND d.finished_at IS NULL)
-- next
UPDATE intents SET contested = (state = 'in_flight') WHERE endpoint = $1 AND finished_at IS NULL
-- next
UPDATE intents SET lease_until = $3 + (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) WHERE id = $1 AND lease_token = $2
-- next
UPDATE intents SET state = 'done', finished_at = $2, secret_id = $3, lease_token = NULL, lease_until = NULL WHERE id = $1
-- next
UPDATE intents SET state = 'failed', finished_at = $3, lease_token = NULL, lease_until = NULL, contested = false WHERE id = $1 AND lease_token = $2
-- next
UPDATE intents SET state = 'in_flight', lease_token = $2, lease_until = $3, retry_at = NULL, contested = false, tries = tries + 1 WHERE id = $1 RETURNING id, endpoint, kind, state, actor, webhook_id, url, events, overlap_us, begun_at, tries, lease_token, lease_until
-- next
UPDATE intents SET state = 'unknown', retry_at = $1, lease_token = NULL, lease_until = NULL, contested = false WHERE finished_at IS NULL
-- next
UPDATE intents SET state = 'unknown', retry_at = $2, lease_token = NULL, lease_until = NULL, contested = false, finished_at = NULL, secret_id = NULL WHERE id = $1
-- next
UPDATE secrets SET key_id = $2, sealed = $3 WHERE id = $1
-- next
UPDATE secrets SET state = 'expired', sealed = NULL WHERE sealed IS NOT NULL AND valid_until <= $1 RETURNING endpoint, fingerprint
-- next
UPDATE secrets SET state = 'retiring', valid_until = least(valid_until, $3) WHERE endpoint = $1 AND sealed IS NOT NULL AND id <> $2
-- next
UPDATE sinks SET paused_at = NULL, paused_reason = NULL WHERE name = $1 AND paused_at IS NOT NULL
-- next
WITH old AS MATERIALIZED ( SELECT number FROM bookings WHERE state IN ('booked', 'seen') AND changed_at <= (SELECT COALESCE(NULL::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) - $1 ORDER BY changed_at LIMIT $2 FOR UPDATE SKIP LOCKED ) DELETE FROM bookings AS b USING old WHERE b.number = old.number
