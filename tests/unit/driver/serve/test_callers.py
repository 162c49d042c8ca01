from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from strongroom.driver.access.policy import Policy, Principal
from strongroom.driver.serve.callers import SOURCES, Callers, until_policy
from strongroom.driver.stores import STORES


def test_callers_of_many_namespaces_share_a_session():
    """A session is made for each source of the audit log, not for each namespace whose name is part of the caller."""
    made = []
    callers = Callers(lambda source: made.append(source) or object(), None)
    first = callers.stores_for("api/tenant-0/StartWorkflowExecution")
    for number in range(1, 2 * SOURCES):
        assert callers.stores_for(f"api/tenant-{number}/StartWorkflowExecution") is first
    assert made == ["temporal/api/StartWorkflowExecution"]


def test_the_number_of_sessions_is_bounded():
    """A client that invents origins does not make the server keep a session for each."""
    callers = Callers(lambda _source: object(), None)
    sessions = [callers.stores_for(f"api/x/Origin{number}") for number in range(SOURCES + 1)]
    assert callers.stores_for(f"api/x/Origin{SOURCES}") is sessions[-1]
    assert callers.stores_for("api/x/Origin0") is not sessions[0]


def test_a_server_that_was_started_without_a_policy_follows_one():
    """Everything is allowed until the cell has a policy. Then a principal without a role is refused, and no namespace is hidden."""
    operation, now = STORES[0].operations[0], datetime.now(UTC)
    assert until_policy(Policy(), "temporal-server", operation, [uuid4()], now=now).allowed
    policy = Policy(version=1, principals={"another": Principal("another", now, "first")})
    decision = until_policy(policy, "temporal-server", operation, [uuid4()], now=now)
    assert not decision.allowed
    assert not decision.hidden
