"""Search every file of a data directory for plaintext, in each encoding that may have been used to write it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_BLOCK = 8192
_ZEROS = bytes(_BLOCK)


@dataclass(slots=True)
class LeakReport:
    """The result of a scan.

    Attributes:
        files: The number of files.
        bytes: The number of bytes in them.
        hits: The files of each planted string that was found, with the encoding.
    """

    files: int = 0
    bytes: int = 0
    hits: dict[str, set[str]] = field(default_factory=dict)


def scan(folder: Path, planted: Iterable[str]) -> LeakReport:
    """Search every file under a folder for planted strings.

    The encodings are UTF-8, UTF-16 in both byte orders, hexadecimal in both cases, and base64 in its three alignments.

    Args:
        folder: A data directory, with the write-ahead log and the server's log.
        planted: The strings that must not be found. They must be too long to occur by chance.
    """
    report = LeakReport()
    seen: set[bytes] = set()
    needles = [(text, form, needle) for text in planted for form, needle in _forms(text)]
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        content = path.read_bytes()
        report.files += 1
        report.bytes += len(content)
        digest = hashlib.sha256(content).digest()
        if digest in seen:
            continue  # a new cluster has three identical copies of its catalogue
        seen.add(digest)
        content = _without_empty_blocks(content)
        for text, form, needle in needles:
            if needle in content:
                report.hits.setdefault(text, set()).add(f"{path.relative_to(folder)} ({form})")
    return report


def _forms(text: str) -> Iterable[tuple[str, bytes]]:
    raw = text.encode()
    yield "UTF-8", raw
    yield "UTF-16-LE", text.encode("utf-16-le")
    yield "UTF-16-BE", text.encode("utf-16-be")
    yield "hex", raw.hex().encode()
    yield "HEX", raw.hex().upper().encode()
    for shift in range(3):
        # Only the first and the last characters depend on the neighbouring bytes.
        encoded = base64.b64encode(bytes(shift) + raw)
        yield f"base64+{shift}", encoded[-(-shift * 4 // 3) : len(encoded) - 4]


def _without_empty_blocks(content: bytes) -> bytes:
    """Return the content without blocks of zeros, which are most of a new write-ahead log."""
    if len(content) < 2 * _BLOCK or _ZEROS not in content:
        return content
    blocks = (content[start : start + _BLOCK] for start in range(0, len(content), _BLOCK))
    return b"".join(block for block in blocks if block != _ZEROS)
