-- Times are milliseconds since the Unix epoch. Keys are fingerprints, 32 hex digits; '' stands for none.

CREATE TABLE store (
  id INTEGER NOT NULL           -- random: tells this file from another one in its place
) STRICT;

-- Who has written, and what last: a batch that comes again is known by it.
CREATE TABLE writers (
  id INTEGER PRIMARY KEY,
  sequence INTEGER NOT NULL,
  seen INTEGER NOT NULL
) STRICT;

-- What each set remembers of its keys, in the shape of history.json.
CREATE TABLE sets (
  name TEXT PRIMARY KEY,
  history TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE bindings (
  id INTEGER PRIMARY KEY,       -- 64 bits of a hash of the identity
  set_name TEXT NOT NULL,
  holder TEXT NOT NULL,         -- caller, editor, other
  instance TEXT,
  workflow TEXT,
  node TEXT,
  family TEXT NOT NULL,
  peer TEXT NOT NULL,
  key TEXT NOT NULL,            -- of its identity
  workflow_name TEXT,
  seen INTEGER NOT NULL,        -- the start of the last sighting
  visits BLOB NOT NULL,
  latest_at INTEGER,            -- the last sighting that asked the API
  latest_key TEXT,
  latest_verdict TEXT,
  latest_diagnosis TEXT,
  latest_outcome TEXT,
  latest_severity TEXT,
  well INTEGER,                 -- the last good sighting
  acknowledged INTEGER,
  accepted_at INTEGER,          -- what a set that learns must know: the key that upstream accepted last
  accepted_key TEXT,
  accepted_peer TEXT,
  other_keys INTEGER NOT NULL
) STRICT;
CREATE INDEX bindings_by_sight ON bindings (seen);

CREATE TABLE uses (
  binding INTEGER NOT NULL REFERENCES bindings ON DELETE CASCADE,
  key TEXT NOT NULL,
  hint_kind TEXT,               -- what the key begins with, and its last four characters
  hint_last TEXT,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  sightings INTEGER NOT NULL,
  verdict TEXT NOT NULL,
  diagnosis TEXT NOT NULL,
  outcome TEXT NOT NULL,
  severity TEXT NOT NULL,
  execution TEXT,
  word TEXT,                    -- what upstream said of the key: accepted, refused
  PRIMARY KEY (binding, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE incidents (
  id INTEGER PRIMARY KEY,
  binding INTEGER NOT NULL REFERENCES bindings ON DELETE CASCADE,
  opened INTEGER NOT NULL,
  last INTEGER NOT NULL,
  sightings INTEGER NOT NULL,
  diagnosis TEXT NOT NULL,
  severity TEXT NOT NULL,
  key TEXT NOT NULL,
  hint_kind TEXT,
  hint_last TEXT,
  execution TEXT,
  closed INTEGER,
  closed_by TEXT,               -- good_sighting, key_is_good_again, acknowledged, silence
  closed_execution TEXT
) STRICT;
CREATE INDEX incidents_of_binding ON incidents (binding);

CREATE TABLE hours (
  hour INTEGER NOT NULL,        -- when it begins
  set_name TEXT NOT NULL,
  key TEXT NOT NULL,
  verdict TEXT NOT NULL,
  outcome TEXT NOT NULL,
  exchanges INTEGER NOT NULL,
  PRIMARY KEY (hour, set_name, key, verdict, outcome)
) STRICT, WITHOUT ROWID;
