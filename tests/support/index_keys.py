"""Keys that make tokens, and seal nothing."""

from __future__ import annotations

from uuid import UUID

from strongroom.kms import KeyClass, NamespaceKeys, Secret


def index_keys(layout, root=0):
    """Return keys with one epoch and the given layout. Other roots make other tokens."""
    return NamespaceKeys(
        cell_id=UUID(int=1),
        namespace_id=UUID(int=2),
        data={},
        index={1: Secret(bytes([root]) * 32)},
        identity={1: Secret(bytes([root + 1]) * 32)},
        active={KeyClass.INDEX: 1, KeyClass.IDENTITY: 1},
        layouts={1: str(layout)},
    )
