-- +goose Up

-- To look into data that begins with the usual alert took the writer as long as
-- inserting the row. Older rows that begin otherwise are in the index whatever
-- their alert is.
DROP INDEX events_alert;
CREATE INDEX events_alert ON events (json_extract(data, '$.alert'), id)
  WHERE substr(data, 1, 15) <> '{"alert":"none"';

PRAGMA user_version = 3;
