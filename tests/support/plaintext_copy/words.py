"""Elasticsearch's `standard` analyzer for the model: the words of UAX #29, in lower case and at most 255 characters long.

It covers letters, marks, digits, Han, kana, Hangul and single emoji. It does not cover sequences of emoji, Thai or Hebrew.
"""

from __future__ import annotations

import re

_MARK = "[\u0300-\u036f\u200d\ufe0f]*"
_LETTER = "[^\\W\\d_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u209c\u2460-\u24b5\u2776-\u2793]"
_DIGIT = "\\d"
_SINGLE = "[\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff\U0001f300-\U0001faff]"
_KATAKANA = "[\u30a1-\u30fa\u30fc-\u30ff]"
_WORD = re.compile(
    f"{_SINGLE}{_MARK}|(?:{_KATAKANA}{_MARK})+"
    f"|_*(?:{_LETTER}|{_DIGIT}){_MARK}"
    f"(?:(?:_+|(?<={_LETTER})[:\u00b7.'\u2019](?={_LETTER})|(?<={_DIGIT})[,;.'](?={_DIGIT}))?(?:{_LETTER}|{_DIGIT}){_MARK})*_*"
)
_LONGEST = 255


def words(text: str) -> frozenset[str]:
    """Return the distinct words of a text."""
    found = set()
    for word in _WORD.findall(text):
        lowered = "".join(character.lower()[0] for character in word)
        found.update(lowered[at : at + _LONGEST] for at in range(0, len(lowered), _LONGEST))
    return frozenset(found)
