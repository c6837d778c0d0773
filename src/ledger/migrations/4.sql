-- The evidence of who sends which key from where, and what was accepted: one JSON value for each thing, by its kind and id.
CREATE TABLE evidence (
  set_name TEXT NOT NULL,
  kind TEXT NOT NULL,           -- address, uses, run, record, client, n8n, waiting, cramped, accepted
  id TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (set_name, kind, id)
) STRICT, WITHOUT ROWID;
