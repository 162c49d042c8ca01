"""Commands on KEKs, the keys in a KMS that wrap the keys of namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from strongroom.driver.cell_keys import check_cell_keys
from strongroom.driver.config import load_config
from strongroom.kms import (
    KekRef,
    KeyEvent,
    PinMismatch,
    StrongroomError,
    UnsupportedOperation,
    count_to_rewrap,
    depending_on,
    recording_change,
    rewrap_data_keys,
)

from .cell import with_cell, with_moved_cell_keys
from .commands import Command, refuse
from .show import cell as cli_show
from .show.output import ask, json_wanted, line, progress_bar, result

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from strongroom.driver.config import StrongroomConfig
    from strongroom.driver.strongroom import Strongroom
    from strongroom.kms import KekInfo


@click.command(
    "rotate-kek",
    cls=Command,
    epilog="\b\nExample:\n  strongroom keys rotate-kek local:ns-4f6b\n  strongroom keys rewrap",
)
@click.argument("uri", metavar="KEK")
@click.pass_obj
def rotate_kek(config_path: Path, uri: str) -> None:
    """Add a version to a KEK in its KMS. Keys under older versions still unwrap; `keys rewrap` moves them to the new one."""
    kek = KekRef.parse(uri)

    async def run(strongroom: Strongroom) -> None:
        event = KeyEvent("kek.rotate", provider=kek.provider, kek_id=kek.key_id)
        async with recording_change(strongroom.keyring.key_events, event):
            version = await strongroom.keyring.provider_of(kek).rotate_kek(kek)
        result(
            {"kek": str(kek), "kek_version": version},
            f"{kek} now wraps with version {version}; move the other keys to it with: strongroom keys rewrap {kek}",
        )

    with_cell(config_path, run, "keys.rotate_kek", kek=uri)


@click.command(
    cls=Command,
    epilog="\b\nExamples:\n  strongroom keys rewrap\n  strongroom keys rewrap vault:strongroom\n"
    "  strongroom keys rewrap local:ns-4f6b --to aws-kms:alias/payments --namespace payments",
)
@click.argument("uri", metavar="[KEK]", required=False)
@click.option(
    "--to", "target_uri", metavar="KEK", help="Another KEK to wrap with. Default: the newest version of the same KEK."
)
@click.option("--namespace", "namespace_name", help="Namespace whose keys are wrapped. Default: all.")
@click.pass_obj
def rewrap(config_path: Path, uri: str | None, target_uri: str | None, namespace_name: str | None) -> None:
    """Wrap keys again, under the newest version of their KEK or under another KEK. Rows of data are not changed.

    Services keep running. If the command is interrupted, run it again. Without KEK, the keys of all KEKs are wrapped.
    """
    if target_uri and not (uri or namespace_name):
        msg = "--to needs the current KEK or --namespace; give one of them"
        raise click.UsageError(msg)

    if target_uri and target_uri == uri:
        refuse("--to would have no effect: it names the current KEK; leave it out to wrap with the newest version")

    async def run(strongroom: Strongroom) -> None:
        namespace_id = await strongroom.namespaces.find(namespace_name) if namespace_name else None
        target = KekRef.parse(target_uri) if target_uri else None
        keks = [KekRef.parse(uri)] if uri else await _used(strongroom, namespace_id)
        moved = [await _rewrap(strongroom, kek, target, namespace_id) for kek in keks if kek != target]
        if json_wanted():
            result({"keks": [each.document for each in moved]})
        if any(each.failed for each in moved):
            raise click.exceptions.Exit(1)
        await _say_pin(strongroom, load_config(config_path))

    with_moved_cell_keys(config_path, run, "keys.rewrap", kek=uri, to=target_uri, name=namespace_name)


async def _say_pin(strongroom: Strongroom, config: StrongroomConfig) -> None:
    try:
        await check_cell_keys(strongroom.keyring, config)
    except PinMismatch:
        _say(
            "the cell's own keys have moved, and a service that starts refuses them until you run: strongroom keys pin"
        )


async def _used(strongroom: Strongroom, namespace_id: UUID | None) -> list[KekRef]:
    """Return the KEKs that wrap the keys of one namespace, or of all namespaces."""
    store = strongroom.keyring.store
    if namespace_id is None:
        found = {(usage.provider, usage.kek_id) for usage in await store.list_kek_usage()}
    else:
        records = await store.list_data_keys(namespace_id)
        found = {(record.provider, record.kek_id) for record in records if record.wrapped is not None}
    return [KekRef(*pair) for pair in sorted(found)]


class _Moved(NamedTuple):
    """The document of one KEK whose keys were moved, and the number of keys that failed."""

    document: dict[str, object]
    failed: int


async def _rewrap(strongroom: Strongroom, kek: KekRef, target: KekRef | None, namespace_id: UUID | None) -> _Moved:
    """Move the keys under one KEK, and print the result for people."""
    document: dict[str, object] = {"kek": str(kek), "to": str(target or kek), "to_version": None, "keys": 0}
    document |= {"rewrapped": 0, "changed": 0, "failed": []}
    total = await count_to_rewrap(strongroom.keyring, kek, to=target, namespace_id=namespace_id)
    if not total:
        _say(f"{kek}: no keys to move")
        return _Moved(document, 0)
    with progress_bar(f"{kek}", total) as progress:
        done = await rewrap_data_keys(strongroom.keyring, kek, to=target, namespace_id=namespace_id, progress=progress)
    _say(f"{done.rewrapped} of {total} keys are wrapped by {done.kek}, version {done.kek_version}")
    if done.changed:
        _say(f"  {done.changed} were changed by other processes; run the command again")
    failed = []
    for each in done.failed:
        key = each.record
        _say(f"  namespace {key.namespace_id}, {key.key_class.value} {key.version} was not changed: {each.error}")
        failed.append(
            {
                "namespace_id": key.namespace_id,
                "class": key.key_class.value,
                "version": key.version,
                "error": str(each.error),
            }
        )
    document |= {"to": str(done.kek), "to_version": done.kek_version, "keys": total}
    document |= {"rewrapped": done.rewrapped, "changed": done.changed, "failed": failed}
    return _Moved(document, len(failed))


def _say(text: str) -> None:
    if not json_wanted():
        line(text)


@click.command(
    cls=Command,
    epilog="\b\nExamples:\n  strongroom keys retire vault:strongroom --version 1\n"
    "  strongroom keys retire local:ns-4f6b --confirm local:ns-4f6b",
)
@click.argument("uri", metavar="KEK")
@click.option("--version", "kek_version", help="Version to retire. Default: the whole KEK.")
@click.option("--confirm", help="The KEK again, in place of the prompt.")
@click.pass_obj
def retire(config_path: Path, uri: str, kek_version: str | None, confirm: str | None) -> None:
    """Delete a KEK in its KMS, or an old version of it. It is refused while keys of this cell depend on it.

    Backups of the database from before a re-wrap need the deleted KEK, and so does another cell that has keys under it. This command
    can't see them. So never use one KEK for two cells.
    """
    kek = KekRef.parse(uri)
    if confirm is None:
        confirm = ask(f"Everything that only {uri} can unwrap is lost permanently. Type the KEK to continue")
    if confirm != uri:
        msg = "the confirmation is not the KEK, and nothing was changed; run the command again"
        raise click.UsageError(msg)

    async def run(strongroom: Strongroom) -> None:
        provider = strongroom.keyring.provider_of(kek)
        used = await strongroom.keyring.store.list_kek_usage()
        depending = depending_on(strongroom.keyring, used, [kek], kek_version)
        if depending:
            cli_show.kek_usage(depending)
            msg = f"{uri} is in use; move the keys that depend on it first: strongroom keys rewrap {uri} --to KEK"
            raise UnsupportedOperation(msg)
        event = KeyEvent("kek.retire", provider=kek.provider, kek_id=kek.key_id, kek_version=kek_version)
        async with recording_change(strongroom.keyring.key_events, event):
            if kek_version is not None:
                await provider.retire_version(kek, kek_version)
                result(
                    {"kek": uri, "kek_version": kek_version, "state": "retired", "deletion_at": None},
                    f"version {kek_version} of {kek} unwraps nothing any more",
                )
                return
            info = await _delete(strongroom, kek)
        when = f" on {info.deletion_at:%Y-%m-%d %H:%M} UTC" if info.deletion_at else ""
        result(
            {"kek": uri, "kek_version": None, "state": info.state, "deletion_at": info.deletion_at},
            f"{kek}: {info.state.replace('_', ' ')}{when}",
        )

    with_cell(config_path, run, "keys.retire", kek=uri, version=kek_version)


async def _delete(strongroom: Strongroom, kek: KekRef) -> KekInfo:
    """Delete a KEK. First close it to new keys, so that no other process can begin to use it."""
    keyring = strongroom.keyring
    await keyring.store.retire_kek(keyring.cell_id, kek)
    try:
        return await keyring.provider_of(kek).delete_kek(kek)
    except StrongroomError:
        await keyring.store.keep_kek(keyring.cell_id, kek)
        raise
