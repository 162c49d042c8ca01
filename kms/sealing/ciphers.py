"""Which implementation seals, opens and makes tokens: Python with `cryptography`, or the native kernel (DESIGN.md, "The kernel").

Both make and take the same bytes.
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

    from .record_kind import Key

    Resolve: TypeAlias = Callable[[bytes], tuple[Any, bytes, int]]
    """Finds a value's subkey, its associated data up to the key, and where the last 12 bytes of its nonce begin."""

T = TypeVar("T")
PYTHON, NATIVE = "python", "native"
VARIABLE = "STRONGROOM_CIPHER"
"""Environment variable that asks for one of them; without it the kernel is used wherever it is installed."""
_MODULES = {PYTHON: "strongroom.kms.sealing.python_cipher", NATIVE: "strongroom_kernel"}


class SealingBatch(Protocol):
    """See `python_cipher.SealingBatch`."""

    def seal(
        self, header: bytes, context: bytes, types: bytes, scope: Key, rows: Sequence[tuple[Key, bytes]]
    ) -> list[bytes]:
        """Seal rows that share a header."""


class Cipher(Protocol):
    """See `python_cipher.Cipher`."""

    def batch(self, count: int) -> SealingBatch:
        """Draw the nonces of a batch, and derive its key."""

    def seal(
        self, header: bytes, context: bytes, types: bytes, scope: Key, rows: Sequence[tuple[Key, bytes]]
    ) -> list[bytes]:
        """Seal rows as a batch of their own."""

    def subkey(self, prefix: bytes) -> Any:
        """Return what opens values whose nonces begin with `prefix`."""


class Tokens(Protocol):
    """See `tokens.Tokens`."""

    def token(self, message: bytes) -> bytes:
        """Return the token of a message."""

    def numbers(self, messages: Sequence[bytes]) -> list[int]:
        """Return the first 8 bytes of the token of each message."""


class Unpacker(Protocol):
    """See `packing.Unpacker`."""

    def unpack(self, flags: bytes, bodies: Sequence[bytes]) -> list[bytes]:
        """Return the plaintexts of decrypted bodies."""


class Implementation(Protocol):
    """A module that seals and opens; `python_cipher` is the specification."""

    KeyMismatch: type[Exception]
    NotOpened: type[Exception] | tuple[type[Exception], ...]

    def Cipher(self, key: bytes, suite: int) -> Cipher:  # noqa: N802 - a class of the module
        """Prepare the key of one suite."""

    def Tokens(self, key: bytes) -> Tokens:  # noqa: N802 - likewise
        """Prepare a key of tokens."""

    def Unpacker(self, dictionary: bytes, tables: bytes) -> Unpacker:  # noqa: N802 - likewise
        """Prepare what undoes the packing of one kind."""

    def open_rows(self, resolve: Resolve, types: bytes, scope: Key, rows: Sequence[tuple[Key, bytes]]) -> list[bytes]:
        """Open rows."""


@cache
def available() -> tuple[str, ...]:
    """Return the names of the implementations that can be used here."""
    return (PYTHON, NATIVE) if find_spec(_MODULES[NATIVE]) else (PYTHON,)


def chosen() -> str:
    """Return the name of the implementation that is used where none is asked for.

    Raises:
        UnsupportedOperation: the environment asks for one that is not there.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked and asked not in available():
        msg = f"{VARIABLE} is none of: {', '.join(available())}. The kernel is a distribution of its own, strongroom-kernel"
        raise UnsupportedOperation(msg)
    return asked or available()[-1]


def implementation(name: str | None = None) -> Implementation:
    """Return an implementation: the one of this name, or the one that is chosen."""
    return cast("Implementation", import_module(_MODULES[name or chosen()]))


def fastest(name: str, otherwise: T) -> T:
    """Return the kernel's function of a name if the kernel is what seals here, and has it; else the one given."""
    return cast("T", getattr(import_module(_MODULES[NATIVE]), name, otherwise)) if chosen() == NATIVE else otherwise
