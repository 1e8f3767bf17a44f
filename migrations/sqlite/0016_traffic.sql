-- How much was received and delivered in each hour, for pictures: counts that processes add to once a minute, and that are
-- deleted after eight days.
--
-- Times are microseconds since 1970 in UTC.

CREATE TABLE traffic (
    hour  INTEGER NOT NULL,                                                    -- its first moment
    what  TEXT    NOT NULL,
    name  TEXT    NOT NULL,                                                    -- of an endpoint or a sink; '' is the service
    count INTEGER NOT NULL,
    PRIMARY KEY (hour, what, name)
) STRICT, WITHOUT ROWID;

-- The last batch that each process has added, so that a batch whose commit was in doubt is added once.
CREATE TABLE traffic_writers (
    writer     BLOB    NOT NULL PRIMARY KEY CHECK (length(writer) = 16),
    batch      INTEGER NOT NULL,
    written_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
