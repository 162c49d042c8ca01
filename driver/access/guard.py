"""Between a caller and a session: what is in the catalogue is an attribute."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from .catalogue import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .session import Session


class Guard:
    """A store whose methods are authorised and audited; it has no others, and nothing else."""

    def __init__(self, session: Session, name: str, store: object) -> None:
        line = "tasks" if name == "fair_tasks" else name

        def guarded(method: str) -> Callable[..., Awaitable[Any]]:
            operation = OPERATIONS[f"{line}.{method}"]  # KeyError: not in the catalogue
            inner = getattr(store, method)
            parameters = tuple(inspect.signature(inner).parameters)

            def call(*args: Any, **kwargs: Any) -> Awaitable[Any]:
                given = dict(zip(parameters, args, strict=False))
                if kwargs:
                    given.update(kwargs)
                return session.call(operation, inner, args, kwargs, given)

            return call

        self._methods = guarded

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        try:
            found = self._methods(method)
        except KeyError:
            msg = f"a session has no operation {method!r}; the catalogue of operations lists those that there are"
            raise AttributeError(msg) from None
        setattr(self, method, found)  # found without this from now on
        return found

    def __repr__(self) -> str:
        return "a store of a session"
