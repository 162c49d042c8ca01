"""The tokens of a batch are the tokens that kms/FORMAT.md section 7 specifies for each of its documents."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.storage.visibility_rows.records import HASHED_COLUMNS
from strongroom.visibility import AttributeType, Layout, new_layout
from strongroom.visibility.fields import PREFIXED
from strongroom.visibility.index.document_tokens import tokens_of
from strongroom.visibility.index.layout import attribute_mark
from strongroom.visibility.index.tokens import TREES, Tokenizer, number_on_tree
from strongroom.visibility.index.words import split_words
from tests.support.index_keys import index_keys

TYPES = {
    "WorkflowId": AttributeType.KEYWORD,
    "RunId": AttributeType.KEYWORD,
    "ExecutionStatus": AttributeType.KEYWORD,
    "RootWorkflowId": AttributeType.KEYWORD,
    "StartTime": AttributeType.DATETIME,
    "ExecutionTime": AttributeType.DATETIME,
    "TemporalNamespaceDivision": AttributeType.KEYWORD,
    "Keyword": AttributeType.KEYWORD,
    "List": AttributeType.KEYWORD_LIST,
    "Text": AttributeType.TEXT,
    "Int": AttributeType.INT,
    "Double": AttributeType.DOUBLE,
    "Bool": AttributeType.BOOL,
    "Time": AttributeType.DATETIME,
}
INT64 = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.one_of(st.integers(-20, 20), INT64)
"""Numbers; often small ones, so that documents share values and range nodes."""
KEYWORDS = st.text("ab\udc80é", max_size=40)
IDS = st.text("ab", min_size=1, max_size=5)
BITS = {"magnitude": 5, "coarse magnitude": 4, "seconds": 4}
"""The bits of each tree of ranges (FORMAT.md section 7.2)."""
ALWAYS = {
    "WorkflowId": KEYWORDS,
    "RunId": IDS,
    "ExecutionStatus": st.sampled_from(["Running", "Completed", "Failed"]),
    "StartTime": NUMBERS,
}
AT_TIMES = {
    "RootWorkflowId": KEYWORDS,
    "ExecutionTime": NUMBERS,
    "TemporalNamespaceDivision": KEYWORDS,
    "Keyword": KEYWORDS,
    "List": st.lists(KEYWORDS, min_size=1, max_size=3).map(tuple),
    "Text": st.text("ab ,é", max_size=20),
    "Int": NUMBERS,
    "Double": st.one_of(st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False)),
    "Bool": st.booleans(),
    "Time": NUMBERS,
}


@st.composite
def documents(draw):
    """Draw a document. Some are their own root, and some were due at their start."""
    document = draw(st.fixed_dictionaries(ALWAYS, optional=AT_TIMES))
    for name, other in (("RootWorkflowId", "WorkflowId"), ("ExecutionTime", "StartTime")):
        if name in document and draw(st.booleans()):
            document[name] = document[other]
    return document


def encoded(kind, value):
    """Return the encoding of a value."""
    if kind is AttributeType.BOOL:
        return bytes([value])
    if kind is AttributeType.DOUBLE:
        return number_on_tree(kind, value).to_bytes(8, "big", signed=True)
    if isinstance(value, int):
        return value.to_bytes(8, "big", signed=True)
    return value.encode("utf-8", "surrogatepass")


def element_messages(profile, kind, element):
    """Yield each message of an element of a list, or of a single value; see `messages`."""
    text = encoded(kind, element)
    if profile.equality and not profile.salted:
        yield b"=" + text, True
    for length in profile.prefixes:
        if length + (not profile.includes_whole) <= len(text):
            yield b"^" + length.to_bytes(2, "big") + text[:length], False
    if profile.words:
        for word in split_words(element):
            yield b"w" + word.encode("utf-8", "surrogatepass"), False


def profile_of(layout, name):
    """Return the profile of an attribute. A layout with prefixes chose the attribute `Keyword` alone."""
    return PREFIXED if layout.prefixed and name == "Keyword" else layout.profile(name, TYPES[name])


def messages(layout, attributes, name):
    """Yield each message of one attribute of a document, and whether it is the message of the equality token."""
    value, kind = attributes[name], TYPES[name]
    profile = profile_of(layout, name)
    if profile.same_as is not None and value == attributes[profile.same_as]:
        if not profile.hides_same:
            yield b"@", False
        return
    if profile.present and not profile.always:
        yield b"?", False
    for element in value if isinstance(value, tuple) else (value,):
        yield from element_messages(profile, kind, element)
    if profile.ranges is not None:
        tree = TREES[profile.ranges]
        leaf = tree.leaf(number_on_tree(kind, value))
        for level in range(tree.levels):
            yield b"#" + bytes([level]) + (leaf >> BITS[profile.ranges] * level).to_bytes(8, "big"), False


def expected(keys, layout, attributes):
    """Return the tokens of one document, message by message."""
    token_set, hashes = set(), [None] * len(HASHED_COLUMNS)
    for name, value in attributes.items():
        key = keys.index(name, epoch=1)
        column = layout.column(name)
        for message, is_equality in messages(layout, attributes, name):
            token = int.from_bytes(key.token(message)[:8], "big", signed=True)
            if is_equality and column is not None:
                hashes[HASHED_COLUMNS.index(column)] = token
            else:
                token_set.add(token)
        if name == "TemporalNamespaceDivision" and layout.preset == "compatible":
            tag = int.from_bytes(key.token(b"G")[:2], "big") >> 4
            number = int.from_bytes(key.token(b"g" + encoded(TYPES[name], value))[:8], "big")
            token_set.add(0x7F << 56 | tag << 44 | number % 2**44)
        profile = profile_of(layout, name)
        if profile.salted and not (profile.same_as and value == attributes[profile.same_as]):
            salts = profile.salts or layout.salts.get(value, 1)
            salt = int.from_bytes(key.token(b"%" + attributes["RunId"].encode())[:8], "big") % salts
            message = b"~" + salt.to_bytes(2, "big") + encoded(TYPES[name], value)
            token_set.add(int.from_bytes(key.token(message)[:8], "big", signed=True))
    for number in range(-len(token_set) % 8 if layout.preset == "strict" else 0):
        filler = keys.index("", epoch=1).token(b"-" + number.to_bytes(2, "big") + attributes["RunId"].encode())
        token_set.add(int.from_bytes(filler[:8], "big", signed=True))
    return tuple(sorted(token_set)), tuple(hashes)


CHOSEN = frozenset((attribute_mark(index_keys(Layout()), "Keyword"),))


@pytest.mark.parametrize(
    "layout",
    [
        Layout(),
        Layout(version=3),
        new_layout("strict"),
        *(replace(each, prefixed=CHOSEN) for each in (Layout(), new_layout("strict"))),
    ],
    ids=str,
)
@given(batch=st.lists(documents(), max_size=6))
def test_a_batch_has_the_tokens_of_its_documents(layout, batch):
    """Documents of a batch share the tokens of equal values, and no document gets tokens of another one."""
    keys = index_keys(layout)
    assert tokens_of(Tokenizer(keys, epoch=1), batch, TYPES) == [expected(keys, layout, each) for each in batch]
