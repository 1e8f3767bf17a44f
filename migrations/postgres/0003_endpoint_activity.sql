-- When an endpoint last heard from Finkare, to notice a silence; and a row to try a commit with.
--
-- Times are microseconds since 1970 in UTC (bigint). A row for each endpoint, written once a minute at most.

CREATE TABLE endpoint_activity (
    endpoint         text   COLLATE "C" PRIMARY KEY,
    -- A silence before the first delivery counts from here.
    watched_since    bigint NOT NULL,
    -- Null: none yet. A minute old at most.
    last_delivery_at bigint
);

-- One row at most, written after a commit has failed, to learn whether commits work again.
CREATE TABLE trial_writes (
    id         integer PRIMARY KEY CHECK (id = 1),
    written_at bigint  NOT NULL
);
