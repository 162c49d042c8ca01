"""A record's attributes as index tokens, and a filter's values as the tokens to look for (kms/FORMAT.md section 7).

Message of a token, under the key of its attribute in an epoch: one byte for its kind, then

    "?"                         the attribute is present, and need not be
    "@"                         the value is that of another attribute, which has the tokens
    "=" value                   the value: text in UTF-8, numbers as 8 bytes, a Bool as one
    "~" salt(2) value           the value, in one of as many tokens as it has salts
    "^" length(2) prefix        the first so many bytes of the value
    "w" word                    a word of a text
    "#" level(1) node(8)        a node of the tree of ranges
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from strongroom.storage import HASHED_COLUMNS

from .attributes import AttributeType
from .layout import parse_layout
from .ranges import INT64_MAX, INT64_MIN, MAGNITUDES, SECONDS
from .words import split_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from strongroom.kms import NamespaceKeys, TokenKey

    from .fields import Profile
    from .ranges import RangeTree
    from .record import AttributeValue, Scalar

TREES: Mapping[str, RangeTree] = {"magnitude": MAGNITUDES, "seconds": SECONDS}
DOUBLE_SCALE = 10_000
"""Doubles are compared at four decimals, as in Temporal's Elasticsearch mapping (`scaled_float`)."""

_SIGNED = struct.Struct(">q")
PRESENT = b"?"
SAME = b"@"


def scaled(value: float) -> int:
    """Return a Double as the integer that it is compared by: rounded half up, held within int64."""
    product = asked(value)
    whole = math.floor(product)
    return whole + (product - whole >= 0.5)  # noqa: PLR2004 - to add a half first would round what lies just below it


def asked(value: float) -> float:
    """Return a Double of a filter on the scale of those that are stored, likewise held within int64."""
    return min(max(value * DOUBLE_SCALE, INT64_MIN), INT64_MAX)  # the product of the largest doubles is infinite


def _number_bytes(value: Scalar) -> bytes:
    return _SIGNED.pack(int(value))


def _text_bytes(value: Scalar) -> bytes:
    return str(value).encode("utf-8", "surrogatepass")


_ENCODERS: Mapping[AttributeType, Callable[[Scalar], bytes]] = {
    AttributeType.BOOL: lambda value: b"\x01" if value else b"\x00",
    AttributeType.DOUBLE: lambda value: _SIGNED.pack(scaled(float(value))),
    AttributeType.INT: _number_bytes,
    AttributeType.DATETIME: _number_bytes,
    AttributeType.KEYWORD: _text_bytes,
    AttributeType.KEYWORD_LIST: _text_bytes,
    AttributeType.TEXT: _text_bytes,
}


def value_bytes(attribute_type: AttributeType, value: Scalar) -> bytes:
    """Return the bytes that stand for a value in an equality token."""
    return _ENCODERS[attribute_type](value)


def equality(attribute_type: AttributeType, value: Scalar) -> bytes:
    """Return the message of an equality token."""
    return b"=" + value_bytes(attribute_type, value)


def whole(encoded: bytes) -> bytes:
    """Return the message of the equality token of a text in UTF-8."""
    return b"=" + encoded


def salted(attribute_type: AttributeType, value: Scalar, salt: int) -> bytes:
    """Return the message of one of the equality tokens of a salted value."""
    return b"~" + salt.to_bytes(2, "big") + value_bytes(attribute_type, value)


def prefix(head: bytes) -> bytes:
    """Return the message of a prefix token."""
    return b"^" + len(head).to_bytes(2, "big") + head


def word(value: str) -> bytes:
    """Return the message of a word token."""
    return b"w" + value.encode("utf-8", "surrogatepass")


def range_node(level: int, node: int) -> bytes:
    """Return the message of a range token."""
    return b"#" + bytes((level,)) + node.to_bytes(8, "big")


def number_on_tree(attribute_type: AttributeType, value: float) -> int:
    """Return the integer by which a value stands on its tree of ranges."""
    return scaled(float(value)) if attribute_type is AttributeType.DOUBLE else int(value)


def messages(profile: Profile, attribute_type: AttributeType, value: AttributeValue) -> Iterator[bytes]:
    """Yield the messages of all tokens that a document has for a value of an attribute, but for salted ones and ranges."""
    if profile.present and not profile.always:
        yield PRESENT
    values: Iterable[Scalar] = value if isinstance(value, tuple) else (value,)
    for single in values:
        if profile.equality and not profile.salted:
            yield equality(attribute_type, single)
        if profile.prefixes:
            encoded = value_bytes(attribute_type, single)
            size = len(encoded) + profile.full_prefix
            yield from (prefix(encoded[:length]) for length in profile.prefixes if length < size)
        if profile.words:
            yield from map(word, split_words(str(single)))


class AttributeTokens:
    """Makes the tokens of one attribute, and remembers them: most values of a batch occur in it more than once."""

    __slots__ = (
        "_encode",
        "_key",
        "_of_message",
        "_of_node",
        "_of_value",
        "_only_equality",
        "_tree",
        "place",
        "profile",
        "type",
    )

    def __init__(self, key: TokenKey, profile: Profile, attribute_type: AttributeType, place: int | None) -> None:
        self.profile = profile
        self.type = attribute_type
        self.place = place
        self._key = key
        self._encode = _ENCODERS[attribute_type]
        self._tree = None if profile.ranges is None else TREES[profile.ranges]
        present = profile.present and not profile.always
        self._only_equality = profile.equality and not (present or profile.salted or profile.prefixes or profile.words)
        self._of_node: dict[tuple[int, int], tuple[int, ...]] = {}
        self._of_message: dict[bytes, int] = {}
        self._of_value: dict[AttributeValue, tuple[int, ...]] = {}

    def of(self, value: AttributeValue) -> tuple[int, ...]:
        """Return the tokens of a value, but for salted ones."""
        found = self._of_value.get(value)
        if found is None:
            if self._only_equality and not isinstance(value, tuple):
                found = tuple(self._key.numbers([b"=" + self._encode(value)]))
            else:
                found = self._tokens(list(messages(self.profile, self.type, value)))
            if self._tree is not None and not isinstance(value, (str, tuple)):
                found += self._ranges(self._tree, number_on_tree(self.type, value))
            self._of_value[value] = found
        return found

    def _ranges(self, tree: RangeTree, number: int) -> tuple[int, ...]:
        """Return the tokens of the nodes above a number: only those are made that no number before it lay below."""
        fresh: list[tuple[int, int]] = []
        above: tuple[int, ...] = ()
        for node in tree.nodes(number):
            if (known := self._of_node.get(node)) is not None:
                above = known
                break
            fresh.append(node)
        made = self._key.numbers([range_node(level, node) for level, node in fresh])
        for node, token in zip(reversed(fresh), reversed(made), strict=True):
            above = self._of_node[node] = (token, *above)
        return above

    def token(self, message: bytes) -> int:
        """Return the token of a message."""
        found = self._of_message.get(message)
        return self._tokens([message])[0] if found is None else found

    def _tokens(self, wanted: Sequence[bytes]) -> tuple[int, ...]:
        if not wanted:
            return ()
        made = self._of_message
        missing = [message for message in wanted if message not in made]
        made.update(zip(missing, self._key.numbers(missing), strict=True))
        return tuple([made[message] for message in wanted])

    def drawn(self, run_id: str) -> int:
        """Return the number that chooses the salt of a run: always the same, so that writing it anew tells nothing."""
        return int.from_bytes(self._key.token(b"%" + run_id.encode())[:8], "big")


class Tokenizer:
    """Makes tokens in one epoch of a namespace's index key, for a batch of documents or one query: it remembers all that it made.

    A token is the first eight bytes of HMAC-SHA-256 as a signed integer, which PostgreSQL indexes four times as cheaply as bytes.
    """

    def __init__(self, keys: NamespaceKeys, *, epoch: int) -> None:
        self.epoch = epoch
        self.layout = parse_layout(keys.layout(epoch))
        self._keys = keys
        self._attributes: dict[str, AttributeTokens] = {}

    def document(
        self, attributes: Mapping[str, AttributeValue], types: Mapping[str, AttributeType]
    ) -> tuple[tuple[int, ...], tuple[int | None, ...]]:
        """Return the tokens of a document: those of the bag, sorted, so that their order tells nothing, and those of the columns."""
        found: set[int] = set()
        hashed: list[int | None] = [None] * len(HASHED_COLUMNS)
        for name, value in attributes.items():
            made = self._attributes.get(name) or self._attribute(name, types[name])
            profile = made.profile
            if profile.same_as is not None and value == attributes[profile.same_as]:
                found.add(made.token(SAME))
                continue
            found.update(made.of(value))
            if made.place is not None:
                hashed[made.place] = token = made.token(whole(str(value).encode("utf-8", "surrogatepass")))
                found.remove(token)
            if profile.salted:
                salt = made.drawn(str(attributes["RunId"])) % self.layout.salts.get(str(value), 1)
                found.add(made.token(salted(made.type, str(value), salt)))
        return tuple(sorted(found)), tuple(hashed)

    def equality(self, name: str, attribute_type: AttributeType, value: Scalar) -> Iterator[bytes]:
        """Yield the messages of which a document with this value has one."""
        if not self.layout.profile(name, attribute_type).salted:
            yield equality(attribute_type, value)
        else:
            for salt in range(self.layout.salts.get(str(value), 1)):
                yield salted(attribute_type, value, salt)

    def query(self, name: str, attribute_type: AttributeType, wanted: Iterable[bytes]) -> frozenset[int]:
        """Return the tokens to look for, for messages of one attribute."""
        made = self._attributes.get(name) or self._attribute(name, attribute_type)
        return frozenset(map(made.token, wanted))

    def _attribute(self, name: str, attribute_type: AttributeType) -> AttributeTokens:
        key = self._keys.index(name, epoch=self.epoch)
        column = self.layout.column(name)
        place = None if column is None else HASHED_COLUMNS.index(column)
        made = AttributeTokens(key, self.layout.profile(name, attribute_type), attribute_type, place)
        return self._attributes.setdefault(name, made)
