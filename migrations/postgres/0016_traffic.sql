-- How much was received and delivered in each hour, for pictures: counts that processes add to once a minute, and that are
-- deleted after eight days.
--
-- Times are microseconds since 1970 in UTC (bigint).

CREATE TABLE traffic (
    -- Its first moment.
    hour  bigint NOT NULL,
    what  text   COLLATE "C" NOT NULL,
    -- Of an endpoint or a sink; '' is the service.
    name  text   COLLATE "C" NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (hour, what, name)
);

-- The last batch that each process has added, so that a batch whose commit was in doubt is added once.
CREATE TABLE traffic_writers (
    writer     uuid   PRIMARY KEY,
    batch      bigint NOT NULL,
    written_at bigint NOT NULL
);
