"""A data key is destroyed only after a scan shows that no value uses it."""

from __future__ import annotations

import asyncio
import struct

import pytest

from strongroom.kms import KeyConflict, KeyDestroyed, KeyNotFound, KeyState, rotate_data_key
from strongroom.storage import (
    COPIES,
    KeyInUse,
    SchemaMismatch,
    VisibilityTruth,
    current_version,
    destroy_retired_key,
    retired_versions,
    sealed_columns,
)
from strongroom.visibility import IndexCopies, InvalidPageToken, SearchIndexMismatch
from tests.support.every_table import TYPES, every_table
from tests.support.fixtures.raw_rows import execute, fetch
from tests.support.sealed_versions import all_versions, versions_in_use
from tests.support.search_cell import new_cell, opened, record
from tests.support.shredding import shred

pytestmark = pytest.mark.integration

COLUMNS = {str(column): column for column in sealed_columns()}


async def resealed(cell):
    """Reseal a namespace and the cell with version 2, so that version 1 is retired and unused."""
    made = await every_table(cell)
    for owner in (made.namespace_id, cell.keyring.cell_id):
        await rotate_data_key(cell.keyring, owner)
        await cell.reseal(wait=0).run(owner, rate=0)
    return made


async def key_rows(cell, owner):
    """Return the state and the wrapped root of each version of a data key."""
    rows = await fetch(
        cell, "SELECT version, state, wrapped FROM data_keys WHERE namespace_id = $1 AND class = 'data'", owner
    )
    return {row["version"]: (row["state"], row["wrapped"]) for row in rows}


async def value_of(cell, column, owner):
    """Return one sealed value of a column."""
    mine = "namespace_id = $1" if column.table.namespaced else "$1::uuid IS NOT NULL"
    query = f"SELECT {column.name} AS value FROM {column.table.name} WHERE {mine} ORDER BY ctid LIMIT 1"  # noqa: S608
    return (await fetch(cell, query, owner))[0]["value"]


async def exchange(cell, column, old, new):
    """Replace a value by another one."""
    update = f"UPDATE {column.table.name} SET {column.name} = $2 WHERE {column.name} = $1"  # noqa: S608
    assert await execute(cell, update, old, new) == "UPDATE 1"


async def test_one_value_in_any_column_keeps_the_key(own_cell):
    """A use in any column is named and keeps the key. Without it the key is destroyed, and every row opens.

    The cell folds no journal, so its entries stay.
    """
    made = await resealed(own_cell)
    work = own_cell.reseal(wait=0)
    for name, column in COLUMNS.items():
        of_cell = not column.table.namespaced or name == "queue_messages.data"
        owner = own_cell.keyring.cell_id if of_cell else made.namespace_id
        value = await value_of(own_cell, column, owner)
        for kept in (value[:4] + struct.pack(">I", 1) + value[8:], b"\x06" + value[1:], value[:7]):
            await exchange(own_cell, column, value, kept)
            with pytest.raises(KeyInUse) as refused:
                await destroy_retired_key(work, owner, 1)
            assert refused.value.uses == {name: 1}
            assert f"{name} 1" in str(refused.value)
            assert (await key_rows(own_cell, owner))[1][0] == "decrypt_only"
            await exchange(own_cell, column, kept, value)
    for owner in (made.namespace_id, own_cell.keyring.cell_id):
        assert await retired_versions(work, owner) == [1]
        assert await destroy_retired_key(work, owner, 1) == 0
        rows = await key_rows(own_cell, owner)
        assert rows[1] == ("destroyed", None)
        assert rows[2][0] == "active"
        assert await retired_versions(work, owner) == []
    await made.read()


async def test_a_scan_that_leaves_a_table_out_is_caught(strongroom):
    """The control of the scan: if it leaves out a column, the key is destroyed although a row uses it."""
    for name in ("history_node.data", "queue_v2_messages.data"):
        made = await resealed(strongroom)
        value = await value_of(strongroom, COLUMNS[name], made.namespace_id)
        await exchange(strongroom, COLUMNS[name], value, value[:4] + struct.pack(">I", 1) + value[8:])
        work = strongroom.reseal(wait=0)
        work.columns = tuple(column for column in work.columns if str(column) != name)
        await destroy_retired_key(work, made.namespace_id, 1)
        in_use = await versions_in_use(strongroom, made.namespace_id)
        assert {column for column, versions in in_use.items() if 1 in versions} == {name}


async def test_only_a_retired_version_is_destroyed(strongroom):
    """An active, destroyed or unknown version is refused, and of two concurrent calls one destroys it."""
    made = await resealed(strongroom)
    work, owner = strongroom.reseal(wait=0), made.namespace_id
    with pytest.raises(KeyConflict, match="active"):
        await destroy_retired_key(work, owner, 2)
    with pytest.raises(KeyNotFound):
        await destroy_retired_key(work, owner, 7)
    both = await asyncio.gather(*(destroy_retired_key(work, owner, 1) for _ in range(2)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in both) in (["KeyConflict", "int"], ["KeyDestroyed", "int"])
    with pytest.raises(KeyDestroyed):
        await destroy_retired_key(work, owner, 1)
    states = [
        record.state
        for record in await strongroom.keyring.store.list_data_keys(owner)
        if record.key_class.value == "data"
    ]
    assert states == [KeyState.DESTROYED, KeyState.ACTIVE]
    await made.read()


async def test_one_of_another_namespace_is_no_use(strongroom):
    """Rows of another namespace under its own version 1 do not count."""
    made, other = await resealed(strongroom), await every_table(strongroom)
    assert await all_versions(strongroom, other.namespace_id) == {1}
    await destroy_retired_key(strongroom.reseal(wait=0), made.namespace_id, 1)
    await other.read()
    with pytest.raises(KeyConflict):
        await destroy_retired_key(strongroom.reseal(wait=0), other.namespace_id, 1)


async def test_it_waits_until_every_process_knows_the_successor(strongroom):
    """The scan begins after the wait, because a process may still seal with a version that was retired recently."""
    made = await every_table(strongroom)
    await rotate_data_key(strongroom.keyring, made.namespace_id)
    await strongroom.reseal(wait=0).run(made.namespace_id, rate=0)
    steps = []
    await destroy_retired_key(
        strongroom.reseal(wait=1.5), made.namespace_id, 1, progress=lambda *seen: steps.append(seen)
    )
    kinds = [step for step, _ in steps]
    assert kinds[0] == "wait"
    assert "wait" not in kinds[kinds.index("scan") :]


async def test_what_is_written_late_is_saved(strongroom, monkeypatch):
    """A row that a slow process writes between the scan and the destruction is resealed with the root in memory."""
    made = await resealed(strongroom)
    column, owner = COLUMNS["task_queue_user_data.data"], made.namespace_id
    value = await value_of(strongroom, column, owner)
    (row,) = await fetch(strongroom, "SELECT * FROM task_queue_user_data WHERE namespace_id = $1", owner)
    keys = await strongroom.keyring.open(owner)
    (key,) = column.keys_of([row])
    rows = [(key, keys.open(column.kind, key, value))]
    ((late,),) = keys._data[1].seal_groups([(column.kind, keys._context(column.kind), (), rows)])
    store = strongroom.keyring.store
    destroy = store.destroy_data_key

    async def after_it_was_scanned(*arguments, **options):
        await exchange(strongroom, column, value, late)
        await destroy(*arguments, **options)

    monkeypatch.setattr(store, "destroy_data_key", after_it_was_scanned)
    assert await destroy_retired_key(strongroom.reseal(wait=0), owner, 1) == 1
    assert (await key_rows(strongroom, owner))[1] == ("destroyed", None)
    await made.read()


async def test_a_database_of_another_schema_is_refused(strongroom):
    """A newer schema is refused, because it may have sealed columns that this software does not know."""
    made = await resealed(strongroom)
    newer = "INSERT INTO schema_version (version, name, applied_at) VALUES ($1, 'later', now())"
    await execute(strongroom, newer, current_version() + 1)
    with pytest.raises(SchemaMismatch):
        await destroy_retired_key(strongroom.reseal(wait=0), made.namespace_id, 1)
    assert (await key_rows(strongroom, made.namespace_id))[1][0] == "decrypt_only"


async def test_a_page_token_of_a_destroyed_key_is_refused_as_such(strongroom):
    """A page token of a destroyed version asks the caller to start again, and does not call the namespace shredded."""
    made = await every_table(strongroom)
    page = await strongroom.visibility.list_workflow_executions(made.namespace_id, "", TYPES, page_size=1)
    await rotate_data_key(strongroom.keyring, made.namespace_id)
    work = strongroom.reseal(wait=0)
    await work.run(made.namespace_id, rate=0)
    token = page.next_page_token
    await strongroom.visibility.list_workflow_executions(made.namespace_id, "", TYPES, page_token=token, page_size=1)
    await destroy_retired_key(work, made.namespace_id, 1)
    with pytest.raises(InvalidPageToken):
        await strongroom.visibility.list_workflow_executions(
            made.namespace_id, "", TYPES, page_token=token, page_size=1
        )
    await shred(strongroom, made.namespace_id)
    with pytest.raises(KeyDestroyed):
        await strongroom.visibility.list_workflow_executions(
            made.namespace_id, "", TYPES, page_token=token, page_size=1
        )


# With a search index


async def searched(strongroom, *, records=30):
    """Return a namespace whose documents use version 1 and whose active version is 2."""
    await strongroom.search_index.create()
    cell = await new_cell(strongroom)
    await cell.write(*map(record, range(records)))
    await cell.settle()
    await rotate_data_key(strongroom.keyring, cell.namespace_id)
    return cell


async def test_documents_are_written_anew(config_path, elasticsearch):
    """After a run no document of the search index uses an old version, and every search is answered."""
    async with opened(config_path, elasticsearch) as strongroom:
        cell = await searched(strongroom)
        assert (await versions_in_use(strongroom, cell.namespace_id))[COPIES] == {1: 30}
        work = strongroom.reseal(wait=0)
        assert (await work.run(cell.namespace_id, rate=0)).resealed["visibility_records.s"] == 30
        assert (await versions_in_use(strongroom, cell.namespace_id))[COPIES] == {2: 30}
        assert await destroy_retired_key(work, cell.namespace_id, 1) == 0
        strongroom.keyring.evict(cell.namespace_id)
        assert len(await cell.listed()) == 30


async def test_one_document_keeps_the_key(config_path, elasticsearch):
    """An old copy that a slow indexer wrote keeps the key, and the next run renews it."""
    async with opened(config_path, elasticsearch) as strongroom:
        cell = await searched(strongroom)
        (late,) = await fetch(strongroom, "SELECT * FROM visibility_records ORDER BY id LIMIT 1")
        work = strongroom.reseal(wait=0)
        await work.run(cell.namespace_id, rate=0)
        await strongroom.search_index.write([(cell.namespace_id, late)])
        with pytest.raises(KeyInUse) as refused:
            await destroy_retired_key(work, cell.namespace_id, 1)
        assert refused.value.uses == {COPIES: 1}
        await work.run(cell.namespace_id, rate=0)
        await destroy_retired_key(work, cell.namespace_id, 1)
        strongroom.keyring.evict(cell.namespace_id)
        assert len(await cell.listed()) == 30


async def test_an_indexer_that_is_late_puts_the_run_on_the_list_again(config_path, elasticsearch):
    """An indexer that took a record before it was resealed, and sends it afterwards, puts the run into the outbox again."""
    async with opened(config_path, elasticsearch) as strongroom:
        cell = await searched(strongroom, records=3)
        async for _ in strongroom.outbox.add_all():
            pass
        late = await strongroom.outbox.take((-(2**31), cell.namespace_id, b""), runs=10, size=2**20)
        await strongroom.reseal(wait=0).run(cell.namespace_id, rate=0)
        await strongroom.search_index.write([(entry.key[1], entry.record) for entry in late])
        assert (await versions_in_use(strongroom, cell.namespace_id))[COPIES] == {1: 3}, "control: it takes them back"
        assert await strongroom.outbox.waiting() == 0
        await strongroom.outbox.done(late)
        assert await strongroom.outbox.waiting() == 3
        await cell.settle()
        assert (await versions_in_use(strongroom, cell.namespace_id))[COPIES] == {2: 3}


async def test_a_document_without_a_record_is_told(config_path, elasticsearch):
    """A document without a record can't be renewed: the key stays, and the error names the command that deletes it."""
    async with opened(config_path, elasticsearch) as strongroom:
        cell = await searched(strongroom, records=5)
        await execute(strongroom, "DELETE FROM visibility_records WHERE id = (SELECT min(id) FROM visibility_records)")
        work = strongroom.reseal(wait=0)
        truth = VisibilityTruth(strongroom.database)
        work.copies = IndexCopies(strongroom.search_index, truth, strongroom.indexer, pause=0.01)
        with pytest.raises(SearchIndexMismatch, match=r"1 documents .* index reconcile"):
            await work.run(cell.namespace_id, rate=0)
        with pytest.raises(KeyInUse):
            await destroy_retired_key(work, cell.namespace_id, 1)
        await strongroom.reconciler().run()
        await work.run(cell.namespace_id, rate=0)
        await destroy_retired_key(work, cell.namespace_id, 1)
        assert len(await cell.listed()) == 4
