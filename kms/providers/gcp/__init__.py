"""KEKs in Google Cloud KMS. Needs google-cloud-kms: `pip install strongroom[gcp]`."""

from .kms import GcpKmsProvider

__all__ = ["GcpKmsProvider"]
