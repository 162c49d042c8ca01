"""The first messages of a connection: HELLO, and WELCOME or REFUSED."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID  # noqa: TC003 - msgspec reads the annotations of `Welcome`

import msgspec

from .frames import ProtocolError
from .values import decoder_of

PROTOCOL = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The answer to an accepted client.

    Attributes:
        protocol: The version of the protocol.
        product: The version of this package.
        schema: The version of the database's schema.
        cell_id: The cell.
        shard_count: The number of the cell's shards.
        worker: The index of this worker process, from 0.
        workers: The number of worker processes.
        max_in_flight: The number of calls that a connection may have in flight.
    """

    protocol: int = PROTOCOL
    product: str
    schema: int
    cell_id: UUID
    shard_count: int
    worker: int
    workers: int
    max_in_flight: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to a client that is not accepted.

    Attributes:
        kind: The reason, for the client's program.
        message: The reason, for a person.
    """

    kind: str
    message: str


class Hello(msgspec.Struct):
    """A client's first message. A client of another version may send other fields."""

    protocol: int
    client: str = ""
    temporal: str = ""
    history_shards: int = 0


_HELLO = decoder_of(Hello)


def answer_to(message: bytes | bytearray, welcome: Welcome) -> Welcome | Refused:
    """Return the answer to a HELLO.

    Raises:
        ProtocolError: The message is malformed.
    """
    try:
        hello = _HELLO.decode(message)
    except (msgspec.DecodeError, RecursionError):
        raise ProtocolError("a malformed HELLO") from None
    if hello.protocol != PROTOCOL:
        return Refused(
            "ProtocolMismatch",
            f"the client speaks version {hello.protocol} of the protocol and the server version {PROTOCOL}; install "
            f"temporal-server-strongroom {welcome.product}, or the server's version of it",
        )
    if hello.history_shards not in (0, welcome.shard_count):
        return Refused(
            "ShardCountMismatch",
            f"Temporal has numHistoryShards {hello.history_shards} and the cell has {welcome.shard_count} shards; set "
            f"numHistoryShards to {welcome.shard_count} in Temporal's configuration, or use a cell of {hello.history_shards} shards",
        )
    return welcome


def peer_not_allowed(uid: int) -> Refused:
    """Return the refusal of a peer of another user."""
    return Refused(
        "PeerNotAllowed",
        f"user id {uid} may not call this server; run the Temporal server as the server's user, or add the user to [serve] users",
    )


def too_many(connections: int) -> Refused:
    """Return the refusal of a connection beyond the limit."""
    return Refused(
        "TooManyConnections", f"the server has {connections} connections, which is its limit; close some of them"
    )


def shutting_down() -> Refused:
    """Return the refusal while the server is stopping."""
    return Refused("ShuttingDown", "the server is shutting down; connect again later")
