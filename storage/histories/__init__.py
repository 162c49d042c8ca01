"""History branches: append, read, fork, trim, delete."""
