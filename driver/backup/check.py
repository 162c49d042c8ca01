"""Check that a set of backups fits together: a restored database, keyring files, an audit log and a configuration.

Nothing is written: not into the database, the log or a keyring. The live cell is not needed.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom.driver.anchor.anchors import IN_THE_LOG
from strongroom.driver.audit import Witness
from strongroom.driver.audit.anchored import logged_positions
from strongroom.driver.audit.whole_log import verify_log
from strongroom.driver.config import ConfigError, LocalKms, named_files
from strongroom.driver.doctor.pin import KEYS, key_registry
from strongroom.driver.doctor.report import NO_SERVER, Finding, wrong
from strongroom.driver.keyring_files import keyring_files
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef, KeyringDiverged, StrongroomError, deleted_keks, missing_keks
from strongroom.storage import (
    check_cell,
    check_schema,
    current_version,
)
from strongroom.storage.errors import few
from strongroom.storage.journal.images import journal_shards

from .certified_keks import certified_keks
from .key_checks import DELETED, namespace_details, unwrap_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from strongroom.driver.config import StrongroomConfig
    from strongroom.kms import KmsProvider, LocalProvider

DATABASE, CONFIGURATION, AUDIT, ROWS = "Database", "Configuration", "Audit log", "Rows"
_TOO_OLD = (
    "This copy of the keyring is older than the database, or of another cell. Take one that was copied after the database was "
    "backed up, or the current keyring."
)
_OTHER_DATABASE = (
    "The database and the configuration are not of one cell. Restore the dump of the cell that the configuration names."
)
_LOST = (
    "The file has no record of their deletion, so it is damaged or of another host. Take another copy, or unite two copies: "
    "strongroom keys keyring merge."
)
_CERTIFICATE = "Name unchanged certificates of this cell; strongroom verify-certificate shows one."
_ALTERED = "Restore another dump, and compare: docs/explanation/freshness.md."
_CUT = "Take a copy of the log that was made after the database was backed up, and copy it whole."
_ACCEPT = "This is so if something changed after the database was backed up. When the cell is restored: strongroom restore accept."


def with_copies(
    config: StrongroomConfig, *, dsn: str | None, keyrings: Mapping[str, Path], audit: Path | None
) -> StrongroomConfig:
    """Return a configuration that names the copies of a backup in place of the cell's own parts.

    Args:
        config: The configuration in the backup.
        dsn: The connection string of the restored database; None for the configuration's own.
        keyrings: The keyring file of each provider that has another one; "" stands for the only local provider.
        audit: The folder of the audit log; None for the configuration's own.

    Raises:
        ConfigError: A provider has no keyring file, or there are several.
    """
    sections, kms = dict(config.kms), dict(config.kms)
    local = [provider_id for provider_id, section in sections.items() if isinstance(section, LocalKms)]
    for provider_id, path in keyrings.items():
        named = local if not provider_id else [each for each in local if each == provider_id]
        if len(named) != 1:
            msg = f"name one provider as --keyring ID=FILE; the providers with a keyring file are: {', '.join(local) or 'none'}"
            raise ConfigError(msg)
        section = sections[named[0]]
        assert isinstance(section, LocalKms)  # noqa: S101 - they were chosen by it
        kms[named[0]] = replace(section, keyring=path)
    return replace(config, dsn=dsn or config.dsn, kms=kms, audit_folder=audit or config.audit_folder)


async def check_set(
    config: StrongroomConfig,
    *,
    certificates: Sequence[Path] = (),
    has_other_hosts: bool = False,
    rows: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> list[Finding]:
    """Check a set of backups. A check whose failure makes the others impossible ends them early.

    Args:
        config: The configuration, which names the copies.
        certificates: Files with the erasure certificates of namespaces that were shredded after the database was backed up.
        has_other_hosts: Whether streams of other hosts need not be in this copy of the audit log.
        rows: Whether all rows are compared with the journal too.
        report: Called with the progress.
    """
    found = list(_files(config))
    # Without its folder no process continues the log: nothing is appended to the copy.
    async with Strongroom.unchecked(replace(config, audit_folder=None)) as strongroom:
        found += [each async for each in _database(strongroom)]
        if not all(each.ok for each in found):
            return [
                *found,
                Finding("Skipped", "the rest", "keys and audit log, because an earlier check failed", "skipped"),
            ]
        found += [each async for each in _keys(strongroom)]
        if not all(each.ok for each in found):
            return [*found, Finding("Skipped", "the rest", "namespaces and audit log, because no key opens", "skipped")]
        certified, refused = await _certified(strongroom, certificates)
        found += refused
        try:
            keys = await unwrap_all(strongroom.keyring, report, certified)
        except StrongroomError as error:
            found.append(wrong(KEYS, "wrapped keys", error))
            return [*found, Finding("Skipped", "the rest", "because the keys could not be unwrapped", "skipped")]
        found += keys.findings(config.cell.cell_id)
        found += [each async for each in namespace_details(strongroom, keys)]
        if rows:
            found.append(await _rows(strongroom, report))
        found += [each async for each in _log(strongroom, config.audit_folder, has_other_hosts=has_other_hosts)]
    return found


def _files(config: StrongroomConfig) -> Iterator[Finding]:
    keyrings = {each.keyring for each in config.kms.values() if isinstance(each, LocalKms)}
    named = {each.path: each.is_secret and each.path not in keyrings for each in named_files(config)}
    missing = {path: is_secret for path, is_secret in named.items() if not path.exists()}
    secrets = [str(path) for path, is_secret in missing.items() if is_secret]
    if len(secrets) < len(missing):
        others = [str(path) for path, is_secret in missing.items() if not is_secret]
        advice = "Add them to the backup, or name where they are: --keyring, --audit, or the setting in the copied configuration."
        yield Finding(CONFIGURATION, "files", f"not here: {few(others)}", "wrong", advice)
    else:
        yield Finding(CONFIGURATION, "files", f"{len(named) - len(secrets)} files and folders that it names are here")
    if secrets:
        advice = "They belong where secrets are kept, and a restored cell needs them. Make sure that they are there."
        yield Finding(CONFIGURATION, "secret files", f"not here: {few(secrets)}", "note", advice)


async def _database(strongroom: Strongroom) -> AsyncIterator[Finding]:
    try:
        await check_schema(strongroom.database)
        yield Finding(DATABASE, "schema", f"version {current_version()}")
        await check_cell(strongroom.database, strongroom.config.cell)
    except NO_SERVER as error:
        yield wrong(DATABASE, "server", error)
    except StrongroomError as error:
        yield wrong(DATABASE, "cell", error, _OTHER_DATABASE)
    else:
        yield Finding(DATABASE, "cell", f"{strongroom.config.cell.cell_id}, as the configuration names it")


async def _keys(strongroom: Strongroom) -> AsyncIterator[Finding]:
    """Check the registry, the pin, and each provider."""
    async for each in _providers(strongroom):
        yield each
        if not each.ok:
            return
    async for each in key_registry(strongroom):
        yield each


async def _providers(strongroom: Strongroom) -> AsyncIterator[Finding]:
    files = keyring_files(strongroom.keyring.providers)
    for provider_id, provider in strongroom.keyring.providers.items():
        if provider_id in files:
            yield await _keyring_file(strongroom, provider_id, files[provider_id])
        else:
            yield await _kms(provider_id, provider)


async def _kms(provider_id: str, provider: KmsProvider) -> Finding:
    try:
        return Finding(KEYS, f"KMS {provider_id}", await provider.check())
    except StrongroomError as error:
        return wrong(KEYS, f"KMS {provider_id}", error)


async def _keyring_file(strongroom: Strongroom, provider_id: str, local: LocalProvider) -> Finding:
    """Compare a keyring file with the database. A copy that is newer may lack only KEKs that were destroyed since."""
    name = f"keyring {provider_id}"
    try:
        head = await local.check_registered(record=False)
        missing = await missing_keks(strongroom.keyring, provider_id, local)
    except KeyringDiverged as error:
        return wrong(KEYS, name, error, _TOO_OLD)
    except StrongroomError as error:
        return wrong(KEYS, name, error)
    text = f"not older than the database: change {head.changes} of {head.keyring_id}"
    if not missing:
        return Finding(KEYS, name, text)
    deleted = await deleted_keks(provider_id, local)
    lost = [each for each in missing if (KekRef(provider_id, each.kek_id), each.kek_version) not in deleted]
    lacking = f"{text}. It lacks {len(missing)} KEKs that wrap {sum(usage.keys for usage in missing)} keys"
    if lost:
        return Finding(KEYS, name, f"{lacking}; {len(lost)} of them were not deleted on purpose", "wrong", _LOST)
    return Finding(KEYS, name, lacking, "note", DELETED)


async def _certified(strongroom: Strongroom, certificates: Sequence[Path]) -> tuple[frozenset[KekRef], list[Finding]]:
    """Return the KEKs that the certificates state as deleted, and what is wrong with a certificate."""
    try:
        key = (await strongroom.keyring.open(strongroom.keyring.cell_id)).certificate_key().public_key
        return await asyncio.to_thread(certified_keks, certificates, key), []
    except StrongroomError as error:
        return frozenset(), [wrong(KEYS, "erasure certificates", error, _CERTIFICATE)]


async def _rows(strongroom: Strongroom, report: Callable[[str], None]) -> Finding:
    """Compare the rows of all shards with the journal, as `strongroom verify` does."""
    shards = journal_shards(strongroom.config.cell.shard_count)
    rows, problems = 0, []
    try:
        for number, shard_id in enumerate(shards, 1):
            verified = await strongroom.journal.verify(shard_id)
            rows += verified.rows
            problems += verified.texts
            report(f"comparing rows: {number} of {len(shards)} shards")
    except StrongroomError as error:
        return wrong(ROWS, "journal", error)
    if problems:
        return Finding(ROWS, "journal", few(problems), "wrong", _ALTERED)
    return Finding(ROWS, "journal", f"{rows} rows in {len(shards)} shards are those that the journal records")


async def _log(strongroom: Strongroom, folder: Path | None, *, has_other_hosts: bool) -> AsyncIterator[Finding]:
    """Compare the audit log with the checkpoints in the database, and the database with what the log and the bucket have seen."""
    if folder is None:
        yield Finding(AUDIT, "records", "the configuration names no audit log", "note")
        return
    try:
        key = (await strongroom.audit_key()).public_key
        anchors = strongroom.anchors
        logged = await asyncio.to_thread(logged_positions, folder, key)
        anchors.learn(list(logged.positions.values()), IN_THE_LOG)
        await anchors.read(key, checkpoints=await Witness(strongroom.audit_checkpoints).known())
        verified = await verify_log(
            strongroom.audit_checkpoints, folder, public_key=key, has_other_hosts=has_other_hosts
        )
        older = await anchors.older()
    except StrongroomError as error:
        yield wrong(AUDIT, "records", error)
        return
    except OSError as error:
        yield wrong(AUDIT, "records", ConfigError(f"{folder} can't be read: {error.strerror}"), _CUT)
        return
    records = verified.records
    problems = [
        f"stream {each.stream_id}: {each.problem}"
        for each in records.streams
        if each.problem and each.identity not in records.accepted
    ]
    problems += [f"line {number} is not a record" for number in records.unreadable]
    problems += [each.text for each in records.breaks if each.identity not in records.accepted]
    problems += verified.altered
    if problems:
        yield Finding(AUDIT, "records", few(problems), "wrong", _CUT)
    else:
        text = (
            f"{records.records} records in {len(records.streams)} streams; every checkpoint of the database is in them"
        )
        yield Finding(AUDIT, "records", text)
    lost = [each for each in verified.lost if each.identity not in records.accepted]
    newer = [*([f"{len(lost)} checkpoints in the log"] if lost else []), *(each.text for each in older)]
    if newer:
        yield Finding(AUDIT, "anchors", f"newer than the database: {few(newer)}", "note", _ACCEPT)
    else:
        yield Finding(AUDIT, "anchors", "the database is not older than the log and the bucket have seen")
