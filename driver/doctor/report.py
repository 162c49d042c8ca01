"""The findings of the doctor as data, and the usual advice for each kind of error. The command line prints them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from strongroom.kms import (
    AccessDenied,
    KeyDestroyed,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KmsAuthenticationError,
    KmsTimeout,
    KmsUnavailable,
    Throttled,
    UnsupportedOperation,
)
from strongroom.storage import DatabaseAuthenticationError, DatabaseUnavailable, ResourceExhausted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from strongroom.kms import StrongroomError


State = Literal["ok", "note", "wrong", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Attributes:
        group: The part of the set-up, for example the database.
        check: The name of the check.
        text: The outcome in words.
        state: `note` if the part works and needs attention; `skipped` if the check did not run because another one failed.
        advice: What to do; "" if there is nothing to do.
    """

    group: str
    check: str
    text: str
    state: State = "ok"
    advice: str = ""

    @property
    def ok(self) -> bool:
        """Whether the set-up can be used in spite of this finding."""
        return self.state != "wrong"


def wrong(group: str, check: str, error: StrongroomError, advice: str = "") -> Finding:
    """Return the finding of a check that failed.

    Args:
        group: The part of the set-up.
        check: The name of the check.
        error: The error that the check failed with.
        advice: What to do; "" for the usual advice about such an error.
    """
    return Finding(group, check, str(error), "wrong", advice or _advice(error))


_KMS_AWAY = (
    "Check that the KMS is up and can be reached. Cached keys are used for a while: strongroom keys list says how long."
)
_KMS_PAGE = "the page of this KMS in kms/providers/"
NO_SERVER = (DatabaseUnavailable, DatabaseAuthenticationError, ResourceExhausted)
"""The errors of a database server that can't be used, whatever is in the database."""
_ADVICE: Sequence[tuple[type[StrongroomError], str]] = (
    (
        DatabaseAuthenticationError,
        "Correct the user or the password in database.dsn (or STRONGROOM_DSN), or let the user in with pg_hba.conf.",
    ),
    (
        ResourceExhausted,
        "Give the server more of what it lacks. If it lacks connections, raise max_connections or lower database.connections.",
    ),
    (
        DatabaseUnavailable,
        "If no server answers, start it or correct database.dsn (or STRONGROOM_DSN). If one answers, correct what it names.",
    ),
    (KmsAuthenticationError, f"Give it valid credentials; {_KMS_PAGE} says where it looks for them."),
    (AccessDenied, f"Grant the rights that are listed on {_KMS_PAGE}, and run doctor --use-keys."),
    (KeyPendingDeletion, "Cancel the deletion in the KMS now if rows under this KEK are still needed."),
    (KeyDisabled, "Enable it in its KMS, unless it was revoked on purpose."),
    (KeyDestroyed, "What it wraps can't be opened. Restore the key from a backup of the KMS if there is one."),
    (
        KeyNotFound,
        "Check that this is the right KMS, account and keyring. Restore the key: what it wraps can't be opened without it.",
    ),
    (Throttled, "Ask for a higher quota, or make fewer calls: raise keys.soft_ttl_seconds."),
    (KmsTimeout, _KMS_AWAY),
    (KmsUnavailable, _KMS_AWAY),
    (UnsupportedOperation, f"See {_KMS_PAGE}."),
)


def _advice(error: StrongroomError) -> str:
    return next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")


def summary(findings: Sequence[Finding]) -> str:
    """Return one line about all findings."""
    count = {state: sum(finding.state == state for finding in findings) for state in get_args(State)}
    if count["wrong"]:
        rest = "; the skipped checks run once these are fixed" if count["skipped"] else ""
        return (
            f"{count['wrong']} of {len(findings) - count['skipped']} checks found something that must be fixed{rest}."
        )
    notes = f"; {count['note']} with a note" if count["note"] else ""
    return f"All {len(findings)} checks passed{notes}."


def by_group(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings with those of each group next to each other. The groups are in the order in which they first occur."""
    groups = list(dict.fromkeys(finding.group for finding in findings))
    return sorted(findings, key=lambda finding: groups.index(finding.group))


def about(difference: timedelta) -> str:
    """Return a time in words, in its largest suitable unit."""
    seconds = round(difference.total_seconds())
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{seconds} seconds"
