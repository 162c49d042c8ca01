"""A holder for key bytes that can't be printed, compared, copied into a pickle or iterated over by accident."""

from __future__ import annotations

from typing import NoReturn, final


@final
class Secret:
    """Key bytes, shown to nobody who does not ask for them by name.

    Python can't wipe `bytes` (SECURITY.md, "Known limits"); what this prevents is a key in a log, a traceback or a
    pickle.
    """

    __slots__ = ("_material",)

    def __init__(self, material: bytes) -> None:
        self._material = material

    def reveal(self) -> bytes:
        """Return the bytes, for a cipher's or a derivation's constructor and for nothing else."""
        return self._material

    def __repr__(self) -> str:
        return "Secret(<redacted>)"

    def __reduce__(self) -> NoReturn:
        msg = "key material is not pickled"
        raise TypeError(msg)
