"""Commands that shred a namespace, and that show and verify its erasure certificate."""

from __future__ import annotations

import asyncio
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import click

from strongroom.kms import InvalidCertificate, verify_certificate
from strongroom.kms.private_files import read_small
from strongroom.storage import NamespaceNotFound

from .cell import as_id, named, with_cell
from .commands import Command, is_given, refuse, refuse_unused
from .show import shred as cli_show_shred
from .show.output import ask, busy, fault, json_wanted, line, progress_bar, result

if TYPE_CHECKING:
    from strongroom.driver.shredding import Shredding, Step
    from strongroom.driver.strongroom import Strongroom

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_MOST_GRACE = timedelta(days=365)
_PUBLIC_KEY_DIGITS = 64


def _grace(_context: click.Context, _parameter: click.Parameter, value: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,8})([smhd])", value)
    grace = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
    if grace is None or grace > _MOST_GRACE:
        msg = "a grace period has a form such as 0s, 90m, 24h or 7d, and is at most a year"
        raise click.BadParameter(msg)
    return grace


_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    "shred",
    cls=Command,
    epilog="\b\nExamples:\n  strongroom namespace shred payments\n"
    "  strongroom namespace shred payments --final 4f0c2a91d3 --certificate payments-erasure.json",
)
@click.argument("name", metavar="NAME|ID")
@click.option("--confirm", help="The name or id again, in place of the prompt.")
@click.option(
    "--grace",
    default="7d",
    show_default=True,
    callback=_grace,
    metavar="TIME",
    help="Time in which `unshred` is possible: 0s, 24h, 7d.",
)
@click.option("--keep-kek", is_flag=True, help="Keep the KEK, even if nothing else in this cell uses it.")
@click.option("--final", "code", metavar="CODE", help="Second confirmation: the code that the first step printed.")
@click.option("--certificate", "path", type=_FILE, help="With --final: new file for the erasure certificate.")
@click.pass_obj
def shred(
    config_path: Path,
    name: str,
    confirm: str | None,
    grace: timedelta,
    keep_kek: bool,
    code: str | None,
    path: Path | None,
) -> None:
    """Shred a namespace in two steps. The second step can't be undone.

    The first step makes the namespace unreadable at once, and prints what will be lost and a code. `namespace unshred` undoes it. The
    second step needs that code, and runs after the grace period. It destroys the keys and the namespace's own KEK, deletes rows and
    documents, and writes an erasure certificate. Ends with 1 if the KMS did not delete the KEK; run it again with the namespace's id.
    """
    if (code is None) != (path is None):
        msg = "--final and --certificate need each other; give both"
        raise click.UsageError(msg)
    if code is not None and path is not None:
        first = {"confirm": "--confirm", "grace": "--grace", "keep_kek": "--keep-kek"}
        refuse_unused(first, "it belongs to the first step; with --final leave it out")
        _finish(config_path, name, code, path)
        return
    if confirm is None:
        confirm = ask("The namespace will be unreadable at once. Type its name or id again to shred it")
    if confirm != name:
        msg = "the confirmation is not the name or id that you gave, and nothing was changed; run the command again"
        raise click.UsageError(msg)

    changed = [
        option for parameter, option in {"grace": "--grace", "keep_kek": "--keep-kek"}.items() if is_given(parameter)
    ]

    async def run(strongroom: Strongroom) -> None:
        shredding, namespace_id = strongroom.shredding(), await _find(strongroom, name)
        earlier = await shredding.store.find(namespace_id)
        if earlier is not None:
            already = f"namespace {name} is already scheduled for shredding at {earlier.due_at:%Y-%m-%d %H:%M} UTC"
            undo = f"Run 'strongroom namespace unshred {name}' first to change it."
            if changed:
                refuse(f"{already}; {' and '.join(changed)} would have no effect. {undo}")
            if not json_wanted():
                line(f"{already}; its KEK setting is unchanged. {undo}")
        request = await shredding.request(namespace_id, grace=grace, keep_kek=keep_kek)
        with busy("counting what will be lost ..."):
            loss = await shredding.loss(request)
        cli_show_shred.request(name, request, loss, seconds=shredding.eviction_seconds)

    with_cell(config_path, run, "shredding.request", **named(name))


def _finish(config_path: Path, name: str, code: str, path: Path) -> None:
    if path.exists() or not path.parent.is_dir():
        msg = f"{path} exists already, or its folder does not exist. Nothing was changed; name a new file"
        raise click.UsageError(msg)

    async def run(strongroom: Strongroom) -> None:
        shredding, namespace_id = strongroom.shredding(), await _find(strongroom, name)
        certificate = await _finished(shredding, namespace_id, code)
        await asyncio.to_thread(_write, path, certificate, namespace_id)
        verified = verify_certificate(certificate)
        if json_wanted():
            result({"certificate": path, **cli_show_shred.certificate_document(verified)})
        else:
            cli_show_shred.certificate(verified)
            line(f"the certificate is in {path}; print it again with: strongroom namespace certificate {namespace_id}")
        left = [kek for kek in verified.keks if not kek.is_done]
        if left:
            fault(f"{left[0].kek} was not deleted: {left[0].error}")
            fault(f"run it again with a new file: strongroom namespace shred {namespace_id} --final {code}")
            raise click.exceptions.Exit(1)

    with_cell(config_path, run, "shredding.finish", **named(name))


async def _finished(shredding: Shredding, namespace_id: UUID, code: str) -> bytes:
    await shredding.confirm(namespace_id, code)
    with busy("counting rows ..."):
        total = sum((await shredding.store.rows(namespace_id)).values())
    with progress_bar("rows", total) as show:

        def progress(step: Step, count: int) -> None:
            if step == "rows":
                show(count)

        return await shredding.finish(namespace_id, code, progress=progress)


@click.command("unshred", cls=Command, epilog="\b\nExample:\n  strongroom namespace unshred payments")
@click.argument("name", metavar="NAME|ID")
@click.pass_obj
def unshred(config_path: Path, name: str) -> None:
    """Undo a shredding before its second confirmation, or a deletion by Temporal within its grace period.

    The namespace works again, with the keys, rows and name that it had. What Temporal deleted before the namespace does not come back.
    A deleted namespace is named by its id.
    """

    async def run(strongroom: Strongroom) -> None:
        shredding, namespace_id = strongroom.shredding(), await _find(strongroom, name)
        await shredding.cancel(namespace_id)
        seconds = shredding.eviction_seconds
        result(
            {"namespace_id": namespace_id, "eviction_seconds": seconds},
            f"{namespace_id} works again, in all processes within {seconds} s",
        )

    with_cell(config_path, run, "shredding.cancel", **named(name))


@click.command("shred-due", cls=Command, epilog="\b\nExample:\n  strongroom namespace shred-due")
@click.pass_obj
def shred_due(config_path: Path) -> None:
    """Shred the namespaces that Temporal deleted and whose grace period is over. `strongroom serve` does it every minute."""

    async def run(strongroom: Strongroom) -> None:
        with busy("shredding deleted namespaces ..."):
            finished = await strongroom.deletions.finish_due()
        lines = [
            f"{namespace_id} is shredded; its certificate: strongroom namespace certificate {namespace_id}"
            for namespace_id in finished
        ]
        result({"namespaces": finished}, *(lines or ["no deleted namespace is due"]))

    with_cell(config_path, run, "shredding.finish_due")


@click.command(
    "certificate",
    cls=Command,
    without_json="It prints the certificate, which is JSON, byte for byte.",
    epilog="\b\nExample:\n  strongroom namespace certificate 0f2c1e5e-7c1b-4b3c-9d0a-5b1f7a3e9c11 > erasure.json",
)
@click.argument("namespace_id", callback=as_id)
@click.pass_obj
def certificate(config_path: Path, namespace_id: UUID) -> None:
    """Write the erasure certificate of a shredded namespace to standard output, byte for byte."""

    async def run(strongroom: Strongroom) -> None:
        sys.stdout.buffer.write(await strongroom.shredding().store.certificate(namespace_id))

    with_cell(config_path, run, "shredding.certificate", namespace_id=namespace_id)


@click.command("certificate-key", cls=Command, epilog="\b\nExample:\n  strongroom certificate-key > cell.pub")
@click.pass_obj
def certificate_key(config_path: Path) -> None:
    """Print the public key of this cell's erasure certificates, for auditors to keep. It never changes."""

    async def run(strongroom: Strongroom) -> None:
        cell = await strongroom.keyring.open(strongroom.keyring.cell_id)
        key = cell.certificate_key().public_key.hex()
        result({"public_key": key}, key)

    with_cell(config_path, run, "shredding.certificate")


@click.command(
    "verify-certificate",
    cls=Command,
    epilog="\b\nExamples:\n  strongroom verify-certificate erasure.json --public-key cell.pub\n"
    "  strongroom verify-certificate erasure.json",
)
@click.argument("path", metavar="FILE", type=_FILE)
@click.option(
    "--public-key", metavar="HEX|FILE", help="Output of `strongroom certificate-key`, or a file that holds it."
)
def verify(path: Path, public_key: str | None) -> None:
    """Verify an erasure certificate and show it. It needs no configuration and no database.

    Ends with 1 if the certificate was altered, or was signed by another key than the given one.
    """
    pinned = None if public_key is None else _public_key(public_key)
    try:
        verified = verify_certificate(_content(path), public_key=pinned)
    except InvalidCertificate as error:
        if json_wanted():
            result({"valid": False, "origin_proved": False, "error": str(error), "facts": None})
        else:
            fault(f"NOT VALID: {error}")
        raise click.exceptions.Exit(1) from None
    if json_wanted():
        facts = cli_show_shred.certificate_document(verified)
        result({"valid": True, "origin_proved": pinned is not None, "error": None, "facts": facts})
        return
    cli_show_shred.certificate(verified)
    if pinned is None:
        line(
            f"Not altered: it is signed by its own key {verified.public_key.hex()}. This does not prove its origin, because "
            "any person can sign with a key of their own. Compare the key with the cell's key, or give that key with --public-key."
        )
    else:
        line("Valid: signed by the given key, and not altered since.")


def _write(path: Path, content: bytes, namespace_id: UUID) -> None:
    try:
        with path.open("xb") as file:
            file.write(content)
    except OSError as error:
        again = f"strongroom namespace certificate {namespace_id}"
        msg = f"the namespace is shredded, but {path} can't be written: {error.strerror}. Print the certificate with: {again}"
        raise click.UsageError(msg) from None


def _public_key(given: str) -> bytes:
    text = (
        given if re.fullmatch(r"[0-9a-fA-F]{64}", given) else _content(Path(given)).decode("ascii", "replace").strip()
    )
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        msg = f"--public-key takes {_PUBLIC_KEY_DIGITS} hexadecimal digits, or a file that holds them"
        raise click.UsageError(msg)
    return bytes.fromhex(text)


def _content(path: Path) -> bytes:
    try:
        return read_small(path)
    except OSError as error:
        msg = f"{path} can't be read: {error.strerror}"
        raise click.UsageError(msg) from None


async def _find(strongroom: Strongroom, name: str) -> UUID:
    """Return the id of a namespace by its name, or by its id if the name can't be read or is shredded already.

    Raises:
        NamespaceNotFound: The text is neither.
    """
    try:
        return await strongroom.namespaces.find(name)
    except NamespaceNotFound:
        try:
            return UUID(name)
        except ValueError:
            raise NamespaceNotFound from None
