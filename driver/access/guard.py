"""Between a caller and a session: what is in the catalogue is an attribute, and each call is counted."""

from __future__ import annotations

import inspect
import time
from typing import TYPE_CHECKING, Any

from strongroom.storage import NamespaceNotFound

from .catalogue import OPERATIONS
from .errors import PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from strongroom.driver.telemetry import Telemetry

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


async def counted(telemetry: Telemetry, operation: str, doing: Awaitable[Any]) -> Any:
    """Do a call, and tell telemetry how it ended.

    Args:
        telemetry: is told.
        operation: its name in the catalogue.
        doing: the call.
    """
    began = time.perf_counter()
    try:
        with telemetry.span(operation):
            answer = await doing
    except BaseException as error:
        denied = isinstance(error, (PermissionDenied, NamespaceNotFound))
        telemetry.call(operation, "denied" if denied else "failed", time.perf_counter() - began, error)
        raise
    telemetry.call(operation, "done", time.perf_counter() - began)
    return answer
