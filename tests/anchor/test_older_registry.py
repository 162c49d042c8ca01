"""A whole key registry of before, put back in the database, is refused by a process that starts: the audit log states a newer one."""

from __future__ import annotations

import asyncio
import json
import shutil

import orjson
import pytest

from strongroom.driver.audit.chain import link, with_chain
from strongroom.driver.audit.stream import parse
from strongroom.kms import KekRef, KeyClass, RegistryAltered, rotate_data_key
from strongroom.storage.errors import OlderThanAnchor
from strongroom.storage.keys.registry_heads import RegistryHeads
from tests.support.audit.witnessed import records_of
from tests.support.earlier_rows import put_back, saved
from tests.support.fixtures.command_line import run_command
from tests.support.processes import opened

pytestmark = pytest.mark.integration

KEK = KekRef("local", "shared")


async def newest_version(cell, namespace_id):
    """Return the version of a namespace's active data key."""
    await cell.keyring.open(namespace_id)
    found = await cell.keyring.store.list_data_keys(namespace_id)
    return max(each.version for each in found if each.key_class is KeyClass.DATA)


async def rotated(config, attacker):
    """Rotate the key of a namespace; return its id, and the registry before the rotation."""
    async with opened(config) as cell:
        await cell.create_kek(KEK)
        namespace_id = (await cell.namespaces.create("one", kek=KEK)).namespace_id
        before = await saved(attacker)
        await rotate_data_key(cell.keyring, namespace_id)
    return namespace_id, before


async def test_a_starting_process_refuses_an_older_registry(config, attacker):
    """Rows, heads and summary of before a rotation are refused, and the error names both states. The newest ones open."""
    namespace_id, before = await rotated(config, attacker)
    newest = await saved(attacker)
    await put_back(attacker, before)
    with pytest.raises(OlderThanAnchor, match=r"registry in the database is version 2 .*and version 3 .*the audit log"):
        async with opened(config):
            pass
    await put_back(attacker, newest)
    async with opened(config) as cell:
        assert await newest_version(cell, namespace_id) == 2


async def test_without_the_log_an_older_registry_is_believed(config, attacker):
    """Control: on a host that knows nothing of the cell, the older registry opens."""
    namespace_id, before = await rotated(config, attacker)
    await put_back(attacker, before)
    shutil.rmtree(config.audit_folder)
    async with opened(config) as cell:
        assert await newest_version(cell, namespace_id) == 1


async def test_a_registry_that_reached_the_same_version_is_refused(config, attacker):
    """An older registry that is changed until it has the newest version is another state, as its digest shows."""
    namespace_id, before = await rotated(config, attacker)
    await put_back(attacker, before)
    shutil.move(config.audit_folder, config.audit_folder.with_name("kept"))
    async with opened(config) as cell:
        await rotate_data_key(cell.keyring, namespace_id)
    shutil.rmtree(config.audit_folder)
    shutil.move(config.audit_folder.with_name("kept"), config.audit_folder)
    with pytest.raises(OlderThanAnchor, match=r"is version 3 .*and version 3 "):
        async with opened(config):
            pass


async def test_a_running_process_refuses_an_older_registry(config, attacker):
    """A load of any namespace compares the summary, also of a namespace whose keys the process has not seen."""
    async with opened(config) as cell:
        await cell.create_kek(KEK)
        made = [(await cell.namespaces.create(name, kek=KEK)).namespace_id for name in ("one", "two")]
        before = await saved(attacker)
        await rotate_data_key(cell.keyring, made[0])
    async with opened(config) as cell:
        await put_back(attacker, before)
        with pytest.raises(RegistryAltered, match="has seen version 4"):
            await cell.keyring.open(made[1])
        assert cell.keyring.store.heads.alterations == 1


async def test_without_the_comparison_of_summaries_it_is_used(config, attacker, monkeypatch):
    """Control: without the comparison the process uses the keys of before."""
    namespace_id, before = await rotated(config, attacker)
    async with opened(config) as cell:
        await put_back(attacker, before)
        monkeypatch.setattr(RegistryHeads, "check_summary", lambda *_: None)
        assert await newest_version(cell, namespace_id) == 1


async def test_a_made_up_statement_counts_for_nothing(config, attacker):
    """A person with access to the folder alone can't stop a cell with a statement of a higher version, signed or not."""
    await rotated(config, attacker)
    (segment,) = config.audit_folder.rglob("*.jsonl")
    lines = [parse(line) for line in segment.read_bytes().splitlines()]
    stated = next(fields for fields, _, _ in reversed(lines) if fields["event"] == "anchor")
    last, _, chain = lines[-1]
    false = {**stated, "sequence": last["sequence"] + 1, "positions": [["registry", 99, "ab" * 32]], "complete": True}
    false.pop("chain", None)
    body = orjson.dumps(
        {"stream": last["stream"], **{name: value for name, value in false.items() if name != "stream"}}
    )
    with segment.open("ab") as file:
        file.write(with_chain(body, link(chain, body)))
    async with opened(config) as cell:
        assert cell.anchors.newest("registry").number == 3


async def test_positions_are_stated_when_they_change(config):
    """A process states its positions once, and again when one changed. It adds nothing while nothing changes."""
    async with opened(config) as cell:
        for _ in range(3):
            await cell.audit.record({"event": "check", "at": cell.access.now()})
            await cell.audit.checkpoint()
        await cell.create_kek(KEK)
        await cell.namespaces.create("one", kek=KEK)
        await cell.audit.checkpoint()
        stated = [each for each in records_of(cell.audit.root) if each["event"] == "anchor"]
    *_, first, second = stated
    assert [each["complete"] for each in (first, second)] == [True, False]
    assert (first["positions"][0][:2], second["positions"][0][:2]) == (["registry", 1], ["registry", 2])


async def test_the_commands(config_path, attacker):
    """Every command refuses an older registry. `restore accept` accepts it, and the log and its verification show the gap."""
    folder = config_path.parent

    async def run(*arguments, code=0):
        done = await asyncio.to_thread(run_command, folder, *arguments)
        assert done.returncode == code, done
        return " ".join((done.stdout + done.stderr).split())

    await run("init")
    await run("namespace", "create", "one")
    before = await saved(attacker)
    await run("keys", "rotate", "one")
    await put_back(attacker, before)
    assert "restore accept --reason TEXT" in await run("namespace", "list", code=2)
    assert "key registry in the database is version 2" in await run("audit", "verify", code=1)
    dry = json.loads(await run("restore", "accept", "--reason", "backup restored", "--dry-run", "--json"))
    assert any("version 3" in each for each in dry["differences"])
    await run("namespace", "list", code=2)
    assert "nothing was accepted" in await run("restore", "accept", "--reason", "backup restored", code=2)
    accepted = await run("restore", "accept", "--reason", "backup restored", "--state", dry["state"])
    assert "1 differences are accepted" in accepted
    await run("keys", "rotate", "one")
    shown = await run("audit", "verify")
    assert "accepted: the key registry in the database is version 2" in shown
    assert ": backup restored" in shown
    await put_back(attacker, before)
    await run("namespace", "list", code=2)
