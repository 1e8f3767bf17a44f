-- The ledger: which payment an event announces, and what was written of each payment in which sink.
--
-- Times are microseconds since 1970 in UTC (bigint), amounts whole cents (bigint).

-- It goes with its event, without a foreign key, like all that belongs to an event: whoever deletes the event deletes
-- it in the same transaction, and whoever writes it holds a lock on the event.
CREATE TABLE assignments (
    event_id     uuid   PRIMARY KEY,
    endpoint     text   COLLATE "C" NOT NULL,
    -- At Finkare.
    payment_id   text   COLLATE "C" NOT NULL,
    invoice_id   text   COLLATE "C" NOT NULL,
    amount_cents bigint NOT NULL CHECK (amount_cents > 0)
);

-- No two events of an endpoint announce the same payment.
CREATE UNIQUE INDEX assignments_by_payment ON assignments (endpoint, payment_id);

-- Which of an invoice's payments are spoken for.
CREATE INDEX assignments_by_invoice ON assignments (endpoint, invoice_id);

CREATE TABLE bookings (
    -- Newest first is `number DESC`.
    number         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sink           text   COLLATE "C" NOT NULL,
    payment_id     text   COLLATE "C" NOT NULL,
    -- Bookings outlive events.
    event_id       uuid   NOT NULL,
    invoice_id     text   COLLATE "C" NOT NULL,
    -- As the target knows it.
    invoice_number text   COLLATE "C" NOT NULL,
    amount_cents   bigint NOT NULL CHECK (amount_cents > 0),
    currency       text   COLLATE "C" NOT NULL,
    state          text   COLLATE "C" NOT NULL CHECK (state IN ('reserved', 'sending', 'written', 'booked', 'seen')),
    target_id      text,
    note           text,
    token          uuid   NOT NULL,
    -- Whoever asks again gets the first answer again.
    takeovers      bigint NOT NULL DEFAULT 0 CHECK (takeovers >= 0),
    began_at       bigint NOT NULL,
    changed_at     bigint NOT NULL
);

-- A payment is written to a sink once, whichever replica is at it.
CREATE UNIQUE INDEX bookings_by_payment ON bookings (sink, payment_id);

-- One payment of an invoice is looked at or written in a sink at a time, so that two never check the same balance. The
-- ledger's lock lets them come one after the other; this holds whoever goes without.
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
-- been made since, a lease that is given back unused leaves the age not begun. In no index: see 0001.
ALTER TABLE dispatches ADD COLUMN ageless integer NOT NULL DEFAULT 0;
