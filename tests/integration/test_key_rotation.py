from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest

from strongroom.driver.audit import verify_records
from strongroom.driver.audit.reader import read_lines
from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import (
    KekRef,
    KeyClass,
    KeyConflict,
    KeyContext,
    KeyNotFound,
    KeyPendingDeletion,
    KmsUnavailable,
    RegistryAltered,
    Suite,
    count_to_rewrap,
    create_data_keys,
    rewrap_data_keys,
)
from strongroom.kms.keys import derivation
from strongroom.storage import EVERY_NAMESPACE
from tests.support.counts import count_of
from tests.support.fixtures.command_line import STRONGROOM, run_command, sql
from tests.support.registered_keys import FIRST, SECOND, Writer, registered, written
from tests.support.registry import authenticate

pytestmark = pytest.mark.integration

MANY = count_of("NAMESPACES")
"""Namespaces of the large rewrap."""


async def usage(strongroom):
    """Return the number of keys by KEK and KEK version, without the cell's own keys."""
    found = await strongroom.keyring.store.list_kek_usage()
    return {(each.kek_id, each.kek_version): each.keys for each in found if each.kek_id != "cell"}


async def copied(strongroom, dsn, number):
    """Register the keys of many namespaces at once, with rows like those of `create_data_keys`."""
    await strongroom.create_kek(FIRST)
    namespaces, cell_id = [uuid4() for _ in range(number)], strongroom.keyring.cell_id
    provider = strongroom.keyring.provider("local").inner
    rows = []
    for namespace_id in namespaces:
        for key_class in KeyClass:
            context = KeyContext(cell_id, namespace_id, key_class, 1)
            made = await provider.generate_data_key(FIRST, context=context.encryption_context())
            sealed = derivation.commitment(made.root, context, Suite.XAES_256_GCM)
            kept = (
                namespace_id,
                key_class.value,
                1,
                2,
                "active",
                "local",
                "first",
                "1",
                made.wrapped.ciphertext,
                sealed,
            )
            rows.append((*kept, datetime.now(UTC)))
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "strongroom"})
    columns = "namespace_id class version suite state provider kek_id kek_version wrapped commitment created_at".split()
    await connection.copy_records_to_table("data_keys", records=rows, columns=columns)
    await connection.close()
    await authenticate(strongroom)
    return namespaces


async def data_rows(strongroom):
    """Return the position of each data row, and the transaction that wrote it."""
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        found = await connection.fetch("SELECT ctid::text, xmin::text FROM history_node ORDER BY ctid")
    return [tuple(row.values()) for row in found]


# --- re-wrapping


async def test_rewrap_moves_keys_and_no_data(strongroom):
    """A rewrap after a KEK's rotation moves every key to the new version. No data row changes, and every row opens."""
    (namespace_id,) = await registered(strongroom, 1)
    writer = Writer(strongroom, namespace_id)
    await written(writer, 50)
    before = await data_rows(strongroom)
    provider = strongroom.keyring.provider("local")
    await provider.rotate_kek(FIRST)
    assert await usage(strongroom) == {("first", "1"): 3}
    assert await count_to_rewrap(strongroom.keyring, FIRST) == 3
    done = await rewrap_data_keys(strongroom.keyring, FIRST)
    assert (done.rewrapped, done.changed, done.failed, done.kek_version) == (3, 0, (), "2")
    assert await usage(strongroom) == {("first", "2"): 3}
    assert await data_rows(strongroom) == before
    await provider.retire_version(FIRST, "1")
    strongroom.keyring.evict(namespace_id)
    page = await strongroom.history.read_history_branch(namespace_id, writer.branch)
    assert len(page.nodes) == writer.written
    assert (await rewrap_data_keys(strongroom.keyring, FIRST)).rewrapped == 0


@pytest.mark.timeout(900)
async def test_rewrap_of_many_namespaces_under_writers_and_kills(strongroom, config_path, dsn):
    """With many namespaces, concurrent writers and two kills, every key is moved, no write fails and no data row changes."""
    namespaces = await copied(strongroom, dsn, MANY)
    await written(Writer(strongroom, namespaces[-1]), 50)
    before = await data_rows(strongroom)
    writers = [Writer(strongroom, each) for each in namespaces[:: MANY // 4]]
    tasks = [asyncio.create_task(writer.run()) for writer in writers]
    await strongroom.keyring.provider("local").rotate_kek(FIRST)
    command = [STRONGROOM, "keys", "rewrap", "local:first"]
    for share in (0.1, 0.4):
        process = subprocess.Popen(command, cwd=config_path.parent, stdout=subprocess.DEVNULL)  # noqa: ASYNC220
        while (await usage(strongroom)).get(("first", "2"), 0) < share * 3 * MANY:
            assert process.poll() is None, "it was to be killed in the middle"
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
    left = (await usage(strongroom))["first", "1"]
    assert 0 < left < 0.9 * 3 * MANY
    done = await asyncio.to_thread(run_command, config_path.parent, "keys", "rewrap", timeout=600)
    assert done.returncode == 0, done
    assert f"{left} of {left} keys" in done.stdout
    assert await usage(strongroom) == {("first", "2"): 3 * MANY}
    async with asyncio.timeout(120):
        while any(writer.written <= 20 for writer in writers):  # noqa: ASYNC110 - there is no notification
            await asyncio.sleep(0.02)
    for writer in writers:
        writer.until = 0
    await asyncio.gather(*tasks)
    assert [row for row in await data_rows(strongroom) if row in set(before)] == before
    refused = await asyncio.to_thread(
        run_command, config_path.parent, "keys", "retire", "local:first", "--version", "2", "--confirm", "local:first"
    )
    assert (refused.returncode, "is in use" in refused.stderr) == (2, True)
    retired = await asyncio.to_thread(
        run_command, config_path.parent, "keys", "retire", "local:first", "--version", "1", "--confirm", "local:first"
    )
    assert retired.returncode == 0, retired
    for namespace_id in namespaces[::500]:
        strongroom.keyring.evict(namespace_id)
        (await strongroom.keyring.open(namespace_id)).identity("x")


async def test_rewrap_to_another_kek(strongroom):
    """Keys of one or of all namespaces move to another KEK, after which the old KEK can be deleted."""
    first, second = await registered(strongroom, 2)
    await strongroom.create_kek(SECOND)
    await rewrap_data_keys(strongroom.keyring, FIRST, to=SECOND, namespace_id=second)
    assert await usage(strongroom) == {("first", "1"): 3, ("second", "1"): 3}
    await rewrap_data_keys(strongroom.keyring, FIRST, to=SECOND)
    assert await usage(strongroom) == {("second", "1"): 6}
    await strongroom.keyring.provider("local").delete_kek(FIRST)
    for namespace_id in (first, second):
        strongroom.keyring.evict(namespace_id)
        (await strongroom.keyring.open(namespace_id)).identity("x")


async def test_damaged_keys_are_named_and_stop_no_other(strongroom, config_path):
    """A key with a damaged wrapped form or commitment is named and unchanged, all others are moved, and the exit code is 1."""
    good, cut, wrong = await registered(strongroom, 3)
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        spoil = "UPDATE data_keys SET {} WHERE namespace_id = $1 AND class = 'data'"
        await connection.execute(spoil.format("wrapped = substr(wrapped, 2)"), cut)
        await connection.execute(spoil.format("commitment = sha256('')"), wrong)
    await strongroom.keyring.provider("local").rotate_kek(FIRST)
    done = await asyncio.to_thread(run_command, config_path.parent, "keys", "rewrap", "local:first")
    assert done.returncode == 1
    assert "5 of 9 keys" in done.stdout, "a namespace with an altered commitment keeps all its keys as they were"
    for namespace_id in (cut, wrong):
        assert f"namespace {namespace_id}, data 1 was not changed" in done.stdout
    assert str(good) not in done.stdout
    with pytest.raises(RegistryAltered, match=str(wrong)):
        await usage(strongroom)


async def test_a_kms_that_wraps_wrongly_spoils_nothing(strongroom, monkeypatch):
    """A wrapped form that does not unwrap to the root is not stored."""
    (namespace_id,) = await registered(strongroom, 1)
    inner = strongroom.keyring.provider("local").inner
    await inner.rotate_kek(FIRST)
    rewrap = inner.rewrap

    async def of_another_root(wrapped, kek, *, context):
        await rewrap(wrapped, kek, context=context)
        return (await inner.generate_data_key(kek, context=context)).wrapped

    monkeypatch.setattr(inner, "rewrap", of_another_root)
    done = await rewrap_data_keys(strongroom.keyring, FIRST)
    assert (done.rewrapped, len(done.failed)) == (0, 3)
    assert await usage(strongroom) == {("first", "1"): 3}
    monkeypatch.undo()
    strongroom.keyring.evict(namespace_id)
    (await strongroom.keyring.open(namespace_id)).identity("x")


async def test_an_outage_in_the_middle_keeps_what_was_moved(strongroom, monkeypatch):
    """An outage of the KMS ends the run with its error. Moved keys stay moved, and the next run moves the rest."""
    await registered(strongroom, 300)
    inner = strongroom.keyring.provider("local").inner
    await inner.rotate_kek(FIRST)
    rewrap, calls = inner.rewrap, 0

    async def until_gone(wrapped, kek, *, context):
        nonlocal calls
        calls += 1
        if calls > 500:
            raise KmsUnavailable
        return await rewrap(wrapped, kek, context=context)

    monkeypatch.setattr(inner, "rewrap", until_gone)
    with pytest.raises(KmsUnavailable):
        await rewrap_data_keys(strongroom.keyring, FIRST)
    assert (await usage(strongroom))["first", "2"] >= 400
    monkeypatch.undo()
    strongroom.keyring.provider("local")._breakers.clear()
    assert (await rewrap_data_keys(strongroom.keyring, FIRST)).failed == ()
    assert await usage(strongroom) == {("first", "2"): 900}


async def test_two_rewraps_at_once(strongroom):
    """Two concurrent runs move each key once, and both succeed."""
    await registered(strongroom, 300)
    await strongroom.keyring.provider("local").rotate_kek(FIRST)
    done = await asyncio.gather(*(rewrap_data_keys(strongroom.keyring, FIRST) for _ in range(2)))
    assert sum(each.rewrapped for each in done) == 900
    assert await usage(strongroom) == {("first", "2"): 900}


async def test_a_shredded_namespace_is_not_brought_back(strongroom):
    """A namespace whose keys were destroyed between reading and storing stays destroyed."""
    (namespace_id,) = await registered(strongroom, 1)
    store = strongroom.keyring.store
    page = await store.list_wrapped(FIRST, except_version=None, namespace_id=None, after=None, limit=10)
    provider = strongroom.keyring.provider("local")
    cell_id = strongroom.keyring.cell_id
    made = [
        (
            record,
            (await provider.generate_data_key(FIRST, context=record.context(cell_id).encryption_context())).wrapped,
        )
        for record in page
    ]
    await store.destroy_data_keys(namespace_id)
    assert await store.rewrap_data_keys(made) == 0
    assert await usage(strongroom) == {}


async def test_empty_rewrap(strongroom, config_path):
    """A run with nothing to move succeeds and says so, and an unknown KEK is an error with its name."""
    done = await asyncio.to_thread(run_command, config_path.parent, "keys", "rewrap")
    assert (done.returncode, done.stdout.strip()) == (0, "local:cell: no keys to move")
    done = await asyncio.to_thread(run_command, config_path.parent, "keys", "rewrap", "local:absent")
    assert (done.returncode, "absent" in done.stderr) == (2, True)
    with pytest.raises(KeyNotFound):
        await rewrap_data_keys(strongroom.keyring, FIRST)


# --- what depends on what


def test_list_shows_what_depends_on_which_version(config_path, dsn):
    """`keys list` shows each KEK version in use, its number of keys, and how soon a revocation takes effect."""
    folder = config_path.parent
    for arguments in (
        ("init",),
        ("namespace", "create", "a", "--kek", "local:k", "--create-kek"),
        ("keys", "rotate-kek", "local:k"),
        ("namespace", "create", "b", "--kek", "local:k"),
    ):
        done = run_command(folder, *arguments)
        assert done.returncode == 0, done
    listed = run_command(folder, "keys", "list").stdout
    rows = [line.split() for line in listed.splitlines() if "local:k" in line]
    assert rows == [["local:k", "1", "3", "1"], ["local:k", "2", "3", "1"]]
    assert "300 s" in listed
    assert "3600 s" in listed
    assert len(sql(dsn, "SELECT FROM data_keys")) == 9
    refused = run_command(folder, "keys", "retire", "local:k", "--confirm", "local:k")
    assert (refused.returncode, "rewrap" in refused.stderr) == (2, True)
    unsure = run_command(folder, "keys", "retire", "local:k", "--confirm", "local:other")
    assert (unsure.returncode, "nothing was changed" in unsure.stderr) == (2, True)


async def test_a_child_of_a_kek_of_several_is_not_taken_away(config_path):
    """A KEK that is a member of another namespace's KEK is neither retired nor deleted with its own namespace."""
    text = config_path.read_text()
    config_path.write_text(
        f'{text}\n[kms.other]\ntype = "local"\nkeyring = "other.json"\n'
        '\n[kms.multi]\ntype = "multi"\nproviders = ["local", "other"]\n'
    )
    config = load_config(config_path)
    await Strongroom.init(config)
    async with Strongroom.open(config) as strongroom:
        own = await strongroom.create_kek(KekRef("local", "a"))
        several = await strongroom.create_kek(KekRef("multi", "local:a,other:b"))
        await strongroom.create_kek(KekRef("multi", "local:c,other:d"))
        alone = await strongroom.namespaces.create("alone", kek=KekRef("multi", "local:c,other:d"))
        first = await strongroom.namespaces.create("first", kek=own)
        second = await strongroom.namespaces.create("second", kek=several)
        store = strongroom.shredding().store
        for namespace, disposal in ((first, "shared"), (second, "shared"), (alone, "delete")):
            judged = await store.kek_dispositions(namespace.namespace_id, keep_kek=False)
            assert [each.disposal for each in judged] == [disposal]
        await rewrap_data_keys(strongroom.keyring, own, to=await strongroom.create_kek(KekRef("local", "z")))
    for kek in ("local:a", "other:b", str(several)):
        done = await asyncio.to_thread(run_command, config_path.parent, "keys", "retire", kek, "--confirm", kek)
        assert (done.returncode, "is in use" in done.stderr) == (2, True), done


async def test_a_kek_that_is_being_retired_takes_no_new_keys(strongroom):
    """A KEK that is being deleted takes no new keys, until the KMS refuses the deletion."""
    await strongroom.create_kek(FIRST)
    store, cell_id = strongroom.keyring.store, strongroom.keyring.cell_id
    await store.retire_kek(cell_id, FIRST)
    with pytest.raises(KeyPendingDeletion):
        await create_data_keys(strongroom.keyring, uuid4(), FIRST)
    await store.keep_kek(cell_id, FIRST)
    await create_data_keys(strongroom.keyring, uuid4(), FIRST)
    with pytest.raises(KeyConflict):
        await store.retire_kek(cell_id, FIRST)


# --- the audit log


def test_changes_are_told_before_and_after(config_path):
    """The audit log has each change of a key and each call of the KMS, before and after, and no tenant's name."""
    folder = config_path.parent
    for arguments in (
        ("init",),
        ("namespace", "create", "secret-tenant", "--kek", "local:k", "--create-kek"),
        ("keys", "rotate", "secret-tenant"),
        ("keys", "rotate-kek", "local:k"),
        ("keys", "rewrap", "local:k"),
        ("namespace", "shred", "secret-tenant", "--confirm", "secret-tenant", "--grace", "0s"),
    ):
        done = run_command(folder, *arguments)
        assert done.returncode == 0, done
    code = re.search(r"--final (\w+)", done.stdout)[1]
    done = run_command(folder, "namespace", "shred", "secret-tenant", "--final", code, "--certificate", "erasure.json")
    assert done.returncode == 0, done
    text = b"".join(read_lines(folder / "audit")).decode()
    assert "secret-tenant" not in text
    for operation in (
        *("key.create", "key.rotate", "kek.rotate", "kek.rewrap", "kek.delete"),
        *("namespace.request_shredding", "namespace.destroy_keys", "namespace.shred"),
    ):
        assert text.index(f'"operation":"{operation}","outcome":"begun"') < text.index(
            f'"operation":"{operation}","outcome":"done"'
        )
    assert '"operation":"kms.generate_data_key","outcome":"done"' in text
    assert {path.stat().st_mode & 0o777 for path in (folder / "audit").rglob("*.jsonl")} == {0o600}
    assert verify_records(text.encode().splitlines()).ok


def test_no_record_no_change(config_path):
    """If the audit log can't be written, nothing is rotated and the error says so."""
    folder = config_path.parent
    assert run_command(folder, "init").returncode == 0
    assert run_command(folder, "namespace", "create", "a").returncode == 0
    (folder / "audit").rename(folder / "kept")
    (folder / "audit").write_text("a file where a folder should be")
    done = run_command(folder, "keys", "rotate", "a")
    assert done.returncode == 2
    assert "audit log" in done.stderr
    (folder / "audit").unlink()
    (folder / "kept").rename(folder / "audit")
    assert " 2 " not in run_command(folder, "keys", "list", "a").stdout.split("data")[1].split("\n")[0]


def test_times_of_the_configuration(config_path):
    """`[keys]` sets the times that keys are used. Unknown settings and times out of order are refused by name."""
    text = config_path.read_text()
    config_path.write_text(
        text + "\n[keys]\nsoft_ttl_seconds = 10\nencrypt_ttl_seconds = 20\ndecrypt_ttl_seconds = 30\n"
    )
    cache = load_config(config_path).cache
    assert (cache.soft_ttl, cache.encrypt_ttl, cache.decrypt_ttl) == (10, 20, 30)
    for wrong, named in (
        ("soft_ttl = 10", "soft_ttl"),
        ("soft_ttl_seconds = 9999", "soft_ttl_seconds <= encrypt_ttl_seconds"),
    ):
        config_path.write_text(text + f"\n[keys]\n{wrong}\n")
        done = run_command(config_path.parent, "keys", "list")
        assert (done.returncode, named in done.stderr) == (2, True), done
