"""Mutable state of runs, history tasks and shards."""
