-- +goose Up
-- The label of the context that sent a message: who counts messages counts only
-- what may be known.
ALTER TABLE messages ADD COLUMN made TEXT NOT NULL DEFAULT '';
CREATE INDEX messages_writer ON messages (writer, reader, slot, sent);
PRAGMA user_version = 5;
