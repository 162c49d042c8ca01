"""Temporal's `Payloads` in protobuf's JSON. Small payloads take a third of the time of protobuf's own functions.

This module reads and writes payloads that have only metadata and data, in standard base64. Protobuf handles all others.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from temporalio.api.common.v1 import Payload

from strongroom.driver.strict_json import read_json

from .http import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

_USUAL = {"metadata", "data"}
_ODD = (ParseError, ValueError, TypeError, KeyError, AttributeError, RecursionError)


def read_payloads(body: bytes, limit: int) -> list[Payload]:
    """Return the payloads in the body of a request.

    Args:
        body: The body.
        limit: The maximum number of payloads.

    Raises:
        Refused: The body is not `Payloads`, or has too many.
    """
    try:
        document = read_json(body)
        listed = document["payloads"]
        if document.keys() != {"payloads"} or not isinstance(listed, list):
            raise TypeError
        if len(listed) <= limit:
            return [_read(item) for item in listed]
    except _ODD:
        raise Refused(400, 'the body must be {"payloads": [...]}, Temporal\'s Payloads as JSON') from None
    raise Refused(413, f"the request has more than {limit} payloads; send fewer")


def write_payloads(payloads: Sequence[Payload]) -> dict[str, list[Any]]:
    """Return the content of the body of an answer."""
    return {"payloads": [_write(payload) for payload in payloads]}


def _read(item: Any) -> Payload:
    try:
        if item.keys() <= _USUAL:
            metadata = {name: b64decode(value, validate=True) for name, value in item.get("metadata", {}).items()}
            return Payload(metadata=metadata, data=b64decode(item.get("data", ""), validate=True))
    except _ODD:
        pass  # other forms of base64, nulls, or invalid input
    return ParseDict(item, Payload())


def _write(payload: Payload) -> dict[str, Any]:
    if any(field.name not in _USUAL for field, _ in payload.ListFields()):
        written: dict[str, Any] = MessageToDict(payload)
        return written
    content: dict[str, Any] = {}
    if payload.metadata:
        content["metadata"] = {name: b64encode(value).decode() for name, value in payload.metadata.items()}
    if payload.data:
        content["data"] = b64encode(payload.data).decode()
    return content
