"""Refuse fields that a message has and its type does not. The decoder leaves them out, so a newer client's value would be lost.

Each type that has fields by name gets a second type with the same names. All other values are skipped while it is decoded, so this
costs little enough for every call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache, reduce
from operator import or_
from types import GenericAlias, UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from .values import decoder_of

if TYPE_CHECKING:
    from collections.abc import Callable


def names_check(wanted: type[msgspec.Struct]) -> Callable[[msgspec.Raw], object] | None:
    """Return a function that refuses arguments with an unknown field somewhere. It raises `msgspec.ValidationError`.

    Args:
        wanted: The type of the arguments. Its decoder refuses unknown fields of its own.

    Returns:
        The function; None if no value within the arguments has fields by name.
    """
    hints = get_type_hints(wanted)
    if not any(map(_names, hints.values())):
        return None
    return decoder_of(_struct(wanted, hints)).decode


@cache
def _names(hint: Any) -> Any:
    """Return the type that has the names of a type; None if no value of the type has fields by name."""
    origin, parts = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        hints = get_type_hints(hint)
        return _struct(hint, {field.name: hints[field.name] for field in fields(hint)})
    if isinstance(hint, type) and hasattr(hint, "_fields"):
        hints = get_type_hints(hint)
        return _struct(hint, hints, array_like=True) if any(map(_names, hints.values())) else None
    inner = [_names(part) for part in parts]
    if not any(inner):
        return None
    if origin in {Union, UnionType}:
        return reduce(or_, (found or part for found, part in zip(inner, parts, strict=True)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return GenericAlias(dict, (parts[0], inner[1] or msgspec.Raw))
    if origin is tuple and Ellipsis not in parts:
        return GenericAlias(tuple, tuple(found or msgspec.Raw for found in inner))
    assert isinstance(origin, type)  # noqa: S101 - the stores have no other types
    assert issubclass(origin, Sequence)  # noqa: S101
    return GenericAlias(list, (inner[0],))


def _struct(kind: type, hints: Mapping[str, Any], *, array_like: bool = False) -> type[msgspec.Struct]:
    members = [(name, _names(hint) or msgspec.Raw, None) for name, hint in hints.items()]
    return msgspec.defstruct(kind.__name__, members, array_like=array_like, forbid_unknown_fields=not array_like)
