-- The link to Finkare: webhooks, their secrets, the intents to change them; and the audit trail.
--
-- Times are microseconds since 1970 in UTC. UUIDs are 16-byte blobs.

CREATE TABLE webhooks (
    endpoint      TEXT    NOT NULL PRIMARY KEY,
    id            TEXT    NOT NULL,                                        -- at Finkare
    url           TEXT    NOT NULL,
    registered_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,                         -- the newest has the largest, whatever the clock did
    id          BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),           -- what the encrypted text is bound to
    endpoint    TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    origin      TEXT    NOT NULL CHECK (origin IN ('configured', 'registered', 'rotated')),
    state       TEXT    NOT NULL CHECK (state IN ('active', 'retiring', 'expired')),
    created_at  INTEGER NOT NULL,
    valid_until INTEGER,
    key_id      TEXT    NOT NULL,
    sealed      BLOB,                                                      -- null: expired

    CHECK ((state = 'active') = (valid_until IS NULL)),
    CHECK ((state = 'expired') = (sealed IS NULL))
) STRICT;

-- A secret is known by its fingerprint within its endpoint, also when it has expired: it is never seeded again.
CREATE UNIQUE INDEX secrets_by_fingerprint ON secrets (endpoint, fingerprint);

-- What deliveries are verified with: few rows, however often secrets were rotated.
CREATE INDEX secrets_live ON secrets (endpoint, number) WHERE sealed IS NOT NULL;

CREATE TABLE intents (
    id          BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    endpoint    TEXT    NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('rotate', 'register')),
    state       TEXT    NOT NULL CHECK (state IN ('in_flight', 'unknown', 'done', 'failed')),
    actor       TEXT    NOT NULL,
    webhook_id  TEXT,
    url         TEXT,
    events      TEXT    NOT NULL CHECK (json_type(events) = 'array'),
    overlap_us  INTEGER NOT NULL CHECK (overlap_us >= 0),
    begun_at    INTEGER NOT NULL,
    tries       INTEGER NOT NULL CHECK (tries >= 1),
    lease_token BLOB CHECK (length(lease_token) = 16),
    lease_until INTEGER,
    -- An earlier holder's answer came while this one asks: whatever it brings may not be Finkare's last secret.
    contested   INTEGER NOT NULL DEFAULT 0 CHECK (contested IN (0, 1)),
    retry_at    INTEGER,
    finished_at INTEGER,
    secret_id   BLOB CHECK (length(secret_id) = 16),                       -- the secret that it brought

    CHECK ((state = 'in_flight') = (lease_token IS NOT NULL)),
    CHECK ((lease_token IS NULL) = (lease_until IS NULL)),
    CHECK (contested = 0 OR state = 'in_flight'),
    CHECK ((state = 'unknown') = (retry_at IS NOT NULL)),
    CHECK ((state IN ('done', 'failed')) = (finished_at IS NOT NULL)),
    CHECK ((state = 'done') = (secret_id IS NOT NULL)),
    CHECK (kind <> 'register' OR url IS NOT NULL)
) STRICT;

-- At most one unfinished intent per endpoint; and what a keeper looks for.
CREATE UNIQUE INDEX intents_unfinished ON intents (endpoint) WHERE finished_at IS NULL;

CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    detail  TEXT    NOT NULL CHECK (json_valid(detail))
) STRICT;
