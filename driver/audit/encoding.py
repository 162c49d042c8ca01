"""The bytes of records: members of a JSON object. A caller can encode recurring members once."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTROL = re.compile(rb"\x7f|\xc2[\x80-\x9f]")
_MICROSECONDS = 1_000_000


def members(fields: Mapping[str, object]) -> bytes:
    """Return fields as members of a JSON object, without its braces and without control characters.

    Args:
        fields: At least one field.
    """
    body = orjson.dumps(fields, option=orjson.OPT_UTC_Z, default=str)[1:-1]
    # JSON does not escape these characters, but terminals and collectors interpret them.
    return body if body.isascii() and b"\x7f" not in body else _CONTROL.sub(_escaped, body)


def timestamp() -> bytes:
    """Return the time in UTC, to the microsecond."""
    second, rest = divmod(time.time_ns() // 1000, _MICROSECONDS)
    return b"%b.%06dZ" % (_until_second(second), rest)


def _escaped(match: re.Match[bytes]) -> bytes:
    return b"\\u00%02x" % match[0][-1]


@lru_cache(maxsize=2)
def _until_second(second: int) -> bytes:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}".encode()
