"""Commands about backups. Neither opens the live cell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.driver.backup import check_set, plan, with_copies
from strongroom.driver.config import holds_secret, load_config, read_document

from .commands import Group
from .interrupts import INTERRUPTS
from .show import doctor as show_doctor
from .show.output import busy, result

if TYPE_CHECKING:
    from strongroom.driver.config import StrongroomConfig
    from strongroom.driver.doctor import Finding


@click.group(
    cls=Group,
    epilog="\b\nExamples:\n  strongroom backup plan\n  strongroom backup check --dsn postgresql://drill@localhost/drill",
)
def backup() -> None:
    """What to back up in which order, and whether a set of backups fits together."""


@backup.command(
    "plan",
    epilog="\b\nExamples:\n  strongroom backup plan\n  strongroom backup plan --physical\n"
    "  strongroom --config /etc/strongroom.toml backup plan --json",
)
@click.option(
    "--physical",
    is_flag=True,
    help="Plan a base backup of the server and its archived write-ahead log, which restore any moment, in place of a dump.",
)
@click.pass_obj
def plan_(config_path: Path, *, physical: bool) -> None:
    """Show what to back up for this configuration, in which order, and why.

    It reads only the configuration. It names no password; the secrets in environment variables are named by their variables. The last
    step checks the set with `backup check`, which needs a restored server for either kind of backup.
    """
    config, document = load_config(config_path), read_document(config_path)
    variables = dict(_variables(document))
    steps = plan(config, config_path, variables, has_secret=holds_secret(document), physical=physical)
    lines = [
        text
        for number, step in enumerate(steps, 1)
        for text in (f"{number}. {step.part}: {step.what}", f"   {step.how}", f"   ({step.why})")
    ]
    result({"cell_id": config.cell.cell_id, "physical": physical, "steps": steps}, *lines)


@backup.command(
    "check",
    epilog="\b\nExamples:\n  strongroom --config backup/strongroom.toml backup check --dsn postgresql://drill@localhost/drill \\\n"
    "    --keyring backup-of-keys/strongroom-keyring.json --audit backup/audit\n"
    "  STRONGROOM_DSN=postgresql://drill:$PASSWORD@localhost/drill strongroom backup check --rows\n"
    "  strongroom backup check --keyring local=keyring.json --json\n"
    "  strongroom backup check --certificate payments-erasure.json",
)
@click.option(
    "--dsn",
    help="Connection string of the restored database. Default: that of the configuration. Every user of this machine can see it, so "
    "put a connection string with a password into STRONGROOM_DSN instead.",
)
@click.option(
    "--keyring",
    "keyrings",
    multiple=True,
    metavar="[ID=]FILE",
    help="Copy of a keyring file. ID names the provider, if there are several. Default: that of the configuration.",
)
@click.option("--audit", type=click.Path(file_okay=False, path_type=Path), help="Copy of the audit log's folder.")
@click.option(
    "--certificate",
    "certificates",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Erasure certificate of a namespace that was shredded after the backup. It may be given several times.",
)
@click.option("--other-hosts", is_flag=True, help="Accept that the streams of other hosts are in other copies.")
@click.option("--rows", is_flag=True, help="Compare all rows with the journal too, as `strongroom verify` does.")
@click.pass_obj
def check(
    config_path: Path,
    *,
    dsn: str | None,
    keyrings: tuple[str, ...],
    audit: Path | None,
    certificates: tuple[Path, ...],
    other_hosts: bool,
    rows: bool,
) -> None:
    """Check that a restored database, a keyring, an audit log and a configuration fit together.

    The keyring must be as new as the database or newer, each key that is not destroyed must unwrap and match its commitment, the log
    must have every record that a checkpoint in the database covers, and all must be of the same cell. Nothing is written, and the live
    cell is not needed. Restore the dump into an empty database first, or the base backup with its log on another
    server: the files of a backup are not checked themselves. Ends with 1 if something does not fit; a note does not change the
    exit code.

    A key whose KEK was deleted on purpose, for example by a shredding after the backup, is a note, because the set still fits: its
    namespace can't be restored. That is so if a keyring records the deletion, if the KMS reports the KEK as destroyed or scheduled for
    deletion, or if the KMS has no such KEK and an erasure certificate names it.
    """
    config = load_config(config_path)
    named = dict(_named(each, config) for each in keyrings)
    config = with_copies(config, dsn=dsn, keyrings=named, audit=audit)

    async def run() -> list[Finding]:
        with busy("checking the backups ...") as report:
            return await check_set(
                config, certificates=certificates, has_other_hosts=other_hosts, rows=rows, report=report
            )

    findings = INTERRUPTS.run(run())
    show_doctor.findings(findings)
    if not all(finding.ok for finding in findings):
        raise click.exceptions.Exit(1)


def _named(text: str, config: StrongroomConfig) -> tuple[str, Path]:
    """Return the provider's id, or "", and the path, which may have an equals sign too."""
    provider_id, sign, path = text.partition("=")
    return (provider_id, Path(path)) if sign and provider_id in config.kms else ("", Path(text))


def _variables(document: object, path: str = "") -> list[tuple[str, str]]:
    """Return the settings of a document that name an environment variable, with the names of the variables."""
    if not isinstance(document, dict):
        return []
    found = []
    for name, value in document.items():
        setting = f"{path}.{name}" if path else name
        if name.endswith("_env") and isinstance(value, str):
            found.append((setting, value))
        found += _variables(value, setting)
    return found
