from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from strongroom.driver.access import changes
from strongroom.driver.config import ConfigError, ServeConfig
from strongroom.driver.serve.callers import source_of
from strongroom.kms import NotAuthenticated
from tests.support.access.people import OWNER, bound, records
from tests.support.serve.client import CallError, Client
from tests.support.serve.running import serving

pytestmark = pytest.mark.integration


@pytest.fixture
async def governed(strongroom):
    """A cell with an owner and the principal of a Temporal server."""
    await strongroom.access.change(lambda _: changes.first_owner(OWNER, now=datetime.now(UTC)))
    await bound(strongroom, "temporal-server", ("service", None))
    return strongroom


async def test_calls_are_recorded_with_their_caller(governed):
    """The audit log names the principal and the kind and origin of the caller in Temporal, and not a namespace's name."""
    async with serving(governed) as running:
        client = await Client.open(running.path)
        with pytest.raises(CallError):
            await client.call(
                "shards.get_or_create_shard", caller="api/customer 4711/StartWorkflowExecution", shard_id=1
            )
        await client.aclose()
    found = [record for record in records(governed) if record.get("operation") == "shards.get_or_create_shard"]
    assert {(each["principal"], each["source"]) for each in found} == {
        ("temporal-server", "temporal/api/StartWorkflowExecution")
    }


@pytest.mark.parametrize(
    ("caller", "source"),
    [
        ("", "temporal"),
        ("api/payments/StartWorkflowExecution", "temporal/api/StartWorkflowExecution"),
        ("background/temporal-system/ShardOwnership", "temporal/background/temporal-system/ShardOwnership"),
        ("background/system/", "temporal/background/system"),
        ("api/a/b/c/GetWorkflow", "temporal/api/GetWorkflow"),
        ("a b/c/d e", "temporal"),
        ("x" * 100 + "/n/o", "temporal/o"),
    ],
)
def test_the_source_of_a_caller(caller, source):
    """A tenant's name is left out, because the record has the namespace's id. Nothing else is in the source than plain words."""
    assert source_of(caller) == source


@pytest.mark.parametrize("roles", [(), (("read-only", None),), (("developer", None),)])
async def test_a_principal_without_the_role_is_refused(governed, roles):
    """A server that could do nothing does not start. The message says what is missing."""
    await bound(governed, "other", *roles)
    with pytest.raises(
        ConfigError, match=r"other does not have the role service; run 'strongroom access bind other service'"
    ):
        async with serving(governed, ServeConfig(principal="other")):
            pass


async def test_an_unknown_key_is_refused(governed):
    """A key from the environment takes the place of the configured principal, and is checked."""
    with pytest.raises(NotAuthenticated):
        async with serving(governed, api_key="no-such-key"):
            pass


async def test_a_refused_operation(governed):
    """An operation that the role does not allow gets the kind PermissionDenied. It was not committed."""
    async with serving(governed) as running:
        client = await Client.open(running.path)
        with pytest.raises(CallError) as refused:
            await client.call("namespaces.ensure_cell_keys", kek="local:cell")
        await client.aclose()
    assert refused.value.kinds == ["PermissionDenied", "StrongroomError"]
    assert not refused.value.may_have_been_committed


async def test_a_role_that_is_taken_away_while_the_server_runs(governed):
    """Calls are refused, and no namespace looks deleted: Temporal would drop the tasks of such a namespace."""
    async with serving(governed) as running:
        client = await Client.open(running.path)
        at = datetime.now(UTC)
        await governed.access.change(
            lambda policy: changes.unbind(policy, "temporal-server", "service", namespace_id=None, by=OWNER, now=at)
        )
        with pytest.raises(CallError) as refused:
            await client.call("metadata.get_namespace", namespace_id=uuid4().bytes)
        await client.aclose()
    assert refused.value.kinds[0] == "PermissionDenied"


async def test_an_open_cell_records_the_principal_too(strongroom):
    """Without an access policy everything is allowed, and recorded."""
    async with serving(strongroom, ServeConfig(principal="history-1")) as running:
        client = await Client.open(running.path)
        with pytest.raises(CallError):
            await client.call("shards.get_or_create_shard", shard_id=1)
        await client.aclose()
    assert {
        each["principal"] for each in records(strongroom) if each.get("operation") == "shards.get_or_create_shard"
    } == {"history-1"}
