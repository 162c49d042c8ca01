"""Print tables, histories and reports on the command line."""
