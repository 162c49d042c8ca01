"""Look a set-up over: what is there, what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from strongroom.kms import InvalidRequest, KekRef, StrongroomError, ciphers
from strongroom.storage import NO_NAMESPACE, check_cell, check_schema, current_version

from .config import load_config
from .doctor_access import guards
from .doctor_tls import transport
from .doctor_wall import second_wall
from .finding import Finding
from .strongroom import assembled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from strongroom.kms import KekUsage
    from strongroom.storage import Database

    from .config import StrongroomConfig
    from .strongroom import Strongroom

# A server that may lose what it has acknowledged loses histories for good.
_DURABILITY = ("fsync", "full_page_writes", "synchronous_commit")

_CONTEXT = {"strongroom:purpose": "doctor"}


async def examine(config_path: Path, *, use_keys: bool = False) -> list[Finding]:
    """Run all checks; what can't be reached ends them early.

    Args:
        config_path: of the configuration.
        use_keys: wrap and unwrap once with each KEK, which a KMS may bill.
    """
    try:
        config = await asyncio.to_thread(load_config, config_path)
    except StrongroomError as error:
        return [Finding("configuration", ok=False, text=str(error))]
    bound = f"bound to region {config.cell.region}" if config.cell.region is not None else "bound to no region"
    text = f"{config_path}, cell {config.cell.cell_id}, {bound}"
    found = [Finding("configuration", ok=True, text=text), _cipher()]
    secured = [finding async for finding in transport(config)]
    try:
        await _look_at_cell(config, found, use_keys=use_keys)
    except InvalidRequest as error:  # a file or an address of a client
        found.append(Finding("configuration", ok=False, text=str(error)))
    return found + secured


async def _look_at_cell(config: StrongroomConfig, found: list[Finding], *, use_keys: bool) -> None:
    async with assembled(config) as strongroom:
        found += [finding async for finding in _keyrings(strongroom)]
        found += [finding async for finding in _database(strongroom)]
        if all(finding.ok for finding in found):
            found += [finding async for finding in _keks(strongroom, use_keys=use_keys)]
            found += [finding async for finding in _namespaces(strongroom)]
            found += [finding async for finding in _search_index(strongroom)]
            found += [finding async for finding in guards(strongroom)]


def _cipher() -> Finding:
    try:
        chosen = ciphers.chosen()
    except StrongroomError as error:
        return Finding("sealing and opening", ok=False, text=str(error))
    by = {ciphers.NATIVE: "the native kernel (strongroom-kernel)", ciphers.PYTHON: "cryptography, in Python"}
    hint = "; strongroom-kernel is faster, see kernel/README.md" if ciphers.NATIVE not in ciphers.available() else ""
    return Finding("sealing and opening", ok=True, text=by[chosen] + hint)


async def _keyrings(strongroom: Strongroom) -> AsyncIterator[Finding]:
    for provider_id, provider in strongroom.keyring.providers.items():
        try:
            yield Finding(f"KMS {provider_id}", ok=True, text=await provider.check())
        except StrongroomError as error:
            yield Finding(f"KMS {provider_id}", ok=False, text=str(error))


async def _keks(strongroom: Strongroom, *, use_keys: bool) -> AsyncIterator[Finding]:
    """Look at each KEK that keys depend on: whether it can be reached, its state, what is left on older versions, how long it took."""
    depending: dict[KekRef, list[KekUsage]] = {}
    for usage in await strongroom.keyring.store.list_kek_usage():
        depending.setdefault(KekRef(usage.provider, usage.kek_id), []).append(usage)
    for kek, used in depending.items():
        began = time.perf_counter()
        try:
            provider = strongroom.keyring.provider_of(kek)
            info = await provider.describe(kek)
            if use_keys:
                made = await provider.generate_data_key(kek, context=_CONTEXT)
                await provider.unwrap(made.wrapped, context=_CONTEXT)
        except StrongroomError as error:
            yield Finding(f"KEK {kek}", ok=False, text=str(error))
            continue
        old = sum(usage.keys for usage in used if usage.kek_version != info.primary_version)
        facts = [
            f"{info.state.replace('_', ' ')}, version {info.primary_version}, wraps {sum(usage.keys for usage in used)} keys",
            f"in {', '.join(sorted(filter(None, provider.regions(kek))))}" if any(provider.regions(kek)) else "",
            f"{old} of them by older versions, see strongroom keys rewrap" if old else "",
            "wrapped and unwrapped" if use_keys else "",
            f"{1000 * (time.perf_counter() - began):.0f} ms",
        ]
        yield Finding(f"KEK {kek}", ok=info.state == "enabled", text="; ".join(filter(None, facts)))


async def _database(strongroom: Strongroom) -> AsyncIterator[Finding]:
    try:
        version, unsafe = await _server(strongroom.database)
        yield Finding("database", ok=True, text=f"PostgreSQL {version}")
        text = (
            f"off: {', '.join(unsafe)}; a crash would lose acknowledged writes"
            if unsafe
            else ", ".join(_DURABILITY) + " on"
        )
        yield Finding("durability", ok=not unsafe, text=text)
        await check_schema(strongroom.database)
        await check_cell(strongroom.database, strongroom.config.cell)
        yield Finding("schema", ok=True, text=f"version {current_version()}, of this cell")
        yield await second_wall(strongroom.database)
    except StrongroomError as error:
        yield Finding("database", ok=False, text=str(error))


async def _server(database: Database) -> tuple[str, list[str]]:
    async with database.connection(NO_NAMESPACE) as connection:
        rows = await connection.fetch(
            "SELECT name, setting FROM pg_settings WHERE name = ANY($1)", [*_DURABILITY, "server_version"]
        )
    settings = {row["name"]: row["setting"] for row in rows}
    return settings["server_version"], [name for name in _DURABILITY if settings[name] == "off"]


async def _namespaces(strongroom: Strongroom) -> AsyncIterator[Finding]:
    listed = await strongroom.namespaces.list_namespaces()
    doomed = [namespace for namespace in listed if namespace.shredded_at is None and namespace.shred_due_at is not None]
    living = [namespace for namespace in listed if namespace.shredded_at is None and namespace.shred_due_at is None]
    closed = [namespace for namespace in living if namespace.unreadable is not None]
    yield Finding("namespaces", ok=not closed, text=f"{len(living) - len(closed)} of {len(living)} open")
    for namespace in closed:
        yield Finding(f"namespace {namespace.namespace_id}", ok=False, text=namespace.unreadable or "")
    for namespace in doomed:
        text = f"to be shredded from {namespace.shred_due_at:%Y-%m-%d %H:%M} UTC; `namespace unshred` takes it back"
        yield Finding(f"namespace {namespace.namespace_id}", ok=True, text=text)
    cell = await strongroom.keyring.open(strongroom.keyring.cell_id)
    yield Finding("erasure certificates", ok=True, text=f"signed by key {cell.certificate_key().public_key.hex()}")


async def _search_index(strongroom: Strongroom) -> AsyncIterator[Finding]:
    index = strongroom.search_index
    if index is None:
        return
    try:
        await index.check()
        documents, waiting = await index.size(), await strongroom.outbox.waiting()
        text = f"{index.name}: {documents} documents, {waiting} runs that it is yet to hear of"
        yield Finding("search index", ok=True, text=text)
    except StrongroomError as error:
        yield Finding("search index", ok=False, text=str(error))
