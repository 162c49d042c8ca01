"""The text of a file that a person or a program wrote: UTF-8, with or without a byte order mark."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from .private_files import read_private, read_trusted

if TYPE_CHECKING:
    from pathlib import Path

_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
"""Marks of other encodings. That of UTF-32, little-endian, begins with that of UTF-16."""


class NotText(ValueError):  # noqa: N818 - says what the content is
    """A file that can't be read as text in UTF-8. The message is a reason for a sentence, and holds nothing of the content."""


def read_text(file: Path, *, is_secret: bool = False, errors: str = "strict") -> str:
    """Read a file, and return its text without its byte order mark.

    Args:
        file: The file.
        is_secret: Whether the file holds a secret, so that others may not read it.
        errors: What to do with bytes that are not UTF-8; see `bytes.decode`.

    Raises:
        NotText: The file can't be read, others can change it, or it is not text.
    """
    try:
        content = read_private(file) if is_secret else read_trusted(file)
    except OSError as error:
        raise NotText(error.strerror or type(error).__name__) from None
    return text_of(content, errors=errors)


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
