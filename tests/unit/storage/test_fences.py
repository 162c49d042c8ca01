"""The MACs of fences are those of kms/FORMAT.md section 7.4, computed here with the standard library alone."""

from __future__ import annotations

import hmac
from types import SimpleNamespace
from uuid import uuid4

from strongroom.kms.sealing.tokens import TokenKey
from strongroom.kms.secret import Secret
from strongroom.storage.fences import RunFences, ShardFences, current_mac, lease_mac

SHARD, WORKFLOW, RUN = 77, bytes(range(16)), bytes(range(100, 116))


def key_of(purpose):
    """Return a key of 32 bytes for a purpose."""
    return purpose.encode().ljust(32, b".")


KEYS = SimpleNamespace(identity=lambda purpose: TokenKey(Secret(key_of(purpose))))


def mac(purpose, *parts):
    """Return the whole HMAC of a message."""
    return hmac.digest(key_of(purpose), b"".join(parts), "sha256")


def number(value, size):
    """Return a number in big-endian bytes."""
    return value.to_bytes(size, "big", signed=size == 8)


def test_the_macs_of_a_run():
    """The column has the MACs of its three numbers in order, also of negative ones."""
    made = RunFences(KEYS, SHARD, WORKFLOW).stored(RUN, record_version=5, next_event_id=2**62, last_write_version=-9)
    place = number(SHARD, 4) + WORKFLOW + RUN
    values = {1: 5, 2: 2**62, 3: -9}
    assert made == b"".join(mac("run fence", number(f, 1), place, number(v, 8))[:16] for f, v in values.items())


def test_the_mac_that_a_write_expects():
    """It is that of the record version before, or of the condition if there is no record version. Those of the new row follow."""
    fences = RunFences(KEYS, SHARD, WORKFLOW)
    for version, (kind, expected) in ((5, (1, 4)), (0, (2, 77))):
        row = {"record_version": version, "next_event_id": 78, "last_write_version": 3}
        place = number(SHARD, 4) + WORKFLOW + RUN
        first = mac("run fence", number(kind, 1), place, number(expected, 8))[:16]
        assert fences.replaced(RUN, condition=77, **row) == first + fences.stored(RUN, **row)


def test_the_macs_of_a_current_run():
    """A run has one MAC if it is COMPLETED and another one in all other states."""
    made = RunFences(KEYS, SHARD, WORKFLOW).current(3, RUN)
    whole = mac("current run fence", number(SHARD, 4), WORKFLOW, number(3, 8), RUN)
    assert [current_mac(made, state) for state in range(7)] == [
        whole[16:] if state == 3 else whole[:16] for state in range(7)
    ]


def test_a_kept_mac_is_that_of_its_run_and_version():
    """The write version's MAC is made once for the rows of one run, and again for another run or version."""
    fences = RunFences(KEYS, SHARD, WORKFLOW)
    wanted = [(RUN, 1), (RUN, 1), (RUN, 2), (WORKFLOW, 2), (RUN, 2)]
    made = [fences.write_version(*one) for one in wanted]
    assert made == [RunFences(KEYS, SHARD, WORKFLOW).write_version(*one) for one in wanted]
    assert len(set(made)) == 3


def test_the_mac_of_a_task_queue():
    """It depends on the whole key of the queue's row."""
    key = (2**31 - 1, uuid4(), WORKFLOW, 2, True)
    message = number(key[0], 4) + WORKFLOW + number(2, 2) + b"\x01" + number(9, 8)
    assert lease_mac(KEYS, key, 9) == mac("task queue fence", message)[:16]


async def test_the_mac_of_a_shard():
    """It is made with the cell's keys, and then kept."""
    asked = []

    async def open_keys(namespace_id):
        asked.append(namespace_id)
        return KEYS

    fences = ShardFences(SimpleNamespace(open=open_keys, cell_id="cell"))
    expected = mac("shard fence", number(SHARD, 4), number(6, 8))[:16]
    assert [await fences.mac(SHARD, 6), await fences.mac(SHARD, 6)] == [expected, expected]
    assert asked == ["cell"]
