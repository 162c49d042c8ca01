"""The cost model learns what a document costs, which decides whether a search is refused."""

from __future__ import annotations

from strongroom.visibility.backends.search_index import CHUNK
from strongroom.visibility.search.cost import CostModel


def test_look_ups_of_one_run_do_not_change_the_estimate():
    """The round trip of a look-up is not the cost of a document. Otherwise ordinary counts would be refused after many of them."""
    costs = CostModel()
    before = costs.estimate(10_000)
    for _ in range(100):
        costs.learn(1, 0.010, 100_000)
    assert costs.estimate(10_000) == before


def test_a_full_portion_changes_the_estimate():
    """Slow documents are more expensive after they were seen."""
    costs = CostModel()
    before = costs.estimate(10_000)
    for _ in range(100):
        costs.learn(CHUNK, CHUNK * 0.001, CHUNK * 5000)
    assert 9 < costs.estimate(10_000).seconds < 11 > before.seconds
    assert costs.estimate(10_000).bytes > 9 * before.bytes / 2
