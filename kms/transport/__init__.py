"""TLS contexts, and certificate files that are reloaded when they change."""

from .pem_expiry import pem_expiry
from .reloaded import Reloaded
from .tls import TlsFiles, check_address, client_context, is_loopback_host
from .unreachable import failed_connection, system_reason

__all__ = [
    "Reloaded",
    "TlsFiles",
    "check_address",
    "client_context",
    "failed_connection",
    "is_loopback_host",
    "pem_expiry",
    "system_reason",
]
