-- What each n8n calls its workflows and nodes, as its API said last: for a start while n8n is down.
CREATE TABLE n8n_workflows (
  instance TEXT NOT NULL,       -- the name under which it is configured
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  nodes TEXT NOT NULL,          -- JSON: a list of [id, name, type, name of the credential record or null]
  PRIMARY KEY (instance, id)
) STRICT, WITHOUT ROWID;

-- The client's version, as it said last.
ALTER TABLE bindings ADD COLUMN client_version TEXT;
