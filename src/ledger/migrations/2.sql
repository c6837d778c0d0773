-- Executions that were seen bad since the last incident opened, by a hash of their ids: numbers of four bytes, little-endian.
ALTER TABLE bindings ADD COLUMN retrying BLOB NOT NULL DEFAULT x'';

-- The public name of the fingerprint key by which all keys here are known.
ALTER TABLE store ADD COLUMN named_by TEXT;
