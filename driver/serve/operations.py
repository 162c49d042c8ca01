"""The operations that a client can call: those of the one table (`driver/stores.py`), with what their form on the wire needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

import msgspec

from strongroom.driver.stores import STORES
from strongroom.kms import KekRef
from strongroom.storage import BranchInfo, BranchPage, HistoryBranch, ShardInfo, VisibilityRow
from strongroom.visibility import VisibilityRecord

from .arguments import arguments_type, kek_parameters
from .field_names import names_check
from .shard_numbers import FIELD, replaced, replacement
from .values import decoder_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from strongroom.driver.operations import Operation
    from strongroom.storage import ShardNumbers

    from .shard_numbers import Replace


class VersionedRecord(NamedTuple):
    """A record of `visibility.record_workflow_executions`, with a name for its shard.

    Attributes:
        shard_id: The shard of the workflow.
        version: The version of the record.
        record: The record.
    """

    shard_id: int
    version: int
    record: VisibilityRecord


REPLACED: Mapping[str, Mapping[str, Any]] = {
    "shards.get_or_create_shard": {"create": ShardInfo | None},
    "visibility.record_workflow_executions": {"records": Sequence[VersionedRecord]},
    "visibility.seal_workflow_executions": {"records": Sequence[VersionedRecord]},
}
"""The types of parameters whose form on the wire differs from that in Python."""

ANSWERS: Mapping[str, Any] = {
    "shards.get_or_create_shard": ShardInfo,
    "shards.shard_of": int,
    "history.fork_history_branch": HistoryBranch,
    "history.get_history_tree": list[BranchInfo],
    "history.get_history_tree_containing_branch": list[BranchInfo],
    "history.get_all_history_tree_branches": BranchPage,
    "visibility.seal_workflow_executions": list[VisibilityRow],
}
"""The types of the answers that have shard numbers in them."""


@dataclass(frozen=True, slots=True, eq=False)
class ServedOperation:
    """An operation as it is served.

    Attributes:
        name: The store and the method.
        area: The store.
        method: The method.
        writes: Whether it changes something, so that a call that was given up may have been committed.
        decode: Returns the arguments in a part of a message.
        check_names: Refuses an unknown field of a value within the arguments; None if no value has fields by name.
        shards: The arguments with shard numbers, and how they are replaced.
        keks: The arguments that are references to KEKs.
        answer: Replaces the shard numbers of an answer; None if it has none.
    """

    name: str
    area: str
    method: str
    writes: bool
    decode: Callable[[msgspec.Raw], msgspec.Struct]
    check_names: Callable[[msgspec.Raw], object] | None
    shards: tuple[tuple[str, Replace], ...]
    keks: tuple[str, ...]
    answer: Replace | None

    def arguments(self, encoded: msgspec.Raw, numbers: ShardNumbers) -> dict[str, Any]:
        """Return the arguments of a call as the store takes them.

        Raises:
            DecodeError: They are not arguments of this operation, or have a field that it does not have.
            InvalidRequest: A reference to a KEK is malformed.
        """
        arguments = msgspec.structs.asdict(self.decode(encoded))
        if self.check_names is not None:
            self.check_names(encoded)
        for name, replace in self.shards:
            arguments[name] = replace(arguments[name], numbers.stored)
        for name in self.keks:
            if arguments[name] is not None:
                arguments[name] = KekRef.parse(arguments[name])
        if self.name in _ADAPTED:
            _ADAPTED[self.name](arguments)
        return arguments


def served_operations() -> dict[str, ServedOperation]:
    """Return every operation of the table by its name."""
    return {
        operation.name: _served(store.name, operation, getattr(store.type, operation.method))
        for store in STORES
        for operation in store.operations
    }


def _served(area: str, operation: Operation, method: Callable[..., Awaitable[Any]]) -> ServedOperation:
    name = operation.name
    types = REPLACED.get(name, {})
    arguments = arguments_type(name, method, types)
    hints = get_type_hints(arguments)
    shards = [(field, replaced if field == FIELD else replacement(hint)) for field, hint in hints.items()]
    answer = ANSWERS.get(name)
    return ServedOperation(
        name=name,
        area=area,
        method=operation.method,
        writes=not operation.reads,
        decode=decoder_of(arguments).decode,
        check_names=names_check(arguments),
        shards=tuple((field, replace) for field, replace in shards if replace is not None),
        keks=kek_parameters(method, types),
        answer=replaced if answer is int else None if answer is None else replacement(answer),
    )


def _as_function(arguments: dict[str, Any]) -> None:
    """Replace the shard to create by the function that the store calls."""
    shard = arguments["create"]
    if shard is not None:
        arguments["create"] = lambda: shard


_ADAPTED: Mapping[str, Callable[[dict[str, Any]], None]] = {"shards.get_or_create_shard": _as_function}
