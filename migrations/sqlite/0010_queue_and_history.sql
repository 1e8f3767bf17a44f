-- alone
--
-- What is still to be done, apart from what is done: `queue` is small and changes all the time, `history` only grows.
-- `dispatches` becomes a view of both, for those who read. Unlike other migrations this one takes from the version before
-- what it writes: its process has to be stopped first.
--
-- Times are microseconds since 1970 in UTC. UUIDs are 16-byte blobs. No foreign keys: whoever deletes an event deletes
-- what belongs to it in the same transaction.

-- step: creating the queue
CREATE TABLE queue (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,        -- never given twice; kept when it moves to `history`
    event_id         BLOB    NOT NULL CHECK (length(event_id) = 16),
    sink             TEXT    NOT NULL,
    event_type       TEXT    NOT NULL,
    invoice_id       TEXT,
    state            TEXT    NOT NULL,                         -- 'dead' stays here: a person may want it tried again
    trigger          TEXT    NOT NULL CHECK (trigger IN ('event', 'replay')),
    attempts         INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    ageless          INTEGER NOT NULL DEFAULT 0,               -- attempts that do not count for the age
    created_at       INTEGER NOT NULL,
    first_attempt_at INTEGER,
    due_at           INTEGER,                                  -- next attempt, end of the lease, or re-check
    wait_us          INTEGER,                                  -- due again so long after its last attempt
    lease_token      BLOB CHECK (length(lease_token) = 16),
    alone            INTEGER NOT NULL DEFAULT 0 CHECK (alone IN (0, 1)),  -- leased by a worker that keeps the order
    -- Its place in its lane (sink and invoice): the leased one first, then in the order of the numbers.
    turn             INTEGER NOT NULL GENERATED ALWAYS AS (iif(alone, 0, id)) VIRTUAL,
    waits_for        INTEGER,                                  -- the one of its lane that has to be finished first
    finished_at      INTEGER,                                  -- only for a dead one
    last_error       TEXT,

    CHECK (CASE state
        WHEN 'pending' THEN due_at IS NOT NULL AND finished_at IS NULL
        WHEN 'leased' THEN due_at IS NOT NULL AND finished_at IS NULL
        WHEN 'held' THEN finished_at IS NULL
        WHEN 'dead' THEN due_at IS NULL AND finished_at IS NOT NULL
        ELSE FALSE END),
    CHECK ((state = 'leased') = (lease_token IS NOT NULL)),
    CHECK (NOT alone OR (state = 'leased' AND invoice_id IS NOT NULL)),
    CHECK (waits_for IS NULL OR (state IN ('pending', 'held') AND due_at IS NOT NULL))
) STRICT;

-- How many dispatches each sink has in the queue, by state; kept by the triggers, in the transaction of each change.
CREATE TABLE queue_counts (
    sink  TEXT    NOT NULL,
    state TEXT    NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (sink, state)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER queue_added AFTER INSERT ON queue BEGIN
    INSERT INTO queue_counts (sink, state, n) VALUES (NEW.sink, NEW.state, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER queue_removed AFTER DELETE ON queue BEGIN
    UPDATE queue_counts SET n = n - 1 WHERE sink = OLD.sink AND state = OLD.state;
END;
CREATE TRIGGER queue_changed AFTER UPDATE OF state ON queue WHEN OLD.state <> NEW.state BEGIN
    UPDATE queue_counts SET n = n - 1 WHERE sink = OLD.sink AND state = OLD.state;
    INSERT INTO queue_counts (sink, state, n) VALUES (NEW.sink, NEW.state, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;

CREATE TABLE history (
    id           INTEGER PRIMARY KEY,
    event_id     BLOB    NOT NULL,
    sink         TEXT    NOT NULL,
    event_type   TEXT    NOT NULL,
    invoice_id   TEXT,
    state        TEXT    NOT NULL CHECK (state IN ('delivered', 'cancelled')),
    trigger      TEXT    NOT NULL CHECK (trigger IN ('event', 'replay')),
    attempts     INTEGER NOT NULL CHECK (attempts >= 0),
    created_at   INTEGER NOT NULL,
    finished_at  INTEGER NOT NULL,
    attempted_at INTEGER,                                      -- the attempt that delivered it: nearly always the only
    attempt_us   INTEGER CHECK (attempt_us >= 0),              -- one, so no row of its own
    last_error   TEXT,

    CHECK ((attempted_at IS NULL) = (attempt_us IS NULL)),
    CHECK (attempted_at IS NULL OR state = 'delivered')
) STRICT;

-- The same table without its reference: SQLite takes a constraint away only with the table
-- (https://www.sqlite.org/lang_altertable.html#otheralter).
CREATE TABLE attempts_kept (
    dispatch_id INTEGER NOT NULL,
    number      INTEGER NOT NULL CHECK (number >= 1),
    started_at  INTEGER NOT NULL,
    duration_us INTEGER NOT NULL CHECK (duration_us >= 0),
    outcome     TEXT    NOT NULL CHECK (outcome IN ('delivered', 'retry', 'rejected', 'hold')),
    error       TEXT,
    PRIMARY KEY (dispatch_id, number)
) STRICT, WITHOUT ROWID;

-- step: moving the unfinished dispatches into the queue
INSERT INTO queue (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, ageless, created_at,
                   first_attempt_at, due_at, wait_us, lease_token, waits_for, finished_at, last_error)
SELECT id, event_id, sink, event_type, invoice_id, state, trigger, attempts, ageless, created_at, first_attempt_at,
       due_at, wait_us, lease_token, waits_for, finished_at, last_error
FROM dispatches WHERE state IN ('pending', 'leased', 'held', 'dead') ORDER BY id;

-- The numbers go on where the old table left off. The row of `queue` is there only if something was moved.
DELETE FROM sqlite_sequence WHERE name = 'queue';
INSERT INTO sqlite_sequence (name, seq) SELECT 'queue', seq FROM sqlite_sequence WHERE name = 'dispatches';

-- step: indexing the queue
-- What a claim reads.
CREATE INDEX queue_due ON queue (sink, due_at, id) WHERE due_at IS NOT NULL;
-- The order per invoice. Unique: of one invoice, a sink that keeps the order is sent one dispatch at a time.
CREATE UNIQUE INDEX queue_lane ON queue (sink, invoice_id, turn) WHERE invoice_id IS NOT NULL AND finished_at IS NULL;
-- The dispatches of an event.
CREATE INDEX queue_event ON queue (event_id);
-- Rarely written, as a dispatch that is handed over and delivered is never in them: the oldest one of a sink, and what
-- a person looks for.
CREATE INDEX queue_oldest ON queue (sink, id) WHERE state = 'pending' OR (state = 'leased' AND attempts > 0);
CREATE INDEX queue_stopped ON queue (state, id) WHERE state IN ('held', 'dead');

-- repeat: copying the finished dispatches into the history, 100,000 at a time
INSERT INTO history (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, finished_at,
                     attempted_at, attempt_us, last_error)
SELECT id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, finished_at, attempted_at,
       attempt_us, last_error
FROM dispatches
WHERE id > (SELECT coalesce(max(id), 0) FROM history) AND state IN ('delivered', 'cancelled') ORDER BY id LIMIT 100000;

-- step: indexing the history
CREATE INDEX history_event ON history (event_id);
CREATE INDEX history_cancelled ON history (id) WHERE state = 'cancelled';

-- step: removing the old table
INSERT INTO attempts_kept SELECT dispatch_id, number, started_at, duration_us, outcome, error FROM attempts;
DROP TABLE attempts;
ALTER TABLE attempts_kept RENAME TO attempts;
DROP TABLE dispatches;

-- `CAST`: only where both sides have the same affinity does SQLite push a condition or an order down to the two tables
-- (https://www.sqlite.org/optoverview.html#subquery_flattening).
CREATE VIEW dispatches AS
    SELECT id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, due_at, finished_at,
           last_error, waits_for, CAST(NULL AS INTEGER) AS attempted_at, CAST(NULL AS INTEGER) AS attempt_us
    FROM queue
    UNION ALL
    SELECT id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at,
           CAST(NULL AS INTEGER), finished_at, last_error, CAST(NULL AS INTEGER), attempted_at, attempt_us
    FROM history;
