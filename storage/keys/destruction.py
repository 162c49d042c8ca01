"""Destroy a retired data key once a scan of all that is sealed has proved that nothing uses it (DESIGN.md, "Sealing anew").

A backup may use it all the same: that is for its operator to know.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from strongroom.kms import KeyClass, KeyConflict, KeyDestroyed, KeyNotFound, KeyState, destroy_data_key
from strongroom.storage.errors import ConditionFailed
from strongroom.storage.schema.schema import check_schema

from .reseal import Pace, Tally, sleep
from .sealed_pages import USING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from .reseal import Progress, Reseal

COPIES = "the search index"
"""What the documents of a search index are counted under."""


class KeyInUse(ConditionFailed):
    """Something is sealed with this version of a data key, or can't be told not to be.

    Attributes:
        version: which.
        uses: how many values, by column; documents of a search index under `COPIES`. A value that is not of the sealed format counts
            for every version.
    """

    def __init__(self, version: int, uses: Mapping[str, int]) -> None:
        found = ", ".join(f"{name} {count}" for name, count in uses.items())
        super().__init__(f"version {version} is not destroyed, it is in use: {found}")
        self.version = version
        self.uses = MappingProxyType(dict(uses))


async def retired_versions(reseal: Reseal, owner: UUID) -> list[int]:
    """Return the versions of a data key that only open, the oldest first."""
    return [
        record.version
        for record in await reseal.keyring.store.list_data_keys(owner)
        if record.key_class is KeyClass.DATA and record.state is KeyState.DECRYPT_ONLY
    ]


async def destroy_retired_key(reseal: Reseal, owner: UUID, version: int, *, progress: Progress | None = None) -> int:
    """Destroy a version that only opens and that nothing uses.

    Until every process has read the registry since the last rotation, some may still seal with it, so that is waited for first. Once
    it is destroyed its root, still in this process's memory, is used for what somebody wrote meanwhile who took longer than he may.

    Args:
        reseal: what knows all sealed columns, and how long to wait.
        owner: id of the namespace, or of the cell.
        version: which.
        progress: told "wait", "scan" and "reseal".

    Returns:
        How many rows of it were found after it was destroyed, and sealed anew; 0 if everybody kept to his time.

    Raises:
        KeyInUse: it is in use; says where.
        KeyNotFound, KeyDestroyed, KeyConflict: there is no such version; it is destroyed; it is not one that only opens.
        SchemaMismatch: the database has columns that this version of the software may not know.
        KmsError, StorageError: nothing is destroyed, unless it is another one's work.
    """
    show = progress or (lambda _step, _number: None)
    keys = await reseal.fresh_keys(owner)
    await _check_state(reseal, owner, version)
    await sleep(await reseal.unheard(owner), show)
    await check_schema(reseal.database)
    uses = dict(await reseal.count(owner, version, wanted=USING, progress=show))
    if reseal.copies is not None and owner != reseal.keyring.cell_id:
        documents = await reseal.copies.uses(owner, version)
        uses |= {COPIES: documents} if documents else {}
    if uses:
        raise KeyInUse(version, uses)
    await destroy_data_key(reseal.keyring, owner, version)
    late = Tally()
    await reseal.passes(owner, version + 1, late, pace=Pace(0), show=show, keys=keys)
    return late.resealed.total()


async def _check_state(reseal: Reseal, owner: UUID, version: int) -> None:
    for record in await reseal.keyring.store.list_data_keys(owner):
        if record.key_class is not KeyClass.DATA or record.version != version:
            continue
        if record.state is KeyState.DESTROYED:
            raise KeyDestroyed
        if record.state is not KeyState.DECRYPT_ONLY:
            msg = f"version {version} is {record.state.value}: only one that was rotated away, and is decrypt_only, is destroyed"
            raise KeyConflict(msg)
        return
    msg = f"there is no version {version} of this data key"
    raise KeyNotFound(msg)
