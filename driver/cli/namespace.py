"""Commands on namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from uuid import UUID, uuid4

import click

from strongroom.kms import KekRef
from strongroom.storage import check_namespace_region, purge_namespace
from strongroom.visibility import (
    PRESETS,
    AttributeType,
    new_layout,
    parse_layout,
    prefixed_names,
    registrable,
    with_prefixes,
)

from .cell import SUITES, as_id, with_cell
from .commands import Group, refuse
from .show import cell as cli_show
from .show.output import busy, result
from .shred import certificate, shred, shred_due, unshred

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from strongroom.driver.strongroom import Strongroom


T = TypeVar("T")
_SEARCH_ATTRIBUTES = click.option(
    "-a",
    "--search-attribute",
    "pairs",
    multiple=True,
    metavar="NAME=TYPE",
    help="Search attribute to register. It can be given several times.",
)


@click.group(cls=Group, epilog="\b\nExample:\n  strongroom namespace create payments -a CustomerId=Keyword")
def namespace() -> None:
    """Create, list, shred and purge namespaces."""


@namespace.command(
    "create",
    epilog="\b\nExamples:\n  strongroom namespace create payments\n"
    "  strongroom namespace create payments --kek local:payments --create-kek -a CustomerId=Keyword -a Amount=Double\n"
    "  strongroom namespace create payments -a CustomerId=Keyword --preset strict --prefixes CustomerId",
)
@click.argument("name")
@click.option(
    "--kek",
    "uri",
    help="KEK of its keys, as PROVIDER:KEY. Default: kek of [namespaces], or a new KEK in the first provider.",
)
@click.option("--create-kek", is_flag=True, help="Make the KEK if it does not exist.")
@_SEARCH_ATTRIBUTES
@click.option(
    "--suite",
    type=click.Choice(list(SUITES)),
    default="xaes-256-gcm",
    show_default=True,
    help="Cipher suite of its rows.",
)
@click.option(
    "--preset",
    type=click.Choice(PRESETS),
    default="compatible",
    show_default=True,
    help="Preset of the index. With compatible, an attacker with a copy of the index and the data of a similar service recognises "
    "most types and statuses. With strict the index shows less, and searches open more. `strongroom index rotate` changes it.",
)
@click.option(
    "--prefixes",
    multiple=True,
    metavar="NAME",
    help="Keyword of -a for which the index itself answers prefixes and ranges. For a Temporal server name the field, for example "
    "Keyword01. The index then reveals which values share a prefix. It can be given several times. `strongroom index rotate` "
    "changes it.",
)
@click.option("--region", help="Region that it is bound to. It must be the cell's.")
@click.pass_obj
def create_namespace(
    config_path: Path,
    name: str,
    uri: str | None,
    create_kek: bool,
    pairs: tuple[str, ...],
    suite: str,
    preset: str,
    *,
    prefixes: tuple[str, ...],
    region: str | None,
) -> None:
    """Create a namespace with data keys of its own."""
    attributes = _distinct(map(_search_attribute, pairs), "--search-attribute")
    types = {attribute: AttributeType(kind) for attribute, kind in attributes.items()}
    if create_kek and uri is None:
        refuse(
            "--create-kek would have no effect: without --kek a new KEK is made in any case. Add --kek, or leave it out"
        )

    async def run(strongroom: Strongroom) -> None:
        # The KEK's id contains no name, because the id is in clear in the registry and in the KMS's logs.
        config, kek = strongroom.config, None
        # These checks come before a KEK is made.
        check_namespace_region(region, config.cell.region)
        prefixed = prefixed_names(prefixes, types)
        if uri is not None or config.namespaces.kek is None:
            kek = KekRef.parse(uri or f"{next(iter(config.kms))}:ns-{uuid4().hex[:12]}")
            if create_kek or uri is None:
                kek = await strongroom.create_kek(kek)
        created = await strongroom.namespaces.create(
            name,
            kek=kek,
            search_attributes=attributes,
            suite=SUITES[suite],
            index_layout=str(new_layout(preset)),
            mark_layout=lambda text, keys: str(with_prefixes(parse_layout(text), keys, prefixed, types)),
            region=region,
        )
        used = (await strongroom.keyring.store.list_data_keys(created.namespace_id))[0]
        kek = KekRef(used.provider, used.kek_id)
        result(
            {
                "namespace_id": created.namespace_id,
                "kek": str(kek),
                "region": created.region,
                "prefixes": len(prefixed),
            },
            f"created {created.namespace_id}, its keys wrapped by {kek}",
            cli_show.revocation(strongroom.config.cache),
        )

    with_cell(config_path, run, "namespaces.create", name=name)


@namespace.command("list", epilog="\b\nExample:\n  strongroom namespace list")
@click.pass_obj
def list_namespaces(config_path: Path) -> None:
    """List all namespaces. If the KMS of one refuses, the reason is shown in its row."""

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
    "--alias", "aliases", multiple=True, metavar="ALIAS=NAME", help="Another name in filters. ALIAS= removes it."
)
@click.pass_obj
def attributes(config_path: Path, name: str, pairs: tuple[str, ...], aliases: tuple[str, ...]) -> None:
    """Show the search attributes of a namespace, register more, or give them other names for filters.

    Existing tokens are not changed, because they are made with the names that attributes were registered with.
    """
    added = _distinct(map(_search_attribute, pairs), "--search-attribute")
    named = _distinct(map(_alias, aliases), "--alias")

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
    """Delete all rows of a shredded namespace by its id. It needs no key of the namespace.

    Shredding does this too. Use this command for rows that another process wrote with cached keys, or after an interrupted
    shredding. It can be interrupted and run again.
    """

    async def run(strongroom: Strongroom) -> None:
        with busy("purging the namespace ...") as update:
            deleted = await purge_namespace(
                strongroom.database,
                strongroom.journal.journal,
                namespace_id,
                progress=lambda table, rows: update(f"purging: {rows} rows of {table} ..."),
            )
            index = strongroom.search_index
            documents = None if index is None else await index.delete_namespace(namespace_id)
        lines = [*cli_show.purged(deleted)]
        if documents is not None:
            lines.append(f"{documents} documents deleted from the search index")
        result({"rows": deleted, "documents": documents}, *lines)

    with_cell(config_path, run, "namespaces.purge", namespace_id=namespace_id)


for command in (shred, unshred, shred_due, certificate):
    namespace.add_command(command)


def _distinct(pairs: Iterable[tuple[str, T]], option: str) -> dict[str, T]:
    """Return pairs as a dictionary. Of two pairs with one name, one would have no effect."""
    listed = list(pairs)
    if len(dict(listed)) < len(listed):
        refuse(f"{option} is given twice for one name; give it once")
    return dict(listed)


def _search_attribute(pair: str) -> tuple[str, str]:
    name, _, kind = pair.partition("=")
    kinds = [attribute_type.value for attribute_type in AttributeType]
    if kind not in kinds:
        msg = f"a search attribute has the form NAME=TYPE, and the type is one of {', '.join(kinds)}"
        raise click.UsageError(msg)
    _check_name(name)
    return name, kind


def _alias(pair: str) -> tuple[str, str | None]:
    alias, separator, name = pair.partition("=")
    if not separator:
        msg = "an alias has the form ALIAS=NAME, or ALIAS= to remove it"
        raise click.UsageError(msg)
    _check_name(alias)
    return alias, name or None


def _check_name(name: str) -> None:
    if not registrable(name):
        msg = "this name is a system attribute, is reserved, is empty or is longer than 255 bytes; choose another one"
        raise click.UsageError(msg)


def _attribute_operation(added: Mapping[str, str], named: Mapping[str, str | None]) -> str:
    if added:
        return "namespaces.add_search_attributes"
    return "namespaces.set_aliases" if named else "namespaces.get"
