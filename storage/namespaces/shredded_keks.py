"""The KEKs that wrapped keys of a shredded namespace, and their deletion. All functions run in the caller's transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom.kms import KekDisposal, KekRef, KekUsage, depending_on
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.keys.store import lock_kek

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.kms import Keyring
    from strongroom.storage.engine.connection import Connection, Row

_SQL = load_queries("namespaces/shredded_keks")


async def kek_dispositions(
    connection: Connection, keyring: Keyring, namespace_id: UUID, *, keep_kek: bool
) -> list[KekDisposal]:
    """Return what would happen to each KEK of a namespace if the namespace were shredded now.

    Args:
        connection: A connection that sees every namespace.
        keyring: The keyring. Its providers know which KEKs consist of several member KEKs.
        namespace_id: The namespace.
        keep_kek: Whether the operator keeps the KEKs.
    """
    rows = await connection.fetch(_SQL["dispositions"], namespace_id, keep_kek)
    dispositions = [KekDisposal(KekRef(row["provider"], row["kek_id"]), row["disposal"]) for row in rows]
    # A KEK with several members is deleted together with them, and another namespace may depend on one of the members.
    others = [
        KekUsage(row["provider"], row["kek_id"], kek_version="", keys=1, namespaces=1)
        for row in await connection.fetch(_SQL["of_others"], namespace_id)
    ]
    return [
        replace(each, disposal="shared")
        if each.disposal == "delete" and depending_on(keyring, others, [each.kek])
        else each
        for each in dispositions
    ]


async def decide_keks(connection: Connection, keyring: Keyring, namespace_id: UUID, *, keep_kek: bool) -> None:
    """Decide what happens to the KEKs of a namespace, and store the decision. The KEKs are locked, so no new key uses them."""
    for row in await connection.fetch(_SQL["of_namespace"], namespace_id):
        await lock_kek(connection, row["provider"], row["kek_id"])
    for each in await kek_dispositions(connection, keyring, namespace_id, keep_kek=keep_kek):
        await connection.execute(_SQL["add"], namespace_id, each.kek.provider, each.kek.key_id, each.disposal)


async def list_shredded_keks(connection: Connection, namespace_id: UUID) -> list[KekDisposal]:
    """Return the KEKs of a namespace whose shredding was confirmed, with the answers of their KMS."""
    return [_disposal(row) for row in await connection.fetch(_SQL["list"], namespace_id)]


async def record_answer(connection: Connection, namespace_id: UUID, answer: KekDisposal) -> None:
    """Store the answer of a KMS about a KEK."""
    await connection.execute(
        _SQL["record_answer"],
        namespace_id,
        answer.kek.provider,
        answer.kek.key_id,
        answer.state,
        answer.deletion_at,
        answer.request_id,
        answer.error,
    )


def _disposal(row: Row) -> KekDisposal:
    kek = KekRef(row["provider"], row["kek_id"])
    return KekDisposal(kek, row["disposal"], row["state"], row["deletion_at"], row["request_id"], row["error"])
