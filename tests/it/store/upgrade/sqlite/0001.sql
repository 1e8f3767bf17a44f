-- What version 1 leaves behind: events in every state of their dispatches, one whose payload was purged, one that
-- nobody wants; sinks with their standing. Times are in November 2023.

INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, last_delivery_at, readable, content_type, payload)
VALUES (x'01890000000070008000000000000001', 'main', x'0101010101010101010101010101010101010101010101010101010101010101', 'payment.received', 'inv-a', 1700000000000001, 1700000000001000, 2, 1700000000001002, 1, 'application/json', x'7b226576656e74223a227061796d656e742e7265636569766564222c2264617461223a7b22696e766f6963654964223a22696e762d61222c22616d6f756e7443656e7473223a31353030307d7d');
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, last_delivery_at, readable, content_type, payload)
VALUES (x'01890000000070008000000000000002', 'main', x'0202020202020202020202020202020202020202020202020202020202020202', 'payment.received', NULL, 1700000000000002, 1700000000002000, 1, 1700000000002001, 1, 'application/json', x'7b226576656e74223a227061796d656e742e7265636569766564222c2264617461223a7b22616d6f756e7443656e7473223a3230307d7d');
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, last_delivery_at, readable, content_type, payload)
VALUES (x'01890000000070008000000000000003', 'main', x'0303030303030303030303030303030303030303030303030303030303030303', 'payment.received', 'inv-b', 1700000000000003, 1700000000003000, 1, 1700000000003001, 1, 'application/json', x'7b226576656e74223a227061796d656e742e7265636569766564222c2264617461223a7b22696e766f6963654964223a22696e762d62222c22616d6f756e7443656e7473223a3330307d7d');
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, last_delivery_at, readable, content_type, payload)
VALUES (x'01890000000070008000000000000004', 'main', x'0404040404040404040404040404040404040404040404040404040404040404', 'payment.received', 'inv-b', 1700000000000004, 1700000000004000, 1, 1700000000004001, 1, 'application/json', x'7b226576656e74223a227061796d656e742e7265636569766564222c2264617461223a7b22696e766f6963654964223a22696e762d62222c22616d6f756e7443656e7473223a3430307d7d');
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, last_delivery_at, readable, content_type, payload)
VALUES (x'01890000000070008000000000000005', 'main', x'0505050505050505050505050505050505050505050505050505050505050505', 'payment.refunded', 'inv-c', 1700000000000005, 1700000000005000, 1, 1700000000005001, 1, 'application/json', x'7b226576656e74223a227061796d656e742e726566756e646564222c2264617461223a7b22696e766f6963654964223a22696e762d63227d7d');
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, last_delivery_at, readable, content_type, payload)
VALUES (x'01890000000070008000000000000006', 'main', x'0606060606060606060606060606060606060606060606060606060606060606', 'payment.received', 'inv-d', 1700000000000006, 1700000000006000, 1, 1700000000006001, 1, 'application/json', x'7b226576656e74223a227061796d656e742e7265636569766564222c2264617461223a7b22696e766f6963654964223a22696e762d64227d7d');
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, last_delivery_at, readable, content_type, payload)
VALUES (x'01890000000070008000000000000007', 'main', x'0707070707070707070707070707070707070707070707070707070707070707', 'payment.received', 'inv-e', 1700000000000007, 1700000000007000, 1, 1700000000007001, 1, 'application/json', x'7b226576656e74223a227061796d656e742e7265636569766564222c2264617461223a7b22696e766f6963654964223a22696e762d65227d7d');
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, last_delivery_at, readable, content_type, payload)
VALUES (x'01890000000070008000000000000008', 'main', x'0808080808080808080808080808080808080808080808080808080808080808', 'payment.received', 'inv-f', 1700000000000008, 1700000000008000, 1, 1700000000008001, 1, 'application/json', NULL);
INSERT INTO events (id, endpoint, dedupe_key, type, invoice_id, occurred_at, received_at, deliveries, last_delivery_at, readable, content_type, payload)
VALUES (x'01890000000070008000000000000009', 'main', x'0909090909090909090909090909090909090909090909090909090909090909', 'unreadable', NULL, NULL, 1700000000009000, 1, 1700000000009001, 0, 'application/json', x'6e6f74206a736f6e20e28099');

INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us)
VALUES (1, x'01890000000070008000000000000001', 'erp', 'payment.received', 'inv-a', 'delivered', 'event', 2, 1700000000000001, 1700000000000010, NULL, NULL, NULL, 1700000000000020, '503 from the target', 1700000000000019, 1500);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us)
VALUES (2, x'01890000000070008000000000000001', 'books', 'payment.received', 'inv-a', 'delivered', 'replay', 1, 1700000000000001, 1700000000000030, NULL, NULL, NULL, 1700000000000040, NULL, 1700000000000039, 900);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us)
VALUES (3, x'01890000000070008000000000000002', 'erp', 'payment.received', NULL, 'pending', 'event', 1, 1700000000000002, 1700000000000050, 1700000000000060, NULL, NULL, NULL, '503 from the target', NULL, NULL);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us)
VALUES (4, x'01890000000070008000000000000003', 'erp', 'payment.received', 'inv-b', 'leased', 'event', 0, 1700000000000003, 1700000000000070, 1700000000000080, x'0189000000007000800000000000004d', NULL, NULL, NULL, NULL, NULL);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us)
VALUES (5, x'01890000000070008000000000000004', 'erp', 'payment.received', 'inv-b', 'pending', 'event', 0, 1700000000000004, NULL, 1700000000000090, NULL, 4, NULL, NULL, NULL, NULL);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us)
VALUES (6, x'01890000000070008000000000000005', 'erp', 'payment.refunded', 'inv-c', 'held', 'event', 1, 1700000000000005, 1700000000000100, NULL, NULL, NULL, NULL, 'look at it', NULL, NULL);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us)
VALUES (7, x'01890000000070008000000000000006', 'erp', 'payment.received', 'inv-d', 'dead', 'event', 1, 1700000000000006, 1700000000000110, NULL, NULL, NULL, 1700000000000120, '400 from the target', NULL, NULL);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us)
VALUES (8, x'01890000000070008000000000000007', 'erp', 'payment.received', 'inv-e', 'cancelled', 'event', 0, 1700000000000007, NULL, NULL, NULL, NULL, 1700000000000130, NULL, NULL, NULL);
INSERT INTO dispatches (id, event_id, sink, event_type, invoice_id, state, trigger, attempts, created_at, first_attempt_at, due_at, lease_token, waits_for, finished_at, last_error, attempted_at, attempt_us)
VALUES (9, x'01890000000070008000000000000008', 'erp', 'payment.received', 'inv-f', 'delivered', 'event', 1, 1700000000000008, 1700000000000140, NULL, NULL, NULL, 1700000000000150, NULL, 1700000000000149, 700);

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
