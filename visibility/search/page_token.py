"""Page tokens. A token contains where a list continues. It is sealed, so it reveals nothing, and is bound to one query."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import astuple, dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from strongroom.kms import IntegrityError, KeyClass, KeyDestroyed, UnsupportedFormat
from strongroom.kms.sealing.record_kinds import PAGE_TOKEN
from strongroom.visibility.errors import InvalidPageToken
from strongroom.visibility.index.record_packing import ID_BYTES, id_text, pack_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms import NamespaceKeys
    from strongroom.visibility.filter.tree import Order
    from strongroom.visibility.index.record import Scalar

SORTED_BYTES = 3200
"""Maximum size of the sorted runs of a token, in bytes before sealing. A user interface sends tokens in the address of a request, and
proxies take 8 KiB of it. A token has about 4,500 characters at most then, and gRPC's gateway makes 6,000 of them."""


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


@dataclass(frozen=True, slots=True)
class SortedRun:
    """A run that a list has sorted and not listed yet.

    Attributes:
        values: The values of the ORDER BY attributes, as in `Position`.
        run_id: The run id.
        shard_id: The shard of its document.
        document: The id of its document, in hexadecimal.
    """

    values: tuple[Scalar | None, ...]
    run_id: str
    shard_id: int
    document: str

    def packed(self) -> tuple[list[Any], bytes]:
        """Return the values, the shard and a run id that is no UUID; then the other ids, which are twice as long in JSON."""
        run_id = pack_id(self.run_id)
        return [self.values, self.shard_id, *([] if run_id else [self.run_id])], bytes.fromhex(self.document) + run_id


ScanPosition: TypeAlias = "tuple[int, int, str]"
"""The last document that was opened: both buckets, and the id in hexadecimal."""


@dataclass(frozen=True, slots=True)
class SortedRuns:
    """The next runs of a list that opens documents to sort them.

    Attributes:
        runs: The runs, in order.
        is_rest: Whether the index orders the other runs of the list, so that these are not all of them.
        most: Maximum number of runs to keep.
        is_cut: Whether runs were left out that come after all of these.
        scanned: Where the scan stopped; None if all documents were opened.
        bucket: Width of the coarsest buckets of the namespace, in seconds. A scan continues only in the same order of the index.
    """

    runs: tuple[SortedRun, ...]
    is_rest: bool
    most: int
    is_cut: bool
    scanned: ScanPosition | None
    bucket: int

    def limited(self, size: int = SORTED_BYTES) -> SortedRuns:
        """Return no more of the first runs than fit into a size, but at least one. A list then has shorter pages."""
        kept: list[SortedRun] = []
        for run in self.runs:
            values, ids = run.packed()
            size -= len(orjson.dumps(values)) + 1 + len(ids)
            if kept and size < 0:
                return replace(self, runs=tuple(kept), most=len(kept), is_cut=True)
            kept.append(run)
        return self


@dataclass(frozen=True, slots=True)
class ListState:
    """Where a list continues.

    Attributes:
        position: The position of the last run that was listed; None if no run was listed yet.
        sorted_runs: The next runs, if the list opens documents to sort them; otherwise None.
    """

    position: Position | None
    sorted_runs: SortedRuns | None = None


def asked_for(query: str, order: Sequence[Order], archetype_id: int) -> str:
    """Return what a token is bound to: the text of the query, and the attributes that its ORDER BY means. An alias may change."""
    keys = [[key.attribute.name, key.attribute.type.value, key.descending] for key in order]
    return f"{archetype_id}\n{json.dumps(keys)}\n{query}"


def seal_state(keys: NamespaceKeys, asked: str, state: ListState) -> bytes:
    """Return the page token of a list. The token opens only with the same text of `asked_for`."""
    position, known = state.position, state.sorted_runs
    packed = [] if known is None else [run.packed() for run in known.runs]
    sorted_runs = None if known is None else [[values for values, _ in packed], *astuple(replace(known, runs=()))[1:]]
    text = orjson.dumps([None if position is None else astuple(position), sorted_runs])
    # JSON has no zero byte.
    sealed = keys.seal(PAGE_TOKEN, (_digest(asked),), b"\x00".join((text, b"".join(ids for _, ids in packed))))
    return base64.urlsafe_b64encode(sealed)


def open_state(keys: NamespaceKeys, asked: str, token: bytes) -> ListState:
    """Return where a list continues, from its page token.

    Raises:
        InvalidPageToken: The token belongs to another query or namespace, was altered, or is sealed with a destroyed data key.
        KeyDestroyed: All data keys of the namespace are destroyed.
        KeyNotFound: The token is sealed with a newer data key than `keys` contains. Another process may have rotated the key.
    """
    if not isinstance(token, bytes):  # before Python's error, which would quote it
        raise InvalidPageToken
    try:
        sealed = base64.b64decode(token, altchars=b"-_", validate=True)
        text, _, ids = keys.open(PAGE_TOKEN, (_digest(asked),), sealed).partition(b"\x00")
        position, sorted_runs = orjson.loads(text)
        return ListState(
            None if position is None else _position(position),
            None if sorted_runs is None else _sorted_runs(sorted_runs, ids),
        )
    except KeyDestroyed:
        keys.active_version(KeyClass.DATA)
        raise InvalidPageToken from None
    except (binascii.Error, ValueError, TypeError, IntegrityError, UnsupportedFormat):
        raise InvalidPageToken from None


def _position(fields: Any) -> Position:
    is_open, close_time, start_time, run_id, values, (b1, b2), document = fields
    return Position(is_open, close_time, start_time, run_id, tuple(values), (b1, b2), document)


def _sorted_runs(fields: Any, ids: bytes) -> SortedRuns:
    runs, is_rest, most, is_cut, scanned, bucket = fields
    found: list[SortedRun] = []
    rest = BytesIO(ids)
    for values, shard_id, *text in runs:
        document = rest.read(ID_BYTES).hex()
        run_id = text[0] if text else id_text(rest.read(ID_BYTES))
        found.append(SortedRun(tuple(values), run_id, shard_id, document))
    return SortedRuns(tuple(found), is_rest, most, is_cut, None if scanned is None else tuple(scanned), bucket)


def _digest(asked: str) -> bytes:
    return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).digest()[:16]
