"""The KEKs that wrapped keys of a shredded namespace, and their deletion. All functions run in the caller's transaction."""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from strongroom.kms import KekDisposal, KekRef, KekUsage, KeyState, depending_on
from strongroom.kms.keys.registry_head import altered
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import ConditionFailed
from strongroom.storage.keys.registry_changes import lock_kek
from strongroom.storage.keys.store import heads_of

from .shred_request import find_request, request_digest

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.kms import Keyring
    from strongroom.storage.engine.connection import Connection, Row
    from strongroom.storage.keys.registry_heads import RegistryChange

    from .shred_request import ShredRequest

_SQL = load_queries("namespaces/shredded_keks")


async def kek_dispositions(
    connection: Connection, keyring: Keyring, namespace_id: UUID, *, keep_kek: bool
) -> list[KekDisposal]:
    """Return what would happen to each KEK of a namespace if the namespace were shredded now.

    The heads of all namespaces are checked, so that no row of another namespace can be made up, hidden or older. A KEK is deleted
    if it wraps no other key that is not destroyed. The cell's own keys count too.

    Args:
        connection: A connection that sees every namespace.
        keyring: The keyring. Its providers know which KEKs consist of several member KEKs.
        namespace_id: The namespace.
        keep_kek: Whether the operator keeps the KEKs.

    Raises:
        RegistryAltered: The registry was changed outside of Strongroom.
    """
    everything = await heads_of(keyring).all_keys(connection)
    own = sorted({(key.provider, key.kek_id) for key in everything.pop(namespace_id, [])})
    used = {
        (key.provider, key.kek_id)
        for keys in everything.values()
        for key in keys
        if key.state is not KeyState.DESTROYED
    }
    # A KEK with several members is deleted together with them, and another namespace may depend on one of the members.
    others = [KekUsage(provider, kek_id, kek_version="", keys=1, namespaces=1) for provider, kek_id in sorted(used)]

    def disposal(kek: KekRef) -> Literal["delete", "shared", "kept"]:
        if keep_kek:
            return "kept"
        return "shared" if depending_on(keyring, others, [kek]) else "delete"

    return [KekDisposal(KekRef(*each), disposal(KekRef(*each))) for each in own]


async def decide_keks(
    change: RegistryChange, keyring: Keyring, namespace_id: UUID, *, keep_kek: bool
) -> list[KekDisposal]:
    """Decide what happens to the KEKs of a namespace, and store the decision. The KEKs are locked, so no new key uses them.

    Raises:
        RegistryAltered: The registry was changed outside of Strongroom.
    """
    for provider, kek_id in sorted({(key.provider, key.kek_id) for key in change.of(namespace_id).records}):
        await lock_kek(change.connection, provider, kek_id)
    decided = await kek_dispositions(change.connection, keyring, namespace_id, keep_kek=keep_kek)
    for each in decided:
        await change.connection.execute(_SQL["add"], namespace_id, each.kek.provider, each.kek.key_id, each.disposal)
    return decided


async def list_shredded_keks(connection: Connection, namespace_id: UUID) -> list[KekDisposal]:
    """Return the KEKs of a namespace whose shredding was confirmed, with the answers of their KMS."""
    return [_disposal(row) for row in await connection.fetch(_SQL["list"], namespace_id)]


async def record_answer(change: RegistryChange, namespace_id: UUID, answer: KekDisposal) -> None:
    """Store the answer of a KMS about a KEK.

    Raises:
        RegistryAltered: The request, or a decision on a KEK, was changed outside of Strongroom.
    """
    request, keks = await checked_request(change, namespace_id)
    kek, answered = answer.kek, (answer.state, answer.deletion_at, answer.request_id, answer.error)
    await change.connection.execute(_SQL["record_answer"], namespace_id, kek.provider, kek.key_id, *answered)
    stored = [replace(answer, disposal=each.disposal) if each.kek == kek else each for each in keks]
    change.of(namespace_id).shredding = request_digest(request, stored)


async def find_checked_request(
    change: RegistryChange, namespace_id: UUID
) -> tuple[ShredRequest | None, list[KekDisposal]]:
    """Lock the request of a namespace. Return it, or None, and the decisions on its KEKs. The head authenticates both.

    Raises:
        RegistryAltered: The request, or a decision on a KEK, was changed outside of Strongroom.
    """
    registry = change.of(namespace_id)
    request = await find_request(change.connection, namespace_id, lock=True)
    keks = await list_shredded_keks(change.connection, namespace_id)
    if not hmac.compare_digest(request_digest(request, keks), registry.shredding):
        raise altered(namespace_id, "its shredding is not the one that was requested")
    return request, keks


async def checked_request(change: RegistryChange, namespace_id: UUID) -> tuple[ShredRequest, list[KekDisposal]]:
    """Return what `find_checked_request` returns, of a namespace that must be scheduled.

    Raises:
        ConditionFailed: The namespace is not scheduled for shredding.
        RegistryAltered: The request, or a decision on a KEK, was changed outside of Strongroom.
    """
    request, keks = await find_checked_request(change, namespace_id)
    if request is None:
        msg = "this namespace is not scheduled for shredding; schedule it first: strongroom namespace shred NAME"
        raise ConditionFailed(msg)
    return request, keks


def _disposal(row: Row) -> KekDisposal:
    kek = KekRef(row["provider"], row["kek_id"])
    return KekDisposal(kek, row["disposal"], row["state"], row["deletion_at"], row["request_id"], row["error"])
