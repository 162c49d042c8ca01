"""The stores of a cell behind a client of the protocol, with the methods and the types of the stores."""

from __future__ import annotations

import enum
import inspect
import types
import typing
from dataclasses import is_dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from strongroom.driver.stores import STORES
from tests.support.bad_values import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.serve.client import Client


class RemoteCell:
    """Has the stores as attributes, like a cell."""

    def __init__(self, client: Client) -> None:
        for store in STORES:
            setattr(self, store.name, RemoteStore(client, store.name, store.type))


class RemoteStore:
    """One store."""

    def __init__(self, client: Client, name: str, kind: type) -> None:
        self._client, self._name, self._kind = client, name, kind

    def __getattr__(self, method: str) -> Callable[..., Any]:
        function = inspect.unwrap(getattr(self._kind, method))
        wanted = typing.get_type_hints(function, localns=_names())["return"]
        parameters = list(inspect.signature(function).parameters)[1:]

        async def call(*args: Any, **kwargs: Any) -> Any:
            named = dict(zip(parameters, args, strict=False)) | kwargs
            if named.get("create") is not None:
                named["create"] = named["create"]()
            return as_type(await self._client.call(f"{self._name}.{method}", **named), wanted)

        return call


def as_type(value: Any, kind: Any) -> Any:
    """Return a decoded value as a value of a type."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if value is None or kind is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        classes = [one for one in inner if one is not type(None)]
        return as_type(value, classes[0]) if len(classes) == 1 else _plain(value)
    if origin is not None and isinstance(value, dict):
        return {as_type(key, inner[0]): as_type(item, inner[1]) for key, item in value.items()}
    if origin is not None:
        kinds = (
            inner if len(inner) == len(value) and origin is tuple and inner[-1] is not ... else inner[:1] * len(value)
        )
        items = [as_type(item, one) for item, one in zip(value, kinds, strict=True)]
        return origin(items) if origin in (tuple, frozenset, set) else items
    if kind is UUID:
        return UUID(bytes=value)
    if kind is timedelta:
        return msgspec.convert(value, timedelta)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    if isinstance(value, list) and hasattr(kind, "_fields"):
        hints = typing.get_type_hints(kind, localns=_names())
        return kind(*(as_type(item, hints[field]) for item, field in zip(value, kind._fields, strict=False)))
    if isinstance(value, dict) and is_dataclass(kind):
        hints = typing.get_type_hints(kind, localns=_names())
        return kind(**{field: as_type(item, hints[field]) for field, item in value.items()})
    return value


def _plain(value: Any) -> Any:
    """Return a value of a union, in which an array is a tuple."""
    return tuple(value) if isinstance(value, list) else value


_names = cache(names)
