"""Sealed visibility records in PostgreSQL, and the outbox of a search index outside the database."""
