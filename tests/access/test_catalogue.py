"""The catalogue has a line for every public operation, and every cell of the matrix of roles and operations is decided as it says."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from uuid import uuid4

import pytest

from strongroom.driver.access import OPERATIONS, Policy, changes
from strongroom.driver.access.authorization import decide
from strongroom.driver.access.catalogue import CONTROL_OPERATIONS, STORE_OPERATIONS, STORES
from strongroom.driver.access.roles import ACCOUNT_ROLES, IN_NAMESPACE, NAMESPACE_ROLES, Permission
from strongroom.driver.strongroom import Strongroom
from tests.support.access.people import OWNER

NOW = changes.utc_now()
HERE, ELSEWHERE = uuid4(), uuid4()
# Attributes of a cell that are no stores for a service: what they do is done by way of `Session.performing`.
NOT_STORES = {
    "config",
    "database",
    "by_key",
    "keyring",
    "outbox",
    "search_index",
    "indexer",
    "access",
    "audit",
    "audit_checkpoints",
    "telemetry",
}
PLUMBING = {"aclose"}


def store_methods(annotations):
    """Every public coroutine of every store, as the catalogue names it."""
    for name, store in annotations.items():
        if name in NOT_STORES:
            continue
        for method, _ in inspect.getmembers(store, inspect.iscoroutinefunction):
            if not method.startswith("_") and method not in PLUMBING:
                yield f"{'tasks' if name == 'fair_tasks' else name}.{method}"


def test_every_public_operation_of_the_stores_has_a_line():
    """Whoever adds a method must say what it needs; a line without a method is a promise about nothing."""
    import strongroom.driver.strongroom as module  # noqa: PLC0415

    stores = {
        name: getattr(module, kind.split(" ")[0], None) or object for name, kind in Strongroom.__annotations__.items()
    }
    lined = {line.split()[0] for line in STORE_OPERATIONS.strip().splitlines()}
    assert set(store_methods(stores)) == lined
    assert set(STORES) == set(stores) - NOT_STORES - {"fair_tasks"}


def test_a_method_without_a_line_is_noticed():
    """Control of the test above."""

    class New:
        async def read_everything(self): ...

    assert set(store_methods({"new": New})) == {"new.read_everything"}


def test_every_command_is_an_operation_and_every_operation_is_reached():
    """The command line names operations of the catalogue, and each control operation is done somewhere."""
    named = set()
    for path in (Path(inspect.getfile(Strongroom)).parent).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in OPERATIONS:
                named.add(node.value)
    control = {line.split()[0] for line in CONTROL_OPERATIONS.strip().splitlines()}
    assert control <= named


def policy_with(role, namespace_id):
    """A policy in which somebody has one role."""
    policy = changes.first_owner(OWNER, now=NOW)
    policy = changes.add_principal(policy, "somebody", by=OWNER, now=NOW)
    return changes.bind(policy, "somebody", role, namespace_id=namespace_id, by=OWNER, now=NOW)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda each: each.name)
def test_the_matrix(operation):
    """Each role, in the cell and in a namespace, against each operation: allowed exactly where the catalogue and the roles say so."""
    places = {"namespace": (HERE,)}.get(operation.scope, ())
    for role, permissions in ACCOUNT_ROLES.items():
        decision = decide(policy_with(role, None), "somebody", operation, places, now=NOW)
        expected = operation.permission is None or operation.permission in permissions
        assert decision.allowed == (expected and not operation.dual_control), role
        assert decision.hidden == (bool(places) and not expected and not permissions & IN_NAMESPACE), role
    for role, permissions in NAMESPACE_ROLES.items():
        policy = policy_with(role, HERE)
        decision = decide(policy, "somebody", operation, places, now=NOW)
        expected = operation.permission is None or (bool(places) and operation.permission in permissions)
        assert decision.allowed == (expected and not operation.dual_control), role
        if places:
            elsewhere = decide(policy, "somebody", operation, (ELSEWHERE,), now=NOW)
            assert elsewhere.allowed == (operation.permission is None and not operation.dual_control)
            both = decide(policy, "somebody", operation, (HERE, ELSEWHERE), now=NOW)
            assert both.allowed == elsewhere.allowed, "a call about two namespaces needs a role in both"


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda each: each.name)
def test_default_deny(operation):
    """Somebody unknown, somebody without a role, and anybody in a cell without a policy may do nothing."""
    places = (HERE,) if operation.scope == "namespace" else ()
    policy = changes.add_principal(changes.first_owner(OWNER, now=NOW), "somebody", by=OWNER, now=NOW)
    assert not decide(policy, "nobody", operation, places, now=NOW).allowed
    assert not decide(Policy(), "somebody", operation, places, now=NOW).allowed
    decision = decide(policy, "somebody", operation, places, now=NOW)
    assert decision.allowed == (operation.permission is None and not operation.dual_control)


def test_every_permission_is_needed_by_something_and_had_by_somebody():
    """And an owner has all of them."""
    assert {each.permission for each in OPERATIONS.values()} - {None} == set(Permission)
    assert ACCOUNT_ROLES["owner"] == set(Permission)


def test_security_roles_see_no_data():
    """Whoever keeps keys or reads the audit log reads nothing that a tenant wrote."""
    for role in ("key-custodian", "auditor", "read-only", "developer"):
        assert not ACCOUNT_ROLES[role] & IN_NAMESPACE
