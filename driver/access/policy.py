"""Who may do what in a cell: one value, kept sealed, and changed as a whole (`changes.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FORMAT = 1


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A secret that a principal brings; of it only a hash is kept.

    Attributes:
        key_id: in the key itself, and in the audit log.
        hash: SHA-256 of the secret in hexadecimal: of 256 random bits, which nobody guesses, so it needs no salt and no cost.
        expires_at: from which moment on it is refused.
    """

    key_id: str
    hash: str = field(repr=False)
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Binding:
    """A role that a principal has.

    Attributes:
        namespace_id: in which namespace; None for the whole cell.
        since: when it was given.
        by: who gave it.
    """

    role: str
    namespace_id: UUID | None
    since: datetime
    by: str


@dataclass(frozen=True, slots=True)
class Principal:
    """A person or a process.

    Attributes:
        name: in the audit log.
        subjects: of certificates that it brings, each an RFC 4514 text.
        created_by: who made it known.
    """

    name: str
    created_at: datetime
    created_by: str
    subjects: tuple[str, ...] = ()
    api_keys: tuple[ApiKey, ...] = ()
    bindings: tuple[Binding, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """Break-glass: a right for some hours, for a reason. It counts from when somebody else approved it.

    Attributes:
        role: that it gives; "" for a grant of one operation.
        operation: that it allows, for those that need two people; "" for a grant of a role.
        namespace_id: where; None for the whole cell.
        seconds: how long it counts once it is approved.
        approved_by: who approved it; "" while nobody has.
        ended_at: when it was taken back early.
    """

    grant_id: str
    principal: str
    role: str
    operation: str
    namespace_id: UUID | None
    reason: str
    requested_at: datetime
    seconds: int
    approved_by: str = ""
    approved_at: datetime | None = None
    expires_at: datetime | None = None
    ended_at: datetime | None = None

    def counts(self, now: datetime) -> bool:
        """Whether it gives anything at this moment."""
        return self.expires_at is not None and self.ended_at is None and now < self.expires_at


@dataclass(frozen=True, slots=True)
class LegalHold:
    """Why nothing of the audit log may be pruned."""

    hold_id: str
    reason: str
    since: datetime
    by: str


@dataclass(frozen=True, slots=True)
class Policy:
    """All of it.

    Attributes:
        version: how often it was changed; 0 for none.
        retention_days: how long audit records are kept.
        availability_first: namespaces whose calls go on when the audit log can't be written.
    """

    version: int = 0
    principals: Mapping[str, Principal] = field(default_factory=lambda: MappingProxyType({}))
    grants: tuple[Grant, ...] = ()
    holds: tuple[LegalHold, ...] = ()
    retention_days: int = 400
    availability_first: frozenset[UUID] = frozenset()

    def holders(self, role: str) -> Iterator[str]:
        """Yield who has a role in the whole cell."""
        for principal in self.principals.values():
            if any(binding.role == role and binding.namespace_id is None for binding in principal.bindings):
                yield principal.name

    def encode(self) -> bytes:
        """Return the bytes that are sealed; the version stands beside them."""
        return orjson.dumps(
            {
                "format": FORMAT,
                "principals": list(self.principals.values()),
                "grants": self.grants,
                "holds": self.holds,
                "retention_days": self.retention_days,
                "availability_first": sorted(self.availability_first),
            },
            option=orjson.OPT_UTC_Z,
        )

    @classmethod
    def decode(cls, version: int, data: bytes) -> Policy:
        """Read what `encode` wrote."""
        if version == 0:
            return cls()
        document = orjson.loads(data)
        if document.pop("format") != FORMAT:
            msg = "the access policy was written by a newer version of the software; upgrade this one"
            raise ValueError(msg)
        people = [_principal(each) for each in document.pop("principals")]
        return cls(
            version=version,
            principals=MappingProxyType({each.name: each for each in people}),
            grants=tuple(Grant(**_typed(each)) for each in document.pop("grants")),
            holds=tuple(LegalHold(**_typed(each)) for each in document.pop("holds")),
            availability_first=frozenset(map(UUID, document.pop("availability_first"))),
            **document,
        )


def _principal(document: dict[str, Any]) -> Principal:
    typed = _typed(document)
    typed["subjects"] = tuple(typed["subjects"])
    typed["api_keys"] = tuple(ApiKey(**_typed(each)) for each in typed["api_keys"])
    typed["bindings"] = tuple(Binding(**_typed(each)) for each in typed["bindings"])
    return Principal(**typed)


def _typed(document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with times and ids for their texts."""
    made = dict(document)
    for name, value in document.items():
        if isinstance(value, str) and (name.endswith("_at") or name == "since"):
            made[name] = datetime.fromisoformat(value)
        elif isinstance(value, str) and name == "namespace_id":
            made[name] = UUID(value)
    return made
