"""The content of valid records about other streams, the database and the access policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import UUID

from .acceptance import Acceptance, Difference, of_record
from .events import BREAK, OPENED
from .newest_policy import policy_version_of
from .taking import BEHIND, DATABASE, OTHER, PRUNED

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True)
class Mentions:
    """The content of valid records that a verification needs.

    Attributes:
        named: The stream and the record that names a stream, by the stream that is named.
        breaks: The breaks.
        ended: The streams that were ended because of a break.
        acceptances: The acceptances, whose signatures are not yet checked.
        policy_version: The highest version of the access policy.
    """

    named: dict[UUID, str] = field(default_factory=dict)
    breaks: list[Difference] = field(default_factory=list)
    ended: set[UUID] = field(default_factory=set)
    acceptances: list[Acceptance] = field(default_factory=list)
    policy_version: int = 0

    def read(self, stream_id: UUID, fields: Mapping[str, Any], chain: bytes) -> None:
        """Collect what a verification needs from a record.

        Args:
            stream_id: The stream of the record.
            fields: The record.
            chain: The chain after it, which is of this record alone.
        """
        event = fields.get("event")
        if event == OPENED and isinstance(fields.get("streams"), list):
            for name in fields["streams"]:
                named = uuid_of(name)
                if named is not None:
                    self.named.setdefault(named, f"record {fields['sequence']} of stream {stream_id}")
        elif event == BREAK:
            identity = sha256(b"break" + stream_id.bytes + chain).digest()
            self.breaks.append(Difference(identity, _description(stream_id, fields)))
            ended = uuid_of(fields.get("ended"))
            self.ended.update(() if ended is None else (ended,))
        elif (accepted := of_record(fields)) is not None:
            self.acceptances.append(accepted)
        self.policy_version = max(self.policy_version, policy_version_of(fields))


def _description(stream_id: UUID, fields: Mapping[str, Any]) -> str:
    """Return a description of a recorded break."""
    where = f"record {fields['sequence']} of stream {stream_id}, {fields.get('at')}"
    found, stated, reason = fields.get("found"), fields.get("stated"), fields.get("reason")
    if reason == DATABASE:
        return f"the database lost checkpoint {stated} while a process was running; its newest was {found} ({where})"
    what = {
        BEHIND: f"had {found} records, and the database's checkpoint covers {stated}",
        OTHER: f"had another record {stated} than the database's checkpoint covers",
        PRUNED: "had a statement about pruned records that is not signed by the audit key",
    }.get(str(reason), "could not be read")
    return f"stream {fields.get('ended')} {what}, so it was ended ({where})"


def uuid_of(text: object) -> UUID | None:
    """Return the UUID of a text; None if it is not one."""
    try:
        return UUID(str(text))
    except ValueError:
        return None
