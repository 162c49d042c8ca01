"""Recover values from a stolen index with a similar service's data: by frequency, by columns in clear, and by co-occurrence.

The thief seals their own runs with a key of their own, because they know the program, and learns how values and appearance go
together. They try each attack on a part of their own runs, and use the one that works best.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from .naive_bayes import NaiveBayes, best, normal
from .stolen import shares

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from .naive_bayes import Posterior
    from .stolen import Document

COMMONEST = 16
"""Number of tokens of the token set that are matched with the thief's own by rank."""
RANKS = 24
"""Number of tokens of a column that are matched by rank."""
RAREST = 9
"""Class of tokens of at most a five-hundredth of the documents. Rarer ones depend on the number of documents."""
WEIGHT = 0.5
"""Weight of what is thought of runs that share a token."""
MOST_SHARED = 0.1
"""Greatest share of the documents for which a token still says something about a document."""
ROUNDS = 2
HOUR = 3600
CELLS = 16
"""Number of classes that the values of a number are divided into, to estimate their order."""
Rows: TypeAlias = "list[tuple[Hashable, ...]]"


def frequencies(documents: Sequence[Document]) -> Rows:
    """Return features from tokens alone: the rank of the token in each column, the commonest tokens, and how many are how common."""
    share = shares(documents)
    ordered = sorted(share, key=share.__getitem__, reverse=True)
    columns = sorted({column for column, _ in ordered} - {""})
    of_column = {column: [token for token in ordered if token[0] == column] for column in columns}
    rank = {token: min(place, RANKS) for tokens in of_column.values() for place, token in enumerate(tokens)}
    commonest = [token for token in ordered if not token[0]][:COMMONEST]
    rows: Rows = []
    for document in documents:
        own, ranks, sizes = set(document.tokens), dict.fromkeys(columns, -1), [0] * (RAREST + 1)
        for token in own:
            if token[0]:
                ranks[token[0]] = rank[token]
            else:
                sizes[min(RAREST, int(-math.log2(share[token])))] += 1
        rows.append((*ranks.values(), *(token in own for token in commonest), *(min(size, 20) for size in sizes)))
    return rows


def clear_columns(documents: Sequence[Document]) -> Rows:
    """Return features from columns in clear: open, time from start to close, hour of the close, length, number of tokens.

    Some are there in pairs, because a naive Bayes classifier takes features as independent.
    """
    rows: Rows = []
    for document in documents:
        is_open, length, tokens = document.closed is None, document.length, len(document.tokens)
        duration = None if document.closed is None else duration_class(document.closed - document.started)
        hour = None if document.closed is None else document.closed // HOUR % 24
        rows.append((is_open, hour, (duration, length), (length, tokens), (duration, length, tokens)))
    return rows


def duration_class(seconds: int) -> int:
    """Return the quarter of an octave of a duration."""
    return int(4 * math.log2(1 + max(0, seconds)))


def both(documents: Sequence[Document]) -> Rows:
    """Return the features of both attacks."""
    return [(*one, *other) for one, other in zip(clear_columns(documents), frequencies(documents), strict=True)]


def propagate(documents: Sequence[Document], posteriors: Sequence[Posterior], weight: float) -> list[Posterior]:
    """Return guesses that take the guesses for runs with the same tokens into account: co-occurrence."""
    owners: dict[object, list[int]] = defaultdict(list)
    for place, document in enumerate(documents):
        for token in document.tokens:
            owners[token].append(place)
    telling = [group for group in owners.values() if 1 < len(group) <= MOST_SHARED * len(documents)]
    found = list(posteriors)
    for _ in range(ROUNDS):
        added: list[Posterior] = [dict.fromkeys(posteriors[0], 0.0) for _ in documents]
        for group in telling:
            mean = {label: sum(found[place][label] for place in group) / len(group) for label in posteriors[0]}
            for place in group:
                for label, score in mean.items():
                    added[place][label] += weight * score
        found = [
            normal({label: own[label] + more[label] for label in own})
            for own, more in zip(posteriors, added, strict=True)
        ]
    return found


@dataclass(frozen=True, slots=True)
class Attack:
    """A way to guess values.

    Attributes:
        name: Its name in the report.
        features: The function that returns the features of documents.
        weight: The weight of runs that share a token; 0 for none.
    """

    name: str
    features: Callable[[Sequence[Document]], Rows]
    weight: float = 0.0

    def guess(self, own: Sequence[Document], labels: Sequence[str], documents: Sequence[Document]) -> list[Posterior]:
        """Return what the thief thinks of each document, after they have learned from their own."""
        classifier = NaiveBayes(self.features(own), labels)
        posteriors = [classifier.posterior(row) for row in self.features(documents)]
        return propagate(documents, posteriors, self.weight) if self.weight else posteriors


COMMONEST_VALUE = Attack("the commonest value", lambda documents: [() for _ in documents])
FREQUENCY = Attack("tokens", frequencies)
CLEAR = Attack("clear columns", clear_columns)
BOTH = Attack("clear columns and tokens", both)
CO_OCCURRENCE = Attack("co-occurrence", clear_columns, WEIGHT)
ATTACKS = (COMMONEST_VALUE, FREQUENCY, CLEAR, BOTH, CO_OCCURRENCE)
COLUMNS: Mapping[str, Callable[[Document], float]] = {
    "close": lambda document: math.inf if document.closed is None else document.closed,
    "start": lambda document: document.started,
    "close - start": lambda document: math.inf if document.closed is None else document.closed - document.started,
    "length": lambda document: document.length,
}
"""Columns in clear whose order may be that of a number."""


@dataclass(frozen=True, slots=True)
class Thief:
    """A thief's own runs: those to learn from, and those to try attacks on, sealed under another key.

    Attributes:
        learned: Documents to learn from.
        tried: Documents to try attacks on.
    """

    learned: Sequence[Document]
    tried: Sequence[Document]
    attacks: Sequence[Attack] = field(default=ATTACKS)

    def choose(self, labels: Sequence[str]) -> Attack:
        """Return the attack that recovers most of the labels of the own runs."""
        known, wanted = labels[: len(self.learned)], labels[len(self.learned) :]

        def right(attack: Attack) -> int:
            guesses = attack.guess(self.learned, known, self.tried)
            return sum(best(guess) == label for guess, label in zip(guesses, wanted, strict=True))

        return max(self.attacks, key=right)


def expected(posterior: Posterior) -> float:
    """Return the expected value of a label that is a number."""
    return sum(int(label) * math.exp(score) for label, score in posterior.items())


def cells_of(values: Sequence[float]) -> Callable[[float], str]:
    """Return a function that returns the class of a number, of `CELLS` that are equally common in the values."""
    ordered = sorted(values)
    bounds = [ordered[len(ordered) * place // CELLS] for place in range(1, CELLS)]
    return lambda value: str(sum(bound <= value for bound in bounds))


def spearman(guesses: Sequence[float], values: Sequence[float]) -> float:
    """Return Spearman's rank correlation; 0 if all guesses are equal."""
    first, second = _ranks(guesses), _ranks(values)
    mean = (len(first) - 1) / 2
    spread = math.sqrt(sum((rank - mean) ** 2 for rank in first) * sum((rank - mean) ** 2 for rank in second))
    return sum((a - mean) * (b - mean) for a, b in zip(first, second, strict=True)) / spread if spread else 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    places = sorted(range(len(values)), key=values.__getitem__)
    ranks, start = [0.0] * len(values), 0
    while start < len(places):
        end = start
        while end < len(places) and values[places[end]] == values[places[start]]:
            end += 1
        for place in places[start:end]:
            ranks[place] = (start + end - 1) / 2
        start = end
    return ranks
