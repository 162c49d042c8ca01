"""Configuration: one frozen value. A service builds it, the command line reads it from TOML."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from strongroom.kms import (
    CachePolicy,
    InvalidRequest,
    RotationPolicy,
    StrongroomError,
    TlsFiles,
    check_address,
    check_region,
)
from strongroom.storage import Cell, check_dsn, is_local, postgres_context

from .codec import parse_codec_server
from .kms import parse_kms
from .regions import check_kms_regions
from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .codec import CodecServerConfig
    from .kms import KmsConfig


DEFAULT_INDEX = "strongroom-visibility"
ADD_AUDIT = 'add [audit] with folder = "audit" to the configuration'
"""What to do where there must be an audit log."""
_INSECURE = "insecure = true  # no TLS: the database is on this machine, on a Unix socket or a loopback address\n"


class ConfigError(StrongroomError):
    """The configuration can't be used."""


@dataclass(frozen=True, slots=True)
class ElasticsearchConfig:
    """A search index in Elasticsearch.

    Attributes:
        url: of the cluster, https; http to this machine with `insecure`.
        index: its alias there.
        api_key: for it; never shown.
        tls: certificates to trust, and this client's own.
        insecure: whether the URL may be http.
        timeout: seconds for one answer.
    """

    url: str
    index: str = DEFAULT_INDEX
    api_key: str | None = field(default=None, repr=False)
    tls: TlsFiles = field(default_factory=TlsFiles)
    insecure: bool = False
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class StrongroomConfig:
    """All that `Strongroom.open` needs.

    Attributes:
        cell: the deployment; its id is in the associated data of every sealed value, so it never changes.
        dsn: PostgreSQL connection string.
        database_tls: certificates to trust for PostgreSQL, and this client's own.
        insecure: whether PostgreSQL is reached without TLS, for Unix sockets and loopback addresses.
        kms: providers by the id that KEK URIs name them with.
        connections: the most connections open at once.
        cell_kek: URI of the KEK of the cell's own keys; None for one that `init` makes in the first provider.
        cache: how long unwrapped keys are used: the promise of revocation. The same in all processes of a cell.
        rotation: when data keys are due to be rotated.
        audit_folder: of the audit log; None for none, and then there are no sessions.
        access_enforced: whether the command line asks for a principal even where the database has no access policy.
        elasticsearch: what answers searches; None for PostgreSQL.
        codec_server: what `strongroom codec-server` serves; None for nothing.
        kms_regions: what else KMSs call the cell's region, each in its own words.

    Raises:
        InvalidRequest: the cell is bound to a region, and a provider is elsewhere or does not say where.
    """

    cell: Cell
    dsn: str = field(repr=False)  # may hold a password
    database_tls: TlsFiles = field(default_factory=TlsFiles)
    insecure: bool = False
    kms: Mapping[str, KmsConfig] = field(default_factory=lambda: MappingProxyType({}))
    connections: int = 4
    cell_kek: str | None = None
    cache: CachePolicy = field(default_factory=CachePolicy)
    rotation: RotationPolicy = field(default_factory=RotationPolicy)
    audit_folder: Path | None = None
    access_enforced: bool = False
    elasticsearch: ElasticsearchConfig | None = None
    codec_server: CodecServerConfig | None = None
    kms_regions: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.cell.region is not None:
            check_kms_regions(self.kms, self.kek_regions)

    @property
    def kek_regions(self) -> frozenset[str]:
        """What KMSs call the cell's region; empty in a cell of no region."""
        return frozenset() if self.cell.region is None else self.kms_regions | {check_region(self.cell.region)}

    def database_transport(self) -> dict[str, Any]:
        """Return the arguments of `Database` that say how PostgreSQL is connected to.

        Raises:
            InvalidRequest: a file of `database_tls` can't be used.
        """
        files = self.database_tls
        bare = self.insecure and files == TlsFiles()
        tls = None if bare else postgres_context(ca_certs=files.ca_certs, certificate=files.certificate, key=files.key)
        return {"tls": tls, "insecure": self.insecure}


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
        kms = {provider: parse_kms(provider, section, path.parent) for provider, section in document["kms"].items()}
        if not kms:
            msg = "no KMS provider is configured; add a section such as [kms.local]"
            raise ValueError(msg)  # noqa: TRY301 - the caller reports all faults of a file alike
        cache, rotation = _keys(document.get("keys", {}))
        dsn = os.environ.get("STRONGROOM_DSN") or _get(document, "database", "dsn", str)
        insecure = _flag(database, "database", "insecure")
        check_dsn(dsn, insecure=insecure)
        return StrongroomConfig(
            cell=replace(
                cell,
                distributed=_flag(database, "database", "distributed"),
                region=_get(document, "cell", "region", str) if "region" in document["cell"] else None,
            ),
            dsn=dsn,
            database_tls=_database_tls(database.get("tls"), path, insecure=insecure),
            insecure=insecure,
            kms=MappingProxyType(kms),
            connections=int(database.get("connections", 4)),
            cell_kek=_get(document, "cell", "kek", str) if "kek" in document["cell"] else None,
            cache=cache,
            rotation=rotation,
            audit_folder=path.parent / _get(document, "audit", "folder", str) if "audit" in document else None,
            access_enforced=_flag(document.get("access", {}), "access", "enforce"),
            elasticsearch=_elasticsearch(document.get("elasticsearch"), path),
            codec_server=parse_codec_server(document["codec_server"], path.parent)
            if "codec_server" in document
            else None,
            kms_regions=_kms_regions(document["cell"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, InvalidRequest) as error:
        msg = f"{path}: a setting is missing or of another type: {error}"
        raise ConfigError(msg) from None


def write_config(
    path: Path, *, dsn: str, keyring: str = "strongroom-keyring.json", shards: int = 512, region: str | None = None
) -> None:
    """Write a configuration for a new cell, with a fresh cell id and mode 0600, as the dsn may hold a password.

    Raises:
        ConfigError: the file exists, or can't be written.
        InvalidRequest: the region is no name of one.
    """
    bound = "" if region is None else f'region = "{check_region(region)}"'
    cell_region = f"{bound}  # bound into every sealed value too; never change it\n" if bound else ""
    local_region = f"{bound}  # where the keyring is\n" if bound else ""
    content = f"""\
# A Strongroom cell. Keep this file, and a copy of the keyring in a safe place: without the keyring nothing opens.

[cell]
id = "{uuid4()}"  # in the associated data of every sealed value; never change it
shards = {shards}  # fixed for the life of the cell
{cell_region}
[database]
dsn = {_toml_string(dsn)}  # the environment variable STRONGROOM_DSN comes first
{_INSECURE if is_local(dsn) else ""}\
# distributed = true  # after `strongroom schema apply --distributed` on a Citus cluster

# Every other host is reached over TLS 1.3, its certificate and name verified. Changed files count for the next connection.
# [database.tls]
# ca_certs = "ca.pem"  # from this file's folder; without it the system's authorities
# certificate = "client.pem"  # where the server asks for one; with its key, or that in key

# How long unwrapped keys are used without asking again (a revoked KEK stops all use within these times), and when data keys are
# rotated by `strongroom keys rotate --due`. The same in all processes.
# [keys]
# soft_ttl_seconds = 300
# encrypt_ttl_seconds = 900
# decrypt_ttl_seconds = 3600
# rotate_after_days = 90

# Who did what: every call of a session, every command, every use of a key. See driver/audit/audit_log.md.
[audit]
folder = "audit"

# After `strongroom access init NAME`, no command runs without a principal; this holds even if somebody takes the policy away.
# [access]
# enforce = true

# What answers searches, if not PostgreSQL; then run `strongroom index build`.
# [elasticsearch]
# url = "https://localhost:9200"
# ca_certs = "ca.pem"  # from this file's folder; certificate and key where the cluster asks for one
# api_key_env = "STRONGROOM_ES_API_KEY"

# Who may have payloads opened that workers sealed: see driver/codec/codec_server.md, and `strongroom codec-server`.
# [codec_server]
# listen = "127.0.0.1:8443"

# A KMS provider; KEKs are named PROVIDER:KEY, here local:KEY. Other types: vault, aws-kms, gcp-kms, azure-keyvault, pkcs11, multi.
[kms.local]
type = "local"
keyring = {_toml_string(keyring)}  # from this file's folder
{local_region}# passphrase_env = "STRONGROOM_PASSPHRASE"  # of a keyring that is to have one: set it before the first `init`
"""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        msg = f"can't write {path}: {error.strerror}"
        raise ConfigError(msg) from None


def _kms_regions(cell: Mapping[str, Any]) -> frozenset[str]:
    names = cell.get("kms_regions", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        msg = "cell.kms_regions must be given as a list of texts"
        raise ValueError(msg)
    if names and "region" not in cell:
        msg = "cell.kms_regions is for a cell that has a region"
        raise ValueError(msg)
    return frozenset(check_region(name) for name in names)


def _elasticsearch(section: Mapping[str, Any] | None, path: Path) -> ElasticsearchConfig | None:
    if section is None:
        return None
    found = {"elasticsearch": section}
    variable = section.get("api_key_env")
    api_key = os.environ.get(variable) if isinstance(variable, str) else None
    if variable is not None and not api_key:
        msg = f"elasticsearch.api_key_env names the variable {variable}, which is not set"
        raise ValueError(msg)
    url, insecure = _get(found, "elasticsearch", "url", str), _flag(section, "elasticsearch", "insecure")
    check_address(url, insecure=insecure)
    named = {name: section[name] for name in ("ca_certs", "certificate", "key") if name in section}
    return ElasticsearchConfig(
        url=url,
        index=_get(found, "elasticsearch", "index", str) if "index" in section else DEFAULT_INDEX,
        api_key=api_key,
        tls=_tls_files(Settings("elasticsearch", named, path.parent)),
        insecure=insecure,
        timeout=float(section.get("timeout_seconds", 10.0)),
    )


def _database_tls(section: Any, path: Path, *, insecure: bool) -> TlsFiles:
    if section is None:
        return TlsFiles()
    if insecure:
        msg = "database.insecure means no TLS; take it out, or the section [database.tls]"
        raise ValueError(msg)
    settings = Settings("database.tls", section, path.parent)
    found = _tls_files(settings)
    settings.end()
    return found


def _tls_files(settings: Settings) -> TlsFiles:
    return TlsFiles(settings.path("ca_certs"), settings.path("certificate"), settings.path("key"))


def _keys(section: Mapping[str, Any]) -> tuple[CachePolicy, RotationPolicy]:
    """Read how long keys are kept, and when they are rotated."""
    seconds = {f"{name}_seconds": name for name in ("soft_ttl", "encrypt_ttl", "decrypt_ttl")}
    unknown = section.keys() - seconds.keys() - {"rotate_after_days", "rotate_after_rows"}
    if unknown:
        msg = f"keys: unknown setting {', '.join(sorted(unknown))}"
        raise ValueError(msg)
    times: dict[str, Any] = {name: float(section[setting]) for setting, name in seconds.items() if setting in section}
    usual = RotationPolicy()
    rows = int(section.get("rotate_after_rows", usual.max_rows))
    rotation = RotationPolicy(
        max_age=timedelta(days=section["rotate_after_days"]) if "rotate_after_days" in section else usual.max_age,
        max_rows=rows,
        max_rows_suite_1=min(rows, usual.max_rows_suite_1),
    )
    return CachePolicy(**times), rotation


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
