"""Background jobs of a search index: indexer, reconciler, rotation of the index key, checks of tokens and sealed copies."""
