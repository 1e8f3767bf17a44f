-- Events, their dispatches, the attempts, and the status of sinks.
--
-- Times are microseconds since 1970 in UTC. UUIDs are 16-byte blobs, so that they sort as in Postgres.

CREATE TABLE events (
    id               BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),  -- UUID v7: newest first is `id DESC`
    endpoint         TEXT    NOT NULL,
    dedupe_key       BLOB    NOT NULL CHECK (length(dedupe_key) = 32),
    type             TEXT    NOT NULL,
    invoice_id       TEXT,
    occurred_at      INTEGER,
    received_at      INTEGER NOT NULL,
    deliveries       INTEGER NOT NULL CHECK (deliveries >= 1),
    last_delivery_at INTEGER NOT NULL,
    readable         INTEGER NOT NULL CHECK (readable IN (0, 1)),
    content_type     TEXT,
    payload          BLOB                                                   -- null: purged. Last, so that lists never read it
) STRICT;

-- Dedupe: an event is known by its key within its endpoint.
CREATE UNIQUE INDEX events_by_key ON events (endpoint, dedupe_key);

-- The list of one invoice's events.
CREATE INDEX events_by_invoice ON events (invoice_id, id) WHERE invoice_id IS NOT NULL;

-- What a purge looks for, oldest first. Accepting writes only the first one, always at its end, which is cheap;
-- a row moves to the second when its payload goes.
CREATE INDEX events_with_payload ON events (received_at) WHERE payload IS NOT NULL;
CREATE INDEX events_without_payload ON events (received_at) WHERE payload IS NULL;

CREATE TABLE dispatches (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,                     -- never given twice, also after a purge
    event_id         BLOB    NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    sink             TEXT    NOT NULL,
    event_type       TEXT    NOT NULL,
    invoice_id       TEXT,
    state            TEXT    NOT NULL CHECK (state IN ('pending', 'leased', 'delivered', 'held', 'dead', 'cancelled')),
    trigger          TEXT    NOT NULL CHECK (trigger IN ('event', 'replay')),
    attempts         INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    created_at       INTEGER NOT NULL,
    first_attempt_at INTEGER,
    due_at           INTEGER,
    lease_token      BLOB CHECK (length(lease_token) = 16),
    waits_for        INTEGER CHECK (waits_for < id),
    finished_at      INTEGER,
    last_error       TEXT,
    attempted_at     INTEGER,                                               -- the attempt that delivered it: nearly
    attempt_us       INTEGER CHECK (attempt_us >= 0),                       -- always the only one, so no row of its own

    CHECK ((state = 'leased') = (lease_token IS NOT NULL)),
    CHECK ((state IN ('delivered', 'dead', 'cancelled')) = (finished_at IS NOT NULL)),
    -- Held may or may not look again by itself.
    CHECK (state = 'held' OR (state IN ('pending', 'leased')) = (due_at IS NOT NULL)),
    CHECK ((attempted_at IS NULL) = (attempt_us IS NULL)),
    CHECK (attempted_at IS NULL OR state = 'delivered'),
    CHECK (waits_for IS NULL OR (state IN ('pending', 'held') AND due_at IS NOT NULL))
) STRICT;

-- What is due, for claims, and how much there is of it, for the status: holds unfinished work only, so that a claim
-- costs the same whatever has been delivered. `state` makes the counts a read of the index alone.
CREATE INDEX dispatches_due ON dispatches (sink, due_at, id, state) WHERE due_at IS NOT NULL;

-- The unfinished dispatches of one sink and invoice, in order: whose turn it is.
CREATE INDEX dispatches_lane ON dispatches (sink, invoice_id, id) WHERE finished_at IS NULL AND invoice_id IS NOT NULL;

-- An event's dispatches: for its page, for lists by invoice, and for the foreign key when it is purged.
CREATE INDEX dispatches_by_event ON dispatches (event_id);

-- What waits for a person or was given up or called off: rare rows among many, counted and listed newest first.
CREATE INDEX dispatches_stopped ON dispatches (state, id, sink) WHERE state IN ('held', 'dead', 'cancelled');

-- Attempts that did not deliver. The one that did stands in its dispatch, with the number `attempts`.
CREATE TABLE attempts (
    dispatch_id INTEGER NOT NULL REFERENCES dispatches (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL CHECK (number >= 1),
    started_at  INTEGER NOT NULL,
    duration_us INTEGER NOT NULL CHECK (duration_us >= 0),
    outcome     TEXT    NOT NULL CHECK (outcome IN ('delivered', 'retry', 'rejected', 'hold')),
    error       TEXT,
    PRIMARY KEY (dispatch_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE sinks (
    name            TEXT    NOT NULL PRIMARY KEY,
    registered_at   INTEGER NOT NULL,
    paused_at       INTEGER,
    paused_reason   TEXT,
    delivered       INTEGER NOT NULL DEFAULT 0 CHECK (delivered >= 0),      -- counted here: it outlives purged dispatches
    last_success_at INTEGER,
    last_error_at   INTEGER,
    last_error      TEXT,

    CHECK ((paused_at IS NULL) = (paused_reason IS NULL)),
    CHECK ((last_error_at IS NULL) = (last_error IS NULL))
) STRICT, WITHOUT ROWID;
