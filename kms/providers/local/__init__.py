"""KEKs in a local keyring file, for development and for cells without a KMS."""

from .keyring_file import Kek, KeyringFile
from .local import LocalProvider

__all__ = ["Kek", "KeyringFile", "LocalProvider"]
