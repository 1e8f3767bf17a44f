-- When an endpoint last heard from Finkare, to notice a silence; and a row to try a commit with.
--
-- Times are microseconds since 1970 in UTC.

CREATE TABLE endpoint_activity (
    endpoint         TEXT    NOT NULL PRIMARY KEY,
    watched_since    INTEGER NOT NULL,                                     -- a silence before the first delivery counts from here
    last_delivery_at INTEGER                                               -- null: none yet; a minute old at most
) STRICT, WITHOUT ROWID;

-- One row at most, written after a commit has failed, to learn whether commits work again.
CREATE TABLE trial_writes (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    written_at INTEGER NOT NULL
) STRICT;
