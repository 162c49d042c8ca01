"""How long unwrapped keys are used: the promise of revocation, in figures (DESIGN.md, "The cache")."""

from __future__ import annotations

from dataclasses import dataclass

from strongroom.kms.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """Times in seconds, since a namespace's keys were last unwrapped, unless said otherwise.

    Attributes:
        soft_ttl: after which the next use has them unwrapped anew in the background, up to a tenth sooner.
        encrypt_ttl: after which they seal nothing until they are unwrapped anew; and since the registry was last read, after
            which they are not used at all: who waits for so long may be sure that every process knows the registry.
        decrypt_ttl: after which they are not used at all. While a KMS is away they open what is stored until then.
        failure_ttl: after which a KMS that refused some key is asked again.
        retry_pause: between two attempts of which the first failed.
        max_namespaces: how many namespaces are kept; the least recently used goes first.
        refreshes: how many namespaces are unwrapped anew in the background at a time.

    Raises:
        InvalidRequest: the times are not in order.
    """

    soft_ttl: float = 300.0
    encrypt_ttl: float = 900.0
    decrypt_ttl: float = 3600.0
    failure_ttl: float = 5.0
    retry_pause: float = 1.0
    max_namespaces: int = 10_000
    refreshes: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.soft_ttl <= self.encrypt_ttl <= self.decrypt_ttl:
            msg = "the times that keys are kept must be in order: 0 < soft_ttl <= encrypt_ttl <= decrypt_ttl"
            raise InvalidRequest(msg)
