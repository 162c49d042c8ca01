"""Read a configuration file."""

from __future__ import annotations

import os
import tomllib
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pydantic import TypeAdapter, ValidationError

from strongroom.kms.private_files import check_private

from .errors import ConfigError
from .faults import describe
from .sections import ConfigFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .config import StrongroomConfig

_SECRETS = frozenset(("api_key", "passphrase", "password", "pin", "token"))
"""Settings whose value is a secret."""


def load_config(path: Path) -> StrongroomConfig:
    """Read a configuration file.

    Args:
        path: The file. Relative paths in it start at its folder.

    Raises:
        ConfigError: The file is missing or is not TOML, or a setting is missing, unknown, of another type or out of range.
            The message names every fault with the path of its key, and holds no value.
    """
    return parse_config(read_document(path), folder=path.parent, source=str(path))


def read_document(path: Path) -> dict[str, Any]:
    """Return the content of a configuration file, for `parse_config`.

    Args:
        path: The file.

    Raises:
        ConfigError: The file is missing or is not TOML, or others can read it although it holds a secret.
    """
    document = _read(path)
    if _holds_secret(document):
        try:
            check_private(path)
        except OSError as error:
            msg = f"{path} holds a password or a token: {error.strerror}; or keep the dsn in the environment variable STRONGROOM_DSN"
            raise ConfigError(msg) from None
    return document


def parse_config(document: dict[str, Any], *, folder: Path, source: str) -> StrongroomConfig:
    """Return the configuration that a TOML document holds.

    Args:
        document: The document, as `tomllib` returns it.
        folder: The folder that relative paths start at.
        source: The name of the document, for messages.

    Raises:
        ConfigError: As `load_config` raises it.
    """
    dsn, database = os.environ.get("STRONGROOM_DSN"), document.get("database", {})
    if dsn and isinstance(database, dict):
        document = {**document, "database": {**database, "dsn": dsn}}
    try:
        return TypeAdapter(ConfigFile).validate_python(document, context=folder, by_alias=True, by_name=False).build()
    except ValidationError as error:
        faults = describe(ConfigFile, error, by_alias=True)
    except ConfigError as error:
        faults = [str(error)]
    if len(faults) == 1:
        raise ConfigError(f"{source}: {faults[0]}")
    raise ConfigError(f"{source} has {len(faults)} faults:", faults)


def _holds_secret(document: dict[str, Any]) -> bool:
    """Return whether a document holds a password in a connection string or a URL, or a secret in a setting of its own."""
    return any(
        (key in _SECRETS and bool(value)) or (isinstance(value, str) and _has_password(value))
        for key, value in _settings(document)
    )


def _settings(document: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(document, dict):
        for name, value in document.items():
            yield from _settings(value, name)
    elif isinstance(document, list):
        for value in document:
            yield from _settings(value, key)
    else:
        yield key, document


def _has_password(text: str) -> bool:
    """Return whether a text is a URL with a password, before the host or as a parameter, or libpq's `password=...`."""
    try:
        parts = urlsplit(text)
        return parts.password is not None or "password=" in unquote(text.rpartition("?")[2] if parts.scheme else text)
    except ValueError:
        return "password=" in text or "@" in text


def _read(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        if b"\0" in content:
            msg = f"{path} can't be read: it is not UTF-8 (it may be UTF-16, as some Windows programs write it); save it as UTF-8"
            raise ConfigError(msg)
        return tomllib.loads(content.decode("utf-8-sig"))
    except FileNotFoundError:
        msg = (
            f"{path} is missing; if it is in another folder, name it before the command: strongroom --config FILE COMMAND; for a "
            "new cell, run: strongroom init --dsn postgresql://..."
        )
    except OSError as error:
        msg = f"{path} can't be read: {error.strerror}"
    except UnicodeDecodeError:
        msg = f"{path} can't be read: it is not UTF-8; save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} can't be read: it is not TOML: {error}"
    raise ConfigError(msg)
