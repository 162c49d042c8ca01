"""Peer credentials: the user of the process at the other end of a Unix socket."""

from __future__ import annotations

import socket
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import BaseTransport

_CREDENTIALS = Struct("3i")


def uid_of(transport: BaseTransport) -> int:
    """Return the user id of the peer, as the kernel recorded it when the peer connected."""
    connected: socket.socket = transport.get_extra_info("socket")
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(credentials)
    return int(uid)
