-- Retention walks the events by id, which begins with the time of receipt, so no accept writes an index for it any more.

DROP INDEX events_with_payload;
DROP INDEX events_without_payload;

-- One row: how far payloads have been removed.
CREATE TABLE retention_progress (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    emptied_until BLOB    NOT NULL CHECK (length(emptied_until) = 16),     -- the id of the last examined event
    began_at      INTEGER                                                   -- when the walk began; null: begin anew
) STRICT;
INSERT INTO retention_progress (id, emptied_until) VALUES (1, zeroblob(16));

-- The events up to that place that keep their payload, because they were still needed.
CREATE TABLE overdue (
    event_id BLOB PRIMARY KEY CHECK (length(event_id) = 16)
) STRICT, WITHOUT ROWID;
