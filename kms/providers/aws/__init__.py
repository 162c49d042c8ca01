"""KEKs in AWS KMS. Needs boto3: `pip install strongroom[aws]`."""

from .kms import AwsKmsProvider

__all__ = ["AwsKmsProvider"]
