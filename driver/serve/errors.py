"""Errors as the maps of ERROR messages. The fields are the attributes of the error, so a new error needs no entry here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.kms import KeyDestroyed, KeyWithdrawn, StrongroomError, Timeout, Unavailable
from strongroom.storage import InvalidPersistenceRequest, ResourceExhausted, TransactionSizeLimit

from .shard_numbers import FIELD, in_text, replaced

if TYPE_CHECKING:
    from strongroom.storage import ShardNumbers

UNEXPECTED = "InternalError"
"""The kind of an error that is not one of Strongroom's. It is a defect of the server."""
_NOT_FIELDS = frozenset({"is_refusal", "may_have_been_committed", "raced"})


def error_map(error: StrongroomError, numbers: ShardNumbers | None = None) -> dict[str, Any]:
    """Return the map of an error.

    Args:
        error: The error.
        numbers: The permutation that replaces the shard numbers of rows; None if the error has none.
    """
    message = str(error)
    fields = {name: value for name, value in vars(error).items() if name[0] != "_" and name not in _NOT_FIELDS}
    if numbers is not None:
        message = in_text(message, numbers.temporal)
        if FIELD in fields:
            fields[FIELD] = replaced(fields[FIELD], numbers.temporal)
    return {
        "kinds": kinds_of(type(error)),
        "message": message,
        "may_have_been_committed": error.may_have_been_committed,
        "retryable": error.retryable,
        "fields": fields,
    }


def unreadable_map(error: StrongroomError) -> dict[str, Any]:
    """Return the map of the reason why a row does not open; `permanent` is true if its keys are destroyed."""
    return {**error_map(error), "permanent": isinstance(error, KeyDestroyed | KeyWithdrawn)}


def timeout_map(operation: str, *, may_have_been_committed: bool) -> dict[str, Any]:
    """Return the map for a call that is given up, because its deadline passed or its caller cancelled it."""
    error = Timeout(f"{operation} was given up: its deadline passed, or the caller cancelled it")
    error.may_have_been_committed = may_have_been_committed
    return error_map(error)


def exhausted_map(limit: int) -> dict[str, Any]:
    """Return the map for a call beyond the limit of calls in flight."""
    return error_map(ResourceExhausted(f"the connection has {limit} calls in flight; wait for an answer"))


def draining_map() -> dict[str, Any]:
    """Return the map for a call that arrives after GOAWAY."""
    return error_map(Unavailable("the server is shutting down, and did not start this call; connect again"))


def too_large_map(operation: str, size: int) -> dict[str, Any]:
    """Return the map for an answer that is larger than a message may be."""
    return error_map(TransactionSizeLimit(f"the answer of {operation} has {size} bytes; ask for a smaller page"))


def invalid_map(message: str) -> dict[str, Any]:
    """Return the map for a call that the server can't decode."""
    return error_map(InvalidPersistenceRequest(message))


def unexpected_map(operation: str, *, may_have_been_committed: bool) -> dict[str, Any]:
    """Return the map for an error that is a defect. Its own message stays in the server, because it may contain a tenant's data."""
    return {
        "kinds": [UNEXPECTED, "StrongroomError"],
        "message": f"{operation} failed with an internal error; the server's log has it",
        "may_have_been_committed": may_have_been_committed,
        "retryable": False,
        "fields": {},
    }


def kinds_of(kind: type[StrongroomError]) -> list[str]:
    """Return the names of an error's class and of its base classes up to `StrongroomError`, the most derived first."""
    return [each.__name__ for each in kind.__mro__ if issubclass(each, StrongroomError)]
