"""Keys: rows of the registry, key derivation, data keys, leases, and the unwrapped keys of a namespace."""

from .identity_keys import IdentityKeys
from .namespace_keys import NamespaceKeys
from .pin import CellPin, check_commitment, check_pin, pin_of
from .registry import DataKeyRecord, DataKeyStore, KekUsage, KeyClass, KeyContext, KeyState
from .signing import SigningKey, is_signed

__all__ = [
    "CellPin",
    "DataKeyRecord",
    "DataKeyStore",
    "IdentityKeys",
    "KekUsage",
    "KeyClass",
    "KeyContext",
    "KeyState",
    "NamespaceKeys",
    "SigningKey",
    "check_commitment",
    "check_pin",
    "is_signed",
    "pin_of",
]
