-- Retention walks the events by id, which begins with the time of receipt, so no accept writes an index for it any more.

DROP INDEX events_with_payload, events_purged;

-- One row: how far payloads have been removed.
CREATE TABLE retention_progress (
    id            integer PRIMARY KEY CHECK (id = 1),
    -- The id of the last examined event.
    emptied_until uuid NOT NULL,
    -- When the walk began; null: begin anew.
    began_at      bigint
);
INSERT INTO retention_progress (id, emptied_until) VALUES (1, '00000000-0000-0000-0000-000000000000');

-- The events up to that place that keep their payload, because they were still needed.
CREATE TABLE overdue (
    event_id uuid PRIMARY KEY
);
