-- How far retention believes the clock, and how long each dispatch was told to wait.
--
-- Times are microseconds since 1970 in UTC (bigint).

-- One row at most. What is old is reckoned from `believed_at`, which a clock that was set cannot take with it at once.
CREATE TABLE retention_clock (
    id          integer PRIMARY KEY CHECK (id = 1),
    believed_at bigint  NOT NULL,
    -- What the clock said at the last look.
    seen_at     bigint  NOT NULL,
    -- Null: clock and belief agree.
    doubted_us  bigint  CHECK (doubted_us >= 0)
);

-- How long after its last attempt it is due again. With it a `due_at` that only a clock that was set back can have left
-- in the future is known. Null: never attempted, or by an earlier version. In no index: see 0001.
ALTER TABLE dispatches ADD COLUMN wait_us bigint;
