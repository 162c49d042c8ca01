"""A change of a keyring file whose caller is cancelled holds no lock, and takes nothing from the change of another process."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from strongroom.kms import LocalProvider
from strongroom.kms.providers.local import registered_file
from strongroom.kms.providers.local.keyring_file import lock, write_keyring
from tests.support.kms.keyring_files import CONTEXT, ROOT

FAILED = 60.0
"""Seconds that are only reached if the test fails."""


async def test_a_cancelled_change_takes_no_lock_afterwards(monkeypatch, local_provider, local_kek, path):
    """A caller gives up while another process has the lock. When that process is done, others can change the file."""
    waiting, taken = threading.Event(), threading.Event()

    def noticed(file):
        waiting.set()
        held = lock(file)
        taken.set()
        return held

    monkeypatch.setattr(registered_file, "lock", noticed)
    other = lock(path)
    change = asyncio.create_task(local_provider.rotate_kek(local_kek))
    assert await asyncio.to_thread(waiting.wait, FAILED)
    change.cancel()
    with pytest.raises(asyncio.CancelledError):
        await change
    os.close(other)
    assert await asyncio.to_thread(taken.wait, FAILED)
    monkeypatch.undo()
    async with asyncio.timeout(FAILED):
        assert await LocalProvider("local", path).rotate_kek(local_kek) == "2"


async def test_a_cancelled_change_writes_nothing_after_it_has_released_the_lock(
    monkeypatch, local_provider, local_kek, path
):
    """A caller is cancelled while the file is written. The key that another process makes meanwhile is not lost."""
    writing, release, written = threading.Event(), threading.Event(), threading.Event()

    def slowly(*args):
        if writing.is_set():
            write_keyring(*args)
            return
        writing.set()
        assert release.wait(FAILED)
        write_keyring(*args)
        written.set()

    monkeypatch.setattr(registered_file, "write_keyring", slowly)
    cancelled = asyncio.create_task(local_provider.rotate_kek(local_kek))
    assert await asyncio.to_thread(writing.wait, FAILED)
    cancelled.cancel()
    other = LocalProvider("local", path)
    rotated = asyncio.create_task(other.rotate_kek(local_kek))
    await asyncio.wait({rotated}, timeout=0.5)  # it ends first only if the lock is free
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await rotated
    wrapped = await other.wrap(local_kek, ROOT, context=CONTEXT)
    assert await asyncio.to_thread(written.wait, FAILED)
    unwrapped = await LocalProvider("local", path).unwrap(wrapped, context=CONTEXT)
    assert unwrapped.reveal() == ROOT.reveal()
