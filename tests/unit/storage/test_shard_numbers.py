"""Shard numbers: Temporal's function, and the permutation of a cell."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from strongroom.kms.keys.namespace_keys import NamespaceKeys
from strongroom.kms.keys.registry import KeyClass
from strongroom.kms.secret import Secret
from strongroom.storage.farm_fingerprint import SHORTEST, fingerprint_32
from strongroom.storage.shard_numbers import ShardNumbers, temporal_shard

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "farm_fingerprint.json").read_text(encoding="utf-8"))[
    "vectors"
]
COUNTS = (1, 2, 3, 512, 16384)


def keys_of_cell(root=b"\x09"):
    """Return the keys of a cell, with an identity root of one repeated byte."""
    cell_id = UUID(int=1)
    return NamespaceKeys(
        cell_id=cell_id,
        namespace_id=cell_id,
        data={},
        index={},
        identity={1: Secret(root * 32)},
        active={KeyClass.IDENTITY: 1},
    )


def test_fingerprints_are_those_of_the_implementation_that_temporal_uses():
    """Every length class of the algorithm, and ids that are not ASCII, have the recorded fingerprint and shard."""
    for vector in VECTORS:
        workflow_id = vector["workflow_id"].encode()
        assert fingerprint_32(f"{vector['namespace_id']}_".encode() + workflow_id) == vector["fingerprint"], vector
        shard = temporal_shard(UUID(vector["namespace_id"]), workflow_id, 512)
        assert shard == vector["shard_of_512"], vector


def test_data_that_has_another_formula_is_refused():
    """Short input would get a wrong fingerprint."""
    fingerprint_32(bytes(SHORTEST))
    with pytest.raises(ValueError, match="25"):
        fingerprint_32(bytes(SHORTEST - 1))


@pytest.mark.parametrize("count", COUNTS)
def test_numbers_are_a_permutation_in_both_directions(count):
    """Every number has one stored number, and the way back leads to it."""
    numbers = ShardNumbers(keys_of_cell(), count)
    everything = list(range(1, count + 1))
    assert sorted(numbers.stored[1:]) == sorted(numbers.temporal[1:]) == everything
    assert [numbers.temporal[numbers.stored[number]] for number in everything] == everything


def test_the_permutation_depends_on_the_cells_key_alone():
    """It is the same in every process, and another one in a cell with other keys."""
    assert ShardNumbers(keys_of_cell(), 8).stored == (0, 4, 8, 1, 6, 5, 7, 3, 2)  # a promise about stored rows
    first, again = ShardNumbers(keys_of_cell(), 512), ShardNumbers(keys_of_cell(), 512)
    other = ShardNumbers(keys_of_cell(root=b"\x07"), 512)
    assert first.stored == again.stored
    same = sum(one == two for one, two in zip(first.stored[1:], other.stored[1:], strict=True))
    assert same < 20
    assert sum(number == place for place, number in enumerate(first.stored)) < 20


def test_a_workflow_is_in_the_permuted_shard_of_temporal():
    """`shard_of` is Temporal's number through the permutation."""
    numbers, namespace_id = ShardNumbers(keys_of_cell(), 512), uuid4()
    for number in range(100):
        workflow_id = b"order/%d" % number
        assert (
            numbers.shard_of(namespace_id, workflow_id)
            == numbers.stored[temporal_shard(namespace_id, workflow_id, 512)]
        )
