"""What a filter costs and shows: what is sent to the index, which part is exact, what is opened, and what the query itself tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.visibility.backends.token_query import All, AnyOf, Bucket, Epoch, Some, TokenQuery
from strongroom.visibility.backends.token_query import Not as NotQuery
from strongroom.visibility.fields import BUILT_IN
from strongroom.visibility.filter.tree import And, Between, Compare, In, IsNull, Not, Or, StartsWith

from .compiler import compile_filter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.visibility.filter.tree import Leaf, Node
    from strongroom.visibility.index.tokens import Tokenizer


@dataclass(frozen=True, slots=True)
class ExplainedCondition:
    """One condition of a filter, without its values.

    Attributes:
        attribute: its name.
        operator: as the language spells it.
        tokens: how many are sent for it.
        exact: whether the index alone decides it.
        profile: what the index holds of the attribute, by its name in `fields.py`.
        leakage: what the index shows of the attribute; the words are explained in `fields.py`.
        reveals: what whoever sees the query learns from this condition.
    """

    attribute: str
    operator: str
    tokens: int
    exact: bool
    profile: str
    leakage: str
    reveals: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a filter is answered.

    Attributes:
        conditions: each of them, that on the division included which every filter without one gets.
        sure: documents that match for certain, by the index.
        possible: documents that may match. A count opens those of them that are not sure, a list as many as its pages need.
        budget: how many documents one query may open beyond those that it returns.
        sorted_here: whether ORDER BY makes each page open all possible documents.
        epochs: in how many epochs of the index key documents may lie; each condition is sent for all of them.
    """

    conditions: tuple[ExplainedCondition, ...]
    sure: int
    possible: int
    budget: int
    sorted_here: bool
    epochs: int

    @property
    def exact(self) -> bool:
        """Whether the index alone can count."""
        return self.sure == self.possible

    @property
    def opened(self) -> int:
        """How many documents a count opens."""
        return self.possible - self.sure


def explain_conditions(where: Node, tokenizer: Tokenizer) -> tuple[ExplainedCondition, ...]:
    """Explain each condition of a filter, in order."""
    return tuple(_explained(leaf, tokenizer) for leaf in _leaves(where))


def why_opened(where: Node, tokenizer: Tokenizer) -> str:
    """Return which conditions make documents be opened: attribute, operator and profile, without a name that a tenant chose."""
    reasons = [
        f"{leaf.attribute.name if leaf.attribute.name in BUILT_IN else f'a custom {leaf.attribute.type.value}'} "
        f"{_operator(leaf)} (profile {explained.profile})"
        for leaf in _leaves(where)
        if not (explained := _explained(leaf, tokenizer)).exact
    ]
    return ", ".join(dict.fromkeys(reasons)) or "all runs of a second are sorted together"


def _leaves(node: Node) -> Iterator[Leaf]:
    match node:
        case And(items) | Or(items):
            for item in items:
                yield from _leaves(item)
        case Not(item):
            yield from _leaves(item)
        case _:
            yield node


def _explained(leaf: Leaf, tokenizer: Tokenizer) -> ExplainedCondition:
    compiled = compile_filter(leaf, tokenizer)
    profile = tokenizer.layout.profile(leaf.attribute.name, leaf.attribute.type)
    sent = _tokens(compiled.possible) | _tokens(compiled.sure)
    if not sent and profile.bucket is None:
        reveals = "nothing"
    elif profile.bucket is not None:
        reveals = "the bounds, in seconds"
    elif isinstance(leaf, IsNull) or (not compiled.exact and not _tokens(compiled.sure) and len(sent) == 1):
        reveals = "which documents have the attribute"
    elif len(sent) == 1:
        reveals = "which documents match, and that the same is asked again"
    else:
        reveals = "which documents match, and that these tokens belong together"
    return ExplainedCondition(
        leaf.attribute.name, _operator(leaf), len(sent), compiled.exact, profile.name, profile.leakage, reveals
    )


def _operator(leaf: Leaf) -> str:
    match leaf:
        case Compare(_, sign, _):
            return sign
        case In(_, values):
            return f"IN ({len(values)} values)"
        case StartsWith():
            return "STARTS_WITH"
        case Between():
            return "BETWEEN"
        case IsNull():
            return "IS NULL"


def _tokens(query: TokenQuery) -> frozenset[int]:
    match query:
        case AnyOf(tokens):
            return tokens
        case All(items) | Some(items):
            return frozenset().union(*map(_tokens, items))
        case NotQuery(item):
            return _tokens(item)
        case Bucket() | Epoch():
            return frozenset()
