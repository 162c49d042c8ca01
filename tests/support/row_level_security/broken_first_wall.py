"""The conditions of the statements taken away: statements that name no namespace, and names that have the same token in each.

A statement of the driver goes to the server without its conditions on `namespace_id`, and so do the functions. What is left between
two namespaces is row-level security. That values of another namespace would not open is not looked at: what counts is which rows
leave the server, and which are changed.
"""

from __future__ import annotations

import hmac
import re

import asyncpg

from strongroom.kms.keys.namespace_keys import NamespaceKeys
from strongroom.storage.engine import functions

_PARAMETER = re.compile(r"\b(?:\w+\.)?namespace_id = (\$\d+)(?!::)")
_JOINED = re.compile(
    r"\b(?:\w+\.)?namespace_id = (?:(?!excluded)\w+\.namespace_id\b|\w+_namespace\[(?:[^\[\]]|\[[^\]]*\])*\]|p_namespace\b)"
)


def without_namespaces(statement):
    """Return a statement without its conditions on a namespace."""
    return _JOINED.sub("true", _PARAMETER.sub(r"(\1::uuid IS NOT NULL)", statement))


class _SharedTokens:
    def __init__(self, attribute):
        self._attribute = attribute

    def token(self, message):
        return hmac.digest(b"the same for all", self._attribute.encode() + message, "sha256")[:16]


class Broken:
    """What left the server without those conditions.

    Attributes:
        rows: all rows of all answers.
        stripped: how many statements lost a condition.
    """

    def __init__(self, monkeypatch, *, keep_statements=False):
        self.rows = []
        self.stripped = 0
        monkeypatch.setattr(NamespaceKeys, "identity", lambda _, attribute: _SharedTokens(attribute))
        make = functions._function
        if not keep_statements:
            monkeypatch.setattr(functions, "_function", lambda text, **form: make(without_namespaces(text), **form))
        for name in ("fetch", "fetchrow", "execute"):
            monkeypatch.setattr(
                asyncpg.Connection, name, self._spied(getattr(asyncpg.Connection, name), keep=keep_statements)
            )

    def _spied(self, method, *, keep):
        async def spied(connection, query, *arguments, **options):
            stripped = query if keep else without_namespaces(query)
            self.stripped += stripped != query
            answer = await method(connection, stripped, *arguments, **options)
            if not isinstance(answer, str):
                self.rows += answer if isinstance(answer, list) else [answer] if answer else []
            return answer

        return spied
