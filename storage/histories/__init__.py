"""Histories of runs: append, read, fork, trim, delete.

Read the modules in this order: `store.py` and `manager.py` (the operations of Temporal's two levels), `nodes.py` (a read of one
range), `reading.py` and `pages.py` (a read through the ancestors), `chain.py` (the rule by which a write is part of the history),
`ends.py` (the end that a run's row names), `deletion.py`, `tree.py` and `members.py` (the branches of a run), `rows.py` (an append and
its columns), and `branch.py` (the value that identifies a branch).
"""

from .branch import BranchInfo, BranchRange, HistoryBranch
from .manager import HistoryManager
from .pages import HistoryPage
from .rows import HistoryAppend, HistoryNode
from .tree import BranchPage, ListedBranch

__all__ = [
    "BranchInfo",
    "BranchPage",
    "BranchRange",
    "HistoryAppend",
    "HistoryBranch",
    "HistoryManager",
    "HistoryNode",
    "HistoryPage",
    "ListedBranch",
]
