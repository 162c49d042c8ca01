"""One proxy for every store: a method for each operation of the table, and interceptors around each call."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .operations import Operation, Store

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Invocation:
    """A call of an operation.

    Attributes:
        operation: The entry in the table.
        method: The store's method.
        parameters: The names of the method's parameters.
        args: The positional arguments.
        kwargs: The keyword arguments; an interceptor may add to them.
    """

    operation: Operation
    method: Callable[..., Awaitable[Any]]
    parameters: tuple[str, ...]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def arguments(self) -> dict[str, Any]:
        """Return all arguments by name."""
        named = dict(zip(self.parameters, self.args, strict=False))
        if self.kwargs:
            named.update(self.kwargs)
        return named


class Interceptor(Protocol):
    """Does something before and after each call.

    `before` runs first. If it returns, exactly one of `after` and `error` follows. If it raises, neither does, and the
    store is not called.
    """

    async def before(self, invocation: Invocation) -> Any:
        """Return the call's state for `after` or `error`. Raise to refuse the call."""

    async def after(self, state: Any, invocation: Invocation, answer: Any) -> Any:
        """Return the answer for the caller. If this raises, the caller gets that error."""

    async def error(self, state: Any, invocation: Invocation, error: BaseException) -> None:
        """Process an error. The caller gets it afterwards."""


Chain: TypeAlias = "Callable[[Invocation], Awaitable[Any]]"


class Proxy:
    """A store behind interceptors. The table's operations are its methods; nothing else of the store can be reached."""

    __slots__ = ("_chain", "_store")

    def __init__(self, store: object, chain: Chain) -> None:
        self._store = store
        self._chain = chain

    def __repr__(self) -> str:
        return f"a proxy of {type(self._store).__name__}"


def chained(interceptors: Sequence[Interceptor]) -> Chain:
    """Return a function that runs a call within interceptors.

    Args:
        interceptors: The first is the outermost: it runs first before the call, and last after it.
    """
    chain: Chain = _call_store
    for interceptor in reversed(interceptors):
        chain = _within(interceptor, chain)
    return chain


def proxied(entry: Store, store: T, chain: Chain) -> T:
    """Return a store whose calls go through interceptors.

    Args:
        entry: The table's entry for the store.
        store: The store, or another object with the entry's operations.
        chain: The interceptors, from `chained`.
    """
    return cast("T", proxy_type(entry)(store, chain))


def bare(store: T) -> T:
    """Return the store behind a proxy; any other object itself."""
    return cast("T", store._store) if isinstance(store, Proxy) else store  # noqa: SLF001 - of this module


@functools.cache
def proxy_type(entry: Store) -> type[Proxy]:
    """Return the class of a store's proxies.

    Raises:
        AttributeError: The table has an operation that the store does not have.
    """
    methods = {operation.method: _method(operation, entry.type) for operation in entry.operations}
    return type(f"{entry.type.__name__}Proxy", (Proxy,), {"__slots__": (), **methods})


def _method(operation: Operation, store_type: type) -> Callable[..., Awaitable[Any]]:
    """Return a proxy's method for an operation."""
    name = operation.method
    function = getattr(store_type, name)
    parameters = tuple(inspect.signature(function).parameters)[1:]

    @functools.wraps(function)
    def method(self: Proxy, /, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        return self._chain(Invocation(operation, getattr(self._store, name), parameters, args, kwargs))

    return method


def _call_store(invocation: Invocation) -> Awaitable[Any]:
    return invocation.method(*invocation.args, **invocation.kwargs)


def _within(interceptor: Interceptor, chain: Chain) -> Chain:
    before, after, on_error = interceptor.before, interceptor.after, interceptor.error

    async def call(invocation: Invocation) -> Any:
        state = await before(invocation)
        try:
            answer = await chain(invocation)
        except BaseException as error:
            await on_error(state, invocation, error)
            raise
        return await after(state, invocation, answer)

    return call
