"""Make the KMSs forget what wrapped the destroyed keys, after `keys destroy` and `keys reseal --destroy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.kms.lifecycle.retirement import SETTLE_SECONDS, keks_of_destroyed_keys, retire_old_versions

from .show.output import busy, json_wanted, line

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.driver.strongroom import Strongroom
    from strongroom.kms.lifecycle.retirement import RetiredVersions

KEEP_KEK_VERSIONS = click.option(
    "--keep-kek-versions",
    is_flag=True,
    help="Do not rotate the KEK and retire its older versions. Backups of the database from before need them.",
)
_STEPS = {
    "settle": "waiting {} s, until keys that other processes wrapped before the rotation are registered",
    "rewrap": "{} keys wrapped by the new version ...",
}


async def retire_keks(strongroom: Strongroom, owner: UUID, *, wait: float | None) -> list[dict[str, object]]:
    """Retire the versions of KEKs that wrapped destroyed keys of a namespace, print the outcome, and return its documents.

    Args:
        strongroom: The cell.
        owner: The id of the namespace, or of the cell.
        wait: The option `--wait`; a shorter time than the usual one is used for the wait after a rotation too.
    """
    settle = SETTLE_SECONDS if wait is None else min(wait, SETTLE_SECONDS)
    documents: list[dict[str, object]] = []
    for kek, versions in sorted((await keks_of_destroyed_keys(strongroom.keyring, owner)).items(), key=str):
        with busy("asking the KMS ...") as update:
            done = await retire_old_versions(
                strongroom.keyring,
                kek,
                versions,
                settle=settle,
                progress=lambda step, number: update(_STEPS[step].format(number)),
            )
        _say(done)
        documents.append(
            {
                "kek": str(done.kek),
                "kek_version": done.primary or None,
                "retired": done.retired,
                "reason": done.reason or None,
            }
        )
    return documents


def _say(done: RetiredVersions) -> None:
    if json_wanted():
        return
    if done.retired:
        line(
            f"{done.kek}: version {', '.join(done.retired)} is retired in the KMS, and its keys are wrapped by version "
            f"{done.primary}. Backups of the database from before can't be opened any more"
        )
    if done.reason:
        line(f"{done.kek}: the KMS still unwraps what it wrapped before: {done.reason}")
