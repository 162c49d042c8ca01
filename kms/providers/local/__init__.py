"""KEKs in a local keyring file, for development and for cells without a KMS."""

from .content import Kek, KeyringFile, KeyringHead
from .ledger import KeyringLedger
from .local import LocalProvider

__all__ = ["Kek", "KeyringFile", "KeyringHead", "KeyringLedger", "LocalProvider"]
