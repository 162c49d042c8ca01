"""Keys and sealing: the sealed format, data keys, KMS providers. Imports nothing else of Strongroom.

`FORMAT.md` beside this file is the byte-exact specification, `DESIGN.md` says why.
"""

from .data_keys import DataKeyRecord, DataKeyStore, KeyClass, KeyContext, KeyState
from .errors import (
    AccessDenied,
    IntegrityError,
    InvalidRequest,
    KeyConflict,
    KeyDestroyed,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KeyringFileError,
    KmsError,
    QuotaExceeded,
    SealingLimitExceeded,
    StrongroomError,
    Throttled,
    Timeout,
    Unauthenticated,
    Unavailable,
    UnsupportedFormat,
    UnsupportedOperation,
)
from .header import Suite
from .keyring import Keyring
from .lifecycle import (
    activate_index_key,
    begin_index_rotation,
    create_data_keys,
    destroy_data_key,
    destroy_data_keys,
    destroy_index_key,
    index_keys,
    refuse_rotation,
    rotate_data_key,
)
from .namespace_keys import NamespaceKeys
from .provider import Capabilities, GeneratedKey, KekInfo, KekRef, KmsProvider, Wrapped
from .providers.local import LocalProvider
from .record_kind import Key, PartType, RecordKind
from .secret import Secret
from .tokens import TokenKey
from .xaes import XAES256GCM

__all__ = [
    "XAES256GCM",
    "AccessDenied",
    "Capabilities",
    "DataKeyRecord",
    "DataKeyStore",
    "GeneratedKey",
    "IntegrityError",
    "InvalidRequest",
    "KekInfo",
    "KekRef",
    "Key",
    "KeyClass",
    "KeyConflict",
    "KeyContext",
    "KeyDestroyed",
    "KeyDisabled",
    "KeyNotFound",
    "KeyPendingDeletion",
    "KeyState",
    "Keyring",
    "KeyringFileError",
    "KmsError",
    "KmsProvider",
    "LocalProvider",
    "NamespaceKeys",
    "PartType",
    "QuotaExceeded",
    "RecordKind",
    "SealingLimitExceeded",
    "Secret",
    "StrongroomError",
    "Suite",
    "Throttled",
    "Timeout",
    "TokenKey",
    "Unauthenticated",
    "Unavailable",
    "UnsupportedFormat",
    "UnsupportedOperation",
    "Wrapped",
    "activate_index_key",
    "begin_index_rotation",
    "create_data_keys",
    "destroy_data_key",
    "destroy_data_keys",
    "destroy_index_key",
    "index_keys",
    "refuse_rotation",
    "rotate_data_key",
]
