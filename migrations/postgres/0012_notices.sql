-- The relay's own events: what has happened that a person may want to hear of, before it is told.
--
-- The triggers note it in the transaction that changes the state, whichever code changes it. Turning the notes into
-- events, grouped, is the work of `src/notices`. Times are microseconds since 1970 in UTC (bigint).

-- Dispatches that came to wait for a person or were given up, one row each.
CREATE TABLE notice_dispatches (
    dispatch_id bigint PRIMARY KEY,
    sink        text   COLLATE "C" NOT NULL,
    endpoint    text   COLLATE "C" NOT NULL,
    event_id    uuid   NOT NULL,
    state       text   COLLATE "C" NOT NULL CHECK (state IN ('held', 'dead')),
    reason      text,
    at          bigint NOT NULL,
    -- 1: it is new, or its state or reason has changed.
    open        bigint NOT NULL DEFAULT 1 CHECK (open IN (0, 1)),
    -- The state and group of reasons that were told.
    told        text
);
CREATE INDEX notice_dispatches_open ON notice_dispatches (dispatch_id) WHERE open = 1;

-- Pauses of sinks and their ends, until they are told.
CREATE TABLE notice_sinks (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sink   text   COLLATE "C" NOT NULL,
    -- Null: the pause has ended.
    reason text,
    at     bigint NOT NULL
);

-- Refused deliveries, counted until they are told.
CREATE TABLE notice_refusals (
    -- Empty: a path that no endpoint has.
    endpoint text   COLLATE "C" NOT NULL,
    cause    text   COLLATE "C" NOT NULL,
    n        bigint NOT NULL,
    -- Of the first.
    at       bigint NOT NULL,
    PRIMARY KEY (endpoint, cause)
);

-- When a group was last told, and how long the next of it waits.
CREATE TABLE notice_groups (
    name      text   COLLATE "C" PRIMARY KEY,
    told_at   bigint NOT NULL,
    window_us bigint NOT NULL
);

-- What was told and lasts: a sink that is paused or tripped, an endpoint that is silent, a rotation whose outcome is
-- unknown; how far the audit trail was read; the day of the last digest.
CREATE TABLE notice_marks (
    name    text   COLLATE "C" PRIMARY KEY,
    at      bigint NOT NULL,
    seen_at bigint NOT NULL,
    number  bigint NOT NULL DEFAULT 0
);

CREATE FUNCTION note_dispatch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO notice_dispatches AS noted (dispatch_id, sink, endpoint, event_id, state, reason, at)
    VALUES (NEW.id, NEW.sink, coalesce((SELECT endpoint FROM events WHERE id = NEW.event_id), ''), NEW.event_id,
            NEW.state, NEW.last_error, (extract(epoch FROM now()) * 1000000)::bigint)
    ON CONFLICT (dispatch_id) DO UPDATE
    SET open = 1, state = excluded.state, reason = excluded.reason, at = excluded.at
    WHERE noted.state <> excluded.state OR noted.reason IS DISTINCT FROM excluded.reason;
    RETURN NULL;
END $$;

CREATE FUNCTION forget_dispatch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM notice_dispatches WHERE dispatch_id = OLD.id;
    RETURN NULL;
END $$;

-- For each row, with a condition: the server decides it without calling a function, and nearly no row meets it. The
-- relay's own events make no further ones.
CREATE TRIGGER queue_noticed AFTER UPDATE OF state ON queue FOR EACH ROW
    WHEN (NEW.state IN ('held', 'dead') AND OLD.state <> NEW.state AND NEW.event_type NOT LIKE 'relay.%')
    EXECUTE FUNCTION note_dispatch();

-- A person has had it tried again, or it is no longer there. Nearly all dispatches are delivered by their first
-- attempt, and were never noted.
CREATE TRIGGER queue_unnoticed AFTER UPDATE OF state ON queue FOR EACH ROW
    WHEN (OLD.state IN ('held', 'dead') AND NEW.state = 'pending')
    EXECUTE FUNCTION forget_dispatch();
CREATE TRIGGER queue_gone AFTER DELETE ON queue FOR EACH ROW
    WHEN (OLD.attempts > 0 OR OLD.state IN ('held', 'dead'))
    EXECUTE FUNCTION forget_dispatch();
