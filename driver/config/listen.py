"""The address of a server in a configuration: a host and a port, or a Unix socket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, InstanceOf, WithJsonSchema
from pydantic import ValidationInfo as Info

from strongroom.kms import is_loopback_host


@dataclass(frozen=True, slots=True)
class Listen:
    """The address of a server: a host and a port, or a Unix socket.

    Attributes:
        host: A name or an address; "" for a Unix socket.
        port: The port; 0 for any free one.
        socket: The path of the Unix socket.
    """

    host: str = ""
    port: int = 0
    socket: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can connect."""
        return self.socket is not None or is_loopback_host(self.host)


def _listen(value: Any, info: Info) -> Any:
    if isinstance(value, Listen):
        return value
    text = value if isinstance(value, str) else ""
    if text.startswith("unix:") and len(text) > len("unix:"):
        return Listen(socket=(info.context or Path()) / text.removeprefix("unix:"))
    try:
        parts = urlsplit(f"//{text}")
        if parts.hostname and parts.port is not None and parts.netloc == text and parts.username is None:
            return Listen(parts.hostname, parts.port)
    except ValueError:
        pass  # the port is no number
    raise ValueError("must be HOST:PORT or unix:PATH, for example 127.0.0.1:8443")


Address = Annotated[InstanceOf[Listen], BeforeValidator(_listen), WithJsonSchema({"type": "string", "minLength": 1})]
"""The type of a setting that is an address."""
