"""Sealed visibility records in PostgreSQL, and the outbox of the search index."""
