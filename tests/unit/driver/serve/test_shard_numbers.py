from __future__ import annotations

import dataclasses
import inspect
import secrets
import typing
from types import SimpleNamespace
from uuid import uuid4

import msgspec
import pytest

from strongroom.driver.serve.operations import ANSWERS, served_operations
from strongroom.driver.serve.shard_numbers import FIELD, in_text, replaced, replacement
from strongroom.driver.stores import STORES
from strongroom.kms import Secret
from strongroom.kms.sealing.tokens import TokenKey
from strongroom.storage import BranchInfo, BranchPage, DataBlob, HistoryBranch, ShardInfo
from strongroom.storage.histories.tree import ListedBranch
from strongroom.storage.shard_numbers import ShardNumbers
from tests.support.bad_values import names

NAMES = names()
SERVED = served_operations()


def numbers_of(count: int) -> ShardNumbers:
    """Return a permutation under a new key."""
    token_key = TokenKey(Secret(secrets.token_bytes(32)))
    keys = SimpleNamespace(identity=lambda _: token_key)
    return ShardNumbers(keys, count)  # type: ignore[arg-type]


@pytest.mark.parametrize("shard", [0, -1, 5, 2**40, "1", None, True])
def test_other_numbers_are_left_to_the_store(shard: object) -> None:
    """A number that is none of the cell's is not replaced, so that the store refuses it or does not find it."""
    assert replaced(shard, numbers_of(4).stored) is shard


def test_a_message_names_temporals_number() -> None:
    """An operator knows Temporal's numbers only."""
    numbers = numbers_of(512)
    assert (
        in_text(f"shard {numbers.stored[7]} has another owner now", numbers.temporal) == "shard 7 has another owner now"
    )
    assert in_text("shard 9999 does not exist yet", numbers.temporal) == "shard 9999 does not exist yet"


def test_every_place_in_an_answer() -> None:
    """The numbers of an answer are replaced in its items, in values within values, and in both numbers of a listed branch."""
    numbers = numbers_of(512)
    branch = HistoryBranch(numbers.stored[7], uuid4(), uuid4())
    listed = ListedBranch(numbers.stored[7], uuid4(), branch.tree_id, branch.branch_id, BranchInfo(branch, "", 0))
    unreadable = ListedBranch(numbers.stored[8], uuid4(), branch.tree_id, branch.branch_id, None)
    replace = replacement(BranchPage)
    assert replace is not None
    page = replace(BranchPage((listed, unreadable), None), numbers.temporal)
    assert [each.shard_id for each in page.branches] == [7, 8]
    assert page.branches[0].info.branch.shard_id == 7


def test_every_place_in_a_request() -> None:
    """A request with a shard in itself, in its events and in its records has all of them replaced."""
    numbers = numbers_of(512)
    operation = SERVED["shards.get_or_create_shard"]
    sent = msgspec.msgpack.encode({"shard_id": 7, "create": {"shard_id": 7, "range_id": 1, "info": [b"x"]}})
    arguments = operation.arguments(msgspec.Raw(sent), numbers)
    assert arguments["shard_id"] == numbers.stored[7]
    assert arguments["create"]() == ShardInfo(numbers.stored[7], 1, DataBlob(b"x"))


@pytest.mark.parametrize("name", sorted(SERVED))
def test_no_shard_number_of_an_argument_is_forgotten(name: str) -> None:
    """An argument whose type has a field `shard_id` anywhere is replaced; a new operation can't forget it."""
    operation = SERVED[name]
    hints = typing.get_type_hints(operation.decode.__self__.type)  # type: ignore[attr-defined]
    wanted = {argument for argument, hint in hints.items() if argument == FIELD or mentions_shards(hint)}
    assert {argument for argument, _ in operation.shards} == wanted


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.name)
def test_no_shard_number_of_an_answer_is_forgotten(store: typing.Any) -> None:
    """An operation whose answer has a field `shard_id` anywhere is in the table of answers."""
    for operation in store.operations:
        method = inspect.unwrap(getattr(store.type, operation.method))
        answer = typing.get_type_hints(method, localns=NAMES)["return"]
        if mentions_shards(answer):
            assert operation.name in ANSWERS, operation.name
            assert SERVED[operation.name].answer is not None


def mentions_shards(hint: typing.Any, seen: frozenset[type] = frozenset()) -> bool:
    """Return whether a type has a shard number in it. This walks the types without the code under test."""
    if any(mentions_shards(part, seen) for part in typing.get_args(hint)):
        return True
    if not isinstance(hint, type) or hint in seen or not (dataclasses.is_dataclass(hint) or hasattr(hint, "_fields")):
        return False
    hints = typing.get_type_hints(hint, localns=NAMES)
    return FIELD in hints or any(mentions_shards(each, seen | {hint}) for each in hints.values())
