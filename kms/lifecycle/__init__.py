"""The life of keys: creation, rotation, re-wrapping, destruction, deletion of KEKs, and erasure certificates."""

from .certificate import ErasureCertificate, sign_certificate, verify_certificate
from .certificate_scope import with_scope
from .kek_deletion import KekDisposal, dispose_of_kek
from .kek_usage import depending_on
from .key_lifecycle import (
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
from .keyring_merge import KeyringMerge, adopt_keyring, deleted_keks, merge_keyring, missing_keks
from .rewrap import NotRewrapped, Rewrap, count_to_rewrap, rewrap_data_keys
from .rotation_due import DueRotations, RotationPolicy, rotate_due_keys
from .unwrap_check import check_wrapped_keys, errors_of_copies

__all__ = [
    "DueRotations",
    "ErasureCertificate",
    "KekDisposal",
    "KeyringMerge",
    "NotRewrapped",
    "Rewrap",
    "RotationPolicy",
    "activate_index_key",
    "adopt_keyring",
    "begin_index_rotation",
    "check_wrapped_keys",
    "count_to_rewrap",
    "create_data_keys",
    "deleted_keks",
    "depending_on",
    "destroy_data_key",
    "destroy_data_keys",
    "destroy_index_key",
    "disable_data_keys",
    "dispose_of_kek",
    "enable_data_keys",
    "errors_of_copies",
    "index_keys",
    "merge_keyring",
    "missing_keks",
    "refuse_rotation",
    "rewrap_data_keys",
    "rotate_data_key",
    "rotate_due_keys",
    "sign_certificate",
    "verify_certificate",
    "with_scope",
]
