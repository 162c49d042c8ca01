"""Anchors outside of the database: they show whether the database is older than it was (docs/how-to/anchors.md)."""

from .anchors import Anchors, Older, advice_for, continue_after, older_than_anchor
from .errors import AnchorUnavailable

__all__ = ["AnchorUnavailable", "Anchors", "Older", "advice_for", "continue_after", "older_than_anchor"]
