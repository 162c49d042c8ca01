"""The digest of a run is that of kms/FORMAT.md section 7.6, and follows each write of the run's maps."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.kms import IntegrityError
from strongroom.kms.sealing.tokens import TokenKey
from strongroom.kms.secret import Secret
from strongroom.storage import DataBlob, HistoryBranch, HistoryNode, multiset
from strongroom.storage.executions import run_digest
from strongroom.storage.executions.known_runs import MAP_ROW_BYTES, KnownRuns
from strongroom.storage.executions.packing import (
    BINDING_BYTES,
    NO_BINDING,
    branch_of,
    end_of,
    pack_execution,
    packed_end_after,
    total_of,
    unpack_execution,
)
from strongroom.storage.executions.run_digest import committed, next_state, stamps_of, stored_rows
from strongroom.storage.histories.ends import BranchEnd
from strongroom.storage.histories.rows import HistoryAppend

VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "run_digest.json").read_text())
KEY, RUN = bytes.fromhex(VECTOR["key"]), UUID(VECTOR["run"])
KEYS = SimpleNamespace(identity={"map row": TokenKey(Secret(KEY))}.__getitem__)
END = BranchEnd(bytes(range(32)), 5, 13)
PACKED_END = b"\1" + END.branch + (5).to_bytes(8) + (13).to_bytes(8)


def written(entries, stamp=b"s" * 8, known=None, *, replaced=False):
    """Return the state of the run after a write."""
    state = next_state(KEYS, RUN.bytes, entries, stamp, known=known, replaced=replaced, appends=())
    return committed(state, b"t" * 16, None, 1)


def read(rows, total, known=None):
    """Return the map rows of a run that is read with these stamps, by map and item."""
    maps, items = [place[0] for place in rows], [place[1:].rjust(16, b"\0") for place in rows]
    opened = [stamp + b"plaintext" for stamp in rows.values()]
    return stored_rows(KEYS, RUN, maps, items, opened, known=known, total=total)


def stamps(rows):
    """Return the stamp of each map row, by place; None for no rows."""
    return None if rows is None else stamps_of(rows)


def test_the_vector():
    """Digest and plaintext have the bytes of the specification, computed by this package and by the standard library."""
    rows = [(row["map"], bytes.fromhex(row["item"]), bytes.fromhex(row["stamp"])) for row in VECTOR["rows"]]
    messages = [RUN.bytes + number.to_bytes(2) + item.rjust(16, b"\0") + stamp for number, item, stamp in rows]
    total = sum(int.from_bytes(hmac.digest(KEY, message, "sha256")) for message in messages) % 2**256
    assert multiset.pack(total).hex() == VECTOR["digest"]
    state = None
    for number, item, stamp in rows:
        state = written([(number, item, b"plaintext")], stamp, state)
    assert total_of(state[1]) == multiset.pack(total)
    assert (
        stamps(read({bytes([number]) + item: stamp for number, item, stamp in rows}, multiset.pack(total))) == state[2]
    )
    tree, branch = UUID(bytes=bytes(range(16))), UUID(bytes=bytes(range(16, 32)))
    append = HistoryAppend(HistoryBranch(1, tree, branch), [HistoryNode(5, 13, 11, DataBlob(b""))])
    binding = state[1][:32] + packed_end_after([append], bytes(49))
    assert (end_of(binding), branch_of(binding)) == (END, END.branch)
    packed = binding + pack_execution(DataBlob(b"info"), DataBlob(b"state"))
    assert packed.hex() == VECTOR["plaintext"]
    assert unpack_execution(packed, BINDING_BYTES) == (DataBlob(b"info"), DataBlob(b"state"))
    assert (total_of(NO_BINDING), end_of(NO_BINDING), branch_of(NO_BINDING)) == (bytes(32), None, None)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([(5, 20)], (5, 20)),
        ([(3, 20)], (3, 20)),
        ([(7, 12)], (5, 13)),
        ([(7, 13)], (7, 13)),
        ([(9, 30), (7, 20)], (9, 30)),
        ([(9, 12), (7, 20)], (7, 20)),
    ],
)
def test_the_end_is_the_newest_write(nodes, expected):
    """The end is the write with the highest transaction, and of one transaction the highest node, also of writes before."""
    branch = HistoryBranch(1, UUID(bytes=END.branch[:16]), UUID(bytes=END.branch[16:]))
    several = [HistoryAppend(branch, [HistoryNode(node, txn, 0, DataBlob(b""))]) for node, txn in nodes]
    together = [HistoryAppend(branch, [append.nodes[0] for append in several])]
    for appends in (several, together):
        assert end_of(bytes(32) + packed_end_after(appends, PACKED_END)) == (END.branch, *expected)
    other = replace(branch, branch_id=RUN)
    moved = [*several, HistoryAppend(other, [HistoryNode(2, 1, 0, DataBlob(b""))])]
    assert end_of(bytes(32) + packed_end_after(moved, PACKED_END)) == (END.branch[:16] + RUN.bytes, 2, 1)


numbers, items = st.integers(1, 3), st.sampled_from([bytes(8), b"\1" * 8, b"\1" * 16])
entries = st.lists(
    st.one_of(
        st.tuples(numbers, items, st.just(b"plaintext")),
        st.tuples(numbers, items, st.none()),
    ),
    max_size=6,
    unique_by=lambda entry: (*entry[:2], entry[2] is None),
)
cleared = st.one_of(st.just([]), st.just([(3, None, None)]))


@given(st.lists(st.tuples(cleared, entries, st.booleans(), st.binary(min_size=8, max_size=8)), max_size=6))
def test_the_digest_follows_the_rows(writes):
    """After each write the digest is that of the rows as the statement leaves them, with and without the hashes of before."""
    rows: dict[bytes, bytes] = {}
    state = written([])
    for clear, written_and_deleted, replaced, stamp in writes:
        changed = sorted(written_and_deleted, key=lambda entry: entry[2] is None)  # as a mutation returns them
        state = written(clear + changed, stamp, state, replaced=replaced)
        if replaced:
            rows = {}
        if clear:
            rows = {place: kept for place, kept in rows.items() if place[0] != 3}
        rows |= {bytes([number]) + item: stamp for number, item, plaintext in changed if plaintext is not None}
        for number, item, plaintext in changed:
            if plaintext is None:
                rows.pop(bytes([number]) + item, None)
        found = read(rows, total_of(state[1]))
        for known in (None, state[2], found):
            assert read(rows, total_of(state[1]), known) == found
            assert stamps(found) == stamps(state[2])
        if replaced:  # the next write follows a read
            state = (*state[:2], found, *state[3:])
    _refuse_others(rows, state)


def _refuse_others(rows, state):
    """Assert that no other rows are read for the state, whatever is known of it."""
    for place in rows:
        less = {other: stamp for other, stamp in rows.items() if other != place}
        for other in (less, rows | {place: bytes(7) + b"x"}, less | {b"\7" + bytes(8): rows[place]}):
            for known in (None, stamps(state[2]), read(rows, total_of(state[1]))):
                with pytest.raises(IntegrityError):
                    read(other, total_of(state[1]), known)


def test_two_rows_of_one_place_are_refused():
    """An item and the same item with zero bytes before it are one place, and the same sealed value opens in both."""
    state = written([(1, b"\1" * 8, b"plaintext")])
    rows = {b"\1" + b"\1" * 8: b"s" * 8}
    twice = rows | {b"\1" + bytes(8) + b"\1" * 8: b"s" * 8}
    for known in (None, state[2], read(rows, total_of(state[1]))):
        assert stamps(read(rows, total_of(state[1]), known)) == state[2]
        with pytest.raises(IntegrityError):
            read(twice, total_of(state[1]), known)


def test_a_read_of_known_rows_makes_no_hash(monkeypatch):
    """Rows that were read before are compared, and not hashed. The control: rows of a write are hashed."""
    state = written([(1, b"\1" * 8, b"plaintext"), (2, b"\2" * 16, b"plaintext")])
    rows, total = {b"\1" + b"\1" * 8: b"s" * 8, b"\2" + b"\2" * 16: b"s" * 8}, total_of(state[1])
    found = read(rows, total)
    checked = []
    monkeypatch.setattr(run_digest, "check_digest", lambda *_: checked.append(1))
    assert (read(rows, total, found), checked) == (found, [])
    assert (read(rows, total, state[2]), checked) == (found, [1])


def state_of(number, branch=None):
    """Return a state with this many map rows."""
    binding = NO_BINDING if branch is None else bytes(32) + b"\1" + branch + bytes(16)
    return b"t" * 16, binding, {bytes([place] * 9): bytes(40) for place in range(number)} or None, None, 0


def test_known_runs_are_bounded():
    """The runs that were not used for longest are forgotten first, by runs and entries together."""
    known = KnownRuns(limit=6)
    for name in (b"a", b"b", b"c"):
        known.put(name, state_of(1, name * 32))
    assert known.get(b"a") is not None
    known.put(b"d", state_of(0))
    assert [name for name in (b"a", b"b", b"c", b"d") if known.get(name) is None] == [b"b"]
    assert [known.run_of(name * 32) for name in (b"a", b"b", b"c")] == [b"a", None, b"c"]
    for number in (3, 0, 3, 1):
        known.put(b"d", state_of(number))
    assert known.get(b"d") is not None
    known.put(b"e", state_of(9))
    assert [known.get(name) for name in (b"a", b"c", b"d", b"e")] == [None] * 4
    known.put(b"f", (*state_of(0)[:2], bytes(3 * MAP_ROW_BYTES), None, 0))  # as they were read
    known.put(b"g", state_of(2))
    assert [known.get(name) is None for name in (b"f", b"g")] == [True, False]
    for number in range(9):
        known.put(bytes([number]), state_of(0))
    assert [number for number in range(9) if known.get(bytes([number]))] == [3, 4, 5, 6, 7, 8]


def test_a_run_moves_to_another_branch():
    """A branch that is no longer the current one leads to no run, and a branch that two runs name leads to the last one."""
    known = KnownRuns()
    first, second = b"1" * 32, b"2" * 32
    known.put(b"a", state_of(0, first))
    known.put(b"a", state_of(0, second))
    assert (known.run_of(first), known.run_of(second)) == (None, b"a")
    known.put(b"b", state_of(0, second))
    known.forget(b"a")
    assert known.run_of(second) == b"b"
