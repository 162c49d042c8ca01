"""Parse the text of a list filter into lark's tree, or raise an error with the position and the likely cause.

The parser has its own stack, and no pattern of the lexer reads a text twice. So the time is linear, and nothing recurses.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from lark import Lark, Token, Tree, UnexpectedInput, UnexpectedToken

from strongroom.visibility.errors import InvalidQuery, MalformedQuery, UnsupportedQuery

if TYPE_CHECKING:
    from collections.abc import Collection

_TERMS = {
    "NAME": "an attribute",
    **dict.fromkeys(("COMPARISON", "_IN", "_STARTS_WITH", "_BETWEEN", "_IS"), "an operator"),
    **dict.fromkeys(("STRING", "NUMBER", "BOOLEAN"), "one value (a string in quotes, a number, TRUE or FALSE)"),
    "_NULL": "NULL",
    "_BY": "BY",
    "OPEN": "'('",
    "_COMMA": "','",
    "_CLOSE": "')'",
    "_AND": "AND",
    "_OR": "OR",
    "$END": "the end of the filter",
}
"""Names of the terminals of the grammar in messages. A terminal without a name is never the only one that fits."""

_FOREIGN = {
    word: operation
    for operation, words in {
        "LIKE": "LIKE ESCAPE",
        "matching a regular expression": "REGEXP RLIKE",
        "a condition that is only TRUE or FALSE": "TRUE FALSE",
        "a sub-query": "SELECT EXISTS ANY SOME",
        "CASE": "CASE WHEN THEN ELSE END",
        "arithmetic": "DIV MOD INTERVAL XOR",
        "a function": "MATCH CAST CONVERT COLLATE BINARY",
        "LIMIT": "LIMIT OFFSET",
        "UNION": "UNION INTERSECT EXCEPT",
        "HAVING": "HAVING",
        "locking": "FOR LOCK",
    }.items()
    for word in words.split()
}
"""SQL words that the language does not have, with the name of the operation. None of them is reserved."""

_FOREIGN_SIGN = re.compile(r"/\*!|<=>|<<|>>|[-+*/%&|^~!?]|:(?=\w)", re.ASCII)
_FOREIGN_SIGNS = {
    "/*!": "comments that MySQL executes (/*! ... */)",
    "<=>": "the operator <=>",
    "!": "the prefix ! (write NOT)",
    ":": "bind variables",
    "?": "bind variables",
}
_COMMENT = re.compile(r"/\*(?!!)")
_OPENERS = ("'", '"', "`")
_AFTER_CONDITION = ("$END", "_AND", "_OR", "_CLOSE", "_SEMICOLON", "_GROUP", "_ORDER")
_HINTS = {"OPEN": "; use IN for several values", "_NULL": "; use IS NULL for a missing attribute"}
_WORD = re.compile(r"[a-z_]\w*", re.IGNORECASE | re.ASCII)
_CALL = re.compile(r"[a-z_]\w*\s*\(", re.IGNORECASE | re.ASCII)


def read(text: str) -> Tree[Token]:
    """Return lark's tree of a filter. The tree is as deep as the filter, so check the depth before each step down.

    Raises:
        MalformedQuery: The text is not a list filter.
        UnsupportedQuery: The text uses an SQL operation that list filters do not have.
    """
    try:
        return _parser().parse(text)
    except UnexpectedInput as unexpected:
        failure = _explain(unexpected, text)
    # Raised outside the handler, because lark's error quotes the filter and would become the context of this one.
    raise failure


@cache
def _parser() -> Lark:
    grammar = files(__package__).joinpath("list_filter.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", g_regex_flags=re.ASCII)


def _explain(unexpected: UnexpectedInput, text: str) -> InvalidQuery:
    # Do not use the text of lark's error: it quotes the filter.
    here = unexpected.pos_in_stream or 0
    fitting: set[str] = unexpected.interactive_parser.accepts()  # type: ignore[no-untyped-call]  # lark's gap
    found, before = "", 0
    match unexpected:
        case UnexpectedToken(token=Token(type="$END")):  # lark reports the position of the last token
            found, before, here = "$END", here, len(text)
        case UnexpectedToken(token=token, token_history=[Token(start_pos=int(start)), *_]):
            found, before = token.type, start
        case UnexpectedToken(token=token):
            found = token.type
    if fault := _character_fault(text, here, found):
        return MalformedQuery(fault, position=here)
    after_name = "COMPARISON" in fitting
    for at in (here, before) if after_name else (here,):
        if operation := _foreign(text, at):
            return UnsupportedQuery(f"list filters do not have {operation}", position=at)
    if after_name and found == "OPEN":
        return UnsupportedQuery("list filters do not have functions", position=before)
    if "STRING" in fitting and _CALL.match(text, here) and found == "NAME":
        return UnsupportedQuery("list filters do not have functions", position=here)
    if after_name and found in _AFTER_CONDITION:
        return UnsupportedQuery("an attribute alone is not a condition; compare it with a value", position=before)
    return MalformedQuery(
        f"expected {_named(fitting)}{_HINTS.get(found, '') if 'STRING' in fitting else ''}", position=here
    )


def _character_fault(text: str, here: int, found: str) -> str:
    """Return what is wrong with the character that no token begins with; "" if it is not the character."""
    if (not found and text[here] in _OPENERS) or _COMMENT.match(text, here):
        return "a string, a name or a comment starts here and is never closed"
    if not found and not text[here].isprintable():
        return f"an invisible character (U+{ord(text[here]):04X}) is here; take it out"
    return ""


def _foreign(text: str, at: int) -> str | None:
    if word := _WORD.match(text, at):
        return _FOREIGN.get(word[0].upper())
    sign = _FOREIGN_SIGN.match(text, at)
    return _FOREIGN_SIGNS.get(sign[0], "arithmetic") if sign else None


def _named(terminals: Collection[str]) -> str:
    # lark does not list the end. It fits wherever ";" fits, and after a ";" nothing else fits.
    fitting = {*terminals, "$END"} if not terminals or "_SEMICOLON" in terminals else terminals
    *names, last = dict.fromkeys(name for terminal, name in _TERMS.items() if terminal in fitting)
    return f"{', '.join(names)} or {last}" if names else last
