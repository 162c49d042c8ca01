"""Rows of a deployment: its clusters, the hosts that are up, and its Nexus endpoints."""

from .cluster_rows import ClusterMetadata, ClusterMetadataPage
from .members import ClusterMember, ClusterMembersPage, ServiceRole
from .metadata import ClusterMetadataStore
from .nexus_endpoints import NexusEndpoint, NexusEndpointPage, NexusEndpointStore

__all__ = [
    "ClusterMember",
    "ClusterMembersPage",
    "ClusterMetadata",
    "ClusterMetadataPage",
    "ClusterMetadataStore",
    "NexusEndpoint",
    "NexusEndpointPage",
    "NexusEndpointStore",
    "ServiceRole",
]
