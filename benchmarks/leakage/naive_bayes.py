"""A naive Bayes classifier of categories, in plain Python."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    Posterior = dict[str, float]

SMOOTHING = 0.5


class NaiveBayes:
    """Learns how common each value of each feature is for each label.

    Args:
        rows: The features of each example. All rows have as many.
        labels: The label of each example.
    """

    def __init__(self, rows: Sequence[Sequence[Hashable]], labels: Sequence[str]) -> None:
        self._labels = Counter(labels)
        self._counts: list[dict[Hashable, Counter[str]]] = []
        for column in zip(*rows, strict=True):
            counts: dict[Hashable, Counter[str]] = defaultdict(Counter)
            for value, label in zip(column, labels, strict=True):
                counts[value][label] += 1
            self._counts.append(counts)
        self._scores: dict[tuple[int, Hashable], Posterior] = {}

    def posterior(self, row: Sequence[Hashable]) -> Posterior:
        """Return the logarithm of the probability of each label, given the features, except for a constant."""
        total = sum(self._labels.values())
        found = {label: math.log(count / total) for label, count in self._labels.items()}
        for place, value in enumerate(row):
            score = self._scores.get((place, value)) or self._score(place, value)
            for label in found:
                found[label] += score[label]
        return normal(found)

    def _score(self, place: int, value: Hashable) -> Posterior:
        values = self._counts[place]
        seen = values.get(value, Counter())
        score = {
            label: math.log((seen[label] + SMOOTHING) / (count + SMOOTHING * (len(values) + 1)))
            for label, count in self._labels.items()
        }
        self._scores[place, value] = score
        return score


def normal(scores: Posterior) -> Posterior:
    """Return logarithms of probabilities that add up to one."""
    top = max(scores.values())
    total = top + math.log(sum(math.exp(score - top) for score in scores.values()))
    return {label: score - total for label, score in scores.items()}


def best(posterior: Posterior) -> str:
    """Return the likeliest label."""
    return max(posterior, key=posterior.__getitem__)
