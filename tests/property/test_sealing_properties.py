from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from strongroom.kms import (
    IntegrityError,
    InvalidRequest,
    KeyClass,
    KeyNotFound,
    NamespaceKeys,
    PartType,
    RecordKind,
    Secret,
    Suite,
    UnsupportedFormat,
)
from strongroom.kms.keys.data_key import DataKey
from strongroom.kms.keys.leases import Lease
from strongroom.kms.sealing.packing import padme
from strongroom.kms.sealing.record_kind import encode_parts
from strongroom.visibility import VISIBILITY_RECORD
from tests.support.counts import examples

pytestmark = pytest.mark.usefixtures("cipher")

untimed = settings(deadline=None)  # a busy machine must not fail the test

CELL, OTHER_CELL = UUID(int=1), UUID(int=2)
NAMESPACE, OTHER_NAMESPACE = UUID(int=3), UUID(int=4)
REFUSALS = (IntegrityError, UnsupportedFormat, KeyNotFound)
OVERHEAD = {Suite.AES_256_GCM: 36, Suite.XAES_256_GCM: 48}
DICTIONARY = b'{"event":"WorkflowTaskScheduled","queue":"payments","attempt":1}'

PARTS = {
    PartType.BYTES: st.binary(max_size=40),
    PartType.INT64: st.integers(-(2**63), 2**63 - 1),
    PartType.TEXT: st.text(max_size=20),
    PartType.ID: st.binary(min_size=16, max_size=16),
}
KEY_TYPES = st.lists(st.sampled_from(PartType), max_size=4).map(tuple)
TEXTS = st.binary(max_size=100) | st.builds(bytes.__mul__, st.binary(max_size=50), st.integers(0, 40))
KINDS = st.builds(
    RecordKind,
    st.text(min_size=1, max_size=10),
    st.text(min_size=1, max_size=10),
    KEY_TYPES,
    compress=st.booleans(),
    dictionary=st.sampled_from([b"", DICTIONARY]),
    tables=st.sampled_from([b"", VISIBILITY_RECORD.tables]),
    padded=st.booleans(),
)


def keys_of(types):
    return st.tuples(*(PARTS[part_type] for part_type in types))


def make_keys(suite, *, cell=CELL, namespace=NAMESPACE, root=b"\x01" * 32, version=1):
    key = DataKey(Secret(root), version=version, suite=suite, lease=Lease(2**20))
    return NamespaceKeys(
        cell_id=cell,
        namespace_id=namespace,
        data={version: key},
        index={},
        identity={},
        active={KeyClass.DATA: version},
    )


@st.composite
def batches(draw, min_rows=0):
    """Draw a suite, a kind, the length of the scope, and rows that share the scope's parts."""
    kind = draw(KINDS)
    split = draw(st.integers(0, len(kind.key)))
    scope = draw(keys_of(kind.key[:split]))
    rows = draw(st.lists(st.tuples(keys_of(kind.key[split:]), TEXTS), min_size=min_rows, max_size=6))
    return draw(st.sampled_from(Suite)), kind, scope, rows


@st.composite
def sealed_rows(draw):
    """Draw one row, and seal it."""
    suite, kind, scope, rows = draw(batches(min_rows=1))
    key, plaintext = scope + rows[0][0], rows[0][1]
    return suite, kind, key, plaintext, make_keys(suite).seal(kind, key, plaintext)


# --- round trips


@untimed
@given(batches())
def test_batch_round_trip(batch):
    """A sealed batch opens to the same bytes, in order, in a process that has the root only."""
    suite, kind, scope, rows = batch
    sealed = make_keys(suite).seal_many(kind, rows, scope=scope)
    to_open = [(key, value) for (key, _), value in zip(rows, sealed, strict=True)]
    assert make_keys(suite).open_many(kind, to_open, scope=scope) == [plaintext for _, plaintext in rows]


@untimed
@given(batches(min_rows=1), st.data())
def test_scope_does_not_change_what_is_sealed(batch, data):
    """A value opens under every split of its key into scope and rest."""
    suite, kind, scope, rows = batch
    sealed = make_keys(suite).seal_many(kind, rows, scope=scope)
    for (rest, plaintext), value in zip(rows, sealed, strict=True):
        whole = scope + rest
        split = data.draw(st.integers(0, len(whole)))
        assert make_keys(suite).open_many(kind, [(whole[split:], value)], scope=whole[:split]) == [plaintext]


@untimed
@given(batches())
def test_values_of_several_batches_open_together(batch):
    """Values of several batches open together in any order, because rows share no state."""
    suite, kind, scope, rows = batch
    keys = make_keys(suite)
    first, second = keys.seal_many(kind, rows, scope=scope), keys.seal_many(kind, rows, scope=scope)
    mixed = [
        (key, value) for (key, _), pair in zip(rows, zip(first, second, strict=True), strict=True) for value in pair
    ]
    expected = [plaintext for _, plaintext in rows for _ in range(2)]
    assert keys.open_many(kind, mixed, scope=scope) == expected
    assert keys.open_many(kind, mixed[::-1], scope=scope) == expected[::-1]


@untimed
@given(sealed_rows())
def test_length_of_a_sealed_value(row):
    """A sealed value has the length of the envelope and the plaintext, after compression and Padmé padding."""
    suite, kind, _, plaintext, sealed = row
    body = len(sealed) - OVERHEAD[suite]
    if not kind.padded:
        assert body == len(plaintext) if sealed[3] & 0b111 == 0 else body * 10 <= len(plaintext) * 9
    else:
        assert body == padme(body)
        assert body <= padme(4 + len(plaintext))


@untimed
@given(sealed_rows())
def test_sealing_twice_gives_different_bytes(row):
    """Sealing a row twice gives a different nonce and ciphertext."""
    suite, kind, key, plaintext, sealed = row
    again = make_keys(suite).seal(kind, key, plaintext)
    assert again != sealed
    assert again[8:20] != sealed[8:20]


# --- alteration


def open_row(suite, kind, key, sealed):
    return make_keys(suite).open(kind, key, sealed)


@untimed
@given(sealed_rows(), st.data())
def test_any_flipped_bit_is_refused(row, data):
    """A value with any one flipped bit is refused."""
    suite, kind, key, _, sealed = row
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    altered = bytearray(sealed)
    altered[bit // 8] ^= 1 << bit % 8
    with pytest.raises(REFUSALS):
        open_row(suite, kind, key, bytes(altered))


@pytest.mark.parametrize("packing", [{}, {"compress": True}, {"padded": True}, {"compress": True, "padded": True}])
@pytest.mark.parametrize("suite", Suite)
def test_each_flipped_bit_cut_and_addition_is_refused(suite, packing):
    """Every flipped bit and every other length of one value of each suite and packing is refused."""
    kind = RecordKind("record", "data", (PartType.INT64,), **packing)
    keys = make_keys(suite)
    sealed = keys.seal(kind, (1,), b"text " * 110)
    assert keys.open(kind, (1,), sealed) == b"text " * 110
    spoilt = [sealed[:cut] for cut in range(len(sealed))]
    spoilt += [sealed + bytes(count) for count in (1, 2, 12, 16, 24)]
    for bit in range(len(sealed) * 8):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        spoilt.append(bytes(altered))
    for value in spoilt:
        with pytest.raises(REFUSALS):
            keys.open(kind, (1,), value)


@untimed
@given(sealed_rows(), st.data())
def test_any_truncation_is_refused(row, data):
    """A value that was truncated at either end is refused."""
    suite, kind, key, _, sealed = row
    cut = data.draw(st.integers(1, len(sealed)))
    for rest in (sealed[:-cut], sealed[cut:]):
        with pytest.raises(REFUSALS):
            open_row(suite, kind, key, rest)


@untimed
@given(sealed_rows(), st.binary(min_size=1, max_size=60), st.data())
def test_any_extension_is_refused(row, more, data):
    """A value with added bytes is refused, whether they are before, after or inside it."""
    suite, kind, key, _, sealed = row
    position = data.draw(st.integers(0, len(sealed)))
    for longer in (sealed + more, sealed[:position] + more + sealed[position:]):
        with pytest.raises(REFUSALS):
            open_row(suite, kind, key, longer)


@untimed
@given(
    st.sampled_from(Suite),
    st.binary(max_size=200) | st.builds(bytes.__add__, st.just(b"\x07\x01\x02\x00\x00\x00\x00\x01"), st.binary()),
)
def test_nothing_opens_that_was_not_sealed(suite, content):
    """Bytes that were not sealed never open, with or without a plausible header."""
    with pytest.raises(REFUSALS):
        open_row(suite, RecordKind("record", "data", ()), (), content)


@untimed
@given(batches(min_rows=2), st.data())
def test_one_altered_value_fails_its_whole_batch(batch, data):
    """One altered value fails its whole batch, and nothing is returned."""
    suite, kind, scope, rows = batch
    keys = make_keys(suite)
    sealed = keys.seal_many(kind, rows, scope=scope)
    victim = data.draw(st.integers(0, len(rows) - 1))
    position = data.draw(st.integers(0, len(sealed[victim]) - 1))
    altered = bytearray(sealed[victim])
    altered[position] ^= data.draw(st.integers(1, 255))
    sealed[victim] = bytes(altered)
    with pytest.raises(REFUSALS):
        keys.open_many(kind, [(key, value) for (key, _), value in zip(rows, sealed, strict=True)], scope=scope)


@untimed
@given(batches(min_rows=2))
def test_swapped_rows_are_refused(batch):
    """Two swapped values of a batch do not open, unless their keys are equal."""
    suite, kind, scope, rows = batch
    assume(rows[0][0] != rows[1][0])
    keys = make_keys(suite)
    sealed = keys.seal_many(kind, rows, scope=scope)
    with pytest.raises(IntegrityError):
        keys.open_many(kind, [(rows[0][0], sealed[1]), (rows[1][0], sealed[0])], scope=scope)


@untimed
@given(sealed_rows(), sealed_rows())
def test_spliced_values_are_refused(first, second):
    """The head of one value with the body of another opens in neither row."""
    suite, kind, key, _, sealed = first
    _, other_kind, other_key, _, other = second
    spliced = sealed[: OVERHEAD[suite] - 16] + other[OVERHEAD[suite] - 16 :]
    assume(spliced not in (sealed, other))
    for place, row in ((kind, key), (other_kind, other_key)):
        with pytest.raises(REFUSALS):
            open_row(suite, place, row, spliced)


# --- other rows


@untimed
@given(sealed_rows(), st.data())
def test_any_other_place_is_refused(row, data):
    """A value does not open in another cell, namespace, kind, column or row, or with another root or version."""
    suite, kind, key, _, sealed = row
    packing = {"compress": kind.compress, "dictionary": kind.dictionary, "padded": kind.padded}
    with pytest.raises(IntegrityError):
        make_keys(suite, cell=OTHER_CELL).open(kind, key, sealed)
    with pytest.raises(IntegrityError):
        make_keys(suite, namespace=OTHER_NAMESPACE).open(kind, key, sealed)
    with pytest.raises(IntegrityError):
        make_keys(suite, cell=NAMESPACE, namespace=CELL).open(kind, key, sealed)
    with pytest.raises(IntegrityError):
        make_keys(suite, root=b"\x02" * 32).open(kind, key, sealed)
    with pytest.raises(KeyNotFound):
        make_keys(suite, version=2).open(kind, key, sealed)
    for name, column in (
        (kind.name + "x", kind.column),
        (kind.name, kind.column + "x"),
        (kind.name + kind.column[:1], kind.column[1:]),
        (kind.name[:-1], kind.name[-1:] + kind.column),
    ):
        with pytest.raises(IntegrityError):
            open_row(suite, RecordKind(name, column, kind.key, **packing), key, sealed)
    other_key = data.draw(keys_of(kind.key))
    if other_key != key:
        with pytest.raises(IntegrityError):
            open_row(suite, kind, other_key, sealed)


@untimed
@given(sealed_rows(), sealed_rows())
def test_value_opens_in_its_own_place_only(first, second):
    """A value opens in another row only if kind, column, key types and key are equal."""
    suite, kind, key, _, sealed = first
    _, other_kind, other_key, _, _ = second
    if (kind.name, kind.column, kind.key, key) == (other_kind.name, other_kind.column, other_kind.key, other_key):
        return
    with pytest.raises(IntegrityError):
        open_row(suite, other_kind, other_key, sealed)


# --- encodings


@untimed
@given(KEY_TYPES, st.data())
def test_keys_of_given_types_are_encoded_injectively(types, data):
    """Two keys of the same types have the same encoding only if they are equal."""
    first, second = data.draw(keys_of(types)), data.draw(keys_of(types))
    assert (encode_parts(types, first) == encode_parts(types, second)) == (first == second)


@settings(max_examples=examples(300), deadline=None)
@given(st.data())
def test_resplit_text_is_encoded_differently(data):
    """Text or bytes that are split into parts at another position have another encoding."""
    part_type = data.draw(st.sampled_from([PartType.TEXT, PartType.BYTES]))
    whole = data.draw(PARTS[part_type])
    cuts = [data.draw(st.integers(0, len(whole))) for _ in range(2)]
    assume(cuts[0] != cuts[1])
    first, second = (encode_parts((part_type, part_type), (whole[:cut], whole[cut:])) for cut in cuts)
    assert first != second


@untimed
@given(KINDS, KINDS)
@example(RecordKind("a", "bc", ()), RecordKind("ab", "c", ()))
@example(RecordKind("a", "b", (PartType.TEXT,)), RecordKind("a", "b", (PartType.BYTES,)))
def test_kinds_are_encoded_injectively(first, second):
    """Two kinds have the same associated data only if name, column, dictionary and key types are equal."""
    same = (first.name, first.column, first.dictionary, first.key) == (
        second.name,
        second.column,
        second.dictionary,
        second.key,
    )
    contexts = [kind.context(CELL.bytes, NAMESPACE.bytes) for kind in (first, second)]
    assert (contexts[0] == contexts[1]) == same
    if not same:  # and neither is a prefix of the other, which key parts could complete
        assert not contexts[0].startswith(contexts[1])
        assert not contexts[1].startswith(contexts[0])


@untimed
@given(batches(min_rows=1), st.data())
def test_key_of_another_shape_is_an_invalid_request(batch, data):
    """A key with a wrong number of parts, or a part of a wrong type, raises InvalidRequest."""
    suite, kind, scope, rows = batch
    keys = make_keys(suite)
    key = scope + rows[0][0]
    sealed = keys.seal(kind, key, b"text")
    wrong = [(*key, 1), (*key, None)]
    if key:
        place = data.draw(st.integers(0, len(key) - 1))
        wrong += [key[:-1], (*key[:place], None, *key[place + 1 :]), (*key[:place], 1.5, *key[place + 1 :])]
    for other in wrong:
        split = data.draw(st.integers(0, len(other)))
        with pytest.raises(InvalidRequest):
            keys.seal_many(kind, [(other[split:], b"text")], scope=other[:split])
        with pytest.raises(InvalidRequest):
            keys.open_many(kind, [(other[split:], sealed)], scope=other[:split])
