-- How far retention believes the clock, and how long each dispatch was told to wait.
--
-- Times are microseconds since 1970 in UTC.

-- One row at most. What is old is reckoned from `believed_at`, which a clock that was set cannot take with it at once.
CREATE TABLE retention_clock (
    id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    believed_at INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL,                                          -- what the clock said at the last look
    doubted_us  INTEGER CHECK (doubted_us >= 0)                            -- null: clock and belief agree
) STRICT;

-- How long after its last attempt it is due again. With it a `due_at` that only a clock that was set back can have left
-- in the future is known. Null: never attempted, or by an earlier version.
ALTER TABLE dispatches ADD COLUMN wait_us INTEGER CHECK (wait_us >= 0);
