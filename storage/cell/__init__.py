"""Rows that exist once for a cell: its access policy, and the newest checkpoint of each audit log."""
