"""Two copies of a keyring file that have diverged are united without loss, and a lost copy is given up knowingly."""

from __future__ import annotations

import json
import shutil

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.kms import (
    KekRef,
    KeyNotFound,
    KeyringDiverged,
    LocalProvider,
    PartType,
    RecordKind,
    adopt_keyring,
    merge_keyring,
    missing_keks,
    rotate_data_key,
)
from tests.support.fixtures.command_line import run_command

pytestmark = pytest.mark.integration

KIND = RecordKind("record", "data", (PartType.INT64,))
CELL = KekRef("local", "cell")


class Diverged:
    """A cell whose keyring file was copied to host B, after which both hosts made KEKs without comparing their files."""

    def __init__(self, config, folder):
        self.config = config
        self.path = config.kms["local"].keyring
        self.other = folder / "of-b.json"
        shutil.copy2(self.path, self.other)
        self.sealed = {}

    def host(self, path):
        """Return a provider that compares its file with nothing, as before the registry recorded files."""
        return LocalProvider("local", path)

    async def created_on_b(self, name, kek):
        """Create a namespace on host B, with a KEK of B's file only."""
        mine = self.path.read_bytes()
        shutil.copy2(self.other, self.path)
        async with Strongroom.open(self.config, check_keyrings=False) as there:
            there.keyring.provider("local").inner.file._ledger = None
            await self.created(there, name, kek)
        self.path.write_bytes(mine)

    async def created(self, process, name, kek):
        """Create a namespace, and seal a value in it."""
        namespace_id = (await process.namespaces.create(name, kek=kek)).namespace_id
        self.sealed[namespace_id] = (await process.keyring.open(namespace_id)).seal(KIND, (1,), name.encode())
        return namespace_id

    async def opens_all(self, process):
        """Open the value of each namespace with freshly unwrapped keys."""
        for namespace_id, sealed in self.sealed.items():
            process.keyring.evict(namespace_id)
            (await process.keyring.open(namespace_id)).open(KIND, (1,), sealed)


@pytest.fixture
def diverged(config, tmp_path):
    return Diverged(config, tmp_path)


async def merged(process, path, passphrase=None):
    """Merge a file into the process's own."""
    local = process.keyring.provider("local").inner
    return await merge_keyring(process.keyring, "local", local, path, passphrase=passphrase)


async def test_keks_of_both_hosts_are_kept(diverged):
    """Each host made namespaces of its own. After the merge all of them open, here and on the host that gets the file."""
    await diverged.host(diverged.other).create_kek("ns-b")
    await diverged.created_on_b("b", KekRef("local", "ns-b"))
    async with Strongroom.open(diverged.config) as here:
        await diverged.created(here, "a", await here.create_kek(KekRef("local", "ns-a")))
        (lost,) = await missing_keks(here.keyring, "local", here.keyring.provider("local").inner)
        assert (lost.kek_id, lost.keys) == ("ns-b", 3)
        with pytest.raises(KeyNotFound):
            await diverged.opens_all(here)
        done = await merged(here, diverged.other)
        assert (done.added, done.conflicts, done.rewrapped, done.missing) == (1, 0, 0, ())
        await diverged.opens_all(here)
        again = await merged(here, diverged.other)
        assert (again.added, again.conflicts) == (0, 0)
    shutil.copy2(diverged.path, diverged.other)
    async with Strongroom.open(diverged.config) as there:
        await diverged.opens_all(there)
        await there.create_kek(KekRef("local", "next"))


async def test_hosts_that_merge_in_turn_agree(diverged, tmp_path):
    """Each host merges the file of the other. The second merge makes both files the same copy, so neither host is refused."""
    await diverged.host(diverged.other).create_kek("ns-b")
    await diverged.created_on_b("b", KekRef("local", "ns-b"))
    of_a = tmp_path / "of-a.json"
    async with Strongroom.open(diverged.config) as here:
        await diverged.created(here, "a", await here.create_kek(KekRef("local", "ns-a")))
        assert (await merged(here, diverged.other)).added == 1
    shutil.copy2(diverged.path, of_a)
    shutil.copy2(diverged.other, diverged.path)
    async with Strongroom.open(diverged.config, check_keyrings=False) as there:
        assert (await merged(there, of_a)).added == 1
    assert json.loads(diverged.path.read_text())["lineage"] == json.loads(of_a.read_text())["lineage"]
    for path in (of_a, diverged.path):
        diverged.path.write_bytes(path.read_bytes())
        async with Strongroom.open(diverged.config) as process:
            await diverged.opens_all(process)


async def test_one_version_with_two_keys_is_kept_twice(diverged):
    """Both hosts rotated the same KEK: version 2 is another key in each file, and the keys under B's are wrapped again."""
    await diverged.host(diverged.other).rotate_kek(CELL)
    await diverged.created_on_b("b", CELL)
    async with Strongroom.open(diverged.config) as here:
        await here.keyring.provider("local").rotate_kek(CELL)
        namespace_id = await diverged.created(here, "a", CELL)
        await rotate_data_key(here.keyring, namespace_id)
        done = await merged(here, diverged.other)
        assert (done.added, done.conflicts, done.rewrapped) == (0, 1, 3)
        await diverged.opens_all(here)
        assert (await merged(here, diverged.other)).rewrapped == 0


async def test_a_running_process_takes_the_united_file(diverged):
    """A process that runs with one copy accepts the file that has the changes of both, without a restart."""
    await diverged.host(diverged.other).create_kek("ns-b")
    async with Strongroom.open(diverged.config) as here:
        await diverged.created(here, "a", await here.create_kek(KekRef("local", "ns-a")))
        await merged(here, diverged.other)
        await diverged.opens_all(here)
        await diverged.created(here, "b", KekRef("local", "ns-b"))


async def test_a_deleted_kek_is_not_brought_back(diverged):
    """The KEK of a shredded namespace stays deleted, although the other copy still has it."""
    async with Strongroom.open(diverged.config) as here:
        shutil.copy2(diverged.path, diverged.other)
        kek = await here.create_kek(KekRef("local", "gone"))
        shutil.copy2(diverged.path, diverged.other)
        await here.keyring.provider("local").delete_kek(kek)
        await diverged.host(diverged.other).create_kek("ns-b")
        await merged(here, diverged.other)
    document = json.loads(diverged.path.read_text())
    assert "gone" not in document["keks"]
    assert set(document["deleted"]) == {"gone"}


async def test_a_kek_that_is_used_survives_a_deletion_on_the_other_side(diverged):
    """B deleted a KEK under which A has created a namespace since: the merge keeps it on both sides."""
    async with Strongroom.open(diverged.config) as here:
        kek = await here.create_kek(KekRef("local", "wanted"))
        shutil.copy2(diverged.path, diverged.other)
        await diverged.host(diverged.other).delete_kek(kek)
        await diverged.created(here, "a", kek)
        await merged(here, diverged.other)
        await diverged.opens_all(here)
    assert "wanted" not in json.loads(diverged.path.read_text())["deleted"]


async def test_a_third_copy_is_asked_for(diverged, tmp_path):
    """The registry records a change of host C. A merge of A and B changes nothing, and asks for C's file."""
    third = tmp_path / "of-c.json"
    async with Strongroom.open(diverged.config) as here:
        shutil.copy2(diverged.path, third)
        await here.create_kek(KekRef("local", "ns-c"))
    newest = diverged.path.read_bytes()
    shutil.copy2(third, diverged.path)
    third.write_bytes(newest)
    third.chmod(0o600)
    before = diverged.path.read_bytes()
    async with Strongroom.open(diverged.config, check_keyrings=False) as here:
        with pytest.raises(KeyringDiverged):
            await merged(here, diverged.other)
        assert diverged.path.read_bytes() == before
        assert (await merged(here, third)).added == 1


async def test_a_lost_copy_is_given_up_knowingly(diverged):
    """After the newest file is lost, `adopt` accepts the backup. What opens with it opens again."""
    async with Strongroom.open(diverged.config) as here:
        await diverged.created(here, "a", CELL)
        await here.create_kek(KekRef("local", "lost"))
    shutil.copy2(diverged.other, diverged.path)
    with pytest.raises(KeyringDiverged):
        async with Strongroom.open(diverged.config):
            pytest.fail("it was opened")
    async with Strongroom.open(diverged.config, check_keyrings=False) as here:
        await adopt_keyring(here.keyring, "local", here.keyring.provider("local").inner)
    async with Strongroom.open(diverged.config) as here:
        await diverged.opens_all(here)
        await here.create_kek(KekRef("local", "next"))


def test_commands_tell_and_mend(config_path):
    """The commands of a person whose hosts have diverged: every command refuses, `doctor` and `status` name it, `merge` repairs it."""
    folder = config_path.parent
    run_command(folder, "init").check_returncode()
    path, other = folder / "strongroom-keyring.json", folder / "of-b.json"
    shutil.copy2(path, other)
    run_command(folder, "namespace", "create", "a").check_returncode()
    newest = path.read_bytes()
    shutil.copy2(other, path)
    other.write_bytes(newest)
    for command in (("namespace", "list"), ("namespace", "create", "b"), ("init",), ("keys", "list")):
        refused = run_command(folder, *command)
        assert refused.returncode != 0
        assert "keys keyring merge OTHER_FILE" in " ".join(refused.stderr.split())
        assert "Traceback" not in refused.stderr
    told = run_command(folder, "doctor")
    assert told.returncode != 0
    assert "lacks change 3" in " ".join(told.stdout.split())
    status = run_command(folder, "keys", "keyring", "status", "--json")
    assert status.returncode == 1
    (found,) = json.loads(status.stdout)["keyrings"]
    assert (found["state"], found["missing_keks"], found["keys"]) == ("diverged", 1, 3)
    assert run_command(folder, "keys", "keyring", "adopt", "--confirm", "x").returncode != 0
    done = run_command(folder, "keys", "keyring", "merge", str(other))
    assert done.returncode == 0, done.stderr
    assert "KEK versions added to strongroom-keyring.json: 1" in done.stdout
    assert run_command(folder, "keys", "keyring", "status").returncode == 0
    assert run_command(folder, "namespace", "create", "b").returncode == 0
    assert "the copy that the registry records" in " ".join(run_command(folder, "doctor").stdout.split())
