"""Texts of letters, digits and blanks are split by a shorter way, to the same words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from strongroom.visibility.index.words import LONGEST_WORD, words_of

WORDS = st.one_of(
    st.text("abXYZ059", max_size=8), st.integers(LONGEST_WORD - 2, 2 * LONGEST_WORD + 2).map(lambda size: "w" * size)
)
BLANKS = st.text(" \t\r\n", max_size=3)


@given(parts=st.lists(st.tuples(WORDS, BLANKS), max_size=8))
def test_plain_texts_have_the_words_that_the_rules_give(parts):
    """A sign that is no word sends a text the long way."""
    text = "".join(word + blanks for word, blanks in parts)
    assert list(words_of(text)) == list(words_of(text + " !"))
