-- +goose Up

-- What happened. Columns and time form are those that readers of the seed's
-- SQL expect; data is always valid JSON with a top-level alert.
CREATE TABLE events (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  timestamp  TEXT    NOT NULL, -- 'YYYY-MM-DD HH:MM:SS.fff' UTC
  event_type TEXT    NOT NULL,
  agent_id   TEXT    NOT NULL DEFAULT '',
  session_id TEXT    NOT NULL DEFAULT '',
  channel    TEXT    NOT NULL,
  level      TEXT    NOT NULL,
  data       TEXT    NOT NULL, -- JSON
  leaf       INTEGER NOT NULL  -- its entry in the log
);
CREATE INDEX events_timestamp ON events (timestamp);
CREATE INDEX events_session ON events (session_id, id) WHERE session_id <> '';
CREATE INDEX events_alert ON events (json_extract(data, '$.alert'), id)
  WHERE json_extract(data, '$.alert') <> 'none';

-- The log. hashes are the tree hashes completed by the entry, own one first.
CREATE TABLE leaves (
  seq    INTEGER PRIMARY KEY,
  leaf   BLOB NOT NULL,
  hashes BLOB NOT NULL
);

-- What opens the commitments of an entry; erasing a row keeps every proof.
CREATE TABLE openings (
  leaf        INTEGER PRIMARY KEY,
  event       INTEGER NOT NULL,
  row_salt    BLOB NOT NULL,
  digest_salt BLOB,
  digest      BLOB
);

-- The head of the tree. clock is the latest time given to an entry, in
-- microseconds; behind is 1 while the machine's clock is behind it.
CREATE TABLE head (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  size   INTEGER NOT NULL,
  root   BLOB    NOT NULL,
  clock  INTEGER NOT NULL,
  behind INTEGER NOT NULL
);

-- Signed tree heads: the newest, and kept ones from the past.
CREATE TABLE checkpoints (
  size INTEGER PRIMARY KEY,
  time INTEGER NOT NULL,
  kept INTEGER NOT NULL,
  note BLOB    NOT NULL
);

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- Random names under which agents and sessions appear in the log.
CREATE TABLE pseudonyms (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  alias TEXT NOT NULL UNIQUE,
  PRIMARY KEY (kind, name)
) WITHOUT ROWID;

CREATE TABLE contexts (
  id      TEXT PRIMARY KEY,
  agent   TEXT NOT NULL,
  session TEXT NOT NULL,
  label   TEXT NOT NULL,
  ceiling TEXT NOT NULL,
  rev     INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Revisions of agents; the empty agent is everybody.
CREATE TABLE agents (
  agent TEXT PRIMARY KEY,
  rev   INTEGER NOT NULL DEFAULT 0,
  stopped_by TEXT NOT NULL DEFAULT '',
  stopped_at INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE accounts (
  account  TEXT PRIMARY KEY,
  spent    INTEGER NOT NULL DEFAULT 0,
  reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0)
) WITHOUT ROWID;

CREATE TABLE counters (
  session TEXT NOT NULL,
  name    TEXT NOT NULL, -- a kind of action, or '!denied'
  n       INTEGER NOT NULL,
  PRIMARY KEY (session, name)
) WITHOUT ROWID;

CREATE TABLE intents (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  leaf     INTEGER NOT NULL,
  owner    TEXT    NOT NULL, -- the process: pid, start, boot
  opened   INTEGER NOT NULL, -- microseconds
  agent    TEXT    NOT NULL,
  session  TEXT    NOT NULL,
  kind     TEXT    NOT NULL,
  target   TEXT    NOT NULL,
  label    TEXT    NOT NULL,
  account  TEXT    NOT NULL,
  reserved INTEGER NOT NULL,
  status   TEXT    NOT NULL, -- open, denied, or that of the outcome
  cost     INTEGER NOT NULL DEFAULT 0,
  settled  INTEGER NOT NULL DEFAULT 0, -- microseconds
  outcome  INTEGER -- leaf of the outcome
);
CREATE INDEX intents_open ON intents (owner) WHERE status = 'open';
CREATE INDEX intents_cost ON intents (settled) WHERE cost > 0;
CREATE INDEX intents_leaf ON intents (leaf);

CREATE TABLE nonces (nonce TEXT PRIMARY KEY, intent INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE grants (
  id      TEXT PRIMARY KEY,
  parent  TEXT NOT NULL,
  agent   TEXT NOT NULL,
  kind    TEXT NOT NULL,
  target  TEXT NOT NULL,
  expires INTEGER NOT NULL, -- microseconds
  uses    INTEGER NOT NULL, -- remaining; -1 = unlimited
  revoked INTEGER NOT NULL DEFAULT 0,
  because TEXT NOT NULL,
  given   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX grants_agent ON grants (agent);

CREATE TABLE asks (
  id      TEXT PRIMARY KEY,
  digest  TEXT NOT NULL,
  created INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  state   TEXT NOT NULL,
  agent   TEXT NOT NULL,
  session TEXT NOT NULL,
  kind    TEXT NOT NULL,
  target  TEXT NOT NULL,
  because TEXT NOT NULL,
  nonce   TEXT NOT NULL UNIQUE,
  payload BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX asks_digest ON asks (digest);

CREATE TABLE statements (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  digest   TEXT NOT NULL,
  kind     TEXT NOT NULL, -- approve, deny
  created  INTEGER NOT NULL,
  envelope BLOB NOT NULL
);
CREATE INDEX statements_digest ON statements (digest);

CREATE TABLE notes (
  agent TEXT PRIMARY KEY,
  note  TEXT NOT NULL,
  label TEXT NOT NULL,
  time  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE runs (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  pid     INTEGER NOT NULL,
  owner   TEXT NOT NULL,
  agents  TEXT NOT NULL, -- JSON list
  session TEXT NOT NULL,
  begun   INTEGER NOT NULL,
  ended   INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE anchors (
  name  TEXT PRIMARY KEY,
  size  INTEGER NOT NULL, -- newest checkpoint that arrived there
  time  INTEGER NOT NULL,
  error TEXT NOT NULL
) WITHOUT ROWID;

PRAGMA user_version = 1;
