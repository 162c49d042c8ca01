"""Give the session and its children the default action of SIGINT, which a shell takes from its background jobs."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Set Python's own handler if SIGINT is ignored. A program that a test starts then has the system's default."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
