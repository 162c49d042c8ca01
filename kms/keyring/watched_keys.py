"""Keys of a namespace that report each batch to a watch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.kms.errors import StrongroomError
from strongroom.kms.keys.namespace_keys import NamespaceKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.kms.keys.namespace_keys import Group
    from strongroom.kms.sealing.record_kind import Plaintext, RecordKey, RecordKind
    from strongroom.kms.watch import KeyWatch


class WatchedKeys(NamespaceKeys):
    """`NamespaceKeys` that report each batch. This is a separate class, so that keys without a watch need no check per batch.

    Args:
        watch: The receiver of the reports.
        keys: The arguments of `NamespaceKeys`.
    """

    __slots__ = ("_watch",)

    def __init__(self, *, watch: KeyWatch, **keys: Any) -> None:
        super().__init__(**keys)
        self._watch = watch

    def seal_many(
        self, kind: RecordKind, rows: Sequence[tuple[RecordKey, Plaintext]], *, scope: RecordKey = ()
    ) -> list[bytes]:
        """See `NamespaceKeys`."""
        sealed = super().seal_many(kind, rows, scope=scope)
        if not kind.is_packed:  # `seal_groups` has reported packed kinds
            self._watch.sealed(kind, len(rows))
        return sealed

    def seal_groups(self, groups: Sequence[Group]) -> list[list[bytes]]:
        """See `NamespaceKeys`."""
        sealed = super().seal_groups(groups)
        for kind, _, rows in groups:
            self._watch.sealed(kind, len(rows))
        return sealed

    def open_many(
        self, kind: RecordKind, rows: Sequence[tuple[RecordKey, bytes]], *, scope: RecordKey = ()
    ) -> list[bytes]:
        """See `NamespaceKeys`."""
        try:
            opened = super().open_many(kind, rows, scope=scope)
        except StrongroomError as error:
            self._watch.not_opened(kind, error)
            raise
        self._watch.opened(kind, len(rows))
        return opened
