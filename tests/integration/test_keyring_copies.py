"""Two hosts with a copy each of the local keyring: whatever they do, the second copy is refused and no namespace is lost."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from types import MappingProxyType

import pytest

from strongroom.driver.cli.keyring import keyring
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef, KeyNotFound, KeyringDiverged, KeyringFileError, LocalProvider, PartType, RecordKind
from strongroom.storage import EVERY_NAMESPACE

pytestmark = pytest.mark.integration

KIND = RecordKind("record", "data", (PartType.INT64,))


class Hosts:
    """A cell's configuration on several hosts, each of which has its keyring file in a folder of its own."""

    def __init__(self, config, folder):
        self.config, self.folder = config, folder
        self.first = config.kms["local"].keyring

    def path(self, name):
        """Return the keyring file of a host."""
        return self.folder / name / "keyring.json"

    def of(self, name, *, path=None):
        """Return the configuration of a host."""
        self.path(name).parent.mkdir(exist_ok=True)
        local = replace(self.config.kms["local"], keyring=path or self.path(name))
        return replace(self.config, kms=MappingProxyType({"local": local}))

    def copied(self, name):
        """Return the configuration of a host that gets a copy of the first host's file."""
        config = self.of(name)
        shutil.copy2(self.first, self.path(name))
        return config


@pytest.fixture
def hosts(config, tmp_path):
    return Hosts(config, tmp_path)


@asynccontextmanager
async def opened(*configs):
    """Open several processes."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Strongroom.open(config)) for config in configs]


async def created(process, name):
    """Create a namespace with a KEK of its own, and return its id."""
    kek = await process.create_kek(KekRef("local", f"ns-{name}"))
    return (await process.namespaces.create(name, kek=kek)).namespace_id


async def usable(process, namespace_id):
    """Return whether a namespace can be sealed to and opened."""
    process.keyring.evict(namespace_id)
    keys = await process.keyring.open(namespace_id)
    return keys.open(KIND, (1,), keys.seal(KIND, (1,), b"text")) == b"text"


async def registered_keks(process):
    """Return the KEKs that wrap keys."""
    return {usage.kek_id for usage in await process.keyring.store.list_kek_usage()}


async def test_a_copy_from_before_a_kek_is_refused_when_it_is_opened(hosts):
    """Host A creates a namespace. Host B with the older copy can't open it; the error has the remedies, which are commands."""
    elsewhere = hosts.copied("b")
    async with Strongroom.open(hosts.config) as here:
        await created(here, "a")
    remedies = (
        r"lacks change 3.*keyring merge OTHER_FILE.*If the newest file is lost, .*'strongroom keys keyring adopt'"
    )
    with pytest.raises(KeyringDiverged, match=remedies) as refused:
        async with Strongroom.open(elsewhere):
            pytest.fail("it was opened")
    named = set(re.findall(r"'strongroom keys keyring (\w+)", str(refused.value)))
    assert named == {"merge", "adopt", "status"} <= keyring.commands.keys()


async def test_a_copy_from_before_a_kek_makes_no_kek(hosts):
    """Host B runs already when A creates a namespace: B can neither create, rotate nor delete a KEK, and registers nothing."""
    async with opened(hosts.config, hosts.copied("b")) as (here, there):
        await created(here, "a")
        before = hosts.path("b").read_bytes()
        provider = there.keyring.provider("local")
        for call in (
            created(there, "b"),
            provider.rotate_kek(KekRef("local", "cell")),
            provider.delete_kek(KekRef("local", "cell")),
            provider.retire_version(KekRef("local", "cell"), "1"),
            there.namespaces.create("c", kek=KekRef("local", "cell")),
        ):
            with pytest.raises(KeyringDiverged):
                await call
        assert hosts.path("b").read_bytes() == before
        assert "ns-b" not in await registered_keks(here)


async def test_a_namespace_of_another_copy_names_the_cause(hosts):
    """Host B is asked for a namespace whose KEK only A's copy has: the error says so, and is an outage, not a revocation."""
    async with opened(hosts.config, hosts.copied("b")) as (here, there):
        namespace_id = await created(here, "a")
        with pytest.raises(KeyNotFound, match=r"another copy of the file.*keyring status") as refused:
            await usable(there, namespace_id)
        assert not refused.value.is_refusal


async def test_a_rotation_on_one_host_is_a_change_too(hosts):
    """A KEK of which A made version 2 is refused on B, where version 2 would be another key."""
    elsewhere = hosts.copied("b")
    async with Strongroom.open(hosts.config) as here:
        await here.keyring.provider("local").rotate_kek(KekRef("local", "cell"))
    with pytest.raises(KeyringDiverged):
        async with Strongroom.open(elsewhere):
            pytest.fail("it was opened")


async def test_of_two_copies_that_create_at_once_one_wins(hosts):
    """Both hosts create a KEK at the same moment: one is refused, and its file is as it was before."""
    async with opened(hosts.config, hosts.copied("b")) as processes:
        paths = (hosts.first, hosts.path("b"))
        before = [path.read_bytes() for path in paths]
        outcomes = await asyncio.gather(
            *(created(process, f"n{number}") for number, process in enumerate(processes)),
            return_exceptions=True,
        )
        (lost,) = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, KeyringDiverged)]
        after = [json.loads(path.read_text()) for path in paths]
        assert after[lost] == json.loads(before[lost])
        assert await usable(processes[1 - lost], outcomes[1 - lost])


async def test_hosts_that_share_the_file_are_one(hosts, tmp_path):
    """A file on a shared disk is one keyring: KEKs of each host are used by the other, though they are created at once."""
    shared = tmp_path / "link"
    shared.symlink_to(hosts.first.parent)
    async with opened(hosts.config, hosts.of("b", path=shared / hosts.first.name)) as (here, there):
        made = await asyncio.gather(
            *(created(process, f"{number}-{turn}") for turn in range(4) for number, process in enumerate((here, there)))
        )
        for process in (here, there):
            for namespace_id in made:
                assert await usable(process, namespace_id)


async def test_a_copy_from_after_all_keks_is_accepted(hosts):
    """A new host that gets the newest file works. From its first KEK on, the other copy is the old one."""
    async with Strongroom.open(hosts.config) as here:
        namespace_id = await created(here, "a")
    async with Strongroom.open(hosts.copied("b")) as there:
        assert await usable(there, namespace_id)
        await created(there, "b")
    with pytest.raises(KeyringDiverged):
        async with Strongroom.open(hosts.config):
            pytest.fail("it was opened")


async def test_a_new_keyring_of_the_same_name_is_refused(hosts):
    """An empty keyring of another person with the same provider id can't take the cell's place."""
    config = hosts.of("b")
    await LocalProvider("local", hosts.path("b")).create_keyring()
    with pytest.raises(KeyringDiverged, match=r"Put the file of that keyring in its place(?!.*adopt)"):
        async with Strongroom.open(config):
            pytest.fail("it was opened")
    with pytest.raises(KeyringDiverged):
        await Strongroom.init(config)


async def test_init_on_a_second_host_makes_no_second_keyring(hosts):
    """`init` with a copy of the configuration alone asks for the file, even if no key depends on it yet."""
    config = hosts.of("b")
    with pytest.raises(KeyringFileError, match="copy it"):
        await Strongroom.init(config)
    assert not hosts.path("b").exists()


async def test_a_keyring_that_is_replaced_under_a_process_is_not_used(hosts):
    """Another keyring in the file's place is an outage: cached keys work, and nothing is wrapped under its KEKs."""
    other = LocalProvider("local", hosts.folder / "other.json")
    await other.create_keyring()
    await other.create_kek("cell")
    async with Strongroom.open(hosts.config) as before:
        namespace_id = await created(before, "a")
    async with Strongroom.open(hosts.config) as here:  # the notification of the creation evicts no key of this process
        assert await usable(here, namespace_id)
        (hosts.folder / "other.json").replace(hosts.first)
        with pytest.raises(KeyringFileError, match="replaced by another keyring"):
            await here.namespaces.create("b", kek=KekRef("local", "cell"))
        for cached in here.keyring._cache.values():
            cached.age.fresh_until = cached.age.due_at = 0.0  # as if the soft TTL had passed
        for _ in range(3):
            keys = await here.keyring.open(namespace_id)
            assert keys.open(KIND, (1,), keys.seal(KIND, (1,), b"text")) == b"text"
            await asyncio.gather(*here.keyring._loading.values(), return_exceptions=True)


async def test_a_file_ahead_of_the_registry_is_recorded(hosts):
    """A KEK that was made without the registry, or whose record a crash prevented, is recorded when the file is opened."""
    elsewhere = hosts.copied("b")
    await LocalProvider("local", hosts.first).create_kek("made-offline")
    await LocalProvider("local", hosts.path("b")).create_kek("made-offline-too")
    async with Strongroom.open(hosts.config) as here:
        await here.namespaces.create("a", kek=KekRef("local", "made-offline"))
    with pytest.raises(KeyringDiverged):
        async with Strongroom.open(elsewhere):
            pytest.fail("it was opened")


async def test_a_database_from_a_backup_accepts_the_newer_file(hosts):
    """After a restore, the registry records an older change, which the file has."""
    async with Strongroom.open(hosts.config) as here:
        async with here.database.connection(EVERY_NAMESPACE) as connection:
            old = await connection.fetchrow("SELECT change, changes FROM keyrings")
        await created(here, "a")
        async with here.database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute("UPDATE keyrings SET change = $1, changes = $2", old["change"], old["changes"])
    async with Strongroom.open(hosts.config) as here:
        await created(here, "b")


async def test_two_cells_may_share_a_file(hosts):
    """A file of several cells is one keyring. KEKs that another cell makes in it are changes that this cell's file has."""
    await LocalProvider("local", hosts.first).create_kek("of-another-cell")
    async with Strongroom.open(hosts.config) as here:
        await created(here, "a")
    await LocalProvider("local", hosts.first).create_kek("of-another-cell-too")
    async with Strongroom.open(hosts.config) as here:
        await created(here, "b")
