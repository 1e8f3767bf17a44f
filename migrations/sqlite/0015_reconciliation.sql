-- Reconciliations: what was asked, how far each is, what was found. And the deliveries that came after a reconciliation had
-- made the event of their payment.
--
-- Times are microseconds since 1970 in UTC, amounts whole cents, days as 2026-10-31. UUIDs are 16-byte blobs.

CREATE TABLE reconciliations (
    id          BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),          -- UUID v7: newest first is `id DESC`
    endpoint    TEXT    NOT NULL,
    since       TEXT    NOT NULL,
    until       TEXT    NOT NULL,
    fill        INTEGER NOT NULL CHECK (fill IN (0, 1)),
    actor       TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('running', 'done', 'failed')),
    started_at  INTEGER NOT NULL,
    finished_at INTEGER,
    progress    TEXT    NOT NULL,                                              -- JSON: where a pass goes on
    sums        TEXT    NOT NULL,                                              -- JSON: by currency
    counts      TEXT    NOT NULL,                                              -- JSON: differences by kind
    unreadable  INTEGER NOT NULL DEFAULT 0,
    problem     TEXT,
    token       BLOB CHECK (length(token) = 16),                               -- of the process that works on it
    lease_until INTEGER NOT NULL DEFAULT 0,

    CHECK ((state = 'running') = (finished_at IS NULL))
) STRICT, WITHOUT ROWID;

-- One at a time for each endpoint.
CREATE UNIQUE INDEX reconciliations_running ON reconciliations (endpoint) WHERE state = 'running';

-- The last ones of an endpoint.
CREATE INDEX reconciliations_of_endpoint ON reconciliations (endpoint, id);

-- The last report of each endpoint that is done.
CREATE TABLE reconciliation_last (
    endpoint  TEXT NOT NULL PRIMARY KEY,
    report_id BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Finkare's payments, while a report is made; removed when it is finished.
CREATE TABLE reconciliation_payments (
    report_id    BLOB    NOT NULL,
    payment_id   TEXT    NOT NULL,
    invoice_id   TEXT    NOT NULL,
    amount_cents INTEGER NOT NULL,
    currency     TEXT,
    status       TEXT    NOT NULL,
    method       TEXT,
    paid_at      TEXT,
    PRIMARY KEY (report_id, payment_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX reconciliation_payments_of_invoice ON reconciliation_payments (report_id, invoice_id);

-- The invoices to compare, while a report is made.
CREATE TABLE reconciliation_invoices (
    report_id  BLOB NOT NULL,
    invoice_id TEXT NOT NULL,
    PRIMARY KEY (report_id, invoice_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE reconciliation_differences (
    report_id    BLOB    NOT NULL,
    number       INTEGER NOT NULL,
    kind         TEXT    NOT NULL,
    payment_id   TEXT,
    invoice_id   TEXT,
    amount_cents INTEGER,
    currency     TEXT,
    paid_at      TEXT,
    sink         TEXT,
    detail       TEXT    NOT NULL,
    event_id     TEXT,                                                         -- written with dashes
    PRIMARY KEY (report_id, number)
) STRICT, WITHOUT ROWID;

-- The differences of an invoice, for an erasure.
CREATE INDEX reconciliation_differences_of_invoice ON reconciliation_differences (invoice_id) WHERE invoice_id IS NOT NULL;

-- Events that announce a payment whose event a reconciliation had made before. A payment has at most one.
CREATE TABLE late_announcements (
    event_id     BLOB    NOT NULL PRIMARY KEY CHECK (length(event_id) = 16),
    endpoint     TEXT    NOT NULL,
    payment_id   TEXT    NOT NULL,
    invoice_id   TEXT    NOT NULL,
    amount_cents INTEGER NOT NULL,
    noted_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX late_announcements_by_payment ON late_announcements (endpoint, payment_id);
CREATE INDEX late_announcements_by_invoice ON late_announcements (endpoint, invoice_id);
CREATE INDEX late_announcements_by_age ON late_announcements (noted_at);
