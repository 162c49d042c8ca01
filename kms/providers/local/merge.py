"""Unite two copies of a keyring file that were changed on two hosts, so that no KEK of either is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .content import Kek

if TYPE_CHECKING:
    from collections.abc import Collection

    from .content import KeyringFile


@dataclass(frozen=True, slots=True)
class MergedKeks:
    """The result of a merge.

    Attributes:
        added: The versions that only the other file had, by KEK.
        conflicts: The versions that are different keys in the two files, by KEK. The first file's key is kept.
        has_caught_up: Whether the first file lacked changes of the other and had none of its own. It is now the same copy.
    """

    added: tuple[tuple[str, int], ...]
    conflicts: tuple[tuple[str, int], ...]
    has_caught_up: bool


def merge(ours: KeyringFile, other: KeyringFile, *, in_use: Collection[tuple[str, int]]) -> MergedKeks:
    """Add to a keyring what only another copy of it has.

    A version that either file records as deleted stays deleted, unless a key depends on it.

    Args:
        ours: The keyring that is changed.
        other: The other copy.
        in_use: The versions of KEKs that wrap keys.
    """
    added, conflicts = [], []
    for kek_id, kek in other.keks.items():
        for version, key in kek.versions.items():
            mine = ours.keks[kek_id].versions.get(version) if kek_id in ours.keks else None
            if mine is not None:
                if mine.reveal() != key.reveal():
                    conflicts.append((kek_id, version))
            elif version not in ours.deleted.get(kek_id, {}) or (kek_id, version) in in_use:
                entry = ours.keks.setdefault(kek_id, Kek({}, {}))
                entry.versions[version], entry.created[version] = key, kek.created[version]
                added.append((kek_id, version))
    _merge_deletions(ours, other, in_use=in_use)
    is_behind = set(ours.lineage) < set(other.lineage)
    has_caught_up = is_behind and not conflicts and ours.versions() == other.versions()
    known = set(ours.lineage)
    new = [change for change in other.lineage if change not in known]
    ours.lineage = list(other.lineage) if has_caught_up else [*ours.lineage, *new]
    return MergedKeks(tuple(added), tuple(conflicts), has_caught_up)


def _merge_deletions(ours: KeyringFile, other: KeyringFile, *, in_use: Collection[tuple[str, int]]) -> None:
    for kek_id, versions in other.deleted.items():
        for version, when in versions.items():
            if (kek_id, version) in in_use:
                continue
            if kek_id in ours.keks and version in ours.keks[kek_id].versions:
                ours.delete(kek_id, version)
            ours.deleted.setdefault(kek_id, {})[version] = when
    for kek_id, kek in ours.keks.items():
        for version in kek.versions:
            ours.deleted.get(kek_id, {}).pop(version, None)
