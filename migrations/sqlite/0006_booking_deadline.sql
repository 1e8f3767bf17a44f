-- Until when a write that is `sending` may still be carried out, by the clock of the store: the time-out of the process
-- that sends it, and its time to settle. Each process has its own, so that only the line can tell. Null while nothing
-- was sent, and for lines of earlier versions.
ALTER TABLE bookings ADD COLUMN settles_at INTEGER;

-- "Is this entry of the books one of ours?"
CREATE INDEX bookings_by_target ON bookings (sink, target_id) WHERE target_id IS NOT NULL;
