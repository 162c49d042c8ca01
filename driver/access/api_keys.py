"""API keys. A new key is shown once; the policy holds its hash."""

from __future__ import annotations

import hmac
import re
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING

from .policy import ApiKey

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from .policy import Policy, Principal

_FORM = re.compile(r"sr_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NO_KEY = sha256(b"nobody's").hexdigest()


def make_api_key(*, now: datetime, lifetime: timedelta) -> tuple[str, ApiKey]:
    """Return a new key for its owner, and the key's entry in the policy.

    Args:
        now: The time, in UTC.
        lifetime: Time until the key expires.
    """
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return f"sr_{key_id}_{secret}", ApiKey(key_id, _hash(secret), now, now + lifetime)


def find_by_api_key(policy: Policy, text: str, *, now: datetime) -> tuple[Principal, ApiKey] | None:
    """Return the principal of a key; None if the key is unknown or has expired. All cases take the same time.

    Args:
        policy: The cell's policy.
        text: The key.
        now: The time, in UTC.
    """
    form = _FORM.fullmatch(text)
    key_id, secret = (form[1], form[2]) if form else ("", "")
    owners = [
        (principal, key)
        for principal in policy.principals.values()
        for key in principal.api_keys
        if key.key_id == key_id
    ]
    expected = owners[0][1].hash if owners else _NO_KEY
    if not hmac.compare_digest(expected, _hash(secret)) or not owners or now >= owners[0][1].expires_at:
        return None
    return owners[0]


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
