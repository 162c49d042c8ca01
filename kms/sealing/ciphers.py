"""Select the implementation of sealing, opening and tokens: Python with `cryptography`, or the native kernel.

Both produce and read the same bytes (DESIGN.md, "The kernel").
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast

from strongroom.kms.errors import UnsupportedOperation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .record_kind import RecordKey

    Resolve: TypeAlias = Callable[[bytes], tuple[Any, bytes, int]]
    """Returns a value's subkey, its associated data up to the row's key, and the offset of the last 12 bytes of its nonce."""

T = TypeVar("T")
PYTHON, NATIVE = "python", "native"
VARIABLE = "STRONGROOM_CIPHER"
"""Environment variable that selects an implementation. Without it the kernel is used wherever it is installed."""
_MODULES = {PYTHON: "strongroom.kms.sealing.python_cipher", NATIVE: "strongroom_kernel"}


class SealingBatch(Protocol):
    """See `python_cipher.SealingBatch`."""

    def seal(
        self, header: bytes, context: bytes, types: bytes, scope: RecordKey, rows: Sequence[tuple[RecordKey, bytes]]
    ) -> list[bytes]:
        """Seal rows that share a header."""


class Cipher(Protocol):
    """See `python_cipher.Cipher`."""

    def batch(self, count: int) -> SealingBatch:
        """Return a new batch with random nonces and a derived key."""

    def seal(
        self, header: bytes, context: bytes, types: bytes, scope: RecordKey, rows: Sequence[tuple[RecordKey, bytes]]
    ) -> list[bytes]:
        """Seal rows as a batch of their own."""

    def subkey(self, prefix: bytes) -> Any:
        """Return the key that opens values whose nonces begin with `prefix`."""


class Tokens(Protocol):
    """See `tokens.Tokens`."""

    def token(self, message: bytes) -> bytes:
        """Return the token of a message."""

    def numbers(self, messages: Sequence[bytes]) -> list[int]:
        """Return the first 8 bytes of the token of each message."""

    def prefixes(self, messages: Sequence[bytes], length: int) -> bytes:
        """Return the first bytes of the token of each message, one after the other."""

    def exchange(self, total: bytes, prefix: bytes, removed: Sequence[bytes], added: Sequence[bytes]) -> bytes:
        """Return a sum without the tokens of some messages and with those of others."""

    def grouped(self, prefix: bytes, removed: Sequence[bytes], added: Sequence[bytes]) -> bytes:
        """Return sums of tokens by the first byte of the messages."""


class Unpacker(Protocol):
    """See `packing.Unpacker`."""

    def unpack(self, flags: bytes, bodies: Sequence[bytes]) -> list[bytes]:
        """Return the plaintexts of decrypted bodies."""


class Implementation(Protocol):
    """A module that seals and opens. `python_cipher` is the specification."""

    KeyMismatch: type[Exception]
    NotOpened: type[Exception] | tuple[type[Exception], ...]

    def Cipher(self, key: bytes, suite: int) -> Cipher:  # noqa: N802 - a class of the module
        """Return a cipher for the key of one suite."""

    def Tokens(self, key: bytes) -> Tokens:  # noqa: N802 - likewise
        """Return a maker of tokens under a key."""

    def Unpacker(self, dictionary: bytes, tables: bytes) -> Unpacker:  # noqa: N802 - likewise
        """Return an unpacker for the values of one record kind."""

    def open_rows(
        self, resolve: Resolve, types: bytes, scope: RecordKey, rows: Sequence[tuple[RecordKey, bytes]]
    ) -> list[bytes]:
        """Open rows."""


@cache
def available() -> tuple[str, ...]:
    """Return the names of the implementations that are installed."""
    return (PYTHON, NATIVE) if find_spec(_MODULES[NATIVE]) else (PYTHON,)


def chosen() -> str:
    """Return the name of the implementation that is used by default.

    Raises:
        UnsupportedOperation: the environment selects an implementation that is not installed.
    """
    requested = os.environ.get(VARIABLE, "")
    if requested and requested not in available():
        msg = f"{VARIABLE} must be one of: {', '.join(available())}; 'make kernel' installs the native kernel"
        raise UnsupportedOperation(msg)
    return requested or available()[-1]


def implementation(name: str | None = None) -> Implementation:
    """Return the implementation of this name, or the default one."""
    return cast("Implementation", import_module(_MODULES[name or chosen()]))


def chosen_function(name: str, python_function: T) -> T:
    """Return the kernel's function of this name if the kernel is the default implementation, else the given function."""
    return cast("T", getattr(import_module(_MODULES[NATIVE]), name)) if chosen() == NATIVE else python_function
