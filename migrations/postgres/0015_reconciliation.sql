-- Reconciliations: what was asked, how far each is, what was found. And the deliveries that came after a reconciliation had
-- made the event of their payment.
--
-- Times are microseconds since 1970 in UTC (bigint), amounts whole cents (bigint), days as 2026-10-31.

CREATE TABLE reconciliations (
    -- UUID v7: newest first is `id DESC`.
    id          uuid   PRIMARY KEY,
    endpoint    text   COLLATE "C" NOT NULL,
    since       text   COLLATE "C" NOT NULL,
    until       text   COLLATE "C" NOT NULL,
    fill        bigint NOT NULL CHECK (fill IN (0, 1)),
    actor       text   NOT NULL,
    state       text   COLLATE "C" NOT NULL CHECK (state IN ('running', 'done', 'failed')),
    started_at  bigint NOT NULL,
    finished_at bigint,
    -- JSON: where a pass goes on; the sums by currency; the differences by kind.
    progress    text   NOT NULL,
    sums        text   NOT NULL,
    counts      text   NOT NULL,
    unreadable  bigint NOT NULL DEFAULT 0,
    problem     text,
    -- Of the process that works on it.
    token       uuid,
    lease_until bigint NOT NULL DEFAULT 0,

    CHECK ((state = 'running') = (finished_at IS NULL))
);

-- One at a time for each endpoint.
CREATE UNIQUE INDEX reconciliations_running ON reconciliations (endpoint) WHERE state = 'running';

-- The last ones of an endpoint.
CREATE INDEX reconciliations_of_endpoint ON reconciliations (endpoint, id);

-- The last report of each endpoint that is done.
CREATE TABLE reconciliation_last (
    endpoint  text COLLATE "C" PRIMARY KEY,
    report_id uuid NOT NULL
);

-- Finkare's payments, while a report is made; removed when it is finished.
CREATE TABLE reconciliation_payments (
    report_id    uuid   NOT NULL,
    payment_id   text   COLLATE "C" NOT NULL,
    invoice_id   text   COLLATE "C" NOT NULL,
    amount_cents bigint NOT NULL,
    currency     text   COLLATE "C",
    status       text   COLLATE "C" NOT NULL,
    method       text,
    paid_at      text   COLLATE "C",
    PRIMARY KEY (report_id, payment_id)
);

CREATE INDEX reconciliation_payments_of_invoice ON reconciliation_payments (report_id, invoice_id);

-- The invoices to compare, while a report is made.
CREATE TABLE reconciliation_invoices (
    report_id  uuid NOT NULL,
    invoice_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (report_id, invoice_id)
);

CREATE TABLE reconciliation_differences (
    report_id    uuid   NOT NULL,
    number       bigint NOT NULL,
    kind         text   COLLATE "C" NOT NULL,
    payment_id   text   COLLATE "C",
    invoice_id   text   COLLATE "C",
    amount_cents bigint,
    currency     text   COLLATE "C",
    paid_at      text   COLLATE "C",
    sink         text   COLLATE "C",
    detail       text   NOT NULL,
    -- Written with dashes.
    event_id     text   COLLATE "C",
    PRIMARY KEY (report_id, number)
);

-- The differences of an invoice, for an erasure.
CREATE INDEX reconciliation_differences_of_invoice ON reconciliation_differences (invoice_id) WHERE invoice_id IS NOT NULL;

-- Events that announce a payment whose event a reconciliation had made before. A payment has at most one.
CREATE TABLE late_announcements (
    event_id     uuid   PRIMARY KEY,
    endpoint     text   COLLATE "C" NOT NULL,
    payment_id   text   COLLATE "C" NOT NULL,
    invoice_id   text   COLLATE "C" NOT NULL,
    amount_cents bigint NOT NULL,
    noted_at     bigint NOT NULL
);

CREATE UNIQUE INDEX late_announcements_by_payment ON late_announcements (endpoint, payment_id);
CREATE INDEX late_announcements_by_invoice ON late_announcements (endpoint, invoice_id);
CREATE INDEX late_announcements_by_age ON late_announcements (noted_at);
