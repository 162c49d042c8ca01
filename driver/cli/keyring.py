"""Commands on local keyring files: compare them with the registry, and repair copies that have diverged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.driver.config import ConfigError
from strongroom.driver.keyring_files import keyring_files
from strongroom.kms import KeyringDiverged, StrongroomError, adopt_keyring, merge_keyring, missing_keks

from .cell import with_diverged_keyrings
from .commands import Group
from .show import cell as cli_show
from .show.output import ask, json_wanted, line, result, table

if TYPE_CHECKING:
    from strongroom.driver.strongroom import Strongroom
    from strongroom.kms import LocalProvider

_PROVIDER = click.option("--provider", help="Id of the section [kms.ID]. Default: the only one of type local.")


@click.group(
    cls=Group,
    epilog="\b\nExamples:\n  strongroom keys keyring status\n  strongroom keys keyring merge /mnt/host-b/strongroom-keyring.json",
)
def keyring() -> None:
    """Compare local keyring files with the registry, and repair copies that were changed on several hosts."""


@keyring.command(epilog="\b\nExamples:\n  strongroom keys keyring status\n  strongroom keys keyring status --json")
@click.pass_obj
def status(config_path: Path) -> None:
    """Show each keyring file, whether it is the copy that the registry records, and KEKs in use that it lacks.

    The exit code is 1 if a file is refused or lacks a KEK.
    """

    async def run(strongroom: Strongroom) -> None:
        found = [await _status(strongroom, *each) for each in keyring_files(strongroom.keyring.providers).items()]
        if json_wanted():
            result({"keyrings": found})
        else:
            table(
                *("provider", "file", "keyring", "changes", "state", "missing KEKs", "that wrap keys"),
                rows=[list(each.values())[:7] for each in found],
            )
            for each in found:
                if each["error"]:
                    line(str(each["error"]))
        if any(each["error"] or each["missing_keks"] for each in found):
            raise click.exceptions.Exit(1)

    with_diverged_keyrings(config_path, run, "keys.keyring_status")


@keyring.command(
    epilog="\b\nExamples:\n  strongroom keys keyring merge /mnt/host-b/strongroom-keyring.json\n"
    "  strongroom keys keyring merge old.json --other-passphrase"
)
@click.argument("other", metavar="OTHER_FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_PROVIDER
@click.option(
    "--other-passphrase", is_flag=True, help="Ask for the passphrase of OTHER_FILE. Default: that of the configuration."
)
@click.pass_obj
def merge(config_path: Path, other: Path, provider: str | None, other_passphrase: bool) -> None:
    """Add the KEKs of OTHER_FILE to this host's keyring file, so that the namespaces of both hosts open.

    OTHER_FILE is another copy of the keyring and is not changed. If both copies made the same version of a KEK, the keys that only
    the other one unwraps are wrapped again. Afterwards copy this host's file to the other hosts, or share one file.
    """

    async def run(strongroom: Strongroom) -> None:
        provider_id, local = _chosen(strongroom, provider)
        passphrase = getattr(strongroom.config.kms[provider_id], "passphrase", None)
        if other_passphrase:
            passphrase = ask("Passphrase of OTHER_FILE", hidden=True)
        done = await merge_keyring(strongroom.keyring, provider_id, local, other, passphrase=passphrase)
        if json_wanted():
            numbers = {"added": done.added, "conflicts": done.conflicts, "rewrapped": done.rewrapped}
            result({**numbers, "missing": done.missing})
        else:
            line(f"KEK versions added to {local.file.path}: {done.added}")
            if done.conflicts:
                line(
                    f"{done.conflicts} KEK versions were other keys in each file; {done.rewrapped} keys were wrapped again"
                )
            if done.missing:
                line("KEKs that neither file has; merge the file of the host that made them:")
                cli_show.kek_usage(done.missing)
            line(
                "This file and OTHER_FILE are now the same copy; no host needs to do more."
                if done.has_caught_up
                else "Copy this file to every other host of the cell, or run the same command there with this file."
            )
            line(
                "KEKs that one copy makes are unknown to the others. To avoid that, share one file, create and rotate KEKs on one "
                "host only, or use a KMS."
            )
        if done.missing:
            raise click.exceptions.Exit(1)

    with_diverged_keyrings(config_path, run, "keys.merge_keyring")


@keyring.command(epilog="\b\nExample:\n  strongroom keys keyring adopt --confirm 4f6b9b5e-6f0f-4c5c-9a3c-1f0c9d8b7a65")
@_PROVIDER
@click.option("--confirm", metavar="KEYRING", help="The keyring's id, in place of the prompt.")
@click.pass_obj
def adopt(config_path: Path, provider: str | None, confirm: str | None) -> None:
    """Accept this host's keyring file although it lacks changes that another copy made, because that copy is lost.

    For a file from a backup. If the other copy still exists, use `merge` instead. Namespaces whose KEKs the file lacks stay closed.
    """

    async def run(strongroom: Strongroom) -> None:
        provider_id, local = _chosen(strongroom, provider)
        head = (await local.file.current()).head
        missing = await missing_keks(strongroom.keyring, provider_id, local)
        if missing and not json_wanted():
            line("The keys under these KEKs can't be unwrapped with this file:")
            cli_show.kek_usage(missing)
        given = confirm or ask(f"Type the keyring's id, {head.keyring_id}, to accept the file")
        if given != str(head.keyring_id):
            msg = "the confirmation is not the keyring's id, and nothing was changed; `strongroom keys keyring status` shows it"
            raise click.UsageError(msg)
        await adopt_keyring(strongroom.keyring, provider_id, local)
        result(
            {"keyring": head.keyring_id, "changes": head.changes, "missing": missing},
            f"the registry records change {head.changes} of keyring {head.keyring_id}; other copies are refused",
        )

    with_diverged_keyrings(config_path, run, "keys.adopt_keyring")


def _chosen(strongroom: Strongroom, provider: str | None) -> tuple[str, LocalProvider]:
    """Return a local provider by its id, or the only one."""
    files = keyring_files(strongroom.keyring.providers)
    if provider is None and len(files) == 1:
        return next(iter(files.items()))
    if provider not in files:
        msg = f"name a provider of type local with --provider; the configuration has {', '.join(files) or 'none'}"
        raise ConfigError(msg)
    return provider, files[provider]


async def _status(strongroom: Strongroom, provider_id: str, local: LocalProvider) -> dict[str, object]:
    found: dict[str, object] = {
        "provider": provider_id,
        "file": str(local.file.path),
        "keyring": "",
        "changes": "",
        "state": "unusable",
        "missing_keks": 0,
        "keys": 0,
        "error": "",
    }
    try:
        head = (await local.file.current()).head
        found |= {"keyring": str(head.keyring_id), "changes": head.changes}
        missing = await missing_keks(strongroom.keyring, provider_id, local)
        found |= {"missing_keks": len(missing), "keys": sum(usage.keys for usage in missing)}
        await local.check_registered(record=False)
        found["state"] = "as recorded"
    except StrongroomError as error:
        found |= {"error": str(error)} | ({"state": "diverged"} if isinstance(error, KeyringDiverged) else {})
    return found
