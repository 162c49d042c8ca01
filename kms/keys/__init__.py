"""Keys: rows of the registry, key derivation, data keys, leases, and the unwrapped keys of a namespace."""

from .namespace_keys import NamespaceKeys
from .registry import DataKeyRecord, DataKeyStore, KekUsage, KeyClass, KeyContext, KeyState
from .signing import SigningKey, is_signed

__all__ = [
    "DataKeyRecord",
    "DataKeyStore",
    "KekUsage",
    "KeyClass",
    "KeyContext",
    "KeyState",
    "NamespaceKeys",
    "SigningKey",
    "is_signed",
]
