"""Check PEM files before OpenSSL loads them. OpenSSL passes over a block that it does not recognise, without an error."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from strongroom.kms.errors import InvalidRequest
from strongroom.kms.text import NotText, read_text

if TYPE_CHECKING:
    from pathlib import Path

CERTIFICATE, REVOCATIONS = "certificate", "revocation list"
_KINDS = {
    "CERTIFICATE": CERTIFICATE,
    "TRUSTED CERTIFICATE": CERTIFICATE,
    "X509 CERTIFICATE": CERTIFICATE,
    "X509 CRL": REVOCATIONS,
}
_MARK = "-----BEGIN "
_BLOCK = re.compile(r"^-----BEGIN ([A-Z0-9 ]+)-----", re.MULTILINE)
_EDGE = re.compile(r"^-----(BEGIN|END) ", re.MULTILINE)
_FOREIGN = "surrogateescape"
"""How bytes that are not UTF-8 are kept. OpenSSL ignores comments, and some have names of authorities in Latin-1."""
_MOST = 4096
"""The maximum number of blocks. A bundle of all public authorities has about 150."""


def read_pem(file: Path, content: str = "", *, is_secret: bool = False) -> bytes:
    """Return the content of a PEM file in which OpenSSL finds every block. A byte order mark is left out.

    Args:
        file: The file.
        content: `CERTIFICATE` or `REVOCATIONS`, one or more of which the file must have; "" for a file with a key. A file of
            revocation lists has no certificates, because OpenSSL would trust them.
        is_secret: Whether the file holds a key, so that others may not read it.

    Raises:
        InvalidRequest: The file can't be read, others can change it, or a block would be passed over.
    """
    try:
        text = read_text(file, is_secret=is_secret, errors=_FOREIGN)
        fault = _fault(text, content)
    except NotText as error:
        fault = str(error)
    if fault:
        msg = f"TLS: {file} can't be used: {fault}"
        raise InvalidRequest(msg)
    return text.encode(errors=_FOREIGN)


def _fault(text: str, content: str) -> str:
    """Return what is wrong with the text of a PEM file; "" if nothing is."""
    if not text.strip():
        return "it is empty"
    found = _BLOCK.findall(text)
    if len(found) != text.count(_MARK):
        return (
            "a line -----BEGIN ...----- has something before it, for example a space or the end of another block, so that "
            "OpenSSL would pass over its block; begin a line with it"
        )
    if re.search("BEGIN(BEGIN|$)", "".join(_EDGE.findall(text))):
        return (
            "a block has no line -----END ...----- that begins a line, so that OpenSSL would pass over the block after it; "
            "put the end back"
        )
    kinds = [_KINDS.get(each, "key") for each in found]
    if len(found) > _MOST:
        return f"it has more than {_MOST} blocks"
    if content and content not in kinds:
        return f"it contains no {content} in PEM"
    if content == REVOCATIONS and CERTIFICATE in kinds:
        return "it contains a certificate, which would be trusted; leave only revocation lists in it"
    return "" if found else "it contains nothing in PEM"
