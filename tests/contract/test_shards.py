from __future__ import annotations

import asyncio

import pytest

from strongroom.storage import (
    DatabaseUnavailable,
    DataBlob,
    InvalidPersistenceRequest,
    NotFound,
    ShardInfo,
    ShardOwnershipLost,
)
from tests.support.fixtures.contract import new_shard

pytestmark = pytest.mark.integration


async def test_a_shard_that_nobody_made_is_not_found(cell):
    """Reading a shard that does not exist does not create it."""
    with pytest.raises(NotFound):
        await cell.shards.get_or_create_shard(16_000)


async def test_a_shard_comes_back_as_it_was_made(cell, shard_id):
    """A shard is read with its range id and bytes. A second creator gets the first one's shard."""
    other = ShardInfo(shard_id, 9, DataBlob(b"other"))
    assert await cell.shards.get_or_create_shard(shard_id, lambda: other) == ShardInfo(shard_id, 1, DataBlob(b"shard"))


async def test_of_many_creators_one_wins_and_all_agree(cell):
    """Hosts that create a shard at the same time all get the same shard."""
    made = [ShardInfo(15_000, number, DataBlob(bytes([number]))) for number in range(1, 9)]
    found = await asyncio.gather(*(cell.shards.get_or_create_shard(15_000, lambda one=one: one) for one in made))
    assert len(set(found)) == 1
    assert found[0] in made


async def test_update_moves_the_range_id(cell, shard_id):
    """A host with the previous range id takes the shard over."""
    moved = ShardInfo(shard_id, 2, DataBlob(b"moved"))
    await cell.shards.update_shard(moved, previous_range_id=1)
    assert await cell.shards.get_or_create_shard(shard_id) == moved
    await cell.shards.assert_shard_ownership(shard_id, range_id=2)


async def test_a_stale_owner_changes_nothing(cell, shard_id):
    """A stale range id is refused by update and assertion, and the row does not change."""
    await cell.shards.update_shard(ShardInfo(shard_id, 5, DataBlob(b"five")), previous_range_id=1)
    with pytest.raises(ShardOwnershipLost) as lost:
        await cell.shards.update_shard(ShardInfo(shard_id, 2, DataBlob(b"two")), previous_range_id=1)
    assert lost.value.shard_id == shard_id
    assert not lost.value.may_have_been_committed
    with pytest.raises(ShardOwnershipLost):
        await cell.shards.assert_shard_ownership(shard_id, range_id=1)
    assert (await cell.shards.get_or_create_shard(shard_id)).info.data == b"five"


async def test_of_two_owners_that_move_it_at_once_one_wins(cell):
    """Of several hosts that take a shard over at once, one succeeds."""
    for _ in range(20):
        shard = await new_shard(cell)
        outcomes = await asyncio.gather(
            *(
                cell.shards.update_shard(ShardInfo(shard, rival, DataBlob(b"r")), previous_range_id=1)
                for rival in range(2, 8)
            ),
            return_exceptions=True,
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType"] + ["ShardOwnershipLost"] * 5


async def test_an_update_of_no_shard_is_unavailable(cell):
    """Updating a shard that does not exist is `Unavailable`, as in Temporal, so that the caller loads it again."""
    with pytest.raises(DatabaseUnavailable):
        await cell.shards.update_shard(ShardInfo(15_999, 2, DataBlob(b"x")), previous_range_id=1)


@pytest.mark.parametrize("wrong", [0, -1, 2**31, "1", 1.0, True, None])
async def test_a_wrong_shard_id_is_refused(cell, wrong):
    """A request with a field that is not valid is refused before it is sent."""
    with pytest.raises(InvalidPersistenceRequest):
        await cell.shards.get_or_create_shard(wrong)
