"""TLS contexts, and certificate files that are reloaded when they change."""

from .pem_expiry import pem_expiry
from .reloaded import Reloaded
from .tls import TlsFiles, check_address, client_context, is_loopback_host

__all__ = ["Reloaded", "TlsFiles", "check_address", "client_context", "is_loopback_host", "pem_expiry"]
