"""Replace the shard numbers of the wire by those of rows, and back (`strongroom.storage.shard_numbers` explains both).

The places of shard numbers in arguments and answers are found in the types: every field `shard_id`, however deep.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import is_dataclass
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable

FIELD = "shard_id"
_IN_TEXT = re.compile(r"\bshard (\d+)\b")

Numbers: TypeAlias = "Sequence[int]"
"""The replacement of each shard number, by its place; the first place is not used."""
Replace: TypeAlias = "Callable[[Any, Numbers], Any]"
"""Returns a value with its shard numbers replaced. A dataclass is changed in place: it was decoded or answered for this call alone."""


def in_text(message: str, numbers: Numbers) -> str:
    """Return a message with the numbers of its shards replaced."""
    return _IN_TEXT.sub(lambda found: f"shard {replaced(int(found[1]), numbers)}", message)


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
