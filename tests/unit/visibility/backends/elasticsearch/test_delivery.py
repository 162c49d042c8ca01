"""Which documents are at fault themselves when a cluster refuses several together."""

from __future__ import annotations

import pytest

from strongroom.visibility import SearchIndexUnavailable
from strongroom.visibility.backends.elasticsearch.bulk import BulkAction
from strongroom.visibility.backends.elasticsearch.delivery import deliver
from strongroom.visibility.errors import SearchIndexTimeout


class Client:
    """Stands for a cluster that executes no request with one of its documents."""

    def __init__(self, error):
        self.error = error

    async def bulk(self, actions, *, deadline=None):
        """Execute actions, or raise the error."""
        del deadline
        if any(action.name == "third" for action in actions):
            raise self.error
        return [None] * len(actions)


@pytest.mark.parametrize(
    ("error", "is_passing"), [(SearchIndexTimeout("no answer"), True), (SearchIndexUnavailable("status 413"), False)]
)
async def test_a_document_whose_shard_is_away_is_not_at_fault(error, is_passing):
    """It times out alone too, and stays due, so that it is written as soon as its shard is back. Control: a refusal is its own."""
    actions = [BulkAction("index", name, 1, {}) for name in ("first", "second", "third", "fourth")]
    results = await deliver(Client(error), actions)
    assert [result is None for result in results] == [True, True, False, True]
    assert results[2].passing is is_passing
