from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from strongroom.driver.access.authorization import decide
from strongroom.driver.access.policy import Policy
from strongroom.driver.serve.callers import unhidden
from strongroom.driver.stores import OPERATIONS


@pytest.mark.parametrize("operation", ["executions.get_workflow_execution", "metadata.get_namespace"])
def test_a_namespace_is_never_hidden_from_a_temporal_server(operation):
    """Temporal takes a hidden namespace for a deleted one and drops its tasks. A lost role must be a refusal."""
    call = (Policy(version=3), "temporal-server", OPERATIONS[operation], [uuid4()])
    assert decide(*call, now=datetime.now(UTC)).hidden
    decision = unhidden(*call, now=datetime.now(UTC))
    assert not decision.allowed
    assert not decision.hidden
