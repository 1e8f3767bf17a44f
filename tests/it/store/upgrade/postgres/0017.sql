-- What version 17 leaves behind: a link with a visitor, a session, and one that has ended.

INSERT INTO ui_sessions
    (id_hash, kind, token_name, token_mark, parent, link_id, endpoint, pages, label, created_at, seen_at, idle_us, expires_at)
VALUES (decode(repeat('71', 32), 'hex'), 'link', 'ops', decode(repeat('70', 32), 'hex'), NULL, '01890000-0000-7000-8000-000000000071', 'main', 'statement,payments', 'Cabinet', 1700000000000000, NULL, NULL, 9000000000000000),
       (decode(repeat('72', 32), 'hex'), 'session', 'ops', decode(repeat('70', 32), 'hex'), decode(repeat('71', 32), 'hex'), NULL, NULL, NULL, NULL, 1700000000000000, 1700000000000000, 9000000000000000, 9000000000000000),
       (decode(repeat('73', 32), 'hex'), 'session', 'ops', decode(repeat('70', 32), 'hex'), NULL, NULL, NULL, NULL, NULL, 1700000000000000, 1700000000000000, 9000000000000000, 9000000000000000),
       (decode(repeat('74', 32), 'hex'), 'session', 'ops', decode(repeat('70', 32), 'hex'), NULL, NULL, NULL, NULL, NULL, 1700000000000000, 1700000000000000, 9000000000000000, 1700000000000001);
