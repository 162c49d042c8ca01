"""The table of operations is complete, and each role may do in each place exactly what the table and the roles say."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from strongroom import storage
from strongroom.driver.access import Policy, changes
from strongroom.driver.access.arguments import _READERS
from strongroom.driver.access.authorization import decide
from strongroom.driver.access.roles import ACCOUNT_ROLES, IN_NAMESPACE, NAMESPACE_ROLES
from strongroom.driver.operations import Permission
from strongroom.driver.proxy import Proxy, bare, chained, proxied
from strongroom.driver.stores import COMMAND_OPERATIONS, OPERATIONS, STORE_OPERATIONS, STORES
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import Suite
from tests.support.access.people import OWNER
from tests.support.tree import ROOT

NOW = datetime.now(UTC)
HERE, ELSEWHERE = uuid4(), uuid4()
# The attributes of a cell that are no stores. A service uses what they do through `Session.performing`.
NOT_STORES = {
    "config",
    "database",
    "by_key",
    "journal",
    "keyring",
    "registry",
    "background",
    "deletions",
    "key_notifications",
    "outbox",
    "search_index",
    "indexer",
    "access",
    "anchors",
    "audit",
    "audit_checkpoints",
    "telemetry",
}
PLUMBING = {"aclose"}
PAGE = ROOT / "docs" / "reference" / "operations.md"
# What commands pass besides the arguments of a store's method: they name a namespace by its name, and a run by its workflow.
FROM_COMMANDS = {"name", "workflow_id", "run_id"}


def coroutines(store):
    """Return the names of a class's public coroutines."""
    return {
        name
        for name, _ in inspect.getmembers(store, inspect.iscoroutinefunction)
        if not name.startswith("_") and name not in PLUMBING
    }


def test_each_store_of_a_cell_is_in_the_table():
    """A store without an entry would be reachable by nobody, and not be watched."""
    assert [store.name for store in STORES] == [
        field.name for field in dataclasses.fields(Strongroom) if field.name not in NOT_STORES
    ]


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.name)
def test_every_public_operation_of_the_stores_has_an_entry(store):
    """Every method has an entry that says what it needs, and every entry has a method."""
    assert coroutines(store.type) == {operation.method for operation in store.operations}


@pytest.mark.parametrize(
    "operation", [each for store in STORES for each in store.operations], ids=lambda each: each.name
)
def test_every_public_operation_states_its_arguments_and_errors(operation):
    """The docstring of an operation has the section `Raises`, and `Args` if it takes arguments."""
    (store,) = [each for each in STORES if operation in each.operations]
    method = getattr(store.type, operation.method)
    docstring = inspect.getdoc(method)
    assert "\nRaises:\n" in docstring
    assert len(inspect.signature(method).parameters) == 1 or "\nArgs:\n" in docstring


def test_a_method_without_an_entry_is_noticed():
    """Control of the test above."""

    class New:
        async def read_everything(self): ...

    assert coroutines(New) == {"read_everything"}


@pytest.mark.parametrize("operation", STORE_OPERATIONS.values(), ids=lambda each: each.name)
def test_the_recorded_arguments_are_those_of_the_method(operation):
    """Every id, name, number and filter of a method is recorded as a hash, and nothing is listed that no caller can pass."""
    (store,) = [each for each in STORES if each.name == operation.area]
    identifying = set()
    for parameter in list(inspect.signature(getattr(store.type, operation.method)).parameters.values())[1:]:
        identifying |= values_of(parameter.name, parameter.annotation.removesuffix(" | None"))
    assert identifying <= operation.recorded
    assert operation.recorded - identifying <= FROM_COMMANDS


def values_of(name, annotation):
    """Return the names of the identifying values in an argument."""
    kind = {"int": int, "str": str, "UUID": str, "bool": int, "bytes": bytes, "datetime": str, "Suite": Suite}.get(
        annotation, getattr(storage, annotation, object)
    )
    if name == "namespace_id":
        return set()
    if kind in _READERS:
        return READ_VALUES[kind.__name__]
    return {name} if isinstance(kind, type) and issubclass(kind, str | int | bytes) else set()


RUN = {"shard_id", "workflow_id", "run_id"}
READ_VALUES = {
    "CreateWorkflowExecutionRequest": RUN,
    "UpdateWorkflowExecutionRequest": RUN,
    "ConflictResolveWorkflowExecutionRequest": RUN,
    "SetWorkflowExecutionRequest": RUN,
    "TaskQueueKey": {"task_queue", "task_type"},
    "TaskQueue": {"task_queue", "task_type"},
    "HistoryBranch": {"tree_id", "branch_id"},
    "ShardInfo": {"shard_id"},
    "NexusEndpoint": {"endpoint_id"},
}


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.name)
def test_the_barrier_is_an_argument_of_just_these_methods(store):
    """A session passes its audit record to the methods that wait for it themselves, and waits for all others."""
    takes = {
        method
        for method in coroutines(store.type)
        if "barrier" in inspect.signature(getattr(store.type, method)).parameters
    }
    assert takes == {operation.method for operation in store.operations if operation.barrier}
    assert not any(operation.reads for operation in store.operations if operation.barrier)


def test_batches_are_functions_of_the_database():
    """Telemetry reports statements that calls share by these names, and every other name as `_OTHER`."""
    functions = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "storage" / "sql").rglob("*.sql"))
    for operation in STORE_OPERATIONS.values():
        if operation.batch:
            assert re.search(rf"\b{operation.batch}\b", functions), operation.name


RUN_COMMANDS = {"with_cell", "with_other_pin", "with_moved_cell_keys", "with_diverged_keyrings"}


def calls_of_commands():
    """Yield the operation and the names of the arguments of every command."""
    for path in (ROOT / "driver" / "cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RUN_COMMANDS:
                names = {keyword.arg or "name" for keyword in node.keywords}
                for constant in ast.walk(node.args[2]):
                    if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                        yield constant.value, names


def test_every_command_is_an_operation_and_every_operation_is_reached():
    """The command line names operations of the table, records arguments that the table lists, and reaches each operation."""
    named = set()
    for path in (ROOT / "driver" / "cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in OPERATIONS:
                named.add(node.value)
    assert COMMAND_OPERATIONS.keys() <= named
    calls = list(calls_of_commands())
    assert len(calls) > 30
    for operation, names in calls:
        assert names - {"namespace_id"} <= OPERATIONS[operation].recorded, operation


def test_the_page_has_the_roles():
    """The page's table of roles lists the permissions that each role gives."""
    rows = re.findall(
        r"^\| `([\w-]+)` \| (the cell|a namespace) \| (.*?) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    expected = {(role, "the cell"): given for role, given in ACCOUNT_ROLES.items()}
    expected |= {(role, "a namespace"): given for role, given in NAMESPACE_ROLES.items()}
    stated = {(role, where): set(re.findall(r"`(.*?)`", text)) for role, where, text in rows}
    assert stated == {key: set(map(str, given)) for key, given in expected.items()}


class Recorder:
    """An interceptor that notes when it runs."""

    def __init__(self, name, calls):
        self.name, self.calls = name, calls

    async def before(self, invocation):
        """Note the call."""
        self.calls.append((self.name, "before", invocation.arguments()))
        return len(self.calls)

    async def after(self, _state, _invocation, answer):
        """Note the answer, and change it."""
        self.calls.append((self.name, "after", answer))
        return answer + self.name

    async def error(self, _state, _invocation, error):
        """Note the error."""
        self.calls.append((self.name, "error", type(error).__name__))


class Queues:
    """A store of one operation."""

    async def create_queue(self, queue_type, queue_name):
        """Return the name, or fail."""
        if queue_type == 0:
            raise KeyError(queue_name)
        return queue_name


async def test_interceptors_run_in_their_order():
    """The first is the outermost: it runs first before a call, last after it, and sees the errors of the others."""
    (entry,) = [store for store in STORES if store.name == "queues"]
    calls = []
    proxy = proxied(entry, Queues(), chained((Recorder("a", calls), Recorder("b", calls))))
    assert await proxy.create_queue(1, queue_name="q") == "qba"
    given = {"queue_type": 1, "queue_name": "q"}
    assert calls == [("a", "before", given), ("b", "before", given), ("b", "after", "q"), ("a", "after", "qb")]
    calls.clear()
    with pytest.raises(KeyError):
        await proxy.create_queue(0, "q")
    assert [(name, when) for name, when, _ in calls] == [
        ("a", "before"),
        ("b", "before"),
        ("b", "error"),
        ("a", "error"),
    ]


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.name)
def test_a_proxy_has_the_operations_and_nothing_else(store):
    """What `dir` shows of it are the table's methods, with the signatures of the store's."""
    inner = object()
    proxy = proxied(store, inner, chained(()))
    assert {name for name in dir(proxy) if not name.startswith("_")} == {each.method for each in store.operations}
    assert isinstance(proxy, Proxy)
    assert bare(proxy) is inner
    for operation in store.operations:
        real, shown = getattr(store.type, operation.method), getattr(type(proxy), operation.method)
        assert inspect.signature(shown) == inspect.signature(real)


def policy_with(role, namespace_id):
    """Return a policy in which a principal has one role."""
    policy = changes.first_owner(OWNER, now=NOW)
    policy = changes.add_principal(policy, "somebody", by=OWNER, now=NOW)
    return changes.bind(policy, "somebody", role, namespace_id=namespace_id, by=OWNER, now=NOW)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda each: each.name)
def test_the_matrix(operation):
    """Each role, in the cell and in a namespace, is allowed each operation exactly where the table and the roles say so."""
    namespaces = {"namespace": (HERE,)}.get(operation.scope, ())
    for role, permissions in ACCOUNT_ROLES.items():
        decision = decide(policy_with(role, None), "somebody", operation, namespaces, now=NOW)
        expected = operation.permission is None or operation.permission in permissions
        assert decision.allowed == (expected and not operation.dual_control), role
        assert decision.hidden == (bool(namespaces) and not expected and not permissions & IN_NAMESPACE), role
    for role, permissions in NAMESPACE_ROLES.items():
        policy = policy_with(role, HERE)
        decision = decide(policy, "somebody", operation, namespaces, now=NOW)
        expected = operation.permission is None or (bool(namespaces) and operation.permission in permissions)
        assert decision.allowed == (expected and not operation.dual_control), role
        if namespaces:
            elsewhere = decide(policy, "somebody", operation, (ELSEWHERE,), now=NOW)
            assert elsewhere.allowed == (operation.permission is None and not operation.dual_control)
            both = decide(policy, "somebody", operation, (HERE, ELSEWHERE), now=NOW)
            assert both.allowed == elsewhere.allowed, "a call about two namespaces needs a role in both"


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda each: each.name)
def test_default_deny(operation):
    """An unknown principal, one without a role, and every principal in a cell without a policy may do nothing."""
    namespaces = (HERE,) if operation.scope == "namespace" else ()
    policy = changes.add_principal(changes.first_owner(OWNER, now=NOW), "somebody", by=OWNER, now=NOW)
    assert not decide(policy, "nobody", operation, namespaces, now=NOW).allowed
    assert not decide(Policy(), "somebody", operation, namespaces, now=NOW).allowed
    decision = decide(policy, "somebody", operation, namespaces, now=NOW)
    assert decision.allowed == (operation.permission is None and not operation.dual_control)


def test_every_permission_is_needed_by_something_and_given_by_some_role():
    """An owner has all permissions."""
    assert {each.permission for each in OPERATIONS.values()} - {None} == set(Permission)
    assert ACCOUNT_ROLES["owner"] == set(Permission)


def test_security_roles_see_no_data():
    """A principal that keeps keys or reads the audit log reads nothing that a tenant wrote."""
    for role in ("key-custodian", "auditor", "read-only", "developer"):
        assert not ACCOUNT_ROLES[role] & IN_NAMESPACE
