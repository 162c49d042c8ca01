"""Temporal's `Payloads` as protobuf's JSON has them: what protobuf's own functions do, small ones in a third of the time.

Payloads are read and written here as long as they hold metadata and data in the usual base64; all else is left to protobuf.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import orjson
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from temporalio.api.common.v1 import Payload

from .http import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

_USUAL = {"metadata", "data"}
_ODD = (ParseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


def read_payloads(body: bytes, limit: int) -> list[Payload]:
    """Read the body of a request.

    Raises:
        Refused: it is something else, or there are too many.
    """
    try:
        document = orjson.loads(body)
        listed = document["payloads"]
        if document.keys() != {"payloads"} or not isinstance(listed, list):
            raise TypeError
        if len(listed) <= limit:
            return [_read(item) for item in listed]
    except _ODD:
        raise Refused(400, 'the body must be {"payloads": [...]}, Temporal\'s Payloads as JSON') from None
    raise Refused(413, f"a request may have {limit} payloads")


def write_payloads(payloads: Sequence[Payload]) -> dict[str, list[Any]]:
    """Return what the body of an answer says."""
    return {"payloads": [_write(payload) for payload in payloads]}


def _read(item: Any) -> Payload:
    try:
        if item.keys() <= _USUAL:
            metadata = {name: b64decode(value, validate=True) for name, value in item.get("metadata", {}).items()}
            return Payload(metadata=metadata, data=b64decode(item.get("data", ""), validate=True))
    except _ODD:
        pass  # other ways to write base64, nulls, or nonsense
    return ParseDict(item, Payload())


def _write(payload: Payload) -> dict[str, Any]:
    if any(field.name not in _USUAL for field, _ in payload.ListFields()):
        written: dict[str, Any] = MessageToDict(payload)
        return written
    told: dict[str, Any] = {}
    if payload.metadata:
        told["metadata"] = {name: b64encode(value).decode() for name, value in payload.metadata.items()}
    if payload.data:
        told["data"] = b64encode(payload.data).decode()
    return told
