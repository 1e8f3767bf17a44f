-- What version 15 leaves behind: a reconciliation that is done, one that was cut off, and a late announcement.

INSERT INTO reconciliations (id, endpoint, since, until, fill, actor, state, started_at, finished_at, progress, sums, counts)
VALUES ('01890000-0000-7000-8000-000000000051', 'main', '2023-11-01', '2023-11-14', 0, 'ops', 'done', 1700000000000000,
        1700000001000000, '', '{}', '{"never_announced":1}'),
       ('01890000-0000-7000-8000-000000000052', 'main', '2023-11-01', '2023-11-15', 1, 'schedule', 'running', 1700000002000000,
        NULL, '{"stage":"events","after":null}', '{}', '{}');
INSERT INTO reconciliation_last (endpoint, report_id) VALUES ('main', '01890000-0000-7000-8000-000000000051');
INSERT INTO reconciliation_differences (report_id, number, kind, payment_id, invoice_id, amount_cents, currency, paid_at, detail)
VALUES ('01890000-0000-7000-8000-000000000051', 0, 'never_announced', 'pay-9', 'inv-9', 900, 'EUR', '2023-11-02', 'fill it');
INSERT INTO late_announcements (event_id, endpoint, payment_id, invoice_id, amount_cents, noted_at)
VALUES ('01890000-0000-7000-8000-000000000053', 'main', 'pay-8', 'inv-8', 800, 1700000003000000);
