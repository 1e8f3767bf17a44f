-- What version 1 leaves behind: events in every state of their dispatches, one whose payload was purged, one that
-- nobody wants; sinks with their standing. Times are in November 2023.

INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload)
VALUES ('01890000-0000-7000-8000-000000000001', 'main', '\x0101010101010101010101010101010101010101010101010101010101010101', 'payment.received', 'inv-a', 1700000000000001, 1700000000001000, 2, true, 'application/json', '\x7b226576656e74223a227061796d656e742e7265636569766564222c2264617461223a7b22696e766f6963654964223a22696e762d61222c22616d6f756e7443656e7473223a31353030307d7d');
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload)
VALUES ('01890000-0000-7000-8000-000000000002', 'main', '\x0202020202020202020202020202020202020202020202020202020202020202', 'payment.received', NULL, 1700000000000002, 1700000000002000, 1, true, 'application/json', '\x7b226576656e74223a227061796d656e742e7265636569766564222c2264617461223a7b22616d6f756e7443656e7473223a3230307d7d');
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload)
VALUES ('01890000-0000-7000-8000-000000000003', 'main', '\x0303030303030303030303030303030303030303030303030303030303030303', 'payment.received', 'inv-b', 1700000000000003, 1700000000003000, 1, true, 'application/json', '\x7b226576656e74223a227061796d656e742e7265636569766564222c2264617461223a7b22696e766f6963654964223a22696e762d62222c22616d6f756e7443656e7473223a3330307d7d');
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload)
VALUES ('01890000-0000-7000-8000-000000000004', 'main', '\x0404040404040404040404040404040404040404040404040404040404040404', 'payment.received', 'inv-b', 1700000000000004, 1700000000004000, 1, true, 'application/json', '\x7b226576656e74223a227061796d656e742e7265636569766564222c2264617461223a7b22696e766f6963654964223a22696e762d62222c22616d6f756e7443656e7473223a3430307d7d');
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload)
VALUES ('01890000-0000-7000-8000-000000000005', 'main', '\x0505050505050505050505050505050505050505050505050505050505050505', 'payment.refunded', 'inv-c', 1700000000000005, 1700000000005000, 1, true, 'application/json', '\x7b226576656e74223a227061796d656e742e726566756e646564222c2264617461223a7b22696e766f6963654964223a22696e762d63227d7d');
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload)
VALUES ('01890000-0000-7000-8000-000000000006', 'main', '\x0606060606060606060606060606060606060606060606060606060606060606', 'payment.received', 'inv-d', 1700000000000006, 1700000000006000, 1, true, 'application/json', '\x7b226576656e74223a227061796d656e742e7265636569766564222c2264617461223a7b22696e766f6963654964223a22696e762d64227d7d');
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload)
VALUES ('01890000-0000-7000-8000-000000000007', 'main', '\x0707070707070707070707070707070707070707070707070707070707070707', 'payment.received', 'inv-e', 1700000000000007, 1700000000007000, 1, true, 'application/json', '\x7b226576656e74223a227061796d656e742e7265636569766564222c2264617461223a7b22696e766f6963654964223a22696e762d65227d7d');
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload)
VALUES ('01890000-0000-7000-8000-000000000008', 'main', '\x0808080808080808080808080808080808080808080808080808080808080808', 'payment.received', 'inv-f', 1700000000000008, 1700000000008000, 1, true, 'application/json', NULL);
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, readable, content_type, payload)
VALUES ('01890000-0000-7000-8000-000000000009', 'main', '\x0909090909090909090909090909090909090909090909090909090909090909', 'unreadable', NULL, NULL, 1700000000009000, 1, false, 'application/json', '\x6e6f74206a736f6e20e28099');

INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us, lease_until, attention)
OVERRIDING SYSTEM VALUE VALUES (1, '01890000-0000-7000-8000-000000000001', 'erp', 'payment.received', 'inv-a', 'delivered', 'event', 2, 1700000000000001, 1700000000000010, NULL, NULL, NULL, 1700000000000020, '503 from the target', 1700000000000019, 1500, NULL, false);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us, lease_until, attention)
OVERRIDING SYSTEM VALUE VALUES (2, '01890000-0000-7000-8000-000000000001', 'books', 'payment.received', 'inv-a', 'delivered', 'replay', 1, 1700000000000001, 1700000000000030, NULL, NULL, NULL, 1700000000000040, NULL, 1700000000000039, 900, NULL, false);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us, lease_until, attention)
OVERRIDING SYSTEM VALUE VALUES (3, '01890000-0000-7000-8000-000000000002', 'erp', 'payment.received', NULL, 'pending', 'event', 1, 1700000000000002, 1700000000000050, 1700000000000060, NULL, NULL, NULL, '503 from the target', NULL, NULL, NULL, false);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us, lease_until, attention)
OVERRIDING SYSTEM VALUE VALUES (4, '01890000-0000-7000-8000-000000000003', 'erp', 'payment.received', 'inv-b', 'leased', 'event', 0, 1700000000000003, 1700000000000070, 1700000000000080, '01890000-0000-7000-8000-00000000004d', NULL, NULL, NULL, NULL, NULL, 1700000000000080, false);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us, lease_until, attention)
OVERRIDING SYSTEM VALUE VALUES (5, '01890000-0000-7000-8000-000000000004', 'erp', 'payment.received', 'inv-b', 'pending', 'event', 0, 1700000000000004, NULL, 1700000000000090, NULL, 4, NULL, NULL, NULL, NULL, NULL, false);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us, lease_until, attention)
OVERRIDING SYSTEM VALUE VALUES (6, '01890000-0000-7000-8000-000000000005', 'erp', 'payment.refunded', 'inv-c', 'held', 'event', 1, 1700000000000005, 1700000000000100, NULL, NULL, NULL, NULL, 'look at it', NULL, NULL, NULL, true);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us, lease_until, attention)
OVERRIDING SYSTEM VALUE VALUES (7, '01890000-0000-7000-8000-000000000006', 'erp', 'payment.received', 'inv-d', 'dead', 'event', 1, 1700000000000006, 1700000000000110, NULL, NULL, NULL, 1700000000000120, '400 from the target', NULL, NULL, NULL, true);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us, lease_until, attention)
OVERRIDING SYSTEM VALUE VALUES (8, '01890000-0000-7000-8000-000000000007', 'erp', 'payment.received', 'inv-e', 'cancelled', 'event', 0, 1700000000000007, NULL, NULL, NULL, NULL, 1700000000000130, NULL, NULL, NULL, NULL, true);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us, lease_until, attention)
OVERRIDING SYSTEM VALUE VALUES (9, '01890000-0000-7000-8000-000000000008', 'erp', 'payment.received', 'inv-f', 'delivered', 'event', 1, 1700000000000008, 1700000000000140, NULL, NULL, NULL, 1700000000000150, NULL, 1700000000000149, 700, NULL, false);
SELECT setval(pg_get_serial_sequence('dispatches', 'id'), 9);

INSERT INTO attempts (dispatch_id, number, started_at, duration_us, outcome, error)
VALUES (1, 1, 1700000000000001, 1200, 'retry', '503 from the target');
INSERT INTO attempts (dispatch_id, number, started_at, duration_us, outcome, error)
VALUES (3, 1, 1700000000000003, 1200, 'retry', '503 from the target');
INSERT INTO attempts (dispatch_id, number, started_at, duration_us, outcome, error)
VALUES (6, 1, 1700000000000006, 1200, 'hold', 'look at it');
INSERT INTO attempts (dispatch_id, number, started_at, duration_us, outcome, error)
VALUES (7, 1, 1700000000000007, 1200, 'rejected', '400 from the target');

INSERT INTO sinks (name, registered_at, delivered, last_success_at, last_error_at, last_error)
VALUES ('erp', 1700000000000000, 17, 1700000000000150, 1700000000000120, '400 from the target');
INSERT INTO sinks (name, registered_at, paused_at, paused_reason, delivered, last_success_at)
VALUES ('books', 1700000000000000, 1700000000000200, 'maintenance', 1, 1700000000000040);
