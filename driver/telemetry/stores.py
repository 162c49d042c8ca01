"""A store that is watched: the same operations, and each call is told of."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .attributes import STORES, operations_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.driver.strongroom import Strongroom

    from .telemetry import Telemetry

T = TypeVar("T")


class _Watched:
    """Stands in for a store; a wrapper is made at the first use of an operation and kept."""

    def __init__(
        self,
        store: Any,
        kind: type,
        name: str,
        telemetry: Telemetry,
        *,
        heard: Mapping[str, Callable[[Any], None]] | None = None,
        guarded: bool = False,
    ) -> None:
        self._store = store
        self._name = name
        self._telemetry = telemetry
        self._heard = heard or {}
        self._guarded = guarded
        self._operations = operations_of(kind)

    def __repr__(self) -> str:
        return repr(self._store)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in self._operations:
            return found
        heard, told = self._heard.get(name), self._telemetry.operation
        store, guarded = self._name, self._guarded

        @functools.wraps(found)
        async def operation(*args: Any, **kwargs: Any) -> Any:
            with told(store, name, guarded=guarded):
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
    return cast(T, _Watched(store, type(store), name, telemetry, heard=heard))


def watched_guard(guard: T, name: str, telemetry: Telemetry) -> T:
    """Return a session's store whose calls are told of: from outside, so that authorisation, audit and what they refuse are in it.

    Args:
        guard: has the operations of the store of this name.
        name: of the store.
        telemetry: is told of each call.
    """
    return cast(T, _Watched(guard, STORES[name], name, telemetry, guarded=True))


def unwatched(store: T) -> T:
    """Return what a watched store stands in for, and any other store itself: a session tells of its calls, and once is enough."""
    return store._store if isinstance(store, _Watched) else store  # noqa: SLF001 - of this module


def watched_stores(strongroom: Strongroom, telemetry: Telemetry) -> Strongroom:
    """Return a cell all of whose stores are watched."""
    return replace(
        strongroom,
        telemetry=telemetry,
        **{name: watched(getattr(strongroom, name), name, telemetry) for name in STORES},
    )
