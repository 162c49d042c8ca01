from __future__ import annotations

import pytest

from strongroom.storage import DataLoss
from strongroom.storage.histories.chain import NO_LIMIT, ChainReader, NodeRows

# Rows are (node, transaction, previous transaction).
STRAIGHT = [(1, 1, 0), (2, 2, 1), (4, 5, 2)]
FAILED_ATTEMPTS = [(1, 1, 0), (2, 9, 1), (2, 3, 1), (3, 4, 3), (4, 10, 9)]
FAILED_ATTEMPTS_COUNTED = [(1, 1, 0), (2, 9, 1), (4, 10, 9)]


def follow(reader, rows, *, room=100):
    """Return the rows that count."""
    columns = NodeRows(*map(list, zip(*rows, strict=True)))
    return [rows[index] for index in reader.follow(columns, room=room)]


def forwards(link=None):
    return ChainReader(reverse=False, link=link)


def backwards(newest, link=None):
    return ChainReader(reverse=True, link=newest if link is None else link, newest=newest)


@pytest.mark.parametrize(
    ("rows", "counted"), [(STRAIGHT, STRAIGHT), (FAILED_ATTEMPTS, FAILED_ATTEMPTS_COUNTED)], ids=["straight", "retried"]
)
def test_both_directions_count_the_same_writes(rows, counted):
    """The newest write of each node counts, unless a lower node has a newer one."""
    assert follow(forwards(), rows) == counted
    reader = backwards(counted[-1][1])
    assert follow(reader, rows[::-1]) == counted[::-1]
    reader.finish(None)


@pytest.mark.parametrize(
    "rows",
    [
        [(1, 1, 0), (4, 5, 2)],
        [(1, 1, 0), (3, 3, 2), (4, 5, 2)],
        [(2, 2, 1), (4, 5, 2)],
        [(2, 2, 1), (2, 1, 0), (4, 5, 2)],
    ],
    ids=["a node", "a node behind a failed attempt", "node 1", "node 1 of a retried history"],
)
def test_both_directions_refuse_a_missing_node(rows):
    """Backwards the loss of the oldest nodes is found at the end."""
    with pytest.raises(DataLoss):
        follow(forwards(), rows)

    def read_backwards():
        reader = backwards(rows[-1][1])
        follow(reader, rows[::-1])
        reader.finish(None)

    with pytest.raises(DataLoss):
        read_backwards()


def test_a_lost_rewrite_is_refused_in_both_directions():
    """Node 5 was rewritten by transaction 6, which is lost with all nodes before it; its older write is no substitute."""
    rows = [(5, 4, 3), (6, 7, 6), (7, 8, 7)]
    with pytest.raises(DataLoss):
        follow(forwards(), rows)
    reader = backwards(8)
    assert follow(reader, rows[::-1]) == rows[:0:-1]
    with pytest.raises(DataLoss):
        reader.finish(None)


def test_a_range_is_linked_to_the_node_in_front_of_it():
    """The first node of a range names the newest transaction below it, in both directions."""
    rows = [(4, 5, 3), (5, 6, 5)]
    assert follow(forwards(link=3), rows) == rows
    with pytest.raises(DataLoss):
        follow(forwards(link=2), rows)
    reader = backwards(6)
    assert follow(reader, rows[::-1]) == rows[::-1]
    reader.finish(3)
    with pytest.raises(DataLoss):
        reader.finish(2)


@pytest.mark.parametrize("rows", [STRAIGHT, FAILED_ATTEMPTS], ids=["straight", "retried"])
def test_a_full_page_leaves_the_next_row(rows):
    """A row that counts and has no room is left for the next page, which begins where this one ended."""
    for reader, ordered in ((forwards(), rows), (backwards(rows[-1][1]), rows[::-1])):
        first = follow(reader, ordered, room=2)
        assert len(first) == 2
        assert reader.has_more
        reader.has_more = False
        rest = [row for row in ordered if (row[0] < reader.node_id if reader.reverse else row[0] > reader.node_id)]
        assert len(follow(reader, rest)) == 1
        assert not reader.has_more


def test_shadowed_rows_are_no_next_page():
    """Shadowed rows after a full page don't promise another one."""
    reader = forwards(link=9)
    assert follow(reader, [(2, 10, 9), (3, 4, 2), (4, 5, 4)], room=1) == [(2, 10, 9)]
    assert not reader.has_more


def test_writes_after_a_backward_read_began_are_ignored():
    """A backward read is of the transactions up to `newest`, whatever was written to its nodes since."""
    rows = [(3, 3, 2), (2, 8, 1), (2, 2, 1), (1, 1, 0)]
    reader = backwards(3)
    assert follow(reader, rows) == [(3, 3, 2), (2, 2, 1), (1, 1, 0)]
    reader.finish(None)
    assert forwards().newest == NO_LIMIT


def test_two_writes_of_a_node_never_both_count():
    """Not even if one of them names the transaction of the other, as a first write by transaction 0 makes it look."""
    assert follow(forwards(), [(1, 0, 0), (1, 5, 0), (2, 6, 5)]) == [(1, 5, 0), (2, 6, 5)]
