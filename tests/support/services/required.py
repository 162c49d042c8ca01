"""Skip a test without its service, or fail it if services are required."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NoReturn, TypeVar

import pytest

from .choice import ServiceMissing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from .choice import Service

_Running = TypeVar("_Running")


def missing(reason: str, *, is_packaged: bool = True) -> NoReturn:
    """Skip the test, or fail it if the service is required.

    REQUIRE_SERVICES=1 requires the services that CI can install. REQUIRE_SERVICES=all also requires those that need a Docker engine.
    """
    required = os.environ.get("REQUIRE_SERVICES", "")
    if required == "all" or (required == "1" and is_packaged):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def missing_service(service: Service, reason: str) -> NoReturn:
    """Skip the test, or fail it, because a service is not on this machine. The summary of the run names the service."""
    missing(str(ServiceMissing(service, [reason])), is_packaged=service.is_packaged)


@contextmanager
def or_skip(service: AbstractContextManager[_Running]) -> Iterator[_Running]:
    """Start a service for a fixture. If it can't be started, the test is skipped, or fails if the service is required."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(service)
        except ServiceMissing as reason:
            missing(str(reason), is_packaged=reason.service.is_packaged)
        yield running
