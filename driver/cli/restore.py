"""Commands after a database, or the folder of an audit log, was restored from a backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.driver.access import CALLER
from strongroom.driver.audit.acceptance import new_acceptances, of_older
from strongroom.driver.audit.events import now, of_acceptance
from strongroom.driver.audit.rows import describe
from strongroom.driver.audit.whole_log import acceptable, verify_log
from strongroom.driver.config import ConfigError
from strongroom.storage.cell.positions import POLICY
from strongroom.storage.journal.images import journal_shards

from .cell import with_older_database
from .commands import Group
from .show.output import busy, json_wanted, line, progress_bar, result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from strongroom.driver.audit.acceptance import Acceptance, Difference
    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage.journal.reading import ShardVerification

_MOST_REASON = 500


@click.group(
    cls=Group, epilog="\b\nExample:\n  strongroom restore accept --dry-run --reason 'backup of 2 May restored'"
)
def restore() -> None:
    """Accept a database, or an audit log, that was restored from a backup and is older than it was."""


@restore.command(
    "accept",
    epilog="\b\nExamples:\n  strongroom restore accept --reason 'backup of 2 May restored' --dry-run\n"
    "  strongroom restore accept --reason 'backup of 2 May restored'",
)
@click.option("--reason", required=True, help=f"Reason, of at most {_MOST_REASON} characters. It is recorded.")
@click.option("--dry-run", is_flag=True, help="Only show what would be accepted.")
@click.pass_obj
def accept(config_path: Path, reason: str, dry_run: bool) -> None:
    """Accept a database that is older than its anchors, and the differences that `verify` and `audit verify` find on this host.

    It adds a signed record with what is older than an anchored state, the changed rows, the lost checkpoints, the breaks and the
    streams that were ended or are missing. Processes then open the database again, `verify` finds no difference, and `audit verify`
    shows the accepted ones. Every other difference is still found. Only an owner can do this. With access control it needs a second
    person: `strongroom access request --operation restore.accept`. Accept an older access policy first (`access accept-older`).
    """
    if not reason.strip() or len(reason) > _MOST_REASON:
        msg = f"--reason takes a text of at most {_MOST_REASON} characters"
        raise click.UsageError(msg)

    async def run(strongroom: Strongroom) -> None:
        log = strongroom.needed_audit()
        await log.checkpoint()  # The streams of this host are compared with the database before it.
        key = await strongroom.audit_key()
        with busy("reading ..."):
            found = await verify_log(
                strongroom.audit_checkpoints,
                log.root,
                public_key=key.public_key,
                has_other_hosts=True,
                anchored=strongroom.anchors.known,
            )
        older = await strongroom.anchors.older()
        for each in older:
            if each.found.name == POLICY:
                await each.source.continue_after(each.anchored)  # its error names the command
        differences, refused = acceptable(found)
        changed = await _changed_shards(strongroom)
        texts = [each.text for each in older] + [text for each in changed for text in each.texts]
        differences = [*map(of_older, texts), *differences]
        if refused:
            msg = (
                "nothing is accepted, because no restore makes these differences. Keep a copy of the folder and of the table "
                "audit_checkpoints, and compare with exports. A stream whose process has ended can be moved away, and is then "
                "accepted as missing:"
            )
            raise ConfigError(msg, refused)
        made = new_acceptances(differences, reason=reason, at=now(), key=key)
        if not dry_run:
            for statement in made:
                await log.record(of_acceptance(statement.at, statement.fields(key.public_key), CALLER.get()))
            for each in older:
                await each.source.continue_after(each.anchored)
            for shard in changed:
                await strongroom.journal.accept(shard.shard_id)
            await log.checkpoint()
        _show(differences, made, dry_run=dry_run)

    with_older_database(config_path, run, "restore.accept", reason=reason)


async def _changed_shards(strongroom: Strongroom) -> list[ShardVerification]:
    """Return the shards whose rows are not those that were written."""
    shards = journal_shards(strongroom.config.cell.shard_count)
    with progress_bar("verifying shards", len(shards)) as show:
        found = []
        for done, shard_id in enumerate(shards, 1):
            found.append(await strongroom.journal.verify(shard_id))
            show(done)
    return [each for each in found if not each.ok]


def _show(differences: Sequence[Difference], made: Sequence[Acceptance], *, dry_run: bool) -> None:
    texts = [*describe(differences), *(each.text for each in differences if not each.number)]
    lost = [each.number for each in differences if each.number]
    if json_wanted():
        result(
            {
                "dry_run": dry_run,
                "differences": texts,
                "lost_after": min(lost) - 1 if lost else None,
                "lost_through": max(lost, default=None),
                "digests": [each.digest.hex() for each in made],
            }
        )
        return
    for text in texts:
        line(text)
    if lost:
        line(f"the database is older than the log: checkpoints after {min(lost) - 1}, up to {max(lost)}, are lost")
    if not differences:
        line("the database and the audit log have no difference that is not accepted, so there is nothing to accept")
        return
    verb = "would be accepted" if dry_run else "are accepted"
    line(f"{len(differences)} differences {verb}; 'strongroom audit verify' still finds every other difference")
