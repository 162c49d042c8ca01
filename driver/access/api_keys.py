"""API keys: made here, shown once, kept as a hash."""

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
_NOBODY = sha256(b"nobody's").hexdigest()


def make_api_key(*, now: datetime, lifetime: timedelta) -> tuple[str, ApiKey]:
    """Return a new key as its owner sees it, and what is kept of it."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return f"sr_{key_id}_{secret}", ApiKey(key_id, _hash(secret), now, now + lifetime)


def find_by_api_key(policy: Policy, text: str, *, now: datetime) -> tuple[Principal, ApiKey] | None:
    """Return whose key this is; None for one that is unknown or has expired. Takes as long for the one as for the other."""
    form = _FORM.fullmatch(text)
    key_id, secret = (form[1], form[2]) if form else ("", "")
    held = [(person, key) for person in policy.principals.values() for key in person.api_keys if key.key_id == key_id]
    kept = held[0][1].hash if held else _NOBODY
    if not hmac.compare_digest(kept, _hash(secret)) or not held or now >= held[0][1].expires_at:
        return None
    return held[0]


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
