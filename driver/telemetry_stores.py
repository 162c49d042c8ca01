"""A store that is watched: the same operations, and each call is told of."""

from __future__ import annotations

import functools
import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .telemetry_attributes import STORES, operations_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .strongroom import Strongroom
    from .telemetry import Telemetry

T = TypeVar("T")


class _Watched:
    """Stands in for a store; a wrapper is made at the first use of an operation and kept."""

    def __init__(self, store: Any, name: str, telemetry: Telemetry, heard: Mapping[str, Callable[[Any], None]]) -> None:
        self._store = store
        self._name = name
        self._telemetry = telemetry
        self._heard = heard
        self._operations = frozenset(operations_of(type(store)))

    def __repr__(self) -> str:
        return repr(self._store)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in self._operations or not inspect.iscoroutinefunction(found):
            return found
        heard, telemetry, store = self._heard.get(name), self._telemetry, self._name

        @functools.wraps(found)
        async def operation(*args: Any, **kwargs: Any) -> Any:
            with telemetry.operation(store, name):
                answer = await found(*args, **kwargs)
            if heard is not None:
                heard(answer)
            return answer

        self.__dict__[name] = operation
        return operation


def watched(store: T, name: str, telemetry: Telemetry, heard: Mapping[str, Callable[[Any], None]] | None = None) -> T:
    """Return a store whose calls are told of.

    Args:
        store: any object with coroutines.
        name: of the store, as the table has it.
        telemetry: is told of each call.
        heard: by operation, what is called with its answer.
    """
    return cast(T, _Watched(store, name, telemetry, heard or {}))


def watched_stores(strongroom: Strongroom, telemetry: Telemetry) -> Strongroom:
    """Return a cell all of whose stores are watched."""
    return replace(
        strongroom,
        telemetry=telemetry,
        **{name: watched(getattr(strongroom, name), name, telemetry) for name in STORES},
    )
