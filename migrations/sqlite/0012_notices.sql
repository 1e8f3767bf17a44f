-- The relay's own events: what has happened that a person may want to hear of, before it is told.
--
-- The triggers note it in the transaction that changes the state, whichever code changes it. Turning the notes into
-- events, grouped, is the work of `src/notices`. Times are microseconds since 1970 in UTC. UUIDs are 16-byte blobs.

-- Dispatches that came to wait for a person or were given up, one row each.
CREATE TABLE notice_dispatches (
    dispatch_id INTEGER NOT NULL PRIMARY KEY,
    sink        TEXT    NOT NULL,
    endpoint    TEXT    NOT NULL,
    event_id    BLOB    NOT NULL CHECK (length(event_id) = 16),
    state       TEXT    NOT NULL CHECK (state IN ('held', 'dead')),
    reason      TEXT,
    at          INTEGER NOT NULL,
    open        INTEGER NOT NULL DEFAULT 1 CHECK (open IN (0, 1)), -- it is new, or its state or reason has changed
    told        TEXT                                               -- the state and group of reasons that were told
) STRICT;
CREATE INDEX notice_dispatches_open ON notice_dispatches (dispatch_id) WHERE open = 1;

-- Pauses of sinks and their ends, until they are told.
CREATE TABLE notice_sinks (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    sink   TEXT    NOT NULL,
    reason TEXT,                                                    -- null: the pause has ended
    at     INTEGER NOT NULL
) STRICT;

-- Refused deliveries, counted until they are told.
CREATE TABLE notice_refusals (
    endpoint TEXT    NOT NULL,                                      -- empty: a path that no endpoint has
    cause    TEXT    NOT NULL,
    n        INTEGER NOT NULL,
    at       INTEGER NOT NULL,                                      -- of the first
    PRIMARY KEY (endpoint, cause)
) STRICT, WITHOUT ROWID;

-- When a group was last told, and how long the next of it waits.
CREATE TABLE notice_groups (
    name      TEXT    NOT NULL PRIMARY KEY,
    told_at   INTEGER NOT NULL,
    window_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was told and lasts: a sink that is paused or tripped, an endpoint that is silent, a rotation whose outcome is
-- unknown; how far the audit trail was read; the day of the last digest.
CREATE TABLE notice_marks (
    name    TEXT    NOT NULL PRIMARY KEY,
    at      INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    number  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The relay's own events make no further ones.
CREATE TRIGGER queue_noticed AFTER UPDATE OF state ON queue
WHEN NEW.state IN ('held', 'dead') AND OLD.state <> NEW.state AND NEW.event_type NOT LIKE 'relay.%' BEGIN
    INSERT INTO notice_dispatches (dispatch_id, sink, endpoint, event_id, state, reason, at)
    VALUES (NEW.id, NEW.sink, coalesce((SELECT endpoint FROM events WHERE id = NEW.event_id), ''), NEW.event_id,
            NEW.state, NEW.last_error, CAST(unixepoch('subsec') * 1000000 AS INTEGER))
    ON CONFLICT (dispatch_id) DO UPDATE
    SET open = 1, state = excluded.state, reason = excluded.reason, at = excluded.at
    WHERE notice_dispatches.state <> excluded.state OR notice_dispatches.reason IS NOT excluded.reason;
END;

-- A person has had it tried again, or it is no longer there. Nearly all dispatches are delivered by their first
-- attempt, and were never noted.
CREATE TRIGGER queue_unnoticed AFTER UPDATE OF state ON queue
WHEN OLD.state IN ('held', 'dead') AND NEW.state = 'pending' BEGIN
    DELETE FROM notice_dispatches WHERE dispatch_id = NEW.id;
END;
CREATE TRIGGER queue_gone AFTER DELETE ON queue WHEN OLD.attempts > 0 OR OLD.state IN ('held', 'dead') BEGIN
    DELETE FROM notice_dispatches WHERE dispatch_id = OLD.id;
END;
