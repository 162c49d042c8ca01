-- Runs by the second of their start: a count of a day reads its entries of this alone. Partial, so that the default filter's
-- `TemporalNamespaceDivision IS NULL` needs no look at the rows. Writers of visibility wait while it is made.
CREATE INDEX visibility_records_start ON visibility_records (namespace_id, b2) WHERE h_division IS NULL;
