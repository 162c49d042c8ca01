from __future__ import annotations

import time

import pytest

from benchmarks.lib.measuring import SLOW_ROUNDS, interleaved, kept, median, quantile, ratio, rotated


def test_each_place_of_the_order_is_had_by_each():
    """Over the rounds each contender is first, and before and after each other."""
    names = ["a", "b", "c"]
    orders = [rotated(names, number) for number in range(6)]
    assert {order[0] for order in orders} == set(names)
    assert all(sorted(order) == names for order in orders)
    assert any(order.index("a") < order.index("b") for order in orders)
    assert any(order.index("b") < order.index("a") for order in orders)


def test_ratios_are_of_one_round():
    """A machine that is twice as slow in one round changes no ratio."""
    found = ratio({"ours": [2.0, 4.0, 2.0], "theirs": [1.0, 2.0, 1.0]}, "ours", "theirs")
    assert (found.median, found.low, found.high) == (2.0, 2.0, 2.0)


def test_rounds_that_one_sat_out_do_not_count():
    """A slow contender is compared in the rounds in which it took part."""
    assert ratio({"fast": [1.0, 1.0, 9.0], "slow": [5.0, 7.0, None]}, "slow", "fast").median == 6.0
    assert median([5.0, None, 7.0]) == 6.0


def test_a_slow_contender_takes_part_in_the_first_rounds_only():
    """It would take all the time, and its ratio needs no third digit."""
    found = interleaved({"fast": lambda: 1.0, "slow": lambda: 1000.0}, rounds=5)
    assert found == {"fast": [1.0] * 5, "slow": [1000.0] * SLOW_ROUNDS + [None] * (5 - SLOW_ROUNDS)}


def test_a_result_is_let_go_after_the_clock_has_stopped():
    """What it costs to free a result is nobody's sealing."""
    freed = []

    class Result:
        def __del__(self):
            freed.append(time.monotonic_ns())

    stopped = []

    def clock():
        stopped.append(time.monotonic_ns())
        return stopped[-1]

    kept(Result, 1, clock=clock)()
    assert freed[0] >= stopped[1]


@pytest.mark.parametrize(("share", "wanted"), [(0.5, 51.0), (0.99, 100.0), (1.0, 100.0)])
def test_quantiles_are_values_that_were_measured(share, wanted):
    """The p99 of a hundred values is the greatest."""
    assert quantile([float(number) for number in range(1, 101)], share) == wanted
