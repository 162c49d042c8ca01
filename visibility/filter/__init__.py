"""Temporal's list filter language: from text to a typed tree."""
