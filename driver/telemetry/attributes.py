"""The values that each attribute of the telemetry may have; `instruments.py` lists each instrument's attributes.

Attributes have values of closed lists. Any other value (an error of another library, for example) becomes `_OTHER`, so that no
identifier, and no name that a tenant or an operator chose, gets into a metric or a span.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from strongroom.driver.config import AwsKms, AzureKms, GcpKms, LocalKms, MultiKms, Pkcs11Kms, TransitKms
from strongroom.driver.operations import Operation, Store
from strongroom.driver.stores import STORE_OPERATIONS, STORES
from strongroom.kms import StrongroomError
from strongroom.storage import sealed_columns
from strongroom.visibility import Drift, Reconciler, TokenVerifier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.driver.config import KmsConfig

OTHER = "_OTHER"
CANCELLED = "cancelled"

INDEX = "index"
_RUN = (Operation("run", None, "update", "cell"),)
RECONCILER, TOKEN_VERIFIER = Store(INDEX, Reconciler, _RUN), Store(INDEX, TokenVerifier, _RUN)
"""Checks of the search index, which are reported as a store of this name."""
POOLS = ("transactions", "by_key", "registry")
"""The connection pools of a cell."""
BATCHES = frozenset(operation.batch for operation in STORE_OPERATIONS.values() if operation.batch)
"""Database functions that several calls share."""
BACKGROUND = frozenset(
    (
        "indexing",
        "indexer notifications",
        "forgetting deletions",
        "key notifications",
        "outbox notifications",
        "audit signatures",
        "shredding of deleted namespaces",
        "folding of the journal",
        "verification of rows",
        "telemetry",
        "anchors",
        "anchors in the object store",
    )
)
"""The work in the background of a process; see `strongroom.kms.Background`."""
ALTERED = ("registry", "policy", "audit")
"""The parts of a cell that a process may find altered, or older than before."""
_KMS_TYPES: Mapping[type, str] = {
    LocalKms: "local",
    TransitKms: "vault",
    AwsKms: "aws-kms",
    GcpKms: "gcp-kms",
    AzureKms: "azure-keyvault",
    Pkcs11Kms: "pkcs11",
    MultiKms: "multi",
}
_KMS_OPERATIONS = (
    "generate_data_key",
    "wrap",
    "unwrap",
    "rewrap",
    "describe",
    "create_kek",
    "rotate_kek",
    "retire_version",
    "delete_kek",
    "check",
)
_KEY_OPERATIONS = (
    "key.create",
    "key.activate",
    "key.rotate",
    "key.destroy",
    "kek.rotate",
    "kek.rewrap",
    "kek.retire",
    "kek.adopt_keyring",
    "kek.merge_keyring",
    "kek.delete",
    "namespace.request_shredding",
    "namespace.cancel_shredding",
    "namespace.destroy_keys",
    "namespace.shred",
)
DONE, FAILED, DENIED = "done", "failed", "denied"
RECEIVE, TRANSMIT = "receive", "transmit"
_OTHER_KINDS = ("page_token", "temporal_payload")
ORPHAN, TOKENS = "orphan", "record_tokens"
"""Two more kinds of drift: a document without a record, and tokens in PostgreSQL that do not match their record."""


def kms_type(config: KmsConfig) -> str:
    """Return the type of a KMS. The ids of the configuration's sections are not reported, because they may name a customer."""
    return _KMS_TYPES.get(type(config), OTHER)


def error_type(error: BaseException) -> str:
    """Return the class of an error of this project; any other error is `_OTHER` or `cancelled`."""
    return named_error(type(error).__name__)


def named_error(name: str) -> str:
    """Return the value for an error whose class has this name."""
    return CANCELLED if name == "CancelledError" else closed("error.type", name)


@cache
def attribute_values() -> Mapping[str, frozenset[str]]:
    """Return the values that each attribute may have besides `_OTHER`."""
    operations = {operation.method for store in (*STORES, RECONCILER, TOKEN_VERIFIER) for operation in store.operations}
    kinds = {column.kind.name for column in sealed_columns()}
    return {
        "strongroom.store": frozenset((*(store.name for store in STORES), INDEX)),
        "strongroom.operation": frozenset(operations),
        "strongroom.outcome": frozenset((DONE, FAILED, DENIED)),
        "strongroom.record.kind": frozenset((*kinds, *_OTHER_KINDS)),
        "strongroom.kms.type": frozenset(_KMS_TYPES.values()),
        "strongroom.kms.operation": frozenset(_KMS_OPERATIONS),
        "strongroom.key.operation": frozenset(_KEY_OPERATIONS),
        "strongroom.key_cache.result": frozenset(("hit", "aged", "miss")),
        "strongroom.background.work": BACKGROUND,
        "strongroom.altered": frozenset(ALTERED),
        "strongroom.drift": frozenset((*(drift.name.lower() for drift in Drift), ORPHAN, TOKENS)),
        "network.io.direction": frozenset((RECEIVE, TRANSMIT)),
        "db.system.name": frozenset(("postgresql",)),
        "db.operation.name": BATCHES,
        "db.client.connection.pool.name": frozenset(POOLS),
        "db.client.connection.state": frozenset(("used", "idle")),
        "error.type": frozenset((*_names_below(StrongroomError), CANCELLED)),
    }


def closed(key: str, value: str) -> str:
    """Return a value if the attribute's list has it, else `_OTHER`."""
    return value if value in attribute_values()[key] else OTHER


def _names_below(error: type[StrongroomError]) -> set[str]:
    ours = error.__module__.startswith("strongroom.")  # The name of a service's own subclass may be anything.
    names = {error.__name__} if ours else set()
    for subclass in error.__subclasses__():
        names |= _names_below(subclass)
    return names
