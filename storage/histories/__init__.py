"""Histories of runs: append, read, fork, trim, delete.

Read in this order: `manager.py` (the operations), `reading.py` and `pages.py` (a read), `chain.py` (which writes count),
`deletion.py`, `tree.py` (the branches of a run), `rows.py` (an append and its columns), `branch.py`.
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
