"""A page token that was made up, cut, or taken from another operation is refused, or is a position of the caller's own."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from strongroom.kms import StrongroomError
from strongroom.storage import HistoryNode, HistoryTask, InvalidPersistenceRequest, ServiceRole, TaskKey, UserDataUpdate
from strongroom.visibility import InvalidPageToken
from tests.support.every_table import every_table
from tests.support.fixtures.executions import blob
from tests.support.paged_operations import calls

pytestmark = pytest.mark.integration

REFUSED = (InvalidPersistenceRequest, InvalidPageToken)
BINDING_BYTES = 8
"""The first bytes of a token of the stores. They are no secret: a caller can find positions of their own for them."""
POSITIONS = (
    b"",
    b"\x00" * 8,
    b"\x7f" + b"\xff" * 7,
    b"\x80" + b"\x00" * 7,
    b"\xff" * 8,
    b"\x03\xed\xa0\x80",
    b"\x03a\x00b",
)


async def filled(strongroom):
    """Return a table with two rows for each paged operation."""
    table = await every_table(strongroom)
    await every_table(strongroom)
    cell, namespace_id = table.cell, table.namespace_id
    for store, task_pass in ((cell.tasks, 0), (cell.fair_tasks, 1)):
        first = table.expected[f"queue {task_pass}"][0]
        await store.create_task_queue(replace(first, queue=first.queue._replace(name="more")))
    more = {"more": UserDataUpdate(0, blob(), (), ())}
    await cell.task_queue_user_data.update_task_queue_user_data(namespace_id, more)
    branch = table.workflow().branch(table.expected["run 0"][0])
    await cell.history.append_history_nodes(namespace_id, branch, [HistoryNode(50, 60, 0, blob())])
    letter = HistoryTask(TaskKey(0, 6), blob())
    await cell.history_tasks.put_replication_task_to_dlq(
        namespace_id, letter, shard_id=table.shard_id, source_cluster_name="west"
    )
    for _ in range(2):
        await cell.cluster_metadata.upsert_cluster_membership(
            uuid4(),
            role=ServiceRole.HISTORY,
            rpc_address="10.0.0.1",
            rpc_port=7234,
            session_start=datetime.now(UTC),
            record_expiry=timedelta(hours=1),
        )
        await cell.namespace_replication_queue.enqueue_message_to_dlq(blob())
    await cell.queues.enqueue_message(1, f"{table.name} of the cell", data=blob(), namespace_id=None)
    return table


async def outcome(call, token):
    """Return "refused" for the error of a bad token, "page" for a page, or what is wrong."""
    try:
        await call(page_size=1, page_token=token)
    except REFUSED as error:
        return f"quotes the token: {error}" if "top secret" in str(error) else "refused"
    except StrongroomError as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 - what is wrong is collected
        return f"{type(error).__name__}: {error!a}"
    return "page"


async def faults(name, call, token, wanted):
    """Return the outcome of a call, unless it is one that is wanted."""
    found = await outcome(call, token)
    return [] if found in wanted else [f"{name}: {token!a}"[:100] + f": {found}"]


def bad_tokens(token):
    """Yield tokens that are not of this operation: cut, longer, huge, of another alphabet, and no bytes at all."""
    yield from (token[:1], token[: len(token) // 2], token[:-1], token + b"A", token * 2, b"=" * 8, b"\xff" * 40)
    yield from (
        b"top secret",
        base64.urlsafe_b64encode(b"top secret, and more"),
        b"A" * 2**24,
        base64.b64encode(bytes(2**20)),
    )
    yield from ("top secret", "top secret\ud800", 7, ["top secret"], {"top": "secret"})


async def test_a_token_that_is_not_of_this_operation_is_refused(strongroom):
    """Tokens of all other operations, cut and huge ones, and values that are no tokens. No message quotes one."""
    made = calls(await filled(strongroom))
    tokens = {name: (await call(page_size=1)).next_page_token for name, call in made.items()}
    assert [name for name, token in tokens.items() if not token] == []
    wrong = []
    for name, call in made.items():
        others = [token for other, token in tokens.items() if other != name]
        for token in (*others, *bad_tokens(tokens[name])):
            wrong += await faults(name, call, token, ("refused",))
    assert not wrong, "\n".join(wrong)


def forms(decoded):
    """Yield a token as it is sent, as text, and with the position in clear, as the list of members has it."""
    token = base64.urlsafe_b64encode(decoded)
    yield from (token, token.decode(), bytearray(token), decoded[BINDING_BYTES:])


async def test_a_position_of_the_callers_own_gives_a_page_or_is_refused(strongroom):
    """The ends of 64 bits, halves of characters and ids that were never made, behind the binding of a real token."""
    made = calls(await filled(strongroom))
    wrong = []
    for name, call in made.items():
        real = (await call(page_size=1)).next_page_token
        try:
            decoded = base64.urlsafe_b64decode(real)
        except ValueError:
            decoded = real
        for position in POSITIONS:
            for times in (1, 2, 3, 4, 5, 10_000):
                for token in forms(decoded[:BINDING_BYTES] + position * times):
                    wrong += await faults(name, call, token, ("refused", "page"))
    assert not wrong, "\n".join(wrong)
