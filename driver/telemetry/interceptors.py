"""Interceptors that report each call, and the result of each check of the search index."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.context import attach, detach
from opentelemetry.trace import StatusCode, set_span_in_context

from strongroom.driver.access.errors import PermissionDenied
from strongroom.driver.audit.errors import AuditUnavailable
from strongroom.storage import NamespaceNotFound

from .attributes import DENIED, DONE, FAILED, error_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from strongroom.driver.proxy import Invocation

    from .emitter import Emitter

CALL_DURATION = "strongroom.call.duration"


@dataclass(slots=True, eq=False)
class _Timed:
    """A call that is timed.

    Attributes:
        span: The call's span, which is the current one.
        token: Restores the span that was current before.
        attributes: The attributes of a call that succeeds.
        began: When the call began, in monotonic seconds.
    """

    span: Span
    token: Token[Context]
    attributes: Mapping[str, str]
    began: float


class CallTelemetry:
    """Reports each call: a span around it, its duration, and its outcome.

    Args:
        emitter: Writes metrics and spans.
        of_session: Whether the calls are a session's. `NamespaceNotFound` and `PermissionDenied` are denials there; a
            store that the service uses by itself denies nothing.
    """

    def __init__(self, emitter: Emitter, *, of_session: bool) -> None:
        self._emitter, self._of_session = emitter, of_session

    async def before(self, invocation: Invocation) -> _Timed:
        """Begin the span, and make it the current one."""
        operation = invocation.operation
        attributes = self._emitter.closed(CALL_DURATION, operation.area, operation.method, DONE, None)
        name = f"{attributes['strongroom.store']} {attributes['strongroom.operation']}"
        began = time.perf_counter()
        span = self._emitter.tracer.start_span(name, attributes=attributes)
        return _Timed(span, attach(set_span_in_context(span)), attributes, began)

    async def after(self, state: _Timed, _invocation: Invocation, answer: Any) -> Any:
        """End the span, and report the duration."""
        self._end(state, state.attributes)
        return answer

    async def error(self, state: _Timed, invocation: Invocation, error: BaseException) -> None:
        """End the span, and report the kind of the error; its text and traceback are for the service's own log."""
        operation = invocation.operation
        denied = self._of_session and isinstance(error, (PermissionDenied, NamespaceNotFound))
        outcome = DENIED if denied else FAILED
        attributes = self._emitter.closed(CALL_DURATION, operation.area, operation.method, outcome, error_type(error))
        state.span.set_attributes(attributes)
        state.span.set_status(StatusCode.ERROR)
        if isinstance(error, AuditUnavailable):
            self._emitter.add("strongroom.audit.refusals", 1, operation.area, operation.method)
        self._end(state, attributes)

    def _end(self, state: _Timed, attributes: Mapping[str, str]) -> None:
        self._emitter.record(CALL_DURATION, time.perf_counter() - state.began, attributes)
        detach(state.token)
        state.span.end()


class ReportAnswer:
    """Reports the answer of a call.

    Args:
        report: Is called with the answer.
    """

    def __init__(self, report: Callable[[Any], None]) -> None:
        self._report = report

    async def before(self, _invocation: Invocation) -> None:
        """Do nothing."""

    async def after(self, _state: None, _invocation: Invocation, answer: Any) -> Any:
        """Report the answer, and return it."""
        self._report(answer)
        return answer

    async def error(self, _state: None, _invocation: Invocation, _error: BaseException) -> None:
        """Do nothing."""
