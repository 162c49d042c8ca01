"""One KEK in several KMSs. Any of them can unwrap."""

from .multi import MultiProvider

__all__ = ["MultiProvider"]
