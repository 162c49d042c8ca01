"""Find the keys that depend on a KEK, directly or through a KEK of the multi provider of which it is a child."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms.provider import KekRef
from strongroom.kms.providers.multi.multi import MultiProvider
from strongroom.kms.providers.multi.wrapped_format import ABSENT, children_of, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.kms.keyring.keyring import Keyring
    from strongroom.kms.keys.registry import KekUsage


def depending_on(
    keyring: Keyring, used: Iterable[KekUsage], keks: Iterable[KekRef], version: str | None = None
) -> list[KekUsage]:
    """Return the usage of some KEKs, of their children, and of KEKs that have one of them as a child.

    Args:
        keyring: The cell's keyring, which has the providers.
        used: The usage of all KEKs, from `DataKeyStore.list_kek_usage`.
        keks: The KEKs to look for.
        version: A version of the KEKs to which the result is limited, or None.
    """
    searched = {part for kek in keks for part in (kek, *_parts(keyring, kek, ""))}
    return [
        usage
        for usage in used
        if any(
            part in searched and version in (None, part_version)
            for part, part_version in _with_parts(keyring, KekRef(usage.provider, usage.kek_id), usage.kek_version)
        )
    ]


def used_versions(keyring: Keyring, used: Iterable[KekUsage], provider: str) -> dict[tuple[str, str], list[KekUsage]]:
    """Return the versions of a provider's KEKs that wrap keys, also as children of multi KEKs, each with its usage.

    Args:
        keyring: The cell's keyring.
        used: The usage of all KEKs.
        provider: The id of the provider.
    """
    found: dict[tuple[str, str], list[KekUsage]] = {}
    for usage in used:
        for part, version in _with_parts(keyring, KekRef(usage.provider, usage.kek_id), usage.kek_version):
            if part.provider == provider and version != ABSENT:
                found.setdefault((part.key_id, version), []).append(usage)
    return found


def _with_parts(keyring: Keyring, kek: KekRef, version: str) -> list[tuple[KekRef, str]]:
    return [(kek, version), *_parts(keyring, kek, version).items()]


def _parts(keyring: Keyring, kek: KekRef, version: str) -> dict[KekRef, str]:
    provider = keyring.providers.get(kek.provider)
    if not isinstance(provider, MultiProvider):
        return {}
    if version:
        return parts_of(kek.key_id, version)
    return dict.fromkeys(children_of(kek.key_id), "")
