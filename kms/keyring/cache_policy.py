"""The limits of the key cache. They determine how soon a revoked key is no longer used (DESIGN.md, "The cache")."""

from __future__ import annotations

from dataclasses import dataclass

from strongroom.kms.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """Limits of the key cache. Times are in seconds since the keys were last unwrapped, unless stated otherwise.

    Attributes:
        soft_ttl: Time after which the next use unwraps the keys again in the background, shortened at random (`ageing.least_jitter`).
        encrypt_ttl: Time after which the keys seal nothing until they are unwrapped again. If the registry was
            last read longer ago than this, the keys are not used at all. Every process has therefore read a change of the
            registry when this time has passed.
        decrypt_ttl: Time after which the keys are not used at all. During an outage of the KMS they open stored values until then.
        failure_ttl: Time after which a KMS that refused a key is asked again. Also the longest pause after failed attempts.
        retry_pause: Pause after a failed attempt. `FailedLoads` doubles it with each failure of a namespace without cached keys.
        max_namespaces: Number of cached namespaces. The least recently used one is evicted first.
        refreshes: Number of namespaces that are unwrapped in the background at a time.

    Raises:
        InvalidRequest: The times are not in order.
    """

    soft_ttl: float = 300.0
    encrypt_ttl: float = 900.0
    decrypt_ttl: float = 3600.0
    failure_ttl: float = 5.0
    retry_pause: float = 1.0
    max_namespaces: int = 20_000
    refreshes: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.soft_ttl <= self.encrypt_ttl <= self.decrypt_ttl:
            msg = "the times of the key cache must be in order: 0 < soft_ttl <= encrypt_ttl <= decrypt_ttl"
            raise InvalidRequest(msg)
