-- What version 16 leaves behind: the counts of two hours, and who has added to them.

INSERT INTO traffic (hour, what, name, count)
VALUES (1700000000000000 - 1700000000000000 % 3600000000, 'accepted', 'main', 41),
       (1700000000000000 - 1700000000000000 % 3600000000, 'ack_5', '', 40),
       (1700003600000000 - 1700000000000000 % 3600000000, 'backlog', 'erp', 3);
INSERT INTO traffic_writers (writer, batch, written_at) VALUES (x'01890000000070008000000000000061', 7, 1700003600000000);
