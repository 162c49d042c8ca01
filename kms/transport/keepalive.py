"""TCP options of the clients' connections, so that the kernel notices a peer that vanished without a reset."""

from __future__ import annotations

import socket

IDLE_SECONDS = 60.0
"""Seconds for which an unused connection is kept. Firewalls and load balancers forget a connection after 240 seconds or more."""

_TIMES = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 4_000}
"""The kernel closes an unused connection 30 seconds after the last sign of the other end, and one in use when sent data is not
acknowledged for 4 seconds. The request is then sent again on a new connection, within its deadline."""

SOCKET_OPTIONS: list[tuple[int, int, int]] = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    # Another system may lack an option.
    *((socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in _TIMES.items() if hasattr(socket, name)),
]
"""For `setsockopt`: level, option and value."""
