"""The section `[serve]`. docs/how-to/temporal-server.md is its page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from .listen import Address
from .schema import Count, Number, SocketFile, Text, about, section

SOCKET = Path("/run/strongroom/strongroom.sock")
MOST_WORKERS = 256
LAST_PORT = 65535


@section
class ServeConfig:
    """The server that a Temporal server calls."""

    socket: Annotated[
        SocketFile,
        about("Unix socket of the first worker. Worker 1 listens on the same path with .1 appended, and so on."),
    ] = SOCKET
    workers: Annotated[
        Count, Field(ge=1, le=MOST_WORKERS), about("Number of worker processes. Each has connections of its own.")
    ] = 1
    principal: (
        Annotated[
            Text,
            about("Principal of all calls. Default: temporal-server; with access control, the owner of the API key."),
        ]
        | None
    ) = None
    users: Annotated[
        frozenset[Text],
        about("Users whose processes may connect, by name or number, besides the user that the server runs as."),
    ] = frozenset()
    max_in_flight: Annotated[
        Count, Field(ge=1, le=65536), about("Maximum of calls in flight on one connection.", unit="calls")
    ] = 256
    drain_seconds: Annotated[
        Number, Field(gt=0, le=3600), about("Timeout for calls in flight when the server stops.", unit="seconds")
    ] = 30.0
    database_wait_seconds: Annotated[
        Number,
        Field(ge=0, le=86400),
        about("Time to wait for an unreachable PostgreSQL when the server starts; 0 to end at once.", unit="seconds"),
    ] = 300.0
    health: Annotated[Address | None, about("Address of GET /health: HOST:PORT or unix:PATH.")] = None
    metrics: Annotated[
        Address | None,
        about("Address of GET /metrics of worker 0, HOST:PORT. Worker 1 listens on the next port, and so on."),
    ] = None

    @model_validator(mode="after")
    def _check(self) -> ServeConfig:
        if self.metrics is not None and self.metrics.socket is not None:
            raise ValueError("metrics must be HOST:PORT; each worker listens on a port of its own")
        if self.metrics is not None and self.metrics.port + self.workers > LAST_PORT + 1:
            raise ValueError(
                f"metrics needs a port for each worker, and the last one is {LAST_PORT}; choose a lower port"
            )
        return self
