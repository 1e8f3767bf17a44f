-- What version 4 leaves behind: which payment an event announces, bookings in every state, a dispatch whose clock
-- began anew.

INSERT INTO assignments (event_id, endpoint, payment_id, invoice_id, amount_cents)
VALUES ('01890000-0000-7000-8000-000000000001', 'main', 'pay-1', 'inv-a', 15000);

INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note,
                      token, began_at, changed_at)
VALUES ('books', 'pay-1', '01890000-0000-7000-8000-000000000001', 'inv-a', 'FAC-1', 15000, 'EUR', 'booked', '50012', 'read back', '01890000-0000-7000-8000-000000000029',
        1700000000000001, 1700000000000001);
INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note,
                      token, began_at, changed_at)
VALUES ('books', 'pay-2', '01890000-0000-7000-8000-000000000001', 'inv-a', 'FAC-2', 30000, 'EUR', 'seen', NULL, NULL, '01890000-0000-7000-8000-00000000002a',
        1700000000000002, 1700000000000002);
INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note,
                      token, began_at, changed_at)
VALUES ('books', 'pay-3', '01890000-0000-7000-8000-000000000001', 'inv-a', 'FAC-3', 45000, 'EUR', 'written', '50013', NULL, '01890000-0000-7000-8000-00000000002b',
        1700000000000003, 1700000000000003);
INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note,
                      token, began_at, changed_at)
VALUES ('books', 'pay-4', '01890000-0000-7000-8000-000000000001', 'inv-a', 'FAC-4', 60000, 'EUR', 'sending', NULL, NULL, '01890000-0000-7000-8000-00000000002c',
        1700000000000004, 1700000000000004);
INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note,
                      token, began_at, changed_at)
VALUES ('books', 'pay-5', '01890000-0000-7000-8000-000000000001', 'inv-a', 'FAC-5', 75000, 'EUR', 'reserved', NULL, NULL, '01890000-0000-7000-8000-00000000002d',
        1700000000000005, 1700000000000005);

UPDATE dispatches SET ageless = 1 WHERE id = 3;
