"""Anchors outside of the database: they show whether the database is older than it was (docs/anchors.md)."""

from .anchors import Anchors, Older
from .errors import AnchorUnavailable

__all__ = ["AnchorUnavailable", "Anchors", "Older"]
