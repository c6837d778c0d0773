-- The path of an incident's last bad sighting that upstream does not have, without the query.
ALTER TABLE incidents ADD COLUMN path TEXT;
