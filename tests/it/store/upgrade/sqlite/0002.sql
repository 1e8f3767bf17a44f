-- What version 2 leaves behind: a webhook, secrets in every state, one intent that is done and one in doubt, a trail.

INSERT INTO webhooks (endpoint, id, url, registered_at)
VALUES ('main', '5f0c', 'https://relay.example/hooks', 1700000000000000);

INSERT INTO secrets (id, endpoint, fingerprint, origin, state, created_at, valid_until, key_id, sealed)
VALUES (x'01890000000070008000000000000015', 'main', 'aaaaaaaaaaaaaaaa', 'configured', 'expired', 1700000000000000, 1700000000000001, 'key1', NULL);
INSERT INTO secrets (id, endpoint, fingerprint, origin, state, created_at, valid_until, key_id, sealed)
VALUES (x'01890000000070008000000000000016', 'main', 'bbbbbbbbbbbbbbbb', 'registered', 'retiring', 1700000000000002, 4000000000000000, 'key1', x'0a0b');
INSERT INTO secrets (id, endpoint, fingerprint, origin, state, created_at, valid_until, key_id, sealed)
VALUES (x'01890000000070008000000000000017', 'main', 'cccccccccccccccc', 'rotated', 'active', 1700000000000003, NULL, 'key1', x'0c0d');

INSERT INTO intents (id, endpoint, kind, state, actor, webhook_id, url, events, overlap_us, begun_at, tries, finished_at,
                     secret_id)
VALUES (x'0189000000007000800000000000001f', 'main', 'rotate', 'done', 'ops', '5f0c', NULL, '[]', 86400000000, 1700000000000002, 1, 1700000000000003, x'01890000000070008000000000000017');
INSERT INTO intents (id, endpoint, kind, state, actor, webhook_id, url, events, overlap_us, begun_at, tries, retry_at)
VALUES (x'01890000000070008000000000000020', 'main', 'register', 'unknown', 'ops', NULL, 'https://relay.example/hooks', '["payment.received"]', 0,
        1700000000000004, 3, 1700000000000005);

INSERT INTO audit (at, actor, action, subject, detail)
VALUES (1700000000000000, 'ops', 'webhook.adopted', 'endpoint/main', '{"id":"5f0c"}');
INSERT INTO audit (at, actor, action, subject, detail)
VALUES (1700000000000003, 'schedule', 'rotation.done', 'endpoint/main', '{}');
