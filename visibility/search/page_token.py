"""Page tokens. A token contains the position of a page's last run. It is sealed, so it reveals nothing, and is bound to one query."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import orjson

from strongroom.kms import IntegrityError, KeyClass, KeyDestroyed, UnsupportedFormat
from strongroom.kms.sealing.record_kinds import PAGE_TOKEN
from strongroom.visibility.errors import InvalidPageToken

if TYPE_CHECKING:
    from strongroom.kms import NamespaceKeys
    from strongroom.visibility.index.record import Scalar


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a run in a sorted list. `ordering.py` compares positions.

    Attributes:
        is_open: Whether the run is open.
        close_time: The close time in nanoseconds; 0 for an open run.
        start_time: The start time in nanoseconds.
        run_id: The run id, which sorts runs whose other values are equal.
        values: The values of the ORDER BY attributes; None for an attribute that the run does not have.
        buckets: The close and the start bucket of its document.
        document: The id of its document, in hexadecimal, if its group is listed in the order of the index; otherwise None.
    """

    is_open: bool
    close_time: int
    start_time: int
    run_id: str
    values: tuple[Scalar | None, ...] = ()
    buckets: tuple[int, int] = (0, 0)
    document: str | None = None


def seal_position(keys: NamespaceKeys, asked: str, position: Position) -> bytes:
    """Return the page token of a position in a list. The token opens only with the same text of what was asked for."""
    sealed = keys.seal(PAGE_TOKEN, (_digest(asked),), orjson.dumps(list(astuple(position))))
    return base64.urlsafe_b64encode(sealed)


def open_position(keys: NamespaceKeys, asked: str, token: bytes) -> Position:
    """Return the position in a page token.

    Raises:
        InvalidPageToken: The token belongs to another query or namespace, was altered, or is sealed with a destroyed data key.
        KeyDestroyed: All data keys of the namespace are destroyed.
        KeyNotFound: The token is sealed with a newer data key than `keys` contains. Another process may have rotated the key.
    """
    if not isinstance(token, bytes):  # before Python's error, which would quote it
        raise InvalidPageToken
    try:
        sealed = base64.b64decode(token, altchars=b"-_", validate=True)
        fields = orjson.loads(keys.open(PAGE_TOKEN, (_digest(asked),), sealed))
        is_open, close_time, start_time, run_id, values, (b1, b2), document = fields
        return Position(is_open, close_time, start_time, run_id, tuple(values), (b1, b2), document)
    except KeyDestroyed:
        keys.active_version(KeyClass.DATA)
        raise InvalidPageToken from None
    except (binascii.Error, ValueError, TypeError, IntegrityError, UnsupportedFormat):
        raise InvalidPageToken from None


def _digest(asked: str) -> bytes:
    return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).digest()[:16]
