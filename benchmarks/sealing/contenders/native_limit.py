"""AWS-LC's own speed in this process, with associated data as long as ours: `benchmarks/native_limit`, loaded with ctypes.

`make bench-env` builds it, which takes a minute; without cargo it is left out. It calls the cipher once per row, in a batch
of 1 and in a batch of 100.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.sealing.contenders.names import LIMIT
from benchmarks.sealing.contenders.ours import associated_bytes
from benchmarks.sealing.contenders.protocol import Absent, Contender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.lib.measuring import Sampler
    from benchmarks.sealing.contenders.protocol import Row

FOLDER = Path(__file__).parents[1] / "native_limit"
LIBRARY = FOLDER / "target" / "release" / "libnative_limit.so"


@cache
def library() -> ctypes.CDLL:
    """Return the library.

    Raises:
        Absent: The library is not built, or its source is newer.
    """
    sources = [FOLDER / "Cargo.toml", FOLDER / "src" / "lib.rs"]
    if not LIBRARY.exists() or LIBRARY.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        msg = "it is not built: run `make bench-env`, which needs cargo"
        raise Absent(msg)
    loaded = ctypes.CDLL(str(LIBRARY))
    loaded.limit_new.restype = ctypes.c_void_p
    loaded.limit_new.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_size_t] * 3
    for function in (loaded.limit_seal, loaded.limit_open):
        function.restype, function.argtypes = ctypes.c_uint64, [ctypes.c_void_p]
    loaded.limit_free.restype, loaded.limit_free.argtypes = None, [ctypes.c_void_p]
    loaded.limit_row.restype = None
    loaded.limit_row.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_bool, ctypes.c_char_p]
    return loaded


class Batch:
    """A batch inside the library: rows of one length, with associated data as long as ours.

    Args:
        rows: The rows to seal.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._library, self.count, self.length = library(), len(rows), len(rows[0][1])
        self.key = os.urandom(32)
        self.associated = [os.urandom(associated_bytes()) for _ in rows]
        self._batch = self._library.limit_new(
            self.key,
            b"".join(plaintext for _, plaintext in rows),
            b"".join(self.associated),
            self.count,
            self.length,
            associated_bytes(),
        )
        if not self._batch:
            msg = "AWS-LC refused the key"
            raise Absent(msg)

    def seal(self) -> float:
        """Seal all rows; return nanoseconds per row."""
        return self._spent(self._library.limit_seal(self._batch))

    def open(self) -> float:
        """Open all sealed rows; return nanoseconds per row."""
        return self._spent(self._library.limit_open(self._batch))

    def _spent(self, nanoseconds: int) -> float:
        if nanoseconds == 0:
            msg = "AWS-LC could not seal or open a row"
            raise RuntimeError(msg)
        return nanoseconds / self.count

    def row(self, number: int, *, opened: bool = False) -> bytes:
        """Return a row's sealed value without its nonce, or its opened value."""
        length = self.length if opened else self.length + 16
        out = ctypes.create_string_buffer(length)
        self._library.limit_row(self._batch, number, opened, out)
        return out.raw

    def check(self, rows: Sequence[Row]) -> None:
        """Compare the first and the last row with the results of another library."""
        self.seal()
        self.open()
        for number in (0, self.count - 1):
            nonce = bytes(4) + number.to_bytes(8, "big")
            wanted = AESGCM(self.key).encrypt(nonce, rows[number][1], self.associated[number])
            assert self.row(number) == wanted, "AWS-LC and the reference seal alike"
            assert self.row(number, opened=True) == rows[number][1]

    def __del__(self) -> None:
        if getattr(self, "_batch", None):
            self._library.limit_free(self._batch)


def samplers(_batch: int, rows: Sequence[Row]) -> dict[str, Sampler]:
    """Return samplers that measure time inside the library."""
    batch = Batch(rows)
    batch.check(rows)
    return {"seal": batch.seal, "open": batch.open}


def contenders() -> list[Contender]:
    """Return the contender. Its values never reach Python, so its functions over rows refuse."""
    library()

    def refuse(*_: object) -> NoReturn:
        msg = "the native limit makes no rows; it is sampled inside its library"
        raise NotImplementedError(msg)

    differs = "no Python: existing buffers, counters for nonces, one key; associated data as long as ours"
    return [Contender(LIMIT, "aws-lc-sys 0.47", differs, refuse, refuse, refuse, refuse, samplers)]
