"""The keyring: a cache of unwrapped keys by namespace, and the policy that limits it."""

from .cache_policy import CachePolicy
from .keyring import Keyring

__all__ = ["CachePolicy", "Keyring"]
