"""Calls with more than one transaction: their errors say that something was committed, and they can be repeated."""

from __future__ import annotations

from uuid import NAMESPACE_DNS, uuid4, uuid5

import pytest

from strongroom.driver.importing.importer import import_executions
from strongroom.kms import (
    KekRef,
    KeyConflict,
    StrongroomError,
    commits_several_times,
    rewrap_data_keys,
    rotate_data_key,
)
from strongroom.storage import (
    DataBlob,
    InvalidPersistenceRequest,
    NamespaceAlreadyExists,
    destroy_retired_key,
    retired_versions,
)
from strongroom.storage.engine.noted_commits import writes
from strongroom.visibility import attribute_types
from tests.support.faults.cell_behind_proxy import behind_proxy
from tests.support.fixtures.raw_rows import fetch
from tests.support.tree import ROOT

pytestmark = pytest.mark.integration

KEK, OTHER = KekRef.parse("local:border"), KekRef.parse("local:other")
MOST = 100
"""Commits of a call, at most."""


@pytest.fixture
async def cell_behind_proxy(own_cell):
    """The cell, the same cell opened through a proxy, and the proxy."""
    async with behind_proxy(own_cell) as (through, proxy):
        yield own_cell, through, proxy


async def content(cell):
    """Return a hash of each table, without key uses and checkpoints of the audit log, which are no effect of a call.

    The journal is left out too, because its entries are folded in the background after ten seconds, which a call may take on a slow
    machine. A call that changes the journal changes another table in the same transaction.
    """
    names = await fetch(
        cell,
        "SELECT relname FROM pg_class WHERE relnamespace = 'strongroom'::regnamespace AND relkind = 'r'"
        " AND relname NOT LIKE 'journal%'",
    )
    rows = "(to_jsonb(t) - 'record_lease')::text"
    hashes = [
        f"SELECT '{row['relname']}' AS name, md5(string_agg({rows}, ',' ORDER BY {rows})) AS hash FROM {row['relname']} AS t"  # noqa: S608
        for row in names
    ]
    return {row["name"]: row["hash"] for row in await fetch(cell, " UNION ALL ".join(hashes))}


async def create(cell, _, name):
    """Create a namespace."""
    await cell.namespaces.create(name, kek=KEK)


async def create_by_id(cell, _, name):
    """Create a namespace with an id that the caller chose."""
    await cell.metadata.create_namespace(uuid5(NAMESPACE_DNS, name), name, data=DataBlob(b"settings"), kek=KEK)


async def shred(cell, namespace_id, _):
    """Shred a namespace at once."""
    await cell.shredding().shred(namespace_id)


async def rotate_index(cell, namespace_id, _):
    """Rotate the index key."""
    await cell.index_rotation(wait=0).rotate(namespace_id, attribute_types(await cell.namespaces.get("payments")))


@commits_several_times
async def destroy_old_keys(cell, namespace_id, _):
    """Reseal all rows, and destroy the old data key: two calls, which count as one here as in the command."""
    work = cell.reseal(wait=0)
    await work.run(namespace_id, rate=0)
    for version in await retired_versions(work, namespace_id):
        await destroy_retired_key(work, namespace_id, version)


async def rewrap(cell, namespace_id, _):
    """Wrap the keys of a namespace with another KEK."""
    await rewrap_data_keys(cell.keyring, KEK, to=OTHER, namespace_id=namespace_id)


CALLS = [create, create_by_id, shred, rotate_index, destroy_old_keys, rewrap]


async def outcome(call, *arguments):
    """Make a call, and return its error or None."""
    try:
        await call(*arguments)
    except StrongroomError as error:
        return error
    return None


async def walk(cell_behind_proxy, call, *arguments):
    """Make a call again and again, each time with one commit more, until it succeeds. Return how often a failed one committed."""
    direct, through, proxy = cell_behind_proxy
    committed = 0
    for commits in range(1, MOST):
        before = await content(direct)
        proxy.end_after(commits)
        error = await outcome(call, through, *arguments)
        proxy.end_after(None)
        if error is None or isinstance(error, NamespaceAlreadyExists | KeyConflict):  # an earlier attempt has done it
            return committed
        changed = await content(direct) != before
        assert error.may_have_been_committed or not changed, f"{call.__name__}, after {commits} commits: {error!r}"
        committed += changed
    pytest.fail("it never ended")


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
async def test_an_error_after_a_commit_says_so_and_the_call_can_be_repeated(cell_behind_proxy, call, sample):
    """The connections end after each of the call's commits, and no new one can be made. Nothing is in flight then."""
    direct, through, _ = cell_behind_proxy
    for kek in (KEK, OTHER):
        await direct.create_kek(kek)
    namespace = await direct.namespaces.create("payments", kek=KEK)
    await import_executions(direct, namespace, sample[:3])
    await rotate_data_key(direct.keyring, namespace.namespace_id)
    await through.keyring.open(namespace.namespace_id)
    assert await walk(cell_behind_proxy, call, namespace.namespace_id, f"made by {call.__name__}")


async def test_an_import_says_what_it_committed(cell_behind_proxy, sample):
    """An import commits attributes and batches of executions. Repeating it ends with the same rows."""
    direct, through, _ = cell_behind_proxy
    await direct.create_kek(KEK)
    namespace = await direct.namespaces.create("payments", kek=KEK)
    await through.keyring.open(namespace.namespace_id)

    async def call(cell):
        await import_executions(cell, namespace, sample[:40])

    assert await walk(cell_behind_proxy, call)
    (row,) = await fetch(direct, "SELECT count(*) AS rows FROM visibility_records")
    assert row["rows"] == 40


async def test_a_refused_call_committed_nothing(cell_behind_proxy):
    """The controls: a call that is refused before its first commit, and a read, are not marked."""
    direct, through, _ = cell_behind_proxy
    await direct.create_kek(KEK)
    await direct.namespaces.create("payments", kek=KEK)
    with pytest.raises(NamespaceAlreadyExists) as taken:
        await through.namespaces.create("payments", kek=KEK)
    assert not taken.value.may_have_been_committed
    with pytest.raises(StrongroomError) as unknown:
        await through.shredding().finish(uuid4(), "code")
    assert not unknown.value.may_have_been_committed


@pytest.mark.parametrize("path", sorted((ROOT / "storage" / "sql").rglob("*.sql")), ids=lambda path: path.stem)
def test_each_statement_that_writes_is_known(path):
    """A statement that only locks or notifies is no write; each change of rows or of the schema is one."""
    for part in path.read_text().split("-- name: ")[1:]:
        name, _, text = part.partition("\n")
        words = {word.upper() for line in text.splitlines() if not line.startswith("--") for word in line.split()[:1]}
        assert writes(text) == bool(words & {"INSERT", "UPDATE", "DELETE", "ALTER", "CREATE", "DROP", "GRANT"}), name


async def test_an_outer_call_knows_of_the_commits_of_an_inner_one():
    """An error that the outer call raises after an inner call committed is marked too."""

    @commits_several_times
    async def outer():
        raise InvalidPersistenceRequest("refused")

    with pytest.raises(InvalidPersistenceRequest) as refused:
        await outer()
    assert not refused.value.may_have_been_committed
