"""What an attacker does who can write to the database and use one KEK that the cell reaches: register roots of their choice."""

from __future__ import annotations

from strongroom.kms import KeyClass, Suite
from strongroom.kms.keys import derivation
from strongroom.storage.keys.registry_rows import record_of


async def substitute(connection, keyring, namespace_id, kek, *, classes=tuple(KeyClass)):
    """Replace the active roots of a namespace by new ones under a KEK, and return them by class.

    The rows satisfy every check that needs no secret of the cell: the KMS binds them to the namespace, and the commitments match.
    """
    roots = {}
    for record in await raw_keys(connection, namespace_id):
        if record.key_class not in classes:
            continue
        context = keyring.context(record)
        made = await keyring.provider(kek.provider).generate_data_key(kek, context=context.encryption_context())
        commitment = derivation.commitment(made.root, context, Suite(record.suite))
        await connection.execute(
            "UPDATE strongroom.data_keys SET provider = $4, kek_id = $5, kek_version = $6, wrapped = $7, commitment = $8 "
            "WHERE namespace_id = $1 AND class = $2 AND version = $3",
            *(namespace_id, record.key_class.value, record.version),
            *(kek.provider, kek.key_id, made.wrapped.kek_version, made.wrapped.ciphertext, commitment),
        )
        roots[record.key_class] = made.root
    return roots


async def raw_keys(connection, namespace_id):
    """Return a namespace's rows of the registry as the database has them."""
    rows = await connection.fetch(
        "SELECT * FROM strongroom.data_keys WHERE namespace_id = $1 ORDER BY class, version", namespace_id
    )
    return [record_of(row) for row in rows]
