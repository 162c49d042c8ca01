"""Read the JSON of another program: strictly, and without an exception that holds the document."""

from __future__ import annotations

import json
from typing import Any

import orjson


class NotJson(ValueError):  # noqa: N818 - says what the content is
    """A content that is not JSON, or is read differently by different programs. The message holds nothing of it."""


def read_json(content: bytes) -> Any:
    """Return the value of a JSON document.

    Args:
        content: The document, in UTF-8.

    Raises:
        NotJson: It is not JSON (NaN, a lone surrogate or a byte order mark is not), it is nested too deeply, or an object has a key
            twice.
    """
    fault = "not JSON: the document is nested too deeply"
    try:
        orjson.loads(content)  # strict and fast: no NaN, no lone surrogates
        return _DECODER.decode(content.decode())
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno} of the document, column" if error.lineno > 1 else "column"
        fault = f"not JSON ({where} {error.colno})"
    except RecursionError:
        pass
    # Raised outside the handlers, because the errors of parsers have the document in their context.
    raise NotJson(fault)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        msg = "an object has a key twice; remove one of the two"
        raise NotJson(msg)
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates)
"""The second parser, which sees keys that come twice. Making one for each document takes longer than a small document."""
