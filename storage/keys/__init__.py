"""The data-key registry, resealing, key destruction and shredding."""
