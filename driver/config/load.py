"""Read a configuration file."""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pydantic import TypeAdapter, ValidationError

from strongroom.kms.private_files import check_private, read_trusted
from strongroom.kms.text import NotText, text_of

from .errors import ConfigError
from .faults import describe
from .sections import ConfigFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .config import StrongroomConfig

_SECRETS = frozenset(("api_key", "passphrase", "password", "pin", "token"))
"""Settings whose value is a secret."""
_DSN = "STRONGROOM_DSN"
_MANY_DIGITS = re.compile(r"[0-9][0-9_]{1000}")
_BARE_KEY = re.compile(r"\s*([A-Za-z0-9_.-]{1,100})\s*=")


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
    if holds_secret(document):
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
    dsn, database = os.environ.get(_DSN), document.get("database", {})
    if dsn and isinstance(database, dict):
        document = {**document, "database": {**database, "dsn": dsn}}
    try:
        return TypeAdapter(ConfigFile).validate_python(document, context=folder, by_alias=True, by_name=False).build()
    except ValidationError as error:
        faults = describe(ConfigFile, error, by_alias=True)
    except ConfigError as error:
        faults = [str(error)]
    if dsn and any(fault.startswith("database") for fault in faults):
        source = f"{source} with database.dsn from the environment variable {_DSN}"
    if len(faults) == 1:
        raise ConfigError(f"{source}: {faults[0]}")
    raise ConfigError(f"{source} has {len(faults)} faults:", faults)


def holds_secret(document: dict[str, Any]) -> bool:
    """Return whether a document holds a password in a connection string or a URL, or a secret in a setting of its own."""
    return any(
        (key in _SECRETS and bool(value)) or (isinstance(value, str) and _has_password(value))
        for key, value in _settings(document)
    )


def _settings(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield each setting with its name. Not recursive, because a wrong document can be nested more deeply than calls can be."""
    waiting: list[tuple[str, Any]] = [("", document)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += [(key, each) for each in value]
        else:
            yield key, value


def _has_password(text: str) -> bool:
    """Return whether a text is a URL with a password, before the host or as a parameter, or libpq's `password=...`."""
    try:
        parts = urlsplit(text)
        return parts.password is not None or "password=" in unquote(text.rpartition("?")[2] if parts.scheme else text)
    except ValueError:
        return "password=" in text or "@" in text


def _read(path: Path) -> dict[str, Any]:
    try:
        return _parsed(text_of(read_trusted(path)))
    except FileNotFoundError:
        msg = (
            f"{path} is missing; if it is in another folder, name it before the command: strongroom --config FILE COMMAND; for a "
            "new cell, run: strongroom init --dsn postgresql://..."
        )
    except OSError as error:
        msg = f"{path} can't be read: {error.strerror}"
    except NotText as error:
        msg = f"{path} can't be read: {error}"
    raise ConfigError(msg)


def _parsed(text: str) -> dict[str, Any]:
    """Return the document of a text in TOML.

    Raises:
        NotText: It is not TOML, or its values are beyond every setting. The message holds no value.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = f"it is not TOML: {error}"
    except RecursionError:
        reason = "its lists or sections are nested too deeply; no setting is"
    except ValueError:  # the limit of Python for the digits of a whole number
        reason = f"a number{_place(text)} has too many digits; no setting takes it"
    raise NotText(reason)


def _place(text: str) -> str:
    """Return the key and the line of the first number with too many digits."""
    for number, line in enumerate(text.splitlines(), start=1):
        if _MANY_DIGITS.search(line):
            key = _BARE_KEY.match(line)
            return f"{f' of the key {key[1]}' if key else ''} at line {number}"
    return ""
