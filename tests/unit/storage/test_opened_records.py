"""Lists of namespaces while a KMS is silent."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest

from strongroom.kms import KmsTimeout, KmsUnavailable
from strongroom.storage.namespaces.opened_records import OpenedRecords

SILENT, AWAY = UUID(int=1), UUID(int=2)


def row(namespace_id):
    """Return a row as a list reads it."""
    return {
        "namespace_id": namespace_id,
        "version": 1,
        "details": b"",
        "created_at": datetime.now(UTC),
        "shredded_at": None,
        "notification_version": 7,
        "is_global": True,
        "data": b"",
    }


async def fresh(_row, _before):
    """Find no row older than before."""


class HalfDeadKeyring:
    """A keyring whose KMS is silent for one namespace and refuses connections for the others."""

    def __init__(self):
        self.waiting = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def with_keys(self, namespace_id, _use):
        """Wait for ever, or raise at once."""
        if namespace_id != SILENT:
            raise KmsUnavailable("refused")
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


async def test_a_silent_kms_delays_a_list_for_its_timeout_alone():
    """Every namespace is listed in its place, with the id and the flags of its row and the error of opening it."""
    keyring = HalfDeadKeyring()
    listed = await OpenedRecords(keyring, fresh, list_seconds=0.05).open_all(
        [row(AWAY), row(SILENT), row(AWAY)], before=0
    )
    assert [type(each.unreadable) for each in listed] == [KmsUnavailable, KmsTimeout, KmsUnavailable]
    assert [each.namespace_id for each in listed] == [AWAY, SILENT, AWAY]
    assert {(each.name, each.data, each.is_global, each.notification_version) for each in listed} == {
        (None, None, True, 7)
    }
    await asyncio.wait_for(keyring.cancelled.wait(), 60)


async def test_a_caller_that_gives_up_leaves_nothing_behind():
    """A cancelled list stops waiting for keys."""
    keyring = HalfDeadKeyring()
    listing = asyncio.create_task(OpenedRecords(keyring, fresh, list_seconds=600).open_all([row(SILENT)], before=0))
    await asyncio.wait_for(keyring.waiting.wait(), 60)
    listing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listing
    await asyncio.wait_for(keyring.cancelled.wait(), 60)


async def test_an_empty_page_waits_for_nothing():
    """A list without namespaces is empty."""
    assert await OpenedRecords(HalfDeadKeyring(), fresh).open_all([], before=0) == ()
