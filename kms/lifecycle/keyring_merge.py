"""Repair a keyring file that has diverged from another copy of it (DESIGN.md, "The local provider")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms.errors import IntegrityError, StrongroomError
from strongroom.kms.key_events import KeyEvent, recording_change
from strongroom.kms.keys.registry import KekUsage
from strongroom.kms.provider import KekRef, Wrapped
from strongroom.kms.providers.local.keyring_file import read_keyring
from strongroom.kms.providers.local.local import LocalProvider
from strongroom.kms.providers.local.merge import MergedKeks, merge

from .kek_usage import used_versions
from .rewrap import PAGE

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.kms.keyring.keyring import Keyring
    from strongroom.kms.keys.registry import DataKeyRecord
    from strongroom.kms.providers.local.content import KeyringFile, KeyringHead


@dataclass(frozen=True, slots=True)
class KeyringMerge:
    """The result of a merge of two keyring files.

    Attributes:
        added: The number of KEK versions that only the other file had.
        conflicts: The number of KEK versions that are different keys in the two files.
        rewrapped: The number of keys that were wrapped again, because only the other file's key of that version unwraps them.
        missing: KEK versions that wrap keys and are in neither file.
        has_caught_up: Whether the file only lacked changes of the other one, and is now the same copy.
    """

    added: int
    conflicts: int
    rewrapped: int
    missing: tuple[KekUsage, ...]
    has_caught_up: bool


async def missing_keks(keyring: Keyring, provider: str, local: LocalProvider) -> tuple[KekUsage, ...]:
    """Return the KEK versions that wrap keys of the cell and are not in a keyring file.

    Args:
        keyring: The cell's keyring.
        provider: The id of the provider.
        local: The provider.
    """
    versions = (await local.file.current()).versions()
    used = used_versions(keyring, await keyring.store.list_kek_usage(), provider)
    return tuple(
        KekUsage(provider, kek_id, version, sum(usage.keys for usage in each), sum(usage.namespaces for usage in each))
        for (kek_id, version), each in used.items()
        if _number(version) not in versions.get(kek_id, ())
    )


async def deleted_keks(provider: str, local: LocalProvider) -> frozenset[tuple[KekRef, str]]:
    """Return the KEK versions whose deletion a keyring file records.

    Args:
        provider: The id of the provider.
        local: The provider.
    """
    deleted = (await local.file.current()).deleted
    return frozenset(
        (KekRef(provider, kek_id), str(version)) for kek_id, versions in deleted.items() for version in versions
    )


async def merge_keyring(
    keyring: Keyring, provider: str, local: LocalProvider, other: Path, *, passphrase: str | None = None
) -> KeyringMerge:
    """Add to a keyring file the KEKs that only another copy of it has. The other copy is not changed.

    If a version of a KEK is another key in each file, the keys that only the other one unwraps are wrapped again.

    Args:
        keyring: The cell's keyring.
        provider: The id of the provider.
        local: The provider whose file is changed.
        other: The other copy.
        passphrase: The passphrase of the other copy, or None.

    Raises:
        KeyringDiverged: The registry records a change that neither file has. Nothing was changed.
        KeyringFileError: A file can't be read or written.
    """
    theirs = read_keyring(other, passphrase)
    used = used_versions(keyring, await keyring.store.list_kek_usage(), provider)
    in_use = {(kek_id, _number(version)) for kek_id, version in used}

    def unite(ours: KeyringFile) -> MergedKeks:
        return merge(ours, theirs, in_use=in_use)

    async with recording_change(keyring.key_events, KeyEvent("kek.merge_keyring", provider=provider, note=other.name)):
        merged = await local.file.change(unite, diverged=True, has_caught_up=lambda merged: merged.has_caught_up)
        rewrapped = 0
        source = LocalProvider(provider, other, passphrase=passphrase)
        for kek_id, version in merged.conflicts:
            rewrapped += await _rewrap_from(keyring, source, local, KekRef(provider, kek_id), version)
    missing = await missing_keks(keyring, provider, local)
    return KeyringMerge(len(merged.added), len(merged.conflicts), rewrapped, missing, merged.has_caught_up)


async def _rewrap_from(
    keyring: Keyring, source: LocalProvider, target: LocalProvider, kek: KekRef, version: int
) -> int:
    """Wrap the keys again that only the source's version of a KEK unwraps. Return their number."""
    rewrapped, last = 0, None
    while page := await keyring.store.list_wrapped(kek, except_version=None, namespace_id=None, after=last, limit=PAGE):
        last = page[-1]
        moved = []
        for record in page:
            if record.kek_version == str(version):
                new = await _moved(keyring, source, target, record)
                moved += [] if new is None else [(record, new)]
        rewrapped += await keyring.store.rewrap_data_keys(moved)
    return rewrapped


async def _moved(
    keyring: Keyring, source: LocalProvider, target: LocalProvider, record: DataKeyRecord
) -> Wrapped | None:
    """Return the new form of a key that the source unwraps and the target does not; None for other keys."""
    kek = KekRef(record.provider, record.kek_id)
    wrapped = Wrapped(kek, record.kek_version, record.wrapped or b"")
    context = keyring.context(record).encryption_context()
    try:
        await target.unwrap(wrapped, context=context)
    except IntegrityError:
        pass
    else:
        return None
    try:
        root = keyring.checked(record, await source.unwrap(wrapped, context=context))
    except IntegrityError:
        return None  # neither file has the key that wrapped it
    if isinstance(root, StrongroomError):
        return None
    return await target.wrap(kek, root, context=context)


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0


async def adopt_keyring(keyring: Keyring, provider: str, local: LocalProvider) -> KeyringHead:
    """Record a keyring file as the one that makes a provider's KEKs, although it lacks changes of another copy.

    The copy that has them is refused from then on. Keys that only its KEKs unwrap are lost unless it is merged later.
    """
    async with recording_change(keyring.key_events, KeyEvent("kek.adopt_keyring", provider=provider)):
        return await local.file.adopt()
