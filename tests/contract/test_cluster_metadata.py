from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest

from strongroom.kms import IntegrityError
from strongroom.storage import (
    ClusterMetadata,
    ClusterMetadataStore,
    DatabaseUnavailable,
    DataBlob,
    Encoding,
    InvalidPersistenceRequest,
    NotFound,
    ServiceRole,
    TransactionSizeLimit,
)
from tests.support.fixtures.raw_rows import assert_only_sealed, execute, fetch, swap

pytestmark = pytest.mark.integration

BLOB = DataBlob(b"shards: 43", Encoding.JSON)
MINUTE = timedelta(minutes=1)
EXPIRY = timedelta(hours=1)
"""Time after which a record expires. No machine is so slow that it does during a test."""
START = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def cluster_store(own_cell):
    return ClusterMetadataStore(own_cell.database, own_cell.keyring, own_cell.journal.journal)


async def join(store, host_id=None, **changed):
    """Record a heartbeat of a host; return its id."""
    host_id = host_id or uuid4()
    values = {
        "role": ServiceRole.FRONTEND,
        "rpc_address": "127.0.0.2",
        "rpc_port": 7233,
        "session_start": START,
        "record_expiry": EXPIRY,
    }
    await store.upsert_cluster_membership(host_id, **(values | changed))
    return host_id


async def ids(store, **filters):
    return [member.host_id for member in (await store.get_cluster_members(**filters)).members]


async def test_every_service_of_temporal_can_announce_itself(cluster_store):
    """A host of each role is returned with its role. The numbers are those of Temporal's ServiceType."""
    hosts = {role: await join(cluster_store, role=role) for role in ServiceRole}
    for role, host in hosts.items():
        assert await ids(cluster_store, role=role) == [host]
    assert ServiceRole.INTERNAL_FRONTEND == 5


async def test_a_cluster_that_nobody_saved_is_not_found(cluster_store):
    """Reading creates nothing."""
    for _ in range(2):
        with pytest.raises(NotFound):
            await cluster_store.get_cluster_metadata("active")
    assert (await cluster_store.list_cluster_metadata(page_size=10)).clusters == ()


@pytest.mark.parametrize("name", ["active", "eu-west 1", "Zürich", "x" * 1000])
async def test_a_cluster_comes_back_as_it_was_saved(cluster_store, name):
    """Name, blob and encoding are returned unchanged, at version 1."""
    assert await cluster_store.save_cluster_metadata(name, data=BLOB, version=0) is True
    assert await cluster_store.get_cluster_metadata(name) == ClusterMetadata(name, 1, BLOB)


async def test_a_second_creation_is_not_applied(cluster_store):
    """The second creation returns False, and the first one's values stay."""
    assert await cluster_store.save_cluster_metadata("active", data=BLOB, version=0)
    assert await cluster_store.save_cluster_metadata("active", data=DataBlob(b"77"), version=0) is False
    assert await cluster_store.get_cluster_metadata("active") == ClusterMetadata("active", 1, BLOB)


async def test_a_save_of_the_version_that_was_read_is_applied(cluster_store):
    """Each update raises the version by 1, and other clusters stay."""
    for name in ("active", "standby"):
        await cluster_store.save_cluster_metadata(name, data=BLOB, version=0)
    for version in (1, 2, 3):
        new = DataBlob(bytes([version]))
        assert await cluster_store.save_cluster_metadata("active", data=new, version=version) is True
        assert await cluster_store.get_cluster_metadata("active") == ClusterMetadata("active", version + 1, new)
    assert await cluster_store.get_cluster_metadata("standby") == ClusterMetadata("standby", 1, BLOB)


async def test_a_save_of_another_version_is_unavailable(cluster_store):
    """An older version, a later version or a deleted cluster is refused, and nothing is written."""
    await cluster_store.save_cluster_metadata("active", data=BLOB, version=0)
    await cluster_store.save_cluster_metadata("active", data=BLOB, version=1)
    for name, version in (("active", 1), ("active", 3), ("none", 1)):
        with pytest.raises(DatabaseUnavailable) as refused:
            await cluster_store.save_cluster_metadata(name, data=DataBlob(b"x"), version=version)
        assert not refused.value.may_have_been_committed
    assert await cluster_store.get_cluster_metadata("active") == ClusterMetadata("active", 2, BLOB)
    with pytest.raises(NotFound):
        await cluster_store.get_cluster_metadata("none")


@pytest.mark.parametrize("version", [0, 1])
async def test_of_many_saves_at_once_one_is_applied(cluster_store, version):
    """Of concurrent creations or updates one wins, and its blob is stored."""
    if version:
        await cluster_store.save_cluster_metadata("active", data=BLOB, version=0)
    outcomes = await asyncio.gather(
        *(cluster_store.save_cluster_metadata("active", data=DataBlob(bytes([n])), version=version) for n in range(8)),
        return_exceptions=True,
    )
    winners = [number for number, outcome in enumerate(outcomes) if outcome is True]
    assert len(winners) == 1
    assert all(
        outcome is False or isinstance(outcome, DatabaseUnavailable) for outcome in outcomes if outcome is not True
    )
    assert await cluster_store.get_cluster_metadata("active") == ClusterMetadata(
        "active", version + 1, DataBlob(bytes(winners))
    )


async def test_a_deleted_cluster_is_gone_and_can_be_made_anew(cluster_store):
    """Deleting a cluster that does not exist is not an error. Other clusters stay."""
    for name in ("active", "standby"):
        await cluster_store.save_cluster_metadata(name, data=BLOB, version=0)
    for _ in range(2):
        await cluster_store.delete_cluster_metadata("active")
        with pytest.raises(NotFound):
            await cluster_store.get_cluster_metadata("active")
    assert [each.cluster_name for each in (await cluster_store.list_cluster_metadata(page_size=9)).clusters] == [
        "standby"
    ]
    assert await cluster_store.save_cluster_metadata("active", data=BLOB, version=0)


@pytest.mark.parametrize("page_size", [1, 2, 3, 6, 100])
async def test_all_clusters_are_listed_page_by_page(cluster_store, page_size):
    """Each cluster is listed once, in the order of the names' bytes, whatever the database's collation."""
    names = ["b", "A", "a", "ä", "Z", "a b"]
    for name in names:
        await cluster_store.save_cluster_metadata(name, data=DataBlob(name.encode()), version=0)
    listed, token = [], None
    while True:
        page = await cluster_store.list_cluster_metadata(page_size=page_size, page_token=token)
        assert len(page.clusters) <= page_size
        listed += page.clusters
        token = page.next_page_token
        if token is None:
            break
    assert listed == [ClusterMetadata(name, 1, DataBlob(name.encode())) for name in sorted(names, key=str.encode)]


async def test_no_host_is_up_at_first(cluster_store):
    """An empty table gives no members and no token."""
    page = await cluster_store.get_cluster_members(last_heartbeat_within=10 * MINUTE)
    assert (page.members, page.next_page_token) == ((), None)


@pytest.mark.parametrize("address", ["127.0.0.2", "2001:db8::1"])
async def test_a_host_comes_back_as_it_was_noted(cluster_store, address):
    """All values are returned. Heartbeat and expiry are by the database's clock."""
    host_id = await join(cluster_store, role=ServiceRole.MATCHING, rpc_address=address, rpc_port=65535)
    [member] = (await cluster_store.get_cluster_members()).members
    assert (member.host_id, member.role, member.rpc_address) == (host_id, ServiceRole.MATCHING, address)
    assert (member.rpc_port, member.session_start) == (65535, START)
    assert member.record_expiry - member.last_heartbeat == EXPIRY
    assert abs(member.last_heartbeat - datetime.now(UTC)) < MINUTE


async def test_a_host_that_is_heard_of_again_is_replaced(cluster_store):
    """A host has one row, with the newest values and a later heartbeat."""
    host_id = await join(cluster_store)
    [before] = (await cluster_store.get_cluster_members()).members
    east = START.astimezone(timezone(timedelta(hours=5, minutes=45))) + MINUTE
    await join(cluster_store, host_id, role=ServiceRole.WORKER, rpc_address="127.0.0.3", rpc_port=1, session_start=east)
    [after] = (await cluster_store.get_cluster_members()).members
    assert (after.role, after.rpc_address, after.rpc_port) == (ServiceRole.WORKER, "127.0.0.3", 1)
    assert after.session_start == START + MINUTE
    assert after.last_heartbeat > before.last_heartbeat
    assert after.record_expiry > before.record_expiry


async def test_each_filter_leaves_out_what_it_does_not_fit(cluster_store):
    """Members are filtered by host, role, address and start of session. All given filters must match."""
    first = await join(cluster_store)
    second = await join(
        cluster_store, role=ServiceRole.HISTORY, rpc_address="127.0.0.9", session_start=START + 2 * MINUTE
    )
    for filters in (
        {"host_id": second},
        {"role": ServiceRole.HISTORY},
        {"rpc_address": "127.0.0.9"},
        {"session_started_after": START + MINUTE},
        {"host_id": second, "role": ServiceRole.HISTORY, "session_started_after": START, "rpc_address": "127.0.0.9"},
    ):
        assert await ids(cluster_store, **filters) == [second]
    assert await ids(cluster_store, session_started_after=START - MINUTE) == sorted(
        [first, second], key=lambda each: each.bytes
    )
    for filters in (
        {"host_id": uuid4()},
        {"role": ServiceRole.MATCHING},
        {"rpc_address": "127.0.0.1"},
        {"session_started_after": START + 2 * MINUTE},
        {"host_id": first, "role": ServiceRole.HISTORY},
    ):
        assert await ids(cluster_store, **filters) == []


async def test_hosts_are_filtered_by_their_last_heartbeat(own_cell, cluster_store):
    """A host with an old heartbeat is up until its record expires. The filter on heartbeats leaves it out."""
    host_id = await join(cluster_store, record_expiry=60 * MINUTE)
    await execute(own_cell, "UPDATE cluster_membership SET last_heartbeat = last_heartbeat - interval '5 minutes'")
    assert await ids(cluster_store) == await ids(cluster_store, last_heartbeat_within=10 * MINUTE) == [host_id]
    assert await ids(cluster_store, last_heartbeat_within=4 * MINUTE) == []


@pytest.mark.parametrize("page_size", [1, 9, 50, 100])
async def test_all_hosts_are_read_page_by_page(cluster_store, page_size):
    """Each host is listed once. The token of a page is the id of its last host."""
    hosts = await asyncio.gather(*(join(cluster_store) for _ in range(50)))
    read, token = [], None
    while True:
        page = await cluster_store.get_cluster_members(page_size=page_size, page_token=token)
        read += [member.host_id for member in page.members]
        token = page.next_page_token
        if token is None:
            break
        assert token == read[-1].bytes
    assert read == sorted(hosts, key=lambda each: each.bytes)


async def test_a_filtered_read_ends(cluster_store):
    """A full page of one host has a token, and the next page is empty."""
    host_id = await join(cluster_store)
    page = await cluster_store.get_cluster_members(host_id=host_id, page_size=1)
    assert len(page.members) == 1
    page = await cluster_store.get_cluster_members(host_id=host_id, page_size=1, page_token=page.next_page_token)
    assert (page.members, page.next_page_token) == ((), None)


async def test_an_expired_host_is_not_up_and_is_pruned(own_cell, cluster_store):
    """An expired host is left out without pruning. Pruning deletes it, and no other."""
    expired, up = await join(cluster_store), await join(cluster_store)
    assert await cluster_store.prune_cluster_membership() == 0
    past = "UPDATE cluster_membership SET record_expiry = now() - interval '1 millisecond' WHERE host_id = $1"
    await execute(own_cell, past, expired.bytes)
    assert await ids(cluster_store) == [up]
    assert await ids(cluster_store, host_id=expired) == []
    assert await cluster_store.prune_cluster_membership() == 1
    assert [UUID(bytes=row["host_id"]) for row in await fetch(own_cell, "SELECT * FROM cluster_membership")] == [up]


async def test_pruning_keeps_to_its_limit_and_begins_with_the_oldest(own_cell, cluster_store):
    """A limited pruning is finished by several calls."""
    hosts = [await join(cluster_store) for _ in range(5)]
    for age, host in enumerate(hosts):
        past = "UPDATE cluster_membership SET record_expiry = now() - make_interval(secs => $2) WHERE host_id = $1"
        await execute(own_cell, past, host.bytes, float(age + 1))
    assert await cluster_store.prune_cluster_membership(max_records=2) == 2
    left = {UUID(bytes=row["host_id"]) for row in await fetch(own_cell, "SELECT host_id FROM cluster_membership")}
    assert left == set(hosts[:3])
    assert await cluster_store.prune_cluster_membership(max_records=100) == 3


async def test_a_host_that_expired_comes_back_when_it_is_heard_of(own_cell, cluster_store):
    """A host with a newer heartbeat is not pruned."""
    host_id = await join(cluster_store)
    await execute(own_cell, "UPDATE cluster_membership SET record_expiry = now() - interval '1 hour'")
    await join(cluster_store, host_id)
    assert await ids(cluster_store) == [host_id]
    assert await cluster_store.prune_cluster_membership() == 0


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE cluster_metadata SET version = version + 1",
        "UPDATE cluster_metadata SET cluster_name = 'other'",
        "UPDATE cluster_metadata SET data = set_byte(data, 40, get_byte(data, 40) # 1)",
    ],
)
async def test_an_edited_cluster_does_not_open(own_cell, cluster_store, edit):
    """A row with a changed name or version does not open."""
    await cluster_store.save_cluster_metadata("active", data=BLOB, version=0)
    await execute(own_cell, edit)
    with pytest.raises(IntegrityError):
        await cluster_store.list_cluster_metadata(page_size=1)


async def test_a_blob_of_another_cluster_does_not_open(own_cell, cluster_store):
    """Two exchanged values are both refused."""
    for name in ("active", "standby"):
        await cluster_store.save_cluster_metadata(name, data=BLOB, version=0)
    await swap(own_cell, "cluster_metadata", "data", "true")
    for name in ("active", "standby"):
        with pytest.raises(IntegrityError):
            await cluster_store.get_cluster_metadata(name)


async def test_a_clusters_blob_stands_nowhere_in_clear(own_cell, cluster_store):
    """The blob is in no column. The name is in clear, because it is the operator's."""
    planted = f"planted-{secrets.token_hex(12)}"
    await cluster_store.save_cluster_metadata("active", data=DataBlob(planted.encode()), version=0)
    control = "UPDATE cluster_metadata SET cluster_name = $1"
    await assert_only_sealed(own_cell, planted, "cluster_metadata", control=control)


async def test_malformed_requests_are_refused(cluster_store):
    """They are refused before anything is sent, and each error names the field."""
    calls = {
        "cluster_name": [
            call
            for name in ("", None, b"x", "x" * 1001, "\ud800", "nul\x00")
            for call in (
                cluster_store.get_cluster_metadata(name),
                cluster_store.delete_cluster_metadata(name),
                cluster_store.save_cluster_metadata(name, data=BLOB, version=0),
            )
        ],
        "data": [cluster_store.save_cluster_metadata("a", data=b"bytes", version=0)],
        "version": [
            cluster_store.save_cluster_metadata("a", data=BLOB, version=version) for version in (-1, None, 2**63)
        ],
        "page_size": [
            call
            for size in (None, True, "1")
            for call in (
                cluster_store.list_cluster_metadata(page_size=size),
                cluster_store.get_cluster_members(page_size=size),
            )
        ],
        "page token": [
            *(cluster_store.list_cluster_metadata(page_size=1, page_token=token) for token in (b"active", b"AAAA")),
            *(cluster_store.get_cluster_members(page_token=token) for token in (bytes(15), bytes(17), "x" * 16)),
        ],
        "host_id": [join(cluster_store, "x"), cluster_store.get_cluster_members(host_id=bytes(16))],
        "role": [
            call
            for role in (0, 6, True, "1")
            for call in (join(cluster_store, role=role), cluster_store.get_cluster_members(role=role))
        ],
        "rpc_address": [
            call
            for address in ("", "localhost", "127.0.0.1:80", "fe80::1%eth0", 1)
            for call in (
                join(cluster_store, rpc_address=address),
                cluster_store.get_cluster_members(rpc_address=address),
            )
        ],
        "rpc_port": [join(cluster_store, rpc_port=port) for port in (-1, 65536, "80")],
        "session_start": [join(cluster_store, session_start=START.replace(tzinfo=None))],
        "session_started_after": [cluster_store.get_cluster_members(session_started_after=START.replace(tzinfo=None))],
        "record_expiry": [
            join(cluster_store, record_expiry=expiry) for expiry in (timedelta(), -MINUTE, 60, timedelta.max)
        ],
        "last_heartbeat_within": [cluster_store.get_cluster_members(last_heartbeat_within=timedelta())],
        "max_records": [cluster_store.prune_cluster_membership(max_records=0)],
    }
    for field, refused in calls.items():
        for call in refused:
            with pytest.raises(InvalidPersistenceRequest, match=field):
                await call
    with pytest.raises(TransactionSizeLimit):
        await cluster_store.save_cluster_metadata("a", data=DataBlob(bytes(4 * 2**20 + 1)), version=0)
    assert await ids(cluster_store) == []
    assert (await cluster_store.list_cluster_metadata(page_size=1)).clusters == ()
