from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from strongroom.storage import DataLoss, HistoryBranch
from tests.support.counts import examples
from tests.support.history_model import (
    TREE,
    WHOLE,
    Bounds,
    History,
    Write,
    bounds,
    counted,
    expected_read,
    histories,
    read_all,
)

PAGE_SIZES = st.integers(1, 5)
BRANCH = HistoryBranch(1, TREE, TREE)
# The newest write of node 5 and all nodes before it are lost; its older write is left.
LOST_REWRITE = History(
    BRANCH, [Write(TREE, *row) for row in [(1, 1, 0), (2, 2, 1), (3, 3, 2), (5, 4, 3), (5, 6, 3), (6, 7, 6), (7, 8, 7)]]
)


@settings(deadline=None, max_examples=examples(200))
@given(st.one_of(histories(), histories(shared_transactions=True)), bounds(), PAGE_SIZES)
def test_both_directions_return_the_writes_that_count(history, part, page_size):
    """A read between two bounds, in pages of any size, is the whole history cut to the bounds."""
    wanted = [write[1:] for write in counted(history.writes) if part.low <= write.node < part.high]
    for reverse in (False, True):
        assert read_all(history.branch, history.writes, part, reverse=reverse, page_size=page_size) == wanted


@settings(deadline=None, max_examples=examples(500))
@example(LOST_REWRITE, frozenset({0, 1, 2, 4}), Bounds(5, WHOLE.high), 100)
@given(histories(), st.frozensets(st.integers(0, 13)), bounds(), PAGE_SIZES)
def test_a_read_gives_an_older_state_or_refuses(history, lost, part, page_size):
    """Whatever is deleted, both directions return the branch as of the newest write that is left, or raise `DataLoss`."""
    left = [write for index, write in enumerate(history.writes) if index not in lost]
    expected = expected_read(history, left, part)
    for reverse in (False, True):
        assert read_all(history.branch, left, part, reverse=reverse, page_size=page_size) == expected


@settings(deadline=None, max_examples=examples(300))
@given(histories(), st.frozensets(st.integers(0, 13), min_size=1), bounds(), PAGE_SIZES)
def test_every_loss_below_the_end_is_refused(history, lost, part, page_size):
    """If the newest write of the range is left, a read returns the truth, or raises `DataLoss` for any node that is missing."""
    left = [write for index, write in enumerate(history.writes) if index not in lost]
    chain = counted([write for write in history.writes if write.node < part.high])
    wanted = [write for write in chain if write.node >= part.low]
    if not wanted or wanted[-1] not in left:
        return
    expected = DataLoss if set(wanted) - set(left) else [write[1:] for write in wanted]
    for reverse in (False, True):
        result = read_all(history.branch, left, part, reverse=reverse, page_size=page_size)
        assert result in (expected, DataLoss)  # DataLoss also where the link in front of the range is missing


@settings(deadline=None, max_examples=examples(300))
@given(histories(), st.frozensets(st.integers(0, 13)), bounds(), PAGE_SIZES, st.data())
def test_a_known_last_transaction_reveals_a_cut_tail(history, lost, part, page_size, data):
    """A caller that names the last transaction gets the history as of it, or `DataLoss`; newer writes don't matter."""
    left = [write for index, write in enumerate(history.writes) if index not in lost]
    inside = [write.txn for write in history.writes if write.node < part.high]
    if not inside:
        return
    as_of = data.draw(st.sampled_from(inside))
    expected = expected_read(history, left, part, as_of=as_of)
    result = read_all(history.branch, left, part, reverse=True, page_size=page_size, last_txn_id=as_of)
    assert result == expected


@settings(deadline=None, max_examples=examples(300))
@given(histories(shared_transactions=True), st.frozensets(st.integers(0, 13)), bounds(), PAGE_SIZES)
def test_both_directions_agree_on_nodes_that_share_a_transaction(history, lost, part, page_size):
    """What one direction returns or refuses the other does too, for nodes of one transaction as well."""
    left = [write for index, write in enumerate(history.writes) if index not in lost]
    forwards = read_all(history.branch, left, part, reverse=False, page_size=page_size)
    assert read_all(history.branch, left, part, reverse=True, page_size=page_size) == forwards
