"""Namespaces, and how their rows are purged."""
