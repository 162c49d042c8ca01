"""The command that verifies the audit log. It appends nothing to the log, because it would change what it verifies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.driver.audit import verify_records
from strongroom.driver.audit.whole_log import verify_log
from strongroom.driver.config import ConfigError
from strongroom.storage.cell.positions import POLICY

from .cell import with_unrecorded_cell
from .commands import Command, refuse_unused
from .show.output import busy, json_wanted, line, result, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.driver.audit import Verification
    from strongroom.driver.audit.verify import StreamVerification
    from strongroom.driver.audit.whole_log import LogReport
    from strongroom.driver.strongroom import Strongroom

_FILE = click.Path(dir_okay=False, path_type=Path)
_LINE_BYTES = 16 * 2**20
"""Maximum size of a line of an export, in bytes. A record has a few kilobytes."""


@click.command(
    "verify",
    cls=Command,
    epilog="\b\nExamples:\n  strongroom audit verify\n  strongroom audit verify export.jsonl --public-key 5f0c...",
)
@click.argument("files", nargs=-1, type=_FILE)
@click.option(
    "--public-key",
    metavar="HEX",
    help="Public key of the cell's audit log, from `strongroom audit key`. Required for FILES.",
)
@click.option("--other-hosts", is_flag=True, help="Accept that the streams of other hosts and folders are not here.")
@click.pass_obj
def verify(config_path: Path, files: tuple[Path, ...], public_key: str | None, other_hosts: bool) -> None:
    """Verify that no record and no checkpoint was altered, removed or added, and name the first one that was.

    Without FILES it verifies this host's log and the checkpoints in the database, each against the other. It appends nothing to the
    log. FILES are JSON Lines from `audit export`; they need no configuration and no database. Ends with 1 if something is wrong.
    """
    if files:
        if public_key is None:
            msg = "records in files are verified with a public key; give --public-key with the output of `strongroom audit key`"
            raise click.UsageError(msg)
        refuse_unused({"other_hosts": "--other-hosts"}, "FILES are verified alone; leave it out")
        with busy("verifying the records ..."):
            found = verify_records(_lines(files), public_key=_key(public_key))
        _report_files(found)
        return
    if public_key is not None:
        msg = "--public-key is for FILES, because this host's log is verified with the cell's own key; leave it out"
        raise click.UsageError(msg)

    async def run(strongroom: Strongroom) -> None:
        log = strongroom.needed_audit()
        key = (await strongroom.audit_key()).public_key
        with busy("verifying the audit log ..."):
            found = await verify_log(
                strongroom.audit_checkpoints,
                log.root,
                public_key=key,
                has_other_hosts=other_hosts,
                anchored=strongroom.anchors.known,
            )
        version, _ = await strongroom.access.digest()
        older = [each.text for each in await strongroom.anchors.older() if each.found.name != POLICY]
        _report(found, version=version, older=older, has_other_hosts=other_hosts)

    with_unrecorded_cell(config_path, run, "audit.verify")


_OF_THE_DATABASE = ("checkpoints", "checkpoint_problems", "streams_elsewhere", "policy_version", "newest_policy")
"""Keys of the JSON document that are null if only files are verified."""


def _report_files(found: Verification) -> None:
    if json_wanted():
        result({"ok": found.ok, **_records(found), **dict.fromkeys(_OF_THE_DATABASE)})
    else:
        _print_records(found)
        line(f"{found.records} records in {len(found.streams)} streams: {_conclusion(found, ok=found.ok)}")
    raise click.exceptions.Exit(0 if found.ok else 1)


def _report(found: LogReport, *, version: int, older: list[str], has_other_hosts: bool) -> None:
    problems = [*found.problems, *older]
    if version < found.policy_version:
        problems.append(
            f"the access policy in the database has version {version}, and version {found.policy_version} was in force: an older "
            f"policy was put back; see `strongroom access accept-older --help`"
        )
    ok = found.records.ok and not problems
    if json_wanted():
        elsewhere = {str(each): found.places[each] for each in found.elsewhere}
        result(
            {
                "ok": ok,
                **_records(found.records),
                **dict(
                    zip(
                        _OF_THE_DATABASE,
                        (found.checkpoints, problems, elsewhere, version, found.policy_version),
                        strict=True,
                    )
                ),
            }
        )
        raise click.exceptions.Exit(0 if ok else 1)
    _print_records(found.records)
    for stream_id in found.elsewhere:
        line(f"stream {stream_id} was written at {found.places[stream_id]}")
    if found.elsewhere and not has_other_hosts:
        line("run the command there, or collect exports from there; if these hosts are known, pass --other-hosts")
    for problem in problems:
        line(problem, style="red")
    line(
        f"{found.records.records} records in {len(found.records.streams)} streams, and {found.checkpoints} checkpoints in the "
        f"database: {_conclusion(found.records, ok=ok)}"
    )
    if not ok:
        line(
            "keep copies of the folder and of the table audit_checkpoints, and compare with exports: docs/how-to/audit-log.md. "
            "After a restore on purpose, see 'strongroom restore accept --help'"
        )
        raise click.exceptions.Exit(1)


def _conclusion(found: Verification, *, ok: bool) -> str:
    if not ok:
        return "the audit log was changed"
    return f"nothing {'else ' if found.acceptances else ''}was altered, removed or added"


def _records(found: Verification) -> dict[str, object]:
    return {
        "records": found.records,
        "streams": [
            {
                "stream": each.stream_id,
                "records": each.records,
                "begins": each.begins,
                "signed": each.signed,
                "problem": each.problem,
                "accepted": each.identity in found.accepted,
            }
            for each in found.streams
        ],
        "unreadable_lines": found.unreadable,
        "breaks": [each.text for each in found.breaks if each.identity not in found.accepted],
        "accepted": _accepted(found),
    }


def _print_records(found: Verification) -> None:
    def row(each: StreamVerification) -> tuple[object, ...]:
        problem = f"{each.problem} (accepted)" if each.identity in found.accepted else each.problem
        return each.stream_id, each.records, each.begins, each.signed, problem or "as written"

    table(*("stream", "records", "from", "signed to", ""), rows=map(row, found.streams))
    for number in found.unreadable:
        line(f"line {number} is not a record")
    for each in found.breaks:
        if each.identity not in found.accepted:
            line(each.text, style="red")
    for text in _accepted(found):
        line(text)


def _accepted(found: Verification) -> list[str]:
    """Return a description of each acceptance, and the breaks that are accepted."""
    described = []
    for each in found.acceptances:
        lost = (
            f", checkpoints after {each.lost_after} up to {each.lost_through} among them" if each.lost_through else ""
        )
        described.append(
            f"accepted at {each.at:%Y-%m-%d %H:%M} UTC: {len(each.identities)} differences{lost}, hash "
            f"{each.digest.hex()}: {each.reason}"
        )
        described += [f"accepted: {text}" for text in each.older]
    return described + [f"accepted: {each.text}" for each in found.breaks if each.identity in found.accepted]


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != 32:  # noqa: PLR2004 - Ed25519
        msg = "--public-key takes 64 hexadecimal digits, the output of `strongroom audit key`"
        raise click.UsageError(msg)
    return key


def _lines(files: tuple[Path, ...]) -> Iterator[bytes]:
    for path in files:
        try:
            with path.open("rb") if str(path) != "-" else sys.stdin.buffer as file:
                while record := file.readline(_LINE_BYTES + 1):
                    if len(record) > _LINE_BYTES:
                        msg = f"{path} has a line that is longer than {_LINE_BYTES >> 20} MiB, so it is not an export of the audit log"
                        raise ConfigError(msg)
                    yield record
        except OSError as error:
            msg = f"{path} can't be read: {error.strerror}"
            raise ConfigError(msg) from None
