-- What version 4 leaves behind: which payment an event announces, bookings in every state, a dispatch whose clock
-- began anew.

INSERT INTO assignments (event_id, endpoint, payment_id, invoice_id, amount_cents)
VALUES (x'01890000000070008000000000000001', 'main', 'pay-1', 'inv-a', 15000);

INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note,
                      token, began_at, changed_at)
VALUES ('books', 'pay-1', x'01890000000070008000000000000001', 'inv-a', 'FAC-1', 15000, 'EUR', 'booked', '50012', 'read back', x'01890000000070008000000000000029',
        1700000000000001, 1700000000000001);
INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note,
                      token, began_at, changed_at)
VALUES ('books', 'pay-2', x'01890000000070008000000000000001', 'inv-a', 'FAC-2', 30000, 'EUR', 'seen', NULL, NULL, x'0189000000007000800000000000002a',
        1700000000000002, 1700000000000002);
INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note,
                      token, began_at, changed_at)
VALUES ('books', 'pay-3', x'01890000000070008000000000000001', 'inv-a', 'FAC-3', 45000, 'EUR', 'written', '50013', NULL, x'0189000000007000800000000000002b',
        1700000000000003, 1700000000000003);
INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note,
                      token, began_at, changed_at)
VALUES ('books', 'pay-4', x'01890000000070008000000000000001', 'inv-a', 'FAC-4', 60000, 'EUR', 'sending', NULL, NULL, x'0189000000007000800000000000002c',
        1700000000000004, 1700000000000004);
INSERT INTO bookings (sink, payment_id, event_id, invoice_id, invoice_number, amount_cents, currency, state, target_id, note,
                      token, began_at, changed_at)
VALUES ('books', 'pay-5', x'01890000000070008000000000000001', 'inv-a', 'FAC-5', 75000, 'EUR', 'reserved', NULL, NULL, x'0189000000007000800000000000002d',
        1700000000000005, 1700000000000005);

UPDATE dispatches SET ageless = 1 WHERE id = 3;
