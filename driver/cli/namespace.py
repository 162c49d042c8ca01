"""Commands on namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import click

from strongroom.kms import KekRef
from strongroom.storage import check_namespace_region, purge_namespace
from strongroom.visibility import PRESETS, AttributeType, new_layout, registrable

from .cell import SUITES, as_id, with_cell
from .show import cell as cli_show
from .show.output import console
from .shred import certificate, shred, unshred

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from strongroom.driver.strongroom import Strongroom


_SEARCH_ATTRIBUTES = click.option(
    "-a", "--search-attribute", "pairs", multiple=True, metavar="NAME=TYPE", help="Register; may be given often."
)


@click.group()
def namespace() -> None:
    """Create, list, shred and purge namespaces."""


@namespace.command(
    "create",
    epilog="\b\nExamples:\n  strongroom namespace create payments\n"
    "  strongroom namespace create payments --kek local:payments --create-kek -a CustomerId=Keyword -a Amount=Double",
)
@click.argument("name")
@click.option(
    "--kek", "uri", help="KEK for its keys, PROVIDER:KEY. Default: a new one of its own in the first provider."
)
@click.option("--create-kek", is_flag=True, help="Make the KEK if it is not there.")
@_SEARCH_ATTRIBUTES
@click.option(
    "--suite", type=click.Choice(list(SUITES)), default="xaes-256-gcm", show_default=True, help="Cipher of its rows."
)
@click.option(
    "--preset",
    type=click.Choice(PRESETS),
    default="compatible",
    show_default=True,
    help="What the index holds: strict shows less, and opens more. `strongroom index rotate` changes it.",
)
@click.option("--region", help="That it is bound to: the cell's, and no other.")
@click.pass_obj
def create_namespace(
    config_path: Path,
    name: str,
    uri: str | None,
    create_kek: bool,
    pairs: tuple[str, ...],
    suite: str,
    preset: str,
    region: str | None,
) -> None:
    """Create a namespace with data keys of its own."""
    attributes = dict(_search_attribute(pair) for pair in pairs)

    async def run(strongroom: Strongroom) -> None:
        # Not the namespace's name: a KEK's id stands in clear in the registry and in the KMS's logs.
        kek = KekRef.parse(uri or f"{next(iter(strongroom.config.kms))}:ns-{uuid4().hex[:12]}")
        check_namespace_region(region, strongroom.config.cell.region)  # before a KEK is made for nothing
        if create_kek or uri is None:
            kek = await strongroom.create_kek(kek)
        created = await strongroom.namespaces.create(
            name,
            kek=kek,
            search_attributes=attributes,
            suite=SUITES[suite],
            index_layout=str(new_layout(preset)),
            region=region,
        )
        console.print(f"created {created.namespace_id}, its keys wrapped by {kek}")
        cli_show.revocation(strongroom.config.cache)

    with_cell(config_path, run, "namespaces.create", name=name)


@namespace.command("list")
@click.pass_obj
def list_namespaces(config_path: Path) -> None:
    """Show all namespaces. One whose KMS refuses is listed with the reason, and hides no other."""

    async def run(strongroom: Strongroom) -> None:
        cli_show.namespaces(await strongroom.namespaces.list_namespaces())

    with_cell(config_path, run, "metadata.list_namespaces")


@namespace.command(
    "attributes",
    epilog="\b\nExamples:\n  strongroom namespace attributes payments\n"
    "  strongroom namespace attributes payments -a Region=Keyword --alias Kunde=CustomerId\n"
    "  strongroom namespace attributes payments --alias Kunde=",
)
@click.argument("name")
@_SEARCH_ATTRIBUTES
@click.option(
    "--alias", "aliases", multiple=True, metavar="ALIAS=NAME", help="Another name in filters; ALIAS= takes it away."
)
@click.pass_obj
def attributes(config_path: Path, name: str, pairs: tuple[str, ...], aliases: tuple[str, ...]) -> None:
    """Show the search attributes of a namespace, register more, or give them other names for filters.

    Nothing is written anew for it: tokens are made with the names that attributes were registered by.
    """
    added = dict(_search_attribute(pair) for pair in pairs)
    named = dict(_alias(pair) for pair in aliases)

    async def run(strongroom: Strongroom) -> None:
        found = await strongroom.namespaces.get(name)
        if added:
            found = await strongroom.namespaces.add_search_attributes(found.namespace_id, added)
        if named:
            found = await strongroom.namespaces.set_aliases(found.namespace_id, named)
        cli_show.search_attributes(found)

    with_cell(config_path, run, _attribute_operation(added, named), name=name)


@namespace.command("purge", epilog="\b\nExample:\n  strongroom namespace purge 0f2c1e5e-7c1b-4b3c-9d0a-5b1f7a3e9c11")
@click.argument("namespace_id", callback=as_id)
@click.pass_obj
def purge(config_path: Path, namespace_id: UUID) -> None:
    """Delete all rows of a shredded namespace, by its id; no key is needed.

    Shredding does this too. It is for rows that another process wrote under keys it still held, or for a shredding that was
    interrupted; it can be stopped and run again at any time.
    """

    async def run(strongroom: Strongroom) -> None:
        with console.status("purging ...") as status:
            deleted = await purge_namespace(
                strongroom.database,
                namespace_id,
                progress=lambda table, rows: status.update(f"purging: {rows} rows of {table} ..."),
            )
        cli_show.purged(deleted)
        await _purge_documents(strongroom, namespace_id)

    with_cell(config_path, run, "namespaces.purge", namespace_id=namespace_id)


for command in (shred, unshred, certificate):
    namespace.add_command(command)


async def _purge_documents(strongroom: Strongroom, namespace_id: UUID) -> None:
    if strongroom.search_index is not None:
        deleted = await strongroom.search_index.delete_namespace(namespace_id)
        console.print(f"{deleted} documents deleted from the search index")


def _search_attribute(pair: str) -> tuple[str, str]:
    name, _, kind = pair.partition("=")
    kinds = [attribute_type.value for attribute_type in AttributeType]
    if kind not in kinds:
        msg = f"a search attribute is given as NAME=TYPE, with a type of {', '.join(kinds)}"
        raise click.UsageError(msg)
    _check_name(name)
    return name, kind


def _alias(pair: str) -> tuple[str, str | None]:
    alias, separator, name = pair.partition("=")
    if not separator:
        msg = "an alias is given as ALIAS=NAME, or as ALIAS= to take it away"
        raise click.UsageError(msg)
    _check_name(alias)
    return alias, name or None


def _check_name(name: str) -> None:
    if not registrable(name):
        msg = "this name is a system attribute or reserved, or is empty or longer than 255 bytes"
        raise click.UsageError(msg)


def _attribute_operation(added: Mapping[str, str], named: Mapping[str, str | None]) -> str:
    if added:
        return "namespaces.add_search_attributes"
    return "namespaces.set_aliases" if named else "namespaces.get"
