-- +goose Up

-- Keys with which clients are told apart. Only a hash is kept: who reads the
-- database cannot call with it. keys in meta counts their changes.
CREATE TABLE api_keys (
  id         TEXT    PRIMARY KEY,
  name       TEXT    NOT NULL,
  agent      TEXT    NOT NULL,
  hash       BLOB    NOT NULL UNIQUE, -- SHA-256 of the key
  role       TEXT    NOT NULL, -- comma list
  ceiling    TEXT    NOT NULL, -- label
  client     TEXT    NOT NULL,
  created    INTEGER NOT NULL, -- microseconds, as all times below
  expires    INTEGER NOT NULL,
  revoked_at INTEGER NOT NULL DEFAULT 0,
  last_used  INTEGER NOT NULL DEFAULT 0,
  limits     TEXT    NOT NULL -- JSON
) WITHOUT ROWID;
CREATE UNIQUE INDEX api_keys_name ON api_keys (name) WHERE revoked_at = 0;

-- Money of keys and days, beside that of agents in accounts: the sum over
-- accounts is what all agents together spent, however many days there were.
CREATE TABLE allowances (
  account  TEXT PRIMARY KEY,
  spent    INTEGER NOT NULL DEFAULT 0,
  reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0)
) WITHOUT ROWID;

-- What an intent is charged to besides its account, and what it used.
ALTER TABLE intents ADD COLUMN api_key TEXT NOT NULL DEFAULT '';
ALTER TABLE intents ADD COLUMN also TEXT NOT NULL DEFAULT ''; -- JSON list of allowances, or empty
ALTER TABLE intents ADD COLUMN input INTEGER NOT NULL DEFAULT 0; -- tokens
ALTER TABLE intents ADD COLUMN output INTEGER NOT NULL DEFAULT 0;
ALTER TABLE intents ADD COLUMN cache_read INTEGER NOT NULL DEFAULT 0;
ALTER TABLE intents ADD COLUMN cache_write INTEGER NOT NULL DEFAULT 0;
ALTER TABLE intents ADD COLUMN reasoning INTEGER NOT NULL DEFAULT 0;
DROP INDEX intents_cost;
CREATE INDEX intents_cost ON intents (settled) WHERE cost > 0 OR input > 0 OR output > 0;

-- What people must look at. Of one rule and subject at most one is alive.
CREATE TABLE alerts (
  id          TEXT    PRIMARY KEY,
  rule        TEXT    NOT NULL,
  severity    INTEGER NOT NULL,
  state       TEXT    NOT NULL, -- open, acknowledged, resolved, false_positive
  title       TEXT    NOT NULL,
  subject     TEXT    NOT NULL,
  agent       TEXT    NOT NULL,
  session     TEXT    NOT NULL,
  opened      INTEGER NOT NULL,
  updated     INTEGER NOT NULL,
  count       INTEGER NOT NULL,
  first_event INTEGER NOT NULL,
  last_event  INTEGER NOT NULL,
  note        TEXT    NOT NULL,
  by          TEXT    NOT NULL,
  digest      BLOB    NOT NULL -- SHA-256 of rule and subject
) WITHOUT ROWID;
CREATE UNIQUE INDEX alerts_alive ON alerts (digest) WHERE state IN ('open', 'acknowledged');
CREATE INDEX alerts_updated ON alerts (updated);

CREATE TABLE deliveries (
  alert TEXT    NOT NULL,
  sink  TEXT    NOT NULL,
  state TEXT    NOT NULL, -- pending, delivered, failed
  tries INTEGER NOT NULL,
  next  INTEGER NOT NULL,
  error TEXT    NOT NULL,
  PRIMARY KEY (alert, sink)
) WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (next) WHERE state = 'pending';

-- How far readers of events have come.
CREATE TABLE cursors (name TEXT PRIMARY KEY, event INTEGER NOT NULL) WITHOUT ROWID;

PRAGMA user_version = 2;
