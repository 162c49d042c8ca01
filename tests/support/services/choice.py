"""Choose the way in which a service is started."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

_Running = TypeVar("_Running")


class Way(StrEnum):
    """How a service is reached."""

    ADDRESS = "address"
    CONTAINER = "container"
    LOCAL = "local program"


_FORCED = {"": tuple(Way), "containers": (Way.CONTAINER,), "local": (Way.LOCAL,)}
"""The ways that each value of SERVICES allows, in the order in which they are tried."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service that tests need.

    Attributes:
        name: The product and its version.
        variable: The environment variable with the address of a running server; empty if every test needs its own server.
        advice: Instructions to add the service to this machine.
        is_packaged: Whether CI can install it without a Docker engine. Only such a service is required by REQUIRE_SERVICES=1.
    """

    name: str
    variable: str
    advice: str
    is_packaged: bool = True


class CannotStart(Exception):  # noqa: N818 - it carries a reason and is no error
    """One way to start a service is not available; the message has the reason."""


class ServiceMissing(Exception):  # noqa: N818 - it is a reason to skip
    """No way to start a service is available; the message names the service, each reason, and what to do."""

    def __init__(self, service: Service, reasons: list[str]) -> None:
        super().__init__(f"no {service.name}: {'; '.join(reasons)}. To add it: {service.advice}")
        self.service = service


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings from the environment.

    Attributes:
        forced: The value of SERVICES: "containers", "local", or empty for all ways.
        addresses: The addresses by environment variable.
    """

    forced: str
    addresses: Mapping[str, str]

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        """Return the settings of an environment.

        Raises:
            ValueError: SERVICES has an unknown value.
        """
        forced = environment.get("SERVICES", "")
        if forced not in _FORCED:
            raise ValueError(f"SERVICES={forced} is unknown; use containers or local, or leave it out for all ways")
        return cls(forced, {name: value for name, value in environment.items() if name.startswith("STRONGROOM_")})


SETTINGS = Settings.of(os.environ)
"""Read on import, because tests run without the variables of Strongroom."""


def ways(service: Service, *, settings: Settings, own: bool = False) -> list[Way]:
    """Return the ways in which a service may be started, in the order in which they are tried.

    Args:
        service: The service.
        settings: The settings from the environment.
        own: Whether the test needs its own server, because it stops or breaks it.
    """
    allowed = list(_FORCED[settings.forced])
    if Way.ADDRESS in allowed:
        if own or service.variable not in settings.addresses:
            allowed.remove(Way.ADDRESS)
        else:
            return [Way.ADDRESS]
    return allowed


@contextmanager
def started(
    service: Service,
    starts: Mapping[Way, Callable[[], AbstractContextManager[_Running]]],
    *,
    own: bool = False,
    settings: Settings = SETTINGS,
) -> Iterator[_Running]:
    """Start a service in the first way that works, and end it with the block.

    Args:
        service: The service.
        starts: The ways that are implemented. The start of a way raises `CannotStart` if it is not available.
        own: Whether the test needs its own server.
        settings: The settings from the environment.

    Raises:
        ServiceMissing: No way works.
    """
    reasons = []
    with ExitStack() as stack:
        for way in ways(service, settings=settings, own=own):
            if way not in starts:
                reasons.append(f"{way}: not possible for this test, which stops or reconfigures its server")
                continue
            try:
                running = stack.enter_context(starts[way]())
            except CannotStart as reason:
                reasons.append(f"{way}: {reason}")
                continue
            yield running
            return
    raise ServiceMissing(service, reasons)


def address_of(service: Service, settings: Settings = SETTINGS) -> str:
    """Return the address that the environment gives for a service."""
    return settings.addresses[service.variable]
