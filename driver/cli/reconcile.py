"""The command that compares tokens and documents with the sealed records."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import click

from strongroom.kms import StrongroomError
from strongroom.storage.visibility_rows.epochs import count_epochs
from strongroom.visibility import attribute_types

from .cell import with_cell
from .commands import Command, refuse
from .show import cell as cli_show
from .show.output import busy, json_wanted, line, result

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from strongroom.driver.strongroom import Strongroom
    from strongroom.visibility import Reconciliation


@click.command(
    "reconcile",
    cls=Command,
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
    one is configured. Services may keep writing; a record that changes during the comparison is not a difference. Records that do
    not open are counted, and the first 20 of each namespace are named by their key in the database. The command can be interrupted
    and run again. Ends with 1 if differences are left.
    """
    if check and rewrite:
        msg = "--check changes nothing and --rewrite writes every document; give one of them"
        raise click.UsageError(msg)

    async def run(strongroom: Strongroom) -> None:
        if rewrite and strongroom.search_index is None:
            refuse("--rewrite would have no effect: the configuration has no section [elasticsearch]; leave it out")
        with busy("comparing tokens with records ...") as update:
            tokens = await _tokens(strongroom, update, repair=not check)
            documents = None
            if strongroom.search_index is not None:
                documents = await _documents(strongroom, update, repair=not check, rewrite=rewrite)
        left = sum(each.left for each in tokens) + (0 if documents is None else documents.left)
        if json_wanted():
            result({"tokens": [each.document for each in tokens], "documents": documents, "left": left})
        else:
            line(f"{left} differences left")
        if left:
            raise click.exceptions.Exit(1)

    with_cell(config_path, run, "index.reconcile")


class _Compared(NamedTuple):
    """The document of one namespace, and the number of differences that are left."""

    document: dict[str, object]
    left: int


async def _tokens(strongroom: Strongroom, update: Callable[[str], None], *, repair: bool) -> list[_Compared]:
    compared = []
    for namespace in await strongroom.namespaces.list_namespaces():
        if namespace.shredded_at is not None or namespace.shred_due_at is not None:
            continue
        document: dict[str, object] = {"namespace_id": namespace.namespace_id, "tally": None, "error": None}
        try:
            total = sum((await count_epochs(strongroom.database, namespace.namespace_id)).values())
            found = await strongroom.token_verifier().run(
                namespace.namespace_id,
                attribute_types(namespace),
                repair=repair,
                progress=partial(_opened, update, total),
            )
        except StrongroomError as error:
            _say(f"{namespace.namespace_id}: tokens not compared: {error}")
            compared.append(_Compared({**document, "error": str(error)}, 1))
            continue
        for each in cli_show.token_tally(namespace.namespace_id, found):
            _say(each)
        compared.append(_Compared({**document, "tally": found}, found.left))
    return compared


def _opened(update: Callable[[str], None], total: int, count: int) -> None:
    update(f"{count} of about {total} records opened ...")


async def _documents(
    strongroom: Strongroom, update: Callable[[str], None], *, repair: bool, rewrite: bool
) -> Reconciliation:
    assert strongroom.search_index is not None  # noqa: S101 - its caller checks it
    await strongroom.search_index.check()
    total = await strongroom.search_index.count()
    found = await strongroom.reconciler().run(
        repair=repair,
        rewrite=rewrite,
        progress=lambda what, count: update(f"{count} of about {total} {what} compared ..."),
    )
    if not json_wanted():
        cli_show.reconciliation(found)
    return found


def _say(text: str) -> None:
    if not json_wanted():
        line(text)
