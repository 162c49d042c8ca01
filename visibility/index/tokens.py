"""Turn the attributes of a record into index tokens, and the values of a filter into the tokens to search for.

A token is a MAC of a message under the key of an attribute in an epoch (kms/FORMAT.md section 7). The first byte of a message is
its kind:

    "?"                         the attribute has a value; only for attributes that a run need not have
    "@"                         the value equals that of another attribute, whose tokens are searched instead
    "=" value                   the value: text in UTF-8, a number as 8 bytes, a Bool as 1 byte
    "~" salt(2) value           the value with one of its salts
    "-" number(2) run id        nothing: it fills a token set, under the key of the empty attribute name
    "^" length(2) prefix        the first bytes of the value
    "w" word                    a word of a text
    "#" level(1) node(8)        a node of a range tree
    "g" value                   the value, for a group token
    "G"                         the tag of the attribute's group tokens
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from strongroom.kms import KeyClass
from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.fields import BUILT_IN, PREFIXED

from .doubles import scaled
from .layout import attribute_mark, parse_layout
from .ranges import COARSE_MAGNITUDES, INT64_MAX, INT64_MIN, MAGNITUDES, SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from strongroom.kms import NamespaceKeys, TokenKey
    from strongroom.visibility.fields import Profile

    from .ranges import RangeTree
    from .record import Scalar

TREES: Mapping[str, RangeTree] = {
    "magnitude": MAGNITUDES,
    "coarse magnitude": COARSE_MAGNITUDES,
    "seconds": SECONDS,
}
_SIGNED = struct.Struct(">q")
PRESENT = b"?"
SAME = b"@"


def is_limited(number: int) -> bool:
    """Return whether other Doubles have the same tokens as this number of ten thousandths, because int64 ends here."""
    return not INT64_MIN < number < INT64_MAX


def _limited(value: float) -> int:
    return min(max(scaled(value), INT64_MIN), INT64_MAX)


def _number_bytes(value: Scalar) -> bytes:
    return _SIGNED.pack(int(value))


def _text_bytes(value: Scalar) -> bytes:
    return str(value).encode("utf-8", "surrogatepass")


_ENCODERS: Mapping[AttributeType, Callable[[Scalar], bytes]] = {
    AttributeType.BOOL: lambda value: b"\x01" if value else b"\x00",
    AttributeType.DOUBLE: lambda value: _SIGNED.pack(_limited(float(value))),
    AttributeType.INT: _number_bytes,
    AttributeType.DATETIME: _number_bytes,
    AttributeType.KEYWORD: _text_bytes,
    AttributeType.KEYWORD_LIST: _text_bytes,
    AttributeType.TEXT: _text_bytes,
}


def encoder(attribute_type: AttributeType) -> Callable[[Scalar], bytes]:
    """Return a function that encodes a value for an equality token."""
    return _ENCODERS[attribute_type]


def equal_to(attribute_type: AttributeType) -> Callable[[Scalar], bytes]:
    """Return a function that returns the message of a value's equality token."""
    encode = _ENCODERS[attribute_type]
    return lambda value: encoded_equality(encode(value))


def equality(attribute_type: AttributeType, value: Scalar) -> bytes:
    """Return the message of an equality token."""
    return equal_to(attribute_type)(value)


def encoded_equality(encoded: bytes) -> bytes:
    """Return the message of the equality token of an encoded value."""
    return b"=" + encoded


def salted(attribute_type: AttributeType, value: Scalar, salt: int) -> bytes:
    """Return the message of the equality token of a value with a salt."""
    return b"~" + salt.to_bytes(2, "big") + encoder(attribute_type)(value)


def filler(number: int, run_id: str) -> bytes:
    """Return the message of a token that means nothing."""
    return b"-" + number.to_bytes(2, "big") + _text_bytes(run_id)


def prefix(head: bytes) -> bytes:
    """Return the message of a prefix token."""
    return b"^" + len(head).to_bytes(2, "big") + head


def word(value: str) -> bytes:
    """Return the message of a word token."""
    return b"w" + value.encode("utf-8", "surrogatepass")


GROUP_TOKENS = 0x7F << 56
"""The lowest group token. All group tokens are from here on, and about one in 256 of the other tokens."""
_VALUE_BITS = 44
GROUP_TAG_BITS = 20
"""Number of highest bits that the group tokens of one attribute share."""


def grouped(attribute_type: AttributeType) -> Callable[[Scalar], bytes]:
    """Return a function that returns the message of a value's group token."""
    encode = _ENCODERS[attribute_type]
    return lambda value: b"g" + encode(value)


def first_group_token(key: TokenKey) -> int:
    """Return the lowest group token of an attribute. `last_group_token` is the highest one."""
    tag = int.from_bytes(key.token(b"G")[:2]) >> 4
    return GROUP_TOKENS | tag << _VALUE_BITS


def last_group_token(first: int) -> int:
    """Return the highest group token of an attribute with this lowest one."""
    return first | ((1 << _VALUE_BITS) - 1)


def group_token(first: int, number: int) -> int:
    """Return the group token of a value.

    Args:
        first: The lowest group token of the attribute.
        number: The first 8 bytes of the MAC of the value's message, as a number.
    """
    return first | (number & ((1 << _VALUE_BITS) - 1))


def range_node(level: int, node: int) -> bytes:
    """Return the message of a range token."""
    return b"#" + bytes((level,)) + node.to_bytes(8, "big")


def number_on_tree(attribute_type: AttributeType, value: float) -> int:
    """Return the integer that a value has on its range tree."""
    return _limited(float(value)) if attribute_type is AttributeType.DOUBLE else int(value)


class Tokenizer:
    """Makes tokens in one epoch of a namespace's index key.

    A token is the first eight bytes of HMAC-SHA-256 as a signed integer. PostgreSQL indexes integers at a quarter of the cost of
    bytes.

    Args:
        keys: The keys of the namespace.
        epoch: A version of the index key.

    Raises:
        DataLoss: This version does not know the layout of the epoch.
    """

    def __init__(self, keys: NamespaceKeys, *, epoch: int) -> None:
        self.epoch = epoch
        self.layout = parse_layout(keys.layout(epoch))
        self._keys = keys

    def key(self, name: str) -> TokenKey:
        """Return the key of an attribute."""
        return self._keys.index(name, epoch=self.epoch)

    def profile(self, name: str, attribute_type: AttributeType) -> Profile:
        """Return which tokens a document has for an attribute."""
        is_custom = attribute_type is AttributeType.KEYWORD and name not in BUILT_IN
        if is_custom and self.layout.prefixed and attribute_mark(self._keys, name) in self.layout.prefixed:
            return PREFIXED
        return self.layout.profile(name, attribute_type)

    def equality(self, name: str, attribute_type: AttributeType, value: Scalar) -> Iterator[bytes]:
        """Yield all messages of equality tokens that a document with this value can have."""
        profile = self.profile(name, attribute_type)
        if not profile.salted:
            yield equality(attribute_type, value)
        else:
            for salt in range(profile.salts or self.layout.salts.get(str(value), 1)):
                yield salted(attribute_type, value, salt)

    def query(self, name: str, messages: Iterable[bytes]) -> frozenset[int]:
        """Return the tokens of messages of one attribute."""
        return frozenset(self.key(name).numbers(list(messages)))


def active_tokenizer(keys: NamespaceKeys) -> Tokenizer:
    """Return the tokenizer of the epoch that new documents have.

    Raises:
        DataLoss: This version does not know the layout of the epoch.
    """
    return Tokenizer(keys, epoch=keys.active_version(KeyClass.INDEX))
