-- What is told and waits to be told (see src/notices): one JSON value for each message and thread, by its kind and id.
CREATE TABLE notices (
  kind TEXT NOT NULL,           -- message, thread, mute
  id TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
