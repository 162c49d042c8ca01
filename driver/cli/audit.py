"""Commands on the audit log."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.driver.access.argument_hashes import argument_hasher
from strongroom.driver.audit.export import cursor_file, export
from strongroom.driver.audit.formats import FORMATS
from strongroom.driver.audit.sinks import File, Output, SyslogOverTls
from strongroom.kms import client_context
from strongroom.storage.checks import check_text

from .cell import named, namespace_id_of, with_cell
from .commands import Group, refuse_unused
from .retention import availability_first, hold, holds, lift, prune, retention
from .show.output import fault, line, result
from .verify_log import verify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.driver.audit.sinks import Sink, SinkUnavailable
    from strongroom.driver.strongroom import Strongroom

_PORT = 6514
_LAST_PORT = 65_535
_COLLECTOR = re.compile(r"tls://(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/@?#\[\]]+))(?::([0-9]{1,5}))?")
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=Group, epilog="\b\nExample:\n  strongroom audit verify")
def audit() -> None:
    """Verify the audit log, export it, and set its retention. docs/how-to/audit-log.md describes it."""


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
    sink = sink_of(target, lambda: client_context(ca_certs=ca_certs, certificate=certificate, key=key))

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
        key = (await strongroom.audit_key()).public_key.hex()
        result({"public_key": key}, key)

    with_cell(config_path, run, "audit.verify")


@audit.command("hash", epilog="\b\nExample:\n  strongroom audit hash payments workflow_id order-7")
@click.argument("namespace")
@click.argument("argument")
@click.argument("value")
@click.pass_obj
def hash_(config_path: Path, namespace: str, argument: str, value: str) -> None:
    """Print the hash of an argument in the audit log, to search for it."""
    check_text("ARGUMENT", argument)

    async def run(strongroom: Strongroom) -> None:
        given = await namespace_id_of(strongroom, namespace)
        keys = await strongroom.keyring.open(given)
        hashed = argument_hasher(keys)(argument, value)
        result({"hash": hashed}, hashed)

    with_cell(config_path, run, "audit.hash", **named(namespace))


def sink_of(target: str, context: object) -> Sink:
    """Return the sink that a person names: a file, `-`, or tls://HOST:PORT.

    Raises:
        UsageError: The host or the port of a collector is not valid.
    """
    if target == "-":
        return _Terminal() if sys.stdout.isatty() else Output()
    if not target.startswith("tls://"):
        return File(Path(target))
    found = _COLLECTOR.fullmatch(target)
    port = int(found[3] or _PORT) if found else 0
    if found is None or not 0 < port <= _LAST_PORT:
        msg = f"--to takes a file, - or tls://HOST:PORT, with a port from 1 to {_LAST_PORT}; an IPv6 address is written as [::1]"
        raise click.UsageError(msg)
    return SyslogOverTls(found[1] or found[2], port, context)  # type: ignore[arg-type]


class _Terminal:
    """A terminal. An altered record could control it, so that records are escaped."""

    async def send(self, lines: Sequence[bytes]) -> None:
        """Print lines."""
        for each in lines:
            line(each.decode(errors="surrogateescape"))


for command in (verify, holds, hold, lift, retention, prune, availability_first):
    audit.add_command(command)
