"""Attacks on message queues."""

from __future__ import annotations

from strongroom.kms import IntegrityError
from strongroom.storage import DataLoss
from tests.support.fixtures.executions import blob

from .attacks import AttackList, Found, Refused

ATTACKS = AttackList("queue")
attack = ATTACKS.attack
_TYPE = "queue_type = $1"
_MESSAGE = "queue_type = $1 AND message_id = $2"


async def _enqueue(scene, messages):
    for _ in range(messages):
        await scene.queue.enqueue_message(blob())


async def _enqueue_v2(scene, messages):
    for _ in range(messages):
        await scene.cell.queues.enqueue_message(scene.queue_type, "dead", data=blob(), namespace_id=scene.namespace_id)


@attack("delete a message in the middle of the replication queue", Found("queue_messages"))
async def _(scene):
    await _enqueue(scene, 3)
    yield
    await scene.admin.delete("queue_messages", _MESSAGE, scene.queue_type, 1)
    yield
    await scene.queue.delete_messages_before(3)


@attack("put a deleted message of the replication queue back", Found("queue_messages"))
async def _(scene):
    await _enqueue(scene, 3)
    await scene.keep("message", "queue_messages", _MESSAGE, scene.queue_type, 0)
    await scene.queue.delete_messages_before(2)
    yield
    await scene.admin.put_back("queue_messages", scene.kept["message"])
    yield
    await scene.queue.delete_messages_before(3)


_READ_LEVELS = Refused(lambda scene: scene.queue.get_ack_levels(), DataLoss)


@attack("put older acknowledgement levels back", Found("queues"), _READ_LEVELS)
async def _(scene):
    await scene.queue.init(blob())
    await scene.keep("older", "queues", _TYPE, scene.queue_type)
    await scene.queue.update_ack_level(blob(), version=0)
    yield
    await scene.admin.put_back("queues", scene.kept["older"])
    yield
    scene.restart()
    await scene.queue.update_ack_level(blob(), version=0)


@attack(
    "put the replication queue back, so that an id is given twice",
    Found("queues"),
    Found("queue_messages"),
    Refused(lambda scene: _enqueue(scene, 1), DataLoss, writes=True),
)
async def _(scene):
    await _enqueue(scene, 2)
    await scene.keep("older", "queues", _TYPE, scene.queue_type)
    await _enqueue(scene, 1)
    yield
    await scene.admin.put_back("queues", scene.kept["older"])
    await scene.admin.delete("queue_messages", _MESSAGE, scene.queue_type, 2)
    yield
    scene.restart()
    await _enqueue(scene, 1)


@attack(
    "edit the next message id",
    Refused(lambda scene: scene.queue.get_ack_levels(), IntegrityError),
)
async def _(scene):
    await _enqueue(scene, 2)
    yield
    await scene.admin.edit("queues", "next_message_id = 1", _TYPE, scene.queue_type)
    yield


@attack("delete a message in the middle of a named queue", Found("queue_v2_messages"))
async def _(scene):
    await scene.cell.queues.create_queue(scene.queue_type, "dead")
    await _enqueue_v2(scene, 3)
    yield
    await scene.admin.delete("queue_v2_messages", _MESSAGE, scene.queue_type, 1)
    yield
    await scene.cell.queues.range_delete_messages(scene.queue_type, "dead", last_message_id=2)


@attack("put a deleted message of a named queue back", Found("queue_v2_messages"))
async def _(scene):
    await scene.cell.queues.create_queue(scene.queue_type, "dead")
    await _enqueue_v2(scene, 3)
    await scene.keep("message", "queue_v2_messages", _MESSAGE, scene.queue_type, 0)
    await scene.cell.queues.range_delete_messages(scene.queue_type, "dead", last_message_id=1)
    yield
    await scene.admin.put_back("queue_v2_messages", scene.kept["message"])
    yield
    await scene.cell.queues.range_delete_messages(scene.queue_type, "dead", last_message_id=2)


@attack(
    "put a named queue back as it was",
    Found("queues_v2"),
    Refused(lambda scene: _enqueue_v2(scene, 1), DataLoss, writes=True),
    Refused(lambda scene: scene.cell.queues.list_queues(scene.queue_type, page_size=0), DataLoss),
)
async def _(scene):
    await scene.cell.queues.create_queue(scene.queue_type, "dead")
    await scene.keep("older", "queues_v2", _TYPE, scene.queue_type)
    await _enqueue_v2(scene, 1)
    yield
    await scene.admin.put_back("queues_v2", scene.kept["older"])
    yield


@attack("delete a named queue", Found("queues_v2"))
async def _(scene):
    await scene.cell.queues.create_queue(scene.queue_type, "dead")
    yield
    await scene.admin.delete("queues_v2", _TYPE, scene.queue_type)
    yield
    await scene.cell.queues.create_queue(scene.queue_type, "dead")
