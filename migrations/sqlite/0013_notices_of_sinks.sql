-- Pauses of sinks and their ends are noted in the transaction that makes them.
CREATE TRIGGER sinks_paused AFTER UPDATE OF paused_at ON sinks
WHEN (OLD.paused_at IS NULL) <> (NEW.paused_at IS NULL) BEGIN
    INSERT INTO notice_sinks (sink, reason, at)
    VALUES (NEW.name, NEW.paused_reason, CAST(unixepoch('subsec') * 1000000 AS INTEGER));
END;
CREATE TRIGGER sinks_begun_paused AFTER INSERT ON sinks WHEN NEW.paused_at IS NOT NULL BEGIN
    INSERT INTO notice_sinks (sink, reason, at)
    VALUES (NEW.name, NEW.paused_reason, CAST(unixepoch('subsec') * 1000000 AS INTEGER));
END;
