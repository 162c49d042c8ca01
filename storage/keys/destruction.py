"""Destroy a retired data key after a scan of all sealed values has shown that none uses it (DESIGN.md, "Resealing").

The scan does not cover backups of the database. The operator must check whether a backup still needs the key.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from strongroom.kms import (
    KeyClass,
    KeyConflict,
    KeyDestroyed,
    KeyNotFound,
    KeyState,
    commits_several_times,
    destroy_data_key,
)
from strongroom.storage.errors import ConditionFailed
from strongroom.storage.schema.schema import check_schema

from .reseal_progress import Pace, Tally, no_progress
from .sealed_pages import USING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from .reseal import Reseal
    from .reseal_progress import Progress

COPIES = "the search index"
"""The name under which the documents of a search index are counted."""


class KeyInUse(ConditionFailed):
    """Some values use this version of a data key, or may use it because they can't be read.

    Attributes:
        version: The version.
        uses: The number of values by column, and of documents of a search index under `COPIES`. A value that is not of the sealed
            format counts as a use of every version.
    """

    def __init__(self, version: int, uses: Mapping[str, int]) -> None:
        found = ", ".join(f"{name} {count}" for name, count in uses.items())
        super().__init__(f"version {version} is not destroyed, it is in use: {found}")
        self.version = version
        self.uses = MappingProxyType(dict(uses))


async def retired_versions(reseal: Reseal, owner: UUID) -> list[int]:
    """Return the retired (`decrypt_only`) versions of a data key, the oldest first.

    Args:
        reseal: The reseal job of the cell.
        owner: The id of the namespace, or of the cell.
    """
    return [
        record.version
        for record in await reseal.keyring.store.list_data_keys(owner)
        if record.key_class is KeyClass.DATA and record.state is KeyState.DECRYPT_ONLY
    ]


@commits_several_times
async def destroy_retired_key(reseal: Reseal, owner: UUID, version: int, *, progress: Progress | None = None) -> int:
    """Destroy a retired version that nothing uses.

    It first waits until every process has read the registry since the last rotation, because some may still seal with the version.
    After the destruction it reseals rows that a slow process wrote in the meantime, with the root that is still in memory.

    Args:
        reseal: The reseal job of the cell.
        owner: The id of the namespace, or of the cell.
        version: The version.
        progress: Called with "wait", "scan" and "reseal".

    Returns:
        The number of rows that were found and resealed after the destruction; 0 if no process was too slow.

    Raises:
        KeyInUse: Some values use the version.
        KeyNotFound, KeyDestroyed, KeyConflict: The version does not exist, is destroyed, or is not retired.
        SchemaMismatch: The schema is newer than this version of the software, so it may have unknown columns.
        KmsError, StorageError: Nothing was destroyed by this call.
    """
    show = progress or no_progress
    keys = await reseal.fresh_keys(owner)
    await _check_state(reseal, owner, version)
    await reseal.wait.wait_until(await reseal.deadline(owner), show)
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
            msg = (
                f"version {version} is {record.state.value}, and only a retired (decrypt_only) version can be destroyed; "
                "rotate the key first"
            )
            raise KeyConflict(msg)
        return
    msg = f"there is no version {version} of this data key"
    raise KeyNotFound(msg)
