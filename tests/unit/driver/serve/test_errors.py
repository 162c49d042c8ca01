from __future__ import annotations

import inspect
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from strongroom.driver.serve import errors
from strongroom.driver.serve.errors import error_map, unreadable_map
from strongroom.driver.serve.values import encode
from strongroom.kms import KeyDestroyed, KeyNotFound, StrongroomError
from strongroom.storage import DataBlob
from tests.support.bad_values import names


def every_kind() -> list[type[StrongroomError]]:
    """Return every class of error."""
    names()  # imports every module
    found, queue = [], [StrongroomError]
    while queue:
        kind = queue.pop()
        found.append(kind)
        queue += [each for each in kind.__subclasses__() if each.__module__.startswith("strongroom.")]
    return sorted(set(found), key=lambda kind: kind.__name__)


KINDS = every_kind()
SAMPLES: dict[str, Any] = {
    "message": "what failed",
    "shard_id": 7,
    "next_event_id": 3,
    "db_record_version": 4,
    "run_id": uuid4(),
    "create_request_id": "request",
    "state": 1,
    "status": 2,
    "last_write_version": 9,
    "start_time": 2**62,
    "execution_state": DataBlob(b"state"),
    "retry_after": 2.5,
    "provider_code": "ThrottlingException",
    "request_id": "4711",
    "pooler": "PgBouncer 1.25",
    "position": 4,
    "version": 2,
    "uses": {"executions.data": 3},
    "differences": ["the key registry in the database is version 1, and version 2 is anchored"],
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_error_is_sent_with_its_fields(kind: type[StrongroomError]) -> None:
    """The kinds are those of the class and its bases, and each value that the error was made with is a field."""
    parameters = inspect.signature(kind).parameters
    given = {name: SAMPLES[name] for name in parameters if name in SAMPLES}
    error = kind(**given)
    sent = msgspec.msgpack.decode(encode(error_map(error)))
    assert sent["kinds"][0] == kind.__name__
    assert sent["kinds"][-1] == "StrongroomError"
    assert [
        name for name in sent["kinds"] if not issubclass(kind, next(each for each in KINDS if each.__name__ == name))
    ] == []
    assert sent["message"] == str(error)
    assert (sent["retryable"], sent["may_have_been_committed"]) == (kind.retryable, False)
    for name, value in given.items():
        if name != "message":
            assert sent["fields"][name] == msgspec.msgpack.decode(encode(value)), name


def test_no_two_kinds_have_one_name() -> None:
    """A client distinguishes kinds by their names."""
    assert len({kind.__name__ for kind in KINDS}) == len(KINDS)


def test_the_possible_commit_is_sent() -> None:
    """What the store says of the outcome is what the client gets."""
    error = KeyNotFound()
    error.may_have_been_committed = True
    assert error_map(error)["may_have_been_committed"] is True
    assert "may_have_been_committed" not in error_map(error)["fields"]


def test_only_destroyed_keys_are_permanent() -> None:
    """A row is dropped by the reader only if nothing can ever open it."""
    assert [unreadable_map(kind())["permanent"] for kind in (KeyDestroyed, KeyNotFound)] == [True, False]


@pytest.mark.parametrize("writes", [True, False])
def test_an_unexpected_error_hides_its_message(writes: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A defect may have an effect, and its own text may contain a tenant's data."""
    sent = errors.unexpected_map("shards.update_shard", may_have_been_committed=writes)
    assert sent["kinds"] == ["InternalError", "StrongroomError"]
    assert sent["may_have_been_committed"] is writes
