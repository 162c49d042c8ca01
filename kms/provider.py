"""The protocol of a KMS provider. `providers/` has one implementation for each kind of KMS."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from .errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from .errors import StrongroomError
    from .secret import Secret

PROVIDER_ID = r"[a-z][a-z0-9-]{0,31}"
"""The form of a provider's id, a regular expression."""
_URI = re.compile(rf"(?P<provider>{PROVIDER_ID}):(?P<key>[\x21-\x7e]{{1,512}})")


@dataclass(frozen=True, slots=True)
class KekRef:
    """A reference to a KEK: the provider's id in the configuration and the key's id within it. Its URI is `provider:key`."""

    provider: str
    key_id: str

    @classmethod
    def parse(cls, uri: str) -> KekRef:
        """Return the reference in a URI.

        Raises:
            InvalidRequest: The URI does not have the form `provider:key`.
        """
        match = _URI.fullmatch(uri)
        if match is None:
            msg = "a KEK must be written PROVIDER:KEY, for example local:customer-a"
            raise InvalidRequest(msg)
        return cls(match["provider"], match["key"])

    def __str__(self) -> str:
        return f"{self.provider}:{self.key_id}"


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A root key wrapped by a KEK. `unwrap` needs this and the encryption context."""

    kek: KekRef
    kek_version: str
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A new root key, 32 bytes, and its wrapped form."""

    root: Secret
    wrapped: Wrapped


@dataclass(frozen=True, slots=True)
class KekInfo:
    """The state of a KEK in its KMS.

    Attributes:
        kek: The KEK.
        state: `enabled`, `disabled`, `pending_deletion` or `destroyed`.
        primary_version: The version that wraps.
        versions: All versions that still unwrap.
        kept: Retired versions that the KMS still has, so that its administrator can enable them again. `retire_version` of one of
            them deletes it, if the KMS and the caller's rights allow that.
        deletion_at: The time of a scheduled deletion, or None.
        request_id: The id of the call in the KMS's own log, or None if the KMS gave no id.
    """

    kek: KekRef
    state: Literal["enabled", "disabled", "pending_deletion", "destroyed"]
    primary_version: str
    versions: tuple[str, ...]
    deletion_at: datetime | None = None
    request_id: str | None = None
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The abilities of a provider's KMS.

    Attributes:
        context: `native` if the KMS authenticates the encryption context, `commitment` if only Strongroom's commitment binds it.
        rewrap: `server` if the root does not leave the KMS during a re-wrap, else `client`.
        batch: The maximum number of keys that `unwrap_many` takes.
        deletion: `scheduled` if the KMS waits before it deletes a KEK, else `immediate`.
        remote: Whether the KMS is called over a network. A file and a module in this process have no network's deadline.
        retires_versions: Whether the KMS can forget an old version of a KEK while newer ones are used.
        rotates_slowly: Whether the KMS may wrap with an older version for hours after a rotation.
    """

    context: Literal["native", "commitment"]
    rewrap: Literal["server", "client"]
    batch: int
    deletion: Literal["scheduled", "immediate"]
    remote: bool = True
    retires_versions: bool = True
    rotates_slowly: bool = False


def associated_data(label: bytes, key_id: str, version: int, context: Mapping[str, str]) -> bytes:
    """Return associated data that binds a wrapped root to its KEK and encryption context.

    Each part after the label is length-prefixed. The context is sorted by name.
    """
    parts = [key_id, str(version), *(part for item in sorted(context.items()) for part in item)]
    return label + b"".join(struct.pack(">H", len(part.encode())) + part.encode() for part in parts)


class KmsProvider(Protocol):
    """A KMS. Every method may raise any `KmsError`. A root that does not unwrap raises `IntegrityError`."""

    @property
    def capabilities(self) -> Capabilities:
        """The abilities of the KMS."""

    def regions(self, kek: KekRef) -> frozenset[str | None]:
        """Return the regions of a KEK, from its name or from the configuration. The KMS is not called.

        A KEK may be in several regions. None stands for an unknown region.
        """

    async def generate_data_key(self, kek: KekRef, *, context: Mapping[str, str]) -> GeneratedKey:
        """Return a new random root key and its wrapped form."""

    async def wrap(self, kek: KekRef, root: Secret, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap a root key under the KEK's primary version."""

    async def unwrap(self, wrapped: Wrapped, *, context: Mapping[str, str]) -> Secret:
        """Unwrap a root with the KEK and version that the wrapped key names."""

    async def unwrap_many(
        self, items: Sequence[tuple[Wrapped, Mapping[str, str]]]
    ) -> Sequence[Secret | StrongroomError]:
        """Unwrap several roots, in order. An error of one root is returned in its place and does not affect the others."""

    async def rewrap(self, wrapped: Wrapped, kek: KekRef, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap the same root again under the KEK's primary version."""

    async def describe(self, kek: KekRef) -> KekInfo:
        """Return the state and the versions of a KEK."""

    async def create_kek(self, key_id: str) -> KekRef:
        """Create a KEK. An existing KEK is not changed.

        Args:
            key_id: The id of the KEK, or a name for it if the KMS assigns ids itself.

        Returns:
            The reference by which the KEK is used.
        """

    async def rotate_kek(self, kek: KekRef) -> str:
        """Add a version to a KEK and make it the primary version. Older versions still unwrap.

        Returns:
            The new version.
        """

    async def retire_version(self, kek: KekRef, version: str) -> None:
        """Disable or delete an old version of a KEK. The caller must have checked that the version wraps no key.

        Raises:
            UnsupportedOperation: The KMS keeps all versions as long as the KEK exists.
            InvalidRequest: It is the primary version.
        """

    async def delete_kek(self, kek: KekRef) -> KekInfo:
        """Delete a KEK with all its versions, or schedule its deletion in a KMS with a waiting period.

        From then on, nobody can unwrap a root that the KEK wrapped.

        Returns:
            The state of the KEK after the call.
        """

    async def check(self) -> str:
        """Return a description of the KMS, or raise an error if it can't be used now. No key is used, so nothing is billed."""

    async def aclose(self) -> None:
        """Close all connections."""


async def unwrap_in_batches(
    provider: KmsProvider, items: Sequence[tuple[Wrapped, Mapping[str, str]]]
) -> list[Secret | StrongroomError]:
    """Unwrap any number of roots, in order, with as many calls as the provider needs. See `KmsProvider.unwrap_many`."""
    answers: list[Secret | StrongroomError] = []
    for start in range(0, len(items), provider.capabilities.batch):
        answers += await provider.unwrap_many(items[start : start + provider.capabilities.batch])
    return answers
