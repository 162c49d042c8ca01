"""Look a set-up over: what is there, what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import InvalidRequest, KekRef, StrongroomError
from strongroom.kms.sealing import ciphers
from strongroom.storage import (
    NO_NAMESPACE,
    DatabaseAuthenticationError,
    DatabaseUnavailable,
    StorageError,
    check_cell,
    check_schema,
    current_version,
)
from strongroom.visibility import SearchIndexUnavailable

from .access import access_control, audit_log
from .report import Finding, wrong
from .row_level_security import DATABASE, second_wall
from .tls import transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from strongroom.driver.config import StrongroomConfig
    from strongroom.kms import KekUsage
    from strongroom.storage import Database

# A server that may lose what it has acknowledged loses histories for good.
_DURABILITY = ("fsync", "full_page_writes", "synchronous_commit")

CELL, KEYS, NAMESPACES, SEARCH = "Cell", "Keys", "Namespaces", "Search"
MANY_WAITING = 10_000
"""Runs that the search index is yet to hear of, from which on somebody should look."""
_MEND = "mend what it names; the pages in driver/ and kms/providers/ have each setting"
_CONTEXT = {"strongroom:purpose": "doctor"}


async def examine(config_path: Path, *, use_keys: bool = False) -> list[Finding]:
    """Run all checks; what the others need and is not there ends them early.

    Args:
        config_path: of the configuration.
        use_keys: wrap and unwrap once with each KEK, which a KMS may bill.
    """
    try:
        config = await asyncio.to_thread(load_config, config_path)
    except StrongroomError as error:
        return [wrong(CELL, "configuration", error, _MEND), _skipped("everything else")]
    found = [
        Finding(CELL, "configuration", f"{config_path}, cell {config.cell.cell_id}, {config.cell.shard_count} shards"),
        _region(config),
        _cipher(),
    ]
    found += [finding async for finding in transport(config)]
    try:
        async with Strongroom.unchecked(config) as strongroom:
            found += await _look_at_cell(strongroom, use_keys=use_keys)
    except InvalidRequest as error:  # a file or an address of a client
        found += [wrong(CELL, "clients", error, _MEND), _skipped("everything behind them")]
    return found


async def _look_at_cell(strongroom: Strongroom, *, use_keys: bool) -> list[Finding]:
    found = [finding async for finding in _database(strongroom)]
    audit = await audit_log(strongroom)
    found.append(audit)
    if not audit.ok:
        return [*found, _skipped("KMSs and all else that must be told to the audit log")]
    kms = [finding async for finding in _kms(strongroom)]
    if not all(finding.ok for finding in [*found, kms[0]]):  # nothing opens without the first KMS
        return [*found, *kms, _skipped("KEKs, data keys, namespaces, search index and access control")]
    found += kms
    found += [finding async for finding in _keks(strongroom, use_keys=use_keys)]
    found += [finding async for finding in _data_keys(strongroom)]
    found += [finding async for finding in _namespaces(strongroom)]
    found += [finding async for finding in _search_index(strongroom)]
    return [*found, await access_control(strongroom)]


def _skipped(what: str) -> Finding:
    return Finding("Not looked at", "the rest", f"{what}, as something that comes before is wrong", "skipped")


def _region(config: StrongroomConfig) -> Finding:
    if config.cell.region is None:
        return Finding(CELL, "region", "none: rows and keys open wherever the KMSs allow it")
    return Finding(CELL, "region", f"{config.cell.region}; KEKs in {', '.join(sorted(config.kek_regions))} only")


def _cipher() -> Finding:
    try:
        chosen = ciphers.chosen()
    except StrongroomError as error:
        return wrong(CELL, "sealing and opening", error)
    by = {ciphers.NATIVE: "the native kernel (strongroom-kernel)", ciphers.PYTHON: "cryptography, in Python"}
    if ciphers.NATIVE in ciphers.available():
        return Finding(CELL, "sealing and opening", by[chosen])
    hint = "strongroom-kernel is faster, see kernel/README.md"
    return Finding(CELL, "sealing and opening", by[chosen], "note", hint)


async def _database(strongroom: Strongroom) -> AsyncIterator[Finding]:
    try:
        version, unsafe = await _server(strongroom.database)
        yield Finding(DATABASE, "server", f"PostgreSQL {version}")
        if unsafe:
            text = f"off: {', '.join(unsafe)}; a crash would lose acknowledged writes"
            yield Finding(
                DATABASE, "durability", text, "wrong", "set them to on in postgresql.conf, and reload the server"
            )
        else:
            yield Finding(DATABASE, "durability", ", ".join(_DURABILITY) + " on")
        await check_schema(strongroom.database)
        await check_cell(strongroom.database, strongroom.config.cell)
        yield Finding(DATABASE, "schema", f"version {current_version()}, of this cell")
        yield await second_wall(strongroom.database)
    except (DatabaseUnavailable, DatabaseAuthenticationError) as error:
        yield wrong(DATABASE, "server", error, "is the server up, and database.dsn (or STRONGROOM_DSN) right?")
    except StrongroomError as error:
        yield wrong(DATABASE, "schema", error)


async def _server(database: Database) -> tuple[str, list[str]]:
    async with database.connection(NO_NAMESPACE) as connection:
        rows = await connection.fetch(
            "SELECT name, setting FROM pg_settings WHERE name = ANY($1)", [*_DURABILITY, "server_version"]
        )
    settings = {row["name"]: row["setting"] for row in rows}
    return settings["server_version"], [name for name in _DURABILITY if settings[name] == "off"]


async def _kms(strongroom: Strongroom) -> AsyncIterator[Finding]:
    for provider_id, provider in strongroom.keyring.providers.items():
        try:
            yield Finding(KEYS, f"KMS {provider_id}", await provider.check())
        except StrongroomError as error:
            yield wrong(KEYS, f"KMS {provider_id}", error)


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
            yield wrong(KEYS, f"KEK {kek}", error)
            continue
        old = sum(usage.keys for usage in used if usage.kek_version != info.primary_version)
        facts = [
            f"{info.state.replace('_', ' ')}, version {info.primary_version}, wraps {sum(usage.keys for usage in used)} keys",
            f"in {', '.join(sorted(filter(None, provider.regions(kek))))}" if any(provider.regions(kek)) else "",
            f"{old} of them by older versions" if old else "",
            "wrapped and unwrapped" if use_keys else "",
            f"{1000 * (time.perf_counter() - began):.0f} ms",
        ]
        text = "; ".join(filter(None, facts))
        if info.state != "enabled":
            yield Finding(KEYS, f"KEK {kek}", text, "wrong", "enable it in its KMS, or what it wraps opens for nobody")
        elif old:
            yield Finding(KEYS, f"KEK {kek}", text, "note", f"strongroom keys rewrap {kek}")
        else:
            yield Finding(KEYS, f"KEK {kek}", text)


async def _data_keys(strongroom: Strongroom) -> AsyncIterator[Finding]:
    policy, store = strongroom.config.rotation, strongroom.keyring.store
    due = await store.list_due(
        created_before=datetime.now(UTC) - policy.max_age,
        rows=policy.max_rows,
        rows_suite_1=policy.max_rows_suite_1,
    )
    if due:
        text = f"those of {len(due)} namespaces are due to be rotated, by age or by rows"
        yield Finding(KEYS, "data keys", text, "note", "strongroom keys rotate --due; best from a timer")
    else:
        yield Finding(KEYS, "data keys", "none is due to be rotated")


async def _namespaces(strongroom: Strongroom) -> AsyncIterator[Finding]:
    listed = await strongroom.namespaces.list_namespaces()
    doomed = [namespace for namespace in listed if namespace.shredded_at is None and namespace.shred_due_at is not None]
    living = [namespace for namespace in listed if namespace.shredded_at is None and namespace.shred_due_at is None]
    closed = [namespace for namespace in living if namespace.unreadable is not None]
    yield Finding(NAMESPACES, "open", f"{len(living) - len(closed)} of {len(living)}")
    for namespace in closed:
        advice = "look at its KEK above; strongroom keys list NAMESPACE shows which it is"
        yield Finding(NAMESPACES, f"namespace {namespace.namespace_id}", namespace.unreadable or "", "wrong", advice)
    for namespace in doomed:
        text = f"to be shredded from {namespace.shred_due_at:%Y-%m-%d %H:%M} UTC"
        advice = "if that is not meant: strongroom namespace unshred takes it back"
        yield Finding(NAMESPACES, f"namespace {namespace.namespace_id}", text, "note", advice)
    cell = await strongroom.keyring.open(strongroom.keyring.cell_id)
    key = cell.certificate_key().public_key.hex()
    yield Finding(NAMESPACES, "erasure certificates", f"signed by key {key}")


async def _search_index(strongroom: Strongroom) -> AsyncIterator[Finding]:
    index = strongroom.search_index
    if index is None:
        yield Finding(SEARCH, "search index", "PostgreSQL answers searches")
        return
    try:
        await index.check()
        documents, waiting = await index.count(), await strongroom.outbox.waiting()
    except (StorageError, SearchIndexUnavailable) as error:
        advice = (
            "is the cluster up, and elasticsearch.url right? Searches need it; writes go on, and it hears of them later"
        )
        yield wrong(SEARCH, "search index", error, advice)
    except StrongroomError as error:
        yield wrong(SEARCH, "search index", error)
    else:
        text = f"{index.name}: {documents} documents, {waiting} runs that it is yet to hear of"
        many = waiting > MANY_WAITING
        advice = "does a service run an indexer? If none does: strongroom index run" if many else ""
        yield Finding(SEARCH, "search index", text, "note" if many else "ok", advice)
