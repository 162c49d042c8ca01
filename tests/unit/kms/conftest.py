from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from strongroom.kms import KeyClass, KeyConflict, Keyring, KeyState, LocalProvider, create_data_keys
from strongroom.kms.keys.leases import Leases
from strongroom.kms.providers.local import keyring_file

CELL = UUID("0c0c0c0c-0000-4000-8000-00000000ce11")


class MemoryStore:
    """A key registry in memory that raises the same conflicts as the real one. Each call yields to other tasks first."""

    def __init__(self):
        self.records = {}
        self.leased = {}
        self.error = None
        self.disabled_from = {}
        self.leases = 0
        self.reads = 0

    async def list_data_keys(self, namespace_id):
        """Return a namespace's keys by class and version."""
        self.reads += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        found = [record for (namespace, _, _), record in self.records.items() if namespace == namespace_id]
        return sorted(found, key=lambda record: (record.key_class.value, record.version))

    async def insert_data_keys(self, records):
        """Store the first keys of a namespace, or raise KeyConflict."""
        await asyncio.sleep(0)
        records = list(records)
        namespaces = {namespace for namespace, _, _ in self.records}
        if any(record.namespace_id in namespaces for record in records):
            raise KeyConflict
        for record in records:
            self.put(record)
        return records

    async def rotate_data_key(self, successor, *, expected_active):
        """Set the active version if it is still the expected one, or raise KeyConflict."""
        await asyncio.sleep(0)
        namespace, key_class = successor.namespace_id, successor.key_class
        active = self.records.get((namespace, key_class, expected_active))
        taken = (namespace, key_class, successor.version) in self.records
        if active is None or active.state is not KeyState.ACTIVE or taken:
            raise KeyConflict
        self.put(dataclasses.replace(active, state=KeyState.DECRYPT_ONLY))
        self.put(successor)
        return successor

    async def destroy_data_keys(self, namespace_id):
        """Replace the keys of a namespace by tombstones."""
        await asyncio.sleep(0)
        for record in [r for r in self.records.values() if r.namespace_id == namespace_id]:
            self.put(
                dataclasses.replace(record, state=KeyState.DESTROYED, wrapped=None, destroyed_at=datetime.now(UTC)),
            )
        return await self.list_data_keys(namespace_id)

    async def disable_data_keys(self, namespace_id):
        """Disable every key that is neither disabled nor destroyed, and store its former state."""
        await asyncio.sleep(0)
        for record in await self.list_data_keys(namespace_id):
            if record.state not in (KeyState.DISABLED, KeyState.DESTROYED):
                self.disabled_from[record.namespace_id, record.key_class, record.version] = record.state
                self.put(dataclasses.replace(record, state=KeyState.DISABLED))

    async def enable_data_keys(self, namespace_id):
        """Restore the stored states of disabled keys."""
        await asyncio.sleep(0)
        for place in [place for place in self.disabled_from if place[0] == namespace_id]:
            state = self.disabled_from.pop(place)
            if self.records[place].state is KeyState.DISABLED:
                self.put(dataclasses.replace(self.records[place], state=state))

    async def lease_records(self, namespace_id, version, *, count, limit):
        """Add uses to a key's count, up to its limit."""
        self.leases += 1
        await asyncio.sleep(0)
        leased = self.leased.get((namespace_id, version), 0) + count
        if leased > limit:
            return False
        self.leased[namespace_id, version] = leased
        return True

    def put(self, record):
        """Store a row, and overwrite an existing one."""
        self.records[record.namespace_id, record.key_class, record.version] = record

    def get(self, namespace_id, version=1, key_class=KeyClass.DATA):
        """Return one row."""
        return self.records[namespace_id, key_class, version]

    def change(self, namespace_id, version=1, key_class=KeyClass.DATA, **changes):
        """Alter a row without the checks of the store."""
        self.put(dataclasses.replace(self.get(namespace_id, version, key_class), **changes))


class CountingProvider:
    """A wrapper of a real provider that counts unwraps, and that fails or waits on demand."""

    def __init__(self, provider):
        self.provider = provider
        self.capabilities = provider.capabilities
        self.unwraps = 0
        self.gate = None
        self.called = asyncio.Event()
        self.error = None
        self.errors_by_version = {}

    async def unwrap_many(self, items):
        """Count the call, then wait, raise or call the real provider."""
        self.unwraps += 1
        self.called.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        answers = await self.provider.unwrap_many(items)
        versions = [(context["strongroom:class"], int(context["strongroom:version"])) for _, context in items]
        return [self.errors_by_version.get(v, answer) for v, answer in zip(versions, answers, strict=True)]

    def __getattr__(self, name):
        return getattr(self.provider, name)


class Clock:
    """A clock that only the test advances."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        """Return the time, in seconds."""
        return self.now


class Deployment:
    """A cell for one test: registry, provider with one KEK, keyring and clock."""

    def __init__(self, folder):
        self.store = MemoryStore()
        self.clock = Clock()
        self.local = LocalProvider("local", folder / "keyring.json")
        self.provider = CountingProvider(self.local)
        self.lease = {}
        self.keyring = self.another_process()
        self.kek = None

    def another_process(self, **options):
        """Return a keyring that shares only the registry and the KMS with the first one."""
        defaults = {
            "cell_id": CELL,
            "providers": {"local": self.provider},
            "store": self.store,
            "clock": self.clock,
            "leases": Leases(self.store, **self.lease),
        }
        return Keyring(**defaults | options)

    async def namespace(self, **options):
        """Register a namespace and return its id."""
        if self.kek is None:
            await self.local.create_keyring()
            self.kek = await self.local.create_kek("tests")
        namespace_id = uuid4()
        await create_data_keys(self.keyring, namespace_id, self.kek, **options)
        return namespace_id

    async def fails_once(self, namespace, error):
        """Open a namespace while the KMS raises an error, and let the KMS answer again."""
        self.provider.error = error
        with pytest.raises(type(error)):
            await self.keyring.open(namespace)
        self.provider.error = None


@pytest.fixture
def deployment(tmp_path):
    return Deployment(tmp_path)


@pytest.fixture
def cheap_scrypt(monkeypatch):
    """Reduce the cost of scrypt, so that deriving a key from a passphrase is fast."""
    monkeypatch.setattr(keyring_file, "SCRYPT", {"n": 2**12, "r": 8, "p": 1})
