"""Background jobs of the search index: indexer, reconciler, rotation, token audit."""
