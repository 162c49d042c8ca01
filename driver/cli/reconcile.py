"""The command that compares tokens and documents with the sealed records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.kms import StrongroomError
from strongroom.visibility import attribute_types

from .cell import with_cell
from .show import cell as cli_show
from .show.output import console

if TYPE_CHECKING:
    from pathlib import Path

    from rich.status import Status

    from strongroom.driver.strongroom import Strongroom


@click.command(
    "reconcile",
    epilog="\b\nExamples:\n  strongroom index reconcile --check   # only compares; ends with 1 if something differs\n"
    "  strongroom index reconcile\n  strongroom index reconcile --rewrite",
)
@click.option("--check", is_flag=True, help="Only compare, and change nothing.")
@click.option(
    "--rewrite",
    is_flag=True,
    help="Write every document of the search index again, because added tokens can't be detected.",
)
@click.pass_obj
def reconcile(config_path: Path, check: bool, rewrite: bool) -> None:
    """Compare tokens and documents with the sealed records, and correct the differences.

    It first compares the tokens in PostgreSQL, which needs the namespaces' keys, and then every document of the search index, if
    one is configured. Services may keep writing; a record that changes during the comparison is not a difference. The command
    can be interrupted and run again. Ends with 1 if differences are left.
    """
    if check and rewrite:
        msg = "--check changes nothing and --rewrite writes every document; give one of them"
        raise click.UsageError(msg)

    async def run(strongroom: Strongroom) -> None:
        with console.status("") as status:
            left = await _tokens(strongroom, status, repair=not check)
            if strongroom.search_index is not None:
                left += await _documents(strongroom, status, repair=not check, rewrite=rewrite)
        console.print(f"{left} differences left")
        if left:
            raise click.exceptions.Exit(1)

    with_cell(config_path, run, "index.reconcile")


async def _tokens(strongroom: Strongroom, status: Status, *, repair: bool) -> int:
    left = 0
    for namespace in await strongroom.namespaces.list_namespaces():
        if namespace.shredded_at is not None or namespace.shred_due_at is not None:
            continue
        try:
            found = await strongroom.token_verifier().run(
                namespace.namespace_id,
                attribute_types(namespace),
                repair=repair,
                progress=lambda count: status.update(f"{count} records opened ..."),
            )
        except StrongroomError as error:
            console.print(f"{namespace.namespace_id}: tokens not compared: {error}", markup=False)
            left += 1
        else:
            cli_show.token_tally(namespace, found)
            left += found.left
    return left


async def _documents(strongroom: Strongroom, status: Status, *, repair: bool, rewrite: bool) -> int:
    assert strongroom.search_index is not None  # noqa: S101 - its caller checks it
    await strongroom.search_index.check()
    found = await strongroom.reconciler().run(
        repair=repair,
        rewrite=rewrite,
        progress=lambda what, count: status.update(f"{count} {what} compared ..."),
    )
    cli_show.reconciliation(found)
    return found.left
