"""Explain a filter: the tokens that are sent, the exact conditions, the documents that are opened, and what the query reveals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.visibility.backends.token_query import All, AnyOf, Bucket, Epoch, Some, TokenQuery
from strongroom.visibility.backends.token_query import Not as NotQuery
from strongroom.visibility.fields import BUILT_IN
from strongroom.visibility.filter.tree import And, Between, Compare, In, IsNull, Not, Or, StartsWith

from .compiler import compile_filter
from .token_conditions import present

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.visibility.filter.tree import Leaf, Node
    from strongroom.visibility.index.tokens import Tokenizer

    from .cost import Cost, SearchLimits


@dataclass(frozen=True, slots=True)
class ExplainedCondition:
    """One condition of a filter, without its values.

    Attributes:
        attribute: The name of the attribute.
        operator: The operator.
        tokens: The number of tokens that are sent for it.
        exact: Whether the index alone decides the condition.
        profile: The name of the attribute's profile, see `fields.py`.
        leakage: The information that the index reveals about the attribute, in the words of `fields.py`.
        reveals: The information that this condition reveals to a reader of the query.
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
        conditions: All conditions, including the implicit one on the namespace division.
        sure: The number of documents that certainly match.
        possible: The number of documents that may match. A count opens those that are not sure, a list those that its pages need.
        cost: The estimated cost of a count; if a list opens documents to sort them, of its first page.
        limits: What one search may use.
        sorted_here: The number of documents that the first page opens and sorts, because the index has no order for them.
        epochs: The number of epochs of the index key. Each condition is sent for every epoch.
    """

    conditions: tuple[ExplainedCondition, ...]
    sure: int
    possible: int
    cost: Cost
    limits: SearchLimits
    sorted_here: int
    epochs: int

    @property
    def exact(self) -> bool:
        """Whether the index alone can count the runs."""
        return self.sure == self.possible

    @property
    def opened(self) -> int:
        """The number of documents that a count opens."""
        return self.possible - self.sure


def explain_conditions(where: Node, tokenizer: Tokenizer) -> tuple[ExplainedCondition, ...]:
    """Explain each condition of a filter, in order."""
    return tuple(_explained(leaf, tokenizer) for leaf in _leaves(where))


def why_opened(where: Node, tokenizer: Tokenizer) -> str:
    """Return the conditions that need opened documents: attribute, operator and profile, without names that a tenant chose."""
    reasons = [
        f"{_public_name(leaf)} {_operator(leaf)} (profile {explained.profile})"
        for leaf in _leaves(where)
        if not (explained := _explained(leaf, tokenizer)).exact
    ]
    return ", ".join(dict.fromkeys(reasons)) or "an ORDER BY that the index has no order for"


def what_to_add(where: Node) -> str:
    """Return what makes a filter cheaper."""
    named = {leaf.attribute.name for leaf in _leaves(where)}
    advice = [name for name in ("WorkflowId", "WorkflowType", "StartTime") if name not in named]
    prefixes = any(isinstance(leaf, StartsWith) for leaf in _leaves(where))
    longer = ", or a longer prefix" if prefixes else ""
    return f"Add a condition that few runs satisfy, such as {' or '.join(advice) or 'a narrower range of StartTime'}{longer}."


def most_expensive(where: Node, tokenizer: Tokenizer) -> str:
    """Return up to three conditions that cost most, without names that a tenant chose: opened documents first, then many tokens."""
    costs: dict[str, tuple[bool, int]] = {}
    for leaf in _leaves(where):
        explained = _explained(leaf, tokenizer)
        costs.setdefault(
            f"{_public_name(leaf)} {_operator(leaf)} ({explained.tokens} tokens, "
            f"{'decided by the index' if explained.exact else 'documents are opened for it'})",
            (explained.exact, -explained.tokens),
        )
    return ", ".join(sorted(costs, key=costs.__getitem__)[:3]) or "all runs of the namespace"


def _public_name(leaf: Leaf) -> str:
    name = leaf.attribute.name
    return name if name in BUILT_IN else f"a custom {leaf.attribute.type.value}"


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
    profile = tokenizer.profile(leaf.attribute.name, leaf.attribute.type)
    sent = _tokens(compiled.possible) | _tokens(compiled.sure)
    if not sent and profile.bucket is None:
        reveals = "nothing"
    elif profile.bucket is not None:
        size = tokenizer.layout.bucket
        reveals = "the bounds, in seconds" if size == 1 else f"the bounds, in buckets of {size} s"
    elif isinstance(leaf, IsNull) or sent == _tokens(present(leaf.attribute, tokenizer).possible):
        reveals = "which documents have the attribute"
    elif isinstance(leaf, StartsWith) and not compiled.exact:
        reveals = "which documents share the longest prefix that has a token"
    elif len(sent) == 1:
        reveals = "which documents match, and whether the same condition is searched again"
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
