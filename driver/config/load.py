"""Read a configuration file."""

from __future__ import annotations

import os
import tomllib
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from .errors import ConfigError
from .faults import describe
from .sections import ConfigFile

if TYPE_CHECKING:
    from pathlib import Path

    from .config import StrongroomConfig


def load_config(path: Path) -> StrongroomConfig:
    """Read a configuration file.

    Args:
        path: The file. Relative paths in it start at its folder.

    Raises:
        ConfigError: The file is missing or is not TOML, or a setting is missing, unknown, of another type or out of range.
            The message names every fault with the path of its key, and holds no value.
    """
    return parse_config(_read(path), folder=path.parent, source=str(path))


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


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{path} is missing; make one with: strongroom init --dsn postgresql://..."
    except OSError as error:
        msg = f"{path} can't be read: {error.strerror}"
    except UnicodeDecodeError:
        msg = f"{path} can't be read: it is not UTF-8; save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} can't be read: it is not TOML: {error}"
    raise ConfigError(msg)
