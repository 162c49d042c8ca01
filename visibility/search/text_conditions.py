"""Compile ranges of a Keyword whose prefixes have tokens: a range of texts is a number of prefixes (DESIGN.md, "Two sides")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.visibility.backends.token_query import NOTHING
from strongroom.visibility.fields import ORDERED_BYTES
from strongroom.visibility.filter.tree import Between
from strongroom.visibility.index import tokens

from .approximation import Approximation, exact
from .token_conditions import holding, present

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.visibility.filter.tree import Attribute, Compare, Value
    from strongroom.visibility.index.tokens import Tokenizer

_ASCII_END = 0x80
_FIRST_BYTES = (*range(_ASCII_END), *range(0xC2, 0xF5))
"""Bytes that a character of UTF-8 can begin with."""
_CONTINUATION = range(_ASCII_END, 0xC0)
_LENGTHS = ((0xF0, 4), (0xE0, 3), (0xC0, 2))
"""Lowest first byte of the characters of each length, the longest first."""


@dataclass(frozen=True, slots=True)
class TextCover:
    """The texts of a range. Every text of the range is in one part, and in no other.

    Attributes:
        prefixes: Prefixes of which every text is in the range.
        texts: Single texts of the range.
        ends: Prefixes of which some texts may be in the range.
    """

    prefixes: list[bytes] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    ends: list[bytes] = field(default_factory=list)


def ordered_texts(attribute: Attribute, nodes: Sequence[Compare | Between], tokenizer: Tokenizer) -> Approximation:
    """Compile order comparisons of one Keyword whose prefixes have tokens. All of them must hold."""
    bounds = [_bounds(node) for node in nodes]
    low = max(low for low, _ in bounds)
    high = min((high for _, high in bounds if high is not None), default=None)
    if high is not None and low >= high:
        return exact(NOTHING)
    if not low and high is None:
        return present(attribute, tokenizer)
    cover = text_cover(low, high)
    sure = [*map(tokens.prefix, cover.prefixes), *map(tokens.encoded_equality, cover.texts)]
    possible = [*sure, *map(tokens.prefix, cover.ends)]
    return Approximation(*(holding(attribute, messages, tokenizer, exclusive=True) for messages in (sure, possible)))


def _bounds(node: Compare | Between) -> tuple[bytes, bytes | None]:
    """Return the smallest text that satisfies a comparison, and the smallest one above those that do; None if there is none.

    Texts are ordered by code point, and so is their UTF-8 by bytes.
    """
    match node:
        case Between(_, low, high):
            return _encoded(low), _next(high)
        case _ if node.operator == ">=":
            return _encoded(node.value), None
        case _ if node.operator == ">":
            return _next(node.value), None
        case _ if node.operator == "<=":
            return b"", _next(node.value)
        case _:
            return b"", _encoded(node.value)


def _encoded(value: Value) -> bytes:
    return str(value).encode("utf-8", "surrogatepass")


def _next(value: Value) -> bytes:
    """Return the smallest text that is greater than a text."""
    return _encoded(value) + b"\0"


def text_cover(low: bytes, high: bytes | None) -> TextCover:
    """Return the texts with low <= text < high, as prefixes of at most `ORDERED_BYTES` bytes.

    Args:
        low: The smallest text.
        high: The smallest text above the range, which is greater than `low`; None for no end.
    """
    cover = TextCover()
    waiting = [(b"", bool(low), high is not None)]
    while waiting:
        # Whether a bound is inside the prefix: it begins with the prefix, and is longer.
        head, has_low, has_high = waiting.pop()
        if not (has_low or has_high):
            cover.prefixes.append(head)
            continue
        if len(head) == ORDERED_BYTES:
            cover.ends.append(head)
            continue
        if not has_low:
            cover.texts.append(head)
        place = len(head)
        first = low[place] if has_low else 0
        last = high[place] if has_high and high is not None else 0xFF
        for byte in _following(head):
            if not first <= byte <= last:
                continue
            longer = head + bytes((byte,))
            is_low = has_low and byte == first
            is_high = has_high and byte == last
            if is_high and longer == high:  # no text of this prefix is below the end
                continue
            waiting.append((longer, is_low and longer != low, is_high))
    return cover


def _following(head: bytes) -> Sequence[int]:
    """Return the bytes that can follow the beginning of a text in UTF-8."""
    for distance, byte in enumerate(_last_bytes(head), start=1):
        if byte in _CONTINUATION:
            continue
        length = next((length for lowest, length in _LENGTHS if byte >= lowest), 1)
        return _CONTINUATION if distance < length else _FIRST_BYTES
    return _FIRST_BYTES


def _last_bytes(head: bytes) -> Iterator[int]:
    return reversed(head[-4:])
