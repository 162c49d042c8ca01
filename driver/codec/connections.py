"""The open connections of the codec server: how many there may be, which one makes room for a new one, and their deadlines."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from itertools import chain
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONNECTIONS = 200
PER_PEER = 100
"""Maximum number of connections of one address. It is large, because a proxy has one address for all callers."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The deadlines of a connection, in seconds.

    Attributes:
        head: Time for the head of a request. For the first one it begins with the connection and includes the TLS handshake, and for
            the others with their first byte.
        body: Time for a body that the server reads, and for the rest of a body after an answer that did not wait for it.
        answer: Time from the end of the head until the answer is written.
        idle: Time from an answer to the first byte of the next request.
        closing: Time for the last bytes of a connection. Then it is cut.
        total: Time from a new connection until it is closed after its current answer.
    """

    head: float = 10.0
    body: float = 15.0
    answer: float = 60.0
    idle: float = 5.0
    closing: float = 10.0
    total: float = 600.0


class Connection(Protocol):
    """A connection as its register sees it."""

    @property
    def is_waiting(self) -> bool:
        """Whether no complete head of a request has arrived since the last answer."""

    def drop(self) -> None:
        """Cut the connection."""


class Connections:
    """The register of all open connections, those in a TLS handshake too.

    When there is no room, the address with the most connections loses its oldest waiting one. So a flood from one address displaces
    itself first. A connection with a request at work is never dropped.

    Attributes:
        admitted: Number of connections that were registered so far.
        dropped: Number of connections that were cut to make room, or refused.

    Args:
        most: Maximum number of connections.
        per_peer: Maximum number of connections of one address.
    """

    def __init__(self, *, most: int = CONNECTIONS, per_peer: int = PER_PEER) -> None:
        self._most = most
        self._per_peer = per_peer
        self._open: dict[str, OrderedDict[Connection, None]] = {}
        self.admitted = 0
        self.dropped = 0

    def __len__(self) -> int:
        return sum(len(each) for each in self._open.values())

    def __iter__(self) -> Iterator[Connection]:
        return chain.from_iterable(self._open.values())

    def admit(self, peer: str, connection: Connection) -> bool:
        """Register a new connection.

        Args:
            peer: The address of the other side; empty for a Unix socket, which has no limit of its own.
            connection: The connection.

        Returns:
            False if there is no room, because all connections are at work.
        """
        own: Mapping[Connection, None] = self._open.get(peer, {})
        if peer and len(own) >= self._per_peer and not self._make_room([peer]):
            return self._refuse()
        if len(self) >= self._most and not self._make_room(sorted(self._open, key=lambda each: -len(self._open[each]))):
            return self._refuse()
        self._open.setdefault(peer, OrderedDict())[connection] = None
        self.admitted += 1
        return True

    def touched(self, peer: str, connection: Connection) -> None:
        """Move a connection to the end of its address's line, because a request of it was answered."""
        if connection in self._open.get(peer, ()):
            self._open[peer].move_to_end(connection)

    def remove(self, peer: str, connection: Connection) -> None:
        """Remove a closed connection."""
        own = self._open.get(peer)
        if own is not None:
            own.pop(connection, None)
            if not own:
                del self._open[peer]

    def _make_room(self, peers: list[str]) -> bool:
        for peer in peers:
            oldest = next((each for each in self._open[peer] if each.is_waiting), None)
            if oldest is not None:
                self.dropped += 1
                self.remove(peer, oldest)
                oldest.drop()
                return True
        return False

    def _refuse(self) -> bool:
        self.dropped += 1
        return False


def peer_of(name: object) -> str:
    """Return the address that counts for the limit: an IPv4 address, or the network of 64 bits of an IPv6 address."""
    if not isinstance(name, tuple):
        return ""
    address = ip_address(str(name[0]).partition("%")[0])
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or int(address) >> 64)
    return str(address)
