-- Which payment an event announces outlives the event, as long as the ledger; and what is known of announced payments can
-- be searched.
--
-- Times are microseconds since 1970 in UTC, amounts whole cents. UUIDs are 16-byte blobs.

-- The same table without its reference to `events`: SQLite takes a constraint away only with the table
-- (https://www.sqlite.org/lang_altertable.html#otheralter). Nothing refers to it. An earlier version writes no
-- `assigned_at`; the default does.
CREATE TABLE assignments_kept (
    event_id     BLOB    NOT NULL PRIMARY KEY CHECK (length(event_id) = 16),   -- no reference: it outlives the event
    endpoint     TEXT    NOT NULL,
    payment_id   TEXT    NOT NULL,                                             -- at Finkare
    invoice_id   TEXT    NOT NULL,                                             -- at Finkare
    amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
    assigned_at  INTEGER NOT NULL DEFAULT (unixepoch() * 1000000)
) STRICT, WITHOUT ROWID;

INSERT INTO assignments_kept (event_id, endpoint, payment_id, invoice_id, amount_cents, assigned_at)
SELECT event_id, assignments.endpoint, payment_id, assignments.invoice_id, amount_cents, events.received_at
FROM assignments JOIN events ON events.id = assignments.event_id;

DROP TABLE assignments;
ALTER TABLE assignments_kept RENAME TO assignments;

-- No two events of an endpoint announce the same payment.
CREATE UNIQUE INDEX assignments_by_payment ON assignments (endpoint, payment_id);

-- Which of an invoice's payments are spoken for.
CREATE INDEX assignments_by_invoice ON assignments (endpoint, invoice_id);

-- What a purge looks for, oldest first.
CREATE INDEX assignments_by_age ON assignments (assigned_at);

-- What is known of the payment that an event announces, decided or not: for searches, nothing is decided by it.
CREATE TABLE announced (
    event_id       BLOB    NOT NULL PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    invoice_id     TEXT    NOT NULL,                                           -- at Finkare
    amount_cents   INTEGER NOT NULL,                                           -- as the event says
    currency       TEXT,
    payment_id     TEXT,                                                       -- at Finkare
    invoice_number TEXT,                                                       -- as Finkare knows it
    number_key     TEXT                                                        -- the same in small letters
) STRICT, WITHOUT ROWID;

CREATE INDEX announced_by_number ON announced (number_key, event_id) WHERE number_key IS NOT NULL;
CREATE INDEX announced_by_payment ON announced (payment_id, event_id) WHERE payment_id IS NOT NULL;
CREATE INDEX announced_by_amount ON announced (amount_cents, event_id);
