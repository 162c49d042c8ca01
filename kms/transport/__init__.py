"""TLS contexts, and certificate files that are read again when they change."""
