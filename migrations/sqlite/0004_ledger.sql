-- The ledger: which payment an event announces, and what was written of each payment in which sink.
--
-- Times are microseconds since 1970 in UTC, amounts whole cents. UUIDs are 16-byte blobs.

CREATE TABLE assignments (
    event_id     BLOB    NOT NULL PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    endpoint     TEXT    NOT NULL,
    payment_id   TEXT    NOT NULL,                                         -- at Finkare
    invoice_id   TEXT    NOT NULL,                                         -- at Finkare
    amount_cents INTEGER NOT NULL CHECK (amount_cents > 0)
) STRICT, WITHOUT ROWID;

-- No two events of an endpoint announce the same payment.
CREATE UNIQUE INDEX assignments_by_payment ON assignments (endpoint, payment_id);

-- Which of an invoice's payments are spoken for.
CREATE INDEX assignments_by_invoice ON assignments (endpoint, invoice_id);

CREATE TABLE bookings (
    number         INTEGER PRIMARY KEY AUTOINCREMENT,                      -- newest first is `number DESC`
    sink           TEXT    NOT NULL,
    payment_id     TEXT    NOT NULL,
    event_id       BLOB    NOT NULL CHECK (length(event_id) = 16),         -- no reference: bookings outlive events
    invoice_id     TEXT    NOT NULL,
    invoice_number TEXT    NOT NULL,                                       -- as the target knows it
    amount_cents   INTEGER NOT NULL CHECK (amount_cents > 0),
    currency       TEXT    NOT NULL,
    state          TEXT    NOT NULL CHECK (state IN ('reserved', 'sending', 'written', 'booked', 'seen')),
    target_id      TEXT,
    note           TEXT,
    token          BLOB    NOT NULL CHECK (length(token) = 16),
    takeovers      INTEGER NOT NULL DEFAULT 0 CHECK (takeovers >= 0),      -- whoever asks again gets the first answer again
    began_at       INTEGER NOT NULL,
    changed_at     INTEGER NOT NULL
) STRICT;

-- A payment is written to a sink once.
CREATE UNIQUE INDEX bookings_by_payment ON bookings (sink, payment_id);

-- One payment of an invoice is looked at or written in a sink at a time, so that two never check the same balance.
CREATE UNIQUE INDEX bookings_busy ON bookings (sink, invoice_number) WHERE state IN ('reserved', 'sending');

-- What was written of an invoice in a sink, and the lists by number.
CREATE INDEX bookings_by_number ON bookings (invoice_number, sink);

-- "Was this payment booked, and where?"
CREATE INDEX bookings_by_payment_alone ON bookings (payment_id);
CREATE INDEX bookings_by_invoice ON bookings (invoice_id);

-- What a purge looks for, oldest first. What is not finished is never old.
CREATE INDEX bookings_finished ON bookings (changed_at) WHERE state IN ('booked', 'seen');

-- What is not finished: few rows, listed to be looked at.
CREATE INDEX bookings_open ON bookings (state, number) WHERE state IN ('reserved', 'sending', 'written');

-- The attempts that do not count for a dispatch's age: its give-up time began anew after them. While no attempt has
-- been made since, a lease that is given back unused leaves the age not begun.
ALTER TABLE dispatches ADD COLUMN ageless INTEGER NOT NULL DEFAULT 0 CHECK (ageless >= 0);
