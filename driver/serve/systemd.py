"""Notifications to systemd, by the protocol of sd_notify(3). Without systemd they do nothing."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(*assignments: str) -> None:
    """Send assignments, for example `READY=1`. A notification that can't be sent is not an error.

    Args:
        assignments: The assignments of one message.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in {"/", "@"}:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(1.0)
        sender.connect("\0" + address[1:] if address[0] == "@" else address)
        sender.send("\n".join(assignments).encode())


def wants_watchdog() -> bool:
    """Return whether systemd expects WATCHDOG=1 from this process."""
    return os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()) and "WATCHDOG_USEC" in os.environ
