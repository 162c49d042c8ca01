"""The KEK of a namespace for which its creator names none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from strongroom.storage.errors import KekNotConfigured

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.kms import KekRef

KekRule: TypeAlias = "Callable[[UUID], Awaitable[KekRef | None]]"
"""Returns the KEK of a namespace, and creates it if that is needed; None if the configuration names none."""


async def no_rule(_namespace_id: UUID) -> KekRef | None:
    """Return no KEK, so that every creation must name one."""
    return None


async def wanted_kek(kek: KekRef | None, rule: KekRule, namespace_id: UUID) -> KekRef:
    """Return the KEK that a creation names, or the KEK of the rule.

    Raises:
        KekNotConfigured: There is neither.
        KmsError: The KEK of the rule can't be created.
    """
    found = await rule(namespace_id) if kek is None else kek
    if found is None:
        raise KekNotConfigured
    return found
