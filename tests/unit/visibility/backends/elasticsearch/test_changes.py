"""Changes of an index without a cluster: the time that they take, and the lowered time of remembered deletions."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from strongroom.visibility import SearchIndexAnswerError, SearchIndexUnavailable
from strongroom.visibility.backends.elasticsearch.changes import change
from strongroom.visibility.backends.elasticsearch.forgetting import lowered, restored
from strongroom.visibility.backends.elasticsearch.layout import made_by


async def test_a_change_takes_one_deadline():
    """The request and the readings of the state share one deadline. Otherwise a change of a lost cluster takes twice as long."""
    left = []

    async def send(_request, _read, *, deadline):
        await asyncio.sleep(deadline + 0.02)
        raise SearchIndexUnavailable("lost")

    async def state(deadline):
        left.append(deadline)
        return 1

    client = SimpleNamespace(deadline=0.1, send=send)
    with pytest.raises(SearchIndexUnavailable, match=r"did not take effect within 0\.1 s"):
        await change(client, None, None, state=state, is_done=lambda found: found == 2, what="a change")
    assert left == [0.1, 0.0]


@pytest.mark.parametrize("status", [1, 2, 3])
async def test_only_a_confirmed_change_can_have_been_replaced(status):
    """A third state after an error is an error, because the change may still be waiting in the cluster."""
    found = iter([1, *[status] * 50])

    async def send(_request, _read, *, deadline):
        assert deadline <= 0.1
        raise SearchIndexUnavailable("lost")

    async def state(_):
        return next(found)

    client = SimpleNamespace(deadline=0.1, send=send)
    sent = change(client, None, None, state=state, is_done=lambda present: present == 2, what="a change")
    if status == 2:
        await sent
    else:
        with pytest.raises(SearchIndexUnavailable, match="lost"):
            await sent


@pytest.mark.parametrize(
    ("value", "low", "back"),
    [
        (None, "1ms", None),
        ("60s", "1000060nanos", "60s"),
        ("5m", "1000300nanos", "300s"),
        ("1d", "1086400nanos", "86400s"),
        ("30d", "1999999nanos", "999999s"),
        ("1500ms", "1000002nanos", "2s"),
        ("5nanos", "1000001nanos", "1s"),
        ("-1", "-1", "-1"),
        ("0", "0", "0"),
        ("0s", "0s", "0s"),
        ("strange", "strange", "strange"),
    ],
)
def test_a_lowered_time_contains_the_former_one(value, low, back):
    """So that no operator's value is lost if a repair is killed. Lowering it again keeps it."""
    assert lowered(value) == low
    assert lowered(low) == low
    assert restored(low) == back


@pytest.mark.parametrize("meta", [None, [], "text", 1, {}])
def test_an_index_without_the_id_of_its_creation_is_of_another_maker(meta):
    """The description of an index that another program made can have any `_meta`."""
    assert made_by({"name": {"mappings": {"_meta": meta}}}, "name") == ""
    assert made_by({"name": {"mappings": {}}}, "name") == ""
    with pytest.raises(SearchIndexAnswerError):
        made_by({"other": {}}, "name")
