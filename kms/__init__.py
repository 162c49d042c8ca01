"""Keys and sealing: the sealed format, data keys, KMS providers. Imports nothing else of Strongroom.

`FORMAT.md` beside this file is the byte-exact specification, `DESIGN.md` says why.
"""

from .durable_file import replace_file, sync_folder
from .errors import (
    AccessDenied,
    IntegrityError,
    InvalidCertificate,
    InvalidRequest,
    KeyConflict,
    KeyDestroyed,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KeyringFileError,
    KmsAuthenticationError,
    KmsError,
    KmsTimeout,
    KmsUnavailable,
    NotAuthenticated,
    QuotaExceeded,
    SealingLimitExceeded,
    StrongroomError,
    Throttled,
    Timeout,
    Unavailable,
    UnsupportedFormat,
    UnsupportedOperation,
    WrongRegion,
)
from .key_events import NO_KEY_EVENTS, KeyEvent, KeyEventSink, recording_change
from .keyring.cache_policy import CachePolicy
from .keyring.keyring import Keyring
from .keys.namespace_keys import NamespaceKeys
from .keys.registry import DataKeyRecord, DataKeyStore, KekUsage, KeyClass, KeyContext, KeyState
from .keys.signing import SigningKey, is_signed
from .lifecycle.certificate import ErasureCertificate, sign_certificate, verify_certificate
from .lifecycle.certificate_scope import with_scope
from .lifecycle.kek_deletion import KekDisposal, dispose_of_kek
from .lifecycle.kek_usage import depending_on
from .lifecycle.key_lifecycle import (
    activate_index_key,
    begin_index_rotation,
    create_data_keys,
    destroy_data_key,
    destroy_data_keys,
    destroy_index_key,
    disable_data_keys,
    enable_data_keys,
    index_keys,
    refuse_rotation,
    rotate_data_key,
)
from .lifecycle.rewrap import NotRewrapped, Rewrap, count_to_rewrap, rewrap_data_keys
from .lifecycle.rotation_due import DueRotations, RotationPolicy, rotate_due_keys
from .provider import Capabilities, GeneratedKey, KekInfo, KekRef, KmsProvider, Wrapped
from .providers.local import LocalProvider
from .providers.multi import MultiProvider
from .providers.resilience import ResilientProvider, RetryPolicy
from .region import bound_cell_id, check_region
from .sealing.header import Suite
from .sealing.record_kind import Key, PartType, RecordKind
from .sealing.tokens import TokenKey
from .sealing.xaes import XAES256GCM
from .secret import Secret
from .transport.pem_expiry import pem_expiry
from .transport.reloaded import Reloaded
from .transport.tls import TlsFiles, check_address, client_context, is_loopback_host
from .watch import KeyWatch

__all__ = [
    "NO_KEY_EVENTS",
    "XAES256GCM",
    "AccessDenied",
    "CachePolicy",
    "Capabilities",
    "DataKeyRecord",
    "DataKeyStore",
    "DueRotations",
    "ErasureCertificate",
    "GeneratedKey",
    "IntegrityError",
    "InvalidCertificate",
    "InvalidRequest",
    "KekDisposal",
    "KekInfo",
    "KekRef",
    "KekUsage",
    "Key",
    "KeyClass",
    "KeyConflict",
    "KeyContext",
    "KeyDestroyed",
    "KeyDisabled",
    "KeyEvent",
    "KeyEventSink",
    "KeyNotFound",
    "KeyPendingDeletion",
    "KeyState",
    "KeyWatch",
    "Keyring",
    "KeyringFileError",
    "KmsAuthenticationError",
    "KmsError",
    "KmsProvider",
    "KmsTimeout",
    "KmsUnavailable",
    "LocalProvider",
    "MultiProvider",
    "NamespaceKeys",
    "NotAuthenticated",
    "NotRewrapped",
    "PartType",
    "QuotaExceeded",
    "RecordKind",
    "Reloaded",
    "ResilientProvider",
    "RetryPolicy",
    "Rewrap",
    "RotationPolicy",
    "SealingLimitExceeded",
    "Secret",
    "SigningKey",
    "StrongroomError",
    "Suite",
    "Throttled",
    "Timeout",
    "TlsFiles",
    "TokenKey",
    "Unavailable",
    "UnsupportedFormat",
    "UnsupportedOperation",
    "Wrapped",
    "WrongRegion",
    "activate_index_key",
    "begin_index_rotation",
    "bound_cell_id",
    "check_address",
    "check_region",
    "client_context",
    "count_to_rewrap",
    "create_data_keys",
    "depending_on",
    "destroy_data_key",
    "destroy_data_keys",
    "destroy_index_key",
    "disable_data_keys",
    "dispose_of_kek",
    "enable_data_keys",
    "index_keys",
    "is_loopback_host",
    "is_signed",
    "pem_expiry",
    "recording_change",
    "refuse_rotation",
    "replace_file",
    "rewrap_data_keys",
    "rotate_data_key",
    "rotate_due_keys",
    "sign_certificate",
    "sync_folder",
    "verify_certificate",
    "with_scope",
]
