"""The event loop of a worker: uvloop's if that is installed, because small calls then take less CPU time, else asyncio's."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

ASYNCIO = "asyncio"


def loop_factory() -> Callable[[], AbstractEventLoop] | None:
    """Return the function that makes a worker's event loop; None for asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - is not installed everywhere
    except ImportError:
        return None
    return uvloop.new_event_loop


def loop_name() -> str:
    """Return the name of a worker's event loop, for people."""
    return ASYNCIO if loop_factory() is None else f"uvloop {version('uvloop')}"
