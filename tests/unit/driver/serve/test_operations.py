from __future__ import annotations

import inspect
from typing import get_type_hints

import msgspec
import pytest

from strongroom.driver.serve.arguments import LOCAL
from strongroom.driver.serve.operations import served_operations
from strongroom.driver.stores import STORE_OPERATIONS, STORES

SERVED = served_operations()
METHODS = {
    operation.name: inspect.unwrap(getattr(store.type, operation.method))
    for store in STORES
    for operation in store.operations
}


def test_every_operation_of_the_table_is_served() -> None:
    """A store operation is served as soon as it is in the table."""
    assert set(SERVED) == set(STORE_OPERATIONS)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_parameter_can_be_sent(name: str) -> None:
    """A client can pass every parameter of an operation, except those that only a caller in the same process has."""
    sent = set(inspect.signature(METHODS[name]).parameters) - LOCAL - {"self"}
    decoded = get_type_hints(SERVED[name].decode.__self__.type)  # type: ignore[attr-defined]
    assert set(decoded) == sent


@pytest.mark.parametrize("name", sorted(METHODS))
def test_an_unknown_argument_is_refused(name: str) -> None:
    """A misspelt argument never takes its default silently."""
    with pytest.raises(msgspec.ValidationError, match=r"unknown field|missing required"):
        SERVED[name].decode(msgspec.Raw(msgspec.msgpack.encode({"no_such_argument": 1})))


def test_operations_know_whether_they_write() -> None:
    """A call that is given up may have been committed if, and only if, its operation writes."""
    assert {name for name, operation in SERVED.items() if operation.writes} == {
        name for name, operation in STORE_OPERATIONS.items() if operation.activity != "read"
    }
