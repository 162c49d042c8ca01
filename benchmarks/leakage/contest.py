"""What a thief recovers from a stolen index, by preset, compared with guessing: `make bench-leakage`.

The thief has the plaintext of a similar service (5,000 runs) and one snapshot of the victim's index (3,000 runs) without keys. The
control is an index that is not sealed: its columns in clear contain the values.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.lib.journal import Journal
from strongroom.visibility import new_layout

from . import oracle
from .attacks import ATTACKS, COLUMNS, Attack, Thief, cells_of, expected, spearman
from .naive_bayes import best
from .service import runs
from .stolen import stolen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.visibility import Layout, VisibilityRecord

    from .stolen import Document

OWN, VICTIMS, SECRETS = 5_000, 3_000, 12
UNSEALED = "unsealed"
VALUES: dict[str, Callable[[VisibilityRecord], str | None]] = {
    "WorkflowType": lambda run: run.workflow_type,
    "ExecutionStatus": lambda run: run.execution_status,
    "ExecutionStatus of closed runs": lambda run: None if run.close_time is None else run.execution_status,
    "TaskQueue": lambda run: run.task_queue,
    "is a child": lambda run: str(run.parent_run_id is not None),
}
NUMBERS: dict[str, Callable[[VisibilityRecord], float | None]] = {
    "ExecutionDuration": lambda run: run.execution_duration,
    "HistoryLength": lambda run: run.history_length,
    "HistorySizeBytes": lambda run: run.history_size_bytes,
    "a custom Double": lambda run: _number(run, "Amount"),
    "a custom Int": lambda run: _number(run, "Items"),
    "StartTime": lambda run: run.start_time,
    "CloseTime": lambda run: run.close_time,
}


def _number(run: VisibilityRecord, name: str) -> float | None:
    value = run.search_attributes.get(name)
    return float(value) if isinstance(value, int | float) else None


def presets(own: Sequence[VisibilityRecord]) -> dict[str, Layout]:
    """Return the layouts to attack. Those of `strict` have the salts of the service's own shares."""
    statuses = Counter(run.execution_status for run in own)
    return {
        "compatible": new_layout("compatible"),
        "strict": new_layout("strict", statuses),
    }


class Recovery(NamedTuple):
    """What an attack recovers: shares of the runs.

    Attributes:
        recovered: Share of the runs whose value the thief names.
        commonest: Share of the runs that have the commonest value.
        others: Share of the runs with any other value, whose value the thief names.
        attack: The attack.
    """

    recovered: float
    commonest: float
    others: float
    attack: str


class Target:
    """A stolen index, and what its thief knows.

    Attributes:
        documents: The documents of the victim's index.
        own_documents: The documents of the thief's runs.
        tried_documents: The documents of the second half of the thief's runs, sealed under another key, to try attacks on.

    Args:
        own: The thief's runs.
        victims: The victim's runs.
        layout: The layout of the index.
    """

    def __init__(self, own: Sequence[VisibilityRecord], victims: Sequence[VisibilityRecord], layout: Layout) -> None:
        self._own, self._victims, self._half = own, victims, len(own) // 2
        self.documents = stolen(victims, layout, "victim")
        self.own_documents = stolen(own, layout, "thief")
        self.tried_documents = stolen(own[self._half :], layout, "thief, second key")

    def unsealed(self, value: Callable[[VisibilityRecord], Any]) -> Target:
        """Return the control: the same index, not sealed. Each document has the value itself in place of its length."""

        def shown(documents: Sequence[Document], records: Sequence[VisibilityRecord]) -> list[Document]:
            return [
                replace(document, length=value(record), tokens=())
                for document, record in zip(documents, records, strict=True)
            ]

        control = copy(self)
        control.documents = shown(self.documents, self._victims)
        control.own_documents = shown(self.own_documents, self._own)
        control.tried_documents = shown(self.tried_documents, self._own[self._half :])
        return control

    def recover(self, value: Callable[[VisibilityRecord], str | None], attacks: Sequence[Attack] = ATTACKS) -> Recovery:
        """Return what the thief's best attack recovers."""
        attack, documents, labels = self._attack(value, attacks)
        guesses = attack.guess(*self._known(value), documents)
        right = [label for guess, label in zip(guesses, labels, strict=True) if best(guess) == label]
        commonest, count = Counter(labels).most_common(1)[0]
        others = sum(label != commonest for label in right) / (len(labels) - count)
        return Recovery(len(right) / len(labels), count / len(labels), others, attack.name)

    def order(self, number: Callable[[VisibilityRecord], float | None]) -> float:
        """Return the rank correlation of the numbers with the thief's best estimate of them: a column, or what they have learned."""
        column = max(COLUMNS.values(), key=lambda column: self._like(column, number, self.own_documents, self._own))
        alike = self._like(column, number, self.documents, self._victims)
        have = [found for run in self._own if (found := number(run)) is not None]
        cell = cells_of(have)

        def label(run: VisibilityRecord) -> str | None:
            found = number(run)
            return None if found is None else cell(found)

        attack, documents, _ = self._attack(label, ATTACKS[:-1])
        estimates = [expected(guess) for guess in attack.guess(*self._known(label), documents)]
        learned = spearman(estimates, [found for run in self._victims if (found := number(run)) is not None])
        return max(alike, abs(learned))

    @staticmethod
    def _like(
        column: Callable[[Document], float],
        number: Callable[[VisibilityRecord], float | None],
        documents: Sequence[Document],
        records: Sequence[VisibilityRecord],
    ) -> float:
        pairs = [
            (column(document), found)
            for document, record in zip(documents, records, strict=True)
            if (found := number(record)) is not None
        ]
        return abs(spearman([shown for shown, _ in pairs], [found for _, found in pairs]))

    def _attack(
        self, value: Callable[[VisibilityRecord], str | None], attacks: Sequence[Attack]
    ) -> tuple[Attack, list[Document], list[str]]:
        learned, known = chosen(self.own_documents[: self._half], self._own[: self._half], value)
        tried, wanted = chosen(self.tried_documents, self._own[self._half :], value)
        attack = Thief(learned, tried, attacks).choose([*known, *wanted])
        return (attack, *chosen(self.documents, self._victims, value))

    def _known(self, value: Callable[[VisibilityRecord], str | None]) -> tuple[list[Document], list[str]]:
        return chosen(self.own_documents, self._own, value)


def chosen(
    documents: Sequence[Document], records: Sequence[VisibilityRecord], value: Callable[[VisibilityRecord], str | None]
) -> tuple[list[Document], list[str]]:
    """Return the documents of runs that have a value, and the values."""
    pairs = [
        (document, label)
        for document, record in zip(documents, records, strict=True)
        if (label := value(record)) is not None
    ]
    return [document for document, _ in pairs], [label for _, label in pairs]


def measure(journal: Journal, own_runs: int, victims: int, secrets: int, *, seed: int = 1) -> None:
    """Attack each preset, and write what is recovered to a journal."""
    own, victim = runs(own_runs, seed=seed, similar=True), runs(victims, seed=seed + 1)
    targets = {name: Target(own, victim, layout) for name, layout in presets(own).items()}
    for value, read in VALUES.items():
        control = targets["compatible"].unsealed(read)
        for name, target in {UNSEALED: control, **targets}.items():
            found, from_tokens = target.recover(read), target.recover(read, ATTACKS[:2])
            journal.add({**found._asdict(), "tokens_alone": from_tokens.recovered}, value=value, preset=name)
            print(f"  {value}, {name}: {found}", file=sys.stderr)
    for value, number in NUMBERS.items():
        for name, target in targets.items():
            correlation = target.order(number)
            journal.add({"spearman": correlation}, order=value, preset=name)
            print(f"  order of {value}, {name}: {correlation:.3f}", file=sys.stderr)
    for name, length in oracle.LENGTHS.items():
        found = oracle.recovered(length, secrets)
        journal.add({"recovered": found, "secrets": secrets}, oracle=name)
        print(f"  oracle, {name}: {found} of {secrets}", file=sys.stderr)


def main() -> None:
    """Run the attacks, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="journal of the figures; without it the tables are only printed")
    parser.add_argument("--smoke", action="store_true", help="few runs, for tests; the figures mean nothing")
    options = parser.parse_args()
    own, victims, secrets = (600, 400, 1) if options.smoke else (OWN, VICTIMS, SECRETS)
    if options.out is not None:
        options.out.unlink(missing_ok=True)
    journal = Journal(options.out, own=own, victims=victims, secrets=secrets)
    measure(journal, own, victims, secrets)
    from .tables import tables  # noqa: PLC0415 - after measuring

    print("\n\n".join(tables([{"place": dict(place), "figures": found} for place, found in journal.entries.items()])))


if __name__ == "__main__":
    main()
