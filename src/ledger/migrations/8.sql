-- What OpenAI said of keys, when a command asked it last.
CREATE TABLE expiries (
  key TEXT PRIMARY KEY,         -- all digits of the fingerprint
  id TEXT NOT NULL,             -- at OpenAI
  expires INTEGER,
  last_used INTEGER,
  read INTEGER NOT NULL         -- when OpenAI said so
) STRICT, WITHOUT ROWID;

-- A set that comes while keyward runs is read alone.
CREATE INDEX bindings_of_set ON bindings (set_name);
