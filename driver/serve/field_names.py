"""Find fields that a message has and its type does not. The decoder leaves them out, so a newer client's value would be lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_origin, get_type_hints

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Find: TypeAlias = "Callable[[Any], str | None]"
"""Returns the name of an unknown field in a decoded value of plain types; None if there is none."""


def unknown_field(wanted: type[msgspec.Struct], encoded: msgspec.Raw) -> str | None:
    """Return the name of a field that the arguments have somewhere and their types do not.

    Args:
        wanted: The type of the arguments.
        encoded: The arguments. They were decoded as this type before.
    """
    plain = msgspec.msgpack.decode(encoded)
    return _first(find(plain[name]) for name, find in _finders(wanted).items() if find is not None and name in plain)


@cache
def _finders(kind: type) -> Mapping[str, Find | None]:
    """Return the function for each field of a type. Resolving the types takes longer than a call."""
    return {name: _finder(hint) for name, hint in get_type_hints(kind).items()}


@cache
def _finder(hint: Any) -> Find | None:
    """Return the function for a type; None if no value of the type has fields by name."""
    origin, parts = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return _in_map({field.name: _finders(hint)[field.name] for field in fields(hint)})
    if isinstance(hint, type) and hasattr(hint, "_fields"):
        return _in_array(list(_finders(hint).values()))
    inner = [find for part in parts if (find := _finder(part)) is not None]
    if not inner:
        return None
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return lambda value: _first(inner[-1](item) for item in value.values())
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return lambda value: _first(inner[-1](item) for item in value)
    return lambda value: inner[-1](value) if isinstance(value, dict | list | tuple) else None


def _in_map(known: Mapping[str, Find | None]) -> Find:
    def find(value: Any) -> str | None:
        for name, item in value.items():
            if name not in known:
                return str(name)
            inner = known[name]
            if inner is not None and item is not None and (found := inner(item)) is not None:
                return found
        return None

    return find


def _in_array(known: Sequence[Find | None]) -> Find | None:
    if not any(known):
        return None
    return lambda value: _first(
        find(item) for find, item in zip(known, value, strict=False) if find is not None and item is not None
    )


def _first(names: Iterable[str | None]) -> str | None:
    return next((name for name in names if name is not None), None)
