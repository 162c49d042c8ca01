"""KEKs in AWS KMS."""
