"""Text into words, as Elasticsearch's `standard` analyzer splits it: UAX #29, lower case."""

from __future__ import annotations

import unicodedata

from uniseg.wordbreak import words as segments

LONGEST_WORD = 255
"""Characters; the analyzer cuts a longer word into pieces of this length."""


def split_words(text: str) -> frozenset[str]:
    """Return the distinct words of a text. Punctuation and blanks are no words; a text may have none."""
    found: set[str] = set()
    for segment in segments(text):
        if any(_counts(character) for character in segment):
            folded = "".join(character.lower()[:1] for character in segment)  # one for one, as Lucene's filter does
            found.update(folded[start : start + LONGEST_WORD] for start in range(0, len(folded), LONGEST_WORD))
    return frozenset(found)


def _counts(character: str) -> bool:
    """Whether a character makes its segment a word: letters, digits, and the symbols that emoji are."""
    return unicodedata.category(character)[0] in "LN" or unicodedata.category(character) == "So"
