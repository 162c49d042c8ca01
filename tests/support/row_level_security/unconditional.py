"""Statements without their conditions on `namespace_id`, and names that have the same token in every namespace.

Only row-level security then keeps namespaces apart. The tests check which rows leave the server and which rows change. They do
not check whether values of another namespace open.
"""

from __future__ import annotations

import re

import asyncpg

from strongroom.kms.keys.derivation import identity_key
from strongroom.kms.keys.namespace_keys import NamespaceKeys
from strongroom.kms.sealing.tokens import TokenKey
from strongroom.kms.secret import Secret
from strongroom.storage.engine import functions

_PARAMETER = re.compile(r"\b(?:\w+\.)?namespace_id = (\$\d+)(?!::)")
_JOINED = re.compile(
    r"\b(?:\w+\.)?namespace_id = (?:(?!excluded)\w+\.namespace_id\b|\w+_namespace\[(?:[^\[\]]|\[[^\]]*\])*\]|p_namespace\b)"
)


def without_namespaces(statement):
    """Return a statement without its conditions on a namespace.

    Statements on the key registry keep theirs. With the keys of all namespaces a search fails before it reads rows, because the cell's
    keys have no index layout.
    """
    if "data_keys" in statement or "registry_heads" in statement:
        return statement
    return _JOINED.sub("true", _PARAMETER.sub(r"(\1::uuid IS NOT NULL)", statement))


def _shared(_keys, purpose):
    """Return one key of identifiers for all namespaces."""
    return TokenKey(identity_key(Secret(bytes(32)), purpose))


class Answers:
    """The answers of the server while statements are sent without their conditions.

    Attributes:
        rows: All rows of all answers.
        stripped: The number of statements that lost a condition.
    """

    def __init__(self, monkeypatch, *, keep_conditions=False):
        self.rows = []
        self.stripped = 0
        monkeypatch.setattr(NamespaceKeys, "identity", _shared)
        make = functions._function
        if not keep_conditions:
            monkeypatch.setattr(functions, "_function", lambda text, **form: make(without_namespaces(text), **form))
        for name in ("fetch", "fetchrow", "execute"):
            monkeypatch.setattr(
                asyncpg.Connection, name, self._spied(getattr(asyncpg.Connection, name), keep=keep_conditions)
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
