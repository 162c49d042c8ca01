"""Prepare a new cell: check everything that can be checked, and only then write the configuration, the keyring and the schema.

The configuration is written first, because its cell id must not be lost: a second `init` after a crash finds it and continues.
"""

from __future__ import annotations

import fcntl
import os
import tomllib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms import CellPin, KekRef, check_pin, pin_of, remove_unfinished
from strongroom.storage import CellMismatch, schema_status
from strongroom.storage.keys.store import providers_in_use
from strongroom.storage.schema.preflight import check_claimable

from .cell_keys import cell_keys
from .config import (
    ConfigError,
    LocalKms,
    create_config,
    load_config,
    new_config,
    parse_config,
    write_pin,
)
from .strongroom import Strongroom

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from strongroom.storage import Migration

    from .config import StrongroomConfig


@dataclass(frozen=True, slots=True)
class Preparation:
    """A configuration that is checked, and may not be written yet.

    Attributes:
        path: The configuration file.
        config: The configuration.
        content: The text of a new configuration; None for an existing one.
    """

    path: Path
    config: StrongroomConfig
    content: str | None = None

    async def check(self) -> None:
        """Check folders, keyrings, KMSs, the connection, rights and the schema. Nothing is written.

        Raises:
            ConfigError: A folder can't be written, or holds the keyring of another cell.
            StrongroomError: A server can't be used, or the database belongs to another cell.
        """
        self._check_files()
        async with Strongroom.unchecked(self.config) as strongroom:
            await check_claimable(strongroom.database, self.config.cell)
            started = (await schema_status(strongroom.database)).version > 0
            in_use = await providers_in_use(strongroom.database) if started else set()
            for provider_id, provider in strongroom.keyring.providers.items():
                section = self.config.kms[provider_id]
                is_new = isinstance(section, LocalKms) and not section.keyring.exists() and provider_id not in in_use
                if not is_new:
                    await provider.check()

    async def run(self) -> list[Migration]:
        """Write what is missing, and return the migrations that were run. It can be run again after an interruption.

        Raises:
            StrongroomError: As `check` raises it, if something changed meanwhile.
        """
        if self.content is not None:
            create_config(self.path, self.content)
        try:
            return await Strongroom.init(self.config)
        except CellMismatch:
            if self.content is not None:  # another cell claimed the database meanwhile, so this one never existed
                with suppress(OSError):
                    self.path.unlink()
            raise

    async def pin(self) -> CellPin:
        """Write the pin of the cell's own keys into the configuration, unless it has one, and return it. `run` comes first.

        Raises:
            ConfigError: The configuration can't be written.
            PinMismatch: The configuration names another KEK than the registry.
        """
        async with Strongroom.unchecked(self.config) as strongroom:
            records = await cell_keys(strongroom.keyring)
        pin = pin_of(records)
        if self.config.cell_kek is not None:
            check_pin(
                records, CellPin(KekRef.parse(self.config.cell_kek), self.config.cell_commitment or pin.commitment)
            )
        if self.config.cell_commitment is None:
            write_pin(self.path, pin)
        return pin

    def _check_files(self) -> None:
        if self.content is not None:
            _check_writable(self.path.parent, f"the configuration {self.path} can't be written")
        for provider_id, section in self.config.kms.items():
            if not isinstance(section, LocalKms):
                continue
            if not section.keyring.exists():
                _check_writable(
                    section.keyring.parent, f"the keyring {section.keyring} of [kms.{provider_id}] can't be written"
                )
            elif self.content is not None:
                msg = (
                    f"{section.keyring} exists and {self.path} does not, so the keyring belongs to another cell. Restore that "
                    "cell's configuration, or name another folder with --config"
                )
                raise ConfigError(msg)
        if self.config.audit_folder is not None:
            _check_audit_folder(self.config.audit_folder, self.path)


def existing(path: Path) -> Preparation:
    """Return the preparation of an existing configuration.

    Raises:
        ConfigError: It can't be used.
    """
    with suppress(OSError):  # a folder that can't be written
        remove_unfinished(path)
    return Preparation(path, load_config(path))


def new(path: Path, *, dsn: str, shards: int, region: str | None) -> Preparation:
    """Return the preparation of a new cell.

    Raises:
        ConfigError: The configuration would not be valid.
        InvalidRequest: `dsn` is not a PostgreSQL connection string, or `region` is not the name of a region.
    """
    content = new_config(path, dsn=dsn, shards=shards, region=region)
    config = parse_config(tomllib.loads(content), folder=path.parent, source="the new configuration")
    return Preparation(path, config, content)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until no other process prepares a cell in a folder. A folder that can't be locked is used without a lock."""
    descriptor = None
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _check_writable(folder: Path, what: str) -> None:
    if not folder.is_dir():
        msg = f"{what}: {folder} is not a folder; create it, or name another one"
        raise ConfigError(msg)
    if not os.access(folder, os.W_OK | os.X_OK):
        msg = f"{what}: this user may not write in {folder}, or its file system is read-only; name another folder"
        raise ConfigError(msg)


def _check_audit_folder(folder: Path, path: Path) -> None:
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    _check_writable(there, f"the audit log {folder} can't be written; audit.folder in {path} names it")
