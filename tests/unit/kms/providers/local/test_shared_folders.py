"""A keyring file on a network file system, whose attributes a host may see seconds late, is not taken for another copy."""

from __future__ import annotations

import pytest

from strongroom.kms import KeyringDiverged, LocalProvider
from tests.support.kms.keyring_files import CONTEXT, ROOT


class Ledger:
    """The registry's record of one keyring."""

    def __init__(self):
        self.recorded = None

    async def head(self, _provider):
        """Return the recorded change."""
        return self.recorded

    async def advance(self, _provider, new, *, expected):
        """Record a change if the recorded one is the expected one."""
        if (self.recorded and self.recorded.change) != expected:
            return False
        self.recorded = new
        return True


async def two_hosts(path):
    """Return the providers of two hosts that share a file, a KEK that both have used, and the file's attributes at that time."""
    ledger = Ledger()
    here, there = (LocalProvider("local", path, ledger=ledger) for _ in range(2))
    await here.create_keyring()
    kek = await here.create_kek("a")
    await there.wrap(kek, ROOT, context=CONTEXT)
    return here, there, kek, path.stat()


async def test_a_change_of_another_host_that_is_seen_late(path, monkeypatch):
    """Host B still has the attributes of the older file. It reads the file again before it refuses it."""
    here, there, kek, cached = await two_hosts(path)
    await here.rotate_kek(kek)
    monkeypatch.setattr(type(path), "stat", lambda *_args, **_options: cached)
    wrapped = await there.wrap(kek, ROOT, context=CONTEXT)
    assert wrapped.kek_version == "2"
    monkeypatch.undo()
    assert (await here.unwrap(wrapped, context=CONTEXT)).reveal() == ROOT.reveal()


async def test_a_missing_version_of_a_file_that_is_seen_late(path, monkeypatch):
    """Host A has rotated the KEK and wrapped a key. Host B unwraps it, although its attributes are older."""
    here, there, kek, cached = await two_hosts(path)
    await here.rotate_kek(kek)
    wrapped = await here.wrap(kek, ROOT, context=CONTEXT)
    monkeypatch.setattr(type(path), "stat", lambda *_args, **_options: cached)
    assert (await there.unwrap(wrapped, context=CONTEXT)).reveal() == ROOT.reveal()


async def test_a_copy_that_lacks_the_change_is_still_refused(path, tmp_path):
    """Reading the file again does not accept another copy."""
    ledger = Ledger()
    here, there = LocalProvider("local", path, ledger=ledger), LocalProvider("local", tmp_path / "copy", ledger=ledger)
    await here.create_keyring()
    kek = await here.create_kek("a")
    (tmp_path / "copy").write_bytes(path.read_bytes())
    (tmp_path / "copy").chmod(0o600)
    await here.rotate_kek(kek)
    with pytest.raises(KeyringDiverged):
        await there.wrap(kek, ROOT, context=CONTEXT)
