"""Page tokens: where a list stopped, sealed, so that they show no times and ids, and can't be bent to another query."""

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
    """A run's place in the order of a list; `ordering.py` compares them.

    Attributes:
        is_open: whether the run is open.
        close_time: nanoseconds; 0 while open.
        start_time: nanoseconds.
        run_id: decides between runs that are equal in all else.
        values: of the attributes that ORDER BY names; None for one that the run lacks.
    """

    is_open: bool
    close_time: int
    start_time: int
    run_id: str
    values: tuple[Scalar | None, ...] = ()


def seal_position(keys: NamespaceKeys, query: str, position: Position) -> bytes:
    """Return a page token for a query of a namespace."""
    sealed = keys.seal(PAGE_TOKEN, (_digest(query),), orjson.dumps(astuple(position)))
    return base64.urlsafe_b64encode(sealed)


def open_position(keys: NamespaceKeys, query: str, token: bytes) -> Position:
    """Return the position in a page token.

    Raises:
        InvalidPageToken: it was not made for this query in this namespace, or with a data key that is destroyed.
        KeyDestroyed: the namespace was shredded.
        KeyNotFound: it names a key version that these keys lack; another process may have rotated since.
    """
    try:
        sealed = base64.b64decode(token, altchars=b"-_", validate=True)
        is_open, close_time, start_time, run_id, values = orjson.loads(keys.open(PAGE_TOKEN, (_digest(query),), sealed))
        return Position(is_open, close_time, start_time, run_id, tuple(values))
    except KeyDestroyed:
        keys.active_version(KeyClass.DATA)
        raise InvalidPageToken from None
    except (binascii.Error, ValueError, TypeError, IntegrityError, UnsupportedFormat):
        raise InvalidPageToken from None


def _digest(query: str) -> bytes:
    return hashlib.sha256(query.encode("utf-8", "surrogatepass")).digest()[:16]
