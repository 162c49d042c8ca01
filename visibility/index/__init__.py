"""Visibility records as sealed documents: packed records, layouts, buckets, tokens and words."""
