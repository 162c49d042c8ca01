"""A small HTTP client, so that tests can ask a node without the code under test."""

from __future__ import annotations

import base64
import http.client
import json
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable


class ElasticsearchAnswer(Exception):  # noqa: N818 - a node may rightly refuse
    """A node refused a request."""

    def __init__(self, status: int, answer: Any):
        super().__init__(f"{status}: {json.dumps(answer)[:2000]}")
        self.status = status
        self.answer = answer


class Client:
    """One connection to a node. It is opened on first use, and again after it broke."""

    def __init__(self, url: str, *, timeout: float = 60):
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port or 9200, timeout=timeout)
        self._prefix = parts.path.rstrip("/")
        self._headers = {}
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request and return its answer. A list is sent as lines of JSON, which `_bulk` needs.

        Raises:
            ElasticsearchAnswer: The status is not 2xx.
            OSError: The node does not answer.
        """
        headers, content = dict(self._headers), None
        if isinstance(body, list):
            headers["Content-Type"] = "application/x-ndjson"
            content = "".join(json.dumps(line) + "\n" for line in body).encode()
        elif body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        try:
            self._connection.request(method, self._prefix + path, content, headers)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if isinstance(error, OSError):
                raise
            raise ConnectionError(str(error)) from error
        value = json.loads(text) if text[:1] in b"{[" and text else text.decode()
        if not 200 <= answer.status < 300:
            raise ElasticsearchAnswer(answer.status, value)
        return value

    def bulk(self, index: str, documents: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Index documents by id, and make them searchable. Raise an error if any document fails."""
        lines: list[Any] = []
        for identity, document in documents:
            lines += [{"index": {"_id": identity}}, document]
        if lines:
            answer = self.request("POST", f"/{index}/_bulk?refresh=true", lines)
            if answer["errors"]:
                raise ElasticsearchAnswer(200, [item for item in answer["items"] if "error" in item["index"]][:3])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
