"""What is left of the functional tests after a run that ended early."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .journal import Journal, Side


def what_is_left(journal: Journal, suites: Sequence[str], sides: Iterable[Side], repeats: int) -> list[str]:
    """Return lines that name the suites that were not run and the tests that wait for a run alone; empty if nothing is left.

    Args:
        journal: The results.
        suites: The suites that count.
        sides: The sides that count.
        repeats: How often a failing test is repeated alone at most.
    """
    places = [(suite, side) for suite in suites for side in sides]
    not_run = [f"{suite} ({side})" for suite, side in places if not journal.has(suite, side)]
    tests = [f"{test} ({side})" for suite, side in places for test in journal.to_repeat(suite, side, repeats)]
    return [
        *([f"suites that were not run ({len(not_run)}): {', '.join(not_run)}"] if not_run else []),
        *([f"tests that wait for a run alone ({len(tests)}): {', '.join(tests)}"] if tests else []),
    ]
