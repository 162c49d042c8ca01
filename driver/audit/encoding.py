"""The bytes of records: members of a JSON object. A caller can encode recurring members once."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_VISIBLE_ASCII = re.compile(r"[^\x00-\x7e]")
_MICROSECONDS = 1_000_000


def members(fields: Mapping[str, object]) -> bytes:
    """Return fields as members of a JSON object, without its braces and in ASCII.

    Args:
        fields: At least one field.
    """
    return ascii_json(orjson.dumps(fields, option=orjson.OPT_UTC_Z, default=str)[1:-1])


def ascii_json(document: bytes) -> bytes:
    """Return a JSON document in ASCII.

    orjson does not escape DEL, C1, and bidirectional and invisible characters, but terminals and collectors interpret them.
    """
    if document.isascii() and b"\x7f" not in document:
        return document
    return _NOT_VISIBLE_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], document.decode()).encode()


def timestamp() -> bytes:
    """Return the time in UTC, to the microsecond."""
    second, rest = divmod(time.time_ns() // 1000, _MICROSECONDS)
    return b"%b.%06dZ" % (_until_second(second), rest)


@lru_cache(maxsize=2)
def _until_second(second: int) -> bytes:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}".encode()
