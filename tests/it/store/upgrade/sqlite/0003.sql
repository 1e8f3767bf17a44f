-- What version 3 leaves behind: when an endpoint was last heard of.

INSERT INTO endpoint_activity (endpoint, watched_since, last_delivery_at) VALUES ('main', 1700000000000000, 1700000000009000);
INSERT INTO endpoint_activity (endpoint, watched_since, last_delivery_at) VALUES ('quiet', 1700000000000000, NULL);
INSERT INTO trial_writes (id, written_at) VALUES (1, 1700000000000000);
