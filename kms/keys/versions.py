"""Look up a key version, and the reasons why a version can't be used (FORMAT.md section 6.1)."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, TypeVar

from strongroom.kms.errors import KeyDestroyed, KeyDisabled, KeyNotFound, KeyWithdrawn, KmsError, StrongroomError

from .registry import KeyClass, KeyState

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")
_SCHEDULED = (
    "the namespace is scheduled for shredding, so its keys can't be used; until the second confirmation, "
    "'strongroom namespace unshred NAMESPACE' undoes this"
)


def unusable(state: KeyState, key_class: KeyClass = KeyClass.DATA, *, withdrawn: bool = False) -> KmsError | None:
    """Return the error for a key in this state, or None if the key can be used."""
    if state is KeyState.DESTROYED:
        return KeyDestroyed()
    if state is KeyState.DISABLED:
        return KeyWithdrawn() if withdrawn else KeyDisabled(_SCHEDULED)
    if state is KeyState.PENDING and key_class is not KeyClass.INDEX:
        return KeyNotFound("the key version is not active yet")
    return None


def key_of_version(versions: Mapping[int, T | StrongroomError], version: int) -> T:
    """Return the key of one version. Other versions are never tried.

    Raises:
        KeyNotFound: The namespace has no such version.
        StrongroomError: The version can't be used.
    """
    key = versions.get(version)
    if key is None:
        msg = f"no key version {version} in this namespace"
        raise KeyNotFound(msg)
    if isinstance(key, StrongroomError):
        raise copy(key)  # a copy, because each raise adds to the traceback
    return key
