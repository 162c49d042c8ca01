"""The access policy of a cell: one value that is stored sealed and changed as a whole (`changes.py`)."""

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
    """A secret with which a principal authenticates.

    Attributes:
        key_id: The id; part of the key, and recorded in the audit log.
        hash: SHA-256 of the secret in hexadecimal. The secret is 256 random bits, so the hash needs no salt and may be fast.
        created_at: When the key was created.
        expires_at: When the key expires.
    """

    key_id: str
    hash: str = field(repr=False)
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Binding:
    """A role that a principal has.

    Attributes:
        role: The role's name.
        namespace_id: The namespace; None for the whole cell.
        since: When the role was given.
        by: The principal that gave it.
    """

    role: str
    namespace_id: UUID | None
    since: datetime
    by: str


@dataclass(frozen=True, slots=True)
class Principal:
    """A person or a process.

    Attributes:
        name: The name; recorded in the audit log.
        created_at: When the principal was added.
        created_by: The principal that added it.
        subjects: Subjects of its certificates, each in the form of RFC 4514.
        api_keys: Its API keys.
        bindings: Its roles.
    """

    name: str
    created_at: datetime
    created_by: str
    subjects: tuple[str, ...] = ()
    api_keys: tuple[ApiKey, ...] = ()
    bindings: tuple[Binding, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """A break-glass grant: a role or an operation for some hours. It is valid from its approval by a second person.

    Attributes:
        grant_id: The id.
        principal: The principal that requested it.
        role: The role that it gives; "" for a grant of one operation.
        operation: The operation that it allows, which needs two people; "" for a grant of a role.
        namespace_id: The namespace; None for the whole cell.
        reason: The reason that the principal gave.
        requested_at: When it was requested.
        seconds: The time for which it is valid after the approval, in seconds.
        approved_by: The principal that approved it; "" without an approval.
        approved_at: When it was approved.
        expires_at: When it expires.
        ended_at: When it was ended early.
        state: The state that the operation may accept, as a dry run showed it; "" for an operation that accepts none.
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
    state: str = ""

    def counts(self, now: datetime) -> bool:
        """Return whether the grant is in force."""
        return self.expires_at is not None and self.ended_at is None and now < self.expires_at


@dataclass(frozen=True, slots=True)
class LegalHold:
    """A legal hold: while there is one, the audit log is not pruned.

    Attributes:
        hold_id: The id.
        reason: The reason.
        since: When it was placed.
        by: The principal that placed it.
    """

    hold_id: str
    reason: str
    since: datetime
    by: str


@dataclass(frozen=True, slots=True)
class Policy:
    """The access policy.

    Attributes:
        version: The number of changes; 0 if there is no policy.
        principals: The principals by name.
        grants: Break-glass grants, including those that ended in the last 90 days.
        holds: Legal holds.
        retention_days: How long audit records are kept.
        availability_first: Namespaces whose calls go on when the audit log can't be written.
    """

    version: int = 0
    principals: Mapping[str, Principal] = field(default_factory=lambda: MappingProxyType({}))
    grants: tuple[Grant, ...] = ()
    holds: tuple[LegalHold, ...] = ()
    retention_days: int = 400
    availability_first: frozenset[UUID] = frozenset()

    def holders(self, role: str) -> Iterator[str]:
        """Yield the names of the principals that have a role in the whole cell."""
        for principal in self.principals.values():
            if any(binding.role == role and binding.namespace_id is None for binding in principal.bindings):
                yield principal.name

    def encode(self) -> bytes:
        """Return the bytes that are sealed. The version is stored next to them."""
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
        """Return the policy that `encode` wrote.

        Raises:
            ValueError: A newer version of the software wrote it.
        """
        if version == 0:
            return cls()
        document = orjson.loads(data)
        if document.pop("format") != FORMAT:
            msg = "the access policy was written by a newer version of the software; upgrade this one"
            raise ValueError(msg)
        principals = [_principal(each) for each in document.pop("principals")]
        return cls(
            version=version,
            principals=MappingProxyType({each.name: each for each in principals}),
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
    """Return the fields, with times and ids parsed from their texts."""
    fields = dict(document)
    for name, value in document.items():
        if isinstance(value, str) and (name.endswith("_at") or name == "since"):
            fields[name] = datetime.fromisoformat(value)
        elif isinstance(value, str) and name == "namespace_id":
            fields[name] = UUID(value)
    return fields
