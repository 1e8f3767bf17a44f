-- Pauses of sinks and their ends are noted in the transaction that makes them.
CREATE FUNCTION note_sink() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO notice_sinks (sink, reason, at)
    VALUES (NEW.name, NEW.paused_reason, (extract(epoch FROM now()) * 1000000)::bigint);
    RETURN NULL;
END $$;

CREATE TRIGGER sinks_paused AFTER UPDATE OF paused_at ON sinks FOR EACH ROW
    WHEN ((OLD.paused_at IS NULL) <> (NEW.paused_at IS NULL))
    EXECUTE FUNCTION note_sink();
CREATE TRIGGER sinks_begun_paused AFTER INSERT ON sinks FOR EACH ROW
    WHEN (NEW.paused_at IS NOT NULL)
    EXECUTE FUNCTION note_sink();
