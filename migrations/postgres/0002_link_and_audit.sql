-- The link to Finkare: webhooks, their secrets, the intents to change them; and the audit trail.
--
-- Times are microseconds since 1970 in UTC (bigint). These tables are small and rarely written.

CREATE TABLE webhooks (
    endpoint      text   COLLATE "C" PRIMARY KEY,
    -- At Finkare.
    id            text   NOT NULL,
    url           text   NOT NULL,
    registered_at bigint NOT NULL
);

CREATE TABLE secrets (
    -- The newest has the largest, whatever the clock did.
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- What the encrypted text is bound to.
    id          uuid   NOT NULL UNIQUE,
    endpoint    text   COLLATE "C" NOT NULL,
    fingerprint text   COLLATE "C" NOT NULL,
    origin      text   COLLATE "C" NOT NULL CHECK (origin IN ('configured', 'registered', 'rotated')),
    state       text   COLLATE "C" NOT NULL CHECK (state IN ('active', 'retiring', 'expired')),
    created_at  bigint NOT NULL,
    valid_until bigint,
    key_id      text   COLLATE "C" NOT NULL,
    -- Null once it has expired.
    sealed      bytea,
    CONSTRAINT secrets_end CHECK ((state = 'active') = (valid_until IS NULL)),
    CONSTRAINT secrets_text CHECK ((state = 'expired') = (sealed IS NULL))
);

-- A secret is known by its fingerprint within its endpoint, also when it has expired: it is never seeded again.
CREATE UNIQUE INDEX secrets_by_fingerprint ON secrets (endpoint, fingerprint);

-- What deliveries are verified with: few rows, however often secrets were rotated.
CREATE INDEX secrets_live ON secrets (endpoint, number) WHERE sealed IS NOT NULL;

CREATE TABLE intents (
    id          uuid   PRIMARY KEY,
    endpoint    text   COLLATE "C" NOT NULL,
    kind        text   COLLATE "C" NOT NULL CHECK (kind IN ('rotate', 'register')),
    state       text   COLLATE "C" NOT NULL CHECK (state IN ('in_flight', 'unknown', 'done', 'failed')),
    actor       text   NOT NULL,
    webhook_id  text,
    url         text,
    -- A JSON array.
    events      text   NOT NULL CHECK (json_typeof(events::json) = 'array'),
    overlap_us  bigint NOT NULL CHECK (overlap_us >= 0),
    begun_at    bigint NOT NULL,
    tries       bigint NOT NULL CHECK (tries >= 1),
    lease_token uuid,
    lease_until bigint,
    -- An earlier holder's answer came while this one asks: whatever it brings may not be Finkare's last secret.
    contested   boolean NOT NULL DEFAULT false,
    retry_at    bigint,
    finished_at bigint,
    -- The secret that it brought.
    secret_id   uuid,
    CONSTRAINT intents_lease CHECK (
        (state = 'in_flight') = (lease_token IS NOT NULL) AND (lease_token IS NULL) = (lease_until IS NULL)
        AND (state = 'in_flight' OR NOT contested)),
    CONSTRAINT intents_retry CHECK ((state = 'unknown') = (retry_at IS NOT NULL)),
    CONSTRAINT intents_end CHECK (
        (state IN ('done', 'failed')) = (finished_at IS NOT NULL) AND (state = 'done') = (secret_id IS NOT NULL)),
    CONSTRAINT intents_url CHECK (kind <> 'register' OR url IS NOT NULL)
);

-- At most one unfinished intent per endpoint; and what a keeper looks for.
CREATE UNIQUE INDEX intents_unfinished ON intents (endpoint) WHERE finished_at IS NULL;

CREATE TABLE audit (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      bigint NOT NULL,
    actor   text   NOT NULL,
    action  text   NOT NULL,
    subject text   NOT NULL,
    -- JSON as text: the type would refuse what text may hold.
    detail  text   NOT NULL
);
