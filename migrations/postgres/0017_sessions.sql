-- Who may look at the dashboard beside the admin tokens themselves: the sessions that a token began, and the links for people
-- who have none.
--
-- Of a secret only its SHA-256 is kept, and of a token a mark from which nobody gets to its hash: what stands here lets
-- nobody in. Times are microseconds since 1970 in UTC (bigint).

CREATE TABLE ui_sessions (
    -- SHA-256 of the secret.
    id_hash    bytea  PRIMARY KEY CHECK (octet_length(id_hash) = 32),
    kind       text   COLLATE "C" NOT NULL CHECK (kind IN ('session', 'link')),
    -- Of the token that began or made it.
    token_name text   COLLATE "C" NOT NULL,
    token_mark bytea  NOT NULL CHECK (octet_length(token_mark) = 32),
    -- The link of a visitor's session.
    parent     bytea  CHECK (octet_length(parent) = 32),
    -- UUID v7: newest first is `link_id DESC`.
    link_id    uuid,
    endpoint   text   COLLATE "C",
    -- Separated by commas.
    pages      text   COLLATE "C",
    label      text,
    created_at bigint NOT NULL,
    -- A link: when it was last used.
    seen_at    bigint,
    -- A session ends when it was not used for so long.
    idle_us    bigint,
    expires_at bigint NOT NULL,

    CHECK ((kind = 'link') = (link_id IS NOT NULL)),
    CHECK (kind = 'session' OR (endpoint IS NOT NULL AND pages IS NOT NULL AND parent IS NULL)),
    CHECK (kind = 'link' OR (seen_at IS NOT NULL AND idle_us IS NOT NULL))
);

CREATE UNIQUE INDEX ui_sessions_links ON ui_sessions (link_id) WHERE link_id IS NOT NULL;

-- The visitors of a link.
CREATE INDEX ui_sessions_of_link ON ui_sessions (parent) WHERE parent IS NOT NULL;
