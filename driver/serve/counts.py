"""What a server counts, for health and metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """Numbers since the server started, and the current ones of connections, calls in flight and queued bytes.

    Attributes:
        connections: Open connections.
        in_flight: Calls that run.
        queued: Bytes of answers that wait for a client to read.
        refused: Calls that were refused because their connection had too many in flight, and connections that were refused.
        given_up: Calls whose deadline passed, or whose caller cancelled them.
        received_bytes: Bytes from clients.
        sent_bytes: Bytes to clients.
        protocol_errors: Connections that were closed because the client did not keep to the protocol.
    """

    connections: int = 0
    in_flight: int = 0
    queued: int = 0
    refused: int = 0
    given_up: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    protocol_errors: int = 0
