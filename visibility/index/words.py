"""Split text into words exactly as Elasticsearch's `standard` analyzer does.

The rules are UAX #29 with the additions of Lucene's StandardTokenizer: runs of Thai, Lao, Khmer and Burmese are one word, an
ideograph or a hiragana character is a word, an emoji is a word, and a word has at most 255 UTF-16 units. Then each character is
converted to lower case by itself. Documents and filters are split alike, so a change of these rules needs new tokens for all
documents: `strongroom index rotate`.

`word_classes.txt` puts each character into a class, named by a letter:

    A letter            k katakana              E skin tone              _ connects words
    G hangul            m ideograph             R regional indicator     Q apostrophe   D double quote
    H hebrew letter     h hiragana              Z zero-width joiner      : between letters   , between digits   ;between both
    0 ASCII digit       T Thai and its like     x mark or format         K number sign or asterisk
    N other digit       t the same, and a mark  f v variation selectors
    P emoji             i emoji and letter      c keycap   s z tags
"""

from __future__ import annotations

import re
from bisect import bisect_right
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST_WORD = 255
"""Maximum length of a word in UTF-16 units. A longer word is cut there, and the rest is split as a separate text."""

# Characters that attach to the one before them (UAX #29 WB4). `_S` is the set for an emoji: without variation selectors.
_X = "[xtZcvfszE]*+"
_S = "(?:[xtcszE]|Z(?!Z*+[Pi]))*"
_LETTER, _DIGIT, _JOIN = f"[AHGi]{_X}", f"[0N]{_X}", f"(?:_{_X})"
_ITEM = (
    f"(?:H{_X}D{_X}H{_X}|H{_X}Q{_X}"  # WB7a to WB7c: a Hebrew letter may end with an apostrophe, or hold a double quote
    f"|{_LETTER}(?:[:;Q]{_X}{_LETTER})*|{_DIGIT}(?:[,;Q]{_X}{_DIGIT})*)+"  # WB5 to WB12
)
_CORE = f"(?:(?:k{_X})+|{_ITEM})"
_WORD = f"{_JOIN}*+{_CORE}(?:{_JOIN}+{_CORE})*{_JOIN}*"  # WB13 to WB13b
_ONE_EMOJI = f"(?:Z*+[Pi]{_S}f?|E{_S})"
_EMOJI = f"{_ONE_EMOJI}(?:(?:Z{_ONE_EMOJI})+|s+z)?"  # UTS #51: joined ones, and flags of tags
_KEYCAP = "K[xtZcszE]*f?c[xtZcszE]*"
_REST = f"R{_X}R{_X}|(?:[Tt]{_X})+|[mh]{_X}"

_PLAIN = re.compile(r"[A-Za-z0-9 \t\r\n]*")
"""Texts whose words are separated by spaces alone. Most texts are like this, and need no other rule."""
_BEGIN = re.compile("[_kHAGi0NZPEKRTtmh]")
_RULE = re.compile(f"{_WORD}|{_EMOJI}|{_KEYCAP}|{_REST}")
_EMOJI_RULE = re.compile(_EMOJI)


def split_words(text: str) -> frozenset[str]:
    """Return the distinct words of a text. Punctuation and spaces are not words."""
    return frozenset(words_of(text))


def words_of(text: str) -> Iterable[str]:
    """Return the words of a text in order."""
    if _PLAIN.fullmatch(text):
        words = text.lower().split()
        if max(map(len, words), default=0) <= LONGEST_WORD:
            return words
    return (_lowered(text[start:end]) for start, end in _spans(text))


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each word: from the next character that can start a word, the longest match of any rule."""
    classes = text.translate(_CLASSES)
    plain = text.isascii() or max(text) <= "\uffff"
    position = 0
    while begin := _BEGIN.search(classes, position):
        start = begin.start()
        limit = start + LONGEST_WORD if plain else _limit(text, start)
        word = _RULE.match(classes, start, limit)
        end = start if word is None else word.end()
        if classes[start] == "i" and (
            emoji := _EMOJI_RULE.match(classes, start, limit)
        ):  # both rules match here, and the longer match wins
            end = max(end, emoji.end())
        if end > start:
            yield start, end
        position = max(end, start + 1)


def _limit(text: str, start: int) -> int:
    """Return the latest end of a word that starts here. A character above U+FFFF has two units and is not cut."""
    units = 0
    for position in range(start, min(start + LONGEST_WORD, len(text))):
        units += 1 + (text[position] > "\uffff")
        if units > LONGEST_WORD:
            return position
    return start + LONGEST_WORD


def _lowered(word: str) -> str:
    """Convert each character by itself, and to one character, as Lucene's filter does."""
    return word.lower() if word.isascii() else "".join(character.lower()[:1] for character in word)


class _Classes(dict[int, str]):
    """Class letters by code point, for `str.translate`. They are looked up on first use."""

    def __init__(self) -> None:
        lines = (files(__package__) / "word_classes.txt").read_text(encoding="ascii").splitlines()
        ranges = sorted(
            (int(first, 16), int(last or first, 16), letter)
            for letter, *listed in map(str.split, lines)
            if letter != "#"
            for first, _, last in (each.partition("-") for each in listed)
        )
        self._first, self._last, self._letter = zip(*ranges, strict=True)
        super().__init__((code, self._find(code)) for code in range(128))

    def __missing__(self, code: int) -> str:
        letter = self._find(code)
        if letter != _NONE:  # a million code points have no class, and are not cached
            self[code] = letter
        return letter

    def _find(self, code: int) -> str:
        index = bisect_right(self._first, code) - 1
        return self._letter[index] if index >= 0 and code <= self._last[index] else _NONE


_NONE = " "
_CLASSES = _Classes()
