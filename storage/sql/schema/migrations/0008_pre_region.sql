-- The region that a cell is bound to; NULL for one that is bound to none. It is in the associated data beside the cell's id.
ALTER TABLE cell ADD COLUMN region text CHECK (region ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(region) <= 63);
