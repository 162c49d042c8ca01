"""What a thief recovers from a stolen index: everything from an unsealed one, little more than nothing from `strict`."""

from __future__ import annotations

import pytest

from benchmarks.leakage.attacks import CLEAR, spearman
from benchmarks.leakage.contest import NUMBERS, VALUES, Target, presets
from benchmarks.leakage.service import runs
from benchmarks.leakage.tables import GOAL_ORDER, GOAL_RATIO

OWN, VICTIMS = 1200, 700


@pytest.fixture(scope="module")
def service():
    """The thief's runs, the victim's runs, and the layouts."""
    own = runs(OWN, seed=1, similar=True)
    return own, runs(VICTIMS, seed=2), presets(own)


@pytest.fixture(scope="module")
def compatible(service):
    """The victim's index in the preset `compatible`."""
    own, victims, layouts = service
    return Target(own, victims, layouts["compatible"])


@pytest.fixture(scope="module")
def strict(service):
    """The victim's index in the preset `strict`."""
    own, victims, layouts = service
    return Target(own, victims, layouts["strict"])


def test_an_unsealed_index_shows_everything(compatible):
    """The control: the attack recovers every type, so what it does not recover elsewhere is hidden."""
    control = compatible.unsealed(VALUES["WorkflowType"])
    assert control.recover(VALUES["WorkflowType"]).recovered > 0.99


def test_the_clear_columns_of_compatible_show_types(compatible):
    """What the benchmark reports of `compatible`: durations and lengths show nearly all workflow types."""
    found = compatible.recover(VALUES["WorkflowType"], (CLEAR,))
    assert found.recovered > 0.9 > 2 * found.commonest


@pytest.mark.parametrize("value", ["WorkflowType", "ExecutionStatus of closed runs"])
def test_strict_shows_little_more_than_the_commonest_value(strict, value):
    """The target of `strict`: within 1.1 of always naming the commonest value."""
    found = strict.recover(VALUES[value])
    assert found.recovered <= GOAL_RATIO * found.commonest


@pytest.mark.parametrize("number", ["ExecutionDuration", "a custom Double"])
def test_strict_shows_no_order_of_numbers(strict, number):
    """The target of `strict`: a rank correlation below 0.3."""
    assert strict.order(NUMBERS[number]) < GOAL_ORDER


def test_the_rank_correlation():
    """Equal order is 1, reverse order is -1, and equal guesses are 0."""
    assert spearman([1, 2, 5], [10, 20, 30]) == pytest.approx(1)
    assert spearman([5, 2, 1], [10, 20, 30]) == pytest.approx(-1)
    assert spearman([1, 1, 1], [10, 20, 30]) == 0
