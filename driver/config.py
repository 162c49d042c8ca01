"""Configuration: one frozen value. A service builds it, the command line reads it from TOML."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from strongroom.kms import StrongroomError
from strongroom.storage import Cell

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


DEFAULT_INDEX = "strongroom-visibility"


class ConfigError(StrongroomError):
    """The configuration can't be used."""


@dataclass(frozen=True, slots=True)
class LocalKms:
    """A local KMS provider.

    Attributes:
        keyring: path of its keyring file.
        passphrase: of a keyring that has one; never shown.
    """

    keyring: Path
    passphrase: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ElasticsearchConfig:
    """A search index in Elasticsearch.

    Attributes:
        url: of the cluster.
        index: its alias there.
        api_key: for it; never shown.
        ca_certs: file with the certificates of the authority that signed the cluster's; None for the system's.
        timeout: seconds for one answer.
    """

    url: str
    index: str = DEFAULT_INDEX
    api_key: str | None = field(default=None, repr=False)
    ca_certs: Path | None = None
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class StrongroomConfig:
    """All that `Strongroom.open` needs.

    Attributes:
        cell: the deployment; its id is in the associated data of every sealed value, so it never changes.
        dsn: PostgreSQL connection string.
        kms: providers by the id that KEK URIs name them with.
        connections: the most connections open at once.
        key_ttl: seconds after which unwrapped keys are fetched anew: the promise of revocation.
        elasticsearch: what answers searches; None for PostgreSQL.
    """

    cell: Cell
    dsn: str = field(repr=False)  # may hold a password
    kms: Mapping[str, LocalKms] = field(default_factory=lambda: MappingProxyType({}))
    connections: int = 4
    key_ttl: float = 900.0
    elasticsearch: ElasticsearchConfig | None = None


def load_config(path: Path) -> StrongroomConfig:
    """Read a configuration file.

    Raises:
        ConfigError: missing, not TOML, or without a needed key; says which.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"{path} is missing; make one with: strongroom init --dsn postgresql://..."
        raise ConfigError(msg) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{path} can't be read: {error}"
        raise ConfigError(msg) from None
    try:
        cell = Cell(UUID(_get(document, "cell", "id", str)), _get(document, "cell", "shards", int))
        database = document.get("database", {})
        kms = {provider: _local_kms(provider, section, path) for provider, section in document["kms"].items()}
        if not kms:
            msg = "no KMS provider is configured; add a section such as [kms.local]"
            raise ValueError(msg)  # noqa: TRY301 - the caller reports all faults of a file alike
        return StrongroomConfig(
            cell=replace(cell, distributed=_flag(database, "database", "distributed")),
            dsn=os.environ.get("STRONGROOM_DSN") or _get(document, "database", "dsn", str),
            kms=MappingProxyType(kms),
            connections=int(database.get("connections", 4)),
            key_ttl=float(document.get("keys", {}).get("ttl_seconds", 900.0)),
            elasticsearch=_elasticsearch(document.get("elasticsearch"), path),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"{path}: a setting is missing or of another type: {error}"
        raise ConfigError(msg) from None


def write_config(path: Path, *, dsn: str, keyring: str = "strongroom-keyring.json", shards: int = 512) -> None:
    """Write a configuration for a new cell, with a fresh cell id and mode 0600, as the dsn may hold a password.

    Raises:
        ConfigError: the file exists, or can't be written.
    """
    content = f"""\
# A Strongroom cell. Keep this file, and a copy of the keyring in a safe place: without the keyring nothing opens.

[cell]
id = "{uuid4()}"  # in the associated data of every sealed value; never change it
shards = {shards}  # fixed for the life of the cell

[database]
dsn = {_toml_string(dsn)}  # the environment variable STRONGROOM_DSN comes first
# distributed = true  # after `strongroom schema apply --distributed` on a Citus cluster

# What answers searches, if not PostgreSQL; then run `strongroom index build`.
# [elasticsearch]
# url = "https://localhost:9200"
# ca_certs = "ca.pem"  # from this file's folder
# api_key_env = "STRONGROOM_ES_API_KEY"

# A KMS provider; KEKs are named PROVIDER:KEY, here local:KEY.
[kms.local]
type = "local"
keyring = {_toml_string(keyring)}  # from this file's folder
# passphrase_env = "STRONGROOM_PASSPHRASE"  # of a keyring that is to have one: set it before the first `init`
"""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        msg = f"can't write {path}: {error.strerror}"
        raise ConfigError(msg) from None


def _elasticsearch(section: Mapping[str, Any] | None, path: Path) -> ElasticsearchConfig | None:
    if section is None:
        return None
    found = {"elasticsearch": section}
    variable = section.get("api_key_env")
    api_key = os.environ.get(variable) if isinstance(variable, str) else None
    if variable is not None and not api_key:
        msg = f"elasticsearch.api_key_env names the variable {variable}, which is not set"
        raise ValueError(msg)
    return ElasticsearchConfig(
        url=_get(found, "elasticsearch", "url", str),
        index=_get(found, "elasticsearch", "index", str) if "index" in section else DEFAULT_INDEX,
        api_key=api_key,
        ca_certs=path.parent / _get(found, "elasticsearch", "ca_certs", str) if "ca_certs" in section else None,
        timeout=float(section.get("timeout_seconds", 10.0)),
    )


def _local_kms(provider: str, section: Mapping[str, Any], path: Path) -> LocalKms:
    if section.get("type") != "local":
        msg = f'kms.{provider}.type must be "local": it is the only provider of this version'
        raise ValueError(msg)
    variable = section.get("passphrase_env")
    passphrase = None
    if variable is not None:
        passphrase = os.environ.get(variable)
        if not passphrase:
            msg = f"kms.{provider}.passphrase_env names the variable {variable}, which is not set"
            raise ValueError(msg)
    return LocalKms(path.parent / _get({"kms": section}, "kms", "keyring", str), passphrase)


def _get(document: Mapping[str, Any], section: str, name: str, wanted: type) -> Any:
    value = document.get(section, {}).get(name)
    if not isinstance(value, wanted) or isinstance(value, bool):
        msg = f"{section}.{name} must be given as {'text' if wanted is str else 'a whole number'}"
        raise ValueError(msg)  # noqa: TRY004 - the caller reports all faults of a file alike
    return value


def _flag(section: Mapping[str, Any], section_name: str, name: str) -> bool:
    value = section.get(name, False)
    if not isinstance(value, bool):
        msg = f"{section_name}.{name} must be true or false"
        raise ValueError(msg)  # noqa: TRY004 - the caller reports all faults of a file alike
    return value


def _toml_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    if any(ord(character) < 32 for character in escaped):  # noqa: PLR2004 - TOML's control characters
        msg = "a setting holds a control character"
        raise ConfigError(msg)
    return f'"{escaped}"'
