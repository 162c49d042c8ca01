"""The protocol by which a keyring file is compared with the registry's record of it, so that diverged copies are noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .content import KeyringHead


class KeyringLedger(Protocol):
    """The newest change of each keyring file that makes KEKs for a cell. `strongroom.storage` records it in PostgreSQL.

    A record is only a reason to refuse a file. A file that matches it is trusted no more than one without a record.
    """

    async def head(self, provider: str) -> KeyringHead | None:
        """Return the newest recorded change of a provider's keyring; None if none was recorded."""

    async def advance(self, provider: str, new: KeyringHead, *, expected: str | None) -> bool:
        """Record a change if the recorded one is the expected one, and return whether it was recorded.

        Args:
            provider: The id of the provider.
            new: The new change.
            expected: The recorded change; None if none is recorded.
        """

    async def adopt(self, provider: str, new: KeyringHead) -> None:
        """Record a change, whatever was recorded before."""
