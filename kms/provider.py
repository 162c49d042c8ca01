"""What Strongroom asks of a KMS: one protocol, which a provider per vendor implements (`providers/`)."""

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

_URI = re.compile(r"(?P<provider>[a-z][a-z0-9-]{0,31}):(?P<key>[\x21-\x7e]{1,512})")


@dataclass(frozen=True, slots=True)
class KekRef:
    """A KEK: the provider's id in the configuration, and the key's id within that provider. Written `provider:key`."""

    provider: str
    key_id: str

    @classmethod
    def parse(cls, uri: str) -> KekRef:
        """Parse a KEK's URI.

        Raises:
            InvalidRequest: not of the form `provider:key`.
        """
        match = _URI.fullmatch(uri)
        if match is None:
            msg = "a KEK is named PROVIDER:KEY, for example local:customer-a"
            raise InvalidRequest(msg)
        return cls(match["provider"], match["key"])

    def __str__(self) -> str:
        return f"{self.provider}:{self.key_id}"


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A root key wrapped by a KEK: all that `unwrap` needs besides the context."""

    kek: KekRef
    kek_version: str
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A new root key of 32 bytes, and its wrapped form."""

    root: Secret
    wrapped: Wrapped


@dataclass(frozen=True, slots=True)
class KekInfo:
    """What a KMS says of a KEK.

    Attributes:
        kek: which.
        state: `enabled`, `disabled`, `pending_deletion` or `destroyed`.
        primary_version: the version that wraps.
        versions: all versions that still unwrap.
        deletion_at: when a scheduled deletion happens; None where there is none.
        request_id: by which the KMS's own log knows the call that this answers; None where it gave none.
    """

    kek: KekRef
    state: Literal["enabled", "disabled", "pending_deletion", "destroyed"]
    primary_version: str
    versions: tuple[str, ...]
    deletion_at: datetime | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can do by itself; Strongroom makes up for the rest.

    Attributes:
        context: `native` when the KMS authenticates the encryption context, `commitment` when only our commitment
            binds it.
        rewrap: `server` when the root need not leave the KMS for a re-wrap.
        batch: how many keys `unwrap_many` is given at once.
        deletion: `scheduled` when the KMS waits before it deletes a KEK, `immediate` when it does not.
    """

    context: Literal["native", "commitment"]
    rewrap: Literal["server", "client"]
    batch: int
    deletion: Literal["scheduled", "immediate"]


def associated_data(label: bytes, key_id: str, version: int, context: Mapping[str, str]) -> bytes:
    """Bind a wrapped root to its KEK and encryption context: behind a label, each length-prefixed, the context by name."""
    parts = [key_id, str(version), *(part for item in sorted(context.items()) for part in item)]
    return label + b"".join(struct.pack(">H", len(part.encode())) + part.encode() for part in parts)


class KmsProvider(Protocol):
    """A KMS. Every method may raise any `KmsError`; a root that does not unwrap is an `IntegrityError`."""

    @property
    def capabilities(self) -> Capabilities:
        """What this provider does by itself."""

    def regions(self, kek: KekRef) -> frozenset[str | None]:
        """Return where a KEK is, by its name or else by the configuration; the KMS is not asked.

        One region, or several for a KEK that is in several; None among them is a place that nothing tells.
        """

    async def generate_data_key(self, kek: KekRef, *, context: Mapping[str, str]) -> GeneratedKey:
        """Draw a root key and wrap it."""

    async def wrap(self, kek: KekRef, root: Secret, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap a root key under the KEK's primary version."""

    async def unwrap(self, wrapped: Wrapped, *, context: Mapping[str, str]) -> Secret:
        """Unwrap with the very KEK and version that the wrapped key names."""

    async def unwrap_many(
        self, items: Sequence[tuple[Wrapped, Mapping[str, str]]]
    ) -> Sequence[Secret | StrongroomError]:
        """Unwrap several, in order; what fails for one is returned in its place and fails no other."""

    async def rewrap(self, wrapped: Wrapped, kek: KekRef, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap the same root anew under the KEK's primary version."""

    async def describe(self, kek: KekRef) -> KekInfo:
        """Return state and versions of a KEK."""

    async def create_kek(self, key_id: str) -> KekRef:
        """Make a KEK; an existing one is left as it is.

        Args:
            key_id: its id, or where the KMS gives ids itself, a name by which it is found again.

        Returns:
            What it is called by from now on.
        """

    async def rotate_kek(self, kek: KekRef) -> str:
        """Add a version to a KEK, which wraps from now on; older versions still unwrap.

        Returns:
            The new version.
        """

    async def retire_version(self, kek: KekRef, version: str) -> None:
        """See to it that an old version of a KEK unwraps nothing any more; the caller knows that nothing depends on it.

        Raises:
            UnsupportedOperation: this KMS keeps all versions for as long as it keeps the KEK.
            InvalidRequest: it is the version that wraps.
        """

    async def delete_kek(self, kek: KekRef) -> KekInfo:
        """Delete a KEK with all its versions, or have the KMS do so after its own waiting period.

        Returns:
            What the KMS says of it then. What it wrapped opens for nobody from now on.
        """

    async def check(self) -> str:
        """Return what can be said of the KMS, or raise if it can't be used now; no key is used, so nothing is billed."""

    async def aclose(self) -> None:
        """Let go of connections."""
