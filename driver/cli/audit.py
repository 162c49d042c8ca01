"""Commands on the audit log."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.driver.access.argument_hashes import argument_hasher
from strongroom.driver.audit import verify_records
from strongroom.driver.audit.checkpoint import Checkpoint
from strongroom.driver.audit.export import cursor_file, export
from strongroom.driver.audit.formats import FORMATS
from strongroom.driver.audit.reader import read_lines
from strongroom.driver.audit.sinks import File, Output, SyslogOverTls
from strongroom.driver.audit.stream import streams
from strongroom.driver.config import ConfigError
from strongroom.kms import client_context

from .cell import named, with_cell
from .commands import Group, refuse_unused
from .retention import availability_first, hold, holds, lift, prune, retention
from .show.output import busy, fault, json_wanted, line, result, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.driver.audit import Verification
    from strongroom.driver.audit.sinks import Sink, SinkUnavailable
    from strongroom.driver.strongroom import Strongroom

_PORT = 6514
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=Group, epilog="\b\nExample:\n  strongroom audit verify")
def audit() -> None:
    """Verify the audit log, export it, and set its retention. docs/audit-log.md describes it."""


@audit.command(
    "verify",
    epilog="\b\nExamples:\n  strongroom audit verify\n  strongroom audit verify export.jsonl --public-key 5f0c...",
)
@click.argument("files", nargs=-1, type=_FILE)
@click.option(
    "--public-key",
    metavar="HEX",
    help="Public key of the cell's audit log, from `strongroom audit key`. Required for FILES.",
)
@click.option("--other-hosts", is_flag=True, help="Accept streams that are not here as other hosts'.")
@click.pass_obj
def verify(config_path: Path, files: tuple[Path, ...], public_key: str | None, other_hosts: bool) -> None:
    """Verify that no record was altered, removed or added, and name the first one that was.

    Without FILES it verifies this host's log against the checkpoints in the database. FILES are JSON Lines from `audit export`; they
    need no configuration and no database. Ends with 1 if something is wrong.
    """
    if files:
        if public_key is None:
            msg = "records in files are verified with a public key; give --public-key with the output of `strongroom audit key`"
            raise click.UsageError(msg)
        refuse_unused({"other_hosts": "--other-hosts"}, "FILES are verified alone; leave it out")
        _report(verify_records(_lines(files), public_key=_key(public_key)), unsigned=0, elsewhere=0)
        return
    if public_key is not None:
        msg = "--public-key is for FILES, because this host's log is verified with the cell's own key; leave it out"
        raise click.UsageError(msg)

    async def run(strongroom: Strongroom) -> None:
        log = strongroom.needed_audit()
        key = (await strongroom.keyring.open(strongroom.keyring.cell_id)).audit_key().public_key
        kept = await strongroom.audit_checkpoints.list_checkpoints()
        witnessed = [
            checkpoint
            for each in kept
            if (checkpoint := Checkpoint(each.stream, each.sequence, each.chain)).is_signed(
                each.signature, public_key=key
            )
        ]
        here = {stream_id for stream_id, _ in streams(log.root)}
        meant = [each for each in witnessed if each.stream_id in here or not other_hosts]
        with busy("reading ..."):
            found = await asyncio.to_thread(
                lambda: verify_records(read_lines(log.root), public_key=key, witnessed=meant)
            )
        unsigned = len(kept) - len(witnessed)
        elsewhere = sum(each.stream_id not in here for each in witnessed)
        if unsigned and not json_wanted():
            line(f"{unsigned} checkpoints in the database are not signed by this cell's key")
        if elsewhere and not json_wanted():
            line(
                f"{elsewhere} streams of the cell are not in this folder"
                + (": other hosts'" if other_hosts else "; if other hosts have them, pass --other-hosts")
            )
        _report(found, unsigned=unsigned, elsewhere=elsewhere)

    with_cell(config_path, run, "audit.verify")


@audit.command(
    "export",
    without_json="Its output is the records; --format chooses their form.",
    epilog="\b\nExamples:\n  strongroom audit export > audit.jsonl\n"
    "  strongroom audit export --format ocsf --to audit.ocsf --cursor audit.cursor\n"
    "  strongroom audit export --format syslog --to tls://siem.example.com:6514 --ca-certs ca.pem --cursor siem.cursor --follow",
)
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="jsonl", show_default=True)
@click.option("--to", "target", default="-", help="File to append to, tls://HOST[:6514], or - for standard output.")
@click.option("--cursor", type=_FILE, help="File with the position; the next export continues from there.")
@click.option("--follow", is_flag=True, help="Keep exporting, and wait for a collector that can't be reached.")
@click.option("--ca-certs", type=_FILE, help="For tls://: PEM file with trusted authorities. Default: the system's.")
@click.option("--certificate", type=_FILE, help="For tls://: PEM file with a client certificate.")
@click.option("--key", type=_FILE, help="PEM file with its key. Default: the certificate's file.")
@click.pass_obj
def export_records(
    config_path: Path,
    form: str,
    target: str,
    cursor: Path | None,
    follow: bool,
    ca_certs: Path | None,
    certificate: Path | None,
    key: Path | None,
) -> None:
    """Send this host's audit log to a file or a collector: each record at least once, in order.

    Formats: jsonl, ocsf (OCSF 1.6.0, API Activity), cef (ArcSight), syslog (RFC 5424; over TLS by RFC 5425). Each holds the
    whole record, so that its chain can be verified anywhere.
    """
    if follow and cursor is None:
        msg = "--follow needs --cursor, or everything is sent again at each start; add a file"
        raise click.UsageError(msg)
    files = {"ca_certs": "--ca-certs", "certificate": "--certificate", "key": "--key"}
    if not target.startswith("tls://"):
        refuse_unused(files, "only tls:// uses certificates; leave it out, or give --to tls://HOST")
    elif certificate is None:
        refuse_unused({"key": "--key"}, "it is the key of --certificate; add that, or leave it out")
    sink = _sink(target, lambda: client_context(ca_certs=ca_certs, certificate=certificate, key=key))

    def trouble(error: SinkUnavailable, wait: float) -> None:
        fault(f"{error}; retrying in {wait:.1f} s")

    async def run(strongroom: Strongroom) -> None:
        with cursor_file(cursor) as (position, save):
            sent = await export(
                strongroom.needed_audit().root,
                cursor=position,
                save=save,
                write=FORMATS[form],
                sink=sink,
                follow=follow,
                trouble=trouble,
            )
        if target != "-":
            line(f"{sent} records sent")

    with_cell(config_path, run, "audit.export", format=form, to=target)


@audit.command("key", epilog="\b\nExample:\n  strongroom audit key > audit.pub")
@click.pass_obj
def key_(config_path: Path) -> None:
    """Print the public key of this cell's audit logs, for auditors to keep. It never changes."""

    async def run(strongroom: Strongroom) -> None:
        cell = await strongroom.keyring.open(strongroom.keyring.cell_id)
        key = cell.audit_key().public_key.hex()
        result({"public_key": key}, key)

    with_cell(config_path, run, "audit.verify")


@audit.command("hash", epilog="\b\nExample:\n  strongroom audit hash payments workflow_id order-7")
@click.argument("namespace")
@click.argument("argument")
@click.argument("value")
@click.pass_obj
def hash_(config_path: Path, namespace: str, argument: str, value: str) -> None:
    """Print the hash of an argument in the audit log, to search for it."""

    async def run(strongroom: Strongroom) -> None:
        given = named(namespace).get("namespace_id") or await strongroom.namespaces.find(namespace)
        keys = await strongroom.keyring.open(given)  # type: ignore[arg-type]
        hashed = argument_hasher(keys)(argument, value)
        result({"hash": hashed}, hashed)

    with_cell(config_path, run, "audit.hash", **named(namespace))


def _report(found: Verification, *, unsigned: int, elsewhere: int) -> None:
    if json_wanted():
        result(
            {
                "ok": found.ok,
                "records": found.records,
                "streams": [
                    {
                        "stream": each.stream_id,
                        "records": each.records,
                        "begins": each.begins,
                        "signed": each.signed,
                        "problem": each.problem,
                    }
                    for each in found.streams
                ],
                "unreadable_lines": found.unreadable,
                "unsigned_checkpoints": unsigned,
                "streams_elsewhere": elsewhere,
            }
        )
        raise click.exceptions.Exit(0 if found.ok else 1)
    table(
        *("stream", "records", "from", "signed to", ""),
        rows=(
            (each.stream_id, each.records, each.begins, each.signed, each.problem or "as written")
            for each in found.streams
        ),
    )
    for number in found.unreadable:
        line(f"line {number} is not a record")
    if not found.ok:
        line("the audit log was changed", style="red")
        raise click.exceptions.Exit(1)
    line(f"{found.records} records in {len(found.streams)} streams: nothing was altered, removed or added")


def _sink(target: str, context: object) -> Sink:
    if target == "-":
        return _Terminal() if sys.stdout.isatty() else Output()
    if not target.startswith("tls://"):
        return File(Path(target))
    host, _, port = target.removeprefix("tls://").partition(":")
    if not host or not (port or str(_PORT)).isdecimal():
        msg = "--to takes a file, - or tls://HOST:PORT"
        raise click.UsageError(msg)
    return SyslogOverTls(host, int(port or _PORT), context)  # type: ignore[arg-type]


class _Terminal:
    """A terminal. An altered record could control it, so that records are escaped."""

    async def send(self, lines: Sequence[bytes]) -> None:
        """Print lines."""
        for each in lines:
            line(each.decode(errors="surrogateescape"))


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
                yield from file
        except OSError as error:
            msg = f"{path} can't be read: {error.strerror}"
            raise ConfigError(msg) from None


for command in (holds, hold, lift, retention, prune, availability_first):
    audit.add_command(command)
