"""Shards of a cell that several tests share."""

from __future__ import annotations

from strongroom.storage import ShardInfo


async def first_new_shard(cell, numbers, info):
    """Create the first shard of some numbers that does not exist yet, at range_id 1; return its id.

    A shard that exists belongs to another test, which may have moved it.
    """
    for shard_id in numbers:
        made = ShardInfo(shard_id, 1, info)
        if await cell.shards.get_or_create_shard(shard_id, lambda made=made: made) == made:
            return shard_id
    raise AssertionError
