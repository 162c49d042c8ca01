"""The sections of a configuration file. Each setting has its type, its range, its default and its description here, once."""

from __future__ import annotations

from datetime import timedelta
from types import MappingProxyType
from typing import Annotated
from uuid import UUID

from pydantic import Discriminator, Field, model_validator

from strongroom.kms import CachePolicy, InvalidRequest, RotationPolicy, TlsFiles
from strongroom.storage import Cell, check_dsn

from .anchor import AnchorConfig
from .codec_server import CodecServerConfig
from .config import MOST_CONNECTIONS, VERIFY_WITHIN_HOURS, StrongroomConfig
from .elasticsearch import ElasticsearchConfig
from .kms import KmsConfig, MultiKms, ProviderId
from .namespaces import NamespacesConfig
from .schema import (
    CaCerts,
    Certificate,
    Count,
    File,
    Flag,
    Key,
    Number,
    Region,
    Text,
    about,
    formed,
    section,
)
from .serve import ServeConfig

MOST_SHARDS = 16384
MOST_NAMESPACES = 1_000_000
_WEEK = 7 * 24 * 3600
_CACHE, _ROTATION = CachePolicy(), RotationPolicy()
Seconds = Annotated[Number, Field(gt=0, le=_WEEK)]


@section
class CellSection:
    """The cell."""

    id: Annotated[UUID, about("Id of the cell. It is bound into every sealed value and never changes.")]
    shards: Annotated[Count, Field(ge=1, le=MOST_SHARDS), about("Number of shards. It never changes.")]
    region: Annotated[Region, about("Region that the cell is bound to. It never changes.")] | None = None
    kms_regions: Annotated[frozenset[Region], about("Other names that KMSs have for the region.")] = frozenset()
    kek: (
        Annotated[
            Text,
            formed(r"[^:]+:.+", "PROVIDER:KEY"),
            about(
                "KEK of the cell's own keys, as PROVIDER:KEY. No other cell may use it. Default: one that init makes and writes here."
            ),
        ]
        | None
    ) = None
    commitment: (
        Annotated[
            Text,
            formed(r"[0-9a-f]{64}", "64 hexadecimal digits in lower case"),
            about(
                "Commitment of the cell's identity key, which init writes. A cell with another identity key is refused."
            ),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _check(self) -> CellSection:
        if self.kms_regions and self.region is None:
            raise ValueError("kms_regions is for a cell that has a region; add region, or take kms_regions out")
        if self.commitment is not None and self.kek is None:
            raise ValueError("commitment needs the KEK of the cell's own keys; add kek, or run: strongroom keys pin")
        return self


@section
class TlsSection:
    """The certificates for connections to PostgreSQL. Every host is reached over TLS 1.3."""

    ca_certs: CaCerts | None = None
    certificate: Certificate | None = None
    key: Key | None = None


@section
class DatabaseSection:
    """The PostgreSQL database."""

    dsn: Annotated[
        Text,
        about(
            "Connection string. The environment variable STRONGROOM_DSN takes precedence. A password that is not in it is read from "
            "PGPASSWORD or ~/.pgpass."
        ),
    ]
    insecure: Annotated[Flag, about("Whether there is no TLS, for Unix sockets and loopback addresses only.")] = False
    distributed: Annotated[Flag, about("Whether the tables are distributed over a Citus cluster.")] = False
    connections: Annotated[
        Count, Field(ge=1, le=MOST_CONNECTIONS), about("Maximum number of open connections of a pool.")
    ] = 4
    tls: TlsSection | None = None

    @model_validator(mode="after")
    def _check(self) -> DatabaseSection:
        try:
            check_dsn(self.dsn, insecure=self.insecure)
        except InvalidRequest as error:
            raise ValueError(str(error)) from None
        if self.insecure and self.tls is not None:
            raise ValueError("database.insecure = true means no TLS; remove it, or remove the section [database.tls]")
        return self

    @property
    def files(self) -> TlsFiles:
        """The certificates of the section `[database.tls]`."""
        return TlsFiles() if self.tls is None else TlsFiles(self.tls.ca_certs, self.tls.certificate, self.tls.key)


@section
class KeysSection:
    """How long unwrapped keys are used, and when data keys are rotated. It must be the same in all processes of a cell."""

    soft_ttl_seconds: Annotated[
        Seconds, about("Age at which keys are unwrapped again in the background.", unit="seconds")
    ] = _CACHE.soft_ttl
    encrypt_ttl_seconds: Annotated[
        Seconds,
        about("Age at which keys no longer seal; a revoked KEK stops all use within this time.", unit="seconds"),
    ] = _CACHE.encrypt_ttl
    decrypt_ttl_seconds: Annotated[
        Seconds, about("Age at which keys no longer open rows, even if the KMS can't be reached.", unit="seconds")
    ] = _CACHE.decrypt_ttl
    max_namespaces: Annotated[
        Count,
        Field(ge=1, le=MOST_NAMESPACES),
        about("Number of namespaces whose keys a process caches. Choose more than the cell has.", unit="namespaces"),
    ] = _CACHE.max_namespaces
    rotate_after_days: Annotated[
        Number, Field(gt=0, le=3650), about("Age at which a data key is due for rotation.", unit="days")
    ] = float(_ROTATION.max_age.days)
    rotate_after_rows: Annotated[
        Count,
        Field(ge=1, le=2**48),
        about("Number of sealed rows at which a data key is due for rotation.", unit="rows"),
    ] = _ROTATION.max_rows

    @model_validator(mode="after")
    def _check(self) -> KeysSection:
        if not self.soft_ttl_seconds <= self.encrypt_ttl_seconds <= self.decrypt_ttl_seconds:
            raise ValueError(
                "the times must be in order: soft_ttl_seconds <= encrypt_ttl_seconds <= decrypt_ttl_seconds"
            )
        return self

    def cache(self) -> CachePolicy:
        """Return the times as the key cache takes them."""
        times = self.soft_ttl_seconds, self.encrypt_ttl_seconds, self.decrypt_ttl_seconds
        return CachePolicy(*times, max_namespaces=self.max_namespaces)

    def rotation(self) -> RotationPolicy:
        """Return the limits as the rotation of keys takes them."""
        rows = self.rotate_after_rows
        age = timedelta(days=self.rotate_after_days)
        return RotationPolicy(max_age=age, max_rows=rows, max_rows_suite_1=min(rows, _ROTATION.max_rows_suite_1))


@section
class AuditSection:
    """The audit log."""

    folder: Annotated[File, about("Folder of the audit log.")]


@section
class AccessSection:
    """Access control."""

    enforce: Annotated[
        Flag, about("Whether every command needs a principal, even if the access policy is taken out of the database.")
    ] = False


@section
class VerificationSection:
    """The comparison of rows with the journal in the background of each service."""

    hours: Annotated[
        Number, Field(gt=0, le=8760), about("Time in which all shards are verified once.", unit="hours")
    ] = VERIFY_WITHIN_HOURS


@section
class ConfigFile:
    """A configuration file."""

    cell: CellSection
    database: DatabaseSection
    kms: Annotated[
        dict[ProviderId, Annotated[KmsConfig, Discriminator("type")]], Field(min_length=1), about("KMS providers.")
    ]
    keys: KeysSection = Field(default_factory=KeysSection)
    audit: AuditSection | None = None
    anchor: AnchorConfig | None = None
    access: AccessSection = Field(default_factory=AccessSection)
    elasticsearch: ElasticsearchConfig | None = None
    codec_server: CodecServerConfig | None = None
    serve: ServeConfig | None = None
    namespaces: NamespacesConfig = Field(default_factory=NamespacesConfig)
    verification: VerificationSection = Field(default_factory=VerificationSection)

    @model_validator(mode="after")
    def _check(self) -> ConfigFile:
        others = [name for name, each in self.kms.items() if not isinstance(each, MultiKms)]
        for name, each in self.kms.items():
            absent = [] if not isinstance(each, MultiKms) else [part for part in each.providers if part not in others]
            if absent:
                raise ValueError(f"kms.{name}.providers names {', '.join(absent)}; known here: {', '.join(others)}")
        provider = None if self.namespaces.kek is None else self.namespaces.kek.split(":")[0]
        if provider is not None and provider not in self.kms:
            raise ValueError(f"namespaces.kek names the provider {provider}; known here: {', '.join(self.kms)}")
        return self

    def build(self) -> StrongroomConfig:
        """Return the configuration of the cell.

        Raises:
            ConfigError: A provider is not in the cell's region.
        """
        cell, database = self.cell, self.database
        return StrongroomConfig(
            cell=Cell(cell.id, cell.shards, database.distributed, cell.region),
            dsn=database.dsn,
            database_tls=database.files,
            insecure=database.insecure,
            kms=MappingProxyType(self.kms),
            connections=database.connections,
            cell_kek=cell.kek,
            cell_commitment=None if cell.commitment is None else bytes.fromhex(cell.commitment),
            cache=self.keys.cache(),
            rotation=self.keys.rotation(),
            anchor=self.anchor,
            audit_folder=None if self.audit is None else self.audit.folder,
            access_enforced=self.access.enforce,
            elasticsearch=self.elasticsearch,
            codec_server=self.codec_server,
            serve=self.serve,
            namespaces=self.namespaces,
            verify_within=timedelta(hours=self.verification.hours),
            kms_regions=cell.kms_regions,
        )
