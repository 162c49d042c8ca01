from __future__ import annotations

import asyncio
import secrets
from uuid import uuid4

import pytest

from strongroom.kms import IntegrityError
from strongroom.storage import (
    DataBlob,
    Encoding,
    InvalidPersistenceRequest,
    NexusEndpoint,
    NexusEndpointStore,
    NexusEndpointVersionConflict,
    NexusTableVersionConflict,
    NotFound,
    TransactionSizeLimit,
)
from tests.support.fixtures.raw_rows import assert_only_sealed, execute, swap

pytestmark = pytest.mark.integration

BLOB = DataBlob(b"some endpoint", Encoding.JSON)


@pytest.fixture
def nexus_store(own_cell):
    return NexusEndpointStore(own_cell.database, own_cell.keyring, own_cell.journal.journal)


async def table_version(store):
    return (await store.list_nexus_endpoints(page_size=0)).table_version


async def write(store, endpoint_id=None, version=0, data=BLOB):
    """Create or update an endpoint at the table's current version; return the endpoint that a read must return."""
    endpoint_id = endpoint_id or uuid4()
    await store.create_or_update_nexus_endpoint(
        NexusEndpoint(endpoint_id, version, data), last_known_table_version=await table_version(store)
    )
    return NexusEndpoint(endpoint_id, version + 1, data)


def by_id(endpoints):
    return tuple(sorted(endpoints, key=lambda each: each.endpoint_id.bytes))


async def test_an_empty_table_has_version_0_and_no_endpoint(nexus_store):
    """Reading and listing create nothing."""
    with pytest.raises(NotFound):
        await nexus_store.get_nexus_endpoint(uuid4())
    for last_known in (0, 0):
        page = await nexus_store.list_nexus_endpoints(page_size=10, last_known_table_version=last_known)
        assert (page.table_version, page.endpoints, page.next_page_token) == (0, (), None)


@pytest.mark.parametrize("data", [BLOB, DataBlob(b""), DataBlob(b"\x00\xff", Encoding.UNSPECIFIED)])
async def test_an_endpoint_comes_back_as_it_was_made(nexus_store, data):
    """Id, blob and encoding are returned unchanged, at version 1. The table's version is 1 too."""
    made = await write(nexus_store, data=data)
    assert made.version == 1
    assert await nexus_store.get_nexus_endpoint(made.endpoint_id) == made
    page = await nexus_store.list_nexus_endpoints(page_size=10)
    assert (page.table_version, page.endpoints) == (1, (made,))
    with pytest.raises(NotFound):
        await nexus_store.get_nexus_endpoint(uuid4())


async def test_each_change_raises_the_tables_version_by_one(nexus_store):
    """Creations, updates and deletions raise the table's version. An update also raises the endpoint's, and others stay."""
    first, second = await write(nexus_store), await write(nexus_store)
    assert await table_version(nexus_store) == 2
    changed = await write(nexus_store, first.endpoint_id, 1, DataBlob(b"new"))
    assert changed.version == 2
    assert (await nexus_store.list_nexus_endpoints(page_size=10)).endpoints == by_id([changed, second])
    assert await table_version(nexus_store) == 3
    await nexus_store.delete_nexus_endpoint(first.endpoint_id, last_known_table_version=3)
    page = await nexus_store.list_nexus_endpoints(page_size=10, last_known_table_version=4)
    assert (page.table_version, page.endpoints) == (4, (second,))
    await nexus_store.delete_nexus_endpoint(second.endpoint_id, last_known_table_version=4)
    page = await nexus_store.list_nexus_endpoints(page_size=10, last_known_table_version=5)
    assert (page.table_version, page.endpoints) == (5, ())


async def test_a_write_at_another_version_of_the_table_is_refused(nexus_store):
    """Creations, updates and deletions with an older or later version are refused, and nothing changes."""
    made = await write(nexus_store)
    changed = await write(nexus_store, made.endpoint_id, 1)
    for stale in (0, 1, 3, 10):
        calls = (
            nexus_store.create_or_update_nexus_endpoint(
                NexusEndpoint(uuid4(), 0, BLOB), last_known_table_version=stale
            ),
            nexus_store.create_or_update_nexus_endpoint(changed, last_known_table_version=stale),
            nexus_store.delete_nexus_endpoint(made.endpoint_id, last_known_table_version=stale),
        )
        for call in calls:
            with pytest.raises(NexusTableVersionConflict, match="table version mismatch") as refused:
                await call
            assert not refused.value.may_have_been_committed
    page = await nexus_store.list_nexus_endpoints(page_size=10)
    assert (page.table_version, page.endpoints) == (2, (changed,))


async def test_a_write_at_another_version_of_the_endpoint_is_refused(nexus_store):
    """Creating an existing endpoint, or updating a changed or missing one, is refused. The table's version stays."""
    made = await write(nexus_store)
    changed = await write(nexus_store, made.endpoint_id, 1)
    for endpoint_id, version in (
        (made.endpoint_id, 0),
        (made.endpoint_id, 1),
        (made.endpoint_id, 10),
        (uuid4(), 1),
    ):
        with pytest.raises(NexusEndpointVersionConflict, match="endpoint version mismatch"):
            await write(nexus_store, endpoint_id, version, DataBlob(b"x"))
    page = await nexus_store.list_nexus_endpoints(page_size=10)
    assert (page.table_version, page.endpoints) == (2, (changed,))


async def test_deleting_what_is_not_there_is_not_found(nexus_store):
    """The table's version stays, so the next change needs no new read."""
    made = await write(nexus_store)
    with pytest.raises(NotFound):
        await nexus_store.delete_nexus_endpoint(uuid4(), last_known_table_version=1)
    await nexus_store.delete_nexus_endpoint(made.endpoint_id, last_known_table_version=1)
    with pytest.raises(NotFound):
        await nexus_store.get_nexus_endpoint(made.endpoint_id)
    with pytest.raises(NotFound):
        await nexus_store.delete_nexus_endpoint(made.endpoint_id, last_known_table_version=2)
    assert (await write(nexus_store, made.endpoint_id)).version == 1


@pytest.mark.parametrize("version", [0, 1])
async def test_of_many_writers_of_one_version_one_wins(nexus_store, version):
    """The table has one writer at a time, for new endpoints and for changes of different ones."""
    made = [await write(nexus_store) for _ in range(6)] if version else []
    ids = [each.endpoint_id for each in made] or [uuid4() for _ in range(6)]
    known = await table_version(nexus_store)
    outcomes = await asyncio.gather(
        *(
            nexus_store.create_or_update_nexus_endpoint(
                NexusEndpoint(endpoint_id, version, DataBlob(b"mine")), last_known_table_version=known
            )
            for endpoint_id in ids
        ),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == [*["NexusTableVersionConflict"] * 5, "NoneType"]
    page = await nexus_store.list_nexus_endpoints(page_size=10, last_known_table_version=known + 1)
    assert [each.endpoint_id for each in page.endpoints if each.data == DataBlob(b"mine")] == [
        ids[outcomes.index(None)]
    ]


@pytest.mark.parametrize("page_size", [1, 2, 5, 10])
async def test_all_endpoints_are_listed_page_by_page(nexus_store, page_size):
    """Each endpoint is listed once, in the order of ids. All pages have the same version of the table."""
    made = [await write(nexus_store, data=DataBlob(bytes([number]))) for number in range(5)]
    listed, token, known = [], None, 0
    while True:
        page = await nexus_store.list_nexus_endpoints(
            page_size=page_size, page_token=token, last_known_table_version=known
        )
        assert len(page.endpoints) <= page_size
        assert page.table_version == 5
        listed += page.endpoints
        token, known = page.next_page_token, page.table_version
        if token is None:
            break
    assert tuple(listed) == by_id(made)


async def test_a_list_of_a_stale_version_is_refused(nexus_store):
    """A page of another version of the table is refused, and so is a version that never existed."""
    for _ in range(3):
        await write(nexus_store)
    page = await nexus_store.list_nexus_endpoints(page_size=2)
    await write(nexus_store)
    for stale in (page.table_version, 100):
        with pytest.raises(NexusTableVersionConflict, match="table version mismatch"):
            await nexus_store.list_nexus_endpoints(
                page_size=2, page_token=page.next_page_token, last_known_table_version=stale
            )
        with pytest.raises(NexusTableVersionConflict, match="table version mismatch"):
            await nexus_store.list_nexus_endpoints(page_size=0, last_known_table_version=stale)


async def test_page_size_0_fetches_the_version_alone(nexus_store):
    """An empty table gives no endpoint and no token."""
    await write(nexus_store)
    page = await nexus_store.list_nexus_endpoints(page_size=0)
    assert (page.table_version, page.endpoints, page.next_page_token) == (1, (), None)


async def test_an_edited_version_does_not_open(own_cell, nexus_store):
    """An endpoint's version is bound to its blob."""
    made = await write(nexus_store)
    await execute(own_cell, "UPDATE nexus_endpoints SET version = version + 1")
    with pytest.raises(IntegrityError):
        await nexus_store.get_nexus_endpoint(made.endpoint_id)
    with pytest.raises(IntegrityError):
        await nexus_store.list_nexus_endpoints(page_size=1)


async def test_a_blob_of_another_endpoint_does_not_open(own_cell, nexus_store):
    """Two exchanged values are both refused."""
    made = [await write(nexus_store), await write(nexus_store)]
    await swap(own_cell, "nexus_endpoints", "data", "true")
    for each in made:
        with pytest.raises(IntegrityError):
            await nexus_store.get_nexus_endpoint(each.endpoint_id)


async def test_an_endpoint_stands_nowhere_in_clear(own_cell, nexus_store):
    """The blob is in no column. The same search finds a value that is in clear."""
    planted = f"planted-{secrets.token_hex(12)}"
    await write(nexus_store, data=DataBlob(planted.encode()))
    control = "UPDATE nexus_endpoints SET data = convert_to($1, 'UTF8')"
    await assert_only_sealed(own_cell, planted, "nexus_endpoints", "nexus_endpoints_status", control=control)


async def test_malformed_requests_are_refused(nexus_store):
    """They are refused before anything is sent, and each error names the field."""

    async def create(endpoint_id=None, version=0, data=BLOB, known=0):
        endpoint = NexusEndpoint(uuid4() if endpoint_id is None else endpoint_id, version, data)
        await nexus_store.create_or_update_nexus_endpoint(endpoint, last_known_table_version=known)

    calls = {
        "endpoint_id": [
            create("x"),
            nexus_store.get_nexus_endpoint("x"),
            nexus_store.delete_nexus_endpoint(str(uuid4()), last_known_table_version=0),
        ],
        "version": [create(version=version) for version in (-1, None, 2**63)],
        "data": [create(data=b"bytes")],
        "last_known_table_version": [
            create(known=-1),
            nexus_store.delete_nexus_endpoint(uuid4(), last_known_table_version=-1),
            nexus_store.list_nexus_endpoints(page_size=1, last_known_table_version=-1),
        ],
        "page_size": [nexus_store.list_nexus_endpoints(page_size=size) for size in (None, "1", True)],
        "page token": [
            nexus_store.list_nexus_endpoints(page_size=1, page_token=token) for token in (b"x", b"AAAA" * 8)
        ],
    }
    for field, refused in calls.items():
        for call in refused:
            with pytest.raises(InvalidPersistenceRequest, match=field):
                await call
    with pytest.raises(TransactionSizeLimit):
        await create(data=DataBlob(bytes(4 * 2**20 + 1)))
    assert await table_version(nexus_store) == 0
