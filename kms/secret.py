"""A container for key bytes that can't be printed, pickled or iterated over by accident."""

from __future__ import annotations

from typing import NoReturn, final


@final
class Secret:
    """Key bytes that only `reveal` returns.

    This keeps keys out of logs, tracebacks and pickles. It does not wipe them, because Python can't wipe `bytes`
    (SECURITY.md, "Known limits").
    """

    __slots__ = ("_material",)

    def __init__(self, material: bytes) -> None:
        self._material = material

    def reveal(self) -> bytes:
        """Return the bytes. Pass them only to a cipher or a key derivation."""
        return self._material

    def __repr__(self) -> str:
        return "Secret(<redacted>)"

    def __reduce__(self) -> NoReturn:
        msg = "key material is not pickled"
        raise TypeError(msg)
