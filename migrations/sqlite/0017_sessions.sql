-- Who may look at the dashboard beside the admin tokens themselves: the sessions that a token began, and the links for people
-- who have none.
--
-- Of a secret only its SHA-256 is kept, and of a token a mark from which nobody gets to its hash: what stands here lets
-- nobody in. Times are microseconds since 1970 in UTC. UUIDs are 16-byte blobs.

CREATE TABLE ui_sessions (
    id_hash    BLOB    NOT NULL PRIMARY KEY CHECK (length(id_hash) = 32),    -- SHA-256 of the secret
    kind       TEXT    NOT NULL CHECK (kind IN ('session', 'link')),
    token_name TEXT    NOT NULL,                                             -- of the token that began or made it
    token_mark BLOB    NOT NULL CHECK (length(token_mark) = 32),
    parent     BLOB CHECK (length(parent) = 32),                             -- the link of a visitor's session
    link_id    BLOB CHECK (length(link_id) = 16),                            -- UUID v7: newest first is `link_id DESC`
    endpoint   TEXT,
    pages      TEXT,                                                         -- separated by commas
    label      TEXT,
    created_at INTEGER NOT NULL,
    seen_at    INTEGER,                                                      -- a link: when it was last used
    idle_us    INTEGER,                                                      -- a session ends when it was not used for so long
    expires_at INTEGER NOT NULL,

    CHECK ((kind = 'link') = (link_id IS NOT NULL)),
    CHECK (kind = 'session' OR (endpoint IS NOT NULL AND pages IS NOT NULL AND parent IS NULL)),
    CHECK (kind = 'link' OR (seen_at IS NOT NULL AND idle_us IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX ui_sessions_links ON ui_sessions (link_id) WHERE link_id IS NOT NULL;

-- The visitors of a link.
CREATE INDEX ui_sessions_of_link ON ui_sessions (parent) WHERE parent IS NOT NULL;
