"""Shredding without a grace period, and checks for the tests of shredding."""

from __future__ import annotations

from datetime import timedelta

from strongroom.kms import KeyDisabled, KeyNotFound, verify_certificate
from strongroom.visibility import attribute_types

NOW, WEEK = timedelta(0), timedelta(days=7)
RUNS = 6
"""Number of runs in a namespace of `make_filled_namespace`."""


async def shred(cell, namespace_id):
    """Shred a namespace at once, and keep its KEKs; return the verified erasure certificate."""
    return verify_certificate(await cell.shredding().shred(namespace_id))


async def request_and_finish(strongroom, namespace_id, **options):
    """Confirm a shredding twice, without a grace period; return the certificate's bytes."""
    shredding = strongroom.shredding()
    request = await shredding.request(namespace_id, grace=NOW, **options)
    return await shredding.finish(namespace_id, request.code)


async def count_runs(strongroom, namespace):
    """Return the number of runs in a namespace, which a count and a list must agree on."""
    found = await strongroom.visibility.count_workflow_executions(
        namespace.namespace_id, "WorkflowId STARTS_WITH ''", attribute_types(namespace)
    )
    page = await strongroom.visibility.list_workflow_executions(
        namespace.namespace_id, "", attribute_types(namespace), page_size=100
    )
    assert found.count == len(page.executions)
    return found.count


async def refused(strongroom, namespace):
    """Return whether a process can't read a namespace."""
    try:
        await count_runs(strongroom, namespace)
    except (KeyDisabled, KeyNotFound):
        return True
    return False


async def public_key(strongroom):
    """Return the public key that verifies the cell's certificates."""
    return (await strongroom.keyring.open(strongroom.keyring.cell_id)).certificate_key().public_key
