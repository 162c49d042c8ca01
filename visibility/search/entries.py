"""The runs of a list while it is being made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .evaluate import predicate
from .ordering import ranking
from .scan import matching_places

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from strongroom.storage import Row
    from strongroom.visibility.index.record import VisibilityRecord

    from .list_plan import Group
    from .prepared import PreparedFilter


class Entry(NamedTuple):
    """A run of a list.

    Attributes:
        rank: Its rank in the order of the list.
        row: The row of its document.
        record: Its record.
        group: Its group, see `list_plan.py`.
        is_in_index_order: Whether the runs of its group are listed in the order of the index.
    """

    rank: tuple[Any, ...]
    row: Row
    record: VisibilityRecord
    group: Group = ()
    is_in_index_order: bool = False


def entry_rank(entry: Entry) -> tuple[Any, ...]:
    """Return the rank of an entry, to sort by."""
    return entry.rank


def selector(
    prepared: PreparedFilter, group_of: Callable[[Row], Group] = lambda _: ()
) -> Callable[[Sequence[Row], Sequence[VisibilityRecord]], Awaitable[list[Entry]]]:
    """Return a function that returns the matching runs among opened rows."""
    is_match, rank_of = predicate(prepared.parsed.where), ranking(prepared.parsed.order_by)

    async def select(rows: Sequence[Row], records: Sequence[VisibilityRecord]) -> list[Entry]:
        places = await matching_places(records, is_match)
        return [Entry(rank_of(records[at]), rows[at], records[at], group_of(rows[at])) for at in places]

    return select
