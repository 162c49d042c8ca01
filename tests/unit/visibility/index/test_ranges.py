"""Range trees: each number has one leaf, and a range is covered by the leaves inside it and the two at its ends."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.visibility.index.ranges import COARSE_MAGNITUDES, INT64_MAX, INT64_MIN, MAGNITUDES, SECONDS

TREES = pytest.mark.parametrize("tree", [MAGNITUDES, COARSE_MAGNITUDES, SECONDS], ids=["4", "3", "seconds"])
NUMBERS = st.one_of(
    st.integers(INT64_MIN, INT64_MAX),
    st.integers(-5000, 5000),
    st.builds(
        lambda bits, by, sign: sign * (2**bits + by), st.integers(0, 62), st.integers(-1, 1), st.sampled_from((1, -1))
    ),
)


def covered(tree, first, last):
    """Return the leaves below the nodes that cover a range of leaves, as ranges in order."""
    return sorted(
        (node << tree.bits * level, (node + 1 << tree.bits * level) - 1) for level, node in tree.cover(first, last)
    )


@TREES
@given(value=NUMBERS, other=NUMBERS)
def test_a_larger_number_never_has_a_smaller_leaf(tree, value, other):
    """Leaves are in the order of the numbers, and none is beyond the tree."""
    low, high = sorted((value, other))
    assert 0 <= tree.leaf(low) <= tree.leaf(high) < 1 << tree.bits * tree.levels


@TREES
@given(value=NUMBERS)
def test_a_leaf_begins_at_its_lowest_number(tree, value):
    """The lowest number of a leaf is in it, and the number before is not."""
    leaf = tree.leaf(value)
    lowest = tree.lowest(leaf)
    assert lowest <= value < tree.lowest(leaf + 1) or value == INT64_MAX
    assert tree.leaf(lowest) == leaf
    assert lowest == INT64_MIN or tree.leaf(lowest - 1) == leaf - 1 or tree.lowest(leaf - 1) == lowest


@TREES
@given(value=NUMBERS, other=NUMBERS)
def test_a_range_is_covered_by_its_leaves_and_no_others(tree, value, other):
    """The nodes of a cover are apart from each other, without a gap, from the first to the last leaf."""
    low, high = sorted((value, other))
    inside, overlapping = tree.leaves(low, high)
    assert overlapping == (tree.leaf(low), tree.leaf(high))
    assert inside[0] - overlapping[0] in (0, 1)
    assert overlapping[1] - inside[1] in (0, 1)
    found = covered(tree, *overlapping)
    assert (found[0][0], found[-1][1]) == overlapping
    assert all(before[1] + 1 == after[0] for before, after in itertools.pairwise(found))


@pytest.mark.parametrize(("tree", "own"), [(MAGNITUDES, 4095), (COARSE_MAGNITUDES, 255)], ids=["4", "3"])
def test_small_numbers_have_leaves_of_their_own(tree, own):
    """So a range of them is exact without opening a document. The next larger number shares its leaf."""
    numbers = range(-own, own + 1)
    assert len({tree.leaf(number) for number in numbers}) == len(numbers)
    assert tree.leaf(own + 1) == tree.leaf(own + 2)
