"""The text of a file that a person or a program wrote: UTF-8, with or without a byte order mark."""

from __future__ import annotations

import codecs

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
"""Marks of other encodings. That of UTF-32, little-endian, begins with that of UTF-16."""


class NotText(ValueError):  # noqa: N818 - says what the content is
    """A content that is not text in UTF-8. The message is a reason for a sentence, and holds nothing of the content."""


def text_of(content: bytes, *, errors: str = "strict") -> str:
    """Return the text of a file, without its byte order mark.

    Args:
        content: The content of the file.
        errors: What to do with bytes that are not UTF-8; see `bytes.decode`.

    Raises:
        NotText: It is in another encoding, or has a NUL byte.
    """
    if content.startswith(_MARKS) or b"\0" in content:
        msg = "it is not UTF-8 (it may be UTF-16, as some Windows programs write it); save it as UTF-8"
        raise NotText(msg)
    try:
        return content.decode("utf-8-sig", errors)
    except UnicodeDecodeError:
        pass
    # Raised outside the handler, because the error of the decoder holds the content.
    msg = "it is not UTF-8; save it as UTF-8"
    raise NotText(msg)
