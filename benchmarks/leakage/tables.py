"""Tables of the leakage benchmark, from its journal alone."""

from __future__ import annotations

from typing import Any

from benchmarks.lib.figures import table

GOAL_RATIO, GOAL_ORDER = 1.1, 0.3
"""The targets of the preset `strict`: how much better than guessing the commonest value, and the rank correlation of numbers."""
TEXT = (
    "A thief has the plaintext of a similar service and one snapshot of the index without keys. They seal their own runs with a key "
    "of their own, and learn from columns in clear, frequencies of tokens and tokens that occur together (naive Bayes, with "
    "propagation along shared tokens). They try each attack on a part of their own runs, and use the best one. *Recovered* is the "
    "share of the victim's runs whose value they name. *Commonest* is the share that always naming the commonest value gets right, "
    "and *ratio* divides the two. *Of other values* is the share of the runs that have another value and are named right. In the "
    "control, the index is not sealed."
)


def tables(rows: list[dict[str, Any]]) -> list[str]:
    """Return the text and the tables."""
    parts = [TEXT]
    for kind, build in (("value", _values), ("order", _orders), ("oracle", _oracle)):
        found = [row for row in rows if kind in row["place"]]
        if found:
            parts.append(build(found))
    return parts


def _values(rows: list[dict[str, Any]]) -> str:
    body = [
        (
            row["place"]["value"],
            row["place"]["preset"],
            _percent(row["figures"]["recovered"]),
            _percent(row["figures"]["commonest"]),
            f"{row['figures']['recovered'] / row['figures']['commonest']:.2f}",
            _percent(row["figures"]["others"]),
            _percent(row["figures"]["tokens_alone"]),
            row["figures"]["attack"],
        )
        for row in rows
    ]
    head = ("value", "preset", "recovered", "commonest", "ratio", "of other values", "from tokens alone", "best attack")
    return table(head, body)


def _orders(rows: list[dict[str, Any]]) -> str:
    presets = list(dict.fromkeys(row["place"]["preset"] for row in rows))
    found = {(row["place"]["order"], row["place"]["preset"]): row["figures"]["spearman"] for row in rows}
    values = dict.fromkeys(value for value, _ in found)
    body = [(value, *(f"{found[value, preset]:.2f}" for preset in presets)) for value in values]
    return "Order of numbers and times: Spearman's rank correlation of the thief's estimate.\n\n" + table(
        ("order of", *presets), body
    )


def _oracle(rows: list[dict[str, Any]]) -> str:
    body = [(row["place"]["oracle"], f"{row['figures']['recovered']} of {row['figures']['secrets']}") for row in rows]
    return (
        "Compression oracle: secrets of six digits in a memo, found from the lengths of records in which the attacker chose a search "
        "attribute.\n\n" + table(("record", "secrets found"), body)
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
