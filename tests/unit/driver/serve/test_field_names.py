from __future__ import annotations

import inspect
import typing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from strongroom.driver.serve.arguments import LOCAL
from strongroom.driver.serve.operations import served_operations
from strongroom.driver.stores import STORES
from tests.support.bad_values import Samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.storage.shard_numbers import ShardNumbers

SERVED = served_operations()
SAMPLES = Samples(
    {"kek": "local:a", "types": {"Customer": "Keyword"}, "create": {"shard_id": 1, "range_id": 1, "info": [b"x"]}}
)
NUMBERS = cast("ShardNumbers", SimpleNamespace(stored=(0, 1), temporal=(0, 1)))
ENCODER = msgspec.msgpack.Encoder(uuid_format="bytes")
METHODS = {
    operation.name: inspect.unwrap(getattr(store.type, operation.method))
    for store in STORES
    for operation in store.operations
}


def arguments(name: str) -> dict[str, Any]:
    """Return valid arguments of an operation with every optional part, as plain values."""
    hints = typing.get_type_hints(METHODS[name], localns=SAMPLES.names)
    sent = [each for each in hints if each not in LOCAL | {"return"}]
    plain = msgspec.msgpack.decode(ENCODER.encode({each: SAMPLES.make(hints[each], each) for each in sent}))
    assert isinstance(plain, dict)
    return plain


def with_a_name_too_many(value: Any) -> Iterator[None]:
    """Add a name to each map of fields within a value in turn, and yield meanwhile."""
    if isinstance(value, dict):
        if "shard_id" in value or "namespace_id" in value or "info" in value:
            value["too_many"] = 1
            yield
            del value["too_many"]
        for item in list(value.values()):
            yield from with_a_name_too_many(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from with_a_name_too_many(item)


@pytest.mark.parametrize("name", sorted(SERVED))
def test_an_unknown_name_is_found_wherever_it_is(name: str) -> None:
    """Valid arguments have none. One more name in any value is found, even where the decoder accepts it."""
    operation, plain = SERVED[name], arguments(name)
    encoded = msgspec.Raw(ENCODER.encode(plain))
    operation.arguments(encoded, NUMBERS)
    for value in plain.values():
        for _ in with_a_name_too_many(value):
            with pytest.raises(msgspec.ValidationError, match="unknown field `too_many`"):
                operation.arguments(msgspec.Raw(ENCODER.encode(plain)), NUMBERS)


def test_the_decoder_does_not_do_this() -> None:
    """A control: without this check the name would be accepted. If this fails, the check is needless."""
    operation = SERVED["shards.update_shard"]
    shard = {"shard_id": 1, "range_id": 1, "info": [b"x"], "too_many": 1}
    operation.decode(msgspec.Raw(ENCODER.encode({"shard": shard, "previous_range_id": 1})))
