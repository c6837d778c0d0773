-- Which of upstream's projects each key belongs to, in the order in which upstream said so.
CREATE TABLE projects (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,     -- all digits of the fingerprint
  project TEXT NOT NULL
) STRICT;
