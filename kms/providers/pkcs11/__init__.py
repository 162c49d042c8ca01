"""KEKs in a PKCS#11 token. Needs python-pkcs11: `pip install strongroom[pkcs11]`."""

from .pkcs11 import Pkcs11Provider

__all__ = ["Pkcs11Provider"]
