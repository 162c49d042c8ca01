"""The digest of a run is that of kms/FORMAT.md section 7.6, and follows each write of the run's maps."""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.kms import IntegrityError
from strongroom.kms.sealing.tokens import TokenKey
from strongroom.kms.secret import Secret
from strongroom.storage import DataBlob, multiset
from strongroom.storage.executions.known_runs import KnownRuns, RunState
from strongroom.storage.executions.packing import pack_run, unpack_run
from strongroom.storage.executions.run_digest import next_state, stored_state
from strongroom.storage.histories.ends import BranchEnd

VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "run_digest.json").read_text())
KEY, RUN = bytes.fromhex(VECTOR["key"]), UUID(VECTOR["run"])
KEYS = SimpleNamespace(identity={"map row": TokenKey(Secret(KEY))}.__getitem__)
END = BranchEnd(bytes(range(32)), 5, 13)


def written(entries, stamp=b"s" * 8, known=None, *, replaced=False):
    """Return the state of the run after a write."""
    state = next_state(KEYS, RUN.bytes, entries, stamp, known=known, replaced=replaced, appends=())
    return state.committed(b"t" * 16)


def test_the_vector():
    """Digest and plaintext have the bytes of the specification, computed by this package and by the standard library."""
    rows = [(row["map"], bytes.fromhex(row["item"]), bytes.fromhex(row["stamp"])) for row in VECTOR["rows"]]
    messages = [RUN.bytes + number.to_bytes(2) + item.rjust(16, b"\0") + stamp for number, item, stamp in rows]
    total = sum(int.from_bytes(hmac.digest(KEY, message, "sha256")) for message in messages) % 2**256
    assert multiset.pack(total).hex() == VECTOR["digest"]
    state = None
    for number, item, stamp in rows:
        state = written([(number, item, b"plaintext")], stamp, state)
    assert state.total == total
    places, plaintexts = [row[:2] for row in rows], [row[2] + b"plaintext" for row in rows]
    stored = stored_state(KEYS, RUN, places, plaintexts, tag=b"t" * 16, total=total, end=None)
    assert stored == state
    packed = pack_run(DataBlob(b"info"), DataBlob(b"state"), total=total, end=END)
    assert packed.hex() == VECTOR["plaintext"]
    assert unpack_run(packed) == (DataBlob(b"info"), DataBlob(b"state"), total, END)
    without = pack_run(DataBlob(b""), DataBlob(b""), total=0, end=None)
    assert without[:81] == bytes(81)
    assert unpack_run(without)[2:] == (0, None)


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
    """After each write the digest is that of the rows as the statement leaves them."""
    rows: dict[tuple[int, bytes], bytes] = {}
    state = written([])
    for clear, changed, replaced, stamp in writes:
        state = written(clear + changed, stamp, state, replaced=replaced)
        if replaced:
            rows = {}
        if clear:
            rows = {place: kept for place, kept in rows.items() if place[0] != 3}
        rows |= {(number, item): stamp for number, item, plaintext in changed if plaintext is not None}
        for number, item, plaintext in changed:
            if plaintext is None:
                rows.pop((number, item), None)
        stored = stored_state(KEYS, RUN, [*rows], [*rows.values()], tag=b"t" * 16, total=state.total, end=None)
        assert stored == state
    if rows:
        rows.popitem()
        with pytest.raises(IntegrityError):
            stored_state(KEYS, RUN, [*rows], [*rows.values()], tag=b"t" * 16, total=state.total, end=None)


def test_known_runs_are_bounded():
    """The runs that were not used for longest are forgotten first, by runs and entries together."""
    known = KnownRuns(limit=6)
    end = {name: BranchEnd(name * 32, 1, 1) for name in (b"a", b"b", b"c")}
    for name, value in end.items():
        known.put(name, RunState(b"t", {(1, bytes(8)): 7}, 7, value))
    assert known.get(b"a") is not None
    known.put(b"d", RunState(b"t", {}, 0, None))
    assert [name for name in (b"a", b"b", b"c", b"d") if known.get(name) is None] == [b"b"]
    assert [known.run_of(end[name].branch) for name in end] == [b"a", None, b"c"]
    known.put(b"e", RunState(b"t", {(1, bytes([number] * 8)): 7 for number in range(9)}, 7, None))
    assert known.get(b"e") is None
    assert known.get(b"a") is None


def test_a_run_moves_to_another_branch():
    """A branch that is no longer the current one leads to no run, and a branch that two runs name leads to the last one."""
    known = KnownRuns()
    first, second = BranchEnd(b"1" * 32, 1, 1), BranchEnd(b"2" * 32, 1, 1)
    known.put(b"a", RunState(b"t", {}, 0, first))
    known.put(b"a", RunState(b"t", {}, 0, second))
    assert (known.run_of(first.branch), known.run_of(second.branch)) == (None, b"a")
    known.put(b"b", RunState(b"t", {}, 0, second))
    known.forget(b"a")
    assert known.run_of(second.branch) == b"b"
