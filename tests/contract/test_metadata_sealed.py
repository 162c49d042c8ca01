from __future__ import annotations

import secrets
from uuid import UUID, uuid4

import pytest

from strongroom.kms import (
    IntegrityError,
)
from strongroom.storage import (
    DataBlob,
    InvalidPersistenceRequest,
    TransactionSizeLimit,
)
from tests.support.fixtures.contract import KEK
from tests.support.fixtures.metadata import BLOB, create, everything
from tests.support.fixtures.raw_rows import assert_only_sealed, execute, fetch, swap

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE namespaces SET is_global = NOT is_global",
        "UPDATE namespaces SET notification_version = notification_version + 1",
        "UPDATE namespaces SET data = NULL",
        "UPDATE namespaces SET data = details",
        "UPDATE namespaces SET version = version + 1",
    ],
)
async def test_an_edited_row_does_not_open(own_cell, metadata_store, edit):
    """The columns in clear are bound to the blob. A list shows an edited row as unreadable, and goes on."""
    made = await create(metadata_store, is_global=True)
    await execute(own_cell, edit)
    with pytest.raises(IntegrityError):
        await metadata_store.get_namespace(namespace_id=made.namespace_id)
    [[listed]] = await everything(metadata_store)
    assert listed.unreadable


@pytest.mark.parametrize("column", ["data", "details"])
async def test_a_value_of_another_namespace_does_not_open(own_cell, metadata_store, column):
    """Two rows with exchanged sealed values are both refused."""
    made = [await create(metadata_store), await create(metadata_store)]
    await swap(own_cell, "namespaces", column, "true")
    for each in made:
        with pytest.raises(IntegrityError):
            await metadata_store.get_namespace(namespace_id=each.namespace_id)


async def test_exchanged_names_lead_to_no_other_namespace(own_cell, metadata_store):
    """Tokens are not authenticated, so the name in the row is compared with the requested name."""
    left, right = await create(metadata_store, "left"), await create(metadata_store, "right")
    rows = await fetch(own_cell, "SELECT namespace_id, name_token FROM namespaces")
    token = {UUID(bytes=row["namespace_id"].bytes): row["name_token"] for row in rows}
    change = "UPDATE namespaces SET name_token = $2 WHERE namespace_id = $1"
    await execute(own_cell, change, left.namespace_id, bytes(16))
    await execute(own_cell, change, right.namespace_id, token[left.namespace_id])
    await execute(own_cell, change, left.namespace_id, token[right.namespace_id])
    for name in ("left", "right"):
        for unavailable in (False, True):  # keys that may be away are no excuse for a row that opens
            with pytest.raises(IntegrityError):
                await metadata_store.get_namespace(name=name, unavailable=unavailable)
            with pytest.raises(IntegrityError):
                await own_cell.namespaces.find(name, unavailable=unavailable)
        with pytest.raises(IntegrityError):
            await metadata_store.delete_namespace_by_name(name)
    assert await metadata_store.get_namespace(namespace_id=left.namespace_id) == left


async def test_nothing_of_a_namespace_stands_in_clear(own_cell, metadata_store):
    """Name and blob are in no column. The same search finds a value that is in clear."""
    planted = f"planted-{secrets.token_hex(12)}"
    made = await create(metadata_store, planted, data=DataBlob(planted.encode()))
    version = await metadata_store.get_metadata()
    await metadata_store.rename_namespace(
        made.namespace_id, planted + "2", data=DataBlob(planted.encode()), is_global=True, notification_version=version
    )
    control = "UPDATE data_keys SET kek_id = $1"
    await assert_only_sealed(own_cell, planted, "namespaces", "namespace_metadata", "data_keys", control=control)


@pytest.mark.parametrize("name", ["", "x" * 256, "ü" * 128, "\ud800", None, b"name"])
async def test_a_name_that_cannot_be_is_refused(metadata_store, name):
    """Every operation refuses an invalid name, and no row is left."""
    with pytest.raises(InvalidPersistenceRequest):
        await metadata_store.create_namespace(uuid4(), name, data=BLOB, kek=KEK)
    with pytest.raises(InvalidPersistenceRequest):
        await metadata_store.rename_namespace(uuid4(), name, data=BLOB, is_global=False, notification_version=1)
    with pytest.raises(InvalidPersistenceRequest):
        await metadata_store.delete_namespace_by_name(name)
    assert await everything(metadata_store) == [()]


async def test_malformed_requests_are_refused(own_cell, metadata_store):
    """They are refused before anything is sent, and each error names the field."""
    made = await create(metadata_store)
    version = await metadata_store.get_metadata()

    async def update(namespace_id=made.namespace_id, data=BLOB, is_global=False, version=version):  # noqa: FBT002
        await metadata_store.update_namespace(
            namespace_id, data=data, is_global=is_global, notification_version=version
        )

    calls = {
        "namespace_id": [
            metadata_store.create_namespace("x", "x", data=BLOB, kek=KEK),
            metadata_store.get_namespace(namespace_id="x"),
            metadata_store.delete_namespace(str(made.namespace_id)),
            update(namespace_id=None),
        ],
        "data": [update(data=b"bytes"), metadata_store.create_namespace(uuid4(), "x", data=None, kek=KEK)],
        "is_global": [update(is_global=1)],
        "notification_version": [update(version=-1), update(version="1"), update(version=2**63)],
        "page_size": [metadata_store.list_namespaces(page_size=size) for size in (None, "1", True)],
        "page token": [metadata_store.list_namespaces(page_size=1, page_token=token) for token in (b"x", b"AAAA" * 8)],
        "cell": [
            metadata_store.create_namespace(own_cell.keyring.cell_id, "cell", data=BLOB, kek=KEK),
            metadata_store.delete_namespace(own_cell.keyring.cell_id),
        ],
    }
    for field, refused in calls.items():
        for call in refused:
            with pytest.raises(InvalidPersistenceRequest, match=field):
                await call
    with pytest.raises(TransactionSizeLimit):
        await update(data=DataBlob(bytes(4 * 2**20 + 1)))
    assert await metadata_store.get_namespace(name=made.name) == made
