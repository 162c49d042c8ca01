"""The reason that a person gives for an exception. It is recorded, and shown in reviews."""

from __future__ import annotations

from .errors import InvalidPolicyChange

MOST_CHARACTERS = 500
"""Maximum length of a reason."""


def check_reason(reason: str, what: str) -> None:
    """Refuse a reason that a review can't show.

    Args:
        reason: The reason.
        what: What needs it, for the error, for example "a grant".

    Raises:
        InvalidPolicyChange: It is empty, too long, or has characters that can't be printed.
    """
    if not reason.strip() or len(reason) > MOST_CHARACTERS or not reason.isprintable():
        msg = f"{what} needs a reason of at most {MOST_CHARACTERS} printable characters"
        raise InvalidPolicyChange(msg)
