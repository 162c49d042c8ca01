"""KEKs in the Transit engine of OpenBao and Vault. Needs httpx: `pip install strongroom[vault]`."""

from .transit import TransitProvider

__all__ = ["TransitProvider"]
