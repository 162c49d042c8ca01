"""The KEK of a new namespace for which none is named: the rule `[namespaces] kek` of the configuration."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.kms import UnsupportedOperation

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.kms import KekRef, Keyring
    from strongroom.storage.namespaces.kek_rule import KekRule

    from .config.namespaces import NamespacesConfig


def kek_rule(config: NamespacesConfig, keyring: Keyring) -> KekRule:
    """Return the rule of a cell.

    Args:
        config: The section `[namespaces]`.
        keyring: The keyring, whose providers create KEKs.
    """

    async def rule(namespace_id: UUID) -> KekRef | None:
        kek = config.kek_of(namespace_id)
        if kek is not None and config.has_own_keks:
            with suppress(UnsupportedOperation):  # the operator creates KEKs in such a KMS
                return await keyring.provider_of(kek).create_kek(kek.key_id)
        return kek

    return rule
