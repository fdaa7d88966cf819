-- +goose Up

-- The vault's book. What is destroyed here must leave the files, so nothing
-- but these tables holds a wrapped key or a sealed body.
CREATE TABLE sealed_state (
  id         INTEGER PRIMARY KEY CHECK (id = 1),
  generation INTEGER NOT NULL,
  epoch      INTEGER NOT NULL,
  oldest     INTEGER NOT NULL,
  seal       BLOB    NOT NULL
);

CREATE TABLE sealed_keys (
  level        INTEGER NOT NULL,
  compartments INTEGER NOT NULL, -- bits of a set, as a signed number
  epoch        INTEGER NOT NULL,
  generation   INTEGER NOT NULL,
  wrapped      BLOB    NOT NULL,
  PRIMARY KEY (level, compartments, epoch)
);

CREATE TABLE sealed_items (
  n       INTEGER PRIMARY KEY AUTOINCREMENT, -- rows are only ever added at the end
  id      TEXT    NOT NULL UNIQUE,
  label   TEXT    NOT NULL,
  version INTEGER NOT NULL,
  epoch   INTEGER NOT NULL,
  held    INTEGER NOT NULL DEFAULT 0,
  key     BLOB    NOT NULL,
  body    BLOB    NOT NULL
);
CREATE INDEX sealed_items_epoch ON sealed_items (epoch);

-- Ids of items that were erased: they are never used again.
CREATE TABLE sealed_used (id TEXT PRIMARY KEY) WITHOUT ROWID;

-- What is known of items without opening them.
CREATE TABLE objects (
  id      TEXT    PRIMARY KEY,
  version INTEGER NOT NULL,
  label   TEXT    NOT NULL,
  made    TEXT    NOT NULL, -- label
  by      TEXT    NOT NULL,
  created INTEGER NOT NULL  -- microseconds, as all times below
) WITHOUT ROWID;

CREATE TABLE messages (
  n       INTEGER PRIMARY KEY AUTOINCREMENT,
  id      TEXT    NOT NULL UNIQUE,
  reader  TEXT    NOT NULL,
  slot    TEXT    NOT NULL,
  writer  TEXT    NOT NULL,
  sent    INTEGER NOT NULL,
  fetched INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX messages_slot ON messages (reader, slot, n);

CREATE TABLE instructions (
  n       INTEGER PRIMARY KEY AUTOINCREMENT,
  id      TEXT    NOT NULL UNIQUE,
  reader  TEXT    NOT NULL,
  type    TEXT    NOT NULL,
  text    TEXT    NOT NULL,
  label   TEXT    NOT NULL,
  ceiling TEXT    NOT NULL,
  digest  TEXT    NOT NULL,
  created INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  taken   INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE places (path TEXT PRIMARY KEY, label TEXT NOT NULL) WITHOUT ROWID;

-- What an agent remembers between sessions: slots with fixed labels. A note of
-- before counts as in the slot of its own label.
CREATE TABLE memory (
  agent TEXT    NOT NULL,
  slot  TEXT    NOT NULL, -- label
  note  BLOB    NOT NULL,
  time  INTEGER NOT NULL,
  PRIMARY KEY (agent, slot)
) WITHOUT ROWID;
INSERT INTO memory SELECT agent, label, CAST(note AS BLOB), time FROM notes;
DROP TABLE notes;

CREATE TABLE trust_pin (
  id      INTEGER PRIMARY KEY CHECK (id = 1),
  version INTEGER NOT NULL,
  digest  TEXT    NOT NULL
);

-- Bits that a context may still extract from foreign data. Contexts of before
-- have none.
ALTER TABLE contexts ADD COLUMN bits INTEGER NOT NULL DEFAULT 0 CHECK (bits >= 0);
CREATE INDEX contexts_session ON contexts (session);

PRAGMA user_version = 4;
