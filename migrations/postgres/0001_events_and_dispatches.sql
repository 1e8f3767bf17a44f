-- Events, their dispatches, the attempts made and the sinks' standing.
--
-- Times are microseconds since 1970 in UTC (bigint), the same numbers as on SQLite. Names and ids
-- from outside are compared byte for byte (COLLATE "C"): cheaper, the same order as SQLite's, and
-- an upgrade of the system's collations cannot spoil an index.

CREATE TABLE events (
    id               uuid   PRIMARY KEY,
    endpoint         text   COLLATE "C" NOT NULL,
    dedupe_key       bytea  NOT NULL,
    type             text   COLLATE "C" NOT NULL,
    invoice_id       text   COLLATE "C",
    occurred_at      bigint,
    received_at      bigint NOT NULL,
    deliveries       integer NOT NULL,
    readable         boolean NOT NULL,
    content_type     text,
    -- Null once it has been purged; the event and its dedupe key stay longer.
    payload          bytea,
    CONSTRAINT events_sound CHECK (octet_length(dedupe_key) = 32 AND deliveries >= 1),
    -- Promise 2: one event, once.
    CONSTRAINT events_dedupe UNIQUE (endpoint, dedupe_key)
);

-- "Did this payment arrive?": the events of one invoice, newest first.
CREATE INDEX events_invoice ON events (invoice_id, id) WHERE invoice_id IS NOT NULL;

-- Retention. Every accept pays for the first of these; an event moves into the second only when its
-- payload is purged. Together they cover the table, so the deletion of old events needs no third.
CREATE INDEX events_with_payload ON events (received_at) WHERE payload IS NOT NULL;
CREATE INDEX events_purged ON events (received_at) WHERE payload IS NULL;

-- No foreign keys. Dispatches to events and attempts to dispatches, cascading, cost 17 % of the
-- server's time on the accept path (batches of 128, four runs each way: 1.78 s of processor time
-- against 1.52 s for 51,200 events, 16,300 rows a second against 19,400). A dispatch is written in
-- the statement that inserts its event, or under a lock on it (replay); whoever deletes an event
-- deletes what belongs to it in the same transaction, under the same lock.

CREATE TABLE dispatches (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id         uuid   NOT NULL,
    sink             text   COLLATE "C" NOT NULL,
    event_type       text   COLLATE "C" NOT NULL,
    invoice_id       text   COLLATE "C",
    state            text   COLLATE "C" NOT NULL,
    trigger          text   COLLATE "C" NOT NULL,
    attempts         integer NOT NULL DEFAULT 0,
    created_at       bigint NOT NULL,
    first_attempt_at bigint,
    due_at           bigint,
    lease_token      uuid,
    lease_until      bigint,
    waits_for        bigint,
    finished_at      bigint,
    -- The attempt that delivered, number `attempts`: it has no row of its own.
    attempted_at     bigint,
    attempt_us       bigint,
    -- A person may look for it: held, dead or cancelled.
    attention        boolean NOT NULL DEFAULT false,
    last_error       text,
    -- One constraint for all: the server reads and sets up each one anew for every statement.
    CONSTRAINT dispatches_state CHECK (
        CASE state
            WHEN 'pending' THEN due_at IS NOT NULL AND finished_at IS NULL AND NOT attention
            WHEN 'leased' THEN due_at IS NOT NULL AND finished_at IS NULL AND NOT attention
            WHEN 'delivered' THEN due_at IS NULL AND finished_at IS NOT NULL AND NOT attention
            WHEN 'held' THEN finished_at IS NULL AND attention
            WHEN 'dead' THEN due_at IS NULL AND finished_at IS NOT NULL AND attention
            WHEN 'cancelled' THEN due_at IS NULL AND finished_at IS NOT NULL AND attention
            ELSE false END
        AND (state = 'leased') = (lease_token IS NOT NULL)
        AND (lease_token IS NULL) = (lease_until IS NULL)
        AND (waits_for IS NULL OR state IN ('pending', 'held'))
        AND (attempted_at IS NULL) = (attempt_us IS NULL)
        AND (attempted_at IS NULL OR (state = 'delivered' AND attempts >= 1 AND attempt_us >= 0))
        AND attempts >= 0
        AND trigger IN ('event', 'replay'))
);

-- A claim changes no column that stands in one of these indexes, neither as a key nor in a condition:
-- so it writes no index entry, and where the page has room the row stays on it (a HOT update).
-- Only a held dispatch that is claimed for its re-check leaves `dispatches_attention`.

-- What a claim reads: unfinished work only, so ten million delivered dispatches cost it nothing. What
-- is leased stays in it, at the front, and is passed over: as many rows as are being attempted.
CREATE INDEX dispatches_due ON dispatches (sink, due_at, id) WHERE due_at IS NOT NULL;
-- The order per invoice: the first unfinished dispatch of a lane in one look-up.
CREATE INDEX dispatches_lane ON dispatches (sink, invoice_id, id)
    WHERE finished_at IS NULL AND invoice_id IS NOT NULL;
-- The dispatches of an event; also what a deletion of events follows.
CREATE INDEX dispatches_event ON dispatches (event_id);
-- What a person looks for. Such rows are few, and a dispatch that is simply delivered never gets in.
CREATE INDEX dispatches_attention ON dispatches (id) WHERE attention;

-- What did not deliver. The attempt that delivered stands in its dispatch (`attempted_at`), so a
-- dispatch that is delivered at once has no row here.
CREATE TABLE attempts (
    dispatch_id bigint  NOT NULL,
    number      integer NOT NULL CHECK (number >= 1),
    started_at  bigint  NOT NULL,
    duration_us bigint  NOT NULL CHECK (duration_us >= 0),
    outcome     text    COLLATE "C" NOT NULL CHECK (outcome IN ('delivered', 'retry', 'rejected', 'hold')),
    error       text,
    PRIMARY KEY (dispatch_id, number)
);

CREATE TABLE sinks (
    name            text   COLLATE "C" PRIMARY KEY,
    registered_at   bigint NOT NULL,
    paused_at       bigint,
    paused_reason   text,
    -- Counted as it happens: counting rows would cost more with every delivery, and forget purged ones.
    delivered       bigint NOT NULL DEFAULT 0,
    last_success_at bigint,
    last_error_at   bigint,
    last_error      text,
    CONSTRAINT sinks_paused CHECK ((paused_at IS NULL) = (paused_reason IS NULL)),
    CONSTRAINT sinks_error CHECK ((last_error_at IS NULL) = (last_error IS NULL))
);

-- Each dispatch is rewritten twice in its short life: leased (in place, if the page has room for the new
-- version: hence the fillfactor), and finished, which never is in place, as it leaves `dispatches_due`.
-- Dead entries gather at the front of that index, where every claim begins. PostgreSQL's default, a
-- fifth of the table, would let two million gather behind ten million delivered; a hundredth keeps the
-- front short.
ALTER TABLE dispatches SET (
    fillfactor = 45,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02
);
-- A row for each sink, rewritten by every group of attempts: room for updates in place.
ALTER TABLE sinks SET (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
