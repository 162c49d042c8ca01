"""Every call of a session is authorised, recorded in the audit log, and only then done."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from strongroom.driver.access import PermissionDenied, PolicyAltered, PolicyRolledBack, changes, grants
from strongroom.driver.access.authorization import Decision
from strongroom.driver.access.control import AccessControl
from strongroom.driver.audit import AuditUnavailable, LogSettings, verify_records
from strongroom.driver.audit.reader import read_lines
from strongroom.driver.stores import STORE_OPERATIONS
from strongroom.kms import KekRef
from strongroom.storage import (
    EVERY_NAMESPACE,
    AccessPolicyStore,
    HistoryBranch,
    NamespaceNotFound,
    NotFound,
    ShardInfo,
    TaskQueueKey,
)
from tests.support.access.people import OWNER, bound, records
from tests.support.audit.logs import PATIENT
from tests.support.fixtures.executions import Workflow, blob
from tests.support.shredding import shred

pytestmark = pytest.mark.integration


async def a_workflow(cell, namespace_id, name="order 7"):
    """Return a workflow in a namespace whose shard exists."""
    shard_id = await cell.shards.shard_of(namespace_id, name)
    await cell.shards.get_or_create_shard(shard_id, lambda: ShardInfo(shard_id, 1, blob()))
    return Workflow(cell, namespace_id, shard_id, name)


async def test_a_role_in_one_namespace_is_none_in_another(one, two, session_with):
    """A caller reads its own namespace, and can't find out that the other namespace exists."""
    session = await session_with(("read", one))
    assert (await session.namespaces.get("one")).namespace_id == one
    assert [each.name for each in await session.namespaces.list_namespaces()] == ["one"]
    refused = []
    for name in ("two", "three"):
        with pytest.raises(NamespaceNotFound) as raised:
            await session.namespaces.get(name)
        refused.append(raised.value)
    for namespace_id in (two, uuid4()):
        with pytest.raises(NamespaceNotFound) as raised:
            await session.visibility.list_workflow_executions(namespace_id, "", {})
        refused.append(raised.value)
    assert len({(type(error), error.args, str(error.__cause__)) for error in refused}) == 1, (
        "missing and forbidden differ"
    )


async def test_a_role_that_reads_does_not_write(access_cell, one, session_with):
    """The caller gets PermissionDenied, because it knows the namespace already."""
    session = await session_with(("read", one))
    with pytest.raises(PermissionDenied):
        await session.namespaces.add_search_attributes(one, {"A": "Keyword"})
    assert not (await access_cell.namespaces.get("one")).search_attributes


async def test_what_is_not_in_the_catalogue_is_not_there(session_with):
    """A session has no private methods of a store, and no connections."""
    session = await session_with(("owner", None))
    for name in ("aclose", "_database", "_keyring", "__dict__x"):
        with pytest.raises(AttributeError):
            getattr(session.executions, name)
    for name in ("database", "keyring", "by_key", "access"):
        assert not hasattr(session, name)


async def test_a_write_is_told_before_and_after(access_cell, one, session_with):
    """The records have caller, operation, namespace, hashed arguments and outcome, and nothing that a tenant wrote."""
    workflow = await a_workflow(access_cell, one)
    session = await session_with(("write", one))
    first = workflow.full(db_record_version=1)
    await Workflow(session, one, workflow.shard_id, workflow.workflow_id).create(first)
    await session.executions.get_workflow_execution(one, workflow.workflow_id, first.run_id, shard_id=workflow.shard_id)
    await access_cell.audit.record({"event": "end"})
    told = [
        each for each in records(access_cell) if each.get("principal") == session.principal and each["event"] != "key"
    ]
    assert [(each["event"], each["operation"]) for each in told] == [
        ("intent", "executions.create_workflow_execution"),
        ("outcome", "executions.create_workflow_execution"),
        ("read", "executions.get_workflow_execution"),
    ]
    intent, outcome, read = told
    assert intent["request_id"] == outcome["request_id"] != read["request_id"]
    assert {each["namespace_id"] for each in told} == {str(one)}
    assert intent["arguments"]["workflow_id"] == read["arguments"]["workflow_id"], "a workflow's records can be found"
    assert (outcome["outcome"], intent["data_key"]) == ("done", 1)
    text = b"".join(read_lines(access_cell.audit.root))
    assert workflow.workflow_id.encode() not in text
    assert str(first.run_id).encode() not in text


async def test_a_failure_is_told_with_its_kind(access_cell, one, session_with):
    """The record has the class of the error, and not its text."""
    session = await session_with(("read", one))
    with pytest.raises(NotFound):
        await session.executions.get_workflow_execution(one, "nothing", uuid4(), shard_id=1)
    await access_cell.audit.record({"event": "end"})
    begun, told = [
        each for each in records(access_cell) if each.get("operation") == "executions.get_workflow_execution"
    ]
    assert (begun["event"], begun["request_id"]) == ("read", told["request_id"])
    assert (told["outcome"], told["error"]) == ("failed", "NotFound")


async def test_a_refusal_is_told_too(access_cell, two, session_with):
    """The record has the principal, the operation and the reason."""
    session = await session_with()
    with pytest.raises(NamespaceNotFound):
        await session.visibility.count_workflow_executions(two, "", {})
    (told,) = [each for each in records(access_cell) if each["event"] == "denied"]
    assert (told["principal"], told["namespace_id"], told["reason"]) == (session.principal, str(two), "no role")


async def test_without_the_audit_log_nothing_is_done(access_cell, one, session_with, disk):
    """Nothing is written or read, and callers are refused before their records time out. Afterwards everything works again."""
    session = await session_with(("admin", one))
    await session.namespaces.get("one")
    disk.fails()
    for call in (
        session.namespaces.add_search_attributes(one, {"A": "Keyword"}),
        session.namespaces.get("one"),
        session.visibility.count_workflow_executions(one, "", {}),
    ):
        async with asyncio.timeout(PATIENT.write_timeout / 2):
            with pytest.raises(AuditUnavailable):
                await call
    assert not (await access_cell.namespaces.get("one")).search_attributes
    disk.works()
    await session.namespaces.add_search_attributes(one, {"A": "Keyword"})
    await access_cell.audit.checkpoint()
    assert verify_records(read_lines(access_cell.audit.root)).ok


async def test_a_namespace_may_put_availability_first(access_cell, one, two, session_with, disk):
    """Only calls of the chosen namespace go on. They are recorded as soon as the log can be written."""
    policy = await access_cell.access.latest()
    await access_cell.access.change(lambda policy: changes.put_availability_first(policy, one, on=True))
    session = await session_with(("admin", one), ("admin", two))
    access_cell.access._read_at = float("-inf")
    disk.fails()
    with pytest.raises(AuditUnavailable):
        await session.namespaces.add_search_attributes(two, {"A": "Keyword"})
    await session.namespaces.add_search_attributes(one, {"A": "Keyword"})
    disk.works()
    await access_cell.audit.record({"event": "end"})
    told = [each for each in records(access_cell) if each.get("operation") == "namespaces.add_search_attributes"]
    assert {each["namespace_id"] for each in told if each["event"] == "outcome"} >= {str(one)}
    assert policy.availability_first == frozenset()


async def test_a_hung_disk_refuses_in_time(one, session_with, disk):
    """If a write does not return, the caller is refused after `write_timeout`, which is two seconds by default."""
    assert LogSettings().write_timeout == 2
    session = await session_with(("read", one))
    await session.namespaces.get("one")
    disk.hangs()
    async with asyncio.timeout(50):  # a busy machine, and less than the disk hangs
        with pytest.raises(AuditUnavailable):
            await session.namespaces.get("one")


async def test_revoked_rights_end_within_seconds(access_cell, one, session_with):
    """The policy is read again after ten seconds, and a change by a second process counts."""
    session = await session_with(("read", one))
    await session.namespaces.get("one")
    other = AccessControl(AccessPolicyStore(access_cell.database, access_cell.keyring))
    at = datetime.now(UTC)
    await other.change(lambda p: changes.unbind(p, session.principal, "read", namespace_id=one, by=OWNER, now=at))
    access_cell.access._read_at -= 10.0
    with pytest.raises(NamespaceNotFound):
        await session.namespaces.get("one")


async def test_an_older_policy_is_refused(access_cell, session_with, one):
    """A policy row that was replaced by an older one, or deleted, is refused, and an altered one too. No row counts as damaged."""
    async with access_cell.database.connection(EVERY_NAMESPACE) as connection:
        old = await connection.fetchrow("SELECT version, data FROM access_policy")
    session = await session_with(("read", one))
    await session.namespaces.get("one")
    async with access_cell.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute("UPDATE access_policy SET version = $1, data = $2", old["version"], old["data"])
    access_cell.access._read_at = float("-inf")
    with pytest.raises(PolicyRolledBack):
        await session.namespaces.get("one")
    async with access_cell.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute("UPDATE access_policy SET version = version + 5")
    with pytest.raises(PolicyAltered, match="Restore the row"):
        await session.namespaces.get("one")
    async with access_cell.database.connection(EVERY_NAMESPACE) as connection:
        await connection.execute("DELETE FROM access_policy")
    with pytest.raises(PolicyRolledBack):
        await session.namespaces.get("one")


async def test_who_makes_a_namespace_is_its_admin(access_cell, session_with):
    """A developer becomes admin of the namespace that it creates, and has no rights in others."""
    session = await session_with(("developer", None))
    await session.namespaces.create("three", kek=KekRef.parse("local:shared"))
    three = await access_cell.namespaces.find("three")
    await session.namespaces.add_search_attributes(three, {"A": "Keyword"})
    with pytest.raises(NamespaceNotFound):
        await session.namespaces.get("one")


async def shredded_by(session, cell, namespace_id):
    """Shred a namespace through a session, as the command line does."""
    async with session.performing("shredding.finish", namespace_id=namespace_id):
        await shred(cell, namespace_id)


async def test_shredding_needs_two_people(access_cell, one, session_with):
    """One person alone, the same person twice, and a second person without the permission are refused. Two are enough."""
    custodian = await session_with(("key-custodian", None))
    helper = await bound(access_cell, "helper", ("read-only", None))
    second = await bound(access_cell, "second", ("key-custodian", None))
    with pytest.raises(PermissionDenied):
        await shredded_by(custodian, access_cell, one)
    at = datetime.now(UTC)
    asked = None

    def ask(policy):
        nonlocal asked
        policy, asked = grants.request_grant(
            policy,
            operation="shredding.finish",
            namespace_id=one,
            reason="ticket 7",
            lifetime=timedelta(hours=1),
            by=custodian.principal,
            now=at,
        )
        return policy

    await access_cell.access.change(ask)
    with pytest.raises(PermissionDenied):
        await shredded_by(custodian, access_cell, one)
    for by in (custodian.principal, helper):
        with pytest.raises(PermissionDenied):
            await access_cell.access.change(lambda p, by=by: grants.approve_grant(p, asked.grant_id, by=by, now=at))
    await access_cell.access.change(lambda p: grants.approve_grant(p, asked.grant_id, by=second, now=at))
    await shredded_by(custodian, access_cell, one)
    told = [
        each
        for each in records(access_cell)
        if each.get("operation") == "shredding.finish" and each["event"] == "intent"
    ]
    assert [each["grant"] for each in told] == [asked.grant_id]


async def test_crossed_ids_in_every_call(one, two, session_with):
    """A caller with every role in `one` that names `two` is refused in each operation on a namespace."""
    session = await session_with(("admin", one))
    tried = 0
    for operation in STORE_OPERATIONS.values():
        if operation.scope != "namespace":
            continue
        tried += 1
        for call in (
            lambda guarded: guarded(two),
            lambda guarded: guarded(namespace_id=two),
            lambda guarded: guarded(TaskQueueKey(two, "q", 1)),
            lambda guarded: guarded(name="two"),
            lambda guarded: guarded(),
            lambda guarded: guarded(HistoryBranch(1, uuid4(), uuid4())),
        ):
            with pytest.raises((NamespaceNotFound, PermissionDenied)):
                await call(getattr(getattr(session, operation.area), operation.method))
    assert tried > 40


async def test_hashes_die_with_the_namespace(access_cell, one, session_with):
    """Shredding destroys the key of the hashes, so no record can be linked to a workflow. The chain still holds."""
    session = await session_with(("read", one))
    await session.visibility.count_workflow_executions(one, "WorkflowId = 'order 7'", {})
    await shred(access_cell, one)
    with pytest.raises(Exception, match="destroyed"):
        (await access_cell.keyring.open(one)).identity("audit")
    await access_cell.audit.checkpoint()
    assert verify_records(read_lines(access_cell.audit.root)).ok


async def test_without_a_policy_the_creator_of_a_namespace_gets_no_role(strongroom):
    """A Temporal server registers namespaces in a cell without an access policy, too. There are no roles to give."""
    kek = await strongroom.create_kek(KekRef.parse("local:first"))
    session = strongroom.session("temporal-server", decide=lambda *_, **__: Decision(allowed=True))
    created = await session.namespaces.create("first", kek=kek)
    assert await strongroom.namespaces.find("first") == created.namespace_id
    assert not (await strongroom.access.latest()).principals
