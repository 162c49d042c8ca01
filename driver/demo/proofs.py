"""The steps of the demonstration that try to break a promise: read back, leak, tamper, rotate, shred."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from strongroom.driver.importing.importer import history_nodes, imported_branch
from strongroom.kms import IntegrityError, KeyDestroyed, rotate_data_key, verify_certificate
from strongroom.storage import EVERY_NAMESPACE

from .embedded_postgres import embedded_postgres
from .leak_scan import scan
from .plaintext_copy import flush, write_copy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from strongroom.driver.importing.import_file import Execution
    from strongroom.storage import Database, HistoryBranch, HistoryNode, Row

    from .stage import Stage, Tenant

    Step: TypeAlias = Callable[[Stage], Awaitable[bool]]

_CARD = re.compile(rb'"pan":"(\d+)"')
_PLANTED_OF_A_KIND = 25


async def read_back(stage: Stage) -> bool:
    """Read every history, and compare it with the imported one."""
    total = sum(len(tenant.executions) for tenant in stage.tenants)
    same = done = 0
    with stage.terminal.progress("Opening and comparing histories", total) as advance:
        for tenant in stage.tenants:
            for execution in tenant.executions:
                same += await _read(stage, tenant, execution) == history_nodes(execution)
                done += 1
                advance(done)
    stage.terminal.line(f"{same} of {total} histories came back byte for byte.")
    return same == total > 0


async def leak_scan(stage: Stage) -> bool:
    """Search for planted strings in every file of the server, and then in a server with the rows in clear."""
    planted = planted_strings([execution for tenant in stage.tenants for execution in tenant.executions])
    await flush(stage.superuser_dsn)
    with stage.terminal.busy("scanning ..."):
        sealed = scan(stage.folder / "postgres", planted)
        with embedded_postgres(stage.folder / "plaintext") as dsn:
            await write_copy(dsn, [execution for tenant in stage.tenants for execution in tenant.executions])
            control = scan(stage.folder / "plaintext", planted)
    stage.terminal.table(
        "scanned",
        "files",
        "MiB",
        f"planted strings found, of {len(planted)}",
        rows=[
            ("sealed: data directory, WAL and log", sealed.files, sealed.bytes >> 20, len(sealed.hits)),
            ("control: the same rows unsealed", control.files, control.bytes >> 20, len(control.hits)),
        ],
    )
    for text, places in list(sealed.hits.items())[:5]:
        stage.terminal.line(f"found {text} in {', '.join(sorted(places)[:3])}")
    return not sealed.hits and len(control.hits) == len(planted) > 0


async def tampering(stage: Stage) -> bool:
    """Copy a sealed row to another namespace, and flip a bit of a row. Both must be refused, and the restored row must open."""
    shop, clinic = stage.tenants
    branch, nodes = await _place(stage, shop, shop.executions[0]), history_nodes(shop.executions[0])
    copy = (
        "INSERT INTO history_node SELECT shard_id, $1, tree_id, branch_id, node_id, txn_id, prev_txn_id, data "
        "FROM history_node WHERE tree_id = $2"
    )
    remove = "DELETE FROM history_node WHERE namespace_id = $1 AND tree_id = $2"
    flip = "UPDATE history_node SET data = set_bit(data, 8 * 30 + 3, 1 - get_bit(data, 8 * 30 + 3)) WHERE tree_id = $1"
    database = stage.strongroom.database
    await _run(database, copy, clinic.namespace.namespace_id, branch.tree_id)
    moved = await _refused(stage, clinic.namespace.namespace_id, branch)
    await _run(database, remove, clinic.namespace.namespace_id, branch.tree_id)
    await _run(database, flip, branch.tree_id)
    flipped = await _refused(stage, shop.namespace.namespace_id, branch)
    await _run(database, flip, branch.tree_id)
    honest = await _read(stage, shop, shop.executions[0]) == nodes
    stage.terminal.table(
        "row",
        "on reading",
        rows=[
            ("copied to the other namespace's key", moved),
            ("with one bit flipped", flipped),
            ("put back as it was", "opens" if honest else "DOES NOT OPEN"),
        ],
    )
    return moved == flipped == IntegrityError.__name__ and honest


async def rotation_and_shredding(stage: Stage) -> bool:
    """Rotate one namespace's data key, then shred the other namespace."""
    shop, clinic = stage.tenants
    strongroom, first = stage.strongroom, shop.executions[0]
    before = await _key_versions(stage, shop)
    successor = await rotate_data_key(strongroom.keyring, shop.namespace.namespace_id)
    old_rows = await _read(stage, shop, first) == history_nodes(first)
    branch = await strongroom.history.fork_history_branch(
        shop.namespace.namespace_id, await _place(stage, shop, first), fork_node_id=2
    )
    node = history_nodes(first)[1]
    await strongroom.history.append_history_nodes(shop.namespace.namespace_id, branch, [node])
    page = await strongroom.history.read_history_branch(shop.namespace.namespace_id, branch)
    new_row = list(page.nodes) == history_nodes(first)[:2]
    after = await _key_versions(stage, shop)
    branch_of_clinic = await _place(stage, clinic, clinic.executions[0])
    backup = await _backup(stage, branch_of_clinic)
    certificate = await strongroom.shredding().shred(clinic.namespace.namespace_id)
    shredded = verify_certificate(certificate or b"")
    await _restore(stage, backup)
    gone = await _refused(stage, clinic.namespace.namespace_id, branch_of_clinic)
    neighbour = await _read(stage, shop, first) == history_nodes(first)
    deleted = ", ".join(f"{count} {name}" for name, count in shredded.rows_deleted.items())
    stage.terminal.table(
        "event",
        "result",
        rows=[
            (f"data key rotated to version {successor.version}", f"old rows {'open' if old_rows else 'DO NOT OPEN'}"),
            ("rows by key version before, after", f"{before}, {after}"),
            ("a new row on a forked branch", "reads back" if new_row else "DOES NOT READ BACK"),
            (f"namespace {clinic.namespace.name} shredded", f"{len(shredded.keys)} keys; rows: {deleted}"),
            ("reading a row of it, restored from a backup", gone),
            (f"reading {shop.namespace.name}", "opens" if neighbour else "DOES NOT OPEN"),
        ],
    )
    rotated = after == {**before, successor.version: 1}
    return old_rows and new_row and rotated and gone == KeyDestroyed.__name__ and neighbour


def planted_strings(executions: list[Execution]) -> list[str]:
    """Return tenants' strings that must not be found in clear: customer ids, card numbers, workflow ids, memo values."""
    customers = {str(execution.record.search_attributes.get("CustomerId", "")) for execution in executions} - {""}
    workflows = {execution.record.workflow_id for execution in executions}
    memos = {
        text for execution in executions for text in re.findall(r'@?"([^"]+@[^"]+)"', execution.record.memo.decode())
    }
    cards = {
        card.decode() for execution in executions for event in execution.events for card in _CARD.findall(event.data)
    }
    return [text for kind in (customers, workflows, memos, cards) for text in sorted(kind)[:_PLANTED_OF_A_KIND]]


async def _place(stage: Stage, tenant: Tenant, execution: Execution) -> HistoryBranch:
    shard_id = await stage.strongroom.shards.shard_of(tenant.namespace.namespace_id, execution.record.workflow_id)
    return imported_branch(execution.record.run_id, shard_id)


async def _read(stage: Stage, tenant: Tenant, execution: Execution) -> list[HistoryNode]:
    branch = await _place(stage, tenant, execution)
    page = await stage.strongroom.history.read_history_branch(tenant.namespace.namespace_id, branch, page_size=10_000)
    return list(page.nodes)


async def _refused(stage: Stage, namespace_id: UUID, branch: HistoryBranch) -> str:
    """Return the name of the error of a refused read."""
    try:
        await stage.strongroom.history.read_history_branch(namespace_id, branch)
    except (IntegrityError, KeyDestroyed) as error:
        return type(error).__name__
    return "NOT REFUSED"


async def _run(database: Database, statement: str, *arguments: object) -> None:
    async with database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute(statement, *arguments)


async def _backup(stage: Stage, branch: HistoryBranch) -> Row:
    async with stage.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        row = await connection.fetchrow("SELECT * FROM history_node WHERE tree_id = $1 AND node_id = 1", branch.tree_id)
    assert row is not None  # noqa: S101 - it was read before
    return row


async def _restore(stage: Stage, row: Row) -> None:
    insert = "INSERT INTO history_node VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
    await _run(stage.strongroom.database, insert, *row.values())


async def _key_versions(stage: Stage, tenant: Tenant) -> dict[int, int]:
    """Count history rows by the key version in their headers, which is in clear."""
    async with stage.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        rows = await connection.fetch(
            "SELECT get_byte(data, 7) AS version, count(*) AS nodes FROM history_node "
            "WHERE namespace_id = $1 GROUP BY 1",
            tenant.namespace.namespace_id,
        )
    return {row["version"]: row["nodes"] for row in rows}
