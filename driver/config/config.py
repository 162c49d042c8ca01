"""The configuration of a cell as one frozen value. A service builds it, or reads it from a file with `load_config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from strongroom.kms import CachePolicy, CellPin, KekRef, RotationPolicy, TlsFiles, check_region
from strongroom.storage import Cell, postgres_context

from .errors import ConfigError
from .kms import AwsKms, GcpKms, MultiKms
from .namespaces import NamespacesConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .anchor import AnchorConfig
    from .codec_server import CodecServerConfig
    from .elasticsearch import ElasticsearchConfig
    from .kms import KmsConfig
    from .serve import ServeConfig

MOST_CONNECTIONS = 1000
VERIFY_WITHIN_HOURS = 24.0


@dataclass(frozen=True, slots=True)
class StrongroomConfig:
    """The settings that `Strongroom.open` needs.

    Attributes:
        cell: The deployment. Its id is in the associated data of every sealed value, so it never changes.
        dsn: The PostgreSQL connection string.
        database_tls: The certificates for connections to PostgreSQL.
        insecure: Whether PostgreSQL is reached without TLS, for Unix sockets and loopback addresses.
        kms: The providers, by their ids in KEK URIs.
        connections: The maximum number of open connections of a pool, 1 to 1000.
        cell_kek: The URI of the KEK of the cell's own keys; None for the KEK that `init` makes in the first provider.
        cell_commitment: The commitment of the cell's identity key; None accepts the key that the registry has.
        cache: How long unwrapped keys are used. It must be the same in all processes of a cell.
        rotation: The ages and row counts at which data keys are due for rotation.
        anchor: The object store in which the newest state is anchored; None for none.
        audit_folder: The folder of the audit log; None for no audit log. Sessions need an audit log.
        access_enforced: Whether the command line requires a principal even if the database has no access policy.
        elasticsearch: The search index; None if PostgreSQL answers searches.
        codec_server: The codec server; None for none.
        serve: The server for a Temporal server; None for the defaults.
        namespaces: Defaults for new namespaces, and the grace period of deleted ones.
        verify_within: The time in which a service verifies the rows of all shards once.
        kms_regions: Other names that KMSs have for the cell's region.

    Raises:
        ConfigError: `connections` is out of range, or the cell is bound to a region and a provider is not in it.
    """

    cell: Cell
    dsn: str = field(repr=False)  # may hold a password
    database_tls: TlsFiles = field(default_factory=TlsFiles)
    insecure: bool = False
    kms: Mapping[str, KmsConfig] = field(default_factory=lambda: MappingProxyType({}))
    connections: int = 4
    cell_kek: str | None = None
    cell_commitment: bytes | None = None
    cache: CachePolicy = field(default_factory=CachePolicy)
    rotation: RotationPolicy = field(default_factory=RotationPolicy)
    anchor: AnchorConfig | None = None
    audit_folder: Path | None = None
    access_enforced: bool = False
    elasticsearch: ElasticsearchConfig | None = None
    codec_server: CodecServerConfig | None = None
    serve: ServeConfig | None = None
    namespaces: NamespacesConfig = field(default_factory=NamespacesConfig)
    verify_within: timedelta = timedelta(hours=VERIFY_WITHIN_HOURS)
    kms_regions: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if type(self.connections) is not int or not 1 <= self.connections <= MOST_CONNECTIONS:
            msg = f"connections must be a whole number from 1 to {MOST_CONNECTIONS}"
            raise ConfigError(msg)
        if self.cell.region is not None:
            for provider_id, section in self.kms.items():
                _check_provider_region(provider_id, section, self.kek_regions)
            if self.anchor is not None and self.anchor.region not in self.kek_regions:
                names = ", ".join(sorted(self.kek_regions))
                msg = f"[anchor] is in {self.anchor.region}, and this cell uses only {names}; name a bucket there"
                raise ConfigError(msg)

    @property
    def cell_pin(self) -> CellPin | None:
        """The keys that are accepted as the cell's own; None if the configuration does not name them."""
        if self.cell_commitment is None or self.cell_kek is None:
            return None
        return CellPin(KekRef.parse(self.cell_kek), self.cell_commitment)

    @property
    def kek_regions(self) -> frozenset[str]:
        """The names that KMSs have for the cell's region; empty in a cell without a region."""
        return frozenset() if self.cell.region is None else self.kms_regions | {check_region(self.cell.region)}

    def database_transport(self) -> dict[str, Any]:
        """Return the arguments of `Database` for TLS.

        Raises:
            InvalidRequest: A file of `database_tls` can't be used.
        """
        files = self.database_tls
        bare = self.insecure and files == TlsFiles()
        tls = None if bare else postgres_context(ca_certs=files.ca_certs, certificate=files.certificate, key=files.key)
        return {"tls": tls, "insecure": self.insecure}


def _check_provider_region(provider_id: str, section: KmsConfig, allowed: frozenset[str]) -> None:
    if isinstance(section, MultiKms):
        return  # its parts are sections of their own
    names = ", ".join(sorted(allowed))
    if section.region is None:
        msg = f"[kms.{provider_id}] names no region, and this cell uses only KMSs in {names}; add region to the section"
        raise ConfigError(msg)
    if section.region not in allowed:
        setting = "key_ring" if isinstance(section, GcpKms) else "region"
        msg = (
            f"[kms.{provider_id}] is in {section.region} according to its {setting}, and this cell uses only KMSs in {names}. "
            f"Remove the section; or, if {section.region} is this KMS's name for the same region, add it to cell.kms_regions"
        )
        raise ConfigError(msg)
    if isinstance(section, AwsKms) and section.multi_region:
        msg = f"[kms.{provider_id}] makes keys for several regions, and this cell is bound to one; remove multi_region"
        raise ConfigError(msg)
