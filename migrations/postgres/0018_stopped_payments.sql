-- no-transaction
-- The payments that wait for a person, in the order of their list, among a million that wait for their turn. Only a
-- dispatch that is held or dead is in this index: what is delivered never writes it.
--
-- The condition is written in this way, which means the same, so that neither database takes `queue_stopped` for it and
-- sorts all of them.

CREATE INDEX CONCURRENTLY IF NOT EXISTS queue_stopped_event ON queue (event_id) WHERE (state IN ('held', 'dead')) IS TRUE;
