"""Make the KMSs forget the KEK versions that wrapped the destroyed keys, after `keys destroy` and `keys reseal --destroy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.driver.config import ConfigError
from strongroom.kms.lifecycle.retirement import SETTLE_SECONDS, keks_of_destroyed_keys, retire_old_versions
from strongroom.storage.cell.positions import REGISTRY

from .show.output import busy, json_wanted, line

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.driver.strongroom import Strongroom
    from strongroom.kms import KekRef
    from strongroom.kms.lifecycle.retirement import RetiredVersions

RETIRE_KEK_VERSIONS = click.option(
    "--retire-kek-versions",
    metavar="KEK",
    help="Afterwards rotate this KEK, wrap its other keys again, and retire its older versions in the KMS. A destroyed key then stays "
    "destroyed even if its old row is put back. Backups, standbys and copies of the database from before can't be opened, of ALL "
    "namespaces under the KEK, nor other cells that use it.",
)
_STEPS = {
    "settle": "waiting {} s, until keys that other processes wrapped before the rotation are registered",
    "rewrap": "{} keys wrapped by the new version ...",
}


async def retire_keks(
    strongroom: Strongroom, owner: UUID, chosen: str | None, *, wait: float | None
) -> list[dict[str, object]]:
    """Retire the versions of a KEK that wrapped destroyed keys of a namespace, print the outcome, and return its documents.

    KEKs that were not chosen keep their versions, and the outcome says so.

    Args:
        strongroom: The cell.
        owner: The id of the namespace, or of the cell.
        chosen: The KEK whose versions are retired, as the operator names it; None for none.
        wait: The option `--wait`; a shorter time than the usual one is used for the wait after a rotation too.

    Raises:
        ConfigError: The KEK that was chosen wrapped no destroyed key, or no anchor on this host shows that the registry is the newest.
    """
    settle = SETTLE_SECONDS if wait is None else min(wait, SETTLE_SECONDS)
    documents: list[dict[str, object]] = []
    found = sorted((await keks_of_destroyed_keys(strongroom.keyring, owner)).items(), key=str)
    if chosen is not None:
        if chosen not in {str(kek) for kek, _ in found}:
            known = ", ".join(str(kek) for kek, _ in found) or "none"
            msg = f"--retire-kek-versions names a KEK that wrapped no destroyed key; known: {known}"
            raise ConfigError(msg)
        if strongroom.anchors.newest(REGISTRY) is None:
            msg = (
                "no KEK version is retired, because this host has no anchored state of the key registry, so an older one that was put "
                "back would not be noticed; run the command on a host with the audit log"
            )
            raise ConfigError(msg)
    for kek, versions in found:
        if str(kek) != chosen:
            documents.append(_kept(kek))
            continue
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


def _kept(kek: KekRef) -> dict[str, object]:
    reason = f"its versions are kept. To retire them, take a backup and add --retire-kek-versions {kek}"
    if not json_wanted():
        line(f"{kek}: the KMS still unwraps what it wrapped before: {reason}")
    return {"kek": str(kek), "kek_version": None, "retired": (), "reason": reason}


def _say(done: RetiredVersions) -> None:
    if json_wanted():
        return
    if done.retired:
        line(
            f"{done.kek}: version {', '.join(done.retired)} is retired in the KMS, and its keys are wrapped by version "
            f"{done.primary}. Backups of the database from before can't be opened any more"
        )
    if done.reason:
        line(f"{done.kek}: the KMS can still unwrap what it wrapped before: {done.reason}")
