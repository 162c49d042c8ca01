"""Searches of a cell with other options, and the documents of runs to search for."""

from __future__ import annotations

from strongroom.visibility import VisibilityManager
from strongroom.visibility.search.cost import CostModel

SECOND = 10**9
BASE = 1_795_000_000 * SECOND


class Opened(CostModel):
    """Counts the documents that scans open."""

    documents = 0

    def learn(self, documents, seconds, size):
        """Count the documents."""
        self.documents += documents
        super().learn(documents, seconds, size)


def searching(cell, **options):
    """Return the searches of a cell with other options."""
    return VisibilityManager(cell.database, cell.keyring, cell.journal.journal, index=cell.search_index, **options)


def run(number, *, start, close=None, **attributes):
    """Return the document of a run. The order of run ids is not that of the numbers."""
    document = {
        "WorkflowId": f"order/{number:06}",
        "RunId": f"00000000-0000-4000-8000-{(number * 7_368_787) % 10**12:012}",
        "WorkflowType": "ship",
        "ExecutionStatus": "Running" if close is None else "Completed",
        "TaskQueue": "orders",
        "StartTime": start,
        "ExecutionTime": start,
    }
    return document | ({} if close is None else {"CloseTime": close}) | attributes
