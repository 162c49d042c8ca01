"""Words are split as a real node's `standard` analyzer splits them: whatever differs here gives wrong answers there.

`WORDS=200000 pytest tests/integration/test_words.py` asks for as many random texts.
"""

from __future__ import annotations

import random
from itertools import islice, product

import pytest

from strongroom.visibility.index.words import _CLASSES, LONGEST_WORD, words_of
from tests.support.counts import count_of

pytestmark = pytest.mark.integration

TEXTS = count_of("WORDS")
TOKENS = 9_000
"""That one request may ask for; the node gives 10,000 at most."""
SURROGATES = range(0xD800, 0xE000)
FULL_PLANES = (0, 1)
"""Each code point of these planes is also split between other characters. In the others it is one of 16, because they have only
ideographs, tags and selectors of variants, or no character in the version of Unicode that the analyzer knows."""
SPARSE = 16


def batched(items, size):
    """As `itertools.batched` of later Pythons."""
    items = iter(items)
    while batch := tuple(islice(items, size)):
        yield batch


def differing(client, texts):
    """Return those texts that the node splits into other words; each is asked for alone after its batch differed."""
    if ours(texts) == analyzed(client, texts):
        return []
    if len(texts) == 1:
        return list(texts)
    middle = len(texts) // 2
    return differing(client, texts[:middle]) + differing(client, texts[middle:])


def ours(texts):
    return list(words_of("\n".join(texts)))


def analyzed(client, texts):
    answer = client.request("POST", "/_analyze", {"analyzer": "standard", "text": "\n".join(texts)})
    return [token["token"] for token in answer["tokens"]]


def all_differing(client, texts, *, most):
    """As `differing` for many texts of at most so many words each."""
    return [text for some in batched(texts, TOKENS // most) for text in differing(client, some)]


def representatives():
    """Return characters of each class; the first and the last of it in the order of their code points."""
    members = {}
    for code in range(0x110000):
        if code not in SURROGATES:
            members.setdefault(_CLASSES[code], []).append(chr(code))
    return {letter: (found[0], found[-1]) if letter != " " else (" ", "!") for letter, found in members.items()}


def test_every_code_point_is_split_as_by_the_node(elasticsearch):
    """Alone, twice, and between letters and digits."""
    planes = {plane: range(plane << 16, (plane + 1) << 16) for plane in range(17)}
    codes = (
        code
        for plane, members in planes.items()
        for code in members[:: 1 if plane in FULL_PLANES else SPARSE]
        if code not in SURROGATES
    )
    texts = (f"{chr(code)} a{chr(code)}b 1{chr(code)}{chr(code)}2" for code in codes)
    assert all_differing(elasticsearch.client, texts, most=8) == []
    alone = (chr(code) for plane, members in planes.items() if plane not in FULL_PLANES for code in members)
    assert all_differing(elasticsearch.client, alone, most=1) == []


def test_every_three_classes_are_split_as_by_the_node(elasticsearch):
    """All sequences of three characters of different classes."""
    one_each = [members[0] for members in representatives().values()]
    assert len(one_each) == 29
    texts = ("".join(three) for three in product(one_each, repeat=3))
    assert all_differing(elasticsearch.client, texts, most=3) == []


def test_random_texts_are_split_as_by_the_node(elasticsearch):
    """Texts of all classes, of few, and of those that depend on each other over a distance."""
    rng = random.Random(20_261_124)  # noqa: S311 - repeatable
    members = representatives()
    families = ["".join(members), "HQDA:0 ", "PiZfEsz", "0;,QKcfxA_", "k_A0xZ", "TtxAmhG", "PZEfcRK"]
    texts = [
        "".join(rng.choice(members[letter]) for letter in rng.choices(rng.choice(families), k=rng.randint(4, 14)))
        for _ in range(TEXTS)
    ]
    assert all_differing(elasticsearch.client, texts, most=14) == []


@pytest.mark.parametrize(
    "piece",
    ["a", "é", "\U0001d400", "_", "a_", "a.", "1,", "א'", "ไ", "ア", "\N{WOMAN}\u200d", "a\u0301", "a\U0001d400"],
)
def test_long_words_are_cut_as_by_the_node(elasticsearch, piece):
    """Around the longest length, on a border that would split a pair of units too, and with what joins at the border."""
    texts = [
        before + piece * (LONGEST_WORD // len(piece) + more) + after
        for before in ("", "_", "x.")
        for more in (-2, -1, 0, 1, 2, LONGEST_WORD)
        for after in ("", "'b", "_b", "\u0301b", "1")
    ]
    assert all_differing(elasticsearch.client, texts, most=600) == []


def test_a_wrong_split_is_noticed(elasticsearch, monkeypatch):
    """Control: with one character in another class the comparison fails."""
    assert differing(elasticsearch.client, ("a-b",)) == []
    monkeypatch.setitem(_CLASSES, ord("-"), "A")
    assert differing(elasticsearch.client, ("fine", "a-b")) == ["a-b"]
