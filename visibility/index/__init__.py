"""Visibility records as sealed documents: packing, layouts and tokens."""
