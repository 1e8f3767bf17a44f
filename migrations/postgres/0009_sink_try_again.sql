-- How often a person said that a sink works again: whoever has stopped sending to it tries once more at a change.
ALTER TABLE sinks ADD COLUMN asked_again bigint NOT NULL DEFAULT 0;
