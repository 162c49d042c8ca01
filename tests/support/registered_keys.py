"""Registered keys of many namespaces, and a writer that uses one namespace's keys."""

from __future__ import annotations

import asyncio
import os
import sys
from uuid import uuid4

from strongroom.kms import (
    KekRef,
    create_data_keys,
)
from strongroom.storage import DataBlob, HistoryBranch, HistoryNode

FIRST, SECOND = KekRef("local", "first"), KekRef("local", "second")


async def registered(strongroom, number):
    """Register keys of new namespaces without other rows; return the namespaces' ids."""
    await strongroom.create_kek(FIRST)
    namespaces = [uuid4() for _ in range(number)]
    for namespace_id in namespaces:
        await create_data_keys(strongroom.keyring, namespace_id, FIRST)
    return namespaces


async def written(writer, rows):
    """Let a writer write some rows, and stop it."""
    writer.until = writer.written + rows
    await writer.run()


class Writer:
    """Appends to a history of one namespace until it is stopped, and reads each node back."""

    def __init__(self, strongroom, namespace_id):
        self.strongroom, self.namespace_id = strongroom, namespace_id
        self.branch = HistoryBranch(1, uuid4(), uuid4())
        self.written = 0
        self.until = sys.maxsize

    async def run(self):
        """Write, and raise the first error."""
        history = self.strongroom.history
        while self.written < self.until:
            node = HistoryNode(self.written + 1, self.written + 1, self.written, DataBlob(os.urandom(100)))
            await history.append_history_nodes(self.namespace_id, self.branch, [node], is_new_branch=self.written == 0)
            self.written += 1
            if self.written % 20 == 0:
                self.strongroom.keyring.evict(self.namespace_id)  # so that keys are unwrapped often
                page = await history.read_history_branch(self.namespace_id, self.branch, page_size=1000)
                assert len(page.nodes) == min(self.written, 1000)
            await asyncio.sleep(0)
