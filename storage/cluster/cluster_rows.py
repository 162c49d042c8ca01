"""The rows of clusters. The row of a deleted cluster stays, so that its numbers go on when the cluster is created again."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms.sealing.record_kinds import CLUSTER_METADATA
from strongroom.storage.data_blob import DataBlob

if TYPE_CHECKING:
    from strongroom.kms import NamespaceKeys
    from strongroom.storage.engine.connection import Row

DELETED = 0
"""The version of a deleted cluster."""
_VERSION = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class ClusterMetadata:
    """The stored row of a cluster.

    Attributes:
        cluster_name: The operator's name for the cluster, which is stored in clear.
        version: The version of the cluster; 1 or more.
        data: The service's blob, which is sealed under the cell's keys.
    """

    cluster_name: str
    version: int
    data: DataBlob


@dataclass(frozen=True, slots=True)
class ClusterMetadataPage:
    """A page of the list of clusters.

    Attributes:
        clusters: The clusters in the order of their names.
        next_page_token: The token of the next page; None at the end.
    """

    clusters: tuple[ClusterMetadata, ...]
    next_page_token: bytes | None


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """A row that was opened.

    Attributes:
        cluster_name: The name of the cluster.
        number: 1, plus the number of changes of the row. It only rises.
        stored_version: The version of the cluster; `DELETED` for a deleted one.
        data: The service's blob; None for a deleted cluster.
        sealed: The sealed value.
    """

    cluster_name: str
    number: int
    stored_version: int
    data: DataBlob | None
    sealed: bytes

    @property
    def metadata(self) -> ClusterMetadata | None:
        """The cluster; None if it was deleted."""
        return None if self.data is None else ClusterMetadata(self.cluster_name, self.stored_version, self.data)


def packed_cluster(version: int, data: DataBlob | None) -> bytes:
    """Return the plaintext of a row (kms/FORMAT.md section 9): version and blob; `DELETED` and None for a deleted cluster."""
    return _VERSION.pack(version) + (b"" if data is None else data.pack())


def open_cluster(keys: NamespaceKeys, row: Row) -> ClusterRow:
    """Open a row.

    Raises:
        IntegrityError: It was changed outside of the stores.
    """
    key = (row["cluster_name"], row["version"])
    packed = keys.open(CLUSTER_METADATA, key, row["data"])
    version: int = _VERSION.unpack_from(packed)[0]
    data = None if version == DELETED else DataBlob.unpack(packed[_VERSION.size :])
    return ClusterRow(*key, version, data, row["data"])
