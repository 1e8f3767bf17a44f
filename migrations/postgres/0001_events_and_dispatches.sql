-- Events, their dispatches, the attempts made and the sinks' standing.
--
-- Times are microseconds since 1970 in UTC (bigint), the same numbers as on SQLite. Names and ids
-- from outside are compared byte for byte (COLLATE "C"): cheaper, the same order as SQLite's, and
-- an upgrade of the system's collations cannot spoil an index.

CREATE TABLE events (
    id               uuid   PRIMARY KEY,
    endpoint         text   COLLATE "C" NOT NULL,
    dedupe_key       bytea  NOT NULL CHECK (octet_length(dedupe_key) = 32),
    type             text   COLLATE "C" NOT NULL,
    invoice_id       text   COLLATE "C",
    occurred_at      bigint,
    received_at      bigint NOT NULL,
    deliveries       integer NOT NULL CHECK (deliveries >= 1),
    last_delivery_at bigint NOT NULL,
    readable         boolean NOT NULL,
    content_type     text,
    -- Null once it has been purged; the event and its dedupe key stay longer.
    payload          bytea,
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
    trigger          text   COLLATE "C" NOT NULL CHECK (trigger IN ('event', 'replay')),
    attempts         integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    created_at       bigint NOT NULL,
    first_attempt_at bigint,
    due_at           bigint,
    lease_token      uuid,
    waits_for        bigint,
    finished_at      bigint,
    last_error       text,
    CONSTRAINT dispatches_state CHECK (state IN ('pending', 'leased', 'delivered', 'held', 'dead', 'cancelled')),
    CONSTRAINT dispatches_lease CHECK ((state = 'leased') = (lease_token IS NOT NULL)),
    CONSTRAINT dispatches_finished CHECK ((state IN ('delivered', 'dead', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT dispatches_due CHECK (CASE state
        WHEN 'pending' THEN due_at IS NOT NULL
        WHEN 'leased' THEN due_at IS NOT NULL
        WHEN 'held' THEN true
        ELSE due_at IS NULL END),
    CONSTRAINT dispatches_waits CHECK (waits_for IS NULL OR state IN ('pending', 'held'))
);

-- What a claim reads: unfinished work only, so ten million delivered dispatches cost it nothing.
-- The state rides along for the counts of `sink_statuses`, which then need no table page.
CREATE INDEX dispatches_due ON dispatches (sink, due_at, id) INCLUDE (state) WHERE due_at IS NOT NULL;
-- The order per invoice: the first unfinished dispatch of a lane in one look-up.
CREATE INDEX dispatches_lane ON dispatches (sink, invoice_id, id)
    WHERE finished_at IS NULL AND invoice_id IS NOT NULL;
-- The dispatches of an event; also what a deletion of events follows.
CREATE INDEX dispatches_event ON dispatches (event_id);
-- What a person looks for. Such rows are few, and a dispatch that is simply delivered never gets in.
CREATE INDEX dispatches_attention ON dispatches (state, sink, id) WHERE state IN ('held', 'dead', 'cancelled');

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

-- Each dispatch is rewritten twice in its short life (leased, finished), and never in place: an index
-- holds `due_at`. Dead entries gather at the front of dispatches_due, where every claim begins.
-- PostgreSQL's default, a fifth of the table, would let two million gather behind ten million
-- delivered; a hundredth keeps the front short. Room on the page keeps the new version of a row
-- beside the old one, which dirties one page instead of two: 7 % less of the server's time from
-- accept to delivered at 70 than at 100 (three runs each); 40 wins 2 % more, for a larger table.
ALTER TABLE dispatches SET (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02
);
-- A row for each sink, rewritten by every group of attempts: room for updates in place.
ALTER TABLE sinks SET (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
