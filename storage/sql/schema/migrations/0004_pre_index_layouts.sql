-- What documents of an epoch of the index hold: class index only, and bound by the key's commitment. Empty for the first layout.
ALTER TABLE data_keys ADD COLUMN layout text NOT NULL DEFAULT '';
