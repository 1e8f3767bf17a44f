-- What was learned of a payment and its invoice when the payment was found: for lists, searches and the month's statement,
-- so that nothing is asked again. What is unknown is null, as in all rows of earlier versions. Nothing is decided by it.
--
-- `paid_at` is a text, because Finkare gives a time or only a day: `2026-10-31T22:30:00Z` or `2026-10-31`. In this form
-- both are in one order.

-- With the assignment, as long as the ledger.
ALTER TABLE assignments ADD COLUMN debtor TEXT;
ALTER TABLE assignments ADD COLUMN method TEXT;
ALTER TABLE assignments ADD COLUMN paid_at TEXT;

-- With the event, also while nothing is decided.
ALTER TABLE announced ADD COLUMN debtor TEXT;
-- The same in small letters.
ALTER TABLE announced ADD COLUMN debtor_key TEXT;
ALTER TABLE announced ADD COLUMN method TEXT;
ALTER TABLE announced ADD COLUMN paid_at TEXT;

-- What was paid in a month.
CREATE INDEX assignments_by_paid_at ON assignments (paid_at, event_id) WHERE paid_at IS NOT NULL;
-- The names that an erasure deletes, also where the events are gone.
CREATE INDEX assignments_with_debtor ON assignments (invoice_id) WHERE debtor IS NOT NULL;
CREATE INDEX announced_by_debtor ON announced (debtor_key, event_id) WHERE debtor_key IS NOT NULL;
