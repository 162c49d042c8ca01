"""`strongroom demo`: a cell in a throw-away PostgreSQL, and a proof of each claim."""
