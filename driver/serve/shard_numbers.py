"""Shard numbers on the wire and in rows. Temporal's are an unkeyed hash of the workflow, so rows have a permutation of them.

The places of shard numbers in arguments and answers are found in the types: every field `shard_id`, however deep.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import is_dataclass
from functools import cache
from struct import Struct
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.kms import NamespaceKeys

FIELD = "shard_id"
PURPOSE = "shard permutation"
_NUMBER = Struct(">I")
_IN_TEXT = re.compile(r"\bshard (\d+)\b")

Numbers: TypeAlias = "Sequence[int]"
"""The replacement of each shard number, by its place; the first place is not used."""
Replace: TypeAlias = "Callable[[Any, Numbers], Any]"
"""Returns a value with its shard numbers replaced. A dataclass is changed in place: it was decoded or answered for this call alone."""


class ShardNumbers:
    """A permutation of 1 to `count` under the cell's identity key.

    Attributes:
        stored: The number in rows of each of Temporal's numbers.
        temporal: Temporal's number of each number in rows.

    Args:
        keys: The cell's keys.
        count: The number of shards.
    """

    def __init__(self, keys: NamespaceKeys, count: int) -> None:
        key = keys.identity(PURPOSE)
        order = sorted(range(1, count + 1), key=lambda number: key.token(_NUMBER.pack(number)))
        self.stored = [0] * (count + 1)
        self.temporal = [0, *order]
        for number, shard in enumerate(order, 1):
            self.stored[shard] = number

    def in_text(self, message: str) -> str:
        """Return a message of a store with Temporal's shard numbers."""
        return _IN_TEXT.sub(lambda found: f"shard {replaced(int(found[1]), self.temporal)}", message)


def replaced(shard: Any, numbers: Numbers) -> Any:
    """Return the replacement of a shard number. A number outside the cell's is returned as it is, for the store to refuse."""
    return numbers[shard] if type(shard) is int and 0 < shard < len(numbers) else shard


@cache
def replacement(hint: Any) -> Replace | None:
    """Return the function that replaces the shard numbers in values of a type; None if there are none in it."""
    parts = [part for part in get_args(hint) if part is not NoneType and part is not Ellipsis]
    if NoneType in get_args(hint):
        inner = replacement(parts[0])
        return None if inner is None else _optional(inner)
    if len(parts) == 1 and isinstance(origin := get_origin(hint), type) and issubclass(origin, Sequence):
        inner = replacement(parts[0])
        return None if inner is None else _in_items(inner)
    if isinstance(hint, type) and (is_dataclass(hint) or hasattr(hint, "_fields")):
        return _in_fields(hint)
    return None


def _optional(inner: Replace) -> Replace:
    return lambda value, numbers: None if value is None else inner(value, numbers)


def _in_items(inner: Replace) -> Replace:
    return lambda values, numbers: [inner(value, numbers) for value in values] if values else values


def _in_fields(kind: type) -> Replace | None:
    hints = get_type_hints(kind)
    found = {name: inner for name, hint in hints.items() if (inner := replacement(hint)) is not None}
    if FIELD in hints:
        found[FIELD] = replaced
    if not found:
        return None
    return _in_place(tuple(found.items())) if is_dataclass(kind) else _in_tuple(tuple(found.items()))


def _in_place(inner: Sequence[tuple[str, Replace]]) -> Replace:
    def replace(value: Any, numbers: Numbers) -> Any:
        for name, replace_in in inner:
            object.__setattr__(value, name, replace_in(getattr(value, name), numbers))
        return value

    return replace


def _in_tuple(inner: Sequence[tuple[str, Replace]]) -> Replace:
    return lambda value, numbers: value._replace(
        **{name: replace_in(getattr(value, name), numbers) for name, replace_in in inner}
    )
