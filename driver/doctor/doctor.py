"""The checks of a set-up: configuration, database, KMSs, keys, namespaces and search index."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.driver.config import ConfigError, load_config
from strongroom.driver.freshness import read_checkpoints
from strongroom.driver.keyring_files import keyring_files
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import InvalidRequest, KekRef, StrongroomError, missing_keks
from strongroom.kms.sealing import ciphers
from strongroom.storage import (
    NO_NAMESPACE,
    PoolingNotSupported,
    check_cell,
    check_schema,
    current_version,
)

from .access import access_control, audit_log
from .anchors import anchors
from .citus import cluster
from .clock import server_clock
from .connections import SESSION_ADVICE, SESSIONS, connections
from .damaged import damaged_rows
from .pin import KEYS, key_registry
from .report import NO_SERVER, Finding, by_group, wrong
from .row_level_security import DATABASE, row_level_security
from .search import search_index
from .serve import server
from .tls import transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from strongroom.driver.config import StrongroomConfig
    from strongroom.kms import KekUsage, LocalProvider
    from strongroom.storage import Database

# Without these settings a crash of the server loses acknowledged writes.
_DURABILITY = ("fsync", "full_page_writes", "synchronous_commit")

CELL, NAMESPACES = "Cell", "Namespaces"
_MEND = "Correct the setting that it names; docs/reference/configuration.md has every setting."
_CONTEXT = {"strongroom:purpose": "doctor"}


async def examine(config_path: Path, *, use_keys: bool = False) -> list[Finding]:
    """Run all checks. A check whose failure makes the others impossible ends them early.

    Args:
        config_path: The configuration.
        use_keys: Whether to wrap and unwrap once with each KEK, which a KMS may bill.

    Returns:
        The findings, by group.
    """
    return by_group(await _examine(config_path, use_keys=use_keys))


async def _examine(config_path: Path, *, use_keys: bool) -> list[Finding]:
    try:
        config = await asyncio.to_thread(load_config, config_path)
    except ConfigError as error:
        text = " ".join([error.summary, "; ".join(error.details)]).strip()  # a finding is one line
        return [wrong(CELL, "configuration", ConfigError(text), _MEND), _skipped("all other checks")]
    except StrongroomError as error:
        return [wrong(CELL, "configuration", error, _MEND), _skipped("all other checks")]
    found = [
        Finding(CELL, "configuration", f"{config_path}, cell {config.cell.cell_id}, {config.cell.shard_count} shards"),
        _region(config),
        _cipher(),
    ]
    found += [finding async for finding in transport(config)]
    try:
        async with Strongroom.unchecked(config) as strongroom:
            found += await _look_at_cell(strongroom, use_keys=use_keys)
    except InvalidRequest as error:  # a file or an address of a client can't be used
        found += [wrong(CELL, "clients", error, _MEND), _skipped("all checks of servers")]
    return found


async def _look_at_cell(strongroom: Strongroom, *, use_keys: bool) -> list[Finding]:
    found = [finding async for finding in _database(strongroom)]
    if all(finding.ok for finding in found):
        with suppress(StrongroomError):  # The check of the audit log reports it.
            await read_checkpoints(strongroom)
    audit = await audit_log(strongroom)
    found.append(audit)
    if not audit.ok:
        return [*found, _skipped("KMSs and everything that must be audited")]
    has_registry = all(finding.ok for finding in found)
    kms = [finding async for finding in _kms(strongroom, has_registry=has_registry)]
    can_go_on = all(finding.ok for finding in [*found, kms[0]])  # the cell's own keys need the first KMS
    found += kms
    if can_go_on:
        found += [finding async for finding in key_registry(strongroom)]
        can_go_on = found[-1].ok
    if can_go_on:
        found += [finding async for finding in anchors(strongroom)]
    if not can_go_on:
        return [*found, _skipped("KEKs, data keys, namespaces, search index and access control")]
    found += [finding async for finding in _keks(strongroom, use_keys=use_keys)]
    found += [finding async for finding in _data_keys(strongroom)]
    found += [finding async for finding in _namespaces(strongroom)]
    found.append(await damaged_rows(strongroom.database))
    found += [finding async for finding in search_index(strongroom)]
    found += [finding async for finding in server(strongroom)]
    return [*found, await access_control(strongroom)]


def _skipped(what: str) -> Finding:
    return Finding("Skipped", "the rest", f"{what}, because an earlier check failed", "skipped")


def _region(config: StrongroomConfig) -> Finding:
    if config.cell.region is None:
        return Finding(CELL, "region", "none: rows and keys can be opened wherever the KMSs allow it")
    return Finding(CELL, "region", f"{config.cell.region}; KEKs only in {', '.join(sorted(config.kek_regions))}")


def _cipher() -> Finding:
    try:
        chosen = ciphers.chosen()
    except StrongroomError as error:
        return wrong(CELL, "sealing and opening", error)
    by = {ciphers.NATIVE: "the native kernel (strongroom-kernel)", ciphers.PYTHON: "cryptography, in Python"}
    if ciphers.NATIVE in ciphers.available():
        return Finding(CELL, "sealing and opening", by[chosen])
    hint = "Install strongroom-kernel, which is faster; see kernel/README.md."
    return Finding(CELL, "sealing and opening", by[chosen], "note", hint)


async def _database(strongroom: Strongroom) -> AsyncIterator[Finding]:
    try:
        version, unsafe = await _server(strongroom.database)
        yield Finding(DATABASE, "server", f"PostgreSQL {version}")
        if unsafe:
            text = f"off: {', '.join(unsafe)}; a crash would lose acknowledged writes"
            yield Finding(
                DATABASE, "durability", text, "wrong", "Set them to on in postgresql.conf, and reload the server."
            )
        else:
            yield Finding(DATABASE, "durability", ", ".join(_DURABILITY) + " on")
        yield await server_clock(strongroom.database)
        async for finding in connections(strongroom):
            yield finding
        await check_schema(strongroom.database)
        await check_cell(strongroom.database, strongroom.config.cell)
        yield Finding(DATABASE, "schema", f"version {current_version()}, of this cell")
        yield await row_level_security(strongroom.database)
        for finding in await cluster(strongroom.database, distributed=strongroom.config.cell.distributed):
            yield finding
    except PoolingNotSupported as error:
        yield wrong(DATABASE, SESSIONS, error, SESSION_ADVICE)
    except NO_SERVER as error:
        yield wrong(DATABASE, "server", error)
    except StrongroomError as error:
        yield wrong(DATABASE, "schema", error)


async def _server(database: Database) -> tuple[str, list[str]]:
    async with database.connection(NO_NAMESPACE) as connection:
        rows = await connection.fetch(
            "SELECT name, setting FROM pg_settings WHERE name = ANY($1)", [*_DURABILITY, "server_version"]
        )
    settings = {row["name"]: row["setting"] for row in rows}
    return settings["server_version"], [name for name in _DURABILITY if settings[name] == "off"]


async def _kms(strongroom: Strongroom, *, has_registry: bool) -> AsyncIterator[Finding]:
    files = keyring_files(strongroom.keyring.providers)
    for provider_id, provider in strongroom.keyring.providers.items():
        try:
            yield Finding(KEYS, f"KMS {provider_id}", await provider.check())
        except StrongroomError as error:
            yield wrong(KEYS, f"KMS {provider_id}", error)
        else:
            if provider_id in files and has_registry:
                yield await _keyring_file(strongroom, provider_id, files[provider_id])


async def _keyring_file(strongroom: Strongroom, provider_id: str, local: LocalProvider) -> Finding:
    """Compare a keyring file with the registry, and look for KEKs in use that it lacks."""
    name = f"keyring {provider_id}"
    try:
        head = await local.check_registered(record=False)
        missing = await missing_keks(strongroom.keyring, provider_id, local)
    except StrongroomError as error:
        return wrong(KEYS, name, error)
    if missing:
        text = f"lacks {len(missing)} KEKs that wrap {sum(usage.keys for usage in missing)} keys"
        advice = "Run strongroom keys keyring merge with the file of the host that made them, or restore a backup of the file."
        return Finding(KEYS, name, text, "wrong", advice)
    return Finding(KEYS, name, f"the copy that the registry records, change {head.changes} of {head.keyring_id}")


async def _keks(strongroom: Strongroom, *, use_keys: bool) -> AsyncIterator[Finding]:
    """Check each KEK that keys depend on: its state, its region, the keys under older versions, and the time of the calls."""
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
            f"{old} of them under older versions" if old else "",
            "wrapped and unwrapped" if use_keys else "",
            f"{1000 * (time.perf_counter() - began):.0f} ms",
        ]
        text = "; ".join(filter(None, facts))
        if info.state != "enabled":
            yield Finding(KEYS, f"KEK {kek}", text, "wrong", "Enable it in its KMS: what it wraps can't be opened.")
        elif old:
            yield Finding(KEYS, f"KEK {kek}", text, "note", f"Run: strongroom keys rewrap {kek}")
        else:
            yield Finding(KEYS, f"KEK {kek}", text)


async def _data_keys(strongroom: Strongroom) -> AsyncIterator[Finding]:
    policy, store = strongroom.config.rotation, strongroom.keyring.store
    due = await store.list_due(
        max_age=policy.max_age,
        rows=policy.max_rows,
        rows_suite_1=policy.max_rows_suite_1,
    )
    if due:
        text = f"those of {len(due)} namespaces are due for rotation, by age or by rows"
        yield Finding(KEYS, "data keys", text, "note", "Run strongroom keys rotate --due, best from a timer.")
    else:
        yield Finding(KEYS, "data keys", "none is due for rotation")


async def _namespaces(strongroom: Strongroom) -> AsyncIterator[Finding]:
    listed = await strongroom.namespaces.list_namespaces()
    scheduled = [
        namespace for namespace in listed if namespace.shredded_at is None and namespace.shred_due_at is not None
    ]
    readable = [namespace for namespace in listed if namespace.shredded_at is None and namespace.shred_due_at is None]
    closed = [namespace for namespace in readable if namespace.unreadable is not None]
    yield Finding(NAMESPACES, "open", f"{len(readable) - len(closed)} of {len(readable)}")
    cached = strongroom.keyring.policy.max_namespaces
    if len(listed) >= cached:  # the cell's own keys are cached too
        text = f"{cached} namespaces; the cell has {len(listed)}, so a list of them calls the KMS for each one again"
        advice = f"Set max_namespaces to {2 * len(listed)} or more under [keys] in the configuration of every host."
        yield Finding(NAMESPACES, "key cache", text, "note", advice)
    for namespace in closed:
        advice = "See its KEK above; strongroom keys list NAMESPACE shows which one it is."
        yield Finding(NAMESPACES, f"namespace {namespace.namespace_id}", namespace.unreadable or "", "wrong", advice)
    for namespace in scheduled:
        text = f"scheduled for shredding at {namespace.shred_due_at:%Y-%m-%d %H:%M} UTC"
        advice = f"To keep it, run: strongroom namespace unshred {namespace.namespace_id}"
        yield Finding(NAMESPACES, f"namespace {namespace.namespace_id}", text, "note", advice)
    cell = await strongroom.keyring.open(strongroom.keyring.cell_id)
    key = cell.certificate_key().public_key.hex()
    yield Finding(NAMESPACES, "erasure certificates", f"signed by key {key}")
