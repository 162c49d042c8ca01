"""The key of the registry's heads in a process. It is derived from the cell's identity root, which is unwrapped once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms.keys.registry_head import RegistryKey
from strongroom.kms.region import bound_cell_id

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.kms.keys.registry import DataKeyStore
    from strongroom.kms.secret import Secret

    from .loader import KeyLoader


class RegistryAccess:
    """Gives the key of the heads.

    Args:
        cell_id: The id of the cell.
        store: The registry.
        loader: Unwraps the identity root.
    """

    def __init__(self, cell_id: UUID, store: DataKeyStore, loader: KeyLoader) -> None:
        self._cell_id = cell_id
        self._store = store
        self._loader = loader
        self._key: RegistryKey | None = None

    async def key(self) -> RegistryKey:
        """Return the key. The first call unwraps the cell's identity root; the key is then kept.

        The key authenticates rows of the registry, and opens nothing. So it is kept while the KMS can't be reached.

        Raises:
            KeyNotFound: The cell has no keys.
            PinMismatch: The registry has other keys of the cell than the configuration.
            KmsError: The identity root can't be unwrapped.
        """
        if self._key is None:
            self._key = await self._loader.registry_key(await self._store.list_unverified(self._cell_id))
        return self._key

    def begin(self, identity: Secret | None) -> None:
        """Use the key of a new identity root of the cell, which is about to be registered. None forgets it again."""
        bound = bound_cell_id(self._cell_id, self._loader.region)
        self._key = None if identity is None else RegistryKey(identity, bound)
