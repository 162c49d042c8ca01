"""Processes that share a database."""

from __future__ import annotations

from types import SimpleNamespace

from strongroom.driver.strongroom import Strongroom
from strongroom.storage.executions.store import ExecutionStore
from strongroom.storage.histories import HistoryManager
from strongroom.storage.journal.writer import Journal
from tests.support.audit.logs import PATIENT


def opened(config, **options):
    """Open a cell as a new process. It signs its last records even if a busy machine is slow."""
    return Strongroom.open(config, log_settings=PATIENT, **options)


def new_process(cell, *, known=None):
    """Return the stores of a process that has neither read nor written a row. `known` has the runs that it knows."""
    journal, distributed = Journal(cell.keyring), cell.config.cell.distributed
    executions = ExecutionStore(cell.by_key, cell.keyring, journal, known=known, distributed=distributed)
    return SimpleNamespace(
        executions=executions,
        history=HistoryManager(cell.by_key, cell.keyring, journal, ends=executions.ends, distributed=distributed),
        journal=SimpleNamespace(journal=journal),
        database=cell.database,
        keyring=cell.keyring,
        by_key=cell.by_key,
    )
