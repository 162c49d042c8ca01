"""Fields of a key and its versions in answers of Key Vault."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from strongroom.kms.errors import KmsUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = re.compile(r"[0-9A-Za-z]{1,64}")


def version_of(key: Mapping[str, Any]) -> str:
    """Return the version in a key's id, https://VAULT/keys/NAME/VERSION.

    Raises:
        KmsUnavailable: There is none, so the answer is not from Key Vault.
    """
    inner = key.get("key")
    kid = inner.get("kid") if isinstance(inner, dict) else key.get("kid")
    version = str(kid or "").rpartition("/")[2]
    if not VERSION.fullmatch(version):
        msg = "the vault's answer names no version of the key"
        raise KmsUnavailable(msg)
    return version


def attributes_of(key: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the attributes of a version: `enabled`, `created`, `exp` and `nbf`. Times are in seconds since 1970."""
    attributes = key.get("attributes")
    return attributes if isinstance(attributes, dict) else {}


def unusable(key: Mapping[str, Any]) -> str | None:
    """Return the reason why a version must not wrap, or None if it may."""
    attributes, now = attributes_of(key), time.time()
    if not attributes.get("enabled", True):
        return "is disabled"
    if attributes.get("exp") is not None and attributes["exp"] <= now:
        return "has expired"
    if attributes.get("nbf") is not None and attributes["nbf"] > now:
        return "is not valid yet"
    return None
