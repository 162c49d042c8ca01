"""Commands after a database, or the folder of an audit log, was restored from a backup."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import click

from strongroom.driver.access import CALLER, PermissionDenied
from strongroom.driver.access.grants import ACCEPT, is_approved
from strongroom.driver.access.reasons import MOST_CHARACTERS, check_reason
from strongroom.driver.anchor import continue_after
from strongroom.driver.audit.acceptance import new_acceptances, of_older
from strongroom.driver.audit.events import now, of_acceptance
from strongroom.driver.audit.rows import describe
from strongroom.driver.audit.whole_log import acceptable, verify_log
from strongroom.driver.config import ConfigError
from strongroom.storage.cell.positions import POLICY
from strongroom.storage.journal.images import journal_shards
from strongroom.storage.journal.position import shard_of

from .cell import caller_name, with_older_database
from .commands import Group
from .show.output import busy, json_wanted, line, progress_bar, result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from strongroom.driver.anchor import Older
    from strongroom.driver.audit.acceptance import Acceptance, Difference
    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage.journal.reading import ShardVerification


@click.group(
    cls=Group, epilog="\b\nExample:\n  strongroom restore accept --dry-run --reason 'backup of 2 May restored'"
)
def restore() -> None:
    """Accept a database, or an audit log, that was restored from a backup and is older than it was."""


@restore.command(
    "accept",
    epilog="\b\nExamples:\n  strongroom restore accept --reason 'backup of 2 May restored' --dry-run\n"
    "  strongroom restore accept --reason 'backup of 2 May restored' --state 4be7d1c09a5f3e2d8c6b1a0f9e8d7c6b",
)
@click.option("--reason", required=True, help=f"Reason, of at most {MOST_CHARACTERS} characters. It is recorded.")
@click.option("--dry-run", is_flag=True, help="Only show what would be accepted, and the name of this state.")
@click.option("--state", default="", help="State that --dry-run showed. Nothing is accepted if it has changed since.")
@click.pass_obj
def accept(config_path: Path, reason: str, dry_run: bool, state: str) -> None:
    """Accept a database that is older than its anchors, and the differences that `verify` and `audit verify` find on this host.

    First run it with --dry-run. It shows the differences, and a name for exactly this state of the database and the log. Then pass the
    name as --state. If anything was changed since, nothing is accepted.

    It adds a signed record of the parts that are older than an anchored state, the changed rows, the lost checkpoints, the breaks and
    the streams that were ended or are missing. Processes then open the database again, `verify` finds no difference, and
    `audit verify` shows the accepted ones. Every other difference is still found. Only an owner can do this. With access control it
    needs a second person, who runs the dry run too, and approves this state: `strongroom access request --operation restore.accept
    --state STATE`. Accept an older access policy first (`access accept-older`).
    """
    check_reason(reason, "an acceptance")
    if dry_run and state:
        msg = "--dry-run shows the state, so it takes no --state"
        raise click.UsageError(msg)

    async def run(strongroom: Strongroom) -> None:
        found = await _found(strongroom)
        if not dry_run:
            await _check_state(strongroom, found, state)
        log, key = strongroom.needed_audit(), await strongroom.audit_key()
        made = new_acceptances(found.differences, reason=reason, at=now(), key=key)
        if not dry_run:
            for statement in made:
                await log.record(of_acceptance(statement.at, statement.fields(key.public_key), CALLER.get()))
            for each in found.older:
                await continue_after(each)
            for shard, above in found.shards:
                await strongroom.journal.accept(shard.shard_id, above=above, digest=shard.digest)
            await log.checkpoint()
        _show(found, made, dry_run=dry_run)

    with_older_database(
        config_path, run, "audit.verify" if dry_run else "restore.accept", reason=None if dry_run else reason
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """The differences that an acceptance would cover.

    Attributes:
        older: The parts of the database, other than shards, that are older than an anchored state.
        shards: The shards whose sums are to be made again, each with a number that the new one exceeds.
        differences: All differences. The text of a shard has a digest of its rows.
    """

    older: Sequence[Older]
    shards: Sequence[tuple[ShardVerification, int]]
    differences: Sequence[Difference]

    @property
    def state(self) -> str:
        """The name of the state: a digest of all differences; "" if there are none."""
        identities = b"".join(sorted(each.identity for each in self.differences))
        return sha256(b"strongroom-restored-state/1\n" + identities).hexdigest()[:32] if identities else ""


async def _found(strongroom: Strongroom) -> _Found:
    log = strongroom.needed_audit()
    await log.checkpoint()  # The streams of this host are compared with the database before it.
    older = await strongroom.anchors.older()
    for each in older:
        if each.found.name == POLICY:
            await continue_after(each)  # its error names the command
    key = await strongroom.audit_key()
    with busy("verifying the audit log ..."):
        verified = await verify_log(
            strongroom.audit_checkpoints,
            log.root,
            public_key=key.public_key,
            has_other_hosts=True,
            anchored=strongroom.anchors.known,
        )
    differences, refused = acceptable(verified)
    if refused:
        msg = (
            "nothing is accepted, because no restore makes these differences. Keep a copy of the folder and of the table "
            "audit_checkpoints, and compare with exports. A stream whose process has ended can be moved away, and is then "
            "accepted as missing:"
        )
        raise ConfigError(msg, refused)
    anchored = {shard_of(each.found.name): each for each in older}
    others = [each for each in older if shard_of(each.found.name) is None]
    shards, texts = [], [each.text for each in others]
    for shard in await _verified_shards(strongroom):
        above = anchored.get(shard.shard_id)
        if above is not None or not shard.ok:
            shards.append((shard, 0 if above is None else above.anchored.number))
            rows = f"; its rows have the digest {shard.digest.hex()[:32]}"
            texts += [text + rows for text in (*([] if above is None else [above.text]), *shard.texts)]
    return _Found(others, shards, [*map(of_older, texts), *differences])


async def _check_state(strongroom: Strongroom, found: _Found, state: str) -> None:
    """Refuse a state that is not the one that a person saw or, with access control, that a second person approved."""
    if not found.state:
        return
    if not state:
        msg = "nothing was accepted. Run it with --dry-run, and pass the state that it shows as --state"
        raise ConfigError(msg)
    if state != found.state:
        msg = (
            f"nothing was accepted, because the database or the audit log has another state than --state: {found.state}. "
            "Stop all services, and look at the differences again with --dry-run"
        )
        raise ConfigError(msg)
    policy = await strongroom.access.latest()
    if not is_approved(policy, principal=caller_name(), state=state, now=strongroom.access.now()):
        msg = f"no second person has approved this state; run: strongroom access request --operation {ACCEPT} --state {state}"
        raise PermissionDenied(msg)


async def _verified_shards(strongroom: Strongroom) -> list[ShardVerification]:
    """Verify all shards."""
    shards = journal_shards(strongroom.config.cell.shard_count)
    with progress_bar("verifying shards", len(shards)) as show:
        found = []
        for done, shard_id in enumerate(shards, 1):
            found.append(await strongroom.journal.verify(shard_id))
            show(done)
    return found


def _show(found: _Found, made: Sequence[Acceptance], *, dry_run: bool) -> None:
    differences = found.differences
    texts = [*describe(differences), *(each.text for each in differences if not each.number)]
    lost = [each.number for each in differences if each.number]
    if json_wanted():
        result(
            {
                "dry_run": dry_run,
                "state": found.state or None,
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
    if dry_run:
        line(f"to accept exactly these, pass: --state {found.state}")
