"""Texts of ASCII letters, digits and spaces are split by a faster path into the same words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from strongroom.visibility.index.words import LONGEST_WORD, words_of

WORDS = st.one_of(
    st.text("abXYZ059", max_size=8), st.integers(LONGEST_WORD - 2, 2 * LONGEST_WORD + 2).map(lambda size: "w" * size)
)
BLANKS = st.text(" \t\r\n", max_size=3)


@given(parts=st.lists(st.tuples(WORDS, BLANKS), max_size=8))
def test_the_faster_path_gives_the_same_words(parts):
    """A punctuation mark, which is not a word, makes the text take the general path."""
    text = "".join(word + blanks for word, blanks in parts)
    assert list(words_of(text)) == list(words_of(text + " !"))
