"""Backups of a cell: what to back up in which order, and whether a set of backups fits together."""

from .check import check_set, with_copies
from .plan import Step, plan

__all__ = ["Step", "check_set", "plan", "with_copies"]
