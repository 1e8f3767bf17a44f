-- Which payment an event announces outlives the event, as long as the ledger; and what is known of announced payments can
-- be searched.
--
-- Times are microseconds since 1970 in UTC (bigint), amounts whole cents (bigint).

-- An earlier version writes no `assigned_at`; the default does. It is set after the column is there, so that the table is
-- not written anew under its lock.
ALTER TABLE assignments ADD COLUMN assigned_at bigint;
ALTER TABLE assignments ALTER COLUMN assigned_at SET DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
UPDATE assignments a SET assigned_at = e.received_at FROM events e WHERE e.id = a.event_id;
UPDATE assignments SET assigned_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint WHERE assigned_at IS NULL;

-- What a purge looks for, oldest first.
CREATE INDEX assignments_by_age ON assignments (assigned_at);

-- What is known of the payment that an event announces, decided or not: for searches, nothing is decided by it. It goes
-- with its event, without a foreign key, like all that belongs to an event.
CREATE TABLE announced (
    event_id       uuid   PRIMARY KEY,
    -- At Finkare.
    invoice_id     text   COLLATE "C" NOT NULL,
    -- As the event says.
    amount_cents   bigint NOT NULL,
    currency       text   COLLATE "C",
    -- At Finkare.
    payment_id     text   COLLATE "C",
    -- As Finkare knows it, and the same in small letters.
    invoice_number text   COLLATE "C",
    number_key     text   COLLATE "C"
);

CREATE INDEX announced_by_number ON announced (number_key, event_id) WHERE number_key IS NOT NULL;
CREATE INDEX announced_by_payment ON announced (payment_id, event_id) WHERE payment_id IS NOT NULL;
CREATE INDEX announced_by_amount ON announced (amount_cents, event_id);
