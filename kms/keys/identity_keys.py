"""The keys for identifiers of a namespace whose other keys do not exist yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from strongroom.kms.sealing.tokens import TokenKey

from . import derivation

if TYPE_CHECKING:
    from strongroom.kms.secret import Secret


class IdentityKeys:
    """Makes identifiers of a namespace, like `NamespaceKeys.identity`.

    Args:
        root: The root of class identity.
    """

    __slots__ = ("_root",)

    def __init__(self, root: Secret) -> None:
        self._root = root

    def identity(self, purpose: str) -> TokenKey:
        """Return the key for identifiers of one purpose."""
        return TokenKey(derivation.identity_key(self._root, purpose))

    def __repr__(self) -> str:
        return "IdentityKeys(<redacted>)"

    def __reduce__(self) -> NoReturn:
        msg = "key material is not pickled"
        raise TypeError(msg)
