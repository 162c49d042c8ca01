"""The address of a failed connection, and the reason of the system, the resolver or TLS, from any client library's error."""

from __future__ import annotations

import os
import re
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

_ERRNO = re.compile(r"\[Errno (\d+)\]")
_MOST = 20


def failed_connection(error: BaseException) -> str:
    """Return the address and the reason of a failed connection, as "HOST:PORT: reason".

    Only addresses and texts of the operating system, the resolver and TLS are used. A library's own text is not, because it may quote
    a request.

    Args:
        error: An error of a client library, which has the cause somewhere below it.

    Returns:
        The reason alone if no address is known, and the error's class if no reason is.
    """
    reason = address = ""
    for one in _below(error):
        address = address or _address(one)
        reason = reason or system_reason(one)
    return ": ".join(filter(None, (address, reason or type(error).__name__)))


def system_reason(error: BaseException) -> str:
    """Return the text of the operating system, the resolver or TLS; "" if the error is not theirs."""
    match error:
        case ssl.SSLCertVerificationError():  # aiohttp's subclass has no message; the original error is below it
            return f"certificate not accepted: {error.verify_message}" if hasattr(error, "verify_message") else ""
        case ssl.SSLError():
            return f"TLS: {error.reason}" if getattr(error, "reason", None) else ""
        case socket.gaierror():
            return str(error.strerror)
        case OSError():
            # asyncio lists the addresses that it tried in its text, and not in separate errors.
            numbers = dict.fromkeys(map(int, _ERRNO.findall(str(error))))
            if not numbers and (error.errno or 0) > 0:
                numbers = dict.fromkeys([error.errno or 0])
            # A number below 0 is the resolver's, also in the errors of a library that are no `gaierror`.
            return ", ".join(map(os.strerror, numbers)) or (str(error.strerror) if (error.errno or 0) < 0 else "")
    return ""


def _below(error: BaseException) -> Iterator[BaseException]:
    """Return an error and those that it was raised from or carries, the outer ones first."""
    queue, seen = [error], set[int]()
    while queue and len(seen) < _MOST:
        one = queue.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        carried = [getattr(one, name, None) for name in ("__cause__", "__context__", "os_error", "inner_exception")]
        carried += [*getattr(one, "errors", ()), *one.args, getattr(one, "reason", None)]
        carried += getattr(one, "kwargs", {}).values()
        queue += [each for each in carried if isinstance(each, BaseException)]


def _address(error: BaseException) -> str:
    host, port = getattr(error, "host", None), getattr(error, "port", None)
    place = getattr(error, "conn", None) or getattr(error, "_pool", None)
    if place is not None:
        host, port = getattr(place, "host", None), getattr(place, "port", None)
    url = getattr(error, "kwargs", {}).get("endpoint_url")
    if isinstance(url, str):
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    if not isinstance(host, str):
        return ""
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}" if isinstance(port, int) else name
